//! Where an operation changes sides (RFC 3860 sections 3.4.1 and 3.4.2).

use crate::mark::MAX_PASSES;
use crate::{
    Denial, Durations, Failure, ImUri, Incoming, Mark, Marker, MaxForwards, Message, Origin, Policy, Provenance,
    Reason, Response, Side, Status, TransId,
};
use slotmap::SlotMap;
use std::borrow::Cow;
use std::collections::VecDeque;
use std::time::{Duration, Instant};
use turn::Minters;

slotmap::new_key_type! {
    /// An operation that the relay admitted and nobody has concluded yet.
    pub struct OperationKey;
}

/// What a sender is told whom nothing proves; who may speak for whom is the operator's choice.
const NOT_A_SPEAKER: &str = "the sender's domain is not one that this peer may speak for";

/// What can be set.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Who may write to whom.
    pub policy: Policy,
    /// How long an operation that came from this side waits for its fate; `None` where the far side always ends it by
    /// itself, as a SIP client transaction does.
    pub sip_window: Duration,
    /// Operations in flight; beyond it they are refused with [`Reason::Overloaded`].
    pub max_in_flight: usize,
}

/// A message that may cross.
#[derive(Debug)]
pub struct Admitted<'a> {
    /// Names the operation when it is concluded.
    pub operation: OperationKey,
    /// Who has to concretise it.
    pub side: Side,
    /// The message, with `MaxForwards` lowered.
    pub message: Message<'a>,
    /// What its identifier on the far wire begins with.
    pub mark: Mark,
    /// Somebody keeps a copy of it until its fate is known, and takes it back where its destination is away: what waits for
    /// the same destination behind it is given back with it, so that its order is kept.
    pub held: bool,
    /// It was kept when its destination was away, and comes late: whoever reads it is told when it was written.
    pub stored: bool,
    /// How often it was handed over before, and came back: 0 at first. Whoever gets it with the mark and the attempt of one
    /// that was handed over before, in a life that has ended, sends what was sent then, so that the far side knows it again.
    pub attempt: u32,
}

/// The one response of an operation, on its way back.
#[derive(Debug)]
pub struct Concluded<'a> {
    /// The connector that brought the message.
    pub side: Side,
    /// Its name for it.
    pub near: u64,
    /// The response operation.
    pub response: Response<'a>,
}

/// What the relay has counted since it began.
#[derive(Clone, Debug)]
pub struct Counters {
    /// Messages handed in, by side.
    pub messages: [u64; 2],
    /// Refused by the relay itself, by side.
    pub refused: [u64; 2],
    /// Concluded with success, by side of origin.
    pub success: [u64; 2],
    /// Concluded with failure, by side of origin.
    pub failure: [u64; 2],
    /// Concluded indeterminate, by side of origin.
    pub indeterminate: [u64; 2],
    /// Failures by reason, refusals included.
    pub reasons: [u64; Reason::ALL.len()],
    /// How long those took that were concluded, by side of origin.
    pub durations: [Durations; 2],
}

impl Default for Counters {
    fn default() -> Self {
        Self {
            messages: [0; 2],
            refused: [0; 2],
            success: [0; 2],
            failure: [0; 2],
            indeterminate: [0; 2],
            reasons: [0; Reason::ALL.len()],
            durations: [Durations::default(); 2],
        }
    }
}

struct InFlight {
    trans_id: TransId,
    origin: Side,
    near: u64,
    since: Instant,
    /// Its response was given, and its fate is open all the same.
    answered: bool,
}

/// Admits messages, remembers where their responses go, and gives each exactly one.
pub struct Relay {
    settings: Settings,
    marker: Marker,
    in_flight: SlotMap<OperationKey, InFlight>,
    /// How many of them were answered.
    answered: usize,
    /// Deadlines in their order, which is also the order in which they were set.
    deadlines: VecDeque<(Instant, OperationKey)>,
    counters: Counters,
}

impl Relay {
    /// A relay with nothing in flight.
    pub fn new(settings: Settings, minters: &Minters) -> Self {
        Self {
            settings,
            marker: Marker::new(minters.lasting.derive("mark")),
            in_flight: SlotMap::with_key(),
            answered: 0,
            deadlines: VecDeque::new(),
            counters: Counters::default(),
        }
    }

