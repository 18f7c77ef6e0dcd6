//! What goes to SIP users: one MESSAGE at a time per destination (RFC 3428 section 8), whoever sent it.
//!
//! ```text
//!  send() --- nothing open there ---> open --- final response, Timer F ---> concluded
//!     \                              | ^  ^                                     |
//!      \            no answer, 503:   `-'   `--------- the next one starts <------|
//!       \         to the next hop                                               |
//!        \        "not like this":                                              |
//!         \       in another way                                                |
//!          `--- something open ---> waiting, in order ---------------------------'
//! ```
//!
//! What is sent a second time is still the one that is open: it does not queue again, and what waits goes on waiting.
//! What waits behind a message goes where that one was taken. When no next hop is left for it, what waits fails with it, so
//! that nobody waits for a time-out of its own for each message before his. The same holds for a user who is away, where
//! somebody keeps messages for him.

use crate::Settings;
use crate::parts::{Kept, Parts};
use crate::repeats::{self, Again, Course, Repeats};
use crate::routes::{Journey, RouteId, Verdict};
use crate::spelling::Spellings;
use crate::stack::{Carrier, Stack};
use crate::translate::address::{Party, Rules};
use crate::translate::content::Recipient;
use crate::translate::rich::Letterhead;
use crate::translate::{content, device, envelope, status, thread};
use cpim::{AcceptedBy, Admitted, Failure, Message, OperationKey, PresentationError, Reason, Status};
use hashbrown::HashTable;
use sip::endpoint::{Outcome, RequestParts, SendError};
use sip::wire::headers::NameAddr;
use sip::wire::print::quoted_string;
use sip::wire::{HeaderName, Method, Response};
use slotmap::{Key, KeyData, SlotMap};
use std::borrow::Cow;
use std::collections::VecDeque;
use std::time::Instant;
use turn::{Calendar, Minter, Minters, Output, Pool};

slotmap::new_key_type! {
    struct MessageKey;
    struct DestinationKey;
}

/// Words of the far side are cut to this many octets.
const LONGEST_TEXT: usize = 256;

struct Row {
    operation: OperationKey,
    destination: DestinationKey,
    /// `None` where it is open and nothing but its answer is left to come: the transaction has its own copy.
    kept: Option<Kept>,
    /// Where it was sent to; `None` while it waits.
    open: Option<Open>,
    /// See [`Admitted::held`].
    held: bool,
    /// See [`Admitted::attempt`].
    attempt: u32,
    /// Requests that were sent for it, in this attempt.
    sendings: u32,
    /// Octets of its parts.
    octets: usize,
    /// How far it has come, where its answer may be a reason to send it again.
    course: Option<Box<Course>>,
    /// It was sent to a next hop that has said nothing about it.
    unsure: bool,
    next: Option<MessageKey>,
}

#[derive(Clone, Copy)]
struct Open {
    journey: Journey,
    carrier: Carrier,
}

/// A destination URI with a transaction of ours open.
struct Destination {
    uri: Vec<u8>,
    /// Of the URI.
    hash: u64,
    route: RouteId,
    open: usize,
    first: Option<MessageKey>,
    last: Option<MessageKey>,
    count: usize,
}

