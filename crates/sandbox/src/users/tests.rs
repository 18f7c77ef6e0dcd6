use super::*;
use crate::sip::{self as sip_domain, SipDomain};
use crate::xmpp::{self as xmpp_domain, XmppDomain};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;
use turn::{Action, CloseCause, Minter, SocketId, StreamId, Target};
use xmpp::stream::initiator::{InitiatorSettings, Over};

#[allow(clippy::disallowed_methods)]
fn start() -> Instant {
    Instant::now()
}

fn port(port: u16) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], port))
}

const PROXY: u16 = 5060;
const PHONE: u16 = 5070;

fn phone(user: &str, own: u16, password: &str, now: Instant) -> Alone<SipUser> {
    let settings = SipUserSettings {
        user: user.into(),
        domain: "sip.example".into(),
        password: password.into(),
        proxy: port(PROXY),
        socket: SocketId(0),
        contact: port(own).to_string(),
        expires: 600,
    };
    Alone::new(SipUser::new(settings, Minter::new([own as u8; 16]), now))
}

/// The datagrams that a machine sends in this turn.
fn datagrams(machine: &mut dyn Machine) -> Vec<(SocketAddr, Vec<u8>)> {
    let mut sent = Vec::new();
    while let Some(action) = machine.output().poll_action() {
        if let Action::SendDatagram { peer, bytes, .. } = action {
            sent.push((peer, machine.output().datagram(&bytes).to_vec()));
        }
    }
    machine.output().end_turn();
    sent
}

/// The only datagram that a machine sends in this turn, as text.
fn datagram(machine: &mut dyn Machine) -> String {
    let mut sent = datagrams(machine);
    assert_eq!(sent.len(), 1, "{sent:?}");
    let (peer, bytes) = sent.remove(0);
    assert_eq!(peer, port(PROXY));
    String::from_utf8(bytes).unwrap()
}

fn line<'t>(message: &'t str, name: &str) -> &'t str {
    let start = format!("{name}: ");
    message.lines().find_map(|line| line.strip_prefix(&start)).unwrap_or_else(|| panic!("no {name} in {message}"))
}

/// Answers a request of the user.
fn answer(user: &mut Alone<SipUser>, now: Instant, request: &str, status: &str, more: &str) {
    let text = format!(
        "SIP/2.0 {status}\r\nVia: {}\r\nFrom: {}\r\nTo: {};tag=x\r\nCall-ID: {}\r\nCSeq: {}\r\n{more}Content-Length: 0\r\n\r\n",
        line(request, "Via"),
        line(request, "From"),
        line(request, "To"),
        line(request, "Call-ID"),
        line(request, "CSeq"),
    );
    user.handle_input(now, Input::Datagram { socket: SocketId(0), peer: port(PROXY), bytes: text.as_bytes() });
}

const CHALLENGE: &str =
    "WWW-Authenticate: Digest realm=\"sip.example\", nonce=\"n1\", qop=\"auth\", algorithm=SHA-256\r\n";

