//! What asks the XMPP server whether it has read what we wrote.
//!
//! XMPP gives no positive answer to a message, so a ping to our own domain (XEP-0199) follows each batch; the server hands
//! it back in order. One return proves that the server has read all that stood before the ping; after a second one its
//! bounces for it have arrived too. One ping is in flight per stream at most, shared by all that was written since; none
//! when nothing waits.
//!
//! ```text
//!  written:   a b c | ping 1 | d e | ping 2 | f | ping 3
//!  returned:                ping 1        ping 2: a b c are proven      ping 3: d e are proven
//! ```
//!
//! A server writes every return alike. So one is read as any stanza is, and of those after it only the id, where all other
//! octets are the same: nothing else can come of them.

use cpim::OperationKey;
use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// A server that does not return a ping for so long is taken for hung, and its stream is ended.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// A longer return is read each time.
const LONGEST_FORM: usize = 1024;

const PING_ID: usize = 26;
/// 128 bits that nobody can guess, in base 32.
pub(crate) type PingId = [u8; PING_ID];

/// The barrier of one stream.
#[derive(Debug, Default)]
pub(crate) struct Barrier {
    /// Pings sent on this stream.
    sent: u64,
    /// Pings returned.
    returned: u64,
    /// Id and moment of the ping in flight.
    in_flight: Option<(PingId, Instant)>,
    /// What waits, in the order of writing, with the ping whose return proves it.
    waiting: VecDeque<(u64, OperationKey)>,
    /// The return that was read last.
    form: Form,
}

/// The octets of a return that was read, and where in them its id begins.
#[derive(Debug, Default)]
struct Form {
    octets: Vec<u8>,
    id: usize,
}

impl Form {
    /// The octets before the id, and those behind it.
    fn around_id(&self) -> Option<(&[u8], &[u8])> {
        Some((self.octets.get(..self.id)?, self.octets.get(self.id + PING_ID..)?))
    }
}

impl Barrier {
    /// `operation` was just written.
    pub(crate) fn written(&mut self, operation: OperationKey) {
        self.waiting.push_back((self.sent + 2, operation));
    }

    /// The ping whose return proves that what was just written was read.
    pub(crate) fn next_ping(&self) -> u64 {
        self.sent + 1
    }

    /// Pings that are back.
    pub(crate) fn returned(&self) -> u64 {
        self.returned
    }

    /// Whether a ping is due, when `is_open` tells which operations still wait for their fate.
    pub(crate) fn wants_ping(&mut self, is_open: impl Fn(OperationKey) -> bool) -> bool {
        while self.waiting.front().is_some_and(|&(_, operation)| !is_open(operation)) {
            self.waiting.pop_front();
        }
        self.in_flight.is_none() && !self.waiting.is_empty()
    }

    /// A ping with this id was just written.
    pub(crate) fn pinged(&mut self, now: Instant, id: PingId) {
        self.sent += 1;
        self.in_flight = Some((id, now));
    }

    /// The id of the ping in flight.
    pub(crate) fn in_flight(&self) -> Option<&PingId> {
        self.in_flight.as_ref().map(|(id, _)| id)
    }

    /// The ping in flight came back.
    pub(crate) fn on_return(&mut self) {
        if self.in_flight.take().is_some() {
            self.returned = self.sent;
        }
    }

    /// Remembers what the return `stanza` looks like, of which `id` is the part that names the ping.
    pub(crate) fn learn(&mut self, stanza: &[u8], id: &str) {
        let place = (id.as_ptr() as usize).checked_sub(stanza.as_ptr() as usize);
        let is_it = |&place: &usize| stanza.get(place..place.saturating_add(PING_ID)) == Some(id.as_bytes());
        let Some(place) = place.filter(is_it).filter(|_| stanza.len() <= LONGEST_FORM) else { return };
        self.form.octets.clear();
        self.form.octets.extend_from_slice(stanza);
        self.form.id = place;
    }

    /// The length of the return of the ping in flight, if `data` begins with it and it looks like the one before.
    pub(crate) fn known_return(&self, data: &[u8]) -> Option<usize> {
        let (expected, _) = self.in_flight.as_ref()?;
        let (before, behind) = self.form.around_id()?;
        let (id, rest) = data.strip_prefix(before)?.split_first_chunk::<PING_ID>()?;
        (id == expected && rest.starts_with(behind)).then_some(self.form.octets.len())
    }

