//! The messages of a run, both directions: which are due, and what an end does with one that comes out at it.

use memchr::memmem;

use crate::addresses::Addresses;
use crate::course::{Arrival, Course, Pace};
use crate::mark::{Direction, MARK_LENGTH, Marks};
use crate::options::{Options, Workload};

pub(crate) struct Traffic {
    pub(crate) marks: Marks,
    pub(crate) text: Text,
    pub(crate) to_xmpp: Option<Lane>,
    pub(crate) to_sip: Option<Lane>,
    /// Messages that came out bearing no mark of this run.
    pub(crate) strays: u64,
}

/// One direction.
pub(crate) struct Lane {
    pub(crate) course: Course,
    pub(crate) addresses: Addresses,
}

/// What every body says: the mark, then filler, so that a cut or changed body shows.
pub(crate) struct Text {
    filler: Vec<u8>,
}

impl Text {
    const SENTENCE: &[u8] = b" the quick brown fox jumps over the lazy dog, and back again;";

    fn new(size: usize) -> Self {
        let length = size.saturating_sub(MARK_LENGTH);
        Self { filler: Self::SENTENCE.iter().copied().cycle().take(length).collect() }
    }

    /// What stands behind the mark.
    pub(crate) fn filler(&self) -> &[u8] {
        &self.filler
    }

    pub(crate) fn len(&self) -> usize {
        MARK_LENGTH + self.filler.len()
    }
}

impl Traffic {
    pub(crate) fn new(options: &Options, run: u16) -> Self {
        let pace = match options.rate {
            Some(rate) => Pace::Open { rate },
            None => Pace::Closed { window: options.window },
        };
        let loss_timeout = options.loss_timeout.nanoseconds();
        let lane = |direction: Direction, addresses: fn(&Options) -> Addresses| Lane {
            course: Course::new(direction, options.pairs, pace, loss_timeout),
            addresses: addresses(options),
        };
        Self {
            marks: Marks::new(run),
            text: Text::new(options.size),
            to_xmpp: (options.workload != Workload::XmppToSip)
                .then(|| lane(Direction::SipToXmpp, Addresses::sip_to_xmpp)),
            to_sip: (options.workload != Workload::SipToXmpp)
                .then(|| lane(Direction::XmppToSip, Addresses::xmpp_to_sip)),
            strays: 0,
        }
    }

    pub(crate) fn lanes(&self) -> impl Iterator<Item = &Lane> {
        self.to_xmpp.iter().chain(&self.to_sip)
    }

    pub(crate) fn courses(&mut self) -> impl Iterator<Item = &mut Course> {
        self.to_xmpp.iter_mut().chain(&mut self.to_sip).map(|lane| &mut lane.course)
    }

    /// A stanza with a body reached the XMPP side. True when it was expected and new.
    pub(crate) fn on_stanza(&mut self, stanza: &[u8], from: &[u8], to: &[u8], now: u64) -> bool {
        let Some(lane) = &mut self.to_xmpp else {
            self.strays += 1;
            return false;
        };
        let body = memmem::find(stanza, b"<body").map_or(&[][..], |at| &stanza[at..]);
        let Some((Direction::SipToXmpp, sequence, end)) = self.marks.find(body) else {
            self.strays += 1;
            return false;
        };
        let intact = body[end..].strip_prefix(self.text.filler()).is_some_and(|tail| tail.starts_with(b"</body>"));
        match lane.course.on_delivered(sequence, 0, now) {
            Arrival::First => lane.check(sequence, from, to, b"/", intact),
            Arrival::Unknown => self.strays += 1,
            Arrival::Retransmission | Arrival::Duplicate => return false,
        }
        true
    }

    /// A MESSAGE reached the SIP side. Its sequence number, if it is one of ours.
    pub(crate) fn on_request(
        &mut self,
        body: &[u8],
        transaction: u32,
        from: &[u8],
        request_uri: &[u8],
        now: u64,
    ) -> Option<u32> {
        let Some(lane) = &mut self.to_sip else {
            self.strays += 1;
            return None;
        };
        let Some((Direction::XmppToSip, sequence, end)) = self.marks.find(body) else {
            self.strays += 1;
            return None;
        };
        let intact = body[end..] == *self.text.filler();
        match lane.course.on_delivered(sequence, transaction, now) {
            Arrival::First => lane.check(sequence, from, request_uri, b";?", intact),
            Arrival::Unknown => {
                self.strays += 1;
                return None;
            }
            Arrival::Retransmission | Arrival::Duplicate => {}
        }
        Some(sequence)
    }
}

impl Lane {
    fn check(&mut self, sequence: u32, from: &[u8], to: &[u8], tails: &[u8], intact: bool) {
        let pair = self.course.pair(sequence);
        let counts = &mut self.course.counts;
        counts.wrong_address += u64::from(!self.addresses.are_right(pair, from, to, tails));
        counts.altered += u64::from(!intact);
    }
}
