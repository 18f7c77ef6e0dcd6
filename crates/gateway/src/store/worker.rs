//! The thread of a store, and the two ends of it: the machine's and that of whoever looks on.

use super::{Backend, Failed, Pauses};
use crate::driver;
use crate::telemetry::Metrics;
use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, SyncSender};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Waker;
use std::time::{Duration, Instant};
use turn::{Batch, Query, StoreAnswer, StoreFailure, StoredRow, Ticket};

/// Orders of the machine that are not answered. It has two batches and some queries under way at a time; more is a mistake.
pub(crate) const ORDERS: usize = 64;
/// Queries of others that are not answered.
const READS: usize = 4;
/// How long the end waits for what was ordered before it.
const PATIENCE: Duration = Duration::from_secs(10);

enum Order {
    Commit(Ticket, Batch),
    Load(Ticket, Query),
    Read(Query, SyncSender<Result<Found, ReadError>>),
    End,
}

/// Rows, and whether there are more behind them.
type Found = (Vec<StoredRow>, bool);

/// Seconds of the classes of [`Counters::commit_seconds`].
const BOUNDS: [(Duration, &str); 8] = [
    (Duration::from_micros(100), "0.0001"),
    (Duration::from_micros(500), "0.0005"),
    (Duration::from_millis(1), "0.001"),
    (Duration::from_millis(5), "0.005"),
    (Duration::from_millis(20), "0.02"),
    (Duration::from_millis(100), "0.1"),
    (Duration::from_millis(500), "0.5"),
    (Duration::from_secs(2), "2"),
];

/// What a store has done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Batches that are durable.
    pub commits: u64,
    /// Octets of keys and values in them.
    pub octets: u64,
    /// Batches that are not, by reason: full, broken.
    pub failed_commits: [u64; 2],
    /// Queries that were answered.
    pub loads: u64,
    /// Queries that could not be, by reason: full, broken.
    pub failed_loads: [u64; 2],
    /// How often the tables were opened again.
    pub reopened: u64,
    /// How long the batches took that are durable, by class, and in all.
    pub commit_seconds: ([u64; BOUNDS.len() + 1], Duration),
}

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    /// Queries of others that are under way.
    reads: AtomicUsize,
}

#[derive(Debug, Default)]
struct State {
    answers: VecDeque<StoreAnswer>,
    waker: Option<Waker>,
    failure: Option<StoreFailure>,
    counters: Counters,
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing panics while it holds the lock.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A running store, as the driver of one machine has it. Dropped, it does what was ordered and ends.
#[derive(Debug)]
pub struct Store {
    orders: SyncSender<Order>,
    shared: Arc<Shared>,
    under_way: usize,
    ended: Receiver<()>,
}

impl Store {
    /// Starts the thread. It holds `lock` until it has ended.
    pub(super) fn start(
        backend: impl Backend + 'static,
        folder: PathBuf,
        pauses: Pauses,
        lock: Option<File>,
    ) -> io::Result<Self> {
        // One more for the end, so that nobody ever waits to hand something over.
        let (orders, inbox) = mpsc::sync_channel(ORDERS + READS + 1);
        let (ending, ended) = mpsc::sync_channel(1);
        let shared = Arc::new(Shared::default());
        let worker = Worker { backend, inbox, shared: shared.clone(), folder, pauses, failing: None };
        std::thread::Builder::new().name("store".into()).spawn(move || {
            let mut worker = worker;
            worker.run();
            drop((worker, lock));
            // Nobody may be waiting.
            let _ = ending.send(());
        })?;
        Ok(Self { orders, shared, under_way: 0, ended })
    }

    /// Wakes whoever drives the machine when there are answers.
    pub(crate) fn attach(&mut self, waker: Waker) {
        self.shared.state().waker = Some(waker);
    }

    /// Hands a batch over. Gives the answer at once where it cannot be handed over.
    pub(crate) fn commit(&mut self, ticket: Ticket, batch: Batch) -> Option<StoreAnswer> {
        let taken = self.hand_over(Order::Commit(ticket, batch));
        (!taken).then_some(StoreAnswer::CommitFailed(ticket, StoreFailure::Broken))
    }

    /// Hands a query over, likewise.
    pub(crate) fn load(&mut self, ticket: Ticket, query: Query) -> Option<StoreAnswer> {
        let taken = self.hand_over(Order::Load(ticket, query));
        (!taken).then_some(StoreAnswer::LoadFailed(ticket, StoreFailure::Broken))
    }

