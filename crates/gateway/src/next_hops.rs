//! The next hops of the configuration, looked up: every address of every name becomes one that is tried in its turn.

use crate::config::{Config, Domain, Listen, NextHop, Route};
use crate::net::{Names, ResolveError};
use sip::transaction::{Flow, Transport};
use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use turn::SocketId;

/// No next hop of a route can be sent to.
#[derive(Debug, thiserror::Error)]
#[error("next_hop of {route}: {reason}")]
pub struct NowhereToSend {
    /// Whose route it is.
    route: String,
    reason: Unusable,
}

/// Why a next hop cannot be sent to.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Unusable {
    /// It has no address.
    #[error(transparent)]
    Name(#[from] ResolveError),
    /// It has addresses of one family only, and none of our sockets is of it.
    #[error("{0} cannot be reached from any address of sip.listen: one is IPv4 and the other IPv6")]
    Family(NextHop),
}

/// What the next hops of all routes are.
#[derive(Clone, Debug, Default)]
pub struct NextHops {
    /// Those of `[sip]`.
    usual: Vec<Flow>,
    /// Those of domains that have their own route, by the name of the domain.
    own: BTreeMap<Option<String>, Vec<Flow>>,
}

impl NextHops {
    /// Those of one of [`Config::routes`].
    pub fn of(&self, owner: Option<&Domain>) -> &[Flow] {
        match owner {
            None => &self.usual,
            Some(domain) => self.own.get(&domain.name).map_or(&[], |flows| flows),
        }
    }

    /// All their addresses.
    pub fn peers(&self) -> Vec<SocketAddr> {
        let mut peers: Vec<_> = self.own.values().chain([&self.usual]).flatten().map(|flow| flow.peer).collect();
        peers.sort();
        peers.dedup();
        peers
    }
}

/// Looks up the next hops of [`Config::routes`]. One that has no address is left out, with a warning, where another has.
pub async fn look_up(config: &Config, names: &Names) -> Result<NextHops, NowhereToSend> {
    let mut all = NextHops::default();
    for (domain, route) in config.routes() {
        let flows = look_up_route(route, &config.sip.listen, names).await;
        let flows = flows.map_err(|reason| NowhereToSend { route: owner(domain).to_string(), reason })?;
        if flows.len() > sip_connector::MOST_NEXT_HOPS {
            let most = sip_connector::MOST_NEXT_HOPS;
            tracing::warn!(route = %owner(domain), addresses = flows.len(), most, "a route has more next hops than are tried");
        }
        match domain {
            None => all.usual = flows,
            Some(domain) => drop(all.own.insert(domain.name.clone(), flows)),
        }
    }
    Ok(all)
}

async fn look_up_route(route: &Route, listen: &[Listen], names: &Names) -> Result<Vec<Flow>, Unusable> {
    let mut flows: Vec<Flow> = Vec::new();
    let mut unusable = None;
    for hop in &route.next_hops {
        let found = match names.resolve(&hop.target).await {
            Ok(addresses) => {
                let found: Vec<Flow> =
                    addresses.into_iter().filter_map(|peer| flow(hop.transport, peer, listen)).collect();
                if found.is_empty() { Err(Unusable::Family(hop.clone())) } else { Ok(found) }
            }
            Err(error) => Err(Unusable::Name(error)),
        };
        match found {
            // Two names may stand for one address.
            Ok(found) => found.into_iter().for_each(|flow| {
                if !flows.contains(&flow) {
                    flows.push(flow);
                }
            }),
            Err(error) => {
                tracing::warn!(next_hop = %hop, %error, "a next hop cannot be used");
                unusable = Some(error);
            }
        }
    }
    match unusable {
        Some(error) if flows.is_empty() => Err(error),
        _ => Ok(flows),
    }
}

/// How an address is reached: datagrams leave from the first socket of its family, which they are answered to; connections
/// from wherever the system says.
fn flow(transport: Transport, peer: SocketAddr, listen: &[Listen]) -> Option<Flow> {
    let place = match transport {
        Transport::Tcp => 0,
        Transport::Udp => listen
            .iter()
            .position(|local| local.transport == Transport::Udp && local.address.is_ipv4() == peer.is_ipv4())?,
    };
    Some(Flow { transport, socket: SocketId(u16::try_from(place).ok()?), peer, stream: None })
}

