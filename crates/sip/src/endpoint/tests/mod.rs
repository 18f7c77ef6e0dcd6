//! The endpoint under a clock that the test owns.

mod client;
mod invite;
mod random;
mod responses;
mod restart;
mod server;

use super::*;
use turn::{Action, Minters};

/// What an event was, without what it borrowed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Got {
    Nothing,
    Request(ServerKey, u128),
    Final(u64, u16),
    Failed(u64, &'static str),
}

/// Bytes that left.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Sent {
    Datagram(SocketAddr, String),
    Stream(StreamId, String),
}

impl Sent {
    pub(super) fn text(&self) -> &str {
        match self {
            Sent::Datagram(_, text) | Sent::Stream(_, text) => text,
        }
    }

    pub(super) fn status(&self) -> u16 {
        self.text().strip_prefix("SIP/2.0 ").and_then(|rest| rest.get(..3)?.parse().ok()).expect("a response")
    }

    pub(super) fn header(&self, name: &str) -> &str {
        self.headers(name).next().unwrap_or_else(|| panic!("no {name} in {}", self.text()))
    }

    pub(super) fn headers(&self, name: &str) -> impl Iterator<Item = &str> {
        self.text().split("\r\n").filter_map(move |line| line.strip_prefix(name)?.strip_prefix(": "))
    }
}

/// Things and when they happened.
pub(super) type At<T> = Vec<(Duration, T)>;

pub(super) struct Stage {
    pub(super) endpoint: Endpoint,
    pub(super) out: Output,
    start: Instant,
    pub(super) at: Duration,
}

