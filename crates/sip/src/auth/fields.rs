//! Challenges and credentials as they stand in header fields (RFC 3261 section 25.1, RFC 7616 sections 3.3 and 3.4).

use std::borrow::Cow;

use super::digest::{Algorithm, Qop};
use crate::wire::headers::unquote;
use crate::wire::uri::Uri;

/// Why a challenge or credentials cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AuthError {
    /// Another scheme than Digest.
    #[error("authentication scheme is not Digest")]
    Scheme,
    /// It breaks the grammar, repeats a parameter, or lacks one.
    #[error("malformed digest parameters")]
    Malformed,
    /// An algorithm that is not known here.
    #[error("unknown digest algorithm")]
    Algorithm,
    /// A quality of protection that is not done here.
    #[error("unsupported quality of protection")]
    Qop,
    /// The account has no secret for the algorithm of the challenge.
    #[error("no secret for this algorithm")]
    NoSecret,
}

/// A value of `WWW-Authenticate` or `Proxy-Authenticate`. Texts are without quotes and escapes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Challenge<'a> {
    /// Whose password is asked for.
    pub realm: Cow<'a, [u8]>,
    /// The nonce.
    pub nonce: Cow<'a, [u8]>,
    /// To be sent back as it is.
    pub opaque: Option<Cow<'a, [u8]>>,
    /// The algorithm; MD5 if none was named.
    pub algorithm: Algorithm,
    /// Whether it is the `-sess` variant.
    pub session: bool,
    /// Whether the algorithm was named.
    pub algorithm_named: bool,
    /// The best of what was offered as `qop`: `auth`, because a proxy on the way may change the body, else `auth-int`.
    /// Without any it is the digest of RFC 2069.
    pub qop: Option<Qop>,
    /// Whether only the nonce was too old.
    pub stale: bool,
}

impl<'a> Challenge<'a> {
    /// Reads one value.
    pub fn parse(value: &'a [u8]) -> Result<Self, AuthError> {
        let mut realm = None;
        let mut nonce = None;
        let mut opaque = None;
        let mut algorithm = None;
        let mut qop = None;
        let mut stale = None;
        each_param(value, |name, value| match name {
            _ if name.eq_ignore_ascii_case(b"realm") => set(&mut realm, value),
            _ if name.eq_ignore_ascii_case(b"nonce") => set(&mut nonce, value),
            _ if name.eq_ignore_ascii_case(b"opaque") => set(&mut opaque, value),
            _ if name.eq_ignore_ascii_case(b"algorithm") => set(&mut algorithm, value),
            _ if name.eq_ignore_ascii_case(b"qop") => set(&mut qop, value),
            _ if name.eq_ignore_ascii_case(b"stale") => set(&mut stale, value),
            _ => Ok(()),
        })?;
        let (known, session) = read_algorithm(algorithm.as_deref())?;
        let qop = match qop.as_deref() {
            None => None,
            Some(offered) => {
                // What is not known is ignored (RFC 7616 section 3.3).
                let offers = |qop: &Qop| {
                    let mut words = offered.split(|&byte| byte == b',').map(<[u8]>::trim_ascii);
                    words.any(|word| word.eq_ignore_ascii_case(qop.as_str().as_bytes()))
                };
                Some([Qop::Auth, Qop::AuthInt].into_iter().find(offers).ok_or(AuthError::Qop)?)
            }
        };
        Ok(Self {
            realm: realm.ok_or(AuthError::Malformed)?,
            nonce: nonce.ok_or(AuthError::Malformed)?,
            opaque,
            algorithm: known,
            session,
            algorithm_named: algorithm.is_some(),
            qop,
            stale: stale.is_some_and(|stale| stale.eq_ignore_ascii_case(b"true")),
        })
    }

