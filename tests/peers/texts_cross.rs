//! What one user writes, the other one reads: SIP users behind Kamailio and users of an XMPP server, both ways.

use std::time::Duration;

use entente_tests::peers::prosody::PASSWORD;
use entente_tests::peers::sipwire::user_of;
use entente_tests::peers::{Baresip, Finch, Linphone, Profanity, XmppClient};

use crate::lab::{ANSWER, XMPP, with_each_server};

/// Texts that break what is careless about bytes, about XML or about lines.
fn texts() -> Vec<String> {
    vec![
        "Art thou not Romeo, and a Montague?".to_owned(),
        "😀 and 👩‍👩‍👧, naïve, Ελλάδα, 日本語, \u{202e}abc".to_owned(),
        "<b>&amp; &lt;x/> ]]> \"quotes\" 'apostrophes' <!-- & --> %41 \\".to_owned(),
        "one line\nanother\n\n    an indented one after an empty one".to_owned(),
        // Longer than a careless buffer, shorter than a datagram; two bytes in some places so that no cut stays unseen.
        "é1234567".repeat(66) + "end",
    ]
}

/// Lines as lines, whether they end as in MIME or as in XML.
fn lines(text: &str) -> Vec<&str> {
    text.lines().collect()
}

fn phone_to_user(phone: &mut Baresip, user: &mut XmppClient) {
    for text in texts() {
        phone.send(&format!("sip:{}", user.bare()), &text);
        let got = user.expect_message();
        assert_eq!(lines(&got.body.expect("there is a body")), lines(&text));
        assert_eq!(got.from.split('/').next(), phone.aor.strip_prefix("sip:"));
        // slixmpp sends no receipt here, so nobody can say that it was delivered: accepted (RFC 7572 section 5, RFC 3428 section 7).
        assert_eq!(phone.expect_answer(ANSWER).status(), Some(202));
    }
}

fn user_to_phone(user: &mut XmppClient, phone: &mut Baresip) {
    let to = phone.aor.trim_start_matches("sip:").to_owned();
    for (at, text) in texts().iter().enumerate() {
        user.send(&to, &format!("text-{at}"), text);
        let got = phone.expect_message();
        assert_eq!(lines(got.body()), lines(text));
        let kind = got.header("Content-Type").expect("a body has a type").to_ascii_lowercase();
        assert!(kind.starts_with("text/plain"), "{kind}");
        assert_eq!(got.header("Content-Length"), Some(got.body().len().to_string().as_str()));
        let from = got.header("From").expect("a request has From");
        assert!(from.contains(&format!("sip:{}", user.bare())), "{from}");
    }
    user.expect_nothing(Duration::from_millis(500));
    assert_eq!(phone.messages_got(), texts().len(), "each text came once");
}

fn texts_of(user: &mut XmppClient, count: usize) -> Vec<String> {
    let mut texts = Vec::new();
    for _ in 0..count {
        let got = user.expect_message();
        let text = got.body.expect("there is a body");
        let from = got.from.split('@').next().unwrap_or_default();
        assert!(text.starts_with(from), "{text:?} does not come from {}", got.from);
        texts.push(text);
    }
    texts
}

