//! `<message/>` (RFC 6121 section 5) and the extensions a gateway has to understand.

use super::{Common, Delay, Error, Localized, Texts, delay, error, localized, xhtml};
use crate::ns;
use smallvec::SmallVec;
use std::borrow::Cow;
use xml::Reader;

/// Of elements that may stand several times, so many are read; the rest is passed over.
const MOST_OF_A_KIND: usize = 8;

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
    /// The stanza headers that are known here (XEP-0131).
    pub headers: Headers<'a>,
    /// What the sender wants to be called (XEP-0172).
    pub nick: Option<Cow<'a, str>>,
    /// When it is to be given up, as it was written (XEP-0079 section 3.3.2 and XEP-0082).
    pub expire_at: Option<Cow<'a, str>>,
    /// A receipt is asked for (XEP-0184).
    pub receipt_request: bool,
    /// It is a receipt, for the message of this id (XEP-0184).
    pub receipt: Option<Cow<'a, str>>,
    /// It was held back (XEP-0203), by one or by several on the way.
    pub delays: SmallVec<[Delay<'a>; 1]>,
    /// The id its origin gave it (XEP-0359).
    pub origin_id: Option<Cow<'a, str>>,
    /// The ids that others gave it on the way (XEP-0359), one of each.
    pub stanza_ids: SmallVec<[StanzaId<'a>; 1]>,
    /// It shows somebody a message that was sent before, in a wrapper.
    pub shown_again: Option<Wrapper>,
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

/// An id that somebody on the way gave a message (XEP-0359).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StanzaId<'a> {
    /// The id.
    pub id: Cow<'a, str>,
    /// Who gave it, as he says.
    pub by: Cow<'a, str>,
}

/// What wraps a message that was sent before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wrapper {
    /// A copy for another device of the same user (XEP-0280).
    Carbon,
    /// What an archive found (XEP-0313).
    Archive,
}

/// Stanza headers (XEP-0131 section 5): the texts of those that are known here.
#[derive(Clone, Debug, Default)]
pub struct Headers<'a> {
    /// `Max-Forwards` (RFC 3261).
    pub max_forwards: Option<Cow<'a, str>>,
    /// `Created`.
    pub created: Option<Cow<'a, str>>,
    /// `Urgency`.
    pub urgency: Option<Cow<'a, str>>,
    /// `Store`.
    pub store: Option<Cow<'a, str>>,
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
        ("body", space) if ns::is_content(space) => add_text(&mut message.bodies, localized(reader)?),
        ("subject", space) if ns::is_content(space) => add_text(&mut message.subjects, localized(reader)?),
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
            message.delays.extend(delay.filter(|_| message.delays.len() < MOST_OF_A_KIND));
        }
        ("origin-id", ns::STANZA_IDS) => {
            let id = reader.attribute("id")?;
            message.origin_id = message.origin_id.take().or(id);
            reader.skip_element()?;
        }
        ("stanza-id", ns::STANZA_IDS) => {
            let (id, by) = (reader.attribute("id")?, reader.attribute("by")?);
            reader.skip_element()?;
            // XEP-0359 section 3: with both, and one of each.
            if let (Some(id), Some(by)) = (id, by)
                && message.stanza_ids.len() < MOST_OF_A_KIND
                && message.stanza_ids.iter().all(|known| known.by != by)
            {
                message.stanza_ids.push(StanzaId { id, by });
            }
        }
        ("nick", ns::NICK) => {
            let nick = reader.text_content()?;
            message.nick.get_or_insert(nick);
        }
        ("amp", ns::AMP) => rules(reader, message)?,
        ("sent" | "received", ns::CARBONS) => {
            message.shown_again = Some(Wrapper::Carbon);
            reader.skip_element()?;
        }
        ("result", space) if ns::is_archive(space) => {
            message.shown_again = Some(Wrapper::Archive);
            reader.skip_element()?;
        }
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

/// One text for each language (RFC 6121 sections 5.2.3 and 5.2.4): of two in the same the first counts.
fn add_text<'a>(texts: &mut Texts<'a>, text: Localized<'a>) {
    if texts.len() < MOST_OF_A_KIND && texts.iter().all(|known| known.lang != text.lang) {
        texts.push(text);
    }
}

/// `<headers/>` (XEP-0131 section 2), which has begun. Names are compared as RFC 3261 does, without regard to case.
fn headers<'a>(reader: &mut Reader<'a, '_>, message: &mut Message<'a>) -> Result<(), xml::Error> {
    while reader.next_child()? {
        let name = if reader.is(ns::SHIM, "header") { reader.attribute("name")? } else { None };
        let text = reader.text_content()?;
        let is = |known: &str| name.as_deref().is_some_and(|name| name.eq_ignore_ascii_case(known));
        let headers = &mut message.headers;
        let place = if is("Max-Forwards") {
            &mut headers.max_forwards
        } else if is("Created") {
            &mut headers.created
        } else if is("Urgency") {
            &mut headers.urgency
        } else if is("Store") {
            &mut headers.store
        } else {
            continue;
        };
        place.get_or_insert(text);
    }
    Ok(())
}

/// `<amp/>` (XEP-0079), which has begun: of its rules only the moment counts after which the message is to be dropped or
/// refused.
fn rules<'a>(reader: &mut Reader<'a, '_>, message: &mut Message<'a>) -> Result<(), xml::Error> {
    while reader.next_child()? {
        if reader.is(ns::AMP, "rule")
            && reader.attribute("condition")?.as_deref() == Some("expire-at")
            && matches!(reader.attribute("action")?.as_deref(), Some("drop" | "error"))
            && let Some(value) = reader.attribute("value")?
        {
            message.expire_at.get_or_insert(value);
        }
        reader.skip_element()?;
    }
    Ok(())
}
