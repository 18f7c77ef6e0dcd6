//! The mark by which a message is recognised wherever it comes out: in the body, the branch, the Call-ID, the stanza id.
//!
//! `eb`, four hexadecimal digits that change with every run (so that nothing left over from an earlier run counts), the
//! direction (`s` or `x`: the side it started from), eight digits of the sequence number. A gateway may rewrite all else.

use memchr::memmem::Finder;

/// Which way a message goes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Direction {
    SipToXmpp,
    XmppToSip,
}

impl Direction {
    fn letter(self) -> u8 {
        match self {
            Self::SipToXmpp => b's',
            Self::XmppToSip => b'x',
        }
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::SipToXmpp => "sip-to-xmpp",
            Self::XmppToSip => "xmpp-to-sip",
        }
    }
}

pub(crate) const MARK_LENGTH: usize = 15;
const DIGITS: usize = 8;

/// Writes and finds the marks of one run.
pub(crate) struct Marks {
    run: [u8; 6],
    finder: Finder<'static>,
}

impl Marks {
    pub(crate) fn new(run: u16) -> Self {
        let mut start = *b"eb0000";
        write_hex(u32::from(run), &mut start[2..]);
        Self { run: start, finder: Finder::new(&start).into_owned() }
    }

    /// The mark with its sequence number still zero.
    pub(crate) fn blank(&self, direction: Direction) -> [u8; MARK_LENGTH] {
        let mut mark = [b'0'; MARK_LENGTH];
        mark[..6].copy_from_slice(&self.run);
        mark[6] = direction.letter();
        mark
    }

    /// The first mark in `text`: direction, sequence number and where the mark ends.
    pub(crate) fn find(&self, text: &[u8]) -> Option<(Direction, u32, usize)> {
        let mut from = 0;
        loop {
            let at = from + self.finder.find(text.get(from..)?)?;
            if let Some((direction, sequence)) = text.get(at + 6..at + MARK_LENGTH).and_then(read_tail) {
                return Some((direction, sequence, at + MARK_LENGTH));
            }
            from = at + 6;
        }
    }
}

fn read_tail(tail: &[u8]) -> Option<(Direction, u32)> {
    let (letter, digits) = tail.split_first()?;
    let direction = match letter {
        b's' => Direction::SipToXmpp,
        b'x' => Direction::XmppToSip,
        _ => return None,
    };
    let mut sequence = 0u32;
    for digit in digits {
        sequence = (sequence << 4) | (*digit as char).to_digit(16)?;
    }
    Some((direction, sequence))
}

fn write_hex(mut value: u32, into: &mut [u8]) {
    for digit in into.iter_mut().rev() {
        *digit = b"0123456789abcdef"[(value & 15) as usize];
        value >>= 4;
    }
}

/// Bytes with places where the sequence number goes: made once, cast once per message without a search or an allocation.
#[derive(Default)]
pub(crate) struct Mould {
    bytes: Vec<u8>,
    holes: Vec<usize>,
}

impl Mould {
    pub(crate) fn text(mut self, text: &[u8]) -> Self {
        self.bytes.extend_from_slice(text);
        self
    }

    pub(crate) fn mark(mut self, blank: &[u8; MARK_LENGTH]) -> Self {
        self.bytes.extend_from_slice(blank);
        self.holes.push(self.bytes.len() - DIGITS);
        self
    }

    pub(crate) fn cast(&self, sequence: u32, out: &mut Vec<u8>) {
        let mut digits = [0; DIGITS];
        write_hex(sequence, &mut digits);
        let base = out.len();
        out.extend_from_slice(&self.bytes);
        for hole in &self.holes {
            out[base + hole..base + hole + DIGITS].copy_from_slice(&digits);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cast_mark_is_found_again() {
        let marks = Marks::new(0xbeef);
        let mould = Mould::default().text(b"ebbeef [").mark(&marks.blank(Direction::XmppToSip)).text(b"] rest");
        let mut out = b"before ".to_vec();
        mould.cast(0xdead_1234, &mut out);
        assert_eq!(out, b"before ebbeef [ebbeefxdead1234] rest");
        let (direction, sequence, end) = marks.find(&out).expect("the mark is there");
        assert_eq!((direction, sequence, &out[end..]), (Direction::XmppToSip, 0xdead_1234, &b"] rest"[..]));
    }

    #[test]
    fn marks_of_another_run_and_broken_marks_are_not_found() {
        let marks = Marks::new(1);
        for text in ["", "eb0002s00000000", "eb0001q00000000", "eb0001s0000000", "eb0001s0000000g"] {
            assert_eq!(marks.find(text.as_bytes()), None, "{text}");
        }
    }
}
