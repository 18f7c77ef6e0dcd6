//! What requests about an entity are answered with: the payloads of `<iq/>` that servers and components write and read.

use crate::ns;
use crate::stanza::Iq;
use std::borrow::Cow;
use xml::writer::{attribute, close, element};
use xml::{Limits, Reader, StreamNamespaces};

/// What an entity is (XEP-0030 section 3.1), by the registry of categories and types.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Identity<'a> {
    /// `category`.
    pub category: &'a str,
    /// `type`.
    pub kind: &'a str,
    /// `name`, for people; empty writes none.
    pub name: &'a str,
}

/// Appends a disco#info result (XEP-0030 section 3.1): what an entity is, unless it is a node that is none, and what it can.
pub fn write_info<'f>(
    node: Option<&str>,
    identity: Option<&Identity<'_>>,
    features: impl IntoIterator<Item = &'f str>,
    out: &mut Vec<u8>,
) {
    begin(ns::DISCO_INFO, node, out);
    out.push(b'>');
    if let Some(identity) = identity {
        out.extend_from_slice(b"<identity");
        attribute("category", identity.category, out);
        attribute("type", identity.kind, out);
        if !identity.name.is_empty() {
            attribute("name", identity.name, out);
        }
        out.extend_from_slice(b"/>");
    }
    for feature in features {
        out.extend_from_slice(b"<feature");
        attribute("var", feature, out);
        out.extend_from_slice(b"/>");
    }
    close("query", out);
}

/// Appends a disco#items result (XEP-0030 section 4.1) with the addresses that belong to an entity.
pub fn write_items<'j>(node: Option<&str>, addresses: impl IntoIterator<Item = &'j str>, out: &mut Vec<u8>) {
    begin(ns::DISCO_ITEMS, node, out);
    let empty = out.len();
    out.push(b'>');
    let mut any = false;
    for address in addresses {
        any = true;
        out.extend_from_slice(b"<item");
        attribute("jid", address, out);
        out.extend_from_slice(b"/>");
    }
    if any {
        close("query", out);
    } else {
        out.truncate(empty);
        out.extend_from_slice(b"/>");
    }
}

/// Appends what software it is (XEP-0092).
pub fn write_version(name: &str, version: &str, out: &mut Vec<u8>) {
    begin(ns::VERSION, None, out);
    out.push(b'>');
    element("name", name, out);
    element("version", version, out);
    close("query", out);
}

/// Appends how long ago an entity was last active; of a server or component how long it has run (XEP-0012 section 5).
pub fn write_last(seconds: u64, out: &mut Vec<u8>) {
    begin(ns::LAST, None, out);
    attribute("seconds", seconds.to_string(), out);
    out.extend_from_slice(b"/>");
}

/// Appends what time it is (XEP-0202): `utc` in the form of XEP-0082, and the zone of UTC.
pub fn write_time(utc: &str, out: &mut Vec<u8>) {
    out.extend_from_slice(b"<time");
    attribute("xmlns", ns::TIME, out);
    out.extend_from_slice(b"><tzo>+00:00</tzo>");
    element("utc", utc, out);
    close("time", out);
}

/// Appends what a gateway asks people for when they look for somebody (XEP-0100 section 6.3): the question, and what the
/// field is called, in a language.
pub fn write_prompt(language: &str, question: &str, field: &str, out: &mut Vec<u8>) {
    begin(ns::GATEWAY, None, out);
    attribute("xml:lang", language, out);
    out.push(b'>');
    element("desc", question, out);
    element("prompt", field, out);
    close("query", out);
}

/// Appends the address that a gateway made of what was entered (XEP-0100 section 6.3).
pub fn write_prompted(jid: &[u8], out: &mut Vec<u8>) {
    begin(ns::GATEWAY, None, out);
    out.push(b'>');
    element("jid", jid, out);
    close("query", out);
}

/// What was entered: the text of `<prompt/>` (XEP-0100 section 6.3) in a request that was read from a stream with these
/// namespaces and limits. `None` if there is no such element.
pub fn read_prompt<'a>(iq: &Iq<'a>, namespaces: &StreamNamespaces, limits: &Limits) -> Option<Cow<'a, str>> {
    // Read within the stanza, where its prefixes are declared.
    let mut reader = Reader::new(iq.raw, namespaces, limits).ok()?;
    reader.next().ok()?;
    while reader.next_child().ok()? {
        if !reader.is(ns::GATEWAY, "query") {
            reader.skip_element().ok()?;
            continue;
        }
        while reader.next_child().ok()? {
            if reader.is(ns::GATEWAY, "prompt") {
                return reader.text_content().ok();
            }
            reader.skip_element().ok()?;
        }
    }
    None
}

