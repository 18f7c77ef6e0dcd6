use super::*;
use proptest::prelude::*;

fn message(body: &str) -> Vec<u8> {
    format!("MESSAGE sip:a@b.example SIP/2.0\r\nVia: SIP/2.0/TCP a\r\nl : {}\r\n\r\n{body}", body.len()).into_bytes()
}

fn framer() -> Framer {
    Framer::new(&Limits { message: 1000, ..Limits::default() })
}

/// Feeds `stream` in pieces of the given sizes, as a driver does; returns the messages and what ended it.
fn run(stream: &[u8], sizes: &[usize]) -> (Vec<Vec<u8>>, usize, Option<Breakage>) {
    let mut framer = framer();
    let (mut messages, mut pings, mut consumed, mut received) = (Vec::new(), 0, 0, 0);
    let mut sizes = sizes.iter().cycle();
    while received < stream.len() {
        received = (received + sizes.next().unwrap()).min(stream.len());
        loop {
            match framer.scan(&stream[consumed..received]) {
                Framed::Incomplete => break,
                Framed::KeepAlive { consumed: bytes, ping } => {
                    assert!(bytes > 0);
                    consumed += bytes;
                    pings += usize::from(ping);
                }
                Framed::Message { bytes, consumed: all } => {
                    messages.push(bytes.to_vec());
                    consumed += all;
                }
                Framed::Broken(broken) => return (messages, pings, Some(broken.why)),
            }
        }
    }
    (messages, pings, None)
}

#[test]
fn messages_and_keep_alives_are_found_however_they_are_cut() {
    let messages = [message("one\r\n\r\n"), message(""), message("three")];
    let stream = [&messages[0][..], b"\r\n", &messages[1], b"\r\n\r\n", &messages[2]].concat();
    for size in 1..stream.len() {
        assert_eq!(run(&stream, &[size]), (messages.to_vec(), 1, None), "pieces of {size}");
    }
}

#[test]
fn a_stream_that_cannot_be_followed_is_broken() {
    let head = "MESSAGE sip:a@b.example SIP/2.0\r\nVia: SIP/2.0/TCP a\r\n";
    let long = format!("MESSAGE {}", "x".repeat(1000));
    let table = [
        (format!("{head}\r\n"), Breakage::Length),
        (format!("{head}Content-Length: x\r\n\r\n"), Breakage::Length),
        (format!("{head}Content-Length: -1\r\n\r\n"), Breakage::Length),
        (format!("{head}Content-Length: 1\r\nl: 2\r\n\r\n"), Breakage::Length),
        (format!("{head}Content-Length: 18446744073709551616\r\n\r\n"), Breakage::Length),
        (format!("{head}X: y\nContent-Length: 5\r\nl: 0\r\n\r\n"), Breakage::Length),
        (format!("{head}Content-Length: 1000\r\n\r\n"), Breakage::TooLong),
        (long, Breakage::TooLong),
        ("\0\0\0".to_owned(), Breakage::NotSip),
        ("{\"json\": 1}".to_owned(), Breakage::NotSip),
    ];
    for (stream, why) in table {
        assert_eq!(run(stream.as_bytes(), &[stream.len()]).2, Some(why), "{stream}");
        assert_eq!(run(stream.as_bytes(), &[7]).2, Some(why), "{stream}");
    }
}

#[test]
fn a_broken_message_can_be_answered_by_its_header() {
    let stream = b"MESSAGE sip:a@b.example SIP/2.0\r\nVia: SIP/2.0/TCP a\r\n\r\nbody";
    let Framed::Broken(broken) = framer().scan(stream) else { panic!() };
    let limits = Limits::default();
    let parsed = super::super::parse(broken.bytes, super::super::Carriage::Stream, &limits);
    let Ok(super::super::Message::Request(request)) = parsed else { panic!() };
    assert_eq!(request.check(&limits).map(|_| ()).unwrap_err().reason, "Bad Request: Missing Content-Length");
}

#[test]
fn a_folded_content_length_counts() {
    let stream = b"MESSAGE sip:a@b.example SIP/2.0\r\nContent-Length:\r\n  4\r\n\r\nbodynext";
    let Framed::Message { consumed, .. } = framer().scan(stream) else { panic!() };
    assert_eq!(consumed, stream.len() - 4);
}

proptest! {
    #[test]
    fn cutting_never_changes_what_is_found(
        parts in proptest::collection::vec(prop_oneof![
            "[a-z\r\n]{0,9}".prop_map(|body| message(&body)),
            Just(b"\r\n".to_vec()),
            Just(b"MESSAGE x SIP/2.0\r\n\r\n".to_vec()),
            proptest::collection::vec(any::<u8>(), 0..4),
        ], 0..8),
        sizes in proptest::collection::vec(1..50_usize, 1..6),
    ) {
        let stream = parts.concat();
        let whole = run(&stream, &[stream.len().max(1)]);
        let cut = run(&stream, &sizes);
        prop_assert_eq!(&whole.0, &cut.0);
        prop_assert_eq!(whole.2, cut.2);
    }
}
