//! Challenging and judging (RFC 7616 sections 3.3, 3.4.6 and 5, RFC 8760 section 2.3).
//!
//! A nonce is `time | salt | HMAC-SHA-256(key, realm | time | salt)` in hexadecimal digits. It proves by itself that it is
//! ours and how old it is. Replays are caught by a table of the nonces that were used with a right password: the highest
//! nonce count and which of the 64 below it have been seen, so that requests may overtake each other. When the table is
//! full the oldest row goes, and every nonce that is not younger becomes stale: forgetting costs a client one more round trip,
//! never the protection.

use std::collections::BTreeMap;

use hmac::{Hmac, Mac};
use sha2::Sha256;
use subtle::ConstantTimeEq;

use super::Role;
use super::digest::{Algorithm, Inputs, Qop, Secret};
use super::fields::{Credentials, nonce_count};
use crate::wire::{Method, print};

const STAMP: usize = 8;
const SALT: usize = 8;
const PROOF: usize = 16;
const NONCE: usize = STAMP + SALT + PROOF;

/// How one realm authenticates.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The realm.
    pub realm: String,
    /// What is offered, the most preferred first. Others are not accepted.
    pub algorithms: Vec<Algorithm>,
    /// Seconds for which a nonce is good.
    pub lifetime: u64,
    /// Rows of the table against replays.
    pub nonces: usize,
}

/// The server's side of one realm.
pub struct Authenticator {
    settings: Settings,
    key: [u8; 32],
    /// By age, so that the first row is the oldest.
    used: BTreeMap<Stamp, Counts>,
    /// Nonces up to this time have been forgotten.
    forgotten: Option<u64>,
}

impl std::fmt::Debug for Authenticator {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Authenticator").field("settings", &self.settings).finish_non_exhaustive()
    }
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Stamp {
    time: u64,
    salt: [u8; SALT],
}

/// Which nonce counts have been seen.
struct Counts {
    highest: u32,
    /// Bit n: `highest - n` has been seen.
    seen: u64,
}

/// Why credentials are not accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Refused {
    /// They are for another realm: look at the next ones; without any, challenge.
    #[error("credentials are for another realm")]
    Realm,
    /// An algorithm that was not offered: challenge.
    #[error("algorithm was not offered")]
    Algorithm,
    /// User name or password are wrong: challenge anew, or 403 (RFC 3261 section 22.1).
    #[error("wrong user or password")]
    Wrong,
    /// The password is right, the nonce is old, not ours, or used: challenge with `stale`.
    #[error("nonce is stale")]
    Stale,
}

impl Authenticator {
    /// An authenticator whose nonces are proven with `key`: 32 random bytes, new at every start, because the table against
    /// replays starts empty.
    pub fn new(settings: Settings, key: [u8; 32]) -> Self {
        Self { settings, key, used: BTreeMap::new(), forgotten: None }
    }

    /// The realm.
    pub fn realm(&self) -> &str {
        &self.settings.realm
    }

    /// Whether credentials are for this realm.
    pub fn is_for(&self, credentials: &Credentials<'_>) -> bool {
        *credentials.realm == *self.settings.realm.as_bytes()
    }

    /// Appends the challenge lines, one for each algorithm (RFC 8760 section 2.3). `now` is in seconds
    /// of any epoch; `salt` are random bytes.
    pub fn challenge(&self, role: Role, now: u64, salt: [u8; 8], stale: bool, out: &mut Vec<u8>) {
        self.challenge_with(|_| true, role, now, salt, stale, out);
    }

    /// As [`challenge`](Self::challenge), with those algorithms only that are `wanted`.
    pub fn challenge_with(
        &self,
        wanted: impl Fn(Algorithm) -> bool,
        role: Role,
        now: u64,
        salt: [u8; 8],
        stale: bool,
        out: &mut Vec<u8>,
    ) {
        let nonce = self.nonce(Stamp { time: now, salt });
        for algorithm in self.settings.algorithms.iter().filter(|algorithm| wanted(**algorithm)) {
            out.extend_from_slice(role.challenge().as_str().as_bytes());
            out.extend_from_slice(b": Digest realm=");
            print::quoted_string(self.settings.realm.as_bytes(), out);
            out.extend_from_slice(b", qop=\"auth\", algorithm=");
            out.extend_from_slice(algorithm.as_str().as_bytes());
            out.extend_from_slice(b", nonce=\"");
            out.extend_from_slice(&nonce);
            // Nothing is kept in it; some clients expect it.
            out.extend_from_slice(b"\", opaque=\"0\"");
            if stale {
                out.extend_from_slice(b", stale=true");
            }
            print::line_end(out);
        }
    }

