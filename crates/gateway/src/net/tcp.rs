//! A connected stream, with or without TLS: one read and one write per turn, the unconsumed tail, and an orderly end.

use super::tls::{Ingested, Tls};
use socket2::{SockRef, TcpKeepalive};
use std::io::{self, Write};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

/// At most so much of one stream leaves in one turn, so that a fast reader does not hold up the others.
const WRITTEN_PER_TURN: usize = 1 << 20;
/// The kernel asks a peer that has been silent for so long whether it is still there, and says that it is not when
/// `KEEPALIVE_ASKED` questions have had no answer. Otherwise nobody would notice that the XMPP server's machine was switched
/// off, until somebody writes to it: its users would reach nobody here meanwhile.
const KEEPALIVE_AFTER: Duration = Duration::from_secs(60);
/// Between two such questions.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(10);
/// How often it is asked.
const KEEPALIVE_ASKED: u32 = 3;
/// A tail's buffer shrinks back to this when it is empty.
const TAIL_KEPT: usize = 4096;

pub(crate) struct Connection {
    socket: TcpStream,
    tls: Option<Box<Tls>>,
    waker: Waker,
    peer: SocketAddr,
    local: SocketAddr,
    tail: Vec<u8>,
    /// The kernel took less than there was: the rest waits for writability.
    blocked: bool,
    write_failed: bool,
}

/// What one read gave.
pub(crate) enum Read {
    /// Nothing there; the waker is woken when there is.
    Nothing,
    /// So many bytes in the buffer that was lent.
    Plain(usize),
    /// Records of TLS.
    Records(Ingested),
    /// The peer sends nothing more.
    Ended,
    Failed(io::Error),
}

impl Connection {
    pub(crate) fn new(socket: TcpStream, waker: Waker) -> io::Result<Self> {
        socket.set_nodelay(true)?;
        let keepalive = TcpKeepalive::new().with_time(KEEPALIVE_AFTER).with_interval(KEEPALIVE_INTERVAL);
        SockRef::from(&socket).set_tcp_keepalive(&keepalive.with_retries(KEEPALIVE_ASKED))?;
        let (peer, local) = (socket.peer_addr()?, socket.local_addr()?);
        let tail = Vec::new();
        Ok(Self { socket, tls: None, waker, peer, local, tail, blocked: false, write_failed: false })
    }

    pub(crate) fn peer(&self) -> SocketAddr {
        self.peer
    }

    pub(crate) fn local(&self) -> SocketAddr {
        self.local
    }

    pub(crate) fn waker(&self) -> &Waker {
        &self.waker
    }

    /// Whether something waits to be written that no action will announce again.
    pub(crate) fn has_waiting(&self) -> bool {
        self.blocked || self.tls.as_ref().is_some_and(|tls| tls.wants_write())
    }

    /// Whether writing failed: what the peer sent before may still be read.
    pub(crate) fn write_failed(&self) -> bool {
        self.write_failed
    }

    pub(crate) fn is_secure(&self) -> bool {
        self.tls.is_some()
    }

    /// Bytes received, decrypted and not consumed yet.
    pub(crate) fn unconsumed_len(&self) -> usize {
        self.tail.len()
    }

    /// Lets `consume` see the tail with `arrived` behind it; the number it gives is what it has consumed. Bytes that are
    /// consumed as they come are never copied.
    pub(crate) fn offer(&mut self, arrived: &[u8], consume: impl FnOnce(&[u8]) -> usize) {
        if self.tail.is_empty() {
            let consumed = consume(arrived);
            debug_assert!(consumed <= arrived.len(), "a machine consumed more than there was");
            self.tail.extend_from_slice(arrived.get(consumed..).unwrap_or_default());
        } else {
            self.tail.extend_from_slice(arrived);
            let consumed = consume(&self.tail);
            debug_assert!(consumed <= self.tail.len(), "a machine consumed more than there was");
            self.tail.drain(..consumed.min(self.tail.len()));
        }
        if self.tail.is_empty() {
            self.tail.shrink_to(TAIL_KEPT);
        }
    }

    /// One read.
    pub(crate) fn read(&mut self, buffer: &mut [u8]) -> Read {
        let mut space = ReadBuf::new(buffer);
        let mut context = Context::from_waker(&self.waker);
        match Pin::new(&mut self.socket).poll_read(&mut context, &mut space) {
            Poll::Pending => return Read::Nothing,
            Poll::Ready(Err(error)) => return Read::Failed(error),
            Poll::Ready(Ok(())) => {}
        }
        let received = space.filled();
        if received.is_empty() {
            return Read::Ended;
        }
        match &mut self.tls {
            None => Read::Plain(received.len()),
            Some(tls) => match tls.ingest(received) {
                Ok(ingested) => Read::Records(ingested),
                Err(error) => Read::Failed(error),
            },
        }
    }

