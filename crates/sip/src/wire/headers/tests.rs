use super::*;

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

#[test]
fn vias_are_taken_apart() {
    let via = Via::parse(
        b"SIP / 2.0 / UDP\r\n first.example.com: 4000;ttl=16\r\n ;maddr=224.2.0.1 ;branch=z9hG4bKa7c6a8dlze.1",
    )
    .expect("RFC 3261 section 20.42");
    assert_eq!((text(via.transport), text(via.host), via.port), ("UDP", "first.example.com", Some(4000)));
    assert_eq!(
        (via.ttl, via.maddr.map(text), via.branch.map(text)),
        (Some(16), Some("224.2.0.1"), Some("z9hG4bKa7c6a8dlze.1"))
    );
    assert!(via.has_cookie() && !via.more_in_line);

    let line = b"SIP/2.0/TCP [2001:db8::1]:1 ;rport=5 ; received=2001:db8::2;x=\"a,b\" , SIP/2.0/UDP b.example";
    let via = Via::parse(line).expect("legal");
    assert_eq!(
        (text(via.host), via.rport, via.received.map(text)),
        ("[2001:db8::1]", Some(Some(5)), Some("2001:db8::2"))
    );
    assert!(via.more_in_line);
    assert_eq!(text(via.raw), "SIP/2.0/TCP [2001:db8::1]:1 ;rport=5 ; received=2001:db8::2;x=\"a,b\"");
    assert_eq!(via.param("X"), Some(Some(&b"\"a,b\""[..])));
    let all: Vec<_> = ListValues::new(line).map(|value| text(Via::parse(value).expect("legal").host)).collect();
    assert_eq!(all, ["[2001:db8::1]", "b.example"]);
    assert_eq!(Via::parse(b"SIP/2.0/UDP a;rport").map(|via| via.rport), Ok(Some(None)));
    assert_eq!(
        Via::parse(b"SIP/2.0/UDP a;received=[2001:db8::2]").map(|via| via.received),
        Ok(Some(&b"[2001:db8::2]"[..]))
    );
}

#[test]
fn bad_vias_are_refused() {
    let table: [(&str, HeaderError); 14] = [
        ("", HeaderError::Malformed),
        ("SIP/2.0/UDP", HeaderError::Malformed),
        ("SIP/2.0/UDP ", HeaderError::Malformed),
        ("SIP/2.0 a", HeaderError::Malformed),
        ("SIP/3.0/UDP a", HeaderError::Malformed),
        ("HTTP/2.0/UDP a", HeaderError::Malformed),
        ("SIP/2.0/UDP a:99999", HeaderError::Range),
        ("SIP/2.0/UDP a:x", HeaderError::Range),
        ("SIP/2.0/UDP a;branch", HeaderError::Malformed),
        ("SIP/2.0/UDP a;;branch=1", HeaderError::Malformed),
        ("SIP/2.0/UDP a;branch=1;branch=2", HeaderError::Repeated),
        ("SIP/2.0/UDP a;ttl=256", HeaderError::Range),
        ("SIP/2.0/UDP a;x=\"y", HeaderError::Unbalanced),
        ("SIP/2.0/UDP a b", HeaderError::Malformed),
    ];
    for (value, error) in table {
        assert_eq!(Via::parse(value.as_bytes()).map(|via| text(via.raw)), Err(error), "{value}");
    }
}

