//! `entente run` between an XMPP server and a SIP proxy that the test plays on loopback.
#![allow(clippy::unwrap_used, clippy::disallowed_methods)]

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use sha1::{Digest, Sha1};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

const PATIENCE: Duration = Duration::from_secs(20);

/// The gateway, killed with the test.
struct Gateway(Child);

impl Gateway {
    fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(i32::try_from(self.0.id()).unwrap()), signal).unwrap();
    }

    fn wait(&mut self) -> ExitStatus {
        let start = Instant::now();
        loop {
            if let Some(status) = self.0.try_wait().unwrap() {
                return status;
            }
            assert!(start.elapsed() < PATIENCE, "the gateway ends");
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// What stands around the gateway.
struct Stage {
    xmpp: TcpListener,
    sip: UdpSocket,
    listen: SocketAddr,
    admin: SocketAddr,
    folder: tempfile::TempDir,
}

impl Stage {
    fn new() -> Self {
        let sip = UdpSocket::bind("127.0.0.1:0").unwrap();
        sip.set_read_timeout(Some(PATIENCE)).unwrap();
        Self {
            xmpp: TcpListener::bind("127.0.0.1:0").unwrap(),
            sip,
            listen: UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap(),
            admin: TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap(),
            folder: tempfile::tempdir().unwrap(),
        }
    }

    fn run(&self) -> Gateway {
        self.run_with(&format!("[\"udp:{}\"]", self.listen), &format!("udp:{}", self.sip.local_addr().unwrap()))
    }

    fn run_with(&self, listen: &str, next_hop: &str) -> Gateway {
        let text = format!(
            "[sip]\nlisten = {listen}\nnext_hop = \"{next_hop}\"\n[admin]\nlisten = \"{}\"\n\
             [[xmpp.component]]\ndomain = \"sip.example\"\nconnect = \"{}\"\nsecret = \"secret\"\n\
             [[sip_domain]]\nname = \"sip.example\"\n[[xmpp_domain]]\nname = \"xmpp.example\"\n",
            self.admin,
            self.xmpp.local_addr().unwrap()
        );
        let path = self.folder.path().join("gateway.toml");
        std::fs::write(&path, text).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_entente"));
        command.args(["run", "--config"]).arg(path).stdin(Stdio::null());
        Gateway(command.spawn().unwrap())
    }

    /// Takes the component's connection up to the handshake (XEP-0114).
    fn accept(&self) -> Component {
        let stream = self.xmpp.accept().unwrap().0;
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut component = Component { stream, unread: String::new() };
        component.read_until("to='sip.example'", ">");
        let header = "<stream:stream xmlns='jabber:component:accept' \
                      xmlns:stream='http://etherx.jabber.org/streams' from='sip.example' id='s1'>";
        component.write(header);
        let handshake = component.read_until("<handshake", "</handshake>");
        let digest = Sha1::digest(b"s1secret").iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        assert!(handshake.contains(&digest), "{handshake}");
        component.write("<handshake/>");
        component
    }

    fn health(&self, path: &str) -> Option<u16> {
        let mut stream = TcpStream::connect(self.admin).ok()?;
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        write!(stream, "GET {path} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n").ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).ok()?;
        answer.get(9..12)?.parse().ok()
    }

    fn wait_until_ready(&self) {
        let start = Instant::now();
        while self.health("/readyz") != Some(200) {
            assert!(start.elapsed() < PATIENCE, "the gateway gets ready");
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

struct Component {
    stream: TcpStream,
    unread: String,
}

impl Component {
    fn write(&mut self, text: &str) {
        self.stream.write_all(text.as_bytes()).unwrap();
    }

    /// Reads until `end` has come behind `start`, and gives all before it.
    fn read_until(&mut self, start: &str, end: &str) -> String {
        loop {
            // Either kind of quotes is XML.
            let text = self.unread.replace('"', "'");
            if let Some(begin) = text.find(start)
                && let Some(length) = text[begin..].find(end)
            {
                let stop = begin + length + end.len();
                self.unread.drain(..stop);
                return text[..stop].to_owned();
            }
            let mut buffer = [0; 4096];
            let length = self.stream.read(&mut buffer).unwrap();
            assert!(length > 0, "the stream ended before {start:?} in {:?}", self.unread);
            self.unread.push_str(std::str::from_utf8(&buffer[..length]).unwrap());
        }
    }
}

fn message(stage: &Stage, branch: &str) -> String {
    let proxy = stage.sip.local_addr().unwrap();
    format!(
        "MESSAGE sip:romeo@xmpp.example SIP/2.0\r\nVia: SIP/2.0/UDP {proxy};branch=z9hG4bK{branch}\r\n\
         Max-Forwards: 70\r\nFrom: <sip:juliet@sip.example>;tag=1\r\nTo: <sip:romeo@xmpp.example>\r\n\
         Call-ID: {branch}@sip.example\r\nCSeq: 1 MESSAGE\r\nContent-Type: text/plain\r\nContent-Length: 22\r\n\r\n\
         Art thou not Romeo, ho"
    )
}

fn receive(socket: &UdpSocket) -> String {
    let mut buffer = [0; 65_536];
    let length = socket.recv(&mut buffer).unwrap();
    String::from_utf8(buffer[..length].to_vec()).unwrap()
}

/// Juliet -> proxy -> entente -> XMPP server; the server bounces; Juliet hears of it; Romeo writes; SIGTERM.
#[test]
fn messages_cross_and_a_signal_ends_it_in_order() {
    let stage = Stage::new();
    let mut gateway = stage.run();
    let mut component = stage.accept();
    stage.wait_until_ready();

    stage.sip.send_to(message(&stage, "first").as_bytes(), stage.listen).unwrap();
    let stanza = component.read_until("<message", "</message>");
    assert!(stanza.contains("<body>Art thou not Romeo, ho</body>"), "{stanza}");
    let id = stanza.split(" id='").nth(1).unwrap().split('\'').next().unwrap().to_owned();
    component.write(&format!(
        "<message type='error' from='romeo@xmpp.example' to='juliet@sip.example' id='{id}'><error type='cancel'>\
         <item-not-found xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></message>"
    ));
    let answer = receive(&stage.sip);
    assert!(answer.starts_with("SIP/2.0 404 ") && answer.contains("z9hG4bKfirst"), "{answer}");

    component.write(
        "<message from='romeo@xmpp.example/orchard' to='juliet@sip.example' id='m1' type='chat'>\
         <body>Neither, fair saint</body></message>",
    );
    let request = receive(&stage.sip);
    assert!(request.starts_with("MESSAGE sip:juliet@sip.example"), "{request}");
    assert!(request.ends_with("\r\n\r\nNeither, fair saint"), "{request}");
    // Answered, so that nothing is open any more.
    let (head, _) = request.split_once("\r\n\r\n").unwrap();
    let copied = ["Via:", "From:", "To:", "Call-ID:", "CSeq:"];
    let headers: Vec<&str> = head.lines().filter(|line| copied.iter().any(|name| line.starts_with(name))).collect();
    let headers = headers.join("\r\n").replace("To: <sip:juliet@sip.example>", "To: <sip:juliet@sip.example>;tag=2");
    let response = format!("SIP/2.0 200 OK\r\n{headers}\r\nContent-Length: 0\r\n\r\n");
    stage.sip.send_to(response.as_bytes(), stage.listen).unwrap();

    gateway.signal(Signal::SIGTERM);
    component.read_until("</stream:stream", ">");
    component.write("</stream:stream>");
    assert_eq!(gateway.wait().code(), Some(0));
}

/// Reads one SIP message from a connection.
fn receive_over_tcp(stream: &mut TcpStream) -> String {
    let mut text = String::new();
    loop {
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head.lines().find_map(|line| line.strip_prefix("Content-Length: ")).unwrap();
            if body.len() >= length.parse().unwrap() {
                return text;
            }
        }
        let mut buffer = [0; 4096];
        let length = stream.read(&mut buffer).unwrap();
        assert!(length > 0, "the connection ended behind {text:?}");
        text.push_str(std::str::from_utf8(&buffer[..length]).unwrap());
    }
}

#[test]
fn messages_cross_over_tcp_both_ways() {
    let stage = Stage::new();
    let proxy = TcpListener::bind("127.0.0.1:0").unwrap();
    let next_hop = format!("tcp:{}", proxy.local_addr().unwrap());
    let mut gateway = stage.run_with(&format!("[\"tcp:{}\"]", stage.listen), &next_hop);
    let mut component = stage.accept();
    stage.wait_until_ready();

    let mut phone = TcpStream::connect(stage.listen).unwrap();
    phone.set_read_timeout(Some(PATIENCE)).unwrap();
    phone.write_all(b"\r\n\r\n").unwrap();
    let mut pong = [0; 2];
    phone.read_exact(&mut pong).unwrap();
    assert_eq!(&pong, b"\r\n");
    let text = message(&stage, "first").replace("SIP/2.0/UDP", "SIP/2.0/TCP");
    let (start, rest) = text.split_at(100);
    phone.write_all(start.as_bytes()).unwrap();
    std::thread::sleep(Duration::from_millis(50));
    phone.write_all(rest.as_bytes()).unwrap();
    let stanza = component.read_until("<message", "</message>");
    assert!(stanza.contains("<body>Art thou not Romeo, ho</body>"), "{stanza}");
    let id = stanza.split(" id='").nth(1).unwrap().split('\'').next().unwrap().to_owned();
    component.write(&format!(
        "<message type='error' from='romeo@xmpp.example' to='juliet@sip.example' id='{id}'><error type='cancel'>\
         <item-not-found xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></message>"
    ));
    let answer = receive_over_tcp(&mut phone);
    assert!(answer.starts_with("SIP/2.0 404 ") && answer.contains("z9hG4bKfirst"), "{answer}");

    let write = |component: &mut Component, n: u32| {
        component.write(&format!(
            "<message from='romeo@xmpp.example/orchard' to='juliet@sip.example' id='m{n}' type='chat'>\
             <body>Neither, fair saint {n}</body></message>"
        ));
    };
    write(&mut component, 1);
    let mut hop = proxy.accept().unwrap().0;
    hop.set_read_timeout(Some(PATIENCE)).unwrap();
    for n in 1..=3 {
        let request = receive_over_tcp(&mut hop);
        assert!(request.starts_with("MESSAGE sip:juliet@sip.example"), "{request}");
        assert!(request.contains(&format!("Via: SIP/2.0/TCP {};", stage.listen)), "{request}");
        assert!(request.ends_with(&format!("\r\n\r\nNeither, fair saint {n}")), "{request}");
        let (head, _) = request.split_once("\r\n\r\n").unwrap();
        let copied = ["Via:", "From:", "To:", "Call-ID:", "CSeq:"];
        let headers: Vec<&str> = head.lines().filter(|line| copied.iter().any(|name| line.starts_with(name))).collect();
        let response = format!("SIP/2.0 200 OK\r\n{}\r\nContent-Length: 0\r\n\r\n", headers.join("\r\n"));
        hop.write_all(response.as_bytes()).unwrap();
        if n < 3 {
            write(&mut component, n + 1);
        }
    }

    gateway.signal(Signal::SIGTERM);
    component.read_until("</stream:stream", ">");
    component.write("</stream:stream>");
    // The connections are closed in order too.
    assert_eq!((phone.read(&mut pong).unwrap(), hop.read(&mut pong).unwrap()), (0, 0));
    assert_eq!(gateway.wait().code(), Some(0));
}

#[test]
fn health_tells_whether_the_component_stands() {
    let stage = Stage::new();
    let mut gateway = stage.run();
    let start = Instant::now();
    while stage.health("/livez") != Some(200) {
        assert!(start.elapsed() < PATIENCE, "the gateway lives");
        std::thread::sleep(Duration::from_millis(20));
    }
    assert_eq!(stage.health("/readyz"), Some(503));
    let component = stage.accept();
    stage.wait_until_ready();
    drop(component);
    let start = Instant::now();
    while stage.health("/readyz") != Some(503) {
        assert!(start.elapsed() < PATIENCE, "the loss is seen");
        std::thread::sleep(Duration::from_millis(20));
    }
    // It comes back by itself.
    let _component = stage.accept();
    stage.wait_until_ready();
    gateway.signal(Signal::SIGINT);
    gateway.signal(Signal::SIGTERM);
    assert!(gateway.wait().code().is_some(), "two signals end it, at once or in order");
}

#[test]
fn an_address_that_is_taken_ends_the_start() {
    let taken = UdpSocket::bind("127.0.0.1:0").unwrap();
    let stage = Stage { listen: taken.local_addr().unwrap(), ..Stage::new() };
    let status = stage.run().wait();
    assert_eq!(status.code(), Some(69));
    drop(taken);
}
