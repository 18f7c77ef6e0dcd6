//! Which sockets have something to do: a queue that wakers fill, so that a turn looks at nothing else.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Wake, Waker};
use turn::StreamId;

/// What can become ready: a socket of the wiring, a stream, letters or the store, of one machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Source {
    /// The machine's place in the driver.
    pub(crate) machine: u16,
    pub(crate) part: Part,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Part {
    Socket(u16),
    Stream(StreamId),
    /// Letters whose fate is known.
    Letters,
    /// Answers of the store.
    Store,
}

/// Ready sources, the longest waiting first.
#[derive(Debug, Default)]
pub(crate) struct ReadyQueue {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    queue: VecDeque<Arc<Signal>>,
    driver: Option<Waker>,
}

impl ReadyQueue {
    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing panics while it holds the lock.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn len(&self) -> usize {
        self.state().queue.len()
    }

    /// The next ready source. From here on it can be queued again.
    pub(crate) fn pop(&self) -> Option<Source> {
        let signal = self.state().queue.pop_front()?;
        signal.queued.store(false, Ordering::Release);
        Some(signal.source)
    }

    /// Whether anything is ready; if not, `driver` is woken when something is.
    pub(crate) fn poll_any(&self, driver: &Waker) -> bool {
        let mut state = self.state();
        if state.queue.is_empty() {
            match &mut state.driver {
                Some(known) => known.clone_from(driver),
                none => *none = Some(driver.clone()),
            }
            false
        } else {
            true
        }
    }
}

/// Puts one source into the queue when it is woken, at most once at a time.
#[derive(Debug)]
pub(crate) struct Signal {
    source: Source,
    queued: AtomicBool,
    queue: Arc<ReadyQueue>,
}

impl Signal {
    /// A waker for `source`.
    pub(crate) fn waker(source: Source, queue: &Arc<ReadyQueue>) -> Waker {
        Waker::from(Arc::new(Self { source, queued: AtomicBool::new(false), queue: queue.clone() }))
    }
}

impl Wake for Signal {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if self.queued.swap(true, Ordering::AcqRel) {
            return;
        }
        let driver = {
            let mut state = self.queue.state();
            state.queue.push_back(self.clone());
            state.driver.take()
        };
        if let Some(driver) = driver {
            driver.wake();
        }
    }
}
