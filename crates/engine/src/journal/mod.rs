//! What the engine keeps durably: messages whose destination is away, or all of them, as policy says for each destination.
//!
//! ```text
//!              fate known
//!  arrives ---> held ----------------------------------------------> answered as ever
//!     |          | destination away, or no word from it
//!     |          v                  durable
//!     |        kept ---- waits ----------------> answered 202
//!     '--------->^                                   |  the way is free: one at a time
//!   others of its conversation are kept              v
//!                            away again <------- under way -------> delivered; deleted
//!                                                    |  refused, or too old
//!                                                    v
//!                           its sender is told; dead letter, if wanted; deleted
//! ```
//!
//! *Held* is a copy in memory of a message that is under way for the first time. Where every message is kept it is also put
//! into the store at once, and deleted with its fate: a message that came and went between two batches is never written.

mod conversations;
mod delivered;
mod delivery;
pub(crate) mod entry;
mod fate;
mod queue;
mod settings;
mod undeliverable;

pub(crate) use delivery::Step;
pub use entry::{Damaged, Why};
pub(crate) use fate::{Told, Verdict};
pub use queue::{Description, describe};
pub use settings::{Keep, Settings, When};

use crate::store::{Orders, Pending};
pub(crate) use conversations::EntryKey;
use conversations::{ConversationId, Conversations, Slot, user};
use cpim::{Admitted, Failure, Keeping, Mark, OperationKey, Reason, Side};
use delivered::Delivered;
use slotmap::SecondaryMap;
use std::collections::VecDeque;
use std::time::{Duration, Instant};
use time::OffsetDateTime;
use turn::{Calendar, Minter, Pool, Recent, Seed, StoreFailure, TableId, Ticket};
use undeliverable::Undeliverable;

/// The messages that are kept.
pub const QUEUE: TableId = TableId(1);
/// Those of them whose sender was told, and that wait for being handed over.
pub const DEAD: TableId = TableId(2);
/// Rows of the queue that could not be read, for people to look at.
pub const DAMAGED: TableId = TableId(3);

/// A sender waits so long for his message to be durable.
const PATIENCE: Duration = Duration::from_secs(2);
/// Users of whom it is remembered so long that they have written.
const HEARD: usize = 1024;
const HEARD_FOR: Duration = Duration::from_secs(1);
/// Octets of entries at hand; the others are loaded when their turn comes.
const AT_HAND: usize = 16 << 20;

/// What was counted.
#[derive(Clone, Copy, Debug, Default)]
pub struct Counters {
    /// Messages that were kept because their destination was away.
    pub stored: u64,
    /// Entries that were found at the start.
    pub restored: u64,
    /// Attempts to deliver an entry.
    pub attempts: u64,
    /// Of those the ones whose message may have been delivered before: it was written, and no word came about it.
    pub possible_duplicates: u64,
    /// Entries that were delivered.
    pub delivered: u64,
    /// Entries that became too old.
    pub expired: u64,
    /// Entries that were refused for good.
    pub refused: u64,
    /// Entries that an operator dropped.
    pub dropped: u64,
    /// Requests that came again while their message was kept, or a short while after it was delivered from here.
    pub known: u64,
    /// Entries that cannot be read.
    pub damaged: u64,
    /// Messages that were not kept because there was no room, by the limits or in the store.
    pub full: u64,
    /// Messages that were not kept because the store is broken.
    pub broken: u64,
    /// Messages that were not kept because the store took too long.
    pub slow: u64,
    /// Dead letters handed over.
    pub handed_over: u64,
    /// Dead letters that could not be handed over, by attempts.
    pub not_handed_over: u64,
    /// Entries at the moment.
    pub entries: usize,
    /// Octets of the entries at the moment.
    pub octets: usize,
    /// Conversations with entries at the moment.
    pub conversations: usize,
    /// Why the store does not work, if it does not.
    pub failure: Option<StoreFailure>,
}

/// Who wants to know when a change is durable.
#[derive(Clone, Copy, Debug)]
enum Note {
    Put(EntryKey, OperationKey),
    /// A delete that fails is ordered again.
    Delete(TableId, EntryKey),
    Mark,
}

