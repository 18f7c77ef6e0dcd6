//! The initiating side of SCRAM (RFC 5802, RFC 7677).
//!
//! A [`Proof`] is one attempt: the password does not leave it, and the server has to show that it knows the account too.
//! PLAIN is not here: it is for encrypted streams only, and the initiating streams of this crate are not encrypted.

use super::{BASE64, Hash, ITERATIONS, Mechanism, is_attribute, prepare_password};
use base64::Engine as _;
use std::borrow::Cow;
use subtle::ConstantTimeEq;
use turn::Minter;
use zeroize::Zeroizing;

/// Most iterations that a server may ask for; each costs us time.
const ITERATIONS_MAX: u32 = 500_000;
/// base64 of the GS2 header `n,,`: no channel binding, no other identity (RFC 5802 7).
const GS2_HEADER: &str = "n,,";
const GS2_HEADER_BASE64: &str = "biws";

/// Why an attempt was given up on our side.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Distrust {
    /// The password is empty or has characters that SASLprep forbids.
    #[error("the password cannot be used")]
    Password,
    /// The server's message breaks the grammar, or has a mandatory extension (RFC 5802 5.1).
    #[error("the server's SCRAM message is malformed")]
    Malformed,
    /// The nonce is not ours with something added (RFC 5802 5.1): the challenge is for another attempt.
    #[error("the server's nonce does not continue ours")]
    Nonce,
    /// So few iterations that the proof would give the password away, or so many that they would keep us busy.
    #[error("the server asks for an iteration count out of bounds")]
    Iterations,
    /// The server does not know the account: somebody is in its place (RFC 5802 3).
    #[error("the server's signature is wrong")]
    Signature,
}

/// One attempt to prove that we know a password.
#[derive(Debug)]
pub struct Proof {
    hash: Hash,
    password: Zeroizing<String>,
    client_first_bare: String,
    nonce: String,
    /// What the server has to show, once the challenge has been answered.
    server_signature: Option<Vec<u8>>,
    shown: bool,
}

impl Proof {
    /// Begins an attempt with a SCRAM mechanism; gives the initial response. `None` for [`Mechanism::Plain`].
    pub fn begin(
        mechanism: Mechanism,
        user: &str,
        password: &str,
        minter: &mut Minter,
    ) -> Option<Result<(Self, Vec<u8>), Distrust>> {
        let mut nonce = Vec::new();
        nonce.extend_from_slice(&turn::base32::<26>(minter.mint()));
        let nonce = nonce.into_iter().map(char::from).collect();
        let hash = match mechanism {
            Mechanism::ScramSha256 => Hash::Sha256,
            Mechanism::ScramSha1 => Hash::Sha1,
            Mechanism::Plain => return None,
        };
        Some(Self::with_nonce(hash, user, password, nonce))
    }

    fn with_nonce(hash: Hash, user: &str, password: &str, nonce: String) -> Result<(Self, Vec<u8>), Distrust> {
        let password = prepare_password(password).ok_or(Distrust::Password)?;
        let user = stringprep::saslprep(user).unwrap_or(Cow::Borrowed(user));
        // saslname of RFC 5802 7.
        let name = user.replace('=', "=3D").replace(',', "=2C");
        let client_first_bare = format!("n={name},r={nonce}");
        let initial = format!("{GS2_HEADER}{client_first_bare}").into_bytes();
        Ok((Self { hash, password, client_first_bare, nonce, server_signature: None, shown: false }, initial))
    }

