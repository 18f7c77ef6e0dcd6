//! What two foreign parsers make of the same bytes: `sipx-sip`, and `rsip` for the little it reads right.
//!
//! They are written by others from the same RFCs, so a difference is a mistake on one side. Each known difference stands
//! here with its reason; a new one fails.

use proptest::prelude::*;

use super::torture::{TABLE, verdict};
use super::*;

/// Accepted or not, by parser and validator of sipx-sip. A missing Max-Forwards is no reason to refuse for either.
fn sipx_accepts(bytes: &[u8]) -> bool {
    let limits = sipx_sip::Limits::datagram();
    sipx_sip::parse_datagram(bytes.to_vec().into(), &limits)
        .is_ok_and(|message| sipx_sip::validate(&message).iter().all(sipx_sip::Finding::is_repairable))
}

#[test]
fn the_torture_messages_divide_the_parsers_only_where_known() {
    // (message, do we accept it, why the other does not agree)
    let known: &[(&str, bool, &str)] = &[
        ("regbadct", false, "it does not look into Contact"),
        ("badbranch", false, "it leaves the branch to its transactions"),
    ];
    let mut surprises = String::new();
    for row in TABLE {
        let (ours, theirs) = (verdict(row.bytes).is_ok(), sipx_accepts(row.bytes));
        let expected = known.iter().find(|(name, ..)| *name == row.name);
        if (ours != theirs) != expected.is_some_and(|(_, accepted, _)| *accepted == ours) {
            surprises += &format!("{}: we {ours}, sipx {theirs}\n", row.name);
        }
    }
    assert!(surprises.is_empty(), "\n{surprises}");
}

/// Ordinary URIs in all their parts.
fn uri() -> impl Strategy<Value = String> {
    let user = prop_oneof![
        Just(String::new()),
        "[a-zA-Z0-9._~%!*'()&=+$,;?/-]{1,8}@",
        "[a-z]{1,4}(%[0-9A-Fa-f]{2}){1,3}@",
        "[a-z]{1,4}:[a-z0-9]{0,4}@"
    ];
    let host =
        prop_oneof!["[a-z]{1,6}(\\.[a-z]{2,5}){0,2}", Just("192.0.2.1".to_owned()), Just("[2001:db8::1]".to_owned())];
    let port = prop_oneof![Just(String::new()), ":[1-9][0-9]{0,3}"];
    let params = "(;(lr|transport=(tcp|UDP)|x=[a-z0-9%]{1,3}|user=phone|maddr=1\\.2\\.3\\.4)){0,2}";
    let headers = prop_oneof![Just(String::new()), "\\?[a-z]{1,4}=[a-z0-9]{0,4}"];
    (prop_oneof![Just("sip"), Just("sips"), Just("SIP")], user, host, port, params, headers)
        .prop_map(|(scheme, user, host, port, params, headers)| format!("{scheme}:{user}{host}{port}{params}{headers}"))
}

