//! The book-keeping of one direction: what was sent, what became of it, how long it took.

use std::collections::BTreeMap;

use crate::clock::SECOND;
use crate::latency::Histogram;
use crate::mark::Direction;

/// How messages are released.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Pace {
    /// At most so many are under way; the next leaves when one is done.
    Closed { window: u32 },
    /// So many leave every second whatever becomes of them; a message's time counts from when it was due.
    Open { rate: f64 },
}

const DELIVERED: u8 = 1;
/// A final answer of the 200 class was given: by the gateway, or by our UAS to the gateway.
const ACCEPTED: u8 = 2;
/// A final answer of another class, likewise.
const REFUSED: u8 = 4;
/// The XMPP sender was told by a stanza error.
const BOUNCED: u8 = 8;
/// Takes no place in the window any more.
const DONE: u8 = 16;
const GIVEN_UP: u8 = 32;

#[derive(Clone, Copy, Default)]
struct Record {
    due: u64,
    /// Tells the gateway's retransmission of a delivered request from a second request with the same message.
    transaction: u32,
    state: u8,
}

/// What an arriving message is.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Arrival {
    First,
    Retransmission,
    Duplicate,
    /// Never sent by us.
    Unknown,
}

pub(crate) struct Course {
    pub(crate) direction: Direction,
    pub(crate) pairs: u32,
    pace: Pace,
    loss_timeout: u64,
    records: Records,
    /// Messages in the window.
    under_way: u32,
    /// No message before this one is under way.
    oldest: u32,
    /// Of each pair, the furthest message that came out, plus one.
    furthest: Vec<u32>,
    schedule: Option<Schedule>,
    pub(crate) counts: Counts,
    pub(crate) statuses: BTreeMap<u16, u64>,
    pub(crate) delivery: Histogram,
    pub(crate) answer: Histogram,
}

/// The times of a run: when messages begin to be sent, when measuring begins, when both end.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Schedule {
    pub(crate) begin: u64,
    pub(crate) from: u64,
    pub(crate) until: u64,
}

/// Events counted over the whole run, except where the name says otherwise.
#[derive(Default, Clone, Debug, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) sent: u64,
    pub(crate) sent_in_window: u64,
    pub(crate) delivered: u64,
    pub(crate) delivered_in_window: u64,
    pub(crate) duplicates: u64,
    pub(crate) disordered: u64,
    pub(crate) wrong_address: u64,
    pub(crate) altered: u64,
    pub(crate) bounced: u64,
    /// Came out or was answered after the generator had given it up.
    pub(crate) late: u64,
    /// Sent again by our UAC.
    pub(crate) retransmitted: u64,
    /// Sent again by the gateway.
    pub(crate) retransmissions_received: u64,
}

/// What can only be said at the end.
#[derive(Default, Clone, Debug, PartialEq, Eq)]
pub(crate) struct Fates {
    /// Did not come out, and the sender was told so.
    pub(crate) refused: u64,
    /// Did not come out, and the sender was not told: the sum of the next two.
    pub(crate) lost: u64,
    pub(crate) lost_accepted: u64,
    pub(crate) lost_unanswered: u64,
    /// When the first and the last of them were due.
    pub(crate) lost_due: Option<(u64, u64)>,
    /// Came out although the sender was told that it did not.
    pub(crate) refused_but_delivered: u64,
    /// No final answer (SIP sender).
    pub(crate) unanswered: u64,
}

impl Course {
    pub(crate) fn new(direction: Direction, pairs: u32, pace: Pace, loss_timeout: u64) -> Self {
        Self {
            direction,
            pairs,
            pace,
            loss_timeout,
            records: Records::default(),
            under_way: 0,
            oldest: 0,
            furthest: vec![0; pairs as usize],
            schedule: None,
            counts: Counts::default(),
            statuses: BTreeMap::new(),
            delivery: Histogram::new(),
            answer: Histogram::new(),
        }
    }

    /// A time of the run in seconds from the start of the measured window.
    pub(crate) fn seconds_into_window(&self, time: u64) -> f64 {
        let from = self.schedule.map_or(0, |schedule| schedule.from);
        (time as f64 - from as f64) / SECOND as f64
    }

    /// Nothing is due before this is said.
    pub(crate) fn begin(&mut self, schedule: Schedule) {
        self.schedule = Some(schedule);
    }

