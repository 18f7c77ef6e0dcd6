//! SIP as strangers may send it.

use cpim::{DomainPattern, Presentation, Presentations, Rule};
use sip::wire::framing::{Framed, Framer};
use sip::wire::uri::Uri;
use sip::wire::{Carriage, HeaderName, Limits, Message, NameAddr, Via, parse};
use sip_connector::translate::address::{Party, Rules};
use sip_connector::translate::envelope::Context;
use sip_connector::{NumberForm, Numbers};

/// A message: what is read of it stands in it, octet for octet, and is read alike once more.
pub(super) fn message(data: &[u8]) {
    let limits = Limits::default();
    for carriage in [Carriage::Datagram, Carriage::Stream] {
        let (head, body, bytes) = match parse(data, carriage, &limits) {
            Ok(Message::Request(request)) => {
                if let Ok(essentials) = request.check(&limits) {
                    assert!(!essentials.call_id.is_empty(), "a Call-ID has an octet");
                    assert!(request.defect.is_none(), "a defect is told");
                    let (calendar, now) = super::today();
                    let rules = Rules::default();
                    let (host, minter) = ("gw.example", turn::Minter::new([0; 16]));
                    let context = Context { rules: &rules, host, minter: &minter, calendar: &calendar, now };
                    let _ = sip_connector::translate::message::to_cpim(&request, &essentials, context);
                }
                (request.head, request.body, request.bytes)
            }
            Ok(Message::Response(response)) => {
                assert!((100..700).contains(&response.status), "{}", response.status);
                let _ = response.essentials();
                (response.head, response.body, response.bytes)
            }
            Err(_) => continue,
        };
        assert!(is_within(bytes, data) && is_within(body, bytes), "nothing is made up");
        for name in [HeaderName::Via, HeaderName::Contact, HeaderName::Route, HeaderName::RecordRoute] {
            for value in head.all(name) {
                assert!(is_within(value, bytes), "a value is a span of the message");
                let _ = (NameAddr::parse(value).is_ok(), Via::parse(value).is_ok());
            }
        }
    }
}

fn is_within(part: &[u8], whole: &[u8]) -> bool {
    let (part, whole) = (part.as_ptr_range(), whole.as_ptr_range());
    part.start == part.end || (whole.start <= part.start && part.end <= whole.end)
}

/// A stream: however it is cut into reads, the same messages come out of it.
pub(super) fn framing(data: &[u8]) {
    let Some((&cut, data)) = data.split_first() else { return };
    let whole = messages(data, data.len().max(1));
    let pieces = messages(data, usize::from(cut % 16) + 1);
    assert_eq!(whole, pieces, "reads of {} octets", cut % 16 + 1);
}

/// The messages in a stream that arrives in reads of so many octets, and whether it broke.
fn messages(data: &[u8], step: usize) -> (Vec<Vec<u8>>, Option<String>) {
    let mut framer = Framer::new(&Limits { message: 4096, ..Limits::default() });
    let (mut start, mut end) = (0, 0);
    let mut messages = Vec::new();
    loop {
        match framer.scan(&data[start..end]) {
            Framed::Message { bytes, consumed } => {
                assert!(consumed > 0 && bytes.len() <= consumed, "a message takes octets");
                messages.push(bytes.to_vec());
                start += consumed;
            }
            Framed::KeepAlive { consumed, .. } => {
                assert!(consumed > 0, "line ends take octets");
                start += consumed;
            }
            Framed::Broken(broken) => return (messages, Some(format!("{:?}", broken.why))),
            Framed::Incomplete if end == data.len() => return (messages, None),
            Framed::Incomplete => end = (end + step).min(data.len()),
        }
        assert!(start <= end, "no more is consumed than there is");
    }
}

/// A URI: it is equivalent to itself, and an address made of it leads back to the same address.
pub(super) fn uri(data: &[u8]) {
    let Ok(uri) = Uri::parse(data) else { return };
    assert!(uri.equivalent(&uri), "a URI is what it is");
    for (name, _) in uri.params() {
        if let Ok(name) = std::str::from_utf8(name) {
            assert!(uri.param(name).is_some(), "a parameter is found by its name: {name:?}");
        }
    }
    for rule in [Rule::Same, Rule::Map, Rule::Encode] {
        let presentations = Presentations::new(vec![Presentation {
            home: DomainPattern::Exactly("xmpp.example".into()),
            shown_as: if rule == Rule::Same { "" } else { "gw.sip.example" }.into(),
            rule,
        }]);
        for form in [NumberForm::Plain, NumberForm::Phone, NumberForm::Tel] {
            let foreign_numbers = Some(Numbers { domain: "xmpp.example".into(), form });
            let rules = Rules { presentations: presentations.clone(), foreign_numbers, ..Rules::default() };
            let Ok(address) = rules.to_cpim(&uri, Party::Foreign) else { continue };
            let mut text = Vec::new();
            if rules.write_foreign(&address, &mut text).is_err() {
                rules.write_native(&address, &mut text);
            }
            let back = Uri::parse(&text).unwrap_or_else(|_| panic!("{} is a URI", text.escape_ascii()));
            let again = rules.to_cpim(&back, Party::Foreign);
            assert_eq!(again.as_ref(), Ok(&address), "{}", text.escape_ascii());
        }
    }
}