    /// Has the waker woken at once if more can be read, or when it can.
    pub(crate) fn expect_more(&self) {
        if self.socket.poll_read_ready(&mut Context::from_waker(&self.waker)).is_ready() {
            self.waker.wake_by_ref();
        }
    }

    /// Writes as much as the kernel takes, and gives how much of `bytes` that was (with TLS: was taken to be encrypted).
    pub(crate) fn write(&mut self, bytes: &[u8]) -> usize {
        let Self { socket, tls, waker, blocked, write_failed, .. } = self;
        if *write_failed {
            return 0;
        }
        *blocked = false;
        let part = &bytes[..bytes.len().min(WRITTEN_PER_TURN)];
        let mut sink = Sink { socket, waker };
        let mut written = 0;
        let result = match tls {
            None => write_plain(&mut sink, part, &mut written),
            Some(tls) => write_secure(tls, &mut sink, part, &mut written),
        };
        match result {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => *blocked = true,
            Err(_) => {
                // What the peer sent before it closed is read first; reading then meets the end.
                *write_failed = true;
                waker.wake_by_ref();
            }
            Ok(()) if written < bytes.len() => {
                *blocked = true;
                waker.wake_by_ref();
            }
            Ok(()) => {}
        }
        written
    }

    /// Starts TLS as the accepting side. What came after the last consumed byte belongs to TLS.
    pub(crate) fn start_tls(&mut self, config: Arc<rustls::ServerConfig>) -> io::Result<Ingested> {
        let mut tls = Box::new(Tls::new(config).map_err(io::Error::other)?);
        let early = std::mem::take(&mut self.tail);
        let ingested = tls.ingest(&early);
        self.tls = Some(tls);
        ingested
    }

    /// Says that we send nothing more. What the peer sends from here on is to be read and thrown away: closing a socket
    /// with unread bytes resets the connection, and the peer would lose our last words.
    pub(crate) fn shut_down(&mut self) {
        if let Some(tls) = &mut self.tls {
            tls.end();
        }
        self.write(&[]);
        // Fails only where nothing can be sent any more.
        let _ = Pin::new(&mut self.socket).poll_shutdown(&mut Context::from_waker(&self.waker));
    }

    /// Reads and throws away. True when the peer has closed too, or nothing can be read any more.
    pub(crate) fn discard(&mut self, buffer: &mut [u8]) -> bool {
        let mut space = ReadBuf::new(buffer);
        match Pin::new(&mut self.socket).poll_read(&mut Context::from_waker(&self.waker), &mut space) {
            Poll::Pending => false,
            Poll::Ready(Ok(())) if !space.filled().is_empty() => {
                self.expect_more();
                false
            }
            Poll::Ready(_) => true,
        }
    }
}

fn write_plain(sink: &mut Sink<'_>, bytes: &[u8], written: &mut usize) -> io::Result<()> {
    while *written < bytes.len() {
        *written += sink.write(&bytes[*written..])?;
    }
    Ok(())
}

fn write_secure(tls: &mut Tls, sink: &mut Sink<'_>, bytes: &[u8], written: &mut usize) -> io::Result<()> {
    loop {
        let taken = tls.take(&bytes[*written..])?;
        *written += taken;
        let had_records = tls.wants_write();
        while tls.wants_write() {
            tls.write_records(sink)?;
        }
        if *written == bytes.len() {
            return Ok(());
        }
        if taken == 0 && !had_records {
            // Its buffer is full until the handshake is done, which a read will show.
            return Err(io::ErrorKind::WouldBlock.into());
        }
    }
}

/// The socket as a writer that does not wait but has the waker woken.
struct Sink<'a> {
    socket: &'a mut TcpStream,
    waker: &'a Waker,
}

impl Write for Sink<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match Pin::new(&mut *self.socket).poll_write(&mut Context::from_waker(self.waker), bytes) {
            Poll::Ready(Ok(0)) => Err(io::ErrorKind::WriteZero.into()),
            Poll::Ready(result) => result,
            Poll::Pending => Err(io::ErrorKind::WouldBlock.into()),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the kernel then does needs a machine that goes away without a word, which no test has.
    #[tokio::test]
    async fn the_kernel_is_told_to_ask_whether_a_silent_peer_is_there() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let made = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (accepted, _) = listener.accept().await.unwrap();
        for socket in [made, accepted] {
            let connection = Connection::new(socket, Waker::noop().clone()).unwrap();
            let socket = SockRef::from(&connection.socket);
            assert!(socket.keepalive().unwrap() && connection.socket.nodelay().unwrap());
            let spans = [socket.tcp_keepalive_time().unwrap(), socket.tcp_keepalive_interval().unwrap()];
            assert_eq!((spans.map(|span| span.as_secs()), socket.tcp_keepalive_retries().unwrap()), ([60, 10], 3));
        }
    }
}
