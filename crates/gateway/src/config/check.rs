//! What must be true of several keys together.

use super::reader::Problems;
use super::{Component, Config, Domain, Listen, Rule, Trusted, accounts, journal, routes};
use sip::transaction::Transport;
use std::collections::BTreeMap;
use std::net::SocketAddr;

/// What must be true of the whole.
pub(super) fn whole(config: &Config, problems: &mut Problems) {
    let Config { sip, xmpp, sip_domains, xmpp_domains, answers, admin, .. } = config;
    places_are_distinct(&sip.listen, admin.listen, problems);
    presentations(sip_domains, xmpp_domains, &xmpp.components, problems);
    trusted(&sip.trusted, sip_domains, problems);
    accounts::check(sip, sip_domains, problems);
    redirect_to(&answers.redirect_to, sip_domains, xmpp_domains, problems);
    journal::check(config, problems);
}

/// No two sockets can listen in one place; the start would fail.
fn places_are_distinct(sip: &[Listen], admin: Option<SocketAddr>, problems: &mut Problems) {
    let admin = admin.map(|address| ("admin.listen", Listen { transport: Transport::Tcp, address }));
    let all: Vec<_> = sip.iter().map(|&listen| ("sip.listen", listen)).chain(admin).collect();
    for (place, (key, listen)) in all.iter().enumerate() {
        if let Some((_, other)) = all.iter().take(place).find(|(_, earlier)| overlap(earlier, listen)) {
            problems.add(key, format!("\"{listen}\" cannot be listened on beside \"{other}\" of sip.listen"));
        }
    }
}

/// Whether two addresses are one, or one is all addresses and the other among them. Port 0 is any free one.
fn overlap(a: &Listen, b: &Listen) -> bool {
    let (one, other) = (a.address, b.address);
    let is_all = one.ip().is_unspecified() || other.ip().is_unspecified();
    a.transport == b.transport
        && one.port() == other.port()
        && one.port() != 0
        && one.is_ipv4() == other.is_ipv4()
        && (one.ip() == other.ip() || is_all)
}

/// Every address has one home and one spelling on the other side, and a component for every domain shown on XMPP.
fn presentations(sip_domains: &[Domain], xmpp_domains: &[Domain], components: &[Component], problems: &mut Problems) {
    homes_are_distinct(sip_domains, xmpp_domains, problems);
    for (section, domains, across) in
        [("sip_domain", sip_domains, xmpp_domains), ("xmpp_domain", xmpp_domains, sip_domains)]
    {
        shown_once(section, domains, across, problems);
    }
    for (domain, place) in sip_domains.iter().zip(1..) {
        let Some(shown) = domain.shown() else {
            let what = "cannot be \"same\" for any domain: a component has one domain; use \"encode\"";
            problems.add(&format!("sip_domain[{place}].rule"), what);
            continue;
        };
        if !components.iter().any(|component| component.domain == shown) {
            let what = format!("is shown on XMPP as {shown}, but no [[xmpp.component]] has domain = {shown:?}");
            problems.add(&format!("sip_domain[{place}]"), what);
        }
    }
    for (component, place) in components.iter().zip(1..) {
        let key = format!("xmpp.component[{place}].domain");
        // A missing one is noted where it was read.
        if component.domain.is_empty() {
            continue;
        }
        if components[..place - 1].iter().any(|earlier| earlier.domain == component.domain) {
            problems.add(&key, format!("{:?} stands twice", component.domain));
        } else if !sip_domains.iter().any(|domain| domain.shown() == Some(&component.domain)) {
            let what = format!("{:?} would carry nothing: no [[sip_domain]] is shown under it", component.domain);
            problems.add(&key, what);
        }
    }
}

fn homes_are_distinct(sip_domains: &[Domain], xmpp_domains: &[Domain], problems: &mut Problems) {
    let mut homes = BTreeMap::new();
    let sip = sip_domains.iter().zip(1..).map(|(domain, place)| (domain, format!("sip_domain[{place}]")));
    let xmpp = xmpp_domains.iter().zip(1..).map(|(domain, place)| (domain, format!("xmpp_domain[{place}]")));
    for (domain, key) in sip.chain(xmpp) {
        let name = domain.name.as_deref().unwrap_or("*");
        if let Some(earlier) = homes.insert(name, key.clone()) {
            problems
                .add(&format!("{key}.name"), format!("{name:?} stands in {earlier} already: a domain has one home"));
        }
    }
}

