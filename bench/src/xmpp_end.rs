//! The XMPP server with its users, as a component sees it (XEP-0114): any secret is accepted.
//!
//! What is addressed to the component's own domain is routed back to it in order, as real servers do; a gateway may build on
//! that to learn how far its stanzas got. `--barrier-delay` holds such returns back.

use std::collections::VecDeque;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::AsFd;

use anyhow::{Context as _, Result};
use memchr::memmem;

use crate::mark::{Direction, Mould};
use crate::net::{self, Link, Waits};
use crate::options::{Options, XmppAnswer};
use crate::traffic::Traffic;
use crate::xml_scan::{Piece, Scanner, StartTag};

pub(crate) struct XmppEnd {
    address: SocketAddr,
    listener: Option<TcpListener>,
    components: Vec<Component>,
    stanzas: Vec<Mould>,
    /// Until when nothing is read or written.
    stalled_until: u64,
    /// Until when the port is closed.
    refusing_until: u64,
    users: Users,
    pub(crate) handshakes: u64,
}

/// One connected component.
struct Component {
    link: Link,
    scanner: Scanner,
    domain: Vec<u8>,
    ready: bool,
    /// Returns held back, each until its time.
    held: VecDeque<(u64, Vec<u8>)>,
}

/// What the server and its users do with a stanza.
struct Users {
    answer: XmppAnswer,
    barrier_delay: u64,
    returned: u64,
    strays: u64,
}

impl XmppEnd {
    pub(crate) fn new(options: &Options, traffic: &Traffic) -> Result<Self> {
        let address = options.xmpp_listen;
        let blank = traffic.marks.blank(Direction::XmppToSip);
        let stanzas = traffic.to_sip.iter().flat_map(|lane| {
            lane.addresses.sends_from.iter().zip(&lane.addresses.sends_to).map(|(from, to)| {
                Mould::default()
                    .text(b"<message type='chat' from='")
                    .text(from)
                    .text(b"' to='")
                    .text(to)
                    .text(b"' id='")
                    .mark(&blank)
                    .text(b"'><body>")
                    .mark(&blank)
                    .text(traffic.text.filler())
                    .text(b"</body></message>")
            })
        });
        Ok(Self {
            address,
            listener: Some(
                net::listen(address).with_context(|| format!("cannot listen on TCP {address} (--xmpp-listen)"))?,
            ),
            components: Vec::new(),
            stanzas: stanzas.collect(),
            stalled_until: 0,
            refusing_until: 0,
            users: Users {
                answer: options.xmpp_answer,
                barrier_delay: options.barrier_delay.nanoseconds(),
                returned: 0,
                strays: 0,
            },
            handshakes: 0,
        })
    }

    pub(crate) fn is_ready(&self, now: u64) -> bool {
        now >= self.stalled_until && self.components.iter().any(|component| component.ready)
    }

    /// Fault: reads and writes nothing until then.
    pub(crate) fn stall(&mut self, until: u64) {
        self.stalled_until = until;
    }

    /// Fault: cuts every component off and keeps the port closed until then.
    pub(crate) fn cut(&mut self, until: u64) {
        self.components.clear();
        self.refusing_until = until;
        self.stalled_until = 0;
        self.listener = None;
    }

    pub(crate) fn send(&mut self, sequence: u32, pair: u32) {
        let component = self.components.iter_mut().rfind(|component| component.ready);
        if let (Some(component), Some(stanza)) = (component, self.stanzas.get(pair as usize)) {
            stanza.cast(sequence, &mut component.link.outbound);
        }
    }

    /// Takes in what arrived and answers it. True when there was anything.
    pub(crate) fn receive(&mut self, traffic: &mut Traffic, now: u64) -> io::Result<bool> {
        if now < self.stalled_until {
            return Ok(false);
        }
        if self.listener.is_none() && now >= self.refusing_until {
            self.listener = Some(net::listen(self.address)?);
        }
        let mut active = false;
        if let Some(listener) = &self.listener
            && let Some(link) = net::accept(listener)?
        {
            active = true;
            self.components.push(Component {
                link,
                scanner: Scanner::default(),
                domain: Vec::new(),
                ready: false,
                held: VecDeque::new(),
            });
        }
        for component in &mut self.components {
            if component.link.read() {
                active = true;
                let was_ready = component.ready;
                component.take_in(&mut self.users, traffic, now);
                self.handshakes += u64::from(component.ready && !was_ready);
            }
            active |= component.release(now);
        }
        self.components.retain(|component| !component.link.closed);
        Ok(active)
    }

    pub(crate) fn flush(&mut self, now: u64) {
        if now >= self.stalled_until {
            self.components.iter_mut().for_each(|component| component.link.flush());
        }
    }

    pub(crate) fn waits<'a>(&'a self, waits: &mut Waits<'a>, now: u64) {
        if now >= self.stalled_until {
            waits.extend(self.listener.iter().map(|listener| net::readable(listener.as_fd())));
            waits.extend(self.components.iter().map(|component| component.link.wait()));
        }
    }

    /// When the next held return is to leave.
    pub(crate) fn next_release(&self) -> Option<u64> {
        self.components.iter().filter_map(|component| component.held.front()).map(|(due, _)| *due).min()
    }

    /// Stanzas routed back to the component.
    pub(crate) fn returned(&self) -> u64 {
        self.users.returned
    }

    pub(crate) fn strays(&self) -> u64 {
        self.users.strays
    }
}

