//! SIP users behind one address over UDP. Each writes one message at a time (RFC 3428 section 8), and sends it again by Timer E
//! until somebody answers. What they answer to a request they answer again when it comes again, however late.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::AsFd as _;

use anyhow::{Context as _, Result};

use super::ledger::{Breach, Ledger};
use super::{Dice, PAIRS, sip_user, xmpp_user};
use crate::clock::MILLISECOND;
use crate::mark::{Direction, Marks, Mould};
use crate::net::{self, Waits};
use crate::sip_text::Message;

const T1: u64 = 500 * MILLISECOND;
const T2: u64 = 4000 * MILLISECOND;
/// How long a message is in the memory of him who answers early.
const EARLY: u64 = 50 * MILLISECOND;
const TIMER_F: u64 = 64 * T1;

/// What the users do with a message.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Mood {
    Here,
    /// 480.
    Away,
    Silent,
}

pub(crate) struct Phones {
    gateway: SocketAddr,
    socket: UdpSocket,
    buffer: Box<[u8]>,
    scratch: Vec<u8>,
    requests: Vec<Mould>,
    /// Of each pair that waits for an answer.
    open: BTreeMap<u32, Open>,
    /// The answers given, by transaction.
    answers: BTreeMap<(u32, u32), u16>,
    /// The transactions that came in this life of the gateway.
    met: BTreeSet<(u32, u32)>,
    pub(crate) mood: Mood,
    /// Answers that do not reach their sender, in percent.
    pub(crate) answers_lost: u64,
    /// What somebody on the way does wrong, to see that it is noticed: he tells the sender 202, in percent of all messages, and
    /// passes them on a little later, but for those that he has in his memory when he is killed.
    pub(crate) answers_early: u64,
    early: Vec<(u64, u32, u32)>,
    pub(crate) events: u64,
}

struct Open {
    sequence: u32,
    due: u64,
    wait: u64,
    end: u64,
}

impl Phones {
    pub(crate) fn new(local: SocketAddr, gateway: SocketAddr, marks: &Marks) -> Result<Self> {
        let blank = marks.blank(Direction::SipToXmpp);
        let request = |pair: u32| {
            let (from, to) = (sip_user(pair), xmpp_user(pair));
            Mould::default()
                .text(format!("MESSAGE sip:{to} SIP/2.0\r\nVia: SIP/2.0/UDP {local};rport;branch=z9hG4bK").as_bytes())
                .mark(&blank)
                .text(
                    format!("\r\nMax-Forwards: 70\r\nFrom: <sip:{from}>;tag=p{pair}\r\nTo: <sip:{to}>\r\nCall-ID: ")
                        .as_bytes(),
                )
                .mark(&blank)
                .text(
                    format!(
                        "\r\nCSeq: 1 MESSAGE\r\nContent-Type: text/plain\r\nContent-Length: {}\r\n\r\n",
                        blank.len()
                    )
                    .as_bytes(),
                )
                .mark(&blank)
        };
        Ok(Self {
            gateway,
            socket: net::bind_datagrams(local).with_context(|| format!("cannot bind UDP {local}"))?,
            buffer: vec![0; 65_536].into_boxed_slice(),
            scratch: Vec::new(),
            requests: (0..PAIRS).map(request).collect(),
            open: BTreeMap::new(),
            answers: BTreeMap::new(),
            met: BTreeSet::new(),
            mood: Mood::Here,
            answers_lost: 0,
            answers_early: 0,
            early: Vec::new(),
            events: 0,
        })
    }

    /// Whoever waits for no answer writes.
    pub(crate) fn send(&mut self, ledger: &mut Ledger, dice: &mut Dice, now: u64) {
        for pair in 0..PAIRS {
            if self.open.contains_key(&pair) || self.early.iter().any(|(_, early, _)| *early == pair) {
                continue;
            }
            let sequence = ledger.on_sent(Direction::SipToXmpp, pair);
            if dice.percent(self.answers_early) {
                ledger.on_answered(sequence, 202);
                self.early.push((now + EARLY, pair, sequence));
                continue;
            }
            self.open.insert(pair, Open { sequence, due: now + T1, wait: T1, end: now + TIMER_F });
            self.transmit(pair, sequence);
        }
    }