/// A copy of a message that is under way for the first time.
#[derive(Debug)]
struct Held {
    key: EntryKey,
    entry: Vec<u8>,
    expires: Instant,
    mark: u64,
    has_device: bool,
    side: Side,
    per_conversation: usize,
    /// It was put.
    put: bool,
    pending: Option<Pending>,
}

/// What to do with a message that was admitted.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Admission {
    /// Send it. Nothing is kept of it.
    Pass,
    /// Send it. A copy is held.
    Held,
    /// Send it. It is kept until its fate is known, with the date at which it came: sent again after a crash it will say that
    /// date, so it says it now.
    Kept(Option<OffsetDateTime>),
    /// It is kept, behind others; its response follows.
    Behind,
    /// It was kept, or delivered from here, before: it is as good as handed on.
    Known,
    /// There is no room for it behind the others.
    Refused(Failure<'static>),
}

/// The journal.
#[derive(Debug)]
pub(crate) struct Journal {
    settings: Settings,
    calendar: Calendar,
    users: Minter,
    conversations: Conversations,
    held: SecondaryMap<OperationKey, Held>,
    /// Entries under way, and the side that they go to.
    under_way: SecondaryMap<OperationKey, (EntryKey, Side)>,
    /// How many there are, by side.
    under_way_counts: [usize; 2],
    undeliverable: Undeliverable,
    orders: Orders<Note>,
    /// Operations whose sender waits for their message to be durable.
    waiting: SecondaryMap<OperationKey, ()>,
    /// Until when senders wait for their message to be durable, in order.
    patience: VecDeque<(Instant, EntryKey, OperationKey)>,
    loads: Vec<(Ticket, EntryKey)>,
    delivered: Delivered,
    /// Users for whom something is kept and who have written.
    heard: Recent<()>,
    next_number: u64,
    at_hand: usize,
    pool: Pool,
    counters: Counters,
    drains: bool,
    /// Steps of this turn.
    steps: usize,
    /// There was more to do than a turn does.
    more: Option<Instant>,
}

impl Journal {
    pub(crate) fn new(settings: Settings, lasting: Seed, calendar: Calendar) -> Self {
        Self {
            settings,
            calendar,
            users: Minter::new(lasting).derive("users of the journal"),
            conversations: Conversations::default(),
            held: SecondaryMap::new(),
            under_way: SecondaryMap::new(),
            under_way_counts: [0; 2],
            undeliverable: Undeliverable::default(),
            orders: Orders::new(),
            waiting: SecondaryMap::new(),
            patience: VecDeque::new(),
            loads: Vec::new(),
            delivered: Delivered::default(),
            heard: Recent::new(HEARD, HEARD_FOR),
            next_number: 1,
            at_hand: 0,
            pool: Pool::new(),
            counters: Counters::default(),
            drains: false,
            steps: 0,
            more: None,
        }
    }

    /// Takes a row of the store, before anything else happens. All rows of the queue come before those of the dead.
    pub(crate) fn restore(&mut self, now: Instant, table: TableId, key: &[u8], value: &[u8]) {
        match (table, EntryKey::parse(key)) {
            (QUEUE, Ok(parsed)) => {
                if let Err(damaged) = self.restore_entry(now, parsed, value) {
                    self.put_aside(key, value, damaged);
                }
            }
            (QUEUE, Err(damaged)) => self.put_aside(key, value, damaged),
            (DEAD, Ok(key)) => self.restore_dead(key, value),
            _ => {}
        }
    }

    fn restore_entry(&mut self, now: Instant, key: EntryKey, value: &[u8]) -> Result<(), Damaged> {
        let entry = entry::read(value)?;
        // Whoever is named there decides where it goes, and what it is about must be readable when its turn comes.
        entry.message(&self.calendar, now)?;
        let id = ConversationId::new(&self.users, &entry.source()?, &entry.destination()?);
        if id != key.conversation {
            return Err(Damaged::Form);
        }
        self.next_number = self.next_number.max(key.number + 1);
        self.counters.restored += 1;
        let slot = Slot {
            number: key.number,
            octets: value.len(),
            expires: entry::moment(&self.calendar, now, entry.expires),
            mark: self.mark(entry.mark.as_bytes()),
            has_device: entry.has_device(),
            pending: None,
            waits: None,
            open: None,
            doubtful: true,
            attempts: entry::attempt(value),
            entry: self.at_hand(value),
        };
        self.conversations.insert(id, entry.side(), slot);
        self.conversations.list(id);
        Ok(())
    }

