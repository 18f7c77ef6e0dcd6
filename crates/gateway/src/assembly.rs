//! From the configuration to the settings of the engine: names become addresses, rules become tables.

use crate::config::{Account, Config, Domain, Journal, Keep, LargeRequests, LateFailure, MailTls, Numbers, Rule, When};
use crate::driver::Hosted;
use crate::letters;
use crate::next_hops::NextHops;
use crate::telemetry::Metrics;
use cpim::{AcceptedBy, DomainPattern, PeerId, Policy, Presentation, Presentations, Side};
use engine::Engine;
use ipnet::IpNet;
use secrecy::ExposeSecret;
use sip::route_set::RouteSet;
use std::time::{Duration, Instant, SystemTime};

/// Operations in flight at a time; beyond it senders are told to come back later.
const MAX_IN_FLIGHT: usize = 200_000;
/// How long an e-mail may take: a mail server may look at it before it says anything, and nobody waits for it.
const MAIL_PATIENCE: Duration = Duration::from_secs(60);
/// The first name that policy has for SIP neighbours.
const NEXT_HOP: PeerId = PeerId(1);

/// The settings of an engine for this configuration, with what its next hops are.
pub fn engine_settings(config: &Config, next_hops: &NextHops) -> engine::Settings {
    let mut policy = Policy::new();
    for domain in &config.sip_domains {
        policy.add_home(pattern(domain), Side::Sip);
    }
    for domain in &config.xmpp_domains {
        policy.add_home(pattern(domain), Side::Xmpp);
    }
    let trusted = add_sip_peers(config, next_hops, &mut policy);
    let links = add_links(config, trusted.len(), &mut policy);
    engine::Settings {
        relay: cpim::Settings { policy, sip_window: config.answers.window, max_in_flight: MAX_IN_FLIGHT },
        sip: sip_connector::Settings {
            endpoint: endpoint(config),
            presentations: presentations(&config.xmpp_domains),
            native_numbers: numbers(&config.sip_domains),
            foreign_numbers: numbers(&config.xmpp_domains),
            trusted,
            routes: routes(config, next_hops),
            accepted: accepted(&config.sip_domains),
            large_requests: match config.sip.large_requests {
                LargeRequests::TcpThenUdp => sip_connector::LargeRequests::TcpThenUdp,
                LargeRequests::Tcp => sip_connector::LargeRequests::Tcp,
                LargeRequests::Udp => sip_connector::LargeRequests::Udp,
            },
            connections: config.sip.limits.connections,
            host: config.gateway.name.clone(),
            accounts: accounts(config),
            redirects: sip_connector::Redirects {
                followed: config.sip.follow_redirects.iter().map(|domain| allowed(domain)).collect(),
                told: config.answers.redirect_to.iter().map(|domain| domain.as_str().into()).collect(),
            },
            on_acceptance: config.answers.on_acceptance,
            start_max_forwards: config.gateway.start_max_forwards,
            parallel: config.sip.parallel,
            queue_per_destination: config.sip.limits.queue_per_destination,
            queue_in_all: config.sip.limits.queue_in_all,
            octets_in_all: config.sip.limits.under_way,
        },
        xmpp: xmpp_connector::Settings {
            links,
            presentations: presentations(&config.sip_domains),
            numbers: numbers(&config.sip_domains).map(|numbers| numbers.domain),
            start_max_forwards: config.gateway.start_max_forwards,
            unsent_limit: config.xmpp.limits.unsent,
            ask_receipts: config.answers.ask_receipts,
            accepted: accepted(&config.xmpp_domains),
            foreign: accepted(&config.sip_domains),
            octets_in_all: config.sip.limits.under_way,
            content_limit: config.sip.limits.message * cpim::coding::GROWTH,
        },
        late_failure: match config.answers.late_failure {
            LateFailure::Text => engine::LateFailure::Text,
            LateFailure::None => engine::LateFailure::Nothing,
        },
        made_at: Some(wall_clock()),
        redact_addresses: config.log.redact_addresses,
        journal: journal(&config.journal),
    }
}

#[expect(clippy::disallowed_methods, reason = "what time it is once, for stamps of messages that were sent long ago")]
fn wall_clock() -> SystemTime {
    SystemTime::now()
}

fn pattern(domain: &Domain) -> DomainPattern {
    named_or_any(domain.name.as_deref())
}