    fn in_window(&self, time: u64) -> bool {
        self.schedule.is_some_and(|schedule| (schedule.from..schedule.until).contains(&time))
    }

    /// When the next message is due; `None` while the window is full, and when there is no further one. An open loop sends
    /// all that were due before its end, after it if need be: else those would be missing that a pause has held up.
    pub(crate) fn next_due(&self, now: u64) -> Option<u64> {
        let Schedule { begin, until, .. } = self.schedule?;
        let due = match self.pace {
            Pace::Closed { window } => (self.under_way < window).then_some(now)?,
            Pace::Open { rate } => begin + (f64::from(self.records.len()) * SECOND as f64 / rate) as u64,
        };
        (due < until).then_some(due)
    }

    /// Books a message that leaves now and was due then. Its sequence number and its pair.
    pub(crate) fn send(&mut self, due: u64) -> (u32, u32) {
        let sequence = self.records.len();
        self.records.push(Record { due, ..Record::default() });
        self.under_way += 1;
        self.counts.sent += 1;
        self.counts.sent_in_window += u64::from(self.in_window(due));
        (sequence, self.pair(sequence))
    }

    pub(crate) fn pair(&self, sequence: u32) -> u32 {
        sequence % self.pairs
    }

    pub(crate) fn was_sent(&self, sequence: u32) -> bool {
        sequence < self.records.len()
    }

    pub(crate) fn on_delivered(&mut self, sequence: u32, transaction: u32, now: u64) -> Arrival {
        let pair = self.pair(sequence) as usize;
        let Some(record) = self.records.row(sequence) else { return Arrival::Unknown };
        if record.state & DELIVERED != 0 {
            if self.direction == Direction::XmppToSip && record.transaction == transaction {
                self.counts.retransmissions_received += 1;
                return Arrival::Retransmission;
            }
            self.counts.duplicates += 1;
            return Arrival::Duplicate;
        }
        record.state |= DELIVERED;
        record.transaction = transaction;
        let (due, state) = (record.due, record.state);
        self.counts.delivered += 1;
        self.counts.late += u64::from(state & GIVEN_UP != 0);
        if self.in_window(due) {
            self.delivery.record(now.saturating_sub(due));
        }
        self.counts.delivered_in_window += u64::from(self.in_window(now));
        if sequence + 1 < self.furthest[pair] {
            self.counts.disordered += 1;
        } else {
            self.furthest[pair] = sequence + 1;
        }
        if self.direction == Direction::XmppToSip || state & ACCEPTED != 0 {
            self.finish(sequence);
        }
        Arrival::First
    }

    /// A final answer: from the gateway to our UAC, or from our UAS to the gateway.
    pub(crate) fn on_answered(&mut self, sequence: u32, status: u16, now: u64) {
        let Some(record) = self.records.row(sequence) else { return };
        if record.state & (ACCEPTED | REFUSED) != 0 {
            return;
        }
        let accepted = (200..300).contains(&status);
        record.state |= if accepted { ACCEPTED } else { REFUSED };
        let (due, state) = (record.due, record.state);
        *self.statuses.entry(status).or_default() += 1;
        if self.in_window(due) {
            self.answer.record(now.saturating_sub(due));
        }
        if self.direction == Direction::SipToXmpp && (!accepted || state & DELIVERED != 0) {
            self.finish(sequence);
        }
    }

    /// The XMPP sender got a stanza error for it.
    pub(crate) fn on_bounced(&mut self, sequence: u32) {
        let Some(record) = self.records.row(sequence) else { return };
        if record.state & BOUNCED == 0 {
            record.state |= BOUNCED;
            self.counts.bounced += 1;
            self.finish(sequence);
        }
    }

    pub(crate) fn is_answered(&mut self, sequence: u32) -> bool {
        self.records.row(sequence).is_some_and(|record| record.state & (ACCEPTED | REFUSED) != 0)
    }

    fn finish(&mut self, sequence: u32) {
        if let Some(record) = self.records.row(sequence)
            && record.state & DONE == 0
        {
            record.state |= DONE;
            self.under_way -= 1;
        }
    }

