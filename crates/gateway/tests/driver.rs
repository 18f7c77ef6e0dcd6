//! The driver with real sockets on loopback: what the contract of `turn::Machine` promises a machine, and its peers.
#![allow(clippy::disallowed_methods, clippy::unwrap_used)]

use entente_tests::ports::{free_address, free_port};
use gateway::driver::{Control, Direction, Driver, Ended, Hosted, Report, Seen, Socket, WireTap, Wiring};
use gateway::letters::{self, FileSettings};
use gateway::net::{self, Names};
use gateway::store::{self, TurnLog};
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use turn::{
    Batch, CloseCause, Input, Letter, Machine, Output, Query, SocketId, StoreFailure, StreamId, TableId, Target, Ticket,
};

/// How long a test waits for what has to come.
const PATIENCE: Duration = Duration::from_secs(60);

/// What a test machine was told.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Told {
    Datagram(Vec<u8>),
    Unreachable(SocketAddr),
    Accepted(StreamId),
    Connected(StreamId),
    Received(StreamId, Vec<u8>),
    Secured(StreamId),
    Closed(StreamId, CloseCause),
    Committed(Ticket),
    CommitFailed(Ticket, StoreFailure),
    Loaded(Ticket),
    LoadFailed(Ticket, StoreFailure),
    HandedOver(Ticket),
    HandOverFailed(Ticket),
    Timeout,
    Drained,
}

type Reaction = Box<dyn FnMut(Instant, &Told, &mut Output) -> usize + Send>;

/// Tells the test everything and reacts as the test says.
struct Probe {
    output: Output,
    told: mpsc::Sender<Told>,
    react: Reaction,
    due: Option<Instant>,
    quiet: bool,
}

impl Probe {
    fn tell(&mut self, now: Instant, told: Told) -> usize {
        let consumed = (self.react)(now, &told, &mut self.output);
        let _ = self.told.send(told);
        consumed
    }
}

impl Machine for Probe {
    fn handle_input(&mut self, now: Instant, input: Input<'_>) -> usize {
        let told = match input {
            Input::Datagram { bytes, .. } => Told::Datagram(bytes.to_vec()),
            Input::Unreachable { peer, .. } => Told::Unreachable(peer),
            Input::Accepted { stream, .. } => Told::Accepted(stream),
            Input::Connected { stream, .. } => Told::Connected(stream),
            Input::Received { stream, data } => Told::Received(stream, data.to_vec()),
            Input::Secured { stream } => Told::Secured(stream),
            Input::Closed { stream, cause } => Told::Closed(stream, cause),
            Input::Committed { ticket } => Told::Committed(ticket),
            Input::CommitFailed { ticket, failure } => Told::CommitFailed(ticket, failure),
            Input::Loaded { ticket, .. } => Told::Loaded(ticket),
            Input::LoadFailed { ticket, failure } => Told::LoadFailed(ticket, failure),
            Input::HandedOver { ticket } => Told::HandedOver(ticket),
            Input::HandOverFailed { ticket } => Told::HandOverFailed(ticket),
        };
        if let (Told::Datagram(bytes), Input::Datagram { socket, peer, .. }) = (&told, &input) {
            let (socket, peer, bytes) = (*socket, *peer, bytes.clone());
            self.output.send_datagram(socket, peer, |arena| arena.extend_from_slice(&bytes));
        }
        self.tell(now, told)
    }

    fn handle_timeout(&mut self, now: Instant) {
        if self.due.is_some_and(|due| due <= now) {
            self.due = None;
            self.tell(now, Told::Timeout);
        }
    }

    fn poll_timeout(&self) -> Option<(Instant, &'static str)> {
        self.due.map(|due| (due, "test"))
    }

    fn output(&mut self) -> &mut Output {
        &mut self.output
    }
}

impl Hosted for Probe {
    fn drain(&mut self, now: Instant) {
        self.tell(now, Told::Drained);
    }

    fn is_quiet(&self) -> bool {
        self.quiet
    }
}

struct Bench {
    told: mpsc::Receiver<Told>,
    controls: tokio::sync::mpsc::Sender<Control>,
    thread: Option<JoinHandle<Ended>>,
}

impl Bench {
    fn run(probe: Probe, told: mpsc::Receiver<Told>, wiring: Wiring) -> Self {
        let (driver, controls) = Driver::new(vec![(Box::new(probe), wiring)], Arc::new(Names::new()));
        let thread = std::thread::spawn(move || driver.run().unwrap());
        Self { told, controls, thread: Some(thread) }
    }

    fn next(&self) -> Told {
        self.told.recv_timeout(PATIENCE).expect("the machine is told something")
    }

