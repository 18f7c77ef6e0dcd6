//! A datagram socket without connection: reads until empty, sends at once or in order later, and learns of unreachable
//! peers from the kernel's error queue.

use std::collections::VecDeque;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use tokio::io::{Interest, ReadBuf, Ready};
use tokio::net::UdpSocket;

/// Bytes of datagrams that wait for room in the kernel, per socket.
const WAITING_BYTES: usize = 4 << 20;

type ErrorReadiness = Pin<Box<dyn Future<Output = io::Result<Ready>> + Send>>;

pub(crate) struct Datagrams {
    socket: Arc<UdpSocket>,
    local: SocketAddr,
    waker: Waker,
    waiting: VecDeque<(SocketAddr, Vec<u8>)>,
    waiting_bytes: usize,
    errors: ErrorReadiness,
}

/// What became of a datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sent {
    /// It is with the kernel, or waits for it.
    Yes,
    /// Too much waits already, or the kernel does not take this datagram, for its size for example.
    Dropped,
    /// The kernel knows no way to the peer.
    Unreachable,
}

impl Datagrams {
    /// Takes over a bound, non-blocking socket. Called inside the runtime. `waker` is woken when there is something to
    /// receive, an error to take or room for what waits.
    pub(crate) fn new(socket: std::net::UdpSocket, waker: Waker) -> io::Result<Self> {
        report_errors(&socket)?;
        let local = socket.local_addr()?;
        let socket = Arc::new(UdpSocket::from_std(socket)?);
        let errors = error_readiness(&socket);
        Ok(Self { socket, local, waker, waiting: VecDeque::new(), waiting_bytes: 0, errors })
    }

    pub(crate) fn local(&self) -> SocketAddr {
        self.local
    }

    pub(crate) fn waker(&self) -> &Waker {
        &self.waker
    }

    pub(crate) fn has_waiting(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// Receives into `buffer`; `None` when nothing is there.
    pub(crate) fn receive(&mut self, buffer: &mut [u8]) -> Option<io::Result<(usize, SocketAddr)>> {
        let mut buffer = ReadBuf::new(buffer);
        match self.socket.poll_recv_from(&mut Context::from_waker(&self.waker), &mut buffer) {
            Poll::Ready(Ok(peer)) => Some(Ok((buffer.filled().len(), peer))),
            Poll::Ready(Err(error)) => Some(Err(error)),
            Poll::Pending => None,
        }
    }

    /// Sends, behind what already waits.
    pub(crate) fn send(&mut self, peer: SocketAddr, bytes: &[u8]) -> Sent {
        if self.waiting.is_empty() {
            match self.try_send(peer, bytes) {
                Ok(()) => return Sent::Yes,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.wait_for_room(),
                Err(error) if says_unreachable(&error) => return Sent::Unreachable,
                // It says nothing about the peer: what else goes there is not to suffer from it.
                Err(_) => return Sent::Dropped,
            }
        }
        if self.waiting_bytes + bytes.len() > WAITING_BYTES {
            return Sent::Dropped;
        }
        self.waiting_bytes += bytes.len();
        self.waiting.push_back((peer, bytes.to_vec()));
        Sent::Yes
    }

    /// Sends what waits as far as there is room. Gives the next peer that cannot be reached; call until `None`.
    pub(crate) fn send_waiting(&mut self) -> Option<SocketAddr> {
        while let Some((peer, bytes)) = self.waiting.pop_front() {
            match self.try_send(peer, &bytes) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.waiting.push_front((peer, bytes));
                    self.wait_for_room();
                    return None;
                }
                result => {
                    self.waiting_bytes -= bytes.len();
                    if result.is_err_and(|error| says_unreachable(&error)) {
                        return Some(peer);
                    }
                }
            }
        }
        None
    }

    fn try_send(&self, peer: SocketAddr, bytes: &[u8]) -> io::Result<()> {
        match self.socket.try_send_to(bytes, peer) {
            // An error that the kernel had noted for an earlier datagram to anyone is told once, in place of sending.
            Err(error) if error.kind() != io::ErrorKind::WouldBlock => self.socket.try_send_to(bytes, peer).map(drop),
            result => result.map(drop),
        }
    }

    fn wait_for_room(&self) {
        if self.socket.poll_send_ready(&mut Context::from_waker(&self.waker)).is_ready() {
            self.waker.wake_by_ref();
        }
    }

    /// Whether the error queue has something; if not, the waker is woken when it has.
    pub(crate) fn has_errors(&mut self) -> bool {
        if self.errors.as_mut().poll(&mut Context::from_waker(&self.waker)).is_pending() {
            return false;
        }
        self.errors = error_readiness(&self.socket);
        // The new future registers itself in the next call.
        self.waker.wake_by_ref();
        true
    }

    /// Empties the error queue: peers whose host, network or port cannot be reached.
    pub(crate) fn take_unreachable(&mut self, mut found: impl FnMut(SocketAddr)) {
        let taken = self.socket.try_io(Interest::ERROR, || {
            loop {
                if let Some(peer) = next_unreachable(&self.socket)? {
                    found(peer);
                }
            }
        });
        match taken {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => tracing::warn!(local = %self.local, %error, "the error queue of a socket cannot be read"),
            Ok(()) => {}
        }
    }
}

