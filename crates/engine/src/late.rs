//! Bounces that come after their message was answered.

use cpim::{Content, Envelope, Failure, ImUri, Incoming, InstantInbox, MaxForwards, Message, Origin, TransId};
use std::borrow::Cow;
use std::time::{Duration, Instant};
use turn::Minter;
use xmpp_connector::Bounce;

/// What becomes of a late failure, beside being counted and logged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LateFailure {
    /// The sender gets one short text that says so.
    Text,
    /// Nothing more.
    Nothing,
}

/// The response to our own text goes nowhere: no connector has a row of this name.
const NOBODY_WAITS: u64 = u64::MAX;
/// Senders share this many places in the table that limits the texts; two that share one are limited together.
const PLACES: usize = 1024;
/// A sender gets at most one text in this time.
const INTERVAL: Duration = Duration::from_secs(10);
const MAX_FORWARDS: MaxForwards = MaxForwards(70);

pub(crate) struct Late {
    mode: LateFailure,
    minter: Minter,
    told: Vec<Option<Instant>>,
    count: u64,
}

impl Late {
    pub(crate) fn new(mode: LateFailure, minter: &Minter) -> Self {
        Self { mode, minter: minter.derive("late"), told: vec![None; PLACES], count: 0 }
    }

    /// What becomes of late failures from here on.
    pub(crate) fn set_mode(&mut self, mode: LateFailure) {
        self.mode = mode;
    }

    /// Whether a message is a text of ours about a late failure: nobody waits for its response, and it is not kept.
    pub(crate) fn is_notice(incoming: &Incoming<'_>) -> bool {
        incoming.near == NOBODY_WAITS
    }

    /// Late failures so far.
    pub(crate) fn count(&self) -> u64 {
        self.count
    }

    /// Counts one, and gives the text for its sender where one is due.
    pub(crate) fn on_bounce(&mut self, now: Instant, bounce: &Bounce<'_>) -> Option<Incoming<'static>> {
        self.on_failure(now, &bounce.source, &bounce.destination, &bounce.failure, bounce.origin)
    }

    /// The same for a message from `source` to `destination` that failed for whatever cause; `origin` is where words of the
    /// destination come from.
    pub(crate) fn on_failure(
        &mut self,
        now: Instant,
        source: &ImUri<'_>,
        destination: &ImUri<'_>,
        failure: &Failure<'_>,
        origin: Origin,
    ) -> Option<Incoming<'static>> {
        self.count += 1;
        if self.mode == LateFailure::Nothing {
            return None;
        }
        let sender = [source.local().as_bytes(), source.domain().as_bytes()];
        let place = (self.minter.keyed(&sender) % PLACES as u128) as usize;
        if self.told[place].is_some_and(|at| now < at + INTERVAL) {
            return None;
        }
        self.told[place] = Some(now);
        let mut text = format!(
            "Your message to {}@{} was not delivered ({})",
            destination.local(),
            destination.domain(),
            failure.reason.as_str().replace('_', " ")
        );
        if let Some(words) = &failure.text {
            text.push_str(": ");
            text.extend(words.chars().filter(|c| !c.is_control()).take(200));
        }
        let message = Message {
            source: InstantInbox(destination.clone().into_owned()),
            destination: InstantInbox(source.clone().into_owned()),
            max_forwards: MAX_FORWARDS,
            trans_id: TransId::from_bits(self.minter.mint()),
            wire_id: Cow::Borrowed(b""),
            envelope: Envelope::default(),
            content: Content::text(Cow::Owned(text)),
        };
        Some(Incoming { origin, near: NOBODY_WAITS, message })
    }
}
