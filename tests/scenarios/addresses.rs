//! Users with unusual names can write and be written to, under each rule.

use cpim::{DomainPattern, Presentation, Presentations, Rule};
use entente_tests::world::{World, attribute, message, response};

fn encoded(home: &str, shown_as: &str) -> Presentations {
    Presentations::new(vec![Presentation {
        home: DomainPattern::Exactly(home.into()),
        shown_as: shown_as.into(),
        rule: Rule::Encode,
    }])
}

#[test]
fn names_cross_by_the_algorithm_of_rfc_7247() {
    let mut world = World::new();
    for (sip, jid) in [
        ("sip:o'malley@sip.example", r"o\27malley@sip.example"),
        ("sip:f%C3%BC@sip.example", "fü@sip.example"),
        ("sip:m&m@sip.example", r"m\26m@sip.example"),
        ("sip:a%20b@sip.example", r"a\20b@sip.example"),
        ("sip:user;par=u%40e.net@sip.example", r"user;par=u\40e.net@sip.example"),
    ] {
        let request = message(jid.len() as u32, "romeo@xmpp.example", "hello").replace("sip:juliet@sip.example", sip);
        world.proxy_sends(request);
        let stanzas = world.take_stanzas();
        let stanza = stanzas.iter().find(|stanza| stanza.starts_with("<message")).expect(sip);
        assert_eq!(attribute(stanza, "from"), Some(jid), "{stanza}");
        world.server_writes(format!(
            "<message from='romeo@xmpp.example/x' to=\"{}\" id='m'><body>hello</body></message>",
            jid.replace('&', "&amp;")
        ));
        let sent = world.take_datagram().expect("a request");
        assert!(sent.starts_with(&format!("MESSAGE {sip} SIP/2.0\r\n")), "{sent}");
        assert!(sent.contains(&format!("\r\nTo: <{sip}>\r\n")), "{sent}");
        world.proxy_sends(entente_tests::world::response(&sent, "200 OK", ""));
    }
}

#[test]
fn the_encoding_rule_hides_neither_world() {
    let mut world = World::with(|settings| {
        settings.sip.presentations = encoded("xmpp.example", "gw.sip.example");
        settings.xmpp.presentations = encoded("sip.example", "sip.example");
    });
    world.proxy_sends(message(1, "romeo%40xmpp.example@gw.sip.example", "hello"));
    let stanza = world.take_stanza().expect("the message");
    assert_eq!(attribute(&stanza, "to"), Some("romeo@xmpp.example"), "{stanza}");
    assert_eq!(attribute(&stanza, "from"), Some(r"juliet\40sip.example@sip.example"), "{stanza}");
    world.server_writes(
        r"<message from='romeo@xmpp.example/x' to='juliet\40sip.example@sip.example' id='m'><body>hello</body></message>",
    );
    let sent = world.take_datagram().expect("a request");
    assert!(sent.starts_with("MESSAGE sip:juliet@sip.example SIP/2.0\r\n"), "{sent}");
    assert!(sent.contains("\r\nFrom: <sip:romeo%40xmpp.example@gw.sip.example;gr=x>;tag="), "{sent}");
}

#[test]
fn addresses_that_cannot_be_are_refused() {
    let mut world = World::new();
    for (n, (from, to, status)) in [
        ("sip:juliet@sip.example", "sip:a%ff@xmpp.example", 484),
        ("sip:juliet@sip.example", "sip:a%00b@xmpp.example", 484),
        ("sip:juliet@sip.example", "sip:xmpp.example", 484),
        ("sip:juliet@sip.example", "tel:+15551234", 416),
        ("sip:sip.example", "sip:romeo@xmpp.example", 403),
    ]
    .iter()
    .enumerate()
    {
        let request = message(n as u32, "romeo@xmpp.example", "x")
            .replace("sip:juliet@sip.example", from)
            .replace("sip:romeo@xmpp.example", to);
        world.proxy_sends(request);
        assert_eq!(world.take_statuses(), [*status], "{from} -> {to}");
    }
    assert!(world.take_stanza().is_none());
}

/// A 200 to what left, and nothing more of it.
fn accept(world: &mut World, sent: &str) {
    world.proxy_sends(response(sent, "200 OK", ""));
}

