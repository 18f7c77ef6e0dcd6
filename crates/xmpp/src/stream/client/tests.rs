use super::*;
use crate::sasl::{Credentials, Mechanism};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use hmac::{Hmac, Mac};
use sha2::{Digest, Sha256};
use turn::{Action, CloseCause};

struct Users(Credentials);

impl Accounts for Users {
    fn credentials(&self, user: &str) -> Option<&Credentials> {
        (user == "juliet").then_some(&self.0)
    }
}

/// One connection, with everything that goes over it.
struct Wire {
    out: Output,
    minter: Minter,
    users: Users,
    acceptor: ClientAcceptor,
    stream: StreamId,
    start: Instant,
    waiting: Vec<u8>,
    actions: Vec<Action>,
    events: Vec<String>,
}

const HEADER: &str = "<?xml version='1.0'?><stream:stream to='xmpp.example' version='1.0' xml:lang='de' \
     xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams'>";

impl Wire {
    fn new(change: impl FnOnce(&mut ClientSettings)) -> Self {
        let mut settings = ClientSettings::new("xmpp.example");
        settings.tls = Tls::Offered;
        change(&mut settings);
        let mut out = Output::new();
        let stream = out.open();
        #[allow(clippy::disallowed_methods)]
        let start = Instant::now();
        Self {
            acceptor: ClientAcceptor::accept(Arc::new(settings), stream, start),
            out,
            minter: Minter::new([9; 16]),
            users: Users(Credentials::from_password("secret", b"salt of juliet", 64).unwrap()),
            stream,
            start,
            waiting: Vec::new(),
            actions: Vec::new(),
            events: Vec::new(),
        }
    }

    fn input(&mut self, input: &Input<'_>) -> usize {
        let (consumed, event) = self.acceptor.handle_input(input, &self.users, &mut self.minter, &mut self.out);
        match event {
            ClientEvent::None => {}
            ClientEvent::Bind { resource } => {
                self.events.push(format!("bind {resource:?}"));
                self.acceptor.bind(resource.as_deref().unwrap_or("made"), &mut self.out);
                return consumed.max(1);
            }
            ClientEvent::Stanza(stanza) => self.events.push(String::from_utf8_lossy(stanza.raw()).into_owned()),
            ClientEvent::Ended(ended) => self.events.push(format!("{ended:?}")),
        }
        consumed
    }

    /// What the client sends, and all that the server says to it.
    fn say(&mut self, text: &str) -> String {
        self.say_bytes(text.as_bytes())
    }

    fn say_bytes(&mut self, bytes: &[u8]) -> String {
        self.waiting.extend_from_slice(bytes);
        loop {
            let data = std::mem::take(&mut self.waiting);
            let events = self.events.len();
            let consumed = self.input(&Input::Received { stream: self.stream, data: &data });
            self.waiting = data[consumed..].to_vec();
            if self.events.len() == events {
                break;
            }
        }
        self.heard()
    }

    fn heard(&mut self) -> String {
        let mut text = String::new();
        while let Some(action) = self.out.poll_action() {
            if let Action::Write { stream } = action {
                let unsent = self.out.unsent(stream).len();
                text.push_str(std::str::from_utf8(self.out.unsent(stream)).unwrap());
                self.out.sent(stream, unsent);
            } else {
                self.actions.push(action);
            }
        }
        self.out.end_turn();
        text
    }

    fn scram(&mut self, password: &str) -> String {
        let bare = "n=juliet,r=abcdef";
        let first = BASE64.encode(format!("n,,{bare}"));
        let challenge = self
            .say(&format!("<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='SCRAM-SHA-256'>{first}</auth>"));
        let challenge = challenge.split('>').nth(1).unwrap_or_default().split('<').next().unwrap();
        let challenge = String::from_utf8(BASE64.decode(challenge).unwrap()).unwrap();
        let last = scram_answer(password, bare, &challenge);
        self.say(&format!("<response xmlns='urn:ietf:params:xml:ns:xmpp-sasl'>{}</response>", BASE64.encode(last)))
    }

