//! The gateway is killed and starts again: what it knew is gone, what was under way on the network is not.

use super::{Event, Simulation};
use crate::mutant::Mutant;
use crate::weather::Fault;
use std::time::Duration;

/// How the gateway will end in its next turn.
#[derive(Clone, Copy, Debug)]
pub(super) struct Death {
    /// So many of the turn's orders are carried out.
    pub(super) orders: u64,
    fault: Fault,
    span: Duration,
}

impl Simulation {
    /// The process is killed, at once or in the middle of its next turn, or the machine loses its power.
    pub(super) fn is_killed(&mut self, fault: Fault, span: Duration) {
        if self.down || self.death.is_some() {
            return;
        }
        if self.dice.percent(50) {
            let orders = self.dice.below(4);
            self.death = Some(Death { orders, fault, span });
        } else {
            self.dies(fault, span);
        }
    }

    /// The turn in which the gateway dies is over.
    pub(super) fn dies_of(&mut self, death: Death) {
        self.ledger.see("killed in a turn");
        self.dies(death.fault, death.span);
    }

    fn dies(&mut self, fault: Fault, span: Duration) {
        self.struck(fault);
        let rest = self.rest();
        let (kept, since) = self.disk_is_cut(fault == Fault::PowerLoss);
        self.ledger.killed(&rest, kept, since, self.now);
        self.down = true;
        self.life += 1;
        self.links_are_cut();
        self.connections_are_cut();
        self.held.forget();
        // A supervisor waits a little.
        self.at(self.now + span.min(Duration::from_secs(6)), Event::Starts);
    }

    /// Another one is started.
    pub(super) fn starts(&mut self) {
        self.engine = self.make_engine();
        self.down = false;
        self.note(|| "the gateway starts".into());
        self.applied |= self.mutant == Some(Mutant::ReuseIds);
        if !self.crowded {
            self.turn();
        }
    }
}
