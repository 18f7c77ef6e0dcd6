//! `<message/>` and message operations (RFC 7572 tables 1 and 2, RFC 3922 section 4).

use super::address::{self, AddressError};
use cpim::{Content, Failure, ImUri, Presentations, Reason};
use std::borrow::Cow;
use xmpp::stanza::{Message, MessageType};

/// What a stanza with a body says, in the core's words.
#[derive(Debug)]
pub struct Abstracted<'a> {
    /// From whom.
    pub source: ImUri<'a>,
    /// To whom.
    pub destination: ImUri<'a>,
    /// The text.
    pub content: Content<'a>,
}

/// What a stanza is to the gateway.
#[derive(Debug)]
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
    /// There is no text: a chat state, a marker, a receipt.
    NoBody,
    /// The server did not say who sent it.
    NoSender,
}

/// `<message/>` -> message operation. Errors are not for here.
pub fn to_cpim<'a>(message: &Message<'a>, presentations: &Presentations) -> Meaning<'a> {
    match message.kind {
        MessageType::Headline => return Meaning::Nothing(Silence::Headline),
        // A gateway offers no rooms: the sender believes to be in one.
        MessageType::GroupChat => return Meaning::Refused(Reason::ServiceUnavailable),
        MessageType::Normal | MessageType::Chat | MessageType::Error => {}
    }
    let Some(from) = message.from.clone() else { return Meaning::Nothing(Silence::NoSender) };
    let Some(body) = message.bodies.first() else { return Meaning::Nothing(Silence::NoBody) };
    let to = message.to.clone().unwrap_or_default();
    let refused = |error| {
        Meaning::Refused(match error {
            AddressError::NoUser => Reason::ServiceUnavailable,
            AddressError::Unknown => Reason::NotFound,
            AddressError::Malformed => Reason::AddressMalformed,
        })
    };
    let read = |text| address::to_cpim(&address::parse(text)?, presentations);
    let destination = match read(to) {
        Ok(destination) => destination,
        Err(error) => return refused(error),
    };
    match read(from) {
        Ok(source) => Meaning::Operation(Abstracted { source, destination, content: Content::text(body.text.clone()) }),
        Err(error) => refused(error),
    }
}

/// The text to present as `<body/>`. What is no plain text in UTF-8 is refused: it could only cross altered.
pub fn body<'c>(content: &'c Content<'_>) -> Result<&'c str, Failure<'static>> {
    if content.encoding.is_some() {
        return Err(Reason::UnsupportedEncoding.into());
    }
    if let Some(media_type) = &content.media_type {
        if !media_type.is("text", "plain") {
            return Err(Reason::UnsupportedMedia.into());
        }
        if let Some(charset) = media_type.param("charset")
            && ![&b"utf-8"[..], b"us-ascii", b"utf8"].iter().any(|known| charset.eq_ignore_ascii_case(known))
        {
            return Err(Reason::UnsupportedMedia.into());
        }
    }
    std::str::from_utf8(&content.body).map_err(|_| Failure {
        reason: Reason::BadRequest,
        text: Some(Cow::Borrowed("the body is not UTF-8")),
        alternate: None,
    })
}