    fn report(&self) -> Report {
        let (sender, receiver) = tokio::sync::oneshot::channel();
        self.controls.blocking_send(Control::Report(sender)).unwrap();
        receiver.blocking_recv().unwrap()
    }

    fn turns(&self) -> u64 {
        self.report().metrics.value("entente_turns_total", &[("machine", "test")]).unwrap()
    }

    /// Waits until no turn is taken for a while.
    fn falls_idle(&self) {
        let start = Instant::now();
        let mut turns = self.turns();
        loop {
            std::thread::sleep(Duration::from_millis(300));
            let before = std::mem::replace(&mut turns, self.turns());
            if turns == before {
                return;
            }
            assert!(start.elapsed() < PATIENCE, "nothing happens, and turns are taken");
        }
    }

    fn end(mut self, control: Control) -> Ended {
        self.controls.blocking_send(control).unwrap();
        self.thread.take().unwrap().join().unwrap()
    }
}

fn probe(react: impl FnMut(Instant, &Told, &mut Output) -> usize + Send + 'static) -> (Probe, mpsc::Receiver<Told>) {
    let (sender, told) = mpsc::channel();
    (Probe { output: Output::new(), told: sender, react: Box::new(react), due: None, quiet: true }, told)
}

fn loopback() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 0))
}

fn datagrams(wiring: &mut Wiring) -> SocketAddr {
    let socket = net::bind_datagrams(loopback()).unwrap();
    let address = socket.local_addr().unwrap();
    wiring.sockets.push(Socket::Datagrams(socket));
    address
}

fn listener(wiring: &mut Wiring) -> SocketAddr {
    let listener = net::bind_listener(loopback()).unwrap();
    let address = listener.local_addr().unwrap();
    wiring.sockets.push(Socket::Listener(listener));
    address
}

/// Sends back whatever a stream brings.
fn echo(_: Instant, told: &Told, output: &mut Output) -> usize {
    let Told::Received(stream, data) = told else { return 0 };
    output.stream(*stream).unwrap().extend_from_slice(data);
    data.len()
}

fn patient(stream: TcpStream) -> TcpStream {
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.set_write_timeout(Some(PATIENCE)).unwrap();
    stream
}

#[test]
fn a_machine_without_a_store_is_told_that_it_is_broken() {
    let mut wiring = Wiring::new("test");
    let address = datagrams(&mut wiring);
    let (machine, told) = probe(|_, told, output| {
        if let Told::Datagram(_) = told {
            output.commit(Batch::default());
            output.load(Query { table: TableId(1), prefix: Vec::new(), after: None, limit: 1 });
        }
        0
    });
    let bench = Bench::run(machine, told, wiring);
    let sender = UdpSocket::bind(loopback()).unwrap();
    sender.send_to(b"order", address).unwrap();
    assert_eq!(bench.next(), Told::Datagram(b"order".to_vec()));
    assert_eq!(bench.next(), Told::CommitFailed(Ticket(1), StoreFailure::Broken));
    assert_eq!(bench.next(), Told::LoadFailed(Ticket(2), StoreFailure::Broken));
    assert_eq!(bench.end(Control::Stop), Ended::Stopped);
}

fn query() -> Query {
    Query { table: store::QUEUE, prefix: Vec::new(), after: None, limit: 10 }
}

#[test]
fn what_a_machine_orders_is_kept_and_what_it_says_is_logged_before_it_is_said() {
    let folder = tempfile::tempdir().unwrap();
    let (turn_log, before) = TurnLog::open(folder.path()).unwrap();
    assert!(before.is_empty());
    let mut wiring = Wiring::new("test");
    let address = datagrams(&mut wiring);
    wiring.store = Some(store::open(folder.path()).unwrap().run().unwrap());
    wiring.turn_log = Some(turn_log);
    let reader = wiring.store.as_ref().unwrap().reader();
    let (machine, told) = probe(|_, told, output| {
        if let Told::Datagram(said) = told {
            let mut batch = Batch::default();
            batch.put(store::QUEUE, said, |value| value.extend_from_slice(b"kept"));
            output.commit(batch);
            output.load(query());
            output.log().extend_from_slice(&[&(said.len() as u16).to_le_bytes()[..], said].concat());
        }
        0
    });
    let bench = Bench::run(machine, told, wiring);
    let peer = UdpSocket::bind(loopback()).unwrap();
    peer.set_read_timeout(Some(PATIENCE)).unwrap();
    peer.send_to(b"order", address).unwrap();
    // The probe answers with what it got; by then it stands in the log.
    assert_eq!(recv_from(&peer, &mut [0; 100]).0, 5);
    assert_eq!(TurnLog::open(folder.path()).unwrap().1, b"\x05\0order");
    assert_eq!(bench.next(), Told::Datagram(b"order".to_vec()));
    assert_eq!(bench.next(), Told::Committed(Ticket(1)));
    assert_eq!(bench.next(), Told::Loaded(Ticket(2)));
    assert_eq!(reader.find(query()).unwrap().0.len(), 1);
    let metrics = bench.report().metrics;
    assert_eq!(metrics.value("entente_store_commits_total", &[]), Some(1));
    assert_eq!(metrics.value("entente_turn_log_written_bytes_total", &[]), Some(7));
    assert_eq!(bench.end(Control::Stop), Ended::Stopped);
    // The folder is free again.
    assert_eq!(store::open(folder.path()).unwrap().rows().count(), 1);
}

