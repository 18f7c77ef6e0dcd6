//! The gateway without I/O: two connectors and the relay between them.
//!
//! One way through, in both directions, by call and without a queue: **receive** (the driver's input), **absorb** (the
//! stack below a connector), **abstract** (the connector), **relay** ([`cpim::Relay`]), **concretise** (the other
//! connector), **send** ([`turn::Output`]), **respond** (back through the relay to the connector it came from).

#![forbid(unsafe_code)]

pub mod journal;
mod keeping;
mod late;
mod store;

pub use late::LateFailure;

use cpim::{Admitted, Concluded, Incoming, OperationKey, Reason, Relay, Response, Side, Status};
use journal::{Admission, Journal, Verdict};
use late::Late;
use std::time::{Instant, SystemTime};
use turn::{Calendar, Input, Machine, Minter, Minters, Output, Seed};
use xmpp_connector::DownReason;

/// What can be set.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Between the sides.
    pub relay: cpim::Settings,
    /// Towards SIP.
    pub sip: sip_connector::Settings,
    /// Towards XMPP.
    pub xmpp: xmpp_connector::Settings,
    /// What becomes of a bounce that comes after the answer.
    pub late_failure: LateFailure,
    /// What time it was when the engine was made, to tell messages that were sent long before they came, and until when
    /// they are wanted. Without it a Date means nothing.
    pub made_at: Option<SystemTime>,
    /// Replace addresses in log events.
    pub redact_addresses: bool,
    /// What is kept for whom, once the engine is given a store.
    pub journal: journal::Settings,
}

/// All counters, as they stand at the end of a turn.
#[derive(Clone, Debug, Default)]
pub struct Counters {
    /// The relay's.
    pub relay: cpim::Counters,
    /// The SIP stack's.
    pub sip: sip_connector::EndpointCounters,
    /// The SIP connections'.
    pub sip_connections: sip_connector::ConnectionCounters,
    /// The SIP routes'.
    pub sip_routes: sip_connector::RouteCounters,
    /// What was sent again to SIP.
    pub sip_repeats: sip_connector::RepeatCounters,
    /// SIP next hops that did not do their part when they were last asked.
    pub failing_next_hops: usize,
    /// The XMPP connector's.
    pub xmpp: xmpp_connector::Counters,
    /// Bounces that came after their message was answered.
    pub late_failures: u64,
    /// Operations in flight.
    pub in_flight: usize,
    /// Every component stream stands.
    pub xmpp_up: bool,
    /// The journal's, where there is a store.
    pub journal: Option<journal::Counters>,
}

/// The engine: one is the whole gateway.
pub struct Engine {
    relay: Relay,
    sip: sip_connector::Connector,
    xmpp: xmpp_connector::Connector,
    late: Late,
    /// What is kept, where there is a store.
    journal: Option<Journal>,
    calendar: Calendar,
    output: Output,
    redact_addresses: bool,
    draining: bool,
    closed: bool,
}

impl Engine {
    /// An engine at rest. Equal seeds and equal inputs give equal outputs.
    pub fn new(settings: Settings, seed: Seed, now: Instant) -> Self {
        Self::with_minters(settings, &Minters::of_one_run(Minter::new(seed)), now)
    }

    /// The same for a gateway that keeps something from one start to the next: `lasting` is kept with it, `seed` is new each
    /// time. What a message is called and how it is known again follows from `lasting`, so that whoever repeats something
    /// after a restart, or has it repeated to him, finds what he knew. Where [`Settings::made_at`] is known, answers are written
    /// to the log of the turns ([`Output::log`]), for [`restore_turn_log`](Self::restore_turn_log).
    pub fn with_lasting(mut settings: Settings, seed: Seed, lasting: Seed, now: Instant) -> Self {
        let calendar = Calendar::new(now, settings.made_at);
        settings.sip.endpoint.turn_log = Some(calendar);
        let journal = Journal::new(settings.journal.clone(), lasting, calendar);
        Self { journal: Some(journal), ..Self::with_minters(settings, &Minters::new(seed, lasting), now) }
    }

    /// Takes up the log of the turns of earlier runs, the oldest first, before the first turn: requests that were answered in
    /// them get the same answers, for as long as they would have.
    pub fn restore_turn_log(&mut self, now: Instant, log: &[u8]) -> sip_connector::Restored {
        self.sip.restore(now, log)
    }

