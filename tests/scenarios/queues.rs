//! Bounded queues and their answers.

use entente_tests::world::{World, message, response};

fn stanza(n: u32, to: &str) -> String {
    format!(
        "<message from='romeo@xmpp.example/orchard' to='{to}@sip.example' id='m{n}'><body>text {n}</body></message>"
    )
}

#[test]
fn a_full_queue_refuses_and_keeps_the_order_of_the_rest() {
    let mut world = World::new();
    for n in 0..12 {
        world.server_writes(stanza(n, "juliet"));
    }
    // One is open, eight wait, three are refused.
    let refused = world.take_stanzas();
    assert_eq!(refused.len(), 3);
    assert!(refused.iter().all(|error| error.contains("<resource-constraint")), "{refused:?}");
    for n in 0..9 {
        let request = world.take_datagram().unwrap_or_else(|| panic!("message {n}"));
        assert!(request.ends_with(&format!("text {n}")), "{request}");
        assert!(world.take_datagram().is_none(), "one at a time");
        world.proxy_sends(response(&request, "200 OK", ""));
    }
    world.assert_quiet();
}

#[test]
fn what_waits_for_all_destinations_is_bounded_too() {
    let mut world = World::with(|settings| settings.sip.queue_in_all = 3);
    for (n, to) in (1..).zip(["juliet", "juliet", "nurse", "nurse", "juliet"]) {
        world.server_writes(stanza(n, to));
    }
    assert_eq!(world.take_stanzas(), [""; 0]);
    // Three wait. To whom nothing is open, nothing waits.
    world.server_writes(stanza(6, "nurse"));
    let refused = world.take_stanza().expect("a refusal");
    assert!(refused.contains("id='m6'") && refused.contains("<resource-constraint"), "{refused}");
    world.server_writes(stanza(7, "tybalt"));
    let mut sent = Vec::new();
    while let Some(request) = world.take_datagram() {
        sent.extend(request.rsplit(' ').next().map(str::to_owned));
        world.proxy_sends(response(&request, "200 OK", ""));
    }
    assert_eq!(sent, ["1", "3", "7", "2", "4", "5"]);
    world.assert_quiet();
}

#[test]
fn a_gateway_that_drains_refuses_and_finishes_what_it_has() {
    let mut world = World::new();
    world.server_writes(stanza(1, "juliet"));
    let request = world.take_datagram().unwrap();
    world.engine.drain();
    world.proxy_sends(message(1, "romeo@xmpp.example", "too late"));
    let answer = world.take_datagram().unwrap();
    assert!(answer.starts_with("SIP/2.0 503 ") && answer.contains("Retry-After: "), "{answer}");
    world.server_writes(stanza(2, "juliet"));
    let refused = world.take_stanza().unwrap();
    assert!(refused.contains("<internal-server-error") && refused.contains("type='wait'"), "{refused}");
    assert!(!world.engine.is_drained());
    world.proxy_sends(response(&request, "200 OK", ""));
    assert_eq!(world.take_stanza().as_deref(), Some("</stream:stream>"));
    world.server_writes("</stream:stream>");
    world.carry_out_close();
    assert!(world.engine.is_drained());
}