    /// A copy of an entry, if there is room for it in memory.
    fn at_hand(&mut self, value: &[u8]) -> Option<Vec<u8>> {
        let fits = self.at_hand + value.len() <= AT_HAND;
        fits.then(|| {
            self.at_hand += value.len();
            value.to_vec()
        })
    }

    /// Takes other settings for what comes from here on. What is kept stays for as long as it was promised.
    pub(crate) fn reconfigure(&mut self, settings: Settings) {
        self.settings = settings;
    }

    /// There is a way to a side again.
    pub(crate) fn way_is_free(&mut self, side: Side) {
        self.conversations.way_is_free(side);
        if side == Side::Xmpp {
            self.undeliverable.way_is_free();
        }
    }

    /// Starts no further attempt.
    pub(crate) fn drain(&mut self) {
        self.drains = true;
    }

    fn mark(&self, mark: &[u8]) -> u64 {
        self.users.keyed(&[b"mark", mark]) as u64
    }

    /// Whether the message with this mark is kept, or was delivered from here a short while ago. Counts it.
    pub(crate) fn knows(&mut self, now: Instant, mark: &Mark) -> bool {
        let mark = self.mark(mark.as_bytes());
        self.is_known(now, mark)
    }

    fn is_known(&mut self, now: Instant, mark: u64) -> bool {
        let known = self.conversations.find_mark(mark).is_some() || self.delivered.contains(now, mark);
        self.counters.known += u64::from(known);
        known
    }

    /// Whoever writes is there. Who writes much was there a moment ago: what could not be delivered then cannot be now.
    fn hear_of(&mut self, now: Instant, user: [u8; 8]) {
        let key = u128::from(u64::from_be_bytes(user));
        if self.conversations.has_any_to(user) && self.heard.find(now, key).is_none() {
            self.heard.see(now, key);
            self.conversations.is_there(user);
        }
    }

    /// Looks at a message before it is sent.
    pub(crate) fn admit(&mut self, now: Instant, admitted: &Admitted<'_>) -> Admission {
        let message = &admitted.message;
        let (source, destination) = (&message.source.0, &message.destination.0);
        if !self.conversations.is_empty() {
            self.hear_of(now, user(&self.users, source));
        }
        let mark = self.mark(admitted.mark.as_bytes());
        if self.is_known(now, mark) {
            return Admission::Known;
        }
        if message.envelope.keeping == Keeping::Nowhere {
            return Admission::Pass;
        }
        let others = |users, conversations: &Conversations| {
            let id = ConversationId::new(users, source, destination);
            (id, conversations.count(id))
        };
        let Some(keep) = self.settings.keep(destination.domain()) else {
            // They were kept by other rules. What is not kept must not overtake what is.
            let has_others = !self.conversations.is_empty() && others(&self.users, &self.conversations).1 > 0;
            return if has_others { Admission::Refused(self.no_room()) } else { Admission::Pass };
        };
        let (when, lifetime, largest, per_conversation) =
            (keep.when, keep.lifetime, keep.largest, keep.per_conversation);
        let (id, others) = others(&self.users, &self.conversations);
        let expires = (now + lifetime).min(message.envelope.expires.unwrap_or(now + lifetime));
        let mut bytes = self.pool.take();
        let [arrived, until] = [now, expires].map(|at| entry::date(&self.calendar, at));
        entry::write(admitted, &self.calendar, arrived, until, &mut bytes);
        if bytes.len() > largest {
            self.pool.give(bytes);
            // Likewise what is too large to be kept.
            return if others > 0 { Admission::Refused(self.no_room()) } else { Admission::Pass };
        }
        let key = EntryKey { conversation: id, number: self.next_number };
        self.next_number += 1;
        let held = Held {
            key,
            entry: bytes,
            expires,
            mark,
            has_device: message.envelope.destination_device.is_some(),
            side: admitted.side,
            per_conversation,
            put: false,
            pending: None,
        };
        if others > 0 {
            return match self.store(now, admitted.operation, held, Why::Behind) {
                Ok(_) => Admission::Behind,
                Err(held) => {
                    self.pool.give(held.entry);
                    Admission::Refused(self.no_room())
                }
            };
        }
        let mut held = held;
        let mut admission = Admission::Held;
        if when == When::Every && self.has_room(held.entry.len()) && self.orders.has_room(held.entry.len()) {
            held.put = true;
            let note = Note::Put(key, admitted.operation);
            held.pending = Some(self.orders.put(QUEUE, &key.octets(), &held.entry, note));
            admission = Admission::Kept(entry::arrival(arrived));
        }
        self.held.insert(admitted.operation, held);
        admission
    }