#[test]
fn draining_waits_for_the_store() {
    let folder = tempfile::tempdir().unwrap();
    let mut wiring = Wiring::new("test");
    wiring.store = Some(store::open(folder.path()).unwrap().run().unwrap());
    let (machine, told) = probe(|_, told, output| {
        if *told == Told::Drained {
            for key in 0..20u8 {
                let mut batch = Batch::default();
                batch.put(store::QUEUE, &[key], |value| value.resize(10_000, key));
                output.commit(batch);
            }
        }
        0
    });
    let bench = Bench::run(machine, told, wiring);
    assert_eq!(bench.end(Control::Drain(PATIENCE)), Ended::Quiet);
    assert_eq!(store::open(folder.path()).unwrap().rows().count(), 20);
}

/// What Romeo does not get.
fn letter() -> Letter {
    Letter {
        id: "1".into(),
        source: "juliet@sip.example".into(),
        destination: "romeo@xmpp.example".into(),
        arrived: None,
        reason: "too late",
        content_type: b"text/plain".to_vec(),
        content: b"Wherefore art thou?".to_vec(),
    }
}

#[test]
fn nobody_takes_a_letter_where_nothing_is_configured() {
    let mut wiring = Wiring::new("test");
    let address = datagrams(&mut wiring);
    let (machine, told) = probe(|_, told, output| {
        if let Told::Datagram(_) = told {
            output.hand_over(letter());
        }
        0
    });
    let bench = Bench::run(machine, told, wiring);
    let sender = UdpSocket::bind(loopback()).unwrap();
    sender.send_to(b"order", address).unwrap();
    assert_eq!(bench.next(), Told::Datagram(b"order".to_vec()));
    assert_eq!(bench.next(), Told::HandOverFailed(Ticket(1)));
    assert_eq!(bench.end(Control::Stop), Ended::Stopped);
}

/// A machine that hands a letter over for each datagram.
fn postmaster() -> (Probe, mpsc::Receiver<Told>) {
    probe(|_, told, output| {
        if let Told::Datagram(_) = told {
            output.hand_over(letter());
        }
        0
    })
}

#[test]
fn letters_are_written_to_the_file_and_the_machine_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("dead");
    let mut wiring = Wiring::new("test");
    let address = datagrams(&mut wiring);
    let file = Some(FileSettings { path: path.clone(), limit: 1 << 20 });
    wiring.letters = Some(letters::Settings { host: "gw.example".into(), file, mail: None });
    let (machine, told) = postmaster();
    let bench = Bench::run(machine, told, wiring);
    let sender = UdpSocket::bind(loopback()).unwrap();
    for ticket in 1..=2 {
        sender.send_to(b"order", address).unwrap();
        assert_eq!(bench.next(), Told::Datagram(b"order".to_vec()));
        assert_eq!(bench.next(), Told::HandedOver(Ticket(ticket)));
    }
    std::fs::remove_file(&path).unwrap();
    std::fs::create_dir(&path).unwrap();
    sender.send_to(b"order", address).unwrap();
    assert_eq!(bench.next(), Told::Datagram(b"order".to_vec()));
    assert_eq!(bench.next(), Told::HandOverFailed(Ticket(3)));
    let metrics = bench.report().metrics;
    for (outcome, count) in [("written", 2), ("mailed", 0), ("failed", 1)] {
        let labels = [("machine", "test"), ("outcome", outcome)];
        assert_eq!(metrics.value("entente_letters_total", &labels), Some(count), "{outcome}");
    }
    assert_eq!(bench.end(Control::Stop), Ended::Stopped);
}