fn write(world: &mut World, from: &str, to: &str) -> String {
    world.server_writes(format!("<message from='{from}/x' to='{to}' id='m'><body>hello</body></message>"));
    let sent = world.take_datagram().expect("a request");
    accept(world, &sent);
    sent
}

fn names(sent: &str, uri: &str) -> bool {
    sent.starts_with(&format!("MESSAGE {uri} SIP/2.0\r\n")) && sent.contains(&format!("\r\nTo: <{uri}>\r\n"))
}

#[test]
fn a_sip_user_is_answered_in_the_spelling_seen_last() {
    let mut world = World::new();
    let as_spelled = |n, from: &str| message(n, "Romeo@XMPP.example", "hello").replace("sip:juliet@sip.example", from);
    for (n, (from, answered)) in [
        ("sip:Juliet@SIP.example", "sip:Juliet@sip.example"),
        ("sip:JULIET@sip.example", "sip:JULIET@sip.example"),
        ("sip:juliet@sip.example", "sip:juliet@sip.example"),
        ("sip:%C3%89lodie@sip.example", "sip:%C3%89lodie@sip.example"),
    ]
    .into_iter()
    .enumerate()
    {
        world.proxy_sends(as_spelled(n as u32, from));
        let stanza = world.take_message().expect("a message");
        assert_eq!(attribute(&stanza, "to"), Some("romeo@xmpp.example"), "{stanza}");
        let jid = attribute(&stanza, "from").expect("a sender").to_owned();
        assert_eq!(jid, jid.to_lowercase());
        let sent = write(&mut world, "romeo@xmpp.example", &jid);
        assert!(names(&sent, answered), "{sent}");
    }
    // Whoever may not speak for him does not say how he is spelled either.
    world.sends_from("198.51.100.1:5060".parse().expect("an address"), as_spelled(9, "sip:JuLiEt@sip.example"));
    assert_eq!(world.take_statuses(), [403]);
    let sent = write(&mut world, "romeo@xmpp.example", "juliet@sip.example");
    assert!(names(&sent, "sip:juliet@sip.example"), "{sent}");
}

/// RFC 3261 table 1: what has no place in To and From is ignored there, and nothing of it is written.
#[test]
fn what_a_uri_holds_beside_the_user_goes_no_further() {
    let mut world = World::new();
    let with_all = |user: &str, headers: &str| {
        let (local, domain) = user.split_once('@').expect("an address");
        format!("sip:{local}:pw@{domain}:5070;transport=tcp;maddr=192.0.2.66;ttl=3;lr{headers}")
    };
    let request = message(1, "romeo@xmpp.example", "hello")
        .replacen("sip:romeo@xmpp.example", &with_all("romeo@xmpp.example", ""), 1)
        .replace("To: <sip:romeo@xmpp.example>", "To: <sip:nurse@sip.example:1;maddr=192.0.2.67?Subject=x>")
        .replace("sip:juliet@sip.example", &with_all("juliet@sip.example", ";method=INVITE?Subject=x&From=mallory"));
    world.proxy_sends(request);
    let stanza = world.take_message().expect("a message");
    assert_eq!(attribute(&stanza, "from"), Some("juliet@sip.example"), "{stanza}");
    assert_eq!(attribute(&stanza, "to"), Some("romeo@xmpp.example"), "{stanza}");
    assert!(!stanza.contains("pw") && !stanza.contains("192.0.2.66"), "{stanza}");
    let sent = write(&mut world, "romeo@xmpp.example", "juliet@sip.example");
    assert!(names(&sent, "sip:juliet@sip.example"), "{sent}");
    assert!(sent.contains("\r\nFrom: <sip:romeo@xmpp.example;gr=x>;tag="), "{sent}");
}