fn named_or_any(name: Option<&str>) -> DomainPattern {
    name.map_or(DomainPattern::Any, |name| DomainPattern::Exactly(name.into()))
}

fn journal(journal: &Journal) -> engine::journal::Settings {
    let usual = [Keep::default()];
    let rows = if journal.keep.is_empty() { &usual } else { &*journal.keep };
    // Those that name a domain go first, and so before the one for any other.
    let (any, named): (Vec<_>, Vec<_>) = rows.iter().partition(|row| row.domain.is_none());
    let keep = named.into_iter().chain(any).map(|row| engine::journal::Keep {
        domain: named_or_any(row.domain.as_deref()),
        when: match row.when {
            When::Never => engine::journal::When::Never,
            When::Away => engine::journal::When::Away,
            When::Every => engine::journal::When::Every,
        },
        lifetime: row.lifetime,
        per_conversation: row.per_conversation,
        largest: row.largest,
    });
    engine::journal::Settings {
        keep: keep.collect(),
        max_entries: journal.max_entries,
        max_octets: journal.max_octets,
        dead_letters: journal.dead_letter_file.is_some() || journal.mail.is_some(),
    }
}

fn accepted(domains: &[Domain]) -> AcceptedBy {
    AcceptedBy::new(domains.iter().map(|domain| (pattern(domain), domain.accepts.clone())).collect())
}

/// An account that names no domains is for those of ours, not for wherever a redirection leads: whoever is found there could
/// ask for it in the name of our proxy.
fn accounts(config: &Config) -> Vec<sip_connector::Account> {
    let domains = &config.sip_domains;
    let ours = domains.iter().map(|domain| domain.name.as_ref().map(|name| name.clone().into_bytes()));
    // Where any domain is ours there is no other.
    let ours: Vec<_> = ours.collect::<Option<_>>().unwrap_or_default();
    // Those that name a domain go first, and so before those that are for all.
    let (rest, named): (Vec<_>, Vec<_>) = config.sip.accounts.iter().partition(|account| account.domains.is_empty());
    named.into_iter().chain(rest).map(|entry| account(entry, &ours)).collect()
}

fn account(account: &Account, ours: &[Vec<u8>]) -> sip_connector::Account {
    let named: Vec<_> = account.domains.iter().map(|domain| domain.clone().into_bytes()).collect();
    sip_connector::Account {
        realm: account.realm.clone().into_bytes(),
        domains: if named.is_empty() { ours.to_vec() } else { named },
        username: account.username.clone().into_bytes(),
        password: account.password.expose_secret().as_bytes().to_vec(),
    }
}

fn allowed(domain: &str) -> DomainPattern {
    if domain == "*" { DomainPattern::Any } else { DomainPattern::Exactly(domain.into()) }
}

fn presentations(domains: &[Domain]) -> Presentations {
    let rows = domains.iter().map(|domain| Presentation {
        home: pattern(domain),
        shown_as: match domain.rule {
            Rule::Same => "".into(),
            Rule::Map | Rule::Encode => domain.shown().unwrap_or_default().into(),
        },
        rule: match domain.rule {
            Rule::Same => cpim::Rule::Same,
            Rule::Map => cpim::Rule::Map,
            Rule::Encode => cpim::Rule::Encode,
        },
    });
    Presentations::new(rows.collect())
}

fn numbers(domains: &[Domain]) -> Option<sip_connector::Numbers> {
    domains.iter().find_map(|domain| {
        let form = match domain.numbers? {
            Numbers::Plain => sip_connector::NumberForm::Plain,
            Numbers::Phone => sip_connector::NumberForm::Phone,
            Numbers::Tel => sip_connector::NumberForm::Tel,
        };
        Some(sip_connector::Numbers { domain: domain.name.as_deref()?.into(), form })
    })
}

/// A domain as XMPP spells it: U-labels (RFC 7622 section 3.2.1).
fn xmpp_domain(domain: &str) -> String {
    xmpp::jid::known_domain(domain).map_or_else(|_| domain.to_owned(), std::borrow::Cow::into_owned)
}

