//! A SIP stack without sockets: the language of the SIP side (RFC 3261 and its family).
//!
//! * [`wire`]: messages as bytes: parsing, checking, printing, framing.
//! * [`auth`]: digest challenges and answers (RFC 7616, RFC 8760).
//! * [`transaction`]: one request and its responses.
//! * [`endpoint`]: owns the transactions; messages in, new requests and final outcomes out.
//! * [`transport`]: the connections that messages go over, where they do not go as datagrams.
//! * [`locate`]: where a URI leads.
//! * [`route_set`]: the proxies that requests have to visit.
//! * [`registrar`]: where the users of a domain can be reached; [`proxy`]: what to pass on to whom.
//!
//! Nothing here opens a socket, asks the clock or draws random numbers: `now`, secrets and random bytes are parameters.

#![forbid(unsafe_code)]

pub mod auth;
pub mod endpoint;
pub mod locate;
pub mod proxy;
pub mod registrar;
pub mod route_set;
pub mod transaction;
pub mod transport;
pub mod wire;
