use super::*;
use crate::auth::{Algorithm, Authenticator, Credentials, Refused, Settings};
use crate::wire::{Carriage, Limits, Message, Method, parse};

const PLACE: Place<'static> = Place { way: 0, domain: b"sip.example" };
const MESSAGE: Covered<'static> = Covered { method: Method::Message, uri: b"sip:juliet@sip.example", body: b"Hello" };

fn key(realm: &str, domain: Option<&str>) -> Key {
    let domains = domain.into_iter().map(|domain| domain.as_bytes().to_vec()).collect();
    Key { realm: realm.into(), domains, username: b"gateway".to_vec(), password: b"secret".to_vec() }
}

fn keyring(keys: &[Key]) -> Keyring {
    Keyring::new(keys.to_vec(), Minter::new([5; 16]))
}

/// One message of ours, as far as credentials matter.
#[derive(Default)]
struct Sent {
    shown: Shown,
    lines: String,
}

impl Sent {
    fn send(&mut self, keyring: &mut Keyring, place: &Place<'_>) -> &str {
        let mut out = Vec::new();
        keyring.write(place, &MESSAGE, &mut self.shown, &mut out);
        self.lines = String::from_utf8(out).unwrap();
        &self.lines
    }

    fn answered(&mut self, keyring: &mut Keyring, place: &Place<'_>, lines: &str) -> Result<(), Unanswered> {
        with_head(lines, |head| keyring.challenged(place, head, &mut self.shown))
    }

    fn accepted(&mut self, keyring: &mut Keyring, lines: &str) {
        with_head(lines, |head| keyring.concluded(head, &self.shown));
    }

    /// The values of a parameter, in the order of the lines.
    fn param(&self, name: &str) -> Vec<&str> {
        let values = self.lines.lines().filter_map(|line| line.split_once(&format!(" {name}=")));
        values.map(|(_, rest)| rest.split(',').next().unwrap().trim_matches('"')).collect()
    }
}

