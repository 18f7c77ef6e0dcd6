//! Other settings between two turns: what comes from then on follows them, what is open ends as it began, nothing is closed.

use cpim::{AcceptedBy, Accepts, DomainPattern, PeerId, Presentation, Presentations, Rule};
use engine::journal::{Keep, When};
use entente_tests::world::{World, attribute, keep, message, response, settings, status};
use sip_connector::LargeRequests;
use std::net::SocketAddr;
use std::time::Duration;
use xmpp::stream::component::ComponentSettings;

/// Turns `world` to the settings of the world but for `change`.
fn turn_to(world: &mut World, change: impl FnOnce(&mut engine::Settings)) {
    let mut new = settings();
    change(&mut new);
    world.engine.reconfigure(new);
    world.turn();
    assert!(world.closes.is_empty() && world.connects.is_empty(), "no stream is touched");
}

fn stanza(n: u32, body: &str) -> String {
    format!("<message from='romeo@xmpp.example/o' to='juliet@sip.example' id='m{n}'><body>{body}</body></message>")
}

/// A message that the server takes without a word; gives the status of the answer.
fn taken(world: &mut World, n: u32) -> Option<u16> {
    world.proxy_sends(message(n, "romeo@xmpp.example", "hello"));
    world.return_pings();
    world.take_datagram().and_then(|answer| status(&answer))
}

#[test]
fn the_window_and_the_answer_of_acceptance_are_those_of_the_moment_a_message_came() {
    let mut world = World::new();
    world.proxy_sends(message(1, "romeo@xmpp.example", "hello"));
    turn_to(&mut world, |settings| {
        settings.relay.sip_window = Duration::from_secs(3);
        settings.sip.on_acceptance = 200;
    });
    world.proxy_sends(message(2, "romeo@xmpp.example", "hello"));
    world.advance(Duration::from_millis(2100));
    assert_eq!(world.take_statuses(), [504], "the first waited for two seconds");
    world.advance(Duration::from_secs(1));
    assert_eq!(world.take_statuses(), [504], "the second for three");

    let mut world = World::new();
    assert_eq!(taken(&mut world, 1), Some(202));
    turn_to(&mut world, |settings| settings.sip.on_acceptance = 200);
    assert_eq!(taken(&mut world, 2), Some(200));
}

/// The windows of messages end in the order in which they came, also where the later ones are shorter.
#[test]
fn a_shorter_window_counts_once_the_longer_ones_are_over() {
    let mut world = World::new();
    world.proxy_sends(message(1, "romeo@xmpp.example", "hello"));
    world.advance(Duration::from_millis(1500));
    turn_to(&mut world, |settings| settings.relay.sip_window = Duration::from_millis(200));
    world.proxy_sends(message(2, "romeo@xmpp.example", "hello"));
    world.advance(Duration::from_millis(600));
    assert_eq!(world.take_statuses(), [504, 504], "both when the first one's two seconds were over");
    world.proxy_sends(message(3, "romeo@xmpp.example", "hello"));
    world.advance(Duration::from_millis(300));
    assert_eq!(world.take_statuses(), [504]);
}

#[test]
fn who_is_trusted_changes_at_once() {
    let mut world = World::new();
    let newcomer: SocketAddr = "198.51.100.7:5060".parse().expect("an address");
    world.sends_from(newcomer, message(1, "romeo@xmpp.example", "hello"));
    assert_eq!(world.take_statuses(), [403]);
    turn_to(&mut world, |settings| {
        settings.sip.trusted = vec![
            ("198.51.100.0/24".parse().expect("a network"), PeerId(7)),
            ("198.51.100.8/32".parse().expect("a network"), PeerId(8)),
        ];
        settings.relay.policy.add_speaker(PeerId(7), DomainPattern::Exactly("sip.example".into()));
    });
    world.proxy_sends(message(2, "romeo@xmpp.example", "hello"));
    assert_eq!(world.take_statuses(), [403], "the proxy is a stranger now");
    world.sends_from("198.51.100.8:5060".parse().expect("an address"), message(3, "romeo@xmpp.example", "hello"));
    assert_eq!(world.take_statuses(), [403], "the narrowest network counts");
    world.sends_from(newcomer, message(4, "romeo@xmpp.example", "hello"));
    assert!(world.take_stanza().is_some_and(|stanza| stanza.contains("<body>hello")));
}

