//! What was seen of each message over all lives of the gateway, and what must hold of it.
//!
//! It knows only what crossed the wire and what each life said of itself (its metrics) before it was killed.

use std::collections::BTreeMap;

use crate::mark::Direction;

/// What must not happen.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Breach {
    /// A SIP sender was told 2xx, and the message never came out.
    LostAccepted,
    /// A message of an XMPP user was in the journal for sure, and came neither out nor back.
    LostKept,
    /// A SIP sender got no final answer, though he repeated his request while the gateway was there.
    Unanswered,
    /// Two different final answers to one request, or a second stanza error with no kill between them.
    SecondAnswer,
    /// Came out although its sender was told that it would not.
    RefusedButDelivered,
    /// A life delivered more messages again than it counts as possible duplicates.
    UncountedDuplicate,
    /// A request that was answered was taken for a new one: it came out again, and not from the journal, or the stamp that says
    /// since when it was kept (XEP-0203) would be there.
    TakenTwice,
    /// Came out again under another name: stanza id, or Call-ID and From.
    AnotherName,
    /// A message came out behind a later one of its conversation.
    Disordered,
    /// A life found more or fewer entries than the one before had left.
    OtherEntries,
    /// Something is left in the tables after all is over.
    NotEmpty,
    /// Something came out that nobody has sent.
    Stray,
}

/// Which messages the gateway keeps.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Keeps {
    Away,
    Every,
}

/// What a life says of itself.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub(crate) struct Account {
    pub(crate) restored: u64,
    pub(crate) possible_duplicates: u64,
    pub(crate) entries: u64,
    pub(crate) conversations: u64,
    pub(crate) commits: u64,
    pub(crate) in_flight: u64,
    pub(crate) orders: u64,
    pub(crate) stored: u64,
    pub(crate) known: u64,
    pub(crate) stream_is_up: bool,
}

impl Account {
    /// Whether all that was taken on has its fate or is durable.
    pub(crate) fn is_settled(&self) -> bool {
        self.in_flight == 0 && self.orders == 0
    }
}

/// A batch is durable when so many more are: two may be under way while the one that it waits in still grows.
const BATCHES_UNTIL_DURABLE: u64 = 3;

#[derive(Clone, Default)]
struct Record {
    pair: u32,
    /// Which of the streams it was written to.
    stream: u32,
    /// When it was sent first, and when last without having been answered.
    first_life: u32,
    last_life: u32,
    /// What its SIP sender was told, or would have been, had the answer not been lost.
    answer: Option<u16>,
    /// In which life its XMPP sender was told last that it failed.
    told: Option<u32>,
    /// In which life it came out first; for a SIP user, when he said 2xx.
    delivered: Option<u32>,
    /// In which life it came out last.
    seen: Option<u32>,
    name: Vec<u8>,
    /// In the journal for sure, whatever happens to the process.
    kept: bool,
    given_up: bool,
}

#[derive(Default)]
struct Lane {
    records: Vec<Record>,
    /// Of each pair, the furthest message that came out, plus one.
    furthest: BTreeMap<u32, u32>,
}

/// Counted over all lives.
#[derive(Clone, Default, Debug)]
pub(crate) struct Counts {
    pub(crate) delivered: u64,
    pub(crate) accepted: u64,
    pub(crate) refused: u64,
    pub(crate) told: u64,
    /// Came out again.
    pub(crate) duplicates: u64,
    /// Of those, the ones that the sender has brought about: he repeated what the killed life had not answered.
    pub(crate) repeated_by_sender: u64,
    /// What the lives counted as possible duplicates.
    pub(crate) possible_duplicates: u64,
    pub(crate) restored: u64,
    pub(crate) stored: u64,
    pub(crate) known: u64,
    /// Of XMPP users, with the process that had them in its memory only.
    pub(crate) lost_in_memory: u64,
    /// No answer until Timer F.
    pub(crate) timed_out: u64,
}

