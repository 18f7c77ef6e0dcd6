//! Route sets: the proxies that requests have to visit, in their order (RFC 3261 sections 8.1.1.1 and 12.2.1.1).
//!
//! Where they come from (configuration, dialogs) is the caller's matter, and so is where the request is sent (8.1.2).

use crate::wire::uri::{Scheme, Uri};
use crate::wire::{Head, HeaderName, NameAddr, print};

/// Why URIs cannot be a route set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RouteSetError {
    /// One of them is no `sip:` or `sips:` URI.
    #[error("a route must be a sip URI")]
    NotSip,
}

/// An ordered set of URIs of proxies, prepared for being written into requests.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RouteSet {
    /// The Request-URI, where the first proxy is a strict router.
    strict: Option<Vec<u8>>,
    /// The Route lines, without the one that holds the remote target for a strict router.
    lines: Vec<u8>,
}

/// How a request is written under a route set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Routed<'a> {
    /// The Request-URI.
    pub uri: &'a [u8],
    /// The Route lines, each ended by CRLF.
    pub lines: &'a [u8],
}

impl RouteSet {
    /// The route set of these URIs, without angle brackets; none at all is the empty one.
    pub fn new<'a>(uris: impl IntoIterator<Item = &'a [u8]>) -> Result<Self, RouteSetError> {
        let mut set = Self::default();
        for (uri, place) in uris.into_iter().zip(0..) {
            let route = Uri::parse(uri).ok().filter(|uri| matches!(uri.scheme, Scheme::Sip | Scheme::Sips));
            let route = route.ok_or(RouteSetError::NotSip)?;
            if place == 0 && route.param("lr").is_none() {
                route.write_request_uri(set.strict.insert(Vec::new()));
            } else {
                write_route(uri, &mut set.lines);
            }
        }
        Ok(set)
    }

    /// Whether requests are written as if there were no route set.
    pub fn is_empty(&self) -> bool {
        self.strict.is_none() && self.lines.is_empty()
    }

    /// Request-URI and Route lines of a request to `target` (12.2.1.1): a loose router leaves the target in the Request-URI;
    /// a strict one takes its place there, and the target comes last. `scratch` is overwritten if it is needed.
    pub fn apply<'a>(&'a self, target: &'a [u8], scratch: &'a mut Vec<u8>) -> Routed<'a> {
        let Some(strict) = &self.strict else { return Routed { uri: target, lines: &self.lines } };
        scratch.clear();
        scratch.extend_from_slice(&self.lines);
        write_route(target, scratch);
        Routed { uri: strict, lines: scratch }
    }
}

/// Whom a request is for that a strict router has sent by way of us: it put our URI into the Request-URI, and the target stands
/// last in Route (16.4). `None` for every other request; a URI of ours that names a user is an address like any other.
pub fn target_behind<'a>(
    request_uri: &Uri<'_>,
    head: &Head<'a>,
    is_ours: impl Fn(&Uri<'_>) -> bool,
) -> Option<Uri<'a>> {
    if request_uri.user.is_some() || !is_ours(request_uri) {
        return None;
    }
    let target = NameAddr::parse(head.list(HeaderName::Route).last()?).ok()?.uri;
    // A loose router has named us in both places.
    (target.user.is_some() || !is_ours(&target)).then_some(target)
}

fn write_route(uri: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(HeaderName::Route.as_str().as_bytes());
    out.extend_from_slice(b": <");
    out.extend_from_slice(uri);
    out.extend_from_slice(b">");
    print::line_end(out);
}

#[cfg(test)]
mod tests {
    use super::*;

    const TARGET: &str = "sip:user@remoteua";

    fn applied(uris: &[&str]) -> (String, String) {
        let set = RouteSet::new(uris.iter().map(|uri| uri.as_bytes())).unwrap();
        let mut scratch = b"left over".to_vec();
        let Routed { uri, lines } = set.apply(TARGET.as_bytes(), &mut scratch);
        (String::from_utf8(uri.to_vec()).unwrap(), String::from_utf8(lines.to_vec()).unwrap())
    }

    /// 12.2.1.1, with the example of the section.
    #[test]
    fn loose_and_strict_first_routers() {
        for (uris, uri, lines) in [
            (&[][..], TARGET, ""),
            (&["sip:proxy1;lr"], TARGET, "Route: <sip:proxy1;lr>\r\n"),
            (&["sip:proxy1;LR=on", "sip:proxy2"], TARGET, "Route: <sip:proxy1;LR=on>\r\nRoute: <sip:proxy2>\r\n"),
            (
                &["sip:proxy1", "sip:proxy2", "sip:proxy3;lr", "sip:proxy4"],
                "sip:proxy1",
                "Route: <sip:proxy2>\r\nRoute: <sip:proxy3;lr>\r\nRoute: <sip:proxy4>\r\nRoute: <sip:user@remoteua>\r\n",
            ),
            (&["sip:proxy1"], "sip:proxy1", "Route: <sip:user@remoteua>\r\n"),
            (&["sip:a?b@h;method=x;y?Subject=c"], "sip:a?b@h;y", "Route: <sip:user@remoteua>\r\n"),
            // What no Request-URI may hold is left out; the same in another place stays.
            (
                &["sip:a;method=x@[2001:db8::1]:5062;method=INVITE;maddr=192.0.2.1;x?Subject=a", "sip:b;method=INVITE"],
                "sip:a;method=x@[2001:db8::1]:5062;maddr=192.0.2.1;x",
                "Route: <sip:b;method=INVITE>\r\nRoute: <sip:user@remoteua>\r\n",
            ),
        ] {
            assert_eq!(applied(uris), (uri.to_owned(), lines.to_owned()), "{uris:?}");
        }
    }

    #[test]
    fn only_sip_uris_are_routes() {
        for wrong in ["", "proxy", "tel:+1", "sip:", "<sip:proxy;lr>", "sip:a, sip:b"] {
            assert_eq!(RouteSet::new([wrong.as_bytes()]), Err(RouteSetError::NotSip), "{wrong}");
        }
        assert!(RouteSet::new([]).unwrap().is_empty());
        assert!(!RouteSet::new([&b"sip:proxy"[..]]).unwrap().is_empty());
    }
}
