//! Runs machines: waits, stamps the time, feeds inputs, carries out actions.
//!
//! One thread, one runtime, no task per message or stream. Every socket has a waker that puts it into a queue; a turn
//! serves what is in the queue and looks at nothing else, so that idle streams cost nothing. See [`turn::Machine`] for
//! the contract of a turn.

mod cell;
mod ready;
mod wiring;

pub use wiring::{Direction, Limits, Seen, Socket, WireTap, Wiring};

use crate::net::Names;
use crate::telemetry::Metrics;
use cell::{Cell, Space};
use ready::ReadyQueue;
use std::future::{Future, poll_fn};
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, Instant};
use tokio::sync::{mpsc, oneshot};

/// What the driver asks of a machine beyond its turns.
pub trait Hosted: turn::Machine + Send {
    /// Ends what is open and takes nothing new.
    fn drain(&mut self, _now: Instant) {}

    /// Whether nothing is open any more. Asked only while draining.
    fn is_quiet(&self) -> bool {
        true
    }

    /// Whether the machine can do its work: its links stand.
    fn is_ready(&self) -> bool {
        true
    }

    /// Takes other settings. Called between two turns.
    fn reconfigure(&mut self, _settings: &engine::Settings) {}

    /// Drops the entries with these keys from what it keeps, and tells of each whether there was one. Called between two turns.
    fn drop_entries(&mut self, keys: &[Vec<u8>]) -> Vec<bool> {
        vec![false; keys.len()]
    }

    /// Adds the machine's own counters.
    fn measure(&self, _metrics: &mut Metrics) {}
}

/// An order to a running driver.
#[derive(Debug)]
pub enum Control {
    /// Finish what is open and end: at the latest after the given time.
    Drain(Duration),
    /// End at once.
    Stop,
    /// Tell how things are, between two turns.
    Report(oneshot::Sender<Report>),
    /// Give the machines other settings, between two turns, and tell when they have them.
    Reconfigure(Box<engine::Settings>, oneshot::Sender<()>),
    /// Drop the entries with these keys from the journal, between two turns, and tell of each whether there was one.
    DropEntries(Vec<Vec<u8>>, oneshot::Sender<Vec<bool>>),
}

/// How a driver and its machines are.
#[derive(Debug)]
pub struct Report {
    /// Whether all machines can do their work and none drains.
    pub ready: bool,
    /// The counters of the driver and of its machines.
    pub metrics: Metrics,
}

/// How a run came to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// Drained: nothing was open.
    Quiet,
    /// Drained, but something was still open when the time was up.
    Overdue,
    /// By [`Control::Stop`].
    Stopped,
}

/// Orders that may wait for the driver.
const CONTROLS_WAITING: usize = 16;

/// Machines and what is needed to run them.
pub struct Driver {
    parts: Vec<(Box<dyn Hosted>, Wiring)>,
    controls: mpsc::Receiver<Control>,
    names: Arc<Names>,
}

impl Driver {
    /// A driver for `parts`, and the way to give it orders.
    pub fn new(parts: Vec<(Box<dyn Hosted>, Wiring)>, names: Arc<Names>) -> (Self, mpsc::Sender<Control>) {
        let (sender, controls) = mpsc::channel(CONTROLS_WAITING);
        (Self { parts, controls, names }, sender)
    }

    /// Runs on this thread until it is told to end. When all senders of orders are gone it keeps running.
    pub fn run(self) -> io::Result<Ended> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        // The budget that makes tasks yield does not fit: a turn has its own, and yields to the runtime behind it.
        runtime.block_on(tokio::task::unconstrained(async {
            let mut running = Running::start(self)?;
            Ok(running.run().await)
        }))
    }
}

/// The time. The one place that asks for it: machines are told.
#[expect(clippy::disallowed_methods, reason = "the driver stamps the time of each turn")]
pub fn now() -> Instant {
    Instant::now()
}

struct Running {
    cells: Vec<Cell>,
    queue: Arc<ReadyQueue>,
    controls: mpsc::Receiver<Control>,
    controls_gone: bool,
    space: Space,
    alarm: Alarm,
    /// When draining must be over.
    draining: Option<Instant>,
}

impl Running {
    fn start(driver: Driver) -> io::Result<Self> {
        let queue = Arc::new(ReadyQueue::default());
        let cells = driver
            .parts
            .into_iter()
            .zip(0..)
            .map(|((machine, wiring), index)| Cell::new(index, machine, wiring, driver.names.clone(), queue.clone()))
            .collect::<io::Result<_>>()?;
        Ok(Self {
            cells,
            queue,
            controls: driver.controls,
            controls_gone: false,
            space: Space::new(),
            alarm: Alarm::new(),
            draining: None,
        })
    }