    fn login() -> Self {
        let mut wire = Self::new(|_| {});
        wire.say(HEADER);
        assert!(wire.scram("secret").starts_with("<success"));
        wire.say(HEADER);
        let answer = wire.say(
            "<iq type='set' id='b1'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'><resource>Balcony</resource></bind></iq>",
        );
        assert!(answer.contains("<jid>juliet@xmpp.example/Balcony</jid>"), "{answer}");
        wire.events.clear();
        wire
    }
}

fn scram_answer(password: &str, bare: &str, challenge: &str) -> String {
    let hmac = |key: &[u8], text: &[u8]| {
        let mut mac = Hmac::<Sha256>::new_from_slice(key).unwrap();
        mac.update(text);
        mac.finalize().into_bytes()
    };
    let parts: Vec<&str> = challenge.split(',').collect();
    let salt = BASE64.decode(&parts[1][2..]).unwrap();
    let mut salted = [0; 32];
    pbkdf2::pbkdf2_hmac::<Sha256>(password.as_bytes(), &salt, parts[2][2..].parse().unwrap(), &mut salted);
    let key = hmac(&salted, b"Client Key");
    let without = format!("c=biws,{}", parts[0]);
    let signature = hmac(&Sha256::digest(key), format!("{bare},{challenge},{without}").as_bytes());
    let proof: Vec<u8> = key.iter().zip(signature).map(|(a, b)| a ^ b).collect();
    format!("{without},p={}", BASE64.encode(proof))
}

fn plain(user: &str, password: &str) -> String {
    let message = BASE64.encode(format!("\0{user}\0{password}"));
    format!("<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='PLAIN'>{message}</auth>")
}

#[test]
fn a_login_with_scram_and_stanzas() {
    let mut wire = Wire::new(|_| {});
    let greeting = wire.say(HEADER);
    assert!(greeting.starts_with("<?xml version='1.0'?><stream:stream xmlns='jabber:client'"), "{greeting}");
    assert!(greeting.contains(" from='xmpp.example'") && greeting.contains(" id='"));
    assert!(!greeting.contains(" to='"), "no `to` where the client gave no `from` (RFC 6120 4.7.2)");
    assert!(greeting.contains("<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>"));
    assert!(greeting.contains("<mechanism>SCRAM-SHA-256</mechanism><mechanism>SCRAM-SHA-1</mechanism></mechanisms>"));
    let success = wire.scram("secret");
    assert!(success.starts_with("<success xmlns='urn:ietf:params:xml:ns:xmpp-sasl'>dj1"), "{success}");
    let second = wire.say(HEADER);
    assert_ne!(greeting.split("id='").nth(1), second.split("id='").nth(1));
    assert!(second.ends_with(
        "<stream:features><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'/>\
         <session xmlns='urn:ietf:params:xml:ns:xmpp-session'><optional/></session></stream:features>"
    ));
    let bound = wire.say("<iq id='1' type='set'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'/></iq>");
    assert_eq!(
        bound,
        "<iq type='result' id='1'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'>\
         <jid>juliet@xmpp.example/made</jid></bind></iq>"
    );
    assert_eq!(wire.acceptor.poll_timeout(), None);
    wire.say(" <presence/>\n<message to='a@b'><body>x</body></message>");
    assert_eq!(wire.events, ["bind None", "<presence/>", "<message to='a@b'><body>x</body></message>"]);
    assert_eq!(wire.acceptor.namespaces().language(), Some("de"));
    assert_eq!(wire.say("</stream:stream>"), "</stream:stream>");
    assert_eq!(wire.events.last().unwrap(), "Closed");
    assert_eq!(wire.actions, [Action::Close { stream: wire.stream }]);
}