#[test]
fn draining_waits_for_letters_that_are_under_way() {
    let server = TcpListener::bind(loopback()).unwrap();
    let mut wiring = Wiring::new("test");
    let address = datagrams(&mut wiring);
    let mail = letters::MailSettings {
        host: "127.0.0.1".into(),
        port: server.local_addr().unwrap().port(),
        security: letters::Security::None,
        authorities: None,
        credentials: None,
        from: "gateway@mail.example".parse().unwrap(),
        to: "postmaster@mail.example".parse().unwrap(),
        patience: 10 * PATIENCE,
    };
    wiring.letters = Some(letters::Settings { host: "gw.example".into(), file: None, mail: Some(mail) });
    let (machine, told) = postmaster();
    let mut bench = Bench::run(machine, told, wiring);
    let sender = UdpSocket::bind(loopback()).unwrap();
    sender.send_to(b"order", address).unwrap();
    assert_eq!(bench.next(), Told::Datagram(b"order".to_vec()));
    let connection = server.accept().unwrap();
    bench.controls.blocking_send(Control::Drain(100 * PATIENCE)).unwrap();
    assert_eq!(bench.next(), Told::Drained);
    // It takes its turns and does not end.
    bench.report();
    drop(connection);
    assert_eq!(bench.next(), Told::HandOverFailed(Ticket(1)));
    assert_eq!(bench.thread.take().unwrap().join().unwrap(), Ended::Quiet);
}

/// What comes next, also after somebody has stopped this program for a while.
fn recv_from(socket: &UdpSocket, buffer: &mut [u8]) -> (usize, SocketAddr) {
    loop {
        match socket.recv_from(buffer) {
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            received => return received.unwrap(),
        }
    }
}

#[test]
fn datagrams_come_back_whole_and_in_order() {
    let mut wiring = Wiring::new("test");
    let address = datagrams(&mut wiring);
    let (machine, told) = probe(|_, _, _| 0);
    let bench = Bench::run(machine, told, wiring);
    let client = UdpSocket::bind(loopback()).unwrap();
    client.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut buffer = vec![0; 70_000];
    for round in 0..20u32 {
        for n in 0..50 {
            client.send_to(&(round * 50 + n).to_be_bytes(), address).unwrap();
        }
        for n in 0..50 {
            let (length, _) = recv_from(&client, &mut buffer);
            assert_eq!(buffer[..length], (round * 50 + n).to_be_bytes());
        }
    }
    // As much as a datagram of IPv4 holds.
    let large: Vec<u8> = (0..65_507u32).map(|n| n as u8).collect();
    client.send_to(&large, address).unwrap();
    let (length, _) = recv_from(&client, &mut buffer);
    assert_eq!(buffer[..length], large);
    assert_eq!(bench.end(Control::Stop), Ended::Stopped);
}

#[test]
fn an_idle_driver_takes_no_turns() {
    let mut wiring = Wiring::new("test");
    let address = listener(&mut wiring);
    datagrams(&mut wiring);
    let (machine, told) = probe(echo);
    let bench = Bench::run(machine, told, wiring);
    let idle: Vec<TcpStream> = (0..20).map(|_| TcpStream::connect(address).unwrap()).collect();
    for _ in &idle {
        assert!(matches!(bench.next(), Told::Accepted(_)));
    }
    bench.falls_idle();
}

#[test]
fn an_unreachable_peer_of_datagrams_is_reported_at_once() {
    unreachable_on(loopback());
    unreachable_on(SocketAddr::from((std::net::Ipv6Addr::LOCALHOST, 0)));
}

fn unreachable_on(loopback: SocketAddr) {
    let mut wiring = Wiring::new("test");
    let socket = net::bind_datagrams(loopback).unwrap();
    let address = socket.local_addr().unwrap();
    wiring.sockets.push(Socket::Datagrams(socket));
    let dead = SocketAddr::new(loopback.ip(), free_port());
    let alive = UdpSocket::bind(loopback).unwrap();
    alive.set_read_timeout(Some(PATIENCE)).unwrap();
    let (machine, told) = probe(move |_, told, output| {
        if matches!(told, Told::Datagram(_)) {
            output.send_datagram(SocketId(0), dead, |arena| arena.extend_from_slice(b"anyone?"));
        }
        0
    });
    let bench = Bench::run(machine, told, wiring);
    for _ in 0..3 {
        alive.send_to(b"go", address).unwrap();
        assert_eq!(bench.next(), Told::Datagram(b"go".to_vec()));
        assert_eq!(bench.next(), Told::Unreachable(dead));
        // The error of one peer takes nothing from another.
        let mut buffer = [0; 16];
        assert_eq!(recv_from(&alive, &mut buffer).0, 2);
    }
    // The error queue is empty and does not keep the driver awake.
    bench.falls_idle();
    bench.end(Control::Stop);
}

