//! The SIP side says "not like this": what is sent again, how, and what the sender is told in the end.

use cpim::DomainPattern;
use entente_tests::world::{World, header, response};
use sip::auth::{Algorithm, Authenticator, Credentials, Role, Secret, Settings};
use sip::wire::Method;
use sip_connector::{Account, RepeatCounters};
use std::time::Duration;

fn stanza(n: u32, to: &str) -> String {
    format!(
        "<message from='romeo@xmpp.example/orchard' to='{to}@sip.example' id='m{n}'><body>text {n}</body></message>"
    )
}

fn account(realm: &str) -> Account {
    Account { realm: realm.into(), domains: Vec::new(), username: b"gateway".to_vec(), password: b"secret".to_vec() }
}

/// A world with accounts in these realms.
fn with_accounts(realms: &[&str]) -> World {
    World::with(|settings| settings.sip.accounts = realms.iter().map(|realm| account(realm)).collect())
}

/// A world in which redirections into these domains are followed.
fn following(domains: &[&str]) -> World {
    World::with(|settings| {
        settings.sip.redirects.followed =
            domains.iter().map(|domain| DomainPattern::Exactly((*domain).into())).collect();
    })
}

fn branch(request: &str) -> &str {
    header(request, "Via").and_then(|via| via.split("branch=").nth(1)).expect("a branch")
}

fn body(request: &str) -> &str {
    request.split("\r\n\r\n").nth(1).expect("a body")
}

fn uri(request: &str) -> &str {
    request.split(' ').nth(1).expect("a Request-URI")
}

/// A parameter of credentials, quotes and all.
fn param<'m>(request: &'m str, field: &str, name: &str) -> &'m str {
    let value = header(request, field).unwrap_or_else(|| panic!("no {field} in {request}"));
    let start = value.find(&format!("{name}=")).unwrap_or_else(|| panic!("no {name} in {value}"));
    value[start + name.len() + 1..].split(',').next().expect("a value")
}

fn next(world: &mut World) -> String {
    world.take_datagram().expect("a request")
}

fn answer(world: &mut World, request: &str, status: &str, lines: &str) {
    world.proxy_sends(response(request, status, lines));
}

/// Everything that has to stay when a request is sent again, and what has to change.
fn assert_repeats(again: &str, before: &str) {
    for name in ["From", "To", "Call-ID", "Max-Forwards"] {
        assert_eq!(header(again, name), header(before, name), "{again}");
    }
    let number = |request: &str| header(request, "CSeq").and_then(|cseq| cseq.split(' ').next()?.parse().ok());
    assert_eq!(number(again), number(before).map(|number: u32| number + 1), "{again}");
    assert_ne!(branch(again), branch(before), "{again}");
    assert_eq!(body(again), body(before));
}

fn challenge(role: Role, realm: &str, nonce: &str, more: &str) -> String {
    let name = role.challenge().as_str();
    format!("{name}: Digest realm=\"{realm}\", nonce=\"{nonce}\", algorithm=SHA-256, qop=\"auth\"{more}\r\n")
}

fn proxy(nonce: &str, more: &str) -> String {
    challenge(Role::Proxy, "proxy.example", nonce, more)
}

const PROXY_AUTHORIZATION: &str = "Proxy-Authorization";

