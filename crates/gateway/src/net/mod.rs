//! Sockets: datagrams, streams, TLS, names.

pub(crate) mod names;
pub(crate) mod tcp;
pub mod tls;
pub(crate) mod udp;

pub(crate) use names::split_host_port;
pub use names::{Names, ResolveError};

use socket2::{Domain, Protocol, Socket, Type};
use std::io;
use std::net::SocketAddr;

/// What the kernel is asked to buffer per datagram socket and direction: a second of a busy proxy. It gives what
/// `net.core.rmem_max` and `wmem_max` allow.
const DATAGRAM_BUFFER: usize = 8 << 20;
/// Connections that wait to be accepted.
const BACKLOG: i32 = 1024;

/// Binds a socket for datagrams.
pub fn bind_datagrams(address: SocketAddr) -> io::Result<std::net::UdpSocket> {
    let socket = Socket::new(Domain::for_address(address), Type::DGRAM, Some(Protocol::UDP))?;
    // Smaller buffers work too, so a refusal is not an error.
    let _ = socket.set_recv_buffer_size(DATAGRAM_BUFFER);
    let _ = socket.set_send_buffer_size(DATAGRAM_BUFFER);
    separate_families(&socket, address)?;
    socket.bind(&address.into())?;
    socket.set_nonblocking(true)?;
    Ok(socket.into())
}

/// Binds a listener for streams.
pub fn bind_listener(address: SocketAddr) -> io::Result<std::net::TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    // A restart must not wait for connections of the last run to leave TIME_WAIT.
    socket.set_reuse_address(true)?;
    separate_families(&socket, address)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    socket.set_nonblocking(true)?;
    Ok(socket.into())
}

/// `[::]` and `0.0.0.0` are two sockets, whatever the system's default is: peers never appear as mapped addresses.
fn separate_families(socket: &Socket, address: SocketAddr) -> io::Result<()> {
    if address.is_ipv6() { socket.set_only_v6(true) } else { Ok(()) }
}