#[test]
fn registers_with_credentials_and_again_at_half_time() {
    let now = start();
    let mut juliet = phone("juliet", PHONE, "capulet", now);
    juliet.handle_timeout(now);
    let first = datagram(&mut juliet);
    assert!(first.starts_with("REGISTER sip:sip.example SIP/2.0\r\n"), "{first}");
    assert_eq!(line(&first, "Contact"), "<sip:juliet@127.0.0.1:5070>");
    assert!(!first.contains("Authorization"));

    answer(&mut juliet, now, &first, "401 Unauthorized", CHALLENGE);
    let second = datagram(&mut juliet);
    assert_eq!(line(&second, "CSeq"), "2 REGISTER");
    for same in ["Call-ID", "From", "To"] {
        assert_eq!(line(&second, same), line(&first, same), "{same}");
    }
    assert!(line(&second, "Authorization").contains("username=\"juliet\", realm=\"sip.example\", nonce=\"n1\""));

    answer(&mut juliet, now, &second, "200 OK", "Contact: <sip:juliet@127.0.0.1:5070>;expires=100\r\n");
    assert_eq!(juliet.party.poll_event(), Some(SipUserEvent::Registered));
    let (due, _) = juliet.poll_timeout().unwrap();
    assert_eq!(due, now + Duration::from_secs(50));
    juliet.handle_timeout(due);
    let third = datagram(&mut juliet);
    assert_eq!((line(&third, "CSeq"), line(&third, "Call-ID")), ("3 REGISTER", line(&first, "Call-ID")));
    answer(&mut juliet, due, &third, "200 OK", "Expires: 60\r\n");
    assert_eq!(juliet.party.poll_event(), Some(SipUserEvent::Registered));

    juliet.party.leave(due, &mut juliet.output);
    let last = datagram(&mut juliet);
    assert_eq!(line(&last, "Expires"), "0");
    answer(&mut juliet, due, &last, "200 OK", "");
    assert_eq!(juliet.party.poll_event(), Some(SipUserEvent::Unregistered { reason: String::new() }));
    let next = juliet.poll_timeout().map(|(at, _)| at);
    assert!(next.is_none_or(|at| at < due + Duration::from_secs(60)), "no registration is due any more");
}

#[test]
fn refused_credentials_are_not_tried_again_but_a_stale_nonce_is() {
    let now = start();
    let mut juliet = phone("juliet", PHONE, "wrong", now);
    juliet.handle_timeout(now);
    let first = datagram(&mut juliet);
    answer(&mut juliet, now, &first, "401 Unauthorized", CHALLENGE);
    let second = datagram(&mut juliet);
    answer(&mut juliet, now, &second, "401 Unauthorized", &CHALLENGE.replace("qop", "stale=true, qop"));
    let third = datagram(&mut juliet);
    answer(&mut juliet, now, &third, "401 Unauthorized", CHALLENGE);
    assert!(datagrams(&mut juliet).is_empty());
    assert_eq!(juliet.party.poll_event(), Some(SipUserEvent::Unregistered { reason: "401 Unauthorized".into() }));
}

#[test]
fn a_message_that_is_not_answered_or_cannot_be_sent() {
    let now = start();
    let mut juliet = phone("juliet", PHONE, "capulet", now);
    let message = juliet.party.send(now, "sip:romeo@xmpp.example", "hello", &mut juliet.output);
    assert_eq!(datagrams(&mut juliet).len(), 1);
    juliet.handle_timeout(now + Duration::from_secs(40));
    let why = "no answer came in time";
    let events: Vec<_> = std::iter::from_fn(|| juliet.party.poll_event()).collect();
    assert!(events.contains(&SipUserEvent::Unanswered { message, why }), "{events:?}");

    let now = now + Duration::from_secs(41);
    let message = juliet.party.send(now, "sip:romeo@xmpp.example", "hello", &mut juliet.output);
    juliet.handle_input(now, Input::Unreachable { socket: SocketId(0), peer: port(PROXY) });
    let why = "the proxy cannot be reached";
    let events: Vec<_> = std::iter::from_fn(|| juliet.party.poll_event()).collect();
    assert!(events.contains(&SipUserEvent::Unanswered { message, why }), "{events:?}");
}

