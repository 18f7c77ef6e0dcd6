//! What a machine may rely on, whichever store is behind its orders.
//!
//! [`store_contract`](crate::store_contract) makes a test of each clause for one kind of store.

use super::Condition;
use turn::{Batch, Query, StoreAnswer, StoreFailure, StoredRow, TableId, Ticket};

/// A store under test. Tickets are given by the clauses, in growing order.
pub trait Subject {
    /// Orders a batch.
    fn commit(&mut self, ticket: Ticket, batch: Batch);
    /// Orders rows.
    fn load(&mut self, ticket: Ticket, query: Query);
    /// The next answer, however long it takes. There is an order that is not answered.
    fn answer(&mut self) -> StoreAnswer;
    /// How the store is from now on.
    fn set(&mut self, condition: Condition);
    /// Ends the store in order, and opens it again.
    fn reopen(&mut self);
    /// Ends the store as a crash does, with orders under way, and opens it again. Answers not yet taken are lost.
    fn crash(&mut self);
}

/// Makes a test of each clause of the contract. `$make` is called for each, and gives an empty store.
#[macro_export]
macro_rules! store_contract {
    ($make:expr) => {
        $crate::store_contract! { @ $make;
            commits_take_effect_in_order
            a_batch_is_kept_as_a_whole
            a_batch_that_fails_leaves_nothing
            rows_come_in_the_order_of_their_keys
            a_query_finds_what_begins_alike
            a_query_goes_on_behind_a_key
            what_is_deleted_is_gone
            an_empty_batch_is_answered
            large_values_are_kept
            tables_are_apart
            a_query_sees_what_was_ordered_before
            orders_are_answered_once_and_in_order
            what_was_kept_outlives_the_end
            what_was_answered_outlives_a_crash
            a_full_store_can_be_read_and_recovers
            a_broken_store_answers_and_recovers
        }
    };
    (@ $make:expr; $($clause:ident)*) => {
        $(#[test]
        fn $clause() {
            $crate::store::contract::$clause(&mut $make());
        })*
    };
}

const QUEUE: TableId = TableId(1);
const DEAD: TableId = TableId(2);

fn put(rows: &[(&[u8], &[u8])]) -> Batch {
    let mut batch = Batch::default();
    for (key, value) in rows {
        batch.put(QUEUE, key, |to| to.extend_from_slice(value));
    }
    batch
}

fn all(table: TableId) -> Query {
    Query { table, prefix: Vec::new(), after: None, limit: 1000 }
}

/// Orders a batch, and is told that it is kept.
fn keep(store: &mut impl Subject, ticket: u64, batch: Batch) {
    store.commit(Ticket(ticket), batch);
    assert_eq!(store.answer(), StoreAnswer::Committed(Ticket(ticket)));
}

/// Keys and values.
type Pairs = Vec<(Vec<u8>, Vec<u8>)>;

/// What a query finds, and whether there is more.
fn find(store: &mut impl Subject, ticket: u64, query: Query) -> (Pairs, bool) {
    store.load(Ticket(ticket), query);
    match store.answer() {
        StoreAnswer::Loaded { ticket: answered, rows, more } if answered == Ticket(ticket) => {
            (rows.into_iter().map(|StoredRow { key, value }| (key, value)).collect(), more)
        }
        other => panic!("rows, not {other:?}"),
    }
}

fn keys(store: &mut impl Subject, ticket: u64, query: Query) -> Vec<String> {
    let (rows, _) = find(store, ticket, query);
    rows.into_iter().map(|(key, _)| String::from_utf8(key).expect("a readable key")).collect()
}

