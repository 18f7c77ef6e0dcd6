//! The arithmetic of digest authentication (RFC 7616 section 3.4).

use md5::{Digest, Md5};
use sha2::{Sha256, Sha512_256};

use crate::wire::print;

/// A hash algorithm, without its `-sess` variant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Algorithm {
    /// `MD5`, for old peers.
    Md5,
    /// `SHA-256`
    Sha256,
    /// `SHA-512-256`
    Sha512_256,
}

impl Algorithm {
    /// How the algorithm is written.
    pub const fn as_str(self) -> &'static str {
        match self {
            Algorithm::Md5 => "MD5",
            Algorithm::Sha256 => "SHA-256",
            Algorithm::Sha512_256 => "SHA-512-256",
        }
    }

    /// The algorithm that `name` means, and whether it is the `-sess` variant. Names ignore case.
    pub(super) fn read(name: &[u8]) -> Option<(Self, bool)> {
        let suffix = name.len().saturating_sub(5);
        let (stem, session) = match name.split_at_checked(suffix) {
            Some((stem, end)) if end.eq_ignore_ascii_case(b"-sess") => (stem, true),
            _ => (name, false),
        };
        [Algorithm::Md5, Algorithm::Sha256, Algorithm::Sha512_256]
            .into_iter()
            .find(|algorithm| algorithm.as_str().as_bytes().eq_ignore_ascii_case(stem))
            .map(|algorithm| (algorithm, session))
    }
}

/// What a digest protects (`qop`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Qop {
    /// `auth`: method and URI.
    Auth,
    /// `auth-int`: the body too.
    AuthInt,
}

impl Qop {
    /// How it is written.
    pub const fn as_str(self) -> &'static str {
        match self {
            Qop::Auth => "auth",
            Qop::AuthInt => "auth-int",
        }
    }
}

/// What proves a user.
#[derive(Clone, Copy)]
pub enum Secret<'a> {
    /// The password.
    Password(&'a [u8]),
    /// Lower-case hexadecimal `H(username:realm:password)` for each algorithm it was computed with.
    Ha1(&'a [(Algorithm, &'a str)]),
}

impl std::fmt::Debug for Secret<'_> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(match self {
            Secret::Password(_) => "Password(..)",
            Secret::Ha1(_) => "Ha1(..)",
        })
    }
}

/// A digest in lower-case hexadecimal digits.
pub(super) type Hex = Vec<u8>;

/// `H(a:b:c...)`.
pub(super) fn hash(algorithm: Algorithm, parts: &[&[u8]]) -> Hex {
    fn with<D: Digest>(parts: &[&[u8]]) -> Hex {
        let mut digest = D::new();
        for (place, part) in parts.iter().enumerate() {
            if place > 0 {
                digest.update(b":");
            }
            digest.update(part);
        }
        let mut hex = Vec::with_capacity(64);
        print::hexadecimal(&digest.finalize(), &mut hex);
        hex
    }
    match algorithm {
        Algorithm::Md5 => with::<Md5>(parts),
        Algorithm::Sha256 => with::<Sha256>(parts),
        Algorithm::Sha512_256 => with::<Sha512_256>(parts),
    }
}

/// What goes into a response.
pub(super) struct Inputs<'a> {
    pub(super) algorithm: Algorithm,
    /// For a `-sess` variant: the nonce with which the session began. Its `cnonce` stays the same.
    pub(super) session: Option<&'a [u8]>,
    pub(super) username: &'a [u8],
    pub(super) realm: &'a [u8],
    pub(super) nonce: &'a [u8],
    pub(super) cnonce: &'a [u8],
    /// `qop` with the nonce count as written.
    pub(super) protection: Option<(Qop, &'a [u8])>,
    pub(super) method: &'a [u8],
    pub(super) uri: &'a [u8],
    /// For `auth-int`.
    pub(super) body: &'a [u8],
}

impl Inputs<'_> {
    /// The `response` value; `None` if the secret does not know this algorithm. With `qop` it is that of RFC 7616
    /// section 3.4.1, without that of RFC 2069.
    pub(super) fn response(&self, secret: Secret<'_>) -> Option<Hex> {
        let mut a1 = match secret {
            Secret::Password(password) => hash(self.algorithm, &[self.username, self.realm, password]),
            Secret::Ha1(known) => {
                let (_, ha1) = known.iter().find(|(algorithm, _)| *algorithm == self.algorithm)?;
                ha1.as_bytes().to_ascii_lowercase()
            }
        };
        if let Some(nonce) = self.session {
            a1 = hash(self.algorithm, &[&a1, nonce, self.cnonce]);
        }
        let a2 = match self.protection {
            Some((Qop::AuthInt, _)) => {
                hash(self.algorithm, &[self.method, self.uri, &hash(self.algorithm, &[self.body])])
            }
            _ => hash(self.algorithm, &[self.method, self.uri]),
        };
        Some(match self.protection {
            Some((qop, nc)) => hash(self.algorithm, &[&a1, self.nonce, nc, self.cnonce, qop.as_str().as_bytes(), &a2]),
            None => hash(self.algorithm, &[&a1, self.nonce, &a2]),
        })
    }
}
