//! Deliberately wrong engines: what stands between the real one and its surroundings changes what crosses.
//!
//! A checker that finds nothing might look at nothing, and a fault that changes nothing might not happen. So each invariant
//! has a mutant that breaks it, and each fault one that shows only where that fault is.

use crate::ledger::Breach;
use crate::weather::Fault;

/// What is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mutant {
    DropBounce,
    DropLateBounce,
    AnswerEarly,
    TryEarly,
    MistellBounce,
    SwapRequests,
    DuplicateStanza,
    SwallowAnswer,
    SecondPing,
    IdlePing,
    SwallowError,
    DoubleError,
    SkipQueue,
    DeliverAfterFailure,
    FalseReceipt,
    StopTimers,
    ForgetKey,
    IgnoreRepetition,
    ChangeAnswer,
    SortRequests,
    TakeStrayAnswer,
    NeverRepeat,
    MoveRepetition,
    TwoAtATime,
    SwallowTimeout,
    IgnoreUnreachable,
    GiveUpWhenAsked,
    LoseSeam,
    DropHomeless,
    DropPiled,
    TrustKernel,
    DenyUnknown,
    MissEnd,
    KeepTail,
    GiveUpConnecting,
    ReverseTurn,
    ReuseIds,
    DropToldAgain,
    ForgetSecret,
    ForgetAnswers,
    AnswerOtherwise,
    AnswerBeforeCommit,
    IgnoreStoreFailure,
    LosePatience,
    LoseEntry,
    DeleteEarly,
    SwapEntries,
    RenameEntry,
    LeaveEntries,
    HideDate,
    CountNoDuplicates,
    DropLetter,
    TrustLetter,
    OverlookDamage,
}

/// A mutant, and where it is found.
pub(crate) struct Row {
    pub(crate) mutant: Mutant,
    pub(crate) what: &'static str,
    /// What it must be found by.
    pub(crate) breach: Breach,
    /// The faults of which each brings it to light. Without them it does no harm.
    pub(crate) faults: &'static [Fault],
    /// What there is besides, whether there are those faults or not.
    pub(crate) amid: &'static [Fault],
    /// It is one of a gateway with a journal.
    pub(crate) keeps: bool,
}

const fn row(mutant: Mutant, what: &'static str, breach: Breach, faults: &'static [Fault]) -> Row {
    Row { mutant, what, breach, faults, amid: &[], keeps: false }
}

const fn kept(
    mutant: Mutant,
    what: &'static str,
    breach: Breach,
    faults: &'static [Fault],
    amid: &'static [Fault],
) -> Row {
    Row { mutant, what, breach, faults, amid, keeps: true }
}

