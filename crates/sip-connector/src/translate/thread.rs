//! Conversations: Call-IDs and threads (RFC 7572 tables 1 and 2).
//!
//! A Call-ID of ours is the mark of the message, unique and known again, then the thread in a form that can be read back,
//! then the name of the gateway:
//!
//! ```text
//! mfyhqkq3m2cbf4tub5ea3y6nhc7ohyzwl.e0ffe42b28561960c6b12b944a092794b9683a38@gw.example
//! `----------- mark --------------' `------------ thread ----------------'
//! ```
//!
//! One of them that comes back in a request, from a client that keeps the Call-ID of what it answers, yields the thread. The
//! Call-ID of anybody else becomes a thread that follows from it and from the two who talk, and says nothing: many clients
//! write there where they are, which is nobody's business, and some make the same Call-IDs after each start.

use cpim::{ImUri, Mark, Thread};
use sip::wire::print::unescape;
use std::borrow::Cow;
use turn::Minter;

/// A longer thread, as it is written, is left out: it would fill the request. Threads are UUIDs and hashes.
const LONGEST_WRITTEN: usize = 192;

/// Appends the Call-ID of a message.
pub fn write_call_id(mark: &Mark, thread: Option<&Thread<'_>>, host: &str, out: &mut Vec<u8>) {
    out.extend_from_slice(mark.as_bytes());
    // A conversation that has no name on the XMPP side never comes from there.
    let name = thread.and_then(|thread| match thread {
        Thread::Named(name) => Some(&**name),
        Thread::Unnamed(_) => None,
    });
    if let Some(thread) = name.filter(|thread| !thread.is_empty() && thread.len() <= LONGEST_WRITTEN) {
        let start = out.len();
        out.push(b'.');
        for &byte in thread.as_bytes() {
            // All of it is legal in a `word` of RFC 3261 section 25.1.
            if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b'+' | b'~' | b'!' | b'*') {
                out.push(byte);
            } else {
                let digit = |value: u8| char::from_digit(u32::from(value), 16).unwrap_or('0') as u8;
                out.extend_from_slice(&[b'%', digit(byte >> 4), digit(byte & 15)]);
            }
        }
        if out.len() - start > LONGEST_WRITTEN + 1 {
            out.truncate(start);
        }
    }
    out.push(b'@');
    out.extend_from_slice(host.as_bytes());
}

/// Reads the Call-ID of a request that came in at the gateway `host`. `None` for one of ours that carries no thread.
pub fn conversation<'a>(
    call_id: &'a [u8],
    host: &str,
    minter: &Minter,
    source: &ImUri<'_>,
    destination: &ImUri<'_>,
) -> Option<Thread<'a>> {
    if let Some(own) = of_ours(call_id, host) {
        return own.get(Mark::LENGTH..)?.strip_prefix('.').and_then(name).map(Thread::Named);
    }
    let [from, to] = [source, destination].map(|address| (address.local().as_bytes(), address.domain().as_bytes()));
    Some(Thread::Unnamed(minter.keyed(&[b"thread", call_id, from.0, from.1, to.0, to.1])))
}

/// What stands in front of our name in a Call-ID of ours.
fn of_ours<'a>(call_id: &'a [u8], host: &str) -> Option<&'a str> {
    let text = std::str::from_utf8(call_id).ok()?;
    text.strip_suffix(host)?.strip_suffix('@').filter(|own| Mark::begins(own))
}

fn name(written: &str) -> Option<Cow<'_, str>> {
    if !written.contains('%') {
        return (!written.is_empty()).then_some(Cow::Borrowed(written));
    }
    let mut octets = Vec::with_capacity(written.len());
    unescape(written.as_bytes(), &mut octets);
    String::from_utf8(octets).ok().map(Cow::Owned)
}

#[cfg(test)]
mod tests {
    use super::*;
    use cpim::{Marker, TransId};
    use proptest::prelude::*;

    const HOST: &str = "gw.example";

