//! What a running gateway takes from a configuration that was read again.
//!
//! Sockets are bound, links made and names told to peers at the start: keys of such things keep the value that runs, and are
//! named. In gateway.toml their comments say "Read at the start."

use super::reader::Problems;
use super::{
    Admin, Answers, Component, Config, ConfigErrors, Domain, Gateway, Journal, Log, Route, Sip, SipLimits, Xmpp,
    XmppLimits, check,
};
use figment::Figment;

/// A configuration for a gateway that runs already.
#[derive(Clone, Debug)]
pub struct Reread {
    /// What is in force from here on.
    pub config: Config,
    /// Keys whose new value needs a restart.
    pub kept: Vec<&'static str>,
}

/// Takes from `fresh` what can be taken while `running` runs. `Err` where what is left of it does not fit together: nothing
/// is to be changed then.
pub fn reread(running: &Config, fresh: Config) -> Result<Reread, ConfigErrors> {
    let mut kept = Vec::new();
    // Every key has its place below: one that is new in a section has to be put among those that stay or those that change.
    let Config { gateway, sip, xmpp, sip_domains, xmpp_domains, answers, journal, log, admin, warnings } = fresh;
    let config = Config {
        gateway: {
            let Gateway { name, start_max_forwards } = gateway;
            Gateway { name: stays("gateway.name", &running.gateway.name, name, &mut kept), start_max_forwards }
        },
        sip: self::sip(&running.sip, sip, &mut kept),
        xmpp: {
            let Xmpp { components, limits } = xmpp;
            let XmppLimits { stanza, unsent } = limits;
            Xmpp {
                components: self::components(&running.xmpp.components, components, &mut kept),
                limits: XmppLimits { stanza, unsent },
            }
        },
        sip_domains: self::sip_domains(&running.sip_domains, sip_domains, &mut kept),
        xmpp_domains,
        answers: {
            let Answers { window, on_acceptance, late_failure, ask_receipts, redirect_to } = answers;
            Answers { window, on_acceptance, late_failure, ask_receipts, redirect_to }
        },
        journal: self::journal(&running.journal, journal, &mut kept),
        log: {
            let Log { format, level, redact_addresses } = log;
            Log { format: stays("log.format", &running.log.format, format, &mut kept), level, redact_addresses }
        },
        admin: {
            let Admin { listen } = admin;
            Admin { listen: stays("admin.listen", &running.admin.listen, listen, &mut kept) }
        },
        warnings,
    };
    let mut problems = Problems::new(Figment::new(), "");
    check::whole(&config, &mut problems);
    problems.finish().map_err(|ConfigErrors(mut problems)| {
        for problem in &mut problems {
            problem.place = format!("the configuration, without what needs a restart ({})", kept.join(", "));
        }
        ConfigErrors(problems)
    })?;
    Ok(Reread { config, kept })
}

/// The value that runs; a new one is noted.
fn stays<T: Clone + PartialEq>(key: &'static str, running: &T, fresh: T, kept: &mut Vec<&'static str>) -> T {
    if *running != fresh {
        kept.push(key);
    }
    running.clone()
}

fn sip(running: &Sip, fresh: Sip, kept: &mut Vec<&'static str>) -> Sip {
    let Sip {
        listen,
        advertise,
        advertise_tcp,
        route,
        large_requests,
        trusted,
        accounts,
        follow_redirects,
        parallel,
        user_agent,
        limits,
    } = fresh;
    let SipLimits { message, connections, ongoing, queue_per_destination, queue_in_all, under_way } = limits;
    Sip {
        listen: stays("sip.listen", &running.listen, listen, kept),
        advertise: stays("sip.advertise", &running.advertise, advertise, kept),
        advertise_tcp: stays("sip.advertise_tcp", &running.advertise_tcp, advertise_tcp, kept),
        route: self::route(&running.route, route, kept),
        large_requests,
        trusted,
        accounts,
        follow_redirects,
        parallel,
        user_agent: stays("sip.user_agent", &running.user_agent, user_agent, kept),
        limits: SipLimits {
            message,
            connections: stays("sip.limits.connections", &running.limits.connections, connections, kept),
            ongoing,
            queue_per_destination,
            queue_in_all,
            under_way,
        },
    }
}

/// A journal is begun and ended with the program.
fn journal(running: &Journal, fresh: Journal, kept: &mut Vec<&'static str>) -> Journal {
    let Journal { folder, max_entries, max_octets, keep, dead_letter_file, mail } = fresh;
    if running.folder.is_none() != folder.is_none() {
        kept.push("journal.folder");
        return running.clone();
    }
    Journal {
        folder: stays("journal.folder", &running.folder, folder, kept),
        max_entries,
        max_octets,
        keep,
        dead_letter_file: {
            let key = "journal.dead_letter_file or max_dead_letters";
            stays(key, &running.dead_letter_file, dead_letter_file, kept)
        },
        mail: stays("journal.mail", &running.mail, mail, kept),
    }
}

fn route(running: &Route, fresh: Route, kept: &mut Vec<&'static str>) -> Route {
    let Route { next_hops, route_set, congestion_safe, path_mtu } = fresh;
    Route {
        next_hops: stays("sip.next_hop", &running.next_hops, next_hops, kept),
        route_set: stays("sip.route", &running.route_set, route_set, kept),
        congestion_safe: stays("sip.congestion_safe", &running.congestion_safe, congestion_safe, kept),
        path_mtu: stays("sip.path_mtu", &running.path_mtu, path_mtu, kept),
    }
}

/// SIP domains with the routes that run: a new domain has that of `[sip]`.
fn sip_domains(running: &[Domain], fresh: Vec<Domain>, kept: &mut Vec<&'static str>) -> Vec<Domain> {
    let domains = fresh.into_iter().map(|domain| {
        let known = running.iter().find(|known| known.name == domain.name).and_then(|known| known.route.clone());
        let key = "sip_domain.next_hop, route, congestion_safe or path_mtu";
        Domain { route: stays(key, &known, domain.route.clone(), kept), ..domain }
    });
    domains.collect()
}

/// The components that run, each with the secret that it has in `fresh`.
fn components(running: &[Component], mut fresh: Vec<Component>, kept: &mut Vec<&'static str>) -> Vec<Component> {
    let place = |component: &Component| (component.domain.clone(), component.connect.clone());
    if !running.iter().map(place).eq(fresh.iter().map(place)) {
        kept.push("xmpp.component");
    }
    let components = running.iter().map(|known| {
        let Component { domain, connect, secret } = known;
        let found = fresh.iter().position(|fresh| fresh.domain == *domain);
        let secret = found.map_or_else(|| secret.clone(), |found| fresh.swap_remove(found).secret);
        Component { domain: domain.clone(), connect: connect.clone(), secret }
    });
    components.collect()
}