/// All that is open or waits towards SIP.
pub(crate) struct Outgoing {
    messages: SlotMap<MessageKey, Row>,
    destinations: SlotMap<DestinationKey, Destination>,
    by_uri: HashTable<DestinationKey>,
    hasher: ahash::RandomState,
    /// Failed behind another message, or when their turn came; told one by one.
    failed: VecDeque<(OperationKey, Failure<'static>)>,
    /// Have just ended; see [`take_unsure`](Self::take_unsure).
    unsure: Vec<OperationKey>,
    branches: Minter,
    repeats: Repeats,
    waiting: usize,
    /// Of the parts of all messages, whether they wait or are open.
    octets: usize,
    pool: Pool,
    scratch: Vec<u8>,
    /// For what has to be written of a content.
    content: Vec<u8>,
    host: String,
    parallel: usize,
    queue_per_destination: usize,
    queue_in_all: usize,
    octets_in_all: usize,
    /// Octets of a request that may be sent.
    largest: usize,
    rules: Rules,
    accepted: AcceptedBy,
    /// How the users of SIP spell themselves.
    pub(crate) spellings: Spellings,
    calendar: Calendar,
}

impl Outgoing {
    pub(crate) fn new(settings: &Settings, rules: Rules, minters: &Minters, calendar: Calendar) -> Self {
        let minter = &minters.fresh;
        let [a, b] = [minter.keyed(&[b"destinations", b"a"]), minter.keyed(&[b"destinations", b"b"])];
        Self {
            messages: SlotMap::with_key(),
            destinations: SlotMap::with_key(),
            by_uri: HashTable::new(),
            hasher: ahash::RandomState::with_seeds(a as u64, (a >> 64) as u64, b as u64, (b >> 64) as u64),
            failed: VecDeque::new(),
            unsure: Vec::new(),
            branches: minters.lasting.derive("branches"),
            repeats: Repeats::new(settings, minter),
            waiting: 0,
            octets: 0,
            pool: Pool::new(),
            scratch: Vec::new(),
            content: Vec::new(),
            host: settings.host.clone(),
            parallel: settings.parallel.max(1),
            queue_per_destination: settings.queue_per_destination,
            queue_in_all: settings.queue_in_all,
            octets_in_all: settings.octets_in_all,
            largest: settings.endpoint.limits.message,
            rules,
            accepted: settings.accepted.clone(),
            spellings: Spellings::new(minter),
            calendar,
        }
    }

    /// Takes other limits of the queues and another way to show addresses. What waits goes on waiting; a transaction more
    /// that may be open is opened with the next message.
    pub(crate) fn reconfigure(&mut self, settings: &Settings, rules: Rules) {
        self.parallel = settings.parallel.max(1);
        self.queue_per_destination = settings.queue_per_destination;
        self.queue_in_all = settings.queue_in_all;
        self.octets_in_all = settings.octets_in_all;
        self.largest = settings.endpoint.limits.message;
        self.rules = rules;
        self.accepted = settings.accepted.clone();
        self.repeats.reconfigure(settings);
    }

    pub(crate) fn repeats(&self) -> &repeats::Counters {
        self.repeats.counters()
    }

    /// Messages that wait for the one before them.
    pub(crate) fn waiting(&self) -> usize {
        self.waiting
    }

    /// Sends an admitted message, or queues it.
    pub(crate) fn send(
        &mut self,
        now: Instant,
        admitted: &Admitted<'_>,
        stack: &mut Stack,
        out: &mut Output,
    ) -> Result<(), Failure<'static>> {
        let message = &admitted.message;
        let Some(route) = stack.routes.find(message.destination.0.domain()) else {
            return Err(Reason::RemoteServerNotFound.into());
        };
        let (mut scratch, mut written) = (std::mem::take(&mut self.scratch), std::mem::take(&mut self.content));
        scratch.clear();
        written.clear();
        let ends = self.write_addresses(message, &mut scratch);
        let result = ends.and_then(|(uri_end, from_end)| {
            let call_id_start = scratch.len();
            thread::write_call_id(&admitted.mark, message.envelope.thread.as_ref(), &self.host, &mut scratch);
            let call_id_end = scratch.len();
            envelope::write_lines(&message.envelope, &self.calendar, now, &mut scratch);
            let recipient = Recipient {
                accepts: self.accepted.of(message.destination.0.domain()),
                letterhead: Letterhead {
                    from: uri_in(&scratch[uri_end..from_end]),
                    to: std::str::from_utf8(&scratch[..uri_end]).unwrap_or_default(),
                    date_time: message.envelope.sent,
                },
                about: &scratch[call_id_end..],
                boundary: admitted.mark.as_bytes(),
            };
            let parts = Parts {
                from: &scratch[uri_end..from_end],
                call_id: &scratch[call_id_start..call_id_end],
                forms: content::forms(&message.content, &recipient, &mut written)?,
                max_forwards: message.max_forwards.0,
            };
            let key = self.destination(&scratch[..uri_end], route);
            self.enter(now, admitted, key, &parts, stack, out)
        });
        (self.scratch, self.content) = (scratch, written);
        result
    }

