//! Five times as much as can be taken, in both directions, against each limit: every message has one fate, what was accepted
//! arrives and in its order, what was refused does not, no table and no buffer grows beyond its bound, and a second after it
//! ends everything is as before.

use entente_tests::world::{World, attribute, header, message, response, route, status};
use sip::transaction::Transport;
use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;
use turn::StreamId;

/// How many times as much is offered as is taken.
const TIMES: u32 = 5;
/// Pairs of users. Each pair is a conversation.
const PAIRS: u32 = 4;
/// So much time passes between two looks at the world.
const STEP: Duration = Duration::from_millis(10);

/// Both directions of a flood, and what became of each message.
struct Flood {
    world: World,
    /// Messages from SIP by their number: their pair, and the answers.
    from_sip: BTreeMap<u32, (u32, Vec<u16>)>,
    /// Those that reached the server, in the order of their arrival.
    at_server: Vec<u32>,
    /// Messages from XMPP by their number: their pair, and the conditions that their sender was told.
    from_xmpp: BTreeMap<u32, (u32, Vec<String>)>,
    /// Those that reached the next hop, in the order of their arrival, and the requests that wait for an answer there.
    at_phones: Vec<u32>,
    unanswered: VecDeque<String>,
    answered_by_phones: Vec<u32>,
    /// Pings that the server has not handed back.
    pings: VecDeque<String>,
    /// The connection to the next hop, where it is reached over TCP.
    connection: Option<StreamId>,
    /// Messages that are offered to XMPP users alone, or to users of so many destinations.
    destinations: u32,
    next: u32,
    /// Octets of the last message that reached the server.
    stanza: usize,
    /// The most rows of tables and octets of output that were seen.
    most_open: usize,
    most_output: usize,
}

impl Flood {
    fn new(change: impl FnOnce(&mut engine::Settings)) -> Self {
        Self {
            world: World::with(change),
            from_sip: BTreeMap::new(),
            at_server: Vec::new(),
            from_xmpp: BTreeMap::new(),
            at_phones: Vec::new(),
            unanswered: VecDeque::new(),
            answered_by_phones: Vec::new(),
            pings: VecDeque::new(),
            connection: None,
            destinations: PAIRS,
            next: 0,
            stanza: 0,
            most_open: 0,
            most_output: 0,
        }
    }

    /// A SIP user writes.
    fn sip_writes(&mut self) {
        let (n, pair) = (self.next, self.next % self.destinations);
        self.next += 1;
        let text = message(n, &format!("romeo{pair}@xmpp.example"), &format!("text {n}."));
        self.from_sip.insert(n, (pair, Vec::new()));
        self.world.proxy_sends(text.replace("sip:juliet@", &format!("sip:juliet{pair}@")));
        self.look();
    }

    /// An XMPP user writes.
    fn xmpp_writes(&mut self) {
        let (n, pair) = (self.next, self.next % self.destinations);
        self.next += 1;
        self.from_xmpp.insert(n, (pair, Vec::new()));
        self.world.server_writes(format!(
            "<message from='romeo{pair}@xmpp.example/x' to='juliet{pair}@sip.example' id='m{n}'><body>text {n}.</body></message>"
        ));
        self.look();
    }

    /// Books what has left.
    fn look(&mut self) {
        while let Some(text) = self.world.take_datagram() {
            self.at_next_hop(text);
        }
        if let Some(connection) = self.connection {
            while let Some(text) = self.world.sip_reads(connection) {
                self.at_next_hop(text);
            }
        }
        while let Some(stanza) = self.world.take_stanza() {
            self.at_server(stanza);
        }
        self.most_open = self.most_open.max(self.world.engine.open());
        self.most_output = self.most_output.max(self.world.engine.output_len());
    }

    fn at_next_hop(&mut self, text: String) {
        match status(&text) {
            Some(status) => {
                let via = header(&text, "Via").expect("a Via");
                let n = via
                    .split("branch=z9hG4bK-")
                    .nth(1)
                    .and_then(|rest| rest.split(';').next())
                    .expect("a branch of ours");
                let answers = &mut self.from_sip.get_mut(&n.parse().expect("a number")).expect("a message").1;
                if matches!(status, 480 | 503) {
                    assert!(
                        header(&text, "Retry-After").is_some(),
                        "whoever is refused is told when to come back: {text}"
                    );
                }
                answers.push(status);
            }
            None => {
                let n = number(&text);
                // What is repeated because nobody has answered is no second message.
                if self.at_phones.last() != Some(&n) && !self.unanswered.iter().any(|known| number(known) == n) {
                    self.at_phones.push(n);
                    self.unanswered.push_back(text);
                }
            }
        }
    }

