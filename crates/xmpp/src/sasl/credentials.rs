//! What a server keeps of passwords, and the sums that SCRAM checks them by (RFC 5802, RFC 7677).

use hmac::{Hmac, Mac};
use sha1::Sha1;
use sha2::{Digest, Sha256};
use std::fmt;
use turn::Minter;
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

/// Iterations for new verifiers: the least that RFC 5802 5.1 and RFC 7677 3 recommend.
pub const ITERATIONS: u32 = 4096;

/// A password that SASLprep refuses, or an empty one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the password is empty or has characters that SASLprep forbids")]
pub struct BadPassword;

/// What a server keeps of a password (RFC 5802 9): enough to check it, not enough to use it.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct Credentials {
    pub(super) sha256: Verifier,
    sha1: Verifier,
}

#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub(super) struct Verifier {
    pub(super) salt: Vec<u8>,
    pub(super) iterations: u32,
    pub(super) stored_key: Vec<u8>,
    pub(super) server_key: Vec<u8>,
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Credentials(..)")
    }
}

impl Credentials {
    /// Salts and hashes a password after SASLprep (RFC 4013). The salt wants to be unguessable and different for each user.
    pub fn from_password(password: &str, salt: &[u8], iterations: u32) -> Result<Self, BadPassword> {
        let password = prepare_password(password).ok_or(BadPassword)?;
        Ok(Self::derive(password.as_bytes(), salt, iterations))
    }

    fn derive(password: &[u8], salt: &[u8], iterations: u32) -> Self {
        let verifier = |hash| Verifier::derive(hash, password, salt, iterations);
        Self { sha256: verifier(Hash::Sha256), sha1: verifier(Hash::Sha1) }
    }

    /// Verifiers that no password fits, for a user who is not there: the answers look the same each time the same name
    /// is tried, and as for a user who is (RFC 5802 9 would otherwise tell who has an account).
    pub(super) fn decoy(user: &str, minter: &Minter) -> Self {
        let salt = minter.keyed(&[b"sasl salt", user.as_bytes()]).to_le_bytes();
        let verifier = |length| Verifier {
            salt: salt.to_vec(),
            iterations: ITERATIONS,
            // No key has this length, so nothing compares equal to it.
            stored_key: vec![0; length + 1],
            server_key: vec![0; length],
        };
        Self { sha256: verifier(32), sha1: verifier(20) }
    }

    pub(super) fn verifier(&self, hash: Hash) -> &Verifier {
        match hash {
            Hash::Sha256 => &self.sha256,
            Hash::Sha1 => &self.sha1,
        }
    }
}

impl Verifier {
    /// RFC 5802 3: SaltedPassword, ClientKey, StoredKey, ServerKey.
    pub(super) fn derive(hash: Hash, password: &[u8], salt: &[u8], iterations: u32) -> Self {
        let salted = hash.salted_password(password, salt, iterations);
        let client_key = Zeroizing::new(hash.hmac(&salted, &[b"Client Key"]));
        Self {
            salt: salt.to_vec(),
            iterations,
            stored_key: hash.digest(&client_key),
            server_key: hash.hmac(&salted, &[b"Server Key"]),
        }
    }
}

/// A password after SASLprep (RFC 4013), if it is one.
pub(super) fn prepare_password(password: &str) -> Option<Zeroizing<String>> {
    let prepared = stringprep::saslprep(password).ok()?;
    (!prepared.is_empty()).then(|| Zeroizing::new(prepared.into_owned()))
}

/// The hash functions of the mechanisms.
#[derive(Clone, Copy, Debug)]
pub(super) enum Hash {
    Sha256,
    Sha1,
}

impl Hash {
    pub(super) fn digest(self, message: &[u8]) -> Vec<u8> {
        match self {
            Hash::Sha256 => Sha256::digest(message).to_vec(),
            Hash::Sha1 => Sha1::digest(message).to_vec(),
        }
    }

    pub(super) fn hmac(self, key: &[u8], parts: &[&[u8]]) -> Vec<u8> {
        fn run<M: Mac + hmac::digest::KeyInit>(key: &[u8], parts: &[&[u8]]) -> Vec<u8> {
            let mut mac = <M as Mac>::new_from_slice(key).expect("HMAC takes keys of any length");
            for part in parts {
                mac.update(part);
            }
            mac.finalize().into_bytes().to_vec()
        }
        match self {
            Hash::Sha256 => run::<Hmac<Sha256>>(key, parts),
            Hash::Sha1 => run::<Hmac<Sha1>>(key, parts),
        }
    }

    pub(super) fn salted_password(self, password: &[u8], salt: &[u8], iterations: u32) -> Zeroizing<Vec<u8>> {
        match self {
            Hash::Sha256 => {
                let mut salted = Zeroizing::new(vec![0; 32]);
                pbkdf2::pbkdf2_hmac::<Sha256>(password, salt, iterations, &mut salted);
                salted
            }
            Hash::Sha1 => {
                let mut salted = Zeroizing::new(vec![0; 20]);
                pbkdf2::pbkdf2_hmac::<Sha1>(password, salt, iterations, &mut salted);
                salted
            }
        }
    }
}