#[test]
fn answers_what_others_ask() {
    let now = start();
    let mut juliet = phone("juliet", PHONE, "capulet", now);
    let cases = [
        ("MESSAGE", "sip:%6auliet@127.0.0.1:5070", "Content-Type: text/plain;charset=UTF-8\r\n", "200 OK"),
        ("MESSAGE", "sip:nurse@127.0.0.1:5070", "Content-Type: text/plain\r\n", "404 Not Found"),
        ("MESSAGE", "sip:juliet@127.0.0.1:5070", "Content-Type: text/html\r\n", "415 Unsupported Media Type"),
        (
            "MESSAGE",
            "sip:juliet@127.0.0.1:5070",
            "Content-Type: text/plain\r\nContent-Encoding: gzip\r\n",
            "415 Unsupported Media Type",
        ),
        ("MESSAGE", "sip:juliet@127.0.0.1:5070", "Content-Type: text/plain\r\nRequire: x\r\n", "420 Bad Extension"),
        ("OPTIONS", "sip:juliet@127.0.0.1:5070", "", "200 OK"),
        ("INVITE", "sip:juliet@127.0.0.1:5070", "Contact: <sip:r@h>\r\n", "405 Method Not Allowed"),
    ];
    for (number, (method, uri, more, expected)) in cases.into_iter().enumerate() {
        let text = format!(
            "{method} {uri} SIP/2.0\r\nVia: SIP/2.0/UDP 127.0.0.1:5060;branch=z9hG4bK{number}\r\nMax-Forwards: 70\r\n\
             From: <sip:romeo@xmpp.example>;tag=1\r\nTo: <{uri}>\r\nCall-ID: {number}\r\nCSeq: 1 {method}\r\n{more}\
             Content-Length: 5\r\n\r\nhello"
        );
        juliet.handle_input(now, Input::Datagram { socket: SocketId(0), peer: port(PROXY), bytes: text.as_bytes() });
        let response = datagram(&mut juliet);
        assert!(response.starts_with(&format!("SIP/2.0 {expected}\r\n")), "{text}\n{response}");
    }
    let from = "sip:romeo@xmpp.example".to_owned();
    assert_eq!(juliet.party.poll_event(), Some(SipUserEvent::Message { from, body: "hello".into() }));
    assert_eq!(juliet.party.poll_event(), None);
}

/// A SIP domain with two phones: what each sends arrives at once.
#[test]
fn two_phones_at_a_domain_that_wants_to_know_who_they_are() {
    let now = start();
    let mut settings = sip_domain::Settings::new("sip.example", &port(PROXY).to_string());
    settings.datagrams = vec![SocketId(0)];
    let mut domain = SipDomain::new(settings, Minter::new([1; 16]), (now, 1_700_000_000));
    domain.add_user("juliet", "capulet").unwrap();
    domain.add_user("nurse", "secret").unwrap();
    let mut phones = [phone("juliet", 5070, "capulet", now), phone("nurse", 5071, "secret", now)];
    let mut settle = |phones: &mut [Alone<SipUser>; 2]| {
        for phone in phones.iter_mut() {
            phone.handle_timeout(now);
        }
        loop {
            let mut moved = 0;
            for (phone, own) in phones.iter_mut().zip([port(5070), port(5071)]) {
                for (_, bytes) in datagrams(phone) {
                    moved += 1;
                    domain.handle_input(now, Input::Datagram { socket: SocketId(0), peer: own, bytes: &bytes });
                }
            }
            for (peer, bytes) in datagrams(&mut domain) {
                let place = usize::from(peer.port() - 5070);
                moved += 1;
                phones[place]
                    .handle_input(now, Input::Datagram { socket: SocketId(0), peer: port(PROXY), bytes: &bytes });
            }
            if moved == 0 {
                return;
            }
        }
    };
    settle(&mut phones);
    for phone in &mut phones {
        assert_eq!(phone.party.poll_event(), Some(SipUserEvent::Registered));
    }
    let [juliet, _] = &mut phones;
    let message = juliet.party.send(now, "sip:nurse@sip.example", "Ancient damnation!", &mut juliet.output);
    settle(&mut phones);
    let [juliet, nurse] = &mut phones;
    let (from, body) = ("sip:juliet@sip.example".to_owned(), "Ancient damnation!".to_owned());
    assert_eq!(nurse.party.poll_event(), Some(SipUserEvent::Message { from, body }));
    let reason = "OK".to_owned();
    assert_eq!(juliet.party.poll_event(), Some(SipUserEvent::Answered { message, status: 200, reason }));
}

/// An XMPP domain with users, over connections that carry everything at once.
struct House {
    now: Instant,
    domain: XmppDomain,
    users: Vec<Alone<XmppUser>>,
    /// By user and the user's stream.
    connections: BTreeMap<(usize, StreamId), Connection>,
}

