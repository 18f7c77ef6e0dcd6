//! `<message/>` (RFC 6121 section 5) and the extensions a gateway has to understand.

use super::{Common, Delay, Error, Texts, delay, error, localized, xhtml};
use crate::ns;
use std::borrow::Cow;
use xml::Reader;

/// A message, with texts resolved and known extensions picked out.
#[derive(Clone, Debug, Default)]
pub struct Message<'a> {
    /// The sender, as written.
    pub from: Option<Cow<'a, str>>,
    /// The recipient, as written.
    pub to: Option<Cow<'a, str>>,
    /// Its id.
    pub id: Option<Cow<'a, str>>,
    /// `type`.
    pub kind: MessageType,
    /// `xml:lang` of the stanza itself; the header of the stream may name another default.
    pub lang: Option<Cow<'a, str>>,
    /// `<body/>`, one for each language.
    pub bodies: Texts<'a>,
    /// `<subject/>`, one for each language.
    pub subjects: Texts<'a>,
    /// `<html/>`: each XHTML `<body/>` in it as markup without prefixes, one for each language (XEP-0071). What it holds is
    /// whatever its sender wrote.
    pub html: Texts<'a>,
    /// `<e2e/>`: an entity with its header, line ends made LF (RFC 3923).
    pub e2e: Option<Cow<'a, str>>,
    /// `<thread/>`.
    pub thread: Option<Cow<'a, str>>,
    /// The thread that this one springs from.
    pub thread_parent: Option<Cow<'a, str>>,
    /// The text of the stanza header `Max-Forwards` (XEP-0131).
    pub max_forwards: Option<Cow<'a, str>>,
    /// A receipt is asked for (XEP-0184).
    pub receipt_request: bool,
    /// It is a receipt, for the message of this id (XEP-0184).
    pub receipt: Option<Cow<'a, str>>,
    /// It was held back (XEP-0203).
    pub delay: Option<Delay<'a>>,
    /// The id its origin gave it (XEP-0359).
    pub origin_id: Option<Cow<'a, str>>,
    /// Typing and the like (XEP-0085).
    pub chat_state: Option<ChatState>,
    /// What servers should do with it (XEP-0334).
    pub hints: Hints,
    /// `<markable/>`: markers are welcome (XEP-0333).
    pub markable: bool,
    /// A marker, and the id of the message it marks (XEP-0333).
    pub marker: Option<(Marker, Cow<'a, str>)>,
    /// It replaces the message of this id (XEP-0308).
    pub replaces: Option<Cow<'a, str>>,
    /// `<error/>`.
    pub error: Option<Error<'a>>,
    /// It holds elements that are none of the above.
    pub has_other_payload: bool,
    /// Its octets.
    pub raw: &'a [u8],
}

/// `type` of a message (RFC 6121 section 5.2.2).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum MessageType {
    /// On its own; also what is absent or unknown.
    #[default]
    Normal,
    /// Part of a conversation.
    Chat,
    /// In a room.
    GroupChat,
    /// For reading, not for answering.
    Headline,
    /// An error about a message sent earlier.
    Error,
}

impl MessageType {
    /// The value of the attribute.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Normal => "normal",
            Self::Chat => "chat",
            Self::GroupChat => "groupchat",
            Self::Headline => "headline",
            Self::Error => "error",
        }
    }
}

/// XEP-0085.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the element names")]
pub enum ChatState {
    Active,
    Composing,
    Paused,
    Inactive,
    Gone,
}

impl ChatState {
    /// The name of the element.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Composing => "composing",
            Self::Paused => "paused",
            Self::Inactive => "inactive",
            Self::Gone => "gone",
        }
    }

    fn parse(name: &str) -> Option<Self> {
        [Self::Active, Self::Composing, Self::Paused, Self::Inactive, Self::Gone]
            .into_iter()
            .find(|state| state.as_str() == name)
    }
}

/// XEP-0333.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the element names")]
pub enum Marker {
    Received,
    Displayed,
    Acknowledged,
}

/// XEP-0334.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs, reason = "the element names")]
pub struct Hints {
    pub no_permanent_store: bool,
    pub no_store: bool,
    pub no_copy: bool,
    pub store: bool,
}