pub(crate) struct Ledger {
    keeps: Keeps,
    life: u32,
    stream: u32,
    /// Of each pair, messages of its XMPP user that were written to this stream and have no fate yet.
    open: BTreeMap<u32, u32>,
    from_sip: Lane,
    from_xmpp: Lane,
    /// Messages of XMPP users that were sent on, with the number of batches that were durable after that; the newest have none
    /// yet.
    sent_on: Vec<(u32, Option<u64>)>,
    duplicates_in_life: u64,
    /// What the life before had left, where that is known.
    left: Option<u64>,
    pub(crate) counts: Counts,
    pub(crate) breaches: BTreeMap<Breach, u64>,
    /// The first of them in words.
    pub(crate) words: Vec<String>,
}

const MOST_WORDS: usize = 40;

impl Ledger {
    pub(crate) fn new(keeps: Keeps) -> Self {
        Self {
            keeps,
            life: 0,
            stream: 0,
            open: BTreeMap::new(),
            from_sip: Lane::default(),
            from_xmpp: Lane::default(),
            sent_on: Vec::new(),
            duplicates_in_life: 0,
            left: None,
            counts: Counts::default(),
            breaches: BTreeMap::new(),
            words: Vec::new(),
        }
    }

    pub(crate) fn breach(&mut self, breach: Breach, words: impl FnOnce() -> String) {
        *self.breaches.entry(breach).or_default() += 1;
        if self.words.len() < MOST_WORDS {
            self.words.push(format!("life {}: {breach:?}: {}", self.life, words()));
        }
    }

    fn lane(&mut self, direction: Direction) -> &mut Lane {
        match direction {
            Direction::SipToXmpp => &mut self.from_sip,
            Direction::XmppToSip => &mut self.from_xmpp,
        }
    }

    pub(crate) fn sent(&mut self, direction: Direction) -> u64 {
        self.lane(direction).records.len() as u64
    }

    /// A new message. Its sequence number.
    pub(crate) fn on_sent(&mut self, direction: Direction, pair: u32) -> u32 {
        let (life, stream) = (self.life, self.stream);
        if direction == Direction::XmppToSip {
            *self.open.entry(pair).or_default() += 1;
        }
        let records = &mut self.lane(direction).records;
        records.push(Record { pair, stream, first_life: life, last_life: life, ..Record::default() });
        records.len() as u32 - 1
    }

    /// How many messages its XMPP user waits for.
    pub(crate) fn open(&self, pair: u32) -> u32 {
        self.open.get(&pair).copied().unwrap_or(0)
    }

    pub(crate) fn pair_of_request(&self, sequence: u32) -> Option<u32> {
        self.from_sip.records.get(sequence as usize).map(|record| record.pair)
    }

    /// The stream broke: what the gateway has not read of it is lost on the way, and is nobody's fault.
    pub(crate) fn on_stream_lost(&mut self) {
        self.stream += 1;
        self.open.clear();
    }

    fn on_fate(&mut self, pair: u32, stream: u32) {
        if stream == self.stream
            && let Some(open) = self.open.get_mut(&pair)
        {
            *open = open.saturating_sub(1);
        }
    }

    /// A request is sent again.
    pub(crate) fn on_sent_again(&mut self, sequence: u32) {
        let life = self.life;
        if let Some(record) = self.from_sip.records.get_mut(sequence as usize)
            && record.answer.is_none()
        {
            record.last_life = life;
        }
    }

    /// Timer F.
    pub(crate) fn on_given_up(&mut self, sequence: u32) {
        if let Some(record) = self.from_sip.records.get_mut(sequence as usize) {
            record.given_up = true;
            self.counts.timed_out += 1;
        }
    }

    /// A final answer of the gateway to a request.
    pub(crate) fn on_answered(&mut self, sequence: u32, status: u16) {
        let Some(record) = self.from_sip.records.get_mut(sequence as usize) else {
            return self.breach(Breach::Stray, || format!("an answer to {sequence}"));
        };
        match record.answer {
            None => {
                record.answer = Some(status);
                let accepted = (200..300).contains(&status);
                self.counts.accepted += u64::from(accepted);
                self.counts.refused += u64::from(!accepted);
            }
            Some(before) if before != status => {
                self.breach(Breach::SecondAnswer, || format!("request {sequence}: {before}, then {status}"));
            }
            Some(_) => {}
        }
    }