/// One driver runs both ends: the first machine connects to the second, which echoes.
#[test]
fn machines_of_one_driver_talk_over_their_sockets() {
    let mut accepting = Wiring::new("accepting");
    let address = listener(&mut accepting);
    let (mut caller, told) = probe(|_, told, output| {
        let Told::Received(stream, data) = told else { return 0 };
        if data.len() < 1 << 20 {
            return 0;
        }
        output.close(*stream);
        data.len()
    });
    let stream = caller.output.connect(Target::Address(address));
    caller.output.stream(stream).unwrap().resize(1 << 20, b'x');
    let (callee, callee_told) = probe(echo);
    let parts: Vec<(Box<dyn Hosted>, Wiring)> =
        vec![(Box::new(caller), Wiring::new("calling")), (Box::new(callee), accepting)];
    let (driver, controls) = Driver::new(parts, Arc::new(Names::new()));
    let thread = std::thread::spawn(move || driver.run().unwrap());
    assert_eq!(told.recv_timeout(PATIENCE), Ok(Told::Connected(stream)));
    let last = loop {
        match told.recv_timeout(PATIENCE).unwrap() {
            Told::Received(..) => {}
            other => break other,
        }
    };
    assert_eq!(last, Told::Closed(stream, CloseCause::Ours));
    let closed =
        std::iter::from_fn(|| callee_told.recv_timeout(PATIENCE).ok()).find(|told| matches!(told, Told::Closed(..)));
    assert!(matches!(closed, Some(Told::Closed(_, CloseCause::Peer))), "{closed:?}");
    controls.blocking_send(Control::Stop).unwrap();
    assert_eq!(thread.join().unwrap(), Ended::Stopped);
}

#[test]
fn unconsumed_bytes_come_again_with_what_arrived_after_them() {
    let mut wiring = Wiring::new("test");
    let address = listener(&mut wiring);
    // Consumes lines only.
    let (machine, told) = probe(|_, told, _| match told {
        Told::Received(_, data) => data.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1),
        _ => 0,
    });
    let bench = Bench::run(machine, told, wiring);
    let mut client = patient(TcpStream::connect(address).unwrap());
    let Told::Accepted(stream) = bench.next() else { panic!("accepted first") };
    for (sent, seen) in
        [("one", "one"), (" line", "one line"), ("\nnext", "one line\nnext"), ("!", "next!"), ("\n", "next!\n")]
    {
        client.write_all(sent.as_bytes()).unwrap();
        assert_eq!(bench.next(), Told::Received(stream, seen.as_bytes().to_vec()));
    }
    drop(client);
    assert_eq!(bench.next(), Told::Closed(stream, CloseCause::Peer));
}

#[test]
fn a_slow_reader_gets_ten_megabytes_whole() {
    let mut wiring = Wiring::new("test");
    let address = listener(&mut wiring);
    let (machine, told) = probe(|_, told, output| {
        let Told::Received(stream, data) = told else { return 0 };
        let buffer = output.stream(*stream).unwrap();
        for n in 0..(10 << 20) / 4u32 {
            buffer.extend_from_slice(&n.to_be_bytes());
        }
        data.len()
    });
    let bench = Bench::run(machine, told, wiring);
    let mut slow = patient(TcpStream::connect(address).unwrap());
    slow.write_all(b"give").unwrap();
    // Someone else is served meanwhile.
    let mut other = patient(TcpStream::connect(address).unwrap());
    std::thread::sleep(Duration::from_millis(100));
    other.write_all(b"give").unwrap();
    let mut first = [0; 4];
    other.read_exact(&mut first).unwrap();
    let mut received = vec![0; 10 << 20];
    let mut filled = 0;
    while filled < received.len() {
        let end = received.len().min(filled + 300_000);
        filled += slow.read(&mut received[filled..end]).unwrap();
        std::thread::sleep(Duration::from_millis(2));
    }
    assert!(received.chunks(4).zip(0u32..).all(|(chunk, n)| chunk == n.to_be_bytes()));
    bench.end(Control::Stop);
}

#[test]
fn a_refused_connection_is_closed_as_refused() {
    let dead = free_address();
    let (mut machine, told) = probe(echo);
    let by_address = machine.output.connect(Target::Address(dead));
    let by_name = machine.output.connect(Target::Configured(0));
    let nowhere = machine.output.connect(Target::Configured(1));
    let mut wiring = Wiring::new("test");
    wiring.targets = vec![format!("localhost:{}", dead.port()), "not a target".into()];
    let bench = Bench::run(machine, told, wiring);
    let mut closed = [bench.next(), bench.next(), bench.next()];
    closed.sort_by_key(|told| format!("{told:?}"));
    let mut expected = [by_address, by_name, nowhere].map(|stream| Told::Closed(stream, CloseCause::Refused));
    expected.sort_by_key(|told| format!("{told:?}"));
    assert_eq!(closed, expected);
}

