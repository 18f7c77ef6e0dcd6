//! Messages that came from XMPP and wait for their response: whom to tell, under which id.

use slotmap::{Key, KeyData, SlotMap};
use turn::Pool;
use xmpp::stanza::Message;

slotmap::new_key_type! {
    struct ReceivedKey;
}

/// From, to and id of a stanza, as they were received.
#[derive(Debug)]
pub(crate) struct Stanza {
    /// The link it came in on, where its response goes.
    pub(crate) link: usize,
    bytes: Vec<u8>,
    from_end: usize,
    to_end: usize,
    receipt: bool,
    /// What it is remembered by, so that it is not taken twice.
    pub(crate) replay: Option<u128>,
}

impl Stanza {
    pub(crate) fn from(&self) -> &[u8] {
        &self.bytes[..self.from_end]
    }

    pub(crate) fn to(&self) -> &[u8] {
        &self.bytes[self.from_end..self.to_end]
    }

    pub(crate) fn id(&self) -> &[u8] {
        &self.bytes[self.to_end..]
    }

    /// The sender asked to be told of delivery (XEP-0184), and can be: a receipt without an id names nothing.
    pub(crate) fn wants_receipt(&self) -> bool {
        self.receipt && !self.id().is_empty()
    }
}

/// All of them.
#[derive(Debug, Default)]
pub(crate) struct Received {
    rows: SlotMap<ReceivedKey, Stanza>,
    octets: usize,
    pool: Pool,
}

impl Received {
    /// Remembers a stanza and gives its name.
    pub(crate) fn enter(&mut self, link: usize, message: &Message<'_>, replay: Option<u128>) -> u64 {
        let stanza = Stanza { replay, ..self.note(link, message) };
        self.octets += stanza.bytes.len();
        self.rows.insert(stanza).data().as_ffi()
    }

    /// Notes whom to answer, for an answer that follows at once.
    pub(crate) fn note(&mut self, link: usize, message: &Message<'_>) -> Stanza {
        let [from, to, id] = [&message.from, &message.to, &message.id].map(|text| text.as_deref().unwrap_or_default());
        let stanza = self.note_parts(link, from.as_bytes(), to.as_bytes(), id.as_bytes());
        Stanza { receipt: message.receipt_request, ..stanza }
    }

    /// The same of a stanza that is there in parts.
    pub(crate) fn note_parts(&mut self, link: usize, from: &[u8], to: &[u8], id: &[u8]) -> Stanza {
        let mut bytes = self.pool.take();
        bytes.extend_from_slice(from);
        let from_end = bytes.len();
        bytes.extend_from_slice(to);
        let to_end = bytes.len();
        bytes.extend_from_slice(id);
        Stanza { link, bytes, from_end, to_end, receipt: false, replay: None }
    }

    /// Gives a stanza back and forgets it.
    pub(crate) fn take(&mut self, near: u64) -> Option<Stanza> {
        let stanza = self.rows.remove(ReceivedKey::from(KeyData::from_ffi(near)))?;
        self.octets -= stanza.bytes.len();
        Some(stanza)
    }

    /// Gives the memory of a stanza back.
    pub(crate) fn give(&mut self, stanza: Stanza) {
        self.pool.give(stanza.bytes);
    }

    /// Octets of all that are remembered.
    pub(crate) fn octets(&self) -> usize {
        self.octets
    }

    pub(crate) fn len(&self) -> usize {
        self.rows.len()
    }
}
