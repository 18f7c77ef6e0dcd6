//! Non-blocking sockets with what they hold: nothing here knows SIP or XMPP.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::{AsFd, BorrowedFd};

use nix::poll::{PollFd, PollFlags};
use nix::sys::socket::{setsockopt, sockopt};
use smallvec::SmallVec;

/// What the loop waits for.
pub(crate) type Waits<'a> = SmallVec<[PollFd<'a>; 8]>;

/// A burst of a whole open-loop second must fit, or the generator would lose what the gateway sent.
const SOCKET_BUFFER: usize = 32 << 20;
/// At most this much is read from one connection before others get their turn.
const READ_PER_TURN: usize = 256 << 10;

pub(crate) fn bind_datagrams(address: SocketAddr) -> io::Result<UdpSocket> {
    let socket = UdpSocket::bind(address)?;
    socket.set_nonblocking(true)?;
    // Beyond the system's limit only with privileges; without them the limit itself is taken.
    if setsockopt(&socket, sockopt::RcvBufForce, &SOCKET_BUFFER).is_err() {
        setsockopt(&socket, sockopt::RcvBuf, &SOCKET_BUFFER)?;
    }
    if setsockopt(&socket, sockopt::SndBufForce, &SOCKET_BUFFER).is_err() {
        setsockopt(&socket, sockopt::SndBuf, &SOCKET_BUFFER)?;
    }
    Ok(socket)
}

pub(crate) fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let listener = TcpListener::bind(address)?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

pub(crate) fn readable(fd: BorrowedFd<'_>) -> PollFd<'_> {
    PollFd::new(fd, PollFlags::POLLIN)
}

/// One datagram, or `None` when there is none now. Errors of earlier sends (port unreachable) are not the caller's.
pub(crate) fn receive(socket: &UdpSocket, buffer: &mut [u8]) -> io::Result<Option<(usize, SocketAddr)>> {
    loop {
        match socket.recv_from(buffer) {
            Ok(datagram) => return Ok(Some(datagram)),
            Err(error) => match error.kind() {
                ErrorKind::WouldBlock => return Ok(None),
                ErrorKind::Interrupted | ErrorKind::ConnectionRefused => {}
                _ => return Err(error),
            },
        }
    }
}

/// A TCP connection: what arrived and was not consumed, what is to leave.
pub(crate) struct Link {
    stream: TcpStream,
    pub(crate) inbound: Inbound,
    pub(crate) outbound: Vec<u8>,
    written: usize,
    pub(crate) closed: bool,
}

/// Arrived bytes; consumed ones are dropped when the rest is moved to the front.
pub(crate) struct Inbound {
    bytes: Vec<u8>,
    start: usize,
    end: usize,
}

impl Inbound {
    pub(crate) fn unread(&self) -> &[u8] {
        &self.bytes[self.start..self.end]
    }

    pub(crate) fn consume(&mut self, count: usize) {
        self.start = (self.start + count).min(self.end);
    }

    /// Room for one turn's read behind what is unread.
    fn room(&mut self) -> &mut [u8] {
        if self.start > 0 {
            self.bytes.copy_within(self.start..self.end, 0);
            self.end -= self.start;
            self.start = 0;
        }
        if self.bytes.len() < self.end + READ_PER_TURN {
            self.bytes.resize(self.end + READ_PER_TURN, 0);
        }
        &mut self.bytes[self.end..]
    }
}

impl Link {
    pub(crate) fn new(stream: TcpStream) -> io::Result<Self> {
        stream.set_nonblocking(true)?;
        stream.set_nodelay(true)?;
        let inbound = Inbound { bytes: Vec::new(), start: 0, end: 0 };
        Ok(Self { stream, inbound, outbound: Vec::new(), written: 0, closed: false })
    }

    /// Reads once. True when something arrived.
    pub(crate) fn read(&mut self) -> bool {
        if self.closed {
            return false;
        }
        loop {
            match self.stream.read(self.inbound.room()) {
                Ok(0) => self.closed = true,
                Ok(count) => {
                    self.inbound.end += count;
                    return true;
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(_) => self.closed = true,
            }
            return false;
        }
    }

    /// Writes what there is, as much as the socket takes.
    pub(crate) fn flush(&mut self) {
        while self.written < self.outbound.len() && !self.closed {
            match self.stream.write(&self.outbound[self.written..]) {
                Ok(count) => self.written += count,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(_) => self.closed = true,
            }
        }
        self.outbound.clear();
        self.written = 0;
    }

    pub(crate) fn wait(&self) -> PollFd<'_> {
        let mut flags = PollFlags::POLLIN;
        if !self.outbound.is_empty() {
            flags |= PollFlags::POLLOUT;
        }
        PollFd::new(self.stream.as_fd(), flags)
    }
}

/// The next waiting connection, if any.
pub(crate) fn accept(listener: &TcpListener) -> io::Result<Option<Link>> {
    match listener.accept() {
        Ok((stream, _)) => Link::new(stream).map(Some),
        Err(error) => match error.kind() {
            ErrorKind::WouldBlock | ErrorKind::Interrupted | ErrorKind::ConnectionAborted => Ok(None),
            _ => Err(error),
        },
    }
}