/// RFC 3428 section 5.
#[test]
fn im_and_pres_uris_are_addresses() {
    let mut world = World::new();
    for (n, scheme) in ["im", "pres", "IM"].into_iter().enumerate() {
        let request = message(n as u32, "romeo@xmpp.example", "hello")
            .replace("MESSAGE sip:romeo@xmpp.example", &format!("MESSAGE {scheme}:rom%65o@xmpp.example?subject=x"))
            .replace("To: <sip:", &format!("To: <{scheme}:"))
            .replace("From: <sip:juliet@", &format!("From: <{scheme}:o'malley@"));
        world.proxy_sends(request);
        let stanza = world.take_message().expect("a message");
        assert_eq!(attribute(&stanza, "to"), Some("romeo@xmpp.example"), "{stanza}");
        assert_eq!(attribute(&stanza, "from"), Some(r"o\27malley@sip.example"), "{stanza}");
        let sent = write(&mut world, "romeo@xmpp.example", r"o\27malley@sip.example");
        assert!(names(&sent, "sip:o'malley@sip.example"), "{sent}");
        assert!(!sent.contains("im:") && !sent.contains("Route:"), "{sent}");
    }
}

/// `bücher.example` on SIP, shown as it is by a component of that name; users of `straße.example` and of an address on XMPP.
#[test]
fn international_domains_and_addresses_cross() {
    let mut world = World::disconnected(|settings| {
        let exactly = |domain: &str| DomainPattern::Exactly(domain.into());
        let mut policy = cpim::Policy::new();
        policy.add_home(exactly("xn--bcher-kva.example"), cpim::Side::Sip);
        policy.add_speaker(cpim::PeerId(1), exactly("xn--bcher-kva.example"));
        let mut rows = Vec::new();
        for home in ["xn--strae-oqa.example", "[2001:db8::1]"] {
            policy.add_home(exactly(home), cpim::Side::Xmpp);
            policy.add_speaker(cpim::PeerId(2), exactly(home));
            rows.push(Presentation { home: exactly(home), shown_as: "".into(), rule: Rule::Same });
        }
        settings.relay.policy = policy;
        settings.sip.presentations = Presentations::new(rows);
        let row = Presentation { home: exactly("xn--bcher-kva.example"), shown_as: "".into(), rule: Rule::Same };
        settings.xmpp.presentations = Presentations::new(vec![row]);
        settings.xmpp.links[0].component =
            xmpp::stream::component::ComponentSettings::new("bücher.example", entente_tests::world::SECRET, 0);
    });
    world.accept_component_of("bücher.example");
    let mut n = 0;
    for (uri, jid) in [
        ("sip:romeo@xn--strae-oqa.example", "romeo@straße.example"),
        ("sip:romeo@[2001:db8::1]", "romeo@[2001:db8::1]"),
    ] {
        for spelled in [uri.to_owned(), uri.replace("xn--strae-oqa", "XN--STRAE-OQA").replace("db8::1", "DB8:0:0::1")] {
            n += 1;
            let request = message(n, "romeo@xmpp.example", "hello")
                .replace("sip:romeo@xmpp.example", &spelled)
                .replace("sip:juliet@sip.example", "sip:Juliet@XN--Bcher-KVA.example.");
            world.proxy_sends(request);
            let stanza = world.take_message().expect("a message");
            assert_eq!(attribute(&stanza, "to"), Some(jid), "{stanza}");
            assert_eq!(attribute(&stanza, "from"), Some("juliet@bücher.example"), "{stanza}");
        }
        // A server may write our domain in any spelling.
        for ours in ["bücher.example", "BÜCHER.Example", "xn--bcher-kva.example"] {
            let sent = write(&mut world, jid, &format!("juliet@{ours}"));
            assert!(names(&sent, "sip:Juliet@xn--bcher-kva.example"), "{sent}");
            assert!(sent.contains(&format!("\r\nFrom: <{uri};gr=x>;tag=")), "{sent}");
        }
    }
}

/// Prosody and ejabberd know users whom RFC 7622 has no place for. What a server stamped goes back as it was stamped.
#[test]
fn a_user_whom_only_an_older_server_knows_can_write_and_be_answered() {
    let mut world = World::new();
    for (n, (jid, uri)) in [
        ("i♥u@xmpp.example", "sip:i%E2%99%A5u@xmpp.example"),
        ("😀@xmpp.example", "sip:%F0%9F%98%80@xmpp.example"),
        ("fußball@xmpp.example", "sip:fu%C3%9Fball@xmpp.example"),
    ]
    .into_iter()
    .enumerate()
    {
        let sent = write(&mut world, jid, "juliet@sip.example");
        assert!(sent.contains(&format!("\r\nFrom: <{uri};gr=x>;tag=")), "{sent}");
        world.proxy_sends(message(n as u32, uri.trim_start_matches("sip:"), "hello"));
        let stanza = world.take_message().expect("a message");
        assert_eq!(attribute(&stanza, "to"), Some(jid), "{stanza}");
        // A bounce from him is known as his.
        bounce(&mut world, &stanza, jid);
        assert_eq!(world.take_statuses(), [404], "{jid}");
    }
}

