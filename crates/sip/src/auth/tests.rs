use super::*;
use crate::wire::Method;
use proptest::prelude::*;

const GET: Method<'static> = Method::Other(b"GET");
const REGISTER: Covered<'static> = Covered { method: Method::Register, uri: b"sip:sip.example", body: b"" };
const PASSWORD: Secret<'static> = Secret::Password(b"Circle of Life");

fn authenticator(nonces: usize) -> Authenticator {
    let settings = Settings {
        realm: "sip.example".into(),
        algorithms: vec![Algorithm::Sha512_256, Algorithm::Sha256, Algorithm::Md5],
        lifetime: 300,
        nonces,
    };
    Authenticator::new(settings, [7; 32])
}

/// The challenge values of an authenticator.
fn challenges(authenticator: &Authenticator, now: u64, salt: u8) -> Vec<String> {
    let mut lines = Vec::new();
    authenticator.challenge(Role::Server, now, [salt; 8], false, &mut lines);
    let text = String::from_utf8(lines).unwrap();
    text.lines().map(|line| line.strip_prefix("WWW-Authenticate: ").unwrap().to_owned()).collect()
}

fn answered(challenge: &str, password: &[u8], count: u32) -> String {
    let challenge = Challenge::parse(challenge.as_bytes()).unwrap();
    let account = Account { username: b"alice", secret: Secret::Password(password) };
    let mut out = Vec::new();
    answer(&challenge, &account, &REGISTER, count, b"random", &mut out).unwrap();
    String::from_utf8(out).unwrap()
}

fn verdict(authenticator: &mut Authenticator, now: u64, credentials: &str) -> Result<(), Refused> {
    let credentials = Credentials::parse(credentials.as_bytes()).unwrap();
    authenticator.verify(now, Method::Register, &credentials, Secret::Password(b"secret"))
}

/// RFC 7616 section 3.9.1 and, with the response of erratum 4897, 3.9.2; RFC 2617 section 3.5, and its values without `qop`.
#[test]
fn the_examples_of_the_rfcs_come_out() {
    let common = "username=\"Mufasa\", realm=\"http-auth@example.org\", uri=\"/dir/index.html\",
       nonce=\"7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v\", nc=00000001,
       cnonce=\"f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ\", qop=auth,
       opaque=\"FQhe/qaU925kfnzjCev0ciny7QMkPqMAFRtzCUYo5tdS\"";
    let rfc2617 = "username=\"Mufasa\", realm=\"testrealm@host.com\", nonce=\"dcd98b7102dd2f0e8b11d0f600bfb0c093\",
       uri=\"/dir/index.html\", qop=auth, nc=00000001, cnonce=\"0a4f113b\", opaque=\"5ccc069c403ebaf9f0171e9517f40e41\"";
    let jason = "username=\"J\u{e4}s\u{f8}n Doe\", realm=\"api@example.org\", uri=\"/doe.json\", algorithm=SHA-512-256,
       nonce=\"5TsQWLVdgBdmrQ0XsxbDODV+57QdFR34I9HAbC/RVvkK\", nc=00000001,
       cnonce=\"NTg6RKcb9boFIAS3KrFK9BGeh+iDa/sm6jUMp2wds69v\", qop=auth";
    let table = [
        (format!("{common}, algorithm=MD5"), "Circle of Life", "8ca523f5e9506fed4657c9700eebdbec"),
        (
            format!("{common}, algorithm=SHA-256"),
            "Circle of Life",
            "753927fa0e85d155564e2e272a28d1802ca10daf4496794697cf8db5856cb6c1",
        ),
        (jason.to_owned(), "Secret, or not?", "3798d4131c277846293534c3edc11bd8a5e4cdcbff78b05db9d95eeb1cec68a5"),
        (rfc2617.to_owned(), "Circle Of Life", "6629fae49393a05397450978507c4ef1"),
        (rfc2617.replace("qop=auth, ", ""), "Circle Of Life", "670fd8c2df070c60b045671b8b24ff02"),
    ];
    for (params, password, response) in table {
        let value = format!("Digest {params}, response=\"{response}\"");
        let credentials = Credentials::parse(value.as_bytes()).unwrap();
        let inputs = digest::Inputs {
            algorithm: credentials.algorithm,
            session: credentials.session.then_some(&*credentials.nonce),
            username: &credentials.username,
            realm: &credentials.realm,
            nonce: &credentials.nonce,
            cnonce: &credentials.cnonce,
            protection: credentials.nc.as_deref().map(|nc| (Qop::Auth, nc)),
            method: GET.as_bytes(),
            uri: &credentials.uri,
            body: b"",
        };
        let computed = inputs.response(Secret::Password(password.as_bytes())).unwrap();
        assert_eq!(String::from_utf8(computed).unwrap(), response, "{params}");
    }
}