    /// Judges credentials. The secret is that of `credentials.username` in this realm; for an unknown user pass a secret that
    /// nobody knows, so that the time taken tells nothing.
    ///
    /// Credentials without `qop` (RFC 2069) are accepted once per nonce, because nothing in them counts.
    pub fn verify(
        &mut self,
        now: u64,
        method: Method<'_>,
        credentials: &Credentials<'_>,
        secret: Secret<'_>,
    ) -> Result<(), Refused> {
        if !self.is_for(credentials) {
            return Err(Refused::Realm);
        }
        if !self.settings.algorithms.contains(&credentials.algorithm) {
            return Err(Refused::Algorithm);
        }
        let inputs = Inputs {
            algorithm: credentials.algorithm,
            session: credentials.session.then_some(&*credentials.nonce),
            username: &credentials.username,
            realm: &credentials.realm,
            nonce: &credentials.nonce,
            cnonce: &credentials.cnonce,
            protection: credentials.nc.as_deref().map(|nc| (Qop::Auth, nc)),
            method: method.as_bytes(),
            uri: &credentials.uri,
            body: b"",
        };
        let expected = inputs.response(secret).ok_or(Refused::Algorithm)?;
        let given = credentials.response.to_ascii_lowercase();
        if !bool::from(expected.as_slice().ct_eq(given.as_slice())) {
            return Err(Refused::Wrong);
        }
        let stamp = self.read_nonce(&credentials.nonce).ok_or(Refused::Stale)?;
        let expired = stamp.time > now || now.saturating_sub(stamp.time) > self.settings.lifetime;
        if expired || self.forgotten.is_some_and(|forgotten| stamp.time <= forgotten) {
            return Err(Refused::Stale);
        }
        self.forget(now, stamp);
        if self.forgotten.is_some_and(|forgotten| stamp.time <= forgotten) {
            return Err(Refused::Stale);
        }
        let count = match &credentials.nc {
            Some(nc) => nonce_count(nc).ok_or(Refused::Wrong)?,
            None => u32::MAX,
        };
        if self.used.entry(stamp).or_insert(Counts { highest: 0, seen: 1 }).take(count) {
            Ok(())
        } else {
            Err(Refused::Stale)
        }
    }

    /// How many rows the table against replays has.
    pub fn used_nonces(&self) -> usize {
        self.used.len()
    }

    /// Makes room for a row of `next`: what has expired goes, then what is oldest.
    fn forget(&mut self, now: u64, next: Stamp) {
        let room = if self.used.contains_key(&next) { usize::MAX } else { self.settings.nonces.max(1) };
        while let Some((&oldest, _)) = self.used.first_key_value() {
            if now.saturating_sub(oldest.time) > self.settings.lifetime {
                self.used.pop_first();
            } else if self.used.len() >= room {
                self.used.pop_first();
                self.forgotten = self.forgotten.max(Some(oldest.time));
            } else {
                break;
            }
        }
    }

    fn proof(&self, stamp: Stamp) -> [u8; PROOF] {
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.key).expect("HMAC takes a key of any length");
        mac.update(&stamp.time.to_be_bytes());
        mac.update(&stamp.salt);
        mac.update(self.settings.realm.as_bytes());
        let mut proof = [0; PROOF];
        proof.iter_mut().zip(mac.finalize().into_bytes()).for_each(|(place, byte)| *place = byte);
        proof
    }

    fn nonce(&self, stamp: Stamp) -> Vec<u8> {
        let mut nonce = Vec::with_capacity(NONCE * 2);
        print::hexadecimal(&stamp.time.to_be_bytes(), &mut nonce);
        print::hexadecimal(&stamp.salt, &mut nonce);
        print::hexadecimal(&self.proof(stamp), &mut nonce);
        nonce
    }

    /// The stamp of a nonce that is ours.
    fn read_nonce(&self, nonce: &[u8]) -> Option<Stamp> {
        if nonce.len() != NONCE * 2 {
            return None;
        }
        let text = std::str::from_utf8(nonce).ok()?;
        let time = u64::from_str_radix(text.get(..STAMP * 2)?, 16).ok()?;
        let salt = u64::from_str_radix(text.get(STAMP * 2..(STAMP + SALT) * 2)?, 16).ok()?;
        let stamp = Stamp { time, salt: salt.to_be_bytes() };
        bool::from(self.nonce(stamp).as_slice().ct_eq(nonce)).then_some(stamp)
    }
}

impl Counts {
    /// Takes `count` if it has not been seen and is not too far behind. Zero was never given out.
    fn take(&mut self, count: u32) -> bool {
        if count > self.highest {
            let ahead = count - self.highest;
            self.seen = self.seen.checked_shl(ahead).unwrap_or(0) | 1;
            self.highest = count;
            return true;
        }
        let bit = 1_u64.checked_shl(self.highest - count).unwrap_or(0);
        if bit == 0 || self.seen & bit != 0 {
            return false;
        }
        self.seen |= bit;
        true
    }
}
