//! The simulated store keeps the contract, and fails as it is told.

use entente_tests::dice::Dice;
use entente_tests::store::contract::Subject;
use entente_tests::store::{Condition, SimulatedStore};
use std::time::{Duration, Instant};
use turn::{Action, Batch, Input, Output, Query, StoreAnswer, StoreFailure, TableId, Ticket};

const QUEUE: TableId = TableId(1);

/// A store whose every order takes a while that the dice say.
struct Slow {
    store: SimulatedStore,
    dice: Dice,
    now: Instant,
}

impl Slow {
    fn when(&mut self) -> Instant {
        self.now + Duration::from_millis(self.dice.below(50))
    }
}

impl Subject for Slow {
    fn commit(&mut self, ticket: Ticket, batch: Batch) {
        let at = self.when();
        self.store.commit(at, ticket, batch);
    }

    fn load(&mut self, ticket: Ticket, query: Query) {
        let at = self.when();
        self.store.load(at, ticket, query);
    }

    fn answer(&mut self) -> StoreAnswer {
        self.now = self.now.max(self.store.poll_timeout().expect("an order is not answered"));
        self.store.poll_answer(self.now).expect("the answer is due")
    }

    fn set(&mut self, condition: Condition) {
        self.store.condition = condition;
    }

    fn reopen(&mut self) {
        while self.store.under_way() > 0 {
            self.answer();
        }
    }

    fn crash(&mut self) {
        let octets = self.dice.below(self.store.octets_under_way() as u64 + 1);
        self.store.crash(octets as usize);
    }
}

#[allow(clippy::disallowed_methods, reason = "somewhere time has to begin")]
fn slow() -> Slow {
    Slow { store: SimulatedStore::new(), dice: Dice::new(11), now: Instant::now() }
}

entente_tests::store_contract!(slow);

fn batch(key: &[u8]) -> Batch {
    let mut batch = Batch::default();
    batch.put(QUEUE, key, |value| value.extend_from_slice(b"value"));
    batch
}

#[test]
fn orders_are_taken_out_of_the_output_and_answered_as_inputs() {
    let Slow { mut store, now, .. } = slow();
    let mut output = Output::new();
    let commit = output.commit(batch(b"a"));
    let load = output.load(Query { table: QUEUE, prefix: vec![], after: None, limit: 9 });
    let later = now + Duration::from_millis(5);
    while let Some(action) = output.poll_action() {
        assert!(store.order(later, &mut output, &action));
    }
    assert!(!store.order(now, &mut output, &Action::Close { stream: Output::new().open() }));
    assert_eq!((store.poll_timeout(), store.poll_answer(now)), (Some(later), None));
    let first = store.poll_answer(later).unwrap();
    assert!(matches!(first.input(), Input::Committed { ticket } if ticket == commit));
    let second = store.poll_answer(later).unwrap();
    let Input::Loaded { ticket, rows, more: false } = second.input() else { panic!("rows") };
    assert_eq!((ticket, rows.len(), store.under_way()), (load, 1, 0));
    store.condition = Condition::Broken;
    store.load(later, Ticket(9), Query { table: QUEUE, prefix: vec![], after: None, limit: 9 });
    let failed = store.poll_answer(later).unwrap();
    assert!(matches!(failed.input(), Input::LoadFailed { ticket: Ticket(9), failure: StoreFailure::Broken }));
}

/// Two batches of six octets each, and one that says so: a crash after every number of octets.
#[test]
fn a_crash_at_each_octet_keeps_whole_batches_only() {
    let mut kept = Vec::new();
    for octets in 0..=15 {
        let Slow { mut store, now, .. } = slow();
        store.commit(now, Ticket(1), batch(b"a"));
        store.commit(now, Ticket(2), batch(b"b"));
        assert_eq!(store.octets_under_way(), 14);
        let survivors = store.crash(octets);
        assert_eq!(store.rows(QUEUE).len(), survivors.len());
        assert_eq!((store.under_way(), store.poll_timeout()), (0, None));
        kept.push(survivors.len());
    }
    assert_eq!(kept, [0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 2, 2]);
}

#[test]
fn an_entry_can_be_corrupted() {
    let Slow { mut store, now, .. } = slow();
    store.commit(now, Ticket(1), batch(b"a"));
    assert_eq!(store.poll_answer(now), Some(StoreAnswer::Committed(Ticket(1))));
    assert_eq!(store.corrupt(QUEUE, 1, Vec::clear), None);
    assert_eq!(store.corrupt(QUEUE, 0, |value| value[0] ^= 1), Some(b"a".to_vec()));
    assert_ne!(store.rows(QUEUE)[0].value, b"value");
}