#[test]
fn a_challenge_offers_each_algorithm_with_qop() {
    let authenticator = authenticator(10);
    let mut out = Vec::new();
    authenticator.challenge(Role::Proxy, 1, [0xab; 8], true, &mut out);
    let text = String::from_utf8(out).unwrap();
    let first = text.lines().next().unwrap();
    assert!(
        first.starts_with(
            "Proxy-Authenticate: Digest realm=\"sip.example\", qop=\"auth\", algorithm=SHA-512-256, \
             nonce=\"0000000000000001abababababababab"
        ),
        "{first}"
    );
    assert!(first.ends_with("\", opaque=\"0\", stale=true"), "{first}");
    let values = text.lines().map(|line| line.split_once(": ").unwrap().1.as_bytes());
    let offered: Vec<_> = values.clone().map(|value| Challenge::parse(value).unwrap().algorithm).collect();
    assert_eq!(offered, [Algorithm::Sha512_256, Algorithm::Sha256, Algorithm::Md5]);
    let topmost = Challenge::topmost(std::iter::once(&b"Basic realm=\"x\""[..]).chain(values)).unwrap();
    assert!(topmost.stale && topmost.qop == Some(Qop::Auth) && topmost.algorithm == Algorithm::Sha512_256);
}

/// RFC 3261 section 22.4, RFC 7616 sections 3.4 and 3.5: what is quoted and what is not, and a count of eight digits.
#[test]
fn credentials_are_written_as_the_grammar_has_them() {
    let challenge = "Digest realm=\"sip.example\", qop=\"auth\", algorithm=SHA-256, nonce=\"n\", opaque=\"o\"";
    let written = answered(challenge, b"secret", 26);
    let (start, rest) = written.split_once(", response=\"").unwrap();
    assert_eq!(start, "Digest username=\"alice\", realm=\"sip.example\", nonce=\"n\", uri=\"sip:sip.example\"");
    let (response, end) = rest.split_once("\", ").unwrap();
    assert!(response.len() == 64 && response.bytes().all(|byte| byte.is_ascii_hexdigit()), "{response}");
    assert_eq!(end, "opaque=\"o\", cnonce=\"72616e646f6d\", algorithm=SHA-256, qop=auth, nc=0000001a");
}

#[test]
fn right_credentials_are_accepted_with_every_algorithm() {
    let mut authenticator = authenticator(10);
    for (number, challenge) in challenges(&authenticator, 100, 1).iter().enumerate() {
        let count = u32::try_from(number).unwrap() + 1;
        assert_eq!(verdict(&mut authenticator, 100, &answered(challenge, b"secret", count)), Ok(()), "{challenge}");
        let session = challenge.replace(", nonce", "-sess, nonce");
        assert_eq!(verdict(&mut authenticator, 100, &answered(&session, b"secret", count + 10)), Ok(()), "{session}");
        assert_eq!(verdict(&mut authenticator, 100, &answered(challenge, b"wrong", count + 20)), Err(Refused::Wrong));
    }
    assert_eq!(authenticator.used_nonces(), 1);
}

#[test]
fn a_stored_hash_serves_instead_of_the_password() {
    let mut authenticator = authenticator(10);
    let challenges = challenges(&authenticator, 100, 1);
    let ha1 = String::from_utf8(digest::hash(Algorithm::Sha256, &[b"alice", b"sip.example", b"secret"])).unwrap();
    let known = [(Algorithm::Sha256, &ha1[..])];
    for (challenge, expected) in challenges.iter().zip([Err(Refused::Algorithm), Ok(()), Err(Refused::Algorithm)]) {
        let value = answered(challenge, b"secret", 1);
        let credentials = Credentials::parse(value.as_bytes()).unwrap();
        assert_eq!(authenticator.verify(100, Method::Register, &credentials, Secret::Ha1(&known)), expected);
    }
    assert_eq!(format!("{:?}", Secret::Ha1(&known)), "Ha1(..)");
    assert_eq!(format!("{:?}", Secret::Password(b"x")), "Password(..)");
}

#[test]
fn everything_in_the_proof_counts() {
    let mut authenticator = authenticator(10);
    let challenge = &challenges(&authenticator, 100, 1)[1];
    let right = answered(challenge, b"secret", 1);
    for (from, to) in [
        ("alice", "alicf"),
        ("sip:sip.example", "sip:sip.exampl"),
        ("nc=00000001", "nc=00000002"),
        ("cnonce=\"72", "cnonce=\"73"),
    ] {
        assert!(right.contains(from), "{right}");
        assert_eq!(verdict(&mut authenticator, 100, &right.replace(from, to)), Err(Refused::Wrong), "{from}");
    }
    let credentials = Credentials::parse(right.as_bytes()).unwrap();
    let other = authenticator.verify(100, Method::Invite, &credentials, Secret::Password(b"secret"));
    assert_eq!(other, Err(Refused::Wrong));
    assert_eq!(
        verdict(&mut authenticator, 100, &right.replace("realm=\"sip.example\"", "realm=\"x\"")),
        Err(Refused::Realm)
    );
    authenticator = Authenticator::new(
        Settings { realm: "sip.example".into(), algorithms: vec![Algorithm::Sha512_256], lifetime: 300, nonces: 10 },
        [7; 32],
    );
    assert_eq!(verdict(&mut authenticator, 100, &right), Err(Refused::Algorithm));
}

