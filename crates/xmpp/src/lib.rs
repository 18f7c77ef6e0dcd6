//! An XMPP stack without sockets: addresses, stanzas and streams (RFC 6120, 6121, 7622; XEP-0114).
//!
//! It knows no SIP, no CPIM, no socket, no clock and no source of randomness: streams are machines over [`turn::Input`]
//! that write to a [`turn::Output`].

#![forbid(unsafe_code)]

pub mod escape;
pub mod jid;
pub mod ns;
pub mod query;
pub mod sasl;
pub mod stanza;
pub mod stream;