    /// Appends the destination URI and the From value; gives where each ends.
    fn write_addresses(&self, message: &Message<'_>, bytes: &mut Vec<u8>) -> Result<(usize, usize), Failure<'static>> {
        let destination = &message.destination.0;
        match self.spellings.find(destination) {
            Some(spelled) => self.rules.write_native(&spelled, bytes),
            None => self.rules.write_native(destination, bytes),
        }
        let uri_end = bytes.len();
        if let Some(name) = message.envelope.source_name.as_deref() {
            quoted_string(name.as_bytes(), bytes);
            bytes.push(b' ');
        }
        bytes.push(b'<');
        let uri = bytes.len();
        self.rules.write_foreign(&message.source.0, bytes).map_err(|error| match error {
            PresentationError::Unknown => Failure::from(Reason::Forbidden),
            _ => Failure::from(Reason::AddressMalformed),
        })?;
        // A number has no devices: `gr` is for SIP URIs.
        let device = message.envelope.source_device.as_ref().filter(|_| bytes[uri..].starts_with(b"sip:"));
        if let Some(device) = device {
            device::write_gr(device, bytes);
        }
        bytes.push(b'>');
        Ok((uri_end, bytes.len()))
    }

    fn enter(
        &mut self,
        now: Instant,
        admitted: &Admitted<'_>,
        key: DestinationKey,
        parts: &Parts<'_>,
        stack: &mut Stack,
        out: &mut Output,
    ) -> Result<(), Failure<'static>> {
        let smallest = parts.forms.iter().map(|form| form.body.len()).min().unwrap_or(0);
        let refusal = match () {
            // It would wait for its turn and then not be sent.
            () if smallest > self.largest => Some(not_sent(SendError::TooLarge)),
            () if self.octets + parts.len() > self.octets_in_all => Some(Reason::Congested.into()),
            () => None,
        };
        if let Some(refusal) = refusal {
            self.release_if_idle(key);
            return Err(refusal);
        }
        let row = &self.destinations[key];
        let message = Row {
            operation: admitted.operation,
            destination: key,
            kept: None,
            open: None,
            held: admitted.held,
            attempt: admitted.attempt,
            sendings: 0,
            octets: parts.len(),
            course: None,
            unsure: false,
            next: None,
        };
        if row.open < self.parallel && row.count == 0 {
            let message = self.insert(message);
            return match self.begin(now, message, parts, stack, out) {
                Ok(keep) => {
                    if keep {
                        let kept = Kept::new(parts, self.pool.take());
                        self.messages[message].kept = Some(kept);
                    }
                    Ok(())
                }
                Err(failure) => {
                    self.remove(message);
                    self.release_if_idle(key);
                    Err(failure)
                }
            };
        }
        if row.count >= self.queue_per_destination || self.waiting >= self.queue_in_all {
            return Err(Reason::Congested.into());
        }
        let kept = Some(Kept::new(parts, self.pool.take()));
        let message = self.insert(Row { kept, ..message });
        let row = &mut self.destinations[key];
        match row.last.replace(message) {
            Some(last) => self.messages[last].next = Some(message),
            None => row.first = Some(message),
        }
        row.count += 1;
        self.waiting += 1;
        Ok(())
    }

    fn insert(&mut self, message: Row) -> MessageKey {
        self.octets += message.octets;
        self.messages.insert(message)
    }

    fn remove(&mut self, message: MessageKey) -> Option<Row> {
        let row = self.messages.remove(message)?;
        self.octets -= row.octets;
        Some(row)
    }

