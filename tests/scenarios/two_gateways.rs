//! Two gateways that face each other on SIP: people of two XMPP domains write to each other through both.
//!
//! ```text
//! romeo@a.example -- XMPP -- gateway A -- SIP -- gateway B -- XMPP -- juliet@b.example
//! ```

use cpim::{DomainPattern, PeerId, Policy, Presentation, Presentations, Rule, Side};
use entente_tests::world::{SECRET, World, attribute, proxy};
use turn::Seed;
use xmpp::stream::component::ComponentSettings;

fn exactly(domain: &str) -> DomainPattern {
    DomainPattern::Exactly(domain.into())
}

/// A gateway of the XMPP domain `home`, whose users it shows on SIP encoded under `ours`. The other's domain on SIP is
/// `theirs`, shown on XMPP under `component`.
fn gateway(seed: Seed, home: &str, ours: &str, theirs: &str, component: &str) -> World {
    let mut world = World::seeded(seed, |settings| {
        let mut policy = Policy::new();
        policy.add_home(exactly(theirs), Side::Sip);
        policy.add_home(exactly(home), Side::Xmpp);
        policy.add_speaker(PeerId(1), exactly(theirs));
        policy.add_speaker(PeerId(2), exactly(home));
        settings.relay.policy = policy;
        let shown = |home: &str, shown_as: &str, rule| {
            Presentations::new(vec![Presentation { home: exactly(home), shown_as: shown_as.into(), rule }])
        };
        settings.sip.presentations = shown(home, ours, Rule::Encode);
        settings.xmpp.presentations = match component == theirs {
            true => shown(theirs, "", Rule::Same),
            false => shown(theirs, component, Rule::Encode),
        };
        settings.xmpp.links[0].component = ComponentSettings::new(component, SECRET, 0);
    });
    world.accept_component_of(component);
    world
}

/// What one has sent arrives at the other, as the network between them carries it.
fn carry(from: &mut World, to: &mut World) -> Vec<String> {
    let datagrams: Vec<String> = std::iter::from_fn(|| from.take_datagram()).collect();
    for datagram in &datagrams {
        to.sends_from(proxy(), datagram);
    }
    datagrams
}

fn write(world: &mut World, from: &str, to: &str) {
    world.server_writes(format!("<message from='{from}/x' to='{to}' id='m'><body>hello</body></message>"));
}

/// Both ways, and the answer goes to the address that the message came from.
fn converse(seeds: [Seed; 2], component_b: &str, romeo_at_b: &str) {
    let mut a = gateway(seeds[0], "a.example", "gwa.sip.example", "gwb.sip.example", "gwb.sip.example");
    let mut b = gateway(seeds[1], "b.example", "gwb.sip.example", "gwa.sip.example", component_b);
    write(&mut a, "romeo@a.example", r"juliet\40b.example@gwb.sip.example");
    let sent = carry(&mut a, &mut b);
    assert!(sent[0].starts_with("MESSAGE sip:juliet%40b.example@gwb.sip.example SIP/2.0\r\n"), "{}", sent[0]);
    assert!(sent[0].contains("\r\nFrom: <sip:romeo%40a.example@gwa.sip.example;gr=x>;tag="), "{}", sent[0]);
    let stanza = b.take_message().expect("a message");
    assert_eq!(attribute(&stanza, "to"), Some("juliet@b.example"), "{stanza}");
    assert_eq!(attribute(&stanza, "from"), Some(&*format!("{romeo_at_b}/x")), "{stanza}");

    write(&mut b, "juliet@b.example", romeo_at_b);
    let answered = carry(&mut b, &mut a);
    assert!(answered[0].starts_with("MESSAGE sip:romeo%40a.example@gwa.sip.example SIP/2.0\r\n"), "{}", answered[0]);
    assert!(answered[0].contains("\r\nFrom: <sip:juliet%40b.example@gwb.sip.example;gr=x>;tag="), "{}", answered[0]);
    let stanza = a.take_message().expect("a message");
    assert_eq!(attribute(&stanza, "to"), Some("romeo@a.example"), "{stanza}");
    assert_eq!(attribute(&stanza, "from"), Some(r"juliet\40b.example@gwb.sip.example/x"), "{stanza}");
    for text in sent.iter().chain(&answered) {
        assert!(!text.contains("%25") && !text.contains("%5C") && !text.contains(r"\5c"), "escaped twice: {text}");
    }
}

#[test]
fn addresses_are_escaped_once_and_lead_back() {
    converse([[1; 16], [2; 16]], "gwa.sip.example", r"romeo\40a.example@gwa.sip.example");
}

#[test]
fn encoded_addresses_within_encoded_ones_lead_back() {
    converse([[1; 16], [2; 16]], "gw.b.example", r"romeo\40a.example\40gwa.sip.example@gw.b.example");
}

#[test]
fn gateways_that_know_each_others_marks_pass_what_has_changed_addresses() {
    converse([[1; 16], [1; 16]], "gwa.sip.example", r"romeo\40a.example@gwa.sip.example");
}
