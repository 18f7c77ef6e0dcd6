//! Where responses go (RFC 3261 18.2.2, RFC 3581 section 4), and what is noted for it in the top Via (18.2.1).

use super::{Flow, Transport, Way};
use crate::wire::{Via, print};
use std::io::Write as _;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};

/// Where the responses to a request go that came over `flow` with this top Via. `None` for a stream transport without a
/// stream.
pub(crate) fn response_way(flow: &Flow, via: &Via<'_>) -> Option<Way> {
    if flow.transport != Transport::Udp {
        return Way::of(flow);
    }
    let port = via.port.filter(|port| *port != 0).unwrap_or(5060);
    // An answer goes to one element: a request cannot have it broadcast.
    let peer = if let Some(address) = via.maddr.and_then(parse_host).filter(is_one_host) {
        SocketAddr::new(address, port)
    } else if via.rport.is_some() {
        flow.peer
    } else {
        // `received` is the source address, whatever the request may have claimed.
        let mut peer = flow.peer;
        peer.set_port(port);
        peer
    };
    Some(Way::Datagram { socket: flow.socket, peer })
}

/// The same way, but to nobody else than whom the request came from: `maddr` is not followed for everybody.
pub(crate) fn back_to_sender(way: Way, flow: &Flow) -> Way {
    match way {
        Way::Datagram { socket, peer } if peer.ip().to_canonical() != flow.peer.ip().to_canonical() => {
            Way::Datagram { socket, peer: flow.peer }
        }
        _ => way,
    }
}

/// Where the connection for a response is opened whose own is gone: the address that the request came from, at the port of
/// its sent-by. `vias` are Via lines as the server transport left them.
pub(crate) fn return_address(vias: &[u8]) -> Option<SocketAddr> {
    let value = vias.strip_prefix(b"Via:")?;
    let end = memchr::memmem::find(value, b"\r\n").unwrap_or(value.len());
    let via = Via::parse(value.get(..end)?.trim_ascii()).ok()?;
    let address = via.received.and_then(parse_host).or_else(|| parse_host(via.host)).filter(is_one_host)?;
    Some(SocketAddr::new(address, via.port.filter(|port| *port != 0).unwrap_or(5060)))
}

fn is_one_host(address: &IpAddr) -> bool {
    let broadcast = matches!(address, IpAddr::V4(address) if address.is_broadcast());
    !broadcast && !address.is_multicast() && !address.is_unspecified()
}

/// Appends the top Via as the server transport leaves it: `rport` filled in, `received` where it is due, and nothing of
/// what the sender may have written there himself; all else byte for byte.
pub(crate) fn write_received_via(via: &Via<'_>, flow: &Flow, out: &mut Vec<u8>) {
    let source = flow.peer.ip().to_canonical();
    let due = via.rport.is_some() || parse_host(via.host) != Some(source);
    if !due && via.received.is_none() {
        out.extend_from_slice(via.raw);
        return;
    }
    for (place, part) in split_parameters(via.raw).enumerate() {
        let name_end = part.iter().position(|&byte| byte == b'=').unwrap_or(part.len());
        let name = part[..name_end].trim_ascii();
        if place == 0 {
            out.extend_from_slice(part);
        } else if name.eq_ignore_ascii_case(b"rport") {
            out.extend_from_slice(b";rport=");
            print::decimal(flow.peer.port().into(), out);
        } else if !name.eq_ignore_ascii_case(b"received") {
            out.push(b';');
            out.extend_from_slice(part);
        }
    }
    if due {
        // Without brackets, as the grammar has it (RFC 5118 section 4.5).
        out.extend_from_slice(b";received=");
        match source {
            IpAddr::V4(v4) => {
                for (place, octet) in v4.octets().into_iter().enumerate() {
                    if place > 0 {
                        out.push(b'.');
                    }
                    print::decimal(octet.into(), out);
                }
            }
            IpAddr::V6(v6) => {
                let _ = write!(out, "{v6}");
            }
        }
    }
}

/// Splits at the semicolons outside quoted strings.
fn split_parameters(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = Some(value);
    std::iter::from_fn(move || {
        let (part, behind) = rest?.split_at(parameter_end(rest?));
        rest = behind.get(1..);
        Some(part)
    })
}

/// Where the first semicolon outside quoted strings is, or the end.
fn parameter_end(value: &[u8]) -> usize {
    let mut at = 0;
    while let Some(found) = memchr::memchr2(b';', b'"', &value[at..]) {
        at += found;
        if value[at] == b';' {
            return at;
        }
        at += 1;
        // To behind the closing quote; without one all of the rest is quoted.
        loop {
            let Some(found) = memchr::memchr2(b'\\', b'"', &value[at..]) else { return value.len() };
            at += found + 1;
            if value[at - 1] == b'"' {
                break;
            }
            at = (at + 1).min(value.len());
        }
    }
    value.len()
}

/// An IP literal, IPv6 with or without brackets.
pub(crate) fn parse_host(host: &[u8]) -> Option<IpAddr> {
    let text = std::str::from_utf8(host).ok()?;
    let address = match text.strip_prefix('[').and_then(|text| text.strip_suffix(']')) {
        Some(inner) => IpAddr::V6(inner.parse::<Ipv6Addr>().ok()?),
        None => text.parse().ok()?,
    };
    Some(address.to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn parameters_end_at_semicolons_outside_quotes() {
        for (value, parts) in [
            ("SIP/2.0/UDP h;a=1;b", &["SIP/2.0/UDP h", "a=1", "b"][..]),
            ("h;a=\";\";b", &["h", "a=\";\"", "b"]),
            ("h;a=\"\\\";\";b;", &["h", "a=\"\\\";\"", "b", ""]),
            ("h;a\\\";b\";c", &["h", "a\\\";b\"", "c"]),
            ("h;a=\";b", &["h", "a=\";b"]),
            ("h;a=\"\\", &["h", "a=\"\\"]),
            ("", &[""]),
        ] {
            let found: Vec<&[u8]> = split_parameters(value.as_bytes()).collect();
            assert_eq!(found, parts.iter().map(|part| part.as_bytes()).collect::<Vec<_>>(), "{value}");
        }
    }

    proptest! {
        #[test]
        fn nothing_is_lost_at_a_split(value in "[ab;\"\\\\]{0,20}") {
            let parts: Vec<&[u8]> = split_parameters(value.as_bytes()).collect();
            prop_assert_eq!(parts.join(&b';'), value.as_bytes());
        }
    }
}
