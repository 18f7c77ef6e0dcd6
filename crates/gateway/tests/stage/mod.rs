//! The program between an XMPP server and a SIP proxy that a test plays on loopback.
//!
//! Both may be stopped for seconds at any moment, as a busy machine does: then requests and answers come more than once, and
//! the gateway loses patience with a server that seems to be silent.
#![allow(dead_code, reason = "each test uses a part of it")]

use entente_tests::ports::{free_address, free_port};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use sha1::{Digest, Sha1};
use std::cell::RefCell;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

/// What the gateway and its server share.
pub(crate) const SECRET: &str = "a-secret-of-the-component";
/// How long a test waits for what has to come.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);
/// How often a message is tried for which the gateway did not wait.
const ATTEMPTS: u32 = 5;

/// The gateway, killed with the test.
pub(crate) struct Gateway(Child, PathBuf);

impl Gateway {
    pub(crate) fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(i32::try_from(self.0.id()).unwrap()), signal).unwrap();
    }

    pub(crate) fn wait(&mut self) -> ExitStatus {
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
        if std::thread::panicking() {
            eprintln!("log of the gateway:\n{}", std::fs::read_to_string(&self.1).unwrap_or_default());
        }
    }
}

/// What stands around the gateway.
pub(crate) struct Stage {
    pub(crate) xmpp: TcpListener,
    pub(crate) sip: UdpSocket,
    pub(crate) listen: SocketAddr,
    pub(crate) admin: SocketAddr,
    pub(crate) folder: tempfile::TempDir,
    /// Where the gateway tells systemd.
    pub(crate) manager: UnixDatagram,
    /// Datagrams that `sip` has received.
    pub(crate) received: RefCell<Vec<String>>,
}

impl Stage {
    pub(crate) fn new() -> Self {
        Self::on(Ipv4Addr::LOCALHOST.into())
    }

    /// With SIP at this address.
    pub(crate) fn on(address: IpAddr) -> Self {
        let sip = UdpSocket::bind((address, 0)).unwrap();
        sip.set_read_timeout(Some(PATIENCE)).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let manager = UnixDatagram::bind(folder.path().join("notify")).unwrap();
        manager.set_read_timeout(Some(PATIENCE)).unwrap();
        Self {
            xmpp: TcpListener::bind("127.0.0.1:0").unwrap(),
            sip,
            listen: (address, free_port()).into(),
            admin: free_address(),
            folder,
            manager,
            received: RefCell::default(),
        }
    }

    pub(crate) fn run(&self) -> Gateway {
        self.run_with(&self.config())
    }

    /// The configuration of a gateway on this stage.
    pub(crate) fn config(&self) -> String {
        self.config_with(&format!("[\"udp:{}\"]", self.listen), &format!("udp:{}", self.sip.local_addr().unwrap()))
    }

    pub(crate) fn config_with(&self, listen: &str, next_hop: &str) -> String {
        format!(
            "[sip]\nlisten = {listen}\nnext_hop = \"{next_hop}\"\n[admin]\nlisten = \"{}\"\n\
             [[xmpp.component]]\ndomain = \"sip.example\"\nconnect = \"{}\"\nsecret = {{ file = \"secret\" }}\n\
             [[sip_domain]]\nname = \"sip.example\"\n[[xmpp_domain]]\nname = \"xmpp.example\"\n",
            self.admin,
            self.xmpp.local_addr().unwrap()
        )
    }

    /// Writes the configuration and the secret of the component.
    pub(crate) fn write(&self, config: &str, secret: &str) {
        std::fs::write(self.folder.path().join("gateway.toml"), config).unwrap();
        std::fs::write(self.folder.path().join("secret"), secret).unwrap();
    }

    pub(crate) fn run_with(&self, config: &str) -> Gateway {
        self.run_as(config, |_| {})
    }

