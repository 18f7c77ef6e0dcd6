//! Streams of clients, from outside: what RFC 6120 asks of headers, STARTTLS and SASL beyond a login that works.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use std::sync::Arc;
use std::time::Instant;
use turn::{Action, Input, Minter, Output, StreamId};
use xmpp::jid::{same_bare_jid, same_jid};
use xmpp::sasl::{Accounts, Credentials};
use xmpp::stream::client::{ClientAcceptor, ClientEvent, ClientSettings, Tls};

const HEADER: &str = "<?xml version='1.0'?><stream:stream to='xmpp.example' version='1.0' xml:lang='de' \
     xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams'>";
const STARTTLS: &str = "<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>";

struct Users(Credentials);

impl Accounts for Users {
    fn credentials(&self, user: &str) -> Option<&Credentials> {
        (user == "juliet").then_some(&self.0)
    }
}

struct Wire {
    out: Output,
    minter: Minter,
    users: Users,
    acceptor: ClientAcceptor,
    stream: StreamId,
    waiting: Vec<u8>,
    actions: Vec<Action>,
    stanzas: usize,
}

impl Wire {
    #[allow(clippy::disallowed_methods, reason = "somewhere time has to begin")]
    fn new(change: impl FnOnce(&mut ClientSettings)) -> Self {
        let mut settings = ClientSettings::new("xmpp.example");
        settings.tls = Tls::Offered;
        settings.plain_in_clear = true;
        change(&mut settings);
        let mut out = Output::new();
        let stream = out.open();
        Self {
            acceptor: ClientAcceptor::accept(Arc::new(settings), stream, Instant::now()),
            out,
            minter: Minter::new([9; 16]),
            users: Users(Credentials::from_password("secret", b"salt", 16).expect("a password")),
            stream,
            waiting: Vec::new(),
            actions: Vec::new(),
            stanzas: 0,
        }
    }

    fn say(&mut self, text: &str) -> String {
        self.waiting.extend_from_slice(text.as_bytes());
        loop {
            let data = std::mem::take(&mut self.waiting);
            let input = Input::Received { stream: self.stream, data: &data };
            let (consumed, event) = self.acceptor.handle_input(&input, &self.users, &mut self.minter, &mut self.out);
            let more = match event {
                ClientEvent::Bind { resource } => {
                    self.acceptor.bind(resource.as_deref().unwrap_or("made"), &mut self.out);
                    true
                }
                ClientEvent::Stanza(_) => {
                    self.stanzas += 1;
                    true
                }
                ClientEvent::Ended(_) | ClientEvent::None => false,
            };
            self.waiting = data[consumed..].to_vec();
            if !more {
                return self.heard();
            }
        }
    }

    fn heard(&mut self) -> String {
        let mut text = String::new();
        while let Some(action) = self.out.poll_action() {
            if let Action::Write { stream } = action {
                let unsent = self.out.unsent(stream).to_vec();
                text.push_str(std::str::from_utf8(&unsent).expect("UTF-8"));
                self.out.sent(stream, unsent.len());
            } else {
                self.actions.push(action);
            }
        }
        self.out.end_turn();
        text
    }

    fn login(change: impl FnOnce(&mut ClientSettings)) -> Self {
        let mut wire = Self::new(change);
        wire.say(HEADER);
        assert!(wire.say(&plain("juliet")).starts_with("<success"));
        wire.say(HEADER);
        let bound = wire.say("<iq type='set' id='b'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'/></iq>");
        assert!(bound.contains("<jid>"), "{bound}");
        wire
    }
}

fn plain(user: &str) -> String {
    auth(&BASE64.encode(format!("\0{user}\0secret")))
}

fn auth(message: &str) -> String {
    format!("<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='PLAIN'>{message}</auth>")
}

