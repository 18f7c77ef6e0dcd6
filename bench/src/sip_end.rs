//! The SIP user agents: the UAC whose MESSAGEs go to the gateway, the UAS that answers the gateway's.

use std::collections::VecDeque;
use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::AsFd;

use anyhow::{Context as _, Result};

use crate::clock::MILLISECOND;
use crate::mark::{Direction, Mould};
use crate::net::{self, Link, Waits};
use crate::options::{Options, SipTransport};
use crate::sip_text::Message;
use crate::traffic::Traffic;

/// At most so many datagrams are taken in before the other side gets its turn.
const DATAGRAMS_PER_TURN: usize = 256;
const LARGEST_DATAGRAM: usize = 65_536;

pub(crate) struct SipEnd {
    gateway: SocketAddr,
    datagrams: UdpSocket,
    buffer: Box<[u8]>,
    scratch: Vec<u8>,
    listener: TcpListener,
    accepted: Vec<Link>,
    /// The UAC's connection when it speaks TCP.
    client: Option<Link>,
    requests: Vec<Mould>,
    body: Mould,
    agent: Agent,
    retransmissions: Option<Retransmissions>,
    /// Datagrams the system did not take.
    pub(crate) unsendable: u64,
}

/// What a user agent does with a message, whatever it came by.
struct Agent {
    /// Code and line with which every MESSAGE is answered; `None` leaves it unanswered.
    answer: Option<(u16, String)>,
    provisional: u64,
    strays: u64,
}

impl SipEnd {
    pub(crate) fn new(options: &Options, traffic: &Traffic) -> Result<Self> {
        let local = options.sip_listen;
        let over_tcp = options.sip_transport == SipTransport::Tcp;
        let blank = traffic.marks.blank(Direction::SipToXmpp);
        let requests = traffic.to_xmpp.iter().flat_map(|lane| {
            lane.addresses.sends_from.iter().zip(&lane.addresses.sends_to).enumerate().map(|(pair, (from, to))| {
                let via = format!(
                    " SIP/2.0\r\nVia: SIP/2.0/{} {local};rport;branch=z9hG4bK",
                    if over_tcp { "TCP" } else { "UDP" }
                );
                let tag = format!(">;tag=p{pair}\r\nTo: <");
                let rest = format!(
                    "@{}\r\nCSeq: 1 MESSAGE\r\nContent-Type: text/plain;charset=UTF-8\r\nContent-Length: {}\r\n\r\n",
                    local.ip(),
                    traffic.text.len()
                );
                Mould::default()
                    .text(b"MESSAGE ")
                    .text(to)
                    .text(via.as_bytes())
                    .mark(&blank)
                    .text(b"\r\nMax-Forwards: 70\r\nFrom: <")
                    .text(from)
                    .text(tag.as_bytes())
                    .text(to)
                    .text(b">\r\nCall-ID: ")
                    .mark(&blank)
                    .text(rest.as_bytes())
            })
        });
        Ok(Self {
            gateway: options.gateway_sip,
            requests: requests.collect(),
            body: Mould::default().mark(&blank).text(traffic.text.filler()),
            datagrams: net::bind_datagrams(local).with_context(|| format!("cannot bind UDP {local} (--sip-listen)"))?,
            listener: net::listen(local).with_context(|| format!("cannot listen on TCP {local} (--sip-listen)"))?,
            buffer: vec![0; LARGEST_DATAGRAM].into_boxed_slice(),
            scratch: Vec::new(),
            accepted: Vec::new(),
            client: None,
            agent: Agent { answer: options.sip_answer.clone().0, provisional: 0, strays: 0 },
            retransmissions: (options.retransmit && !over_tcp).then(Retransmissions::default),
            unsendable: 0,
        })
    }

    /// Connects the UAC when it speaks TCP; the gateway must be listening.
    pub(crate) fn connect(&mut self, options: &Options) -> Result<()> {
        if options.sip_transport == SipTransport::Tcp {
            let stream = TcpStream::connect(self.gateway)
                .with_context(|| format!("cannot connect to TCP {} (--gateway-sip)", self.gateway))?;
            self.client = Some(Link::new(stream)?);
        }
        Ok(())
    }

