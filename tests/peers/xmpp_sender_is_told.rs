//! What becomes of a `<message/>` that does not reach its SIP user, as its XMPP sender gets it on the wire.

use std::time::Duration;

use entente_tests::peers::Sipp;
use entente_tests::peers::clock::timed;
use entente_tests::peers::sipp::Answerer;
use entente_tests::peers::xmpp_client::Got;
use nix::sys::signal::Signal;

use crate::lab::{ANSWER, SIP, with_each_server};

const BOB: &str = "bob@sip.example";

/// Longer than Timer F of the gateway (64 * T1 = 32 s) on a busy machine.
const TIMER_F: Duration = Duration::from_secs(120);

fn told(got: &Got) -> (&str, &str) {
    let (kind, condition, _) = got.error.as_ref().expect("an error says what it is");
    (kind, condition)
}

with_each_server! {
    #[test]
    fn unknown_and_offline_users_come_back(lab: Lab<_>) {
        let mut romeo = lab.xmpp_user("romeo");

        // Kamailio: 404 for whom it does not know, 480 for who is not registered.
        romeo.send("nobody@sip.example", "unknown", "who are you");
        let got = romeo.expect_error("unknown", ANSWER);
        assert_eq!(told(&got), ("cancel", "item-not-found"));
        assert_eq!(got.from, "nobody@sip.example");

        romeo.send("carol@sip.example", "offline", "where are you");
        let got = romeo.expect_error("offline", ANSWER);
        assert_eq!(told(&got), ("wait", "recipient-unavailable"));
        assert_eq!(got.from, "carol@sip.example");
        romeo.expect_nothing(Duration::from_millis(500));
    }

    /// RFC 7247 table 3, as far as a phone says such things.
    #[test]
    fn what_a_phone_answers_is_what_the_sender_is_told(lab: Lab<_>) {
        let mut romeo = lab.xmpp_user("romeo");
        let cases = [
            ("403 Forbidden", ("auth", "forbidden")),
            ("404 Not Found", ("cancel", "item-not-found")),
            ("410 Gone", ("cancel", "gone")),
            ("415 Unsupported Media Type", ("modify", "not-acceptable")),
            ("486 Busy Here", ("wait", "recipient-unavailable")),
            ("501 Not Implemented", ("cancel", "feature-not-implemented")),
            ("603 Decline", ("wait", "recipient-unavailable")),
        ];
        for (status, wanted) in cases {
            let phone = Answerer::start(&lab.folder, status, &[]);
            Sipp::register(&lab.folder, lab.kamailio.port, &format!("sip:{BOB}"), phone.port);
            romeo.send(BOB, status, "hello");
            let got = romeo.expect_error(status, ANSWER);
            assert_eq!(told(&got), wanted, "{status}");
            drop(phone);
        }
        romeo.expect_nothing(Duration::from_millis(500));

        for status in ["200 OK", "202 Accepted"] {
            let phone = Answerer::start(&lab.folder, status, &[]);
            Sipp::register(&lab.folder, lab.kamailio.port, &format!("sip:{BOB}"), phone.port);
            romeo.send(BOB, status, "hello");
            phone.expect_message();
            // XMPP says nothing about what went well, and 202 is no receipt.
            romeo.expect_nothing(Duration::from_secs(2));
        }
    }

    #[test]
    fn a_proxy_that_is_gone_comes_back_and_heals(lab: Lab<_>) {
        let mut romeo = lab.xmpp_user("romeo");
        lab.kamailio.stop();
        romeo.send(BOB, "dark", "into the dark");
        let got = romeo.expect_error("dark", TIMER_F);
        assert_eq!(told(&got), ("wait", "remote-server-timeout"));

        lab.kamailio.restart();
        let mut bob = lab.phone("bob");
        romeo.send(BOB, "light", "into the light");
        assert_eq!(bob.expect_message().body(), "into the light");
        romeo.expect_nothing(Duration::from_millis(500));
    }

    #[test]
    fn a_proxy_that_hangs_comes_back_after_timer_f(lab: Lab<_>) {
        let mut romeo = lab.xmpp_user("romeo");
        lab.kamailio.process().signal(Signal::SIGSTOP);
        romeo.send(BOB, "hung", "do you hear me");
        let (got, took) = timed(|| romeo.expect_error("hung", TIMER_F));
        assert_eq!(told(&got), ("wait", "remote-server-timeout"));
        assert!(took > Duration::from_secs(30), "the transaction may take its time (RFC 3261 17.1.2.2): {took:?}");
        lab.kamailio.process().signal(Signal::SIGCONT);
    }

    #[test]
    fn rooms_and_headlines_are_not_texts(lab: Lab<_>) {
        let mut bob = lab.phone("bob");
        let mut romeo = lab.xmpp_user("romeo");
        romeo.send_typed(BOB, "room", "groupchat", "hello everybody");
        assert_eq!(told(&romeo.expect_error("room", ANSWER)), ("cancel", "service-unavailable"));
        romeo.send_typed(BOB, "news", "headline", "read this");
        romeo.send(SIP, "nobody", "to the domain itself");
        assert_eq!(told(&romeo.expect_error("nobody", ANSWER)).1, "service-unavailable");
        romeo.expect_nothing(Duration::from_millis(500));
        romeo.send(BOB, "text", "and this");
        assert_eq!(bob.expect_message().body(), "and this", "the first thing that came to the phone");
    }
}
