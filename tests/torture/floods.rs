//! Much of the same: cut, random and repeated datagrams.

use crate::others;
use entente_tests::dice::Dice;
use entente_tests::world::{World, message, status};

#[test]
fn a_request_cut_anywhere_crosses_nowhere() {
    let mut world = World::new();
    let whole = message(1, "romeo@xmpp.example", "hello");
    for cut in 0..whole.len() {
        world.proxy_sends(&whole.as_bytes()[..cut]);
        let said = others::settle(&mut world);
        assert!(said.stanzas.is_empty(), "cut at {cut}");
        for answer in &said.datagrams {
            let summary = others::summary(answer);
            // Where the start line or the Via is cut nobody can be answered; elsewhere it says what is missing.
            assert!(summary.starts_with("400 Bad Request: "), "cut at {cut}: {summary}");
        }
        others::go_on(&mut world, cut as u32, &format!("a cut at {cut}"));
    }
    others::quiet(&mut world, "all cuts");
    world.proxy_sends(&whole);
    let said = others::settle(&mut world);
    assert_eq!((said.stanzas.len(), said.datagrams.len()), (1, 1), "none of the cuts passed for the whole");
    others::quiet(&mut world, "the whole");
}

#[test]
fn random_octets_are_dropped() {
    let mut world = World::new();
    let mut dice = Dice::new(4475);
    for n in 0..500 {
        let length = 1 + dice.below(1500) as usize;
        let bytes: Vec<u8> = (0..length).map(|_| dice.throw() as u8).collect();
        world.proxy_sends(&bytes);
        let said = others::settle(&mut world);
        assert!(said.datagrams.is_empty() && said.stanzas.is_empty(), "{}", bytes.escape_ascii());
        if n % 50 == 0 {
            others::go_on(&mut world, n, "random octets");
        }
    }
    others::quiet(&mut world, "random octets");
}

/// Requests with a few octets changed, lost or doubled: whatever they have become, each gets one answer at most, and what
/// the server is sent stays a stream of stanzas.
#[test]
fn spoiled_octets_in_a_request_hurt_nobody() {
    let mut world = World::new();
    let mut dice = Dice::new(3261);
    for n in 0..3000 {
        let mut bytes = message(n, "romeo@xmpp.example", "hello <&> \u{2654}").into_bytes();
        for _ in 0..=dice.below(4) {
            let at = dice.below(bytes.len() as u64) as usize;
            match dice.below(4) {
                0 => bytes[at] = dice.throw() as u8,
                1 => bytes[at] = dice.one_of(b"\0\r\n \t\"<>;,:@%\\/?&='[]\xff"),
                2 => drop(bytes.remove(at)),
                _ => bytes.insert(at, bytes[at]),
            }
        }
        world.proxy_sends(&bytes);
        let said = others::settle(&mut world);
        assert!(said.datagrams.len() <= 1 && said.stanzas.len() <= 1, "{}", bytes.escape_ascii());
        let answer = said.datagrams.first().map(|answer| others::summary(answer));
        let crossed = answer.as_deref().is_some_and(|answer| answer.starts_with("202 "));
        assert_eq!(crossed, said.stanzas.len() == 1, "{answer:?} to {}", bytes.escape_ascii());
        if n % 100 == 0 {
            others::go_on(&mut world, n, "spoiled octets");
        }
    }
    others::quiet(&mut world, "spoiled octets");
}

#[test]
fn floods_of_ack_and_cancel_leave_nothing_behind() {
    let mut world = World::new();
    for n in 0..5000 {
        for method in ["ACK", "CANCEL"] {
            world.proxy_sends(message(n, "romeo@xmpp.example", "").replace("MESSAGE", method));
        }
    }
    let said = others::settle(&mut world);
    assert!(said.stanzas.is_empty());
    // An ACK is never answered; a CANCEL of nothing is told so (RFC 3261 section 9.2).
    assert_eq!(said.datagrams.len(), 5000);
    assert!(said.datagrams.iter().all(|answer| others::summary(answer).starts_with("481 ")));
    assert_eq!(world.engine.open(), 0);
    others::go_on(&mut world, 0, "the flood");
    others::quiet(&mut world, "the flood");
}

