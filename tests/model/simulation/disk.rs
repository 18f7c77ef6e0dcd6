//! What outlives the gateway: its store, its log of the turns, the letters that it has handed over.

use super::links::body_number;
use super::{Event, Simulation};
use crate::ledger::Text;
use crate::mutant::Mutant;
use crate::weather::Fault;
use engine::Engine;
use engine::journal::{DEAD, QUEUE, describe};
use entente_tests::store::{Condition, SimulatedStore};
use std::collections::BTreeSet;
use std::time::{Duration, Instant};
use turn::{Action, Batch, Input, Machine, StoreAnswer, StoredRow, TableId, Ticket};

/// Secrets of one gateway.
const LASTING: turn::Seed = *b"the lasting one.";
/// What is in the log for so long is with the disk.
const SYNCED: Duration = Duration::from_secs(1);
/// An order of nobody's.
const NOBODY: Ticket = Ticket(u64::MAX);

/// What the gateway remembers of its former lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Memory {
    /// Nothing.
    Nothing,
    /// Its secret and its answers.
    Answers,
    /// Messages too, by policy.
    Messages(engine::journal::When),
}

/// All of it.
pub(super) struct Disk {
    pub(super) memory: Memory,
    store: SimulatedStore,
    /// The logs of the turns of all lives.
    logs: Vec<Vec<u8>>,
    /// How long the log of this life was, when.
    lengths: Vec<(Instant, usize)>,
    slow: Option<Instant>,
    full: Option<Instant>,
    broken: Option<Instant>,
}

impl Disk {
    pub(super) fn new(memory: Memory) -> Self {
        Self {
            memory,
            store: SimulatedStore::new(),
            logs: vec![Vec::new()],
            lengths: Vec::new(),
            slow: None,
            full: None,
            broken: None,
        }
    }

    fn is(&self, until: Option<Instant>, now: Instant) -> bool {
        until.is_some_and(|until| now < until)
    }

    /// The messages in the store.
    fn texts(&self) -> BTreeSet<Text> {
        self.store.rows(QUEUE).iter().filter_map(text_of).collect()
    }

    /// Rows of the journal. One that cannot be read is put aside, by this life or the next.
    pub(super) fn entries(&self) -> usize {
        let rows = self.store.rows(QUEUE);
        rows.iter().filter(|row| text_of(row).is_some()).count() + self.store.rows(DEAD).len()
    }

    /// What there is, for the log.
    pub(super) fn rows(&self) -> String {
        let row = |row: &StoredRow| format!("{:?} {:?}", text_of(row), row.key);
        let rows = |table| self.store.rows(table).iter().map(row).collect::<Vec<_>>();
        format!("queue: {:?}, dead: {:?}", rows(QUEUE), rows(DEAD))
    }

    fn delete(&mut self, now: Instant, row: &StoredRow) {
        let mut batch = Batch::default();
        batch.delete(QUEUE, &row.key);
        self.store.commit(now, NOBODY, batch);
    }
}

fn text_of(row: &StoredRow) -> Option<Text> {
    named(describe(&row.key, &row.value).ok()?.content)
}

/// The message that has this content.
fn named(content: &[u8]) -> Option<Text> {
    let words = std::str::from_utf8(content).ok()?;
    let stanza = format!("<body>{words}");
    let sip = body_number(&stanza, "sip ").map(Text::Sip);
    sip.or_else(|| body_number(&stanza, "xmpp ").map(Text::Xmpp))
}

impl Simulation {
    /// A gateway that takes up what there is.
    pub(super) fn make_engine(&mut self) -> Engine {
        let mut settings = self.settings.clone();
        settings.made_at = settings.made_at.and_then(|at| at.checked_add(self.now - self.start));
        let mut seed = [self.seed as u8; 16];
        seed[0] ^= if self.life > 0 && self.is_wrong(Mutant::ReuseIds) { 0 } else { self.life as u8 };
        if self.disk.memory == Memory::Nothing {
            return Engine::new(settings, seed, self.now);
        }
        let mut lasting = LASTING;
        if self.life > 0 && self.is_wrong(Mutant::ForgetSecret) {
            lasting[0] ^= self.life as u8;
        }
        let mut engine = Engine::with_lasting(settings, seed, lasting, self.now);
        for log in &self.disk.logs {
            if self.mutant != Some(Mutant::ForgetAnswers) {
                engine.restore_turn_log(self.now, log);
            }
        }
        self.applied |= self.mutant == Some(Mutant::ForgetAnswers) && self.life > 0;
        self.disk.logs.push(Vec::new());
        self.disk.lengths.clear();
        let mut rows: Vec<(TableId, StoredRow)> = [QUEUE, DEAD]
            .into_iter()
            .flat_map(|table| self.disk.store.rows(table).into_iter().map(move |row| (table, row)))
            .collect();
        self.change_rows(&mut rows);
        engine.restore(self.now, rows);
        engine
    }

