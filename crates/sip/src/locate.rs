//! Where a URI leads, as far as it says so by itself (RFC 3263 section 4). What only DNS can tell (NAPTR, SRV) is not asked
//! here.

use crate::transaction::Transport;
use crate::transaction::route::parse_host;
use crate::wire::uri::{Scheme, Uri};
use std::net::IpAddr;

/// The port of SIP over UDP and TCP.
const DEFAULT_PORT: u16 = 5060;

/// Where a request is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Location<'a> {
    /// What carries it.
    pub transport: Transport,
    /// Who is there.
    pub host: Host<'a>,
    /// The port.
    pub port: u16,
}

/// The host of a location.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Host<'a> {
    /// An address: nothing is left to be asked.
    Address(IpAddr),
    /// A name, whose A and AAAA records are to be asked for (4.2), and each of them tried in turn.
    Name(&'a str),
}

/// Why a URI does not lead anywhere by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LocateError {
    /// It is no `sip:` URI.
    #[error("it is no sip URI")]
    Scheme,
    /// Its `transport` is none that is used here. It must be obeyed (4.1).
    #[error("its transport is neither udp nor tcp")]
    Transport,
    /// Neither host nor `maddr` is a name or an address.
    #[error("its host is neither a name nor an address")]
    Host,
    /// A name without a port: transport, port and hosts stand in NAPTR and SRV records (4.1, 4.2).
    #[error("a name without a port needs DNS SRV records")]
    Records,
}

/// Where requests to this URI go: `maddr` before the host (4), the transport that it names, or UDP for an address and for an
/// explicit port (4.1); its port, or 5060 for an address (4.2).
pub fn locate<'a>(uri: &Uri<'a>) -> Result<Location<'a>, LocateError> {
    if uri.scheme != Scheme::Sip {
        return Err(LocateError::Scheme);
    }
    let target = match uri.param("maddr") {
        Some(maddr) => maddr.ok_or(LocateError::Host)?,
        None => uri.host,
    };
    let host = match parse_host(target) {
        Some(address) => Host::Address(address),
        None => Host::Name(std::str::from_utf8(target).map_err(|_| LocateError::Host)?),
    };
    let named = match uri.param("transport") {
        None => None,
        Some(Some(name)) if name.eq_ignore_ascii_case(b"udp") => Some(Transport::Udp),
        Some(Some(name)) if name.eq_ignore_ascii_case(b"tcp") => Some(Transport::Tcp),
        Some(_) => return Err(LocateError::Transport),
    };
    let port = match (uri.port.filter(|port| *port != 0), host) {
        (Some(port), _) => port,
        (None, Host::Address(_)) => DEFAULT_PORT,
        (None, Host::Name(_)) => return Err(LocateError::Records),
    };
    Ok(Location { transport: named.unwrap_or(Transport::Udp), host, port })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn located(uri: &str) -> Result<(Transport, Host<'_>, u16), LocateError> {
        let found = locate(&Uri::parse(uri.as_bytes()).unwrap())?;
        Ok((found.transport, found.host, found.port))
    }

    #[test]
    fn rows_of_rfc_3263() {
        let v4 = Host::Address("192.0.2.1".parse().unwrap());
        let v6 = Host::Address("2001:db8::1".parse().unwrap());
        for (uri, expected) in [
            // 4.1: numeric, without a transport: UDP. 4.2: at the default port.
            ("sip:192.0.2.1", Ok((Transport::Udp, v4, 5060))),
            ("sip:juliet@192.0.2.1:5070;lr", Ok((Transport::Udp, v4, 5070))),
            ("sip:[2001:db8::1]", Ok((Transport::Udp, v6, 5060))),
            // 4.1: a name with a port, without a transport: UDP. 4.2: no SRV, not even for 5060.
            ("sip:proxy.example:5060", Ok((Transport::Udp, Host::Name("proxy.example"), 5060))),
            // 4.1: a transport is obeyed.
            ("sip:proxy.example:5070;transport=TCP", Ok((Transport::Tcp, Host::Name("proxy.example"), 5070))),
            ("sip:192.0.2.1;transport=tcp", Ok((Transport::Tcp, v4, 5060))),
            ("sip:proxy.example:5060;transport=udp", Ok((Transport::Udp, Host::Name("proxy.example"), 5060))),
            ("sip:192.0.2.1;transport=sctp", Err(LocateError::Transport)),
            ("sip:192.0.2.1;transport=tls", Err(LocateError::Transport)),
            // 4: maddr is the TARGET, with the port of the URI.
            ("sip:proxy.example;maddr=192.0.2.1", Ok((Transport::Udp, v4, 5060))),
            ("sip:proxy.example:5070;maddr=192.0.2.1;transport=tcp", Ok((Transport::Tcp, v4, 5070))),
            ("sip:192.0.2.9:5070;maddr=b.example", Ok((Transport::Udp, Host::Name("b.example"), 5070))),
            // What DNS would have to tell.
            ("sip:proxy.example", Err(LocateError::Records)),
            ("sip:proxy.example;transport=tcp", Err(LocateError::Records)),
            ("sip:192.0.2.9;maddr=b.example", Err(LocateError::Records)),
            // Promises that cannot be kept.
            ("sips:192.0.2.1", Err(LocateError::Scheme)),
            ("tel:+15551234", Err(LocateError::Scheme)),
        ] {
            assert_eq!(located(uri), expected, "{uri}");
        }
    }
}