    fn at_server(&mut self, stanza: String) {
        if stanza.starts_with("<iq") {
            self.pings.push_back(stanza);
        } else if attribute(&stanza, "type") == Some("error") {
            let n = attribute(&stanza, "id").and_then(|id| id.strip_prefix('m')).expect("the id of the message");
            let error = stanza.split_once("<error").and_then(|(_, error)| error.split_once('>')).expect("an error");
            let condition = error.1.trim_start_matches('<').split(' ').next().unwrap_or_default();
            assert!(error.0.contains("type='wait'"), "whoever is refused may come back: {stanza}");
            let told = &mut self.from_xmpp.get_mut(&n.parse().expect("a number")).expect("a message").1;
            told.push(condition.to_owned());
        } else {
            self.stanza = stanza.len();
            self.at_server.push(number(&stanza));
        }
    }

    /// The server hands back all pings that it has, and those that follow: what was written before is proven.
    fn server_returns(&mut self) {
        while let Some(ping) = self.pings.pop_front() {
            self.world.server_writes(ping);
            self.look();
        }
    }

    /// The phone that has waited for longest answers.
    fn phone_answers(&mut self) {
        let Some(request) = self.unanswered.pop_front() else { return };
        self.answered_by_phones.push(number(&request));
        let answer = response(&request, "200 OK", "");
        match self.connection {
            Some(connection) => self.world.sip_writes(connection, answer),
            None => self.world.proxy_sends(answer),
        }
        self.look();
    }

    fn passes(&mut self, time: Duration) {
        self.world.advance(time);
        self.look();
    }

    /// Everybody catches up: one second, in which the server and the phones do all that they have.
    fn calms_down(&mut self) {
        self.world.resume_reading();
        self.world.turn();
        self.look();
        for _ in 0..100 {
            self.passes(STEP);
            self.server_returns();
            while !self.unanswered.is_empty() {
                self.phone_answers();
            }
        }
    }

    /// A message in each direction crosses as if nothing had been.
    fn is_as_before(&mut self) {
        let (from_sip, from_xmpp) = (self.next, self.next + 1);
        self.sip_writes();
        self.server_returns();
        self.xmpp_writes();
        self.phone_answers();
        assert_eq!(self.from_sip[&from_sip].1, [202], "the first message after the flood");
        assert_eq!(self.at_server.last(), Some(&from_sip));
        assert_eq!(self.answered_by_phones.last(), Some(&from_xmpp));
        assert!(self.from_xmpp[&from_xmpp].1.is_empty());
        assert!(self.world.stream.is_some() && self.world.closes.is_empty(), "the stream of everybody stands");
    }

    /// One fate for each, and in order; `refusals` are the answers to a SIP sender, and the conditions for an XMPP sender, that
    /// say that nothing was sent.
    fn each_has_one_fate(&self, statuses: &[u16], conditions: &[&str]) {
        let (at_server, at_phones) = (counted(&self.at_server), counted(&self.at_phones));
        for (n, (_, answers)) in &self.from_sip {
            let arrived = at_server.get(n).copied().unwrap_or_default();
            match &answers[..] {
                [202] => assert_eq!(arrived, 1, "message {n} was accepted"),
                // Written, and no word of it in time.
                [504] => assert!(arrived <= 1, "message {n}"),
                [refused] if statuses.contains(refused) => assert_eq!(arrived, 0, "message {n} was refused"),
                other => panic!("message {n}: {other:?}"),
            }
        }
        for (n, (_, told)) in &self.from_xmpp {
            let arrived = at_phones.get(n).copied().unwrap_or_default();
            match &told[..] {
                [] => assert_eq!(arrived, 1, "message {n} was taken"),
                // Sent, and no answer in time; or it waited behind one of which that is true.
                [late] if late == "remote-server-timeout" => assert!(arrived <= 1, "message {n}"),
                [refused] if conditions.contains(&&**refused) => assert_eq!(arrived, 0, "message {n} was refused"),
                other => panic!("message {n}: {other:?}"),
            }
        }
        in_order(&self.at_server, &self.from_sip);
        in_order(&self.at_phones, &self.from_xmpp);
    }

