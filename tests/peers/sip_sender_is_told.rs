//! What becomes of a MESSAGE that does not reach its XMPP user, as its SIP sender gets it on the wire.

use std::time::Duration;

use entente_tests::peers::XmppClient;
use nix::sys::signal::Signal;

use crate::lab::{ANSWER, with_each_server};

const ROMEO: &str = "sip:romeo@xmpp.example";
/// No route leads there, and the domain is none of ours.
const FOREIGN_DOMAIN: u16 = 404;

with_each_server! {
    #[test]
    fn who_is_unknown_is_told_apart_from_who_is_offline(lab: Lab<_>) {
        // Both bounce service-unavailable and do not say more (RFC 6121 8.5.1), so neither can the answer.
        lab.alice_sends("sip:nobody@xmpp.example", "text/plain", "is anybody there", 403);
        // Who is offline reads it later.
        lab.alice_sends(ROMEO, "text/plain", "good morning", 202);
        let mut romeo = lab.xmpp_user("romeo");
        let got = romeo.expect_message();
        assert_eq!(got.body.as_deref(), Some("good morning"));
        romeo.expect_nothing(Duration::from_millis(500));
    }

    #[test]
    fn a_type_that_cannot_cross_is_415_and_says_what_can(lab: Lab<_>) {
        let mut romeo = lab.xmpp_user("romeo");
        for (content_type, body) in
            [("image/png", "no picture"), ("application/octet-stream", "bytes"), ("message/imdn+xml", "<imdn/>")]
        {
            let conversation = lab.alice_sends(ROMEO, content_type, body, 415);
            let accept = conversation.answer().header("Accept").expect("RFC 3261 21.4.13: 415 lists what is accepted");
            assert!(accept.contains("text/plain"), "{accept}");
        }
        romeo.expect_nothing(Duration::from_millis(500));
        // And nothing of it disturbs what comes after.
        lab.alice_sends(ROMEO, "text/plain", "hello", 202);
        assert_eq!(romeo.expect_message().body.as_deref(), Some("hello"));
    }

    #[test]
    fn a_domain_that_is_not_served_is_refused(lab: Lab<_>) {
        lab.alice_sends("sip:somebody@elsewhere.example", "text/plain", "hello", FOREIGN_DOMAIN);
    }

    #[test]
    fn a_lost_link_is_504_and_heals(lab: Lab<_>) {
        lab.server.stop();
        let conversation = lab.alice_sends(ROMEO, "text/plain", "into the dark", 504);
        // Not the words of Kamailio for a gateway that says nothing.
        assert_ne!(conversation.answer().start_line(), "SIP/2.0 504 Next Hop Is Silent");
        let warning = conversation.answer().header("Warning").expect("it says why");
        assert!(warning.starts_with("399 "), "{warning}");

        lab.server.restart();
        lab.wait_for_components(1);
        let mut romeo = lab.xmpp_user("romeo");
        lab.alice_sends(ROMEO, "text/plain", "into the light", 202);
        assert_eq!(romeo.expect_message().body.as_deref(), Some("into the light"));
    }

    #[test]
    fn a_server_that_hangs_is_504_delivery_unknown(lab: Lab<_>) {
        let mut romeo: XmppClient = lab.xmpp_user("romeo");
        lab.server.process().signal(Signal::SIGSTOP);
        let conversation = lab.alice_sends(ROMEO, "text/plain", "do you hear me", 504);
        let warning = conversation.answer().header("Warning").expect("it says why");
        assert!(warning.starts_with("399 ") && warning.contains("delivery unknown"), "{warning}");
        assert!(conversation.took > Duration::from_secs(3), "the server was waited for: {:?}", conversation.took);
        // Nothing provisional before Timer E of the sender reaches T2 (RFC 4320 section 4.1).
        assert!(conversation.messages.iter().all(|traced| traced.status() != Some(100) || traced.sent));

        // It was written and is read in the end, once: "unknown" was the truth.
        lab.server.process().signal(Signal::SIGCONT);
        let got = romeo.expect("the text", ANSWER, |got| got.body.is_some());
        assert_eq!(got.body.as_deref(), Some("do you hear me"));
        romeo.expect_nothing(Duration::from_millis(500));
    }

    #[test]
    fn a_phone_is_told_too(lab: Lab<_>) {
        let mut bob = lab.phone("bob");
        // Somebody who is offline: accepted, not delivered.
        bob.send(ROMEO, "later then");
        assert_eq!(bob.expect_answer(ANSWER).status(), Some(202));
    }
}