    /// Answers a challenge. The second one, with which some servers show their signature instead of doing so with the
    /// success, is answered with nothing.
    pub fn respond(&mut self, challenge: &[u8]) -> Result<Vec<u8>, Distrust> {
        if self.server_signature.is_some() {
            return self.check(challenge).map(|()| Vec::new());
        }
        let server_first = std::str::from_utf8(challenge).map_err(|_| Distrust::Malformed)?;
        let mut attributes = server_first.split(',');
        let mut next = |name: &str| {
            let attribute = attributes.next().and_then(|attribute| attribute.strip_prefix(name));
            attribute.ok_or(Distrust::Malformed)
        };
        let (nonce, salt, iterations) = (next("r=")?, next("s=")?, next("i=")?);
        if !attributes.all(is_attribute) {
            return Err(Distrust::Malformed);
        }
        let added = nonce.strip_prefix(&*self.nonce).ok_or(Distrust::Nonce)?;
        if added.is_empty() || !added.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(Distrust::Nonce);
        }
        let salt = BASE64.decode(salt).map_err(|_| Distrust::Malformed)?;
        let iterations: u32 = iterations.parse().map_err(|_| Distrust::Malformed)?;
        if !(ITERATIONS..=ITERATIONS_MAX).contains(&iterations) {
            return Err(Distrust::Iterations);
        }
        // RFC 5802 3.
        let hash = self.hash;
        let salted = hash.salted_password(self.password.as_bytes(), &salt, iterations);
        let client_key = Zeroizing::new(hash.hmac(&salted, &[b"Client Key"]));
        let without_proof = format!("c={GS2_HEADER_BASE64},r={nonce}");
        let auth_message: [&[u8]; 5] =
            [self.client_first_bare.as_bytes(), b",", challenge, b",", without_proof.as_bytes()];
        let signature = hash.hmac(&hash.digest(&client_key), &auth_message);
        let proof: Vec<u8> = client_key.iter().zip(&signature).map(|(key, signature)| key ^ signature).collect();
        self.server_signature = Some(hash.hmac(&hash.hmac(&salted, &[b"Server Key"]), &auth_message));
        Ok(format!("{without_proof},p={}", BASE64.encode(proof)).into_bytes())
    }

    /// Checks what came with the success; nothing may come if the signature has been shown already.
    pub fn finish(&mut self, additional: &[u8]) -> Result<(), Distrust> {
        if self.shown && additional.is_empty() { Ok(()) } else { self.check(additional) }
    }

    fn check(&mut self, server_final: &[u8]) -> Result<(), Distrust> {
        let text = std::str::from_utf8(server_final).map_err(|_| Distrust::Malformed)?;
        let mut attributes = text.split(',');
        let verifier = attributes.next().and_then(|attribute| attribute.strip_prefix("v="));
        let verifier = verifier.and_then(|verifier| BASE64.decode(verifier).ok()).ok_or(Distrust::Signature)?;
        let expected = self.server_signature.as_ref().ok_or(Distrust::Signature)?;
        if !bool::from(verifier.ct_eq(expected)) {
            return Err(Distrust::Signature);
        }
        self.shown = true;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Accounts, Credentials, Exchange, Step};
    use super::*;

    /// The client's half of the examples, with the nonce that stands there.
    fn replay(hash: Hash, nonce: &str, server_first: &str, server_final: &str) -> (String, String) {
        let (mut proof, initial) = Proof::with_nonce(hash, "user", "pencil", nonce.into()).unwrap();
        let answer = proof.respond(server_first.as_bytes()).unwrap();
        proof.finish(server_final.as_bytes()).unwrap();
        (String::from_utf8(initial).unwrap(), String::from_utf8(answer).unwrap())
    }

    #[test]
    fn example_of_rfc_5802_section_5() {
        let (initial, answer) = replay(
            Hash::Sha1,
            "fyko+d2lbbFgONRv9qkxdawL",
            "r=fyko+d2lbbFgONRv9qkxdawL3rfcNHYJY1ZVvWVs7j,s=QSXCR+Q6sek8bf92,i=4096",
            "v=rmF9pqV8S7suAoZWja4dJRkFsKQ=",
        );
        assert_eq!(initial, "n,,n=user,r=fyko+d2lbbFgONRv9qkxdawL");
        let expected = "c=biws,r=fyko+d2lbbFgONRv9qkxdawL3rfcNHYJY1ZVvWVs7j,p=v0X8v3Bz2T0CJGbJQyF0X+HI4Ts=";
        assert_eq!(answer, expected);
    }

    #[test]
    fn example_of_rfc_7677_section_3() {
        let (_, answer) = replay(
            Hash::Sha256,
            "rOprNGfwEbeRWgbNEkqO",
            "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096",
            "v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=",
        );
        let expected = "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,\
             p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=";
        assert_eq!(answer, expected);
    }

    struct One(Credentials);

    impl Accounts for One {
        fn credentials(&self, user: &str) -> Option<&Credentials> {
            (user == "a=b,c").then_some(&self.0)
        }
    }

    #[test]
    fn our_two_sides_understand_each_other() {
        let accounts = One(Credentials::from_password("Pass wörd", b"0123456789abcdef", ITERATIONS).unwrap());
        for mechanism in [Mechanism::ScramSha256, Mechanism::ScramSha1] {
            for (password, right) in [("Pass wörd", true), ("pass wörd", false)] {
                let (mut ours, mut theirs) = (Minter::new([1; 16]), Minter::new([2; 16]));
                let (mut proof, initial) = Proof::begin(mechanism, "a=b,c", password, &mut ours).unwrap().unwrap();
                let (mut exchange, step) = Exchange::begin(mechanism, Some(&initial), "x", &accounts, &mut theirs);
                let Step::Challenge(challenge) = step else { panic!("{step:?}") };
                let answer = proof.respond(&challenge).unwrap();
                match exchange.respond(&answer, "x", &accounts, &mut theirs) {
                    Step::Success { user, additional } if right => {
                        assert_eq!(user, "a=b,c");
                        proof.finish(&additional).unwrap();
                    }
                    Step::Failure(_) if !right => {}
                    step => panic!("{password}: {step:?}"),
                }
            }
        }
        assert!(Proof::begin(Mechanism::Plain, "a", "b", &mut Minter::new([1; 16])).is_none());
    }

    #[test]
    fn a_server_that_cannot_be_trusted() {
        let begin = || Proof::with_nonce(Hash::Sha256, "user", "pencil", "abc".into()).unwrap().0;
        for (challenge, expected) in [
            ("", Distrust::Malformed),
            ("m=x,r=abcd,s=QSXCR+Q6sek8bf92,i=4096", Distrust::Malformed),
            ("r=abcd,s=*,i=4096", Distrust::Malformed),
            ("r=abcd,s=QSXCR+Q6sek8bf92,i=many", Distrust::Malformed),
            ("r=abcd,s=QSXCR+Q6sek8bf92,i=4096,m=x", Distrust::Malformed),
            ("r=abc,s=QSXCR+Q6sek8bf92,i=4096", Distrust::Nonce),
            ("r=xyz,s=QSXCR+Q6sek8bf92,i=4096", Distrust::Nonce),
            ("r=abcd,s=QSXCR+Q6sek8bf92,i=1", Distrust::Iterations),
            ("r=abcd,s=QSXCR+Q6sek8bf92,i=4000000000", Distrust::Iterations),
        ] {
            assert_eq!(begin().respond(challenge.as_bytes()), Err(expected), "{challenge}");
        }
        let mut proof = begin();
        proof.respond(b"r=abcd,s=QSXCR+Q6sek8bf92,i=4096").unwrap();
        for shown in ["", "v=AAAA", "e=other-error"] {
            assert_eq!(proof.finish(shown.as_bytes()), Err(Distrust::Signature), "{shown}");
        }
        // A success before the challenge shows nothing.
        assert_eq!(begin().finish(b""), Err(Distrust::Signature));
        assert_eq!(begin().finish(b"v="), Err(Distrust::Signature));
    }

    #[test]
    fn the_signature_may_come_as_a_challenge() {
        let (mut proof, _) =
            Proof::with_nonce(Hash::Sha1, "user", "pencil", "fyko+d2lbbFgONRv9qkxdawL".into()).unwrap();
        proof.respond(b"r=fyko+d2lbbFgONRv9qkxdawL3rfcNHYJY1ZVvWVs7j,s=QSXCR+Q6sek8bf92,i=4096").unwrap();
        assert_eq!(proof.respond(b"v=rmF9pqV8S7suAoZWja4dJRkFsKQ="), Ok(Vec::new()));
        assert_eq!(proof.finish(b""), Ok(()));
    }
}
