//! A stand-in for a gateway that copies messages across and parses next to nothing: what the generator itself can do, and,
//! with a fault, proof that it notices one.
//!
//! It answers 200 to a MESSAGE at once, which a gateway must not. Domains are fixed: `sip.test`, `xmpp.test`.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::os::fd::AsFd as _;
use std::time::Duration;

use anyhow::{Context as _, Result};
use clap::ValueEnum as _;
use memchr::memmem;
use nix::poll::{PollTimeout, poll};

use crate::net::{self, Link, Waits};
use crate::options::MirrorFault;
use crate::sip_text::Message;
use crate::xml_scan::{Piece, Scanner, StartTag};

/// Every so many messages one is treated wrongly.
const FAULT_EVERY: u64 = 10;
const PER_TURN: usize = 64;

struct Mirror {
    datagrams: UdpSocket,
    phones: SocketAddr,
    link: Link,
    scanner: Scanner,
    fault: Option<MirrorFault>,
    count: u64,
    /// A stanza and a request kept to be sent after the next one.
    kept: [Option<Vec<u8>>; 2],
}

/// Arguments: own SIP address, the user agents', the XMPP server's, a fault.
pub(crate) fn run(mut arguments: impl Iterator<Item = String>) -> Result<()> {
    let mut address = |name: &str| -> Result<SocketAddr> {
        arguments.next().context("an address is missing")?.parse().with_context(|| format!("{name} is not an address"))
    };
    let (own, phones, server) = (address("own")?, address("phones")?, address("server")?);
    let fault = arguments.next().and_then(|name| MirrorFault::from_str(&name, true).ok());
    // Before the first message can come.
    let datagrams = net::bind_datagrams(own)?;
    let mut stream = TcpStream::connect(server)?;
    stream.set_read_timeout(Some(Duration::from_secs(60)))?;
    stream.write_all(b"<?xml version='1.0'?><stream:stream xmlns='jabber:component:accept' xmlns:stream='http://etherx.jabber.org/streams' to='sip.test'><handshake>00</handshake>")?;
    let mut greeting = Vec::new();
    while memmem::find(&greeting, b"<handshake/>").is_none() {
        let mut buffer = [0; 1024];
        let length = stream.read(&mut buffer)?;
        anyhow::ensure!(length > 0, "the server closed the stream");
        greeting.extend_from_slice(&buffer[..length]);
    }
    let mut mirror = Mirror {
        datagrams,
        phones,
        link: Link::new(stream)?,
        // The header is behind us.
        scanner: Scanner::inside(),
        fault,
        count: 0,
        kept: [None, None],
    };
    mirror.turns()
}

impl Mirror {
    fn turns(&mut self) -> Result<()> {
        let mut buffer = vec![0; 65_536];
        while !self.link.closed {
            let mut active = false;
            for _ in 0..PER_TURN {
                let Some((length, source)) = net::receive(&self.datagrams, &mut buffer)? else { break };
                active = true;
                self.on_datagram(&buffer[..length], source);
            }
            if self.link.read() {
                active = true;
                while let Some((piece, end)) = self.scanner.next(self.link.inbound.unread()) {
                    if let Piece::Stanza(range) = piece {
                        let fault = self.fault_now();
                        let request = request_of(&self.link.inbound.unread()[range], self.count, fault);
                        self.on_request(request, fault);
                    }
                    self.link.inbound.consume(end);
                }
            }
            self.link.flush();
            if !active {
                let mut waits = Waits::new();
                waits.push(net::readable(self.datagrams.as_fd()));
                waits.push(self.link.wait());
                poll(&mut waits, PollTimeout::NONE)?;
            }
        }
        Ok(())
    }

    /// The fault to commit at this message, if it is its turn.
    fn fault_now(&mut self) -> Option<MirrorFault> {
        self.count += 1;
        self.fault.filter(|_| self.count.is_multiple_of(FAULT_EVERY))
    }

