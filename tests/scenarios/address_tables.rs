//! The tables of `docs/src/addresses.md`, row by row.

use cpim::{DomainPattern, ImUri, Presentation, Presentations, Rule};
use entente_tests::book::{code, page, table_below};
use entente_tests::world::{World, attribute, message, response};
use sip::wire::uri::Uri;
use sip_connector::translate::address::{AddressError, Party, Rules};
use sip_connector::{NumberForm, Numbers};
use xmpp::jid::JidParts;
use xmpp_connector::translate::address as xmpp_address;

/// The rows below a heading, each cell as what stands in backticks there, or as its words.
fn rows(heading: &str) -> Vec<Vec<String>> {
    let table = table_below(&page("addresses.md"), heading);
    let cell = |cell: &String| code(cell).first().map_or_else(|| cell.clone(), |code| (*code).to_owned());
    let rows: Vec<Vec<String>> = table.rows.iter().map(|row| row.iter().map(cell).collect()).collect();
    assert!(!rows.is_empty(), "{heading}");
    rows
}

/// Every domain is shown as it is.
fn same() -> Presentations {
    Presentations::new(vec![Presentation { home: DomainPattern::Any, shown_as: "".into(), rule: Rule::Same }])
}

fn rules() -> Rules {
    Rules { presentations: same(), ..Rules::default() }
}

fn read_sip(uri: &str, rules: &Rules) -> Result<ImUri<'static>, AddressError> {
    let parsed = Uri::parse(uri.as_bytes()).unwrap_or_else(|error| panic!("{uri}: {error}"));
    rules.to_cpim(&parsed, Party::Native).map(ImUri::into_owned)
}

fn write_sip(address: &ImUri<'_>, rules: &Rules) -> String {
    let mut out = Vec::new();
    rules.write_native(address, &mut out);
    String::from_utf8(out).expect("UTF-8")
}

fn read_xmpp(jid: &str) -> ImUri<'_> {
    let parsed = JidParts::parse(jid).unwrap_or_else(|error| panic!("{jid}: {error}"));
    xmpp_address::to_cpim(&parsed, &same()).unwrap_or_else(|error| panic!("{jid}: {error}")).into_owned()
}

fn write_xmpp(address: &ImUri<'_>) -> String {
    let mut out = Vec::new();
    xmpp_address::write_presented(address, &same(), &mut out).unwrap_or_else(|error| panic!("{address}: {error}"));
    String::from_utf8(out).expect("UTF-8")
}

#[test]
fn each_character_is_written_as_its_row_says_and_read_back() {
    let rows = rows("Characters");
    let points: Vec<u32> =
        rows.iter().map(|row| u32::from_str_radix(&row[0].replace("U+", ""), 16).expect("a code point")).collect();
    let all: Vec<u32> = (0x20..0x7f).filter(|&point| !(point as u8).is_ascii_alphanumeric()).collect();
    assert_eq!(points, all, "every character of ASCII that is no letter and no digit");
    for (point, row) in points.iter().zip(&rows) {
        let character = char::from_u32(*point).expect("a character");
        let address = ImUri::from_parts(format!("x{character}x").into(), "example.com".into()).expect("an address");
        // No code span of the page can hold the character that bounds code spans.
        let [xmpp, sip, im] = [1, 2, 3].map(|column| row[column].replace("U+0060", "`"));
        assert_eq!(write_xmpp(&address), format!("x{xmpp}x@example.com"));
        assert_eq!(read_xmpp(&format!("x{xmpp}x@example.com")), address);
        assert_eq!(write_sip(&address, &rules()), format!("sip:x{sip}x@example.com"));
        assert_eq!(read_sip(&format!("sip:x{sip}x@example.com"), &rules()), Ok(address.clone()));
        assert_eq!(address.to_string(), format!("im:x{im}x@example.com"));
        assert_eq!(ImUri::parse(&address.to_string()), Ok(address.clone()));
        for scheme in ["im", "pres"] {
            assert_eq!(read_sip(&format!("{scheme}:x{im}x@example.com"), &rules()), Ok(address.clone()));
            assert_eq!(read_sip(&format!("{scheme}:x%{point:02x}x@example.com"), &rules()), Ok(address.clone()));
        }
    }
}

#[test]
fn each_pair_leads_there_and_back() {
    for row in rows("Both ways") {
        let (sip, jid) = (&row[0], &row[1]);
        let from_sip = read_sip(sip, &rules()).unwrap_or_else(|error| panic!("{sip}: {error}"));
        assert_eq!(write_xmpp(&from_sip), *jid, "{sip}");
        assert_eq!(write_sip(&read_xmpp(jid), &rules()), *sip, "{jid}");
    }
}

#[test]
fn what_people_type_is_escaped_and_comes_back() {
    for row in rows("What people type") {
        let (typed, local) = (&row[0], &row[1]);
        let address = ImUri::from_parts(typed.as_str().into(), "example.com".into()).expect("an address");
        let jid = format!("{local}@example.com");
        assert_eq!(write_xmpp(&address), jid);
        assert_eq!(read_xmpp(&jid), address);
    }
}