#[test]
fn what_was_written_before_the_connection_stood_leaves_first() {
    let server = TcpListener::bind(loopback()).unwrap();
    let (mut machine, told) = probe(|_, told, output| {
        if let Told::Connected(stream) = told {
            output.stream(*stream).unwrap().extend_from_slice(b"second");
        }
        0
    });
    let stream = machine.output.connect(Target::Configured(0));
    machine.output.stream(stream).unwrap().extend_from_slice(b"first, ");
    let mut wiring = Wiring::new("test");
    wiring.targets = vec![server.local_addr().unwrap().to_string()];
    let bench = Bench::run(machine, told, wiring);
    let mut peer = patient(server.accept().unwrap().0);
    let mut received = [0; 13];
    peer.read_exact(&mut received).unwrap();
    assert_eq!(&received, b"first, second");
    assert_eq!(bench.next(), Told::Connected(stream));
    drop(peer);
    assert_eq!(bench.next(), Told::Closed(stream, CloseCause::Peer));
}

#[test]
fn last_words_reach_a_peer_that_was_still_sending() {
    let mut wiring = Wiring::new("test");
    let address = listener(&mut wiring);
    let (machine, told) = probe(|_, told, output| {
        let Told::Received(stream, _) = told else { return 0 };
        output.stream(*stream).unwrap().extend_from_slice(b"too much");
        output.close(*stream);
        output.close(*stream);
        0
    });
    let bench = Bench::run(machine, told, wiring);
    let mut client = patient(TcpStream::connect(address).unwrap());
    let mut sender = client.try_clone().unwrap();
    let sending = std::thread::spawn(move || {
        let chunk = [b'x'; 4096];
        // Ends when the other side has closed.
        for _ in 0..500 {
            if sender.write_all(&chunk).is_err() {
                break;
            }
        }
    });
    let Told::Accepted(stream) = bench.next() else { panic!("accepted first") };
    let mut words = Vec::new();
    client.read_to_end(&mut words).unwrap();
    assert_eq!(&words[..8], b"too much");
    sending.join().unwrap();
    drop(client);
    let last = loop {
        match bench.next() {
            Told::Received(..) => {}
            other => break other,
        }
    };
    assert_eq!(last, Told::Closed(stream, CloseCause::Ours));
    // However often it was closed, it ends once, and nothing comes after the end.
    bench.falls_idle();
    assert_eq!(bench.told.try_recv().ok(), None);
}

#[test]
fn a_peer_that_never_closes_does_not_hold_a_stream() {
    let mut wiring = Wiring::new("test");
    let address = listener(&mut wiring);
    let (machine, told) = probe(|_, told, output| {
        if let Told::Accepted(stream) = told {
            output.close(*stream);
        }
        0
    });
    let bench = Bench::run(machine, told, wiring);
    let client = patient(TcpStream::connect(address).unwrap());
    let Told::Accepted(stream) = bench.next() else { panic!("accepted first") };
    assert_eq!(bench.next(), Told::Closed(stream, CloseCause::Ours));
    drop(client);
}

#[test]
fn the_answer_to_a_peer_that_half_closed_still_leaves() {
    let mut wiring = Wiring::new("test");
    let address = listener(&mut wiring);
    let (machine, told) = probe(echo);
    let bench = Bench::run(machine, told, wiring);
    let mut client = patient(TcpStream::connect(address).unwrap());
    client.write_all(b"ping").unwrap();
    client.shutdown(std::net::Shutdown::Write).unwrap();
    let mut answer = Vec::new();
    client.read_to_end(&mut answer).unwrap();
    assert_eq!(answer, b"ping");
    let Told::Accepted(stream) = bench.next() else { panic!("accepted first") };
    assert_eq!(bench.next(), Told::Received(stream, b"ping".to_vec()));
    assert_eq!(bench.next(), Told::Closed(stream, CloseCause::Peer));
}

#[test]
fn more_streams_than_allowed_are_turned_away() {
    let mut wiring = Wiring::new("test");
    wiring.limits.accepted = 2;
    let address = listener(&mut wiring);
    let (machine, told) = probe(echo);
    let bench = Bench::run(machine, told, wiring);
    let mut kept: Vec<TcpStream> = (0..2).map(|_| patient(TcpStream::connect(address).unwrap())).collect();
    let (Told::Accepted(_), Told::Accepted(_)) = (bench.next(), bench.next()) else { panic!("two fit") };
    let mut third = patient(TcpStream::connect(address).unwrap());
    let end = third.read(&mut [0; 1]);
    assert!(matches!(end, Ok(0)) || end.is_err_and(|error| error.kind() == ErrorKind::ConnectionReset));
    kept.pop();
    assert!(matches!(bench.next(), Told::Closed(_, CloseCause::Peer)));
    let mut fourth = patient(TcpStream::connect(address).unwrap());
    fourth.write_all(b"hello").unwrap();
    let mut answer = [0; 5];
    fourth.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"hello");
}

