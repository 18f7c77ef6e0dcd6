//! The tables of `docs/src/mapping.md`, each row from wire to wire. Those of errors are the two of RFC 7247 section 7.

use cpim::{Failure, Reason, Status};
use entente_tests::book;
use entente_tests::world::{World, attribute, message, response};
use sip::transaction::Extra;

/// A table of the page: what stands in backticks in its first two cells, or the cell itself where nothing does.
fn rows(heading: &str) -> Vec<(String, String)> {
    let word = |cell: &String| book::code(cell).first().map_or_else(|| cell.clone(), |code| (*code).to_owned());
    let table = book::table_below(&book::page("mapping.md"), heading);
    let rows: Vec<_> = table.rows.iter().map(|row| (word(&row[0]), word(&row[1]))).collect();
    assert!(rows.len() > 3, "{heading}: {rows:?}");
    rows
}

/// `<condition/>` without its brackets.
fn condition(spelled: &str) -> &str {
    spelled.strip_prefix('<').and_then(|name| name.strip_suffix("/>")).unwrap_or_else(|| panic!("{spelled}"))
}

/// Table 2 with the recorded deviations.
#[test]
fn each_stanza_error_has_its_status() {
    let mut world = World::new();
    for (n, (spelled, status)) in rows("Stanza errors to SIP").iter().enumerate() {
        let condition = condition(spelled);
        let status: u16 = status.parse().expect("a status");
        world.proxy_sends(message(n as u32, "romeo@xmpp.example", "hello"));
        let stanzas = world.take_stanzas();
        let stanza = stanzas.iter().find(|stanza| stanza.starts_with("<message")).expect("the message");
        let id = attribute(stanza, "id").unwrap();
        world.server_writes(format!(
            "<message from='romeo@xmpp.example' to='juliet@sip.example' id='{id}' type='error'><error type='cancel'>\
             <{condition} xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></message>"
        ));
        assert_eq!(world.take_statuses(), [status], "{condition}");
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

/// Table 3.
#[test]
fn each_status_has_its_stanza_error() {
    let mut world = World::new();
    for (status, spelled) in rows("SIP status to stanza errors") {
        let condition = condition(&spelled);
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

/// Every reason of the core has its row, and both translators say what stands there.
#[test]
fn each_reason_has_its_answer_on_both_sides() {
    let table = book::table_below(&book::page("mapping.md"), "Reasons");
    let named: Vec<&str> = table.rows.iter().map(|row| book::code(&row[0])[0]).collect();
    assert_eq!(named, Reason::ALL.map(Reason::as_str), "the reasons in their order");
    for (row, reason) in table.rows.iter().zip(Reason::ALL) {
        let failure = Failure::from(reason);
        let status = Status::Failure(failure.clone());
        let answer = sip_connector::translate::status::from_cpim(&status, 202);
        let beside = [
            (answer.extra.contains(Extra::ALLOW), "Allow".to_owned()),
            (answer.extra.contains(Extra::ACCEPT), "Accept".to_owned()),
            (answer.extra.contains(Extra::ACCEPT_ENCODING), "Accept-Encoding".to_owned()),
            (answer.retry_after.is_some(), format!("Retry-After: {}", answer.retry_after.unwrap_or_default())),
            (answer.warning.is_some(), "Warning".to_owned()),
        ];
        let beside: Vec<String> = beside.into_iter().filter_map(|(is, name)| is.then_some(name)).collect();
        let with = if beside.is_empty() { String::new() } else { format!(" with {}", beside.join(", ")) };
        assert_eq!(row[1], format!("{}{with}", answer.status), "{reason:?} to SIP");

        let (kind, condition) = xmpp_connector::translate::error::from_cpim(&failure);
        assert_eq!(row[2], format!("`<{}/>`, {}", condition.as_str(), kind.as_str()), "{reason:?} to XMPP");
    }
}

/// What was written for a request, its id and the name of its thread left out.
fn written(world: &mut World, request: &str) -> String {
    world.proxy_sends(request);
    let stanzas = world.take_stanzas();
    let stanza = stanzas.iter().find(|stanza| stanza.starts_with("<message")).unwrap_or_else(|| panic!("{request}"));
    let id = attribute(stanza, "id").expect("an id");
    let thread = stanza.split("<thread>").nth(1).and_then(|rest| rest.split('<').next()).expect("a thread");
    stanza.replace(id, "id").replace(thread, "thread")
}

#[test]
fn each_header_of_a_request_has_its_place_in_the_stanza() {
    let mut world = World::new();
    let plain = written(&mut world, &message(1, "romeo@xmpp.example", "hello"));
    for (n, (line, expected)) in rows("From a request into a stanza").iter().enumerate() {
        let request = message(n as u32 + 2, "romeo@xmpp.example", "hello");
        let (name, _) = line.split_once(": ").expect("a header line");
        let old = request.lines().find(|old| old.starts_with(&format!("{name}:")));
        let request = match old {
            Some(old) => request.replace(old, line),
            None => request.replace("Content-Length:", &format!("{line}\r\nContent-Length:")),
        };
        let stanza = written(&mut world, &request);
        if expected == "nothing" {
            assert_eq!(stanza, plain, "{line}");
        } else {
            assert!(stanza.contains(expected), "{line} is not {expected} in {stanza}");
        }
    }
}

#[test]
fn each_part_of_a_stanza_has_its_place_in_the_request() {
    let mut world = World::new();
    let sent = |world: &mut World, piece: &str| {
        let (attribute, child) = if piece.starts_with('<') { ("", piece) } else { (piece, "") };
        world.server_writes(format!(
            "<message from='romeo@xmpp.example/orchard' to='juliet@sip.example' id='m' {attribute}><body>hello</body>{child}\
             </message>"
        ));
        let request = world.take_datagram().unwrap_or_else(|| panic!("a request for {piece}"));
        world.proxy_sends(response(&request, "200 OK", ""));
        request
    };
    // Identifiers are new with each request.
    let lasting = |request: &str| -> Vec<String> {
        let changing = ["Via:", "From:", "Call-ID:"];
        let lines = request.lines().filter(|line| !changing.iter().any(|name| line.starts_with(name)));
        lines.map(str::to_owned).collect()
    };
    let plain = sent(&mut world, "");
    for (piece, expected) in rows("From a stanza into a request") {
        let request = sent(&mut world, &piece);
        if expected == "nothing" {
            assert_eq!(lasting(&request), lasting(&plain), "{piece}");
        } else {
            // What is new each time stands in the table as three dots.
            let (start, end) = expected.split_once('\u{2026}').unwrap_or((&expected, ""));
            let is_expected = |line: &str| {
                line.strip_prefix(start).is_some_and(|rest| rest == end || (start != expected && rest.ends_with(end)))
            };
            assert!(request.lines().any(is_expected), "{piece} is not {expected} in {request}");
        }
    }
}