    fn accepted(&self) -> usize {
        self.from_sip.values().filter(|(_, answers)| answers == &[202]).count()
    }

    fn refused(&self, status: u16) -> usize {
        self.from_sip.values().filter(|(_, answers)| answers == &[status]).count()
    }

    fn told(&self, condition: &str) -> usize {
        self.from_xmpp.values().filter(|(_, told)| told.iter().any(|told| told == condition)).count()
    }
}

/// The number in the text of a message.
fn number(text: &str) -> u32 {
    let number = text.rsplit_once("text ").and_then(|(_, rest)| rest.split('.').next());
    number.and_then(|number| number.parse().ok()).unwrap_or_else(|| panic!("a message of the flood: {text}"))
}

/// How often each arrived.
fn counted(arrived: &[u32]) -> BTreeMap<u32, usize> {
    let mut counts = BTreeMap::new();
    for n in arrived {
        *counts.entry(*n).or_default() += 1;
    }
    counts
}

/// Within a conversation nothing overtakes.
fn in_order<T>(arrived: &[u32], pairs: &BTreeMap<u32, (u32, T)>) {
    let mut last = BTreeMap::new();
    for n in arrived {
        if let Some(before) = last.insert(pairs[n].0, n) {
            assert!(before < n, "{n} arrived behind {before}");
        }
    }
}

/// SIP to XMPP, against the number of operations that may be in flight: the server reads at once, and lets the gateway know
/// ten times a second.
#[test]
fn more_than_may_be_in_flight_from_sip_is_refused_with_503() {
    const MOST: u32 = 100;
    let mut flood = Flood::new(|settings| settings.relay.max_in_flight = MOST as usize);
    for _ in 0..10 {
        for _ in 0..10 {
            (0..TIMES * MOST / 10).for_each(|_| flood.sip_writes());
            flood.passes(STEP);
        }
        flood.server_returns();
    }
    flood.calms_down();
    flood.each_has_one_fate(&[503], &[]);
    assert_eq!(flood.accepted(), 10 * MOST as usize, "as many as there is room for, all the time");
    assert_eq!(flood.refused(503), 10 * (TIMES - 1) as usize * MOST as usize);
    // Operation, server transaction and copy.
    assert!(flood.most_open <= 3 * MOST as usize, "{}", flood.most_open);
    flood.is_as_before();
    flood.world.assert_quiet();
}

/// The same against the server transactions that may be open. Whoever is refused leaves no row.
#[test]
fn more_requests_than_may_be_open_are_refused_with_503() {
    const MOST: u32 = 100;
    let mut flood = Flood::new(|settings| settings.sip.endpoint.max_ongoing = MOST as usize);
    for _ in 0..10 {
        (0..TIMES * MOST).for_each(|_| flood.sip_writes());
        flood.passes(STEP);
        flood.server_returns();
    }
    flood.calms_down();
    flood.each_has_one_fate(&[503], &[]);
    assert_eq!(flood.accepted(), 10 * MOST as usize);
    assert_eq!(flood.world.engine.counters().sip.overloaded, u64::from(10 * (TIMES - 1) * MOST));
    assert!(flood.most_open <= 3 * MOST as usize, "{}", flood.most_open);
    flood.is_as_before();
    flood.world.assert_quiet();
}

/// The same against those that are kept for retransmissions, for 32 s each: over the 32 s five times as many come.
#[test]
fn more_requests_than_can_be_remembered_are_refused_with_503() {
    const MOST: u32 = 320;
    let mut flood = Flood::new(|settings| settings.sip.endpoint.max_finished = MOST as usize);
    for _ in 0..3 * 32 * 100 / 2 {
        (0..TIMES * MOST / 32 / 50).for_each(|_| flood.sip_writes());
        flood.passes(2 * STEP);
        flood.server_returns();
    }
    flood.calms_down();
    flood.each_has_one_fate(&[503], &[]);
    let share = flood.accepted() as u32;
    assert!((3 * MOST..4 * MOST).contains(&share), "{share}: whenever one is forgotten there is room for another");
    // The last of them are forgotten 32 s after their answer, and not before.
    flood.passes(Duration::from_secs(31));
    flood.is_as_before();
    flood.world.assert_quiet();
}