    fn has_room(&self, octets: usize) -> bool {
        self.conversations.entries() < self.settings.max_entries
            && self.conversations.octets().saturating_add(octets) <= self.settings.max_octets
    }

    fn no_room(&mut self) -> Failure<'static> {
        self.counters.full += 1;
        Failure { text: Some("no more messages are kept for this user".into()), ..Failure::from(Reason::Congested) }
    }

    /// Keeps a message, and says whether it still has to become durable: its sender is answered then.
    fn store(&mut self, now: Instant, operation: OperationKey, mut held: Held, why: Why) -> Result<bool, Held> {
        let key = held.key;
        let octets = held.entry.len();
        let fits = self.has_room(octets) && (held.put || self.orders.has_room(octets));
        if !fits || self.conversations.count(key.conversation) >= held.per_conversation {
            return Err(held);
        }
        let attempts = u32::from(why != Why::Behind);
        why.note(&mut held.entry);
        if !held.put {
            entry::note_attempt(&mut held.entry, attempts);
        }
        let Held { entry, expires, mark, has_device, side, put, mut pending, .. } = held;
        if !put {
            let note = Note::Put(key, operation);
            pending = Some(self.orders.put(QUEUE, &key.octets(), &entry, note));
        }
        let octets = entry.len();
        let at_hand = self.at_hand + octets <= AT_HAND;
        let entry = if at_hand {
            self.at_hand += octets;
            Some(entry)
        } else {
            self.pool.give(entry);
            None
        };
        let is_durable = pending.is_none();
        let slot = Slot {
            number: key.number,
            octets,
            expires,
            mark,
            has_device,
            pending,
            waits: (!is_durable).then_some(operation),
            open: None,
            doubtful: why.is_doubtful(),
            attempts,
            entry,
        };
        self.conversations.insert(key.conversation, side, slot);
        self.counters.stored += 1;
        if !is_durable {
            self.patience.push_back((now + PATIENCE, key, operation));
            self.waiting.insert(operation, ());
        }
        Ok(!is_durable)
    }

    /// Whether the sender of an operation waits for its message to be durable, and for nothing else.
    pub(crate) fn is_waiting(&self, operation: OperationKey) -> bool {
        self.waiting.contains_key(operation)
    }

    /// Whether the fate of an operation matters here.
    pub(crate) fn holds(&self, operation: OperationKey) -> bool {
        self.held.contains_key(operation)
    }

    pub(crate) fn counters(&self) -> Counters {
        Counters {
            entries: self.conversations.entries() + self.undeliverable.len(),
            octets: self.conversations.octets(),
            conversations: self.conversations.len(),
            failure: self.orders.failure(),
            ..self.counters
        }
    }

    /// Whether the store can neither be written nor read.
    pub(crate) fn is_broken(&self) -> bool {
        self.orders.failure() == Some(StoreFailure::Broken)
    }

    /// Rows that stand for something unfinished. Entries that wait for their destination are none.
    pub(crate) fn open(&self) -> usize {
        self.held.len()
            + self.under_way_counts.iter().sum::<usize>()
            + usize::from(!self.orders.is_idle())
            + self.loads.len()
    }
}
