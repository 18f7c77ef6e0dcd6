//! The SIP side fails: what senders on the XMPP side are told.

use entente_tests::world::{World, proxy, response};
use std::time::Duration;
use turn::{Input, SocketId};

fn stanza(n: u32, to: &str) -> String {
    format!(
        "<message from='romeo@xmpp.example/orchard' to='{to}@sip.example' id='m{n}'><body>text {n}</body></message>"
    )
}

#[test]
fn a_dead_next_hop_is_told_after_timer_f_and_the_queue_with_it() {
    let mut world = World::new();
    for n in 1..=3 {
        world.server_writes(stanza(n, "juliet"));
    }
    world.advance(Duration::from_millis(31_900));
    assert!(world.take_stanzas().is_empty());
    // RFC 3261 17.1.2.2: 0, 0.5, 1.5, 3.5, 7.5, 11.5 ... 31.5 s.
    assert_eq!(world.datagrams.len(), 11);
    world.datagrams.clear();
    world.advance(Duration::from_millis(200));
    let errors = world.take_stanzas();
    assert_eq!(errors.len(), 3, "{errors:?}");
    for (n, error) in errors.iter().enumerate() {
        assert!(error.contains(&format!("id='m{}'", n + 1)), "in their order: {error}");
        assert!(error.contains("<remote-server-timeout"), "{error}");
    }
    world.assert_quiet();
}

#[test]
fn an_unreachable_next_hop_is_told_at_once() {
    let mut world = World::new();
    world.server_writes(stanza(1, "juliet"));
    world.server_writes(stanza(2, "nurse"));
    world.input(Input::Unreachable { socket: SocketId(0), peer: proxy() });
    let errors = world.take_stanzas();
    assert_eq!(errors.iter().filter(|error| error.contains("<remote-server-timeout")).count(), 2, "{errors:?}");
    world.datagrams.clear();
    world.assert_quiet();
}

#[test]
fn a_lost_answer_is_found_by_retransmission() {
    let mut world = World::new();
    world.server_writes(stanza(1, "juliet"));
    let first = world.take_datagram().unwrap();
    world.advance(Duration::from_millis(510));
    let second = world.take_datagram().unwrap();
    assert_eq!(first, second, "a retransmission is the same request");
    world.proxy_sends(response(&second, "200 OK", ""));
    world.assert_quiet();
}

#[test]
fn a_redirection_without_a_usable_address_tells_no_lie() {
    let mut world = World::new();
    world.server_writes(stanza(1, "juliet"));
    let request = world.take_datagram().unwrap();
    world.proxy_sends(response(&request, "301 Moved Permanently", ""));
    let error = world.take_stanza().unwrap();
    assert!(error.contains("<recipient-unavailable"), "{error}");
    world.server_writes(stanza(2, "juliet"));
    let request = world.take_datagram().unwrap();
    world.proxy_sends(response(&request, "301 Moved Permanently", "Contact: <sip:capulet@sip.example>\r\n"));
    let error = world.take_stanza().unwrap();
    assert!(
        error.contains("<gone xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'>xmpp:capulet@sip.example</gone>"),
        "{error}"
    );
    world.assert_quiet();
}
