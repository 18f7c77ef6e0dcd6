//! Free loopback ports, of which no two tests get the same, whatever process they run in.

use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, UdpSocket};
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr as LocalAddress, UnixDatagram};
use std::sync::{Mutex, PoisonError};

// Below the range from which Linux takes the ports of outgoing connections (32768 and up), so that a port that was free
// when it was given out is not taken by some client before its server binds it.
const FIRST: u16 = 16_000;
/// A process claims so many ports at a time.
const BLOCK: u16 = 250;
const BLOCKS: u16 = 64;

/// The blocks of this process.
struct Claimed {
    /// Each is claimed for as long as its socket is open: that is, until the process ends, however it ends. Abstract names
    /// are known where the ports are: in one network namespace.
    claims: Vec<UnixDatagram>,
    /// The ports of the last block that have not been given out.
    next: u16,
    end: u16,
}

static CLAIMED: Mutex<Claimed> = Mutex::new(Claimed { claims: Vec::new(), next: 0, end: 0 });

/// A port of 127.0.0.1 and ::1 that is free for UDP and TCP and stays this process's own.
///
/// # Panics
///
/// When none is left.
pub fn free_port() -> u16 {
    free_ports(1)
}

/// [`free_port`] of 127.0.0.1.
///
/// # Panics
///
/// When none is left.
pub fn free_address() -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, free_port()))
}

/// The first of `count` such ports in a row.
///
/// # Panics
///
/// When there are not so many left in a row; at most 250 ever are.
pub fn free_ports(count: u16) -> u16 {
    assert!(count <= BLOCK, "no block has {count} ports");
    // Whoever panicked has left numbers behind that are good enough.
    let mut claimed = CLAIMED.lock().unwrap_or_else(PoisonError::into_inner);
    loop {
        while claimed.end - claimed.next < count {
            claim(&mut claimed);
        }
        let first = claimed.next;
        claimed.next += count;
        if (first..first + count).all(is_free) {
            return first;
        }
    }
}

fn claim(claimed: &mut Claimed) {
    let (block, claim) = (0..BLOCKS)
        .find_map(|block| {
            let name = LocalAddress::from_abstract_name(format!("entente-tests-ports-{block}")).ok()?;
            Some((block, UnixDatagram::bind_addr(&name).ok()?))
        })
        .expect("a block of ports that no other test has");
    claimed.claims.push(claim);
    claimed.next = FIRST + block * BLOCK;
    claimed.end = claimed.next + BLOCK;
}

/// Whether no program that is not a test has it.
fn is_free(port: u16) -> bool {
    let addresses: [IpAddr; 2] = [Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()];
    addresses.iter().all(|&address| {
        let bound = [UdpSocket::bind((address, port)).err(), TcpListener::bind((address, port)).err()];
        // Where there is no IPv6 nobody has the port there.
        bound.iter().flatten().all(|error| address.is_ipv6() && error.kind() != ErrorKind::AddrInUse)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_port_is_given_twice_and_each_can_be_bound() {
        let mut given = Vec::new();
        for count in [1, 2, 224, 1, 224, 250, 1] {
            let first = free_ports(count);
            assert!(first >= FIRST && first + count - 1 < 32_768);
            given.extend(first..first + count);
        }
        let all = given.len();
        given.sort_unstable();
        given.dedup();
        assert_eq!(given.len(), all);
        for port in given {
            assert!(TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok(), "{port}");
        }
    }

    /// What another process would meet.
    #[test]
    fn a_block_is_claimed_once() {
        let port = free_port();
        let name = format!("entente-tests-ports-{}", (port - FIRST) / BLOCK);
        let name = LocalAddress::from_abstract_name(name).expect("a short name");
        let again = UnixDatagram::bind_addr(&name);
        assert_eq!(again.map_err(|error| error.kind()).err(), Some(ErrorKind::AddrInUse));
    }
}