    fn with_minters(settings: Settings, minters: &Minters, now: Instant) -> Self {
        let minter = &minters.fresh;
        let calendar = Calendar::new(now, settings.made_at);
        Self {
            relay: Relay::new(settings.relay, minters),
            sip: sip_connector::Connector::new(settings.sip, minters, calendar),
            xmpp: xmpp_connector::Connector::new(settings.xmpp, minter, calendar, now),
            late: Late::new(settings.late_failure, minter),
            journal: None,
            calendar,
            output: Output::new(),
            redact_addresses: settings.redact_addresses,
            draining: false,
            closed: false,
        }
    }

    /// Takes other settings between two turns, for what comes from here on: no stream is closed, and what is in flight ends
    /// as it began. What is settled at the start stands at `reconfigure` of the connectors; that part of `settings` changes
    /// nothing. An engine that drains takes no new operations, and so no new settings.
    pub fn reconfigure(&mut self, settings: Settings) {
        if self.draining {
            return;
        }
        let Settings { relay, sip, xmpp, late_failure, redact_addresses, journal, made_at: _ } = settings;
        if let Some(own) = &mut self.journal {
            own.reconfigure(journal);
        }
        self.relay.reconfigure(relay);
        self.sip.reconfigure(&sip);
        self.xmpp.reconfigure(xmpp);
        self.late.set_mode(late_failure);
        self.redact_addresses = redact_addresses;
    }

    /// Takes no new operation from now on: they are refused as overloaded. What is in flight is finished,
    /// then the streams are closed in order.
    pub fn drain(&mut self) {
        self.draining = true;
        self.sip.drain();
        self.relay.refuse_all();
        if let Some(journal) = &mut self.journal {
            journal.drain();
        }
    }

    /// Whether a drain has come to its end.
    pub fn is_drained(&self) -> bool {
        self.closed && !self.xmpp.is_connected() && !self.sip.is_connected()
    }

    /// Whether every component stream stands, and the store, if there is one, is not broken: without room in it all goes on that
    /// need not be kept.
    pub fn is_ready(&self) -> bool {
        self.xmpp.is_up() && self.journal.as_ref().is_none_or(|journal| !journal.is_broken())
    }

    /// Bytes that wait for streams.
    pub fn output_len(&self) -> usize {
        self.output.unsent_total()
    }

    /// The counters.
    pub fn counters(&self) -> Counters {
        Counters {
            relay: self.relay.counters().clone(),
            sip: *self.sip.counters(),
            sip_connections: *self.sip.connections(),
            sip_routes: *self.sip.routes(),
            sip_repeats: *self.sip.repeats(),
            failing_next_hops: self.sip.failing_next_hops(),
            xmpp: self.xmpp.counters().clone(),
            late_failures: self.late.count(),
            in_flight: self.relay.in_flight(),
            xmpp_up: self.xmpp.is_up(),
            journal: self.journal.as_ref().map(Journal::counters),
        }
    }

    /// Rows of all tables that stand for something unfinished. Zero after quiet.
    pub fn open(&self) -> usize {
        let journal = self.journal.as_ref().map_or(0, Journal::open);
        self.relay.in_flight() + self.relay.answered() + self.sip.open() + self.xmpp.open() + journal
    }

    /// Hands an input to the connector whose it is.
    fn on_input(&mut self, now: Instant, of_sip: bool, input: Input<'_>) -> usize {
        if of_sip {
            let (consumed, event) = self.sip.handle_input(now, input, &mut self.output);
            self.on_sip(now, event);
            consumed
        } else {
            let (consumed, event) = self.xmpp.handle_input(now, &input, &mut self.output);
            self.on_xmpp(now, event);
            consumed
        }
    }

    fn on_sip(&mut self, now: Instant, event: sip_connector::Event<'_>) {
        match event {
            sip_connector::Event::None => {}
            sip_connector::Event::Message(incoming) => self.on_message(now, incoming),
            sip_connector::Event::Options { near, destination } => {
                // What a message would get; whoever asks about us alone wants to know whether to send us any.
                let resolved = match destination {
                    _ if self.draining => Err(Reason::Overloaded),
                    Some(destination) => self.relay.resolve(Side::Sip, &destination).map(drop),
                    None => Ok(()),
                };
                self.sip.respond_options(now, near, resolved, &mut self.output);
            }
            sip_connector::Event::Concluded(operation, status) => {
                self.conclude(now, operation, status);
                // At once: what comes next in this turn would overtake what waited behind it and is to be kept.
                while let Some((operation, status)) = self.sip.poll_failed() {
                    self.conclude(now, operation, status);
                }
            }
        }
    }