#[test]
fn a_stream_that_nobody_reads_fails_at_its_bound() {
    let mut wiring = Wiring::new("test");
    wiring.limits.unconsumed = 100_000;
    let address = listener(&mut wiring);
    let (machine, told) = probe(|_, _, _| 0);
    let bench = Bench::run(machine, told, wiring);
    let mut client = patient(TcpStream::connect(address).unwrap());
    // May fail when the other side gives up.
    let _ = client.write_all(&vec![b'x'; 1 << 20]);
    let last = loop {
        match bench.next() {
            Told::Received(_, data) => assert!(data.len() <= 100_000 + (1 << 16)),
            Told::Accepted(_) => {}
            other => break other,
        }
    };
    assert!(matches!(last, Told::Closed(_, CloseCause::Failed)), "{last:?}");
}

#[test]
fn timeouts_come_when_due() {
    let (mut machine, told) = probe(|_, _, _| 0);
    let due = Instant::now() + Duration::from_millis(80);
    machine.due = Some(due);
    let bench = Bench::run(machine, told, Wiring::new("test"));
    assert_eq!(bench.next(), Told::Timeout);
    assert!(Instant::now() >= due);
}

/// Keeps what goes by.
struct Keeper(mpsc::Sender<(Direction, bool, SocketAddr, SocketAddr, Vec<u8>)>);

impl WireTap for Keeper {
    fn see(&mut self, seen: &Seen<'_>) {
        assert_eq!(seen.machine, "test");
        let _ = self.0.send((seen.direction, seen.datagram, seen.local, seen.peer, seen.bytes.to_vec()));
    }
}

#[test]
fn a_tap_sees_every_byte_with_its_way_and_its_ends() {
    let mut wiring = Wiring::new("test");
    let (datagrams, listener) = (datagrams(&mut wiring), listener(&mut wiring));
    let (sender, seen) = mpsc::channel();
    wiring.tap = Some(Box::new(Keeper(sender)));
    let (machine, told) = probe(echo);
    let bench = Bench::run(machine, told, wiring);

    let client = UdpSocket::bind(loopback()).unwrap();
    client.set_read_timeout(Some(PATIENCE)).unwrap();
    client.send_to(b"datagram", datagrams).unwrap();
    recv_from(&client, &mut [0; 16]);
    let mut stream = patient(TcpStream::connect(listener).unwrap());
    stream.write_all(b"stream").unwrap();
    stream.read_exact(&mut [0; 6]).unwrap();

    let mut expected = Vec::new();
    for (datagram, local, peer, bytes) in [
        (true, datagrams, client.local_addr().unwrap(), &b"datagram"[..]),
        (false, listener, stream.local_addr().unwrap(), b"stream"),
    ] {
        expected.push((Direction::In, datagram, local, peer, bytes.to_vec()));
        expected.push((Direction::Out, datagram, local, peer, bytes.to_vec()));
    }
    assert_eq!(seen.iter().take(4).collect::<Vec<_>>(), expected);
    bench.end(Control::Stop);
}

/// Has more to do than it does in one timeout.
struct Busy(Probe);

impl Machine for Busy {
    fn handle_input(&mut self, now: Instant, input: Input<'_>) -> usize {
        self.0.handle_input(now, input)
    }
    fn handle_timeout(&mut self, now: Instant) {
        self.0.due = Some(now);
    }
    fn poll_timeout(&self) -> Option<(Instant, &'static str)> {
        self.0.due.map(|due| (due, "always"))
    }
    fn output(&mut self) -> &mut Output {
        self.0.output()
    }
}

impl Hosted for Busy {}

#[test]
fn timers_that_are_always_due_do_not_keep_sockets_and_orders_out() {
    let mut wiring = Wiring::new("test");
    let address = datagrams(&mut wiring);
    let (machine, _told) = probe(|_, _, _| 0);
    let (driver, controls) = Driver::new(vec![(Box::new(Busy(machine)), wiring)], Arc::new(Names::new()));
    let thread = std::thread::spawn(move || driver.run().unwrap());
    let client = UdpSocket::bind(loopback()).unwrap();
    client.set_read_timeout(Some(PATIENCE)).unwrap();
    client.send_to(b"anyone?", address).unwrap();
    assert_eq!(recv_from(&client, &mut [0; 16]).0, 7);
    controls.blocking_send(Control::Stop).unwrap();
    assert_eq!(thread.join().unwrap(), Ended::Stopped);
}

