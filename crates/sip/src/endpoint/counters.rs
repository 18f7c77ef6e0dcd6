//! What an endpoint has counted since it was made.

use crate::wire::DropReason;

/// Plain numbers, read by whoever reports them. Every message that goes no further has a name here.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Messages handed in.
    pub received: u64,
    /// Requests that came out as new server transactions.
    pub requests_in: u64,
    /// Final answers sent for the first time.
    pub answers_out: u64,
    /// Requests that were forgotten without an answer.
    pub abandoned: u64,
    /// Retransmitted requests that were recognised.
    pub retransmissions_in: u64,
    /// Responses sent again for them, and refusals of INVITE sent again by Timer G.
    pub answers_repeated: u64,
    /// "100 Trying" sent at 3.5 s.
    pub trying_out: u64,
    /// Requests sent for the first time.
    pub requests_out: u64,
    /// Requests sent again by Timer E.
    pub retransmissions_out: u64,
    /// Final responses that ended a client transaction.
    pub responses_in: u64,
    /// Provisional responses to an open client transaction.
    pub provisionals_in: u64,
    /// Client transactions that ended with Timer F.
    pub timed_out: u64,
    /// Client transactions that ended because the transport failed.
    pub transport_failed: u64,
    /// ACKs for a refused INVITE.
    pub acks: u64,
    /// CANCEL requests, all answered.
    pub cancels: u64,
    /// Answers whose connection is gone, sent on another one (18.2.2).
    pub answers_elsewhere: u64,
    /// Answers that were too long for the log of the turns: their requests are new ones after a restart.
    pub unlogged: u64,
    /// Malformed requests, answered.
    pub refused: u64,
    /// Merged requests, answered 482.
    pub merged: u64,
    /// Requests answered 503 because a table was full.
    pub overloaded: u64,
    /// Dropped: nothing but line ends.
    pub dropped_keep_alive: u64,
    /// Dropped: not SIP.
    pub dropped_not_sip: u64,
    /// Dropped: a header without an end.
    pub dropped_unfinished: u64,
    /// Dropped: requests without a Via that says where an answer goes.
    pub dropped_no_via: u64,
    /// Dropped: longer than the limit.
    pub dropped_too_long: u64,
    /// Dropped: ACK for nothing. It is never answered.
    pub dropped_ack: u64,
    /// Dropped: malformed responses.
    pub dropped_malformed_response: u64,
    /// Dropped: responses whose top Via is not ours.
    pub dropped_foreign_response: u64,
    /// Dropped: responses with more Vias than the request had, or fewer.
    pub dropped_vias: u64,
    /// Dropped: responses that match no open transaction: late, repeated, or invented.
    pub dropped_stray_response: u64,
    /// Dropped: answers to a transaction that has its final answer already.
    pub dropped_late_answer: u64,
    /// Dropped: responses and requests for a stream that is gone.
    pub dropped_no_stream: u64,
    /// Dropped: responses to a peer that does not read; its stream is closed.
    pub dropped_slow_stream: u64,
}

impl Counters {
    pub(super) fn on_unreadable(&mut self, reason: DropReason) {
        *match reason {
            DropReason::Empty => &mut self.dropped_keep_alive,
            DropReason::NotSip => &mut self.dropped_not_sip,
            DropReason::Unfinished => &mut self.dropped_unfinished,
            DropReason::NoVia => &mut self.dropped_no_via,
            DropReason::BadResponse => &mut self.dropped_malformed_response,
            DropReason::TooLong => &mut self.dropped_too_long,
        } += 1;
    }
}
