//! What a MESSAGE of ours is made of, borrowed while it is sent and kept while it may have to be sent again.

use crate::translate::content::{Form, Forms};
use cpim::Mark;
use smallvec::SmallVec;

/// Octets of the tag of a From: 65 bits.
const TAG: usize = 13;

/// One MESSAGE, ready to be printed but for what its way decides.
pub(crate) struct Parts<'a> {
    /// The value of From, without a tag.
    pub(crate) from: &'a [u8],
    /// It begins with the mark.
    pub(crate) call_id: &'a [u8],
    /// At least one.
    pub(crate) forms: Forms<'a>,
    pub(crate) max_forwards: u8,
}

impl<'a> Parts<'a> {
    /// What all requests for one message have in common, and no other has.
    pub(crate) fn mark(&self) -> &'a [u8] {
        self.call_id.get(..Mark::LENGTH).unwrap_or(self.call_id)
    }

    /// The tag of From: the front of the mark, which is random. It is the same whenever and wherever the message is sent.
    pub(crate) fn tag(&self) -> &'a [u8] {
        self.call_id.get(..TAG).unwrap_or(self.call_id)
    }
}

impl Parts<'_> {
    /// Octets of all of it.
    pub(crate) fn len(&self) -> usize {
        let forms = self.forms.iter().map(|form| form.content_type.len() + form.lines.len() + form.body.len());
        self.from.len() + self.call_id.len() + forms.sum::<usize>()
    }
}

/// The same, kept: From and Call-ID and then of each form Content-Type, lines and body, one after the other.
pub(crate) struct Kept {
    bytes: Vec<u8>,
    from_end: usize,
    call_id_end: usize,
    forms: SmallVec<[FormEnds; 1]>,
    max_forwards: u8,
}

#[derive(Clone, Copy)]
struct FormEnds {
    content_type: usize,
    lines: usize,
    body: usize,
}

impl Kept {
    /// A copy in `bytes`, which is empty.
    pub(crate) fn new(parts: &Parts<'_>, mut bytes: Vec<u8>) -> Self {
        let mut copy = |slice: &[u8]| {
            bytes.extend_from_slice(slice);
            bytes.len()
        };
        let from_end = copy(parts.from);
        let call_id_end = copy(parts.call_id);
        let copied = parts.forms.iter().map(|form| FormEnds {
            content_type: copy(form.content_type),
            lines: copy(form.lines),
            body: copy(form.body),
        });
        let forms = copied.collect();
        Self { bytes, from_end, call_id_end, forms, max_forwards: parts.max_forwards }
    }

    pub(crate) fn parts(&self) -> Parts<'_> {
        let mut start = self.call_id_end;
        let forms = self.forms.iter().map(|ends| {
            let form = Form {
                content_type: &self.bytes[start..ends.content_type],
                lines: &self.bytes[ends.content_type..ends.lines],
                body: &self.bytes[ends.lines..ends.body],
            };
            start = ends.body;
            form
        });
        Parts {
            from: &self.bytes[..self.from_end],
            call_id: &self.bytes[self.from_end..self.call_id_end],
            forms: forms.collect(),
            max_forwards: self.max_forwards,
        }
    }

    /// The buffer, to be used again.
    pub(crate) fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }
}
