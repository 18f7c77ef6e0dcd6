//! Writing stanzas into the buffer of a stream.
//!
//! Every function returns how many characters XML forbids were replaced by U+FFFD.

use super::{Condition, ErrorType, IqType, Localized, MessageType, PresenceType, Show};
use crate::ns;
use xml::writer::{attribute, close, element, escape_text};

/// A message to be written. All texts are UTF-8 and not escaped.
#[derive(Clone, Copy, Debug, Default)]
pub struct OutMessage<'a> {
    /// The sender.
    pub from: &'a [u8],
    /// The recipient.
    pub to: &'a [u8],
    /// Its id; empty writes none.
    pub id: &'a [u8],
    /// `type`; `normal` is not written.
    pub kind: MessageType,
    /// `xml:lang`.
    pub lang: Option<&'a [u8]>,
    /// `<subject/>`.
    pub subject: Option<&'a [u8]>,
    /// Further `<subject/>`, each in a language of its own.
    pub subjects: &'a [Localized<'a>],
    /// `<body/>`.
    pub body: Option<&'a [u8]>,
    /// Further `<body/>`, each in a language of its own.
    pub translations: &'a [Localized<'a>],
    /// `<html/>` (XEP-0071): for each language what stands in its XHTML `<body/>`, which is markup already.
    pub html: &'a [Localized<'a>],
    /// `<e2e/>` (RFC 3923): an entity with its header, its lines ended by LF. Nothing is written in its place: it must hold
    /// no character that XML forbids.
    pub e2e: Option<&'a str>,
    /// `<thread/>`.
    pub thread: Option<&'a [u8]>,
    /// What the sender wants to be called (XEP-0172).
    pub nick: Option<&'a [u8]>,
    /// `<origin-id/>` with the same id (XEP-0359).
    pub origin_id: bool,
    /// The stanza header `Max-Forwards` (XEP-0131).
    pub max_forwards: Option<u32>,
    /// The stanza header `Urgency` (XEP-0131).
    pub urgency: Option<&'a str>,
    /// Asks for a receipt (XEP-0184).
    pub request_receipt: bool,
    /// It is the receipt for the message of this id (XEP-0184).
    pub receipt: Option<&'a [u8]>,
    /// When it was sent, if that was earlier (XEP-0203, in the form of XEP-0082), and who held it back.
    pub delay: Option<(&'a [u8], &'a [u8])>,
}

/// A presence stanza to be written.
#[derive(Clone, Copy, Debug, Default)]
pub struct OutPresence<'a> {
    /// The sender; empty writes none.
    pub from: &'a [u8],
    /// The recipient; empty writes none.
    pub to: &'a [u8],
    /// Its id; empty writes none.
    pub id: &'a [u8],
    /// `type`.
    pub kind: PresenceType,
    /// `<show/>`.
    pub show: Option<Show>,
    /// `<status/>`.
    pub status: Option<&'a [u8]>,
    /// `<priority/>`; zero is not written.
    pub priority: i8,
}

/// An error to be written (RFC 6120 section 8.3.2).
#[derive(Clone, Copy, Debug)]
pub struct OutError<'a> {
    /// What happened.
    pub condition: Condition,
    /// What to do about it; `None` takes what goes with the condition.
    pub kind: Option<ErrorType>,
    /// A text for people, in English.
    pub text: Option<&'a [u8]>,
    /// The new address in `<gone/>` and `<redirect/>`.
    pub alternate: Option<&'a [u8]>,
}

impl From<Condition> for OutError<'_> {
    fn from(condition: Condition) -> Self {
        Self { condition, kind: None, text: None, alternate: None }
    }
}

/// Which element a stanza is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the element names")]
pub enum StanzaKind {
    Message,
    Presence,
    Iq,
}

impl StanzaKind {
    /// The name of the element.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Message => "message",
            Self::Presence => "presence",
            Self::Iq => "iq",
        }
    }
}