#[test]
fn addresses_are_shown_by_the_new_rules() {
    let encoded = |home: &str, shown_as: &str| {
        let home = DomainPattern::Exactly(home.into());
        Presentations::new(vec![Presentation { home, shown_as: shown_as.into(), rule: Rule::Encode }])
    };
    let mut world = World::new();
    world.server_writes(stanza(1, "before"));
    let before = world.take_datagram().expect("a request");
    assert!(before.contains("\r\nFrom: <sip:romeo@xmpp.example;gr=o>"), "{before}");
    // This one waits behind the other, as it was.
    world.server_writes(stanza(2, "between"));
    turn_to(&mut world, |settings| {
        settings.sip.presentations = encoded("xmpp.example", "gw.sip.example");
        settings.xmpp.presentations = encoded("sip.example", "sip.example");
    });
    world.proxy_sends(response(&before, "200 OK", ""));
    let between = world.take_datagram().expect("a request");
    assert!(between.contains("\r\nFrom: <sip:romeo@xmpp.example;gr=o>"), "{between}");
    world.proxy_sends(response(&between, "200 OK", ""));

    let to = r"juliet\40sip.example@sip.example";
    world.server_writes(stanza(3, "after").replace("juliet@sip.example", to));
    let after = world.take_datagram().expect("a request");
    assert!(after.contains("\r\nFrom: <sip:romeo%40xmpp.example@gw.sip.example;gr=o>"), "{after}");
    world.proxy_sends(response(&after, "200 OK", ""));
    world.proxy_sends(message(1, "romeo%40xmpp.example@gw.sip.example", "hello"));
    let written = world.take_stanza().expect("a stanza");
    assert_eq!((attribute(&written, "from"), attribute(&written, "to")), (Some(to), Some("romeo@xmpp.example")));
}

#[test]
fn telephone_numbers_get_their_domain() {
    let mut world = World::new();
    let from_telephone =
        |n| message(n, "romeo@xmpp.example", "hello").replace("sip:juliet@sip.example", "tel:+30-12345");
    world.proxy_sends(from_telephone(1));
    assert_eq!(world.take_statuses(), [403]);
    let numbers = sip_connector::Numbers { domain: "sip.example".into(), form: sip_connector::NumberForm::Tel };
    turn_to(&mut world, |settings| settings.sip.native_numbers = Some(numbers));
    world.proxy_sends(from_telephone(2));
    let written = world.take_stanza().expect("a stanza");
    assert_eq!(attribute(&written, "from"), Some("+3012345@sip.example"));
    world.server_writes(stanza(1, "hello").replace("juliet@", "+3012345@"));
    let request = world.take_datagram().expect("a request");
    assert!(request.starts_with("MESSAGE tel:+3012345 SIP/2.0\r\n"), "{request}");
}

#[test]
fn what_is_taken_counts_for_what_comes() {
    let mut world = World::new();
    let image = |n| message(n, "romeo@xmpp.example", "<svg/>").replace("text/plain", "image/svg+xml");
    world.proxy_sends(image(1));
    assert_eq!(world.take_statuses(), [415]);
    let taking = |types: &[&str]| AcceptedBy::new(vec![(DomainPattern::Any, Accepts::new(types).expect("types"))]);
    turn_to(&mut world, |settings| {
        settings.xmpp.accepted = taking(&["image/*"]);
        settings.xmpp.foreign = taking(&["text/html"]);
        settings.sip.accepted = taking(&["text/html"]);
    });
    world.proxy_sends(image(2));
    assert!(world.take_stanza().expect("a stanza").contains("<![CDATA[Content-Type: image/svg+xml"), "it crosses");
    let html = "</body><html xmlns='http://jabber.org/protocol/xhtml-im'><body xmlns='http://www.w3.org/1999/xhtml'>\
                <em>hello</em></body></html>";
    world.server_writes(stanza(1, "hello").replace("</body>", html));
    assert!(world.take_datagram().expect("a request").ends_with("\r\n\r\n<em>hello</em>"));
}

