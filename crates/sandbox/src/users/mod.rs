//! Users: ordinary clients without sockets, who can log in at any server of their protocol.
//!
//! [`XmppUser`] is a client of an XMPP server, [`SipUser`] a phone that can do texts. [`Meeting`] is one of each, who write
//! to each other once and tell what came of it.

mod meeting;
mod sip_user;
#[cfg(test)]
mod tests;
mod xmpp_user;

pub use meeting::{Crossing, Happened, Meeting, Settings as MeetingSettings};
pub use sip_user::{Settings as SipUserSettings, SipUser, SipUserEvent};
pub use xmpp_user::{XmppUser, XmppUserEvent};

use std::time::Instant;
use turn::{Input, Machine, Output};

/// A part of a machine: like [`Machine`], but it writes to the output of whoever runs it, so that several share one.
pub trait Party {
    /// Takes one fact; inputs of streams that are not its own are ignored. Returns how many bytes it consumed.
    fn handle_input(&mut self, now: Instant, input: &Input<'_>, out: &mut Output) -> usize;
    /// Does what is due. The first call begins.
    fn handle_timeout(&mut self, now: Instant, out: &mut Output);
    /// When [`handle_timeout`](Self::handle_timeout) wants to be called, and for what.
    fn poll_timeout(&self) -> Option<(Instant, &'static str)>;
}

/// A party as a machine of its own.
#[derive(Debug, Default)]
pub struct Alone<P> {
    /// The party.
    pub party: P,
    /// What it writes.
    pub output: Output,
}

impl<P> Alone<P> {
    /// Gives `party` an output of its own.
    pub fn new(party: P) -> Self {
        Self { party, output: Output::new() }
    }
}

impl<P: Party> Machine for Alone<P> {
    fn handle_input(&mut self, now: Instant, input: Input<'_>) -> usize {
        self.party.handle_input(now, &input, &mut self.output)
    }

    fn handle_timeout(&mut self, now: Instant) {
        self.party.handle_timeout(now, &mut self.output);
    }

    fn poll_timeout(&self) -> Option<(Instant, &'static str)> {
        self.party.poll_timeout()
    }

    fn output(&mut self) -> &mut Output {
        &mut self.output
    }
}
