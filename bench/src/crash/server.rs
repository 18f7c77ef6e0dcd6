//! The XMPP server and its users: takes one component (XEP-0114, any secret), returns what is addressed to the component's own
//! domain, and can be down or hang.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::AsFd as _;

use memchr::memmem;

use super::ledger::{Breach, Ledger};
use super::{PAIRS, sip_user, xmpp_user};
use crate::mark::{Direction, MARK_LENGTH, Marks, Mould};
use crate::net::{self, Link, Waits};
use crate::xml_scan::{Piece, Scanner, StartTag};

/// Messages of a pair that may be without a word in one life of the gateway.
const OPEN_PER_PAIR: u32 = 4;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Mood {
    Up,
    /// Neither reads nor writes.
    Hung,
    /// The port is closed.
    Down,
}

/// What the server does wrong, to see that it is noticed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Wrong {
    /// Each 50th message comes twice.
    Repeats,
    /// Each 50th message comes behind the next one of its conversation.
    Swaps,
}

pub(crate) struct Server {
    address: SocketAddr,
    listener: Option<TcpListener>,
    components: Vec<Component>,
    stanzas: Vec<Mould>,
    mood: Mood,
    pings: u64,
    ping_is_back: bool,
    pub(crate) wrong: Option<Wrong>,
    messages: u64,
    /// Sequence number, id and stamp of a message that is to come later.
    held: Option<(u32, Vec<u8>, bool)>,
    pub(crate) events: u64,
}

struct Component {
    link: Link,
    scanner: Scanner,
    domain: Vec<u8>,
    ready: bool,
}

impl Server {
    pub(crate) fn new(address: SocketAddr, marks: &Marks) -> Self {
        let blank = marks.blank(Direction::XmppToSip);
        let stanza = |pair: u32| {
            let (from, to) = (xmpp_user(pair), sip_user(pair));
            Mould::default()
                .text(format!("<message type='chat' from='{from}/bench' to='{to}' id='").as_bytes())
                .mark(&blank)
                .text(b"'><body>")
                .mark(&blank)
                .text(b"</body></message>")
        };
        Self {
            address,
            listener: None,
            components: Vec::new(),
            stanzas: (0..PAIRS).map(stanza).collect(),
            mood: Mood::Down,
            pings: 0,
            ping_is_back: false,
            wrong: None,
            messages: 0,
            held: None,
            events: 0,
        }
    }

    pub(crate) fn become_so(&mut self, mood: Mood, ledger: &mut Ledger) -> io::Result<()> {
        self.mood = mood;
        if mood == Mood::Down {
            if !self.components.is_empty() {
                ledger.on_stream_lost();
            }
            self.components.clear();
            self.release(ledger);
            self.listener = None;
        } else if self.listener.is_none() {
            self.listener = Some(net::listen(self.address)?);
        }
        Ok(())
    }

    pub(crate) fn is_ready(&self) -> bool {
        self.mood == Mood::Up && self.components.iter().any(|component| component.ready)
    }

    pub(crate) fn send(&mut self, ledger: &mut Ledger) {
        if self.mood != Mood::Up {
            return;
        }
        let Some(component) = self.components.iter_mut().rfind(|component| component.ready) else { return };
        for (pair, stanza) in (0..PAIRS).zip(&self.stanzas) {
            if ledger.open(pair) < OPEN_PER_PAIR {
                let sequence = ledger.on_sent(Direction::XmppToSip, pair);
                stanza.cast(sequence, &mut component.link.outbound);
            }
        }
    }

    /// Asks the gateway whether it has read all that it was sent.
    pub(crate) fn ping(&mut self) {
        let Some(component) = self.components.iter_mut().rfind(|component| component.ready) else { return };
        self.pings += 1;
        self.ping_is_back = false;
        let domain = String::from_utf8_lossy(&component.domain).into_owned();
        let ping = format!(
            "<iq type='get' from='xmpp.test' to='{domain}' id='ebping{}'><ping xmlns='urn:xmpp:ping'/></iq>",
            self.pings
        );
        component.link.outbound.extend_from_slice(ping.as_bytes());
    }

    pub(crate) fn ping_is_back(&self) -> bool {
        self.ping_is_back
    }

    /// Takes in what arrived and answers it. True when there was anything.
    pub(crate) fn receive(&mut self, ledger: &mut Ledger, marks: &Marks) -> io::Result<bool> {
        if self.mood == Mood::Hung {
            return Ok(false);
        }
        let mut active = false;
        if let Some(listener) = &self.listener
            && let Some(link) = net::accept(listener)?
        {
            active = true;
            let (scanner, domain) = (Scanner::default(), Vec::new());
            self.components.push(Component { link, scanner, domain, ready: false });
        }
        let mut components = std::mem::take(&mut self.components);
        let all = components.len();
        for component in &mut components {
            while component.link.read() {
                active = true;
                self.take_in(component, ledger, marks);
            }
        }
        components.retain(|component| !component.link.closed);
        if components.len() < all {
            ledger.on_stream_lost();
        }
        self.components = components;
        Ok(active)
    }

