//! A small town: users register, write to each other and to strangers, and are written to.

use super::*;
use sip::auth::{Account, Challenge, Covered, Secret, answer};
use std::collections::BTreeMap;
use std::time::Duration;
use turn::{Action, CloseCause};

const UDP: SocketId = SocketId(0);
const TCP: SocketId = SocketId(1);

fn address(port: u16) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], port))
}

/// The gateway, as far as the domain knows.
fn gateway() -> SocketAddr {
    address(5099)
}

struct Town {
    domain: SipDomain,
    start: Instant,
    at: Duration,
    next: u32,
    /// Unconsumed bytes of streams, and what was written to them.
    unread: BTreeMap<StreamId, Vec<u8>>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Sent {
    To(SocketAddr, String),
    Over(StreamId, String),
    Closed(StreamId),
}

impl Sent {
    fn text(&self) -> &str {
        match self {
            Sent::To(_, text) | Sent::Over(_, text) => text,
            Sent::Closed(_) => "",
        }
    }
    fn status(&self) -> u16 {
        self.text().strip_prefix("SIP/2.0 ").and_then(|rest| rest.get(..3)?.parse().ok()).unwrap_or(0)
    }
    fn headers(&self, name: &str) -> Vec<&str> {
        let lines = self.text().split("\r\n");
        lines.filter_map(|line| line.strip_prefix(name)?.strip_prefix(": ")).collect()
    }
    /// The response of whoever got this request.
    fn response(&self, status: u16) -> String {
        let copied: String = ["Via", "From", "To", "Call-ID", "CSeq"]
            .iter()
            .flat_map(|name| self.headers(name).into_iter().map(move |value| format!("{name}: {value}\r\n")))
            .collect();
        format!("SIP/2.0 {status} Said So\r\n{copied}X-Said: yes\r\nContent-Length: 0\r\n\r\n")
    }
}

/// A request of a user.
#[derive(Clone)]
struct Ask<'a> {
    method: &'a str,
    uri: &'a str,
    from: &'a str,
    to: &'a str,
    lines: String,
    transport: &'a str,
}

fn message<'a>(from: &'a str, to: &'a str) -> Ask<'a> {
    Ask { method: "MESSAGE", uri: to, from, to, lines: String::new(), transport: "UDP" }
}

fn register<'a>(user: &'a str, contact: &str) -> Ask<'a> {
    let lines = format!("Contact: {contact}\r\n");
    Ask { method: "REGISTER", uri: "sip:sip.example", from: user, to: user, lines, transport: "UDP" }
}

impl Town {
    #[allow(clippy::disallowed_methods)]
    fn new() -> Self {
        let mut settings = Settings::new("sip.example", "127.0.0.1:5060");
        settings.datagrams = vec![UDP];
        settings.listeners = vec![TCP];
        settings.next_hop = Some(gateway());
        settings.streams = 2;
        let start = Instant::now();
        let mut domain = SipDomain::new(settings, Minter::new([5; 16]), (start, 1_700_000_000));
        domain.add_user("juliet", "balcony").unwrap();
        domain.add_user("o'romeo m", "rose").unwrap();
        Self { domain, start, at: Duration::ZERO, next: 0, unread: BTreeMap::new() }
    }

    fn print(&mut self, ask: &Ask<'_>) -> String {
        self.next += 1;
        let n = self.next;
        let Ask { method, uri, from, to, lines, transport } = ask;
        let (kind, body) = if *method == "MESSAGE" { ("Content-Type: text/plain\r\n", "hello") } else { ("", "") };
        format!(
            "{method} {uri} SIP/2.0\r\nVia: SIP/2.0/{transport} 127.0.0.1:1;rport;branch=z9hG4bK{n}\r\nMax-Forwards: 70\r\n\
             From: <{from}>;tag=f{n}\r\nTo: <{to}>\r\nCall-ID: c{n}\r\nCSeq: {n} {method}\r\n{lines}{kind}\
             Content-Length: {}\r\n\r\n{body}",
            body.len()
        )
    }