    /// What a wrong engine makes of what it finds.
    fn change_rows(&mut self, rows: &mut Vec<(TableId, StoredRow)>) {
        let entries: Vec<usize> = (0..rows.len()).filter(|&place| rows[place].0 == QUEUE).collect();
        if let Some(&place) = entries.first()
            && self.is_wrong(Mutant::LoseEntry)
        {
            let (_, row) = rows.remove(place);
            self.disk.delete(self.now, &row);
            return;
        }
        if self.mutant == Some(Mutant::OverlookDamage) {
            let now = self.now;
            let damaged =
                |(table, row): &(TableId, StoredRow)| *table == QUEUE && describe(&row.key, &row.value).is_err();
            for (_, row) in rows.extract_if(.., |row| damaged(row)) {
                self.applied = true;
                self.disk.delete(now, &row);
            }
        }
        if self.mutant == Some(Mutant::SwapEntries) {
            let swapped = entries.windows(2).find(|pair| rows[pair[0]].1.key[..16] == rows[pair[1]].1.key[..16]);
            if let Some(&[first, second]) = swapped {
                self.applied = true;
                let value = std::mem::take(&mut rows[first].1.value);
                rows[first].1.value = std::mem::replace(&mut rows[second].1.value, value);
            }
        }
    }

    /// What the turn adds to the log is with the system before anything leaves.
    pub(super) fn write_log(&mut self) {
        let added = self.engine.output().logged();
        if let Some(log) = self.disk.logs.last_mut().filter(|_| !added.is_empty()) {
            log.extend_from_slice(added);
            self.disk.lengths.push((self.now, log.len()));
        }
    }

    /// An order for the store, or for whoever takes letters.
    pub(super) fn order(&mut self, action: &Action) {
        if let Action::HandOver { ticket } = *action {
            let letter = self.engine.output().take_letter(ticket).expect("a letter");
            let refused = self.strikes(Fault::LetterRefused);
            let text = named(&letter.content);
            // An XMPP user has been told, whether or not there is a letter.
            let promised = matches!(text, Some(Text::Sip(_)));
            let dropped = promised && self.is_wrong(Mutant::DropLetter);
            let lost = dropped || (promised && refused && self.is_wrong(Mutant::TrustLetter));
            let text = text.filter(|_| !refused && !lost);
            let life = self.life;
            return self.after(20, Event::HandedOver { life, ticket, done: !refused || lost, text });
        }
        let slow = self.disk.is(self.disk.slow, self.now);
        let delay = if slow {
            self.struck(Fault::StoreSlow);
            500 + self.dice.below(4000)
        } else {
            1 + self.dice.below(10)
        };
        let at = self.now + Duration::from_millis(delay);
        let life = self.life;
        if let Action::Commit { ticket } = *action {
            if self.is_wrong(Mutant::AnswerBeforeCommit) {
                self.after(0, Event::Told { life, ticket });
            }
            if self.is_wrong(Mutant::LosePatience) {
                self.after(1000, Event::Told { life, ticket });
            }
        }
        let output = self.engine.output();
        match *action {
            Action::Commit { ticket } if self.mutant == Some(Mutant::LeaveEntries) => {
                let batch = output.take_batch(ticket).expect("a batch");
                let mut kept = Batch::default();
                for (table, key, value) in batch.changes() {
                    match value {
                        Some(value) => drop(kept.put(table, key, |octets| octets.extend_from_slice(value))),
                        None => self.applied = true,
                    }
                }
                self.disk.store.commit(at, ticket, kept);
            }
            _ => assert!(self.disk.store.order(at, output, action), "an order for the store"),
        }
        if let Some(at) = self.disk.store.poll_timeout() {
            self.at(at, Event::StoreAnswers { life });
        }
    }