    /// The same challenge, owning its texts.
    pub fn into_owned(self) -> Challenge<'static> {
        Challenge {
            realm: Cow::Owned(self.realm.into_owned()),
            nonce: Cow::Owned(self.nonce.into_owned()),
            opaque: self.opaque.map(|opaque| Cow::Owned(opaque.into_owned())),
            algorithm: self.algorithm,
            session: self.session,
            algorithm_named: self.algorithm_named,
            qop: self.qop,
            stale: self.stale,
        }
    }

    /// The topmost of several challenges that can be answered (RFC 8760 section 2.4).
    pub fn topmost(values: impl Iterator<Item = &'a [u8]>) -> Option<Self> {
        values.filter_map(|value| Self::parse(value).ok()).next()
    }
}

/// A value of `Authorization` or `Proxy-Authorization`. Texts are without quotes and escapes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Credentials<'a> {
    /// Who it claims to be.
    pub username: Cow<'a, [u8]>,
    /// For whom.
    pub realm: Cow<'a, [u8]>,
    /// The nonce of the challenge.
    pub nonce: Cow<'a, [u8]>,
    /// The Request-URI as the client knew it.
    pub uri: Cow<'a, [u8]>,
    /// The proof.
    pub response: Cow<'a, [u8]>,
    /// The algorithm; MD5 if none was named.
    pub algorithm: Algorithm,
    /// Whether it is the `-sess` variant.
    pub session: bool,
    /// The client's nonce; empty if there is none.
    pub cnonce: Cow<'a, [u8]>,
    /// The nonce count as written, if there is a `qop`.
    ///
    /// COMPAT: libpurple 2.14.12 sends `nc`, quoted, without `qop` and `cnonce`: a digest of RFC 2069, its `nc` counts for
    /// nothing (test: `clients_without_qop_are_let_in_once_per_nonce`).
    pub nc: Option<Cow<'a, [u8]>>,
}

impl<'a> Credentials<'a> {
    /// Reads one value.
    pub fn parse(value: &'a [u8]) -> Result<Self, AuthError> {
        let mut username = None;
        let mut realm = None;
        let mut nonce = None;
        let mut uri = None;
        let mut response = None;
        let mut algorithm = None;
        let mut cnonce = None;
        let mut qop = None;
        let mut nc = None;
        each_param(value, |name, value| match name {
            _ if name.eq_ignore_ascii_case(b"username") => set(&mut username, value),
            _ if name.eq_ignore_ascii_case(b"realm") => set(&mut realm, value),
            _ if name.eq_ignore_ascii_case(b"nonce") => set(&mut nonce, value),
            _ if name.eq_ignore_ascii_case(b"uri") => set(&mut uri, value),
            _ if name.eq_ignore_ascii_case(b"response") => set(&mut response, value),
            _ if name.eq_ignore_ascii_case(b"algorithm") => set(&mut algorithm, value),
            _ if name.eq_ignore_ascii_case(b"cnonce") => set(&mut cnonce, value),
            _ if name.eq_ignore_ascii_case(b"qop") => set(&mut qop, value),
            _ if name.eq_ignore_ascii_case(b"nc") => set(&mut nc, value),
            _ => Ok(()),
        })?;
        let (algorithm, session) = read_algorithm(algorithm.as_deref())?;
        let nc = match qop.as_deref() {
            None => None,
            Some(qop) if qop.eq_ignore_ascii_case(b"auth") => {
                let nc = nc.filter(|nc| nonce_count(nc).is_some()).ok_or(AuthError::Malformed)?;
                cnonce.as_ref().ok_or(AuthError::Malformed)?;
                Some(nc)
            }
            Some(_) => return Err(AuthError::Qop),
        };
        if session && cnonce.is_none() {
            return Err(AuthError::Malformed);
        }
        Ok(Self {
            username: username.ok_or(AuthError::Malformed)?,
            realm: realm.ok_or(AuthError::Malformed)?,
            nonce: nonce.ok_or(AuthError::Malformed)?,
            uri: uri.ok_or(AuthError::Malformed)?,
            response: response.ok_or(AuthError::Malformed)?,
            algorithm,
            session,
            cnonce: cnonce.unwrap_or_default(),
            nc,
        })
    }

    /// Whether they were made for this Request-URI. A proxy on the way may have changed it, so a difference alone is no
    /// reason to refuse them (RFC 8760 section 2.6, 6).
    pub fn are_for(&self, uri: &Uri<'_>) -> bool {
        Uri::parse(&self.uri).is_ok_and(|known| known.equivalent(uri))
    }
}