    fn hand_over(&mut self, order: Order) -> bool {
        if self.under_way >= ORDERS {
            tracing::error!(limit = ORDERS, "the store was given too many orders at a time, and refuses one");
            return false;
        }
        let taken = self.orders.try_send(order).is_ok();
        self.under_way += usize::from(taken);
        taken
    }

    /// What was answered since the last call, in the order in which it was ordered.
    pub(crate) fn take_answers(&mut self) -> VecDeque<StoreAnswer> {
        let answers = std::mem::take(&mut self.shared.state().answers);
        self.under_way -= answers.len();
        answers
    }

    /// Orders that are not answered.
    pub(crate) fn under_way(&self) -> usize {
        self.under_way
    }

    /// What is wrong with it now.
    pub fn failure(&self) -> Option<StoreFailure> {
        self.shared.state().failure
    }

    /// What it has done so far.
    pub fn counters(&self) -> Counters {
        self.shared.state().counters
    }

    /// A way to look at the rows from any thread, for as long as the store runs.
    pub fn reader(&self) -> Reader {
        Reader { orders: self.orders.clone(), shared: self.shared.clone() }
    }

    pub(crate) fn measure(&self, metrics: &mut Metrics) {
        let Counters { commits, octets, failed_commits, loads, failed_loads, reopened, commit_seconds } =
            self.counters();
        metrics.counter("entente_store_commits_total", "Batches that became durable.", &[], commits);
        let help = "Octets of keys and values that became durable.";
        metrics.counter("entente_store_written_bytes_total", help, &[], octets);
        metrics.counter("entente_store_loads_total", "Queries to the store that were answered.", &[], loads);
        for (order, failed) in [("commit", failed_commits), ("load", failed_loads)] {
            for (reason, count) in ["full", "broken"].into_iter().zip(failed) {
                let help = "Orders that the store did not carry out, by reason.";
                let labels = [("order", order), ("reason", reason)];
                metrics.counter("entente_store_failures_total", help, &labels, count);
            }
        }
        let help = "How often the store was opened again after a failure.";
        metrics.counter("entente_store_reopened_total", help, &[], reopened);
        let help = "How long batches took to become durable.";
        let (classes, sum) = commit_seconds;
        metrics.histogram(
            "entente_store_commit_seconds",
            help,
            &[],
            &BOUNDS.map(|(_, spelled)| spelled),
            &classes,
            sum,
        );
        let help = "Orders that the store has not answered yet.";
        metrics.gauge("entente_store_orders_under_way", help, &[], self.under_way as u64);
        let help = "Whether the store can be written.";
        metrics.gauge("entente_store_up", help, &[], u64::from(self.failure().is_none()));
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.orders.try_send(Order::End);
        if let Err(RecvTimeoutError::Timeout) = self.ended.recv_timeout(PATIENCE) {
            tracing::error!("the store does not end: a disk hangs");
        }
    }
}

/// Looks at the rows of a running store.
#[derive(Clone, Debug)]
pub struct Reader {
    orders: SyncSender<Order>,
    shared: Arc<Shared>,
}

/// Why rows could not be looked at.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ReadError {
    /// Others are looking.
    #[error("too many are reading the store already")]
    Busy,
    /// The gateway ends.
    #[error("the store has ended")]
    Ended,
    /// It cannot be read.
    #[error("the store cannot be read: {0}")]
    Failed(String),
}

impl Reader {
    /// The rows that a query asks for, and whether there are more behind them: with everything that was ordered before.
    /// Waits for it, and so is not for the thread of the driver.
    pub fn find(&self, query: Query) -> Result<(Vec<StoredRow>, bool), ReadError> {
        if self.shared.reads.fetch_add(1, Ordering::AcqRel) >= READS {
            self.shared.reads.fetch_sub(1, Ordering::AcqRel);
            return Err(ReadError::Busy);
        }
        let (sender, answer) = mpsc::sync_channel(1);
        let sent = self.orders.try_send(Order::Read(query, sender));
        let found = sent.map_err(|_| ReadError::Ended).and_then(|()| answer.recv().unwrap_or(Err(ReadError::Ended)));
        self.shared.reads.fetch_sub(1, Ordering::AcqRel);
        found
    }
}

struct Worker<B> {
    backend: B,
    inbox: Receiver<Order>,
    shared: Arc<Shared>,
    folder: PathBuf,
    pauses: Pauses,
    failing: Option<Failing>,
}

/// It has failed, and nothing is written before it was opened again.
#[derive(Clone, Copy)]
struct Failing {
    failure: StoreFailure,
    next: Instant,
    pause: Duration,
}

