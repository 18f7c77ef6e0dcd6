//! The accepting side of SASL (RFC 4422) as XMPP uses it (RFC 6120 6): SCRAM-SHA-256 (RFC 7677), SCRAM-SHA-1 (RFC 5802)
//! and PLAIN (RFC 4616).
//!
//! An [`Exchange`] is one attempt. It sees decoded messages; base64 and the XML elements belong to the stream. Channel
//! binding (the -PLUS mechanisms) is not offered.

pub mod client;
mod credentials;

pub use credentials::{BadPassword, Credentials, ITERATIONS};

use crate::jid::{normal_local, same_jid};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use credentials::{Hash, Verifier, prepare_password};
use std::borrow::Cow;
use subtle::ConstantTimeEq;
use turn::Minter;
use zeroize::Zeroizing;

/// Longest message of a client that is looked at.
const MESSAGE_MAX: usize = 4096;

/// A mechanism that can be offered, the strongest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Mechanism {
    /// RFC 7677.
    ScramSha256,
    /// RFC 5802.
    ScramSha1,
    /// RFC 4616: the password itself crosses the stream.
    Plain,
}

impl Mechanism {
    /// All mechanisms in the order they are offered.
    pub const ALL: [Mechanism; 3] = [Mechanism::ScramSha256, Mechanism::ScramSha1, Mechanism::Plain];

    /// The registered name.
    pub fn name(self) -> &'static str {
        match self {
            Mechanism::ScramSha256 => "SCRAM-SHA-256",
            Mechanism::ScramSha1 => "SCRAM-SHA-1",
            Mechanism::Plain => "PLAIN",
        }
    }

    /// The mechanism of a name.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|mechanism| mechanism.name() == name)
    }
}

/// Why an attempt failed, in the words of RFC 6120 6.5.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// The client gave up (6.5.1).
    Aborted,
    /// The mechanism is only for encrypted streams (6.5.4).
    EncryptionRequired,
    /// The base64 was wrong (6.5.5).
    IncorrectEncoding,
    /// The client may not act as the identity it asked for (6.5.6).
    InvalidAuthzid,
    /// The mechanism is not offered (6.5.7).
    InvalidMechanism,
    /// The message breaks the grammar of the mechanism (6.5.8).
    MalformedRequest,
    /// Wrong user or wrong password; which of them is not told (6.5.10).
    NotAuthorized,
}

impl Failure {
    /// The element that names the condition.
    pub fn name(self) -> &'static str {
        match self {
            Failure::Aborted => "aborted",
            Failure::EncryptionRequired => "encryption-required",
            Failure::IncorrectEncoding => "incorrect-encoding",
            Failure::InvalidAuthzid => "invalid-authzid",
            Failure::InvalidMechanism => "invalid-mechanism",
            Failure::MalformedRequest => "malformed-request",
            Failure::NotAuthorized => "not-authorized",
        }
    }
}

/// Who has an account. Names come in the normal form of a localpart.
pub trait Accounts {
    /// The credentials of a user.
    fn credentials(&self, user: &str) -> Option<&Credentials>;
}

/// What follows a message of the client.
#[derive(Debug, PartialEq, Eq)]
pub enum Step {
    /// Send this as a challenge.
    Challenge(Vec<u8>),
    /// The client is who it says.
    Success {
        /// The localpart of the user.
        user: String,
        /// What the success carries; empty means nothing at all.
        additional: Vec<u8>,
    },
    /// It is not.
    Failure(Failure),
}

/// One attempt to authenticate.
///
/// ```text
///            begin(None)                    respond
///   Start ───────────────► AwaitFirst ───────────────► AwaitFinal (SCRAM) ──► Success | Failure
///     │ begin(Some)            │ PLAIN
///     └────────────────────────┴──────────────────────► Success | Failure
/// ```
#[derive(Debug)]
pub struct Exchange {
    mechanism: Mechanism,
    state: State,
}

#[derive(Debug)]
enum State {
    AwaitFirst,
    AwaitFinal(Box<Scram>),
    Done,
}

