//! The decisions of a proxy for a domain it serves (RFC 3261 sections 16.3 to 16.7), for requests other than INVITE.
//!
//! Functions over messages, and the memory of one forwarded request. Transactions are the
//! [`Endpoint`](crate::endpoint::Endpoint)'s: [`forward`](crate::endpoint::Endpoint::forward) puts our Via on top,
//! [`respond_forwarded`](crate::endpoint::Endpoint::respond_forwarded) takes it off again. Authentication and policy lie
//! between [`admit`] and [`resolve`]; they are the caller's.

use crate::registrar::AddressOfRecord;
use crate::wire::{
    Carriage, Essentials, Head, HeaderName, Limits, Message, Method, NameAddr, Refusal, Request, Response,
};
use crate::wire::{Scheme, Uri, parse, print};

/// Max-Forwards of a request that had none (16.6 step 3).
const MAX_FORWARDS: u8 = 70;

/// What is known about hosts and users.
pub trait Domain {
    /// Whether requests to this host (and port) are for the domain.
    fn serves(&self, uri: &Uri<'_>) -> bool;
    /// Whether this host and port, in a Route, are the proxy itself.
    fn is_proxy(&self, uri: &Uri<'_>) -> bool;
    /// Whether the address exists.
    fn knows(&self, address: &AddressOfRecord) -> bool;
}

/// What is to be done with a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Destination {
    /// It is for the element itself: its Request-URI has no user, or an OPTIONS may go no further.
    Ourselves,
    /// For a user of the domain: the bindings of this address. Without bindings, 480.
    User(AddressOfRecord),
    /// For another domain, or somebody behind a further Route.
    Elsewhere,
}

/// Whether a request may be passed on at all (16.3): 416, 483, 420 with Unsupported. Proxy-Require knows no option tag
/// here.
pub fn admit(request: &Request<'_>, essentials: &Essentials<'_>) -> Result<(), Refusal> {
    if !essentials.uri.is_some_and(|uri| matches!(uri.scheme, Scheme::Sip | Scheme::Sips)) {
        return Err(Refusal { status: 416, reason: "Unsupported URI Scheme" });
    }
    if essentials.max_forwards == Some(0) && request.method != Method::Options {
        return Err(Refusal { status: 483, reason: "Too Many Hops" });
    }
    if request.head.list(HeaderName::ProxyRequire).next().is_some() {
        return Err(Refusal { status: 420, reason: "Bad Extension" });
    }
    Ok(())
}

/// Appends the Unsupported line of the 420 that [`admit`] asks for.
pub fn write_unsupported(head: &Head<'_>, out: &mut Vec<u8>) {
    let tags: Vec<_> = head.list(HeaderName::ProxyRequire).collect();
    print::header(HeaderName::Unsupported, &tags.join(&b", "[..]), out);
}

/// How many Route values at the front name the proxy and are done with (16.4).
pub fn routes_done(head: &Head<'_>, domain: &impl Domain) -> usize {
    head.list(HeaderName::Route)
        .take_while(|route| NameAddr::parse(route).is_ok_and(|route| domain.is_proxy(&route.uri)))
        .count()
}

/// Where a request goes (16.5): 404 for a user that the domain does not have.
pub fn resolve(
    request: &Request<'_>,
    essentials: &Essentials<'_>,
    domain: &impl Domain,
) -> Result<Destination, Refusal> {
    let routed = request.head.list(HeaderName::Route).nth(routes_done(&request.head, domain)).is_some();
    let Some(uri) = essentials.uri.filter(|uri| domain.serves(uri) && !routed) else {
        return if essentials.max_forwards == Some(0) {
            Ok(Destination::Ourselves)
        } else {
            Ok(Destination::Elsewhere)
        };
    };
    let Some(address) = AddressOfRecord::of(&uri) else { return Ok(Destination::Ourselves) };
    if !domain.knows(&address) {
        return Err(Refusal { status: 404, reason: "Not Found" });
    }
    if essentials.max_forwards == Some(0) { Ok(Destination::Ourselves) } else { Ok(Destination::User(address)) }
}

/// Max-Forwards of the copy (16.6 step 3).
pub fn next_max_forwards(essentials: &Essentials<'_>) -> u8 {
    essentials.max_forwards.map_or(MAX_FORWARDS, |left| left.saturating_sub(1))
}

/// The branches of one forwarded request, and the best response so far (16.7). For requests other than INVITE one final
/// response goes upstream.
#[derive(Debug, Default)]
pub struct Fork {
    pending: usize,
    answered: bool,
    /// The bytes of the best final response, and its status.
    best: Option<(u16, Vec<u8>)>,
}

/// What a branch's end means for the whole.
#[derive(Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Nothing yet, or nothing more.
    Wait,
    /// This very response goes upstream.
    Forward,
    /// All branches have ended: [`Fork::best`] goes upstream.
    Best,
    /// All branches have ended without a response: 408 inside, which is not sent for a request that is no INVITE (RFC 4320
    /// 4.2).
    Silence,
}