    /// A stanza error to the sender of a message.
    pub(crate) fn on_told(&mut self, sequence: u32) {
        let life = self.life;
        let Some(record) = self.from_xmpp.records.get_mut(sequence as usize) else {
            return self.breach(Breach::Stray, || format!("an error for {sequence}"));
        };
        let before = record.told.replace(life);
        let (pair, stream, first) = (record.pair, record.stream, before.is_none() && record.delivered.is_none());
        self.counts.told += 1;
        if first {
            self.on_fate(pair, stream);
        }
        if before == Some(life) {
            self.breach(Breach::SecondAnswer, || format!("message {sequence}: a second error in one life"));
        }
    }

    /// A message reached an XMPP user.
    pub(crate) fn on_stanza(&mut self, sequence: u32, id: &[u8], stamped: bool) {
        let life = self.life;
        let Some(record) = self.from_sip.records.get_mut(sequence as usize) else {
            return self.breach(Breach::Stray, || format!("a message {sequence}"));
        };
        if record.delivered.is_none() {
            record.name = id.to_vec();
            return self.deliver(Direction::SipToXmpp, sequence);
        }
        let known = record.name == id;
        // Who has no answer repeats his request, and a new life takes it for a new one, which it is to it.
        let by_sender = record.last_life == life && record.seen != Some(life);
        record.seen = Some(life);
        self.counts.duplicates += 1;
        if by_sender {
            self.counts.repeated_by_sender += 1;
        } else {
            self.duplicates_in_life += 1;
        }
        if !known {
            self.breach(Breach::AnotherName, || format!("stanza {sequence}"));
        }
        if !by_sender && !stamped {
            self.breach(Breach::TakenTwice, || format!("request {sequence}"));
        }
    }

    /// A request with a message reached a SIP user, who answers so, or not at all. `new`: none with its branch had come in this
    /// life. `name`: that by which the user can know the message again.
    pub(crate) fn on_request(&mut self, sequence: u32, name: &[u8], new: bool, status: Option<u16>) {
        let life = self.life;
        let Some(record) = self.from_xmpp.records.get_mut(sequence as usize) else {
            return self.breach(Breach::Stray, || format!("a request {sequence}"));
        };
        let other = !record.name.is_empty() && record.name != name;
        if record.name.is_empty() {
            record.name = name.to_vec();
        }
        // Only the journal can have carried it over.
        record.kept |= record.first_life != life;
        if record.seen.is_none() {
            self.sent_on.push((sequence, None));
        }
        record.seen = Some(life);
        if record.delivered.is_some() {
            if new {
                self.counts.duplicates += 1;
                self.duplicates_in_life += 1;
            }
        } else if status.is_some_and(|status| (200..300).contains(&status)) {
            let (pair, stream, first) = (record.pair, record.stream, record.told.is_none());
            if first {
                self.on_fate(pair, stream);
            }
            self.deliver(Direction::XmppToSip, sequence);
        }
        if other {
            self.breach(Breach::AnotherName, || format!("request {sequence}"));
        }
    }

    fn deliver(&mut self, direction: Direction, sequence: u32) {
        let life = self.life;
        self.counts.delivered += 1;
        let lane = self.lane(direction);
        let record = &mut lane.records[sequence as usize];
        (record.delivered, record.seen) = (Some(life), Some(life));
        let furthest = lane.furthest.entry(record.pair).or_default();
        let disordered = sequence + 1 < *furthest;
        *furthest = (*furthest).max(sequence + 1);
        if disordered {
            let furthest = *furthest - 1;
            self.breach(Breach::Disordered, || format!("{}: {sequence} behind {furthest}", direction.name()));
        }
    }