    fn on_xmpp(&mut self, now: Instant, event: xmpp_connector::Event<'_>) {
        match event {
            xmpp_connector::Event::None => {}
            xmpp_connector::Event::Message(incoming) => self.on_message(now, incoming),
            xmpp_connector::Event::Concluded(operation, status) => self.conclude(now, operation, status),
            xmpp_connector::Event::Bounce(bounce) => self.on_bounce(now, &bounce),
            xmpp_connector::Event::Up(link) => {
                tracing::info!(side = "xmpp", domain = self.xmpp.domain(link), "component stream up");
                self.way_is_free(Side::Xmpp);
            }
            xmpp_connector::Event::Down(link, reason) => self.on_down(link, &reason),
        }
        while let Some((operation, status)) = self.xmpp.poll_concluded() {
            self.conclude(now, operation, status);
        }
    }

    fn on_down(&self, link: usize, reason: &DownReason<'_>) {
        // The words of the server may name a user.
        let wordless;
        let reason = match reason {
            DownReason::Refused { condition, .. } if self.redact_addresses => {
                wordless = DownReason::Refused { condition: *condition, text: None };
                &wordless
            }
            reason => reason,
        };
        tracing::warn!(side = "xmpp", domain = self.xmpp.domain(link), %reason, "component stream down");
    }

    /// Relay and concretise.
    fn on_message(&mut self, now: Instant, incoming: Incoming<'_>) {
        if tracing::enabled!(tracing::Level::TRACE) {
            self.trace_message(&incoming);
        }
        if self.is_known_already(now, &incoming) {
            let Incoming { origin, near, message } = incoming;
            let response = Response { trans_id: message.trans_id, status: Status::Indeterminate };
            return self.respond(now, &Concluded { side: origin.side, near, response });
        }
        let is_notice = Late::is_notice(&incoming);
        let mut admitted = match self.relay.admit(now, incoming) {
            Ok(admitted) => admitted,
            Err(refused) => return self.respond(now, &refused),
        };
        if admitted.side == Side::Xmpp {
            self.sip.note_sender(&admitted.message.source.0);
        }
        if let Some(journal) = self.journal.as_mut().filter(|_| !is_notice) {
            let status = match journal.admit(now, &admitted) {
                Admission::Pass => None,
                Admission::Held => {
                    admitted.held = true;
                    None
                }
                Admission::Kept(arrived) => {
                    admitted.held = true;
                    admitted.message.envelope.sent = admitted.message.envelope.sent.or(arrived);
                    None
                }
                Admission::Behind => return,
                Admission::Known => Some(Status::Indeterminate),
                Admission::Refused(failure) => Some(Status::Failure(failure)),
            };
            if let Some(status) = status {
                return self.conclude(now, admitted.operation, status);
            }
        }
        self.concretise(now, &admitted);
    }

    fn concretise(&mut self, now: Instant, admitted: &Admitted<'_>) {
        let sent = match admitted.side {
            Side::Sip => self.sip.concretise(now, admitted, &mut self.output),
            Side::Xmpp => self.xmpp.concretise(now, admitted, &mut self.output),
        };
        if let Err(failure) = sent {
            self.conclude(now, admitted.operation, Status::Failure(failure));
        }
    }