    /// Runs it with other arguments or another environment. What it logs is kept.
    pub(crate) fn run_as(&self, config: &str, change: impl FnOnce(&mut Command)) -> Gateway {
        self.write(config, SECRET);
        let mut command = Command::new(env!("CARGO_BIN_EXE_entente"));
        command.args(["run", "--config"]).arg(self.folder.path().join("gateway.toml")).stdin(Stdio::null());
        command.stderr(std::fs::File::create(self.folder.path().join("log")).unwrap());
        command.env("NOTIFY_SOCKET", self.folder.path().join("notify"));
        // As long as it may be.
        command.env("ENTENTE_ANSWERS__WINDOW", "3.2s");
        change(&mut command);
        Gateway(command.spawn().unwrap(), self.folder.path().join("log"))
    }

    /// All that was logged so far.
    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("log")).unwrap()
    }

    /// What systemd is told next.
    pub(crate) fn told(&self) -> String {
        let mut buffer = [0; 256];
        let received = uninterrupted(|| self.manager.recv(&mut buffer));
        let length = received.unwrap_or_else(|error| panic!("{error}; log:\n{}", self.log()));
        std::str::from_utf8(&buffer[..length]).unwrap().to_owned()
    }

    /// Takes the component's connection up to the handshake (XEP-0114).
    pub(crate) fn accept(&self) -> Component {
        self.accept_with(SECRET)
    }

    pub(crate) fn accept_with(&self, secret: &str) -> Component {
        let stream = self.xmpp.accept().unwrap().0;
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut component = Component { stream, unread: String::new() };
        component.read_until("to='sip.example'", ">");
        let header = "<stream:stream xmlns='jabber:component:accept' \
                      xmlns:stream='http://etherx.jabber.org/streams' from='sip.example' id='s1'>";
        component.write(header);
        let handshake = component.read_until("<handshake", "</handshake>");
        let digest = Sha1::digest(format!("s1{secret}")).iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        assert!(handshake.contains(&digest), "{handshake}");
        component.write("<handshake/>");
        component
    }

    pub(crate) fn health(&self, path: &str) -> Option<u16> {
        self.get(path)?.get(9..12)?.parse().ok()
    }

    /// What the admin interface answers, if it stands.
    pub(crate) fn get(&self, path: &str) -> Option<String> {
        let mut stream = TcpStream::connect(self.admin).ok()?;
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        write!(stream, "GET {path} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n").ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).ok()?;
        Some(answer)
    }

    /// What `/metrics` serves.
    pub(crate) fn metrics(&self) -> String {
        let start = Instant::now();
        loop {
            // It says so where the driver does not answer within two seconds.
            match self.get("/metrics") {
                Some(answer) if answer.starts_with("HTTP/1.1 200 ") => return answer,
                answer => assert!(start.elapsed() < PATIENCE, "metrics are served: {answer:?}"),
            }
        }
    }

    /// Of a gateway that has ended nothing more is to come: what it has sent is passed over, and is not known any more.
    pub(crate) fn forget(&self) {
        self.sip.set_nonblocking(true).unwrap();
        while uninterrupted(|| self.sip.recv(&mut [0; 1])).is_ok() {}
        self.sip.set_nonblocking(false).unwrap();
        self.received.borrow_mut().clear();
    }

    /// What the proxy receives next, but for what it has received before: retransmissions.
    fn receive(&self) -> String {
        let mut buffer = [0; 65_536];
        loop {
            let length = uninterrupted(|| self.sip.recv(&mut buffer)).unwrap();
            let text = std::str::from_utf8(&buffer[..length]).unwrap();
            let mut received = self.received.borrow_mut();
            if !received.iter().any(|before| before == text) {
                received.push(text.to_owned());
                return text.to_owned();
            }
        }
    }

    /// The next response to what has this branch.
    pub(crate) fn response(&self, branch: &str) -> String {
        loop {
            let text = self.receive();
            if text.starts_with("SIP/2.0 ") && text.contains(&format!("z9hG4bK{branch}")) {
                return text;
            }
        }
    }

    /// The next request, which has this body.
    pub(crate) fn request(&self, body: &str) -> String {
        loop {
            let text = self.receive();
            if text.ends_with(&format!("\r\n\r\n{body}")) {
                return text;
            }
            // Of a message that was answered too early a word may follow.
            let too_early = self.received.borrow().iter().any(|before| before.starts_with("SIP/2.0 504 "));
            assert!(text.starts_with("SIP/2.0 ") || too_early, "before {body:?} came {text}");
        }
    }

    /// Whether a message was answered with anything but 504: `attempt` sends it with this branch, does the server's part and
    /// gives the answer. The gateway may not have waited for the server, if this program was held up: then the next attempt is
    /// made.
    pub(crate) fn answer(
        &self,
        component: &mut Component,
        mut attempt: impl FnMut(&mut Component, &str) -> String,
    ) -> String {
        for number in 1..=ATTEMPTS {
            let answer = attempt(component, &format!("attempt-{number}-{}", self.received.borrow().len()));
            if !answer.starts_with("SIP/2.0 504 ") {
                return answer;
            }
            component.settle();
        }
        panic!("504 to {ATTEMPTS} messages");
    }

    pub(crate) fn wait_until_ready(&self) {
        let start = Instant::now();
        while self.health("/readyz") != Some(200) {
            assert!(start.elapsed() < PATIENCE, "the gateway gets ready");
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

pub(crate) struct Component {
    pub(crate) stream: TcpStream,
    unread: String,
}

impl Component {
    pub(crate) fn write(&mut self, text: &str) {
        self.stream.write_all(text.as_bytes()).unwrap();
    }

    /// Bounces the next message as one for nobody, and gives its stanza.
    pub(crate) fn bounce(&mut self) -> String {
        let stanza = self.read_until("<message", "</message>");
        let message = stanza.split("<message").nth(1).unwrap();
        let id = message.split(" id='").nth(1).unwrap().split('\'').next().unwrap();
        self.write(&format!(
            "<message type='error' from='romeo@xmpp.example' to='juliet@sip.example' id='{id}'><error type='cancel'>\
             <item-not-found xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/><text \
             xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'>ask the nurse</text></error></message>"
        ));
        stanza
    }

    /// Returns what is sent to the server, pings, until nothing has come for longer than the gateway waits for anything.
    fn settle(&mut self) {
        self.stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        let unread = std::mem::take(&mut self.unread);
        self.write(&unread);
        loop {
            let mut buffer = [0; 4096];
            match uninterrupted(|| self.stream.read(&mut buffer)) {
                Ok(length) if length > 0 => self.stream.write_all(&buffer[..length]).unwrap(),
                Ok(_) => panic!("the stream has ended"),
                Err(_) => break,
            }
        }
        self.stream.set_read_timeout(Some(PATIENCE)).unwrap();
    }

    /// Reads until `end` has come behind `start`, and gives all before it.
    pub(crate) fn read_until(&mut self, start: &str, end: &str) -> String {
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
            let length = uninterrupted(|| self.stream.read(&mut buffer)).unwrap();
            assert!(length > 0, "the stream ended before {start:?} in {:?}", self.unread);
            self.unread.push_str(std::str::from_utf8(&buffer[..length]).unwrap());
        }
    }
}

/// A MESSAGE from juliet through the proxy.
pub(crate) fn message(stage: &Stage, branch: &str) -> String {
    let proxy = stage.sip.local_addr().unwrap();
    format!(
        "MESSAGE sip:romeo@xmpp.example SIP/2.0\r\nVia: SIP/2.0/UDP {proxy};branch=z9hG4bK{branch}\r\n\
         Max-Forwards: 70\r\nFrom: <sip:juliet@sip.example>;tag=1\r\nTo: <sip:romeo@xmpp.example>\r\n\
         Call-ID: {branch}@sip.example\r\nCSeq: 1 MESSAGE\r\nContent-Type: text/plain\r\nContent-Length: 22\r\n\r\n\
         Art thou not Romeo, ho"
    )
}

/// A call that is made again where somebody has stopped this program for a while.
pub(crate) fn uninterrupted<T>(mut call: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    loop {
        match call() {
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            done => return done,
        }
    }
}