fn error_readiness(socket: &Arc<UdpSocket>) -> ErrorReadiness {
    let socket = socket.clone();
    Box::pin(async move { socket.ready(Interest::ERROR).await })
}

/// Asks the kernel to keep ICMP errors with the address of the datagram they answer (`IP_RECVERR`); a socket without
/// connection hears nothing of them otherwise.
fn report_errors(socket: &std::net::UdpSocket) -> io::Result<()> {
    use nix::sys::socket::{setsockopt, sockopt};
    if socket.local_addr()?.is_ipv4() {
        setsockopt(socket, sockopt::Ipv4RecvErr, &true)?;
    } else {
        setsockopt(socket, sockopt::Ipv6RecvErr, &true)?;
    }
    Ok(())
}

/// Whether an error of sending is about the peer, and not about the datagram or about us.
fn says_unreachable(error: &io::Error) -> bool {
    error.raw_os_error().is_some_and(is_unreachable)
}

fn is_unreachable(errno: i32) -> bool {
    use nix::libc::{ECONNREFUSED, EHOSTUNREACH, ENETUNREACH, ENOPROTOOPT};
    [ECONNREFUSED, EHOSTUNREACH, ENETUNREACH, ENOPROTOOPT].contains(&errno)
}

/// One entry of the error queue: the peer if it says that the peer cannot be reached.
fn next_unreachable(socket: &UdpSocket) -> io::Result<Option<SocketAddr>> {
    use nix::sys::socket::{ControlMessageOwned, MsgFlags, SockaddrStorage, recvmsg};
    use std::os::fd::AsRawFd;

    // The payload is the beginning of our own datagram; who it went to is all that is wanted of it.
    let mut payload = [0; 1];
    let mut control = [0; 256];
    let mut slices = [io::IoSliceMut::new(&mut payload)];
    let flags = MsgFlags::MSG_ERRQUEUE | MsgFlags::MSG_DONTWAIT;
    let entry = recvmsg::<SockaddrStorage>(socket.as_raw_fd(), &mut slices, Some(&mut control), flags)?;
    let Some(peer) = entry.address.as_ref().and_then(to_socket_addr) else { return Ok(None) };
    let unreachable = entry.cmsgs()?.any(|message| {
        let (ControlMessageOwned::Ipv4RecvErr(error, _) | ControlMessageOwned::Ipv6RecvErr(error, _)) = message else {
            return false;
        };
        says_not_delivered(error.ee_origin, error.ee_type, error.ee_errno)
    });
    Ok(unreachable.then_some(peer))
}