/// Enters the SIP neighbours into `policy` and gives their networks. Without a section for them, each next hop is trusted for
/// the domains whose requests it gets.
fn add_sip_peers(config: &Config, next_hops: &NextHops, policy: &mut Policy) -> Vec<(IpNet, PeerId)> {
    if config.sip.trusted.is_empty() {
        return add_next_hops(config, next_hops, policy);
    }
    let mut networks = Vec::new();
    for (section, peer) in config.sip.trusted.iter().zip(NEXT_HOP.0..) {
        let peer = PeerId(peer);
        if section.domains.is_empty() {
            policy.add_speaker(peer, DomainPattern::Any);
        }
        for domain in &section.domains {
            policy.add_speaker(peer, DomainPattern::Exactly(domain.as_str().into()));
        }
        networks.extend(section.networks.iter().map(|network| (*network, peer)));
    }
    networks
}

fn add_next_hops(config: &Config, next_hops: &NextHops, policy: &mut Policy) -> Vec<(IpNet, PeerId)> {
    let mut networks: Vec<(IpNet, PeerId)> = Vec::new();
    for (owner, _) in config.routes() {
        // The route of [sip] is for every domain that has none of its own.
        let domains: Vec<DomainPattern> = match owner {
            Some(domain) => vec![pattern(domain)],
            None => config.sip_domains.iter().filter(|domain| domain.route.is_none()).map(pattern).collect(),
        };
        for flow in next_hops.of(owner) {
            let network = IpNet::from(flow.peer.ip().to_canonical());
            let known = networks.iter().find(|(known, _)| *known == network).map(|(_, peer)| *peer);
            let peer = known.unwrap_or_else(|| {
                let peer = PeerId(NEXT_HOP.0.saturating_add(u16::try_from(networks.len()).unwrap_or(u16::MAX / 4)));
                networks.push((network, peer));
                peer
            });
            for domain in &domains {
                policy.add_speaker(peer, domain.clone());
            }
        }
    }
    networks
}

/// Enters the component links into `policy`, which may bring messages from every XMPP domain: the server has proven them.
fn add_links(config: &Config, sip_peers: usize, policy: &mut Policy) -> Vec<xmpp_connector::LinkSettings> {
    let first = NEXT_HOP.0 + u16::try_from(sip_peers).unwrap_or(u16::MAX / 2).max(1);
    let components = config.xmpp.components.iter().zip(0u16..);
    components
        .map(|(component, place)| {
            let peer = PeerId(first.saturating_add(place));
            policy.add_speaker(peer, DomainPattern::Any);
            let mut settings = xmpp::stream::component::ComponentSettings::new(
                xmpp_domain(&component.domain),
                component.secret.expose_secret(),
                place,
            );
            settings.limits.stanza = config.xmpp.limits.stanza;
            let same = config.xmpp.components.iter().zip(0u16..).find(|(other, _)| other.connect == component.connect);
            let server = same.map_or(place, |(_, first)| first);
            xmpp_connector::LinkSettings { component: settings, peer, server }
        })
        .collect()
}

fn endpoint(config: &Config) -> sip::endpoint::Settings {
    let mut settings = sip::endpoint::Settings::new(config.sip.advertise.as_bytes());
    settings.sent_by_tcp = Some(config.sip.advertise_tcp.clone().into_bytes());
    settings.limits.message = config.sip.limits.message;
    settings.server_name = config.sip.user_agent.clone().into_bytes();
    settings.warn_agent = config.gateway.name.clone().into_bytes();
    settings.max_ongoing = config.sip.limits.ongoing;
    settings.max_ongoing_octets = config.sip.limits.under_way;
    settings
}

/// Where requests go.
fn routes(config: &Config, next_hops: &NextHops) -> Vec<sip_connector::Route> {
    let routes = config.routes().map(|(domain, route)| (domain, route, next_hops.of(domain)));
    routes
        .filter(|(.., next_hops)| !next_hops.is_empty())
        .map(|(domain, route, next_hops)| sip_connector::Route {
            domain: domain.map_or(DomainPattern::Any, pattern),
            next_hops: next_hops.to_vec(),
            // The configuration holds nothing that could not be one.
            route_set: RouteSet::new(route.route_set.iter().map(|uri| uri.as_bytes())).unwrap_or_default(),
            congestion_safe: route.congestion_safe,
            path_mtu: route.path_mtu,
        })
        .collect()
}

impl Hosted for Engine {
    fn drain(&mut self, _now: Instant) {
        Engine::drain(self);
    }

    fn is_quiet(&self) -> bool {
        self.is_drained()
    }

    fn is_ready(&self) -> bool {
        self.is_ready()
    }