/// The same against the words that are kept with answers.
#[test]
fn more_words_than_can_be_remembered_are_refused_with_503() {
    const REFUSALS: u32 = 50;
    let mut world = World::with(|settings| settings.sip.endpoint.max_answer_text = 50 * 50);
    let mut statuses = Vec::new();
    for n in 0..TIMES * REFUSALS {
        // 504 with a Warning of some fifty octets.
        world.proxy_sends(message(n, "romeo@elsewhere.example", "hello"));
        statuses.extend(world.take_statuses());
    }
    let kept = statuses.iter().take_while(|&&status| status == 404).count();
    assert!(kept > 10 && kept < 4 * REFUSALS as usize, "{kept}");
    assert!(statuses[kept..].iter().all(|&status| status == 503), "{statuses:?}");
    assert_eq!(statuses.len() as u32, TIMES * REFUSALS);
    world.advance(Duration::from_secs(33));
    world.proxy_sends(message(10_000, "romeo@elsewhere.example", "hello"));
    assert_eq!(world.take_statuses(), [404]);
    world.assert_quiet();
}

/// SIP to XMPP, against what may wait for the server: it takes a fifth of what is written.
#[test]
fn more_than_the_server_reads_is_refused_with_480() {
    const UNSENT: usize = 20_000;
    let mut flood = Flood::new(|settings| settings.xmpp.unsent_limit = UNSENT);
    // One such message as a stanza.
    flood.sip_writes();
    flood.server_returns();
    let length = flood.stanza;
    flood.world.reading = false;
    for _ in 0..300 {
        (0..TIMES).for_each(|_| flood.sip_writes());
        flood.world.server_takes(length);
        flood.look();
        flood.passes(STEP);
        flood.server_returns();
    }
    flood.calms_down();
    flood.each_has_one_fate(&[480], &[]);
    let (accepted, refused) = (flood.accepted(), flood.refused(480));
    assert!(accepted >= 290, "{accepted}: as many as the server reads, all the time");
    // What waited at the end was taken too.
    assert!(refused >= 4 * 300 - 80, "{refused}");
    assert_eq!(accepted + refused, flood.from_sip.len(), "and of none the fate is unknown");
    assert!(flood.most_output < UNSENT + 2 * length, "{}", flood.most_output);
    flood.is_as_before();
    flood.world.assert_quiet();
}

/// XMPP to SIP, against the queue of each destination: the phones answer a fifth of what is written.
#[test]
fn more_than_a_phone_takes_is_refused_with_resource_constraint() {
    const QUEUE: usize = 20;
    let mut flood = Flood::new(|settings| {
        settings.sip.queue_per_destination = QUEUE;
        settings.sip.queue_in_all = 1000;
    });
    for _ in 0..300 {
        (0..TIMES).for_each(|_| flood.xmpp_writes());
        flood.phone_answers();
        flood.passes(STEP);
    }
    flood.calms_down();
    flood.each_has_one_fate(&[], &["resource-constraint"]);
    let refused = flood.told("resource-constraint");
    assert!(refused >= 4 * 300 - 100, "{refused}");
    assert_eq!(flood.answered_by_phones.len() + refused, flood.from_xmpp.len());
    // Per destination one open and as many as may wait; each is an operation, a stanza to answer and a place in the queue or
    // a client transaction.
    assert!(flood.most_open <= 4 * (QUEUE + 1) * PAIRS as usize, "{}", flood.most_open);
    flood.is_as_before();
    flood.world.assert_quiet();
}

