//! Messages of XMPP users: requests of the gateway, their answers, and what their senders are told.

use super::{Breach, Ledger, Text};
use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

/// Timer F, less what clocks are rounded by.
const NEARLY_TIMER_F: Duration = Duration::from_millis(31_900);
const TIMER_F: Duration = Duration::from_secs(32);
/// A datagram leaves at 0, 0.5, 1.5, 3.5 s and then every 4 s until Timer F.
const REPETITIONS: usize = 11;

/// The requests of one attempt have so many numbers.
const ATTEMPT: u32 = 10;

/// A message of an XMPP user.
pub(super) struct Message {
    pair: (usize, usize),
    place: usize,
    life: u32,
    wants_receipt: bool,
    branch: Option<String>,
    reached: bool,
    /// The attempts of which the recipient has taken a copy: within one, a request may move on from a next hop that has taken it.
    taken: BTreeSet<u32>,
    errors: usize,
    /// How many streams had gone when the last one was written.
    told_at: usize,
    /// In which life.
    told_in: u32,
    /// It was written again because the stream was gone.
    told_again: bool,
    /// The server has read one.
    heard: bool,
    receipts: usize,
    /// How often the gateway was killed while it was kept.
    survived: usize,
}

impl Message {
    /// Deliveries beyond the first, as far as the recipient cannot know them.
    pub(super) fn duplicates(&self) -> u64 {
        (self.taken.len() as u64).saturating_sub(1)
    }
}

/// A request of ours.
pub(super) struct Sent {
    n: Option<u32>,
    life: u32,
    first: Instant,
    peer: SocketAddr,
    uri: String,
    /// Over which connection.
    connection: Option<u64>,
    times: usize,
    provisional: bool,
    end: Option<End>,
}

/// A next hop has asked to be left alone, for one destination as far as is known.
pub(super) struct Doubt {
    uri: String,
    until: Instant,
    /// It has answered otherwise about another one.
    others_pass: bool,
}

/// A final answer of a next hop.
pub(super) struct Heard {
    peer: SocketAddr,
    uri: String,
    status: u16,
    /// It is to be left alone until then.
    until: Option<Instant>,
    now: Instant,
}

/// How a request of ours has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Answered(u16),
    /// The network or the connection says that it cannot be answered.
    Failed,
    /// The gateway was killed.
    Killed,
}

impl Ledger {
    /// A message of an XMPP user is handed to the engine.
    pub(crate) fn message_in(&mut self, n: u32, pair: (usize, usize), wants_receipt: bool) {
        let (place, life) = (self.tick(), self.life);
        let row = Message {
            pair,
            place,
            life,
            wants_receipt,
            branch: None,
            reached: false,
            taken: BTreeSet::new(),
            errors: 0,
            told_at: 0,
            told_in: 0,
            told_again: false,
            heard: false,
            receipts: 0,
            survived: 0,
        };
        self.messages.insert(n, row);
    }

    /// The engine has sent a request of its own; `n` where it carries a message of an XMPP user, `connection` where it is
    /// no datagram.
    pub(crate) fn request_out(
        &mut self,
        branch: &str,
        peer: SocketAddr,
        connection: Option<u64>,
        uri: &str,
        n: Option<u32>,
        now: Instant,
    ) {
        let life = self.life;
        let was_kept = n.is_some_and(|n| self.was_kept(Text::Xmpp(n)));
        if let Some(sent) = self.sent.get_mut(branch) {
            sent.times += 1;
            if sent.life != life && sent.n == n && was_kept {
                // The same attempt, repeated after a restart.
                (sent.life, sent.first, sent.peer, sent.times) = (life, now, peer, 1);
                (sent.connection, sent.provisional, sent.end) = (connection, false, None);
                sent.uri = uri.to_owned();
                self.enter_open(branch, uri, now);
                if let Some(row) = n.and_then(|n| self.messages.get_mut(&n)) {
                    row.branch = Some(branch.to_owned());
                }
                return self.see("request again after a restart with its branch");
            }
            if sent.life != life || sent.n != n {
                let words = format!("{branch} of {:?} for {n:?}", sent.n);
                self.breach(Breach::ReusedId, words);
            } else if sent.end.is_some() {
                self.breach(Breach::SentAfterEnd, branch.to_owned());
            } else if sent.peer != peer {
                self.breach(Breach::WrongHop, format!("{branch} is repeated to {peer}"));
            }
            return self.see("retransmission");
        }
        let to = uri.to_owned();
        let sent = Sent { n, life, first: now, peer, uri: to, connection, times: 1, provisional: false, end: None };
        self.sent.insert(branch.to_owned(), sent);
        self.enter_open(branch, uri, now);
        let Some((n, row)) = n.and_then(|n| self.messages.get_mut(&n).map(|row| (n, row))) else { return };
        let (pair, place) = (row.pair, row.place);
        // What was taken back because the store was too slow is still in it if the gateway is killed before the store has heard.
        let again = row.branch.is_some() || row.errors > 0;
        let before = row.branch.replace(branch.to_owned());
        if self.holds_off(peer, uri, now) {
            self.astray.push((branch.to_owned(), peer, uri.to_owned(), now));
        }
        // Only a refusal may be followed by another try, or silence or a lost connection by one at another next hop.
        if let Some(&Sent { first, peer: tried, end, life: of, .. }) = before.as_ref().map(|before| &self.sent[before])
        {
            match end {
                _ if was_kept && of != life => self.see("kept and tried again after a restart"),
                Some(End::Answered(503)) if tried != peer => self.see("again after 503"),
                Some(End::Answered(status)) if status >= 300 && status != 503 => {
                    self.see(format!("again after {status}"));
                }
                Some(End::Failed) if tried != peer => self.see("again after a failure of the network"),
                None if tried != peer && now >= first + NEARLY_TIMER_F => self.see("again after silence"),
                // The journal tries again what was refused for now, or not answered.
                Some(End::Answered(300..)) if was_kept => self.see("kept and tried again after a refusal"),
                Some(End::Failed) if was_kept => self.see("kept and tried again after a failure of the network"),
                None if was_kept && now >= first + NEARLY_TIMER_F => self.see("kept and tried again after silence"),
                end => {
                    let words = format!("message {n} in two requests, after {end:?} from {tried} to {peer}");
                    self.breach(Breach::DeliveredTwice, words);
                }
            }
        }
        if again {
            return;
        }
        if self.last_sent.insert(pair, place).is_some_and(|before| before > place) {
            self.breach(Breach::Order, format!("{n} of {pair:?} to SIP"));
        }
    }

