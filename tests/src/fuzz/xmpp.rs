//! XMPP as strangers may send it.

use cpim::Presentations;
use xml::{Frame, Framer, Limits, Reader, StreamNamespaces};
use xmpp::escape::{escape_local, unescape_local};
use xmpp::jid::{JidError, JidParts};
use xmpp::ns;
use xmpp::stanza::{OutMessage, Stanza, parse_stanza, write_message};
use xmpp_connector::translate::message;

/// Small ones, so that they are reached.
const LIMITS: Limits = Limits { stanza: 10_000, header: 1000, depth: 16, attributes: 20, namespaces: 8 };

/// A stream: however it is cut into reads, the same elements come out of it.
pub(super) fn framer(data: &[u8]) {
    let Some((&cut, data)) = data.split_first() else { return };
    for tolerant in [false, true] {
        let mut whole = frames(data, data.len().max(1), tolerant);
        let mut pieces = frames(data, usize::from(cut % 16) + 1, tolerant);
        // What is too long is told as soon as that is seen, whatever else is wrong further on.
        if data.len() > LIMITS.header {
            let common = whole.iter().zip(&pieces).take_while(|(one, other)| one == other).count();
            let is_length = |frames: &[String]| frames.get(common).is_some_and(|frame| frame.contains("too long"));
            if is_length(&whole) || is_length(&pieces) {
                whole.truncate(common);
                pieces.truncate(common);
            }
        }
        assert_eq!(whole, pieces, "reads of {} octets, tolerant: {tolerant}", cut % 16 + 1);
    }
}

/// What stands in a stream that arrives in reads of so many octets, and what ended it.
fn frames(data: &[u8], step: usize, tolerant: bool) -> Vec<String> {
    let mut framer = if tolerant { Framer::tolerant(LIMITS) } else { Framer::new(LIMITS) };
    let (mut start, mut end) = (0, 0);
    let mut frames = Vec::new();
    loop {
        let consumed = match framer.scan(&data[start..end]) {
            Ok(Frame::Incomplete { consumed }) => {
                if end == data.len() && consumed == 0 {
                    return frames;
                }
                end = (end + step).min(data.len());
                consumed
            }
            Ok(Frame::Header { bytes, consumed }) => {
                assert!(consumed > 0 && bytes.len() <= consumed);
                frames.push(format!("header {}", bytes.escape_ascii()));
                consumed
            }
            Ok(Frame::Stanza { bytes, consumed }) => {
                assert!(consumed > 0 && bytes.len() <= consumed && bytes.len() <= LIMITS.stanza);
                frames.push(format!("stanza {}", bytes.escape_ascii()));
                consumed
            }
            Ok(Frame::Excess { error, consumed, .. }) => {
                frames.push(format!("excess {error}"));
                consumed
            }
            Ok(Frame::Close { consumed }) => {
                assert!(consumed > 0);
                frames.push("close".to_owned());
                return frames;
            }
            Err(error) => {
                frames.push(format!("{error}"));
                return frames;
            }
        };
        start += consumed;
        assert!(start <= end, "no more is consumed than there is");
    }
}

/// A stanza: what is read of a message is read alike once it is written, and what the gateway makes of it is bounded.
pub(super) fn stanza(data: &[u8]) {
    let namespaces = StreamNamespaces::new(ns::COMPONENT);
    let Ok(stanza) = parse_stanza(data, &namespaces, &LIMITS) else { return };
    let Stanza::Message(message) = stanza else { return };
    let (presentations, (calendar, _)) = (Presentations::default(), super::today());
    let context = message::Context { presentations: &presentations, calendar: &calendar };
    let _ = message::to_cpim(&message, context);
    let [from, to, id, body] = [
        message.from.as_deref(),
        message.to.as_deref(),
        message.id.as_deref(),
        message.bodies.first().map(|body| &*body.text),
    ];
    let mut written = Vec::new();
    write_message(
        &OutMessage {
            from: from.unwrap_or_default().as_bytes(),
            to: to.unwrap_or_default().as_bytes(),
            id: id.unwrap_or_default().as_bytes(),
            kind: message.kind,
            subjects: &message.subjects,
            body: body.map(str::as_bytes),
            thread: message.thread.as_deref().map(str::as_bytes),
            ..OutMessage::default()
        },
        &mut written,
    );
    let again = parse_stanza(&written, &namespaces, &Limits::default());
    let Ok(Stanza::Message(again)) = again else { panic!("{}: {again:?}", written.escape_ascii()) };
    assert_eq!(again.kind, message.kind);
    assert_eq!(again.bodies.first().map(|body| &*body.text), body);
    assert_eq!(again.from.as_deref().unwrap_or_default(), from.unwrap_or_default());
    assert_eq!(again.to.as_deref().unwrap_or_default(), to.unwrap_or_default());
    assert_eq!(again.id.as_deref().unwrap_or_default(), id.unwrap_or_default());
    assert_eq!(again.thread.as_deref().unwrap_or_default(), message.thread.as_deref().unwrap_or_default());
    assert_eq!(again.subjects.len(), message.subjects.len());
}

/// Every stanza is read to its end by the strict reader.
pub(super) fn assert_strict(stanza: &[u8]) {
    let namespaces = StreamNamespaces::new(ns::COMPONENT);
    let mut reader = Reader::new(stanza, &namespaces, &Limits::default()).expect("UTF-8");
    let read = reader.next().and_then(|_| reader.skip_element()).and_then(|_| reader.finish());
    assert!(read.is_ok(), "{}: {read:?}", stanza.escape_ascii());
}

type Reading = for<'a> fn(&'a str) -> Result<JidParts<'a>, JidError>;

/// A JID: its normal form is its own normal form, and a local part survives its escaping.
pub(super) fn jid(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let readers: [Reading; 2] = [|text| JidParts::parse(text), |text| JidParts::parse_stamped(text)];
    for read in readers {
        let Ok(jid) = read(text) else { continue };
        let mut written = Vec::new();
        jid.write(&mut written);
        let written = String::from_utf8(written).expect("UTF-8");
        assert_eq!(read(&written).as_ref(), Ok(&jid), "{text:?} is {written:?}");
        assert!(written.len() <= 3 * 1023 + 2, "three parts and what separates them");
    }
    if let Ok(escaped) = escape_local(text) {
        assert_eq!(unescape_local(&escaped), text, "{escaped:?}");
        assert!(!escaped.contains([' ', '"', '&', '\'', '/', ':', '<', '>', '@']), "{escaped:?}");
    }
}