/// The `nextnonce` of a value of `Authentication-Info` or `Proxy-Authentication-Info` (RFC 7616 section 3.5). Whatever else
/// stands there proves the server, which nobody here doubts because of it.
pub(super) fn next_nonce(value: &[u8]) -> Option<Cow<'_, [u8]>> {
    let mut next = None;
    each_element(
        value,
        |name, value| {
            if name.eq_ignore_ascii_case(b"nextnonce") { set(&mut next, value) } else { Ok(()) }
        },
    )
    .ok()?;
    next.filter(|nonce| !nonce.is_empty())
}

/// `nc-value`: exactly eight hexadecimal digits.
pub(super) fn nonce_count(digits: &[u8]) -> Option<u32> {
    if digits.len() != 8 || !digits.iter().all(u8::is_ascii_hexdigit) {
        return None;
    }
    u32::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()
}

fn read_algorithm(name: Option<&[u8]>) -> Result<(Algorithm, bool), AuthError> {
    match name {
        None => Ok((Algorithm::Md5, false)),
        Some(name) => Algorithm::read(name).ok_or(AuthError::Algorithm),
    }
}

fn set<'a>(place: &mut Option<Cow<'a, [u8]>>, value: Cow<'a, [u8]>) -> Result<(), AuthError> {
    match place.replace(value) {
        None => Ok(()),
        Some(_) => Err(AuthError::Malformed),
    }
}

/// Calls `take` with name and unquoted value of each `auth-param` behind `Digest`. More than one space behind the scheme,
/// quoted tokens, unquoted strings and empty elements are all seen in the wild.
fn each_param<'a>(
    value: &'a [u8],
    take: impl FnMut(&'a [u8], Cow<'a, [u8]>) -> Result<(), AuthError>,
) -> Result<(), AuthError> {
    let value = value.trim_ascii();
    let end = value.iter().position(u8::is_ascii_whitespace).unwrap_or(value.len());
    let (scheme, params) = value.split_at_checked(end).ok_or(AuthError::Malformed)?;
    if !scheme.eq_ignore_ascii_case(b"Digest") {
        return Err(AuthError::Scheme);
    }
    each_element(params, take)
}

/// The same without a scheme in front.
fn each_element<'a>(
    params: &'a [u8],
    mut take: impl FnMut(&'a [u8], Cow<'a, [u8]>) -> Result<(), AuthError>,
) -> Result<(), AuthError> {
    for param in Elements(params) {
        let equal = memchr::memchr(b'=', param).ok_or(AuthError::Malformed)?;
        let (name, value) = param.split_at_checked(equal).ok_or(AuthError::Malformed)?;
        let value = value.get(1..).unwrap_or_default().trim_ascii();
        let quotes = value.iter().filter(|&&byte| byte == b'"').count();
        if value.first() == Some(&b'"') {
            if value.len() < 2 || value.last() != Some(&b'"') {
                return Err(AuthError::Malformed);
            }
        } else if quotes > 0 {
            return Err(AuthError::Malformed);
        }
        take(name.trim_ascii(), unquote(value))?;
    }
    Ok(())
}

/// Comma-separated elements; commas in quoted strings separate nothing (`<` is an ordinary character here).
struct Elements<'a>(&'a [u8]);

impl<'a> Iterator for Elements<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        while !self.0.is_empty() {
            let (mut quoted, mut escaped) = (false, false);
            let end = self.0.iter().position(|&byte| {
                match byte {
                    _ if escaped => escaped = false,
                    b'\\' => escaped = quoted,
                    b'"' => quoted = !quoted,
                    _ => return byte == b',' && !quoted,
                }
                false
            });
            let end = end.unwrap_or(self.0.len());
            let element = self.0.get(..end).unwrap_or_default().trim_ascii();
            self.0 = self.0.get(end.saturating_add(1)..).unwrap_or_default();
            if !element.is_empty() {
                return Some(element);
            }
        }
        None
    }
}