    fn receive(&mut self, peer: SocketAddr, text: &str) -> Vec<Sent> {
        let now = self.start + self.at;
        self.domain.handle_input(now, Input::Datagram { socket: UDP, peer, bytes: text.as_bytes() });
        self.turn()
    }

    fn stream(&mut self, port: u16) -> StreamId {
        let stream = self.domain.output().open();
        let now = self.start + self.at;
        self.domain.handle_input(now, Input::Accepted { stream, listener: TCP, peer: address(port) });
        stream
    }

    fn read(&mut self, stream: StreamId, text: &str) -> Vec<Sent> {
        let data = self.unread.entry(stream).or_default();
        data.extend_from_slice(text.as_bytes());
        let now = self.start + self.at;
        let consumed = self.domain.handle_input(now, Input::Received { stream, data });
        data.drain(..consumed);
        self.turn()
    }

    fn close(&mut self, stream: StreamId) -> Vec<Sent> {
        let now = self.start + self.at;
        self.domain.handle_input(now, Input::Closed { stream, cause: CloseCause::Peer });
        self.domain.output().forget(stream);
        self.turn()
    }

    fn turn(&mut self) -> Vec<Sent> {
        let now = self.start + self.at;
        self.domain.handle_timeout(now);
        let output = self.domain.output();
        let mut sent = Vec::new();
        while let Some(action) = output.poll_action() {
            match action {
                Action::SendDatagram { socket, peer, bytes } => {
                    assert_eq!(socket, UDP);
                    sent.push(Sent::To(peer, String::from_utf8(output.datagram(&bytes).to_vec()).unwrap()));
                }
                Action::Write { stream } => {
                    let text = String::from_utf8(output.unsent(stream).to_vec()).unwrap();
                    output.sent(stream, text.len());
                    sent.push(Sent::Over(stream, text));
                }
                Action::Close { stream } => sent.push(Sent::Closed(stream)),
                other => panic!("{other:?}"),
            }
        }
        output.end_turn();
        sent
    }

    fn wait(&mut self, seconds: u64) -> Vec<Sent> {
        let end = self.at + Duration::from_secs(seconds);
        let mut sent = Vec::new();
        while let Some((due, _)) = self.domain.poll_timeout() {
            let due = due.saturating_duration_since(self.start);
            if due > end {
                break;
            }
            self.at = due.max(self.at + Duration::from_millis(1));
            sent.extend(self.turn());
        }
        self.at = end;
        sent
    }

    /// Sends a request, is asked for the password, and sends it again with the answer to the challenge.
    fn ask(&mut self, port: u16, ask: &Ask<'_>, user: &str, password: &str, algorithm: usize) -> Vec<Sent> {
        let first = self.print(ask);
        let sent = self.receive(address(port), &first);
        let again = self.with_credentials(&sent, ask, user, password, algorithm);
        self.receive(address(port), &again)
    }

    fn with_credentials(
        &mut self,
        sent: &[Sent],
        ask: &Ask<'_>,
        user: &str,
        password: &str,
        algorithm: usize,
    ) -> String {
        let [challenge] = sent else { panic!("{sent:#?}") };
        let (name, field) = match challenge.status() {
            401 => ("WWW-Authenticate", "Authorization"),
            407 => ("Proxy-Authenticate", "Proxy-Authorization"),
            _ => panic!("{challenge:#?}"),
        };
        let challenges = challenge.headers(name);
        assert_eq!(challenges.len(), 2, "one for each algorithm");
        let challenge = Challenge::parse(challenges[algorithm].as_bytes()).unwrap();
        let account = Account { username: user.as_bytes(), secret: Secret::Password(password.as_bytes()) };
        let method = Method::from_bytes(ask.method.as_bytes());
        let covered = Covered { method, uri: ask.uri.as_bytes(), body: b"" };
        let mut credentials = Vec::new();
        answer(&challenge, &account, &covered, 1, b"cnonce", &mut credentials).unwrap();
        let credentials = String::from_utf8(credentials).unwrap();
        self.print(&Ask { lines: format!("{}{field}: {credentials}\r\n", ask.lines), ..ask.clone() })
    }

