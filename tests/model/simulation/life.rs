//! The gateway is killed, as by `kill -9`, and starts again: what it knew is gone, what was under way on the network is not.

use super::{Event, Simulation};
use crate::mutant::Mutant;
use crate::weather::Fault;
use engine::Engine;
use std::time::Duration;

impl Simulation {
    /// The process is gone from one moment to the next.
    pub(super) fn is_killed(&mut self, span: Duration) {
        if self.down {
            return;
        }
        self.struck(Fault::Restart);
        let rest = self.rest();
        self.ledger.killed(self.now);
        self.ledger.restarted(&rest);
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
        let mut settings = self.settings.clone();
        settings.made_at = settings.made_at.and_then(|at| at.checked_add(self.now - self.start));
        let mut seed = [self.seed as u8; 16];
        seed[0] ^= if self.is_wrong(Mutant::ReuseIds) { 0 } else { self.life as u8 };
        self.engine = Engine::new(settings, seed, self.now);
        self.down = false;
        self.note(|| "the gateway starts".into());
        if !self.crowded {
            self.turn();
        }
    }
}