    /// What the life says of itself, everything that it had sent until then having been taken in.
    pub(crate) fn on_account(&mut self, account: &Account) {
        for (sequence, commits) in &mut self.sent_on {
            let commits = commits.get_or_insert(account.commits);
            if self.keeps == Keeps::Every && account.commits >= *commits + BATCHES_UNTIL_DURABLE {
                self.from_xmpp.records[*sequence as usize].kept = true;
            }
        }
        let (seen, counted) = (self.duplicates_in_life, account.possible_duplicates);
        if seen > counted {
            self.breach(Breach::UncountedDuplicate, || format!("{seen} came again, {counted} are counted"));
            // Told once in each life.
            self.duplicates_in_life = 0;
        }
        if let Some(left) = self.left.take()
            && left != account.restored
        {
            let restored = account.restored;
            self.breach(Breach::OtherEntries, || format!("{left} entries were left, {restored} found"));
        }
    }

    /// Nothing more comes of this life; `account` was its last. With `settled` it had nothing that was not durable, and had
    /// read all that it was sent; with `quiet` nothing has happened since its account.
    pub(crate) fn on_killed(&mut self, account: Option<&Account>, settled: bool, quiet: bool) {
        self.left = account.filter(|_| settled && quiet).map(|account| account.entries);
        if let Some(account) = account {
            self.counts.possible_duplicates += account.possible_duplicates;
            self.counts.restored += account.restored;
            self.counts.stored += account.stored;
            self.counts.known += account.known;
            if settled {
                for record in &mut self.from_xmpp.records {
                    record.kept |= record.stream == self.stream || record.seen == Some(self.life);
                }
            }
        }
        self.sent_on.clear();
        self.duplicates_in_life = 0;
        self.life += 1;
        self.on_stream_lost();
    }

    /// Looks at every message when all is over.
    pub(crate) fn close(&mut self, last: &Account) {
        let mut found = Vec::new();
        for (sequence, record) in self.from_sip.records.iter().enumerate() {
            match record.answer {
                None if !record.given_up => found.push((Breach::Unanswered, format!("request {sequence}"))),
                Some(200..300) if record.delivered.is_none() => {
                    found.push((Breach::LostAccepted, format!("request {sequence} of life {}", record.first_life)));
                }
                Some(status @ 300..) if record.delivered.is_some() && !is_taken_back(status, record) => {
                    found.push((Breach::RefusedButDelivered, format!("request {sequence}: {status}")));
                }
                _ => {}
            }
        }
        // One stream carries all messages of XMPP users, and batches become durable in their order. So what was kept shows
        // that what came before it was kept as well, within a conversation or, where every message is kept, at all.
        let mut kept: BTreeMap<(u32, Option<u32>), u32> = BTreeMap::new();
        let group = |record: &Record| (record.stream, (self.keeps == Keeps::Away).then_some(record.pair));
        for (sequence, record) in self.from_xmpp.records.iter().enumerate().filter(|(_, record)| record.kept) {
            kept.insert(group(record), sequence as u32);
        }
        for (sequence, record) in self.from_xmpp.records.iter().enumerate() {
            let last_kept = kept.get(&group(record)).copied();
            if record.has_fate() {
                if record.told.is_some() && record.delivered.is_some() && record.told == record.delivered {
                    found.push((Breach::RefusedButDelivered, format!("message {sequence}")));
                }
            } else if last_kept.is_some_and(|last| sequence as u32 <= last) {
                found.push((Breach::LostKept, format!("message {sequence} of life {}", record.first_life)));
            } else {
                self.counts.lost_in_memory += 1;
            }
        }
        for (breach, words) in found {
            self.breach(breach, || words);
        }
        if !last.is_settled() || last.entries + last.conversations > 0 {
            self.breach(Breach::NotEmpty, || format!("{last:?}"));
        }
    }
}

impl Record {
    fn has_fate(&self) -> bool {
        self.delivered.is_some() || self.told.is_some()
    }
}