#[test]
fn limits_count_for_what_comes() {
    let mut world = World::new();
    turn_to(&mut world, |settings| {
        settings.sip.endpoint.limits.message = 1300;
        settings.sip.queue_per_destination = 1;
        settings.sip.start_max_forwards = 10;
        settings.xmpp.start_max_forwards = 10;
    });
    world.proxy_sends(message(1, "romeo@xmpp.example", &"x".repeat(1300)));
    assert_eq!(world.take_statuses(), [513]);
    world.proxy_sends(message(2, "romeo@xmpp.example", "hello").replace("Max-Forwards: 70\r\n", ""));
    let written = world.take_stanza().expect("a stanza");
    assert!(written.contains("<header name='Max-Forwards'>9</header>"), "{written}");
    for n in 1..=3 {
        world.server_writes(stanza(n, "hello"));
    }
    let refused = world.take_stanzas();
    assert_eq!(refused.iter().filter(|error| error.contains("<resource-constraint")).count(), 1, "{refused:?}");
    assert!(world.take_datagram().is_some_and(|request| request.contains("\r\nMax-Forwards: 9\r\n")));

    turn_to(&mut world, |settings| settings.sip.endpoint.max_ongoing = 0);
    world.proxy_sends(message(3, "romeo@xmpp.example", "hello"));
    assert_eq!(world.take_statuses(), [503]);
}

/// What is open is not closed; what may be open once more is opened with the next message.
#[test]
fn more_transactions_at_a_time_begin_with_the_next_message() {
    let mut world = World::new();
    for n in 1..=3 {
        world.server_writes(stanza(n, &format!("text {n}")));
    }
    let first = world.take_datagram().expect("the first");
    turn_to(&mut world, |settings| settings.sip.parallel = 2);
    assert_eq!(world.take_datagram(), None);
    world.proxy_sends(response(&first, "200 OK", ""));
    let (second, third) = (world.take_datagram().expect("the second"), world.take_datagram().expect("the third"));
    assert!(second.ends_with("text 2") && third.ends_with("text 3"));
}

#[test]
fn large_requests_go_the_new_way() {
    let mut world = World::new();
    world.server_writes(stanza(1, &"x".repeat(2000)));
    let request = world.take_datagram().expect("a datagram, whatever its length");
    world.proxy_sends(response(&request, "200 OK", ""));
    turn_to(&mut world, |settings| settings.sip.large_requests = LargeRequests::Tcp);
    world.server_writes(stanza(2, &"x".repeat(2000)));
    assert_eq!(world.take_datagram(), None);
    assert_eq!(world.sip.connects, 1, "TCP is tried");
}

#[test]
fn a_secret_and_the_limit_of_stanzas_are_for_the_next_connection() {
    let component = |settings: &mut engine::Settings| {
        let component = &mut settings.xmpp.links[0].component;
        *component =
            ComponentSettings { limits: component.limits, ..ComponentSettings::new("sip.example", "capulet", 0) };
        component.limits.stanza = 10_000;
    };
    let mut world = World::new();
    let before = world.handshake.clone();
    turn_to(&mut world, component);
    assert!(world.engine.is_ready(), "the stream stands");
    world.server_writes(stanza(1, &"x".repeat(15_000)));
    assert!(world.take_datagram().is_some(), "what the stream took before it takes now");

    world.break_stream();
    world.advance(Duration::from_secs(1));
    world.accept_component();
    assert_ne!(world.handshake, before);
    assert_eq!(world.handshake, World::with(component).handshake, "it knows the new secret");
    world.server_writes(stanza(2, &"x".repeat(15_000)));
    assert!(world.take_stanza().is_some_and(|error| error.contains("<policy-violation")));
}

#[test]
fn receipts_and_late_failures_follow() {
    let mut world = World::new();
    world.proxy_sends(message(1, "romeo@xmpp.example", "hello"));
    let first = world.take_stanza().expect("the message");
    assert!(!first.contains("urn:xmpp:receipts"), "{first}");
    for _ in 0..2 {
        let ping = world.take_stanza().expect("a ping");
        world.server_writes(&ping);
    }
    assert_eq!(world.take_statuses(), [202]);
    turn_to(&mut world, |settings| {
        settings.xmpp.ask_receipts = true;
        settings.late_failure = engine::LateFailure::Nothing;
    });
    let id = attribute(&first, "id").expect("an id");
    world.server_writes(format!(
        "<message from='romeo@xmpp.example' to='juliet@sip.example' id='{id}' type='error'><error type='cancel'>\
         <item-not-found xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></message>"
    ));
    assert_eq!(world.engine.counters().late_failures, 1, "it is known by the mark, which is the same as before");
    assert_eq!(world.take_datagram(), None);
    world.proxy_sends(message(2, "romeo@xmpp.example", "hello"));
    assert!(world.take_stanza().is_some_and(|stanza| stanza.contains("<request xmlns='urn:xmpp:receipts'/>")));
}