    fn people() -> [ImUri<'static>; 2] {
        ["im:a@b.example", "im:c@d.example"].map(|uri| ImUri::parse(uri).unwrap())
    }

    fn read(call_id: &[u8]) -> Option<Thread<'_>> {
        let [a, b] = people();
        conversation(call_id, HOST, &Minter::new([2; 16]), &a, &b)
    }

    fn mark(n: u8) -> Mark {
        let [a, b] = people();
        Marker::new(Minter::new([1; 16])).mark(&TransId::new(&[n]), 1, &a, &b)
    }

    fn written(thread: Option<&str>) -> String {
        let mut out = Vec::new();
        let thread = thread.map(|thread| Thread::Named(thread.into()));
        write_call_id(&mark(1), thread.as_ref(), HOST, &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn rows() {
        let mark = mark(1);
        let mark = mark.as_str();
        for (thread, expected) in [
            (None, format!("{mark}@gw.example")),
            (Some(""), format!("{mark}@gw.example")),
            (Some("e0ffe42b-2856"), format!("{mark}.e0ffe42b-2856@gw.example")),
            (Some("a@b <c>\r\n\"%\u{e9}"), format!("{mark}.a%40b%20%3cc%3e%0d%0a%22%25%c3%a9@gw.example")),
        ] {
            assert_eq!(written(thread), expected);
            let name = thread.filter(|thread| !thread.is_empty()).map(|thread| Thread::Named(thread.into()));
            assert_eq!(read(expected.as_bytes()), name);
        }
        for foreign in ["711609sa@sip.example", "711609sa@gw.example", "", "\u{e9}", &format!("{mark}.t@other.example")]
        {
            assert!(matches!(read(foreign.as_bytes()), Some(Thread::Unnamed(_))), "not of ours: {foreign}");
        }
        let with = |escapes: &str| format!("{mark}.{escapes}@gw.example");
        assert_eq!(read(with("%ff").as_bytes()), None, "nothing that we wrote");
        assert_eq!(read(with("").as_bytes()), None);
    }

    /// Some clients make the same Call-IDs after each start, in the same order: it is no name of a conversation in the world.
    #[test]
    fn a_foreign_call_id_names_a_conversation_of_two_people() {
        let minter = Minter::new([2; 16]);
        let [a, b] = people();
        let thread = |call_id: &'static [u8], from, to| conversation(call_id, HOST, &minter, from, to);
        let first = thread(b"1@192.0.2.7", &a, &b);
        assert_eq!(first, thread(b"1@192.0.2.7", &a, &b));
        assert_ne!(first, thread(b"2@192.0.2.7", &a, &b));
        assert_ne!(first, thread(b"1@192.0.2.7", &b, &a));
    }

    #[test]
    fn a_long_thread_does_not_become_a_call_id() {
        for thread in ["x".repeat(60_000), "x".repeat(LONGEST_WRITTEN + 1), "<".repeat(LONGEST_WRITTEN)] {
            assert_eq!(written(Some(&thread)), written(None));
        }
        let longest = "x".repeat(LONGEST_WRITTEN);
        assert_eq!(read(written(Some(&longest)).as_bytes()), Some(Thread::Named(longest.as_str().into())));
    }

    proptest! {
        #[test]
        fn every_thread_comes_back(thread in "\\PC{1,16}") {
            let call_id = written(Some(&thread));
            prop_assert!(call_id.bytes().all(|byte| byte.is_ascii_graphic()));
            prop_assert_eq!(call_id.matches('@').count(), 1);
            prop_assert_eq!(read(call_id.as_bytes()), Some(Thread::Named(thread.into())));
        }

        #[test]
        fn no_call_id_panics(call_id in proptest::collection::vec(any::<u8>(), 0..100)) {
            let mut of_ours = mark(1).as_bytes().to_vec();
            of_ours.extend_from_slice(&call_id);
            read(&of_ours);
            of_ours.extend_from_slice(b"@gw.example");
            read(&of_ours);
        }
    }
}
