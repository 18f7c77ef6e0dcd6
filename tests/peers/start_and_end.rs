//! The gateway as a process among processes.

use entente_tests::peers::XmppServer;
use entente_tests::peers::clock::{PATIENCE, wait_for};
use nix::sys::signal::Signal;

use crate::lab::{ANSWER, Lab, with_each_server};

/// What a user is told once the component is gone, in the words of the server: ejabberd takes the domain for one of another
/// server, which it may not ask here.
fn expect_away<S: XmppServer>(lab: &Lab<S>, id: &str) {
    let mut juliet = lab.xmpp_user("juliet");
    juliet.send("bob@sip.example", id, "anybody");
    let (kind, condition, _) = juliet.expect_error(id, ANSWER).error.expect("an error says what it is");
    let expected = if S::NAME == "prosody" { ("wait", "remote-server-timeout") } else { ("auth", "forbidden") };
    assert_eq!((kind.as_str(), condition.as_str()), expected);
}

with_each_server! {
    #[test]
    fn it_ends_when_told_and_says_goodbye(lab: Lab<_>) {
        assert_eq!(lab.entente.end(PATIENCE), Some(0), "SIGTERM is how an operator ends it");
        // Its users are told by the server, at once, because the stream was closed and not lost.
        let gone = wait_for(ANSWER, || lab.server.log().contains(S::COMPONENT_SAYS_GOODBYE).then_some(()));
        assert!(gone.is_some(), "the server has seen the stream close");
        expect_away(&lab, "gone");
    }

    /// A component that dies without a word: its server finds out, and gives the domain to the one that comes after it.
    /// Nothing is handed to the dead one, also not by a server that would take both for one component.
    #[test]
    fn it_is_killed_and_started_again(lab: Lab<_>) {
        let mut romeo = lab.xmpp_user("romeo");
        let mut bob = lab.phone("bob");
        lab.entente.process().signal(Signal::SIGKILL);
        let ended = wait_for(PATIENCE, || lab.entente.process().has_exited().then_some(()));
        assert!(ended.is_some());
        lab.restart_entente();
        for round in 0..6 {
            let text = format!("after the end {round}");
            romeo.send("bob@sip.example", &format!("m{round}"), &text);
            assert_eq!(bob.expect_message().body(), text);
            bob.send("sip:romeo@xmpp.example", &text);
            assert_eq!(romeo.expect_message().body.as_deref(), Some(&*text));
        }
    }
}
