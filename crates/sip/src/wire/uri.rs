//! URIs as they stand in SIP messages: `sip:` and `sips:` (RFC 3261 section 19.1), `tel:` (RFC 3966), `im:` and `pres:`
//! (RFC 3860, RFC 3859), and any other absolute URI, unread.
//!
//! A [`Uri`] is a set of spans over the received bytes. Nothing is decoded or normalised: what is passed on is
//! [`Uri::raw`], and comparison follows RFC 3261 section 19.1.4 when it is asked for.

use smallvec::SmallVec;

use super::chars::{self, Cursor};

/// Parameters, and headers, that a URI may have.
const MOST_PARAMETERS: usize = 32;

/// What kind of URI it is. Scheme names ignore case (RFC 3986 section 3.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scheme<'a> {
    /// `sip:`
    Sip,
    /// `sips:`
    Sips,
    /// `tel:`
    Tel,
    /// `im:`
    Im,
    /// `pres:`
    Pres,
    /// Any other; nothing behind it is read.
    Other(&'a [u8]),
}

/// A URI, as spans.
#[derive(Clone, Copy, Debug)]
pub struct Uri<'a> {
    /// The scheme.
    pub scheme: Scheme<'a>,
    /// The user part, escapes kept; of a `tel:` URI the number as written.
    pub user: Option<&'a [u8]>,
    /// The password, escapes kept.
    pub password: Option<&'a [u8]>,
    /// The host, IPv6 brackets kept; empty for `tel:` and [`Scheme::Other`].
    pub host: &'a [u8],
    /// The port.
    pub port: Option<u16>,
    /// The parameters without the first `;`.
    pub params: &'a [u8],
    /// The header part without the `?`.
    pub headers: &'a [u8],
    /// The whole URI as received.
    pub raw: &'a [u8],
}

/// Why bytes are not a URI.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum UriError {
    /// There is no scheme.
    #[error("URI without scheme")]
    Scheme,
    /// A character that no URI may hold.
    #[error("bad character in URI")]
    Character,
    /// The user part, or the number of a `tel:` URI.
    #[error("bad user part in URI")]
    User,
    /// The password.
    #[error("bad password in URI")]
    Password,
    /// The host is missing or is none.
    #[error("bad host in URI")]
    Host,
    /// The port.
    #[error("bad port in URI")]
    Port,
    /// The parameters.
    #[error("bad parameter in URI")]
    Parameters,
    /// The header part.
    #[error("bad header part in URI")]
    Headers,
}

impl<'a> Uri<'a> {
    /// Reads a URI that fills `raw`.
    ///
    /// The user part ends at the *last* `@`: `sip:user;par=u%40e.net@example.com` is at host `example.com`
    /// (RFC 4475 section 3.1.1.10); no unescaped `@` is legal behind it.
    pub fn parse(raw: &'a [u8]) -> Result<Self, UriError> {
        let colon = memchr::memchr(b':', raw).ok_or(UriError::Scheme)?;
        let (name, rest) = raw.split_at_checked(colon).ok_or(UriError::Scheme)?;
        let rest = rest.get(1..).unwrap_or_default();
        let scheme = Scheme::read(name)?;
        match scheme {
            Scheme::Sip | Scheme::Sips => Self::hierarchical(raw, scheme, rest),
            Scheme::Im | Scheme::Pres => Self::mailbox(raw, scheme, rest),
            Scheme::Tel => Self::telephone(raw, rest),
            Scheme::Other(_) => {
                let legal = |&byte: &u8| byte.is_ascii_graphic() && !matches!(byte, b'<' | b'>' | b'"');
                if rest.is_empty() || !rest.iter().all(legal) {
                    return Err(UriError::Character);
                }
                Ok(Self::bare(raw, scheme))
            }
        }
    }

    fn bare(raw: &'a [u8], scheme: Scheme<'a>) -> Self {
        Self { scheme, user: None, password: None, host: b"", port: None, params: b"", headers: b"", raw }
    }

