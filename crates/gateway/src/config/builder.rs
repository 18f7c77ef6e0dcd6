//! The tables of gateway.toml, from their keys to the typed [`Config`], with the default of each key.

use super::reader::{Problems, Table};
use super::routes::Keys;
use super::{
    Admin, Answers, Component, Config, ConfigErrors, Domain, Gateway, LargeRequests, LateFailure, Listen, Log,
    LogFormat, Numbers, Route, Rule, Sip, SipLimits, Trusted, Xmpp, XmppLimits, accounts, check, journal, routes,
    secrets, values,
};
use cpim::Accepts;
use sip::transaction::Transport;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

/// Reads the tables of a configuration one by one and gathers what is wrong in them.
pub(super) struct Builder {
    /// Files that the configuration names are looked for here.
    folder: PathBuf,
    problems: Problems,
    warnings: Vec<String>,
}

impl Builder {
    pub(super) fn new(folder: PathBuf, problems: Problems) -> Self {
        Self { folder, problems, warnings: Vec::new() }
    }

    pub(super) fn build(mut self, mut root: Table) -> Result<Config, ConfigErrors> {
        let problems = &mut self.problems;
        let tables = ["gateway", "sip", "xmpp", "answers", "journal", "log", "admin"];
        let [gateway, sip, xmpp, answers, journal, log, admin] = tables.map(|key| root.table(key, problems));
        let gateway = self.gateway(gateway);
        let (mut sip, usual_route) = self.sip(sip);
        let xmpp = self.xmpp(xmpp);
        let mut sip_domains = self.domains(&mut root, "sip_domain", "as_xmpp", Keys::read);
        let xmpp_domains = without_keys(self.domains(&mut root, "xmpp_domain", "as_sip", |_, _| ()));
        routes::put_together(&mut sip, &usual_route, &mut sip_domains, &mut self.problems);
        let sip_domains = without_keys(sip_domains);
        let answers = self.answers(answers);
        let journal = journal::read(journal, &self.folder, &mut self.problems, &mut self.warnings);
        let log = self.log(log);
        let admin = self.admin(admin);
        let Self { mut problems, warnings, .. } = self;
        root.finish(&mut problems);
        let mut config =
            Config { gateway, sip, xmpp, sip_domains, xmpp_domains, answers, journal, log, admin, warnings };
        check::whole(&config, &mut problems);
        // What was missing stands as a placeholder until here.
        problems.finish()?;
        let more = check::warnings(&config);
        config.warnings.extend(more);
        Ok(config)
    }

    fn gateway(&mut self, mut table: Table) -> Gateway {
        let problems = &mut self.problems;
        let gateway = Gateway {
            name: table.read("name", problems, values::domain).unwrap_or_else(|| "localhost".into()),
            start_max_forwards: table.read("start_max_forwards", problems, values::count(1..=255)).unwrap_or(70) as u8,
        };
        table.finish(problems);
        gateway
    }

