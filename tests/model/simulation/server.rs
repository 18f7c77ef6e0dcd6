//! The XMPP server and its users: it accepts, reads, returns pings, bounces; it hangs, is deaf, slow, and goes.

use super::links::Link;
use super::{Event, Simulation};
use crate::mutant::Mutant;
use crate::weather::Fault;
use entente_tests::world::attribute;
use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};
use turn::{CloseCause, Input, StreamId};

pub(super) const XMPP_USERS: [&str; 3] = ["romeo", "benvolio", "mercutio"];
/// An XMPP user who finds no server, or one that takes nothing, tries so often.
const TRIES: u32 = 20;
const HEADER: &str = "<?xml version='1.0'?><stream:stream xmlns:stream='http://etherx.jabber.org/streams' \
                      xmlns='jabber:component:accept' from='sip.example' id='3BF96D32'>";

/// What the server says, and what it means to the ledger once it is with the engine.
pub(super) struct Words {
    pub(super) text: String,
    pub(super) meaning: Meaning,
}

pub(super) enum Meaning {
    Nothing,
    /// From here on there may be stanzas.
    Handshake,
    Ping {
        id: String,
    },
    Bounce {
        id: String,
        status: u16,
    },
    Message {
        n: u32,
        pair: (usize, usize),
        wants_receipt: bool,
    },
}

/// The server.
pub(super) struct Server {
    /// Octets that the kernel takes for a server that does not read.
    pub(super) kernel: usize,
    /// All streams there ever were, by a number that is never used again.
    pub(super) links: BTreeMap<u64, Link>,
    calling: BTreeSet<StreamId>,
    hung: Option<Instant>,
    deaf: Option<Instant>,
    slow: Option<Instant>,
    refuses: Option<Instant>,
    has_refused: bool,
    /// What a wrong engine has kept of a stream that was reset.
    tail: Vec<u8>,
}

impl Server {
    pub(super) fn new(kernel: usize) -> Self {
        Self {
            kernel,
            links: BTreeMap::new(),
            calling: BTreeSet::new(),
            hung: None,
            deaf: None,
            slow: None,
            refuses: None,
            has_refused: false,
            tail: Vec::new(),
        }
    }

    pub(super) fn link_of(&self, stream: StreamId) -> Option<u64> {
        self.links.iter().rev().find(|(_, link)| link.stream == Some(stream)).map(|(number, _)| *number)
    }

    /// The stream that has both ends.
    fn current(&self) -> Option<u64> {
        let both = |link: &Link| link.stream.is_some() && link.stands;
        self.links.iter().rev().find(|(_, link)| both(link)).map(|(number, _)| *number)
    }

    fn standing(&self) -> Option<u64> {
        self.current().filter(|number| self.links[number].greeted && !self.links[number].has_ended)
    }

    /// Whether the component stream stands.
    pub(super) fn stands(&self) -> bool {
        self.standing().is_some()
    }

    /// The gateway's end of a stream is gone.
    pub(super) fn leave(&mut self, link: u64) {
        if let Some(link) = self.links.get_mut(&link) {
            link.stream = None;
        }
    }

    /// The gateway does not want a connection any more that is being made.
    pub(super) fn give_up(&mut self, stream: StreamId) {
        self.calling.remove(&stream);
    }

    /// Until when the server neither reads nor writes.
    pub(super) fn hung_until(&self, now: Instant) -> Option<Instant> {
        self.hung.filter(|until| now < *until)
    }

    pub(super) fn is_slow(&self, now: Instant) -> bool {
        self.slow.is_some_and(|until| now < until)
    }
}

impl Simulation {
    pub(super) fn server_is_called(&mut self, stream: StreamId) {
        if self.server.has_refused && self.is_wrong(Mutant::GiveUpConnecting) {
            return;
        }
        self.server.calling.insert(stream);
        let (life, delay) = (self.life, 1 + self.dice.below(100));
        self.after(delay, Event::Accepts { life, stream });
    }