    fn enter_open(&mut self, branch: &str, uri: &str, now: Instant) {
        if let Some(other) = self.open.insert(uri.to_owned(), branch.to_owned()) {
            let other = &self.sent[&other];
            if other.end.is_none() && now < other.first + NEARLY_TIMER_F {
                self.breach(Breach::TwoOpen, format!("{branch} to {uri}"));
            }
        }
    }

    /// A next hop takes a request of ours for good.
    pub(crate) fn taken(&mut self, n: u32, cseq: u32) {
        if let Some(row) = self.messages.get_mut(&n) {
            row.taken.insert(cseq.saturating_sub(1) / ATTEMPT);
        }
    }

    /// A request of ours with a message of an XMPP user has come to a next hop.
    pub(crate) fn reached(&mut self, n: u32, branch: &str) {
        // What the network has said to be lost, and was only late.
        if self.sent.get(branch).is_some_and(|sent| sent.end == Some(End::Failed)) {
            return;
        }
        let Some(row) = self.messages.get_mut(&n) else { return };
        // Of what was given up, or lost with the gateway, nobody knows when it comes.
        if row.reached || row.errors > 0 || row.life != self.life {
            return;
        }
        row.reached = true;
        let (pair, place) = (row.pair, row.place);
        if self.last_reached.insert(pair, place).is_some_and(|before| before > place) {
            self.breach(Breach::OrderAtRecipient, format!("{n} of {pair:?}"));
        }
    }

    /// Whether a request of ours waits for its answer.
    pub(crate) fn is_open(&self, branch: &str) -> bool {
        self.sent.get(branch).is_some_and(|sent| sent.end.is_none() && sent.life == self.life)
    }

    /// A request of ours that waits for its answer, other than this one.
    pub(crate) fn open_other_than(&self, branch: &str, now: Instant) -> Option<String> {
        let open = self.sent.iter().find(|(other, sent)| {
            *other != branch && self.is_open(other) && sent.n.is_some() && now < sent.first + NEARLY_TIMER_F
        });
        open.map(|(branch, _)| branch.clone())
    }

    /// A response to a request of the engine's is handed to it.
    pub(crate) fn response_in(&mut self, branch: &str, status: u16, retry_after: Option<Duration>, now: Instant) {
        let life = self.life;
        let Some(sent) = self.sent.get_mut(branch).filter(|sent| sent.life == life) else { return };
        if sent.end.is_some() || now >= sent.first + TIMER_F {
            return;
        }
        if status < 200 {
            sent.provisional = true;
            return;
        }
        sent.end = Some(End::Answered(status));
        let until = retry_after.map(|span| now + span);
        self.heard.push(Heard { peer: sent.peer, uri: sent.uri.clone(), status, until, now });
    }

    /// Whether nothing may go to a destination by a next hop.
    fn holds_off(&self, peer: SocketAddr, uri: &str, now: Instant) -> bool {
        let doubted = self.doubted.get(&peer).filter(|doubt| doubt.uri == uri);
        [self.held_off.get(&peer), doubted.map(|doubt| &doubt.until)].into_iter().flatten().any(|until| now < *until)
    }

