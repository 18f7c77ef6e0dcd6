//! What an endpoint knows again that was made after another one with the same lasting secret.

use super::*;

/// An endpoint of the same gateway after another start.
fn started_again(start: u8) -> Stage {
    let mut stage = Stage::new();
    stage.endpoint = Endpoint::new(Settings::new("gw.example:5070"), Minters::new([start; 16], [8; 16]));
    stage
}

#[test]
fn a_datagram_has_the_same_hash_after_a_restart_and_what_comes_on_a_stream_has_not() {
    let (mut first, mut second) = (started_again(1), started_again(2));
    let hashes = |stage: &mut Stage| {
        let flow = stage.tcp();
        let via = "SIP/2.0/TCP a.example;branch=z9hG4bKt".into();
        let tcp = Text { via, call_id: "other".into(), ..Text::default() }.print();
        [(udp(5061), message()), (flow, tcp)].map(|(flow, text)| match stage.receive(flow, &text) {
            Got::Request(_, hash) => hash,
            other => panic!("{other:?}"),
        })
    };
    let ([datagram, stream], [datagram_again, stream_again]) = (hashes(&mut first), hashes(&mut second));
    assert_eq!(datagram, datagram_again);
    assert_ne!(stream, stream_again, "the first connection of this run is not the first one of that run");
    let mut stranger = Stage::new();
    stranger.endpoint = Endpoint::new(Settings::new("gw.example:5070"), Minters::new([1; 16], [7; 16]));
    assert_ne!(datagram, hashes(&mut stranger)[0]);
}

#[test]
fn branches_do_not_begin_anew() {
    let [a, b] = [1, 2].map(|start| started_again(start).endpoint.keys.mint());
    assert_ne!(a, b);
}
