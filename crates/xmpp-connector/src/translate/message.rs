//! `<message/>` and message operations (RFC 7572 tables 1 and 2, RFC 3922 section 4).

use super::address::{self, AddressError};
use super::e2e::{self, E2eError};
use cpim::{Content, Device, Envelope, ImUri, Keeping, Presentations, Reason, Subject, Thread, Urgency, clean_name};
use std::borrow::Cow;
use std::time::SystemTime;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use turn::Calendar;
use xmpp::jid::JidParts;
use xmpp::stanza::{Localized, Message, MessageType, Texts};

/// What a stanza with a body says, in the core's words.
#[derive(Debug)]
pub struct Abstracted<'a> {
    /// From whom.
    pub source: ImUri<'a>,
    /// To whom.
    pub destination: ImUri<'a>,
    /// The address that it came from.
    pub from: JidParts<'a>,
    /// The address that it was written to.
    pub to: JidParts<'a>,
    /// What is said about the text.
    pub envelope: Envelope<'a>,
    /// The text.
    pub content: Content<'a>,
}

/// What a translation depends on beside the stanza.
#[derive(Clone, Copy, Debug)]
pub struct Context<'c> {
    /// How users of the other world are shown here.
    pub presentations: &'c Presentations,
    /// Dates and moments.
    pub calendar: &'c Calendar,
}

/// What a stanza is to the gateway.
#[derive(Debug)]
#[allow(clippy::large_enum_variant, reason = "it lives on the stack for one call; a box would cost an allocation")]
pub enum Meaning<'a> {
    /// A message operation.
    Operation(Abstracted<'a>),
    /// It cannot cross, and its sender is told.
    Refused(Reason),
    /// It says nothing that page mode carries, and nobody waits for an answer.
    Nothing(Silence),
}

/// Why a stanza leads to nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Silence {
    /// A headline expects no answer (RFC 6121 section 5.2.2).
    Headline,
    /// There is neither a text nor a subject: a chat state, a marker, a receipt.
    NoBody,
    /// The server did not say who sent it.
    NoSender,
    /// It shows somebody what was said before: a copy for another device, the find of an archive.
    ShownAgain,
}

/// `<message/>` -> message operation. Errors are not for here.
pub fn to_cpim<'a>(message: &Message<'a>, context: Context<'_>) -> Meaning<'a> {
    if message.shown_again.is_some() {
        return Meaning::Nothing(Silence::ShownAgain);
    }
    match message.kind {
        MessageType::Headline => return Meaning::Nothing(Silence::Headline),
        // A gateway offers no rooms: the sender believes to be in one.
        MessageType::GroupChat => return Meaning::Refused(Reason::ServiceUnavailable),
        MessageType::Normal | MessageType::Chat | MessageType::Error => {}
    }
    let Some(from) = message.from.clone() else { return Meaning::Nothing(Silence::NoSender) };
    if message.bodies.is_empty() && message.e2e.is_none() && !message.subjects.iter().any(says) {
        return Meaning::Nothing(Silence::NoBody);
    }
    match addresses(from, message.to.clone().unwrap_or_default(), context.presentations) {
        Err(AddressError::NoUser) => Meaning::Refused(Reason::ServiceUnavailable),
        Err(AddressError::Unknown) => Meaning::Refused(Reason::NotFound),
        Err(AddressError::Malformed) => Meaning::Refused(Reason::AddressMalformed),
        Ok(((from, source), (to, destination))) => {
            let envelope = envelope(message, &from, &to, context.calendar);
            match content(message) {
                Ok(content) => Meaning::Operation(Abstracted { source, destination, from, to, envelope, content }),
                Err(_) => Meaning::Refused(Reason::BadRequest),
            }
        }
    }
}

type Address<'a> = (JidParts<'a>, ImUri<'a>);

fn addresses<'a>(
    from: Cow<'a, str>,
    to: Cow<'a, str>,
    presentations: &Presentations,
) -> Result<(Address<'a>, Address<'a>), AddressError> {
    let read = |jid: JidParts<'a>| {
        let address = address::to_cpim(&jid, presentations)?;
        Ok::<_, AddressError>((jid, address))
    };
    // The recipient first: what is wrong with him is what the sender wants to know.
    let to = read(address::parse(to)?)?;
    Ok((read(address::parse_stamped(from)?)?, to))
}