    /// Sends a message to the first next hop of its route. Gives whether its parts may be needed again.
    fn begin(
        &mut self,
        now: Instant,
        message: MessageKey,
        parts: &Parts<'_>,
        stack: &mut Stack,
        out: &mut Output,
    ) -> Result<bool, Failure<'static>> {
        let row = &mut self.messages[message];
        row.course = self.repeats.course(now, &parts.forms);
        let key = row.destination;
        let Destination { route, hash, .. } = self.destinations[key];
        let journey = stack.routes.begin(now, route, hash).ok_or_else(held_off)?;
        let keep = self.start(now, message, journey, parts, stack, out)?;
        self.destinations[key].open += 1;
        Ok(keep)
    }

    /// Sends a message to where its journey has come. Gives whether its parts may be needed again.
    fn start(
        &mut self,
        now: Instant,
        message: MessageKey,
        journey: Journey,
        parts: &Parts<'_>,
        stack: &mut Stack,
        out: &mut Output,
    ) -> Result<bool, Failure<'static>> {
        let row = &mut self.messages[message];
        let own = &self.destinations[row.destination].uri[..];
        let mut to = smallvec::SmallVec::<[u8; 128]>::new();
        to.push(b'<');
        to.extend_from_slice(own);
        to.push(b'>');
        let counted = [row.attempt.to_le_bytes(), row.sendings.to_le_bytes()];
        let branch = self.branches.keyed(&[parts.mark(), counted.as_flattened()]);
        let first_cseq = repeats::first_cseq(row.attempt);
        loop {
            let form = row.course.as_ref().map_or(0, |course| course.form());
            let form = parts.forms.get(form).copied().unwrap_or_default();
            let mut lines = Vec::new();
            let (cseq, uri, more) = match &mut row.course {
                Some(course) => {
                    let cseq = first_cseq + course.repeats();
                    let uri = self.repeats.write(stack.routes.way(journey), own, &form, course, &mut lines);
                    (cseq, uri, &lines[..])
                }
                None => (first_cseq, own, form.lines),
            };
            let request = RequestParts {
                method: Method::Message,
                uri,
                from: parts.from,
                from_tag: Some(parts.tag()),
                to: &to,
                call_id: parts.call_id,
                cseq,
                max_forwards: parts.max_forwards,
                route: b"",
                more,
                content_type: (!form.content_type.is_empty()).then_some(form.content_type),
                body: form.body,
                branch: Some(branch),
            };
            let carrier = match stack.request(now, journey, &request, message.data().as_ffi(), out) {
                Ok(carrier) => carrier,
                // A plainer form is shorter too.
                Err(SendError::TooLarge)
                    if row.course.as_mut().is_some_and(|course| course.take_plainer(&parts.forms)) =>
                {
                    continue;
                }
                Err(error) => return Err(not_sent(error)),
            };
            row.open = Some(Open { journey, carrier });
            row.sendings += 1;
            let may_move = carrier == Carrier::ConnectionOrDatagram || stack.routes.has_more(journey);
            return Ok(may_move || row.course.is_some());
        }
    }

    /// The row of a destination, made if there is none.
    fn destination(&mut self, uri: &[u8], route: RouteId) -> DestinationKey {
        let hash = self.hasher.hash_one(uri);
        if let Some(&key) = self.by_uri.find(hash, |&key| self.destinations[key].uri == uri) {
            return key;
        }
        let mut text = self.pool.take();
        text.extend_from_slice(uri);
        let row = Destination { uri: text, hash, route, open: 0, first: None, last: None, count: 0 };
        let key = self.destinations.insert(row);
        let destinations = &self.destinations;
        self.by_uri.insert_unique(hash, key, |&key| destinations[key].hash);
        key
    }

    fn release_if_idle(&mut self, key: DestinationKey) {
        if self.destinations.get(key).is_none_or(|row| row.open > 0 || row.count > 0) {
            return;
        }
        if let Some(row) = self.destinations.remove(key) {
            if let Ok(entry) = self.by_uri.find_entry(row.hash, |&known| known == key) {
                entry.remove();
            }
            self.pool.give(row.uri);
        }
    }

    fn pop_waiting(&mut self, key: DestinationKey) -> Option<(MessageKey, Kept)> {
        let row = self.destinations.get_mut(key)?;
        let message = row.first?;
        let kept = self.messages[message].kept.take()?;
        row.first = self.messages[message].next.take();
        if row.first.is_none() {
            row.last = None;
        }
        row.count -= 1;
        self.waiting -= 1;
        Some((message, kept))
    }

    /// A client transaction has ended: sends its message somewhere else, or gives the fate of its operation and starts what
    /// waited behind it.
    pub(crate) fn ended<'a>(
        &mut self,
        now: Instant,
        token: u64,
        outcome: &Outcome<'a>,
        stack: &mut Stack,
        out: &mut Output,
    ) -> Option<(OperationKey, Status<'a>)> {
        let message = MessageKey::from(KeyData::from_ffi(token));
        let row = self.messages.get_mut(message)?;
        let open = row.open?;
        let kept = row.kept.take();
        let verdict = stack.judge(now, open.journey, open.carrier, outcome);
        row.unsure |= match outcome {
            Outcome::Final(_) => false,
            Outcome::TimedOut { .. } => true,
            Outcome::TransportFailed => !stack.routes.is_refused(now, open.journey),
        };
        let next = match verdict {
            Verdict::Over => None,
            Verdict::ByDatagram => Some(open.journey),
            Verdict::Elsewhere(cause) if kept.is_some() => stack.routes.go_on(now, open.journey, cause),
            Verdict::Elsewhere(_) => None,
        };
        let again = match &kept {
            Some(kept) => {
                let parts = kept.parts();
                let next = next.map(Ok).or_else(|| self.repeat(now, message, open.journey, &parts, outcome, stack));
                next.map(|next| next.and_then(|journey| self.start(now, message, journey, &parts, stack, out)))
            }
            None => None,
        };
        if let Some(kept) = kept {
            match self.messages.get_mut(message) {
                Some(row) if again == Some(Ok(true)) => row.kept = Some(kept),
                _ => self.pool.give(kept.into_bytes()),
            }
        }
        let (status, way_is_dead) = match again {
            Some(Ok(_)) => return None,
            Some(Err(failure)) => (Status::Failure(failure), false),
            None => self.fate(now, open, outcome, stack),
        };
        let row = self.remove(message)?;
        let key = row.destination;
        if let Some(destination) = self.destinations.get_mut(key) {
            destination.open -= 1;
        }
        // Of a user who is away for now nothing else is known a moment later. What waits for him is kept in its order.
        let away = match &status {
            Status::Failure(failure) if way_is_dead || row.held && failure.reason.is_temporary() => {
                Some(failure.reason)
            }
            _ => None,
        };
        if let Some(reason) = away {
            while let Some((message, kept)) = self.pop_waiting(key) {
                self.pool.give(kept.into_bytes());
                if let Some(row) = self.remove(message) {
                    // Of these nothing was ever sent.
                    let unsent = Failure { reason: Reason::LinkDown, ..unreachable() };
                    let failure = if way_is_dead { unsent } else { reason.into() };
                    self.failed.push_back((row.operation, failure));
                }
            }
        } else {
            self.start_next(now, key, stack, out);
        }
        self.release_if_idle(key);
        if row.held && row.unsure {
            self.unsure.push(row.operation);
        }
        Some((row.operation, status))
    }

    /// Whether a message that has failed may have arrived all the same, by a next hop that has said nothing about it. Known of
    /// those that are [held](Admitted::held), once.
    pub(crate) fn take_unsure(&mut self, operation: OperationKey) -> bool {
        let place = self.unsure.iter().position(|&other| other == operation);
        place.map(|place| self.unsure.swap_remove(place)).is_some()
    }

    /// Whether a message is sent again after an answer that says "not like this", and where to; `Err` where it should be and
    /// cannot.
    fn repeat(
        &mut self,
        now: Instant,
        message: MessageKey,
        journey: Journey,
        parts: &Parts<'_>,
        outcome: &Outcome<'_>,
        stack: &mut Stack,
    ) -> Option<Result<Journey, Failure<'static>>> {
        let row = self.messages.get_mut(message)?;
        let course = row.course.as_mut()?;
        let own = &self.destinations.get(row.destination)?.uri;
        match self.repeats.judge(now, &stack.routes, journey, own, &parts.forms, course, outcome)? {
            Again::There => Some(stack.routes.stay(now, journey).ok_or_else(held_off)),
            Again::Along(route) => {
                let target = course.target().map_or(own, |target| &target.uri);
                Some(stack.routes.begin(now, route, self.hasher.hash_one(&target[..])).ok_or_else(held_off))
            }
        }
    }

    /// What a transaction that was the last one means for its message, and whether what waits behind it has nowhere to go
    /// either.
    fn fate<'a>(&self, now: Instant, open: Open, outcome: &Outcome<'a>, stack: &Stack) -> (Status<'a>, bool) {
        match outcome {
            Outcome::Final(response) => (self.final_status(response), false),
            // RFC 3261 section 8.1.3.1: a time-out counts as 408, a transport failure as 503. Both tell the XMPP user that
            // the other side is not to be had for now.
            Outcome::TimedOut { .. } => (Status::Failure(unreachable()), true),
            // A connection that stood was lost: that says nothing of the next one.
            Outcome::TransportFailed => {
                let lost = open.carrier != Carrier::Datagram && !stack.routes.is_refused(now, open.journey);
                (Status::Failure(unreachable()), !lost)
            }
        }
    }

    fn start_next(&mut self, now: Instant, key: DestinationKey, stack: &mut Stack, out: &mut Output) {
        while self.destinations.get(key).is_some_and(|row| row.open < self.parallel) {
            let Some((message, kept)) = self.pop_waiting(key) else { return };
            let begun = self.begin(now, message, &kept.parts(), stack, out);
            match begun {
                Ok(true) => self.messages[message].kept = Some(kept),
                Ok(false) => self.pool.give(kept.into_bytes()),
                Err(failure) => {
                    self.pool.give(kept.into_bytes());
                    if let Some(row) = self.remove(message) {
                        self.failed.push_back((row.operation, failure));
                    }
                }
            }
        }
    }

    fn final_status<'a>(&self, response: &Response<'a>) -> Status<'a> {
        let reason = match status::to_cpim(response.status) {
            Ok(known) => return known,
            Err(reason) => reason,
        };
        let mut failure = Failure::from(reason);
        failure.text = phrase(response.reason);
        if response.status == 503 && response.head.first(HeaderName::RetryAfter).is_some() {
            // It says when; without it, it is a 500 (RFC 3261 21.5.4).
            failure.reason = Reason::Overloaded;
        }
        if matches!(reason, Reason::Gone | Reason::Redirect) && response.status < 400 {
            let contacts = response.head.list(HeaderName::Contact).filter_map(|value| NameAddr::parse(value).ok());
            failure.alternate =
                contacts.filter_map(|contact| self.rules.to_cpim(&contact.uri, Party::Native).ok()).next();
            if failure.alternate.is_none() {
                // RFC 7247 section 7.2 note 1: no <gone/> is invented for a 301 that names no usable address.
                failure.reason = Reason::RecipientUnavailable;
            }
        }
        Status::Failure(failure)
    }

    /// The next operation that failed behind another one.
    pub(crate) fn poll_failed(&mut self) -> Option<(OperationKey, Status<'static>)> {
        let (operation, failure) = self.failed.pop_front()?;
        Some((operation, Status::Failure(failure)))
    }
}