/// Writes `<message/>`.
pub fn write_message(message: &OutMessage<'_>, out: &mut Vec<u8>) -> usize {
    let kind = match message.kind {
        MessageType::Normal => "",
        kind => kind.as_str(),
    };
    let mut replaced = begin("message", message.from, message.to, message.id, kind, out);
    if let Some(lang) = message.lang {
        replaced += attribute("xml:lang", lang, out);
    }
    out.push(b'>');
    if let Some(subject) = message.subject {
        replaced += element("subject", subject, out);
    }
    for subject in message.subjects {
        replaced += localized("subject", subject, out);
    }
    if let Some(body) = message.body {
        replaced += element("body", body, out);
    }
    for body in message.translations {
        replaced += localized("body", body, out);
    }
    if !message.html.is_empty() {
        replaced += html(message.html, out);
    }
    if let Some(entity) = message.e2e {
        extension("e2e", ns::E2E, out);
        out.push(b'>');
        cdata(entity, out);
        close("e2e", out);
    }
    if let Some(thread) = message.thread {
        replaced += element("thread", thread, out);
    }
    if message.request_receipt {
        extension("request", ns::RECEIPTS, out);
        out.extend_from_slice(b"/>");
    }
    if let Some(id) = message.receipt {
        extension("received", ns::RECEIPTS, out);
        replaced += attribute("id", id, out);
        out.extend_from_slice(b"/>");
    }
    if message.origin_id {
        extension("origin-id", ns::STANZA_IDS, out);
        replaced += attribute("id", message.id, out);
        out.extend_from_slice(b"/>");
    }
    if let Some(nick) = message.nick {
        extension("nick", ns::NICK, out);
        out.push(b'>');
        replaced += escape_text(nick, out);
        close("nick", out);
    }
    if message.max_forwards.is_some() || message.urgency.is_some() {
        extension("headers", ns::SHIM, out);
        out.push(b'>');
        if let Some(hops) = message.max_forwards {
            out.extend_from_slice(b"<header name='Max-Forwards'>");
            write_decimal(hops, out);
            close("header", out);
        }
        if let Some(urgency) = message.urgency {
            out.extend_from_slice(b"<header name='Urgency'>");
            replaced += escape_text(urgency, out);
            close("header", out);
        }
        close("headers", out);
    }
    if let Some((stamp, by)) = message.delay {
        extension("delay", ns::DELAY, out);
        replaced += attribute("stamp", stamp, out);
        if !by.is_empty() {
            replaced += attribute("from", by, out);
        }
        out.extend_from_slice(b"/>");
    }
    close("message", out);
    replaced
}

/// Writes `<presence/>`.
pub fn write_presence(presence: &OutPresence<'_>, out: &mut Vec<u8>) -> usize {
    let mut replaced = begin("presence", presence.from, presence.to, presence.id, presence.kind.as_str(), out);
    if presence.show.is_none() && presence.status.is_none() && presence.priority == 0 {
        out.extend_from_slice(b"/>");
        return replaced;
    }
    out.push(b'>');
    if let Some(show) = presence.show {
        element("show", show.as_str(), out);
    }
    if let Some(status) = presence.status {
        replaced += element("status", status, out);
    }
    if presence.priority != 0 {
        out.extend_from_slice(b"<priority>");
        if presence.priority < 0 {
            out.push(b'-');
        }
        write_decimal(u32::from(presence.priority.unsigned_abs()), out);
        close("priority", out);
    }
    close("presence", out);
    replaced
}

/// Writes `<iq/>` around a payload that is XML already and stands for itself; it may be empty.
pub fn write_iq(kind: IqType, from: &[u8], to: &[u8], id: &[u8], payload: &[u8], out: &mut Vec<u8>) -> usize {
    let replaced = begin("iq", from, to, id, kind.as_str(), out);
    if payload.is_empty() {
        out.extend_from_slice(b"/>");
    } else {
        out.push(b'>');
        out.extend_from_slice(payload);
        close("iq", out);
    }
    replaced
}

