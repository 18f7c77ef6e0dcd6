//! The peers without the gateway: what the other tests take for granted about them.

use std::time::Duration;

use entente_tests::peers::clock::PATIENCE;
use entente_tests::peers::kamailio::Carrier;
use entente_tests::peers::sipp::{Answerer, Request};
use entente_tests::peers::{Baresip, Ejabberd, Folder, Kamailio, Linphone, Prosody, Sipp, XmppClient};
use entente_tests::ports::free_port;

const ANSWER: Duration = PATIENCE;

#[test]
fn two_phones_talk_through_kamailio() {
    let folder = Folder::new("phones");
    let kamailio = Kamailio::start(&folder, &["sip.example"], &["alice", "bob", "carol"], free_port(), Carrier::Udp);
    let everyone = ["sip:alice@sip.example", "sip:bob@sip.example", "sip:carol@sip.example", "sip:nobody@sip.example"];
    let mut alice = Baresip::start(&folder, "sip:alice@sip.example", kamailio.port, &everyone);
    let mut bob = Baresip::start(&folder, "sip:bob@sip.example", kamailio.port, &everyone);

    let text = "two lines, <b>&amp; \"marks\"</b>\r\nand 😀";
    alice.send("sip:bob@sip.example", text);
    let got = bob.expect_message();
    assert_eq!(got.body(), text);
    assert_eq!(got.header("Content-Type"), Some("text/plain"));
    assert_eq!(alice.expect_answer(ANSWER).status(), Some(200));

    bob.send("sip:alice@sip.example", "likewise");
    assert_eq!(alice.expect_message().body(), "likewise");
    assert_eq!(bob.expect_answer(ANSWER).status(), Some(200));

    alice.send("sip:carol@sip.example", "offline?");
    assert_eq!(alice.expect_answer(ANSWER).status(), Some(480));
    alice.send("sip:nobody@sip.example", "unknown?");
    assert_eq!(alice.expect_answer(ANSWER).status(), Some(404));
}

#[test]
fn two_kinds_of_phones_talk_through_kamailio() {
    let folder = Folder::new("kinds-of-phones");
    let kamailio = Kamailio::start(&folder, &["sip.example"], &["alice", "bob"], free_port(), Carrier::Udp);
    let mut alice = Linphone::start(&folder, "sip:alice@sip.example", kamailio.port);
    let mut bob = Baresip::start(&folder, "sip:bob@sip.example", kamailio.port, &["sip:alice@sip.example"]);

    alice.send("sip:bob@sip.example", "<b>&amp; \"marks\"</b> and 😀");
    assert_eq!(bob.expect_message().body(), "<b>&amp; \"marks\"</b> and 😀");
    assert_eq!(alice.expect_fate(ANSWER), "Delivered");
    bob.send("sip:alice@sip.example", "two lines\nand \"marks\" in them");
    let (from, text) = alice.expect_message();
    assert_eq!((from.as_str(), text.as_str()), ("sip:bob@sip.example", "two lines\nand \"marks\" in them"));
    alice.send("sip:nobody@sip.example", "unknown?");
    assert_eq!(alice.expect_fate(ANSWER), "NotDelivered");
}

#[test]
fn two_users_talk_through_prosody() {
    let folder = Folder::new("users");
    let prosody = Prosody::start(&folder, "xmpp.example", &["sip.example"], "secret", &["juliet", "romeo"]);
    let mut juliet = XmppClient::login(&folder, prosody.c2s_port, "juliet", "xmpp.example", "balcony");
    let mut romeo = XmppClient::login(&folder, prosody.c2s_port, "romeo", "xmpp.example", "orchard");

    let text = "two lines, <b>&amp; \"marks\"</b>\nand 😀";
    juliet.send("romeo@xmpp.example", "first", text);
    let got = romeo.expect_message();
    assert_eq!(
        (got.from.as_str(), got.id.as_str(), got.kind.as_str()),
        ("juliet@xmpp.example/balcony", "first", "chat")
    );
    assert_eq!(got.body.as_deref(), Some(text));

    juliet.send("nobody@xmpp.example", "lost", "unknown?");
    let (kind, condition, _) = juliet.expect_error("lost", ANSWER).error.expect("an error says what it is");
    assert_eq!((kind.as_str(), condition.as_str()), ("cancel", "service-unavailable"));

    // No component has connected.
    juliet.send("bob@sip.example", "down", "anyone?");
    let (kind, condition, _) = juliet.expect_error("down", ANSWER).error.expect("an error says what it is");
    assert_eq!((kind.as_str(), condition.as_str()), ("wait", "remote-server-timeout"));

    // A message to somebody offline waits for the next login.
    romeo.logout();
    juliet.send("romeo@xmpp.example", "later", "good night");
    juliet.expect_nothing(Duration::from_millis(500));
    let mut romeo = XmppClient::login(&folder, prosody.c2s_port, "romeo", "xmpp.example", "orchard");
    assert_eq!(romeo.expect_message().body.as_deref(), Some("good night"));
}

#[test]
fn two_users_talk_through_ejabberd() {
    let folder = Folder::new("users-of-ejabberd");
    let ejabberd = Ejabberd::start(&folder, "xmpp.example", &["sip.example"], "secret", &["juliet", "romeo"]);
    let mut juliet = XmppClient::login(&folder, ejabberd.c2s_port, "juliet", "xmpp.example", "balcony");
    let mut romeo = XmppClient::login(&folder, ejabberd.c2s_port, "romeo", "xmpp.example", "orchard");
    juliet.send("romeo@xmpp.example", "first", "two lines\nand 😀");
    assert_eq!(romeo.expect_message().body.as_deref(), Some("two lines\nand 😀"));
    juliet.send("nobody@xmpp.example", "lost", "unknown?");
    let (kind, condition, _) = juliet.expect_error("lost", ANSWER).error.expect("an error says what it is");
    assert_eq!((kind.as_str(), condition.as_str()), ("cancel", "service-unavailable"));
}

#[test]
fn sipp_sees_what_crosses_the_wire() {
    let folder = Folder::new("sipp");
    let mut kamailio = Kamailio::start(&folder, &["sip.example"], &["bob", "carol"], free_port(), Carrier::Udp);
    let request = Request {
        method: "MESSAGE",
        to: "sip:bob@sip.example",
        from: "sip:alice@sip.example",
        more: &["Accept: text/plain"],
        content_type: Some("text/plain"),
        body: "first line\nsecond line",
    };
    for carrier in [Carrier::Udp, Carrier::Tcp] {
        Sipp::send(&folder, kamailio.port, carrier, &request, 480);
    }

    let busy = Answerer::start(&folder, "486 Busy Here", &["Retry-After: 7"]);
    Sipp::register(&folder, kamailio.port, "sip:bob@sip.example", busy.port);
    let conversation = Sipp::send(&folder, kamailio.port, Carrier::Udp, &request, 486);
    assert_eq!(conversation.answer().header("Retry-After"), Some("7"));
    let got = busy.finish();
    assert_eq!(
        got.iter().find(|traced| !traced.sent).expect("the request arrived").body(),
        "first line\r\nsecond line"
    );

    // Whoever answers no more: Kamailio says so in its own words.
    let conversation = Sipp::send(&folder, kamailio.port, Carrier::Udp, &request, 504);
    assert!(conversation.took > Duration::from_secs(5), "silence takes time: {:?}", conversation.took);

    kamailio.stop();
    kamailio.restart();
    Sipp::send(&folder, kamailio.port, Carrier::Udp, &request, 480);
}
