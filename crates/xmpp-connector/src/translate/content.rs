//! What a `<message/>` can show of a content (RFC 7572 section 7, RFC 3922 section 4.2, RFC 5621, XEP-0071, RFC 3923).
//!
//! Plain text in UTF-8 is borrowed and costs nothing; everything else is a slow path that may allocate. What cannot be shown
//! is refused with the reason that tells its sender what can be: no user ever sees markup, headers or compressed octets.

mod multipart;

use super::e2e;
use super::xhtml::{self, Budget, Formatted, HtmlError};
use cpim::charset::{self, CharsetError};
use cpim::coding::{self, CodingError};
use cpim::mime::{Entity, MimeError};
use cpim::msgfmt::{self, FormatError};
use cpim::{
    Accepts, Disposition, Failure, ImUri, MediaType, Message, Reason, clean_name, is_for_show, is_language_tag,
};
use std::borrow::Cow;
use time::OffsetDateTime;
use xmpp::stanza::{Localized, Texts};

/// How deep multiparts may stand in each other.
const DEEPEST: usize = 3;

/// What a stanza shows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Presented<'c> {
    /// The text of `<body/>`.
    pub body: Cow<'c, str>,
    /// `xml:lang` of the stanza.
    pub language: Option<Cow<'c, str>>,
    /// The same text in other languages: further `<body/>`.
    pub translations: Texts<'c>,
    /// `<html/>`: the formatted text for each language.
    pub html: Texts<'c>,
    /// `<e2e/>`: an entity that is not shown but handed on; the body says so then.
    pub entity: Option<String>,
    /// `<subject/>`, one for each language.
    pub subjects: Texts<'c>,
    /// What its sender wants to be called, if it says so.
    pub name: Option<Cow<'c, str>>,
    /// When the message was sent, if it says so.
    pub sent: Option<OffsetDateTime>,
    /// Characters that XML forbids and that were replaced already.
    pub replaced: usize,
}

impl<'c> Presented<'c> {
    fn text(body: Cow<'c, str>) -> Self {
        Self { body, ..Self::default() }
    }

    fn into_owned<'o>(self) -> Presented<'o> {
        let own = |text: Cow<'_, str>| Cow::Owned(text.into_owned());
        let own_texts = |texts: Texts<'_>| {
            texts.into_iter().map(|text| Localized { lang: text.lang.map(own), text: own(text.text) }).collect()
        };
        Presented {
            body: own(self.body),
            language: self.language.map(own),
            translations: own_texts(self.translations),
            html: own_texts(self.html),
            entity: self.entity,
            subjects: own_texts(self.subjects),
            name: self.name.map(own),
            sent: self.sent,
            replaced: self.replaced,
        }
    }
}

/// Presents the content of `message` to somebody who is known to take what `accepts` says; no more than `limit` octets are
/// made of it.
pub fn present<'c>(
    message: &'c Message<'_>,
    accepts: &Accepts,
    limit: usize,
) -> Result<Presented<'c>, Failure<'static>> {
    let content = &message.content;
    let disposition = content.disposition.as_deref().and_then(Disposition::parse);
    let mut presented = match open_content(message, disposition, accepts, limit) {
        // RFC 5621 section 8.1: whoever does not understand it ignores it, and the rest of the message stands.
        Err(failure) if is_unknown(&failure) && disposition.is_some_and(|kind| kind.is_optional()) => {
            Presented::default()
        }
        opened => opened?,
    };
    for subject in &content.subjects {
        add_subject(
            &mut presented.subjects,
            subject.language.as_deref().map(Cow::Borrowed),
            Cow::Borrowed(&subject.text),
        );
    }
    if presented.language.is_none() {
        presented.language = content.language.as_deref().filter(|tag| is_language_tag(tag)).map(Cow::Borrowed);
    }
    Ok(presented)
}

fn open_content<'c>(
    message: &'c Message<'_>,
    disposition: Option<Disposition<'_>>,
    accepts: &Accepts,
    limit: usize,
) -> Result<Presented<'c>, Failure<'static>> {
    let content = &message.content;
    let source = &message.source.0;
    let media_type = content.media_type.as_ref();
    // Nothing is decoded that could not be shown afterwards.
    if media_type.is_some_and(|media_type| !is_known(media_type, accepts)) {
        return Err(Reason::UnsupportedMedia.into());
    }
    if !(is_for_show(disposition, media_type) || media_type.is_some_and(MediaType::is_secured)) {
        return Err(refused(Reason::UnsupportedMedia, "the Content-Disposition is not supported"));
    }
    let disposition = disposition.map(|disposition| disposition.raw());
    match content.encoding {
        None => open(&content.body, media_type, disposition, source, accepts),
        Some(codings) => match coding::decode(&content.body, codings, limit).map_err(undecoded)? {
            Cow::Borrowed(octets) => open(octets, media_type, disposition, source, accepts),
            Cow::Owned(octets) => open(&octets, media_type, disposition, source, accepts).map(Presented::into_owned),
        },
    }
}

