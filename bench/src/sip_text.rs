//! Just enough of RFC 3261 to be a user agent: lines of a head, the addresses in it, the answer to a request.

use std::net::SocketAddr;

use memchr::{memchr, memmem};

/// A head field by what the generator does with it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Field {
    Via,
    From,
    To,
    CallId,
    CSeq,
    ContentLength,
    Other,
}

impl Field {
    /// Full and compact names, RFC 3261 7.3.3.
    fn of(name: &[u8]) -> Self {
        const NAMES: [(&[u8], Field); 11] = [
            (b"via", Field::Via),
            (b"v", Field::Via),
            (b"from", Field::From),
            (b"f", Field::From),
            (b"to", Field::To),
            (b"t", Field::To),
            (b"call-id", Field::CallId),
            (b"i", Field::CallId),
            (b"cseq", Field::CSeq),
            (b"content-length", Field::ContentLength),
            (b"l", Field::ContentLength),
        ];
        NAMES.iter().find(|(known, _)| name.eq_ignore_ascii_case(known)).map_or(Self::Other, |(_, field)| *field)
    }
}

/// The lines below the start line, each with its field, its value and all of it without the line end. A folded line takes the
/// field of the line it continues.
struct Lines<'a> {
    rest: &'a [u8],
    last: Field,
}

impl<'a> Iterator for Lines<'a> {
    type Item = (Field, &'a [u8], &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let end = memchr(b'\n', self.rest)?;
        let line = self.rest[..end].trim_ascii_end();
        self.rest = &self.rest[end + 1..];
        let first = line.first()?;
        if !first.is_ascii_whitespace() {
            let colon = memchr(b':', line).unwrap_or(line.len());
            self.last = Field::of(line[..colon].trim_ascii_end());
            return Some((self.last, line.get(colon + 1..).unwrap_or_default().trim_ascii(), line));
        }
        Some((self.last, line.trim_ascii(), line))
    }
}

/// A message cut into start line, head and body.
#[derive(Clone, Copy)]
pub(crate) struct Message<'a> {
    pub(crate) start: &'a [u8],
    head: &'a [u8],
    pub(crate) body: &'a [u8],
}

impl<'a> Message<'a> {
    /// One whole datagram.
    pub(crate) fn of_datagram(bytes: &'a [u8]) -> Option<Self> {
        let (start, head, body) = split(bytes)?;
        Some(Self { start, head, body })
    }

    /// The first message of a stream, once it is complete, and its length with any line ends before it (keep-alives).
    pub(crate) fn of_stream(bytes: &'a [u8]) -> Option<(Self, usize)> {
        let skipped = bytes.iter().take_while(|byte| matches!(byte, b'\r' | b'\n')).count();
        let (start, head, rest) = split(&bytes[skipped..])?;
        let length = lines(head)
            .find(|(field, ..)| *field == Field::ContentLength)
            .and_then(|(_, value, _)| std::str::from_utf8(value).ok()?.parse::<usize>().ok())
            .unwrap_or(0);
        let body = rest.get(..length)?;
        Some((Self { start, head, body }, bytes.len() - rest.len() + length))
    }

    pub(crate) fn status(&self) -> Option<u16> {
        let digits = self.start.strip_prefix(b"SIP/2.0 ")?.get(..3)?;
        std::str::from_utf8(digits).ok()?.parse().ok()
    }

    pub(crate) fn method(&self) -> &'a [u8] {
        self.start.split(|byte| *byte == b' ').next().unwrap_or_default()
    }

    pub(crate) fn request_uri(&self) -> &'a [u8] {
        self.start.split(|byte| *byte == b' ').nth(1).unwrap_or_default()
    }

    /// The head, where the marks of our own requests come back.
    pub(crate) fn head(&self) -> &'a [u8] {
        self.head
    }

    /// The URI of From, without display name and header parameters.
    pub(crate) fn sender(&self) -> &'a [u8] {
        let value = self.value(Field::From);
        match (memchr(b'<', value), memchr(b'>', value)) {
            (Some(open), Some(close)) if open < close => &value[open + 1..close],
            _ => value.split(|byte| *byte == b';').next().unwrap_or_default().trim_ascii(),
        }
    }

    /// Tells one transaction from another: the top Via holds the branch and the sender, RFC 3261 17.2.3.
    pub(crate) fn transaction(&self) -> u32 {
        let via = self.value(Field::Via);
        // FNV-1a: a collision would only count a duplicate as a retransmission.
        via.iter().fold(0x811c_9dc5, |hash: u32, byte| (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193))
    }

    /// By which a user agent can know a message again, whatever transaction it comes in: Call-ID and From with its tag.
    pub(crate) fn name(&self) -> Vec<u8> {
        [self.value(Field::CallId), b" ", self.value(Field::From)].concat()
    }

    fn value(&self, wanted: Field) -> &'a [u8] {
        lines(self.head).find(|(field, ..)| *field == wanted).map_or(&[], |(_, value, _)| value)
    }

    /// Writes the answer RFC 3261 8.2.6 describes, with received and rport of RFC 3581 in the top Via. `status` is the code and
    /// its reason phrase.
    pub(crate) fn answer(&self, status: &str, source: SocketAddr, out: &mut Vec<u8>) {
        out.extend_from_slice(b"SIP/2.0 ");
        out.extend_from_slice(status.as_bytes());
        out.extend_from_slice(b"\r\n");
        let mut top = true;
        for (field, value, line) in lines(self.head) {
            match field {
                Field::Via if top => {
                    top = false;
                    write_top_via(line, source, out);
                }
                Field::Via | Field::From | Field::CallId | Field::CSeq => out.extend_from_slice(line),
                Field::To => {
                    out.extend_from_slice(line);
                    if memmem::find(value, b";tag=").is_none() {
                        out.extend_from_slice(b";tag=eb");
                    }
                }
                Field::ContentLength | Field::Other => continue,
            }
            out.extend_from_slice(b"\r\n");
        }
        out.extend_from_slice(b"Content-Length: 0\r\n\r\n");
    }
}