    /// What is taken in a turn may have come before or behind what leaves in it: wrong is what was so all the time.
    pub(super) fn hop_turn_ends(&mut self) {
        for Heard { peer, uri, status, until, now } in std::mem::take(&mut self.heard) {
            let doubt = self.doubted.get_mut(&peer);
            match (until, doubt) {
                (Some(until), Some(doubt)) if doubt.uri != uri && now < doubt.until && !doubt.others_pass => {
                    self.doubted.remove(&peer);
                    self.held_off.insert(peer, until);
                    self.see("next hop held off");
                }
                (Some(until), _) => {
                    self.doubted.insert(peer, Doubt { uri, until, others_pass: false });
                    self.see("destination held off");
                }
                (None, Some(doubt)) if status != 503 => doubt.others_pass |= doubt.uri != uri,
                (None, _) => {}
            }
        }
        for (branch, peer, uri, now) in std::mem::take(&mut self.astray) {
            if self.holds_off(peer, &uri, now) {
                self.breach(Breach::WrongHop, format!("{branch} to {peer}, which holds us off"));
            }
        }
    }

    /// The engine is told that no datagram gets to a next hop.
    pub(crate) fn unreachable_in(&mut self, peer: SocketAddr) {
        self.fail(|sent| sent.connection.is_none() && sent.peer == peer);
    }

    /// The engine is told that a connection is gone.
    pub(crate) fn connection_gone(&mut self, connection: u64) {
        self.fail(|sent| sent.connection == Some(connection));
    }

    fn fail(&mut self, failed: impl Fn(&Sent) -> bool) {
        let life = self.life;
        for sent in self.sent.values_mut().filter(|sent| sent.end.is_none() && sent.life == life && failed(sent)) {
            sent.end = Some(End::Failed);
        }
    }

    /// The gateway is killed.
    pub(super) fn end_requests_of_a_life(&mut self, now: Instant) {
        let next = self.life + 1;
        for (n, row) in &mut self.messages {
            if self.durable.contains(&Text::Xmpp(*n)) {
                row.life = next;
                row.survived += 1;
            }
        }
        for sent in self.sent.values_mut().filter(|sent| sent.end.is_none() && now < sent.first + TIMER_F) {
            sent.end = Some(End::Killed);
        }
    }

    /// The engine has written a stanza error for a message.
    pub(crate) fn error_out(&mut self, n: u32, condition: &str) {
        self.see(format!("error {condition}"));
        let (streams, life) = (self.streams, self.life);
        let Some(row) = self.messages.get_mut(&n) else { return };
        row.told_in = life;
        // What was written on a stream that has gone since may have gone with it.
        let again = row.errors > 0 && row.told_at < streams;
        row.errors += usize::from(!again);
        row.told_at = streams;
        row.told_again |= again;
        if again {
            self.see("error again");
        }
    }

    /// Whether the error for a message was written again.
    pub(crate) fn is_told_again(&self, n: u32) -> bool {
        self.messages.get(&n).is_some_and(|row| row.told_again)
    }

    /// The server has read a stanza error for a message.
    pub(crate) fn error_read(&mut self, n: u32) {
        if let Some(row) = self.messages.get_mut(&n) {
            row.heard = true;
        }
    }

    /// The engine has written a receipt for a message.
    pub(crate) fn receipt_out(&mut self, n: u32) {
        self.see("receipt");
        if let Some(row) = self.messages.get_mut(&n) {
            row.receipts += 1;
        }
    }

    pub(super) fn end_messages(&mut self) {
        let mut found = Vec::new();
        // What was counted as not to be told is excused.
        let mut untold = 0;
        for (n, row) in &self.messages {
            let text = Text::Xmpp(*n);
            let end = row.branch.as_ref().and_then(|branch| self.sent[branch].end);
            let success = matches!(end, Some(End::Answered(200..300)));
            // What the gateway did not know any more when it was killed it may say or do once more.
            if row.errors > usize::from(!success) + row.survived {
                found.push((Breach::EndedTwice, format!("message {n}: {end:?}, {} errors", row.errors)));
            }
            // What was open when the gateway was killed is lost with it: nobody was promised anything.
            let lost = row.life != self.life || self.damaged.contains(&text);
            if !success && row.errors == 0 && !lost {
                untold += 1;
                if untold > self.unanswerable {
                    found.push((Breach::Unended, format!("message {n}: {end:?}, no error")));
                }
            }
            // Where there is little room for what is to be told again, the oldest goes.
            if row.errors > 0 && !row.heard && row.told_in == self.life && self.roomy {
                found.push((Breach::Untold, format!("message {n}: {end:?}")));
            }
            // Of what was kept nobody says when it was delivered.
            let due = usize::from(end == Some(End::Answered(200)) && row.wants_receipt);
            let missed = row.receipts < due && !lost && !self.ever_kept.contains(&text);
            untold += u64::from(missed);
            if row.receipts > due + row.survived || (missed && untold > self.unanswerable) {
                found.push((Breach::Receipt, format!("message {n}: {end:?}, {} receipts", row.receipts)));
            }
        }
        for (branch, sent) in &self.sent {
            let silent = sent.end.is_none() && sent.connection.is_none() && !sent.provisional;
            if silent && sent.times < REPETITIONS {
                found.push((Breach::TooFewRepetitions, format!("{branch}: sent {} times", sent.times)));
            }
        }
        found.into_iter().for_each(|(breach, words)| self.breach(breach, words));
    }
}