with_each_server! {
    #[test]
    fn a_phone_and_an_xmpp_user_talk(lab: Lab<_>) {
        let mut bob = lab.phone("bob");
        let mut romeo = lab.xmpp_user("romeo");
        phone_to_user(&mut bob, &mut romeo);
        user_to_phone(&mut romeo, &mut bob);
    }

    /// Linphone reports every text as delivered and displayed, in its own way and unasked: that reaches nobody as a text.
    #[test]
    fn a_linphone_and_an_xmpp_user_talk(lab: Lab<_>) {
        let mut alice = Linphone::start(&lab.folder, "sip:alice@sip.example", lab.kamailio.port);
        let mut romeo = lab.xmpp_user("romeo");
        for text in texts().iter().filter(|text| !text.contains('\n')) {
            alice.send("sip:romeo@xmpp.example", text);
            let got = romeo.expect_message();
            assert_eq!(got.body.as_deref(), Some(text.as_str()));
            assert_eq!(alice.expect_fate(ANSWER), "Delivered", "it takes 202 for that");
        }
        for text in texts() {
            romeo.send("alice@sip.example", "to-linphone", &text);
            let (from, got) = alice.expect_message();
            assert_eq!(lines(&got), lines(&text));
            assert_eq!(user_of(&from), "sip:romeo@xmpp.example");
        }
        romeo.expect_nothing(Duration::from_secs(1));
    }

    #[test]
    fn several_users_talk_at_once_and_nothing_is_mixed_up(lab: Lab<_>) {
        let (mut alice, mut bob) = (lab.phone("alice"), lab.phone("bob"));
        let (mut romeo, mut juliet) = (lab.xmpp_user("romeo"), lab.xmpp_user("juliet"));

        for round in 0..5 {
            romeo.send("alice@sip.example", &format!("ra{round}"), &format!("romeo to alice {round}"));
            juliet.send("alice@sip.example", &format!("ja{round}"), &format!("juliet to alice {round}"));
            romeo.send("bob@sip.example", &format!("rb{round}"), &format!("romeo to bob {round}"));
            alice.send("sip:juliet@xmpp.example", &format!("alice to juliet {round}"));
            bob.send("sip:juliet@xmpp.example", &format!("bob to juliet {round}"));
            bob.send("sip:romeo@xmpp.example", &format!("bob to romeo {round}"));
        }

        // Each pair in the order in which it was written, each text once and from whom it says.
        let at_alice: Vec<String> = (0..10).map(|_| alice.expect_message().body().to_owned()).collect();
        let at_bob: Vec<String> = (0..5).map(|_| bob.expect_message().body().to_owned()).collect();
        let at_juliet = texts_of(&mut juliet, 10);
        let at_romeo = texts_of(&mut romeo, 5);
        for (inbox, pair) in [
            (&at_alice, "romeo to alice"),
            (&at_alice, "juliet to alice"),
            (&at_bob, "romeo to bob"),
            (&at_juliet, "alice to juliet"),
            (&at_juliet, "bob to juliet"),
            (&at_romeo, "bob to romeo"),
        ] {
            let got: Vec<&String> = inbox.iter().filter(|text| text.starts_with(pair)).collect();
            let wanted: Vec<String> = (0..5).map(|round| format!("{pair} {round}")).collect();
            assert_eq!(got, wanted.iter().collect::<Vec<_>>());
        }
        assert_eq!((alice.messages_got(), bob.messages_got()), (10, 5));
        romeo.expect_nothing(Duration::from_millis(500));
        juliet.expect_nothing(Duration::from_millis(100));
    }


    /// libpurple speaks SIP over TCP: it takes requests on a port of its own and answers them on the connection that it has
    /// made, without a tag in To.
    #[test]
    fn a_finch_and_an_xmpp_user_talk(lab: Lab<_>) {
        let mut alice = Finch::start(&lab.folder, "sip:alice@sip.example", lab.kamailio.port);
        let mut romeo = lab.xmpp_user("romeo");
        for text in texts() {
            alice.send("sip:romeo@xmpp.example", &text);
            let got = romeo.expect_message();
            assert_eq!(lines(&got.body.expect("there is a body")), lines(&text));
            assert_eq!(got.from, "alice@sip.example");
        }
        for text in texts() {
            romeo.send("alice@sip.example", "to-finch", &text);
            let (from, got) = alice.expect_message();
            assert_eq!(lines(&got), lines(&text));
            assert_eq!(user_of(&from), "sip:romeo@xmpp.example");
            // It answers to the very URI that the text came from, which names a device.
            alice.send(&from, "heard");
            assert_eq!(romeo.expect_message().body.as_deref(), Some("heard"));
        }
        // Its answers count, whatever they lack: nobody is told of a failure, and nothing is sent again.
        romeo.expect_nothing(Duration::from_secs(1));
        assert_eq!(alice.messages_got(), texts().len());
    }

    /// profanity says with each text that somebody types or reads, and asks for receipts: none of it is a text.
    #[test]
    fn a_phone_and_a_profanity_talk(lab: Lab<_>) {
        let mut bob = lab.phone("bob");
        let romeo = Profanity::start(&lab.folder);
        romeo.connect(&format!("/connect romeo@xmpp.example server 127.0.0.1 port {} tls disable", lab.server.c2s_port()), PASSWORD);
        for text in ["hello, <b>&amp;</b> 😀", "a second one"] {
            romeo.send("bob@sip.example", text);
            assert_eq!(bob.expect_message().body(), text);
            let answer = format!("likewise {text}");
            bob.send("sip:romeo@xmpp.example", &answer);
            romeo.expect_text("bob@sip.example", &answer);
            let status = bob.expect_answer(ANSWER).status();
            assert!([Some(200), Some(202)].contains(&status), "{status:?}");
        }
        assert_eq!(bob.messages_got(), 2, "and nothing else came");
    }

    /// An answer to somebody who has gone on to another device finds him there, and one to somebody who has left waits.
    #[test]
    fn an_answer_finds_the_device_that_is_there(lab: Lab<_>) {
        let mut bob = lab.phone("bob");
        let mut phone = lab.xmpp_user("romeo");
        phone.send("bob@sip.example", "q", "are you there");
        assert_eq!(bob.expect_message().body(), "are you there");
        bob.send("sip:romeo@xmpp.example", "yes");
        assert_eq!(phone.expect_message().body.as_deref(), Some("yes"));
        assert_eq!(bob.expect_answer(ANSWER).status(), Some(202));
        phone.logout();

        let mut tablet = XmppClient::login(&lab.folder, lab.server.c2s_port(), "romeo", XMPP, "tablet");
        bob.send("sip:romeo@xmpp.example", "and you");
        assert_eq!(tablet.expect_message().body.as_deref(), Some("and you"));
        assert_eq!(bob.expect_answer(ANSWER).status(), Some(202));
        // Some answer to the URI that the text came from, which names the device that is gone.
        bob.send("sip:romeo@xmpp.example;gr=phone", "on your phone");
        assert_eq!(tablet.expect_message().body.as_deref(), Some("on your phone"));
        assert_eq!(bob.expect_answer(ANSWER).status(), Some(202));
        tablet.logout();

        bob.send("sip:romeo@xmpp.example", "good night");
        assert_eq!(bob.expect_answer(ANSWER).status(), Some(202));
        let mut tablet = XmppClient::login(&lab.folder, lab.server.c2s_port(), "romeo", XMPP, "tablet");
        assert_eq!(tablet.expect_message().body.as_deref(), Some("good night"));
        tablet.expect_nothing(Duration::from_millis(500));
    }

    /// Marked-up text crosses as text, whatever else comes with it.
    #[test]
    fn marked_up_text_is_read_as_text(lab: Lab<_>) {
        let mut romeo = lab.xmpp_user("romeo");
        lab.alice_sends("sip:romeo@xmpp.example", "text/html", "<p>hello <b>Romeo</b> &amp; all</p>", 202);
        assert_eq!(romeo.expect_message().body.as_deref(), Some("hello Romeo & all"));
    }
}
