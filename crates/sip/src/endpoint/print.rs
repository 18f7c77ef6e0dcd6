//! How requests of ours are printed.

use super::Settings;
use crate::transaction::Transport;
use crate::transaction::key::{BRANCH_DIGITS, write_tag};
use crate::wire::{HeaderName, Method, Request, Via, print};

/// A request to be sent, as far as the caller decides on it.
#[derive(Clone, Copy, Debug)]
pub struct RequestParts<'a> {
    /// Its method.
    pub method: Method<'a>,
    /// Its Request-URI.
    pub uri: &'a [u8],
    /// The value of From, without a tag.
    pub from: &'a [u8],
    /// The tag of From, where it is not a new one.
    pub from_tag: Option<&'a [u8]>,
    /// The value of To.
    pub to: &'a [u8],
    /// Its Call-ID.
    pub call_id: &'a [u8],
    /// The number of its CSeq, below 2^31.
    pub cseq: u32,
    /// Its Max-Forwards.
    pub max_forwards: u8,
    /// Route lines, each ended by CRLF; see [`RouteSet`](crate::route_set::RouteSet).
    pub route: &'a [u8],
    /// Further header lines, each ended by CRLF.
    pub more: &'a [u8],
    /// The type of the body; must be there if there is a body.
    pub content_type: Option<&'a [u8]>,
    /// The body.
    pub body: &'a [u8],
    /// The branch, where it is not a new one: it repeats a request of an earlier run.
    pub branch: Option<u128>,
}

/// What changes when a request is passed on (RFC 3261 16.6).
#[derive(Clone, Copy, Debug)]
pub struct Forwarding<'a> {
    /// The request as it came.
    pub request: &'a Request<'a>,
    /// The Request-URI of the copy.
    pub uri: &'a [u8],
    /// The Max-Forwards of the copy.
    pub max_forwards: u8,
    /// How many Route values at the front are left out, because they named us (16.4).
    pub routes_done: usize,
    /// Names of header fields that are left out: credentials for us.
    pub without: &'a [HeaderName],
}

/// Our host and port in a Via.
#[derive(Debug)]
pub(super) struct SentBy {
    host: Vec<u8>,
    port: u16,
}

impl SentBy {
    pub(super) fn new(text: &[u8]) -> Self {
        let colon = text.iter().rposition(|&byte| byte == b':').filter(|&at| !text[at..].contains(&b']'));
        let (host, port) = colon.map_or((text, None), |at| {
            (&text[..at], std::str::from_utf8(&text[at + 1..]).ok().and_then(|port| port.parse().ok()))
        });
        Self { host: host.to_vec(), port: port.unwrap_or(5060) }
    }

    pub(super) fn is_in(&self, via: &Via<'_>) -> bool {
        self.is(via.host, via.port)
    }

    pub(super) fn is(&self, host: &[u8], port: Option<u16>) -> bool {
        host.eq_ignore_ascii_case(&self.host) && port.unwrap_or(5060) == self.port
    }
}

/// Our Via, which asks for the answer at the address that the request is seen to come from (RFC 3581 section 3).
fn via_line(transport: Transport, settings: &Settings, branch: u128, out: &mut Vec<u8>) {
    let branch = |out: &mut Vec<u8>| out.extend_from_slice(&turn::base32::<BRANCH_DIGITS>(branch));
    let sent_by = match (transport, &settings.sent_by_tcp) {
        (Transport::Tcp, Some(own)) => own,
        _ => &settings.sent_by,
    };
    print::via(transport.name().as_bytes(), sent_by, true, branch, out);
}

pub(super) fn request(
    parts: &RequestParts<'_>,
    transport: Transport,
    settings: &Settings,
    branch: u128,
    tag: u64,
    out: &mut Vec<u8>,
) {
    print::request_line(parts.method, parts.uri, out);
    via_line(transport, settings, branch, out);
    print::number_header(HeaderName::MaxForwards, parts.max_forwards.into(), out);
    out.extend_from_slice(parts.route);
    out.extend_from_slice(b"From: ");
    out.extend_from_slice(parts.from);
    out.extend_from_slice(b";tag=");
    match parts.from_tag {
        Some(tag) => out.extend_from_slice(tag),
        None => write_tag(tag, out),
    }
    out.extend_from_slice(b"\r\n");
    print::header(HeaderName::To, parts.to, out);
    print::header(HeaderName::CallId, parts.call_id, out);
    print::cseq(parts.cseq, parts.method, out);
    out.extend_from_slice(parts.more);
    if !settings.server_name.is_empty() {
        print::header(HeaderName::UserAgent, &settings.server_name, out);
    }
    debug_assert!(parts.content_type.is_some() || parts.body.is_empty(), "RFC 3261 20.15");
    if let Some(content_type) = parts.content_type {
        print::header(HeaderName::ContentType, content_type, out);
    }
    print::body(parts.body, out);
}

pub(super) fn forward(
    forwarding: &Forwarding<'_>,
    vias: &[u8],
    transport: Transport,
    settings: &Settings,
    branch: u128,
    out: &mut Vec<u8>,
) {
    let request = forwarding.request;
    print::request_line(request.method, forwarding.uri, out);
    via_line(transport, settings, branch, out);
    out.extend_from_slice(vias);
    print::number_header(HeaderName::MaxForwards, forwarding.max_forwards.into(), out);
    for route in request.head.list(HeaderName::Route).skip(forwarding.routes_done) {
        print::header(HeaderName::Route, route, out);
    }
    for header in request.head.lines() {
        let written = match header.name {
            HeaderName::Via | HeaderName::MaxForwards | HeaderName::Route | HeaderName::ContentLength => true,
            name => name != HeaderName::Other && forwarding.without.contains(&name),
        };
        if !written {
            print::header_line(header.raw_name, header.value, out);
        }
    }
    print::body(request.body, out);
}