fn with_head<T>(lines: &str, see: impl FnOnce(&Head<'_>) -> T) -> T {
    let text = format!("SIP/2.0 407 No\r\n{lines}Content-Length: 0\r\n\r\n");
    match parse(text.as_bytes(), Carriage::Datagram, &Limits::default()).unwrap() {
        Message::Response(response) => see(&response.head),
        Message::Request(_) => unreachable!(),
    }
}

fn challenge(role: Role, realm: &str, nonce: &str, more: &str) -> String {
    let name = role.challenge().as_str();
    format!("{name}: Digest realm=\"{realm}\", nonce=\"{nonce}\", algorithm=MD5{more}\r\n")
}

fn proxy(nonce: &str, more: &str) -> String {
    challenge(Role::Proxy, "proxy.example", nonce, &format!(", qop=\"auth\"{more}"))
}

/// The registrar's own judge lets in what the keyring writes, for each algorithm and its `-sess` variant, and the count
/// goes up from request to request.
#[test]
fn a_judge_accepts_each_algorithm_and_the_count_goes_up() {
    for algorithm in [Algorithm::Md5, Algorithm::Sha256, Algorithm::Sha512_256] {
        for session in ["", "-sess"] {
            let settings =
                Settings { realm: "proxy.example".into(), algorithms: vec![algorithm], lifetime: 300, nonces: 10 };
            let mut judge = Authenticator::new(settings, [7; 32]);
            let mut lines = Vec::new();
            judge.challenge(Role::Proxy, 100, [1; 8], false, &mut lines);
            let name = format!("algorithm={}", algorithm.as_str().to_lowercase());
            let lines = String::from_utf8(lines).unwrap();
            let lines = lines.replace(&format!("algorithm={}", algorithm.as_str()), &format!("{name}{session}"));

            let mut keyring = keyring(&[key("proxy.example", None)]);
            let mut first = Sent::default();
            assert_eq!(first.send(&mut keyring, &PLACE), "");
            assert_eq!(first.answered(&mut keyring, &PLACE, &lines), Ok(()));
            for count in 1..=20 {
                let mut sent = if count == 1 { std::mem::take(&mut first) } else { Sent::default() };
                sent.send(&mut keyring, &PLACE);
                assert_eq!(
                    sent.param("nc"),
                    [format!("{count:08x}")],
                    "RFC 7616 section 3.4: eight hexadecimal digits"
                );
                let value = sent.lines.strip_prefix("Proxy-Authorization: ").unwrap();
                let credentials = Credentials::parse(value.trim().as_bytes()).unwrap();
                let verdict = judge.verify(101, Method::Message, &credentials, Secret::Password(b"secret"));
                assert_eq!(verdict, Ok(()), "{}", sent.lines);
                let other = judge.verify(101, Method::Message, &credentials, Secret::Password(b"other"));
                assert_eq!(other, Err(Refused::Wrong));
            }
        }
    }
}

#[test]
fn rejected_credentials_are_not_sent_again() {
    let mut keyring = keyring(&[key("proxy.example", None)]);
    let mut sent = Sent::default();
    sent.send(&mut keyring, &PLACE);
    assert_eq!(sent.answered(&mut keyring, &PLACE, &proxy("n1", "")), Ok(()));
    sent.send(&mut keyring, &PLACE);
    assert_eq!(sent.param("nonce"), ["n1"]);
    assert_eq!(sent.answered(&mut keyring, &PLACE, &proxy("n2", "")), Err(Unanswered::Rejected));
    assert_eq!(keyring.spaces(), 0, "nor volunteered with the next request");
    assert_eq!(Sent::default().send(&mut keyring, &PLACE), "");
}

/// They share what is remembered of the realm, and each makes up its own mind.
#[test]
fn requests_at_the_same_time_are_each_rejected_once() {
    let mut keyring = keyring(&[key("proxy.example", None)]);
    let mut all: Vec<_> = std::iter::repeat_with(Sent::default).take(5).collect();
    for (n, sent) in all.iter_mut().enumerate() {
        sent.send(&mut keyring, &PLACE);
        assert_eq!(sent.answered(&mut keyring, &PLACE, &proxy(&format!("n{n}"), "")), Ok(()), "the first challenge");
        sent.send(&mut keyring, &PLACE);
    }
    // Those behind the first volunteered its nonce, were challenged, and have answered that.
    for (n, sent) in all.iter_mut().enumerate() {
        let verdict = sent.answered(&mut keyring, &PLACE, &proxy(&format!("m{n}"), ""));
        assert_eq!(verdict, Err(Unanswered::Rejected), "{n}");
        let mut other = Sent::default();
        assert_eq!(other.answered(&mut keyring, &PLACE, &proxy(&format!("o{n}"), "")), Ok(()), "realms come again");
    }
}

#[test]
fn a_stale_nonce_is_answered_with_the_fresh_one() {
    let mut keyring = keyring(&[key("proxy.example", None)]);
    let mut sent = Sent::default();
    assert_eq!(sent.answered(&mut keyring, &PLACE, &proxy("n1", "")), Ok(()));
    for (nonce, fresh, verdict) in [
        ("n1", proxy("n2", ", stale=TRUE"), Ok(())),
        ("n2", proxy("n3", ", stale=\"true\""), Ok(())),
        ("n3", proxy("n4", ", stale=true"), Err(Unanswered::Rejected)),
    ] {
        sent.send(&mut keyring, &PLACE);
        assert_eq!((sent.param("nonce"), sent.param("nc")), (vec![nonce], vec!["00000001"]));
        assert_eq!(sent.answered(&mut keyring, &PLACE, &fresh), verdict, "{nonce}: and not for ever");
    }
    let mut sent = Sent::default();
    assert_eq!(sent.answered(&mut keyring, &PLACE, &proxy("n1", "")), Ok(()));
    sent.send(&mut keyring, &PLACE);
    let same = sent.answered(&mut keyring, &PLACE, &proxy("n1", ", stale=true"));
    assert_eq!(same, Err(Unanswered::Rejected), "a nonce that is stale and the fresh one");
}

/// What was volunteered answered nobody's challenge: a server that was started anew knows its old nonces no more, and need
/// not call them stale.
#[test]
fn volunteered_credentials_may_be_followed_by_an_answer() {
    let mut keyring = keyring(&[key("proxy.example", None)]);
    assert_eq!(Sent::default().answered(&mut keyring, &PLACE, &proxy("n1", "")), Ok(()));
    let mut sent = Sent::default();
    sent.send(&mut keyring, &PLACE);
    assert_eq!(sent.param("nonce"), ["n1"]);
    assert_eq!(sent.answered(&mut keyring, &PLACE, &proxy("n2", "")), Ok(()));
    sent.send(&mut keyring, &PLACE);
    assert_eq!(sent.param("nonce"), ["n2"]);
    assert_eq!(sent.answered(&mut keyring, &PLACE, &proxy("n3", "")), Err(Unanswered::Rejected));
}

#[test]
fn several_realms_are_answered_each_with_its_account() {
    let mut keyring = keyring(&[key("proxy.example", None), key("sip.example", None)]);
    let mut sent = Sent::default();
    let both = proxy("p", "")
        + &challenge(Role::Proxy, "unknown.example", "u", "")
        + &challenge(Role::Server, "sip.example", "s", ", opaque=\"o\"");
    assert_eq!(sent.answered(&mut keyring, &PLACE, &both), Ok(()));
    sent.send(&mut keyring, &PLACE);
    let mut names: Vec<_> = sent.lines.lines().map(|line| line.split_once(':').unwrap().0).collect();
    names.sort_unstable();
    assert_eq!(names, ["Authorization", "Proxy-Authorization"]);
    assert_eq!(sent.param("realm").len(), 2, "{}", sent.lines);
    assert_eq!(sent.param("opaque"), ["o"]);
    assert_eq!(sent.param("cnonce").len(), 1, "RFC 2069 knows no cnonce: {}", sent.lines);
    // The proxy is content and the server asks anew: both go with the next.
    let stale = challenge(Role::Server, "sip.example", "s2", ", stale=true");
    assert_eq!(sent.answered(&mut keyring, &PLACE, &stale), Ok(()));
    sent.send(&mut keyring, &PLACE);
    let mut nonces = sent.param("nonce");
    nonces.sort_unstable();
    assert_eq!(nonces, ["p", "s2"]);
    // One of two is rejected: the request has failed.
    let mixed = proxy("p2", ", stale=true") + &challenge(Role::Server, "sip.example", "s3", "");
    assert_eq!(sent.answered(&mut keyring, &PLACE, &mixed), Err(Unanswered::Rejected));
}

#[test]
fn what_is_not_understood_is_ignored_and_the_topmost_of_the_rest_answered() {
    let realm = |more: &str| format!("Proxy-Authenticate: Digest realm=\"proxy.example\", nonce=\"n\", {more}\r\n");
    let unknown = [
        realm("algorithm=SHA-1, qop=\"auth\""),
        realm("algorithm=SHA-256, qop=\"auth-conf\""),
        "Proxy-Authenticate: Basic realm=\"proxy.example\"\r\n".to_owned(),
        "Proxy-Authenticate: Digest realm=\"proxy.example\r\n".to_owned(),
        realm(&format!("opaque=\"{}\"", "o".repeat(LONGEST_TEXT + 1))),
        challenge(Role::Proxy, "elsewhere.example", "n", ""),
    ]
    .concat();
    let mut keyring = keyring(&[key("proxy.example", None)]);
    let mut sent = Sent::default();
    assert_eq!(sent.answered(&mut keyring, &PLACE, &unknown), Err(Unanswered::NoAccount));
    assert_eq!(sent.answered(&mut keyring, &PLACE, ""), Err(Unanswered::NoAccount));
    let more = unknown + &realm("algorithm=sha-256, qop=\"x, AUTH\"") + &realm("algorithm=SHA-512-256, qop=\"auth\"");
    assert_eq!(sent.answered(&mut keyring, &PLACE, &more), Ok(()));
    sent.send(&mut keyring, &PLACE);
    assert_eq!((sent.param("algorithm"), sent.param("qop")), (vec!["SHA-256"], vec!["auth"]));
}

/// RFC 7616 section 3.4.3: A2 with `auth-int` ends with H(entity-body). The value was computed with Python's hashlib.
#[test]
fn auth_int_covers_the_body_where_nothing_else_is_offered() {
    let lines = "Proxy-Authenticate: Digest realm=\"proxy.example\", nonce=\"n\", qop=\"auth-int\"\r\n";
    let mut keyring = keyring(&[key("proxy.example", None)]);
    let mut sent = Sent::default();
    assert_eq!(sent.answered(&mut keyring, &PLACE, lines), Ok(()));
    sent.send(&mut keyring, &PLACE);
    assert_eq!(sent.param("qop"), ["auth-int"]);
    let covered = Covered { body: b"Good bye", ..MESSAGE };
    let mut other = Vec::new();
    let account = Account { username: b"gateway", secret: Secret::Password(b"secret") };
    let challenge = Challenge::parse(lines[20..].trim().as_bytes()).unwrap();
    let responses = [MESSAGE, covered].map(|covered| {
        other.clear();
        crate::auth::answer(&challenge, &account, &covered, 1, b"random", &mut other).unwrap();
        let text = String::from_utf8(other.clone()).unwrap();
        text.split_once("response=\"").unwrap().1[..32].to_owned()
    });
    assert_eq!(responses, ["7c03ca57ab0c01e816c9df156c1c60ac", "8de1734647b25db274fba726e82cf0c9"]);
}

#[test]
fn the_next_nonce_is_used_and_a_wrong_rspauth_harms_nobody() {
    let mut keyring = keyring(&[key("proxy.example", None), key("sip.example", None)]);
    let mut sent = Sent::default();
    let lines = challenge(Role::Server, "sip.example", "n1", ", qop=\"auth\"").replace("=MD5", "=MD5-sess");
    assert_eq!(sent.answered(&mut keyring, &PLACE, &lines), Ok(()));
    sent.send(&mut keyring, &PLACE);
    sent.accepted(&mut keyring, "Authentication-Info: rspauth=\"00\", nextnonce=\"n2\", qop=auth\r\n");
    let mut second = Sent::default();
    second.send(&mut keyring, &PLACE);
    assert_eq!((second.param("nonce"), second.param("nc")), (vec!["n2"], vec!["00000001"]));
    // RFC 7616 section 3.4.2: A1 keeps the nonce of the challenge.
    let cnonce = second.param("cnonce")[0].to_owned();
    let a1 = hex(&[&hex(&["gateway", "sip.example", "secret"]), "n1", &cnonce]);
    let a2 = hex(&["MESSAGE", "sip:juliet@sip.example"]);
    assert_eq!(second.param("response"), [hex(&[&a1, "n2", "00000001", &cnonce, "auth", &a2])]);
    // The first one, late: its nonce is not ours any more.
    sent.accepted(&mut keyring, "Authentication-Info: nextnonce=\"n3\"\r\n");
    second.accepted(&mut keyring, "Authentication-Info: nextnonce=\"\"\r\n");
    second.accepted(&mut keyring, "Authentication-Info: nextnonce\r\n");
    second.accepted(&mut keyring, "Proxy-Authentication-Info: nextnonce=\"n4\"\r\n");
    let mut third = Sent::default();
    third.send(&mut keyring, &PLACE);
    assert_eq!((third.param("nonce"), third.param("nc")), (vec!["n2"], vec!["00000002"]));
    // A proxy says it in a field of its own (RFC 7615 section 4).
    assert_eq!(third.answered(&mut keyring, &PLACE, &proxy("p1", "")), Ok(()));
    third.send(&mut keyring, &PLACE);
    third.accepted(&mut keyring, "Proxy-Authentication-Info: nextnonce=\"p2\"\r\n");
    third.send(&mut keyring, &PLACE);
    let mut nonces = third.param("nonce");
    nonces.sort_unstable();
    assert_eq!(nonces, ["n2", "p2"]);
}

fn hex(parts: &[&str]) -> String {
    let parts: Vec<_> = parts.iter().map(|part| part.as_bytes()).collect();
    String::from_utf8(crate::auth::digest::hash(Algorithm::Md5, &parts)).unwrap()
}

#[test]
fn credentials_go_to_those_who_asked_only() {
    let mut keyring = keyring(&[key("proxy.example", Some("sip.example")), key("sip.example", None)]);
    let trunk = Place { way: 1, ..PLACE };
    let other = Place { domain: b"other.example", ..trunk };
    let mut sent = Sent::default();
    assert_eq!(sent.answered(&mut keyring, &other, &proxy("n", "")), Err(Unanswered::NoAccount), "for another domain");
    assert_eq!(sent.answered(&mut keyring, &trunk, &proxy("n", "")), Ok(()));
    assert_eq!(sent.answered(&mut keyring, &trunk, &challenge(Role::Server, "sip.example", "s", "")), Ok(()));
    assert_eq!(sent.answered(&mut keyring, &trunk, &challenge(Role::Proxy, "sip.example", "p", "")), Ok(()));
    let mut nonces = |place: &Place<'_>| {
        let mut sent = Sent::default();
        sent.send(&mut keyring, place);
        let mut nonces: Vec<_> = sent.param("nonce").iter().map(|&nonce| nonce.to_owned()).collect();
        nonces.sort_unstable();
        nonces
    };
    assert_eq!(nonces(&Place { domain: b"SIP.example", ..trunk }), ["n", "p", "s"]);
    assert_eq!(nonces(&other), ["p"], "a server's realm stays with its domain, and so does an account that has one");
    assert_eq!(nonces(&PLACE), [""; 0], "another way");
}