/// Calls that nobody acknowledges: each is refused at once; what is said again by itself is bounded, and ends.
#[test]
fn a_flood_of_calls_is_refused_and_its_repetition_is_bounded() {
    const CALLS: u32 = 3000;
    const REPEATED: usize = 100;
    let size = {
        let mut world = World::new();
        world.proxy_sends(message(0, "romeo@xmpp.example", "").replace("MESSAGE", "INVITE"));
        others::settle(&mut world).datagrams[0].len()
    };
    // A row takes more than its refusal does.
    let mut world = World::with(|settings| settings.sip.endpoint.max_refused = size * REPEATED);
    for n in 0..CALLS {
        world.proxy_sends(message(n, "romeo@xmpp.example", "").replace("MESSAGE", "INVITE"));
    }
    let said = others::settle(&mut world);
    assert_eq!(said.datagrams.len(), CALLS as usize);
    assert!(said.datagrams.iter().all(|answer| others::summary(answer) == "405 Method Not Allowed"));
    assert!((1..REPEATED).contains(&world.engine.open()), "{}", world.engine.open());
    let repeated = world.engine.open();
    others::go_on(&mut world, 0, "the flood");
    world.advance(std::time::Duration::from_secs(32));
    let again = others::settle(&mut world);
    assert_eq!(again.datagrams.len(), repeated * 10, "Timer G, ten times until Timer H");
    others::quiet(&mut world, "the flood");
}

#[test]
fn a_flood_of_responses_to_nothing_is_silence() {
    let mut world = World::new();
    let request = message(1, "romeo@xmpp.example", "").replace("192.0.2.9:5060;", "192.0.2.1:5060;");
    for n in 100..700 {
        world.proxy_sends(entente_tests::world::response(&request, &format!("{n} Whatever"), ""));
    }
    let said = others::settle(&mut world);
    assert!(said.datagrams.is_empty() && said.stanzas.is_empty());
    others::go_on(&mut world, 0, "the flood");
    others::quiet(&mut world, "the flood");
}

#[test]
fn one_request_a_thousand_times_crosses_once() {
    let mut world = World::new();
    let request = message(1, "romeo@xmpp.example", "hello");
    for _ in 0..500 {
        world.proxy_sends(&request);
    }
    assert!(world.datagrams.is_empty(), "a retransmission is no reason to answer early");
    let said = others::settle(&mut world);
    assert_eq!((said.stanzas.len(), said.datagrams.len()), (1, 1));
    for _ in 0..500 {
        world.proxy_sends(&request);
    }
    let again = others::settle(&mut world);
    assert!(again.stanzas.is_empty());
    assert_eq!(again.datagrams.len(), 500);
    assert!(again.datagrams.iter().all(|answer| *answer == said.datagrams[0]), "the same answer, octet for octet");
    others::quiet(&mut world, "the flood");
}

/// More messages than may be in flight while the server does not read: the rest is refused as overload, each once.
#[test]
fn a_flood_of_messages_is_bounded_and_answered() {
    const MESSAGES: u32 = 3000;
    let mut world = World::new();
    world.reading = false;
    for n in 0..MESSAGES {
        world.proxy_sends(message(n, "romeo@xmpp.example", &"x".repeat(2000)));
    }
    assert!(world.engine.open() <= 2 * 1000 + 1000, "what is in flight is bounded: {}", world.engine.open());
    assert!(
        world.engine.output_len() < (1 << 20) + 4000,
        "and what waits for the stream: {}",
        world.engine.output_len()
    );
    world.advance(std::time::Duration::from_secs(3));
    let statuses: Vec<u16> = world.take_statuses();
    assert_eq!(statuses.len() as u32, MESSAGES, "each has one answer");
    for known in [480, 504] {
        assert!(statuses.contains(&known), "{known}");
    }
    assert!(statuses.iter().all(|status| [480, 503, 504].contains(status)));
    // Once the server reads again everything goes on over the same stream.
    world.resume_reading();
    let late = others::settle(&mut world);
    assert!(late.datagrams.iter().all(|answer| status(&String::from_utf8_lossy(answer)).is_none()));
    others::go_on(&mut world, 0, "the flood");
    others::quiet(&mut world, "the flood");
}
