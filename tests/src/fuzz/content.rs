//! Content as strangers may send it.

use cpim::{Accepts, Content, Envelope, ImUri, InstantInbox, MaxForwards, MediaType, Message, TransId, msgfmt};
use std::borrow::Cow;
use xml::{Limits, Reader, StreamNamespaces};
use xmpp_connector::translate::content::present;
use xmpp_connector::translate::{e2e, xhtml};

/// Octets that a content may have once it is decoded.
const LIMIT: usize = 100_000;

/// A message/cpim: what is read prints as it was, octet for octet.
pub(super) fn message_cpim(data: &[u8]) {
    let Ok(message) = msgfmt::parse(data) else { return };
    let mut printed = Vec::new();
    message.print(&mut printed);
    assert_eq!(printed, data, "it may be signed");
    for header in message.headers() {
        let _ = (header.text(), header.language(), header.params().count());
    }
    let _ = message.unmet_requirement(|_, _| false);
    let addresses = [message.from().count(), message.to().count(), message.cc().count()];
    assert!(addresses.iter().sum::<usize>() <= message.headers().len(), "an address is a header");
    let _ = (message.date_time(), message.subjects().count(), message.entity.decoded_body());
}

/// A content: type, encoding and body, each on a line of its own but the last. What is shown of it is bounded.
pub(super) fn presented(data: &[u8]) {
    let mut lines = data.splitn(3, |&octet| octet == b'\n');
    let (Some(raw), Some(encoding), Some(body)) = (lines.next(), lines.next(), lines.next()) else { return };
    let Some(media_type) = MediaType::parse(raw) else { return };
    let address = |text| InstantInbox(ImUri::parse(text).expect("an address"));
    let message = Message {
        content: Content {
            media_type: Some(media_type),
            encoding: (!encoding.is_empty()).then_some(encoding),
            body: Cow::Borrowed(body),
            ..Content::default()
        },
        source: address("im:juliet@sip.example"),
        destination: address("im:romeo@xmpp.example"),
        max_forwards: MaxForwards(70),
        trans_id: TransId::from_bits(1),
        wire_id: Cow::Borrowed(b"1"),
        envelope: Envelope::default(),
    };
    let accepts = Accepts::new(["application/*", "image/*"]).expect("types");
    if let Ok(presented) = present(&message, &accepts, LIMIT) {
        assert!(presented.body.len() <= 3 * LIMIT, "{} octets", presented.body.len());
        for html in &presented.html {
            let body = format!("<body>{}</body>", html.text);
            let namespaces = StreamNamespaces::new("http://www.w3.org/1999/xhtml");
            let limits = Limits { stanza: usize::MAX, ..Limits::default() };
            let mut reader = Reader::new(body.as_bytes(), &namespaces, &limits).expect("characters of XML");
            reader.finish().expect("well-formed whatever came");
            let _ = xhtml::to_html(&body, &presented.body);
        }
        if let Some(entity) = &presented.entity {
            e2e::unwrap(entity).expect("what was wrapped can be unwrapped");
        }
    }
}