    fn register(&mut self, port: u16, contact: &str) {
        let sent = self.ask(port, &register("sip:juliet@sip.example", contact), "juliet", "balcony", 0);
        assert_eq!(sent[0].status(), 200, "{sent:#?}");
    }
}

fn statuses(sent: &[Sent]) -> Vec<u16> {
    sent.iter().map(Sent::status).collect()
}

const JULIET: &str = "sip:juliet@sip.example";
const STRANGER: &str = "sip:mercutio@xmpp.example";

#[test]
fn a_user_registers_with_either_algorithm() {
    for algorithm in [0, 1] {
        let mut town = Town::new();
        let sent = town.ask(6000, &register(JULIET, "<sip:j@127.0.0.1:6000>"), "juliet", "balcony", algorithm);
        let [Sent::To(to, _)] = &sent[..] else { panic!("{sent:#?}") };
        assert_eq!((*to, sent[0].status()), (address(6000), 200));
        assert_eq!(sent[0].headers("Contact"), ["<sip:j@127.0.0.1:6000>;expires=3600"]);
        assert!(town.domain.is_registered("juliet"));
        town.wait(3600);
        assert!(!town.domain.is_registered("juliet"));
        assert_eq!(town.domain.poll_timeout(), None);
    }
}

#[test]
fn a_client_that_knows_md5_only_is_asked_for_nothing_else() {
    let mut town = Town::new();
    town.domain.settings.md5_only = vec!["oldphone v1.".into()];
    for (agent, expected) in [("oldphone v1.2", &["MD5"][..]), ("oldphone v2.0", &["SHA-256", "MD5"])] {
        let mut ask = register("sip:juliet@sip.example", "<sip:juliet@127.0.0.1:7001>");
        ask.lines.push_str(&format!("User-Agent: {agent}\r\n"));
        let text = town.print(&ask);
        let sent = town.receive(address(7001), &text);
        let challenges = sent[0].headers("WWW-Authenticate");
        assert_eq!(challenges.len(), expected.len(), "{agent}: {challenges:?}");
        for (challenge, algorithm) in challenges.iter().zip(expected) {
            assert!(challenge.contains(&format!("algorithm={algorithm},")), "{agent}: {challenge}");
        }
    }
}

#[test]
fn who_cannot_prove_it_does_not_register() {
    let mut town = Town::new();
    let contact = "<sip:j@127.0.0.1:6000>";
    let romeo = "sip:o'romeo%20m@sip.example";
    let cases = [
        (JULIET, "juliet", "wrong", 401),
        (JULIET, "nobody", "balcony", 401),
        (JULIET, "o'romeo m", "rose", 403),
        ("sip:nobody@sip.example", "juliet", "balcony", 404),
        ("sip:juliet@other.example", "juliet", "balcony", 404),
        (romeo, "o'romeo m", "rose", 200),
    ];
    for (to, user, password, status) in cases {
        let sent = town.ask(6000, &register(to, contact), user, password, 0);
        assert_eq!(statuses(&sent), [status], "{to} {user}");
    }
    assert!(!town.domain.is_registered("juliet"));
    assert!(town.domain.is_registered("o'romeo m"));
    let elsewhere = Ask { uri: "sip:other.example", ..register(JULIET, contact) };
    let text = town.print(&elsewhere);
    assert_eq!(statuses(&town.receive(address(6000), &text)), [403]);
    let unheard = Ask { uri: "gopher:sip.example", ..register(JULIET, contact) };
    let text = town.print(&unheard);
    assert_eq!(statuses(&town.receive(address(6000), &text)), [416]);
    let garbage = Ask { lines: "Authorization: Digest\r\n".into(), ..register(JULIET, contact) };
    let text = town.print(&garbage);
    assert_eq!(statuses(&town.receive(address(6000), &text)), [400]);
}

