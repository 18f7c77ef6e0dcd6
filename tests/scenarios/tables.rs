//! The two tables of RFC 7247 section 7, each row from wire to wire.

use entente_tests::world::{World, attribute, message, response};

/// Table 2 with the recorded deviations: stanza error condition, who answers, status to the SIP sender.
const TO_SIP: &[(&str, u16)] = &[
    ("bad-request", 400),
    ("conflict", 400),
    ("feature-not-implemented", 501),
    ("forbidden", 403),
    ("gone", 410),
    ("internal-server-error", 500),
    ("item-not-found", 404),
    ("jid-malformed", 400),
    ("not-acceptable", 406),
    ("not-allowed", 403),
    ("not-authorized", 403),
    ("policy-violation", 403),
    ("recipient-unavailable", 480),
    ("redirect", 480),
    ("registration-required", 403),
    ("remote-server-not-found", 404),
    ("remote-server-timeout", 504),
    ("resource-constraint", 500),
    ("service-unavailable", 403),
    ("subscription-required", 400),
    ("undefined-condition", 400),
    ("unexpected-request", 400),
    ("no-such-condition-in-the-rfc", 400),
];

#[test]
fn each_stanza_error_has_its_status() {
    let mut world = World::new();
    for (n, (condition, status)) in TO_SIP.iter().enumerate() {
        world.proxy_sends(message(n as u32, "romeo@xmpp.example", "hello"));
        let stanzas = world.take_stanzas();
        let stanza = stanzas.iter().find(|stanza| stanza.starts_with("<message")).expect("the message");
        let id = attribute(stanza, "id").unwrap();
        world.server_writes(format!(
            "<message from='romeo@xmpp.example' to='juliet@sip.example' id='{id}' type='error'><error type='cancel'>\
             <{condition} xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></message>"
        ));
        assert_eq!(world.take_statuses(), [*status], "{condition}");
    }
    // One device that does not offer it: 405, with Allow.
    world.proxy_sends(message(99, "romeo@xmpp.example", "hello"));
    let stanzas = world.take_stanzas();
    let id = attribute(stanzas.iter().find(|stanza| stanza.starts_with("<message")).unwrap(), "id").unwrap();
    world.server_writes(format!(
        "<message from='romeo@xmpp.example/orchard' to='juliet@sip.example' id='{id}' type='error'><error type='cancel'>\
         <feature-not-implemented xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></message>"
    ));
    let answer = world.take_datagram().unwrap();
    assert!(answer.starts_with("SIP/2.0 405 ") && answer.contains("\r\nAllow: "), "{answer}");
}

/// Table 3: status of the SIP side, stanza error condition to the XMPP sender.
const TO_XMPP: &[(u16, &str)] = &[
    (300, "recipient-unavailable"),
    (380, "not-acceptable"),
    (400, "bad-request"),
    (401, "not-authorized"),
    (402, "bad-request"),
    (403, "forbidden"),
    (404, "item-not-found"),
    (405, "feature-not-implemented"),
    (406, "not-acceptable"),
    (407, "registration-required"),
    (408, "remote-server-timeout"),
    (410, "gone"),
    (413, "policy-violation"),
    (414, "policy-violation"),
    (415, "not-acceptable"),
    (416, "not-acceptable"),
    (420, "feature-not-implemented"),
    (421, "not-acceptable"),
    (423, "resource-constraint"),
    (430, "recipient-unavailable"),
    (439, "feature-not-implemented"),
    (440, "policy-violation"),
    (480, "recipient-unavailable"),
    (481, "item-not-found"),
    (482, "not-acceptable"),
    (483, "not-acceptable"),
    (484, "item-not-found"),
    (485, "item-not-found"),
    (486, "recipient-unavailable"),
    (487, "recipient-unavailable"),
    (488, "not-acceptable"),
    (489, "policy-violation"),
    (491, "unexpected-request"),
    (493, "bad-request"),
    (499, "bad-request"),
    (500, "internal-server-error"),
    (501, "feature-not-implemented"),
    (502, "remote-server-not-found"),
    (503, "internal-server-error"),
    (504, "remote-server-timeout"),
    (505, "not-acceptable"),
    (513, "policy-violation"),
    (599, "internal-server-error"),
    (600, "recipient-unavailable"),
    (603, "recipient-unavailable"),
    (604, "item-not-found"),
    (606, "not-acceptable"),
    (699, "recipient-unavailable"),
];

