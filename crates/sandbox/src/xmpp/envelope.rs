//! A stanza on its way: free of the stream it came from, to be written to any other.
//!
//! Stanzas are written again in the prefix-free form of RFC 6120 4.8.5, so that they mean the same under the namespaces of
//! every stream: what is in the content namespace inherits it, everything else declares its own.

use smallvec::SmallVec;
use std::borrow::Cow;
use xml::{Event, Limits, Reader, StreamNamespaces, XML_NAMESPACE, writer};
use xmpp::ns;
use xmpp::stanza::StanzaKind;

/// A stanza without its addresses.
#[derive(Clone, Debug)]
pub(super) struct Envelope {
    kind: StanzaKind,
    /// All attributes but `from` and `to`, each with a space before it.
    attributes: Vec<u8>,
    /// What stands between its tags.
    content: Vec<u8>,
}

impl Envelope {
    /// Reads a stanza of a stream. The language of the stream becomes its own, if it has none (RFC 6120 4.7.4).
    pub(super) fn read(
        kind: StanzaKind,
        raw: &[u8],
        namespaces: &StreamNamespaces,
        limits: &Limits,
    ) -> Result<Self, xml::Error> {
        let mut reader = Reader::new(raw, namespaces, limits)?;
        reader.next()?;
        let mut attributes = Vec::new();
        write_attributes(&reader, &["from", "to"], &mut attributes)?;
        if let (None, Some(language)) = (reader.language()?, namespaces.language()) {
            writer::attribute("xml:lang", language, &mut attributes);
        }
        let mut content = Vec::with_capacity(raw.len());
        copy_content(&mut reader, &mut content)?;
        Ok(Self { kind, attributes, content })
    }

    /// Appends the stanza with its addresses, and `more` behind its content.
    pub(super) fn write(&self, from: &str, to: &str, more: &[u8], out: &mut Vec<u8>) {
        let name = self.kind.as_str();
        out.push(b'<');
        out.extend_from_slice(name.as_bytes());
        writer::attribute("from", from, out);
        writer::attribute("to", to, out);
        out.extend_from_slice(&self.attributes);
        if self.content.is_empty() && more.is_empty() {
            out.extend_from_slice(b"/>");
            return;
        }
        out.push(b'>');
        out.extend_from_slice(&self.content);
        out.extend_from_slice(more);
        writer::close(name, out);
    }

    /// Octets that it holds.
    pub(super) fn len(&self) -> usize {
        self.attributes.len() + self.content.len()
    }
}

/// The attributes of the element that has begun.
fn write_attributes(reader: &Reader<'_, '_>, without: &[&str], out: &mut Vec<u8>) -> Result<(), xml::Error> {
    for (count, attribute) in reader.qualified_attributes().enumerate() {
        let (namespace, name, value) = attribute?;
        if namespace.is_empty() {
            if !without.contains(&name) {
                writer::attribute(name, &*value, out);
            }
        } else if namespace == XML_NAMESPACE {
            writer::attribute(&format!("xml:{name}"), &*value, out);
        } else {
            writer::attribute(&format!("xmlns:a{count}"), namespace, out);
            writer::attribute(&format!("a{count}:{name}"), &*value, out);
        }
    }
    Ok(())
}

/// An element whose end has not come.
struct Open<'a> {
    name: &'a str,
    /// The default namespace inside; `None` while it is the content namespace of whatever stream this goes to.
    namespace: Option<Cow<'a, str>>,
}