    pub(crate) fn send(&mut self, sequence: u32, pair: u32, now: u64) {
        if let Some(retransmissions) = &mut self.retransmissions {
            retransmissions.begin(sequence, now);
        }
        self.transmit(sequence, pair);
    }

    fn transmit(&mut self, sequence: u32, pair: u32) {
        let Some(request) = self.requests.get(pair as usize) else { return };
        let out = match &mut self.client {
            Some(link) => &mut link.outbound,
            None => {
                self.scratch.clear();
                &mut self.scratch
            }
        };
        request.cast(sequence, out);
        self.body.cast(sequence, out);
        if self.client.is_none() && self.datagrams.send_to(&self.scratch, self.gateway).is_err() {
            self.unsendable += 1;
        }
    }

    /// Takes in what arrived and answers it. True when there was anything.
    pub(crate) fn receive(&mut self, traffic: &mut Traffic, now: impl Fn() -> u64) -> io::Result<bool> {
        let mut received = 0;
        let mut time = 0;
        while received < DATAGRAMS_PER_TURN {
            let Some((length, source)) = net::receive(&self.datagrams, &mut self.buffer)? else { break };
            // One look at the clock for a few datagrams: they were waiting together.
            if received % 8 == 0 {
                time = now();
            }
            received += 1;
            self.scratch.clear();
            match Message::of_datagram(&self.buffer[..length]) {
                Some(message) => self.agent.on_message(&message, source, traffic, time, &mut self.scratch),
                None => self.agent.strays += 1,
            }
            if !self.scratch.is_empty() && self.datagrams.send_to(&self.scratch, source).is_err() {
                self.unsendable += 1;
            }
        }
        let mut active = received > 0;
        while let Some(link) = net::accept(&self.listener)? {
            self.accepted.push(link);
            active = true;
        }
        for link in self.accepted.iter_mut().chain(&mut self.client) {
            if link.read() {
                active = true;
                let time = now();
                while let Some((message, used)) = Message::of_stream(link.inbound.unread()) {
                    self.agent.on_message(&message, self.gateway, traffic, time, &mut link.outbound);
                    link.inbound.consume(used);
                }
            }
        }
        self.accepted.retain(|link| !link.closed);
        Ok(active)
    }

    /// RFC 3261 17.1.2: sends again what has no final answer yet.
    pub(crate) fn retransmit(&mut self, traffic: &mut Traffic, now: u64) {
        let (Some(mut retransmissions), Some(lane)) = (self.retransmissions.take(), &mut traffic.to_xmpp) else {
            return;
        };
        while let Some(sequence) = retransmissions.next(now, |sequence| !lane.course.is_answered(sequence)) {
            lane.course.counts.retransmitted += 1;
            self.transmit(sequence, lane.course.pair(sequence));
        }
        self.retransmissions = Some(retransmissions);
    }

    pub(crate) fn flush(&mut self) {
        for link in self.accepted.iter_mut().chain(&mut self.client) {
            link.flush();
        }
    }

    /// Why no further message can be sent, if so.
    pub(crate) fn failure(&self) -> Option<&'static str> {
        self.client.as_ref().filter(|link| link.closed).map(|_| "the gateway closed the SIP connection")
    }

    pub(crate) fn waits<'a>(&'a self, waits: &mut Waits<'a>) {
        waits.push(net::readable(self.datagrams.as_fd()));
        waits.push(net::readable(self.listener.as_fd()));
        waits.extend(self.accepted.iter().chain(&self.client).filter(|link| !link.closed).map(Link::wait));
    }

    pub(crate) fn provisional(&self) -> u64 {
        self.agent.provisional
    }

    pub(crate) fn strays(&self) -> u64 {
        self.agent.strays
    }
}