    fn on_datagram(&mut self, bytes: &[u8], source: SocketAddr) {
        let Some(message) = Message::of_datagram(bytes) else { return };
        if message.status().is_some() {
            return;
        }
        let mut answer = Vec::new();
        message.answer("200 OK", source, &mut answer);
        // A stand-in may lose what the system does not take; the generator counts it.
        let _ = self.datagrams.send_to(&answer, source);
        let fault = self.fault_now();
        let user = |uri: &[u8]| -> Vec<u8> {
            let uri = uri.strip_prefix(b"sip:").unwrap_or(uri);
            uri.split(|byte| *byte == b'@').next().unwrap_or_default().to_vec()
        };
        let mut body = message.body.to_vec();
        alter(&mut body, fault);
        let to = if fault == Some(MirrorFault::Misaddress) { b"someone".to_vec() } else { user(message.request_uri()) };
        let stanza = [
            b"<message from='",
            &user(message.sender())[..],
            b"@sip.test' to='",
            &to,
            b"@xmpp.test'><body>",
            &body,
            b"</body></message>",
        ]
        .concat();
        for stanza in released(&mut self.kept[0], stanza, fault) {
            self.link.outbound.extend_from_slice(&stanza);
        }
    }

    fn on_request(&mut self, request: Option<Vec<u8>>, fault: Option<MirrorFault>) {
        let Some(request) = request else { return };
        for (copy, request) in released(&mut self.kept[1], request, fault).into_iter().enumerate() {
            // A second copy in a transaction of its own: else it would be a retransmission.
            let request =
                if copy > 0 && fault == Some(MirrorFault::Repeat) { another_branch(request) } else { request };
            let _ = self.datagrams.send_to(&request, self.phones);
        }
    }
}

/// What leaves now: nothing, the message, the message twice, or the message and after it the one kept before.
fn released(kept: &mut Option<Vec<u8>>, message: Vec<u8>, fault: Option<MirrorFault>) -> Vec<Vec<u8>> {
    match fault {
        Some(MirrorFault::Lose) => Vec::new(),
        Some(MirrorFault::Repeat) => vec![message.clone(), message],
        Some(MirrorFault::Swap) => kept.replace(message).into_iter().collect(),
        _ => std::iter::once(message).chain(kept.take()).collect(),
    }
}

fn alter(body: &mut [u8], fault: Option<MirrorFault>) {
    if let (Some(MirrorFault::Alter), Some(last)) = (fault, body.last_mut()) {
        *last ^= 1;
    }
}

fn request_of(stanza: &[u8], number: u64, fault: Option<MirrorFault>) -> Option<Vec<u8>> {
    let tag = StartTag::read(stanza);
    let user =
        |jid: &[u8]| String::from_utf8_lossy(jid.split(|byte| *byte == b'@').next().unwrap_or_default()).into_owned();
    let (begin, end) = (memmem::find(stanza, b"<body>")?, memmem::find(stanza, b"</body>")?);
    let mut body = stanza.get(begin + b"<body>".len()..end)?.to_vec();
    alter(&mut body, fault);
    let to = if fault == Some(MirrorFault::Misaddress) { "someone".to_owned() } else { user(tag.to) };
    let head = format!(
        "MESSAGE sip:{to}@sip.test SIP/2.0\r\nVia: SIP/2.0/UDP 127.0.0.1;branch=z9hG4bKm{number}\r\nMax-Forwards: 70\r\n\
         From: <sip:{}@xmpp.test>;tag=m\r\nTo: <sip:{to}@sip.test>\r\nCall-ID: m{number}\r\nCSeq: 1 MESSAGE\r\n\
         Content-Type: text/plain\r\nContent-Length: {}\r\n\r\n",
        user(tag.from),
        body.len()
    );
    Some([head.as_bytes(), &body].concat())
}

fn another_branch(request: Vec<u8>) -> Vec<u8> {
    String::from_utf8_lossy(&request).replacen("z9hG4bKm", "z9hG4bKn", 1).into_bytes()
}
