//! Inputs to the XMPP side: a table of broken XML and of stanzas that a server should not have let through.

use crate::{others, table};
use entente_tests::world::{World, attribute, message, response};
use std::time::Duration;

/// What the engine made of what the server wrote.
fn verdict(world: &mut World) -> String {
    let mut ended = None;
    if !world.closes.is_empty() {
        let last = world.take_stanzas();
        let error = last.iter().find_map(|stanza| stanza.strip_prefix("<stream:error><")).unwrap_or("in-order/");
        ended = Some(error.split([' ', '/']).next().unwrap_or_default().to_owned());
        assert_eq!(last.last().map(String::as_str), Some("</stream:stream>"), "a stream ends in order: {last:?}");
        world.carry_out_close().expect("the stream is ended");
        others::come_back(world, "an end");
    }
    let mut said = others::settle(world);
    let mut verdict: Vec<String> = ended.map(|condition| format!("ends: {condition}")).into_iter().collect();
    // What was repeated while the stream came back is one.
    said.datagrams.dedup();
    while let Some(datagram) = said.datagrams.pop() {
        others::assert_usable(&datagram);
        let request = String::from_utf8_lossy(&datagram).into_owned();
        let uri = request.strip_prefix("MESSAGE ").and_then(|rest| rest.split(' ').next());
        let uri = uri.unwrap_or_else(|| panic!("a MESSAGE: {request}"));
        let body = request.split_once("\r\n\r\n").map_or("", |(_, body)| body);
        verdict.push(format!("MESSAGE {}: {}", shown(uri), shown(body)));
        world.proxy_sends(response(&request, "200 OK", ""));
        let more = others::settle(world);
        said.stanzas.extend(more.stanzas);
        said.datagrams.extend(more.datagrams);
    }
    for stanza in said.stanzas {
        let kind = attribute(&stanza, "type").unwrap_or("receipt");
        let condition = stanza.split_once("<error").map(|(_, error)| {
            let inner = error.split_once('>').map_or("", |(_, inner)| inner);
            inner.trim_start_matches('<').split([' ', '/', '>']).next().unwrap_or_default()
        });
        let to = attribute(&stanza, "to").unwrap_or_default();
        verdict.push(format!("{kind} {}to {}", condition.map_or(String::new(), |name| format!("{name} ")), shown(to)));
    }
    if verdict.is_empty() { "nothing".to_owned() } else { verdict.join(", ") }
}

fn shown(text: &str) -> String {
    if text.len() > 60 { format!("{} octets", text.len()) } else { text.escape_debug().to_string() }
}

#[test]
fn the_stream_ends_only_where_it_must_and_comes_back() {
    let mut world = World::new();
    let mut wrong = String::new();
    for (n, [name, input, expected]) in table::rows::<3>(include_str!("xmpp.tsv")).into_iter().enumerate() {
        let input = table::octets(input);
        let before = world.stream;
        world.server_writes(&input);
        let found = verdict(&mut world);
        assert_eq!(world.stream == before, !found.starts_with("ends"), "{name}: {found}");
        if found != expected {
            wrong += &format!("{name}\t{expected}\t{found}\n");
        }
        others::go_on(&mut world, n as u32, name);
        others::quiet(&mut world, name);
    }
    assert!(wrong.is_empty(), "\n{wrong}");
}

/// The same, octet by octet: how the kernel cuts the stream into reads changes nothing.
#[test]
fn cut_into_single_octets_it_means_the_same() {
    let mut world = World::new();
    let mut wrong = String::new();
    for (n, [name, input, expected]) in table::rows::<3>(include_str!("xmpp.tsv")).into_iter().enumerate() {
        let input = table::octets(input);
        if input.len() > 2000 {
            continue;
        }
        for octet in &input {
            if world.closes.is_empty() {
                world.server_writes([*octet]);
            }
        }
        let found = verdict(&mut world);
        if found != expected {
            wrong += &format!("{name}\t{expected}\t{found}\n");
        }
        others::go_on(&mut world, n as u32, name);
    }
    assert!(wrong.is_empty(), "\n{wrong}");
    others::quiet(&mut world, "all rows");
}

/// A link that breaks in the middle of a stanza: what was begun is forgotten with it.
#[test]
fn a_stanza_cut_by_the_end_of_the_stream_is_no_stanza() {
    let mut world = World::new();
    let whole =
        "<message from='romeo@xmpp.example/x' to='juliet@sip.example' id='m'><body>hello &amp; more</body></message>";
    for cut in 1..whole.len() {
        world.server_writes(&whole[..cut]);
        world.break_stream();
        others::come_back(&mut world, "a cut");
        let said = others::settle(&mut world);
        assert!(said.datagrams.is_empty() && said.stanzas.is_empty(), "cut at {cut}");
        others::go_on(&mut world, cut as u32, &format!("a cut at {cut}"));
    }
    others::quiet(&mut world, "all cuts");
}

/// An element that is begun and not ended swallows what follows, pings too: a server that does so is given up, and those
/// who wait are told the truth.
#[test]
fn a_stanza_that_never_ends_ends_the_stream_in_time() {
    let mut world = World::new();
    world.server_writes("<stream:stream xmlns:stream='http://etherx.jabber.org/streams'>");
    world.proxy_sends(message(1, "romeo@xmpp.example", "hello"));
    let said = others::settle(&mut world);
    assert!(said.datagrams.is_empty(), "its return was swallowed");
    world.advance(Duration::from_millis(2100));
    assert_eq!(world.take_statuses(), [504]);
    world.advance(Duration::from_secs(30));
    world.carry_out_close().expect("the stream is given up");
    others::come_back(&mut world, "a stanza without an end");
    others::go_on(&mut world, 1, "a stanza without an end");
    others::quiet(&mut world, "a stanza without an end");
}