    /// RFC 3261 17.1.2.2.
    pub(crate) fn retransmit(&mut self, ledger: &mut Ledger, now: u64) {
        let ripe = self.early.iter().take_while(|(due, ..)| *due <= now).count();
        for (_, pair, sequence) in self.early.drain(..ripe).collect::<Vec<_>>() {
            self.transmit(pair, sequence);
        }
        let due: Vec<u32> = self.open.iter().filter(|(_, open)| open.due <= now).map(|(pair, _)| *pair).collect();
        for pair in due {
            let Some(open) = self.open.get_mut(&pair) else { continue };
            let sequence = open.sequence;
            if now >= open.end {
                ledger.on_given_up(sequence);
                self.open.remove(&pair);
                continue;
            }
            open.wait = (open.wait * 2).min(T2);
            open.due = (now + open.wait).min(open.end);
            ledger.on_sent_again(sequence);
            self.transmit(pair, sequence);
        }
    }

    pub(crate) fn next_due(&self) -> u64 {
        self.open.values().map(|open| open.due).min().unwrap_or(u64::MAX)
    }

    fn transmit(&mut self, pair: u32, sequence: u32) {
        let Some(request) = self.requests.get(pair as usize) else { return };
        self.scratch.clear();
        request.cast(sequence, &mut self.scratch);
        // A gateway that is not there is the point; what does not leave is sent again.
        let _ = self.socket.send_to(&self.scratch, self.gateway);
    }

    /// Takes in all that is there. True when there was anything.
    pub(crate) fn receive(&mut self, ledger: &mut Ledger, marks: &Marks, dice: &mut Dice) -> io::Result<bool> {
        let mut active = false;
        while let Some((length, source)) = net::receive(&self.socket, &mut self.buffer)? {
            active = true;
            let bytes = self.buffer[..length].to_vec();
            let Some(message) = Message::of_datagram(&bytes) else {
                ledger.breach(Breach::Stray, || "a datagram that is not SIP".to_owned());
                continue;
            };
            match message.status() {
                Some(status) => self.on_response(&message, status, ledger, marks, dice),
                None => self.on_request(&message, source, ledger, marks),
            }
        }
        Ok(active)
    }

    fn on_response(&mut self, message: &Message<'_>, status: u16, ledger: &mut Ledger, marks: &Marks, dice: &mut Dice) {
        let Some((Direction::SipToXmpp, sequence, _)) = marks.find(message.head()) else {
            return ledger.breach(Breach::Stray, || format!("a response {status}"));
        };
        if status < 200 {
            return;
        }
        ledger.on_answered(sequence, status);
        if dice.percent(self.answers_lost) {
            return;
        }
        self.events += 1;
        self.open.retain(|_, open| open.sequence != sequence);
    }

    fn on_request(&mut self, message: &Message<'_>, source: SocketAddr, ledger: &mut Ledger, marks: &Marks) {
        self.scratch.clear();
        if message.method() == b"OPTIONS" {
            message.answer("200 OK", source, &mut self.scratch);
        } else {
            let Some((Direction::XmppToSip, sequence, _)) = marks.find(message.body) else {
                let text = String::from_utf8_lossy(message.body).into_owned();
                return ledger.breach(Breach::Stray, || format!("a request with: {text}"));
            };
            let key = (message.transaction(), sequence);
            let status = match (self.answers.get(&key), self.mood) {
                (Some(status), _) => Some(*status),
                (None, Mood::Here) => Some(200),
                (None, Mood::Away) => Some(480),
                (None, Mood::Silent) => None,
            };
            let new = self.met.insert(key);
            ledger.on_request(sequence, &message.name(), new, status);
            self.events += 1;
            let Some(status) = status else { return };
            self.answers.insert(key, status);
            message.answer(if status == 200 { "200 OK" } else { "480 Away" }, source, &mut self.scratch);
        }
        let _ = self.socket.send_to(&self.scratch, source);
    }

    /// The gateway was killed, and all that it had sent was taken in.
    pub(crate) fn on_killed(&mut self) {
        self.met.clear();
        self.early.clear();
    }

    pub(crate) fn are_idle(&self) -> bool {
        self.open.is_empty()
    }

    pub(crate) fn waits<'a>(&'a self, waits: &mut Waits<'a>) {
        waits.push(net::readable(self.socket.as_fd()));
    }
}
