//! The program between an XMPP server and a SIP proxy that a test plays on loopback.
#![allow(dead_code, reason = "each test uses a part of it")]

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use sha1::{Digest, Sha1};
use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

/// What the gateway and its server share.
pub(crate) const SECRET: &str = "a-secret-of-the-component";
/// How long a test waits for what has to come.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

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
            listen: UdpSocket::bind((address, 0)).unwrap().local_addr().unwrap(),
            admin: TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap(),
            folder,
            manager,
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
        let length = self.manager.recv(&mut buffer).unwrap_or_else(|error| panic!("{error}; log:\n{}", self.log()));
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
            let length = self.stream.read(&mut buffer).unwrap();
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

/// The next datagram.
pub(crate) fn receive(socket: &UdpSocket) -> String {
    let mut buffer = [0; 65_536];
    let length = socket.recv(&mut buffer).unwrap();
    String::from_utf8(buffer[..length].to_vec()).unwrap()
}