/// RFC 3261 sections 7.3.1 and 22.3: each line is one value, commas or not, and only those for our realm concern us.
#[test]
fn credentials_for_other_realms_concern_others() {
    let mut town = Town::new();
    let ask = register(JULIET, "<sip:j@127.0.0.1:6000>");
    let foreign = "Authorization: Digest  username=\"juliet\", realm=\"elsewhere.example\", nonce=\"n, m\", \
                   uri=\"sip:elsewhere.example\", response=\"x\"\r\n";
    for others in [foreign, "Authorization: Bearer abc\r\n", "Authorization: Basic anVsaWV0Og==\r\n"] {
        let ask = Ask { lines: format!("{}{others}", ask.lines), ..ask.clone() };
        let text = town.print(&ask);
        let challenge = town.receive(address(6000), &text);
        assert_eq!(statuses(&challenge), [401], "they prove nothing here: {others}");
        let text = town.with_credentials(&challenge, &ask, "juliet", "balcony", 0);
        assert_eq!(statuses(&town.receive(address(6000), &text)), [200], "and are in nobody's way: {others}");
    }
    let first = town.print(&ask);
    let challenge = town.receive(address(6000), &first);
    let text = town.with_credentials(&challenge, &ask, "juliet", "balcony", 0);
    let joined = text.replace("Authorization: ", &format!("{}, ", foreign.trim_end()));
    assert_eq!(statuses(&town.receive(address(6000), &joined)), [400], "one line is one value");
}

/// libpurple 2.14.12 answers a challenge with the CSeq and the branch of what was challenged.
#[test]
fn credentials_may_come_under_the_same_branch() {
    let mut town = Town::new();
    town.register(6009, "<sip:j@127.0.0.1:6009>");
    let ask = message(JULIET, STRANGER);
    let first = town.print(&ask);
    for stream in [None, Some(town.stream(6000))] {
        let first = match stream {
            Some(_) => first.replace("SIP/2.0/UDP", "SIP/2.0/TCP"),
            None => first.clone(),
        };
        let challenge = match stream {
            Some(stream) => town.read(stream, &first),
            None => town.receive(address(6000), &first),
        };
        assert_eq!(statuses(&challenge), [407]);
        let again = town.with_credentials(&challenge, &ask, "juliet", "balcony", 1);
        let credentials = again.split("\r\n").find(|line| line.starts_with("Proxy-Authorization: ")).unwrap();
        let again = first.replace("Content-Type", &format!("{credentials}\r\nContent-Type"));
        let sent = match stream {
            Some(stream) => town.read(stream, &again),
            None => town.receive(address(6000), &again),
        };
        assert!(matches!(&sent[..], [Sent::To(to, _)] if *to == gateway()), "{sent:#?}");
        assert_eq!(statuses(&town.receive(gateway(), &sent[0].response(202))), [202]);
        if stream.is_none() {
            assert_eq!(statuses(&town.receive(address(6000), &first)), [407], "and each keeps its answer");
            assert_eq!(statuses(&town.receive(address(6000), &again)), [202]);
        }
    }
}

#[test]
fn credentials_are_good_once() {
    let mut town = Town::new();
    let ask = register(JULIET, "<sip:j@127.0.0.1:6000>");
    let first = town.print(&ask);
    let challenge = town.receive(address(6000), &first);
    let text = town.with_credentials(&challenge, &ask, "juliet", "balcony", 0);
    assert_eq!(statuses(&town.receive(address(6000), &text)), [200]);
    let replay = text.replace("Call-ID: c", "Call-ID: d");
    let sent = town.receive(address(6001), &replay);
    assert_eq!(statuses(&sent), [401]);
    assert!(sent[0].headers("WWW-Authenticate")[0].contains("stale=true"));
}