#[test]
fn the_same_login_octet_by_octet() {
    let mut wire = Wire::new(|settings| settings.plain_in_clear = true);
    let whole = format!(
        "{HEADER}{}{HEADER}<iq type='set' id='b'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'/></iq><presence/>",
        plain("juliet", "secret")
    );
    let mut answer = String::new();
    for octet in whole.bytes() {
        answer.push_str(&wire.say_bytes(&[octet]));
    }
    assert!(
        answer.contains("<success xmlns='urn:ietf:params:xml:ns:xmpp-sasl'/>") && answer.contains("<jid>"),
        "{answer}"
    );
    assert_eq!(wire.events, ["bind None", "<presence/>"]);
}

#[test]
fn starttls_and_plain_behind_it() {
    let mut wire = Wire::new(|settings| settings.tls = Tls::Required);
    let greeting = wire.say(HEADER);
    assert!(greeting.contains("<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'><required/></starttls>"));
    assert!(!greeting.contains("<mechanisms"));
    assert!(wire.say(&plain("juliet", "secret")).contains("<encryption-required/>"));
    // What comes behind <starttls/> in clear is thrown away, not taken for protected.
    let injected = format!("<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>{}", plain("juliet", "secret"));
    assert_eq!(wire.say(&injected), "<proceed xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>");
    assert_eq!(wire.actions, [Action::StartTls { stream: wire.stream }]);
    assert!(wire.waiting.is_empty());
    let stream = wire.stream;
    wire.input(&Input::Secured { stream });
    let features = wire.say(HEADER);
    assert!(!features.contains("<starttls") && features.contains("<mechanism>PLAIN</mechanism>"), "{features}");
    assert_eq!(wire.say(&plain("juliet", "secret")), "<success xmlns='urn:ietf:params:xml:ns:xmpp-sasl'/>");
}

#[test]
fn the_identity_of_a_protected_header_must_be_the_one_that_authenticates() {
    let mut wire = Wire::new(|_| {});
    wire.say(HEADER);
    wire.say("<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>");
    let stream = wire.stream;
    wire.input(&Input::Secured { stream });
    let answer = wire.say(&HEADER.replace(" to=", " from='romeo@xmpp.example/x' to="));
    assert!(answer.contains(" to='romeo@xmpp.example'>"), "{answer}");
    assert!(wire.say(&plain("juliet", "secret")).contains("<not-authorized/>"));
}

#[test]
fn plain_in_clear_is_refused_and_tries_are_counted() {
    let mut wire = Wire::new(|_| {});
    assert!(!wire.say(HEADER).contains("PLAIN"));
    let refused = "<failure xmlns='urn:ietf:params:xml:ns:xmpp-sasl'><encryption-required/></failure>";
    assert_eq!(wire.say(&plain("juliet", "secret")), refused);
    assert!(wire.scram("wrong").contains("<not-authorized/>"));
    let last = wire.scram("wrong");
    assert!(last.contains("<not-authorized/>") && last.contains("<policy-violation"), "{last}");
    assert!(last.ends_with("</stream:error></stream:stream>"));
    assert_eq!(wire.events, ["Error(PolicyViolation)"]);
    assert_eq!(wire.actions, [Action::Close { stream: wire.stream }]);
    assert_eq!(wire.say(&plain("juliet", "secret")), "", "nobody listens any more");
}

#[test]
fn failures_of_sasl() {
    let auth = |rest: &str| format!("<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' {rest}");
    for (sent, condition) in [
        (auth("mechanism='ANONYMOUS'/>"), "invalid-mechanism"),
        (auth("/>"), "invalid-mechanism"),
        (auth("mechanism='PLAIN'>a b</auth>"), "incorrect-encoding"),
        (auth("mechanism='PLAIN'>YWJj</auth>"), "malformed-request"),
        (auth("mechanism='SCRAM-SHA-1'>=</auth>"), "malformed-request"),
        ("<abort xmlns='urn:ietf:params:xml:ns:xmpp-sasl'/>".into(), "aborted"),
        ("<response xmlns='urn:ietf:params:xml:ns:xmpp-sasl'>YWJj</response>".into(), "malformed-request"),
        (plain("romeo", "secret"), "not-authorized"),
        (plain("juliet", "wrong"), "not-authorized"),
    ] {
        let mut wire = Wire::new(|settings| settings.plain_in_clear = true);
        wire.say(HEADER);
        let failure = format!("<failure xmlns='urn:ietf:params:xml:ns:xmpp-sasl'><{condition}/></failure>");
        assert_eq!(wire.say(&sent), failure, "{sent}");
        assert!(wire.scram("secret").starts_with("<success"), "another attempt is allowed after {condition}");
    }
}

