//! The gateway as a process among processes.

use entente_tests::peers::clock::{PATIENCE, wait_for};

use crate::lab::{ANSWER, Lab};

#[test]
fn it_ends_when_told_and_says_goodbye() {
    let mut lab = Lab::start("ends");
    assert_eq!(lab.entente.end(PATIENCE), Some(0), "SIGTERM is how an operator ends it");
    // Its users are told by the server, at once, because the stream was closed and not lost.
    let mut romeo = lab.xmpp_user("romeo");
    let gone = wait_for(ANSWER, || lab.server.log().contains("component disconnected: sip.example").then_some(()));
    assert!(gone.is_some(), "Prosody has seen the stream close");
    romeo.send("bob@sip.example", "gone", "anybody");
    let (kind, condition, _) = romeo.expect_error("gone", ANSWER).error.expect("an error says what it is");
    assert_eq!((kind.as_str(), condition.as_str()), ("wait", "remote-server-timeout"));
}
