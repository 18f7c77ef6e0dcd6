//! A phone says that its user is elsewhere.

use std::time::Duration;

use entente_tests::peers::sipp::Answerer;
use entente_tests::peers::{Prosody, Sipp};

use crate::lab::{Extras, Lab};

/// RFC 3261 section 8.1.3.4.
#[test]
fn a_redirected_message_arrives_where_it_was_sent_to() {
    let extras = Extras { sip: "follow_redirects = [\"sip.example\"]\n", ..Extras::default() };
    let lab = Lab::<Prosody>::start_with("redirected", extras);
    let mut carol = lab.phone("carol");
    let contact = "Contact: <sip:nobody@elsewhere.example>;q=0.9, <sip:carol@sip.example>;q=0.3";
    let bob = Answerer::start(&lab.folder, "302 Moved Temporarily", &[contact]);
    Sipp::register(&lab.folder, lab.kamailio.port, "sip:bob@sip.example", bob.port);
    let mut romeo = lab.xmpp_user("romeo");
    romeo.send("bob@sip.example", "m1", "are you there");
    let got = carol.expect_message();
    assert_eq!(got.body(), "are you there");
    romeo.expect_nothing(Duration::from_millis(500));
    let asked: Vec<_> = bob.finish().into_iter().filter(|traced| traced.method() == Some("MESSAGE")).collect();
    assert_eq!(asked.len(), 1, "once: {asked:#?}");
}