#[test]
fn an_attempt_can_be_aborted_or_replaced() {
    let mut wire = Wire::new(|_| {});
    wire.say(HEADER);
    let empty = wire.say("<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='SCRAM-SHA-1'/>");
    assert_eq!(empty, "<challenge xmlns='urn:ietf:params:xml:ns:xmpp-sasl'/>");
    assert!(wire.say("<abort xmlns='urn:ietf:params:xml:ns:xmpp-sasl'/>").contains("<aborted/>"));
    wire.say("<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='SCRAM-SHA-1'/>");
    assert!(wire.scram("secret").starts_with("<success"));
    assert_eq!(wire.acceptor.user(), Some("juliet"));
    assert_eq!(Mechanism::parse("SCRAM-SHA-1"), Some(Mechanism::ScramSha1));
}

/// RFC 6120 4.8.2: a client that declares no default content namespace qualifies each element itself.
#[test]
fn a_client_that_declares_no_default_namespace() {
    for (header, end) in [
        ("<stream xmlns='http://etherx.jabber.org/streams' to='xmpp.example' version='1.0'>", "</stream>"),
        ("<s:stream xmlns:s='http://etherx.jabber.org/streams' to='xmpp.example' version='1.0'>", "</s:stream>"),
    ] {
        let mut wire = Wire::new(|_| {});
        assert!(wire.say(header).contains("<stream:features>"), "{header}");
        assert!(wire.scram("secret").starts_with("<success"));
        wire.say(header);
        let bind = "<iq xmlns='jabber:client' id='1' type='set'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'/></iq>";
        assert!(wire.say(bind).contains("<jid>juliet@xmpp.example/made</jid>"));
        wire.events.clear();
        let message = "<message xmlns='jabber:client' to='a@b'><body>x</body></message>";
        wire.say(message);
        assert_eq!(wire.events, [message]);
        wire.events.clear();
        wire.say(end);
        assert_eq!(wire.events, ["Closed"]);

        // What it does not qualify is no stanza.
        let mut wire = Wire::new(|_| {});
        wire.say(header);
        wire.scram("secret");
        wire.say(header);
        wire.say(bind);
        assert!(wire.say("<message to='a@b'/>").contains("<unsupported-stanza-type "));
    }
}

/// RFC 6120 4.9.1.2: the header of the server is sent even then.
#[test]
fn headers_that_end_the_stream() {
    let long = format!("<stream:stream to='{}'", "x".repeat(10_000));
    for (header, condition) in [
        (HEADER.replace("to='xmpp.example'", "to='other.example'"), "host-unknown"),
        (HEADER.replace(" version='1.0' xml", " xml"), "unsupported-version"),
        (HEADER.replace(" version='1.0' xml", " version='0.9' xml"), "unsupported-version"),
        (HEADER.replace("jabber:client", "jabber:server"), "invalid-namespace"),
        (HEADER.replace("http://etherx.jabber.org/streams", "http://wrong.example/"), "invalid-namespace"),
        (HEADER.replace("<stream:stream", "<stream:flow"), "bad-format"),
        (HEADER.replace("xmlns:stream", "xmlns:strom"), "not-well-formed"),
        (HEADER.replace("?><", "?><!DOCTYPE x><"), "restricted-xml"),
        ("GET / HTTP/1.1\r\n".into(), "bad-format"),
        ("<stream:stream to='a' to='b' xmlns='jabber:client' xmlns:stream='s'>".into(), "not-well-formed"),
        (long, "policy-violation"),
    ] {
        let mut wire = Wire::new(|_| {});
        let answer = wire.say(&header);
        assert!(answer.starts_with("<?xml version='1.0'?><stream:stream xmlns='jabber:client'"), "{header}\n{answer}");
        assert!(answer.contains(" from='xmpp.example'"));
        let error = format!("<stream:error><{condition} xmlns='urn:ietf:params:xml:ns:xmpp-streams'/>");
        assert!(answer.contains(&error) && answer.ends_with("</stream:error></stream:stream>"), "{header}\n{answer}");
        assert_eq!(wire.actions, [Action::Close { stream: wire.stream }]);
        assert_eq!(answer.matches("<stream:stream").count(), 1);
    }
    for header in [
        HEADER.replace("to='xmpp.example' ", ""),
        HEADER.replace("xmpp.example", "XMPP.Example."),
        HEADER.replace(" version='1.0' xml", " version='1.7' xml"),
        HEADER.replace("<?xml version='1.0'?>", "\n"),
    ] {
        let mut wire = Wire::new(|_| {});
        assert!(wire.say(&header).ends_with("</stream:features>"), "{header}");
    }
}