    /// Gives up what has been under way for too long, so that a loss does not close the window for ever.
    pub(crate) fn expire(&mut self, now: u64) {
        while let Some(record) = self.records.row(self.oldest) {
            if record.state & DONE == 0 {
                if now < record.due.saturating_add(self.loss_timeout) {
                    return;
                }
                record.state |= DONE | GIVEN_UP;
                self.under_way -= 1;
            }
            self.oldest += 1;
        }
    }

    /// Whether nothing is under way and nothing more will be, behind the end of the schedule.
    pub(crate) fn is_quiet(&self, now: u64) -> bool {
        self.under_way == 0 && self.next_due(now).is_none()
    }

    pub(crate) fn fates(&self) -> Fates {
        let mut fates = Fates::default();
        for record in self.records.iter() {
            let delivered = record.state & DELIVERED != 0;
            // A SIP sender is told by the final answer, an XMPP sender by the stanza error.
            let (told_refused, accepted) = match self.direction {
                Direction::SipToXmpp => (record.state & REFUSED != 0, record.state & ACCEPTED != 0),
                Direction::XmppToSip => (record.state & BOUNCED != 0, false),
            };
            if !delivered && !told_refused {
                let (first, last) = fates.lost_due.unwrap_or((record.due, record.due));
                fates.lost_due = Some((first.min(record.due), last.max(record.due)));
            }
            match (delivered, told_refused) {
                (true, true) => fates.refused_but_delivered += 1,
                (false, true) => fates.refused += 1,
                (false, false) if accepted => fates.lost_accepted += 1,
                (false, false) => fates.lost_unanswered += 1,
                (true, false) => {}
            }
            fates.unanswered += u64::from(record.state & (ACCEPTED | REFUSED) == 0);
        }
        // An XMPP sender whose message our UAS refused is owed an error for a message that did come out on the wire.
        if self.direction == Direction::XmppToSip {
            fates.refused_but_delivered = self.with(BOUNCED | ACCEPTED);
        }
        fates.lost = fates.lost_accepted + fates.lost_unanswered;
        fates
    }

    /// XMPP sender: refused by our UAS or never answered by it, and not told so.
    pub(crate) fn untold(&self) -> u64 {
        self.records.iter().filter(|record| record.state & (ACCEPTED | BOUNCED) == 0).count() as u64
    }

    fn with(&self, bits: u8) -> u64 {
        self.records.iter().filter(|record| record.state & bits == bits).count() as u64
    }
}

const CHUNK: usize = 1 << 16;

/// Grows without ever moving what it holds.
#[derive(Default)]
struct Records {
    chunks: Vec<Vec<Record>>,
    len: u32,
}

impl Records {
    fn len(&self) -> u32 {
        self.len
    }

    fn push(&mut self, record: Record) {
        match self.chunks.last_mut() {
            Some(chunk) if chunk.len() < CHUNK => chunk.push(record),
            _ => {
                let mut chunk = Vec::with_capacity(CHUNK);
                chunk.push(record);
                self.chunks.push(chunk);
            }
        }
        self.len += 1;
    }

    fn row(&mut self, sequence: u32) -> Option<&mut Record> {
        self.chunks.get_mut(sequence as usize / CHUNK)?.get_mut(sequence as usize % CHUNK)
    }

