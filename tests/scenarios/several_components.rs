//! Two SIP domains, each shown as a component of its own: two links in one gateway.
//!
//! ```text
//! juliet@sip.example  --+                +-- component sip.example --+
//!                       +-- (one proxy) -+                           +-- romeo@xmpp.example
//! nurse@pbx.example   --+                +-- component pbx.example --+
//! ```

use cpim::{DomainPattern, PeerId, Presentation, Presentations, Rule, Side};
use entente_tests::world::{Aside, SECRET, World, attribute, message, response, status};
use std::time::Duration;
use xmpp::stream::component::ComponentSettings;

const ORCHARD: &str = "romeo@xmpp.example/orchard";

/// A world that looks at the link of `sip.example`, and the link of `pbx.example`; both stand, each at a server of its own.
fn two_links() -> (World, Aside) {
    two_links_at(1)
}

/// The same, where the second link is attached to this server.
fn two_links_at(server: u16) -> (World, Aside) {
    let mut world = World::disconnected(move |settings| {
        let second = DomainPattern::Exactly("pbx.example".into());
        settings.relay.policy.add_home(second.clone(), Side::Sip);
        settings.relay.policy.add_speaker(PeerId(1), second.clone());
        settings.relay.policy.add_speaker(PeerId(3), DomainPattern::Exactly("xmpp.example".into()));
        settings.xmpp.links.push(xmpp_connector::LinkSettings {
            component: ComponentSettings::new("pbx.example", SECRET, 1),
            peer: PeerId(3),
            server,
        });
        let mut rows = settings.xmpp.presentations.rows().to_vec();
        rows.push(Presentation { home: second, shown_as: "".into(), rule: Rule::Same });
        settings.xmpp.presentations = Presentations::new(rows);
    });
    world.accept_component_of("sip.example");
    let second = world.turn_to(Aside::default());
    assert!(!world.engine.counters().xmpp_up, "one of two is not ready");
    world.accept_component_of("pbx.example");
    assert!(world.engine.counters().xmpp_up);
    let second = world.turn_to(second);
    (world, second)
}

/// A MESSAGE from the nurse.
fn from_nurse(n: u32, body: &str) -> String {
    message(n, "romeo@xmpp.example", body).replace("sip:juliet@sip.example", "sip:nurse@pbx.example")
}

/// Returns pings until none comes.
fn return_pings(world: &mut World) -> usize {
    let mut returned = 0;
    while let Some(ping) = world.take_stanza() {
        assert!(ping.contains("<ping xmlns='urn:xmpp:ping'/>"), "{ping}");
        returned += 1;
        world.server_writes(ping);
    }
    returned
}

#[test]
fn each_sender_speaks_over_the_link_of_his_domain() {
    let (mut world, mut other) = two_links();
    world.proxy_sends(message(1, "romeo@xmpp.example", "from Juliet"));
    world.proxy_sends(from_nurse(2, "from the nurse"));
    for (from, body) in [("juliet@sip.example", "from Juliet"), ("nurse@pbx.example", "from the nurse")] {
        let stanza = world.take_stanza().expect("a message");
        assert_eq!(attribute(&stanza, "from"), Some(from), "{stanza}");
        assert!(stanza.contains(&format!("<body>{body}</body>")), "{stanza}");
        // Each link proves what was written to it, with pings of its own.
        assert_eq!(world.take_statuses(), Vec::<u16>::new());
        assert_eq!(return_pings(&mut world), 2);
        assert_eq!(world.take_statuses(), [202]);
        other = world.turn_to(other);
    }
    world.assert_quiet();
}

#[test]
fn each_recipient_is_reached_and_each_answer_goes_back_over_the_link_it_came_by() {
    let (mut world, mut other) = two_links();
    for (to, id) in [("juliet@sip.example", "j"), ("nurse@pbx.example", "n")] {
        world.server_writes(format!("<message from='{ORCHARD}' to='{to}' id='{id}'><body>hello</body></message>"));
        let request = world.take_datagram().expect("a request");
        assert!(request.starts_with(&format!("MESSAGE sip:{to} SIP/2.0\r\n")), "{request}");
        let asked = to.split('@').nth(1).expect("a domain");
        world.server_writes(format!(
            "<iq from='{ORCHARD}' to='{asked}' id='p' type='get'><ping xmlns='urn:xmpp:ping'/></iq>"
        ));
        let pong = world.take_stanza().expect("every iq is answered");
        assert_eq!((attribute(&pong, "from"), attribute(&pong, "type")), (Some(asked), Some("result")), "{pong}");
        // The answer comes while the test looks at the other link.
        other = world.turn_to(other);
        world.proxy_sends(response(&request, "404 Not Found", ""));
        assert_eq!(world.take_stanza(), None, "it is nothing to the other link");
        other = world.turn_to(other);
        let error = world.take_stanza().expect("an error");
        assert_eq!((attribute(&error, "from"), attribute(&error, "id")), (Some(to), Some(id)), "{error}");
        other = world.turn_to(other);
    }
    world.assert_quiet();
}

