//! What a `<message/>` can show of a content (RFC 7572 section 7, RFC 3922 section 4.2, RFC 5621).
//!
//! Plain text in UTF-8 is borrowed and costs nothing; everything else is a slow path that may allocate. What cannot be shown
//! is refused with the reason that tells its sender what can be: no user ever sees markup, headers or compressed octets.

use cpim::charset::{self, CharsetError};
use cpim::coding::{self, CodingError};
use cpim::mime::{self, Entity, MimeError};
use cpim::msgfmt::{self, FormatError};
use cpim::{Failure, ImUri, MediaType, Message, Reason, is_language_tag};
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
    /// `<subject/>`, one for each language.
    pub subjects: Texts<'c>,
    /// `xml:lang` of the stanza.
    pub language: Option<Cow<'c, str>>,
    /// When the message was sent, if it says so.
    pub sent: Option<OffsetDateTime>,
}

impl Presented<'_> {
    fn into_owned<'o>(self) -> Presented<'o> {
        let own = |text: Cow<'_, str>| Cow::Owned(text.into_owned());
        Presented {
            body: own(self.body),
            subjects: self
                .subjects
                .into_iter()
                .map(|subject| Localized { lang: subject.lang.map(own), text: own(subject.text) })
                .collect(),
            language: self.language.map(own),
            sent: self.sent,
        }
    }
}

/// Presents the content of `message`; no more than `limit` octets are made of it.
pub fn present<'c>(message: &'c Message<'_>, limit: usize) -> Result<Presented<'c>, Failure<'static>> {
    let content = &message.content;
    let source = &message.source.0;
    // Nothing is decoded that could not be shown afterwards.
    if content.media_type.as_ref().is_some_and(|media_type| !is_known(media_type)) {
        return Err(Reason::UnsupportedMedia.into());
    }
    let mut presented = match content.encoding {
        None => open(&content.body, content.media_type.as_ref(), source)?,
        Some(codings) => match coding::decode(&content.body, codings, limit).map_err(undecoded)? {
            Cow::Borrowed(octets) => open(octets, content.media_type.as_ref(), source)?,
            Cow::Owned(octets) => open(&octets, content.media_type.as_ref(), source)?.into_owned(),
        },
    };
    for subject in &content.subjects {
        add_subject(
            &mut presented.subjects,
            subject.language.as_deref().map(Cow::Borrowed),
            Cow::Borrowed(&subject.text),
        );
    }
    presented.language = content.language.as_deref().filter(|tag| is_language_tag(tag)).map(Cow::Borrowed);
    Ok(presented)
}

/// Whether anything of this type can be shown. Same list as what SIP senders are told to be accepted.
fn is_known(media_type: &MediaType<'_>) -> bool {
    [("text", "plain"), ("message", "cpim"), ("multipart", "alternative"), ("multipart", "mixed")]
        .iter()
        .any(|(main, sub)| media_type.is(main, sub))
}

fn open<'c>(
    octets: &'c [u8],
    media_type: Option<&MediaType<'_>>,
    source: &ImUri<'_>,
) -> Result<Presented<'c>, Failure<'static>> {
    match media_type {
        Some(media_type) if media_type.is("message", "cpim") => unwrap_cpim(octets, source),
        media_type => Ok(Presented { body: text(octets, media_type, 0)?, ..Presented::default() }),
    }
}

/// Shows what a message/cpim wraps. Who wrote it is what was proven on the way here: a From that names somebody else is a
/// claim that nothing supports. To says nothing new, the request was addressed.
fn unwrap_cpim<'c>(octets: &'c [u8], source: &ImUri<'_>) -> Result<Presented<'c>, Failure<'static>> {
    let wrapped = msgfmt::parse(octets).map_err(malformed)?;
    for from in wrapped.from() {
        if !from.map_err(malformed)?.inbox().is_some_and(|inbox| is_same(&inbox, source)) {
            return Err(refused(Reason::Forbidden, "the From of message/cpim is not the sender"));
        }
    }
    // We understand the headers of the RFC and vouch for nothing else (RFC 3922 section 4.2.7).
    if wrapped.unmet_requirement(|_, _| false).is_some() {
        return Err(refused(Reason::UnsupportedMedia, "message/cpim requires what is not understood here"));
    }
    let mut presented = Presented { body: part(&wrapped.entity, 0)?, ..Presented::default() };
    for (language, text) in wrapped.subjects() {
        add_subject(&mut presented.subjects, language.map(Cow::Borrowed), text);
    }
    // A moment that cannot be read says nothing, and the text is still what it is.
    presented.sent = wrapped.date_time().and_then(Result::ok);
    Ok(presented)
}

