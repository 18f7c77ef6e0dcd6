//! The connections of an element (RFC 3261 section 18, RFC 5626 sections 3.5.1 and 5.4).
//!
//! It finds the messages in what arrives (18.3), answers keep-alives, finds or opens the connection to a peer, and closes
//! what is silent, unfinished or too many:
//!
//! ```text
//!   accepted ------------------------.
//!                                     v
//!   reach() --> connecting --stands--> open --- idle, a half message, too many, unreadable ---> ending --> gone
//!                    `----- refused, or too slow -------------------------------------------------^
//! ```
//!
//! One over which a peer has left a request without a word is not used for further ones ([`Connections::retire`]).
//!
//! What a message means, and what becomes of transactions whose connection ends, is the endpoint's matter.

use crate::transaction::{Flow, Transport};
use crate::wire::Limits;
use crate::wire::framing::{Broken, Framed, Framer};
use slotmap::SecondaryMap;
use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::time::{Duration, Instant};
use turn::{Output, SocketId, StreamId, Target};

/// A connection over which no message and no keep-alive has gone for so long is closed. Longer than any transaction lasts
/// (18), and than clients let pass between two keep-alives (RFC 5626 4.4.1).
pub const IDLE: Duration = Duration::from_secs(300);
/// A connection that has been used within this time may carry an open transaction (Timer F), and is not closed to make room.
pub const BUSY: Duration = Duration::from_secs(32);
/// How long a connection may take to be made, and a message to arrive once it has begun.
pub const PATIENCE: Duration = Duration::from_secs(20);
/// Nothing is added to what waits for a peer that does not read the answers to its keep-alives.
const PONGS: usize = 4096;

/// A stranger for whom more waits that he does not read loses his connection: he is told what anybody is, and nobody depends
/// on him.
const UNREAD: usize = 1 << 16;

/// All connections of one element.
#[derive(Debug)]
pub struct Connections {
    rows: SecondaryMap<StreamId, Row>,
    /// By the far end (18): who is to be reached there is reached over this connection.
    by_peer: BTreeMap<SocketAddr, StreamId>,
    oldest: Option<StreamId>,
    newest: Option<StreamId>,
    /// Those that are not ending.
    count: usize,
    /// Those of them that we ordered.
    ordered: usize,
    /// Connections that waited for something when they were entered here, and since when; each at most once.
    watched: VecDeque<(Instant, StreamId)>,
    limits: Limits,
    most: usize,
    counters: Counters,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Connecting,
    Open,
    /// It is to be closed; nothing more is read from it.
    Ending,
}

#[derive(Debug)]
struct Row {
    framer: Framer,
    flow: Flow,
    state: State,
    /// We ordered it.
    ordered: bool,
    /// It has stood once.
    stood: bool,
    /// Nobody knows whose it is.
    strange: bool,
    /// When a message or a keep-alive went over it.
    used: Instant,
    /// When it was begun, or the peer last wrote something.
    heard: Instant,
    /// Since when it is being made, or a message is arriving.
    waiting: Option<Instant>,
    watched: bool,
    /// Neighbours in the order of use.
    older: Option<StreamId>,
    newer: Option<StreamId>,
}

/// What the bytes of a connection hold next.
#[derive(Debug)]
pub enum Arrived<'a> {
    /// Nothing to be looked at: too little, or keep-alives.
    Nothing,
    /// A message, for [`Endpoint::handle_message`](crate::endpoint::Endpoint::handle_message).
    Message(Flow, &'a [u8]),
    /// Something that cannot be followed any further; the connection is closed at the end of the turn. For
    /// [`Endpoint::handle_broken`](crate::endpoint::Endpoint::handle_broken), which answers what can be answered.
    Broken(Flow, Broken<'a>),
}

/// A connection that is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lost {
    /// The far end.
    pub peer: SocketAddr,
    /// Whether it ever stood. If not, nothing that was written to it has arrived.
    pub stood: bool,
}

/// As many connections are open as may be, and all of them are in use. Temporary.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("too many connections are open")]
pub struct TooMany;