    fn reconfigure(&mut self, settings: &engine::Settings) {
        Engine::reconfigure(self, settings.clone());
    }

    fn drop_entries(&mut self, keys: &[Vec<u8>]) -> Vec<bool> {
        keys.iter().map(|key| Engine::drop_entries(self, &[key]) > 0).collect()
    }

    fn measure(&self, metrics: &mut Metrics) {
        crate::measures::measure(&self.counters(), metrics);
    }
}

/// Who takes messages that were given up, if anybody does.
pub fn letter_settings(config: &Config) -> Option<letters::Settings> {
    let Journal { dead_letter_file, mail, .. } = &config.journal;
    let file =
        dead_letter_file.as_ref().map(|file| letters::FileSettings { path: file.path.clone(), limit: file.limit });
    let mail = mail.as_ref().map(|mail| letters::MailSettings {
        host: mail.host.clone(),
        port: mail.port,
        security: match mail.tls {
            MailTls::None => letters::Security::None,
            MailTls::StartTls => letters::Security::StartTls,
            MailTls::Tls => letters::Security::Tls,
        },
        authorities: mail.authorities.clone(),
        credentials: mail.credentials.clone(),
        from: mail.from.clone(),
        to: mail.to.clone(),
        patience: MAIL_PATIENCE,
    });
    let somebody = file.is_some() || mail.is_some();
    somebody.then(|| letters::Settings { host: config.gateway.name.clone(), file, mail })
}

#[cfg(test)]
mod tests {
    use super::*;

    const LEAST: &str = "[sip]\nnext_hop = \"udp:127.0.0.1:5070\"\n[[xmpp.component]]\ndomain = \"sip.example\"\n\
                         connect = \"localhost:5347\"\nsecret = \"x\"\n[[sip_domain]]\nname = \"sip.example\"\n\
                         [[xmpp_domain]]\nname = \"xmpp.example\"\n[journal]\nfolder = \"j\"\nmax_entries = 2000\n";

    fn rows(more: &str) -> Vec<(DomainPattern, engine::journal::When)> {
        let config = crate::config::parse(&format!("{LEAST}{more}")).unwrap();
        let settings = journal(&config.journal);
        assert_eq!((settings.max_entries, settings.max_octets, settings.dead_letters), (2000, 1 << 30, false));
        settings.keep.into_iter().map(|row| (row.domain, row.when)).collect()
    }

    #[test]
    fn what_is_kept_for_any_domain_comes_last() {
        use engine::journal::When;
        assert_eq!(rows(""), [(DomainPattern::Any, When::Away)]);
        let two = "[[journal.keep]]\ndomain = \"*\"\nwhen = \"never\"\n\
                   [[journal.keep]]\ndomain = \"xmpp.example\"\nwhen = \"every\"\n";
        let named = DomainPattern::Exactly("xmpp.example".into());
        assert_eq!(rows(two), [(named, When::Every), (DomainPattern::Any, When::Never)]);
    }

    #[test]
    fn letters_go_where_the_configuration_says() {
        let read = |more: &str| crate::config::parse(&format!("{LEAST}{more}")).unwrap();
        let nobody = read("");
        assert!(letter_settings(&nobody).is_none() && !journal(&nobody.journal).dead_letters);
        let file = read("dead_letter_file = \"dead\"\nmax_dead_letters = \"2 MiB\"\n");
        let settings = letter_settings(&file).unwrap();
        let (file, mail) = (settings.file.unwrap(), settings.mail);
        assert_eq!((&*file.path, file.limit, mail.is_none()), (std::path::Path::new("dead"), 2 << 20, true));
        let by_mail = "[journal.mail]\nserver = \"[::1]:465\"\ntls = \"tls\"\nusername = \"entente\"\npassword = \"x\"\n\
                       from = \"a@example.org\"\nto = \"b@example.org\"\n";
        let by_mail = read(by_mail);
        assert!(journal(&by_mail.journal).dead_letters);
        let settings = letter_settings(&by_mail).unwrap();
        let mail = settings.mail.unwrap();
        assert!(settings.file.is_none());
        assert_eq!((&*mail.host, mail.port, mail.security), ("::1", 465, letters::Security::Tls));
        assert_eq!((mail.from.to_string(), mail.to.to_string()), ("a@example.org".into(), "b@example.org".into()));
        assert_eq!(mail.credentials.map(|(name, _)| name).as_deref(), Some("entente"));
    }
}
