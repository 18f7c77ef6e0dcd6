//! Health and metrics as a monitoring system asks for them.
#![allow(clippy::unwrap_used, clippy::disallowed_methods)]

use gateway::driver::{Control, Driver, Ended, Hosted, Wiring};
use gateway::net::Names;
use gateway::telemetry::Metrics;
use gateway::{admin, net};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use tokio::sync::mpsc;
use turn::{Input, Machine, Output};

/// A machine whose link the test takes up and down.
struct Linked {
    up: Arc<AtomicBool>,
    output: Output,
}

impl Machine for Linked {
    fn handle_input(&mut self, _: Instant, _: Input<'_>) -> usize {
        0
    }
    fn handle_timeout(&mut self, _: Instant) {}
    fn poll_timeout(&self) -> Option<(Instant, &'static str)> {
        None
    }
    fn output(&mut self) -> &mut Output {
        &mut self.output
    }
}

impl Hosted for Linked {
    fn is_ready(&self) -> bool {
        self.up.load(Ordering::SeqCst)
    }
    fn is_quiet(&self) -> bool {
        false
    }
    fn measure(&self, metrics: &mut Metrics) {
        metrics.counter("entente_test_total", "A test.", &[("side", "sip")], 5);
    }
}

/// Status and body for a path, once the driver has told: it has two seconds, and may be stopped for longer.
fn ask(address: SocketAddr, path: &str) -> (u16, String) {
    let start = Instant::now();
    loop {
        let answer = ask_once(address, path);
        if !answer.1.contains("does not answer") || start.elapsed() > Duration::from_secs(60) {
            return answer;
        }
    }
}

fn ask_once(address: SocketAddr, path: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head[9..12].parse().unwrap(), body.to_owned())
}

/// A driver with one machine, and what it is asked by.
fn serve(up: bool) -> (SocketAddr, Arc<AtomicBool>, mpsc::Sender<Control>, JoinHandle<Ended>) {
    let up = Arc::new(AtomicBool::new(up));
    let machine = Linked { up: up.clone(), output: Output::new() };
    let (driver, controls) = Driver::new(vec![(Box::new(machine), Wiring::new("test"))], Arc::new(Names::new()));
    let driver = std::thread::spawn(move || driver.run().unwrap());
    let listener = net::bind_listener(SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
    let address = listener.local_addr().unwrap();
    let serving = admin::serve(listener, controls.clone());
    std::thread::spawn(|| {
        tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(serving)
    });
    (address, up, controls, driver)
}

/// Connections that ask nothing, or half a question, keep nobody out: the oldest of too many is closed.
#[test]
fn whoever_connects_and_does_not_ask_keeps_nobody_out() {
    let (address, _, controls, driver) = serve(true);
    let mut idle: Vec<TcpStream> = (0..200)
        .map(|n| {
            let mut stream = TcpStream::connect(address).unwrap();
            if n % 2 == 0 {
                stream.write_all(b"GET /livez HTTP/1.1\r\nHost:").unwrap();
            }
            stream
        })
        .collect();
    assert_eq!(ask(address, "/livez"), (200, "alive\n".into()));
    for stream in &mut idle[..100] {
        stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        // It ends, in order or not, and nothing is said to half a question.
        let mut said = Vec::new();
        match stream.read_to_end(&mut said) {
            Ok(_) => assert_eq!(said, b""),
            Err(error) => assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset),
        }
    }
    assert_eq!(ask(address, "/readyz"), (200, "ready\n".into()));
    controls.blocking_send(Control::Stop).unwrap();
    assert_eq!(driver.join().unwrap(), Ended::Stopped);
}

#[test]
fn health_follows_the_driver_and_its_machines() {
    let (address, up, controls, driver) = serve(false);
    assert_eq!(ask(address, "/livez"), (200, "alive\n".into()));
    assert_eq!(ask(address, "/readyz"), (503, "not ready\n".into()));
    up.store(true, Ordering::SeqCst);
    assert_eq!(ask(address, "/readyz"), (200, "ready\n".into()));
    let (status, text) = ask(address, "/metrics");
    assert_eq!(status, 200);
    assert!(text.contains("\nentente_test_total{side=\"sip\"} 5\n"), "{text}");
    assert!(text.contains("\n# TYPE entente_turns_total counter\n") || text.starts_with("# HELP entente_turns_total"));
    assert_eq!(ask(address, "/secrets").0, 404);

    controls.blocking_send(Control::Drain(Duration::from_secs(60))).unwrap();
    assert_eq!(ask(address, "/readyz"), (503, "not ready\n".into()));
    assert_eq!(ask(address, "/livez").0, 200, "draining is alive");
    controls.blocking_send(Control::Stop).unwrap();
    assert_eq!(driver.join().unwrap(), Ended::Stopped);
    assert_eq!(ask_once(address, "/livez").0, 503);
}
