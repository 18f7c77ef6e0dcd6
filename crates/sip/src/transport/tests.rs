//! Connections under a clock that the test owns.

use super::*;
use turn::Action;

struct Stage {
    connections: Connections,
    out: Output,
    start: Instant,
    at: Duration,
}

const LISTENER: SocketId = SocketId(1);

fn peer(n: u16) -> SocketAddr {
    SocketAddr::from(([192, 0, 2, 7], n))
}

fn target(n: u16) -> Flow {
    Flow { transport: Transport::Tcp, socket: SocketId(0), peer: peer(n), stream: None }
}

impl Stage {
    #[allow(clippy::disallowed_methods)]
    fn new(most: usize) -> Self {
        let limits = Limits { message: 2000, ..Limits::default() };
        let connections = Connections::new(&limits, most);
        Self { connections, out: Output::new(), start: Instant::now(), at: Duration::ZERO }
    }

    fn now(&self) -> Instant {
        self.start + self.at
    }

    fn accept(&mut self, n: u16) -> StreamId {
        let stream = self.out.open();
        self.connections.handle_accepted(self.now(), stream, LISTENER, peer(n), false, &mut self.out);
        stream
    }

    /// The messages that are found, and whether the stream broke.
    fn receive(&mut self, stream: StreamId, data: &[u8]) -> (usize, Vec<Vec<u8>>, bool) {
        let (mut consumed, mut messages, mut broken) = (0, Vec::new(), false);
        while consumed < data.len() {
            let now = self.now();
            let (taken, arrived) = self.connections.handle_received(now, stream, &data[consumed..], &mut self.out);
            match arrived {
                Arrived::Nothing => {}
                Arrived::Message(flow, bytes) => {
                    assert_eq!(flow.stream, Some(stream));
                    messages.push(bytes.to_vec());
                }
                Arrived::Broken(..) => broken = true,
            }
            if taken == 0 {
                break;
            }
            consumed += taken;
        }
        (consumed, messages, broken)
    }

    /// The streams whose end is ordered after so much time; they are closed.
    fn closed_after(&mut self, span: Duration) -> Vec<StreamId> {
        let end = self.at + span;
        while let Some((due, _)) = self.connections.poll_timeout() {
            let due = due - self.start;
            if due > end {
                break;
            }
            self.at = self.at.max(due);
            self.connections.handle_timeout(self.now(), &mut self.out);
        }
        self.at = end;
        self.ends()
    }

    fn ends(&mut self) -> Vec<StreamId> {
        let mut ends = Vec::new();
        while let Some(action) = self.out.poll_action() {
            if let Action::Close { stream } = action {
                self.connections.handle_closed(stream);
                self.out.forget(stream);
                ends.push(stream);
            }
        }
        ends
    }
}

const MESSAGE: &[u8] = b"MESSAGE sip:a@b SIP/2.0\r\nContent-Length: 2\r\n\r\nhi";

#[test]
fn what_is_silent_is_closed() {
    let mut stage = Stage::new(10);
    let (used, silent) = (stage.accept(1), stage.accept(2));
    stage.at += IDLE / 2;
    assert_eq!(stage.receive(used, MESSAGE), (MESSAGE.len(), vec![MESSAGE.to_vec()], false));
    assert_eq!(stage.closed_after(IDLE / 2), [silent]);
    assert_eq!(stage.closed_after(IDLE / 2), [used]);
    assert_eq!((stage.connections.counters().idle, stage.connections.len()), (2, 0));
    assert!(stage.connections.is_empty());
    assert_eq!(stage.connections.poll_timeout(), None);
}