#[test]
fn the_account_of_a_domain_goes_before_that_of_all() {
    let own = Key { username: b"own".to_vec(), ..key("proxy.example", Some("SIP.example")) };
    let mut keyring = keyring(&[key("proxy.example", None), own]);
    for (domain, username) in [("sip.example", "own"), ("other.example", "gateway")] {
        let place = Place { way: 0, domain: domain.as_bytes() };
        let mut sent = Sent::default();
        assert_eq!(sent.answered(&mut keyring, &place, &proxy("n", "")), Ok(()));
        sent.send(&mut keyring, &place);
        assert_eq!(sent.lines.matches(&format!("username=\"{username}\"")).count(), 1, "{}", sent.lines);
    }
}

#[test]
fn a_changed_password_begins_anew() {
    let mut keyring = keyring(&[key("proxy.example", None)]);
    let mut sent = Sent::default();
    assert_eq!(sent.answered(&mut keyring, &PLACE, &proxy("n1", "")), Ok(()));
    keyring.replace_keys(&[key("proxy.example", None)]);
    assert_eq!(keyring.spaces(), 1, "nothing has changed");
    keyring.replace_keys(&[Key { password: b"other".to_vec(), ..key("proxy.example", None) }]);
    assert_eq!(sent.send(&mut keyring, &PLACE), "");
    assert_eq!(sent.answered(&mut keyring, &PLACE, &proxy("n2", "")), Ok(()), "what was rejected was another one");
}