fn owner(domain: Option<&Domain>) -> impl fmt::Display + '_ {
    fmt::from_fn(move |f| match domain {
        None => f.write_str("[sip]"),
        Some(domain) => write!(f, "[[sip_domain]] {}", domain.name.as_deref().unwrap_or("*")),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn looked_up(sip: &str, domains: &str) -> Result<Vec<Vec<String>>, String> {
        let text = format!(
            "[sip]\n{sip}\n[[xmpp.component]]\ndomain = \"sip.example\"\nconnect = \"xmpp.example:5347\"\nsecret = \"x\"\n\
             {domains}\n[[xmpp_domain]]\nname = \"xmpp.example\"\n"
        );
        let config = crate::config::parse(&text).map_err(|errors| errors.to_string())?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let found = runtime.block_on(look_up(&config, &Names::new())).map_err(|error| error.to_string())?;
        let print = |flow: &Flow| format!("{} {} {}", flow.socket.0, flow.transport.name(), flow.peer);
        Ok(config.routes().map(|(domain, _)| found.of(domain).iter().map(print).collect()).collect())
    }

    const DOMAIN: &str = "[[sip_domain]]\nname = \"sip.example\"\n";

    #[test]
    fn each_address_of_each_next_hop_in_order() {
        let sip = "listen = [\"tcp:127.0.0.1:5060\", \"udp:[::1]:5060\", \"udp:127.0.0.1:5062\"]\n\
                   next_hop = [\"tcp:[2001:db8::1]:5060\", \"udp:192.0.2.1:5060\", \"sip:[2001:db8::1]\"]";
        let other = "next_hop = \"sip:proxy.example;maddr=192.0.2.2;transport=tcp\"\n";
        let found = looked_up(sip, &format!("{DOMAIN}{other}")).unwrap();
        assert_eq!(found[0], ["0 TCP [2001:db8::1]:5060", "2 UDP 192.0.2.1:5060", "1 UDP [2001:db8::1]:5060"]);
        assert_eq!(found[1], ["0 TCP 192.0.2.2:5060"]);
        // A name, with all its addresses that a socket of ours can send to.
        let found = looked_up("next_hop = [\"udp:localhost:5070\", \"udp:127.0.0.1:5070\"]", DOMAIN).unwrap();
        assert_eq!(found[0], ["0 UDP 127.0.0.1:5070"], "each address once");
    }

    /// What the configuration cannot know of a name.
    #[test]
    fn an_address_of_the_other_family_is_no_use() {
        let hop = |target: &str| NextHop { transport: Transport::Udp, target: target.into() };
        let listen = [Listen { transport: Transport::Udp, address: "127.0.0.1:5060".parse().unwrap() }];
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let look_up = |next_hops: &[&str]| {
            let route = Route { next_hops: next_hops.iter().map(|target| hop(target)).collect(), ..Route::default() };
            runtime.block_on(look_up_route(&route, &listen, &Names::new()))
        };
        let error = look_up(&["[2001:db8::1]:5060"]).unwrap_err().to_string();
        assert!(error.starts_with("udp:[2001:db8::1]:5060 cannot be reached from any"), "{error}");
        assert_eq!(look_up(&["[2001:db8::1]:5060", "192.0.2.1:5060"]).unwrap().len(), 1);
    }

    #[test]
    fn a_next_hop_without_an_address_is_left_out_where_another_has_one() {
        let found = looked_up("next_hop = [\"udp:none.invalid:5060\", \"udp:192.0.2.1:5060\"]", DOMAIN).unwrap();
        assert_eq!(found[0], ["0 UDP 192.0.2.1:5060"]);
        let error = looked_up("next_hop = \"udp:none.invalid:5060\"", DOMAIN).unwrap_err();
        assert!(error.starts_with("next_hop of [sip]: none.invalid has no address"), "{error}");
        let error = looked_up("", &format!("{DOMAIN}next_hop = \"tcp:none.invalid:5060\"\n")).unwrap_err();
        assert!(error.starts_with("next_hop of [[sip_domain]] sip.example: none.invalid has no"), "{error}");
    }
}