    /// `[userinfo "@"] hostport uri-parameters [headers]` (RFC 3261 section 25.1).
    fn hierarchical(raw: &'a [u8], scheme: Scheme<'a>, rest: &'a [u8]) -> Result<Self, UriError> {
        let mut uri = Self::bare(raw, scheme);
        let behind = match memchr::memrchr(b'@', rest).and_then(|at| rest.split_at_checked(at)) {
            Some((userinfo, behind)) => {
                let user = match memchr::memchr(b':', userinfo).and_then(|at| userinfo.split_at_checked(at)) {
                    Some((user, password)) => {
                        let password = password.get(1..).unwrap_or_default();
                        if !chars::all_escaped(password, chars::PASSWORD) {
                            return Err(UriError::Password);
                        }
                        uri.password = Some(password);
                        user
                    }
                    None => userinfo,
                };
                if user.is_empty() || !chars::all_escaped(user, chars::USER) {
                    return Err(UriError::User);
                }
                uri.user = Some(user);
                behind.get(1..).unwrap_or_default()
            }
            None => rest,
        };
        let mut cursor = Cursor::new(behind);
        uri.host = cursor.host().ok_or(UriError::Host)?;
        if cursor.eat(b':') {
            uri.port = Some(port(&mut cursor).ok_or(UriError::Port)?);
        }
        if cursor.eat(b';') {
            let rest = cursor.rest();
            let end = memchr::memchr(b'?', rest).unwrap_or(rest.len());
            uri.params = rest.get(..end).unwrap_or_default();
            uri.check_params()?;
            cursor = Cursor::new(rest.get(end..).unwrap_or_default());
        }
        if cursor.eat(b'?') {
            uri.headers = cursor.rest();
            let count = memchr::memchr_iter(b'&', uri.headers).count();
            if uri.headers.is_empty() || count >= MOST_PARAMETERS || !chars::all_escaped(uri.headers, chars::HEADERS) {
                return Err(UriError::Headers);
            }
            return Ok(uri);
        }
        if cursor.is_done() { Ok(uri) } else { Err(UriError::Host) }
    }

    /// A mailbox, and headers behind the first `?` (RFC 3860 appendix A.2; a `?` of the mailbox is escaped). There is no
    /// port and there are no parameters.
    fn mailbox(raw: &'a [u8], scheme: Scheme<'a>, rest: &'a [u8]) -> Result<Self, UriError> {
        let end = memchr::memchr(b'?', rest).unwrap_or(rest.len());
        let (address, headers) = rest.split_at_checked(end).ok_or(UriError::Host)?;
        let at = memchr::memrchr(b'@', address).ok_or(UriError::Host)?;
        let (user, host) = address.split_at_checked(at).ok_or(UriError::Host)?;
        // The atoms of RFC 5322 section 3.2.3, and what people write unescaped beside them.
        let legal = |byte| chars::is(byte, chars::USER) || matches!(byte, b'#' | b'^' | b'`' | b'{' | b'|' | b'}');
        if user.is_empty() || !chars::all_escaped_or(user, legal) {
            return Err(UriError::User);
        }
        let mut cursor = Cursor::new(host.get(1..).unwrap_or_default());
        let host = cursor.host().filter(|_| cursor.is_done()).ok_or(UriError::Host)?;
        let mut uri = Self { user: Some(user), host, ..Self::bare(raw, scheme) };
        if let Some(headers) = headers.get(1..) {
            let legal = |byte| chars::is(byte, chars::HEADERS) || matches!(byte, b'@' | b',' | b';');
            let count = memchr::memchr_iter(b'&', headers).count();
            if headers.is_empty() || count >= MOST_PARAMETERS || !chars::all_escaped_or(headers, legal) {
                return Err(UriError::Headers);
            }
            uri.headers = headers;
        }
        Ok(uri)
    }

    fn telephone(raw: &'a [u8], rest: &'a [u8]) -> Result<Self, UriError> {
        let end = memchr::memchr(b';', rest).unwrap_or(rest.len());
        let (number, params) = rest.split_at_checked(end).ok_or(UriError::User)?;
        let digits = number.strip_prefix(b"+").unwrap_or(number);
        let legal = |&b: &u8| b.is_ascii_hexdigit() || matches!(b, b'*' | b'#' | b'-' | b'.' | b'(' | b')');
        if !digits.iter().all(legal) || !digits.iter().any(|b| b.is_ascii_hexdigit() || matches!(b, b'*' | b'#')) {
            return Err(UriError::User);
        }
        let params = params.strip_prefix(b";").unwrap_or_default();
        let uri = Self { user: Some(number), params, ..Self::bare(raw, Scheme::Tel) };
        uri.check_params()?;
        Ok(uri)
    }

