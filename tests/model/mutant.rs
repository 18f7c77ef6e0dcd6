//! Deliberately wrong behaviour between the engine and its surroundings, each once in a run.

use crate::ledger::Breach;

/// What goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mutant {
    /// A bounce never reaches the engine.
    DropBounce,
    /// A 202 leaves before any ping has returned.
    AnswerEarly,
    /// Two requests of one conversation are taken in the wrong order.
    SwapRequests,
    /// The server gets one stanza twice.
    DuplicateStanza,
    /// One request is never answered.
    SwallowAnswer,
    /// A repeated answer is another one.
    ChangeAnswer,
    /// A ping goes out while one is in flight.
    SecondPing,
    /// A ping goes out while nobody waits.
    IdlePing,
    /// An error never reaches the XMPP user.
    SwallowError,
    /// An error reaches him twice.
    DoubleError,
    /// A request goes out while another is open to the same user.
    SkipQueue,
    /// A repeated request goes to another proxy.
    MoveRepetition,
    /// What was told as not delivered is delivered.
    DeliverAfterFailure,
    /// A receipt is given for a mere 202.
    FalseReceipt,
}

impl Mutant {
    /// All of them, each with what it must be found by.
    pub(crate) const ALL: &[(Mutant, Breach)] = &[
        (Mutant::DropBounce, Breach::UntrueSuccess),
        (Mutant::AnswerEarly, Breach::UntrueSuccess),
        (Mutant::SwapRequests, Breach::Order),
        (Mutant::DuplicateStanza, Breach::DeliveredTwice),
        (Mutant::SwallowAnswer, Breach::Unanswered),
        (Mutant::ChangeAnswer, Breach::TwoAnswers),
        (Mutant::SecondPing, Breach::TwoPings),
        (Mutant::IdlePing, Breach::NeedlessPing),
        (Mutant::SwallowError, Breach::Unended),
        (Mutant::DoubleError, Breach::EndedTwice),
        (Mutant::SkipQueue, Breach::TwoOpen),
        (Mutant::MoveRepetition, Breach::WrongHop),
        (Mutant::DeliverAfterFailure, Breach::UntrueFailure),
        (Mutant::FalseReceipt, Breach::Receipt),
    ];
}