    fn iter(&self) -> impl Iterator<Item = &Record> {
        self.chunks.iter().flatten()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn closed(direction: Direction, window: u32, pairs: u32) -> Course {
        let mut course = Course::new(direction, pairs, Pace::Closed { window }, 1000);
        course.begin(Schedule { begin: 0, from: 0, until: 1000 });
        course
    }

    fn send(course: &mut Course, count: u32) {
        for _ in 0..count {
            course.send(0);
        }
    }

    #[test]
    fn a_slot_is_free_when_the_message_came_out_and_was_answered() {
        let mut course = closed(Direction::SipToXmpp, 1, 1);
        let due = course.next_due(5).expect("an empty window has room");
        assert_eq!(course.send(due), (0, 0));
        assert_eq!(course.next_due(6), None);
        course.on_answered(0, 202, 7);
        assert_eq!(course.next_due(7), None);
        assert_eq!(course.on_delivered(0, 0, 8), Arrival::First);
        assert_eq!(course.next_due(9), Some(9));
        assert_eq!(course.next_due(1000), None);
        assert!(course.is_quiet(1000));
    }

    #[test]
    fn a_refusal_frees_the_slot_without_a_delivery_and_is_not_a_loss() {
        let mut course = closed(Direction::SipToXmpp, 1, 1);
        course.send(0);
        course.on_answered(0, 480, 7);
        assert!(course.is_quiet(1000));
        assert_eq!(course.fates(), Fates { refused: 1, ..Fates::default() });
        assert_eq!(course.statuses, BTreeMap::from([(480, 1)]));
    }

    #[test]
    fn a_message_answered_200_that_never_came_out_is_a_loss_of_an_accepted_one() {
        let mut course = closed(Direction::SipToXmpp, 1, 1);
        course.send(0);
        course.on_answered(0, 200, 7);
        course.expire(999);
        assert!(!course.is_quiet(1000));
        course.expire(1000);
        assert!(course.is_quiet(1000));
        assert_eq!(course.fates(), Fates { lost: 1, lost_accepted: 1, lost_due: Some((0, 0)), ..Fates::default() });
        course.on_delivered(0, 0, 1001);
        assert_eq!((course.counts.late, course.fates()), (1, Fates::default()));
    }

    #[test]
    fn a_second_copy_is_a_duplicate_but_the_same_transaction_a_retransmission() {
        let mut course = closed(Direction::XmppToSip, 2, 1);
        course.send(0);
        assert_eq!(course.on_delivered(0, 7, 1), Arrival::First);
        assert_eq!(course.on_delivered(0, 7, 2), Arrival::Retransmission);
        assert_eq!(course.on_delivered(0, 8, 3), Arrival::Duplicate);
        assert_eq!(course.on_delivered(1, 8, 3), Arrival::Unknown);
        assert_eq!((course.counts.duplicates, course.counts.retransmissions_received), (1, 1));
    }

    #[test]
    fn order_counts_within_a_pair_only() {
        let mut course = closed(Direction::SipToXmpp, 9, 2);
        send(&mut course, 6);
        for sequence in [1, 0, 4, 2, 3, 5] {
            course.on_delivered(sequence, 0, 1);
        }
        assert_eq!(course.counts.disordered, 1);
    }

    #[test]
    fn the_open_loop_keeps_its_schedule_whatever_happens() {
        let mut course = Course::new(Direction::SipToXmpp, 1, Pace::Open { rate: 1000.0 }, 1000);
        assert_eq!(course.next_due(500), None);
        course.begin(Schedule { begin: 500, from: 500, until: SECOND });
        assert_eq!(course.next_due(500), Some(500));
        course.send(500);
        assert_eq!(course.next_due(70_000_000), Some(1_000_500));
        course.send(1_000_500);
        course.on_delivered(1, 0, 70_000_500);
        assert_eq!(course.delivery.largest(), 69_000_000);
    }

    #[test]
    fn what_a_pause_has_held_up_is_sent_after_the_end_and_nothing_else() {
        let mut course = Course::new(Direction::SipToXmpp, 1, Pace::Open { rate: 1000.0 }, 1000);
        course.begin(Schedule { begin: 0, from: SECOND / 10, until: SECOND });
        let late = 5 * SECOND;
        while let Some(due) = course.next_due(late) {
            assert!(due < SECOND && !course.is_quiet(late));
            let (sequence, _) = course.send(due);
            course.on_answered(sequence, 200, late);
            course.on_delivered(sequence, 0, late);
        }
        assert_eq!(
            (course.counts.sent, course.counts.sent_in_window, course.counts.delivered_in_window),
            (1000, 900, 0)
        );
        assert!(course.is_quiet(late));
    }

    #[test]
    fn an_xmpp_sender_is_owed_an_error_for_what_was_refused() {
        let mut course = closed(Direction::XmppToSip, 9, 1);
        send(&mut course, 3);
        for sequence in 0..3 {
            assert_eq!(course.on_delivered(sequence, sequence, 1), Arrival::First);
        }
        course.on_answered(0, 200, 2);
        course.on_answered(1, 404, 2);
        course.on_answered(2, 404, 2);
        course.on_bounced(1);
        assert_eq!((course.untold(), course.counts.bounced, course.fates().refused_but_delivered), (1, 1, 0));
        course.on_bounced(0);
        assert_eq!(course.fates().refused_but_delivered, 1);
    }
}