    /// The store has done what is due.
    pub(super) fn store_answers(&mut self, life: u32) {
        if life != self.life || self.down {
            return;
        }
        loop {
            let (full, broken) = (self.disk.is(self.disk.full, self.now), self.disk.is(self.disk.broken, self.now));
            self.disk.store.condition = match (full, broken) {
                (_, true) => Condition::Broken,
                (true, _) => Condition::Full,
                _ => Condition::Working,
            };
            let Some(answer) = self.disk.store.poll_answer(self.now) else { break };
            if answer.ticket() == NOBODY {
                continue;
            }
            let failed = matches!(answer, StoreAnswer::CommitFailed(..) | StoreAnswer::LoadFailed(..));
            if failed {
                self.struck(if broken { Fault::StoreBroken } else { Fault::StoreFull });
            }
            self.ledger.kept(self.disk.texts());
            if self.mutant == Some(Mutant::DeleteEarly) {
                self.forget_what_is_sent();
            }
            self.note(|| format!("the store: {}", words(&answer)));
            if matches!(self.mutant, Some(Mutant::AnswerBeforeCommit)) && !failed {
                continue;
            }
            if let StoreAnswer::CommitFailed(ticket, _) = answer
                && self.is_wrong(Mutant::IgnoreStoreFailure)
            {
                self.feed(Input::Committed { ticket });
                continue;
            }
            self.feed(answer.input());
        }
        if let Some(at) = self.disk.store.poll_timeout() {
            self.at(at, Event::StoreAnswers { life });
        }
    }

    /// What the store has not said.
    pub(super) fn told(&mut self, life: u32, ticket: Ticket) {
        if life == self.life && !self.down {
            self.feed(Input::Committed { ticket });
        }
    }

    pub(super) fn handed_over(&mut self, life: u32, ticket: Ticket, done: bool, text: Option<Text>) {
        // Where the letter is now, it stays, whatever has become of the gateway.
        if let Some(text) = text {
            self.ledger.letter(text);
        }
        if life == self.life && !self.down {
            self.feed(if done { Input::HandedOver { ticket } } else { Input::HandOverFailed { ticket } });
        }
    }

    /// The store is not as it should be, until then.
    pub(super) fn store_fails(&mut self, fault: Fault, until: Instant) {
        *match fault {
            Fault::StoreSlow => &mut self.disk.slow,
            Fault::StoreFull => &mut self.disk.full,
            _ => &mut self.disk.broken,
        } = Some(until);
    }

    /// A wrong engine thinks that what it has sent is as good as delivered.
    fn forget_what_is_sent(&mut self) {
        let rows = self.disk.store.rows(QUEUE);
        let sent = |row: &&StoredRow| matches!(text_of(row), Some(Text::Sip(n)) if self.ledger.was_written(n));
        let sent: Vec<_> = rows.iter().filter(sent).cloned().collect();
        for row in sent {
            self.applied = true;
            self.disk.delete(self.now, &row);
        }
    }

    /// The process is gone, in the middle of what it has told the store. Gives what the store still has, and since when the log
    /// of the turns may be gone.
    pub(super) fn disk_is_cut(&mut self, power: bool) -> (BTreeSet<Text>, Option<Instant>) {
        let under_way = self.disk.store.octets_under_way();
        let octets = if self.dice.percent(30) { under_way } else { self.dice.below(under_way as u64 + 1) as usize };
        let untold = !self.disk.store.crash(octets).is_empty();
        if untold {
            self.ledger.see("durable and nobody was told");
        } else if octets > 0 {
            self.ledger.see("torn batch");
        }
        let mut since = None;
        if power && let Some(log) = self.disk.logs.last_mut() {
            let edge = self.now - SYNCED;
            let synced = self.disk.lengths.iter().rev().find(|(at, _)| *at < edge).map_or(0, |(_, length)| *length);
            let left = synced + self.dice.below((log.len() - synced) as u64 + 1) as usize;
            if left < log.len() {
                self.ledger.see("torn log");
            }
            log.truncate(left);
            since = Some(edge);
        }
        if self.strikes(Fault::Damaged) {
            let rows = self.disk.store.rows(QUEUE).len() as u64;
            if rows > 0 {
                let place = self.dice.below(rows) as usize;
                let text = self.disk.store.rows(QUEUE).get(place).and_then(text_of);
                let octet = self.dice.below(1 << 16) as usize;
                let changed = self.disk.store.corrupt(QUEUE, place, |value| {
                    let place = 6 + octet % (value.len() - 6);
                    value[place] ^= 1;
                });
                if let (Some(text), Some(_)) = (text, changed) {
                    self.ledger.see("entry damaged");
                    self.ledger.damage(text);
                }
            }
        }
        (self.disk.texts(), since)
    }
}

fn words(answer: &StoreAnswer) -> String {
    match answer {
        StoreAnswer::Committed(ticket) => format!("{ticket:?} is durable"),
        StoreAnswer::CommitFailed(ticket, failure) => format!("{ticket:?}: {failure:?}"),
        StoreAnswer::Loaded { ticket, rows, .. } => format!("{ticket:?}: {} rows", rows.len()),
        StoreAnswer::LoadFailed(ticket, failure) => format!("{ticket:?}: not read, {failure:?}"),
    }
}