/// The stream at the domain, and what has not been read there and at the user's end.
type Connection = (StreamId, Vec<u8>, Vec<u8>);

impl House {
    fn new(users: &[(&str, &str)]) -> Self {
        let now = start();
        let settings =
            xmpp_domain::Settings { clients: vec![SocketId(0)], ..xmpp_domain::Settings::new("xmpp.example") };
        let mut domain = XmppDomain::new(settings, Minter::new([2; 16]), (now, 1_700_000_000));
        for name in ["romeo", "benvolio"] {
            domain.add_user(name, "montague").unwrap();
        }
        let user = |(place, (name, password)): (usize, &(&str, &str))| {
            let settings = InitiatorSettings::new(name, "xmpp.example", password);
            Alone::new(XmppUser::new(settings, Target::Configured(0), Minter::new([place as u8; 16]), now))
        };
        let mut house =
            Self { now, domain, users: users.iter().enumerate().map(user).collect(), connections: BTreeMap::new() };
        house.settle();
        house
    }

    fn settle(&mut self) {
        loop {
            let mut moved = false;
            for place in 0..self.users.len() {
                self.users[place].handle_timeout(self.now);
                while let Some(action) = self.users[place].output.poll_action() {
                    moved |= self.carry_out(place, action);
                }
                self.users[place].output.end_turn();
            }
            self.domain.handle_timeout(self.now);
            while let Some(action) = self.domain.output().poll_action() {
                moved |= self.carry_out_domain(action);
            }
            self.domain.output().end_turn();
            if !moved {
                return;
            }
        }
    }

    fn carry_out(&mut self, place: usize, action: Action) -> bool {
        let now = self.now;
        match action {
            Action::Connect { stream, .. } => {
                let there = self.domain.output().open();
                self.connections.insert((place, stream), (there, Vec::new(), Vec::new()));
                self.domain.handle_input(now, Input::Accepted { stream: there, listener: SocketId(0), peer: port(9) });
                self.users[place].handle_input(now, Input::Connected { stream, peer: port(5222) });
            }
            Action::Write { stream } => {
                let bytes = take(&mut self.users[place].output, stream);
                let Some((there, waiting, _)) = self.connections.get_mut(&(place, stream)) else { return false };
                waiting.extend_from_slice(&bytes);
                let consumed = self.domain.handle_input(now, Input::Received { stream: *there, data: waiting });
                waiting.drain(..consumed);
                return !bytes.is_empty();
            }
            Action::Close { stream } => self.hang_up((place, stream), CloseCause::Ours, CloseCause::Peer),
            _ => return false,
        }
        true
    }

    fn carry_out_domain(&mut self, action: Action) -> bool {
        let end_of = |connections: &BTreeMap<(usize, StreamId), Connection>, stream| {
            connections.iter().find(|(_, (there, ..))| *there == stream).map(|(key, _)| *key)
        };
        match action {
            Action::Write { stream } => {
                let Some(key) = end_of(&self.connections, stream) else { return false };
                let bytes = take(self.domain.output(), stream);
                let Some((_, _, waiting)) = self.connections.get_mut(&key) else { return false };
                waiting.extend_from_slice(&bytes);
                let input = Input::Received { stream: key.1, data: waiting };
                let consumed = self.users[key.0].handle_input(self.now, input);
                waiting.drain(..consumed);
                !bytes.is_empty()
            }
            Action::Close { stream } => {
                let Some(key) = end_of(&self.connections, stream) else { return false };
                self.hang_up(key, CloseCause::Peer, CloseCause::Ours);
                true
            }
            _ => false,
        }
    }

    fn hang_up(&mut self, key: (usize, StreamId), here: CloseCause, there: CloseCause) {
        let Some((stream, ..)) = self.connections.remove(&key) else { return };
        self.users[key.0].handle_input(self.now, Input::Closed { stream: key.1, cause: here });
        self.users[key.0].output.forget(key.1);
        self.domain.handle_input(self.now, Input::Closed { stream, cause: there });
        self.domain.output().forget(stream);
    }

