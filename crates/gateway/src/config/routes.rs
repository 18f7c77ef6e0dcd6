//! Where requests to SIP users go: `next_hop` and the keys beside it, in `[sip]` for all domains and in `[[sip_domain]]` for
//! one.

use super::reader::{Problems, Table};
use super::{Domain, LargeRequests, Listen, Sip, values};
use figment::value::Value;
use sip::locate::{Host, Location, locate};
use sip::route_set::RouteSet;
use sip::transaction::Transport;
use sip::wire::uri::Uri;
use std::net::SocketAddr;

/// Next hops that one list may name.
const MOST_NAMED: usize = 8;

/// A proxy that requests are sent to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NextHop {
    /// What carries them.
    pub transport: Transport,
    /// `host:port`; all addresses of a name are tried in turn.
    pub target: String,
}

impl std::fmt::Display for NextHop {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}", self.transport.name().to_ascii_lowercase(), self.target)
    }
}

/// Where requests go, and what may be sent there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// The next hops, the preferred ones first.
    pub next_hops: Vec<NextHop>,
    /// Proxies that requests have to visit, as the URIs of a route set.
    pub route_set: Vec<String>,
    /// No link on the way suffers from large messages.
    pub congestion_safe: bool,
    /// The lowest MTU on the way.
    pub path_mtu: u16,
}

impl Default for Route {
    fn default() -> Self {
        Self {
            next_hops: Vec::new(),
            route_set: Vec::new(),
            congestion_safe: false,
            path_mtu: sip_connector::USUAL_MTU,
        }
    }
}

/// The keys as they stand in one section.
pub(super) struct Keys {
    section: String,
    next_hops: Option<Vec<NextHop>>,
    route_set: Option<Vec<String>>,
    congestion_safe: Option<bool>,
    path_mtu: Option<u16>,
    /// A problem with them is noted already.
    wrong: bool,
}

impl Keys {
    pub(super) fn read(table: &mut Table, problems: &mut Problems) -> Self {
        let before = problems.len();
        let mut keys = Self {
            section: table.key(""),
            next_hops: table.one_or_more("next_hop", problems, next_hop),
            route_set: table.one_or_more("route", problems, route_uri),
            congestion_safe: table.read("congestion_safe", problems, values::flag),
            path_mtu: table
                .read("path_mtu", problems, values::count(576..=65_535))
                .and_then(|mtu| u16::try_from(mtu).ok()),
            wrong: false,
        };
        if keys.next_hops.is_none()
            && let Some(first) = keys.route_set.as_ref().and_then(|routes| routes.first())
        {
            match follow(first) {
                Ok(hop) => keys.next_hops = Some(vec![hop]),
                Err(why) => problems
                    .add(&keys.key("route"), format!("does not say where requests go ({why}): write next_hop too")),
            }
        }
        keys.check_list(problems);
        keys.wrong = problems.len() > before;
        keys
    }

    fn key(&self, key: &str) -> String {
        format!("{}{key}", self.section)
    }

    fn check_list(&self, problems: &mut Problems) {
        let Some(next_hops) = &self.next_hops else { return };
        let key = self.key("next_hop");
        if next_hops.is_empty() {
            problems.add(&key, "names no usable next hop");
        }
        if next_hops.len() > MOST_NAMED {
            problems.add(&key, format!("names {} next hops: at most {MOST_NAMED} are tried", next_hops.len()));
        }
        for (place, hop) in next_hops.iter().enumerate() {
            if next_hops.iter().take(place).any(|earlier| earlier == hop) {
                problems.add(&key, format!("\"{hop}\" stands twice"));
            }
        }
    }

    fn has_own_way(&self) -> bool {
        self.next_hops.is_some() || self.route_set.is_some()
    }

    fn is_absent(&self) -> bool {
        !self.has_own_way() && self.congestion_safe.is_none() && self.path_mtu.is_none()
    }

    /// The route these keys describe by themselves.
    fn route(&self) -> Route {
        let usual = Route::default();
        Route {
            next_hops: self.next_hops.clone().unwrap_or_default(),
            route_set: self.route_set.clone().unwrap_or_default(),
            congestion_safe: self.congestion_safe.unwrap_or(usual.congestion_safe),
            path_mtu: self.path_mtu.unwrap_or(usual.path_mtu),
        }
    }

    /// The route of a domain with these keys: its own where it names the way, else that of `[sip]` with other properties.
    /// `None` if nothing is different.
    fn of_domain(&self, usual: &Route) -> Option<Route> {
        if self.is_absent() {
            None
        } else if self.has_own_way() {
            Some(self.route())
        } else {
            Some(Route {
                congestion_safe: self.congestion_safe.unwrap_or(usual.congestion_safe),
                path_mtu: self.path_mtu.unwrap_or(usual.path_mtu),
                ..usual.clone()
            })
        }
    }
}