/// To servers that enforce RFC 6122 some addresses are others, which RFC 7622 tells apart.
#[test]
fn an_address_that_servers_of_another_age_take_for_another_is_nobodys() {
    let mut world = World::new();
    // An answer to such a sender would go to somebody else.
    for (n, user) in ["i%E2%99%A5u", "fu%C3%9Fball", "%CE%B1%CF%82", "%D7%901", "%E0%A4%95%E0%A5%8D%E2%80%8D%E0%A4%B7"]
        .into_iter()
        .enumerate()
    {
        let request = message(n as u32, "romeo@xmpp.example", "x").replace("sip:juliet@", &format!("sip:{user}@"));
        world.proxy_sends(request);
        assert_eq!(world.take_statuses(), [403], "{user}");
    }
    // Who is written to is for his server to say; its bounce names him as it knows him.
    world.proxy_sends(message(9, "fu%C3%9Fball@xmpp.example", "hello"));
    let stanza = world.take_message().expect("a message");
    assert_eq!(attribute(&stanza, "to"), Some("fu\u{df}ball@xmpp.example"), "{stanza}");
    bounce(&mut world, &stanza, "somebody@xmpp.example");
    assert_eq!(world.take_statuses(), [0; 0]);
    bounce(&mut world, &stanza, "fussball@xmpp.example");
    assert_eq!(world.take_statuses(), [404]);
}

fn bounce(world: &mut World, stanza: &str, from: &str) {
    let id = attribute(stanza, "id").expect("an id");
    world.server_writes(format!(
        "<message type='error' id='{id}' from='{from}' to='juliet@sip.example'><error type='cancel'>\
         <item-not-found xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></message>"
    ));
}

#[test]
fn telephones_and_people_write_to_each_other() {
    use sip_connector::{NumberForm, Numbers};
    let numbers = |domain: &str| Some(Numbers { domain: domain.into(), form: NumberForm::Tel });
    let mut world = World::with(|settings| {
        settings.sip.native_numbers = numbers("sip.example");
        settings.sip.foreign_numbers = numbers("xmpp.example");
    });
    for (n, (from, user, uri)) in [
        ("tel:+30-12.345", "+3012345", "tel:+3012345"),
        ("sip:+30-12345@sip.example;user=phone", "+3012345", "tel:+3012345"),
        (
            "tel:863-1234;phone-context=+1-914-555",
            "8631234;phone-context=+1914555",
            "tel:8631234;phone-context=+1914555",
        ),
    ]
    .into_iter()
    .enumerate()
    {
        let request = message(n as u32, "romeo@xmpp.example", "hello").replace("sip:juliet@sip.example", from);
        // Parameters of a URI belong into brackets, To names what the Request-URI does.
        world.proxy_sends(request.replace("sip:romeo@xmpp.example", "tel:+1-201-555-0123"));
        let stanza = world.take_message().expect("a message");
        assert_eq!(attribute(&stanza, "from"), Some(&*format!("{user}@sip.example")), "{stanza}");
        assert_eq!(attribute(&stanza, "to"), Some("+12015550123@xmpp.example"), "{stanza}");
        let sent = write(&mut world, "+12015550123@xmpp.example", &format!("{user}@sip.example"));
        assert!(names(&sent, uri), "{sent}");
        assert!(sent.contains("\r\nFrom: <tel:+12015550123>;tag="), "{sent}");
    }
    let sent = write(&mut world, "romeo@xmpp.example", "juliet@sip.example");
    assert!(names(&sent, "sip:juliet@sip.example"), "{sent}");
    // A number without its context could be anybody's.
    let request = message(9, "romeo@xmpp.example", "x").replace("sip:juliet@sip.example", "tel:863-1234");
    world.proxy_sends(request);
    assert_eq!(world.take_statuses(), [403]);
}