    pub(super) fn accepts(&mut self, life: u32, stream: StreamId) {
        if life != self.life || self.down || !self.server.calling.remove(&stream) {
            return;
        }
        if self.strikes(Fault::Refused) {
            let span = self.dice.one_of(&[0, 3000, 60_000]);
            self.server.refuses = Some(self.now + Duration::from_millis(span));
        }
        if self.server.refuses.is_some_and(|until| self.now <= until) {
            self.server.has_refused = true;
            return self.stream_ends(stream, CloseCause::Refused);
        }
        let mut link = Link::new(stream);
        if self.mutant == Some(Mutant::KeepTail) {
            link.kernel = std::mem::take(&mut self.server.tail);
            self.applied |= !link.kernel.is_empty();
        }
        let number = self.server.links.keys().last().map_or(1, |last| last + 1);
        self.server.links.insert(number, link);
        self.feed(Input::Connected { stream, peer: ([192, 0, 2, 7], 5347).into() });
    }

    /// The server is not as it should be, until then or from now on.
    pub(super) fn server_fails(&mut self, fault: Fault, until: Instant) {
        match fault {
            Fault::Deaf => return self.server.deaf = Some(until),
            Fault::SlowReader => return self.server.slow = Some(until),
            _ => {}
        }
        let Some(link) = self.server.standing() else { return };
        match fault {
            Fault::Hung => {
                self.struck(fault);
                self.server.hung = Some(until);
                self.at(until, Event::Reads { link });
                if self.dice.percent(60) {
                    // It resets the connection, before or while it reads again.
                    let after = (until - self.now).as_millis() as u64;
                    let after = self.dice.below(after + 50);
                    self.after(after, Event::Strikes(Fault::Reset, Duration::ZERO));
                }
            }
            Fault::HalfClosed => {
                self.struck(fault);
                self.server_ends(link);
            }
            Fault::Closed => {
                self.struck(fault);
                if !self.is_wrong(Mutant::MissEnd) {
                    self.says(link, "</stream:stream>");
                }
                if let Some(row) = self.server.links.get_mut(&link) {
                    row.has_ended = true;
                }
                self.after(2000, Event::Ends { link });
            }
            Fault::Reset => {
                self.struck(fault);
                self.is_reset(link);
            }
            Fault::ResetInStanza => self.is_reset_in_a_stanza(link),
            other => panic!("{other:?} is no fault of the server"),
        }
    }

    /// It ends its side, and reads on what comes from the gateway.
    pub(super) fn server_ends(&mut self, link: u64) {
        let Some(stream) = self.server.links.get(&link).filter(|link| link.stands).and_then(|link| link.stream) else {
            return;
        };
        self.arrives(link, usize::MAX);
        self.drain(link);
        if !self.is_wrong(Mutant::MissEnd) {
            self.stream_ends(stream, CloseCause::Peer);
        }
        if let Some(link) = self.server.links.get_mut(&link) {
            link.has_ended = true;
        }
    }

    fn is_reset(&mut self, link: u64) {
        let Some(row) = self.server.links.get_mut(&link) else { return };
        let stream = row.stream;
        row.stands = false;
        let unread = std::mem::take(&mut row.kernel);
        if !row.arrived.is_empty() {
            self.server.tail = unread;
        }
        if let Some(stream) = stream
            && !self.is_wrong(Mutant::MissEnd)
        {
            self.stream_ends(stream, CloseCause::Failed);
        }
    }

    fn is_reset_in_a_stanza(&mut self, link: u64) {
        let Some(row) = self.server.links.get_mut(&link) else { return };
        self.ledger.see("reset while the server says something");
        let half = row.kernel.len() / 2;
        if half > 0 {
            let rest = row.kernel.split_off(half);
            self.read(link);
            if let Some(row) = self.server.links.get_mut(&link) {
                row.kernel = rest;
            }
        }
        self.says(link, "<message from='romeo@xmpp.example/x' to='juliet@sip.example' id='half'><body>Wherefore");
        self.arrives(link, usize::MAX);
        self.struck(Fault::ResetInStanza);
        self.is_reset(link);
    }

    fn says(&mut self, link: u64, text: &str) {
        self.say(link, Words { text: text.to_owned(), meaning: Meaning::Nothing });
    }

    /// The server says something, as soon as it is not hung.
    pub(super) fn server_says(&mut self, link: u64, what: Words) {
        if let Some(until) = self.server.hung_until(self.now) {
            return self.at(until, Event::Says { link, what });
        }
        self.say(link, what);
    }