/// `<message/>`, which has begun.
pub(super) fn parse<'a>(reader: &mut Reader<'a, '_>, raw: &'a [u8]) -> Result<Message<'a>, xml::Error> {
    let common = Common::parse(reader)?;
    let kind = match common.kind.as_deref() {
        Some("chat") => MessageType::Chat,
        Some("groupchat") => MessageType::GroupChat,
        Some("headline") => MessageType::Headline,
        Some("error") => MessageType::Error,
        _ => MessageType::Normal,
    };
    let mut message =
        Message { from: common.from, to: common.to, id: common.id, lang: common.lang, kind, raw, ..Message::default() };
    while reader.next_child()? {
        child(reader, &mut message)?;
    }
    Ok(message)
}

/// One child of `<message/>`. Where the schema allows one and several come, the first counts.
fn child<'a>(reader: &mut Reader<'a, '_>, message: &mut Message<'a>) -> Result<(), xml::Error> {
    match (reader.name(), reader.namespace()) {
        ("body", space) if ns::is_content(space) => message.bodies.push(localized(reader)?),
        ("subject", space) if ns::is_content(space) => message.subjects.push(localized(reader)?),
        ("thread", space) if ns::is_content(space) => {
            let parent = reader.attribute("parent")?;
            let thread = reader.text_content()?;
            if message.thread.is_none() && !thread.is_empty() {
                message.thread = Some(thread);
                message.thread_parent = parent;
            }
        }
        ("error", space) if ns::is_content(space) => {
            let error = error::parse(reader)?;
            message.error.get_or_insert(error);
        }
        ("html", ns::XHTML_IM) => {
            let bodies = xhtml::parse(reader)?;
            if message.html.is_empty() {
                message.html = bodies;
            }
        }
        ("e2e", ns::E2E) => {
            let entity = reader.text_content()?;
            message.e2e.get_or_insert(entity);
        }
        ("request", ns::RECEIPTS) => {
            message.receipt_request = true;
            reader.skip_element()?;
        }
        ("received", ns::RECEIPTS) => {
            // Without an id it is a receipt for nothing (XEP-0184 section 5.4 wants one).
            let id = reader.attribute("id")?;
            message.receipt = message.receipt.take().or(id);
            reader.skip_element()?;
        }
        ("headers", ns::SHIM) => headers(reader, message)?,
        ("delay", ns::DELAY) => {
            let delay = delay(reader)?;
            message.delay = message.delay.take().or(delay);
        }
        ("origin-id", ns::STANZA_IDS) => {
            let id = reader.attribute("id")?;
            message.origin_id = message.origin_id.take().or(id);
            reader.skip_element()?;
        }
        // What an archive on the way calls it; it says nothing to us and is nothing unknown.
        ("stanza-id", ns::STANZA_IDS) => drop(reader.skip_element()?),
        (name, ns::CHAT_STATES) => {
            let state = ChatState::parse(name);
            message.has_other_payload |= state.is_none();
            message.chat_state = message.chat_state.or(state);
            reader.skip_element()?;
        }
        (name, ns::HINTS) => {
            match name {
                "no-permanent-store" => message.hints.no_permanent_store = true,
                "no-store" => message.hints.no_store = true,
                "no-copy" => message.hints.no_copy = true,
                "store" => message.hints.store = true,
                _ => {}
            }
            reader.skip_element()?;
        }
        ("markable", ns::MARKERS) => {
            message.markable = true;
            reader.skip_element()?;
        }
        (name @ ("received" | "displayed" | "acknowledged"), ns::MARKERS) => {
            let marker = match name {
                "received" => Marker::Received,
                "displayed" => Marker::Displayed,
                _ => Marker::Acknowledged,
            };
            let marked = reader.attribute("id")?.map(|id| (marker, id));
            message.marker = message.marker.take().or(marked);
            reader.skip_element()?;
        }
        ("replace", ns::CORRECTION) => {
            let id = reader.attribute("id")?;
            message.replaces = message.replaces.take().or(id);
            reader.skip_element()?;
        }
        _ => {
            message.has_other_payload = true;
            reader.skip_element()?;
        }
    }
    Ok(())
}

/// `<headers/>` (XEP-0131 section 2), which has begun.
fn headers<'a>(reader: &mut Reader<'a, '_>, message: &mut Message<'a>) -> Result<(), xml::Error> {
    while reader.next_child()? {
        let wanted = reader.is(ns::SHIM, "header")
            && reader.attribute("name")?.is_some_and(|name| name.eq_ignore_ascii_case("Max-Forwards"));
        let text = reader.text_content()?;
        if wanted {
            message.max_forwards.get_or_insert(text);
        }
    }
    Ok(())
}