/// The local part is compared as XMPP does, without regard to case: no JID could tell the two apart.
fn is_same(one: &ImUri<'_>, other: &ImUri<'_>) -> bool {
    one.domain() == other.domain() && one.local().eq_ignore_ascii_case(other.local())
}

/// RFC 6121 section 5.2.4: one subject for each language.
fn add_subject<'c>(subjects: &mut Texts<'c>, language: Option<Cow<'c, str>>, text: Cow<'c, str>) {
    let lang = language.filter(|tag| is_language_tag(tag));
    if !text.is_empty() && !subjects.iter().any(|known| known.lang == lang) {
        subjects.push(Localized { lang, text });
    }
}

/// The text of an entity.
fn part<'c>(entity: &Entity<'c>, depth: usize) -> Result<Cow<'c, str>, Failure<'static>> {
    let media_type = match entity.media_type() {
        None => None,
        Some(known) => Some(known.ok_or_else(|| refused(Reason::BadRequest, "unreadable Content-Type"))?),
    };
    if entity.field("Content-Encoding").is_some_and(|coding| !coding.eq_ignore_ascii_case(b"identity")) {
        return Err(refused(Reason::UnsupportedMedia, "a body part is encoded"));
    }
    match entity.decoded_body().map_err(unreadable)? {
        Cow::Borrowed(octets) => text(octets, media_type.as_ref(), depth),
        Cow::Owned(octets) => text(&octets, media_type.as_ref(), depth).map(|text| Cow::Owned(text.into_owned())),
    }
}

/// The text of a body of this type; plain text where none is named (RFC 2045 section 5.2).
fn text<'c>(
    octets: &'c [u8],
    media_type: Option<&MediaType<'_>>,
    depth: usize,
) -> Result<Cow<'c, str>, Failure<'static>> {
    let Some(media_type) = media_type else { return plain(octets, None) };
    if media_type.is("text", "plain") {
        return plain(octets, media_type.param("charset").as_deref());
    }
    if depth < DEEPEST && media_type.is("multipart", "alternative") {
        return alternative(&mime::parts(octets, media_type).map_err(unreadable)?, depth + 1);
    }
    if depth < DEEPEST && media_type.is("multipart", "mixed") {
        return mixed(&mime::parts(octets, media_type).map_err(unreadable)?, depth + 1);
    }
    Err(Reason::UnsupportedMedia.into())
}

fn plain<'c>(octets: &'c [u8], charset: Option<&[u8]>) -> Result<Cow<'c, str>, Failure<'static>> {
    charset::decode(octets, charset).map_err(|error| match error {
        CharsetError::Unknown => refused(Reason::UnsupportedMedia, "the charset is not known"),
        CharsetError::Invalid => refused(Reason::BadRequest, "the body is not valid in its charset"),
    })
}

/// Plain text is what we show best; else the last part that can be shown, as the parts grow richer (RFC 5621 section 6.1).
fn alternative<'c>(parts: &[Entity<'c>], depth: usize) -> Result<Cow<'c, str>, Failure<'static>> {
    let is_plain = |entity: &&Entity<'c>| match entity.media_type() {
        None => true,
        Some(media_type) => media_type.is_some_and(|media_type| media_type.is("text", "plain")),
    };
    let mut failure = Failure::from(Reason::UnsupportedMedia);
    let best = parts.iter().filter(is_plain).chain(parts.iter().rev().filter(|entity| !is_plain(entity)));
    for entity in best {
        match part(entity, depth) {
            Ok(text) => return Ok(text),
            Err(other) if failure.text.is_none() => failure = other,
            Err(_) => {}
        }
    }
    Err(failure)
}

/// All parts that can be shown, one below the other. A part that cannot is left out only where it says that it may be
/// (RFC 5621 section 8.4).
fn mixed<'c>(parts: &[Entity<'c>], depth: usize) -> Result<Cow<'c, str>, Failure<'static>> {
    let mut shown: Option<Cow<'c, str>> = None;
    for entity in parts {
        let is_for_show = entity
            .disposition()
            .is_none_or(|kind| [&b"render"[..], b"inline"].iter().any(|known| kind.eq_ignore_ascii_case(known)));
        let text = if is_for_show { part(entity, depth) } else { Err(Reason::UnsupportedMedia.into()) };
        match (text, &mut shown) {
            (Ok(text), None) => shown = Some(text),
            (Ok(text), Some(shown)) => {
                let shown = shown.to_mut();
                shown.push('\n');
                shown.push_str(&text);
            }
            (Err(failure), _) if failure.reason == Reason::UnsupportedMedia && entity.is_optional() => {}
            (Err(failure), _) => return Err(failure),
        }
    }
    shown.ok_or_else(|| Reason::UnsupportedMedia.into())
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
