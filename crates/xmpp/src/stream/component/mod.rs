//! Streams of components (XEP-0114), both roles: [`Component`] attaches a domain to a server, [`ComponentAcceptor`] is the
//! server.
//!
//! ```text
//! component:  <stream:stream xmlns='jabber:component:accept' to='sip.example'>
//! server:     <stream:stream xmlns='jabber:component:accept' from='sip.example' id='3BF96D32'>
//! component:  <handshake>SHA-1 of id and secret</handshake>
//! server:     <handshake/>
//! ```
//!
//! Then stanzas flow. XEP-0114 has no TLS and no SASL: the link belongs on one machine or into a tunnel.

mod accepting;
mod initiating;
#[cfg(test)]
mod tests;

pub use accepting::{AcceptorEvent, AcceptorSettings, ComponentAcceptor};
pub use initiating::{Component, ComponentEvent, ComponentSettings, Counters, DownReason, Fatal, Timeouts};

use super::StreamError;
use crate::ns;
use sha1::{Digest, Sha1};
use std::borrow::Cow;
use std::fmt;
use xml::{Limits, Reader, StreamNamespaces};
use zeroize::Zeroizing;

/// What a component and its server share. It is wiped from memory when dropped, and never shown.
#[derive(Clone)]
pub struct Secret(Zeroizing<Vec<u8>>);

impl Secret {
    /// A secret, as octets.
    pub fn new(secret: impl Into<Vec<u8>>) -> Self {
        Self(Zeroizing::new(secret.into()))
    }

    /// What proves that the component knows it: the lower-case hexadecimal SHA-1 of the stream's id, references resolved,
    /// and the secret (XEP-0114 section 3).
    fn digest(&self, stream_id: &str) -> [u8; 40] {
        let mut hash = Sha1::new();
        hash.update(stream_id.as_bytes());
        hash.update(&*self.0);
        let mut hex = [0; 40];
        for (pair, octet) in hex.chunks_exact_mut(2).zip(hash.finalize()) {
            for (digit, value) in pair.iter_mut().zip([octet >> 4, octet & 15]) {
                *digit = if value < 10 { b'0' + value } else { b'a' + value - 10 };
            }
        }
        hex
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

/// What the header of the other side says.
struct Header<'a> {
    to: Option<Cow<'a, str>>,
    id: Option<Cow<'a, str>>,
    namespaces: StreamNamespaces,
    /// The element or a namespace is another than XEP-0114 uses.
    fault: Option<StreamError>,
}

impl<'a> Header<'a> {
    fn parse(bytes: &'a [u8], limits: &Limits) -> Result<Self, xml::Error> {
        let none = StreamNamespaces::default();
        let mut reader = Reader::header(bytes, &none, limits)?;
        reader.next()?;
        let namespaces = reader.stream_namespaces()?;
        let fault = if reader.namespace() != ns::STREAM || !ns::may_be_default(namespaces.find(""), ns::COMPONENT) {
            Some(StreamError::InvalidNamespace)
        } else if reader.name() != "stream" {
            Some(StreamError::BadFormat)
        } else {
            None
        };
        Ok(Self { to: reader.attribute("to")?, id: reader.attribute("id")?, namespaces, fault })
    }
}

const END: &[u8] = b"</stream:stream>";

/// `<?xml version='1.0'?><stream:stream ...` without the attributes that differ, and without its `>`.
fn begin_header(out: &mut Vec<u8>) {
    out.extend_from_slice(b"<?xml version='1.0'?><stream:stream");
    xml::writer::attribute("xmlns", ns::COMPONENT, out);
    xml::writer::attribute("xmlns:stream", ns::STREAM, out);
}

/// Reads `<stream:error/>` (RFC 6120 section 4.9): its condition and its text.
fn parse_stream_error<'a>(
    raw: &'a [u8],
    namespaces: &StreamNamespaces,
    limits: &Limits,
) -> Result<(StreamError, Option<Cow<'a, str>>), xml::Error> {
    let mut reader = Reader::new(raw, namespaces, limits)?;
    reader.next()?;
    let mut condition = None;
    let mut text = None;
    while reader.next_child()? {
        match (reader.namespace(), reader.name()) {
            (ns::STREAM_ERRORS, "text") => text = Some(reader.text_content()?),
            (ns::STREAM_ERRORS, name) => {
                condition.get_or_insert(StreamError::parse(name));
                reader.skip_element()?;
            }
            _ => drop(reader.skip_element()?),
        }
    }
    Ok((condition.unwrap_or(StreamError::UndefinedCondition), text))
}