    /// Parameters are legal, not too many, and none is there twice (RFC 3261 section 19.1.1, RFC 3966 section 3).
    fn check_params(&self) -> Result<(), UriError> {
        let mut names = SmallVec::<[&[u8]; 8]>::new();
        for (name, value) in self.params() {
            let legal = chars::all_escaped(name, chars::PARAM)
                && value
                    .unwrap_or_default()
                    .split(|&byte| byte == b'=')
                    .all(|part| chars::all_escaped(part, chars::PARAM));
            if !legal || names.len() >= MOST_PARAMETERS || names.iter().any(|known| same(known, name)) {
                return Err(UriError::Parameters);
            }
            names.push(name);
        }
        Ok(())
    }

    /// The parameters in order, as name and value.
    pub fn params(&self) -> impl Iterator<Item = (&'a [u8], Option<&'a [u8]>)> {
        self.params.split(|&byte| byte == b';').filter(|part| !part.is_empty()).map(|part| {
            match memchr::memchr(b'=', part).and_then(|at| part.split_at_checked(at)) {
                Some((name, value)) => (name, value.get(1..)),
                None => (part, None),
            }
        })
    }

    /// A parameter by its name: `None` if absent, `Some(None)` if it has no value.
    pub fn param(&self, name: &str) -> Option<Option<&'a [u8]>> {
        self.params().find(|(known, _)| same(known, name.as_bytes())).map(|(_, value)| value)
    }

    /// Appends it as a Request-URI: without the `method` parameter and the headers, which may not stand in one (RFC 3261
    /// section 19.1.1, table 1).
    pub fn write_request_uri(&self, out: &mut Vec<u8>) {
        let behind = |part: &[u8]| if part.is_empty() { 0 } else { part.len() + 1 };
        let front = self.raw.len().saturating_sub(behind(self.params) + behind(self.headers));
        out.extend_from_slice(self.raw.get(..front).unwrap_or_default());
        for (name, value) in self.params().filter(|(name, _)| !name.eq_ignore_ascii_case(b"method")) {
            out.push(b';');
            out.extend_from_slice(name);
            if let Some(value) = value {
                out.push(b'=');
                out.extend_from_slice(value);
            }
        }
    }

    /// Whether both name the same resource, by the rules of RFC 3261 section 19.1.4. URIs of other schemes are the same
    /// if their bytes are; `tel:` by RFC 3966 section 4 (visual separators do not count).
    pub fn equivalent(&self, other: &Uri<'_>) -> bool {
        match (self.scheme, other.scheme) {
            (Scheme::Sip, Scheme::Sip)
            | (Scheme::Sips, Scheme::Sips)
            | (Scheme::Im, Scheme::Im)
            | (Scheme::Pres, Scheme::Pres) => {
                same_optional(self.user, other.user, |a, b| units(a).eq(units(b)))
                    && same_optional(self.password, other.password, |a, b| units(a).eq(units(b)))
                    && self.host.eq_ignore_ascii_case(other.host)
                    && self.port == other.port
                    && self.params_match(other)
                    && self.headers_match(other)
            }
            (Scheme::Tel, Scheme::Tel) => {
                same_optional(self.user, other.user, |a, b| significant(a).eq(significant(b)))
                    && self.params_contained(other)
                    && other.params_contained(self)
            }
            (Scheme::Other(_), Scheme::Other(_)) => self.raw == other.raw,
            _ => false,
        }
    }

    /// "Any uri-parameter appearing in both URIs must match"; those that change where the request goes must be in both
    /// or in neither; every other one in only one of the two is ignored. A public GRUU equals its AOR
    /// by the rules of RFC 3261, which ignore `gr` (RFC 5627 section 5.1).
    fn params_match(&self, other: &Uri<'_>) -> bool {
        let decisive: [&[u8]; 5] = [b"user", b"ttl", b"method", b"maddr", b"transport"];
        let agrees = |one: &Uri<'_>, two: &Uri<'_>| {
            one.params().all(|(name, value)| match two.params().find(|(known, _)| same(known, name)) {
                Some((_, known)) => same_optional(value, known, same),
                None => !decisive.iter().any(|decisive| same(name, decisive)),
            })
        };
        agrees(self, other) && agrees(other, self)
    }

    /// "URI header components are never ignored": each must be in both, in any order.
    fn headers_match(&self, other: &Uri<'_>) -> bool {
        let count = |uri: &Uri<'_>| uri.headers.split(|&byte| byte == b'&').count();
        if self.headers.is_empty() || other.headers.is_empty() {
            return self.headers.is_empty() && other.headers.is_empty();
        }
        if count(self) != count(other) {
            return false;
        }
        let contained = |one: &Uri<'_>, two: &Uri<'_>| {
            one.headers
                .split(|&byte| byte == b'&')
                .all(|header| two.headers.split(|&byte| byte == b'&').any(|known| same(known, header)))
        };
        contained(self, other) && contained(other, self)
    }

    fn params_contained(&self, other: &Uri<'_>) -> bool {
        self.params().all(|(name, value)| {
            other.params().find(|(known, _)| same(known, name)).is_some_and(|(_, known)| match (value, known) {
                (Some(a), Some(b)) => same(a, b),
                (None, None) => true,
                _ => false,
            })
        })
    }
}