/// RFC 3261 sections 22.2 and 22.3, RFC 3428 section 11.1. The judge is the sandbox's.
#[test]
fn a_challenge_is_answered_and_later_messages_go_out_with_credentials() {
    for (role, status) in [(Role::Proxy, "407 Proxy Authentication Required"), (Role::Server, "401 Unauthorized")] {
        let algorithms = vec![Algorithm::Sha512_256, Algorithm::Sha256, Algorithm::Md5];
        let settings = Settings { realm: "proxy.example".into(), algorithms, lifetime: 300, nonces: 10 };
        let mut judge = Authenticator::new(settings, [7; 32]);
        let mut lines = Vec::new();
        judge.challenge(role, 100, [1; 8], false, &mut lines);
        let lines = String::from_utf8(lines).expect("text");
        let field = role.credentials().as_str();

        let mut world = with_accounts(&["proxy.example"]);
        world.server_writes(stanza(1, "juliet"));
        let first = next(&mut world);
        assert_eq!(header(&first, field), None, "nobody has asked yet");
        answer(&mut world, &first, status, &lines);
        let mut verdict = |request: &str| {
            let credentials =
                Credentials::parse(header(request, field).expect("credentials").as_bytes()).expect("digest");
            assert_eq!(&*credentials.uri, uri(request).as_bytes());
            assert_eq!(credentials.algorithm, Algorithm::Sha512_256, "the topmost (RFC 8760 section 2.4)");
            judge.verify(101, Method::Message, &credentials, Secret::Password(b"secret"))
        };
        let second = next(&mut world);
        assert_repeats(&second, &first);
        assert_eq!(verdict(&second), Ok(()));
        answer(&mut world, &second, "200 OK", "");
        for n in 2..=20 {
            world.server_writes(stanza(n, if n % 2 == 0 { "juliet" } else { "nurse" }));
            let volunteered = next(&mut world);
            assert_eq!(header(&volunteered, "CSeq"), Some("1 MESSAGE"));
            assert_eq!(param(&volunteered, field, "nc"), format!("{n:08x}"));
            assert_eq!(verdict(&volunteered), Ok(()));
            answer(&mut world, &volunteered, "200 OK", "");
        }
        assert_eq!(world.take_stanzas(), [""; 0], "nobody hears of it");
        let counted = world.engine.counters().sip_repeats;
        assert_eq!(counted, RepeatCounters { answered: 1, ..RepeatCounters::default() });
        world.assert_quiet();
    }
}

/// RFC 3261 section 22.1.
#[test]
fn rejected_credentials_are_not_sent_again_and_the_sender_is_told() {
    for (role, status, condition) in
        [(Role::Proxy, "407 No", "registration-required"), (Role::Server, "401 No", "not-authorized")]
    {
        let mut world = with_accounts(&["proxy.example"]);
        world.server_writes(stanza(1, "juliet"));
        world.server_writes(stanza(2, "juliet"));
        let first = next(&mut world);
        answer(&mut world, &first, status, &challenge(role, "proxy.example", "n1", ""));
        let second = next(&mut world);
        answer(&mut world, &second, status, &challenge(role, "proxy.example", "n2", ""));
        let errors = world.take_stanzas();
        assert!(errors.len() == 1 && errors[0].contains(condition) && errors[0].contains("id='m1'"), "{errors:?}");
        // What waited comes, without the credentials.
        let waited = next(&mut world);
        assert_eq!((body(&waited), header(&waited, role.credentials().as_str())), ("text 2", None));
        answer(&mut world, &waited, "200 OK", "");
        let counted = world.engine.counters().sip_repeats;
        assert_eq!((counted.answered, counted.rejected), (1, 1));
        world.assert_quiet();
    }
}

/// RFC 3428 section 8: a request that is sent again is still the one that is open.
#[test]
fn what_waits_goes_on_waiting_in_its_order() {
    let mut world = with_accounts(&["proxy.example"]);
    for n in 1..=3 {
        world.server_writes(stanza(n, "juliet"));
    }
    let first = next(&mut world);
    answer(&mut world, &first, "407 No", &proxy("n1", ""));
    let again = next(&mut world);
    assert_eq!(body(&again), "text 1");
    assert_eq!(world.take_datagram(), None);
    answer(&mut world, &again, "407 No", &proxy("n2", ", stale=true"));
    let again = next(&mut world);
    assert_eq!((body(&again), param(&again, PROXY_AUTHORIZATION, "nonce")), ("text 1", "\"n2\""));
    assert_eq!(header(&again, "CSeq"), Some("3 MESSAGE"));
    answer(&mut world, &again, "200 OK", "");
    for n in 2..=3 {
        let request = next(&mut world);
        assert_eq!(body(&request), format!("text {n}"));
        assert_eq!(param(&request, PROXY_AUTHORIZATION, "nc"), format!("{n:08x}"));
        answer(&mut world, &request, "200 OK", "");
    }
    world.assert_quiet();
}