impl<B: Backend> Worker<B> {
    fn run(&mut self) {
        loop {
            let order = match self.failing {
                None => self.inbox.recv().map_err(|_| RecvTimeoutError::Disconnected),
                Some(failing) => self.inbox.recv_timeout(failing.next.saturating_duration_since(driver::now())),
            };
            self.recover();
            match order {
                Ok(Order::Commit(ticket, batch)) => self.commit(ticket, &batch),
                Ok(Order::Load(ticket, query)) => self.load(ticket, &query),
                Ok(Order::Read(query, asked)) => {
                    let found = guarded(|| self.backend.find(&query));
                    // Who asked may have lost patience.
                    let _ = asked.send(found.map_err(|failed| ReadError::Failed(failed.cause)));
                }
                Err(RecvTimeoutError::Timeout) => {}
                Ok(Order::End) | Err(RecvTimeoutError::Disconnected) => return,
            }
        }
    }

    /// Opens the tables again, if that is due.
    fn recover(&mut self) {
        let Some(failing) = self.failing.filter(|failing| failing.next <= driver::now()) else { return };
        match guarded(|| self.backend.reopen()) {
            Ok(()) => {
                self.failing = None;
                let mut state = self.shared.state();
                state.failure = None;
                state.counters.reopened += 1;
                tracing::info!(folder = %self.folder.display(), "the store works again");
            }
            Err(failed) => self.fail(failed, (failing.pause * 2).min(self.pauses.longest)),
        }
    }

    fn fail(&mut self, Failed { failure, cause }: Failed, pause: Duration) {
        if self.failing.is_none_or(|failing| failing.failure != failure) {
            let folder = self.folder.display();
            match failure {
                StoreFailure::Full => tracing::error!(%folder, %cause, "there is no room for the store"),
                StoreFailure::Broken => tracing::error!(%folder, %cause, "the store is broken"),
            }
        }
        self.failing = Some(Failing { failure, next: driver::now() + pause, pause });
        self.shared.state().failure = Some(failure);
    }

    fn commit(&mut self, ticket: Ticket, batch: &Batch) {
        if self.failing.is_none() && !batch.is_empty() {
            let begun = driver::now();
            match guarded(|| self.backend.apply(batch)) {
                Ok(()) => self.shared.state().counters.committed(batch, driver::now() - begun),
                Err(failed) => self.fail(failed, self.pauses.first),
            }
        }
        match self.failing {
            None => self.answer(StoreAnswer::Committed(ticket)),
            Some(Failing { failure, .. }) => self.answer(StoreAnswer::CommitFailed(ticket, failure)),
        }
    }

    /// What is there can be read whether or not anything can be written.
    fn load(&mut self, ticket: Ticket, query: &Query) {
        match guarded(|| self.backend.find(query)) {
            Ok((rows, more)) => self.answer(StoreAnswer::Loaded { ticket, rows, more }),
            Err(failed) => {
                let failure = failed.failure;
                if self.failing.is_none() {
                    self.fail(failed, self.pauses.first);
                }
                self.answer(StoreAnswer::LoadFailed(ticket, failure));
            }
        }
    }

    fn answer(&self, answer: StoreAnswer) {
        let waker = {
            let mut state = self.shared.state();
            match answer {
                StoreAnswer::Committed(_) => {}
                StoreAnswer::CommitFailed(_, failure) => state.counters.failed_commits[failure as usize] += 1,
                StoreAnswer::Loaded { .. } => state.counters.loads += 1,
                StoreAnswer::LoadFailed(_, failure) => state.counters.failed_loads[failure as usize] += 1,
            }
            state.answers.push_back(answer);
            state.waker.clone()
        };
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

impl Counters {
    fn committed(&mut self, batch: &Batch, took: Duration) {
        self.commits += 1;
        let octets = batch.changes().map(|(_, key, value)| key.len() + value.map_or(0, <[u8]>::len));
        self.octets += octets.sum::<usize>() as u64;
        let class = BOUNDS.iter().position(|(bound, _)| took <= *bound).unwrap_or(BOUNDS.len());
        self.commit_seconds.0[class] += 1;
        self.commit_seconds.1 += took;
    }
}

/// A mistake in what is not ours is a failure of the store, and not the end of it.
fn guarded<T>(work: impl FnOnce() -> Result<T, Failed>) -> Result<T, Failed> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|_| {
        let cause = "it stumbled over something that it takes to be impossible".into();
        Err(Failed { failure: StoreFailure::Broken, cause })
    })
}
