//! The component stream as RFC 6120 wants it: what ends it, with which error, and what it outlives.

use entente_tests::log::Log;
use entente_tests::world::{World, message, response};
use std::time::Duration;

fn ends_with(written: &str, condition: &str) {
    let mut world = World::new();
    world.server_writes(written);
    let error = world.take_stanza().unwrap_or_else(|| panic!("an error for {written}"));
    assert_eq!(
        error,
        format!("<stream:error><{condition} xmlns='urn:ietf:params:xml:ns:xmpp-streams'/></stream:error>"),
        "{written}"
    );
    assert_eq!(world.take_stanza().as_deref(), Some("</stream:stream>"), "{written}");
    assert_eq!(world.take_datagram(), None, "nothing of the broken stanza is used: {written}");
    world.carry_out_close().expect("the stream is ended");
    world.advance(Duration::from_secs(1));
    world.accept_component();
}

#[test]
fn what_xml_must_not_hold_ends_the_stream_with_its_error() {
    let to = "from='romeo@xmpp.example/x' to='juliet@sip.example'";
    for (inside, condition) in [
        ("<!-- comment -->", "restricted-xml"),
        ("<?php system('id') ?>", "restricted-xml"),
        ("<!DOCTYPE x [<!ENTITY y SYSTEM 'file:///etc/passwd'>]>", "restricted-xml"),
        ("<body>&y;</body>", "restricted-xml"),
        ("<body>&nbsp;</body>", "restricted-xml"),
        ("<body>one</bodi>", "not-well-formed"),
        ("<body>a < b</body>", "not-well-formed"),
        ("<body a='1' a='2'>x</body>", "not-well-formed"),
        ("<xmlns:body>What is this xmlns?</xmlns:body>", "not-well-formed"),
        ("<x xmlns:foo=''/>", "not-well-formed"),
        ("<x xmlns:a='u' xmlns:b='u' a:c='1' b:c='2'/><body>x</body>", "not-well-formed"),
        ("<body>\u{1}</body>", "not-well-formed"),
        ("<body>&#0;</body>", "not-well-formed"),
    ] {
        ends_with(&format!("<message {to} id='m'>{inside}<body>hello</body></message>"), condition);
    }
    for (between, condition) in [
        ("<!-- comment -->", "restricted-xml"),
        ("<?xml version='1.0'?>", "restricted-xml"),
        ("<!DOCTYPE x>", "restricted-xml"),
        ("hello", "bad-format"),
    ] {
        ends_with(between, condition);
    }
}

/// What servers make of the prefixes that any user may write (tests/peers/hostile_senders.rs). One stream is everybody's.
#[test]
fn a_prefix_that_nobody_declared_ends_no_stream() {
    let mut world = World::new();
    for inside in [
        "<foo:body>What is this foo?</foo:body>",
        "<x foo:bar='1'/>",
        "<xml:x/>",
        "<x xmlns='http://www.w3.org/XML/1998/namespace'/>",
        "<x xmlns:ns1='http://www.w3.org/XML/1998/namespace' ns1:y='z'/>",
    ] {
        world.server_writes(format!(
            "<message from='romeo@xmpp.example/x' to='juliet@sip.example' id='m'>{inside}<body>hello</body></message>"
        ));
        let request = world.take_datagram().unwrap_or_else(|| panic!("a request for {inside}"));
        assert!(request.ends_with("\r\n\r\nhello"), "{request}");
        world.proxy_sends(response(&request, "200 OK", ""));
        assert!(world.closes.is_empty() && world.take_stanzas().is_empty(), "{inside}");
    }
}

#[test]
fn half_a_stanza_has_no_effect() {
    let mut world = World::new();
    world.server_writes("<message from='romeo@xmpp.example/x' to='juliet@sip.example' id='m'><body>hello</body>");
    world.advance(Duration::from_secs(3600));
    assert_eq!(world.take_datagram(), None);
    world.server_writes("</message>");
    assert!(world.take_datagram().is_some_and(|request| request.starts_with("MESSAGE sip:juliet@")));
}

#[test]
fn an_idle_stream_stays_and_is_asked_nothing() {
    let mut world = World::new();
    for _ in 0..10 {
        world.advance(Duration::from_secs(3600));
        world.server_writes(" ");
    }
    assert!(world.take_stanzas().is_empty() && world.closes.is_empty() && world.connects.is_empty());
    world.proxy_sends(message(1, "romeo@xmpp.example", "hello"));
    assert!(world.take_stanza().is_some_and(|stanza| stanza.contains("hello")));
}

#[test]
fn a_server_that_hangs_is_told_connection_timeout() {
    let mut world = World::new();
    world.proxy_sends(message(1, "romeo@xmpp.example", "hello"));
    world.take_stanzas();
    world.advance(Duration::from_secs(29));
    assert!(world.take_stanzas().is_empty() && world.closes.is_empty());
    world.advance(Duration::from_secs(2));
    assert_eq!(
        world.take_stanzas(),
        [
            "<stream:error><connection-timeout xmlns='urn:ietf:params:xml:ns:xmpp-streams'/></stream:error>",
            "</stream:stream>"
        ]
    );
    world.carry_out_close().expect("the stream is ended");
    world.advance(Duration::from_secs(1));
    world.accept_component();
}

#[test]
fn a_stream_error_of_the_server_answers_what_waits() {
    for condition in ["system-shutdown", "conflict", "xml-not-well-formed", "never-heard-of"] {
        let mut world = World::new();
        world.proxy_sends(message(1, "romeo@xmpp.example", "hello"));
        world.take_stanzas();
        world.server_writes(format!(
            "<stream:error><{condition} xmlns='urn:ietf:params:xml:ns:xmpp-streams'/></stream:error></stream:stream>"
        ));
        let answer = world.take_datagram().expect("an answer at once");
        assert!(answer.starts_with("SIP/2.0 504 ") && answer.contains("delivery unknown"), "{answer}");
        assert_eq!(world.take_stanza().as_deref(), Some("</stream:stream>"));
        world.carry_out_close().expect("the stream is ended");
        assert!(world.connects.is_empty(), "not at once");
        world.advance(Duration::from_secs(1));
        world.accept_component();
    }
}

/// XEP-0114 section 3, RFC 6120 section 4.9: whoever runs the gateway reads why the stream is gone.
#[test]
fn the_operator_reads_why_the_stream_ended() {
    for (condition, words) in [
        ("host-unknown", "it has no component of this domain"),
        ("conflict", "this component is connected already"),
        ("not-authorized", "the secret is not the one it has"),
        ("system-shutdown", "the server says system-shutdown"),
    ] {
        let log = Log::up_to(tracing::Level::WARN);
        log.during(|| {
            let mut world = World::new();
            world.server_writes(format!(
                "<stream:error><{condition} xmlns='urn:ietf:params:xml:ns:xmpp-streams'/>\
                 <text xmlns='urn:ietf:params:xml:ns:xmpp-streams'>two\nlines</text></stream:error>"
            ));
        });
        let read = log.text();
        assert!(read.contains("component stream down") && read.contains("domain=\"sip.example\""), "{read}");
        assert!(read.contains(words) && read.contains("two\\nlines"), "on one line: {read}");
    }
}