/// What was not durable in time is refused with 503 and deleted by the next batch; a kill may come before that.
fn is_taken_back(status: u16, record: &Record) -> bool {
    status == 503 && record.delivered != Some(record.first_life)
}

#[cfg(test)]
mod tests {
    use super::*;

    const FROM_SIP: Direction = Direction::SipToXmpp;
    const FROM_XMPP: Direction = Direction::XmppToSip;

    fn breaches(ledger: &mut Ledger) -> Vec<Breach> {
        ledger.close(&Account::default());
        ledger.breaches.keys().copied().collect()
    }

    /// One request that has come out and was answered 202 in the first life.
    fn one_delivered() -> Ledger {
        let mut ledger = Ledger::new(Keeps::Away);
        ledger.on_sent(FROM_SIP, 0);
        ledger.on_stanza(0, b"id", false);
        ledger.on_answered(0, 202);
        ledger
    }

    fn next_life(ledger: &mut Ledger) {
        ledger.on_killed(Some(&Account::default()), false, false);
    }

    #[test]
    fn what_comes_out_once_and_is_answered_once_is_well() {
        let mut ledger = one_delivered();
        ledger.on_answered(0, 202);
        assert_eq!(breaches(&mut ledger), []);
    }

    #[test]
    fn what_was_answered_and_never_came_is_lost() {
        let mut ledger = Ledger::new(Keeps::Away);
        ledger.on_sent(FROM_SIP, 0);
        ledger.on_answered(0, 202);
        next_life(&mut ledger);
        assert_eq!(breaches(&mut ledger), [Breach::LostAccepted]);
    }

    #[test]
    fn a_request_has_one_answer_in_all_lives() {
        let mut ledger = one_delivered();
        next_life(&mut ledger);
        ledger.on_answered(0, 480);
        assert_eq!(breaches(&mut ledger), [Breach::SecondAnswer]);
        let mut ledger = Ledger::new(Keeps::Away);
        ledger.on_sent(FROM_SIP, 0);
        assert_eq!(breaches(&mut ledger), [Breach::Unanswered]);
    }

    #[test]
    fn what_was_refused_does_not_come() {
        let mut ledger = Ledger::new(Keeps::Away);
        ledger.on_sent(FROM_SIP, 0);
        ledger.on_answered(0, 480);
        ledger.on_stanza(0, b"id", false);
        assert_eq!(breaches(&mut ledger), [Breach::RefusedButDelivered]);
    }

    #[test]
    fn what_comes_again_has_to_be_counted_stamped_and_named_alike() {
        let again = |id: &[u8], stamped: bool, counted: u64| {
            let mut ledger = one_delivered();
            next_life(&mut ledger);
            ledger.on_stanza(0, id, stamped);
            ledger.on_account(&Account { possible_duplicates: counted, ..Account::default() });
            breaches(&mut ledger)
        };
        assert_eq!(again(b"id", true, 1), []);
        assert_eq!(again(b"id", true, 0), [Breach::UncountedDuplicate]);
        assert_eq!(again(b"id", false, 1), [Breach::TakenTwice]);
        assert_eq!(again(b"other", true, 1), [Breach::AnotherName]);
    }

    #[test]
    fn who_repeats_what_was_not_answered_may_bring_it_again() {
        let mut ledger = Ledger::new(Keeps::Away);
        ledger.on_sent(FROM_SIP, 0);
        ledger.on_stanza(0, b"id", false);
        next_life(&mut ledger);
        ledger.on_sent_again(0);
        ledger.on_answered(0, 202);
        ledger.on_stanza(0, b"id", false);
        ledger.on_account(&Account::default());
        assert_eq!((breaches(&mut ledger), ledger.counts.repeated_by_sender), (vec![], 1));
    }

