//! A datagram socket without connection: reads until empty, sends what a turn has posted, and learns of unreachable peers
//! from the kernel's error queue. Many datagrams enter or leave by one call of the kernel.

use nix::sys::socket::{MsgFlags, MultiHeaders, SockaddrStorage, recvmmsg, sendmmsg};
use smallvec::SmallVec;
use std::collections::VecDeque;
use std::future::Future;
use std::io::{self, IoSlice, IoSliceMut};
use std::net::{SocketAddr, UdpSocket};
use std::ops::Range;
use std::os::fd::AsRawFd;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use tokio::io::unix::AsyncFd;
use tokio::io::{Interest, Ready};

/// Datagrams that one call of the kernel takes in or sends.
pub(crate) const BATCH: usize = 32;
/// Room for one datagram: more than any is long, and not a power of two, or the beginnings of all would displace each other
/// in the processor's cache.
const ROOM: usize = (1 << 16) + 704;
/// Bytes of datagrams that wait for room in the kernel, per socket.
const WAITING_BYTES: usize = 4 << 20;

/// Room for datagrams that come in together. Lent to one socket after the other.
pub(crate) struct Inbox {
    headers: MultiHeaders<SockaddrStorage>,
    bytes: Vec<u8>,
    /// Of each datagram that is in, who sent it and how long it is.
    found: SmallVec<[(Option<SocketAddr>, usize); BATCH]>,
}

impl Inbox {
    pub(crate) fn new() -> Self {
        // The system gives memory to those parts only that are written to.
        let bytes = vec![0; BATCH * ROOM];
        Self { headers: MultiHeaders::preallocate(BATCH, None), bytes, found: SmallVec::new() }
    }

    /// What the last call of [`Datagrams::receive`] has brought.
    pub(crate) fn datagrams(&self) -> impl Iterator<Item = (SocketAddr, &[u8])> {
        let datagrams = self.found.iter().zip(self.bytes.chunks(ROOM));
        // The kernel gives each an address.
        datagrams.filter_map(|(&(peer, length), room)| Some((peer?, room.get(..length)?)))
    }

    /// Takes what one call of the kernel gives. Whether that was all there was room for.
    fn fill(&mut self, socket: &UdpSocket) -> io::Result<bool> {
        let Self { headers, bytes, found } = self;
        let mut rooms = bytes.chunks_mut(ROOM);
        let mut slices: [_; BATCH] = std::array::from_fn(|_| [IoSliceMut::new(rooms.next().unwrap_or_default())]);
        let received = recvmmsg(socket.as_raw_fd(), headers, &mut slices, MsgFlags::MSG_DONTWAIT, None)?;
        found.extend(received.map(|datagram| (datagram.address.as_ref().and_then(to_socket_addr), datagram.bytes)));
        Ok(found.len() == BATCH)
    }
}

type ErrorReadiness = Pin<Box<dyn Future<Output = io::Result<Ready>> + Send>>;

pub(crate) struct Datagrams {
    /// Looked at for reading only. The kernel tells of room for writing whenever a datagram has been taken by its receiver,
    /// and each time would wake us for nothing.
    socket: Arc<AsyncFd<UdpSocket>>,
    /// The same socket, looked at for writing while something waits.
    room: Option<AsyncFd<UdpSocket>>,
    local: SocketAddr,
    waker: Waker,
    /// What this turn sends: ranges of its arena.
    posted: Vec<(SocketAddr, Range<u32>)>,
    outgoing: MultiHeaders<SockaddrStorage>,
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
        let socket = Arc::new(look(socket, Interest::READABLE)?);
        let errors = error_readiness(&socket);
        Ok(Self {
            socket,
            room: None,
            local,
            waker,
            posted: Vec::new(),
            outgoing: MultiHeaders::preallocate(BATCH, None),
            waiting: VecDeque::new(),
            waiting_bytes: 0,
            errors,
        })
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

    /// Receives what one call of the kernel gives. False when nothing is there, now or behind what came: the waker is
    /// woken when there is.
    pub(crate) fn receive(&mut self, inbox: &mut Inbox) -> io::Result<bool> {
        inbox.found.clear();
        let Poll::Ready(ready) = self.socket.poll_read_ready(&mut Context::from_waker(&self.waker)) else {
            return Ok(false);
        };
        let mut ready = ready?;
        match inbox.fill(self.socket.get_ref()) {
            Err(error) if error.kind() != io::ErrorKind::WouldBlock => return Err(error),
            Ok(true) => return Ok(true),
            // What comes from here on wakes us.
            Ok(false) | Err(_) => ready.clear_ready(),
        }
        // Registers the waker.
        Ok(self.socket.poll_read_ready(&mut Context::from_waker(&self.waker)).is_ready())
    }

