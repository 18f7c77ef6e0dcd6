//! A store in memory with a clock that the test owns: slow, full, broken or torn off when the test wants it so.

use std::collections::{BTreeMap, VecDeque};
use std::time::Instant;
use turn::{Action, Batch, Output, Query, StoreAnswer, StoreFailure, StoredRow, TableId, Ticket};

/// How a store is at the moment at which it does what it was told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Condition {
    /// It works.
    #[default]
    Working,
    /// There is no room: what is there can be read.
    Full,
    /// Nothing can be written or read.
    Broken,
}

#[derive(Debug)]
enum Order {
    Commit(Ticket, Batch),
    Load(Ticket, Query),
}

/// The store. It does one thing after the other, each at the moment that the test has given for it, or when what was ordered
/// before is done.
///
/// Whoever runs a machine with it hands it every [`Action::Commit`] and [`Action::Load`] ([`order`](Self::order)), comes back
/// at [`poll_timeout`](Self::poll_timeout), and then gives the machine the [`input`](StoreAnswer::input) of each
/// [`poll_answer`](Self::poll_answer).
#[derive(Debug, Default)]
pub struct SimulatedStore {
    rows: BTreeMap<(TableId, Vec<u8>), Vec<u8>>,
    orders: VecDeque<(Instant, Order)>,
    /// How it is from now on.
    pub condition: Condition,
}

impl SimulatedStore {
    /// An empty store.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes what an action orders out of `output`, to be done at `at`. Gives whether the action was for a store.
    pub fn order(&mut self, at: Instant, output: &mut Output, action: &Action) -> bool {
        match *action {
            Action::Commit { ticket } => {
                self.commit(at, ticket, output.take_batch(ticket).expect("a batch stands behind its action"));
            }
            Action::Load { ticket } => {
                self.load(at, ticket, output.take_query(ticket).expect("a query stands behind its action"));
            }
            _ => return false,
        }
        true
    }

    /// Takes a batch, which becomes durable at `at`.
    pub fn commit(&mut self, at: Instant, ticket: Ticket, batch: Batch) {
        self.push(at, Order::Commit(ticket, batch));
    }

    /// Takes a query, which is answered at `at`.
    pub fn load(&mut self, at: Instant, ticket: Ticket, query: Query) {
        self.push(at, Order::Load(ticket, query));
    }

    fn push(&mut self, at: Instant, order: Order) {
        let at = self.orders.back().map_or(at, |(before, _)| at.max(*before));
        self.orders.push_back((at, order));
    }

    /// When the next answer is due.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.orders.front().map(|(at, _)| *at)
    }

    /// The next answer that is due.
    pub fn poll_answer(&mut self, now: Instant) -> Option<StoreAnswer> {
        self.orders.front().filter(|(at, _)| *at <= now)?;
        let (_, order) = self.orders.pop_front()?;
        Some(match (order, self.condition) {
            (Order::Commit(ticket, _), Condition::Full) => StoreAnswer::CommitFailed(ticket, StoreFailure::Full),
            (Order::Commit(ticket, _), Condition::Broken) => StoreAnswer::CommitFailed(ticket, StoreFailure::Broken),
            (Order::Load(ticket, _), Condition::Broken) => StoreAnswer::LoadFailed(ticket, StoreFailure::Broken),
            (Order::Commit(ticket, batch), Condition::Working) => {
                self.apply(&batch);
                StoreAnswer::Committed(ticket)
            }
            (Order::Load(ticket, query), Condition::Working | Condition::Full) => {
                let (rows, more) = self.find(&query);
                StoreAnswer::Loaded { ticket, rows, more }
            }
        })
    }

    /// Orders that are not answered.
    pub fn under_way(&self) -> usize {
        self.orders.len()
    }

    /// The machine ends in the middle of it. `octets` of what was ordered and not yet done have reached the disk: a batch that
    /// is among them as a whole is there after the restart, and one that is torn is not, nor is any behind it. Gives the
    /// tickets of those that are there although nobody was told.
    pub fn crash(&mut self, octets: usize) -> Vec<Ticket> {
        let mut left = octets;
        let mut kept = Vec::new();
        for (_, order) in std::mem::take(&mut self.orders) {
            let Order::Commit(ticket, batch) = order else { continue };
            // A record is never empty.
            let length = batch.octets() + 1;
            if self.condition != Condition::Working || length > left {
                break;
            }
            left -= length;
            self.apply(&batch);
            kept.push(ticket);
        }
        kept
    }

    /// Octets that a [`crash`](Self::crash) must spare for everything that was ordered to be kept.
    pub fn octets_under_way(&self) -> usize {
        let length = |(_, order): &(Instant, Order)| match order {
            Order::Commit(_, batch) => batch.octets() + 1,
            Order::Load(..) => 0,
        };
        self.orders.iter().map(length).sum()
    }

    /// The rows of a table in the order of their keys, as a machine gets them when it starts.
    pub fn rows(&self, table: TableId) -> Vec<StoredRow> {
        let all = Query { table, prefix: Vec::new(), after: None, limit: usize::MAX };
        self.find(&all).0
    }

    /// Changes the value in one place of a table behind everybody's back. Gives its key, and `None` where there is no such
    /// place.
    pub fn corrupt(&mut self, table: TableId, place: usize, change: impl FnOnce(&mut Vec<u8>)) -> Option<Vec<u8>> {
        let mut of_table = self.rows.iter_mut().filter(|((of, _), _)| *of == table);
        let ((_, key), value) = of_table.nth(place)?;
        change(value);
        Some(key.clone())
    }

    fn apply(&mut self, batch: &Batch) {
        for (table, key, value) in batch.changes() {
            match value {
                Some(value) => self.rows.insert((table, key.to_vec()), value.to_vec()),
                None => self.rows.remove(&(table, key.to_vec())),
            };
        }
    }

    fn find(&self, query: &Query) -> (Vec<StoredRow>, bool) {
        let from = query.after.as_deref().unwrap_or_default().max(&query.prefix);
        let found =
            self.rows.range((query.table, from.to_vec())..).filter(|((_, key), _)| Some(key) != query.after.as_ref());
        let mut found = found.take_while(|((table, key), _)| *table == query.table && key.starts_with(&query.prefix));
        let row =
            |((_, key), value): (&(TableId, Vec<u8>), &Vec<u8>)| StoredRow { key: key.clone(), value: value.clone() };
        let rows = found.by_ref().take(query.limit).map(row).collect();
        (rows, found.next().is_some())
    }
}