/// Whether an entry of the error queue ends the transactions with its peer (RFC 3261 18.4): host, network, port or protocol
/// unreachable, or a parameter problem. Source quench and TTL exceeded are passed over; the kernel calls the latter
/// `EHOSTUNREACH` too.
fn says_not_delivered(origin: u8, icmp_type: u8, errno: u32) -> bool {
    use nix::libc::{EPROTO, SO_EE_ORIGIN_ICMP, SO_EE_ORIGIN_ICMP6};
    let Ok(errno) = i32::try_from(errno) else { return false };
    // RFC 792 and RFC 4443.
    match (origin, icmp_type) {
        (SO_EE_ORIGIN_ICMP, 3) | (SO_EE_ORIGIN_ICMP6, 1) => is_unreachable(errno),
        (SO_EE_ORIGIN_ICMP, 12) | (SO_EE_ORIGIN_ICMP6, 4) => errno == EPROTO,
        (SO_EE_ORIGIN_ICMP | SO_EE_ORIGIN_ICMP6, _) => false,
        _ => is_unreachable(errno),
    }
}

fn to_socket_addr(address: &nix::sys::socket::SockaddrStorage) -> Option<SocketAddr> {
    let v4 = address.as_sockaddr_in().map(|v4| SocketAddr::from((v4.ip(), v4.port())));
    v4.or_else(|| address.as_sockaddr_in6().map(|v6| SocketAddr::from((v6.ip(), v6.port()))))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 3261 18.4, with the errors that the kernel makes of the messages (`icmp_err_convert`, `icmpv6_err_convert`).
    #[test]
    fn which_icmp_messages_end_transactions() {
        use nix::libc::{
            EACCES, ECONNREFUSED, EHOSTUNREACH, EMSGSIZE, ENETUNREACH, ENOPROTOOPT, EPROTO, SO_EE_ORIGIN_ICMP,
            SO_EE_ORIGIN_ICMP6, SO_EE_ORIGIN_LOCAL,
        };
        for (origin, icmp_type, errno, ends) in [
            (SO_EE_ORIGIN_ICMP, 3, ENETUNREACH, true),
            (SO_EE_ORIGIN_ICMP, 3, EHOSTUNREACH, true),
            (SO_EE_ORIGIN_ICMP, 3, ENOPROTOOPT, true),
            (SO_EE_ORIGIN_ICMP, 3, ECONNREFUSED, true),
            (SO_EE_ORIGIN_ICMP, 12, EPROTO, true),
            (SO_EE_ORIGIN_ICMP6, 1, EHOSTUNREACH, true),
            (SO_EE_ORIGIN_ICMP6, 1, ECONNREFUSED, true),
            (SO_EE_ORIGIN_ICMP6, 4, EPROTO, true),
            // Fragmentation needed, source quench, TTL exceeded.
            (SO_EE_ORIGIN_ICMP, 3, EMSGSIZE, false),
            (SO_EE_ORIGIN_ICMP, 4, 0, false),
            (SO_EE_ORIGIN_ICMP, 11, EHOSTUNREACH, false),
            (SO_EE_ORIGIN_ICMP6, 2, EMSGSIZE, false),
            (SO_EE_ORIGIN_ICMP6, 3, EHOSTUNREACH, false),
            (SO_EE_ORIGIN_LOCAL, 0, EMSGSIZE, false),
            (SO_EE_ORIGIN_LOCAL, 0, EACCES, false),
            (SO_EE_ORIGIN_LOCAL, 0, EHOSTUNREACH, true),
        ] {
            let errno = u32::try_from(errno).unwrap();
            assert_eq!(says_not_delivered(origin, icmp_type, errno), ends, "{origin} {icmp_type} {errno}");
        }
    }

    /// A message of one user that is too large for a datagram must not look like a proxy that is gone: all transactions
    /// with it would fail.
    #[tokio::test]
    async fn a_datagram_that_is_too_large_says_nothing_about_its_peer() {
        let socket = crate::net::bind_datagrams(([127, 0, 0, 1], 0).into()).unwrap();
        let peer = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        let mut datagrams = Datagrams::new(socket, Waker::noop().clone()).unwrap();
        let address = peer.local_addr().unwrap();
        datagrams.socket.writable().await.unwrap();
        assert_eq!(datagrams.send(address, &[b'x'; 65_508]), Sent::Dropped);
        assert_eq!(datagrams.send(address, b"fits"), Sent::Yes);
        datagrams.take_unreachable(|peer| panic!("{peer} is reachable"));
    }
}