impl Fork {
    /// A branch has been sent.
    pub fn add(&mut self) {
        self.pending += 1;
    }

    /// Branches without a final response.
    pub fn pending(&self) -> usize {
        self.pending
    }

    /// A branch ended with a final response: a 2xx goes upstream at once, the rest waits for the last branch.
    pub fn on_final(&mut self, response: &Response<'_>) -> Verdict {
        self.pending = self.pending.saturating_sub(1);
        if self.answered {
            return Verdict::Wait;
        }
        if response.status < 300 {
            self.answered = true;
            return Verdict::Forward;
        }
        if self.best.as_ref().is_none_or(|(best, _)| preference(response.status) < preference(*best)) {
            if self.pending == 0 && response.status != 408 && response.status != 503 {
                self.answered = true;
                return Verdict::Forward;
            }
            self.best = Some((response.status, response.bytes.to_vec()));
        }
        self.on_ended()
    }

    /// A branch ended without a response: timed out (408 inside) or not delivered (503 inside, 16.9).
    pub fn on_failed(&mut self, delivered: bool) -> Verdict {
        self.pending = self.pending.saturating_sub(1);
        let status = if delivered { 408 } else { 503 };
        if self.best.as_ref().is_none_or(|(best, _)| preference(status) < preference(*best)) {
            self.best = Some((status, Vec::new()));
        }
        self.on_ended()
    }

    fn on_ended(&mut self) -> Verdict {
        if self.pending > 0 || self.answered {
            return Verdict::Wait;
        }
        self.answered = true;
        match self.best {
            Some((status, _)) if status != 408 => Verdict::Best,
            _ => Verdict::Silence,
        }
    }

    /// The best response. `Err` is a status to be answered by ourselves: a 503 is not passed on, it would say that we are
    /// out of service (16.7 step 6).
    pub fn best(&self, limits: &Limits) -> Result<Response<'_>, u16> {
        match &self.best {
            Some((503, _)) | None => Err(500),
            Some((status, bytes)) => match parse(bytes, Carriage::Datagram, limits) {
                Ok(Message::Response(response)) => Ok(response),
                _ => Err(*status),
            },
        }
    }
}