impl Component {
    fn take_in(&mut self, users: &mut Users, traffic: &mut Traffic, now: u64) {
        let Link { inbound, outbound, closed, .. } = &mut self.link;
        while let Some((piece, end)) = self.scanner.next(inbound.unread()) {
            match piece {
                Piece::Header(range) => {
                    let header = &inbound.unread()[range];
                    self.domain = StartTag::read(header).to.to_vec();
                    outbound.extend_from_slice(b"<?xml version='1.0'?><stream:stream xmlns='jabber:component:accept' xmlns:stream='http://etherx.jabber.org/streams' id='eb' from='");
                    outbound.extend_from_slice(&self.domain);
                    outbound.extend_from_slice(b"'>");
                }
                Piece::Stanza(range) if !self.ready => {
                    if StartTag::read(&inbound.unread()[range]).name == b"handshake" {
                        outbound.extend_from_slice(b"<handshake/>");
                        self.ready = true;
                    }
                }
                Piece::Stanza(range) => {
                    let stanza = &inbound.unread()[range];
                    let tag = StartTag::read(stanza);
                    if addressed_to_domain(tag.to, &self.domain) {
                        users.returned += 1;
                        if users.barrier_delay == 0 {
                            outbound.extend_from_slice(stanza);
                        } else {
                            self.held.push_back((now + users.barrier_delay, stanza.to_vec()));
                        }
                    } else {
                        users.on_stanza(stanza, &tag, traffic, now, outbound);
                    }
                }
                Piece::End => *closed = true,
            }
            inbound.consume(end);
        }
    }

    fn release(&mut self, now: u64) -> bool {
        let mut released = false;
        while let Some((_, stanza)) = self.held.pop_front_if(|(due, _)| *due <= now) {
            self.link.outbound.extend_from_slice(&stanza);
            released = true;
        }
        released
    }
}

fn addressed_to_domain(to: &[u8], domain: &[u8]) -> bool {
    to.strip_prefix(domain).is_some_and(|rest| matches!(rest.first(), None | Some(b'/')))
}

impl Users {
    fn on_stanza(&mut self, stanza: &[u8], tag: &StartTag<'_>, traffic: &mut Traffic, now: u64, out: &mut Vec<u8>) {
        match (tag.name, tag.kind) {
            (b"message", b"error") => match (traffic.marks.find(tag.id), &mut traffic.to_sip) {
                (Some((Direction::XmppToSip, sequence, _)), Some(lane)) => lane.course.on_bounced(sequence),
                _ => self.strays += 1,
            },
            (b"message", _) => self.on_message(stanza, tag, traffic, now, out),
            (b"iq", b"get" | b"set") if memmem::find(stanza, b"urn:xmpp:ping").is_some() => {
                reply(tag, "iq", "result", "", out)
            }
            (b"iq", b"get" | b"set") => {
                let error =
                    "<error type='cancel'><service-unavailable xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error>";
                reply(tag, "iq", "error", error, out);
            }
            _ => self.strays += 1,
        }
    }

    fn on_message(&mut self, stanza: &[u8], tag: &StartTag<'_>, traffic: &mut Traffic, now: u64, out: &mut Vec<u8>) {
        if self.answer == XmppAnswer::Bounce {
            let error = "<error type='cancel'><item-not-found xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error>";
            return reply(tag, "message", "error", error, out);
        }
        let new = traffic.on_stanza(stanza, tag.from, tag.to, now);
        if new && self.answer == XmppAnswer::Receipt && memmem::find(stanza, b"<request").is_some() {
            let received = format!("<received xmlns='urn:xmpp:receipts' id='{}'/>", String::from_utf8_lossy(tag.id));
            reply(tag, "message", "normal", &received, out);
        }
    }
}

/// An answer with the addresses exchanged.
fn reply(tag: &StartTag<'_>, name: &str, kind: &str, content: &str, out: &mut Vec<u8>) {
    for part in [
        b"<",
        name.as_bytes(),
        b" type='",
        kind.as_bytes(),
        b"' from='",
        tag.to,
        b"' to='",
        tag.from,
        b"' id='",
        tag.id,
        b"'>",
        content.as_bytes(),
        b"</",
        name.as_bytes(),
        b">",
    ] {
        out.extend_from_slice(part);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_domain_itself_is_routed_back() {
        for (to, back) in
            [("sip.test", true), ("sip.test/r", true), ("a@sip.test", false), ("sip.test.evil", false), ("", false)]
        {
            assert_eq!(addressed_to_domain(to.as_bytes(), b"sip.test"), back, "{to}");
        }
    }

    #[test]
    fn a_reply_goes_back_where_the_stanza_came_from() {
        let mut out = Vec::new();
        reply(&StartTag::read(b"<iq from='a' to='b' id='1' type='get'/>"), "iq", "result", "<x/>", &mut out);
        assert_eq!(out, b"<iq type='result' from='b' to='a' id='1'><x/></iq>");
    }
}
