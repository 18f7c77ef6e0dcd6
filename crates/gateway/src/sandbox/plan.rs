//! What is where: domains, ports, accounts, and the gateway's configuration.

use std::fmt;
use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::str::FromStr;

/// The domain on XMPP.
pub(super) const XMPP_DOMAIN: &str = "xmpp.localhost";
/// The domain on SIP, which is also that of the component.
pub(super) const SIP_DOMAIN: &str = "sip.localhost";

/// What a port base may be.
pub const PORTS: RangeInclusive<u16> = 1000..=65_000;

/// The addresses of the sandbox, all on loopback.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The SIP domain, UDP and TCP: 60 above the base.
    pub sip: SocketAddr,
    /// The gateway on SIP: 61 above.
    pub gateway: SocketAddr,
    /// Health and metrics of the gateway: 80 above.
    pub admin: SocketAddr,
    /// The XMPP domain for clients: 222 above.
    pub xmpp_clients: SocketAddr,
    /// The XMPP domain for components: 223 above.
    pub xmpp_components: SocketAddr,
}

/// Which domain an account is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    Xmpp,
    Sip,
}

impl Side {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Side::Xmpp => "xmpp",
            Side::Sip => "sip",
        }
    }
}

/// Who can log in.
#[derive(Clone, Debug)]
pub(super) struct Account {
    pub(super) side: Side,
    pub(super) name: String,
    pub(super) password: String,
}

impl Account {
    /// The address on its own side: a bare JID or a SIP URI.
    pub(super) fn address(&self) -> String {
        match self.side {
            Side::Xmpp => format!("{}@{XMPP_DOMAIN}", self.name),
            Side::Sip => {
                let mut user = Vec::new();
                sip::wire::print::escape_user(self.name.as_bytes(), &mut user);
                format!("sip:{}@{SIP_DOMAIN}", String::from_utf8_lossy(&user))
            }
        }
    }
}

/// A user who is to be made: `NAME:PASSWORD`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewUser {
    /// The part before the `@` of the address.
    pub name: String,
    /// The password.
    pub password: String,
}

impl FromStr for NewUser {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.split_once(':') {
            Some((name, password)) if !name.is_empty() && !password.is_empty() => {
                Ok(Self { name: name.to_owned(), password: password.to_owned() })
            }
            _ => Err("write NAME:PASSWORD"),
        }
    }
}

/// A user who cannot be made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WrongUser {
    pub(super) address: String,
    pub(super) why: String,
}

impl fmt::Display for WrongUser {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.address, self.why)
    }
}

impl std::error::Error for WrongUser {}

impl Plan {
    /// The addresses above a base that lies in [`PORTS`].
    pub fn new(base: u16) -> Self {
        debug_assert!(PORTS.contains(&base));
        let at = |above: u16| SocketAddr::from(([127, 0, 0, 1], base.saturating_add(above)));
        Self { sip: at(60), gateway: at(61), admin: at(80), xmpp_clients: at(222), xmpp_components: at(223) }
    }

    /// Who is on XMPP without being asked for.
    pub(super) fn first_xmpp_user(&self) -> NewUser {
        NewUser { name: "romeo".into(), password: "montague".into() }
    }

    /// Who is on SIP without being asked for.
    pub(super) fn first_sip_user(&self) -> NewUser {
        NewUser { name: "juliet".into(), password: "capulet".into() }
    }

    pub(super) fn accounts(&self, xmpp: &[NewUser], sip: &[NewUser]) -> Vec<Account> {
        let on = |side, first: NewUser, others: &[NewUser]| {
            let users = std::iter::once(first).chain(others.iter().cloned());
            users.map(|NewUser { name, password }| Account { side, name, password }).collect::<Vec<_>>()
        };
        let mut accounts = on(Side::Xmpp, self.first_xmpp_user(), xmpp);
        accounts.extend(on(Side::Sip, self.first_sip_user(), sip));
        accounts
    }

    /// The gateway.toml of the gateway between the two domains.
    pub(super) fn gateway_toml(&self, secret: &str) -> String {
        let Self { sip, gateway, admin, xmpp_components, .. } = self;
        format!(
            "[sip]\n\
             listen = [\"udp:{gateway}\"]\n\
             next_hop = \"udp:{sip}\"\n\
             congestion_safe = true\n\
             [[sip_domain]]\n\
             name = \"{SIP_DOMAIN}\"\n\
             [[xmpp_domain]]\n\
             name = \"{XMPP_DOMAIN}\"\n\
             [[xmpp.component]]\n\
             domain = \"{SIP_DOMAIN}\"\n\
             connect = \"{xmpp_components}\"\n\
             secret = \"{secret}\"\n\
             [admin]\n\
             listen = \"{admin}\"\n"
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ports_are_where_people_look_for_them() {
        let plan = Plan::new(25_000);
        assert_eq!((plan.xmpp_clients.port(), plan.sip.port(), plan.admin.port()), (25_222, 25_060, 25_080));
        Plan::new(*PORTS.end());
    }

    #[test]
    fn users_are_names_with_passwords() {
        let user = NewUser { name: "nurse".into(), password: "a:b".into() };
        assert_eq!("nurse:a:b".parse(), Ok(user));
        for wrong in ["", "nurse", "nurse:", ":secret"] {
            assert!(wrong.parse::<NewUser>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn the_gateway_takes_its_configuration() {
        let config = crate::config::parse(&Plan::new(25_000).gateway_toml("secret")).unwrap();
        assert_eq!(config.sip.route.next_hops[0].to_string(), "udp:127.0.0.1:25060");
        assert!(config.sip.route.congestion_safe, "loopback: long texts pass");
        assert_eq!(config.xmpp.components[0].connect, "127.0.0.1:25223");
    }
}