/// A link speaks for its own domain only: what comes by it for another one is nobody's.
#[test]
fn a_link_takes_nothing_for_the_domain_of_the_other() {
    let (mut world, other) = two_links();
    world.server_writes(format!("<message from='{ORCHARD}' to='nurse@pbx.example' id='m'><body>x</body></message>"));
    assert_eq!((world.take_datagram(), world.take_stanza()), (None, None));
    let _aside = world.turn_to(other);
    assert_eq!(world.take_stanza(), None);
    assert_eq!(world.engine.counters().xmpp.misaddressed, 1);
    world.assert_quiet();
}

/// ejabberd 23.01 hands what is for any component of a listener to any of them, by chance.
#[test]
fn one_server_may_hand_what_is_for_each_to_the_other() {
    let (mut world, mut other) = two_links_at(0);
    // What is written stays with the link of its sender; the pings come back by the other one.
    world.proxy_sends(message(1, "romeo@xmpp.example", "from Juliet"));
    assert!(world.take_stanza().expect("a message").contains("from='juliet@sip.example'"));
    for _ in 0..2 {
        let ping = world.take_stanza().expect("a ping");
        other = world.turn_to(other);
        world.server_writes(ping);
        other = world.turn_to(other);
    }
    assert_eq!(world.take_statuses(), [202]);
    assert_eq!(world.take_stanza(), None);

    // So do bounces, and texts, and requests.
    world.proxy_sends(message(2, "nobody@xmpp.example", "from Juliet"));
    let stanza = world.take_stanza().expect("a message");
    let id = attribute(&stanza, "id").expect("an id").to_owned();
    other = world.turn_to(other);
    world.server_writes(format!(
        "<message from='nobody@xmpp.example' to='juliet@sip.example' id='{id}' type='error'><error type='cancel'>\
         <item-not-found xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></message>"
    ));
    assert_eq!(world.take_statuses(), [404]);
    world.server_writes(format!(
        "<message from='{ORCHARD}' to='juliet@sip.example' id='m'><body>hello</body></message>"
    ));
    let request = world.take_datagram().expect("a request");
    assert!(request.starts_with("MESSAGE sip:juliet@sip.example SIP/2.0\r\n"), "{request}");
    world.proxy_sends(response(&request, "404 Not Found", ""));
    let error = world.take_stanza().expect("the answer goes back by the link that the message came by");
    assert_eq!(
        (attribute(&error, "from"), attribute(&error, "id")),
        (Some("juliet@sip.example"), Some("m")),
        "{error}"
    );
    world.server_writes(format!(
        "<iq from='{ORCHARD}' to='sip.example' id='p' type='get'><ping xmlns='urn:xmpp:ping'/></iq>"
    ));
    let pong = world.take_stanza().expect("every iq is answered");
    assert_eq!((attribute(&pong, "from"), attribute(&pong, "type")), (Some("sip.example"), Some("result")), "{pong}");
    let _aside = world.turn_to(other);
    while let Some(left) = world.take_stanza() {
        assert!(left.contains("<ping "), "{left}");
        world.server_writes(left);
    }
    assert_eq!(world.engine.counters().xmpp.misaddressed, 0);
    world.assert_quiet();
}

#[test]
fn a_link_that_is_down_takes_only_its_own_domain_with_it() {
    let (mut world, other) = two_links();
    let first = world.turn_to(other);
    world.break_stream();
    assert!(!world.engine.counters().xmpp_up);
    let second = world.turn_to(first);
    world.proxy_sends(from_nurse(1, "into the dark"));
    let answer = world.take_datagram().expect("an answer at once");
    assert_eq!(status(&answer), Some(504), "{answer}");
    world.proxy_sends(message(2, "romeo@xmpp.example", "still here"));
    assert!(world.take_stanza().expect("a message").contains("still here"));
    assert_eq!(return_pings(&mut world), 2);
    assert_eq!(world.take_statuses(), [202]);

    world.advance(Duration::from_secs(5));
    let first = world.turn_to(second);
    world.accept_component_of("pbx.example");
    assert!(world.engine.counters().xmpp_up);
    world.proxy_sends(from_nurse(3, "into the light"));
    assert!(world.take_stanza().expect("a message").contains("into the light"));
    assert_eq!(return_pings(&mut world), 2);
    assert_eq!(world.take_statuses(), [202]);
    let _second = world.turn_to(first);
    world.assert_quiet();
}