fn unreachable() -> Failure<'static> {
    Failure {
        reason: Reason::RemoteServerTimeout,
        text: Some(Cow::Borrowed("the SIP side does not answer")),
        alternate: None,
    }
}

/// The URI of a From value.
fn uri_in(from: &[u8]) -> &str {
    let uri = from.iter().rposition(|&octet| octet == b'<').and_then(|start| from.get(start + 1..)).unwrap_or_default();
    std::str::from_utf8(uri.strip_suffix(b">").unwrap_or_default()).unwrap_or_default()
}

/// A reason phrase for people: bounded, one line, what is not UTF-8 replaced.
fn phrase(raw: &[u8]) -> Option<Cow<'_, str>> {
    let cut = &raw[..raw.len().min(LONGEST_TEXT)];
    let text = String::from_utf8_lossy(cut);
    if text.trim().is_empty() {
        return None;
    }
    if text.chars().any(char::is_control) {
        return Some(Cow::Owned(text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()));
    }
    Some(text)
}

fn not_sent(error: SendError) -> Failure<'static> {
    let (reason, text) = match error {
        SendError::TableFull => (Reason::Overloaded, None),
        SendError::StreamFull => (Reason::Congested, None),
        // RFC 7572 section 6.
        SendError::TooLarge => (Reason::TooLarge, Some("the message is longer than the way to its receiver takes")),
        _ => (Reason::InternalError, None),
    };
    Failure { reason, text: text.map(Cow::Borrowed), alternate: None }
}

/// Every next hop has asked to be left alone for a time (RFC 3261 21.5.4).
fn held_off() -> Failure<'static> {
    Failure {
        reason: Reason::Overloaded,
        text: Some(Cow::Borrowed("the SIP side takes nothing for the moment")),
        alternate: None,
    }
}