#[test]
fn stanzas_before_their_time_end_the_stream() {
    for stanza in ["<message to='a@b'/>", "<presence/>", "<iq type='get' id='1'><q xmlns='x'/></iq>", "<x xmlns='y'/>"]
    {
        let mut wire = Wire::new(|_| {});
        wire.say(HEADER);
        assert!(wire.say(stanza).contains("<not-authorized "), "{stanza}");
        assert_eq!(wire.events, ["Error(NotAuthorized)"]);
    }
    let mut wire = Wire::new(|_| {});
    wire.say(HEADER);
    wire.scram("secret");
    wire.say(HEADER);
    assert!(wire.say("<iq type='get' id='1'><q xmlns='x'/></iq>").contains("<not-authorized"));
    assert!(wire.events.is_empty(), "an iq is answered, the stream stays");
    let bad =
        "<iq type='set' id='2'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'><resource>&#x378;</resource></bind></iq>";
    assert!(wire.say(bad).contains("<bad-request"));
    assert!(wire.say("<message to='a@b'/>").contains("<not-authorized "));
    assert_eq!(wire.events, ["Error(NotAuthorized)"]);
}

#[test]
fn what_a_bound_client_must_not_send() {
    let deep = "<a>".repeat(65) + &"</a>".repeat(65);
    let long = format!("<message><body>{}</body></message>", "x".repeat(270_000));
    for (sent, condition) in [
        ("<message from='romeo@xmpp.example'/>", "invalid-from"),
        ("<message from='juliet@xmpp.example/other'/>", "invalid-from"),
        ("<message from='not an address@@'/>", "invalid-from"),
        ("<message><body></bod></message>", "not-well-formed"),
        ("<message><!-- x --></message>", "restricted-xml"),
        ("<message>&unknown;</message>", "restricted-xml"),
        ("<p:message/>", "not-well-formed"),
        ("<r xmlns='urn:xmpp:sm:3'/>", "unsupported-stanza-type"),
        ("<query/>", "unsupported-stanza-type"),
        ("<message xmlns='jabber:server'/>", "invalid-namespace"),
        ("<message xmlns='jabber:component:accept'/>", "invalid-namespace"),
        ("text", "bad-format"),
        (&deep, "policy-violation"),
        (&long, "policy-violation"),
    ] {
        let mut wire = Wire::login();
        let answer = wire.say(sent);
        let error = format!("<stream:error><{condition} xmlns='urn:ietf:params:xml:ns:xmpp-streams'/>");
        assert!(answer.starts_with(&error), "{condition}: {answer}");
        assert!(matches!(wire.events.as_slice(), [event] if event.starts_with("Error(")), "{:?}", wire.events);
    }
    for sent in ["<message from='juliet@xmpp.example'/>", "<message from='Juliet@XMPP.example/Balcony'/>"] {
        let mut wire = Wire::login();
        assert_eq!(wire.say(sent), "");
        assert_eq!(wire.events, [sent]);
    }
    let mut wire = Wire::login();
    assert!(wire.say_bytes(b"<message><body>\xff</body></message>").contains("<unsupported-encoding "));
}

