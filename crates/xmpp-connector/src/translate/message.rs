//! `<message/>` and message operations (RFC 7572 tables 1 and 2, RFC 3922 section 4).

use super::address::{self, AddressError};
use super::e2e::{self, E2eError};
use cpim::{Content, ImUri, Presentations, Reason, Subject};
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
    if message.bodies.is_empty() && message.e2e.is_none() {
        return Meaning::Nothing(Silence::NoBody);
    }
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
        Ok(source) => match content(message) {
            Ok(content) => Meaning::Operation(Abstracted { source, destination, content }),
            Err(_) => Meaning::Refused(Reason::BadRequest),
        },
        Err(error) => refused(error),
    }
}

/// RFC 7572 table 1: the text with its language, and the subjects. An entity in `<e2e/>` is what is said (RFC 3923 section 8),
/// and the body beside it is for those who do not know that.
fn content<'a>(message: &Message<'a>) -> Result<Content<'a>, E2eError> {
    let subjects = message.subjects.iter().map(|subject| Subject {
        language: subject.lang.clone().or_else(|| message.lang.clone()),
        text: subject.text.clone(),
    });
    let subjects = subjects.collect();
    if let Some(entity) = &message.e2e {
        return Ok(Content { subjects, ..e2e::unwrap(entity)? });
    }
    let Some(body) = message.bodies.first() else { return Ok(Content::default()) };
    let language = body.lang.clone().or_else(|| message.lang.clone());
    Ok(Content { subjects, language, ..Content::text(body.text.clone()) })
}