    /// Takes a message from a connector. `Err` is its response: nothing was remembered and nothing may be sent.
    #[expect(clippy::result_large_err, reason = "a refusal is the response itself; boxing it would cost an allocation")]
    pub fn admit<'a>(&mut self, now: Instant, incoming: Incoming<'a>) -> Result<Admitted<'a>, Concluded<'static>> {
        let Incoming { origin, near, message } = incoming;
        self.counters.messages[origin.side as usize] += 1;
        let (side, pass) = match self.check(now, &origin, &message) {
            Ok(passed) => passed,
            Err(reason) => {
                self.counters.refused[origin.side as usize] += 1;
                self.counters.reasons[reason as usize] += 1;
                let text = (reason == Reason::Forbidden).then_some(Cow::Borrowed(NOT_A_SPEAKER));
                let status = Status::Failure(Failure { text, ..Failure::from(reason) });
                let response = Response { trans_id: message.trans_id, status };
                return Err(Concluded { side: origin.side, near, response });
            }
        };
        let mark = self.marker.mark(&message.trans_id, pass, &message.source.0, &message.destination.0);
        let row =
            InFlight { trans_id: message.trans_id.clone(), origin: origin.side, near, since: now, answered: false };
        let operation = self.in_flight.insert(row);
        if origin.side == Side::Sip {
            // Not before the one ahead of it: the window may have been longer then.
            let earliest = self.deadlines.back().map_or(now, |&(deadline, _)| deadline);
            self.deadlines.push_back(((now + self.settings.sip_window).max(earliest), operation));
        }
        // `check` saw that it is not zero.
        let max_forwards = MaxForwards(message.max_forwards.0.saturating_sub(1));
        Ok(Admitted {
            operation,
            side,
            message: Message { max_forwards, ..message },
            mark,
            held: false,
            stored: false,
            attempt: 0,
        })
    }

    /// The mark of a message that would be refused only because there are too many; `None` for any other.
    pub fn mark_of_one_too_many(&self, now: Instant, incoming: &Incoming<'_>) -> Option<Mark> {
        if self.in_flight() < self.settings.max_in_flight {
            return None;
        }
        let message = &incoming.message;
        let (_, pass) = self.look_at(now, &incoming.origin, message).ok()?;
        Some(self.marker.mark(&message.trans_id, pass, &message.source.0, &message.destination.0))
    }

    fn check(&self, now: Instant, origin: &Origin, message: &Message<'_>) -> Result<(Side, u8), Reason> {
        let checked = self.look_at(now, origin, message)?;
        if self.in_flight() >= self.settings.max_in_flight {
            return Err(Reason::Overloaded);
        }
        Ok(checked)
    }

    fn look_at(&self, now: Instant, origin: &Origin, message: &Message<'_>) -> Result<(Side, u8), Reason> {
        let (source, destination) = (&message.source.0, &message.destination.0);
        // Check 1, valid addresses, is made by their type. Then in the order of RFC 3860 section 3.4.1:
        let side = self.settings.policy.permit(origin, source, destination).map_err(reason)?;
        if message.max_forwards.0 == 0 {
            return Err(Reason::TooManyHops);
        }
        // RFC 3428 section 7: our policy for what comes too late is that it is not delivered, and its sender is told.
        if message.envelope.expires.is_some_and(|at| at < now) {
            return Err(Reason::Expired);
        }
        let pass = match self.marker.provenance(&message.wire_id, source, destination) {
            Provenance::Foreign => 1,
            Provenance::Ours { pass, same_addresses: false } if pass < MAX_PASSES => pass + 1,
            Provenance::Ours { .. } => return Err(Reason::Loop),
        };
        Ok((side, pass))
    }

    /// What would be said to a message to `destination` from this side, as far as the address decides.
    pub fn resolve(&self, from: Side, destination: &ImUri<'_>) -> Result<Side, Reason> {
        self.settings.policy.resolve(from, destination).map_err(reason)
    }

    /// Somebody knows the fate of an operation. `None` when it was concluded before, or answered.
    pub fn conclude<'a>(&mut self, now: Instant, operation: OperationKey, status: Status<'a>) -> Option<Concluded<'a>> {
        let row = self.in_flight.remove(operation)?;
        if row.answered {
            self.answered -= 1;
            return None;
        }
        Some(self.respond(now, row, status))
    }

    /// Gives the response of an operation whose fate is open and stays so until it is concluded. `None` when it has been given.
    pub fn answer<'a>(&mut self, now: Instant, operation: OperationKey, status: Status<'a>) -> Option<Concluded<'a>> {
        let row = self.in_flight.get_mut(operation).filter(|row| !row.answered)?;
        row.answered = true;
        let row = InFlight { trans_id: row.trans_id.clone(), ..*row };
        self.answered += 1;
        Some(self.respond(now, row, status))
    }

    /// Takes up a message again that was answered before, in this life or in another one: it was admitted then.
    pub fn resume(&mut self, now: Instant, origin: Side, trans_id: TransId) -> OperationKey {
        self.answered += 1;
        self.in_flight.insert(InFlight { trans_id, origin, near: 0, since: now, answered: true })
    }

    fn respond<'a>(&mut self, now: Instant, row: InFlight, status: Status<'a>) -> Concluded<'a> {
        let InFlight { trans_id, origin, near, since, answered: _ } = row;
        self.counters.durations[origin as usize].add(now.saturating_duration_since(since));
        match &status {
            Status::Success => self.counters.success[origin as usize] += 1,
            Status::Indeterminate => self.counters.indeterminate[origin as usize] += 1,
            Status::Failure(failure) => {
                self.counters.failure[origin as usize] += 1;
                self.counters.reasons[failure.reason as usize] += 1;
            }
        }
        Concluded { side: origin, near, response: Response { trans_id, status } }
    }

    /// The next operation whose window has passed without a conclusion. The side that concretised it says what is known
    /// of it, and that concludes it.
    pub fn poll_expired(&mut self, now: Instant) -> Option<OperationKey> {
        while let Some(&(deadline, operation)) = self.deadlines.front() {
            let waits = self.in_flight.get(operation).is_some_and(|row| !row.answered);
            if deadline > now && waits {
                return None;
            }
            self.deadlines.pop_front();
            if waits {
                return Some(operation);
            }
        }
        None
    }

    /// When the next window passes. Operations concluded since may make this early.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.deadlines.front().map(|&(deadline, _)| deadline)
    }

    /// Whether an identifier proves that we sent a message from `source` to `destination`, however long ago. It is the mark
    /// and nothing more: with something behind it, it would be new each time, and tell the same again.
    pub fn is_ours(&self, wire_id: &[u8], source: &ImUri<'_>, destination: &ImUri<'_>) -> bool {
        wire_id.len() == Mark::LENGTH
            && matches!(
                self.marker.provenance(wire_id, source, destination),
                Provenance::Ours { same_addresses: true, .. }
            )
    }

    /// Other settings for the messages that come from here on. What is in flight keeps its deadline, and where the window is
    /// shorter now, what comes next may still wait as long as what came before it.
    pub fn reconfigure(&mut self, settings: Settings) {
        self.settings = settings;
    }

    /// Refuses every further message with [`Reason::Overloaded`].
    pub fn refuse_all(&mut self) {
        self.settings.max_in_flight = 0;
    }

    /// Operations that wait for their response.
    pub fn in_flight(&self) -> usize {
        self.in_flight.len() - self.answered
    }

    /// Operations that were answered and wait for their fate.
    pub fn answered(&self) -> usize {
        self.answered
    }

    /// What was counted.
    pub fn counters(&self) -> &Counters {
        &self.counters
    }
}