/// What is said about a text (RFC 7572 table 1, RFC 3922 section 4.1).
fn envelope<'a>(message: &Message<'a>, from: &JidParts<'a>, to: &JidParts<'a>, calendar: &Calendar) -> Envelope<'a> {
    Envelope {
        thread: message.thread.clone().map(Thread::Named),
        sent: sent(message),
        expires: message.expire_at.as_deref().and_then(date).and_then(|at| calendar.moment(SystemTime::from(at))),
        source_device: from.resource.clone().map(|name| Device { name, differs_by_case: false }),
        destination_device: to.resource.clone(),
        source_name: message.nick.as_ref().and_then(name),
        unique_id: message.origin_id.clone().filter(|id| !id.is_empty()).or_else(|| stanza_id(message, from)),
        urgency: message.headers.urgency.as_deref().and_then(urgency),
        keeping: keeping(message),
    }
}

/// A word about storing that is none of those that can be said forbids it too: what it forbids cannot be undone.
fn keeping(message: &Message<'_>) -> Keeping {
    let forbidden = |word: &str| !matches!(word.trim(), "true" | "1");
    if message.hints.no_store || message.headers.store.as_deref().is_some_and(forbidden) {
        return Keeping::Nowhere;
    }
    if message.hints.no_permanent_store { Keeping::NotForGood } else { Keeping::Anywhere }
}

fn name<'a>(nick: &Cow<'a, str>) -> Option<Cow<'a, str>> {
    match nick {
        Cow::Borrowed(nick) => clean_name(nick),
        Cow::Owned(nick) => clean_name(nick).map(|name| Cow::Owned(name.into_owned())),
    }
}

/// When it was written: the oldest moment at which anybody on the way says to have held it, as nobody can hold what is not
/// written yet; else what the sender says. A moment that cannot be read says nothing.
fn sent(message: &Message<'_>) -> Option<OffsetDateTime> {
    let held = message.delays.iter().filter_map(|delay| date(&delay.stamp)).min();
    held.or_else(|| message.headers.created.as_deref().and_then(date))
}

/// A moment as XEP-0082 writes it.
fn date(text: &str) -> Option<OffsetDateTime> {
    OffsetDateTime::parse(text.trim(), &Rfc3339).ok()
}

/// The id that the account or the server of the sender gave (XEP-0359 section 6). What it is said to have come from anybody
/// else, ourselves included, nothing proves here.
fn stanza_id<'a>(message: &Message<'a>, from: &JidParts<'_>) -> Option<Cow<'a, str>> {
    let speaks = |by: &str| {
        JidParts::parse(by).is_ok_and(|by| by.bare_eq(from) || (by.local.is_none() && by.domain == from.domain))
    };
    message.stanza_ids.iter().find(|known| !known.id.is_empty() && speaks(&known.by)).map(|known| known.id.clone())
}

fn urgency(text: &str) -> Option<Urgency> {
    [("low", Urgency::Low), ("medium", Urgency::Medium), ("high", Urgency::High)]
        .into_iter()
        .find_map(|(word, urgency)| word.eq_ignore_ascii_case(text.trim()).then_some(urgency))
}

/// The word for an urgency (XEP-0131 section 5.6).
pub fn urgency_word(urgency: Urgency) -> &'static str {
    match urgency {
        Urgency::Low => "low",
        Urgency::Medium => "medium",
        Urgency::High => "high",
    }
}

/// RFC 7572 table 1: the text with its language, and the subjects. An entity in `<e2e/>` is what is said (RFC 3923 section 8),
/// and the body beside it is for those who do not know that. Of several bodies that say something the one that is in the
/// language of the stanza, which is what the sender writes in, else the first. Where there is no body (RFC 6121 section 5.2.4
/// lets a subject stand alone) the subject is the text too: few SIP clients show the header field, and a MESSAGE without a body
/// would show nothing.
fn content<'a>(message: &Message<'a>) -> Result<Content<'a>, E2eError> {
    let subjects = message.subjects.iter().map(|subject| Subject {
        language: subject.lang.clone().or_else(|| message.lang.clone()),
        text: subject.text.clone(),
    });
    let subjects = subjects.collect();
    if let Some(entity) = &message.e2e {
        return Ok(Content { subjects, ..e2e::unwrap(entity)? });
    }
    let texts = if message.bodies.is_empty() { &message.subjects } else { &message.bodies };
    let Some(body) = best(texts, message.lang.as_deref()) else { return Ok(Content::default()) };
    let language = body.lang.clone().or_else(|| message.lang.clone());
    Ok(Content { subjects, language, ..Content::text(body.text.clone()) })
}

fn best<'t, 'a>(texts: &'t Texts<'a>, own: Option<&str>) -> Option<&'t Localized<'a>> {
    let is_own = |text: &&Localized<'a>| text.lang.is_none() || text.lang.as_deref() == own;
    match texts.iter().find(is_own).or_else(|| texts.first()) {
        Some(text) if texts.len() > 1 && !says(text) => texts.iter().find(|text| says(text)).or(Some(text)),
        found => found,
    }
}

fn says(text: &Localized<'_>) -> bool {
    !text.text.trim().is_empty()
}