/// All mutants.
pub(crate) const MUTANTS: &[Row] = &[
    row(Mutant::DropBounce, "A bounce never reaches the engine.", Breach::UntrueSuccess, &[Fault::Bounces]),
    row(
        Mutant::DropLateBounce,
        "A bounce that comes after the answer never reaches the engine.",
        Breach::LateUncounted,
        &[Fault::LateBounce],
    ),
    row(Mutant::AnswerEarly, "A 202 leaves before any ping has returned.", Breach::UntrueSuccess, &[]),
    row(Mutant::TryEarly, "A request is answered 100 at once.", Breach::EarlyProvisional, &[]),
    row(Mutant::MistellBounce, "A bounce is told as something else.", Breach::BounceIgnored, &[Fault::Bounces]),
    row(Mutant::SwapRequests, "Two requests of one conversation are taken in the wrong order.", Breach::Order, &[]),
    row(Mutant::DuplicateStanza, "The server gets one stanza twice.", Breach::DeliveredTwice, &[]),
    row(Mutant::SwallowAnswer, "One request is never answered.", Breach::Unanswered, &[]),
    row(Mutant::SecondPing, "A ping goes out while one is in flight.", Breach::TwoPings, &[]),
    row(Mutant::IdlePing, "A ping goes out while nobody waits.", Breach::NeedlessPing, &[]),
    row(Mutant::SwallowError, "An error never reaches the XMPP user.", Breach::Unended, &[]),
    row(Mutant::DoubleError, "An error reaches him twice.", Breach::EndedTwice, &[]),
    row(Mutant::SkipQueue, "A request goes out while another is open to the same user.", Breach::TwoOpen, &[]),
    row(
        Mutant::DeliverAfterFailure,
        "What was told as not delivered is delivered.",
        Breach::UntrueFailure,
        &[Fault::Reset, Fault::Refused],
    ),
    row(Mutant::FalseReceipt, "A receipt is given for a mere 202.", Breach::Receipt, &[]),
    row(Mutant::StopTimers, "No timer goes off after a while.", Breach::Leftover, &[]),
    row(
        Mutant::ForgetKey,
        "A repeated request is taken for a new one.",
        Breach::DeliveredTwice,
        &[Fault::DoubledIn, Fault::LostOut, Fault::LateOut],
    ),
    row(
        Mutant::IgnoreRepetition,
        "A repeated request is not answered again.",
        Breach::RepetitionUnanswered,
        &[Fault::DoubledIn, Fault::LostOut],
    ),
    row(
        Mutant::ChangeAnswer,
        "A repeated answer is another one.",
        Breach::TwoAnswers,
        &[Fault::DoubledIn, Fault::LostOut],
    ),
    row(
        Mutant::SortRequests,
        "Requests are taken in the order in which they were sent.",
        Breach::Order,
        &[Fault::OvertakenIn, Fault::LateIn, Fault::LostIn],
    ),
    row(
        Mutant::TakeStrayAnswer,
        "An answer to what has ended is taken for the answer to what is open.",
        Breach::Unended,
        &[Fault::DoubledIn, Fault::DoubledOut, Fault::LateIn],
    ),
    row(
        Mutant::NeverRepeat,
        "No request is sent a second time.",
        Breach::TooFewRepetitions,
        &[Fault::LostIn, Fault::LostOut, Fault::SilentUser],
    ),
    row(
        Mutant::MoveRepetition,
        "A repeated request goes to another next hop.",
        Breach::WrongHop,
        &[Fault::LostIn, Fault::LostOut],
    ),
    row(
        Mutant::TwoAtATime,
        "Two requests may be open to one user.",
        Breach::OrderAtRecipient,
        &[Fault::OvertakenOut, Fault::LateOut, Fault::LostOut],
    ),
    row(
        Mutant::SwallowTimeout,
        "That a next hop does not answer, or is gone, is told to nobody.",
        Breach::Unended,
        &[Fault::HopHung, Fault::HopGone, Fault::SilentUser],
    ),
    row(
        Mutant::IgnoreUnreachable,
        "What the network says of a next hop is not heard.",
        Breach::SentAfterEnd,
        &[Fault::HopGone],
    ),
    row(
        Mutant::GiveUpWhenAsked,
        "After an answer that is no final one, a request is given up without a word.",
        Breach::Unended,
        &[Fault::Unwilling],
    ),
    row(
        Mutant::LoseSeam,
        "What a piece of a connection left unread is forgotten when the next one comes.",
        Breach::StreamError,
        &[Fault::Pieces],
    ),
    row(
        Mutant::LoseSeam,
        "What a piece of a connection left unread is forgotten when the next one comes.",
        Breach::Unanswered,
        &[Fault::SipPieces],
    ),
    row(Mutant::DropHomeless, "The answers for lost connections are dropped.", Breach::Unanswered, &[Fault::SipReset]),
    row(
        Mutant::DropPiled,
        "A stanza that had to wait for a slow reader is dropped.",
        Breach::UntrueSuccess,
        &[Fault::SlowReader],
    ),
    row(Mutant::TrustKernel, "What the kernel has taken counts as read.", Breach::UntrueSuccess, &[Fault::Hung]),
    row(
        Mutant::DenyUnknown,
        "What is unknown is told as not delivered.",
        Breach::UntrueFailure,
        &[Fault::Deaf, Fault::LatePing],
    ),
    row(Mutant::MissEnd, "The end of a stream is not noticed.", Breach::StaysDown, &[Fault::HalfClosed, Fault::Closed]),
    row(
        Mutant::KeepTail,
        "What was left of a stream that was reset is written to the next one.",
        Breach::Malformed,
        &[Fault::ResetInStanza],
    ),
    row(
        Mutant::GiveUpConnecting,
        "After a refused connection there is no other.",
        Breach::StaysDown,
        &[Fault::Refused],
    ),
    row(Mutant::ReverseTurn, "The inputs of a turn are taken in the wrong order.", Breach::Order, &[Fault::Crowd]),
    Row {
        amid: &[Fault::SlowReader, Fault::HopGone],
        ..row(
            Mutant::DropToldAgain,
            "An error that the stream may have lost is not written again.",
            Breach::Untold,
            &[Fault::Reset, Fault::ResetInStanza],
        )
    },
    row(
        Mutant::ReuseIds,
        "After a restart ids are made again that were made before.",
        Breach::ReusedId,
        &[Fault::Restart],
    ),
    kept(
        Mutant::ForgetSecret,
        "After a restart the secret is another one.",
        Breach::OtherId,
        &[Fault::Restart],
        &[Fault::LostOut],
    ),
    kept(
        Mutant::ForgetAnswers,
        "After a restart the log of the turns is not read.",
        Breach::DeliveredTwice,
        &[Fault::Restart],
        &[Fault::LostOut],
    ),
    kept(
        Mutant::AnswerOtherwise,
        "After a restart a request that was answered gets another status.",
        Breach::TwoAnswers,
        &[Fault::Restart],
        &[Fault::LostOut],
    ),
    kept(
        Mutant::AnswerBeforeCommit,
        "What is kept is answered before it is durable.",
        Breach::UntrueSuccess,
        &[Fault::Refused, Fault::Reset],
        &[],
    ),
    kept(
        Mutant::IgnoreStoreFailure,
        "What the store did not take is answered as if it had.",
        Breach::UntrueSuccess,
        &[Fault::StoreFull, Fault::StoreBroken],
        &[Fault::Refused],
    ),
    kept(
        Mutant::LosePatience,
        "What takes long to become durable is answered as if it were.",
        Breach::UntrueSuccess,
        &[Fault::StoreSlow],
        &[Fault::Refused],
    ),
    kept(
        Mutant::LoseEntry,
        "An entry is lost when the gateway starts.",
        Breach::Lost,
        &[Fault::Restart, Fault::PowerLoss],
        &[Fault::Refused],
    ),
    kept(
        Mutant::DeleteEarly,
        "An entry is deleted before its fate is known.",
        Breach::Lost,
        &[Fault::Restart],
        &[Fault::Refused, Fault::Hung],
    ),
    kept(
        Mutant::SwapEntries,
        "Two entries of a conversation change places when the gateway starts.",
        Breach::OrderAtRecipient,
        &[Fault::Restart],
        &[Fault::Refused],
    ),
    kept(
        Mutant::RenameEntry,
        "What is delivered again has another id.",
        Breach::OtherId,
        &[Fault::Hung, Fault::Restart],
        &[],
    ),
    kept(Mutant::LeaveEntries, "Entries are not deleted.", Breach::JournalLeft, &[], &[]),
    kept(Mutant::HideDate, "What was kept does not say when it came.", Breach::Undated, &[Fault::Refused], &[]),
    kept(
        Mutant::CountNoDuplicates,
        "Possible duplicates are not counted.",
        Breach::Uncounted,
        &[Fault::Hung, Fault::Deaf],
        &[],
    ),
    kept(Mutant::DropLetter, "Dead letters are dropped.", Breach::Lost, &[Fault::Refused], &[]),
    kept(
        Mutant::TrustLetter,
        "A letter that nobody took counts as handed over.",
        Breach::Lost,
        &[Fault::LetterRefused],
        &[Fault::Refused],
    ),
    kept(
        Mutant::OverlookDamage,
        "A damaged entry is dropped without a word.",
        Breach::DamageUnreported,
        &[Fault::Damaged],
        &[Fault::Refused, Fault::Restart],
    ),
];