/// Puts the routes together, and notes what cannot be.
pub(super) fn put_together(sip: &mut Sip, usual: &Keys, domains: &mut [(Domain, Keys)], problems: &mut Problems) {
    let mut unrouted = domains.is_empty();
    sip.route = usual.route();
    for (domain, keys) in domains.iter_mut() {
        domain.route = keys.of_domain(&sip.route);
        unrouted |= !keys.has_own_way() && !keys.wrong;
    }
    if unrouted && !usual.has_own_way() && !usual.wrong {
        let remedy = "is missing: write the proxy of your SIP domain, as in next_hop = \"udp:proxy.example:5060\"";
        problems.add(&usual.key("next_hop"), remedy);
    }
    for keys in std::iter::once(usual).chain(domains.iter().map(|(_, keys)| keys)) {
        for hop in keys.next_hops.iter().flatten() {
            can_be_reached(hop, &sip.listen, &keys.key("next_hop"), problems);
        }
    }
}

/// Our sockets can send there, and it is not ourselves.
fn can_be_reached(hop: &NextHop, listen: &[Listen], key: &str, problems: &mut Problems) {
    let mut udp = listen.iter().filter(|listen| listen.transport == Transport::Udp).peekable();
    // That nothing can be listened on has been noted.
    if listen.is_empty() {
        return;
    }
    if hop.transport == Transport::Udp && udp.peek().is_none() {
        problems.add("sip.listen", format!("must name a UDP address too: {key} is reached over UDP"));
        return;
    }
    let Ok(address) = hop.target.parse::<SocketAddr>() else { return };
    let kind = if address.is_ipv4() { "IPv4" } else { "IPv6" };
    if hop.transport == Transport::Udp && !udp.any(|listen| listen.address.is_ipv4() == address.is_ipv4()) {
        problems.add("sip.listen", format!("must name an {kind} address for UDP too: \"{hop}\" is reached from it"));
    }
    if listen.iter().any(|listen| listen.address == address && listen.transport == hop.transport) {
        problems.add(key, format!("\"{hop}\" is the gateway itself: every message to SIP would be a loop"));
    }
}

/// Notes keys without an effect, and a Via that some next hop cannot answer to.
pub(super) fn warn(sip: &Sip, domains: &[Domain], warnings: &mut Vec<String>) {
    if !sip.route.next_hops.is_empty() && domains.iter().all(|domain| domain.has_own_way(&sip.route)) {
        warnings.push("sip.next_hop has no effect: every [[sip_domain]] has its own".into());
    }
    let routes = || std::iter::once(&sip.route).chain(domains.iter().filter_map(|domain| domain.route.as_ref()));
    if sip.large_requests != LargeRequests::TcpThenUdp && !routes().any(|route| route.congestion_safe) {
        warnings.push(
            "sip.large_requests has no effect: without congestion_safe = true larger messages are refused".into(),
        );
    }
    let mut mentioned = Vec::new();
    for hop in routes().flat_map(|route| &route.next_hops) {
        let (advertised, key) = match hop.transport {
            Transport::Udp => (&sip.advertise, "advertise"),
            Transport::Tcp => (&sip.advertise_tcp, "advertise_tcp"),
        };
        let (Ok(to), Ok(from)) = (hop.target.parse::<SocketAddr>(), advertised.parse::<SocketAddr>()) else { continue };
        if to.is_ipv4() != from.is_ipv4() && !mentioned.contains(&hop) {
            mentioned.push(hop);
            warnings.push(format!(
                "next_hop \"{hop}\" is told to answer to {from}, an address of the other family: set sip.{key} to a name \
                 that has both"
            ));
        }
    }
}

/// `udp:HOST:PORT`, `tcp:HOST:PORT` or a SIP URI.
fn next_hop(value: &Value) -> Result<NextHop, String> {
    let spelled = values::text(value)?;
    let hop = if spelled.starts_with("sip:") {
        follow(spelled)?
    } else {
        let (transport, target) = values::sip_target(value)?;
        NextHop { transport, target }
    };
    match hop.target.parse::<SocketAddr>().map(|address| address.ip().to_canonical()) {
        Ok(address) if address.is_unspecified() => Err(format!("{address} is no address that anybody has")),
        Ok(address) if address.is_multicast() => Err(format!("{address} is a group: one next hop has to answer")),
        _ => Ok(hop),
    }
}

/// Where a SIP URI leads.
fn follow(uri: &str) -> Result<NextHop, String> {
    let uri = Uri::parse(uri.as_bytes()).map_err(|error| format!("is no SIP URI: {error}"))?;
    let Location { transport, host, port } = locate(&uri).map_err(|error| format!("leads nowhere: {error}"))?;
    let target = match host {
        Host::Address(address) => SocketAddr::new(address, port).to_string(),
        Host::Name(name) => values::host_port(&Value::from(format!("{name}:{port}")))?,
    };
    Ok(NextHop { transport, target })
}

/// A URI for a Route header field.
fn route_uri(value: &Value) -> Result<String, String> {
    let wrong = || "must be a SIP URI without angle brackets, as in \"sip:proxy.example;lr\"".to_owned();
    let spelled = values::text(value)?;
    let uri = Uri::parse(spelled.as_bytes()).map_err(|_| wrong())?;
    RouteSet::new([uri.raw]).map_err(|_| wrong())?;
    // RFC 3261 19.1.1, table 1.
    if !uri.headers.is_empty() || uri.param("method").is_some() {
        return Err("must have neither a method parameter nor a header part".into());
    }
    Ok(spelled.to_owned())
}