    fn take_in(&mut self, component: &mut Component, ledger: &mut Ledger, marks: &Marks) {
        let Link { inbound, outbound, closed, .. } = &mut component.link;
        while let Some((piece, end)) = component.scanner.next(inbound.unread()) {
            match piece {
                Piece::Header(range) => {
                    component.domain = StartTag::read(&inbound.unread()[range]).to.to_vec();
                    outbound.extend_from_slice(b"<?xml version='1.0'?><stream:stream xmlns='jabber:component:accept' xmlns:stream='http://etherx.jabber.org/streams' id='eb' from='");
                    outbound.extend_from_slice(&component.domain);
                    outbound.extend_from_slice(b"'>");
                }
                Piece::Stanza(range) if !component.ready => {
                    if StartTag::read(&inbound.unread()[range]).name == b"handshake" {
                        outbound.extend_from_slice(b"<handshake/>");
                        component.ready = true;
                    }
                }
                Piece::Stanza(range) => {
                    let stanza = &inbound.unread()[range];
                    let tag = StartTag::read(stanza);
                    if tag.to == component.domain {
                        outbound.extend_from_slice(stanza);
                    } else {
                        self.on_stanza(stanza, &tag, ledger, marks);
                    }
                }
                Piece::End => *closed = true,
            }
            inbound.consume(end);
        }
    }

    fn on_stanza(&mut self, stanza: &[u8], tag: &StartTag<'_>, ledger: &mut Ledger, marks: &Marks) {
        let body = memmem::find(stanza, b"<body").map_or(&[][..], |at| &stanza[at..]);
        match (tag.name, tag.kind, marks.find(tag.id), marks.find(body)) {
            (b"iq", b"result" | b"error", ..) => {
                self.ping_is_back |= tag.id == format!("ebping{}", self.pings).as_bytes();
            }
            (b"message", b"error", Some((Direction::XmppToSip, sequence, _)), _) => {
                self.events += 1;
                ledger.on_told(sequence);
            }
            (b"message", _, _, Some((Direction::SipToXmpp, sequence, MARK_LENGTH..))) => {
                self.events += 1;
                let stamped = memmem::find(stanza, b"urn:xmpp:delay").is_some();
                self.on_message(sequence, tag.id, stamped, ledger);
            }
            _ => ledger.breach(Breach::Stray, || String::from_utf8_lossy(stanza).into_owned()),
        }
    }

    fn on_message(&mut self, sequence: u32, id: &[u8], stamped: bool, ledger: &mut Ledger) {
        self.messages += 1;
        let is_turn = self.messages.is_multiple_of(50);
        match self.wrong {
            Some(Wrong::Repeats) if is_turn => ledger.on_stanza(sequence, id, stamped),
            Some(Wrong::Swaps) => {
                if let Some((held, other, was_stamped)) =
                    self.held.take_if(|(held, ..)| ledger.pair_of_request(*held) == ledger.pair_of_request(sequence))
                {
                    ledger.on_stanza(sequence, id, stamped);
                    return ledger.on_stanza(held, &other, was_stamped);
                }
                if is_turn && self.held.is_none() {
                    self.held = Some((sequence, id.to_vec(), stamped));
                    return;
                }
            }
            _ => {}
        }
        ledger.on_stanza(sequence, id, stamped);
    }

    /// The gateway was killed, and all that it had sent was taken in.
    pub(crate) fn on_killed(&mut self, ledger: &mut Ledger) {
        self.components.clear();
        self.release(ledger);
    }

    /// Nothing changes places with what comes on another stream, where it may come again itself.
    fn release(&mut self, ledger: &mut Ledger) {
        if let Some((held, id, stamped)) = self.held.take() {
            ledger.on_stanza(held, &id, stamped);
        }
    }

    pub(crate) fn flush(&mut self) {
        if self.mood == Mood::Up {
            self.components.iter_mut().for_each(|component| component.link.flush());
        }
    }

    pub(crate) fn waits<'a>(&'a self, waits: &mut Waits<'a>) {
        if self.mood == Mood::Up {
            waits.extend(self.listener.iter().map(|listener| net::readable(listener.as_fd())));
            waits.extend(self.components.iter().map(|component| component.link.wait()));
        }
    }
}
