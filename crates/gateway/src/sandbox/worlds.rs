//! The two domains and the gateway, with their sockets.

use super::SandboxError;
use super::plan::{Account, Plan, SIP_DOMAIN, Side, WrongUser, XMPP_DOMAIN};
use super::wire::Wire;
use crate::driver::{self, Hosted, Socket, WireTap, Wiring};
use crate::net::{self, Names, tls};
use crate::program::{self, Surroundings};
use crate::{assembly, config};
use engine::Engine;
use rustls::ServerConfig;
use rustls::pki_types::PrivatePkcs8KeyDer;
use sandbox::sip::{self as sip_domain, SipDomain};
use sandbox::xmpp::{self as xmpp_domain, XmppDomain};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Instant, SystemTime};
use turn::{Minter, SocketId};

/// Everything that runs.
pub(super) struct Worlds {
    pub(super) parts: Vec<(Box<dyn Hosted>, Wiring)>,
    pub(super) names: Arc<Names>,
    pub(super) admin: Option<std::net::TcpListener>,
    /// The certificate of the XMPP domain, in PEM.
    pub(super) certificate: String,
}

/// Binds all sockets and makes the machines. The domains come first, so that the gateway finds them.
pub(super) fn build(plan: &Plan, accounts: &[Account], wire: bool, minter: &Minter) -> Result<Worlds, SandboxError> {
    let started = (driver::now(), seconds_since_1970());
    let mut secret = Vec::new();
    secret.extend_from_slice(&turn::base32::<26>(minter.derive("component secret").mint()));
    let secret: String = secret.into_iter().map(char::from).collect();
    let tap = || wire.then(|| Box::new(Wire::new(plan, started.0)) as Box<dyn WireTap>);

    let xmpp = xmpp_world(accounts, &secret, minter, started)?;
    let mut xmpp_wiring = Wiring::new("xmpp");
    xmpp_wiring.sockets.push(listener(plan.xmpp_clients, "XMPP clients")?);
    xmpp_wiring.sockets.push(listener(plan.xmpp_components, "XMPP components")?);
    let (tls, certificate) = certificate()?;
    xmpp_wiring.tls = Some(tls);
    xmpp_wiring.tap = tap();

    let sip = sip_world(plan, accounts, minter, started)?;
    let mut sip_wiring = Wiring::new("sip");
    let bound = net::bind_datagrams(plan.sip);
    let bound = bound.map_err(|error| SandboxError::Bind { purpose: "SIP over UDP", address: plan.sip, error })?;
    sip_wiring.sockets.push(Socket::Datagrams(bound));
    sip_wiring.sockets.push(listener(plan.sip, "SIP over TCP")?);
    sip_wiring.tap = tap();

    let config = config::parse(&plan.gateway_toml(&secret))?;
    let Surroundings { next_hops, wiring, names, admin, .. } = program::prepare(&config)?;
    let seed = minter.derive("engine").mint().to_le_bytes();
    let engine = Engine::new(assembly::engine_settings(&config, &next_hops), seed, started.0);

    let parts: Vec<(Box<dyn Hosted>, Wiring)> =
        vec![(Box::new(engine), wiring), (Box::new(xmpp), xmpp_wiring), (Box::new(sip), sip_wiring)];
    Ok(Worlds { parts, names, admin, certificate })
}

fn listener(address: SocketAddr, purpose: &'static str) -> Result<Socket, SandboxError> {
    let bound = net::bind_listener(address).map_err(|error| SandboxError::Bind { purpose, address, error })?;
    Ok(Socket::Listener(bound))
}

fn xmpp_world(
    accounts: &[Account],
    secret: &str,
    minter: &Minter,
    started: (Instant, u64),
) -> Result<XmppDomain, SandboxError> {
    let settings = xmpp_domain::Settings {
        clients: vec![SocketId(0)],
        components: vec![SocketId(1)],
        secrets: vec![(SIP_DOMAIN.to_owned(), secret.to_owned())],
        ..xmpp_domain::Settings::new(XMPP_DOMAIN)
    };
    let mut domain = XmppDomain::new(settings, minter.derive("xmpp domain"), started);
    for account in accounts.iter().filter(|account| account.side == Side::Xmpp) {
        let added = domain.add_user(&account.name, &account.password);
        added.map_err(|error| WrongUser { address: account.address(), why: error.to_string() })?;
    }
    Ok(domain)
}

fn sip_world(
    plan: &Plan,
    accounts: &[Account],
    minter: &Minter,
    started: (Instant, u64),
) -> Result<SipDomain, SandboxError> {
    let settings = sip_domain::Settings {
        datagrams: vec![SocketId(0)],
        listeners: vec![SocketId(1)],
        next_hop: Some(plan.gateway),
        // Debian 12 has it.
        md5_only: vec!["baresip v1.".to_owned()],
        ..sip_domain::Settings::new(SIP_DOMAIN, &plan.sip.to_string())
    };
    let mut domain = SipDomain::new(settings, minter.derive("sip domain"), started);
    for account in accounts.iter().filter(|account| account.side == Side::Sip) {
        let added = domain.add_user(&account.name, &account.password);
        added.map_err(|error| WrongUser { address: account.address(), why: error.to_string() })?;
    }
    Ok(domain)
}

/// A certificate that nobody has signed, for this run only.
fn certificate() -> Result<(Arc<ServerConfig>, String), SandboxError> {
    let made = rcgen::generate_simple_self_signed(vec![XMPP_DOMAIN.to_owned(), "localhost".to_owned()])?;
    let key = PrivatePkcs8KeyDer::from(made.signing_key.serialize_der());
    Ok((tls::accepting(vec![made.cert.der().clone()], key.into())?, made.cert.pem()))
}

#[expect(
    clippy::disallowed_methods,
    reason = "the moment of the start on the calendar, for stamps of delayed messages"
)]
fn seconds_since_1970() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs())
}