#[test]
fn a_brief_registration_is_told_the_least() {
    let mut town = Town::new();
    let sent = town.ask(6000, &register(JULIET, "<sip:j@h>;expires=5"), "juliet", "balcony", 0);
    assert_eq!((sent[0].status(), sent[0].headers("Min-Expires")), (423, vec!["60"]));
}

#[test]
fn the_next_hop_reaches_a_user() {
    let mut town = Town::new();
    let text = town.print(&message(STRANGER, JULIET));
    assert_eq!(statuses(&town.receive(gateway(), &text)), [480], "not yet");
    let text = town.print(&message(STRANGER, "sip:nobody@sip.example"));
    assert_eq!(statuses(&town.receive(gateway(), &text)), [404]);

    town.register(6000, "<sip:j@127.0.0.1:6007;line=x>");
    let text = town.print(&message(STRANGER, JULIET));
    let sent = town.receive(gateway(), &text);
    let [Sent::To(to, copy)] = &sent[..] else { panic!("{sent:#?}") };
    assert_eq!(*to, address(6007));
    assert!(copy.starts_with("MESSAGE sip:j@127.0.0.1:6007;line=x SIP/2.0\r\nVia: SIP/2.0/UDP 127.0.0.1:5060;"));
    assert_eq!(sent[0].headers("Via").len(), 2);
    assert_eq!(sent[0].headers("Max-Forwards"), ["69"]);
    assert!(copy.ends_with("\r\n\r\nhello"));
    assert!(town.receive(gateway(), &text).is_empty(), "a retransmission goes no further");

    let sent = town.receive(address(6007), &sent[0].response(200));
    let [Sent::To(to, back)] = &sent[..] else { panic!("{sent:#?}") };
    assert_eq!(*to, gateway());
    assert!(back.starts_with("SIP/2.0 200 Said So\r\n") && back.contains("X-Said: yes"));
    assert_eq!(sent[0].headers("Via").len(), 1, "ours is off");
    assert_eq!(town.receive(gateway(), &text), sent, "the same answer again");
    town.wait(40);
    assert!(town.domain.is_quiet() && town.domain.passed.is_empty());
}

#[test]
fn a_user_writes_to_a_stranger_and_to_a_neighbour() {
    let mut town = Town::new();
    let sent = town.ask(6000, &message(JULIET, STRANGER), "juliet", "balcony", 1);
    let [Sent::To(to, copy)] = &sent[..] else { panic!("{sent:#?}") };
    assert_eq!(*to, gateway());
    assert!(copy.starts_with("MESSAGE sip:mercutio@xmpp.example SIP/2.0\r\n"));
    assert!(!copy.contains("Proxy-Authorization"), "credentials for us go no further");
    let sent = town.receive(gateway(), &sent[0].response(404));
    assert_eq!(statuses(&sent), [404]);

    let sent =
        town.ask(6000, &register("sip:o'romeo%20m@sip.example", "<sip:r@127.0.0.1:6009>"), "o'romeo m", "rose", 0);
    assert_eq!(statuses(&sent), [200]);
    let sent = town.ask(6000, &message(JULIET, "sip:o'romeo%20m@sip.example"), "juliet", "balcony", 0);
    assert!(matches!(&sent[..], [Sent::To(to, _)] if *to == address(6009)), "{sent:#?}");
}

