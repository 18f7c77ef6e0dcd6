//! Messages of SIP users: requests that are answered, stanzas that are read or bounce.

use super::{Breach, Ledger, Rest, Text};
use std::time::{Duration, Instant};

/// A repetition that comes later may have been forgotten (Timer J is 32 s).
const REMEMBERED: Duration = Duration::from_secs(31);
/// A message that is written so long after it came says when that was.
const REMARKABLE: Duration = Duration::from_secs(62);

/// A request of a SIP user, as far as it is known.
#[derive(Default)]
pub(super) struct Request {
    pair: (usize, usize),
    /// When it came, for the first time since the gateway has forgotten it.
    arrived: Option<(usize, Instant)>,
    life: u32,
    copies: Vec<Copy>,
    answer: Option<Answer>,
    /// What was answered before a loss of power, and may have been remembered.
    perhaps: Option<Answer>,
    /// Its sender was told 2xx, in whatever life.
    promised: bool,
    /// The gateway may have forgotten its answer.
    doubtful: bool,
    /// It has been read once, and what is read later is a duplicate.
    settled: bool,
}

struct Answer {
    bytes: Vec<u8>,
    status: u16,
    unknown: bool,
    at: Instant,
    life: u32,
}

/// A stanza that was written for it.
struct Copy {
    id: String,
    life: u32,
    stream: usize,
    read: usize,
    /// The status that a bounce before the answer has to be told as.
    bounced: Option<u16>,
    /// It came in one turn with a ping, and either may have been the first.
    unsure: bool,
    /// A bounce was handed to the engine, whenever.
    returned: bool,
    /// The request has come again to a gateway that had forgotten it.
    superseded: bool,
}

impl Request {
    pub(super) fn is_answered(&self) -> bool {
        self.answer.is_some()
    }

    /// Whether an answer waits for what the server says on this stream.
    pub(super) fn is_on(&self, stream: usize) -> bool {
        self.copies.iter().any(|copy| copy.stream == stream)
    }

    fn is_read(&self, in_lives: impl Fn(u32) -> bool) -> bool {
        self.copies.iter().any(|copy| in_lives(copy.life) && copy.read > 0)
    }

    /// What became of its last copy, if that is of this life and came back in time.
    fn bounced(&self) -> Option<u16> {
        self.copies.last().filter(|copy| copy.life == self.life)?.bounced
    }

    /// Somebody has read it who has not sent it back.
    fn is_delivered(&self) -> bool {
        self.copies.iter().any(|copy| copy.read > 0 && !copy.returned)
    }

    /// Deliveries beyond the first, other than those that its sender himself has brought about.
    pub(super) fn duplicates(&self) -> u64 {
        let read = |copy: &&Copy| copy.read > 0 && !copy.returned && !copy.superseded;
        (self.copies.iter().filter(read).count() as u64).saturating_sub(1)
    }
}

impl Ledger {
    /// A request is handed to the engine; `repeats` where its answer would be repeated. Whether it is new.
    pub(crate) fn request_in(&mut self, n: u32, pair: (usize, usize), repeats: bool, now: Instant) -> bool {
        let place = self.tick();
        let (life, lasts) = (self.life, self.lasts);
        let durable = self.durable.contains(&Text::Sip(n));
        let row = self.requests.entry(n).or_default();
        let remembered = row.answer.as_ref().is_some_and(|answer| now < answer.at + REMEMBERED);
        if row.arrived.is_some() && row.life == life {
            if repeats && remembered {
                self.repeated.insert(n);
            }
            return false;
        }
        if row.arrived.is_some() {
            *self.seen.entry("request again after a restart".to_owned()).or_default() += 1;
            if lasts && repeats && !row.doubtful && remembered {
                row.life = life;
                self.repeated.insert(n);
                return false;
            }
            if durable {
                row.life = life;
                if lasts && std::mem::take(&mut row.doubtful) {
                    row.perhaps = row.answer.take();
                }
                return false;
            }
        }
        row.copies.iter_mut().for_each(|copy| copy.superseded = true);
        row.settled |= row.is_delivered();
        let answer = row.answer.take();
        if lasts && std::mem::take(&mut row.doubtful) {
            row.perhaps = answer;
        }
        (row.pair, row.arrived, row.life) = (pair, Some((place, now)), life);
        true
    }