/// `<query xmlns='...' node='...'`, without its `>`.
fn begin(namespace: &str, node: Option<&str>, out: &mut Vec<u8>) {
    out.extend_from_slice(b"<query");
    attribute("xmlns", namespace, out);
    if let Some(node) = node {
        attribute("node", node, out);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stanza::{Stanza, parse_stanza};

    fn written(write: impl FnOnce(&mut Vec<u8>)) -> String {
        let mut out = Vec::new();
        write(&mut out);
        String::from_utf8(out).expect("UTF-8")
    }

    /// The examples of the specifications, their addresses aside.
    #[test]
    fn payloads_as_the_specifications_show_them() {
        let identity = Identity { category: "gateway", kind: "simple", name: "a & b" };
        for (payload, expected) in [
            (
                written(|out| write_info(None, Some(&identity), ["urn:xmpp:ping", "jid\\20escaping"], out)),
                "<query xmlns='http://jabber.org/protocol/disco#info'>\
                 <identity category='gateway' type='simple' name='a &amp; b'/>\
                 <feature var='urn:xmpp:ping'/><feature var='jid\\20escaping'/></query>",
            ),
            (
                written(|out| {
                    write_info(
                        Some("http://jabber.org/protocol/shim"),
                        None,
                        ["http://jabber.org/protocol/shim#Store"],
                        out,
                    );
                }),
                "<query xmlns='http://jabber.org/protocol/disco#info' node='http://jabber.org/protocol/shim'>\
                 <feature var='http://jabber.org/protocol/shim#Store'/></query>",
            ),
            (written(|out| write_items(None, [], out)), "<query xmlns='http://jabber.org/protocol/disco#items'/>"),
            (
                written(|out| write_items(Some("'n'"), ["a@b/c"], out)),
                "<query xmlns='http://jabber.org/protocol/disco#items' node='&apos;n&apos;'><item jid='a@b/c'/></query>",
            ),
            (
                written(|out| write_version("Exodus", "0.7.0.4", out)),
                "<query xmlns='jabber:iq:version'><name>Exodus</name><version>0.7.0.4</version></query>",
            ),
            (written(|out| write_last(123_456, out)), "<query xmlns='jabber:iq:last' seconds='123456'/>"),
            (
                written(|out| write_time("2006-12-19T17:58:35Z", out)),
                "<time xmlns='urn:xmpp:time'><tzo>+00:00</tzo><utc>2006-12-19T17:58:35Z</utc></time>",
            ),
            (
                written(|out| write_prompt("en", "Please enter the AOL Screen Name of the person.", "Contact ID", out)),
                "<query xmlns='jabber:iq:gateway' xml:lang='en'><desc>Please enter the AOL Screen Name of the \
                 person.</desc><prompt>Contact ID</prompt></query>",
            ),
            (
                written(|out| write_prompted(b"FooBar@aim.jabber.org", out)),
                "<query xmlns='jabber:iq:gateway'><jid>FooBar@aim.jabber.org</jid></query>",
            ),
        ] {
            assert_eq!(payload, expected);
        }
    }

    #[test]
    fn what_was_entered_is_the_text_of_the_prompt() {
        let namespaces = StreamNamespaces::new(ns::COMPONENT);
        for (payload, expected) in [
            ("<query xmlns='jabber:iq:gateway'><prompt>Foo &amp; Bar</prompt></query>", Some("Foo & Bar")),
            ("<query xmlns='jabber:iq:gateway'> <x/><prompt/></query>", Some("")),
            ("<g:query xmlns:g='jabber:iq:gateway'><g:prompt>x</g:prompt></g:query>", Some("x")),
            ("<query xmlns='jabber:iq:gateway'><prompt>a<b/>c</prompt></query>", Some("ac")),
            ("<query xmlns='jabber:iq:gateway'><prompt xmlns='urn:x'>x</prompt></query>", None),
            ("<query xmlns='jabber:iq:gateway'/>", None),
            ("<query xmlns='urn:x'><prompt>x</prompt></query>", None),
        ] {
            let raw = format!("<iq type='set' id='1'>{payload}</iq>");
            let limits = Limits::default();
            let Ok(Stanza::Iq(iq)) = parse_stanza(raw.as_bytes(), &namespaces, &limits) else { panic!("{raw}") };
            assert_eq!(read_prompt(&iq, &namespaces, &limits).as_deref(), expected, "{payload}");
        }
    }
}