#[test]
fn draining_accepts_nothing_new_and_ends_when_quiet_or_overdue() {
    for (quiet, patience, expected) in
        [(true, PATIENCE, Ended::Quiet), (false, Duration::from_millis(200), Ended::Overdue)]
    {
        let mut wiring = Wiring::new("test");
        let address = free_address();
        wiring.sockets.push(Socket::Listener(net::bind_listener(address).unwrap()));
        let (mut machine, told) = probe(|_, _, _| 0);
        machine.quiet = quiet;
        let bench = Bench::run(machine, told, wiring);
        let start = Instant::now();
        let controls = bench.controls.clone();
        controls.blocking_send(Control::Drain(patience)).unwrap();
        assert_eq!(bench.next(), Told::Drained);
        assert!(TcpStream::connect(address).is_err());
        assert_eq!(bench.thread.unwrap().join().unwrap(), expected);
        assert_eq!(start.elapsed() >= patience, !quiet);
    }
}

mod secure {
    use super::*;
    use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};

    fn certified() -> (CertificateDer<'static>, PrivateKeyDer<'static>) {
        let made = rcgen::generate_simple_self_signed(vec!["xmpp.example".into()]).unwrap();
        (made.cert.der().clone(), PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap())
    }

    /// Upgrades on "tls?" and echoes behind it.
    fn upgrading(now: Instant, told: &Told, output: &mut Output) -> usize {
        let Told::Received(stream, data) = told else { return 0 };
        if data.starts_with(b"tls?") {
            output.stream(*stream).unwrap().extend_from_slice(b"proceed");
            output.start_tls(*stream);
            return 4;
        }
        echo(now, told, output)
    }

    #[test]
    fn a_stream_is_upgraded_and_carries_a_megabyte_both_ways() {
        let (certificate, key) = certified();
        let mut wiring = Wiring::new("test");
        wiring.tls = Some(net::tls::accepting(vec![certificate.clone()], key).unwrap());
        let address = listener(&mut wiring);
        let (machine, told) = probe(upgrading);
        let bench = Bench::run(machine, told, wiring);

        let mut client = patient(TcpStream::connect(address).unwrap());
        client.write_all(b"tls?").unwrap();
        let mut proceed = [0; 7];
        client.read_exact(&mut proceed).unwrap();
        assert_eq!(&proceed, b"proceed");

        let mut roots = rustls::RootCertStore::empty();
        roots.add(certificate).unwrap();
        let config = rustls::ClientConfig::builder_with_provider(net::tls::provider())
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        let name = ServerName::try_from("xmpp.example").unwrap();
        let mut session = rustls::ClientConnection::new(Arc::new(config), name).unwrap();
        let mut secure = rustls::Stream::new(&mut session, &mut client);
        let sent: Vec<u8> = (0..1u32 << 20).map(|n| (n >> 3) as u8).collect();
        let mut received = Vec::new();
        for chunk in sent.chunks(50_000) {
            secure.write_all(chunk).unwrap();
            let mut back = vec![0; chunk.len()];
            secure.read_exact(&mut back).unwrap();
            received.extend_from_slice(&back);
        }
        assert!(received == sent);
        session.send_close_notify();
        session.write_tls(&mut client).unwrap();
        let Told::Accepted(stream) = bench.next() else { panic!("accepted first") };
        assert_eq!(bench.next(), Told::Received(stream, b"tls?".to_vec()));
        assert_eq!(bench.next(), Told::Secured(stream));
        let last = loop {
            match bench.next() {
                Told::Received(..) => {}
                other => break other,
            }
        };
        assert_eq!(last, Told::Closed(stream, CloseCause::Peer));
    }

    #[test]
    fn plain_text_behind_the_request_is_never_taken_for_secured_text() {
        let (certificate, key) = certified();
        let mut wiring = Wiring::new("test");
        wiring.tls = Some(net::tls::accepting(vec![certificate], key).unwrap());
        let address = listener(&mut wiring);
        let (machine, told) = probe(upgrading);
        let bench = Bench::run(machine, told, wiring);
        let mut client = patient(TcpStream::connect(address).unwrap());
        client.write_all(b"tls?injected").unwrap();
        let Told::Accepted(stream) = bench.next() else { panic!("accepted first") };
        assert_eq!(bench.next(), Told::Received(stream, b"tls?injected".to_vec()));
        assert_eq!(bench.next(), Told::Closed(stream, CloseCause::Failed));
    }
}
