//! Digest access authentication for SIP: RFC 7616 with the changes of RFC 8760, and clients of RFC 2617 and RFC 2069.
//!
//! * [`Authenticator`] is the server's side: it writes challenges and judges credentials. Its nonces carry their own proof
//!   (a time stamp and a keyed hash), so a challenge costs no memory; only nonces that were used *with the right password*
//!   take a row in the table against replays.
//! * [`Challenge`] and [`answer`] are the client's side, and [`Keyring`] is its memory: accounts, and for each realm that has
//!   challenged us its nonce and how often it was used.
//!
//! Not here: `auth-int` on the server's side (a proxy may not see the body the client saw), `userhash`, a judgement on
//! `rspauth`, and `Basic`, which SIP forbids (RFC 3261 section 22). Who may do what is the caller's business. The clock and random bytes are parameters.

mod client;
mod digest;
mod fields;
mod keyring;
mod server;

pub use client::{Account, Covered, answer};
pub use digest::{Algorithm, Qop, Secret};
pub use fields::{AuthError, Challenge, Credentials};
pub use keyring::{Key, Keyring, Place, Shown, Unanswered};
pub use server::{Authenticator, Refused, Settings};

use crate::wire::HeaderName;

/// Who asks whom to say who he is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// A user agent server or registrar: 401, `WWW-Authenticate`, `Authorization` (RFC 3261 section 22.2).
    Server,
    /// A proxy: 407, `Proxy-Authenticate`, `Proxy-Authorization` (RFC 3261 section 22.3).
    Proxy,
}

impl Role {
    /// The role that sent a challenge with this status, if it is a challenge.
    pub const fn of_status(status: u16) -> Option<Self> {
        match status {
            401 => Some(Role::Server),
            407 => Some(Role::Proxy),
            _ => None,
        }
    }

    /// The status of a challenge.
    pub const fn status(self) -> u16 {
        match self {
            Role::Server => 401,
            Role::Proxy => 407,
        }
    }

    /// The header field of a challenge.
    pub const fn challenge(self) -> HeaderName {
        match self {
            Role::Server => HeaderName::WwwAuthenticate,
            Role::Proxy => HeaderName::ProxyAuthenticate,
        }
    }

    /// The header field of the credentials.
    pub const fn credentials(self) -> HeaderName {
        match self {
            Role::Server => HeaderName::Authorization,
            Role::Proxy => HeaderName::ProxyAuthorization,
        }
    }
}

#[cfg(test)]
mod tests;