/// The rank of a failure among others, the lowest is chosen (16.7 step 6): 6xx, then the lowest class, and within 4xx those
/// that tell how to do better. 503 comes last in its class, and 408, which is never sent, last of all.
fn preference(status: u16) -> (u16, u16) {
    match status {
        600.. => (0, 0),
        401 | 407 | 415 | 420 | 484 => (4, 0),
        408 => (7, 0),
        503 => (5, 2),
        _ => (status / 100, 1),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Verona;

    impl Domain for Verona {
        fn serves(&self, uri: &Uri<'_>) -> bool {
            uri.host.eq_ignore_ascii_case(b"sip.example")
        }
        fn is_proxy(&self, uri: &Uri<'_>) -> bool {
            uri.host == b"192.0.2.1"
        }
        fn knows(&self, address: &AddressOfRecord) -> bool {
            address.user() == b"juliet"
        }
    }

    fn decide(method: &str, uri: &str, lines: &str) -> Result<Destination, u16> {
        let text = format!(
            "{method} {uri} SIP/2.0\r\nVia: SIP/2.0/UDP h;branch=z9hG4bK1\r\nFrom: <sip:j@sip.example>;tag=1\r\n\
             To: <sip:x@y>\r\nCall-ID: c\r\nCSeq: 1 {method}\r\n{lines}Content-Length: 0\r\n\r\n"
        );
        let limits = Limits::default();
        let Ok(Message::Request(request)) = parse(text.as_bytes(), Carriage::Datagram, &limits) else {
            panic!("{text}")
        };
        let essentials = request.check(&limits).map_err(|refusal| refusal.status)?;
        admit(&request, &essentials)
            .and_then(|()| resolve(&request, &essentials, &Verona))
            .map_err(|refusal| refusal.status)
    }

    #[test]
    fn where_requests_go() {
        let juliet = AddressOfRecord::of(&Uri::parse(b"sip:juliet@sip.example").unwrap()).unwrap();
        let user = || Ok(Destination::User(juliet.clone()));
        let cases = [
            ("MESSAGE", "sip:juliet@sip.example", "", user()),
            ("MESSAGE", "sips:%6auliet@SIP.example;x=y", "Max-Forwards: 1\r\n", user()),
            ("MESSAGE", "sip:juliet@sip.example", "Max-Forwards: 0\r\n", Err(483)),
            ("OPTIONS", "sip:juliet@sip.example", "Max-Forwards: 0\r\n", Ok(Destination::Ourselves)),
            ("OPTIONS", "sip:a@other.example", "Max-Forwards: 0\r\n", Ok(Destination::Ourselves)),
            ("OPTIONS", "sip:sip.example", "", Ok(Destination::Ourselves)),
            ("MESSAGE", "sip:nobody@sip.example", "", Err(404)),
            ("MESSAGE", "sip:juliet@other.example", "", Ok(Destination::Elsewhere)),
            ("MESSAGE", "tel:+123", "", Err(416)),
            ("MESSAGE", "im:juliet@sip.example", "", Err(416)),
            ("MESSAGE", "sip:juliet@sip.example", "Proxy-Require: x\r\n", Err(420)),
            ("MESSAGE", "sip:juliet@sip.example", "Route: <sip:192.0.2.1;lr>\r\n", user()),
            (
                "MESSAGE",
                "sip:juliet@sip.example",
                "Route: <sip:192.0.2.1;lr>, <sip:9.9.9.9;lr>\r\n",
                Ok(Destination::Elsewhere),
            ),
        ];
        for (method, uri, lines, expected) in cases {
            assert_eq!(decide(method, uri, lines), expected, "{method} {uri} {lines}");
        }
    }

    /// 16.6 step 3.
    #[test]
    fn max_forwards_of_the_copy() {
        for (line, expected) in [("Max-Forwards: 70\r\n", 69), ("Max-Forwards: 1\r\n", 0), ("", 70)] {
            let text = format!(
                "MESSAGE sip:a@b SIP/2.0\r\nVia: SIP/2.0/UDP h;branch=z9hG4bK1\r\nFrom: <sip:j@b>;tag=1\r\nTo: <sip:a@b>\r\n\
                 Call-ID: c\r\nCSeq: 1 MESSAGE\r\n{line}Content-Length: 0\r\n\r\n"
            );
            let limits = Limits::default();
            let Ok(Message::Request(request)) = parse(text.as_bytes(), Carriage::Datagram, &limits) else {
                panic!("{text}")
            };
            assert_eq!(next_max_forwards(&request.check(&limits).unwrap()), expected, "{line}");
        }
    }

    fn run(ends: &[u16]) -> (Vec<Verdict>, Result<u16, u16>) {
        let limits = Limits::default();
        let mut fork = Fork::default();
        ends.iter().for_each(|_| fork.add());
        let verdicts = ends
            .iter()
            .map(|status| match status {
                0 => fork.on_failed(true),
                1 => fork.on_failed(false),
                _ => {
                    let text = format!(
                        "SIP/2.0 {status} X\r\nVia: SIP/2.0/UDP h\r\nFrom: <sip:a@b>\r\nTo: <sip:a@b>\r\nCall-ID: c\r\n\
                         CSeq: 1 MESSAGE\r\nContent-Length: 0\r\n\r\n"
                    );
                    let Ok(Message::Response(response)) = parse(text.as_bytes(), Carriage::Datagram, &limits) else {
                        panic!("{text}")
                    };
                    fork.on_final(&response)
                }
            })
            .collect();
        (verdicts, fork.best(&limits).map(|response| response.status))
    }

    #[test]
    fn one_response_goes_upstream() {
        use Verdict::{Best, Forward, Silence, Wait};
        // 0 stands for a time-out, 1 for a failure of the transport.
        type Case<'a> = (&'a [u16], Vec<Verdict>, Option<Result<u16, u16>>);
        let cases: [Case<'_>; 13] = [
            (&[200], vec![Forward], None),
            (&[404, 200, 200], vec![Wait, Forward, Wait], None),
            (&[200, 404, 0], vec![Forward, Wait, Wait], None),
            (&[404], vec![Forward], None),
            (&[404, 415], vec![Wait, Forward], None),
            (&[415, 404], vec![Wait, Best], Some(Ok(415))),
            (&[500, 603, 480], vec![Wait, Wait, Best], Some(Ok(603))),
            (&[0, 480], vec![Wait, Forward], None),
            (&[0, 500], vec![Wait, Forward], None),
            (&[480, 0], vec![Wait, Best], Some(Ok(480))),
            (&[0, 0], vec![Wait, Silence], None),
            (&[1], vec![Best], Some(Err(500))),
            (&[503], vec![Best], Some(Err(500))),
        ];
        for (ends, expected, best) in cases {
            let (verdicts, chosen) = run(ends);
            assert_eq!(verdicts, expected, "{ends:?}");
            if let Some(best) = best {
                assert_eq!(chosen, best, "{ends:?}");
            }
        }
        assert_eq!(run(&[408]).0, [Silence], "RFC 4320: nobody sends 408 to a request that is no INVITE");
    }
}