    #[test]
    fn a_request_that_was_answered_200_and_comes_in_the_next_life_is_a_duplicate() {
        let mut ledger = Ledger::new(Keeps::Every);
        ledger.on_sent(FROM_XMPP, 0);
        ledger.on_request(0, b"name", true, Some(480));
        ledger.on_request(0, b"name", true, Some(200));
        ledger.on_request(0, b"name", false, Some(200));
        ledger.on_account(&Account::default());
        assert_eq!(breaches(&mut ledger), []);
        next_life(&mut ledger);
        ledger.on_request(0, b"name", true, Some(200));
        ledger.on_account(&Account::default());
        assert_eq!(breaches(&mut ledger), [Breach::UncountedDuplicate]);
    }

    #[test]
    fn order_is_that_of_a_conversation() {
        let mut ledger = Ledger::new(Keeps::Every);
        for pair in [0, 1, 0] {
            ledger.on_sent(FROM_XMPP, pair);
        }
        for sequence in [2, 1] {
            ledger.on_request(sequence, b"name", true, Some(200));
        }
        assert_eq!(ledger.breaches, BTreeMap::new());
        ledger.on_request(0, b"name", true, Some(200));
        assert_eq!(breaches(&mut ledger), [Breach::Disordered]);
    }

    #[test]
    fn what_only_memory_held_may_be_lost() {
        let mut ledger = Ledger::new(Keeps::Every);
        ledger.on_sent(FROM_XMPP, 0);
        ledger.on_request(0, b"name", true, None);
        ledger.on_account(&Account::default());
        ledger.on_account(&Account { commits: 2, ..Account::default() });
        next_life(&mut ledger);
        assert_eq!((breaches(&mut ledger), ledger.counts.lost_in_memory), (vec![], 1));
    }

    #[test]
    fn what_was_durable_may_not_be_lost() {
        let sent = |keeps: Keeps| {
            let mut ledger = Ledger::new(keeps);
            for pair in [0, 1] {
                ledger.on_sent(FROM_XMPP, pair);
            }
            ledger
        };
        // Enough batches later.
        let mut ledger = sent(Keeps::Every);
        ledger.on_request(0, b"name", true, None);
        ledger.on_account(&Account::default());
        ledger.on_account(&Account { commits: 3, ..Account::default() });
        next_life(&mut ledger);
        assert_eq!(breaches(&mut ledger), [Breach::LostKept]);
        // At rest.
        let mut ledger = sent(Keeps::Away);
        ledger.on_killed(Some(&Account::default()), true, true);
        assert_eq!(breaches(&mut ledger), [Breach::LostKept]);
        // A later one was kept: of another conversation that says something only where every message is.
        for (keeps, found) in [(Keeps::Every, vec![Breach::LostKept]), (Keeps::Away, vec![])] {
            let mut ledger = sent(keeps);
            next_life(&mut ledger);
            ledger.on_request(1, b"name", true, Some(200));
            assert_eq!(breaches(&mut ledger), found);
        }
    }

    #[test]
    fn what_a_broken_stream_carried_is_not_expected() {
        let mut ledger = Ledger::new(Keeps::Every);
        ledger.on_sent(FROM_XMPP, 0);
        ledger.on_stream_lost();
        ledger.on_killed(Some(&Account::default()), true, true);
        assert_eq!(breaches(&mut ledger), []);
    }

    #[test]
    fn a_life_finds_what_was_left() {
        let mut ledger = Ledger::new(Keeps::Away);
        ledger.on_killed(Some(&Account { entries: 2, ..Account::default() }), true, true);
        ledger.on_account(&Account { restored: 1, ..Account::default() });
        assert_eq!(breaches(&mut ledger), [Breach::OtherEntries]);
    }

    #[test]
    fn nothing_is_left_at_the_end() {
        let mut ledger = Ledger::new(Keeps::Away);
        ledger.close(&Account { in_flight: 1, ..Account::default() });
        assert_eq!(ledger.breaches, BTreeMap::from([(Breach::NotEmpty, 1)]));
    }

    #[test]
    fn what_nobody_has_sent_is_a_stray() {
        let mut ledger = Ledger::new(Keeps::Away);
        ledger.on_stanza(0, b"id", false);
        assert_eq!(breaches(&mut ledger), [Breach::Stray]);
    }
}