fn reason(denial: Denial) -> Reason {
    match denial {
        Denial::Unresolvable => Reason::RemoteServerNotFound,
        Denial::AccessDenied => Reason::Forbidden,
    }
}

#[cfg(test)]
#[allow(clippy::disallowed_methods)]
mod tests {
    use super::*;
    use crate::{Content, DomainPattern, Envelope, InstantInbox, PeerId, Proof};

    const SIP: Origin = Origin { side: Side::Sip, peer: PeerId(1), proof: Proof::SourceNetwork };

    fn relay() -> Relay {
        let mut policy = Policy::new();
        policy.add_home(DomainPattern::Exactly("sip.example".into()), Side::Sip);
        policy.add_home(DomainPattern::Exactly("xmpp.example".into()), Side::Xmpp);
        policy.add_speaker(PeerId(1), DomainPattern::Any);
        let settings = Settings { policy, sip_window: Duration::from_secs(2), max_in_flight: 3 };
        Relay::new(settings, &Minters::new([3; 16], [4; 16]))
    }

    const ROMEO: &str = "im:romeo@xmpp.example";

    fn incoming<'a>(to: &'a str, max_forwards: u8, trans_id: &[u8], wire_id: &'a [u8]) -> Incoming<'a> {
        let message = Message {
            source: InstantInbox(ImUri::parse("im:juliet@sip.example").unwrap()),
            destination: InstantInbox(ImUri::parse(to).unwrap()),
            max_forwards: MaxForwards(max_forwards),
            trans_id: TransId::new(trans_id),
            wire_id: wire_id.into(),
            envelope: Envelope::default(),
            content: Content::text("Art thou not Romeo?".into()),
        };
        Incoming { origin: SIP, near: 7, message }
    }