/// What SCRAM remembers between the client's two messages.
#[derive(Debug)]
struct Scram {
    user: String,
    credentials: Credentials,
    gs2_header: Vec<u8>,
    client_first_bare: Vec<u8>,
    server_first: Vec<u8>,
    nonce: Vec<u8>,
}

impl Exchange {
    /// Starts an attempt for users of `domain`. Without an initial response an empty challenge asks for it (RFC 6120
    /// 6.4.2).
    pub fn begin(
        mechanism: Mechanism,
        initial: Option<&[u8]>,
        domain: &str,
        accounts: &dyn Accounts,
        minter: &mut Minter,
    ) -> (Self, Step) {
        let mut exchange = Self { mechanism, state: State::AwaitFirst };
        let step = match initial {
            None => Step::Challenge(Vec::new()),
            Some(message) => exchange.respond(message, domain, accounts, minter),
        };
        (exchange, step)
    }

    /// Takes the next message of the client.
    pub fn respond(&mut self, message: &[u8], domain: &str, accounts: &dyn Accounts, minter: &mut Minter) -> Step {
        let state = std::mem::replace(&mut self.state, State::Done);
        if message.len() > MESSAGE_MAX {
            return Step::Failure(Failure::MalformedRequest);
        }
        let step = match (state, self.hash()) {
            (State::AwaitFirst, None) => plain(message, domain, accounts, minter),
            (State::AwaitFirst, Some(hash)) => {
                Scram::first(hash, message, domain, accounts, minter).map(|(scram, challenge)| {
                    self.state = State::AwaitFinal(Box::new(scram));
                    Step::Challenge(challenge)
                })
            }
            (State::AwaitFinal(scram), Some(hash)) => scram.last(hash, message),
            (State::AwaitFinal(_), None) | (State::Done, _) => Err(Failure::MalformedRequest),
        };
        step.unwrap_or_else(Step::Failure)
    }

    fn hash(&self) -> Option<Hash> {
        match self.mechanism {
            Mechanism::ScramSha256 => Some(Hash::Sha256),
            Mechanism::ScramSha1 => Some(Hash::Sha1),
            Mechanism::Plain => None,
        }
    }
}

impl Scram {
    /// client-first-message -> server-first-message (RFC 5802 7).
    fn first(
        hash: Hash,
        message: &[u8],
        domain: &str,
        accounts: &dyn Accounts,
        minter: &mut Minter,
    ) -> Result<(Self, Vec<u8>), Failure> {
        let text = std::str::from_utf8(message).map_err(|_| Failure::MalformedRequest)?;
        let (flag, rest) = text.split_once(',').ok_or(Failure::MalformedRequest)?;
        let (authzid, bare) = rest.split_once(',').ok_or(Failure::MalformedRequest)?;
        // "y" says that the client believes we have no channel binding, and it is right (RFC 5802 6). "p" asks for what a
        // mechanism without -PLUS cannot give.
        if flag != "n" && flag != "y" {
            return Err(Failure::MalformedRequest);
        }
        let authzid = match authzid.strip_prefix("a=") {
            Some(name) => Some(saslname(name).ok_or(Failure::MalformedRequest)?),
            None if authzid.is_empty() => None,
            None => return Err(Failure::MalformedRequest),
        };
        let mut attributes = bare.split(',');
        // A mandatory extension ("m=") stands where the user name would, and fails here.
        let name = attributes.next().and_then(|a| a.strip_prefix("n=")).ok_or(Failure::MalformedRequest)?;
        let client_nonce = attributes.next().and_then(|a| a.strip_prefix("r=")).ok_or(Failure::MalformedRequest)?;
        if client_nonce.is_empty()
            || !client_nonce.bytes().all(|b| b.is_ascii_graphic())
            || !attributes.all(is_attribute)
        {
            return Err(Failure::MalformedRequest);
        }
        let name = saslname(name).ok_or(Failure::MalformedRequest)?;
        let user = user_name(&name).ok_or(Failure::NotAuthorized)?;
        check_authzid(authzid.as_deref(), &user, domain)?;
        let credentials = match accounts.credentials(&user) {
            Some(credentials) => credentials.clone(),
            None => Credentials::decoy(&user, minter),
        };

        let mut nonce = client_nonce.as_bytes().to_vec();
        nonce.extend_from_slice(&turn::base32::<26>(minter.mint()));
        let verifier = credentials.verifier(hash);
        let mut server_first = b"r=".to_vec();
        server_first.extend_from_slice(&nonce);
        server_first.extend_from_slice(b",s=");
        server_first.extend_from_slice(BASE64.encode(&verifier.salt).as_bytes());
        server_first.extend_from_slice(b",i=");
        server_first.extend_from_slice(verifier.iterations.to_string().as_bytes());

        let gs2_header = text.as_bytes().get(..text.len() - bare.len()).unwrap_or_default().to_vec();
        let client_first_bare = bare.as_bytes().to_vec();
        let challenge = server_first.clone();
        Ok((Self { user, credentials, gs2_header, client_first_bare, server_first, nonce }, challenge))
    }