#[test]
fn a_stranger_who_says_nothing_is_sent_away() {
    let mut wire = Wire::new(|_| {});
    let (deadline, _) = wire.acceptor.poll_timeout().unwrap();
    assert_eq!(deadline, wire.start + Duration::from_secs(30));
    let early = wire.acceptor.handle_timeout(deadline - Duration::from_millis(1), &mut wire.out);
    assert!(matches!(early, ClientEvent::None));
    let event = wire.acceptor.handle_timeout(deadline, &mut wire.out);
    assert!(matches!(event, ClientEvent::Ended(Ended::Error(StreamError::ConnectionTimeout))));
    let answer = wire.heard();
    assert!(answer.contains("<stream:stream") && answer.contains("<connection-timeout "), "{answer}");
    assert_eq!(wire.acceptor.poll_timeout(), None);
}

#[test]
fn our_end_of_the_stream_waits_for_theirs() {
    let mut wire = Wire::login();
    let now = wire.start;
    wire.acceptor.close(now, &mut wire.out);
    assert_eq!(wire.heard(), "</stream:stream>");
    assert!(wire.actions.is_empty());
    assert!(!wire.acceptor.deliver(&mut wire.out, |out| out.push(b' ')), "nothing follows the end");
    wire.say("<message/>");
    assert!(wire.events.is_empty());
    assert_eq!(wire.say("</stream:stream>"), "");
    assert_eq!(wire.events, ["Closed"]);

    let mut wire = Wire::login();
    wire.acceptor.close(now, &mut wire.out);
    let (deadline, _) = wire.acceptor.poll_timeout().unwrap();
    let event = wire.acceptor.handle_timeout(deadline, &mut wire.out);
    assert!(matches!(event, ClientEvent::Ended(Ended::Closed)));
    wire.heard();
    assert_eq!(wire.actions, [Action::Close { stream: wire.stream }]);
}

#[test]
fn a_client_that_does_not_read_is_cut_off() {
    let mut wire = Wire::login();
    let mut delivered = 0;
    while wire.acceptor.deliver(&mut wire.out, |out| out.extend_from_slice(&[b' '; 1 << 16])) {
        delivered += 1;
        assert!(delivered < 100);
    }
    assert!(wire.heard().ends_with("</stream:error></stream:stream>"));
    assert_eq!(wire.actions, [Action::Close { stream: wire.stream }]);
}

#[test]
fn a_lost_connection_is_told_once() {
    let mut wire = Wire::login();
    let stream = wire.stream;
    wire.input(&Input::Closed { stream, cause: CloseCause::Failed });
    wire.input(&Input::Closed { stream, cause: CloseCause::Failed });
    assert_eq!(wire.events, ["Lost"]);
}

proptest::proptest! {
    /// Whatever comes, in whatever pieces: no panic, and at most one end.
    #[test]
    fn anything_can_come(
        pieces in proptest::collection::vec(
            proptest::prop_oneof![
                proptest::strategy::Just(HEADER.to_owned()),
                proptest::strategy::Just("<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>".to_owned()),
                proptest::strategy::Just(plain("juliet", "secret")),
                proptest::strategy::Just("<iq type='set' id='b'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'/></iq>".to_owned()),
                proptest::strategy::Just("<message to='a@b'><body>x</body></message>".to_owned()),
                proptest::strategy::Just("</stream:stream>".to_owned()),
                "[<>/='a-z &;!?\\[\\]-]{0,12}",
                "\\PC{0,8}",
            ],
            0..12,
        )
    ) {
        let mut wire = Wire::new(|settings| settings.plain_in_clear = true);
        for piece in &pieces {
            wire.say(piece);
        }
        let ends = wire.events.iter().filter(|event| event.starts_with("Error(") || *event == "Closed").count();
        proptest::prop_assert!(ends <= 1, "{:?}", wire.events);
        proptest::prop_assert_eq!(wire.actions.iter().filter(|action| matches!(action, Action::Close { .. })).count(), ends);
    }
}