/// The later of two batches has the last word, and so has the later change of one batch.
pub fn commits_take_effect_in_order(store: &mut impl Subject) {
    store.commit(Ticket(1), put(&[(b"a", b"first")]));
    store.commit(Ticket(2), put(&[(b"a", b"second"), (b"b", b"old"), (b"b", b"new")]));
    let mut batch = put(&[(b"c", b"")]);
    batch.delete(QUEUE, b"c");
    batch.delete(QUEUE, b"d");
    batch.put(QUEUE, b"d", |to| to.push(b'!'));
    store.commit(Ticket(3), batch);
    for ticket in 1..=3 {
        assert_eq!(store.answer(), StoreAnswer::Committed(Ticket(ticket)));
    }
    let rows =
        |rows: &[(&str, &str)]| -> Pairs { rows.iter().map(|(key, value)| ((*key).into(), (*value).into())).collect() };
    assert_eq!(find(store, 4, all(QUEUE)), (rows(&[("a", "second"), ("b", "new"), ("d", "!")]), false));
}

/// Changes to several tables become durable together.
pub fn a_batch_is_kept_as_a_whole(store: &mut impl Subject) {
    keep(store, 1, put(&[(b"moved", b"1")]));
    let mut batch = Batch::default();
    batch.delete(QUEUE, b"moved");
    batch.put(DEAD, b"moved", |to| to.push(b'1'));
    let cancelled = batch.put(DEAD, b"cancelled", |_| {});
    batch.cancel(cancelled);
    keep(store, 2, batch);
    assert_eq!(keys(store, 3, all(QUEUE)), [""; 0]);
    assert_eq!(keys(store, 4, all(DEAD)), ["moved"]);
}

/// Nothing of a batch that failed is there, also not after the store was opened again.
pub fn a_batch_that_fails_leaves_nothing(store: &mut impl Subject) {
    keep(store, 1, put(&[(b"a", b"old"), (b"b", b"kept")]));
    for (ticket, condition) in [(2, Condition::Full), (3, Condition::Broken)] {
        store.set(condition);
        let mut batch = put(&[(b"a", b"new"), (b"c", b"new")]);
        batch.delete(QUEUE, b"b");
        store.commit(Ticket(ticket), batch);
        assert!(matches!(store.answer(), StoreAnswer::CommitFailed(..)));
    }
    store.set(Condition::Working);
    let before = (vec![(b"a".to_vec(), b"old".to_vec()), (b"b".to_vec(), b"kept".to_vec())], false);
    assert_eq!(find(store, 4, all(QUEUE)), before);
    store.reopen();
    assert_eq!(find(store, 5, all(QUEUE)), before);
}

/// Octet by octet, whatever was written first.
pub fn rows_come_in_the_order_of_their_keys(store: &mut impl Subject) {
    let places = [[2, 0], [0, 255], [255, 255], [0, 0], [1, 1], [128, 0]];
    for (place, ticket) in places.iter().zip(1..) {
        keep(store, ticket, put(&[(place, b"x")]));
    }
    let (rows, _) = find(store, 10, all(QUEUE));
    let mut sorted = places.to_vec();
    sorted.sort_unstable();
    assert_eq!(rows.into_iter().map(|(key, _)| key).collect::<Vec<_>>(), sorted);
}

/// A prefix, also one that no key is equal to, and the last of all.
pub fn a_query_finds_what_begins_alike(store: &mut impl Subject) {
    keep(store, 1, put(&[(b"a", b""), (b"ab", b""), (b"abc", b""), (b"ac", b""), (b"b", b"")]));
    let starting = |prefix: &[u8]| Query { prefix: prefix.to_vec(), ..all(QUEUE) };
    assert_eq!(keys(store, 2, starting(b"ab")), ["ab", "abc"]);
    assert_eq!(keys(store, 3, starting(b"b")), ["b"]);
    assert_eq!(keys(store, 4, starting(b"aa")), [""; 0]);
    assert_eq!(keys(store, 5, starting(&[255, 255])), [""; 0]);
    let mut batch = Batch::default();
    batch.put(QUEUE, &[255, 255, 7], |_| {});
    keep(store, 6, batch);
    assert_eq!(find(store, 7, starting(&[255, 255])).0.len(), 1);
}