#[test]
fn what_nobody_may_send() {
    let mut town = Town::new();
    town.register(6000, "<sip:j@127.0.0.1:6000>");
    let cases = [
        ("a stranger who is not behind the next hop", 7000, message(STRANGER, JULIET), 403),
        ("the next hop through us to others", 5099, message(STRANGER, "sip:a@third.example"), 403),
        ("the next hop in the name of a user", 5099, message(JULIET, JULIET), 407),
        ("a user without a password", 6000, message(JULIET, STRANGER), 407),
        ("an unsupported scheme", 5099, Ask { uri: "im:juliet@sip.example", ..message(STRANGER, JULIET) }, 416),
        ("INVITE", 5099, Ask { method: "INVITE", ..message(STRANGER, JULIET) }, 405),
        (
            "what only a proxy must know",
            5099,
            Ask { lines: "Proxy-Require: a, b\r\n".into(), ..message(STRANGER, JULIET) },
            420,
        ),
        ("a message to nobody", 5099, message(STRANGER, "sip:sip.example"), 404),
    ];
    for (name, port, ask, status) in cases {
        let text = town.print(&ask);
        let sent = town.receive(address(port), &text);
        assert_eq!(statuses(&sent), [status], "{name}");
        assert_eq!(!sent[0].headers("Allow").is_empty(), status == 405, "{name}");
        assert_eq!(!sent[0].headers("Proxy-Authenticate").is_empty(), status == 407, "{name}");
        if status == 420 {
            assert_eq!(sent[0].headers("Unsupported"), ["a, b"]);
        }
    }
    let sent = town.ask(6000, &message("sip:o'romeo%20m@sip.example", STRANGER), "juliet", "balcony", 0);
    assert_eq!(statuses(&sent), [403], "with the password of another");
    let last = town.print(&message(STRANGER, JULIET)).replace("Max-Forwards: 70", "Max-Forwards: 0");
    assert_eq!(statuses(&town.receive(gateway(), &last)), [483]);
}

/// RFC 3261 section 22.1: neither can be sent again with credentials.
#[test]
fn ack_and_cancel_are_never_challenged() {
    let mut town = Town::new();
    let own = message("sip:juliet@sip.example", "sip:juliet@sip.example");
    let challenged = town.print(&own);
    assert_eq!(statuses(&town.receive(address(5070), &challenged)), [407]);
    for (method, expected) in [("ACK", &[][..]), ("CANCEL", &[200])] {
        let text = challenged
            .replace("MESSAGE sip:", &format!("{method} sip:"))
            .replace(" MESSAGE\r\n", &format!(" {method}\r\n"));
        assert_eq!(statuses(&town.receive(address(5070), &text)), expected, "{text}");
    }
    let stray = town.print(&Ask { method: "CANCEL", ..own });
    assert_eq!(statuses(&town.receive(address(5070), &stray)), [481]);
}

#[test]
fn options_are_answered_for_the_domain_and_passed_on_for_a_user() {
    let mut town = Town::new();
    town.register(6000, "<sip:j@127.0.0.1:6000>");
    for uri in ["sip:sip.example", "sip:127.0.0.1:5060"] {
        let text = town.print(&Ask { method: "OPTIONS", uri, ..message(STRANGER, uri) });
        let sent = town.receive(address(7000), &text);
        assert_eq!((sent[0].status(), sent[0].headers("Allow").len()), (200, 1));
    }
    let text = town.print(&Ask { method: "OPTIONS", ..message(STRANGER, JULIET) });
    let sent = town.receive(gateway(), &text);
    assert!(matches!(&sent[..], [Sent::To(to, text)] if *to == address(6000) && text.starts_with("OPTIONS ")));
}

#[test]
fn all_bindings_ring_and_one_answer_goes_back() {
    let mut town = Town::new();
    town.register(6000, "<sip:j@127.0.0.1:6001>, <sip:j@127.0.0.1:6002>");
    let text = town.print(&message(STRANGER, JULIET));
    let copies = town.receive(gateway(), &text);
    assert_eq!(copies.len(), 2);
    assert!(town.receive(address(6001), &copies[0].response(486)).is_empty(), "the other may still take it");
    assert_eq!(statuses(&town.receive(address(6002), &copies[1].response(202))), [202]);

    let text = town.print(&message(STRANGER, JULIET));
    let copies = town.receive(gateway(), &text);
    assert!(town.receive(address(6001), &copies[0].response(415)).is_empty());
    let now = town.start + town.at;
    let Sent::To(peer, _) = copies[1] else { panic!() };
    town.domain.handle_input(now, Input::Unreachable { socket: UDP, peer });
    assert_eq!(statuses(&town.turn()), [415]);

    let text = town.print(&message(STRANGER, JULIET));
    town.receive(gateway(), &text);
    let sent = town.wait(40);
    assert!(sent.iter().all(|sent| sent.status() == 100 || sent.text().starts_with("MESSAGE")), "never 408 (RFC 4320)");
    assert!(town.domain.is_quiet() && town.domain.passed.is_empty());
}

