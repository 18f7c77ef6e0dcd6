#![allow(clippy::disallowed_methods, reason = "somewhere time has to begin")]

use super::*;
use crate::{LargeRequests, Redirects, Route};
use sip::transaction::{Flow, Transport};
use sip::wire::{Carriage, Limits, Message, parse};
use turn::SocketId;

const OWN: &[u8] = b"sip:juliet@sip.example";

fn form(content_type: &'static str) -> Form<'static> {
    Form { content_type: content_type.as_bytes(), lines: b"", body: b"" }
}

struct Stage {
    repeats: Repeats,
    routes: Routes,
    journey: Journey,
    forms: Vec<Form<'static>>,
    course: Box<Course>,
    now: Instant,
}

impl Stage {
    fn new(forms: &[Form<'static>], followed: Vec<DomainPattern>) -> Self {
        let now = Instant::now();
        let peer = "192.0.2.9:5060".parse().unwrap();
        let flow = Flow { transport: Transport::Udp, socket: SocketId(0), peer, stream: None };
        let mut routes = Routes::new(&[Route::to(flow)]);
        let journey = routes.begin(now, routes.find("sip.example").unwrap(), 1).unwrap();
        let settings = Settings {
            endpoint: sip::endpoint::Settings::new("192.0.2.1"),
            native_numbers: None,
            foreign_numbers: None,
            presentations: cpim::Presentations::default(),
            trusted: Vec::new(),
            routes: Vec::new(),
            accepted: cpim::AcceptedBy::default(),
            large_requests: LargeRequests::Udp,
            connections: 1,
            host: "gw.example".into(),
            accounts: Vec::new(),
            redirects: Redirects { followed, ..Redirects::default() },
            on_acceptance: 202,
            start_max_forwards: 70,
            parallel: 1,
            queue_per_destination: 1,
            queue_in_all: 1,
            octets_in_all: usize::MAX,
        };
        let repeats = Repeats::new(&settings, &Minter::new([4; 16]));
        let course = repeats.course(now, forms).expect("something to repeat for");
        Self { repeats, routes, journey, forms: forms.to_vec(), course, now }
    }

    fn answered(&mut self, status: u16, lines: &str) -> Option<Again> {
        let text = format!("SIP/2.0 {status} No\r\n{lines}Content-Length: 0\r\n\r\n");
        match parse(text.as_bytes(), Carriage::Datagram, &Limits::default()).unwrap() {
            Message::Response(response) => self.ended(&Outcome::Final(response)),
            Message::Request(_) => unreachable!(),
        }
    }

    fn ended(&mut self, outcome: &Outcome<'_>) -> Option<Again> {
        let Self { repeats, routes, journey, forms, course, now } = self;
        repeats.judge(*now, routes, *journey, OWN, forms, course, outcome)
    }
}

/// RFC 3261 section 8.1.3.5.
#[test]
fn a_form_that_is_refused_is_followed_by_a_plainer_one() {
    let forms = [form("message/cpim"), form("text/html; charset=utf-8"), form("Text/Plain;charset=utf-8")];
    for status in [415, 488] {
        let mut stage = Stage::new(&forms, Vec::new());
        assert_eq!((stage.course.form(), stage.course.repeats()), (0, 0));
        assert_eq!(stage.answered(status, ""), Some(Again::There));
        assert_eq!((stage.course.form(), stage.course.repeats()), (1, 1));
        assert_eq!(stage.answered(status, ""), Some(Again::There));
        assert_eq!((stage.course.form(), stage.course.repeats()), (2, 2));
        assert_eq!(stage.answered(status, ""), None, "nothing is plainer than the last one");
    }
    for (accept, left) in [
        ("text/plain", Some(2)),
        ("application/sdp, TEXT/*;q=0.5", Some(1)),
        ("*/*", Some(1)),
        ("text/plain;charset=us-ascii, text/html", Some(1)),
        ("application/sdp", None),
        ("message/cpim", None),
        ("text/plainer", None),
    ] {
        let mut stage = Stage::new(&forms, Vec::new());
        let again = stage.answered(415, &format!("Accept: {accept}\r\n"));
        assert_eq!(again.map(|_| stage.course.form()), left, "{accept}");
    }
    for status in [200, 202, 400, 406, 413, 416, 420, 500, 606] {
        assert_eq!(Stage::new(&forms, Vec::new()).answered(status, ""), None, "{status} is about something else");
    }
}

/// RFC 3261 section 8.1.3.5: 413 is answered with a shorter body or not at all.
#[test]
fn a_body_that_is_too_long_is_followed_by_a_shorter_one() {
    let with_body = |content_type, body| Form { body, ..form(content_type) };
    let forms = [with_body("a/b", b"1234"), with_body("c/d", b"1234"), with_body("text/plain", b"123")];
    let mut stage = Stage::new(&forms, Vec::new());
    assert_eq!(stage.answered(413, ""), Some(Again::There));
    assert_eq!((stage.course.form(), stage.course.repeats()), (2, 1));
    assert_eq!(stage.answered(413, ""), None);
}

#[test]
fn a_form_that_is_too_large_for_its_way_is_followed_by_a_plainer_one() {
    let mut stage = Stage::new(&[form("text/html"), form("text/plain")], Vec::new());
    assert!(stage.course.take_plainer(&stage.forms));
    assert_eq!((stage.course.form(), stage.course.repeats()), (1, 0), "nothing was sent");
    assert!(!stage.course.take_plainer(&stage.forms));
}

#[test]
fn nothing_is_kept_of_a_message_that_nobody_can_have_again() {
    let stage = Stage::new(&[form("a/b"), form("text/plain")], Vec::new());
    assert!(stage.repeats.course(stage.now, &[form("text/plain")]).is_none());
    let stage = Stage::new(&[form("text/plain")], vec![DomainPattern::Any]);
    assert!(stage.repeats.course(stage.now, &[form("text/plain")]).is_some());
}

#[test]
fn new_targets_are_tried_by_preference_among_those_that_are_left() {
    let mut stage = Stage::new(&[form("text/plain")], vec![DomainPattern::Any]);
    let uri = |stage: &Stage| String::from_utf8(stage.course.target().unwrap().uri.clone()).unwrap();
    assert!(stage.answered(300, "Contact: <sip:a@h>;q=0.9, <sip:b@h>;q=0.1\r\n").is_some());
    assert_eq!(uri(&stage), "sip:a@h");
    assert!(stage.answered(302, "Contact: <sip:c@h>;q=0.5, <sip:A@H>, <sip:a@h>\r\n").is_some());
    assert_eq!(uri(&stage), "sip:A@H", "the user part has its case");
    assert!(stage.ended(&Outcome::TransportFailed).is_some());
    assert_eq!(uri(&stage), "sip:c@h");
    assert!(stage.answered(415, "").is_some(), "a failure like any other");
    assert_eq!(uri(&stage), "sip:b@h");
    assert_eq!(stage.answered(480, ""), None);
}

#[test]
fn number_and_time_are_bounded() {
    let forms: Vec<_> = std::iter::repeat_with(|| form("a/b")).take(50).collect();
    let mut stage = Stage::new(&forms, Vec::new());
    let repeats = std::iter::from_fn(|| stage.answered(488, "")).count();
    assert_eq!(repeats + 1, MOST_SENDINGS as usize);

    let mut stage = Stage::new(&forms, Vec::new());
    stage.now += PATIENCE - Duration::from_millis(1);
    assert!(stage.answered(488, "").is_some());
    stage.now += Duration::from_millis(1);
    assert_eq!(stage.answered(488, ""), None);

    let mut stage = Stage::new(&forms[..1], vec![DomainPattern::Any]);
    let contacts: Vec<_> = (0..30).map(|n| format!("<sip:u{n}@h>")).collect();
    assert!(stage.answered(302, &format!("Contact: {}\r\n", contacts.join(", "))).is_some());
    assert_eq!(stage.course.targets.len() + 1, MOST_TARGETS);
}
