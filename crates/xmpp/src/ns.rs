//! Namespaces.

/// Content of the streams of components (XEP-0114).
pub const COMPONENT: &str = "jabber:component:accept";
/// Content of the streams of clients (RFC 6120 section 4.8.2).
pub const CLIENT: &str = "jabber:client";
/// Content of the streams between servers (RFC 6120 section 4.8.2).
pub const SERVER: &str = "jabber:server";
/// The stream element, its features and errors (RFC 6120 section 4.8.1).
pub const STREAM: &str = "http://etherx.jabber.org/streams";
/// Conditions of stream errors (RFC 6120 section 4.9.2).
pub const STREAM_ERRORS: &str = "urn:ietf:params:xml:ns:xmpp-streams";
/// Conditions of stanza errors (RFC 6120 section 8.3.2).
pub const STANZA_ERRORS: &str = "urn:ietf:params:xml:ns:xmpp-stanzas";
/// Chat states (XEP-0085).
pub const CHAT_STATES: &str = "http://jabber.org/protocol/chatstates";
/// Advanced message processing (XEP-0079).
pub const AMP: &str = "http://jabber.org/protocol/amp";
/// Nicknames (XEP-0172).
pub const NICK: &str = "http://jabber.org/protocol/nick";
/// Copies for the other devices of a user (XEP-0280).
pub const CARBONS: &str = "urn:xmpp:carbons:2";
/// Stanza headers (XEP-0131).
pub const SHIM: &str = "http://jabber.org/protocol/shim";
/// Delivery receipts (XEP-0184).
pub const RECEIPTS: &str = "urn:xmpp:receipts";
/// Ping (XEP-0199).
pub const PING: &str = "urn:xmpp:ping";
/// Delayed delivery (XEP-0203).
pub const DELAY: &str = "urn:xmpp:delay";
/// Last message correction (XEP-0308).
pub const CORRECTION: &str = "urn:xmpp:message-correct:0";
/// Chat markers (XEP-0333).
pub const MARKERS: &str = "urn:xmpp:chat-markers:0";
/// Processing hints (XEP-0334).
pub const HINTS: &str = "urn:xmpp:hints";
/// Stanza and origin ids (XEP-0359).
pub const STANZA_IDS: &str = "urn:xmpp:sid:0";
/// Service discovery: what an entity is and can (XEP-0030).
pub const DISCO_INFO: &str = "http://jabber.org/protocol/disco#info";
/// Service discovery: what belongs to an entity (XEP-0030).
pub const DISCO_ITEMS: &str = "http://jabber.org/protocol/disco#items";

/// Software version (XEP-0092).
pub const VERSION: &str = "jabber:iq:version";
/// Last activity (XEP-0012).
pub const LAST: &str = "jabber:iq:last";
/// What time it is (XEP-0202).
pub const TIME: &str = "urn:xmpp:time";
/// Addresses behind a gateway (XEP-0100 section 6.3).
pub const GATEWAY: &str = "jabber:iq:gateway";
/// Cards (XEP-0054).
pub const VCARD: &str = "vcard-temp";
/// Formatted text: the wrapper in a stanza (XEP-0071 section 5).
pub const XHTML_IM: &str = "http://jabber.org/protocol/xhtml-im";
/// XHTML itself.
pub const XHTML: &str = "http://www.w3.org/1999/xhtml";
/// Signed and encrypted entities (RFC 3923 section 9).
pub const E2E: &str = "urn:ietf:params:xml:ns:xmpp-e2e";

/// Whether a namespace is one of message archives (XEP-0313), of any version.
pub fn is_archive(namespace: &str) -> bool {
    namespace.starts_with("urn:xmpp:mam:")
}

/// Whether the header of a stream of `content` may have this default namespace (RFC 6120 section 4.8.2): that of its content,
/// or none of any content, if each first-level element declares its own.
pub fn may_be_default(default: Option<&str>, content: &str) -> bool {
    default.is_none_or(|default| default == content || default == STREAM)
}

/// Whether a namespace is one of stanzas. They differ by the kind of stream only; what they hold is the same.
pub fn is_content(namespace: &str) -> bool {
    matches!(namespace, COMPONENT | CLIENT | SERVER)
}
