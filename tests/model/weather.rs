//! The faults of the surroundings: each has a name, and how often it happens is drawn anew for each seed.

use entente_tests::dice::Dice;

/// What goes wrong around the gateway.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Fault {
    LostIn,
    LostOut,
    DoubledIn,
    DoubledOut,
    OvertakenIn,
    OvertakenOut,
    LateIn,
    LateOut,
    HopHung,
    HopGone,
    SilentUser,
    Unwilling,
    SipPieces,
    SipReset,
    Pieces,
    SlowReader,
    Hung,
    Deaf,
    LatePing,
    HalfClosed,
    Closed,
    Reset,
    ResetInStanza,
    Refused,
    Bounces,
    LateBounce,
    Crowd,
    Restart,
    PowerLoss,
    StoreSlow,
    StoreFull,
    StoreBroken,
    Damaged,
    LetterRefused,
}

/// A fault: its name, what it is, and what its chance is drawn from (percent of the occasions).
pub(crate) struct Row {
    pub(crate) fault: Fault,
    pub(crate) name: &'static str,
    pub(crate) what: &'static str,
    pub(crate) chances: &'static [u64],
}

const fn row(fault: Fault, name: &'static str, what: &'static str, chances: &'static [u64]) -> Row {
    Row { fault, name, what, chances }
}

/// All faults in the order of their declaration.
pub(crate) const FAULTS: &[Row] = &[
    row(Fault::LostIn, "datagram to the gateway lost", "A datagram to the gateway is lost.", &[0, 0, 5, 20, 40]),
    row(Fault::LostOut, "datagram of the gateway lost", "A datagram from the gateway is lost.", &[0, 0, 5, 20, 40]),
    row(Fault::DoubledIn, "datagram to the gateway doubled", "A datagram to the gateway comes twice.", &[0, 0, 5, 30]),
    row(
        Fault::DoubledOut,
        "datagram of the gateway doubled",
        "A datagram from the gateway comes twice.",
        &[0, 0, 5, 30],
    ),
    row(
        Fault::OvertakenIn,
        "datagram to the gateway overtaken",
        "A datagram to the gateway is overtaken by the next ones.",
        &[0, 10, 50],
    ),
    row(
        Fault::OvertakenOut,
        "datagram of the gateway overtaken",
        "A datagram from the gateway is overtaken by the next ones.",
        &[0, 10, 50],
    ),
    row(Fault::LateIn, "datagram to the gateway late", "A datagram to the gateway takes up to 3 s.", &[0, 0, 5, 30]),
    row(Fault::LateOut, "datagram of the gateway late", "A datagram from the gateway takes up to 3 s.", &[0, 0, 5, 30]),
    row(
        Fault::HopHung,
        "next hop hung",
        "A next hop takes nothing for a time, and then does again.",
        &[0, 0, 0, 10, 40],
    ),
    row(
        Fault::HopGone,
        "next hop gone",
        "A next hop is gone for a time, and the network says so (ICMP, or a refused connection).",
        &[0, 0, 0, 10, 40],
    ),
    row(Fault::SilentUser, "SIP user silent or slow", "A SIP user answers late or never.", &[0, 2, 10]),
    row(
        Fault::Unwilling,
        "next hop wants it otherwise",
        "A next hop wants it otherwise: credentials, another address.",
        &[0, 0, 20],
    ),
    row(Fault::SipPieces, "SIP connection in pieces", "Bytes of a SIP connection come in pieces.", &[0, 20, 60]),
    row(
        Fault::SipReset,
        "SIP connection reset",
        "A SIP connection is reset, in the middle of a message where there is one.",
        &[0, 0, 10, 40],
    ),
    row(Fault::Pieces, "stream in pieces", "Bytes of the component stream come in pieces.", &[0, 20, 60]),
    row(
        Fault::SlowReader,
        "server reads slowly",
        "The server reads so slowly that bytes pile up in the gateway.",
        &[0, 0, 0, 5, 30],
    ),
    row(Fault::Hung, "server hung", "The server neither reads nor writes for a time.", &[0, 0, 0, 10, 40]),
    row(Fault::Deaf, "server returns no ping", "The server reads for a time, and returns no ping.", &[0, 0, 0, 10, 40]),
    row(Fault::LatePing, "ping returned late", "The server returns a ping late.", &[0, 0, 5, 30]),
    row(
        Fault::HalfClosed,
        "stream half closed",
        "The server ends its side of the connection and reads on.",
        &[0, 0, 0, 10, 40],
    ),
    row(Fault::Closed, "stream ended in order", "The server ends the stream in order.", &[0, 0, 0, 10, 40]),
    row(
        Fault::Reset,
        "stream reset",
        "The connection is reset, what the server has not read is lost.",
        &[0, 0, 0, 10, 40],
    ),
    row(
        Fault::ResetInStanza,
        "stream reset in a stanza",
        "The connection is reset in the middle of stanzas in both directions.",
        &[0, 0, 0, 10, 40],
    ),
    row(Fault::Refused, "connection to the server refused", "The server takes no connection for a time.", &[0, 20, 60]),
    row(Fault::Bounces, "bounce", "The server has no such user: messages bounce.", &[0, 10, 40]),
    row(Fault::LateBounce, "late bounce", "The server has no such user, and says so late.", &[0, 5, 20]),
    row(Fault::Crowd, "several inputs in one turn", "Several inputs fall into one turn.", &[0, 20, 60]),
    row(Fault::Restart, "restart", "The gateway is killed and started again.", &[0, 0, 0, 0, 10, 40]),
    row(
        Fault::PowerLoss,
        "power loss",
        "The machine of the gateway loses its power: the end of the log of the turns is gone.",
        &[0, 0, 0, 0, 5, 20],
    ),
    row(Fault::StoreSlow, "store slow", "The store takes seconds for each order.", &[0, 0, 0, 10, 40]),
    row(Fault::StoreFull, "store full", "The store has no room.", &[0, 0, 0, 10, 40]),
    row(Fault::StoreBroken, "store broken", "The store can be neither written nor read.", &[0, 0, 0, 10, 40]),
    row(Fault::Damaged, "entry damaged", "An entry is not what was written, after a restart.", &[0, 0, 20, 60]),
    row(Fault::LetterRefused, "letter refused", "Nobody takes a dead letter, for now.", &[0, 0, 20, 60]),
];

/// How often each fault happens in one run.
#[derive(Clone, Debug)]
pub(crate) struct Weather([u64; FAULTS.len()]);

impl Weather {
    /// What a seed has.
    pub(crate) fn draw(dice: &mut Dice) -> Self {
        let mut weather = Self::calm();
        for row in FAULTS {
            weather.0[row.fault as usize] = dice.one_of(row.chances);
        }
        weather
    }

    /// No fault ever.
    pub(crate) fn calm() -> Self {
        Self([0; FAULTS.len()])
    }

    /// This one often, whatever else there is.
    pub(crate) fn with(mut self, fault: Fault) -> Self {
        let row = &FAULTS[fault as usize];
        self.0[fault as usize] = row.chances.iter().copied().max().unwrap_or_default();
        self
    }

    /// In percent of its occasions.
    pub(crate) fn chance(&self, fault: Fault) -> u64 {
        self.0[fault as usize]
    }
}