pub(super) fn ms(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

pub(super) const US: SocketId = SocketId(3);

pub(super) fn peer(port: u16) -> SocketAddr {
    SocketAddr::from(([192, 0, 2, 7], port))
}

pub(super) fn udp(port: u16) -> Flow {
    Flow { transport: Transport::Udp, socket: US, peer: peer(port), stream: None }
}

impl Stage {
    pub(super) fn new() -> Self {
        Self::with(|_| {})
    }

    #[allow(clippy::disallowed_methods)]
    pub(super) fn with(change: impl FnOnce(&mut Settings)) -> Self {
        let mut settings = Settings::new("gw.example:5070");
        change(&mut settings);
        Self {
            endpoint: Endpoint::new(settings, Minters::new([9; 16], [8; 16])),
            out: Output::new(),
            start: Instant::now(),
            at: Duration::ZERO,
        }
    }

    pub(super) fn now(&self) -> Instant {
        self.start + self.at
    }

    pub(super) fn tcp(&mut self) -> Flow {
        let stream = self.out.open();
        Flow { transport: Transport::Tcp, socket: SocketId(4), peer: peer(40_000), stream: Some(stream) }
    }

    pub(super) fn receive(&mut self, flow: Flow, text: &str) -> Got {
        let now = self.now();
        match self.endpoint.handle_message(now, flow, text.as_bytes(), &mut self.out) {
            Event::None => Got::Nothing,
            Event::Request { transaction, hash, .. } => Got::Request(transaction, hash),
            Event::Ended { token, outcome: Outcome::Final(response) } => Got::Final(token, response.status),
            Event::Ended { outcome, .. } => panic!("{outcome:?} is no outcome of a message"),
        }
    }

    /// Receives what must come out as a new request.
    pub(super) fn accept(&mut self, flow: Flow, text: &str) -> ServerKey {
        match self.receive(flow, text) {
            Got::Request(transaction, _) => transaction,
            other => panic!("{other:?} for\n{text}\n{:?}", self.sent()),
        }
    }

    pub(super) fn respond(&mut self, transaction: ServerKey, answer: &Answer<'_>) {
        let now = self.now();
        self.endpoint.respond(now, transaction, answer, &mut self.out);
    }

    /// What left since the last time.
    pub(super) fn sent(&mut self) -> Vec<Sent> {
        let mut sent = Vec::new();
        while let Some(action) = self.out.poll_action() {
            match action {
                Action::SendDatagram { socket, peer, bytes } => {
                    assert_eq!(socket, US, "from the socket the request came to");
                    let text = String::from_utf8(self.out.datagram(&bytes).to_vec()).unwrap();
                    sent.push(Sent::Datagram(peer, text));
                }
                Action::Write { stream } => {
                    let text = String::from_utf8(self.out.unsent(stream).to_vec()).unwrap();
                    self.out.sent(stream, text.len());
                    sent.push(Sent::Stream(stream, text));
                }
                other => panic!("{other:?}"),
            }
        }
        self.out.end_turn();
        sent
    }

    /// The one thing that left since the last time.
    pub(super) fn one(&mut self) -> Sent {
        let mut sent = self.sent();
        assert_eq!(sent.len(), 1, "{sent:#?}");
        sent.remove(0)
    }

    /// Lets time pass as a driver does, from one timeout to the next. Gives what left and when, and what ended and when.
    pub(super) fn run_until(&mut self, end: Duration) -> (At<Sent>, At<Got>) {
        let (mut sent, mut got) = (Vec::new(), Vec::new());
        loop {
            while let Some(Ended { token, outcome }) = {
                let now = self.now();
                self.endpoint.handle_timeout(now, &mut self.out)
            } {
                let outcome = match outcome {
                    Outcome::TimedOut { .. } => "timed out",
                    Outcome::TransportFailed => "transport failed",
                    Outcome::Final(_) => "final",
                };
                got.push((self.at, Got::Failed(token, outcome)));
            }
            sent.extend(self.sent().into_iter().map(|sent| (self.at, sent)));
            let next = self.endpoint.poll_timeout().map(|(at, _)| at.saturating_duration_since(self.start));
            match next {
                // A driver that comes too early comes again; it cannot stand still.
                Some(next) if next <= end => self.at = next.max(self.at + Duration::from_micros(100)),
                _ => break,
            }
        }
        self.at = end;
        (sent, got)
    }

    pub(super) fn assert_empty(&mut self) {
        self.run_until(self.at + ms(40_000));
        assert_eq!(
            (self.endpoint.ongoing(), self.endpoint.finished(), self.endpoint.refused(), self.endpoint.clients()),
            (0, 0, 0, 0),
            "nothing is left after 40 s of quiet"
        );
        assert_eq!(self.endpoint.poll_timeout(), None);
        assert_eq!(self.endpoint.clients.ways(), 0);
        assert_eq!((self.endpoint.finished.text_len(), self.endpoint.refused.size()), (0, 0));
    }
}

/// A MESSAGE whose parts a test can change.
#[derive(Clone, Debug)]
pub(super) struct Text {
    pub(super) method: &'static str,
    pub(super) via: String,
    pub(super) from_tag: &'static str,
    pub(super) to: &'static str,
    pub(super) call_id: String,
    pub(super) cseq: u32,
    pub(super) more: String,
    pub(super) body: String,
}

impl Default for Text {
    fn default() -> Self {
        Self {
            method: "MESSAGE",
            via: "SIP/2.0/UDP 192.0.2.7:5061;branch=z9hG4bKone;rport".into(),
            from_tag: "a",
            to: "<sip:romeo@xmpp.example>",
            call_id: "call@example".into(),
            cseq: 1,
            more: String::new(),
            body: "hello".into(),
        }
    }
}

impl Text {
    pub(super) fn print(&self) -> String {
        let Self { method, via, from_tag, to, call_id, cseq, more, body } = self;
        let content_type = if body.is_empty() { "" } else { "Content-Type: text/plain\r\n" };
        format!(
            "{method} sip:romeo@xmpp.example SIP/2.0\r\nVia: {via}\r\nMax-Forwards: 70\r\n\
             From: <sip:juliet@sip.example>;tag={from_tag}\r\nTo: {to}\r\nCall-ID: {call_id}\r\nCSeq: {cseq} {method}\r\n\
             {more}{content_type}Content-Length: {}\r\n\r\n{body}",
            body.len()
        )
    }
}

pub(super) fn message() -> String {
    Text::default().print()
}