impl Agent {
    fn on_message(
        &mut self,
        message: &Message<'_>,
        source: SocketAddr,
        traffic: &mut Traffic,
        now: u64,
        out: &mut Vec<u8>,
    ) {
        match message.status() {
            Some(status) => self.on_response(message, status, traffic, now),
            None => self.on_request(message, source, traffic, now, out),
        }
    }

    fn on_response(&mut self, message: &Message<'_>, status: u16, traffic: &mut Traffic, now: u64) {
        // The branch of our Via, or the Call-ID: both hold the mark.
        let mark = traffic.marks.find(message.head());
        match (mark, &mut traffic.to_xmpp) {
            (Some((Direction::SipToXmpp, sequence, _)), Some(lane)) if lane.course.was_sent(sequence) => {
                if status < 200 {
                    self.provisional += 1;
                } else {
                    lane.course.on_answered(sequence, status, now);
                }
            }
            _ => self.strays += 1,
        }
    }

    fn on_request(
        &mut self,
        message: &Message<'_>,
        source: SocketAddr,
        traffic: &mut Traffic,
        now: u64,
        out: &mut Vec<u8>,
    ) {
        match message.method() {
            b"MESSAGE" => {}
            b"OPTIONS" => return message.answer("200 OK", source, out),
            _ => {
                self.strays += 1;
                return message.answer("501 Not Implemented", source, out);
            }
        }
        let sequence =
            traffic.on_request(message.body, message.transaction(), message.sender(), message.request_uri(), now);
        if let Some((status, line)) = &self.answer {
            message.answer(line, source, out);
            if let (Some(sequence), Some(lane)) = (sequence, &mut traffic.to_sip) {
                lane.course.on_answered(sequence, *status, now);
            }
        }
    }
}

/// Timer E with the default T1 and T2, until Timer F: the waits between one sending and the next. All messages at one step wait
/// equally long, so each step is a plain queue.
const WAITS: [u64; 11] = [500, 1000, 2000, 4000, 4000, 4000, 4000, 4000, 4000, 4000, 500];

#[derive(Default)]
struct Retransmissions {
    steps: [VecDeque<(u64, u32)>; WAITS.len()],
}

impl Retransmissions {
    fn begin(&mut self, sequence: u32, now: u64) {
        self.steps[0].push_back((now + WAITS[0] * MILLISECOND, sequence));
    }

    /// The next message that is due to be sent again and still wanted. The last step is Timer F: nothing more is sent.
    fn next(&mut self, now: u64, mut wanted: impl FnMut(u32) -> bool) -> Option<u32> {
        for step in 0..WAITS.len() {
            while let Some((_, sequence)) = self.steps[step].pop_front_if(|(due, _)| *due <= now) {
                if wanted(sequence)
                    && let Some(wait) = WAITS.get(step + 1)
                {
                    self.steps[step + 1].push_back((now + wait * MILLISECOND, sequence));
                    return Some(sequence);
                }
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::SECOND;

    #[test]
    fn a_request_without_an_answer_is_sent_again_by_timer_e_until_timer_f() {
        let mut retransmissions = Retransmissions::default();
        retransmissions.begin(7, 0);
        let mut sent = Vec::new();
        for tick in 0..100 {
            let now = tick * SECOND / 2;
            while let Some(sequence) = retransmissions.next(now, |_| true) {
                sent.push((sequence, now / MILLISECOND));
            }
        }
        let times = [500, 1500, 3500, 7500, 11500, 15500, 19500, 23500, 27500, 31500];
        assert_eq!(sent, times.map(|time| (7, time)));
    }

    #[test]
    fn an_answered_request_is_not_sent_again() {
        let mut retransmissions = Retransmissions::default();
        (0..3).for_each(|sequence| retransmissions.begin(sequence, 0));
        assert_eq!(retransmissions.next(SECOND, |sequence| sequence == 1), Some(1));
        assert_eq!(retransmissions.next(SECOND, |sequence| sequence == 1), None);
        assert_eq!(retransmissions.next(10 * SECOND, |_| false), None);
        assert_eq!(retransmissions.next(100 * SECOND, |_| true), None);
    }
}