/// Page by page; the key need not exist, and may stand before the prefix or behind all that begins alike.
pub fn a_query_goes_on_behind_a_key(store: &mut impl Subject) {
    keep(store, 1, put(&[(b"a1", b""), (b"a2", b""), (b"a3", b""), (b"b1", b"")]));
    let page = |after: Option<&[u8]>, limit| Query {
        prefix: b"a".to_vec(),
        after: after.map(<[u8]>::to_vec),
        limit,
        ..all(QUEUE)
    };
    let first = find(store, 2, page(None, 2));
    assert_eq!((first.0.len(), first.1), (2, true));
    let second = find(store, 3, page(Some(b"a2"), 2));
    assert_eq!((second.0[0].0.as_slice(), second.0.len(), second.1), (&b"a3"[..], 1, false));
    let whole = find(store, 4, page(None, 3));
    assert_eq!((whole.0.len(), whole.1), (3, false));
    assert_eq!(keys(store, 5, page(Some(b"a11"), 9)), ["a2", "a3"]);
    assert_eq!(keys(store, 6, page(Some(b"0"), 1)), ["a1"]);
    assert_eq!(find(store, 7, page(Some(b"a3"), 1)), (vec![], false));
    assert_eq!(find(store, 8, page(Some(b"b"), 1)), (vec![], false));
    assert_eq!(find(store, 9, page(None, 0)), (vec![], true));
}

/// A delete is a change like a put, and one of a key that is not there does nothing.
pub fn what_is_deleted_is_gone(store: &mut impl Subject) {
    keep(store, 1, put(&[(b"a", b"1"), (b"b", b"2")]));
    let mut batch = Batch::default();
    batch.delete(QUEUE, b"a");
    batch.delete(QUEUE, b"never");
    keep(store, 2, batch);
    assert_eq!(keys(store, 3, all(QUEUE)), ["b"]);
    store.reopen();
    assert_eq!(keys(store, 4, all(QUEUE)), ["b"]);
}

/// Also one of which everything was taken back.
pub fn an_empty_batch_is_answered(store: &mut impl Subject) {
    keep(store, 1, Batch::default());
    let mut batch = Batch::default();
    let change = batch.delete(QUEUE, b"a");
    batch.cancel(change);
    keep(store, 2, batch);
    assert_eq!(keys(store, 3, all(QUEUE)), [""; 0]);
}

/// Values of any octets, and of none.
pub fn large_values_are_kept(store: &mut impl Subject) {
    let large: Vec<u8> = (0..1_500_000u32).map(|place| (place % 251) as u8).collect();
    keep(store, 1, put(&[(b"empty", b""), (b"large", &large)]));
    store.reopen();
    let (rows, _) = find(store, 2, all(QUEUE));
    assert_eq!(rows[0], (b"empty".to_vec(), vec![]));
    assert!(rows[1].1 == large, "{} octets", rows[1].1.len());
}

/// The same key may stand in several.
pub fn tables_are_apart(store: &mut impl Subject) {
    let mut batch = put(&[(b"a", b"queue")]);
    batch.put(DEAD, b"a", |to| to.extend_from_slice(b"dead"));
    keep(store, 1, batch);
    assert_eq!(find(store, 2, all(QUEUE)).0[0].1, b"queue");
    assert_eq!(find(store, 3, all(DEAD)).0[0].1, b"dead");
}

/// Without waiting for the answer to the batch.
pub fn a_query_sees_what_was_ordered_before(store: &mut impl Subject) {
    store.commit(Ticket(1), put(&[(b"a", b"1")]));
    store.load(Ticket(2), all(QUEUE));
    assert_eq!(store.answer(), StoreAnswer::Committed(Ticket(1)));
    let StoreAnswer::Loaded { rows, .. } = store.answer() else { panic!("rows") };
    assert_eq!(rows.len(), 1);
}