/// Whether anything of this type can be shown or handed on. What can be shown is what SIP senders are told to be accepted.
fn is_known(media_type: &MediaType<'_>, accepts: &Accepts) -> bool {
    media_type.is_a("multipart")
        || [("text", "plain"), ("text", "html"), ("message", "cpim")].iter().any(|(main, sub)| media_type.is(main, sub))
        || media_type.is_secured()
        || accepts.takes(media_type)
}

fn is_unknown(failure: &Failure<'_>) -> bool {
    matches!(failure.reason, Reason::UnsupportedMedia | Reason::UnsupportedEncoding)
}

fn open<'c>(
    octets: &'c [u8],
    media_type: Option<&MediaType<'_>>,
    disposition: Option<&[u8]>,
    source: &ImUri<'_>,
    accepts: &Accepts,
) -> Result<Presented<'c>, Failure<'static>> {
    match media_type {
        Some(media_type) if media_type.is("message", "cpim") => unwrap_cpim(octets, source, accepts),
        media_type => shown_or_handed_on(octets, media_type, disposition, accepts),
    }
}

fn shown_or_handed_on<'c>(
    octets: &'c [u8],
    media_type: Option<&MediaType<'_>>,
    disposition: Option<&[u8]>,
    accepts: &Accepts,
) -> Result<Presented<'c>, Failure<'static>> {
    match media_type {
        Some(media_type) if media_type.is_secured() => hand_on(octets, media_type, disposition),
        media_type => match (shown(octets, media_type, 0, &mut Budget::default()), media_type) {
            (Err(failure), Some(media_type)) if failure.text.is_none() && accepts.takes(media_type) => {
                hand_on(octets, media_type, disposition)
            }
            (shown, _) => shown,
        },
    }
}

/// What nobody looks into goes into `<e2e/>`, and a body beside it tells who does not know that.
fn hand_on<'o>(
    octets: &[u8],
    media_type: &MediaType<'_>,
    disposition: Option<&[u8]>,
) -> Result<Presented<'o>, Failure<'static>> {
    let entity = e2e::wrap(media_type, disposition, octets)
        .ok_or_else(|| refused(Reason::UnsupportedMedia, "the entity cannot be carried over XMPP unaltered"))?;
    let body = if media_type.is("multipart", "signed") {
        "This message is signed. Your client cannot show signed messages."
    } else if media_type.is_secured() {
        "This message is encrypted. Your client cannot show encrypted messages."
    } else {
        "This message is of a type that your client cannot show."
    };
    let language = Some(Cow::Borrowed("en"));
    Ok(Presented { entity: Some(entity), language, ..Presented::text(Cow::Borrowed(body)) })
}

/// Shows what a message/cpim wraps. Who wrote it is what was proven on the way here: a From that names somebody else is a
/// claim that nothing supports. To says nothing new, the request was addressed.
fn unwrap_cpim<'c>(octets: &'c [u8], source: &ImUri<'_>, accepts: &Accepts) -> Result<Presented<'c>, Failure<'static>> {
    let wrapped = msgfmt::parse(octets).map_err(malformed)?;
    let mut name = None;
    for from in wrapped.from() {
        let from = from.map_err(malformed)?;
        if !from.names(source) {
            return Err(refused(Reason::Forbidden, "the From of message/cpim is not the sender"));
        }
        name = name.or_else(|| clean_name(&from.name).map(|name| Cow::Owned(name.into_owned())));
    }
    // We understand the headers of the RFC and vouch for nothing else (RFC 3922 section 4.2.7).
    if wrapped.unmet_requirement(|_, _| false).is_some() {
        return Err(refused(Reason::UnsupportedMedia, "message/cpim requires what is not understood here"));
    }
    let mut presented = content_of(&wrapped.entity, accepts)?;
    presented.name = name;
    for (language, text) in wrapped.subjects() {
        add_subject(&mut presented.subjects, language.map(Cow::Borrowed), text);
    }
    // A moment that cannot be read says nothing, and the text is still what it is.
    presented.sent = wrapped.date_time().and_then(Result::ok);
    Ok(presented)
}

/// What the entity in a message/cpim shows.
fn content_of<'c>(entity: &Entity<'c>, accepts: &Accepts) -> Result<Presented<'c>, Failure<'static>> {
    match entity.media_type().flatten() {
        Some(media_type) if media_type.is_secured() || !is_known(&media_type, &Accepts::default()) => {
            let disposition = entity.disposition().map(|disposition| disposition.raw());
            let octets = entity.decoded_body().map_err(unreadable)?;
            shown_or_handed_on(&octets, Some(&media_type), disposition, accepts).map(Presented::into_owned)
        }
        _ => part(entity, 0, &mut Budget::default()),
    }
}