    /// client-final-message -> server-final-message, or failure.
    fn last(self: Box<Self>, hash: Hash, message: &[u8]) -> Result<Step, Failure> {
        let text = std::str::from_utf8(message).map_err(|_| Failure::MalformedRequest)?;
        let (without_proof, proof) = text.rsplit_once(",p=").ok_or(Failure::MalformedRequest)?;
        let mut attributes = without_proof.split(',');
        let binding = attributes.next().and_then(|a| a.strip_prefix("c=")).ok_or(Failure::MalformedRequest)?;
        let nonce = attributes.next().and_then(|a| a.strip_prefix("r=")).ok_or(Failure::MalformedRequest)?;
        if !attributes.all(is_attribute) {
            return Err(Failure::MalformedRequest);
        }
        let binding = BASE64.decode(binding).map_err(|_| Failure::MalformedRequest)?;
        let proof = Zeroizing::new(BASE64.decode(proof).map_err(|_| Failure::MalformedRequest)?);
        // The header of the first message, and no channel binding data behind it.
        if binding != self.gs2_header || nonce.as_bytes() != self.nonce {
            return Err(Failure::NotAuthorized);
        }
        let auth_message: [&[u8]; 5] =
            [&self.client_first_bare, b",", &self.server_first, b",", without_proof.as_bytes()];
        let verifier = self.credentials.verifier(hash);
        let signature = hash.hmac(&verifier.stored_key, &auth_message);
        if proof.len() != signature.len() {
            return Err(Failure::NotAuthorized);
        }
        let client_key: Zeroizing<Vec<u8>> =
            Zeroizing::new(proof.iter().zip(&signature).map(|(proof, signature)| proof ^ signature).collect());
        if !bool::from(hash.digest(&client_key).ct_eq(&verifier.stored_key)) {
            return Err(Failure::NotAuthorized);
        }
        let mut additional = b"v=".to_vec();
        let server_signature = hash.hmac(&verifier.server_key, &auth_message);
        additional.extend_from_slice(BASE64.encode(server_signature).as_bytes());
        Ok(Step::Success { user: self.user, additional })
    }
}

/// RFC 4616 2: `[authzid] NUL authcid NUL passwd`.
fn plain(message: &[u8], domain: &str, accounts: &dyn Accounts, minter: &Minter) -> Result<Step, Failure> {
    let text = std::str::from_utf8(message).map_err(|_| Failure::MalformedRequest)?;
    let mut parts = text.split('\0');
    let (Some(authzid), Some(name), Some(password), None) = (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return Err(Failure::MalformedRequest);
    };
    if name.is_empty() || password.is_empty() {
        return Err(Failure::MalformedRequest);
    }
    let user = user_name(name).ok_or(Failure::NotAuthorized)?;
    check_authzid((!authzid.is_empty()).then_some(authzid), &user, domain)?;
    let password = prepare_password(password).ok_or(Failure::NotAuthorized)?;
    let decoy;
    let credentials = match accounts.credentials(&user) {
        Some(credentials) => credentials,
        None => {
            decoy = Credentials::decoy(&user, minter);
            &decoy
        }
    };
    let kept = &credentials.sha256;
    let given = Verifier::derive(Hash::Sha256, password.as_bytes(), &kept.salt, kept.iterations);
    if bool::from(given.stored_key.ct_eq(&kept.stored_key)) {
        Ok(Step::Success { user, additional: Vec::new() })
    } else {
        Err(Failure::NotAuthorized)
    }
}