fn write_top_via(line: &[u8], source: SocketAddr, out: &mut Vec<u8>) {
    use std::io::Write as _;
    let asked = memmem::find(line, b";rport")
        .filter(|at| matches!(line.get(at + b";rport".len()), None | Some(b';' | b',' | b' ')));
    let Some(at) = asked else { return out.extend_from_slice(line) };
    let end = at + b";rport".len();
    out.extend_from_slice(&line[..end]);
    // Writing into a Vec cannot fail.
    let _ = write!(out, "={};received={}", source.port(), source.ip());
    out.extend_from_slice(&line[end..]);
}

fn lines(head: &[u8]) -> Lines<'_> {
    Lines { rest: head, last: Field::Other }
}

/// Start line, head with its last line end, and what follows the empty line.
fn split(bytes: &[u8]) -> Option<(&[u8], &[u8], &[u8])> {
    let end = memmem::find(bytes, b"\r\n\r\n")?;
    let start = memchr(b'\r', bytes)?;
    let head = bytes.get(start + 2..end + 2).unwrap_or_default();
    Some((&bytes[..start], head, &bytes[end + 4..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    const REQUEST: &[u8] = b"MESSAGE sip:s000001@sip.test SIP/2.0\r\nv: SIP/2.0/UDP 127.0.0.1:5060;branch=z9hG4bK1;rport\r\n\
        Via: SIP/2.0/UDP far.test;branch=z9hG4bK0;rport\r\nMax-Forwards: 70\r\nf: \"A <b>\"\r\n  <sip:x@x.test;gr=a>;tag=1\r\n\
        TO: <sip:s000001@sip.test>\r\nCall-ID: c\r\nCSeq: 7 MESSAGE\r\nl: 4\r\n\r\nbody";

    #[test]
    fn the_answer_repeats_what_identifies_the_transaction() {
        let message = Message::of_datagram(REQUEST).expect("well-formed");
        let mut answer = Vec::new();
        message.answer("200 OK", "127.0.0.9:77".parse().expect("an address"), &mut answer);
        assert_eq!(
            String::from_utf8(answer).expect("text"),
            "SIP/2.0 200 OK\r\nv: SIP/2.0/UDP 127.0.0.1:5060;branch=z9hG4bK1;rport=77;received=127.0.0.9\r\n\
             Via: SIP/2.0/UDP far.test;branch=z9hG4bK0;rport\r\nf: \"A <b>\"\r\n  <sip:x@x.test;gr=a>;tag=1\r\n\
             TO: <sip:s000001@sip.test>;tag=eb\r\nCall-ID: c\r\nCSeq: 7 MESSAGE\r\nContent-Length: 0\r\n\r\n"
        );
    }

    #[test]
    fn a_message_is_cut_out_of_a_stream_only_when_it_is_complete() {
        let stream = [b"\r\n\r\n", REQUEST, b"SIP/2.0"].concat();
        let whole = 4 + REQUEST.len();
        for end in 0..whole {
            assert!(Message::of_stream(&stream[..end]).is_none(), "{end}");
        }
        let (message, used) = Message::of_stream(&stream).expect("complete");
        assert_eq!((message.body, used), (&b"body"[..], whole));
        assert_eq!((message.method(), message.request_uri()), (&b"MESSAGE"[..], &b"sip:s000001@sip.test"[..]));
        assert_eq!(message.status(), None);
    }

    #[test]
    fn the_address_of_the_sender_is_read_with_and_without_brackets() {
        for (from, uri) in
            [("<sip:a@b;x>;tag=1", "sip:a@b;x"), ("sip:a@b;tag=1", "sip:a@b"), ("A <sip:a@b>", "sip:a@b")]
        {
            let bytes = format!("SIP/2.0 480 Gone\r\nFrom: {from}\r\n\r\n");
            let message = Message::of_datagram(bytes.as_bytes()).expect("well-formed");
            assert_eq!(String::from_utf8_lossy(message.sender()), uri);
            assert_eq!(message.status(), Some(480));
        }
    }
}
