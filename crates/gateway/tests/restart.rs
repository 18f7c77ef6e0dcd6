//! What a SIP peer sees of a gateway with a journal that is killed and started again.
#![allow(clippy::unwrap_used, clippy::disallowed_methods)]

mod stage;

use nix::sys::signal::Signal;
use stage::{PATIENCE, Stage, message};
use std::time::{Duration, Instant};

/// Less than an answer is remembered for, with what a start may take.
const REMEMBERED: Duration = Duration::from_secs(30);

fn config(stage: &Stage, when: &str) -> String {
    let keep = format!("[[journal.keep]]\ndomain = \"sip.example\"\nwhen = \"{when}\"\n");
    format!("{}[journal]\nfolder = \"journal\"\n{keep}", stage.config())
}

/// ```text
/// Juliet's proxy         entente            XMPP server
///      | MESSAGE -----------> | ------------------> |
///      | <--------------- 404 | <------------ error |
///                         SIGKILL
///      | MESSAGE, again ----> |
///      | <--------------- 404 |
///      | another MESSAGE ---> | ------------------> |  the only one
/// ```
#[test]
fn a_request_that_was_answered_before_a_kill_is_answered_alike_after_it() {
    let stage = Stage::new();
    let config = config(&stage, "away");
    for _ in 0..5 {
        let mut gateway = stage.run_with(&config);
        let mut component = stage.accept();
        stage.wait_until_ready();
        let (mut request, mut own, mut sent) = (String::new(), String::new(), Instant::now());
        let answer = stage.answer(&mut component, |component, branch| {
            (request, own, sent) = (message(&stage, branch), branch.to_owned(), Instant::now());
            stage.sip.send_to(request.as_bytes(), stage.listen).unwrap();
            component.bounce();
            stage.response(branch)
        });
        assert!(answer.starts_with("SIP/2.0 404 ") && answer.contains("ask the nurse"), "{answer}");
        gateway.signal(Signal::SIGKILL);
        gateway.wait();

        let _gateway = stage.run_with(&config);
        let mut component = stage.accept();
        stage.forget();
        stage.sip.send_to(request.as_bytes(), stage.listen).unwrap();
        let again = stage.response(&own);
        if sent.elapsed() > REMEMBERED {
            // Somebody has stopped this machine for a while.
            continue;
        }
        assert_eq!(again, answer);
        stage.wait_until_ready();
        let other = message(&stage, "another").replace("Art thou not Romeo, ho", "What man art thou that");
        stage.sip.send_to(other.as_bytes(), stage.listen).unwrap();
        let stanza = component.bounce();
        assert!(!stanza.contains("Art thou not Romeo") && stanza.contains("What man art thou that"), "{stanza}");
        return;
    }
    panic!("no restart took less than {REMEMBERED:?}");
}

/// A message that is kept before it is sent on; the gateway is killed while its request waits for an answer.
#[test]
fn a_request_that_was_open_at_a_kill_is_sent_again_as_it_was() {
    let stage = Stage::new();
    let config = config(&stage, "every");
    let mut gateway = stage.run_with(&config);
    let mut component = stage.accept();
    component.write(
        "<message from='romeo@xmpp.example/orchard' to='juliet@sip.example' id='m1' type='chat'>\
         <body>Neither, fair saint</body></message>",
    );
    let before = stage.request("Neither, fair saint");
    let start = Instant::now();
    while stage.metrics().contains("\nentente_store_commits_total 0\n") {
        assert!(start.elapsed() < PATIENCE, "it becomes durable");
        std::thread::sleep(Duration::from_millis(20));
    }
    gateway.signal(Signal::SIGKILL);
    gateway.wait();

    stage.forget();
    let _gateway = stage.run_with(&config);
    let _component = stage.accept();
    assert_eq!(stage.request("Neither, fair saint"), before);
}
