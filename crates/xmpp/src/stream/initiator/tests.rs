use super::*;
use crate::sasl::{Accounts, Credentials, ITERATIONS};
use crate::stream::client::{ClientAcceptor, ClientEvent, ClientSettings, Tls};
use std::sync::Arc;
use turn::Action;

/// The client's end of a connection.
struct End {
    client: ClientInitiator,
    out: Output,
    start: Instant,
    waiting: Vec<u8>,
    events: Vec<String>,
}

impl End {
    fn new() -> Self {
        let mut out = Output::new();
        #[allow(clippy::disallowed_methods)]
        let start = Instant::now();
        let settings = InitiatorSettings {
            resource: Some("orchard".into()),
            ..InitiatorSettings::new("romeo", "xmpp.example", "pw")
        };
        let client = ClientInitiator::connect(settings, Target::Configured(0), Minter::new([3; 16]), start, &mut out);
        let mut end = Self { client, out, start, waiting: Vec::new(), events: Vec::new() };
        let stream = end.client.stream();
        assert_eq!(end.out.poll_action(), Some(Action::Connect { stream, target: Target::Configured(0) }));
        let peer = ([127, 0, 0, 1], 5222).into();
        end.input(&Input::Connected { stream, peer });
        end
    }

    fn input(&mut self, input: &Input<'_>) -> usize {
        let (consumed, event) = self.client.handle_input(input, &mut self.out);
        match event {
            InitiatorEvent::None => {}
            InitiatorEvent::Bound => self.events.push(format!("bound {}", self.client.address())),
            InitiatorEvent::Stanza(stanza) => self.events.push(String::from_utf8_lossy(stanza.raw()).into_owned()),
            InitiatorEvent::Ended(over) => self.events.push(over.to_string()),
        }
        consumed
    }

    /// What the server says, and all that the client answers.
    fn hear(&mut self, text: &str) -> String {
        self.waiting.extend_from_slice(text.as_bytes());
        loop {
            let data = std::mem::take(&mut self.waiting);
            let events = self.events.len();
            let consumed = self.input(&Input::Received { stream: self.client.stream(), data: &data });
            self.waiting = data[consumed..].to_vec();
            if self.events.len() == events {
                return self.says();
            }
        }
    }

    fn says(&mut self) -> String {
        let mut text = String::new();
        while let Some(action) = self.out.poll_action() {
            if let Action::Write { stream } = action {
                text.push_str(std::str::from_utf8(self.out.unsent(stream)).unwrap());
                let length = self.out.unsent(stream).len();
                self.out.sent(stream, length);
            }
        }
        self.out.end_turn();
        text
    }
}

const HEADER: &str = "<?xml version='1.0'?><stream:stream from='xmpp.example' id='1' version='1.0' \
     xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams'>";
const MECHANISMS: &str = "<stream:features><mechanisms xmlns='urn:ietf:params:xml:ns:xmpp-sasl'>\
     <mechanism>PLAIN</mechanism><mechanism>SCRAM-SHA-1</mechanism></mechanisms></stream:features>";

struct One(Credentials);

impl Accounts for One {
    fn credentials(&self, user: &str) -> Option<&Credentials> {
        (user == "romeo").then_some(&self.0)
    }
}

/// Lets the client talk with our own accepting side, whose password is `password`.
fn talk(password: &str, tls: Tls) -> (End, Vec<String>) {
    let mut end = End::new();
    let accounts = One(Credentials::from_password(password, b"0123456789abcdef", ITERATIONS).unwrap());
    let mut settings = ClientSettings::new("xmpp.example");
    settings.tls = tls;
    let (mut out, mut minter) = (Output::new(), Minter::new([4; 16]));
    let stream = out.open();
    let mut server = ClientAcceptor::accept(Arc::new(settings), stream, end.start);
    let mut heard = Vec::new();
    let mut said = end.says();
    while !said.is_empty() {
        let mut data = said.as_bytes();
        loop {
            let (consumed, event) =
                server.handle_input(&Input::Received { stream, data }, &accounts, &mut minter, &mut out);
            data = &data[consumed..];
            match event {
                ClientEvent::None => break,
                ClientEvent::Bind { resource } => server.bind(&resource.unwrap(), &mut out),
                ClientEvent::Stanza(stanza) => heard.push(String::from_utf8_lossy(stanza.raw()).into_owned()),
                ClientEvent::Ended(ended) => heard.push(format!("{ended:?}")),
            }
        }
        assert!(data.is_empty(), "the client says whole elements");
        let answer = String::from_utf8(out.unsent(stream).to_vec()).unwrap();
        out.sent(stream, answer.len());
        said = end.hear(&answer);
    }
    (end, heard)
}