#[test]
fn each_uri_names_its_user_whatever_else_it_holds() {
    for row in rows("What is read") {
        let (uri, jid) = (&row[0], &row[1]);
        let address = read_sip(uri, &rules()).unwrap_or_else(|error| panic!("{uri}: {error}"));
        assert_eq!(write_xmpp(&address), *jid, "{uri}");
        // What is written to that user holds nothing of it.
        let written = write_sip(&address, &rules());
        let written = Uri::parse(written.as_bytes()).expect("a URI");
        assert!(written.password.is_none() && written.port.is_none(), "{uri}");
        assert!(written.params.is_empty() && written.headers.is_empty(), "{uri}");
    }
}

#[test]
fn each_uri_that_names_nobody_is_refused() {
    let mut world = World::new();
    for (n, row) in rows("What is refused").iter().enumerate() {
        let place = |domain| row[0].replace("DOMAIN", domain);
        let n = 2 * n as u32;
        let request =
            message(n, "romeo@xmpp.example", "x").replacen("sip:romeo@xmpp.example", &place("xmpp.example"), 1);
        world.proxy_sends(request);
        assert_eq!(world.take_statuses(), [row[1].parse::<u16>().expect("a status")], "to {}", row[0]);
        let request =
            message(n + 1, "romeo@xmpp.example", "x").replace("sip:juliet@sip.example", &place("sip.example"));
        world.proxy_sends(request);
        assert_eq!(world.take_statuses(), [row[2].parse::<u16>().expect("a status")], "from {}", row[0]);
    }
    assert_eq!(world.take_stanza(), None);
    for to in ["romeo@elsewhere.example", "romeo@-a.example", "romeo@xn--.example"] {
        world.proxy_sends(message(1000, to, "x"));
        assert_eq!(world.take_statuses(), [404], "{to}");
    }
    for (length, statuses) in [(1023, vec![]), (1024, vec![484])] {
        world.proxy_sends(message(2000 + length, &format!("{}@xmpp.example", "a".repeat(length as usize)), "x"));
        assert_eq!(world.take_statuses(), statuses, "{length}");
    }
    // The next message from somebody else arrives.
    let arrived = world.take_stanzas().into_iter().find(|stanza| stanza.starts_with("<message")).expect("a message");
    assert_eq!(attribute(&arrived, "from"), Some("juliet@sip.example"));
}

#[test]
fn each_jid_has_its_normal_form_or_is_none() {
    let rows = rows("JIDs");
    for row in &rows {
        let (jid, normal) = (&row[0], &row[1]);
        match JidParts::parse(jid) {
            Ok(parsed) => assert_eq!(parsed.to_string(), *normal, "{jid}"),
            Err(error) => assert_eq!("none", *normal, "{jid}: {error}"),
        }
    }
    let equal = |one: usize, other: usize| xmpp::jid::same_jid(&rows[one - 1][0], &rows[other - 1][0]);
    assert!(!equal(6, 7), "sharp s is not ss");
    assert!(equal(9, 10), "sigma in either case");
    assert!(!equal(9, 11) && !equal(10, 11), "final sigma is another letter");
    let parts = JidParts::parse(&rows[14][0]).expect("a JID");
    assert_eq!(
        (parts.local, &*parts.domain, parts.resource.as_deref()),
        (None, "a.example.com", Some("b@example.net"))
    );
}

#[test]
fn each_device_is_named_on_the_other_side() {
    let mut world = World::new();
    for (n, row) in rows("Devices").iter().enumerate() {
        let (uri, jid) = (&row[0], &row[1]);
        if uri.contains("@sip.example") {
            let request = message(n as u32, "romeo@xmpp.example", "x").replace("sip:juliet@sip.example", uri);
            world.proxy_sends(request);
            let stanzas = world.take_stanzas();
            let stanza = stanzas.iter().find(|stanza| stanza.starts_with("<message")).expect(uri);
            assert_eq!(attribute(stanza, "from"), Some(&**jid), "{stanza}");
        } else {
            let stanza = format!("<message from='{jid}' to='juliet@sip.example' id='m{n}'><body>x</body></message>");
            world.server_writes(stanza);
            let sent = world.take_datagram().expect("a request");
            assert!(sent.contains(&format!("\r\nFrom: <{uri}>;tag=")), "{sent}");
            world.proxy_sends(response(&sent, "200 OK", ""));
        }
    }
}

#[test]
fn each_number_has_one_user_and_is_written_as_configured() {
    for row in rows("Telephone numbers") {
        let with = |form| {
            let native_numbers = Some(Numbers { domain: "sip.example".into(), form });
            Rules { native_numbers, ..rules() }
        };
        let Some(user) = Some(&row[1]).filter(|user| !user.is_empty()) else {
            let refused =
                Uri::parse(row[0].as_bytes()).map(|uri| with(NumberForm::Tel).to_cpim(&uri, Party::Native).is_err());
            assert!(refused.unwrap_or(true), "{}", row[0]);
            continue;
        };
        for (form, written) in [(NumberForm::Tel, &row[2]), (NumberForm::Phone, &row[3])] {
            let address = read_sip(&row[0], &with(form)).unwrap_or_else(|error| panic!("{}: {error}", row[0]));
            assert_eq!(address.local(), user, "{}", row[0]);
            assert_eq!(write_sip(&address, &with(form)), *written, "{}", row[0]);
            let jid = write_xmpp(&address);
            assert_eq!(write_sip(&read_xmpp(&jid), &with(form)), *written, "{jid}");
        }
    }
}