/// Batches and queries in one row, some of which fail.
pub fn orders_are_answered_once_and_in_order(store: &mut impl Subject) {
    for round in 0..5u64 {
        let full = round == 2;
        store.set(if full { Condition::Full } else { Condition::Working });
        let first = round * 8;
        for ticket in first..first + 8 {
            match ticket % 3 {
                0 => store.load(Ticket(ticket), all(QUEUE)),
                _ => store.commit(Ticket(ticket), put(&[(&ticket.to_be_bytes(), b"x")])),
            }
        }
        for ticket in first..first + 8 {
            let answer = store.answer();
            assert_eq!(answer.ticket(), Ticket(ticket));
            let failed = matches!(answer, StoreAnswer::CommitFailed(..) | StoreAnswer::LoadFailed(..));
            assert_eq!(failed, full && ticket % 3 != 0, "{answer:?}");
        }
    }
}

/// Everything that was ordered before the end is done.
pub fn what_was_kept_outlives_the_end(store: &mut impl Subject) {
    keep(store, 1, put(&[(b"a", b"1"), (b"b", b"2")]));
    store.reopen();
    let mut batch = put(&[(b"c", b"3")]);
    batch.delete(QUEUE, b"a");
    keep(store, 2, batch);
    store.reopen();
    assert_eq!(keys(store, 3, all(QUEUE)), ["b", "c"]);
}

/// What was not answered is there as a whole or not at all, and only with all that was ordered before.
pub fn what_was_answered_outlives_a_crash(store: &mut impl Subject) {
    for round in 0..4u64 {
        let pair = |ticket: u64| {
            let name = |half| [&ticket.to_be_bytes()[..], half].concat();
            put(&[(&name(b"a"), &[7; 3000]), (&name(b"b"), &[8; 3000])])
        };
        let first = round * 6;
        for ticket in first..first + 6 {
            store.commit(Ticket(ticket), pair(ticket));
        }
        for ticket in first..first + 3 {
            assert_eq!(store.answer(), StoreAnswer::Committed(Ticket(ticket)));
        }
        store.crash();
        let (rows, _) = find(store, 1000 + round, all(QUEUE));
        let of_round: Vec<_> = rows.iter().filter(|(key, _)| key[..8] >= first.to_be_bytes()[..]).collect();
        assert!(of_round.len() >= 6 && of_round.len().is_multiple_of(2), "{} rows", of_round.len());
        for (row, place) in of_round.iter().zip(0u64..) {
            let ticket = first + place / 2;
            assert_eq!(row.0, [&ticket.to_be_bytes()[..], if place % 2 == 0 { b"a" } else { b"b" }].concat());
        }
    }
}

/// There is no room for a while.
pub fn a_full_store_can_be_read_and_recovers(store: &mut impl Subject) {
    keep(store, 1, put(&[(b"a", b"1")]));
    store.set(Condition::Full);
    store.commit(Ticket(2), put(&[(b"b", b"2")]));
    assert_eq!(store.answer(), StoreAnswer::CommitFailed(Ticket(2), StoreFailure::Full));
    assert_eq!(keys(store, 3, all(QUEUE)), ["a"]);
    store.set(Condition::Working);
    keep(store, 4, put(&[(b"c", b"3")]));
    assert_eq!(keys(store, 5, all(QUEUE)), ["a", "c"]);
}

/// Nothing can be read or written for a while.
pub fn a_broken_store_answers_and_recovers(store: &mut impl Subject) {
    keep(store, 1, put(&[(b"a", b"1")]));
    store.set(Condition::Broken);
    store.commit(Ticket(2), put(&[(b"b", b"2")]));
    assert_eq!(store.answer(), StoreAnswer::CommitFailed(Ticket(2), StoreFailure::Broken));
    store.load(Ticket(3), all(QUEUE));
    assert_eq!(store.answer(), StoreAnswer::LoadFailed(Ticket(3), StoreFailure::Broken));
    store.set(Condition::Working);
    keep(store, 4, put(&[(b"c", b"3")]));
    assert_eq!(keys(store, 5, all(QUEUE)), ["a", "c"]);
}
