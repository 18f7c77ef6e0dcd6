use super::*;

fn parse(text: &str) -> Uri<'_> {
    Uri::parse(text.as_bytes()).unwrap_or_else(|error| panic!("{text}: {error}"))
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

#[test]
fn uris_are_taken_apart() {
    // (uri, user, password, host, port, params, headers)
    let table = [
        ("sip:alice@atlanta.example", "alice", "", "atlanta.example", 0, "", ""),
        ("SIP:alice@atlanta.example", "alice", "", "atlanta.example", 0, "", ""),
        ("sip:atlanta.example", "", "", "atlanta.example", 0, "", ""),
        (
            "sips:alice:secretword@atlanta.example;transport=tcp",
            "alice",
            "secretword",
            "atlanta.example",
            0,
            "transport=tcp",
            "",
        ),
        (
            "sip:+1-212-555-1212:1234@gateway.example:5062;user=phone",
            "+1-212-555-1212",
            "1234",
            "gateway.example",
            5062,
            "user=phone",
            "",
        ),
        ("sip:alice;day=tuesday@atlanta.example", "alice;day=tuesday", "", "atlanta.example", 0, "", ""),
        ("sip:user;par=u%40e.net@example.com", "user;par=u%40e.net", "", "example.com", 0, "", ""),
        ("sip:a?b@example.com?Subject=hi", "a?b", "", "example.com", 0, "", "Subject=hi"),
        (
            "sip:j@e.com;gr=urn:uuid:f81d4fae-7dec-11d0-a765-00a0c91e6bf6",
            "j",
            "",
            "e.com",
            0,
            "gr=urn:uuid:f81d4fae-7dec-11d0-a765-00a0c91e6bf6",
            "",
        ),
        ("sip:j@[2001:db8::9:1]:5070;lr", "j", "", "[2001:db8::9:1]", 5070, "lr", ""),
        ("sip:[::ffff:192.0.2.2]", "", "", "[::ffff:192.0.2.2]", 0, "", ""),
        ("sip:a@b.example;p=1;q?h=%3C1%3E&i=2", "a", "", "b.example", 0, "p=1;q", "h=%3C1%3E&i=2"),
        ("sip:%00@b_c.example", "%00", "", "b_c.example", 0, "", ""),
        ("im:romeo@example.net", "romeo", "", "example.net", 0, "", ""),
        ("pres:romeo%20m@example.net", "romeo%20m", "", "example.net", 0, "", ""),
        ("im:a@[2001:db8::9:1]", "a", "", "[2001:db8::9:1]", 0, "", ""),
        ("im:a!#$%25&'*+-/=^_`{|}~b@e.net", "a!#$%25&'*+-/=^_`{|}~b", "", "e.net", 0, "", ""),
        ("im:romeo@e.net?subject=a@b&cc=c;d", "romeo", "", "e.net", 0, "", "subject=a@b&cc=c;d"),
        ("tel:+1-201-555-0123", "+1-201-555-0123", "", "", 0, "", ""),
        ("tel:863-1234;phone-context=+1-914-555", "863-1234", "", "", 0, "phone-context=+1-914-555", ""),
    ];
    for (raw, user, password, host, port, params, headers) in table {
        let uri = parse(raw);
        assert_eq!(text(uri.user.unwrap_or_default()), user, "{raw}");
        assert_eq!(text(uri.password.unwrap_or_default()), password, "{raw}");
        assert_eq!(text(uri.host), host, "{raw}");
        assert_eq!(uri.port.unwrap_or_default(), port, "{raw}");
        assert_eq!(text(uri.params), params, "{raw}");
        assert_eq!(text(uri.headers), headers, "{raw}");
        assert_eq!(text(uri.raw), raw);
    }
    assert_eq!(parse("isbn:2983792873").scheme, Scheme::Other(b"isbn"));
    assert_eq!(parse("sip:a@b;Lr;ttl=15").param("lr"), Some(None));
    assert_eq!(parse("sip:a@b;Lr;ttl=15").param("TTL"), Some(Some(&b"15"[..])));
    assert_eq!(parse("sip:a@b;Lr;ttl=15").param("maddr"), None);
}