/// The client may act as itself only; the identity is a bare JID (RFC 6120 6.3.8).
fn check_authzid(authzid: Option<&str>, user: &str, domain: &str) -> Result<(), Failure> {
    match authzid {
        Some(authzid) if !same_jid(authzid, &format!("{user}@{domain}")) => Err(Failure::InvalidAuthzid),
        _ => Ok(()),
    }
}

/// The localpart that a user name means. SASLprep knows only Unicode 3.2: a name beyond that is compared as it is.
fn user_name(name: &str) -> Option<String> {
    let prepared = stringprep::saslprep(name).unwrap_or(Cow::Borrowed(name));
    normal_local(&prepared).ok().map(Cow::into_owned)
}

/// `saslname` of RFC 5802 7: `=2C` and `=3D`, and no other `=`.
fn saslname(text: &str) -> Option<String> {
    if text.is_empty() || text.contains('\0') {
        return None;
    }
    let mut pieces = text.split('=');
    let mut name = pieces.next()?.to_owned();
    for piece in pieces {
        let (c, rest) = match (piece.strip_prefix("2C"), piece.strip_prefix("3D")) {
            (Some(rest), _) => (',', rest),
            (None, Some(rest)) => ('=', rest),
            (None, None) => return None,
        };
        name.push(c);
        name.push_str(rest);
    }
    Some(name)
}

/// `attr-val` of RFC 5802 7; unknown ones are ignored where they may stand, mandatory ones ("m") are refused.
fn is_attribute(text: &str) -> bool {
    matches!(text.as_bytes(), [name, b'=', _, ..] if name.is_ascii_alphabetic() && *name != b'm')
}

#[cfg(test)]
mod tests {
    use super::*;