/// The same against what waits for all destinations together.
#[test]
fn more_than_all_phones_take_is_refused_with_resource_constraint() {
    const QUEUE: usize = 100;
    let mut flood = Flood::new(|settings| {
        settings.sip.queue_per_destination = QUEUE;
        settings.sip.queue_in_all = QUEUE;
    });
    flood.destinations = 50;
    for _ in 0..300 {
        (0..2 * TIMES).for_each(|_| flood.xmpp_writes());
        (0..2).for_each(|_| flood.phone_answers());
        flood.passes(STEP);
    }
    flood.calms_down();
    flood.each_has_one_fate(&[], &["resource-constraint"]);
    let refused = flood.told("resource-constraint");
    assert!(refused >= 2 * 4 * 300 - 200, "{refused}");
    assert!(flood.most_open <= 4 * (QUEUE + 50), "{}", flood.most_open);
    flood.is_as_before();
    flood.world.assert_quiet();
}

/// The same against the octets that are kept of what is under way, here of long texts, and with a phone that never answers.
#[test]
fn more_octets_than_may_be_under_way_are_refused_with_resource_constraint() {
    const OCTETS: usize = 1 << 20;
    let mut world = World::with(|settings| {
        settings.sip.octets_in_all = OCTETS;
        settings.sip.queue_per_destination = 1000;
        settings.sip.queue_in_all = 1000;
    });
    let text = "x".repeat(60_000);
    let fit = (OCTETS / 60_000) as u32;
    for to in ["juliet", "nurse"] {
        for n in 0..TIMES * fit {
            world.server_writes(format!(
                "<message from='romeo@xmpp.example/x' to='{to}@sip.example' id='{to}{n}'><body>{text}</body></message>"
            ));
        }
    }
    let refused = world.take_stanzas();
    assert_eq!(refused.len() as u32, 2 * TIMES * fit - fit);
    assert!(refused.iter().all(|error| error.contains("<resource-constraint")));
    let first = refused.first().and_then(|error| attribute(error, "id")).map(str::to_owned);
    assert_eq!(first, Some(format!("juliet{fit}")), "those that came first are kept");
    // What is refused leaves no row of its destination, and what is answered gives its room back.
    let request = world.take_datagram().expect("the first");
    assert_eq!(world.take_datagram(), None);
    world.proxy_sends(response(&request, "200 OK", ""));
    world.server_writes(
        "<message from='romeo@xmpp.example/x' to='nurse@sip.example' id='small'><body>hello</body></message>",
    );
    assert!(world.take_datagram().is_some_and(|request| request.starts_with("MESSAGE sip:juliet@")));
    assert!(world.take_datagram().is_some_and(|request| request.starts_with("MESSAGE sip:nurse@")));
    world.advance(Duration::from_secs(40));
    world.take_stanzas();
    world.datagrams.clear();
    world.assert_quiet();
}

/// Of a message from XMPP its addresses and its id are kept, and an id may be as long as a stanza.
#[test]
fn more_octets_of_ids_than_may_be_under_way_are_refused_with_resource_constraint() {
    const OCTETS: usize = 1 << 20;
    let mut world = World::with(|settings| {
        settings.xmpp.octets_in_all = OCTETS;
        settings.sip.queue_per_destination = 1000;
        settings.sip.queue_in_all = 1000;
    });
    let stanza = |n: u32, id: &str| {
        format!(
            "<message from='romeo@xmpp.example/x' to='juliet@sip.example' id='{n}.{id}'><body>hello</body></message>"
        )
    };
    let id = "i".repeat(100_000);
    for n in 0..TIMES * 10 {
        world.server_writes(stanza(n, &id));
    }
    let refused = world.take_stanzas();
    assert!((39..=40).contains(&refused.len()), "{}", refused.len());
    assert!(refused.iter().all(|error| error.contains("<resource-constraint") && error.contains(&id)));
    let mut sent = 0;
    while let Some(request) = world.take_datagram() {
        sent += 1;
        world.proxy_sends(response(&request, "200 OK", ""));
    }
    assert_eq!(sent + refused.len(), (TIMES * 10) as usize);
    world.server_writes(stanza(1000, ""));
    assert!(world.take_datagram().is_some());
    world.advance(Duration::from_secs(40));
    world.take_stanzas();
    world.datagrams.clear();
    world.assert_quiet();
}