#[test]
fn old_foreign_and_future_nonces_are_stale() {
    let mut authenticator = authenticator(10);
    let right = answered(&challenges(&authenticator, 100, 1)[0], b"secret", 1);
    assert_eq!(verdict(&mut authenticator, 401, &right), Err(Refused::Stale));
    assert_eq!(verdict(&mut authenticator, 99, &right), Err(Refused::Stale));
    assert_eq!(verdict(&mut authenticator, 400, &right), Ok(()));
    let mut other = Authenticator::new(authenticator_settings(), [8; 32]);
    assert_eq!(verdict(&mut other, 100, &right), Err(Refused::Stale));
    let foreign = "Digest realm=\"sip.example\", nonce=\"short\", qop=\"auth\", algorithm=MD5";
    assert_eq!(verdict(&mut authenticator, 100, &answered(foreign, b"secret", 1)), Err(Refused::Stale));
    assert_eq!(verdict(&mut authenticator, 100, &answered(foreign, b"wrong", 1)), Err(Refused::Wrong));
}

fn authenticator_settings() -> Settings {
    Settings { realm: "sip.example".into(), algorithms: vec![Algorithm::Sha512_256], lifetime: 300, nonces: 10 }
}

#[test]
fn a_nonce_count_is_accepted_once_in_any_order() {
    let mut authenticator = authenticator(10);
    let challenge = challenges(&authenticator, 100, 1).remove(0);
    let mut say = |count| verdict(&mut authenticator, 100, &answered(&challenge, b"secret", count));
    assert_eq!(say(1), Ok(()));
    assert_eq!(say(1), Err(Refused::Stale));
    assert_eq!(say(0), Err(Refused::Stale));
    assert_eq!(say(5), Ok(()));
    assert_eq!(say(3), Ok(()));
    assert_eq!(say(3), Err(Refused::Stale));
    assert_eq!(say(2), Ok(()));
    assert_eq!(say(100), Ok(()));
    assert_eq!(say(37), Ok(()));
    assert_eq!(say(36), Err(Refused::Stale), "too far behind to know");
    assert_eq!(say(u32::MAX), Ok(()));
    assert_eq!(say(u32::MAX), Err(Refused::Stale));
}

#[test]
fn the_table_is_bounded_and_forgetting_lets_no_replay_in() {
    let mut authenticator = authenticator(3);
    let values: Vec<_> = (0..5)
        .map(|number| {
            let now = 100 + u64::from(number);
            answered(&challenges(&authenticator, now, number)[0], b"secret", 1)
        })
        .collect();
    for (number, value) in values.iter().enumerate() {
        assert_eq!(verdict(&mut authenticator, 104, value), Ok(()), "{number}");
        assert!(authenticator.used_nonces() <= 3);
    }
    for value in &values {
        assert_eq!(verdict(&mut authenticator, 104, value), Err(Refused::Stale));
    }
    let again = answered(&challenges(&authenticator, 102, 2)[0], b"secret", 2);
    assert_eq!(verdict(&mut authenticator, 104, &again), Ok(()), "a row that is there needs no room");
    let wrong = answered(&challenges(&authenticator, 105, 9)[0], b"wrong", 1);
    let before = authenticator.used_nonces();
    assert_eq!(verdict(&mut authenticator, 105, &wrong), Err(Refused::Wrong));
    assert_eq!(authenticator.used_nonces(), before, "a wrong password takes no room");
}

/// liblinphone 5.1.65 writes two spaces behind the scheme and between parameters, libpurple 2.14.12 `nc` in quotes and
/// neither `qop` nor `cnonce`.
#[test]
fn clients_without_qop_are_let_in_once_per_nonce() {
    let mut authenticator = authenticator(10);
    let challenge = challenges(&authenticator, 100, 1).remove(2);
    let without = challenge.replace(" qop=\"auth\",", "").replace(" algorithm=MD5,", "");
    let plain = answered(&without, b"secret", 1);
    assert!(!plain.contains("qop") && !plain.contains("nc=") && !plain.contains("algorithm"), "{plain}");
    let purple = plain.replace(", response", ", nc=\"00000001\", response");
    let linphone = plain.replace("Digest ", "Digest  ").replace(", uri", ",  uri");
    assert_eq!(verdict(&mut authenticator, 100, &purple), Ok(()));
    assert_eq!(verdict(&mut authenticator, 100, &purple), Err(Refused::Stale));
    assert_eq!(verdict(&mut authenticator, 100, &linphone), Err(Refused::Stale));
    assert_eq!(verdict(&mut authenticator, 100, &answered(&challenge, b"secret", 2)), Err(Refused::Stale));
}