#[test]
fn a_proxy_and_the_one_behind_it_are_both_answered() {
    let mut world = with_accounts(&["proxy.example", "sip.example"]);
    world.server_writes(stanza(1, "juliet"));
    let first = next(&mut world);
    answer(&mut world, &first, "407 No", &proxy("p1", ""));
    let second = next(&mut world);
    assert_eq!(header(&second, "Authorization"), None);
    answer(&mut world, &second, "401 No", &challenge(Role::Server, "sip.example", "s1", ""));
    let third = next(&mut world);
    assert_repeats(&third, &second);
    assert_eq!(param(&third, PROXY_AUTHORIZATION, "nonce"), "\"p1\"");
    assert_eq!(param(&third, PROXY_AUTHORIZATION, "nc"), "00000002");
    assert_eq!(param(&third, "Authorization", "nonce"), "\"s1\"");
    answer(&mut world, &third, "202 Accepted", "Authentication-Info: nextnonce=\"s2\", rspauth=\"wrong\"\r\n");
    world.server_writes(stanza(2, "juliet"));
    let fourth = next(&mut world);
    assert_eq!(param(&fourth, "Authorization", "nonce"), "\"s2\"", "RFC 7616 section 3.5");
    answer(&mut world, &fourth, "200 OK", "Proxy-Authentication-Info: rspauth=\"00\", qop=auth\r\n");
    assert_eq!(world.take_stanzas(), [""; 0], "a wrong rspauth fails nothing");
    world.assert_quiet();
}

/// RFC 8760 section 2.4, RFC 7616 section 3.3.
#[test]
fn a_challenge_that_cannot_be_answered_is_the_end() {
    let unknown = proxy("n", "").replace("SHA-256", "SHA-1");
    let foreign = challenge(Role::Proxy, "elsewhere.example", "n", "");
    let basic = "Proxy-Authenticate: Basic realm=\"proxy.example\"\r\n".to_owned();
    for lines in [String::new(), unknown.clone(), foreign.clone(), basic.clone(), [unknown, foreign, basic].concat()] {
        let mut world = with_accounts(&["proxy.example"]);
        world.server_writes(stanza(1, "juliet"));
        let first = next(&mut world);
        answer(&mut world, &first, "407 No", &lines);
        let error = world.take_stanza().expect("an error");
        assert!(error.contains("<registration-required "), "{lines}: {error}");
        assert_eq!(world.take_datagram(), None, "{lines}");
        world.assert_quiet();
    }
}

#[test]
fn an_account_is_used_for_its_domains_only() {
    let mut world = World::with(|settings| {
        settings.sip.accounts = vec![Account { domains: vec![b"pbx.example".to_vec()], ..account("proxy.example") }];
    });
    world.server_writes(stanza(1, "juliet"));
    let first = next(&mut world);
    answer(&mut world, &first, "407 No", &proxy("n", ""));
    assert!(world.take_stanza().expect("an error").contains("<registration-required "));
    world.assert_quiet();
}

/// RFC 3261 section 8.1.3.4.
#[test]
fn redirections_are_followed_by_preference_where_policy_allows() {
    let mut world = following(&["sip.example", "192.0.2.77"]);
    world.server_writes(stanza(1, "juliet"));
    world.server_writes(stanza(2, "juliet"));
    let first = next(&mut world);
    let contacts = "Contact: <sip:balcony@sip.example>;q=0.2, <sip:tomb@elsewhere.example>\r\n\
                    Contact: <sip:juliet@192.0.2.77:5070;method=INVITE?Subject=x>;q=0.7\r\n";
    answer(&mut world, &first, "302 Moved Temporarily", contacts);
    let second = next(&mut world);
    assert_repeats(&second, &first);
    assert_eq!(uri(&second), "sip:juliet@192.0.2.77:5070");
    assert_eq!(header(&second, "Subject"), None);
    answer(&mut world, &second, "486 Busy Here", "");
    let third = next(&mut world);
    assert_repeats(&third, &second);
    assert_eq!(uri(&third), "sip:balcony@sip.example");
    assert_eq!(world.take_stanzas(), [""; 0]);
    answer(&mut world, &third, "200 OK", "");
    let waited = next(&mut world);
    assert_eq!((uri(&waited), body(&waited)), ("sip:juliet@sip.example", "text 2"));
    // The last failure is what the sender hears.
    answer(&mut world, &waited, "301 Moved", contacts);
    let request = next(&mut world);
    answer(&mut world, &request, "486 Busy Here", "");
    let request = next(&mut world);
    answer(&mut world, &request, "404 Not Found", "");
    let errors = world.take_stanzas();
    assert!(errors.len() == 1 && errors[0].contains("<item-not-found "), "{errors:?}");
    world.assert_quiet();
}

#[test]
fn no_uri_is_tried_twice() {
    let mut world = following(&["sip.example"]);
    world.server_writes(stanza(1, "juliet"));
    let first = next(&mut world);
    let other = "Contact: <sip:other@sip.example>, <sip:%6auliet@SIP.example>\r\n";
    answer(&mut world, &first, "302 Moved", other);
    let second = next(&mut world);
    assert_eq!(uri(&second), "sip:other@sip.example");
    let back = "Contact: <sip:juliet@sip.example>, <sip:other@sip.example;x=y>\r\n";
    answer(&mut world, &second, "302 Moved", back);
    let error = world.take_stanza().expect("an error");
    assert!(error.contains("<redirect ") && error.contains("xmpp:juliet@sip.example"), "{error}");
    world.assert_quiet();
}