    /// Has a datagram of the arena leave with the others of this turn.
    pub(crate) fn post(&mut self, peer: SocketAddr, bytes: Range<u32>) {
        self.posted.push((peer, bytes));
    }

    /// Sends what was posted. `bytes_of` gives the payload, `tell` hears what became of each.
    pub(crate) fn send_posted<'a>(
        &mut self,
        bytes_of: impl Fn(&Range<u32>) -> &'a [u8],
        mut tell: impl FnMut(SocketAddr, Sent),
    ) {
        let posted = std::mem::take(&mut self.posted);
        let mut rest = &posted[..];
        while let Some(((peer, bytes), others)) = rest.split_first() {
            if !others.is_empty() && self.waiting.is_empty() {
                let (sent, unsent) = rest.split_at(self.send_together(rest, &bytes_of));
                sent.iter().for_each(|&(peer, _)| tell(peer, Sent::Yes));
                if !sent.is_empty() {
                    rest = unsent;
                    continue;
                }
            }
            // Alone, or something is the matter with it.
            tell(*peer, self.send(*peer, bytes_of(bytes)));
            rest = others;
        }
        self.posted = posted;
        self.posted.clear();
    }

    /// Sends the first of some datagrams by one call of the kernel; gives how many it took.
    fn send_together<'a>(
        &mut self,
        posted: &[(SocketAddr, Range<u32>)],
        bytes_of: impl Fn(&Range<u32>) -> &'a [u8],
    ) -> usize {
        let posted = &posted[..posted.len().min(BATCH)];
        let slices: [_; BATCH] =
            std::array::from_fn(|place| [IoSlice::new(posted.get(place).map_or(&[], |(_, bytes)| bytes_of(bytes)))]);
        let peers: SmallVec<[Option<SockaddrStorage>; BATCH]> =
            posted.iter().map(|&(peer, _)| Some(SockaddrStorage::from(peer))).collect();
        let socket = self.socket.get_ref().as_raw_fd();
        sendmmsg(socket, &mut self.outgoing, &slices, peers, [], MsgFlags::MSG_DONTWAIT).map_or(0, Iterator::count)
    }

    /// Sends, behind what already waits.
    fn send(&mut self, peer: SocketAddr, bytes: &[u8]) -> Sent {
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
        self.room = None;
        None
    }

    fn try_send(&self, peer: SocketAddr, bytes: &[u8]) -> io::Result<()> {
        let socket = self.socket.get_ref();
        match socket.send_to(bytes, peer) {
            // An error that the kernel had noted for an earlier datagram to anyone is told once, in place of sending.
            Err(error) if error.kind() != io::ErrorKind::WouldBlock => socket.send_to(bytes, peer).map(drop),
            result => result.map(drop),
        }
    }

    /// Has the waker woken when there is room for what waits.
    fn wait_for_room(&mut self) {
        let socket = self.socket.get_ref().try_clone();
        // Looking anew tells of room that has come about meanwhile.
        self.room = socket.and_then(|socket| look(socket, Interest::WRITABLE)).ok();
        let mut context = Context::from_waker(&self.waker);
        if self.room.as_ref().is_none_or(|room| room.poll_write_ready(&mut context).is_ready()) {
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
        let taken = self.socket.try_io(Interest::ERROR, |socket| {
            loop {
                if let Some(peer) = next_unreachable(socket)? {
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

/// Has the kernel tell of one kind of readiness only; tokio's own socket for datagrams asks for all.
#[expect(deprecated, reason = "sound for a socket of the standard library; what replaces it is an unsafe function")]
fn look(socket: UdpSocket, interest: Interest) -> io::Result<AsyncFd<UdpSocket>> {
    AsyncFd::with_interest(socket, interest)
}

fn error_readiness(socket: &Arc<AsyncFd<UdpSocket>>) -> ErrorReadiness {
    let socket = socket.clone();
    Box::pin(async move { socket.ready(Interest::ERROR).await.map(|found| found.ready()) })
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

    fn bound(waker: Waker) -> (Datagrams, std::net::UdpSocket) {
        let peer = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        let socket = crate::net::bind_datagrams(([127, 0, 0, 1], 0).into()).unwrap();
        (Datagrams::new(socket, waker).unwrap(), peer)
    }

    /// Sends them all to the peer; what became of each.
    fn send(datagrams: &mut Datagrams, peer: SocketAddr, payloads: &[Vec<u8>]) -> Vec<Sent> {
        let (arena, mut outcomes) = (payloads.concat(), Vec::new());
        let mut start = 0;
        for payload in payloads {
            let end = start + payload.len() as u32;
            datagrams.post(peer, start..end);
            start = end;
        }
        let bytes_of = |bytes: &Range<u32>| &arena[bytes.start as usize..bytes.end as usize];
        datagrams.send_posted(bytes_of, |_, sent| outcomes.push(sent));
        outcomes
    }

    #[tokio::test]
    async fn many_leave_and_come_in_together_and_in_order() {
        let (mut datagrams, _) = bound(Waker::noop().clone());
        let (mut other, _) = bound(Waker::noop().clone());
        let payloads: Vec<Vec<u8>> = (0..3 * BATCH + 1).map(|n| format!("number {n}").into_bytes()).collect();
        let outcomes = send(&mut datagrams, other.local(), &payloads);
        assert_eq!(outcomes, vec![Sent::Yes; payloads.len()]);
        let (mut inbox, mut arrived) = (Inbox::new(), Vec::new());
        while arrived.len() < payloads.len() {
            other.socket.readable().await.unwrap().retain_ready();
            while other.receive(&mut inbox).unwrap() {
                arrived.extend(inbox.datagrams().map(|(peer, bytes)| (peer, bytes.to_vec())));
            }
            arrived.extend(inbox.datagrams().map(|(peer, bytes)| (peer, bytes.to_vec())));
        }
        assert!(arrived.iter().all(|(peer, _)| *peer == datagrams.local()));
        assert!(arrived.into_iter().map(|(_, bytes)| bytes).eq(payloads));
        assert!(!other.receive(&mut inbox).unwrap() && inbox.datagrams().next().is_none());
    }

    /// The kernel has room for what leaves here at once, so what waits is put there by the test.
    #[tokio::test]
    async fn what_waits_leaves_before_what_comes_behind_it_when_there_is_room() {
        let waker = std::future::poll_fn(|context| Poll::Ready(context.waker().clone())).await;
        let (mut datagrams, peer) = bound(waker);
        let address = peer.local_addr().unwrap();
        datagrams.waiting.push_back((address, b"first".to_vec()));
        datagrams.waiting_bytes = 5;
        datagrams.wait_for_room();
        let outcomes = send(&mut datagrams, address, &[b"second".to_vec(), b"third".to_vec()]);
        assert_eq!((outcomes, datagrams.has_waiting()), (vec![Sent::Yes, Sent::Yes], true));
        let mut woken = false;
        std::future::poll_fn(|_| if std::mem::replace(&mut woken, true) { Poll::Ready(()) } else { Poll::Pending })
            .await;
        assert_eq!(datagrams.send_waiting(), None);
        assert!(!datagrams.has_waiting() && datagrams.waiting_bytes == 0);
        for expected in [&b"first"[..], b"second", b"third"] {
            let mut buffer = [0; 16];
            let length = peer.recv(&mut buffer).unwrap();
            assert_eq!(&buffer[..length], expected);
        }
    }

    /// A message of one user that is too large for a datagram must not look like a proxy that is gone: all transactions
    /// with it would fail. What leaves with it leaves.
    #[tokio::test]
    async fn a_datagram_that_is_too_large_says_nothing_about_its_peer() {
        let (mut datagrams, peer) = bound(Waker::noop().clone());
        let address = peer.local_addr().unwrap();
        let payloads = [b"before".to_vec(), vec![b'x'; 65_508], b"behind".to_vec(), b"last".to_vec()];
        let outcomes = send(&mut datagrams, address, &payloads);
        assert_eq!(outcomes, [Sent::Yes, Sent::Dropped, Sent::Yes, Sent::Yes]);
        datagrams.take_unreachable(|peer| panic!("{peer} is reachable"));
    }
}
