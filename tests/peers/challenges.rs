//! Kamailio asks the gateway who it is.

use std::time::Duration;

use entente_tests::peers::Prosody;
use entente_tests::peers::clock::{PATIENCE, wait_for};
use entente_tests::peers::kamailio::Challenge;

use crate::lab::{ANSWER, Extras, Lab};

const BOB: &str = "bob@sip.example";

/// Longer than any test takes.
const LONG: u32 = 3600;

fn lab(name: &str, password: &str, nonce_seconds: u32) -> Lab<Prosody> {
    let config =
        format!("[[sip.account]]\nrealm = \"sip.example\"\nusername = \"gateway\"\npassword = \"{password}\"\n");
    let challenge = Some(Challenge { password: "queen mab", nonce_seconds });
    Lab::start_with(name, Extras { config: &config, challenge, ..Extras::default() })
}

/// The reasons for which Kamailio has challenged so far, in its words.
fn challenges(lab: &Lab<Prosody>) -> Vec<String> {
    let log = lab.kamailio.log();
    log.lines().filter_map(|line| line.split("challenged bob for ").nth(1)).map(str::to_owned).collect()
}

/// RFC 3261 section 22.3, RFC 7616 section 3.4: one challenge, then counted nonces.
#[test]
fn a_proxy_that_challenges_gets_every_message() {
    let lab = lab("challenge", "queen mab", LONG);
    let mut bob = lab.phone("bob");
    let mut romeo = lab.xmpp_user("romeo");
    for n in 1..=5 {
        let text = format!("message {n}");
        romeo.send(BOB, &format!("m{n}"), &text);
        assert_eq!(bob.expect_message().body(), text);
    }
    assert_eq!(challenges(&lab), ["-5"], "no credentials, once; then they come unasked, each count once");
    romeo.expect_nothing(Duration::from_millis(500));
}

/// A fresh nonce for the stale.
#[test]
fn a_nonce_that_has_grown_old_is_replaced() {
    let lab = lab("stale-nonce", "queen mab", 8);
    let mut bob = lab.phone("bob");
    let mut romeo = lab.xmpp_user("romeo");
    romeo.send(BOB, "m1", "message 1");
    assert_eq!(bob.expect_message().body(), "message 1");
    assert_eq!(challenges(&lab), ["-5"]);
    romeo.expect_nothing(Duration::from_secs(10));
    romeo.send(BOB, "m2", "message 2");
    assert_eq!(bob.expect_message().body(), "message 2");
    assert_eq!(challenges(&lab), ["-5", "-4"]);
    romeo.expect_nothing(Duration::from_millis(500));
}

#[test]
fn a_wrong_password_is_told_to_the_sender() {
    let lab = lab("wrong-password", "queen anne", LONG);
    let _bob = lab.phone("bob");
    let mut romeo = lab.xmpp_user("romeo");
    romeo.send(BOB, "m1", "hello");
    let got = romeo.expect_error("m1", ANSWER);
    assert_eq!(got.error.as_ref().map(|(_, condition, _)| &**condition), Some("registration-required"));
    let challenged = wait_for(PATIENCE, || Some(challenges(&lab)).filter(|challenges| challenges.len() == 2));
    assert_eq!(challenged.as_deref(), Some(&["-5".to_owned(), "-2".to_owned()][..]), "and not tried again");
}
