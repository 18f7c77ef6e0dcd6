//! What an endpoint is told at construction.

use crate::transaction::Timers;
use crate::wire::Limits;
use std::time::Duration;
use turn::Calendar;

/// How an [`Endpoint`](super::Endpoint) introduces itself, and how much it takes.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Host and port of our Via, as in `gateway.example:5060`; responses must come back with it (RFC 3261 18.1.2).
    pub sent_by: Vec<u8>,
    /// The same for requests over TCP, where it is another.
    pub sent_by_tcp: Option<Vec<u8>>,
    /// Limits of the parser.
    pub limits: Limits,
    /// Timer base value T1.
    pub t1: Duration,
    /// Timer base value T2.
    pub t2: Duration,
    /// Timer base value T4.
    pub t4: Duration,
    /// Value of Allow: every method we understand, ACK and CANCEL included (20.5).
    pub allow: Vec<u8>,
    /// Value of Accept: the types we take.
    pub accept: Vec<u8>,
    /// Value of Accept-Encoding. Empty says that only identity is taken (20.2).
    pub accept_encoding: Vec<u8>,
    /// Value of Accept-Language. Empty says that all are taken (20.3).
    pub accept_language: Vec<u8>,
    /// Value of Supported: the option tags we know. Those of Require that are not in it are called unsupported.
    pub supported: Vec<u8>,
    /// Value of Server in responses and User-Agent in requests; none of them is written if it is empty.
    pub server_name: Vec<u8>,
    /// The host that Warnings name as their author.
    pub warn_agent: Vec<u8>,
    /// Most server transactions that wait for their answer. Requests beyond it get 503.
    pub max_ongoing: usize,
    /// Most bytes that are kept of them, to make their answers of. Requests get 503 while there are more.
    pub max_ongoing_octets: usize,
    /// Most server transactions altogether, open and finished. Requests beyond it get 503.
    pub max_finished: usize,
    /// Most bytes of reason phrases, warnings and further lines that finished transactions keep. Requests get 503 while
    /// there are more.
    pub max_answer_text: usize,
    /// Most bytes of refusals of INVITE that wait for their ACK. One beyond it is sent once, and again only where the INVITE
    /// comes again.
    pub max_refused: usize,
    /// Most client transactions at a time.
    pub max_client: usize,
    /// Most bytes that may wait for a peer on a stream. A peer that reads too slowly for it loses the stream.
    pub max_unsent: usize,
    /// Most answers whose connection is gone that wait for [`Endpoint::poll_homeless`](super::Endpoint::poll_homeless).
    pub max_homeless: usize,
    /// Whether a request that comes a second time another way while the first is open gets 482 (8.2.2.2). A proxy says no
    /// (16.3).
    pub refuse_merged: bool,
    /// Where this is known, each answer that is kept for retransmissions is also written to [`turn::Output::log`], for
    /// [`Endpoint::restore`](super::Endpoint::restore) of an endpoint with the same lasting minter.
    pub turn_log: Option<Calendar>,
}

impl Settings {
    /// Settings of a UA that understands MESSAGE and OPTIONS, with the timers of RFC 3261.
    pub fn new(sent_by: impl Into<Vec<u8>>) -> Self {
        let sent_by = sent_by.into();
        let Timers { t1, t2, t4 } = Timers::default();
        Self {
            warn_agent: sent_by.clone(),
            sent_by,
            sent_by_tcp: None,
            limits: Limits::default(),
            t1,
            t2,
            t4,
            allow: b"MESSAGE, OPTIONS, ACK, CANCEL".to_vec(),
            accept: b"text/plain".to_vec(),
            accept_encoding: Vec::new(),
            accept_language: Vec::new(),
            supported: Vec::new(),
            server_name: Vec::new(),
            max_ongoing: 100_000,
            max_ongoing_octets: 256 << 20,
            max_finished: 4_000_000,
            max_answer_text: 256 << 20,
            max_refused: 4 << 20,
            max_client: 100_000,
            max_unsent: 4 << 20,
            max_homeless: 0,
            refuse_merged: true,
            turn_log: None,
        }
    }

    pub(super) fn timers(&self) -> Timers {
        Timers { t1: self.t1, t2: self.t2, t4: self.t4 }
    }
}