    fn trace_message(&self, incoming: &Incoming<'_>) {
        let address = |uri: &cpim::ImUri<'_>| {
            if self.redact_addresses { "im:redacted".to_owned() } else { uri.to_string() }
        };
        tracing::trace!(
            side = incoming.origin.side.as_str(),
            trans_id = %incoming.message.trans_id,
            from = address(&incoming.message.source.0),
            to = address(&incoming.message.destination.0),
            octets = incoming.message.content.body.len(),
            "message"
        );
    }

    fn conclude(&mut self, now: Instant, operation: OperationKey, status: Status<'_>) {
        let verdict = match &mut self.journal {
            Some(journal) => {
                let unsure = self.sip.take_unsure(operation);
                journal.on_fate(now, operation, &status, unsure)
            }
            None => Verdict::Pass,
        };
        let status = match verdict {
            Verdict::Pass | Verdict::Answered => status,
            Verdict::Kept => Status::Indeterminate,
            Verdict::Waits => return,
        };
        if let Some(concluded) = self.relay.conclude(now, operation, status) {
            self.respond(now, &concluded);
        }
    }

    fn respond(&mut self, now: Instant, concluded: &Concluded<'_>) {
        let Concluded { side, near, response } = concluded;
        let (status, reason) = match &response.status {
            Status::Success => ("success", ""),
            Status::Indeterminate => ("indeterminate", ""),
            Status::Failure(failure) => ("failure", failure.reason.as_str()),
        };
        tracing::debug!(side = side.as_str(), trans_id = %response.trans_id, status, reason, "concluded");
        match side {
            Side::Sip => self.sip.respond(now, *near, response, &mut self.output),
            Side::Xmpp => self.xmpp.respond(now, *near, response, &mut self.output),
        }
    }

    /// A bounce for which nothing waits: if its id proves that we sent that message, it is a late failure.
    fn on_bounce(&mut self, now: Instant, bounce: &xmpp_connector::Bounce<'_>) {
        if !self.relay.is_ours(bounce.id.as_bytes(), &bounce.source, &bounce.destination)
            || self.xmpp.was_concluded(now, &bounce.id)
        {
            return;
        }
        tracing::info!(
            side = Side::Xmpp.as_str(),
            id = %bounce.id,
            reason = bounce.failure.reason.as_str(),
            "message bounced after it was answered"
        );
        if let Some(notice) = self.late.on_bounce(now, bounce) {
            self.on_message(now, notice);
        }
    }

    /// One line for each change of a next hop.
    fn log_next_hops(&mut self) {
        use sip_connector::NextHopChange::{Back, HeldOff, Silent, Unreachable};
        while let Some(news) = self.sip.poll_next_hop() {
            let (side, transport, peer) = (Side::Sip.as_str(), news.transport.name(), news.peer);
            match news.what {
                Unreachable => tracing::warn!(side, transport, %peer, "a next hop cannot be reached"),
                Silent => tracing::warn!(side, transport, %peer, "a next hop does not answer"),
                HeldOff(span) => tracing::warn!(side, transport, %peer, ?span, "a next hop takes nothing for a time"),
                Back => {
                    tracing::info!(side, transport, %peer, "a next hop answers again");
                    self.way_is_free(Side::Sip);
                }
            }
        }
    }

    fn on_timeout(&mut self, now: Instant) {
        while let Some((operation, status)) = self.sip.handle_timeout(now, &mut self.output) {
            self.conclude(now, operation, status);
        }
        self.log_next_hops();
        while let Some(operation) = self.relay.poll_expired(now) {
            if !self.keep_silent(now, operation) {
                let status = self.xmpp.expire(operation);
                self.conclude(now, operation, status);
            }
        }
        self.take_steps(now);
        while let Some((link, reason)) = self.xmpp.handle_timeout(now, &mut self.output) {
            self.on_down(link, &reason);
        }
        while let Some((operation, status)) = self.xmpp.poll_concluded() {
            self.conclude(now, operation, status);
        }
        let nothing_kept = self.journal.as_ref().is_none_or(|journal| journal.open() == 0);
        if self.draining && !self.closed && self.relay.in_flight() == 0 && nothing_kept {
            self.closed = true;
            self.xmpp.close(&mut self.output);
            self.sip.close(&mut self.output);
        }
        if let Some(journal) = &mut self.journal {
            journal.end_turn(now, &mut self.output);
        }
    }
}

impl Machine for Engine {
    fn handle_input(&mut self, now: Instant, input: Input<'_>) -> usize {
        match input {
            Input::Received { stream, data } => {
                let of_sip = self.sip.has_stream(stream);
                // One message or stanza at a time: what it leads to is done before the next is looked at.
                let mut consumed = 0;
                while let Some(rest) = data.get(consumed..).filter(|rest| !rest.is_empty()) {
                    let taken = self.on_input(now, of_sip, Input::Received { stream, data: rest });
                    if taken == 0 {
                        break;
                    }
                    consumed += taken;
                }
                consumed
            }
            // All sockets and listeners are for SIP; component streams are connected to.
            Input::Datagram { .. } | Input::Unreachable { .. } | Input::Accepted { .. } => {
                self.on_input(now, true, input)
            }
            Input::Committed { .. }
            | Input::CommitFailed { .. }
            | Input::Loaded { .. }
            | Input::LoadFailed { .. }
            | Input::HandedOver { .. }
            | Input::HandOverFailed { .. } => {
                self.on_store(now, &input);
                0
            }
            Input::Connected { stream, .. } | Input::Secured { stream } | Input::Closed { stream, .. } => {
                self.on_input(now, self.sip.has_stream(stream), input)
            }
        }
    }

    fn handle_timeout(&mut self, now: Instant) {
        self.on_timeout(now);
    }

    fn poll_timeout(&self) -> Option<(Instant, &'static str)> {
        let window = self.relay.poll_timeout().map(|at| (at, "answer window"));
        let journal = self.journal.as_ref().and_then(Journal::poll_timeout);
        [self.sip.poll_timeout(), self.xmpp.poll_timeout(), window, journal]
            .into_iter()
            .flatten()
            .min_by_key(|(at, _)| *at)
    }

    fn output(&mut self) -> &mut Output {
        &mut self.output
    }
}