    /// Gives also the keys of the route.
    fn sip(&mut self, mut table: Table) -> (Sip, Keys) {
        let problems = &mut self.problems;
        const LARGE: &[(&str, LargeRequests)] =
            &[("tcp-then-udp", LargeRequests::TcpThenUdp), ("tcp", LargeRequests::Tcp), ("udp", LargeRequests::Udp)];
        let default_listen = || {
            let address = SocketAddr::from(([127, 0, 0, 1], 5060));
            [Transport::Udp, Transport::Tcp].map(|transport| Listen { transport, address }).to_vec()
        };
        let listen = table.list("listen", problems, values::sip_address).unwrap_or_else(default_listen);
        if listen.is_empty() {
            problems.add(&table.key("listen"), "names no usable address");
        }
        let first = |transport| listen.iter().find(|listen| listen.transport == transport);
        let route = Keys::read(&mut table, problems);
        let large_requests = table.read("large_requests", problems, values::one_of(LARGE));
        let advertised = table.read("advertise", problems, values::host_port);
        let default = |transport| first(transport).or(listen.first()).map(|listen| listen.address.to_string());
        let advertise_tcp = table.read("advertise_tcp", problems, values::host_port);
        let advertise_tcp = advertise_tcp.or_else(|| advertised.clone()).or_else(|| default(Transport::Tcp));
        let advertise = advertised.or_else(|| default(Transport::Udp)).unwrap_or_default();
        let advertise_tcp = advertise_tcp.unwrap_or_default();
        let mut trusted = Vec::new();
        for mut entry in table.tables("trusted", problems) {
            let networks = entry.list("networks", problems, values::network).unwrap_or_default();
            if networks.is_empty() {
                problems.add(&entry.key("networks"), "is missing: write networks = [\"192.0.2.0/24\"]");
            }
            let domains = entry.list("domains", problems, values::domain).unwrap_or_default();
            entry.finish(problems);
            trusted.push(Trusted { networks, domains });
        }
        let follow_redirects = table.list("follow_redirects", problems, values::domain_or_any).unwrap_or_default();
        let accounts = accounts::read(&mut table, &self.folder, problems, &mut self.warnings);
        let parallel = table.read("parallel", problems, values::count(1..=1000)).unwrap_or(1);
        let default_agent = || format!("entente/{}", env!("CARGO_PKG_VERSION"));
        let user_agent = table.read("user_agent", problems, values::header_text).unwrap_or_else(default_agent);
        let mut bounds = table.table("limits", problems);
        let limits = SipLimits {
            message: bounds.read("message", problems, values::size(1300..=65_535)).unwrap_or(65_535),
            connections: bounds.read("connections", problems, values::count(1..=100_000)).unwrap_or(1000),
            ongoing: bounds.read("ongoing", problems, values::count(1..=10_000_000)).unwrap_or(100_000),
            queue_per_destination: bounds
                .read("queue_per_destination", problems, values::count(1..=1_000_000))
                .unwrap_or(1000),
            queue_in_all: bounds.read("queue_in_all", problems, values::count(1..=10_000_000)).unwrap_or(100_000),
            under_way: bounds.read("under_way", problems, values::size(1 << 20..=usize::MAX >> 1)).unwrap_or(256 << 20),
        };
        bounds.finish(problems);
        table.finish(problems);
        let sip = Sip {
            listen,
            advertise,
            advertise_tcp,
            // Put together when the domains are known.
            route: Route::default(),
            large_requests: large_requests.unwrap_or(LargeRequests::TcpThenUdp),
            trusted,
            accounts,
            follow_redirects,
            parallel,
            user_agent,
            limits,
        };
        (sip, route)
    }

    fn xmpp(&mut self, mut table: Table) -> Xmpp {
        let mut components = Vec::new();
        for mut entry in table.tables("component", &mut self.problems) {
            let remedy = "write the domain that the XMPP server knows the component by";
            let domain = entry.require("domain", &mut self.problems, remedy, values::domain).unwrap_or_default();
            let remedy = "write where the XMPP server takes components, as in connect = \"127.0.0.1:5347\"";
            let connect = entry.require("connect", &mut self.problems, remedy, values::host_port).unwrap_or_default();
            let remedy = "write secret = { file = \"...\" } or { env = \"...\" }";
            let Self { folder, problems, warnings } = self;
            let path = entry.key("secret");
            let secret = entry
                .require_secret("secret", problems, remedy, |value| secrets::secret(value, folder, &path, warnings))
                .unwrap_or_default();
            entry.finish(problems);
            components.push(Component { domain, connect, secret });
        }
        let problems = &mut self.problems;
        if components.is_empty() {
            problems.add("xmpp.component", "is missing: write [[xmpp.component]] with domain, connect and secret");
        }
        let mut bounds = table.table("limits", problems);
        let limits = XmppLimits {
            // RFC 6120 13.12: no stanza of up to 10000 bytes may be refused for its size.
            stanza: bounds.read("stanza", problems, values::size(10_000..=16 << 20)).unwrap_or(256 << 10),
            unsent: bounds.read("unsent", problems, values::size(64 << 10..=1 << 30)).unwrap_or(4 << 20),
        };
        bounds.finish(problems);
        table.finish(problems);
        Xmpp { components, limits }
    }