/// A text that no request can carry is refused at once: it does not wait for its turn first.
#[test]
fn what_is_too_long_does_not_wait() {
    let mut world = World::new();
    for (n, length) in [(1, 5), (2, 70_000)] {
        let text = "x".repeat(length);
        world.server_writes(format!(
            "<message from='romeo@xmpp.example/x' to='juliet@sip.example' id='m{n}'><body>{text}</body></message>"
        ));
    }
    let refused = world.take_stanza().expect("a refusal");
    assert!(refused.contains("id='m2'") && refused.contains("<policy-violation"), "{refused}");
    let request = world.take_datagram().expect("the short one");
    world.proxy_sends(response(&request, "200 OK", ""));
    world.assert_quiet();
}

/// Requests whose answers need much of them: what is kept of all that are open is bounded.
#[test]
fn more_octets_of_open_requests_than_may_be_are_refused_with_503() {
    const OCTETS: usize = 1 << 20;
    let mut world = World::with(|settings| settings.sip.endpoint.max_ongoing_octets = OCTETS);
    let vias = format!("Via: SIP/2.0/UDP 192.0.2.8;branch=z9hG4bK{}\r\n", "v".repeat(3000)).repeat(15);
    let request = |n: u32| {
        message(n, "romeo@xmpp.example", "hello")
            .replace("Max-Forwards: 70\r\n", &format!("{vias}Max-Forwards: 70\r\n"))
    };
    let fit = OCTETS.div_ceil(vias.len()) as u32;
    for n in 0..TIMES * fit {
        world.proxy_sends(request(n));
    }
    let refused = world.take_statuses();
    assert!(
        refused.len() as u32 >= (TIMES - 1) * fit && refused.iter().all(|&status| status == 503),
        "{}",
        refused.len()
    );
    let crossed = world.return_pings().len();
    assert_eq!(crossed + refused.len(), (TIMES * fit) as usize);
    assert_eq!(world.take_statuses(), vec![202; crossed]);
    world.proxy_sends(request(1000));
    assert_eq!(world.return_pings().len(), 1);
    assert_eq!(world.take_statuses(), [202]);
    world.assert_quiet();
}

/// The same against the number of operations that may be in flight, and against that of client transactions: then it is the
/// gateway as a whole that takes nothing more.
#[test]
fn more_than_may_be_in_flight_from_xmpp_is_refused_as_overload() {
    const MOST: u32 = 100;
    for limit in [
        (|settings: &mut engine::Settings| settings.relay.max_in_flight = MOST as usize) as fn(&mut engine::Settings),
        |settings| settings.sip.endpoint.max_client = MOST as usize,
    ] {
        let mut flood = Flood::new(limit);
        // To somebody else each time, so that none waits for another.
        flood.destinations = u32::MAX;
        for _ in 0..20 {
            (0..TIMES * MOST).for_each(|_| flood.xmpp_writes());
            (0..MOST).for_each(|_| flood.phone_answers());
            flood.passes(STEP);
        }
        flood.calms_down();
        flood.each_has_one_fate(&[], &["internal-server-error"]);
        assert_eq!(flood.at_phones.len(), 20 * MOST as usize, "as many as there is room for, all the time");
        assert_eq!(flood.told("internal-server-error"), 20 * (TIMES - 1) as usize * MOST as usize);
        assert!(flood.most_open <= 4 * MOST as usize, "{}", flood.most_open);
        flood.is_as_before();
        flood.world.assert_quiet();
    }
}

/// The same against what may wait for a next hop over TCP that does not take the connection yet.
#[test]
fn more_than_may_wait_for_a_connection_is_refused_with_resource_constraint() {
    const UNSENT: usize = 20_000;
    let mut flood = Flood::new(|settings| {
        settings.sip.routes = vec![route(&[Transport::Tcp])];
        settings.sip.endpoint.max_unsent = UNSENT;
    });
    flood.destinations = u32::MAX;
    flood.xmpp_writes();
    let length = flood.world.engine.output_len();
    let room = UNSENT.div_ceil(length);
    (1..TIMES as usize * room).for_each(|_| flood.xmpp_writes());
    assert!(flood.most_output < UNSENT + 2 * length, "{}", flood.most_output);
    flood.connection = Some(flood.world.sip_takes_connection());
    flood.calms_down();
    flood.each_has_one_fate(&[], &["resource-constraint"]);
    assert_eq!(flood.at_phones.len(), room);
    flood.is_as_before();
    flood.world.assert_quiet();
}