    /// The engine answers a request.
    pub(crate) fn answer_out(&mut self, n: u32, bytes: &[u8], now: Instant) {
        let text = String::from_utf8_lossy(bytes).into_owned();
        let status: u16 = text[8..11].parse().expect("a status");
        let (life, lasts) = (self.life, self.lasts);
        let durable = self.durable.contains(&Text::Sip(n));
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
        if row.answer.is_none() {
            let same = row.perhaps.take().filter(|before| before.bytes == bytes);
            row.answer = same.map(|before| Answer { at: now, ..before });
        }
        if let Some(before) = &row.answer {
            if before.bytes != bytes {
                let before = String::from_utf8_lossy(&before.bytes).into_owned();
                self.breach(Breach::TwoAnswers, format!("{before}{text}"));
            }
            return;
        }
        let unknown = text.contains("delivery unknown");
        row.answer = Some(Answer { bytes: bytes.to_vec(), status, unknown, at: now, life });
        row.promised |= status < 300;
        let (read, bounced) = (row.is_read(|of| of == life || lasts), row.bounced());
        let read_now = row.copies.iter().any(|copy| copy.life == life && copy.read > 0 && !copy.returned);
        let unsure = row.copies.iter().any(|copy| copy.unsure);
        self.see(format!("answer {status}{}", if unknown { " unknown" } else { "" }));
        if status < 300 && durable {
            return self.see("answer 202 for what is kept");
        }
        if status < 300 && read && unsure {
            return;
        }
        // The store is full, slow or broken, and the bounce would have been no last word.
        let not_kept = self.keeps && matches!(status, 500 | 503);
        if status < 300 && (!read || bounced.is_some()) {
            self.breach(Breach::UntrueSuccess, format!("{n}: read {read}, bounced {bounced:?}\n{text}"));
        }
        if bounced.is_some_and(|expected| status != expected) && !not_kept {
            self.breach(Breach::BounceIgnored, format!("{n}\n{text}"));
        }
        if status >= 300 && !unknown && bounced.is_none() && read_now {
            self.breach(Breach::UntrueFailure, format!("{n} was read before\n{text}"));
        }
    }

    /// The engine has written the stanza of a request, stamped with when it came or not.
    pub(crate) fn stanza_out(&mut self, n: u32, id: &str, stamped: bool, now: Instant) {
        let (life, stream, lasts, keeps) = (self.life, self.streams, self.lasts, self.keeps);
        let Some(row) = self.requests.get_mut(&n) else { return };
        let other_id = lasts && self.udp && row.copies.iter().any(|copy| copy.id != id);
        let twice = row.copies.iter().any(|copy| {
            let remembers = if keeps { copy.stream == stream && !copy.returned } else { copy.life == life };
            remembers && !copy.superseded
        });
        // What is answered in this turn may have been written in it before.
        let answered = row.answer.as_ref().is_some_and(|answer| answer.at < now);
        let answered = lasts && !row.doubtful && answered && !self.ever_kept.contains(&Text::Sip(n));
        let again = row.copies.iter().any(|copy| !copy.superseded);
        // What was taken back because the store was too slow is still in it if the gateway is killed before the store has heard.
        let taken_back = row.answer.as_ref().is_some_and(|answer| answer.status >= 300);
        let copy = Copy {
            id: id.to_owned(),
            life,
            stream,
            read: 0,
            bounced: None,
            unsure: false,
            returned: false,
            superseded: false,
        };
        row.copies.push(copy);
        let (pair, arrived) = (row.pair, row.arrived);
        let place = arrived.map_or(0, |(place, _)| place);
        let unstamped = !stamped && arrived.is_some_and(|(_, at)| now > at + REMARKABLE);
        if let Some(other) = self.stanzas.insert(id.to_owned(), n).filter(|other| *other != n) {
            self.breach(Breach::ReusedId, format!("{id} of {other} for {n}"));
        }
        if other_id {
            self.breach(Breach::OtherId, format!("{n} as {id}"));
        }
        if unstamped {
            self.breach(Breach::Undated, format!("{n}"));
        }
        if twice || answered {
            return self.breach(Breach::DeliveredTwice, format!("{n} was written twice"));
        }
        if again {
            return self.see("stanza again");
        }
        if taken_back {
            return self.see("stanza of what was taken back");
        }
        if self.last_written.insert(pair, place).is_some_and(|before| before > place) {
            self.breach(Breach::Order, format!("{n} of {pair:?} to XMPP"));
        }
    }

    /// Whether a stanza was written for a request.
    pub(crate) fn was_written(&self, n: u32) -> bool {
        self.requests.get(&n).is_some_and(|row| !row.copies.is_empty())
    }

    /// The row of a stanza, and its copy: the oldest that is not read where several have the same id.
    fn copy(&mut self, id: &str, unread: bool) -> Option<(u32, &mut Request, usize)> {
        let n = *self.stanzas.get(id)?;
        let row = self.requests.get_mut(&n)?;
        let fits = |copy: &Copy| copy.id == id && (!unread || copy.read == 0);
        let place = row.copies.iter().position(fits).filter(|_| unread);
        let place = place.or_else(|| row.copies.iter().rposition(|copy| copy.id == id))?;
        Some((n, row, place))
    }