#[test]
fn addresses_are_taken_apart() {
    // (value, display, uri, tag, params)
    let table = [
        (
            "\"Mr. Watson\" <sip:watson@b.example>;q=0.7; expires=3600",
            "\"Mr. Watson\"",
            "sip:watson@b.example",
            "",
            "q=0.7; expires=3600",
        ),
        ("sip:alice@b.example;tag=1928", "", "sip:alice@b.example", "1928", "tag=1928"),
        ("<sip:alice@b.example;tag=not>;tag=1 ", "", "sip:alice@b.example;tag=not", "1", "tag=1"),
        ("caller<sip:c@b.example>;tag=323", "caller", "sip:c@b.example", "323", "tag=323"),
        ("A. G. Bell <sip:a@b.example> ;TAG = x", "A. G. Bell", "sip:a@b.example", "x", "TAG = x"),
        ("\"a \\\" <x>\" <sip:a@b.example>", "\"a \\\" <x>\"", "sip:a@b.example", "", ""),
        ("J\u{fc}rgen (b\u{fc}ro) <sip:j@b.example>", "J\u{fc}rgen (b\u{fc}ro)", "sip:j@b.example", "", ""),
        ("<sip:a@b.example?X=y,z>", "", "", "", ""),
        ("<tel:+1-201>;+sip.instance=\"<urn:uuid:1>\"", "", "tel:+1-201", "", "+sip.instance=\"<urn:uuid:1>\""),
        ("\t\r\n sip:a@b.example", "", "sip:a@b.example", "", ""),
    ];
    for (value, display, uri, tag, params) in table {
        let Ok(address) = NameAddr::parse(value.as_bytes()) else {
            assert!(uri.is_empty(), "{value}");
            continue;
        };
        assert_eq!(text(address.display.unwrap_or_default()), display, "{value}");
        assert_eq!(text(address.uri.raw), uri, "{value}");
        assert_eq!(text(address.tag.unwrap_or_default()), tag, "{value}");
        assert_eq!(text(address.params), params, "{value}");
    }
    let address = NameAddr::parse(b"<sip:a@b>;expires=5;+sip.instance=\"<1;2>\";ob").expect("legal");
    assert_eq!(address.param("OB"), Some(None));
    assert_eq!(address.param("+sip.instance"), Some(Some(&b"\"<1;2>\""[..])));
    assert_eq!(address.param("tag"), None);
}

#[test]
fn bad_addresses_are_refused() {
    let table = [
        "",
        "*",
        "\"Mr. J. User <sip:a@b>",
        "\"a\" sip:a@b",
        "<sip:a@b",
        "Bell, Alexander <sip:a@b>",
        "< sip:a@b >",
        "sip:a@b?X=y",
        "sip:a,b@c",
        "sip:a@b c",
        "<sip:a@b> x",
        "<sip:a@b>;tag",
        "<sip:a@b>;tag=",
        "<sip:a@b>;tag=\"1\"",
        "<sip:a@b>;tag=1;tag=1",
        "<sip:a@b>;;tag=1",
        "<sip:a@b>;x=\"1",
        "<sip:a@b>, <sip:c@d>",
        "<alice>",
    ];
    for value in table {
        assert!(NameAddr::parse(value.as_bytes()).is_err(), "{value}");
    }
}

#[test]
fn lists_are_split_where_commas_separate() {
    let table: [(&str, &[&str]); 6] = [
        ("", &[]),
        (" , ,", &[]),
        ("a, b ,c", &["a", "b", "c"]),
        ("\"a,\\\",b\" <sip:x,y@z>;q=1, <sip:c>", &["\"a,\\\",b\" <sip:x,y@z>;q=1", "<sip:c>"]),
        ("\"open, b", &["\"open, b"]),
        ("a;x=\"1,2\",b", &["a;x=\"1,2\"", "b"]),
    ];
    for (value, elements) in table {
        assert_eq!(ListValues::new(value.as_bytes()).map(text).collect::<Vec<_>>(), elements, "{value}");
    }
}

#[test]
fn delta_seconds_are_capped_and_checked() {
    assert_eq!(delta_seconds(b" 3600 "), Some(3600));
    assert_eq!(delta_seconds(b"0"), Some(0));
    assert_eq!(delta_seconds(b"1000000000000000000000000"), Some(u32::MAX));
    for bad in ["", "-1", "1.5", "1 2", "x"] {
        assert_eq!(delta_seconds(bad.as_bytes()), None, "{bad}");
    }
}

/// RFC 3261 20.33, with its examples.
#[test]
fn retry_after_may_have_a_comment_and_a_duration() {
    for (value, seconds) in [
        ("18000;duration=3600", Some(18000)),
        ("120 (I'm in a meeting)", Some(120)),
        ("120 (I'm in a meeting);duration=60", Some(120)),
        (" 0 ; duration=1", Some(0)),
        ("99999999999999", Some(u32::MAX)),
        ("", None),
        ("-1", None),
        ("soon", None),
        ("12x", None),
        ("Fri, 20 Nov 2026 18:02:25 GMT", None),
    ] {
        assert_eq!(retry_after(value.as_bytes()), seconds, "{value}");
    }
}

#[test]
fn quotes_and_folds_are_undone() {
    assert_eq!(&*unquote(b"\"a \\\"b\\\\ \\c\""), b"a \"b\\ c");
    assert_eq!(&*unquote(b"plain  text"), b"plain  text");
    assert_eq!(&*unquote(b"\"a\r\n\t b\""), b"a b");
    assert_eq!(&*unquote(b"\""), b"\"");
    assert_eq!(&*unfold(b"a \r\n  b\r\n\tc"), b"a b c");
}
