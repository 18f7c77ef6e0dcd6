//! Finds where stanzas begin and end in a component stream, and reads the attributes of their start tags.
//!
//! Light on purpose: it trusts that the bytes are XML, and fails loudly (a stanza that never ends) where they are not. It is
//! an independent witness of what the gateway writes, so it shares no code with it.

use std::ops::Range;

use memchr::{memchr, memchr3, memmem};

#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Piece {
    /// The start tag of the stream.
    Header(Range<usize>),
    /// One element directly below it.
    Stanza(Range<usize>),
    /// The end tag of the stream.
    End,
}

#[derive(Default)]
pub(crate) struct Scanner {
    depth: u32,
    /// Where scanning goes on, relative to the unread bytes.
    at: usize,
    /// Where the stanza that is open began.
    start: usize,
}

impl Scanner {
    /// For a stream whose header has been read already.
    pub(crate) fn inside() -> Self {
        Self { depth: 1, ..Self::default() }
    }

    /// The next piece that is complete in `data`, and how many bytes to consume up to its end. The caller consumes exactly
    /// those before the next call; without a piece it consumes nothing.
    pub(crate) fn next(&mut self, data: &[u8]) -> Option<(Piece, usize)> {
        loop {
            let open = self.at + memchr(b'<', data.get(self.at..)?)?;
            let end = markup_end(data, open)?;
            self.at = end;
            match data[open + 1] {
                b'?' | b'!' => {}
                b'/' => {
                    self.depth = self.depth.saturating_sub(1);
                    match self.depth {
                        0 => return Some(self.piece(Piece::End, end)),
                        1 => return Some(self.piece(Piece::Stanza(self.start..end), end)),
                        _ => {}
                    }
                }
                _ => {
                    if self.depth == 1 {
                        self.start = open;
                    }
                    let empty = data[end - 2] == b'/';
                    if !empty {
                        self.depth += 1;
                    }
                    match self.depth {
                        1 if empty => return Some(self.piece(Piece::Stanza(open..end), end)),
                        1 => return Some(self.piece(Piece::Header(open..end), end)),
                        _ => {}
                    }
                }
            }
        }
    }

    fn piece(&mut self, piece: Piece, end: usize) -> (Piece, usize) {
        self.at = 0;
        (piece, end)
    }
}

/// The offset behind the markup that begins at `open`.
fn markup_end(data: &[u8], open: usize) -> Option<usize> {
    let rest = &data[open..];
    let closed_by = |terminator: &[u8]| memmem::find(rest, terminator).map(|at| open + at + terminator.len());
    match rest.get(1)? {
        b'?' => closed_by(b"?>"),
        b'!' if rest.starts_with(b"<![CDATA[") => closed_by(b"]]>"),
        b'!' => closed_by(b"-->"),
        _ => {
            let mut at = 1;
            loop {
                let found = at + memchr3(b'>', b'"', b'\'', &rest[at..])?;
                match rest[found] {
                    b'>' => return Some(open + found + 1),
                    quote => at = found + 2 + memchr(quote, &rest[found + 1..])?,
                }
            }
        }
    }
}

/// The name and the addressing attributes of a stanza's start tag; absent ones are empty.
#[derive(Default, Debug, PartialEq, Eq)]
pub(crate) struct StartTag<'a> {
    pub(crate) name: &'a [u8],
    pub(crate) from: &'a [u8],
    pub(crate) to: &'a [u8],
    pub(crate) id: &'a [u8],
    pub(crate) kind: &'a [u8],
}

impl<'a> StartTag<'a> {
    /// Reads the tag at the start of `element`. Values are as written: entities are not replaced.
    pub(crate) fn read(element: &'a [u8]) -> Self {
        let mut tag = Self::default();
        let mut rest = element.get(1..).unwrap_or_default();
        let name_end = rest.iter().position(|byte| matches!(byte, b' ' | b'\t' | b'\r' | b'\n' | b'/' | b'>'));
        tag.name = &rest[..name_end.unwrap_or(rest.len())];
        rest = &rest[tag.name.len()..];
        loop {
            rest = rest.trim_ascii_start();
            let Some(equals) = memchr::memchr2(b'=', b'>', rest) else { return tag };
            if rest[equals] == b'>' {
                return tag;
            }
            let name = rest[..equals].trim_ascii();
            rest = rest[equals + 1..].trim_ascii_start();
            let Some((quote, value)) = rest.split_first() else { return tag };
            let Some(length) = memchr(*quote, value) else { return tag };
            let value = &value[..length];
            match name {
                b"from" => tag.from = value,
                b"to" => tag.to = value,
                b"id" => tag.id = value,
                b"type" => tag.kind = value,
                _ => {}
            }
            rest = &rest[length + 2..];
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const STREAM: &str = "<?xml version='1.0'?><stream:stream to='sip.test' a='>'> <handshake>00</handshake>\
        <message to=\"a>b\"><body>x &lt; y</body><x/></message><iq/> <presence to='/>'/>\
        <message><body><![CDATA[</message>]]></body></message></stream:stream>";

    fn pieces(chunks: &[&[u8]]) -> Vec<String> {
        let (mut scanner, mut unread, mut seen) = (Scanner::default(), Vec::new(), Vec::new());
        for chunk in chunks {
            unread.extend_from_slice(chunk);
            while let Some((piece, end)) = scanner.next(&unread) {
                let text = |range: Range<usize>| String::from_utf8_lossy(&unread[range]).into_owned();
                seen.push(match piece {
                    Piece::Header(range) => format!("header {}", text(range)),
                    Piece::Stanza(range) => text(range),
                    Piece::End => "end".to_owned(),
                });
                unread.drain(..end);
            }
        }
        seen
    }

    #[test]
    fn a_stream_falls_into_its_stanzas() {
        assert_eq!(
            pieces(&[STREAM.as_bytes()]),
            [
                "header <stream:stream to='sip.test' a='>'>",
                "<handshake>00</handshake>",
                "<message to=\"a>b\"><body>x &lt; y</body><x/></message>",
                "<iq/>",
                "<presence to='/>'/>",
                "<message><body><![CDATA[</message>]]></body></message>",
                "end"
            ]
        );
    }

    proptest! {
        #[test]
        fn where_the_reads_end_makes_no_difference(cuts in proptest::collection::btree_set(1..STREAM.len(), 0..12)) {
            let mut chunks = Vec::new();
            let mut start = 0;
            for cut in cuts.into_iter().chain([STREAM.len()]) {
                chunks.push(&STREAM.as_bytes()[start..cut]);
                start = cut;
            }
            prop_assert_eq!(pieces(&chunks), pieces(&[STREAM.as_bytes()]));
        }

        #[test]
        fn no_bytes_make_it_panic(data in proptest::collection::vec(prop_oneof![Just(b'<'), Just(b'>'), Just(b'/'), Just(b'\''), Just(b'='), Just(b'!'), Just(b'?'), any::<u8>()], 0..64)) {
            let mut scanner = Scanner::default();
            let mut unread = &data[..];
            while let Some((_, end)) = scanner.next(unread) {
                unread = &unread[end..];
            }
            StartTag::read(&data);
        }
    }

    #[test]
    fn attributes_are_read_in_any_order_and_quoting() {
        let tag =
            StartTag::read(b"<message  id = 'i>1' to=\"a@b\" xmlns='x'\n from='c@d/e' type='chat'><body to='no'/>");
        assert_eq!(tag, StartTag { name: b"message", from: b"c@d/e", to: b"a@b", id: b"i>1", kind: b"chat" });
        assert_eq!(StartTag::read(b"<iq/>").name, b"iq");
    }
}