    pub(super) fn false_return(&mut self, link: u64, id: &str, text: String) {
        self.say(link, Words { text, meaning: Meaning::Ping { id: id.to_owned() } });
    }

    /// The gateway's kernel has taken a whole stanza and the server has read it.
    pub(super) fn server_has_read(&mut self, link: u64, stanza: &str) {
        let later = |simulation: &mut Self, delay: u64, text: &str, meaning| {
            let what = Words { text: text.to_owned(), meaning };
            simulation.after(delay, Event::Says { link, what });
        };
        if stanza == "header" {
            return later(self, 1, HEADER, Meaning::Nothing);
        }
        if stanza.starts_with("<handshake") {
            return later(self, 0, "<handshake/>", Meaning::Handshake);
        }
        let id = attribute(stanza, "id").unwrap_or_default().to_owned();
        if stanza.contains("urn:xmpp:ping") {
            if self.is_wrong(Mutant::TrustKernel) {
                return;
            }
            if self.server.deaf.is_some_and(|until| self.now < until) {
                return self.struck(Fault::Deaf);
            }
            let delay = if self.strikes(Fault::LatePing) { self.dice.below(3000) } else { 1 + self.dice.below(30) };
            return later(self, delay, stanza, Meaning::Ping { id });
        }
        if stanza.contains("type='error'")
            && let Some(n) = id.strip_prefix('m').and_then(|n| n.parse().ok())
        {
            let dropped = self.ledger.is_told_again(n) && self.is_wrong(Mutant::DropToldAgain);
            if !dropped {
                self.ledger.error_read(n);
            }
            return;
        }
        if super::links::body_number(stanza, "sip ").is_none() {
            return;
        }
        let piled = self.server.links.get(&link).is_some_and(|link| link.piled);
        if piled && self.is_wrong(Mutant::DropPiled) {
            return;
        }
        self.ledger.stanza_read(&id);
        if self.is_wrong_once(Mutant::DuplicateStanza) {
            self.ledger.stanza_read(&id);
        }
        let late = self.strikes(Fault::LateBounce);
        if late || self.strikes(Fault::Bounces) {
            let (from, to) =
                (attribute(stanza, "to").unwrap_or_default(), attribute(stanza, "from").unwrap_or_default());
            let (condition, status) =
                self.dice.one_of(&[("item-not-found", 404), ("item-not-found", 404), ("recipient-unavailable", 480)]);
            let bounce = format!(
                "<message from='{from}' to='{to}' id='{id}' type='error'><error type='cancel'>\
                 <{condition} xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></message>"
            );
            let delay = if late { 100 + self.dice.below(3000) } else { self.dice.below(5) };
            later(self, delay, &bounce, Meaning::Bounce { id, status });
        }
    }

    pub(super) fn xmpp_user_writes(&mut self, n: u32, tries: u32) {
        let link = self.server.standing().filter(|_| self.server.hung_until(self.now).is_none() && !self.down);
        let Some(link) = link else {
            if tries < TRIES {
                let delay = 500 + self.dice.below(2000);
                self.after(delay, Event::Writes { n, tries: tries + 1 });
            }
            return;
        };
        let pair = (self.dice.below(3) as usize, self.dice.below(3) as usize);
        let wants_receipt = self.dice.percent(30);
        let receipt = if wants_receipt { "<request xmlns='urn:xmpp:receipts'/>" } else { "" };
        let text = format!(
            "<message from='{}@xmpp.example/x' to='{}@sip.example' id='m{n}'><body>xmpp {n}.</body>{receipt}</message>",
            XMPP_USERS[pair.0],
            super::phones::SIP_USERS[pair.1]
        );
        self.say(link, Words { text, meaning: Meaning::Message { n, pair, wants_receipt } });
    }

    /// The gateway's ends of all streams are gone.
    pub(super) fn links_are_cut(&mut self) {
        self.server.calling.clear();
        // Its kernel resets what it had not read, or ends what it had: then the server reads on.
        let reset = self.dice.percent(50);
        for link in self.server.links.values_mut().filter(|link| link.stream.is_some()) {
            link.cut(reset);
        }
    }
}
