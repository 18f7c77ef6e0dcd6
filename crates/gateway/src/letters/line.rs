//! A connection to a mail server as it is before TLS protects it: what whoever is on the way says is bounded, and is read line
//! by line.
//!
//! A reader that takes more than a line has the beginning of what comes next before TLS is begun, and takes it for what came
//! protected. Here nothing is taken off the socket behind the line that is being read, so that words that were slipped in
//! behind the answer to STARTTLS meet the handshake, which fails. Neither may a line have no end.

use lettre::transport::smtp::client::AsyncTokioStream;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

/// Bytes that a server may say in one connection; a greeting, a handshake and the answers to a few commands have a tenth of it.
const MOST: usize = 1 << 18;
/// Bytes that are looked at at a time.
const PIECE: usize = 1024;

#[derive(Debug)]
pub(super) struct Line {
    socket: TcpStream,
    left: usize,
}

impl Line {
    pub(super) fn new(socket: TcpStream) -> Self {
        Self { socket, left: MOST }
    }
}

impl AsyncRead for Line {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let wanted = buffer.remaining().min(PIECE);
        let mut piece = [0; PIECE];
        let mut ahead = ReadBuf::new(&mut piece[..wanted]);
        ready!(self.socket.poll_peek(context, &mut ahead))?;
        let seen = ahead.filled();
        let line = seen.iter().position(|octet| *octet == b'\n').map_or(seen.len(), |end| end + 1);
        if line > self.left {
            return Poll::Ready(Err(io::Error::other("the mail server says too much")));
        }
        // Never less than is there: zero is the end of the connection.
        let mut ahead = ReadBuf::new(&mut piece[..line]);
        ready!(Pin::new(&mut self.socket).poll_read(context, &mut ahead))?;
        self.left -= ahead.filled().len();
        buffer.put_slice(ahead.filled());
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Line {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.socket).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_shutdown(context)
    }
}

impl AsyncTokioStream for Line {
    fn peer_addr(&self) -> io::Result<SocketAddr> {
        self.socket.peer_addr()
    }
}