#[test]
fn what_is_no_uri_is_refused() {
    let table = [
        ("", UriError::Scheme),
        ("alice", UriError::Scheme),
        (":alice@b", UriError::Scheme),
        ("1sip:a@b", UriError::Scheme),
        ("<sip:a@b>", UriError::Scheme),
        ("sip:", UriError::Host),
        ("sip:a@", UriError::Host),
        ("sip:@b", UriError::User),
        ("sip:a b@c", UriError::User),
        ("sip:a%4@c", UriError::User),
        ("sip:a%zz@c", UriError::User),
        ("sip:\"a\"@c", UriError::User),
        ("sip:a@b@c", UriError::User),
        ("sip:j\u{fc}rgen@c", UriError::User),
        ("sip:a:b@b:c@d", UriError::Password),
        ("sip:a@b c", UriError::Host),
        ("sip:a@b/c", UriError::Host),
        ("sip:2001:db8::10", UriError::Port),
        ("sip:a@[2001:db8::10", UriError::Host),
        ("sip:a@[2001:db8:::10]", UriError::Host),
        ("sip:a@[example.com]", UriError::Host),
        ("sip:a@b:", UriError::Port),
        ("sip:a@b:65536", UriError::Port),
        ("sip:a@b;p=<1>", UriError::Parameters),
        ("sip:a@b;p=%1", UriError::Parameters),
        ("sip:a@b;lr;LR", UriError::Parameters),
        ("tel:+1;x=1;%78=2", UriError::Parameters),
        ("sip:a@b?", UriError::Headers),
        ("sip:a@b?h=<1>", UriError::Headers),
        ("im:", UriError::Host),
        ("im:?subject=x", UriError::Host),
        ("im:?to=a@b.example", UriError::Host),
        ("im:a?b@c.example", UriError::Host),
        ("im:example.net", UriError::Host),
        ("im:@example.net", UriError::User),
        ("im:a:b@example.net", UriError::User),
        ("im:a@b@example.net", UriError::User),
        ("im:f\u{fc}@example.net", UriError::User),
        ("im:a%4@example.net", UriError::User),
        ("im:a@", UriError::Host),
        ("im:a@example.net:5060", UriError::Host),
        ("im:a@example.net;lr", UriError::Host),
        ("im:a@ex%41mple.net", UriError::Host),
        ("sip:a@ex%41mple.net", UriError::Host),
        ("pres:a@example.net?", UriError::Headers),
        ("pres:a@example.net?x=<y>", UriError::Headers),
        ("tel:", UriError::User),
        ("tel:+", UriError::User),
        ("tel:hello", UriError::User),
        ("http:", UriError::Character),
        ("http://a b", UriError::Character),
    ];
    for (raw, error) in table {
        assert_eq!(Uri::parse(raw.as_bytes()).map(|uri| text(uri.raw)), Err(error), "{raw}");
    }
}

/// The examples of RFC 3261 section 19.1.4, and of RFC 3966 section 4.
#[test]
fn equivalence_follows_the_rfc() {
    let table = [
        ("sip:%61lice@atlanta.com;transport=TCP", "sip:alice@AtLanTa.CoM;Transport=tcp", true),
        ("sip:carol@chicago.com", "sip:carol@chicago.com;newparam=5", true),
        ("sip:carol@chicago.com", "sip:carol@chicago.com;security=on", true),
        ("sip:carol@chicago.com;newparam=5", "sip:carol@chicago.com;security=on", true),
        (
            "sip:biloxi.com;transport=tcp;method=REGISTER?to=sip:bob%40biloxi.com",
            "sip:biloxi.com;method=REGISTER;transport=tcp?to=sip:bob%40biloxi.com",
            true,
        ),
        (
            "sip:alice@atlanta.com?subject=project%20x&priority=urgent",
            "sip:alice@atlanta.com?priority=urgent&subject=project%20x",
            true,
        ),
        ("SIP:ALICE@AtLanTa.CoM;Transport=udp", "sip:alice@AtLanTa.CoM;Transport=UDP", false),
        ("sip:bob@biloxi.com", "sip:bob@biloxi.com:5060", false),
        ("sip:bob@biloxi.com", "sip:bob@biloxi.com;transport=udp", false),
        ("sip:bob@biloxi.com", "sip:bob@biloxi.com:6000;transport=tcp", false),
        ("sip:carol@chicago.com", "sip:carol@chicago.com?Subject=next%20meeting", false),
        ("sip:bob@phone21.boxesbybob.com", "sip:bob@192.0.2.4", false),
        ("sip:carol@chicago.com;security=on", "sip:carol@chicago.com;security=off", false),
        ("sip:a@b", "sips:a@b", false),
        ("sip:a%3Bb@c", "sip:a;b@c", false),
        ("sip:a%3bb@c", "sip:a%3Bb@c", true),
        ("sip:a@b;maddr=1.2.3.4", "sip:a@b", false),
        ("sip:a:b@c", "sip:a@c", false),
        ("sip:a@b;gr=urn:uuid:1", "sip:a@b", true),
        ("tel:+1-201-555-0123", "tel:+12015550123", true),
        ("tel:863;phone-context=+1", "tel:8-6.3;Phone-Context=+1", true),
        ("tel:863;phone-context=+1", "tel:863", false),
        ("urn:a", "urn:a", true),
        ("urn:a", "urn:b", false),
    ];
    for (one, two, equal) in table {
        assert_eq!(parse(one).equivalent(&parse(two)), equal, "{one} {two}");
        assert_eq!(parse(two).equivalent(&parse(one)), equal, "{two} {one}");
    }
}

#[test]
fn parameters_and_headers_are_counted() {
    let with = |mark: char, separator: char, count: usize| {
        let parts: Vec<_> = (0..count).map(|number| format!("p{number}=1")).collect();
        format!("sip:a@b{mark}{}", parts.join(&separator.to_string()))
    };
    assert!(parse(&with(';', ';', 32)).equivalent(&parse(&with(';', ';', 32))));
    assert_eq!(Uri::parse(with(';', ';', 33).as_bytes()).err(), Some(UriError::Parameters));
    assert!(parse(&with('?', '&', 32)).equivalent(&parse(&with('?', '&', 32))));
    assert_eq!(Uri::parse(with('?', '&', 33).as_bytes()).err(), Some(UriError::Headers));
    assert_eq!(Uri::parse(with('?', '&', 33).replace("sip", "im").as_bytes()).err(), Some(UriError::Headers));
}
