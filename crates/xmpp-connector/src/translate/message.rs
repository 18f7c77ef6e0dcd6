//! `<message/>` and message operations (RFC 7572 tables 1 and 2, RFC 3922 section 4).

use super::address::{self, AddressError};
use cpim::{Content, ImUri, Presentations, Reason, Subject};
use xmpp::stanza::{Localized, Message, MessageType};

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
    let destination = address::parse(to).map_err(AddressError::from);
    let destination = match destination.and_then(|to| address::to_cpim(&to, presentations)) {
        Ok(destination) => destination,
        Err(error) => return refused(error),
    };
    let source = address::parse_stamped(from).map_err(AddressError::from);
    match source.and_then(|from| address::to_cpim(&from, presentations)) {
        Ok(source) => Meaning::Operation(Abstracted { source, destination, content: content(message, body) }),
        Err(error) => refused(error),
    }
}

/// RFC 7572 table 1: the text with its language, and the subjects.
fn content<'a>(message: &Message<'a>, body: &Localized<'a>) -> Content<'a> {
    let subjects = message.subjects.iter().map(|subject| Subject {
        language: subject.lang.clone().or_else(|| message.lang.clone()),
        text: subject.text.clone(),
    });
    Content {
        subjects: subjects.collect(),
        language: body.lang.clone().or_else(|| message.lang.clone()),
        ..Content::text(body.text.clone())
    }
}