/// Writes a ping (XEP-0199).
pub fn write_ping(from: &[u8], to: &[u8], id: &[u8], out: &mut Vec<u8>) -> usize {
    write_iq(IqType::Get, from, to, id, b"<ping xmlns='urn:xmpp:ping'/>", out)
}

/// Writes a stanza of type `error`.
pub fn write_error(
    kind: StanzaKind,
    from: &[u8],
    to: &[u8],
    id: &[u8],
    error: &OutError<'_>,
    out: &mut Vec<u8>,
) -> usize {
    let mut replaced = begin(kind.as_str(), from, to, id, "error", out);
    let condition = error.condition.as_str();
    out.extend_from_slice(b"><error type='");
    out.extend_from_slice(error.kind.unwrap_or(error.condition.default_type()).as_str().as_bytes());
    out.extend_from_slice(b"'>");
    extension(condition, ns::STANZA_ERRORS, out);
    match error.alternate {
        Some(address) if matches!(error.condition, Condition::Gone | Condition::Redirect) => {
            out.push(b'>');
            replaced += xml::writer::escape_text(address, out);
            close(condition, out);
        }
        _ => out.extend_from_slice(b"/>"),
    }
    if let Some(text) = error.text {
        extension("text", ns::STANZA_ERRORS, out);
        out.extend_from_slice(b" xml:lang='en'>");
        replaced += xml::writer::escape_text(text, out);
        close("text", out);
    }
    out.extend_from_slice(b"</error>");
    close(kind.as_str(), out);
    replaced
}

/// `<name` with the attributes that are not empty, and without its `>`.
fn begin(name: &str, from: &[u8], to: &[u8], id: &[u8], kind: &str, out: &mut Vec<u8>) -> usize {
    out.push(b'<');
    out.extend_from_slice(name.as_bytes());
    let mut replaced = 0;
    for (name, value) in [("from", from), ("to", to), ("id", id), ("type", kind.as_bytes())] {
        if !value.is_empty() {
            replaced += attribute(name, value, out);
        }
    }
    replaced
}

/// `<name xmlns='namespace'`, without its `>`.
fn extension(name: &str, namespace: &str, out: &mut Vec<u8>) {
    out.push(b'<');
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b" xmlns='");
    out.extend_from_slice(namespace.as_bytes());
    out.push(b'\'');
}

fn localized(name: &str, text: &Localized<'_>, out: &mut Vec<u8>) -> usize {
    out.push(b'<');
    out.extend_from_slice(name.as_bytes());
    let mut replaced = text.lang.as_ref().map_or(0, |lang| attribute("xml:lang", &**lang, out));
    out.push(b'>');
    replaced += escape_text(&*text.text, out);
    close(name, out);
    replaced
}

fn html(bodies: &[Localized<'_>], out: &mut Vec<u8>) -> usize {
    let mut replaced = 0;
    extension("html", ns::XHTML_IM, out);
    out.push(b'>');
    for body in bodies {
        extension("body", ns::XHTML, out);
        if let Some(lang) = &body.lang {
            replaced += attribute("xml:lang", &**lang, out);
        }
        out.push(b'>');
        out.extend_from_slice(body.text.as_bytes());
        close("body", out);
    }
    close("html", out);
    replaced
}

/// RFC 3923 section 3.1 wants a CDATA section; where its end stands in the text, it goes on in a second one.
fn cdata(text: &str, out: &mut Vec<u8>) {
    out.extend_from_slice(b"<![CDATA[");
    for (index, piece) in text.split("]]>").enumerate() {
        if index > 0 {
            out.extend_from_slice(b"]]]]><![CDATA[>");
        }
        out.extend_from_slice(piece.as_bytes());
    }
    out.extend_from_slice(b"]]>");
}

fn write_decimal(number: u32, out: &mut Vec<u8>) {
    if number >= 10 {
        write_decimal(number / 10, out);
    }
    out.push(b'0' + (number % 10) as u8);
}
