//! A stand-in for a gateway that copies messages across and parses next to nothing: what the generator itself can do, and,
//! with a fault, proof that it notices one.
//!
//! It answers 200 to a MESSAGE at once, which a gateway must not, or, with a barrier, after two pings to its own domain have
//! come back: what waiting for the truth costs whoever does nothing else. Domains are fixed: `sip.test`, `xmpp.test`.

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

const PING: &[u8] = b"<iq type='get' id='m' from='sip.test' to='sip.test'><ping xmlns='urn:xmpp:ping'/></iq>";
/// How an iq begins, of which only pings come back.
const IQ: &[u8] = b"<iq ";
/// Every so many messages one is treated wrongly.
const FAULT_EVERY: u64 = 10;
const PER_TURN: usize = 64;

struct Mirror {
    datagrams: UdpSocket,
    phones: SocketAddr,
    link: Link,
    scanner: Scanner,
    barrier: Option<Barrier>,
    fault: Option<MirrorFault>,
    count: u64,
    /// A stanza and a request kept to be sent after the next one.
    kept: [Option<Vec<u8>>; 2],
}

/// Answers that wait for pings to come back. One ping is under way at a time, for all that was written before it.
#[derive(Default)]
struct Barrier {
    /// By the returns their stanza still needs: one; two; two of a ping that has not left.
    waiting: [Answers; 3],
    pinged: bool,
}

type Answers = Vec<(SocketAddr, Vec<u8>)>;

impl Barrier {
    /// Whether a ping is to leave behind what was written.
    fn wants_ping(&mut self) -> bool {
        let wanted = !self.pinged && self.waiting.iter().any(|answers| !answers.is_empty());
        if wanted {
            self.pinged = true;
            // Nothing can wait for two returns when no ping is under way.
            self.waiting.swap(1, 2);
        }
        wanted
    }

    /// A ping is back; what is answered now.
    fn on_return(&mut self) -> Answers {
        self.pinged = false;
        let proven = std::mem::take(&mut self.waiting[0]);
        self.waiting.swap(0, 1);
        proven
    }
}

/// Arguments: own SIP address, the user agents', the XMPP server's; `barrier`; a fault.
pub(crate) fn run(mut arguments: impl Iterator<Item = String>) -> Result<()> {
    let mut address = |name: &str| -> Result<SocketAddr> {
        arguments.next().context("an address is missing")?.parse().with_context(|| format!("{name} is not an address"))
    };
    let (own, phones, server) = (address("own")?, address("phones")?, address("server")?);
    let words: Vec<String> = arguments.collect();
    let barrier = words.iter().any(|word| word == "barrier").then(Barrier::default);
    let fault = words.iter().find_map(|name| MirrorFault::from_str(name, true).ok());
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
        barrier,
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
                    match piece {
                        Piece::Stanza(range) if self.link.inbound.unread()[range.clone()].starts_with(IQ) => {
                            self.on_return();
                        }
                        Piece::Stanza(range) => {
                            let fault = self.fault_now();
                            let request = request_of(&self.link.inbound.unread()[range], self.count, fault);
                            self.on_request(request, fault);
                        }
                        Piece::Header(_) | Piece::End => {}
                    }
                    self.link.inbound.consume(end);
                }
            }
            if self.barrier.as_mut().is_some_and(Barrier::wants_ping) {
                self.link.outbound.extend_from_slice(PING);
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
        match &mut self.barrier {
            Some(barrier) => barrier.waiting[2].push((source, answer)),
            None => self.send(&answer, source),
        }
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

    fn on_return(&mut self) {
        let proven = self.barrier.as_mut().map(Barrier::on_return).unwrap_or_default();
        for (source, answer) in proven {
            self.send(&answer, source);
        }
    }

    /// A stand-in may lose what the system does not take; the generator counts it.
    fn send(&self, bytes: &[u8], to: SocketAddr) {
        let _ = self.datagrams.send_to(bytes, to);
    }

    fn on_request(&mut self, request: Option<Vec<u8>>, fault: Option<MirrorFault>) {
        let Some(request) = request else { return };
        for (copy, request) in released(&mut self.kept[1], request, fault).into_iter().enumerate() {
            // A second copy in a transaction of its own: else it would be a retransmission.
            let request =
                if copy > 0 && fault == Some(MirrorFault::Repeat) { another_branch(request) } else { request };
            self.send(&request, self.phones);
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
