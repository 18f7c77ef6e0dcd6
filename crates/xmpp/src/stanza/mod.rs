//! Stanzas: `<message/>`, `<presence/>`, `<iq/>` (RFC 6120 section 8), read and written.
//!
//! What is read borrows from the stream's data; entities, CDATA and line ends are already resolved. What is written goes
//! straight into the buffer of a stream, without a namespace of its own: it takes the content namespace of the stream.

mod error;
mod iq;
mod message;
mod presence;
mod write;
mod xhtml;

pub use error::{Condition, Error, ErrorType};
pub use iq::{Iq, IqType, Payload};
pub use message::{ChatState, Headers, Hints, Marker, Message, MessageType, StanzaId, Wrapper};
pub use presence::{Presence, PresenceType, Show};
pub use write::{
    OutError, OutMessage, OutPresence, StanzaKind, write_error, write_iq, write_message, write_ping, write_presence,
};

use crate::ns;
use smallvec::SmallVec;
use std::borrow::Cow;
use xml::{Limits, Reader, StreamNamespaces};

/// One element of depth one of a stream.
#[derive(Clone, Debug)]
#[allow(clippy::large_enum_variant, reason = "it lives on the stack for one call; a box would cost an allocation")]
pub enum Stanza<'a> {
    /// `<message/>`.
    Message(Message<'a>),
    /// `<presence/>`.
    Presence(Presence<'a>),
    /// `<iq/>`.
    Iq(Iq<'a>),
    /// Something that is not a stanza: `<stream:error/>`, `<handshake/>`, `<stream:features/>`, the unknown.
    Other {
        /// Its local name.
        name: &'a str,
        /// Its namespace.
        ns: Cow<'a, str>,
        /// Its octets.
        raw: &'a [u8],
    },
}

impl<'a> Stanza<'a> {
    /// The octets it was read from.
    pub fn raw(&self) -> &'a [u8] {
        match self {
            Self::Message(message) => message.raw,
            Self::Presence(presence) => presence.raw,
            Self::Iq(iq) => iq.raw,
            Self::Other { raw, .. } => raw,
        }
    }
}

/// Text with the language it is said to be in; `None` inherits the one of the stanza.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Localized<'a> {
    /// `xml:lang` of the element itself.
    pub lang: Option<Cow<'a, str>>,
    /// The text.
    pub text: Cow<'a, str>,
}

/// Texts of the same element in several languages (RFC 6121 section 5.2.3): nearly always one.
pub type Texts<'a> = SmallVec<[Localized<'a>; 1]>;

/// When and where a stanza was held back (XEP-0203).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delay<'a> {
    /// The moment, as it was written (XEP-0082).
    pub stamp: Cow<'a, str>,
    /// Who held it back.
    pub from: Option<Cow<'a, str>>,
}

/// Reads one whole element of a stream, checked to its end. An error ends the stream: what is wrong in a way that RFC 6120
/// answers with a stanza error is read, and shows as such.
pub fn parse_stanza<'a>(
    bytes: &'a [u8],
    namespaces: &StreamNamespaces,
    limits: &Limits,
) -> Result<Stanza<'a>, xml::Error> {
    let mut reader = Reader::new(bytes, namespaces, limits)?;
    reader.next()?;
    let stanza = match (ns::is_content(reader.namespace()), reader.name()) {
        (true, "message") => Stanza::Message(message::parse(&mut reader, bytes)?),
        (true, "presence") => Stanza::Presence(presence::parse(&mut reader, bytes)?),
        (true, "iq") => Stanza::Iq(iq::parse(&mut reader, bytes)?),
        (_, name) => Stanza::Other { name, ns: reader.namespace_of_data(), raw: bytes },
    };
    reader.finish()?;
    Ok(stanza)
}

/// The start tag of a stanza, for those who have to answer one that they do not read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StanzaHead<'a> {
    /// Which element it is.
    pub kind: StanzaKind,
    /// The sender, as written.
    pub from: Option<Cow<'a, str>>,
    /// The recipient, as written.
    pub to: Option<Cow<'a, str>>,
    /// Its id.
    pub id: Option<Cow<'a, str>>,
    /// `type`, as written.
    pub stanza_type: Option<Cow<'a, str>>,
}

/// Reads the start tag that `bytes` begin with, whatever follows. `None` if it is not one of a stanza.
pub fn parse_head<'a>(bytes: &'a [u8], namespaces: &StreamNamespaces, limits: &Limits) -> Option<StanzaHead<'a>> {
    let mut reader = Reader::new(bytes, namespaces, limits).ok()?;
    reader.next().ok()?;
    let kind = match reader.name() {
        "message" => StanzaKind::Message,
        "presence" => StanzaKind::Presence,
        "iq" => StanzaKind::Iq,
        _ => return None,
    };
    if !ns::is_content(reader.namespace()) {
        return None;
    }
    let Common { from, to, id, kind: stanza_type, .. } = Common::parse(&reader).ok()?;
    Some(StanzaHead { kind, from, to, id, stanza_type })
}

/// The attributes that all stanzas have (RFC 6120 section 8.1).
struct Common<'a> {
    from: Option<Cow<'a, str>>,
    to: Option<Cow<'a, str>>,
    id: Option<Cow<'a, str>>,
    lang: Option<Cow<'a, str>>,
    kind: Option<Cow<'a, str>>,
}

impl<'a> Common<'a> {
    fn parse(reader: &Reader<'a, '_>) -> Result<Self, xml::Error> {
        let mut common = Self { from: None, to: None, id: None, lang: reader.language()?, kind: None };
        for attribute in reader.attributes() {
            let (name, value) = attribute?;
            match name {
                "from" => common.from = Some(value),
                "to" => common.to = Some(value),
                "id" => common.id = Some(value),
                "type" => common.kind = Some(value),
                _ => {}
            }
        }
        Ok(common)
    }
}

/// The element that has begun, as a text in a language.
fn localized<'a>(reader: &mut Reader<'a, '_>) -> Result<Localized<'a>, xml::Error> {
    Ok(Localized { lang: reader.language()?, text: reader.text_content()? })
}

/// `<delay/>`, which has begun; `None` if it says no moment.
fn delay<'a>(reader: &mut Reader<'a, '_>) -> Result<Option<Delay<'a>>, xml::Error> {
    let stamp = reader.attribute("stamp")?;
    let from = reader.attribute("from")?;
    reader.skip_element()?;
    Ok(stamp.map(|stamp| Delay { stamp, from }))
}

#[cfg(test)]
mod tests;