/// What has been counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Connections that peers made.
    pub accepted: u64,
    /// Connections that we ordered.
    pub ordered: u64,
    /// Of those, the ones that never stood.
    pub refused: u64,
    /// Closed at once: too many were open, and all of them in use.
    pub turned_away: u64,
    /// Idle ones, and those of strangers, that were closed to make room for another.
    pub made_room: u64,
    /// Closed because nothing went over them for [`IDLE`].
    pub idle: u64,
    /// Closed because a message did not come to its end within [`PATIENCE`].
    pub unfinished: u64,
    /// Closed because their bytes could not be followed.
    pub broken: u64,
    /// Closed because a stranger did not read his answers.
    pub unread: u64,
    /// Not used any more for requests: a peer had left one without a word for [`BUSY`].
    pub retired: u64,
    /// Keep-alives that were answered.
    pub pings: u64,
}

impl Connections {
    /// Other limits for the connections that are made from here on.
    pub fn set_limits(&mut self, limits: &Limits) {
        self.limits = *limits;
    }

    /// No connections. Later at most `most` at a time; those that peers make do not keep us from making as many.
    pub fn new(limits: &Limits, most: usize) -> Self {
        Self {
            rows: SecondaryMap::new(),
            by_peer: BTreeMap::new(),
            oldest: None,
            newest: None,
            count: 0,
            ordered: 0,
            watched: VecDeque::new(),
            limits: *limits,
            most: most.max(1),
            counters: Counters::default(),
        }
    }

    /// What has been counted.
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    /// Connections that stand or are being made.
    pub fn len(&self) -> usize {
        self.count
    }

    /// Whether there are none, ending ones included.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Whether a stream is one of these connections.
    pub fn contains(&self, stream: StreamId) -> bool {
        self.rows.contains_key(stream)
    }

    /// Whether a connection was ordered and does not stand yet.
    pub fn is_connecting(&self, stream: StreamId) -> bool {
        self.rows.get(stream).is_some_and(|row| row.state == State::Connecting)
    }

    /// A peer has connected; `strange` says that nobody knows him. Where there is no room, the connection of a stranger gives
    /// way to that of somebody who is known.
    pub fn handle_accepted(
        &mut self,
        now: Instant,
        stream: StreamId,
        listener: SocketId,
        peer: SocketAddr,
        strange: bool,
        out: &mut Output,
    ) {
        let flow = Flow { transport: Transport::Tcp, socket: listener, peer, stream: Some(stream) };
        let room = self.make_room(now, out) || (!strange && self.show_a_stranger_out(out));
        self.enter(now, stream, flow, State::Open);
        if let Some(row) = self.rows.get_mut(stream) {
            row.strange = strange;
        }
        if room {
            self.counters.accepted += 1;
        } else {
            self.counters.turned_away += 1;
            self.end(stream, out);
        }
    }

    /// A connection that was ordered stands.
    pub fn handle_connected(&mut self, now: Instant, stream: StreamId) {
        if let Some(row) = self.rows.get_mut(stream) {
            row.stood = true;
            row.waiting = None;
            if row.state == State::Connecting {
                row.state = State::Open;
                self.touch(now, stream);
            }
        }
    }