    fn refused(result: Result<Admitted<'_>, Concluded<'static>>) -> Reason {
        match result.unwrap_err().response.status {
            Status::Failure(failure) => failure.reason,
            other => panic!("a refusal, not {other:?}"),
        }
    }

    #[test]
    fn a_trans_id_of_any_length_comes_back_unchanged() {
        let mut relay = relay();
        let now = Instant::now();
        for length in [1, 40, 41, 255] {
            let trans_id = vec![b'x'; length];
            let admitted = relay.admit(now, incoming(ROMEO, 70, &trans_id, b"id")).unwrap();
            assert_eq!(admitted.side, Side::Xmpp);
            assert_eq!(admitted.message.max_forwards, MaxForwards(69));
            let concluded = relay.conclude(now, admitted.operation, Status::Success).unwrap();
            assert_eq!((concluded.side, concluded.near), (Side::Sip, 7));
            assert_eq!(concluded.response.trans_id, TransId::new(&trans_id));
            assert!(relay.conclude(now, admitted.operation, Status::Success).is_none(), "one response, never two");
        }
        assert_eq!(relay.in_flight(), 0);
    }

    #[test]
    fn an_answered_operation_is_answered_once_and_stays_until_its_fate() {
        let mut relay = relay();
        let now = Instant::now();
        let first = relay.admit(now, incoming(ROMEO, 70, b"a", b"a")).unwrap().operation;
        let answered = relay.answer(now, first, Status::Indeterminate).unwrap();
        assert_eq!((answered.near, answered.response.trans_id), (7, TransId::new(b"a")));
        assert!(relay.answer(now, first, Status::Success).is_none());
        assert_eq!((relay.in_flight(), relay.answered()), (0, 1));
        assert_eq!(relay.poll_expired(now + Duration::from_secs(9)), None, "its window has no meaning any more");
        assert!(relay.conclude(now, first, Status::Success).is_none());
        assert_eq!((relay.in_flight(), relay.answered(), relay.counters().indeterminate), (0, 0, [1, 0]));
        let again = relay.resume(now, Side::Sip, TransId::new(b"a"));
        assert_eq!((relay.in_flight(), relay.answered()), (0, 1));
        assert!(relay.conclude(now, again, Reason::NotFound.into_status()).is_none());
        assert_eq!((relay.answered(), relay.counters().failure), (0, [0, 0]));
    }