#[test]
fn each_status_has_its_stanza_error() {
    let mut world = World::new();
    for (status, condition) in TO_XMPP {
        world.server_writes(
            "<message from='romeo@xmpp.example/orchard' to='juliet@sip.example' id='m'><body>hello</body></message>",
        );
        let request = world.take_datagram().expect("the request");
        world.proxy_sends(response(&request, &format!("{status} Words"), ""));
        let error = world.take_stanza().unwrap_or_else(|| panic!("an error for {status}"));
        assert!(error.contains(&format!("<{condition} xmlns=")), "{status}: {error}");
        assert!(error.contains(">Words</text>"), "the reason phrase is told: {error}");
        assert!(!error.contains("service-unavailable") && !error.contains("payment-required"), "{error}");
    }
    for status in [200, 202, 299] {
        world.server_writes(
            "<message from='romeo@xmpp.example/orchard' to='juliet@sip.example' id='m'><body>hello</body></message>",
        );
        let request = world.take_datagram().expect("the request");
        world.proxy_sends(response(&request, &format!("{status} Fine"), ""));
        assert!(world.take_stanza().is_none(), "{status} is no error and was not asked for");
    }
    world.assert_quiet();
}

/// Sends a message and lets romeo's side answer it with this `<error/>`; gives the response of the gateway.
fn bounced(world: &mut World, n: u32, from: &str, error: &str) -> String {
    world.proxy_sends(message(n, "romeo@xmpp.example", "hello"));
    let stanzas = world.take_stanzas();
    let id = attribute(stanzas.iter().find(|stanza| stanza.starts_with("<message")).expect("the message"), "id")
        .expect("an id");
    world.server_writes(format!(
        "<message from='{from}' to='juliet@sip.example' id='{id}' type='error'>{error}</message>"
    ));
    world.take_datagram().expect("the answer")
}

/// RFC 7247 section 7.1 note 2.
#[test]
fn one_device_speaks_with_the_4xx_code() {
    let mut world = World::new();
    for (n, (condition, status)) in
        [("forbidden", 403), ("item-not-found", 404), ("not-acceptable", 406), ("recipient-unavailable", 480)]
            .into_iter()
            .enumerate()
    {
        let error = format!("<error type='cancel'><{condition} xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error>");
        let answer = bounced(&mut world, n as u32, "romeo@xmpp.example/orchard", &error);
        assert!(answer.starts_with(&format!("SIP/2.0 {status} ")), "{condition}: {answer}");
    }
}

#[test]
fn an_error_without_a_condition_is_an_undefined_one() {
    let mut world = World::new();
    for (n, error) in [
        "",
        "<error type='cancel'/>",
        "<error type='cancel'><own xmlns='urn:example:errors'/></error>",
        "<error><text xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'>so</text></error>",
    ]
    .into_iter()
    .enumerate()
    {
        let answer = bounced(&mut world, n as u32, "romeo@xmpp.example", error);
        assert!(answer.starts_with("SIP/2.0 400 "), "{error}: {answer}");
    }
}

/// RFC 7247 section 7.1: the words of the error stand in one line of bounded length.
#[test]
fn words_of_a_stanza_error_stay_in_their_header_line() {
    let mut world = World::new();
    let words = format!("no\r\nVia: SIP/2.0/UDP evil.example\n\n{}", "x".repeat(2000));
    let error = format!(
        "<error type='cancel'><item-not-found xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/>\
         <text xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'>{words}</text></error>"
    );
    let answer = bounced(&mut world, 1, "romeo@xmpp.example", &error);
    let lines: Vec<_> = answer.split("\r\n").collect();
    assert_eq!(lines.iter().filter(|line| line.starts_with("Via:")).count(), 1, "{answer}");
    let warning = lines.iter().find(|line| line.starts_with("Warning: 399 gw.example \"no ")).expect("the words");
    assert!(warning.len() < 600 && warning.ends_with('"') && !warning.contains('\n'), "{warning}");
    assert!(answer.ends_with("\r\n\r\n"), "{answer}");
}