#[test]
fn a_message_that_does_not_end_closes_the_connection() {
    let mut stage = Stage::new(10);
    let (slow, fast) = (stage.accept(1), stage.accept(2));
    assert_eq!(stage.receive(slow, &MESSAGE[..20]), (0, vec![], false));
    assert_eq!(stage.receive(fast, &MESSAGE[..20]), (0, vec![], false));
    stage.at += PATIENCE / 2;
    // More of it does not prolong it; a new one does.
    assert_eq!(stage.receive(slow, &MESSAGE[..30]), (0, vec![], false));
    assert_eq!(stage.receive(fast, MESSAGE).1.len(), 1);
    assert_eq!(stage.receive(fast, &MESSAGE[..1]).0, 0);
    assert_eq!(stage.closed_after(PATIENCE / 2), [slow]);
    assert_eq!(stage.closed_after(PATIENCE / 2), [fast]);
    assert_eq!(stage.connections.counters().unfinished, 2);
}

#[test]
fn keep_alives_are_answered_and_keep_alive() {
    let mut stage = Stage::new(10);
    let stream = stage.accept(1);
    for _ in 0..3 {
        stage.at += IDLE - Duration::from_secs(1);
        assert_eq!(stage.receive(stream, b"\r\n\r\n"), (4, vec![], false));
        assert_eq!(stage.out.unsent(stream), b"\r\n");
        stage.out.sent(stream, 2);
        assert_eq!(stage.closed_after(Duration::ZERO), []);
    }
    assert_eq!(stage.connections.counters().pings, 3);
    // Who does not read what he asks for gets no more of it.
    for _ in 0..10_000 {
        stage.receive(stream, b"\r\n\r\n");
    }
    assert!(stage.out.unsent_len(stream) <= PONGS);
}

#[test]
fn the_oldest_idle_one_makes_room() {
    let mut stage = Stage::new(2);
    let (first, second) = (stage.accept(1), stage.accept(2));
    stage.at += Duration::from_secs(1);
    stage.receive(first, MESSAGE);
    // All are in use.
    let third = stage.accept(3);
    assert_eq!(stage.ends(), [third]);
    stage.at += BUSY - Duration::from_secs(1);
    let fourth = stage.accept(4);
    assert_eq!(stage.ends(), [second]);
    assert!(stage.connections.contains(fourth) && stage.connections.contains(first));
    let counters = *stage.connections.counters();
    assert_eq!((counters.accepted, counters.turned_away, counters.made_room), (3, 1, 1));
}

#[test]
fn connections_of_others_do_not_keep_us_from_making_ours() {
    let mut stage = Stage::new(2);
    stage.accept(1);
    stage.accept(2);
    let mut reach = |n| stage.connections.reach(stage.start, &target(n), &mut stage.out).map(|flow| flow.stream);
    let first = reach(11).unwrap().unwrap();
    assert!(reach(12).is_ok());
    assert_eq!(reach(13), Err(TooMany));
    assert_eq!(reach(11), Ok(Some(first)));
    stage.connections.handle_closed(first);
    assert!(stage.connections.reach(stage.start, &target(13), &mut stage.out).is_ok());
    let third = stage.accept(3);
    assert!(stage.ends().contains(&third));
}

#[test]
fn one_connection_per_peer_made_when_needed() {
    let mut stage = Stage::new(10);
    let flow = stage.connections.reach(stage.now(), &target(5060), &mut stage.out).unwrap();
    let stream = flow.stream.unwrap();
    assert!(stage.connections.is_connecting(stream));
    assert_eq!(stage.out.poll_action(), Some(Action::Connect { stream, target: Target::Address(peer(5060)) }));
    assert_eq!(stage.connections.reach(stage.now(), &target(5060), &mut stage.out), Ok(flow));
    stage.connections.handle_connected(stage.now(), stream);
    assert!(!stage.connections.is_connecting(stream));
    assert_eq!(stage.connections.reach(stage.now(), &target(5060), &mut stage.out), Ok(flow));
    assert_eq!(stage.out.poll_action(), None);
    assert_eq!(stage.connections.handle_closed(stream), Some(Lost { peer: peer(5060), stood: true }));
    assert_eq!(stage.connections.handle_closed(stream), None);
    let again = stage.connections.reach(stage.now(), &target(5060), &mut stage.out).unwrap();
    assert_ne!(again, flow);
    assert_eq!(stage.connections.handle_closed(again.stream.unwrap()), Some(Lost { peer: peer(5060), stood: false }));
    // A connection that the peer made from there serves as well (RFC 3261 section 18).
    let accepted = stage.accept(5060);
    assert_eq!(
        stage.connections.reach(stage.now(), &target(5060), &mut stage.out).map(|flow| flow.stream),
        Ok(Some(accepted))
    );
}