fn sipx_uri(text: &str) -> Option<sipx_sip::Uri> {
    sipx_sip::Uri::parse(text.as_bytes().to_vec().into()).ok()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn uris_have_the_same_parts_for_sipx(text in uri()) {
        let ours = Uri::parse(text.as_bytes()).ok();
        let theirs = sipx_uri(&text);
        if let (Some(ours), Some(theirs)) = (&ours, &theirs) {
            prop_assert_eq!(ours.user, theirs.user(), "{}", text);
            prop_assert_eq!(ours.password, theirs.password(), "{}", text);
            prop_assert_eq!(ours.port, theirs.port(), "{}", text);
            let host = theirs.host().map(|host| host.to_bytes().to_vec());
            let bare = ours.host.strip_prefix(b"[").and_then(|host| host.strip_suffix(b"]")).unwrap_or(ours.host);
            prop_assert_eq!(Some(bare.to_vec()), host, "{}", text);
        }
        prop_assert_eq!(ours.is_some(), theirs.is_some(), "{}", text);
    }

    #[test]
    fn uris_are_equal_for_both_or_neither(one in uri(), two in uri(), same_host: bool) {
        let two = if same_host { one.split_once(';').map_or(two.clone(), |(front, _)| format!("{front};lr;x=1")) } else { two };
        if let (Ok(a), Ok(b), Some(x), Some(y)) = (Uri::parse(one.as_bytes()), Uri::parse(two.as_bytes()), sipx_uri(&one), sipx_uri(&two)) {
            prop_assert_eq!(a.equivalent(&b), x.equivalent(&y), "{} {}", one, two);
        }
    }

    #[test]
    fn ordinary_messages_read_the_same(
        uri in "sip:[a-z]{1,8}@[a-z]{1,8}\\.example(:[1-9][0-9]{0,3})?",
        display in "[a-zA-Z ,;<>@]{0,10}",
        tag in "[a-z0-9.-]{1,8}", branch in "[a-zA-Z0-9.]{1,12}", number in 0..0x8000_0000_u32, body in "[a-z \r\n]{0,30}",
    ) {
        let text = format!(
            "MESSAGE {uri} SIP/2.0\r\nVia: SIP/2.0/UDP a.example:5060;branch=z9hG4bK{branch}\r\nMax-Forwards: 70\r\n\
             From: \"{display}\" <{uri}>;tag={tag}\r\nTo: <{uri}>\r\nCall-ID: {tag}@a\r\nCSeq: {number} MESSAGE\r\n\
             Content-Type: text/plain\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        let limits = Limits::default();
        let Ok(Message::Request(request)) = parse(text.as_bytes(), Carriage::Datagram, &limits) else {
            return Err(TestCaseError::fail("no request"));
        };
        let essentials = request.check(&limits).map_err(|refusal| TestCaseError::fail(refusal.reason))?;

        let sipx_sip::Message::Request(sipx) = sipx_sip::parse_datagram(text.clone().into_bytes().into(), &sipx_sip::Limits::datagram()).map_err(|error| TestCaseError::fail(error.to_string()))? else {
            return Err(TestCaseError::fail("no request for sipx"));
        };
        prop_assert_eq!(&sipx.uri.to_bytes()[..], request.uri);
        prop_assert_eq!(&sipx.body()[..], request.body);
        let values: Vec<_> = sipx.headers.iter().map(|header| header.value().into_owned()).collect();
        let ours: Vec<_> = request.head.lines().map(|line| line.value.to_vec()).collect();
        prop_assert_eq!(values, ours);

        use rsip::prelude::{HasHeaders as _, HeadersExt as _, ToTypedHeader as _, UntypedHeader as _};
        let rsip = rsip::Request::try_from(text.as_bytes()).map_err(|error| TestCaseError::fail(error.to_string()))?;
        prop_assert_eq!(rsip.uri.to_string().into_bytes(), request.uri.to_vec());
        prop_assert_eq!(&rsip.body[..], request.body);
        prop_assert_eq!(rsip.headers().iter().count(), request.head.len());
        let via = rsip.via_header().and_then(|via| via.typed()).map_err(|error| TestCaseError::fail(error.to_string()))?;
        prop_assert_eq!(via.branch().map(|branch| branch.to_string().into_bytes()), essentials.via.branch.map(<[u8]>::to_vec));
        let cseq = rsip.cseq_header().and_then(|cseq| cseq.typed()).map_err(|error| TestCaseError::fail(error.to_string()))?;
        prop_assert_eq!(cseq.seq, essentials.cseq.number);
        prop_assert_eq!(rsip.call_id_header().map(|id| id.value().as_bytes().to_vec()).ok(), Some(essentials.call_id.to_vec()));
        let to = rsip.to_header().and_then(|to| to.typed()).map_err(|error| TestCaseError::fail(error.to_string()))?;
        prop_assert_eq!(to.uri.to_string().into_bytes(), essentials.to.uri.raw.to_vec());
    }
}