#[test]
fn a_client_on_a_stream() {
    let mut town = Town::new();
    let stream = town.stream(41_000);
    let ask = Ask { transport: "TCP", ..register(JULIET, "<sip:j@10.9.9.9:5060;transport=tcp>") };
    let text = town.print(&ask);
    let (front, back) = text.split_at(100);
    assert!(town.read(stream, front).is_empty());
    let challenge = town.read(stream, back);
    assert!(matches!(&challenge[..], [Sent::Over(to, _)] if *to == stream));
    let text = town.with_credentials(&challenge, &ask, "juliet", "balcony", 0);
    let sent = town.read(stream, &format!("\r\n\r\n{text}"));
    let [Sent::Over(_, both)] = &sent[..] else { panic!("{sent:#?}") };
    assert!(both.starts_with("\r\nSIP/2.0 200 OK\r\n"), "ping and pong (RFC 5626 5.4): {both}");

    let text = town.print(&message(STRANGER, JULIET));
    let sent = town.receive(gateway(), &text);
    let [Sent::Over(to, copy)] = &sent[..] else { panic!("{sent:#?}") };
    assert!(*to == stream && copy.contains("Via: SIP/2.0/TCP 127.0.0.1:5060;"));
    let sent = town.read(stream, &sent[0].response(200));
    assert!(matches!(&sent[..], [Sent::To(to, _)] if *to == gateway()));

    let text = town.print(&message(STRANGER, JULIET));
    town.receive(gateway(), &text);
    let sent = town.close(stream);
    assert_eq!(statuses(&sent), [500], "a failed branch counts as 503, which is not passed on (16.7)");
    assert!(!town.domain.is_registered("juliet"));
}

#[test]
fn streams_are_bounded_and_end() {
    let mut town = Town::new();
    let (first, second) = (town.stream(1), town.stream(2));
    let third = town.stream(3);
    assert_eq!(town.turn(), [Sent::Closed(third)]);
    let no_length = town.print(&message(STRANGER, JULIET)).replace("Content-Length: 5\r\n", "");
    let sent = town.read(first, &no_length);
    assert_eq!(sent.len(), 2, "{sent:#?}");
    assert_eq!((sent[0].status(), &sent[1]), (400, &Sent::Closed(first)));
    assert!(town.read(first, "more").is_empty(), "nothing is read from it any more");
    town.close(first);
    town.wait(600);
    assert!(town.read(second, "\r\n").is_empty());
    assert!(town.wait(899).is_empty());
    assert_eq!(town.wait(2), [Sent::Closed(second)]);
    town.close(second);
    assert!(town.domain.is_quiet());
    assert_eq!(town.domain.poll_timeout(), None);
}

#[test]
fn draining_refuses_what_is_new() {
    let mut town = Town::new();
    let stream = town.stream(1);
    let now = town.start;
    town.domain.drain(now);
    assert_eq!(town.turn(), [Sent::Closed(stream)]);
    let text = town.print(&message(STRANGER, JULIET));
    assert_eq!(statuses(&town.receive(gateway(), &text)), [503]);
}

#[test]
fn users_have_names() {
    let mut town = Town::new();
    assert_eq!(town.domain.add_user("juliet", "again"), Err(UserError::Exists));
    assert_eq!(town.domain.add_user("", "x"), Err(UserError::Name));
    assert_eq!(town.domain.add_user("a\nb", "x"), Err(UserError::Name));
}
