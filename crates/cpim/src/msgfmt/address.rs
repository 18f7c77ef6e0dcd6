//! `[ Formal-name ] "<" URI ">"` (RFC 3862 section 4.1).

use super::{FormatError, escape, is_absolute_uri, quoted_end};
use crate::uri::percent_decode;
use crate::{ImUri, fold_case, telephone};
use std::borrow::Cow;

/// Somebody who is named in a message header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address<'a> {
    /// The name for people; empty if there is none.
    pub name: Cow<'a, str>,
    /// The URI, of whatever scheme.
    pub uri: &'a str,
}

impl<'a> Address<'a> {
    /// Reads a header value. White space between a quoted name and the URI, which the grammar does not have, is passed over:
    /// it is what everybody writes.
    pub fn parse(value: &'a str) -> Result<Self, FormatError> {
        let (name, rest) = if let Some(quoted) = value.strip_prefix('"') {
            let end = quoted_end(quoted).ok_or(FormatError::Address)?;
            let (name, behind) = quoted.split_at(end);
            (escape::unescape(name), behind.get(1..).unwrap_or_default().trim_start_matches(' '))
        } else {
            let (name, rest) = value.split_at(value.find('<').ok_or(FormatError::Address)?);
            (escape::unescape(name.trim_end_matches(' ')), rest)
        };
        let uri = rest.strip_prefix('<').and_then(|rest| rest.strip_suffix('>')).ok_or(FormatError::Address)?;
        if is_absolute_uri(uri) { Ok(Self { name, uri }) } else { Err(FormatError::Address) }
    }

    /// Whether this is `user`, as he was proven: by any URI of his, where case does not count and a telephone number may be
    /// written with separators, as `tel:` too.
    pub fn names(&self, user: &ImUri<'_>) -> bool {
        let is_number = |text: &str| telephone::canonical(text).is_some_and(|number| number == fold_case(user.local()));
        match (self.uri.split_once(':'), self.inbox()) {
            (_, Some(inbox)) => inbox.same_user(user) || (inbox.domain() == user.domain() && is_number(inbox.local())),
            // Which domain has the numbers is not said here; who sent the message is proven otherwise.
            (Some((scheme, number)), None) => scheme.eq_ignore_ascii_case("tel") && is_number(number),
            _ => false,
        }
    }

    /// The instant inbox that the URI names, whether as `im:`, `pres:`, `sip:` or `sips:`: all of these are a user at a
    /// domain. `None` where it names none.
    pub fn inbox(&self) -> Option<ImUri<'a>> {
        let (scheme, rest) = self.uri.split_once(':')?;
        let is = |names: [&str; 2]| names.iter().any(|name| scheme.eq_ignore_ascii_case(name));
        let (local, domain) = if is(["im", "pres"]) {
            rest.split('?').next()?.rsplit_once('@')?
        } else if is(["sip", "sips"]) {
            let (user, host) = rest.rsplit_once('@')?;
            let host = host.split([';', '?']).next()?;
            let port = host.rfind(':').filter(|&colon| !host[colon..].contains(']'));
            // Nothing is escaped in the host of a SIP URI (RFC 3261 section 19.1.2).
            let host = port.map_or(host, |colon| &host[..colon]);
            return ImUri::from_parts(percent_decode(user.split(':').next()?).ok()?, host.into()).ok();
        } else {
            return None;
        };
        ImUri::from_parts(percent_decode(local).ok()?, percent_decode(domain).ok()?).ok()
    }
}
