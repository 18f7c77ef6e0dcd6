//! Who lives in the domain, and how they prove it.

use sip::auth::{Algorithm, AuthError, Authenticator, Credentials, Refused, Role, Secret};
use sip::proxy::Domain;
use sip::registrar::AddressOfRecord;
use sip::wire::{Head, Method, Uri};
use std::collections::BTreeMap;
use turn::Minter;

/// Seconds for which a nonce is good.
const NONCE_LIFETIME: u64 = 300;
/// Nonces that are watched for replays.
const NONCES: usize = 10_000;

/// Why there is no such user.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum UserError {
    /// A user has a name without control characters.
    #[error("the name is empty or holds control characters")]
    Name,
    /// The name is taken.
    #[error("there is such a user already")]
    Exists,
}

/// The users of a domain, with their passwords.
pub(super) struct Realm {
    domain: String,
    /// Host and port that name the proxy itself.
    own: (Vec<u8>, u16),
    users: BTreeMap<Vec<u8>, String>,
    authenticator: Authenticator,
    /// The password of whoever does not exist.
    nobody: [u8; 16],
}

/// What credentials were worth.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Proof {
    /// They are those of this user.
    User(Vec<u8>),
    /// There are none, or they are wrong, or (`stale`) only their nonce is.
    Missing { stale: bool },
    /// They cannot be read.
    Malformed,
}

impl Realm {
    pub(super) fn new(domain: &str, sent_by: &str, algorithms: Vec<Algorithm>, minter: &Minter) -> Self {
        let mut key = [0; 32];
        let (front, back) = key.split_at_mut(16);
        front.copy_from_slice(&minter.table_seed("nonces"));
        back.copy_from_slice(&minter.table_seed("more nonces"));
        let settings =
            sip::auth::Settings { realm: domain.to_owned(), algorithms, lifetime: NONCE_LIFETIME, nonces: NONCES };
        Self {
            domain: domain.to_owned(),
            own: host_and_port(sent_by),
            users: BTreeMap::new(),
            authenticator: Authenticator::new(settings, key),
            nobody: minter.table_seed("nobody"),
        }
    }

    pub(super) fn add(&mut self, name: &str, password: &str) -> Result<(), UserError> {
        if name.is_empty() || name.chars().any(char::is_control) {
            return Err(UserError::Name);
        }
        if self.users.contains_key(name.as_bytes()) {
            return Err(UserError::Exists);
        }
        self.users.insert(name.as_bytes().to_vec(), password.to_owned());
        Ok(())
    }

    /// The address of a user of the domain.
    pub(super) fn address(&self, user: &[u8]) -> Option<AddressOfRecord> {
        let mut uri = b"sip:".to_vec();
        sip::wire::print::escape_user(user, &mut uri);
        uri.push(b'@');
        uri.extend_from_slice(self.domain.as_bytes());
        AddressOfRecord::of(&Uri::parse(&uri).ok()?)
    }

    /// Whether a URI names somebody of the domain, known or not.
    pub(super) fn is_ours(&self, uri: &Uri<'_>) -> bool {
        uri.host.eq_ignore_ascii_case(self.domain.as_bytes())
    }

    /// Judges the credentials of a request. `now` is in seconds.
    pub(super) fn verify(&mut self, role: Role, now: u64, method: Method<'_>, head: &Head<'_>) -> Proof {
        for value in head.all(role.credentials()) {
            let credentials = match Credentials::parse(value) {
                Ok(credentials) => credentials,
                Err(AuthError::Malformed) => return Proof::Malformed,
                // What we ask nobody for is for somebody else.
                Err(_) => continue,
            };
            let password = self.users.get(&*credentials.username).map(String::as_bytes);
            let known = password.is_some();
            let secret = Secret::Password(password.unwrap_or(&self.nobody));
            match self.authenticator.verify(now, method, &credentials, secret) {
                Ok(()) if known => return Proof::User(credentials.username.into_owned()),
                Err(Refused::Realm) => {}
                Err(Refused::Stale) if known => return Proof::Missing { stale: true },
                _ => return Proof::Missing { stale: false },
            }
        }
        Proof::Missing { stale: false }
    }

    /// Appends the lines of a challenge, with the `wanted` algorithms.
    pub(super) fn challenge(
        &self,
        wanted: impl Fn(Algorithm) -> bool,
        role: Role,
        now: u64,
        salt: u128,
        stale: bool,
        out: &mut Vec<u8>,
    ) {
        self.authenticator.challenge_with(wanted, role, now, (salt as u64).to_le_bytes(), stale, out);
    }
}

impl Domain for Realm {
    fn serves(&self, uri: &Uri<'_>) -> bool {
        self.is_ours(uri) || self.is_proxy(uri)
    }

    fn is_proxy(&self, uri: &Uri<'_>) -> bool {
        let (host, port) = &self.own;
        let named = uri.host.eq_ignore_ascii_case(host) && uri.port.unwrap_or(5060) == *port;
        named || (self.is_ours(uri) && uri.user.is_none())
    }

    fn knows(&self, address: &AddressOfRecord) -> bool {
        self.users.contains_key(address.user()) && self.address(address.user()).as_ref() == Some(address)
    }
}

fn host_and_port(sent_by: &str) -> (Vec<u8>, u16) {
    let split = sent_by.rsplit_once(':').and_then(|(host, port)| Some((host, port.parse().ok()?)));
    let (host, port) = split.unwrap_or((sent_by, 5060));
    (host.as_bytes().to_vec(), port)
}