/// A next hop that takes everything and answers nothing: what was sent to it and what waits behind it fails once, in time, and
/// the rest at once.
#[test]
fn a_flood_towards_phones_that_never_answer_fails_in_time() {
    let mut flood = Flood::new(|settings| {
        settings.sip.queue_per_destination = 20;
        settings.sip.queue_in_all = 50;
    });
    for _ in 0..40 {
        (0..TIMES).for_each(|_| flood.xmpp_writes());
        flood.passes(Duration::from_secs(1));
    }
    flood.passes(Duration::from_secs(40));
    flood.each_has_one_fate(&[], &["resource-constraint"]);
    let (late, refused) = (flood.told("remote-server-timeout"), flood.told("resource-constraint"));
    assert_eq!(late + refused, flood.from_xmpp.len(), "everybody is told");
    assert!(late > 50 && refused > 50, "{late} {refused}");
    assert!(flood.most_open <= 4 * (50 + PAIRS as usize), "{}", flood.most_open);
    assert_eq!(flood.world.engine.open(), 0);
    flood.unanswered.clear();
    flood.is_as_before();
    flood.world.assert_quiet();
}

/// A link that breaks at the height of a flood, when the server has not read for a while, and is down for a while.
#[test]
fn a_link_that_breaks_in_a_flood_leaves_nobody_without_an_answer() {
    let mut flood = Flood::new(|settings| settings.xmpp.unsent_limit = 20_000);
    for round in 0..3 {
        for _ in 0..100 {
            flood.sip_writes();
            flood.passes(STEP);
            flood.server_returns();
        }
        flood.world.reading = false;
        for _ in 0..TIMES * 20 {
            flood.sip_writes();
        }
        flood.world.server_takes(5000);
        flood.look();
        flood.pings.clear();
        flood.world.break_stream();
        for _ in 0..100 {
            flood.sip_writes();
        }
        let unanswered = flood.from_sip.values().filter(|(_, answers)| answers.is_empty()).count();
        assert_eq!(unanswered, 0, "whoever waited is told at once, and whoever comes now too");
        assert_eq!(flood.world.engine.output_len(), 0, "nothing waits for a stream that is gone");
        while flood.world.connects.is_empty() {
            flood.passes(STEP);
        }
        flood.world.reading = true;
        flood.world.accept_component();
        flood.is_as_before();
        flood.each_has_one_fate(&[480], &[]);
        assert!(flood.refused(480) > 0 && flood.refused(504) > 0, "round {round}");
    }
    flood.world.assert_quiet();
}

/// Both directions at once: neither takes the other's room.
#[test]
fn a_flood_of_one_direction_leaves_the_other_alone() {
    for from_sip in [true, false] {
        let mut flood = Flood::new(|settings| {
            settings.sip.endpoint.max_ongoing = 50;
            settings.sip.queue_per_destination = 20;
            settings.sip.queue_in_all = 50;
        });
        let mut quiet = Vec::new();
        for _ in 0..40 {
            for _ in 0..TIMES * 50 {
                if from_sip { flood.sip_writes() } else { flood.xmpp_writes() }
            }
            // One message in the other direction, which crosses at once.
            quiet.push(flood.next);
            if from_sip {
                flood.xmpp_writes();
                while flood.at_phones.last() != flood.answered_by_phones.last() {
                    flood.phone_answers();
                }
            } else {
                flood.sip_writes();
                flood.server_returns();
                flood.phone_answers();
            }
            flood.server_returns();
            flood.passes(STEP);
        }
        flood.calms_down();
        flood.each_has_one_fate(&[503], &["resource-constraint"]);
        assert!(if from_sip { flood.refused(503) } else { flood.told("resource-constraint") } > 1000);
        for n in quiet {
            let crossed = match from_sip {
                true => flood.answered_by_phones.contains(&n),
                false => flood.from_sip[&n].1 == [202],
            };
            assert!(crossed, "message {n}, of the direction that is not flooded");
        }
        flood.is_as_before();
        flood.world.assert_quiet();
    }
}

