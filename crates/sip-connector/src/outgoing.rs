//! What goes to SIP users: one MESSAGE at a time per destination (RFC 3428 section 8), whoever sent it.
//!
//! ```text
//!  send() --- nothing open there ---> open --- final response, Timer F ---> concluded
//!     \                                ^                                        |
//!      `--- something open ---> waiting, in order ------ the next one starts <--'
//! ```
//!
//! A next hop that does not answer fails what waits behind the message that found it out, so that nobody waits for a
//! time-out of its own for each message before his.

use crate::Settings;
use crate::stack::{Carrier, Stack};
use crate::translate::{address, content, status};
use cpim::{Admitted, Failure, ImUri, OperationKey, PresentationError, Presentations, Reason, Status};
use hashbrown::HashTable;
use sip::endpoint::{Outcome, RequestParts, SendError};
use sip::wire::headers::NameAddr;
use sip::wire::{HeaderName, Method, Response};
use slotmap::{Key, KeyData, SlotMap};
use std::borrow::Cow;
use std::collections::VecDeque;
use std::time::Instant;
use turn::{Minter, Output, Pool};

slotmap::new_key_type! {
    struct MessageKey;
    struct DestinationKey;
}

/// Words of the far side are cut to this many octets.
const LONGEST_TEXT: usize = 256;

/// A message that waits: From, Call-ID, Content-Type, further lines and body one after the other.
struct Waiting {
    bytes: Vec<u8>,
    from_end: usize,
    call_id_end: usize,
    content_type_end: usize,
    more_end: usize,
    max_forwards: u8,
}

impl Waiting {
    fn new(parts: &Parts<'_>, mut bytes: Vec<u8>) -> Self {
        bytes.extend_from_slice(parts.from);
        let from_end = bytes.len();
        bytes.extend_from_slice(parts.call_id);
        let call_id_end = bytes.len();
        bytes.extend_from_slice(parts.content_type);
        let content_type_end = bytes.len();
        bytes.extend_from_slice(parts.more);
        let more_end = bytes.len();
        bytes.extend_from_slice(parts.body);
        Self { bytes, from_end, call_id_end, content_type_end, more_end, max_forwards: parts.max_forwards }
    }

    fn parts(&self) -> Parts<'_> {
        Parts {
            from: &self.bytes[..self.from_end],
            call_id: &self.bytes[self.from_end..self.call_id_end],
            content_type: &self.bytes[self.call_id_end..self.content_type_end],
            more: &self.bytes[self.content_type_end..self.more_end],
            body: &self.bytes[self.more_end..],
            max_forwards: self.max_forwards,
        }
    }
}

struct Row {
    operation: OperationKey,
    destination: DestinationKey,
    /// `None` once it is open: the transaction has its own copy. Except where it may have to be sent a second time, by
    /// datagram.
    waiting: Option<Waiting>,
    /// It went over a connection.
    connected: bool,
    next: Option<MessageKey>,
}

/// A destination URI with a transaction of ours open.
struct Destination {
    uri: Vec<u8>,
    open: usize,
    first: Option<MessageKey>,
    last: Option<MessageKey>,
    count: usize,
}

/// One MESSAGE, ready to be printed.
struct Parts<'a> {
    from: &'a [u8],
    call_id: &'a [u8],
    content_type: &'a [u8],
    /// Further header lines that speak of the content.
    more: &'a [u8],
    body: &'a [u8],
    max_forwards: u8,
}

/// All that is open or waits towards SIP.
pub(crate) struct Outgoing {
    messages: SlotMap<MessageKey, Row>,
    destinations: SlotMap<DestinationKey, Destination>,
    by_uri: HashTable<DestinationKey>,
    hasher: ahash::RandomState,
    /// Failed behind a message that found the way dead; told one by one.
    failed: VecDeque<(OperationKey, Reason)>,
    waiting: usize,
    pool: Pool,
    scratch: Vec<u8>,
    host: String,
    parallel: usize,
    queue_per_destination: usize,
    queue_in_all: usize,
    presentations: Presentations,
}

impl Outgoing {
    pub(crate) fn new(settings: &Settings, minter: &Minter) -> Self {
        let [a, b] = [minter.keyed(&[b"destinations", b"a"]), minter.keyed(&[b"destinations", b"b"])];
        Self {
            messages: SlotMap::with_key(),
            destinations: SlotMap::with_key(),
            by_uri: HashTable::new(),
            hasher: ahash::RandomState::with_seeds(a as u64, (a >> 64) as u64, b as u64, (b >> 64) as u64),
            failed: VecDeque::new(),
            waiting: 0,
            pool: Pool::new(),
            scratch: Vec::new(),
            host: settings.host.clone(),
            parallel: settings.parallel.max(1),
            queue_per_destination: settings.queue_per_destination,
            queue_in_all: settings.queue_in_all,
            presentations: settings.presentations.clone(),
        }
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
        let mut scratch = std::mem::take(&mut self.scratch);
        scratch.clear();
        let ends = self.write_addresses(&message.source.0, &message.destination.0, &mut scratch);
        let result = ends.and_then(|(uri_end, from_end)| {
            let call_id_start = scratch.len();
            scratch.extend_from_slice(admitted.mark.as_bytes());
            scratch.push(b'@');
            scratch.extend_from_slice(self.host.as_bytes());
            let more_start = scratch.len();
            content::write_lines(&message.content, &mut scratch);
            let parts = Parts {
                from: &scratch[uri_end..from_end],
                call_id: &scratch[call_id_start..more_start],
                content_type: message.content.media_type.as_ref().map_or(b"", |media_type| media_type.raw()),
                more: &scratch[more_start..],
                body: &message.content.body,
                max_forwards: message.max_forwards.0,
            };
            self.enter(now, admitted.operation, &scratch[..uri_end], &parts, stack, out).map_err(Failure::from)
        });
        self.scratch = scratch;
        result
    }