    /// Looks at all unconsumed bytes of a connection. Gives how many of them it has consumed, and what they were; there may
    /// be more behind them.
    pub fn handle_received<'a>(
        &mut self,
        now: Instant,
        stream: StreamId,
        data: &'a [u8],
        out: &mut Output,
    ) -> (usize, Arrived<'a>) {
        let Some(row) = self.rows.get_mut(stream).filter(|row| row.state != State::Ending) else {
            return (data.len(), Arrived::Nothing);
        };
        if row.strange && out.unsent_len(stream) >= UNREAD {
            self.counters.unread += 1;
            self.end(stream, out);
            return (data.len(), Arrived::Nothing);
        }
        let flow = row.flow;
        row.heard = now;
        match row.framer.scan(data) {
            Framed::Incomplete => {
                if row.waiting.is_none() && !data.is_empty() {
                    row.waiting = Some(now);
                    self.watch(now, stream);
                }
                (0, Arrived::Nothing)
            }
            Framed::KeepAlive { consumed, ping } => {
                row.waiting = None;
                // RFC 5626 5.4.
                if ping
                    && out.unsent_len(stream) < PONGS
                    && let Some(answer) = out.stream(stream)
                {
                    self.counters.pings += 1;
                    answer.extend_from_slice(b"\r\n");
                }
                self.touch(now, stream);
                (consumed, Arrived::Nothing)
            }
            Framed::Message { bytes, consumed } => {
                row.waiting = None;
                self.touch(now, stream);
                (consumed, Arrived::Message(flow, bytes))
            }
            Framed::Broken(broken) => {
                self.counters.broken += 1;
                self.end(stream, out);
                (data.len(), Arrived::Broken(flow, broken))
            }
        }
    }

    /// A connection is gone. `None` for a stream that is none of these.
    pub fn handle_closed(&mut self, stream: StreamId) -> Option<Lost> {
        self.leave(stream);
        let row = self.rows.remove(stream)?;
        if !row.stood {
            self.counters.refused += 1;
        }
        Some(Lost { peer: row.flow.peer, stood: row.stood })
    }

    /// The connection to the peer of `target`, made if there is none. What is written to it before it stands waits for it.
    pub fn reach(&mut self, now: Instant, target: &Flow, out: &mut Output) -> Result<Flow, TooMany> {
        if let Some(row) = self.by_peer.get(&target.peer).and_then(|&stream| self.rows.get(stream)) {
            let flow = row.flow;
            if let Some(stream) = flow.stream {
                self.touch(now, stream);
            }
            return Ok(flow);
        }
        if !self.make_room(now, out) && self.ordered >= self.most {
            return Err(TooMany);
        }
        let stream = out.connect(Target::Address(target.peer));
        let flow = Flow { transport: Transport::Tcp, socket: target.socket, peer: target.peer, stream: Some(stream) };
        self.enter(now, stream, flow, State::Connecting);
        self.counters.ordered += 1;
        self.watch(now, stream);
        Ok(flow)
    }

    /// A request to `peer` had no answer until Timer F. If nothing at all came over the connection to it for as long, that
    /// one may be dead without our having been told, as when the peer was restarted or a firewall has forgotten it: further
    /// requests go over another one. What is open on this one may still be answered, and it is closed when it is idle.
    pub fn retire(&mut self, now: Instant, peer: SocketAddr) {
        let silent = |stream: &StreamId| self.rows.get(*stream).is_some_and(|row| row.heard + BUSY <= now);
        if self.by_peer.get(&peer).is_some_and(silent) {
            self.by_peer.remove(&peer);
            self.counters.retired += 1;
        }
    }

    /// Closes what has been silent or unfinished for too long.
    pub fn handle_timeout(&mut self, now: Instant, out: &mut Output) {
        while let Some(stream) = self.oldest.filter(|&stream| self.is_unused(stream, now, IDLE)) {
            self.counters.idle += 1;
            self.end(stream, out);
        }
        while self.watched.front().is_some_and(|&(since, _)| since + PATIENCE <= now) {
            let Some((_, stream)) = self.watched.pop_front() else { return };
            let Some(row) = self.rows.get_mut(stream) else { continue };
            row.watched = false;
            match row.waiting {
                Some(since) if since + PATIENCE <= now => {
                    if row.stood {
                        self.counters.unfinished += 1;
                    }
                    self.end(stream, out);
                }
                Some(since) => self.watch(since, stream),
                None => {}
            }
        }
    }

    /// When [`handle_timeout`](Self::handle_timeout) wants to be called, and for what.
    pub fn poll_timeout(&self) -> Option<(Instant, &'static str)> {
        let idle =
            self.oldest.and_then(|stream| self.rows.get(stream)).map(|row| (row.used + IDLE, "an idle connection"));
        let watched =
            self.watched.front().map(|&(since, _)| (since + PATIENCE, "a connection or message in the making"));
        idle.into_iter().chain(watched).min_by_key(|&(at, _)| at)
    }

    /// Closes all of them; what is written to them in this turn still leaves.
    pub fn close_all(&mut self, out: &mut Output) {
        while let Some(stream) = self.oldest {
            self.end(stream, out);
        }
    }

    fn is_unused(&self, stream: StreamId, now: Instant, span: Duration) -> bool {
        self.rows.get(stream).is_some_and(|row| row.used + span <= now)
    }

    /// Whether one more connection may be: if need be the one that has been idle for longest goes.
    fn make_room(&mut self, now: Instant, out: &mut Output) -> bool {
        if self.count < self.most {
            return true;
        }
        let Some(stream) = self.oldest.filter(|&stream| self.is_unused(stream, now, BUSY)) else { return false };
        self.counters.made_room += 1;
        self.end(stream, out);
        true
    }

    /// Ends the connection of the stranger who has been idle for longest.
    fn show_a_stranger_out(&mut self, out: &mut Output) -> bool {
        let mut at = self.oldest;
        while let Some((stream, row)) = at.and_then(|stream| self.rows.get(stream).map(|row| (stream, row))) {
            if row.strange {
                self.counters.made_room += 1;
                self.end(stream, out);
                return true;
            }
            at = row.newer;
        }
        false
    }

    fn enter(&mut self, now: Instant, stream: StreamId, flow: Flow, state: State) {
        let waiting = (state == State::Connecting).then_some(now);
        let row = Row {
            framer: Framer::new(&self.limits),
            flow,
            state,
            ordered: state == State::Connecting,
            stood: state == State::Open,
            strange: false,
            used: now,
            heard: now,
            waiting,
            watched: false,
            older: None,
            newer: None,
        };
        self.ordered += usize::from(row.ordered);
        self.rows.insert(stream, row);
        self.count += 1;
        self.by_peer.entry(flow.peer).or_insert(stream);
        self.link(stream);
    }

    /// Orders the end of a connection.
    fn end(&mut self, stream: StreamId, out: &mut Output) {
        self.leave(stream);
        out.close(stream);
    }

    /// Takes a connection out of everything but its row.
    fn leave(&mut self, stream: StreamId) {
        let Some(row) = self.rows.get_mut(stream).filter(|row| row.state != State::Ending) else { return };
        row.state = State::Ending;
        let peer = row.flow.peer;
        if self.by_peer.get(&peer) == Some(&stream) {
            self.by_peer.remove(&peer);
        }
        self.count -= 1;
        self.ordered -= usize::from(row.ordered);
        self.unlink(stream);
    }

    fn watch(&mut self, since: Instant, stream: StreamId) {
        let Some(row) = self.rows.get_mut(stream).filter(|row| !row.watched) else { return };
        row.watched = true;
        let place = self.watched.partition_point(|&(earlier, _)| earlier <= since);
        self.watched.insert(place, (since, stream));
    }

    /// Something has gone over a connection: it is the newest now.
    fn touch(&mut self, now: Instant, stream: StreamId) {
        if let Some(row) = self.rows.get_mut(stream) {
            row.used = now;
            if self.newest != Some(stream) {
                self.unlink(stream);
                self.link(stream);
            }
        }
    }

    fn link(&mut self, stream: StreamId) {
        let before = self.newest.replace(stream);
        match before.and_then(|before| self.rows.get_mut(before)) {
            Some(row) => row.newer = Some(stream),
            None => self.oldest = Some(stream),
        }
        if let Some(row) = self.rows.get_mut(stream) {
            row.older = before;
            row.newer = None;
        }
    }

    fn unlink(&mut self, stream: StreamId) {
        let Some(row) = self.rows.get_mut(stream) else { return };
        let (older, newer) = (row.older.take(), row.newer.take());
        match older.and_then(|older| self.rows.get_mut(older)) {
            Some(row) => row.newer = newer,
            None => self.oldest = newer,
        }
        match newer.and_then(|newer| self.rows.get_mut(newer)) {
            Some(row) => row.older = older,
            None => self.newest = older,
        }
    }
}

#[cfg(test)]
mod tests;