    #[test]
    fn refusals_name_one_reason_in_the_order_of_the_checks() {
        let mut relay = relay();
        let now = Instant::now();
        let stranger = |mut incoming: Incoming<'static>| {
            incoming.origin.proof = Proof::Nothing;
            incoming
        };
        let unknown = relay.admit(now, stranger(incoming("im:a@b.example", 0, b"t", b"")));
        assert_eq!(refused(unknown), Reason::RemoteServerNotFound);
        let denied = relay.admit(now, stranger(incoming(ROMEO, 0, b"t", b"")));
        assert_eq!(refused(denied), Reason::Forbidden);
        let spent = relay.admit(now, incoming(ROMEO, 0, b"t", b""));
        assert_eq!(refused(spent), Reason::TooManyHops);
        assert_eq!(relay.in_flight(), 0, "a refused message leaves nothing behind");
        assert_eq!(relay.counters().refused[Side::Sip as usize], 3);
    }

    #[test]
    fn a_message_that_comes_back_unchanged_is_a_loop() {
        let mut relay = relay();
        let now = Instant::now();
        let first = relay.admit(now, incoming(ROMEO, 70, b"t1", b"call-id")).unwrap();
        let again = relay.admit(now, incoming(ROMEO, 70, b"t2", first.mark.as_bytes()));
        assert_eq!(refused(again), Reason::Loop);
        // With changed addresses it may pass, four times in all.
        let mut mark = first.mark;
        for (pass, to) in [(2, "im:b@xmpp.example"), (3, "im:c@xmpp.example"), (4, "im:d@xmpp.example")] {
            let wire_id = mark;
            let admitted = relay.admit(now, incoming(to, 70, &[pass], wire_id.as_bytes())).unwrap();
            mark = admitted.mark;
            relay.conclude(now, admitted.operation, Status::Indeterminate);
        }
        let fifth = relay.admit(now, incoming("im:e@xmpp.example", 70, b"t", mark.as_bytes()));
        assert_eq!(refused(fifth), Reason::Loop);
    }

    #[test]
    fn the_window_passes_once_and_only_for_the_open() {
        let mut relay = relay();
        let now = Instant::now();
        let a = relay.admit(now, incoming(ROMEO, 70, b"a", b"")).unwrap().operation;
        let b = relay.admit(now, incoming(ROMEO, 70, b"b", b"")).unwrap().operation;
        relay.conclude(now, a, Status::Success);
        assert_eq!(relay.poll_expired(now + Duration::from_millis(1999)), None);
        assert_eq!(relay.poll_expired(now + Duration::from_secs(2)), Some(b));
        assert_eq!(relay.poll_expired(now + Duration::from_secs(2)), None);
        assert!(relay.conclude(now, b, Reason::DeliveryUnknown.into_status()).is_some());
        assert_eq!(relay.poll_timeout(), None);
    }

    #[test]
    fn what_has_expired_does_not_pass() {
        let mut relay = relay();
        let now = Instant::now();
        for (expires, passes) in
            [(now, true), (now + Duration::from_secs(1), true), (now - Duration::from_secs(1), false)]
        {
            let mut late = incoming(ROMEO, 70, b"t", b"");
            late.message.envelope.expires = Some(expires);
            match relay.admit(now, late) {
                Ok(_) => assert!(passes),
                refusal => assert!(!passes && refused(refusal) == Reason::Expired),
            }
        }
    }

    #[test]
    fn more_than_the_configured_number_is_refused() {
        let mut relay = relay();
        let now = Instant::now();
        for n in 0..3u8 {
            relay.admit(now, incoming(ROMEO, 70, &[n], b"")).unwrap();
        }
        assert_eq!(refused(relay.admit(now, incoming(ROMEO, 70, b"x", b""))), Reason::Overloaded);
    }

    #[test]
    fn the_time_that_an_operation_took_is_counted() {
        let mut relay = relay();
        let now = Instant::now();
        let quick = relay.admit(now, incoming(ROMEO, 70, b"a", b"a")).unwrap().operation;
        let slow = relay.admit(now, incoming(ROMEO, 70, b"b", b"b")).unwrap().operation;
        relay.conclude(now + Duration::from_millis(3), quick, Status::Success);
        relay.conclude(now + Duration::from_secs(2), slow, Status::Indeterminate);
        // Its fate is known: a second word changes nothing.
        relay.conclude(now + Duration::from_secs(9), slow, Status::Success);
        let [sip, xmpp] = relay.counters().durations;
        assert_eq!((sip.classes[1], sip.classes[6], sip.sum), (1, 1, Duration::from_millis(2003)));
        assert_eq!(xmpp, Durations::default());
    }
}