/// What is under way in both directions, on every kind of connection, ends as if nothing had happened.
#[test]
fn what_is_open_goes_on() {
    let mut world = World::new();
    let stream = world.sip_connects("192.0.2.9:40000".parse().expect("an address"));
    world.sip_writes(stream, message(1, "romeo@xmpp.example", "hello").replace("SIP/2.0/UDP", "SIP/2.0/TCP"));
    world.server_writes(stanza(1, "hello"));
    let request = world.take_datagram().expect("a request");
    let half = message(2, "romeo@xmpp.example", "in two halves").replace("SIP/2.0/UDP", "SIP/2.0/TCP");
    world.sip_writes(stream, &half[..100]);

    turn_to(&mut world, |settings| {
        settings.relay.sip_window = Duration::from_millis(500);
        settings.sip.endpoint.limits.message = 4000;
        settings.sip.routes.clear();
        settings.sip.host = "other.example".into();
    });

    world.sip_writes(stream, &half[100..]);
    world.return_pings();
    for _ in 0..2 {
        assert_eq!(world.sip_reads(stream).and_then(|answer| status(&answer)), Some(202));
    }
    assert!(!world.is_closed_by_gateway(stream));
    world.proxy_sends(response(&request, "404 Not Found", ""));
    assert!(world.take_stanza().is_some_and(|error| error.contains("id='m1'") && error.contains("<item-not-found")));
    // What is settled at the start is not looked at.
    world.server_writes(stanza(2, "hello"));
    let request = world.take_datagram().expect("a datagram: the next hop is where it was");
    assert!(request.contains("@gw.example\r\n"), "{request}");
    world.proxy_sends(response(&request, "200 OK", ""));
    world.assert_quiet();
}

#[test]
fn a_gateway_that_drains_takes_nothing_new_by_a_change_either() {
    let mut world = World::new();
    world.engine.drain();
    world.engine.reconfigure(settings());
    world.proxy_sends(message(1, "romeo@xmpp.example", "too late"));
    assert_eq!(world.take_statuses(), [503]);
}

/// Other rules for what is kept are for what comes from then on.
#[test]
fn what_is_kept_stays_kept_and_what_comes_later_follows_the_new_rules() {
    let mut world = World::keeping(When::Away);
    world.break_stream();
    world.proxy_sends(message(1, "romeo@xmpp.example", "kept"));
    assert_eq!((world.take_statuses(), world.entries()), (vec![202], 1));
    let with = |when: When, per_conversation: usize| {
        let mut settings = settings();
        settings.journal.keep = vec![Keep { per_conversation, ..keep(when) }];
        (settings.journal.max_entries, settings.journal.max_octets) = (32, 1 << 20);
        settings
    };
    // Behind what is kept nothing overtakes: it is refused.
    world.engine.reconfigure(with(When::Away, 1));
    world.proxy_sends(message(2, "romeo@xmpp.example", "one too many"));
    assert_eq!((world.take_statuses(), world.entries()), (vec![480], 1));
    // To others, nothing is kept any more.
    world.engine.reconfigure(with(When::Never, 8));
    world.proxy_sends(message(3, "tybalt@xmpp.example", "refused"));
    assert_eq!((world.take_statuses(), world.entries()), (vec![504], 1));
    world.advance(Duration::from_secs(3));
    world.accept_component();
    assert!(world.take_stanza().is_some_and(|stanza| stanza.contains("kept")));
    // It is under way, and not yet delivered: behind it nothing overtakes, whether or not it would be kept.
    world.proxy_sends(message(4, "romeo@xmpp.example", "too early"));
    assert_eq!(world.take_statuses(), [480]);
    assert!(world.return_pings().iter().all(|stanza| !stanza.starts_with("<message")));
    assert_eq!((world.entries(), taken(&mut world, 5)), (0, Some(202)));
}