#[test]
fn a_header_is_answered_in_our_language_and_with_an_id_of_our_own() {
    let mut wire = Wire::new(|_| {});
    let answer = wire.say(&HEADER.replace(" version=", " id='mine' version="));
    assert!(answer.contains(" xml:lang='en'") && !answer.contains("mine"), "{answer}");
    assert!(!answer.contains("<bind"), "not before the login: {answer}");
    // Another prefix for the stream is only another prefix.
    let mut wire = Wire::new(|_| {});
    let answer = wire.say(&HEADER.replace("stream:stream", "s:stream").replace("xmlns:stream", "xmlns:s"));
    assert!(answer.contains("<stream:stream ") && answer.ends_with("</stream:features>"), "{answer}");
}

#[test]
fn starttls_where_there_is_none_ends_the_stream() {
    let mut wire = Wire::new(|settings| settings.tls = Tls::Absent);
    assert!(!wire.say(HEADER).contains("starttls"));
    assert_eq!(wire.say(STARTTLS), "<failure xmlns='urn:ietf:params:xml:ns:xmpp-tls'/></stream:stream>");
    assert_eq!(wire.actions, [Action::Close { stream: wire.stream }]);
}

#[test]
fn nothing_is_written_between_proceed_and_the_end_of_the_handshake() {
    let mut wire = Wire::new(|_| {});
    wire.say(HEADER);
    assert_eq!(wire.say(STARTTLS), "<proceed xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>");
    assert_eq!(wire.say(&format!("{HEADER}<message/>&&&")), "");
    assert!(!wire.acceptor.deliver(&mut wire.out, |out| out.push(b' ')));
    let (deadline, _) = wire.acceptor.poll_timeout().expect("a deadline");
    assert!(matches!(wire.acceptor.handle_timeout(deadline, &mut wire.out), ClientEvent::Ended(_)));
    assert_eq!(wire.heard(), "", "an error in clear would break the handshake");
    assert!(wire.actions.contains(&Action::Close { stream: wire.stream }));
}

/// RFC 6120 13.9.1 and 6.3.5: base64 is taken strictly.
#[test]
fn base64_that_is_none_is_refused() {
    let refused = "<failure xmlns='urn:ietf:params:xml:ns:xmpp-sasl'><incorrect-encoding/></failure>";
    for message in
        ["AGp1bGlldABzZWNyZXQ", "AGp1\nbGlldABzZWNyZXQ=", "AGp1*GlldABzZWNyZXQ=", "A=p1bGlldABzZWNyZXQ=", "YWJ="]
    {
        let mut wire = Wire::new(|_| {});
        wire.say(HEADER);
        assert_eq!(wire.say(&auth(message)), refused, "{message}");
    }
    let mut wire = Wire::new(|_| {});
    wire.say(HEADER);
    assert!(wire.say(&auth("AGp1bGlldABzZWNyZXQ=")).starts_with("<success"));
}

/// RFC 6120 4.9.3.14: the policy is named.
#[test]
fn a_violated_policy_is_named() {
    let mut wire = Wire::login(|settings| settings.limits.stanza = 20_000);
    assert_eq!(wire.say(&format!("<message><body>{}</body></message>", "x".repeat(19_000))), "");
    assert_eq!(wire.stanzas, 1);
    let answer = wire.say(&format!("<message><body>{}</body></message>", "x".repeat(21_000)));
    let text = "<policy-violation xmlns='urn:ietf:params:xml:ns:xmpp-streams'/>\
                <text xmlns='urn:ietf:params:xml:ns:xmpp-streams' xml:lang='en'>too long</text>";
    assert!(answer.contains(text), "{answer}");
    let mut wire = Wire::new(|settings| settings.tries = 2);
    wire.say(HEADER);
    wire.say(&plain("nobody"));
    let answer = wire.say(&plain("nobody"));
    assert!(answer.contains("<policy-violation ") && answer.contains(">too many attempts</text>"), "{answer}");
}

/// XEP-0106 section 4.1: what looks alike when unescaped is not the same.
#[test]
fn addresses_are_compared_as_they_are_escaped() {
    assert!(same_jid(r"a\2Fb@xmpp.example", r"a\2fb@xmpp.example"));
    assert!(!same_bare_jid(r"\5c20x@xmpp.example", r"\20x@xmpp.example"));
    assert!(!same_jid(r"a\5c40b@xmpp.example", r"a\40b@xmpp.example"));
}
