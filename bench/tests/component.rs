//! The XMPP server the generator plays, seen by a component written by hand.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use entente_tests::ports::free_address;

/// How long a test waits for what has to come.
const PATIENCE: Duration = Duration::from_secs(60);

struct Server {
    process: Child,
    stream: TcpStream,
    heard: String,
}

impl Server {
    /// Starts the generator and shakes hands with it as `sip.test`.
    fn start(words: &[&str]) -> Self {
        let [gateway, phones, server] = [(); 3].map(|()| free_address().to_string());
        let process = Command::new(env!("CARGO_BIN_EXE_entente-bench"))
            .args(["--no-gateway", "--workload", "xmpp-to-sip", "--rate", "1", "--warmup", "0", "--seconds", "600"])
            .args(["--connect-timeout", "60"])
            .args(["--gateway-sip", &gateway, "--sip-listen", &phones, "--xmpp-listen", &server])
            .args(words)
            .stdout(Stdio::null())
            .spawn()
            .expect("the generator can be started");
        let mut server = Self { process, stream: connect(&server), heard: String::new() };
        server.say("<?xml version='1.0'?><stream:stream xmlns='jabber:component:accept' ");
        server.say("xmlns:stream='http://etherx.jabber.org/streams' to='sip.test'>");
        server.hear("from='sip.test'>");
        server.say("<handshake>whatever</handshake>");
        server.hear("<handshake/>");
        server
    }

    fn say(&mut self, text: &str) {
        self.stream.write_all(text.as_bytes()).expect("the server reads");
    }

    /// Waits for the text; what came before it.
    fn hear(&mut self, text: &str) -> String {
        loop {
            if let Some(at) = self.heard.find(text) {
                let before = self.heard[..at].to_owned();
                self.heard.drain(..at + text.len());
                return before;
            }
            let mut buffer = [0; 4096];
            let length = match self.stream.read(&mut buffer) {
                // Somebody has stopped this program for a while.
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                read => read.unwrap_or_else(|error| panic!("{error}: no {text} in {}", self.heard)),
            };
            assert!(length > 0, "closed before {text}");
            self.heard.push_str(std::str::from_utf8(&buffer[..length]).expect("text"));
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

#[expect(clippy::disallowed_methods, reason = "a real process starts meanwhile")]
fn connect(address: &str) -> TcpStream {
    let start = Instant::now();
    loop {
        if let Ok(stream) = TcpStream::connect(address) {
            stream.set_read_timeout(Some(PATIENCE)).expect("a time-out can be set");
            return stream;
        }
        assert!(start.elapsed() < PATIENCE, "nobody listens on {address}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

const PING: &str = "<iq type='get' id='p1' from='sip.test' to='sip.test'><ping xmlns='urn:xmpp:ping'/></iq>";

#[test]
fn what_is_addressed_to_the_component_comes_back_in_order() {
    let mut server = Server::start(&[]);
    let result = "<iq type='result' id='p1' from='sip.test' to='sip.test'/>";
    server.say(&format!("{PING}<iq type='get' id='d' from='sip.test' to='xmpp.test'><x/></iq>{result}{PING}"));
    // The generator's own first message may stand before it.
    server.hear(PING);
    let between = server.hear(result);
    assert!(between.contains("<iq type='error' from='xmpp.test' to='sip.test' id='d'>"), "{between}");
    server.hear(PING);
}

#[test]
fn a_server_is_alive() {
    let mut server = Server::start(&[]);
    server.say(&PING.replace("to='sip.test'", "to='xmpp.test'"));
    server.hear("<iq type='result' from='xmpp.test' to='sip.test' id='p1'></iq>");
}

#[test]
#[expect(clippy::disallowed_methods, reason = "measures a real process")]
fn returns_can_be_held_back_while_other_stanzas_pass() {
    let mut server = Server::start(&["--barrier-delay", "0.3", "--xmpp-answer", "bounce"]);
    let began = Instant::now();
    server.say(&format!("{PING}<message from='a@sip.test' to='b@xmpp.test' id='m'><body>x</body></message>"));
    let before = server.hear("<message type='error' from='b@xmpp.test' to='a@sip.test' id='m'>");
    assert!(!before.contains("p1"), "{before}");
    server.hear(PING);
    assert!(began.elapsed() >= Duration::from_millis(300));
}

#[test]
fn a_receipt_is_given_where_one_is_asked_for() {
    let mut server = Server::start(&["--workload", "both", "--xmpp-answer", "receipt", "--rate", "100"]);
    // Only a message of this run gets one. The run is known from a stanza of the generator; the same number with the letter of
    // the other direction is a message its SIP side has sent.
    server.hear("id='eb");
    let mark = server.hear("'>");
    let mark = format!("eb{}", mark.replace('x', "s"));
    server.say(&format!(
        "<message from='s000000@sip.test' to='x000000@xmpp.test' id='m'><body>{mark}</body><request xmlns='urn:xmpp:receipts'/></message>"
    ));
    server.hear("<received xmlns='urn:xmpp:receipts' id='m'/></message>");
}