impl<'a> Scheme<'a> {
    fn read(name: &'a [u8]) -> Result<Self, UriError> {
        // Nearly all are.
        if name == b"sip" {
            return Ok(Scheme::Sip);
        }
        let legal = |&byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'-' | b'.');
        if !name.first().is_some_and(u8::is_ascii_alphabetic) || !name.iter().all(legal) {
            return Err(UriError::Scheme);
        }
        let known = [
            (&b"sip"[..], Scheme::Sip),
            (b"sips", Scheme::Sips),
            (b"tel", Scheme::Tel),
            (b"im", Scheme::Im),
            (b"pres", Scheme::Pres),
        ];
        Ok(known
            .into_iter()
            .find(|(known, _)| known.eq_ignore_ascii_case(name))
            .map_or(Scheme::Other(name), |(_, scheme)| scheme))
    }
}

/// `1*DIGIT` up to 65535.
pub(super) fn port(cursor: &mut Cursor<'_>) -> Option<u16> {
    let digits = cursor.run(chars::TOKEN);
    chars::decimal(digits, u64::from(u16::MAX)).and_then(|port| u16::try_from(port).ok())
}

fn same_optional(a: Option<&[u8]>, b: Option<&[u8]>, same: impl Fn(&[u8], &[u8]) -> bool) -> bool {
    match (a, b) {
        (Some(a), Some(b)) => same(a, b),
        (None, None) => true,
        _ => false,
    }
}

/// Equal up to case and escaping.
fn same(a: &[u8], b: &[u8]) -> bool {
    if memchr::memchr(b'%', a).is_none() && memchr::memchr(b'%', b).is_none() {
        return a.eq_ignore_ascii_case(b);
    }
    let fold = |unit: Unit| Unit { byte: unit.byte.to_ascii_lowercase(), ..unit };
    units(a).map(fold).eq(units(b).map(fold))
}

#[derive(PartialEq, Eq)]
struct Unit {
    byte: u8,
    /// An escape that does not mean the same as the character itself.
    escaped: bool,
}

/// The characters that count in a comparison: an escape equals the character unless that is reserved (`;/?:@&=+$,`).
fn units(bytes: &[u8]) -> impl Iterator<Item = Unit> + '_ {
    let mut rest = bytes;
    std::iter::from_fn(move || {
        let (&byte, tail) = rest.split_first()?;
        if byte == b'%'
            && let [high, low, behind @ ..] = tail
            && let (Some(high), Some(low)) = (char::from(*high).to_digit(16), char::from(*low).to_digit(16))
        {
            rest = behind;
            let byte = u8::try_from(high * 16 + low).ok()?;
            let reserved = matches!(byte, b';' | b'/' | b'?' | b':' | b'@' | b'&' | b'=' | b'+' | b'$' | b',');
            return Some(Unit { byte, escaped: reserved });
        }
        rest = tail;
        Some(Unit { byte, escaped: false })
    })
}

fn significant(number: &[u8]) -> impl Iterator<Item = u8> + '_ {
    number.iter().filter(|byte| !matches!(byte, b'-' | b'.' | b'(' | b')')).map(u8::to_ascii_lowercase)
}

#[cfg(test)]
mod tests;
