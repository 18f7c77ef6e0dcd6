//! XML as strangers may send it: a framer that finds the stanzas of a stream, a strict reader for one of them, and a writer.
//!
//! Specifications: XML 1.0 (fifth edition), Namespaces in XML 1.0, and the restrictions of RFC 6120 section 11: no DTD, no
//! comment, no processing instruction, no entity but the five that are built in, UTF-8 only. The end of tags and the
//! attributes are found by quick-xml's parsers; what they let through, this crate refuses: every character against the
//! `Char` production, every name, every prefix, duplicates by (namespace, name).
//!
//! It knows no vocabulary: what a stanza is, `xmpp` says. Nothing here recurses, and nothing allocates for a plain stanza.

#![forbid(unsafe_code)]

mod attribute;
mod error;
mod framer;
mod limits;
mod namespace;
mod reader;
mod text;
pub mod writer;

pub use error::{Error, Fault};
pub use framer::{Frame, Framer};
pub use limits::Limits;
pub use namespace::{StreamNamespaces, XML_NAMESPACE};
pub use reader::{Event, Reader};