#[test]
fn the_memory_is_bounded_and_forgets_the_unused() {
    let mut keyring = keyring(&[key("sip.example", None)]);
    let ask = |keyring: &mut Keyring, n: usize| {
        let domain = format!("d{n}.example");
        let place = Place { way: 0, domain: domain.as_bytes() };
        let mut sent = Sent::default();
        let known = !sent.send(keyring, &place).is_empty();
        assert_eq!(
            sent.answered(keyring, &place, &challenge(Role::Server, "sip.example", &format!("n{n}"), "")),
            Ok(())
        );
        known
    };
    for n in 0..MOST_SPACES {
        assert!(!ask(&mut keyring, n));
    }
    let sent = Sent::default().send(&mut keyring, &Place { way: 0, domain: b"d0.example" }).to_owned();
    assert!(sent.contains("\"n0\""));
    assert!(!ask(&mut keyring, MOST_SPACES));
    assert_eq!(keyring.spaces(), MOST_SPACES);
    assert!(!Sent::default().send(&mut keyring, &Place { way: 0, domain: b"d0.example" }).is_empty());
    assert!(Sent::default().send(&mut keyring, &Place { way: 0, domain: b"d1.example" }).is_empty());
}

#[test]
fn a_password_is_never_shown() {
    let keyring = keyring(&[key("proxy.example", None)]);
    let text = format!("{keyring:?} {:?}", keyring.keys);
    assert!(text.contains("proxy.example") && !text.contains("secret") && !text.contains("115"), "{text}");
}