#[test]
fn malformed_values_are_refused() {
    let challenges = [
        ("Basic realm=\"a\"", AuthError::Scheme),
        ("Digest", AuthError::Malformed),
        ("Digest realm=\"a\"", AuthError::Malformed),
        ("Digest realm=\"a\", nonce=\"b\", nonce=\"c\"", AuthError::Malformed),
        ("Digest realm=\"a, nonce=\"b\"", AuthError::Malformed),
        ("Digest realm=\"a\", nonce=\"b\", x", AuthError::Malformed),
        ("Digest realm=\"a\", nonce=\"b\", algorithm=SHA-1", AuthError::Algorithm),
        ("Digest realm=\"a\", nonce=\"b\", qop=\"auth-conf, x\"", AuthError::Qop),
    ];
    for (value, error) in challenges {
        assert_eq!(Challenge::parse(value.as_bytes()), Err(error), "{value}");
    }
    let whole = "Digest username=\"u\", realm=\"r\", nonce=\"n\", uri=\"sip:r\", response=\"x\"";
    let table = [
        ("", None),
        (", qop=auth", Some(AuthError::Malformed)),
        (", qop=auth, nc=00000001", Some(AuthError::Malformed)),
        (", qop=auth, nc=000000001, cnonce=\"c\"", Some(AuthError::Malformed)),
        (", qop=auth, nc=x, cnonce=\"c\"", Some(AuthError::Malformed)),
        (", qop=auth-int, nc=00000001, cnonce=\"c\"", Some(AuthError::Qop)),
        (", qop=\"auth\", nc=00000001, cnonce=\"c\"", None),
        (", algorithm=MD5-sess", Some(AuthError::Malformed)),
        (", algorithm=\"md5\"", None),
        (", ,, opaque=\"a,<b\",", None),
        (", qop=auth, nc=1, cnonce=\"c\"", Some(AuthError::Malformed)),
        (", username=\"v\"", Some(AuthError::Malformed)),
    ];
    assert_eq!(Credentials::parse(b"Basic YTpi"), Err(AuthError::Scheme));
    for (more, error) in table {
        assert_eq!(Credentials::parse(format!("{whole}{more}").as_bytes()).err(), error, "{more}");
    }
    for missing in ["username", "realm", "nonce", "uri", "response"] {
        let value = whole.replace(&format!("{missing}="), &format!("x{missing}="));
        assert_eq!(Credentials::parse(value.as_bytes()), Err(AuthError::Malformed), "{missing}");
    }
}

#[test]
fn quotes_and_backslashes_survive_the_way() {
    let challenge = Challenge::parse(b"Digest realm=\"a \\\"b\\\\\", nonce=\"n\", opaque=\"\"").unwrap();
    assert_eq!(&*challenge.realm, b"a \"b\\");
    let mut out = Vec::new();
    let account = Account { username: b"DOMAIN\\al\"ice", secret: PASSWORD };
    answer(&challenge, &account, &Covered { method: Method::Message, uri: b"sip:b@c", body: b"" }, 1, b"", &mut out)
        .unwrap();
    let credentials = Credentials::parse(&out).unwrap();
    assert_eq!(&*credentials.username, b"DOMAIN\\al\"ice");
    assert_eq!(&*credentials.realm, b"a \"b\\");
    assert!(credentials.are_for(&crate::wire::Uri::parse(b"sip:b@C").unwrap()));
    assert!(!credentials.are_for(&crate::wire::Uri::parse(b"sip:d@c").unwrap()));
}

proptest! {
    #[test]
    fn any_value_is_read_without_harm(value: Vec<u8>, digest in "Digest [a-z=\",\\\\ ]{0,40}") {
        for value in [&value[..], digest.as_bytes()] {
            let _ = Challenge::parse(value);
            let _ = Credentials::parse(value);
        }
    }

    #[test]
    fn a_count_is_never_taken_twice(counts in proptest::collection::vec(0..200_u32, 0..300)) {
        let mut authenticator = authenticator(10);
        let challenge = challenges(&authenticator, 100, 1).remove(0);
        let mut taken = std::collections::BTreeSet::new();
        for count in counts.into_iter().take(40) {
            if verdict(&mut authenticator, 100, &answered(&challenge, b"secret", count)).is_ok() {
                prop_assert!(taken.insert(count));
            }
        }
    }
}