    struct One(&'static str, Credentials);

    impl Accounts for One {
        fn credentials(&self, user: &str) -> Option<&Credentials> {
            (user == self.0).then_some(&self.1)
        }
    }

    fn pencil() -> One {
        One("user", Credentials::from_password("pencil", b"0123456789abcdef", ITERATIONS).unwrap())
    }

    /// The verifying half of the examples in the RFCs: the nonce there is given, ours is minted.
    fn replay(
        hash: Hash,
        salt: &str,
        client_first: &str,
        server_first: &str,
        client_final: &str,
    ) -> Result<Step, Failure> {
        let credentials = Credentials::from_password("pencil", &BASE64.decode(salt).unwrap(), 4096).unwrap();
        let nonce = server_first.strip_prefix("r=").unwrap().split(',').next().unwrap();
        Box::new(Scram {
            user: "user".into(),
            credentials,
            gs2_header: b"n,,".to_vec(),
            client_first_bare: client_first.strip_prefix("n,,").unwrap().into(),
            server_first: server_first.into(),
            nonce: nonce.into(),
        })
        .last(hash, client_final.as_bytes())
    }

    #[test]
    fn example_of_rfc_5802_section_5() {
        let step = replay(
            Hash::Sha1,
            "QSXCR+Q6sek8bf92",
            "n,,n=user,r=fyko+d2lbbFgONRv9qkxdawL",
            "r=fyko+d2lbbFgONRv9qkxdawL3rfcNHYJY1ZVvWVs7j,s=QSXCR+Q6sek8bf92,i=4096",
            "c=biws,r=fyko+d2lbbFgONRv9qkxdawL3rfcNHYJY1ZVvWVs7j,p=v0X8v3Bz2T0CJGbJQyF0X+HI4Ts=",
        );
        let additional = b"v=rmF9pqV8S7suAoZWja4dJRkFsKQ=".to_vec();
        assert_eq!(step, Ok(Step::Success { user: "user".into(), additional }));
    }

    #[test]
    fn example_of_rfc_7677_section_3() {
        let (first, server) = (
            "n,,n=user,r=rOprNGfwEbeRWgbNEkqO",
            "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096",
        );
        let last = "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=";
        let step = replay(Hash::Sha256, "W22ZaJ0SNY7soEsUEjb6gQ==", first, server, last);
        let additional = b"v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=".to_vec();
        assert_eq!(step, Ok(Step::Success { user: "user".into(), additional }));
        let wrong = last.replace("p=dH", "p=eH");
        let step = replay(Hash::Sha256, "W22ZaJ0SNY7soEsUEjb6gQ==", first, server, &wrong);
        assert_eq!(step, Err(Failure::NotAuthorized));
    }

    /// The client's half, to run whole exchanges.
    fn client_final(hash: Hash, password: &str, gs2: &str, first_bare: &str, challenge: &str) -> String {
        let mut attributes = challenge.split(',');
        let nonce = attributes.next().unwrap().strip_prefix("r=").unwrap();
        let salt = BASE64.decode(attributes.next().unwrap().strip_prefix("s=").unwrap()).unwrap();
        let iterations = attributes.next().unwrap().strip_prefix("i=").unwrap().parse().unwrap();
        let salted = hash.salted_password(password.as_bytes(), &salt, iterations);
        let client_key = hash.hmac(&salted, &[b"Client Key"]);
        let without = format!("c={},r={nonce}", BASE64.encode(gs2));
        let auth = format!("{first_bare},{challenge},{without}");
        let signature = hash.hmac(&hash.digest(&client_key), &[auth.as_bytes()]);
        let proof: Vec<u8> = client_key.iter().zip(&signature).map(|(a, b)| a ^ b).collect();
        format!("{without},p={}", BASE64.encode(proof))
    }

    fn login(mechanism: Mechanism, gs2: &str, user: &str, password: &str, accounts: &One) -> Step {
        let mut minter = Minter::new([3; 16]);
        let first_bare = format!("n={user},r=clientnonce");
        let first = format!("{gs2}{first_bare}");
        let (mut exchange, step) =
            Exchange::begin(mechanism, Some(first.as_bytes()), "example.com", accounts, &mut minter);
        let challenge = match step {
            Step::Challenge(challenge) => String::from_utf8(challenge).unwrap(),
            other => return other,
        };
        assert!(challenge.starts_with("r=clientnonce") && challenge.len() > 60, "{challenge}");
        let last = client_final(exchange.hash().unwrap(), password, gs2, &first_bare, &challenge);
        exchange.respond(last.as_bytes(), "example.com", accounts, &mut minter)
    }

    #[test]
    fn whole_exchanges() {
        let accounts = pencil();
        for mechanism in [Mechanism::ScramSha256, Mechanism::ScramSha1] {
            for gs2 in ["n,,", "y,,", "n,a=user@example.com,", "n,a=User@EXAMPLE.com.,"] {
                let step = login(mechanism, gs2, "user", "pencil", &accounts);
                assert!(matches!(&step, Step::Success { user, .. } if user == "user"), "{gs2} {step:?}");
            }
            for (gs2, user, password, failure) in [
                ("n,,", "user", "pen", Failure::NotAuthorized),
                ("n,,", "nobody", "pencil", Failure::NotAuthorized),
                ("n,a=other@example.com,", "user", "pencil", Failure::InvalidAuthzid),
                ("p=tls-unique,,", "user", "pencil", Failure::MalformedRequest),
                ("x,,", "user", "pencil", Failure::MalformedRequest),
                ("n,,", "us=er", "pencil", Failure::MalformedRequest),
                ("n,,m=x,", "user", "pencil", Failure::MalformedRequest),
            ] {
                assert_eq!(login(mechanism, gs2, user, password, &accounts), Step::Failure(failure), "{gs2} {user}");
            }
        }
    }

    #[test]
    fn the_nonce_must_be_the_one_of_this_exchange() {
        let accounts = pencil();
        let mut minter = Minter::new([3; 16]);
        let begin =
            |m: &mut Minter| Exchange::begin(Mechanism::ScramSha1, Some(b"n,,n=user,r=x"), "example.com", &accounts, m);
        let (_, first) = begin(&mut minter);
        let (mut second, _) = begin(&mut minter);
        let Step::Challenge(challenge) = first else { panic!("a challenge") };
        let challenge = String::from_utf8(challenge).unwrap();
        let last = client_final(Hash::Sha1, "pencil", "n,,", "n=user,r=x", &challenge);
        let step = second.respond(last.as_bytes(), "example.com", &accounts, &mut minter);
        assert_eq!(step, Step::Failure(Failure::NotAuthorized));
        // An exchange that has ended stays ended.
        let step = second.respond(last.as_bytes(), "example.com", &accounts, &mut minter);
        assert_eq!(step, Step::Failure(Failure::MalformedRequest));
    }

    #[test]
    fn an_unknown_user_is_challenged_like_a_known_one() {
        let accounts = pencil();
        let mut minter = Minter::new([3; 16]);
        let mut salt = |name: &str| {
            let first = format!("n,,n={name},r=x");
            let (_, step) =
                Exchange::begin(Mechanism::ScramSha256, Some(first.as_bytes()), "example.com", &accounts, &mut minter);
            let Step::Challenge(challenge) = step else { panic!("a challenge") };
            String::from_utf8(challenge).unwrap().split(",s=").nth(1).unwrap().to_owned()
        };
        assert_eq!(salt("nobody"), salt("nobody"));
        assert_ne!(salt("nobody"), salt("somebody"));
        assert_eq!(salt("nobody").len(), salt("user").len());
    }

    #[test]
    fn plain_by_rfc_4616() {
        let accounts = pencil();
        let mut minter = Minter::new([3; 16]);
        let mut attempt =
            |message: &[u8]| Exchange::begin(Mechanism::Plain, Some(message), "example.com", &accounts, &mut minter).1;
        let success = Step::Success { user: "user".into(), additional: Vec::new() };
        assert_eq!(attempt(b"\0user\0pencil"), success);
        assert_eq!(attempt(b"user@example.com\0user\0pencil"), success);
        for (message, failure) in [
            (&b"\0user\0wrong"[..], Failure::NotAuthorized),
            (b"\0nobody\0pencil", Failure::NotAuthorized),
            (b"\0us er\0pencil", Failure::NotAuthorized),
            (b"other@example.com\0user\0pencil", Failure::InvalidAuthzid),
            (b"user\0pencil", Failure::MalformedRequest),
            (b"\0user\0pencil\0", Failure::MalformedRequest),
            (b"\0user\0", Failure::MalformedRequest),
            (b"\0\xff\0pencil", Failure::MalformedRequest),
            (b"", Failure::MalformedRequest),
        ] {
            assert_eq!(attempt(message), Step::Failure(failure), "{message:?}");
        }
    }

    #[test]
    fn without_initial_response_an_empty_challenge_asks_for_it() {
        let accounts = pencil();
        let mut minter = Minter::new([3; 16]);
        let (mut exchange, step) = Exchange::begin(Mechanism::Plain, None, "example.com", &accounts, &mut minter);
        assert_eq!(step, Step::Challenge(Vec::new()));
        let step = exchange.respond(b"\0user\0pencil", "example.com", &accounts, &mut minter);
        assert!(matches!(step, Step::Success { .. }));
    }

    #[test]
    fn passwords_are_prepared() {
        // RFC 4013 3: I<U+00AD>X is IX, U+2168 is IX, U+0007 is forbidden.
        let accounts = One("user", Credentials::from_password("I\u{ad}X", b"salt", 16).unwrap());
        let mut minter = Minter::new([3; 16]);
        let message = "\0user\0\u{2168}".as_bytes();
        let (_, step) = Exchange::begin(Mechanism::Plain, Some(message), "example.com", &accounts, &mut minter);
        assert!(matches!(step, Step::Success { .. }));
        for password in ["", "\u{ad}", "a\u{7}"] {
            assert_eq!(Credentials::from_password(password, b"salt", 16).err(), Some(BadPassword));
        }
    }

    #[test]
    fn names_with_comma_and_equals_sign() {
        assert_eq!(saslname("a=2Cb=3D=3D").as_deref(), Some("a,b=="));
        for bad in ["", "a=", "a=2c", "a=2", "=3d"] {
            assert_eq!(saslname(bad), None, "{bad}");
        }
    }
}