    fn event(&mut self, place: usize) -> Option<XmppUserEvent> {
        self.users[place].party.poll_event()
    }

    fn send(&mut self, place: usize, to: &str, body: &str) -> Option<String> {
        let Alone { party, output } = &mut self.users[place];
        let id = party.send(to, body, output);
        self.settle();
        id
    }
}

fn take(output: &mut Output, stream: StreamId) -> Vec<u8> {
    let bytes = output.unsent(stream).to_vec();
    output.sent(stream, bytes.len());
    bytes
}

#[test]
fn users_of_an_xmpp_domain_write_to_each_other_and_to_nobody() {
    let mut house = House::new(&[("romeo", "montague"), ("benvolio", "montague")]);
    for (place, name) in ["romeo", "benvolio"].into_iter().enumerate() {
        let Some(XmppUserEvent::Available { address }) = house.event(place) else { panic!("{name} is not there") };
        assert!(address.starts_with(&format!("{name}@xmpp.example/")), "{address}");
    }
    house.send(0, "benvolio@xmpp.example", "Tut, I have <lost> myself; I am not here…").unwrap();
    let Some(XmppUserEvent::Message { from, body }) = house.event(1) else { panic!("no message") };
    assert!(from.starts_with("romeo@xmpp.example/"), "{from}");
    assert_eq!(body, "Tut, I have <lost> myself; I am not here…");

    let id = house.send(0, "juliet@sip.example", "hello").unwrap();
    let event = house.event(0);
    let Some(XmppUserEvent::Bounced { id: bounced, from, condition, .. }) = event else { panic!("{event:?}") };
    assert_eq!((bounced, &*from, condition.as_str()), (id, "juliet@sip.example", "remote-server-not-found"));

    let Alone { party, output } = &mut house.users[0];
    party.leave(output);
    house.settle();
    assert_eq!(house.event(0), Some(XmppUserEvent::Gone(Over::Closed)));
    assert_eq!(house.send(0, "benvolio@xmpp.example", "hello"), None);
}

#[test]
fn a_wrong_password_is_told() {
    let mut house = House::new(&[("romeo", "capulet")]);
    assert_eq!(house.event(0), Some(XmppUserEvent::Gone(Over::Refused("not-authorized".into()))));
    assert_eq!(house.users[0].poll_timeout(), None);
}

fn meeting(now: Instant) -> Meeting {
    let settings = MeetingSettings {
        xmpp: InitiatorSettings::new("romeo", "xmpp.example", "montague"),
        xmpp_server: Target::Configured(0),
        sip: SipUserSettings {
            user: "juliet".into(),
            domain: "sip.example".into(),
            password: "capulet".into(),
            proxy: port(PROXY),
            socket: SocketId(0),
            contact: port(PHONE).to_string(),
            expires: 600,
        },
        sip_user_on_xmpp: "juliet@sip.example".into(),
        xmpp_user_on_sip: "sip:romeo@xmpp.example".into(),
        patience: Duration::from_secs(20),
    };
    Meeting::new(settings, &Minter::new([5; 16]), now)
}

#[test]
fn a_meeting_ends_when_nobody_answers_or_somebody_cannot_come() {
    let now = start();
    let mut meeting_ = meeting(now);
    meeting_.handle_timeout(now);
    assert_eq!(meeting_.poll_happened(), None);
    meeting_.handle_timeout(now + Duration::from_secs(20));
    let why = "romeo@xmpp.example is not logged in after 20 s".to_owned();
    assert_eq!(meeting_.poll_happened(), Some(Happened::Failed(why)));
    meeting_.handle_timeout(now + Duration::from_secs(60));
    assert_eq!(meeting_.poll_happened(), None, "told once");

    let mut meeting_ = meeting(now);
    meeting_.handle_timeout(now);
    meeting_.handle_input(now, Input::Unreachable { socket: SocketId(0), peer: port(PROXY) });
    let why = "sip:juliet@sip.example is not registered: the proxy cannot be reached".to_owned();
    assert_eq!(meeting_.poll_happened(), Some(Happened::Failed(why)));
}