#[test]
fn logs_in_at_our_own_accepting_side() {
    let (end, heard) = talk("pw", Tls::Offered);
    assert_eq!(end.events, ["bound romeo@xmpp.example/orchard"]);
    assert!(end.client.is_bound() && end.client.poll_timeout().is_none());
    assert!(heard.is_empty(), "{heard:?}");
}

#[test]
fn a_wrong_password_and_a_server_that_demands_encryption_are_told() {
    let (end, heard) = talk("another", Tls::Offered);
    assert_eq!(end.events, ["the server refused the login: not-authorized"]);
    assert_eq!(heard, ["Closed"]);
    let (end, _) = talk("pw", Tls::Required);
    assert_eq!(end.events, ["the server demands encryption"]);
}

#[test]
fn takes_the_strongest_mechanism_that_keeps_the_password_and_no_success_for_nothing() {
    let mut end = End::new();
    assert!(end.says().ends_with("to='xmpp.example' version='1.0'>"));
    let auth = end.hear(&format!("{HEADER}{MECHANISMS}"));
    assert!(auth.starts_with("<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='SCRAM-SHA-1'>"), "{auth}");
    let end_of_stream = end.hear("<success xmlns='urn:ietf:params:xml:ns:xmpp-sasl'/>");
    assert_eq!(end_of_stream, "</stream:stream>");
    assert_eq!(end.events, ["the server's signature is wrong"]);
}

#[test]
fn what_a_server_may_say_instead() {
    let tls =
        "<stream:features><starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'><required/></starttls></stream:features>";
    let plain = MECHANISMS.replace("<mechanism>SCRAM-SHA-1</mechanism>", "");
    let host =
        "<stream:error><host-unknown xmlns='urn:ietf:params:xml:ns:xmpp-streams'/></stream:error></stream:stream>";
    for (said, expected) in [
        (tls, "the server demands encryption"),
        (&plain, "the server does not offer SCRAM"),
        (host, "the server ended the stream: host-unknown"),
        ("</stream:stream>", "the stream was closed"),
        (
            "<message><body>too early</body></message>",
            "the server's stream is not as it must be: unsupported-stanza-type",
        ),
        ("<a></b>", "the server's stream is not as it must be: not-well-formed"),
    ] {
        let mut end = End::new();
        end.hear(&format!("{HEADER}{said}"));
        assert_eq!(end.events, [expected], "{said}");
        assert!(end.client.poll_timeout().is_none());
    }
    let mut end = End::new();
    end.hear("<stream:stream xmlns='jabber:server' xmlns:stream='http://etherx.jabber.org/streams'>");
    assert_eq!(end.events, ["the server's stream is not as it must be: invalid-namespace"]);
}

#[test]
fn a_server_that_is_silent_or_gone() {
    let mut end = End::new();
    let (deadline, _) = end.client.poll_timeout().unwrap();
    assert!(matches!(end.client.handle_timeout(end.start, &mut end.out), InitiatorEvent::None));
    let event = end.client.handle_timeout(deadline, &mut end.out);
    assert!(matches!(event, InitiatorEvent::Ended(Over::TimedOut)), "{event:?}");
    let stream = end.client.stream();
    end.input(&Input::Closed { stream, cause: CloseCause::Ours });
    assert!(end.events.is_empty(), "told once");

    let mut end = End::new();
    end.input(&Input::Closed { stream: end.client.stream(), cause: CloseCause::Refused });
    assert_eq!(end.events, ["the connection could not be made"]);
}

#[test]
fn octet_by_octet_and_without_a_resource() {
    let (mut end, _) = talk("pw", Tls::Absent);
    for octet in "<message from='a@b'><body>&lt;é</body></message>  <presence/>".bytes() {
        end.waiting.push(octet);
        let data = std::mem::take(&mut end.waiting);
        let consumed = end.input(&Input::Received { stream: end.client.stream(), data: &data });
        end.waiting = data[consumed..].to_vec();
    }
    assert_eq!(end.events[1..], ["<message from='a@b'><body>&lt;é</body></message>", "<presence/>"]);
    end.client.close(&mut end.out);
    assert_eq!(end.says(), "</stream:stream>");
    end.input(&Input::Closed { stream: end.client.stream(), cause: CloseCause::Ours });
    assert_eq!(end.events.last().map(String::as_str), Some("the stream was closed"));
}
