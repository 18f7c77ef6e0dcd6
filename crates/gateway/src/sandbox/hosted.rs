//! The machines of the sandbox in the driver.

use crate::driver::Hosted;
use sandbox::sip::SipDomain;
use sandbox::users::{Happened, Meeting};
use sandbox::xmpp::XmppDomain;
use std::time::Instant;
use tokio::sync::mpsc::UnboundedSender;
use turn::{Input, Machine, Output};

impl Hosted for XmppDomain {
    fn drain(&mut self, now: Instant) {
        XmppDomain::drain(self, now);
    }

    fn is_quiet(&self) -> bool {
        XmppDomain::is_quiet(self)
    }
}

impl Hosted for SipDomain {
    fn drain(&mut self, now: Instant) {
        SipDomain::drain(self, now);
    }

    fn is_quiet(&self) -> bool {
        SipDomain::is_quiet(self)
    }
}

/// A meeting that somebody outside the driver watches.
pub(super) struct Watched {
    meeting: Meeting,
    watcher: UnboundedSender<Happened>,
}

impl Watched {
    pub(super) fn new(meeting: Meeting, watcher: UnboundedSender<Happened>) -> Self {
        Self { meeting, watcher }
    }

    fn tell(&mut self) {
        while let Some(happened) = self.meeting.poll_happened() {
            // Nobody may watch any more.
            let _ = self.watcher.send(happened);
        }
    }
}

impl Machine for Watched {
    fn handle_input(&mut self, now: Instant, input: Input<'_>) -> usize {
        let consumed = self.meeting.handle_input(now, input);
        self.tell();
        consumed
    }

    fn handle_timeout(&mut self, now: Instant) {
        self.meeting.handle_timeout(now);
        self.tell();
    }

    fn poll_timeout(&self) -> Option<(Instant, &'static str)> {
        self.meeting.poll_timeout()
    }

    fn output(&mut self) -> &mut Output {
        self.meeting.output()
    }
}

impl Hosted for Watched {}