/// Under one domain of the other side stands one mapped domain, or any number of encoded ones, or real users.
fn shown_once(section: &str, domains: &[Domain], across: &[Domain], problems: &mut Problems) {
    for (domain, place) in domains.iter().zip(1..) {
        let Some(shown) = domain.shown_as.as_deref() else { continue };
        let key = format!("{section}[{place}]");
        if across.iter().any(|other| other.name.as_deref() == Some(shown)) {
            let what = format!("shows its users under {shown}, where real users of the other side live");
            problems.add(&key, what);
        }
        let clash = domains[..place - 1]
            .iter()
            .any(|other| other.shown() == Some(shown) && (other.rule != Rule::Encode || domain.rule != Rule::Encode));
        if clash {
            problems
                .add(&key, format!("shows its users under {shown}, where those of another domain are shown already"));
        }
    }
}

/// A neighbour may speak only for domains that are on SIP.
fn trusted(trusted: &[Trusted], sip_domains: &[Domain], problems: &mut Problems) {
    let any = sip_domains.iter().any(|domain| domain.name.is_none());
    for (entry, place) in trusted.iter().zip(1..) {
        for domain in &entry.domains {
            if !any && !sip_domains.iter().any(|known| known.name.as_ref() == Some(domain)) {
                let what = format!("{domain:?} is no [[sip_domain]], so that this could never match");
                problems.add(&format!("sip.trusted[{place}].domains"), what);
            }
        }
    }
}

/// A SIP sender is redirected to users that are on XMPP and shown on SIP.
fn redirect_to(to: &[String], sip_domains: &[Domain], xmpp_domains: &[Domain], problems: &mut Problems) {
    let any = xmpp_domains.iter().any(|domain| domain.name.is_none());
    for domain in to {
        let is_named = |domains: &[Domain]| domains.iter().any(|known| known.name.as_ref() == Some(domain));
        if is_named(sip_domains) || !(any || is_named(xmpp_domains)) {
            let what = format!("{domain:?} is no [[xmpp_domain]], so that this could never match");
            problems.add("answers.redirect_to", what);
        }
    }
}

/// What is allowed but should be looked at.
pub(super) fn warnings(config: &Config) -> Vec<String> {
    let mut warnings = Vec::new();
    unreachable_addresses(config, &mut warnings);
    routes::warn(&config.sip, &config.sip_domains, &mut warnings);
    open_doors(config, &mut warnings);
    journal::warn(&config.journal, &mut warnings);
    warnings
}

/// An address that peers could not answer to.
fn unreachable_addresses(config: &Config, warnings: &mut Vec<String>) {
    let sip = &config.sip;
    for (transport, advertised, key) in
        [("udp", &sip.advertise, "advertise"), ("tcp", &sip.advertise_tcp, "advertise_tcp")]
    {
        let used = sip.listen.iter().any(|listen| listen.transport.name().eq_ignore_ascii_case(transport));
        if used && advertised.parse().is_ok_and(|address: SocketAddr| address.ip().is_unspecified()) {
            warnings.push(format!(
                "sip.listen = \"{transport}:{advertised}\" stands in our Via as it is: set sip.{key} to the address peers \
                 reach us at"
            ));
        }
    }
}

/// More people may look in, or speak, than will be meant.
fn open_doors(config: &Config, warnings: &mut Vec<String>) {
    for (section, place) in config.sip.trusted.iter().zip(1..) {
        for network in section.networks.iter().filter(|network| network.prefix_len() == 0) {
            warnings.push(format!(
                "sip.trusted[{place}].networks = \"{network}\" is everybody: whoever reaches us may speak for every user of \
                 these domains"
            ));
        }
    }
    for (component, place) in config.xmpp.components.iter().zip(1..) {
        let host = component.connect.rsplit_once(':').map_or("", |(host, _)| host).trim_matches(['[', ']']);
        let address: Option<std::net::IpAddr> = host.parse().ok();
        if host != "localhost" && !address.is_some_and(|address| address.is_loopback()) {
            warnings.push(format!(
                "xmpp.component[{place}].connect = \"{}\" is on another machine: the link is not encrypted, keep it in a \
                 tunnel or a network of its own",
                component.connect
            ));
        }
    }
    if let Some(listen) = config.admin.listen.filter(|listen| !listen.ip().is_loopback()) {
        warnings.push(format!("admin.listen = \"{listen}\" answers everybody who reaches it: use a loopback address"));
    }
    let traces = config.log.level.to_ascii_lowercase().contains("trace");
    if traces && !config.log.redact_addresses {
        warnings.push(
            "log.level writes addresses of users: set log.redact_addresses = true, or a level above trace".into(),
        );
    }
}