    /// The domains of one side, each with what `more` reads beside what both sides have.
    fn domains<K>(
        &mut self,
        root: &mut Table,
        section: &'static str,
        shown_as: &'static str,
        more: impl Fn(&mut Table, &mut Problems) -> K,
    ) -> Vec<(Domain, K)> {
        const RULES: &[(&str, Rule)] = &[("same", Rule::Same), ("map", Rule::Map), ("encode", Rule::Encode)];
        const NUMBERS: &[(&str, Option<Numbers>)] = &[
            ("no", None),
            ("plain", Some(Numbers::Plain)),
            ("phone", Some(Numbers::Phone)),
            ("tel", Some(Numbers::Tel)),
        ];
        let problems = &mut self.problems;
        let mut domains = Vec::new();
        for mut entry in root.tables(section, problems) {
            let name = entry.require("name", problems, "write the domain, or \"*\" for any", |value| {
                if value.as_str() == Some("*") { Ok(None) } else { values::domain(value).map(Some) }
            });
            let rule = entry.read("rule", problems, values::one_of(RULES)).unwrap_or(Rule::Same);
            let given = entry.has(shown_as);
            let shown = entry.read(shown_as, problems, values::domain);
            let key = entry.key(shown_as);
            match rule {
                Rule::Same if given => problems.add(&key, "has no meaning with rule = \"same\": leave one of them out"),
                Rule::Map | Rule::Encode if !given => {
                    problems.add(&key, "is missing: write the domain that the users are shown under");
                }
                Rule::Map if name == Some(None) => {
                    problems.add(&entry.key("rule"), "cannot be \"map\" for any domain: use \"encode\" or \"same\"");
                }
                _ => {}
            }
            let numbers = entry.read("numbers", problems, values::one_of(NUMBERS)).flatten();
            let key = entry.key("numbers");
            if numbers.is_some() && name == Some(None) {
                problems.add(&key, "has no meaning for any domain: telephone numbers live in a domain that is named");
            }
            if section == "xmpp_domain" && rule == Rule::Encode && numbers == Some(Numbers::Phone) {
                let what = "cannot be \"phone\" with rule = \"encode\": the user part is no number there; use \"tel\" or \"plain\"";
                problems.add(&key, what);
            }
            if numbers.is_some() && domains.iter().any(|(domain, _): &(Domain, K)| domain.numbers.is_some()) {
                problems.add(&key, format!("stands in another [[{section}]] already: a tel: URI names no domain"));
            }
            let accepts = entry.list("accepts", problems, values::media_range).unwrap_or_default();
            let accepts = Accepts::new(accepts).expect("each type was checked");
            let keys = more(&mut entry, problems);
            entry.finish(problems);
            if let Some(name) = name {
                domains.push((Domain { name, rule, shown_as: shown, numbers, accepts, route: None }, keys));
            }
        }
        if domains.is_empty() {
            problems.add(section, format!("is missing: write [[{section}]] with name = \"...\""));
        }
        domains
    }

    fn answers(&mut self, mut table: Table) -> Answers {
        const LATE: &[(&str, LateFailure)] = &[("text", LateFailure::Text), ("none", LateFailure::None)];
        // Below, no server answers in time; above, retransmissions at intervals of T2 begin (RFC 3261 17.1.2.2).
        let bounds = Duration::from_millis(200)..=Duration::from_millis(3200);
        let problems = &mut self.problems;
        let answers = Answers {
            window: table.read("window", problems, values::duration(bounds)).unwrap_or(Duration::from_secs(2)),
            on_acceptance: table
                .read("on_acceptance", problems, |value| match value.to_i128() {
                    Some(200) => Ok(200),
                    Some(202) => Ok(202),
                    _ => Err("must be 202 or 200, without quotes".into()),
                })
                .unwrap_or(202),
            late_failure: table.read("late_failure", problems, values::one_of(LATE)).unwrap_or(LateFailure::Text),
            redirect_to: table.list("redirect_to", problems, values::domain).unwrap_or_default(),
            ask_receipts: table.read("ask_receipts", problems, values::flag).unwrap_or(false),
        };
        table.finish(problems);
        answers
    }

    fn log(&mut self, mut table: Table) -> Log {
        const FORMATS: &[(&str, LogFormat)] = &[("text", LogFormat::Text), ("json", LogFormat::Json)];
        let problems = &mut self.problems;
        let log = Log {
            format: table.read("format", problems, values::one_of(FORMATS)).unwrap_or(LogFormat::Text),
            level: table
                .read("level", problems, |value| values::text(value).and_then(values::log_level))
                .unwrap_or_else(|| "info".into()),
            redact_addresses: table.read("redact_addresses", problems, values::flag).unwrap_or(false),
        };
        table.finish(problems);
        log
    }

    fn admin(&mut self, mut table: Table) -> Admin {
        let problems = &mut self.problems;
        let admin = Admin { listen: table.read("listen", problems, values::address) };
        table.finish(problems);
        admin
    }
}

fn without_keys<K>(domains: Vec<(Domain, K)>) -> Vec<Domain> {
    domains.into_iter().map(|(domain, _)| domain).collect()
}