    /// Appends the destination URI and the From value; gives where each ends.
    fn write_addresses(
        &self,
        source: &ImUri<'_>,
        destination: &ImUri<'_>,
        bytes: &mut Vec<u8>,
    ) -> Result<(usize, usize), Failure<'static>> {
        address::write_native(destination, bytes);
        let uri_end = bytes.len();
        let presented = self.presentations.present(source).map_err(|error| match error {
            PresentationError::Unknown => Failure::from(Reason::Forbidden),
            _ => Failure::from(Reason::AddressMalformed),
        })?;
        bytes.push(b'<');
        address::write_presented(&presented, bytes);
        bytes.push(b'>');
        Ok((uri_end, bytes.len()))
    }

    fn enter(
        &mut self,
        now: Instant,
        operation: OperationKey,
        uri: &[u8],
        parts: &Parts<'_>,
        stack: &mut Stack,
        out: &mut Output,
    ) -> Result<(), Reason> {
        let key = self.destination(uri);
        let row = &self.destinations[key];
        if row.open < self.parallel && row.count == 0 {
            let row = Row { operation, destination: key, waiting: None, connected: false, next: None };
            let message = self.messages.insert(row);
            match start(now, message, uri, parts, stack, out) {
                Ok(carrier) => {
                    self.destinations[key].open += 1;
                    self.on_started(message, carrier, parts);
                    return Ok(());
                }
                Err(reason) => {
                    self.messages.remove(message);
                    self.release_if_idle(key);
                    return Err(reason);
                }
            }
        }
        if row.count >= self.queue_per_destination || self.waiting >= self.queue_in_all {
            return Err(Reason::Congested);
        }
        let waiting = Some(Waiting::new(parts, self.pool.take()));
        let message = self.messages.insert(Row { operation, destination: key, waiting, connected: false, next: None });
        let row = &mut self.destinations[key];
        match row.last.replace(message) {
            Some(last) => self.messages[last].next = Some(message),
            None => row.first = Some(message),
        }
        row.count += 1;
        self.waiting += 1;
        Ok(())
    }

    /// The row of a destination, made if there is none.
    fn destination(&mut self, uri: &[u8]) -> DestinationKey {
        let hash = self.hasher.hash_one(uri);
        if let Some(&key) = self.by_uri.find(hash, |&key| self.destinations[key].uri == uri) {
            return key;
        }
        let mut text = self.pool.take();
        text.extend_from_slice(uri);
        let key = self.destinations.insert(Destination { uri: text, open: 0, first: None, last: None, count: 0 });
        let (hasher, destinations) = (&self.hasher, &self.destinations);
        self.by_uri.insert_unique(hash, key, |&key| hasher.hash_one(&destinations[key].uri[..]));
        key
    }

    fn release_if_idle(&mut self, key: DestinationKey) {
        if self.destinations.get(key).is_none_or(|row| row.open > 0 || row.count > 0) {
            return;
        }
        if let Some(row) = self.destinations.remove(key) {
            let hash = self.hasher.hash_one(&row.uri[..]);
            if let Ok(entry) = self.by_uri.find_entry(hash, |&known| known == key) {
                entry.remove();
            }
            self.pool.give(row.uri);
        }
    }

    fn pop_waiting(&mut self, key: DestinationKey) -> Option<(MessageKey, Waiting)> {
        let row = self.destinations.get_mut(key)?;
        let message = row.first?;
        let waiting = self.messages[message].waiting.take()?;
        row.first = self.messages[message].next.take();
        if row.first.is_none() {
            row.last = None;
        }
        row.count -= 1;
        self.waiting -= 1;
        Some((message, waiting))
    }

    /// A client transaction has ended: gives the fate of its operation and starts what waited behind it.
    pub(crate) fn ended<'a>(
        &mut self,
        now: Instant,
        token: u64,
        outcome: &Outcome<'a>,
        stack: &mut Stack,
        out: &mut Output,
    ) -> Option<(OperationKey, Status<'a>)> {
        let message = MessageKey::from(KeyData::from_ffi(token));
        let mut again = Ok(());
        if let Some(kept) = self.messages.get_mut(message)?.waiting.take() {
            if matches!(outcome, Outcome::TransportFailed) && stack.is_refused(now) {
                let uri = &self.destinations[self.messages[message].destination].uri;
                again = start(now, message, uri, &kept.parts(), stack, out).map(|_| ());
                if again.is_ok() {
                    self.pool.give(kept.bytes);
                    self.messages[message].connected = false;
                    return None;
                }
            }
            self.pool.give(kept.bytes);
        }
        let row = self.messages.remove(message)?;
        let (status, way_is_dead) = match outcome {
            _ if again.is_err() => (Status::Failure(again.err().map_or_else(unreachable, Failure::from)), None),
            Outcome::Final(response) => (self.final_status(response), None),
            // RFC 3261 section 8.1.3.1: a time-out counts as 408, a transport failure as 503. Both tell the XMPP user that
            // the other side is not to be had for now.
            Outcome::TimedOut => (Status::Failure(unreachable()), Some(Reason::RemoteServerTimeout)),
            // A connection that stood was lost: that says nothing of the next one.
            Outcome::TransportFailed if row.connected && !stack.is_refused(now) => {
                (Status::Failure(unreachable()), None)
            }
            Outcome::TransportFailed => (Status::Failure(unreachable()), Some(Reason::RemoteServerTimeout)),
        };
        let key = row.destination;
        if let Some(destination) = self.destinations.get_mut(key) {
            destination.open -= 1;
        }
        match way_is_dead {
            Some(reason) => {
                while let Some((message, waiting)) = self.pop_waiting(key) {
                    self.pool.give(waiting.bytes);
                    if let Some(row) = self.messages.remove(message) {
                        self.failed.push_back((row.operation, reason));
                    }
                }
            }
            None => self.start_next(now, key, stack, out),
        }
        self.release_if_idle(key);
        Some((row.operation, status))
    }

    /// A message is on its way. One that may have to go another way is kept until it is known.
    fn on_started(&mut self, message: MessageKey, carrier: Carrier, parts: &Parts<'_>) {
        if carrier == Carrier::Datagram {
            return;
        }
        if let Some(row) = self.messages.get_mut(message) {
            row.connected = true;
            if carrier == Carrier::ConnectionOrDatagram {
                row.waiting = Some(Waiting::new(parts, self.pool.take()));
            }
        }
    }

    fn start_next(&mut self, now: Instant, key: DestinationKey, stack: &mut Stack, out: &mut Output) {
        while self.destinations.get(key).is_some_and(|row| row.open < self.parallel) {
            let Some((message, waiting)) = self.pop_waiting(key) else { return };
            match start(now, message, &self.destinations[key].uri, &waiting.parts(), stack, out) {
                Ok(carrier) => {
                    self.destinations[key].open += 1;
                    self.on_started(message, carrier, &waiting.parts());
                    self.pool.give(waiting.bytes);
                }
                Err(reason) => {
                    self.pool.give(waiting.bytes);
                    if let Some(row) = self.messages.remove(message) {
                        self.failed.push_back((row.operation, reason));
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
        if matches!(reason, Reason::Gone | Reason::Redirect) && response.status < 400 {
            failure.alternate = response
                .head
                .first(HeaderName::Contact)
                .and_then(|value| NameAddr::parse(value).ok())
                .and_then(|contact| address::to_cpim(&contact.uri, &self.presentations).ok());
            if failure.alternate.is_none() {
                // RFC 7247 section 7.2 note 1: no <gone/> is invented for a 301 that names no usable address.
                failure.reason = Reason::RecipientUnavailable;
            }
        }
        Status::Failure(failure)
    }

    /// The next operation that failed behind another one.
    pub(crate) fn poll_failed(&mut self) -> Option<(OperationKey, Status<'static>)> {
        let (operation, reason) = self.failed.pop_front()?;
        let failure = if reason == Reason::RemoteServerTimeout { unreachable() } else { reason.into() };
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

fn start(
    now: Instant,
    message: MessageKey,
    uri: &[u8],
    parts: &Parts<'_>,
    stack: &mut Stack,
    out: &mut Output,
) -> Result<Carrier, Reason> {
    let mut to = smallvec::SmallVec::<[u8; 128]>::new();
    to.push(b'<');
    to.extend_from_slice(uri);
    to.push(b'>');
    let request = RequestParts {
        method: Method::Message,
        uri,
        from: parts.from,
        to: &to,
        call_id: parts.call_id,
        cseq: 1,
        max_forwards: parts.max_forwards,
        more: parts.more,
        content_type: (!parts.content_type.is_empty()).then_some(parts.content_type),
        body: parts.body,
        branch: None,
        from_tag: None,
    };
    stack.request(now, &request, message.data().as_ffi(), out).map_err(|error| match error {
        SendError::TableFull => Reason::Overloaded,
        SendError::StreamFull => Reason::Congested,
        SendError::TooLarge => Reason::TooLarge,
        _ => Reason::InternalError,
    })
}