/// Both directions at once, each at five times what is taken of it.
#[test]
fn floods_of_both_directions_end_as_each_alone() {
    const UNSENT: usize = 20_000;
    let mut flood = Flood::new(|settings| {
        settings.xmpp.unsent_limit = UNSENT;
        settings.sip.queue_per_destination = 20;
        settings.sip.queue_in_all = 50;
    });
    flood.world.reading = false;
    for _ in 0..300 {
        for _ in 0..TIMES {
            flood.sip_writes();
            flood.xmpp_writes();
        }
        flood.world.server_takes(2000);
        flood.look();
        flood.phone_answers();
        flood.passes(STEP);
        flood.server_returns();
    }
    flood.calms_down();
    flood.each_has_one_fate(&[480], &["resource-constraint"]);
    assert!(flood.refused(480) > 300 && flood.told("resource-constraint") > 300);
    // What tells of a failure may wait beside the messages, within twice the limit.
    assert!(flood.most_output < 2 * UNSENT + 2000, "{}", flood.most_output);
    flood.is_as_before();
    flood.world.assert_quiet();
}

/// Connections: those who are known are let in, whatever strangers do; and strangers take no more than their share.
#[test]
fn more_connections_than_may_be_are_closed_and_the_trusted_let_in() {
    const MOST: u16 = 10;
    let mut world = World::with(|settings| settings.sip.connections = usize::from(MOST));
    let strangers: Vec<_> = (0..5 * MOST).map(|port| world.sip_connects(([203, 0, 113, 5], port).into())).collect();
    let open = |world: &World| strangers.iter().filter(|&&stream| !world.is_closed_by_gateway(stream)).count();
    assert_eq!(open(&world), usize::from(MOST));
    for n in 0..u32::from(MOST) {
        let known = world.sip_connects((entente_tests::world::proxy().ip(), n as u16).into());
        assert_eq!(open(&world), usize::from(MOST) - 1 - n as usize, "one stranger for each of them");
        world.sip_writes(known, message(n, "romeo@xmpp.example", "hello").replace("/UDP", "/TCP"));
        world.return_pings();
        assert_eq!(world.sip_reads(known).as_deref().and_then(status), Some(202));
    }
    world.assert_quiet();
}

/// Whoever is not known is answered, and has to read the answers: he is no reason to keep megabytes.
#[test]
fn a_stranger_who_does_not_read_loses_his_connection() {
    for (peer, most) in [("203.0.113.5", 70_000), ("192.0.2.9", 300_000)] {
        let mut world = World::with(|settings| settings.sip.endpoint.max_unsent = 250_000);
        let stream = world.sip_connects((peer.parse::<std::net::IpAddr>().expect("an address"), 40_000).into());
        world.sip.is_reading = false;
        let mut written = 0;
        let mut waited = 0;
        for n in 0.. {
            let request = message(n, "romeo@elsewhere.example", "hello").replace("/UDP", "/TCP");
            written += request.len();
            world.sip_writes(stream, request);
            waited = waited.max(world.engine.output_len());
            if world.is_closed_by_gateway(stream) {
                break;
            }
            assert!(written < 1_000_000, "{peer}: {waited} octets wait for him");
        }
        assert!(waited > most / 2 && waited < most, "{peer}: {waited}");
        world.sip.is_reading = true;
        world.proxy_sends(message(1_000_000, "romeo@xmpp.example", "hello"));
        assert_eq!(world.return_pings().len(), 1, "the message");
        assert_eq!(world.take_statuses(), [202]);
        world.assert_quiet();
    }
}

/// The answers to stanzas beyond a limit are answers like others: what waits for a server that writes and does not read is
/// bounded.
#[test]
fn refusals_of_excess_wait_within_the_bound() {
    let mut world = World::with(|settings| settings.xmpp.unsent_limit = 10_000);
    world.reading = false;
    let deep = format!(
        "<message from='romeo@xmpp.example/x' to='juliet@sip.example' id='{}'>{}{}</message>",
        "i".repeat(1000),
        "<a>".repeat(100),
        "</a>".repeat(100)
    );
    for _ in 0..1000 {
        world.server_writes(&deep);
    }
    assert!(world.engine.output_len() < 300_000, "{}", world.engine.output_len());
    world.resume_reading();
    world.turn();
    let told = world.take_stanzas();
    assert!(!told.is_empty() && told.iter().all(|stanza| stanza.contains("<policy-violation")), "{}", told.len());
    world.proxy_sends(message(1, "romeo@xmpp.example", "hello"));
    assert!(world.take_message().is_some());
}
