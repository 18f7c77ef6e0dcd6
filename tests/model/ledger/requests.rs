//! Messages of SIP users: requests that are answered, stanzas that are read or bounce.

use super::{Breach, Ledger};
use std::time::{Duration, Instant};

/// A repetition that comes later may have been forgotten (Timer J is 32 s).
const REMEMBERED: Duration = Duration::from_secs(31);

/// A request of a SIP user, as far as it is known. A gateway that was killed takes it for a new one.
#[derive(Default)]
pub(super) struct Request {
    pair: (usize, usize),
    /// When it came for the first time in this life.
    arrived: Option<(usize, Instant)>,
    life: u32,
    copies: Vec<Copy>,
    answer: Option<Answer>,
}

struct Answer {
    bytes: Vec<u8>,
    status: u16,
    unknown: bool,
    at: Instant,
}

/// A stanza that was written for it.
struct Copy {
    id: String,
    life: u32,
    stream: usize,
    read: usize,
    bounced: bool,
}

impl Request {
    pub(super) fn is_answered(&self) -> bool {
        self.answer.is_some()
    }

    /// Whether an answer waits for what the server says on this stream.
    pub(super) fn waits_on(&self, stream: usize) -> bool {
        self.answer.is_none() && self.copies.iter().any(|copy| copy.stream == stream)
    }

    fn is_read(&self) -> bool {
        self.copies.iter().any(|copy| copy.life == self.life && copy.read > 0)
    }

    fn is_bounced(&self) -> bool {
        self.copies.iter().any(|copy| copy.life == self.life && copy.bounced)
    }
}

impl Ledger {
    /// A request is handed to the engine; `repeats` where its answer would be repeated. Whether it is new.
    pub(crate) fn request_in(&mut self, n: u32, pair: (usize, usize), repeats: bool, now: Instant) -> bool {
        let place = self.tick();
        let life = self.life;
        let row = self.requests.entry(n).or_default();
        if row.arrived.is_some() && row.life == life {
            if repeats && row.answer.as_ref().is_some_and(|answer| now < answer.at + REMEMBERED) {
                self.repeated.insert(n);
            }
            return false;
        }
        if row.arrived.is_some() {
            *self.seen.entry("request again after a restart".to_owned()).or_default() += 1;
        }
        (row.pair, row.arrived, row.life, row.answer) = (pair, Some((place, now)), life, None);
        true
    }

    /// The engine answers a request.
    pub(crate) fn answer_out(&mut self, n: u32, bytes: &[u8], now: Instant) {
        let text = String::from_utf8_lossy(bytes).into_owned();
        let status: u16 = text[8..11].parse().expect("a status");
        let life = self.life;
        self.repeated.remove(&n);
        let Some(row) = self.requests.get_mut(&n).filter(|row| row.life == life) else {
            return self.breach(Breach::TwoAnswers, format!("{n} was never asked\n{text}"));
        };
        if status < 200 {
            if row.arrived.is_none_or(|(_, at)| now < at + Duration::from_millis(3500)) {
                self.breach(Breach::EarlyProvisional, text);
            }
            return;
        }
        if let Some(before) = &row.answer {
            if before.bytes != bytes {
                let before = String::from_utf8_lossy(&before.bytes).into_owned();
                self.breach(Breach::TwoAnswers, format!("{before}{text}"));
            }
            return;
        }
        let unknown = text.contains("delivery unknown");
        row.answer = Some(Answer { bytes: bytes.to_vec(), status, unknown, at: now });
        let (read, bounced) = (row.is_read(), row.is_bounced());
        self.see(format!("answer {status}{}", if unknown { " unknown" } else { "" }));
        if status < 300 && (!read || bounced) {
            self.breach(Breach::UntrueSuccess, format!("{n}: read {read}, bounced {bounced}\n{text}"));
        }
        if bounced && status != 404 {
            self.breach(Breach::BounceIgnored, format!("{n}\n{text}"));
        }
        if status >= 300 && !unknown && !bounced && read {
            self.breach(Breach::UntrueFailure, format!("{n} was read before\n{text}"));
        }
    }

    /// The engine has written the stanza of a request.
    pub(crate) fn stanza_out(&mut self, n: u32, id: &str) {
        let (life, stream) = (self.life, self.streams);
        if let Some(other) = self.stanzas.insert(id.to_owned(), n).filter(|other| *other != n) {
            self.breach(Breach::ReusedId, format!("{id} of {other} for {n}"));
        }
        let Some(row) = self.requests.get_mut(&n) else { return };
        let twice = row.copies.iter().any(|copy| copy.life == life);
        row.copies.push(Copy { id: id.to_owned(), life, stream, read: 0, bounced: false });
        let (pair, place) = (row.pair, row.arrived.map_or(0, |(place, _)| place));
        if twice {
            return self.breach(Breach::DeliveredTwice, format!("{n} was written twice"));
        }
        if self.last_written.insert(pair, place).is_some_and(|before| before > place) {
            self.breach(Breach::Order, format!("{n} of {pair:?} to XMPP"));
        }
    }

    fn copy(&mut self, id: &str) -> Option<(u32, &mut Request, usize)> {
        let n = *self.stanzas.get(id)?;
        let row = self.requests.get_mut(&n)?;
        let place = row.copies.iter().rposition(|copy| copy.id == id)?;
        Some((n, row, place))
    }

    /// The server has read the stanza of a request.
    pub(crate) fn stanza_read(&mut self, id: &str) {
        let life = self.life;
        let Some((n, row, place)) = self.copy(id) else { return };
        let bounced = row.is_bounced();
        let copy = &mut row.copies[place];
        copy.read += 1;
        let (read, of_this_life) = (copy.read, copy.life == life);
        let denied = row.answer.as_ref().is_some_and(|answer| answer.status >= 300 && !answer.unknown && !bounced);
        if read > 1 {
            self.breach(Breach::DeliveredTwice, format!("{n} was read twice"));
        }
        if denied && of_this_life && row_is_of(life, &self.requests[&n]) {
            self.breach(Breach::UntrueFailure, format!("{n} was read after its failure"));
        }
    }

    /// The server's bounce of a request is handed to the engine.
    pub(crate) fn bounce_in(&mut self, id: &str) {
        let (life, stream) = (self.life, self.streams);
        let Some((_, row, place)) = self.copy(id) else { return };
        let answer = row.answer.as_ref().map(|answer| answer.status);
        let copy = &mut row.copies[place];
        // One that comes on another stream than its message counts as one that comes late.
        copy.bounced = answer.is_none() && copy.stream == stream;
        let late = answer.is_some_and(|status| status < 300) && copy.life == life;
        self.late_bounces += u64::from(late);
        self.see(if answer.is_some() { "bounce after the answer" } else { "bounce before the answer" });
    }

    /// Whether the gateway has answered the request of a stanza.
    pub(crate) fn is_answered(&self, id: &str) -> bool {
        self.stanzas.get(id).and_then(|n| self.requests.get(n)).is_some_and(Request::is_answered)
    }

    pub(super) fn end_requests(&mut self) {
        let life = self.life;
        let unanswered = self.requests.iter().find(|(_, row)| row.life == life && row.answer.is_none());
        if let Some((n, _)) = unanswered {
            self.breach(Breach::Unanswered, format!("request {n}"));
        }
        let again = self.requests.values().filter(|row| row.copies.iter().filter(|copy| copy.read > 0).count() > 1);
        let again = again.count();
        if again > 0 {
            *self.seen.entry("delivered again after a restart".to_owned()).or_default() += again;
        }
    }
}

fn row_is_of(life: u32, row: &Request) -> bool {
    row.life == life
}
