//! Answering a challenge (RFC 7616 section 3.4, RFC 8760 section 2.4).

use super::digest::{Inputs, Secret};
use super::fields::{AuthError, Challenge};
use crate::wire::Method;
use crate::wire::print;

/// Who we are to the one who asks.
#[derive(Clone, Copy, Debug)]
pub struct Account<'a> {
    /// The user name.
    pub username: &'a [u8],
    /// The secret.
    pub secret: Secret<'a>,
}

/// What credentials speak for: one request.
#[derive(Clone, Copy, Debug)]
pub struct Covered<'a> {
    /// Its method.
    pub method: Method<'a>,
    /// Its Request-URI.
    pub uri: &'a [u8],
    /// Its body, for `auth-int`.
    pub body: &'a [u8],
}

/// Appends the credentials for one request to `out`: the value of the header field [`super::Role::credentials`].
///
/// `count` is how many requests were answered with this nonce, this one included; `cnonce` are random bytes. A challenge
/// without `qop` is answered without `qop`, `nc` and `cnonce`, as RFC 2617 section 3.2.2 wants.
pub fn answer(
    challenge: &Challenge<'_>,
    account: &Account<'_>,
    covered: &Covered<'_>,
    count: u32,
    cnonce: &[u8],
    out: &mut Vec<u8>,
) -> Result<(), AuthError> {
    answer_in_session(challenge, &challenge.nonce, account, covered, count, cnonce, out)
}

/// The same where the nonce has changed since the challenge: `first_nonce` is that of the challenge, with which a `-sess`
/// variant goes on (RFC 7616 section 3.4.2).
pub(super) fn answer_in_session(
    challenge: &Challenge<'_>,
    first_nonce: &[u8],
    account: &Account<'_>,
    covered: &Covered<'_>,
    count: u32,
    cnonce: &[u8],
    out: &mut Vec<u8>,
) -> Result<(), AuthError> {
    let mut client_nonce = Vec::with_capacity(cnonce.len().saturating_mul(2));
    print::hexadecimal(cnonce, &mut client_nonce);
    let mut nc = Vec::with_capacity(8);
    print::hexadecimal(&count.to_be_bytes(), &mut nc);
    let inputs = Inputs {
        algorithm: challenge.algorithm,
        session: challenge.session.then_some(first_nonce),
        username: account.username,
        realm: &challenge.realm,
        nonce: &challenge.nonce,
        cnonce: &client_nonce,
        protection: challenge.qop.map(|qop| (qop, &nc[..])),
        method: covered.method.as_bytes(),
        uri: covered.uri,
        body: covered.body,
    };
    let response = inputs.response(account.secret).ok_or(AuthError::NoSecret)?;

    let mut quoted = |name: &[u8], text: &[u8]| {
        out.extend_from_slice(name);
        print::quoted_string(text, out);
    };
    quoted(b"Digest username=", account.username);
    quoted(b", realm=", &challenge.realm);
    quoted(b", nonce=", &challenge.nonce);
    quoted(b", uri=", covered.uri);
    quoted(b", response=", &response);
    if let Some(opaque) = &challenge.opaque {
        quoted(b", opaque=", opaque);
    }
    if challenge.qop.is_some() || challenge.session {
        quoted(b", cnonce=", &client_nonce);
    }
    if challenge.algorithm_named {
        out.extend_from_slice(b", algorithm=");
        out.extend_from_slice(challenge.algorithm.as_str().as_bytes());
        out.extend_from_slice(if challenge.session { b"-sess" } else { b"" });
    }
    if let Some(qop) = challenge.qop {
        out.extend_from_slice(b", qop=");
        out.extend_from_slice(qop.as_str().as_bytes());
        out.extend_from_slice(b", nc=");
        out.extend_from_slice(&nc);
    }
    Ok(())
}