/// RFC 6121 section 5.2.4: one subject for each language.
fn add_subject<'c>(subjects: &mut Texts<'c>, language: Option<Cow<'c, str>>, text: Cow<'c, str>) {
    let lang = language.filter(|tag| is_language_tag(tag));
    if !text.is_empty() && !subjects.iter().any(|known| known.lang == lang) {
        subjects.push(Localized { lang, text });
    }
}

/// What an entity shows.
fn part<'c>(entity: &Entity<'c>, depth: usize, budget: &mut Budget) -> Result<Presented<'c>, Failure<'static>> {
    let media_type = match entity.media_type() {
        None => None,
        Some(known) => Some(known.ok_or_else(|| refused(Reason::BadRequest, "unreadable Content-Type"))?),
    };
    if entity.field("Content-Encoding").is_some_and(|coding| !coding.eq_ignore_ascii_case(b"identity")) {
        return Err(refused(Reason::UnsupportedMedia, "a body part is encoded"));
    }
    let mut presented = match entity.decoded_body().map_err(unreadable)? {
        Cow::Borrowed(octets) => shown(octets, media_type.as_ref(), depth, budget)?,
        Cow::Owned(octets) => shown(&octets, media_type.as_ref(), depth, budget)?.into_owned(),
    };
    if presented.language.is_none() {
        presented.language = entity.language().map(Cow::Borrowed);
    }
    Ok(presented)
}

/// What a body of this type shows; plain text where none is named (RFC 2045 section 5.2).
fn shown<'c>(
    octets: &'c [u8],
    media_type: Option<&MediaType<'_>>,
    depth: usize,
    budget: &mut Budget,
) -> Result<Presented<'c>, Failure<'static>> {
    let Some(media_type) = media_type else { return plain(octets, None).map(Presented::text) };
    let charset = media_type.param("charset");
    if media_type.is("text", "plain") {
        plain(octets, charset.as_deref()).map(Presented::text)
    } else if media_type.is("text", "html") {
        html(&plain(octets, charset.as_deref())?, budget)
    } else if media_type.is_a("multipart") && !media_type.is_secured() && depth < DEEPEST {
        multipart::shown(octets, media_type, depth + 1, budget)
    } else {
        Err(Reason::UnsupportedMedia.into())
    }
}

/// RFC 7572 section 7, XEP-0071 section 4: the text alone is the body, its format stands beside it.
fn html<'o>(text: &str, budget: &mut Budget) -> Result<Presented<'o>, Failure<'static>> {
    let Formatted { markup, text, replaced } = xhtml::from_html(text, budget).map_err(|error| match error {
        HtmlError::TooMuch => refused(Reason::TooLarge, "too long or too much markup for an HTML text"),
        HtmlError::Unreadable => refused(Reason::UnsupportedMedia, "the HTML text cannot be read"),
    })?;
    let html = Localized { lang: None, text: Cow::Owned(markup) };
    Ok(Presented { html: Texts::from_iter([html]), replaced, ..Presented::text(Cow::Owned(text)) })
}

fn plain<'c>(octets: &'c [u8], charset: Option<&[u8]>) -> Result<Cow<'c, str>, Failure<'static>> {
    charset::decode(octets, charset).map_err(|error| match error {
        CharsetError::Unknown => refused(Reason::UnsupportedMedia, "the charset is not known"),
        CharsetError::Invalid => refused(Reason::BadRequest, "the body is not valid in its charset"),
    })
}

fn undecoded(error: CodingError) -> Failure<'static> {
    match error {
        CodingError::Unknown => Reason::UnsupportedEncoding.into(),
        CodingError::TooLong => refused(Reason::TooLarge, "the decoded body is too long"),
        CodingError::Broken => refused(Reason::BadRequest, "the body cannot be decoded as its Content-Encoding says"),
    }
}

fn malformed(error: FormatError) -> Failure<'static> {
    match error {
        FormatError::Content(error) => unreadable(error),
        error => Failure { reason: Reason::BadRequest, text: Some(Cow::Owned(error.to_string())), alternate: None },
    }
}

fn unreadable(error: MimeError) -> Failure<'static> {
    let reason = if error == MimeError::UnknownTransfer { Reason::UnsupportedMedia } else { Reason::BadRequest };
    Failure { reason, text: Some(Cow::Owned(error.to_string())), alternate: None }
}

fn refused(reason: Reason, text: &'static str) -> Failure<'static> {
    Failure { reason, text: Some(Cow::Borrowed(text)), alternate: None }
}

#[cfg(test)]
mod tests;
