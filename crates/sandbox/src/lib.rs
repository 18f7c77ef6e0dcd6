//! Two little worlds: an XMPP domain and a SIP domain, in memory and without sockets.
//!
//! They are what the gateway stands between in `entente sandbox` and in tests. Both speak to real clients and know nothing
//! of the gateway: each treats it as it would treat anybody of its role.

#![forbid(unsafe_code)]

pub mod sip;
pub mod users;
pub mod xmpp;