    /// The server has read the stanza of a request.
    pub(crate) fn stanza_read(&mut self, id: &str) {
        let life = self.life;
        let Some((n, row, place)) = self.copy(id, true) else { return };
        let bounced = row.bounced().is_some();
        let copy = &mut row.copies[place];
        copy.read += 1;
        let (read, superseded) = (copy.read, copy.superseded);
        let of_this_life = copy.life == life && row.life == life;
        let refused = row.answer.as_ref().is_some_and(|answer| answer.status >= 300);
        let denied = |answer: &Answer| answer.status >= 300 && !answer.unknown && !bounced && answer.life == life;
        let denied = row.answer.as_ref().is_some_and(denied);
        let first = !std::mem::replace(&mut row.settled, true) && !refused && !superseded;
        let (pair, place) = (row.pair, row.arrived.map_or(0, |(place, _)| place));
        if read > 1 {
            self.breach(Breach::DeliveredTwice, format!("{n} was read twice"));
        }
        if denied && of_this_life {
            self.breach(Breach::UntrueFailure, format!("{n} was read after its failure"));
        }
        if first && self.last_read.insert(pair, place).is_some_and(|before| before > place) {
            self.breach(Breach::OrderAtRecipient, format!("{n} of {pair:?} to XMPP"));
        }
    }

    /// The server's bounce of a request is handed to the engine, which would answer with this status.
    pub(crate) fn bounce_in(&mut self, id: &str, status: u16) {
        let (life, stream, lasts) = (self.life, self.streams, self.lasts);
        let ping_has_returned = self.ping_has_returned;
        let Some((_, row, place)) = self.copy(id, false) else { return };
        let answer = row.answer.as_ref().map(|answer| answer.status);
        let asked = row.life == life;
        let copy = &mut row.copies[place];
        copy.returned = true;
        // One that comes on another stream than its message counts as one that comes late.
        copy.bounced = (asked && answer.is_none() && copy.stream == stream).then_some(status);
        copy.unsure = ping_has_returned;
        let late = answer.is_some_and(|status| status < 300) && (copy.life == life || lasts);
        self.late_bounces += u64::from(late);
        self.see(if answer.is_some() { "bounce after the answer" } else { "bounce before the answer" });
    }

    /// Whether the gateway has answered the request of a stanza.
    pub(crate) fn is_answered(&self, id: &str) -> bool {
        self.stanzas.get(id).and_then(|n| self.requests.get(n)).is_some_and(Request::is_answered)
    }

    /// What has come with a ping and was not answered then has come in time.
    pub(super) fn be_sure(&mut self) {
        let copies = self.requests.values_mut().flat_map(|row| &mut row.copies);
        copies.for_each(|copy| copy.unsure = false);
    }

    /// What was answered since then may be forgotten.
    pub(super) fn doubt_answers(&mut self, since: Instant) {
        for row in self.requests.values_mut() {
            row.doubtful |= row.answer.as_ref().is_some_and(|answer| answer.at >= since);
        }
    }

    pub(super) fn end_requests(&mut self, rest: &Rest) {
        let life = self.life;
        let unanswered = self.requests.iter().find(|(_, row)| row.life == life && row.answer.is_none());
        if let Some((n, _)) = unanswered {
            self.breach(Breach::Unanswered, format!("request {n}"));
        }
        let again = self.requests.values().filter(|row| row.copies.iter().filter(|copy| copy.read > 0).count() > 1);
        let again = again.count();
        if again > 0 {
            *self.seen.entry("delivered again".to_owned()).or_default() += again;
        }
        // What was promised and did not arrive: it came back, or it was given up and somebody has it.
        let mut given_up = Vec::new();
        let mut lost = Vec::new();
        for (n, row) in self.requests.iter().filter(|(_, row)| row.promised && !row.is_delivered()) {
            let text = Text::Sip(*n);
            let returned = row.copies.iter().any(|copy| copy.returned);
            if self.damaged.contains(&text) {
                continue;
            }
            if self.keeps {
                given_up.push(*n);
            }
            let has_letter = self.letters.contains(&text);
            let told = if rest.dead_letters { has_letter } else { self.late_failures > 0 };
            let excused = returned || (self.ever_kept.contains(&text) && told);
            if !excused {
                lost.push(format!("request {n}, letter: {has_letter}"));
            }
        }
        if let Some(words) = lost.into_iter().next() {
            self.breach(Breach::Lost, words);
        }
        if given_up.len() as u64 > self.late_failures {
            let words = format!("{} of those of {given_up:?}", self.late_failures);
            self.breach(Breach::LateUncounted, words);
        }
    }
}
