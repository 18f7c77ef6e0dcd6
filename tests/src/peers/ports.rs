//! Free loopback ports.

use std::net::{Ipv4Addr, TcpListener, UdpSocket};
use std::sync::atomic::{AtomicU16, Ordering};

// Below the range from which Linux takes the ports of outgoing connections (32768 and up), so that a port that was free
// when it was given out is not taken by some client before its server binds it.
const FIRST: u16 = 20_000;
const COUNT: u16 = 12_000;

static NEXT: AtomicU16 = AtomicU16::new(0);

/// A port of 127.0.0.1 that is free for UDP and TCP; no two calls of this process return the same one.
pub fn free_port() -> u16 {
    free_ports(1)
}

/// The first of `count` free ports in a row (baresip also takes the port after its own, for TLS).
pub fn free_ports(count: u16) -> u16 {
    // Processes start at different places, so that two test runs side by side rarely meet.
    let offset = (std::process::id() % u32::from(COUNT / 8)) as u16 * 8;
    for _ in 0..COUNT {
        let start = NEXT.fetch_add(count, Ordering::Relaxed);
        let first = FIRST + offset.wrapping_add(start) % (COUNT - count);
        if (first..first + count).all(is_free) {
            return first;
        }
    }
    panic!("no free loopback port between {FIRST} and {}", FIRST + COUNT);
}

fn is_free(port: u16) -> bool {
    let address = (Ipv4Addr::LOCALHOST, port);
    UdpSocket::bind(address).is_ok() && TcpListener::bind(address).is_ok()
}
