//! What the gateway asks SIP users, and what becomes of their answers.

use cpim::{DomainPattern, PeerId, Policy, Side};
use entente_tests::world::{World, response};

fn stanza(n: u32, more: &str) -> String {
    format!(
        "<message from='romeo@xmpp.example/orchard' to='juliet@sip.example' id='m{n}'><body>text {n}</body>{more}</message>"
    )
}

fn hops(count: &str) -> String {
    format!("<headers xmlns='http://jabber.org/protocol/shim'><header name='Max-Forwards'>{count}</header></headers>")
}

/// The value of a header field of a request.
fn header<'m>(text: &'m str, name: &str) -> &'m str {
    let value = text.split("\r\n").find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
    value.unwrap_or_else(|| panic!("no {name} in {text}"))
}

fn request(world: &mut World, stanza: &str) -> String {
    world.server_writes(stanza);
    world.take_datagram().expect("the request")
}

/// RFC 3428 section 2, RFC 3261 sections 8.1.1.3, 8.1.1.4, 8.1.1.7 and 19.3.
#[test]
fn two_messages_of_one_conversation_share_no_identifier() {
    let mut world = World::new();
    let requests = [1, 2, 3].map(|n| {
        let request = request(&mut world, &stanza(n, "<thread>t</thread>"));
        world.proxy_sends(response(&request, "200 OK", ""));
        request
    });
    let parts = |request: &str| {
        let branch = header(request, "Via").split("branch=").nth(1).expect("a branch").to_owned();
        let tag = header(request, "From").split(";tag=").nth(1).expect("a tag").to_owned();
        assert!(tag.len() >= 7, "32 bits take seven digits of base 32: {tag}");
        assert!(!header(request, "To").contains("tag="), "outside of any dialog");
        [branch, tag, header(request, "Call-ID").to_owned()]
    };
    let mut seen = std::collections::BTreeSet::new();
    for request in &requests {
        assert!(parts(request).into_iter().all(|part| seen.insert(part)), "{request}");
    }
    world.assert_quiet();
}

#[test]
fn max_forwards_are_carried_lowered_and_bounded() {
    for (start, carried, expected) in [
        (70, String::new(), "69"),
        (120, String::new(), "119"),
        (70, hops("20"), "19"),
        (70, hops("1"), "0"),
        (70, hops("200"), "69"),
        (70, hops("soon"), "69"),
    ] {
        let mut world = World::with(|settings| settings.xmpp.start_max_forwards = start);
        assert_eq!(header(&request(&mut world, &stanza(1, &carried)), "Max-Forwards"), expected, "{carried}");
    }
    let mut world = World::new();
    world.server_writes(stanza(1, &hops("0")));
    assert_eq!(world.take_datagram(), None, "its hops are used up");
    let error = world.take_stanza().expect("an error");
    assert!(error.contains("<not-acceptable xmlns="), "{error}");
    world.assert_quiet();
}

#[test]
fn a_resource_may_hold_anything() {
    let mut world = World::new();
    let sent = request(&mut world, &stanza(1, "").replace("/orchard", "/a@b/c"));
    assert!(header(&sent, "From").starts_with("<sip:romeo@xmpp.example;gr=a%40b/c>;tag="), "{sent}");
    world.proxy_sends(response(&sent, "404 Nobody", ""));
    let error = world.take_stanza().expect("an error");
    assert!(error.contains(" to='romeo@xmpp.example/a@b/c'"), "{error}");
}

/// RFC 3428 section 4: only a 200 says delivered, and nothing says displayed.
#[test]
fn what_was_only_accepted_is_not_called_delivered() {
    let mut world = World::new();
    let asking = "<request xmlns='urn:xmpp:receipts'/><markable xmlns='urn:xmpp:chat-markers:0'/>";
    for (n, status, told) in [(1, "202 Accepted", false), (2, "200 OK", true)] {
        let sent = request(&mut world, &stanza(n, asking));
        world.proxy_sends(response(&sent, status, ""));
        let stanzas = world.take_stanzas();
        assert_eq!(stanzas.len(), usize::from(told), "{status}: {stanzas:?}");
        assert!(stanzas.iter().all(|stanza| stanza.contains("<received ") && !stanza.contains("displayed")));
    }
    world.assert_quiet();
}

/// RFC 5393 in spirit: the mark is in the Call-ID on one side and in the id on the other.
#[test]
fn a_message_that_comes_back_as_a_stanza_is_a_loop() {
    let mut world = World::new();
    let sent = request(&mut world, &stanza(1, ""));
    let mark = header(&sent, "Call-ID").split('@').next().unwrap().to_owned();
    world.server_writes(stanza(2, "").replace("id='m2'", &format!("id='{mark}'")));
    let error = world.take_stanza().expect("an error");
    assert!(error.contains("<not-acceptable xmlns="), "{error}");
    assert_eq!(world.take_datagram(), None);
}

#[test]
fn words_of_the_far_side_are_bounded_and_cleaned() {
    let mut world = World::new();
    let sent = request(&mut world, &stanza(1, ""));
    let answer = response(&sent, "404 Nix", "").into_bytes();
    let start = answer.iter().position(|&byte| byte == b'N').unwrap();
    let phrase = [b"caf\xe9 \x01 <&> ".as_slice(), &[b'x'; 1000]].concat();
    world.proxy_sends([&answer[..start], &phrase, &answer[start + 3..]].concat());
    let error = world.take_stanza().expect("an error");
    assert!(error.contains(">caf\u{fffd}   &lt;&amp;"), "{error}");
    assert!(error.len() < 700, "{error}");
}

/// RFC 7247 section 7.2, the rows for 3xx, and note 1.
#[test]
fn a_redirection_names_the_new_address_if_it_is_one() {
    let mut world = World::new();
    let good = "Contact: <sip:capulet@sip.example>\r\n";
    let none = "Contact: <tel:+15551234>\r\n";
    let redirect = "<redirect xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'>xmpp:capulet@sip.example</redirect>";
    let gone = "<gone xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'>xmpp:capulet@sip.example</gone>";
    let gone_somewhere = "<gone xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/>";
    for (status, contact, expected) in [
        (300, good, redirect),
        (301, good, gone),
        (302, good, redirect),
        (305, good, redirect),
        (399, good, redirect),
        (302, none, "<recipient-unavailable "),
        (301, none, "<recipient-unavailable "),
        (410, good, gone_somewhere),
        (410, "", gone_somewhere),
    ] {
        let sent = request(&mut world, &stanza(1, ""));
        world.proxy_sends(response(&sent, &format!("{status} Words"), contact));
        let error = world.take_stanza().expect("an error");
        assert!(error.contains(expected), "{status} {contact}: {error}");
        assert_eq!(world.take_datagram(), None, "nobody is asked in his stead");
    }
    world.assert_quiet();
}

/// RFC 7247 section 7.2 note 4: what is known to be about the domain is told so.
#[test]
fn a_domain_that_nobody_configured_is_told_as_such() {
    let mut world = World::with(|settings| {
        let mut policy = Policy::new();
        policy.add_home(DomainPattern::Exactly("xmpp.example".into()), Side::Xmpp);
        policy.add_speaker(PeerId(2), DomainPattern::Exactly("xmpp.example".into()));
        settings.relay.policy = policy;
    });
    world.server_writes(stanza(1, ""));
    let error = world.take_stanza().expect("an error");
    assert!(error.contains("<remote-server-not-found xmlns="), "{error}");
    world.assert_quiet();
}