    async fn run(&mut self) -> Ended {
        let mut control = None;
        loop {
            let now = now();
            self.turn(now);
            if let Some(ended) = control.take().and_then(|control| self.obey(now, control)) {
                return ended;
            }
            if let Some(deadline) = self.draining {
                if self.cells.iter_mut().all(|cell| cell.is_quiet()) {
                    return Ended::Quiet;
                }
                if deadline <= now {
                    return Ended::Overdue;
                }
            }
            control = self.wait(now).await;
        }
    }

    fn turn(&mut self, now: Instant) {
        for cell in &mut self.cells {
            cell.begin_turn(now);
        }
        // What becomes ready from here on is served in the next turn.
        for _ in 0..self.queue.len() {
            let Some(source) = self.queue.pop() else { break };
            if let Some(cell) = self.cells.get_mut(usize::from(source.machine)) {
                cell.serve(now, source.part, &mut self.space);
            }
        }
        for cell in &mut self.cells {
            cell.finish_turn(now);
        }
    }

    fn obey(&mut self, now: Instant, control: Control) -> Option<Ended> {
        match control {
            Control::Stop => return Some(Ended::Stopped),
            Control::Drain(patience) => {
                if self.draining.is_none() {
                    self.draining = Some(now + patience);
                    for cell in &mut self.cells {
                        cell.drain(now);
                    }
                }
            }
            Control::Report(answer) => {
                let ready = self.draining.is_none() && self.cells.iter().all(Cell::is_ready);
                let mut metrics = Metrics::new();
                for cell in &self.cells {
                    cell.measure(&mut metrics);
                }
                // Who asked may have lost patience.
                let _ = answer.send(Report { ready, metrics });
            }
            Control::Reconfigure(settings, done) => {
                for cell in &mut self.cells {
                    cell.reconfigure(&settings);
                }
                // As above.
                let _ = done.send(());
            }
            Control::DropEntries(keys, done) => {
                let mut dropped = vec![false; keys.len()];
                for cell in &mut self.cells {
                    let some = cell.drop_entries(&keys);
                    dropped.iter_mut().zip(some).for_each(|(dropped, some)| *dropped |= some);
                }
                // As above.
                let _ = done.send(dropped);
            }
        }
        None
    }

    /// Waits until there is something for a turn. `last` is the time of the last one.
    async fn wait(&mut self, last: Instant) -> Option<Control> {
        let deadline = self.cells.iter().filter_map(Cell::deadline).chain(self.draining).min();
        let due = deadline.is_some_and(|deadline| deadline <= last);
        if due || self.queue.len() > 0 || self.cells.iter().any(Cell::has_work) {
            // The runtime looks at the sockets, however much there is to do, and an order is let through.
            tokio::task::yield_now().await;
            return self.controls.try_recv().ok();
        }
        self.alarm.set(deadline);
        let Self { queue, controls, controls_gone, alarm, .. } = self;
        poll_fn(|context| {
            if !*controls_gone {
                match controls.poll_recv(context) {
                    Poll::Ready(None) => *controls_gone = true,
                    Poll::Ready(control) => return Poll::Ready(control),
                    Poll::Pending => {}
                }
            }
            if queue.poll_any(context.waker()) || alarm.poll(context).is_ready() {
                return Poll::Ready(None);
            }
            Poll::Pending
        })
        .await
    }
}

/// The runtime's timer, set anew only for an earlier moment: an early timeout costs less than moving the timer each turn.
struct Alarm {
    sleep: Pin<Box<tokio::time::Sleep>>,
    set_for: Option<Instant>,
}

impl Alarm {
    fn new() -> Self {
        Self { sleep: Box::pin(tokio::time::sleep(Duration::ZERO)), set_for: None }
    }

    fn set(&mut self, deadline: Option<Instant>) {
        let Some(deadline) = deadline else { return };
        if self.set_for.is_none_or(|set_for| deadline < set_for) {
            self.sleep.as_mut().reset(deadline.into());
            self.set_for = Some(deadline);
        }
    }

    fn poll(&mut self, context: &mut std::task::Context<'_>) -> Poll<()> {
        if self.set_for.is_none() {
            return Poll::Pending;
        }
        let fired = self.sleep.as_mut().poll(context);
        if fired.is_ready() {
            self.set_for = None;
        }
        fired
    }
}