#[test]
fn a_chain_of_redirections_ends() {
    let mut world = following(&["sip.example"]);
    world.server_writes(stanza(1, "juliet"));
    let mut sent = 0;
    while let Some(request) = world.take_datagram() {
        sent += 1;
        assert!(sent < 50, "it has no end");
        let contact = format!("Contact: <sip:next{sent}@sip.example>\r\n");
        answer(&mut world, &request, "302 Moved", &contact);
    }
    assert_eq!(sent, 8);
    assert_eq!(world.take_stanzas().len(), 1);
    world.assert_quiet();
}

#[test]
fn what_policy_does_not_allow_is_told_instead() {
    for (mut world, contact) in [
        (World::new(), "<sip:capulet@sip.example>"),
        (following(&["other.example"]), "<sip:capulet@sip.example>"),
        (following(&["sip.example"]), "<sips:capulet@sip.example>"),
    ] {
        world.server_writes(stanza(1, "juliet"));
        let first = next(&mut world);
        answer(&mut world, &first, "302 Moved", &format!("Contact: {contact}\r\n"));
        assert_eq!(world.take_datagram(), None);
        let error = world.take_stanza().expect("an error");
        let told = if contact.starts_with("<sips") { "<recipient-unavailable " } else { "xmpp:capulet@sip.example" };
        assert!(error.contains(told), "{error}");
        world.assert_quiet();
    }
}

#[test]
fn a_6xx_of_a_redirected_request_is_the_end() {
    let mut world = following(&["sip.example"]);
    world.server_writes(stanza(1, "juliet"));
    let first = next(&mut world);
    answer(&mut world, &first, "302 Moved", "Contact: <sip:a@sip.example>, <sip:b@sip.example>\r\n");
    let second = next(&mut world);
    answer(&mut world, &second, "603 Decline", "");
    assert!(world.take_stanza().expect("an error").contains("<recipient-unavailable "));
    world.assert_quiet();
}

/// A target that is silent takes the time that there is: nothing is begun when it is over.
#[test]
fn a_message_is_not_sent_again_for_ever() {
    let mut world = following(&["sip.example"]);
    world.server_writes(stanza(1, "juliet"));
    let first = next(&mut world);
    answer(&mut world, &first, "302 Moved", "Contact: <sip:a@sip.example>, <sip:b@sip.example>\r\n");
    assert_eq!(uri(&next(&mut world)), "sip:a@sip.example");
    world.advance(Duration::from_secs(33));
    let errors = world.take_stanzas();
    assert!(errors.len() == 1 && errors[0].contains("<remote-server-timeout "), "{errors:?}");
    world.datagrams.retain(|(_, bytes)| !bytes.starts_with(b"MESSAGE sip:a@"));
    world.assert_quiet();
}

/// RFC 3261 section 8.1.3.5, where there is one form only: 413 would come again for the same body, 416 is about a scheme that is not sip, 420 about
/// extensions that nobody required here.
#[test]
fn nothing_else_is_sent_again() {
    for (status, condition) in [
        ("413 Request Entity Too Large", "policy-violation"),
        ("416 Unsupported URI Scheme", "not-acceptable"),
        ("420 Bad Extension", "feature-not-implemented"),
        ("415 Unsupported Media Type", "not-acceptable"),
        ("488 Not Acceptable Here", "not-acceptable"),
    ] {
        let mut world = World::with(|settings| {
            settings.sip.accounts = vec![account("proxy.example")];
            settings.sip.redirects.followed = vec![DomainPattern::Any];
        });
        world.server_writes(stanza(1, "juliet"));
        let request = next(&mut world);
        assert!(uri(&request).starts_with("sip:"));
        assert!(header(&request, "Require").is_none() && header(&request, "Proxy-Require").is_none(), "{request}");
        answer(&mut world, &request, status, "Unsupported: x\r\nRetry-After: 1\r\n");
        let errors = world.take_stanzas();
        assert!(errors.len() == 1 && errors[0].contains(condition), "{status}: {errors:?}");
        assert_eq!(world.take_datagram(), None, "{status}");
        world.assert_quiet();
    }
}