/// All that is inside of the element that has begun.
fn copy_content(reader: &mut Reader<'_, '_>, out: &mut Vec<u8>) -> Result<(), xml::Error> {
    let mut open: SmallVec<[Open<'_>; 8]> = SmallVec::new();
    // The tag that was written last still lacks its end.
    let mut tag = false;
    loop {
        let event = reader.next()?;
        if tag && event != Event::End {
            out.push(b'>');
            tag = false;
        }
        match event {
            Event::Start => {
                let namespace = reader.namespace_of_data();
                let outer = open.last().and_then(|open| open.namespace.as_deref());
                out.push(b'<');
                out.extend_from_slice(reader.name().as_bytes());
                let inside = if ns::is_content(&namespace) && outer.is_none() {
                    None
                } else {
                    // A stanza inside another element, as in XEP-0297, is one of a client.
                    let namespace = if ns::is_content(&namespace) { Cow::Borrowed(ns::CLIENT) } else { namespace };
                    if outer != Some(&*namespace) {
                        writer::attribute("xmlns", &*namespace, out);
                    }
                    Some(namespace)
                };
                write_attributes(reader, &[], out)?;
                open.push(Open { name: reader.name(), namespace: inside });
                tag = true;
            }
            Event::Text(text) => {
                writer::escape_text(&*text, out);
            }
            Event::End => match open.pop() {
                Some(_) if tag => {
                    out.extend_from_slice(b"/>");
                    tag = false;
                }
                Some(open) => writer::close(open.name, out),
                None => return reader.finish(),
            },
            Event::Done => return Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(text: &str) -> StreamNamespaces {
        let none = StreamNamespaces::default();
        let limits = Limits::default();
        let mut reader = Reader::header(text.as_bytes(), &none, &limits).unwrap();
        reader.next().unwrap();
        reader.stream_namespaces().unwrap()
    }

    fn written(kind: StanzaKind, raw: &str, namespaces: &StreamNamespaces) -> String {
        let envelope = Envelope::read(kind, raw.as_bytes(), namespaces, &Limits::default()).unwrap();
        let mut out = Vec::new();
        envelope.write("f@d", "t@d", b"", &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn addresses_are_replaced_and_all_else_is_kept() {
        let plain = StreamNamespaces::new(ns::CLIENT);
        for (raw, expected) in [
            ("<message/>", "<message from='f@d' to='t@d'/>"),
            (
                "<message to=\"x\" from='y' type='chat' id='1&apos;' ><body>a &lt; b &amp;</body><x xmlns='u'/></message>",
                "<message from='f@d' to='t@d' type='chat' id='1&apos;'><body>a &lt; b &amp;</body><x xmlns='u'/></message>",
            ),
            (
                "<message xml:lang='de'><a xmlns='u'><b xmlns='v'><c xmlns='u'/></b><d/></a> t </message>",
                "<message from='f@d' to='t@d' xml:lang='de'><a xmlns='u'><b xmlns='v'><c xmlns='u'/></b><d/></a> t </message>",
            ),
            (
                "<message><p:a xmlns:p='u' p:b='1' c='2'><p:d/></p:a><e xmlns=''/></message>",
                "<message from='f@d' to='t@d'><a xmlns='u' xmlns:a0='u' a0:b='1' c='2'><d/></a><e xmlns=''/></message>",
            ),
            (
                "<message><forwarded xmlns='urn:xmpp:forward:0'><message xmlns='jabber:client'><body/></message></forwarded></message>",
                "<message from='f@d' to='t@d'><forwarded xmlns='urn:xmpp:forward:0'><message xmlns='jabber:client'><body/></message></forwarded></message>",
            ),
        ] {
            assert_eq!(written(StanzaKind::Message, raw, &plain), expected);
        }
    }

    #[test]
    fn what_the_stream_declares_is_carried_along() {
        let namespaces = header(
            "<stream:stream xmlns='jabber:component:accept' xmlns:stream='http://etherx.jabber.org/streams' xmlns:q='urn:q' xml:lang='fr'>",
        );
        assert_eq!(
            written(StanzaKind::Presence, "<presence><show>away</show><q:x/></presence>", &namespaces),
            "<presence from='f@d' to='t@d' xml:lang='fr'><show>away</show><x xmlns='urn:q'/></presence>"
        );
        let prefixed = header("<stream xmlns='http://etherx.jabber.org/streams' xmlns:c='jabber:client'>");
        assert_eq!(
            written(StanzaKind::Message, "<c:message><c:body>x</c:body></c:message>", &prefixed),
            "<message from='f@d' to='t@d'><body>x</body></message>"
        );
    }
}