    /// The next operation that the returns prove to be read.
    pub(crate) fn pop_proven(&mut self) -> Option<OperationKey> {
        let &(need, operation) = self.waiting.front()?;
        if need > self.returned {
            return None;
        }
        self.waiting.pop_front();
        Some(operation)
    }

    /// When the server counts as hung.
    pub(crate) fn gives_up(&self) -> Option<Instant> {
        self.in_flight.map(|(_, at)| at + PATIENCE)
    }

    /// The stream is gone: gives what was written on it and never proven.
    pub(crate) fn abandon(&mut self) -> impl Iterator<Item = OperationKey> + use<> {
        std::mem::take(self).waiting.into_iter().map(|(_, operation)| operation)
    }
}

#[cfg(test)]
#[allow(clippy::disallowed_methods)]
mod tests {
    use super::*;
    use slotmap::SlotMap;

    #[test]
    fn a_return_like_the_one_before_is_known_by_its_id_alone() {
        let now = Instant::now();
        let mut barrier = Barrier::default();
        let (first, second) = (&b"<iq to='a' id='aaaaaaaaaaaaaaaaaaaaaaaaaa'/>"[..], [b'b'; PING_ID]);
        let id = std::str::from_utf8(&first[15..41]).unwrap();
        barrier.pinged(now, [b'a'; PING_ID]);
        assert_eq!(barrier.known_return(first), None, "none was read");
        barrier.learn(first, "aaaaaaaaaaaaaaaaaaaaaaaaaa");
        assert_eq!(barrier.known_return(first), None, "this id stands elsewhere");
        barrier.learn(first, id);
        assert_eq!(barrier.known_return(first), Some(first.len()));
        barrier.pinged(now, second);
        assert_eq!(barrier.known_return(first), None, "that was the ping before");
        let mut returned = [&first[..15], &second, &first[41..], b"<message/>"].concat();
        assert_eq!(barrier.known_return(&returned), Some(first.len()), "and not what follows");
        for cut in 0..first.len() {
            assert_eq!(barrier.known_return(&returned[..cut]), None, "{cut} octets");
            returned[cut] ^= 1;
            assert_eq!(barrier.known_return(&returned), None, "octet {cut} is another");
            returned[cut] ^= 1;
        }
        barrier.on_return();
        assert_eq!(barrier.known_return(&returned), None, "none is in flight");
        barrier.pinged(now, second);
        let _ = barrier.abandon();
        barrier.pinged(now, second);
        assert_eq!(barrier.known_return(&returned), None, "another stream");
    }

    #[test]
    fn a_long_return_is_not_learnt() {
        for (length, known) in [(LONGEST_FORM, true), (LONGEST_FORM + 1, false)] {
            let mut barrier = Barrier::default();
            let stanza = format!("<iq id='{}' to='{}'/>", "a".repeat(PING_ID), "x".repeat(length - PING_ID - 17));
            assert_eq!(stanza.len(), length);
            barrier.pinged(Instant::now(), [b'a'; PING_ID]);
            barrier.learn(stanza.as_bytes(), &stanza[8..8 + PING_ID]);
            assert_eq!(barrier.known_return(stanza.as_bytes()).is_some(), known, "{length}");
        }
    }

    #[test]
    fn two_returns_prove_what_stood_before_the_first_ping() {
        let now = Instant::now();
        let mut operations = SlotMap::<OperationKey, ()>::with_key();
        let [a, b, c] = [(); 3].map(|()| operations.insert(()));
        let mut barrier = Barrier::default();
        assert!(!barrier.wants_ping(|_| true), "nothing waits");
        barrier.written(a);
        assert!(barrier.wants_ping(|_| true));
        barrier.pinged(now, [b'1'; 26]);
        assert!(!barrier.wants_ping(|_| true), "one in flight at most");
        barrier.written(b);
        barrier.on_return();
        assert_eq!(barrier.pop_proven(), None, "one return is not enough");
        barrier.pinged(now, [b'2'; 26]);
        barrier.written(c);
        barrier.on_return();
        assert_eq!(barrier.pop_proven(), Some(a));
        assert_eq!(barrier.pop_proven(), None);
        barrier.pinged(now, [b'3'; 26]);
        barrier.on_return();
        assert_eq!(barrier.pop_proven(), Some(b));
        assert!(!barrier.wants_ping(|operation| operation != c), "what was concluded asks for no ping");
        assert_eq!(barrier.pop_proven(), None);
    }
}
