//! XML as strangers may send it: a framer that finds the stanzas of a stream, a strict reader for one of them, and a writer.
//!
//! Specifications: XML 1.0 (fifth edition), Namespaces in XML 1.0, and the restrictions of RFC 6120 section 11: no DTD, no
//! comment, no processing instruction, no entity but the five that are built in, UTF-8 only. Every character is held against
//! the `Char` production, every name and prefix is checked, duplicates are found by (namespace, name).
//!
//! References are resolved by quick-xml, and its namespace reader is what the tests compare this one with. Its events are
//! not used: its reader allocates for every document, and lets through most of what this one is there to refuse.
//!
//! It knows no vocabulary: what a stanza is, `xmpp` says. Nothing here recurses, and nothing allocates for a plain stanza.

#![forbid(unsafe_code)]

mod error;
mod framer;
mod limits;
mod namespace;
mod reader;
mod tag;
mod text;
pub mod writer;

pub use error::{Error, Fault};
pub use framer::{Frame, Framer};
pub use limits::Limits;
pub use namespace::{StreamNamespaces, XML_NAMESPACE};
pub use reader::{Event, Reader};