#[test]
fn a_connection_that_is_not_made_is_given_up() {
    let mut stage = Stage::new(10);
    let flow = stage.connections.reach(stage.now(), &target(5060), &mut stage.out).unwrap();
    assert_eq!(stage.closed_after(PATIENCE - Duration::from_millis(1)), []);
    assert_eq!(stage.closed_after(Duration::from_millis(1)), [flow.stream.unwrap()]);
    assert_eq!((stage.connections.counters().refused, stage.connections.counters().unfinished), (1, 0));
}

#[test]
fn what_cannot_be_followed_ends() {
    let mut stage = Stage::new(10);
    for bytes in [
        &b"\x16\x03\x01\x02\x00"[..],
        b"MESSAGE sip:a@b SIP/2.0\r\n\r\nhi",
        b"MESSAGE sip:a@b SIP/2.0\r\nContent-Length: 3000\r\n\r\n",
        &[b'a'; 2000],
    ] {
        let stream = stage.accept(1);
        let (consumed, messages, broken) = stage.receive(stream, bytes);
        assert_eq!((consumed, messages.len(), broken), (bytes.len(), 0, true));
        // Nothing more is read.
        assert_eq!(stage.receive(stream, MESSAGE), (MESSAGE.len(), vec![], false));
        assert_eq!(stage.ends(), [stream]);
    }
    assert_eq!(stage.connections.counters().broken, 4);
}

/// Any order of events leaves the order of use and the count as they must be.
#[test]
fn the_order_of_use_survives_anything() {
    let mut stage = Stage::new(6);
    let mut state = 7u64;
    let mut streams: Vec<StreamId> = Vec::new();
    for _ in 0..20_000 {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let draw = (state >> 33) as usize;
        stage.at += Duration::from_secs((draw % 13) as u64);
        match draw % 5 {
            0 => streams.push(stage.accept(1000 + (draw % 50) as u16)),
            1 => {
                let now = stage.now();
                if let Ok(flow) = stage.connections.reach(now, &target((draw % 7) as u16 + 1), &mut stage.out) {
                    streams.extend(flow.stream);
                }
            }
            2 if !streams.is_empty() => {
                let stream = streams[draw % streams.len()];
                stage.receive(stream, if draw.is_multiple_of(3) { &MESSAGE[..9] } else { MESSAGE });
            }
            3 if !streams.is_empty() => {
                let stream = streams[draw % streams.len()];
                stage.connections.handle_connected(stage.now(), stream);
            }
            _ => {
                stage.connections.handle_timeout(stage.now(), &mut stage.out);
            }
        }
        if draw.is_multiple_of(3) {
            for ended in stage.ends() {
                streams.retain(|stream| *stream != ended);
            }
        }
        let mut counted = 0;
        let (mut at, mut before) = (stage.connections.oldest, None);
        while let Some(stream) = at {
            let row = &stage.connections.rows[stream];
            assert!(row.state != State::Ending && row.older == before);
            assert!(before.is_none_or(|before| stage.connections.rows[before].used <= row.used));
            (before, at) = (at, row.newer);
            counted += 1;
        }
        assert_eq!((counted, before), (stage.connections.len(), stage.connections.newest));
        assert!(counted <= 12 && stage.connections.ordered <= 6);
    }
    stage.closed_after(IDLE * 2);
    assert!(stage.connections.is_empty() && stage.connections.by_peer.is_empty());
}
