//! gateway.toml: one file, read once into a typed [`Config`] and checked as a whole.
//!
//! Defaults, then the file, then the environment (`ENTENTE_SIP__NEXT_HOP` is `sip.next_hop`), then the command line: the
//! later wins. Everything that is wrong is told at once, with its place, key, value and what would be right.

mod accounts;
mod check;
mod reader;
mod reload;
mod routes;
mod secrets;
mod values;

use cpim::Accepts;
use figment::providers::{Env, Format, Serialized, Toml};
use figment::{Figment, Profile, Provider};
use ipnet::IpNet;
use reader::{Problems, Table};
use routes::Keys;
use secrecy::SecretString;
use sip::transaction::Transport;
use std::fmt;
use std::fs::File;
use std::io::Read;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

pub use accounts::Account;
pub use reload::{Reread, reread};
pub use routes::{NextHop, Route};
pub use values::log_level;

/// A configuration that has passed all checks.
#[derive(Clone, Debug)]
pub struct Config {
    /// `[gateway]`
    pub gateway: Gateway,
    /// `[sip]`
    pub sip: Sip,
    /// `[xmpp]`
    pub xmpp: Xmpp,
    /// `[[sip_domain]]`: domains whose users are on SIP. At least one.
    pub sip_domains: Vec<Domain>,
    /// `[[xmpp_domain]]`: domains whose users are on XMPP. At least one.
    pub xmpp_domains: Vec<Domain>,
    /// `[answers]`
    pub answers: Answers,
    /// `[log]`
    pub log: Log,
    /// `[admin]`
    pub admin: Admin,
    /// What is allowed but should be looked at.
    pub warnings: Vec<String>,
}

impl Config {
    /// All routes to SIP users: that of `[sip]`, which is for every domain without its own (and leads nowhere where there is no
    /// such domain), then those of domains, each with its domain.
    pub fn routes(&self) -> impl Iterator<Item = (Option<&Domain>, &Route)> {
        let own = self.sip_domains.iter().filter_map(|domain| domain.route.as_ref().map(|route| (Some(domain), route)));
        std::iter::once((None, &self.sip.route)).chain(own)
    }
}

/// `[gateway]`: what concerns both sides.
#[derive(Clone, Debug)]
pub struct Gateway {
    /// Host name of the gateway, for Warnings and behind the `@` of our Call-IDs.
    pub name: String,
    /// Max-Forwards of a message that came without one.
    pub start_max_forwards: u8,
}

/// `[sip]`
#[derive(Clone, Debug)]
pub struct Sip {
    /// Where SIP is listened for. At least one.
    pub listen: Vec<Listen>,
    /// `host:port` of our Via over UDP; the first of `listen` for UDP if the operator gave none.
    pub advertise: String,
    /// `host:port` of our Via over TCP.
    pub advertise_tcp: String,
    /// Where requests to SIP users go whose domain has no route of its own.
    pub route: Route,
    /// What carries requests that are large for a datagram.
    pub large_requests: LargeRequests,
    /// Who may send requests. Empty: only the addresses of the next hop, for all SIP domains.
    pub trusted: Vec<Trusted>,
    /// Whom challenges are answered as.
    pub accounts: Vec<Account>,
    /// Domains that messages are redirected to by 3xx; `*` is any.
    pub follow_redirects: Vec<String>,
    /// MESSAGE transactions that may be open per destination.
    pub parallel: usize,
    /// Server and User-Agent; empty for none.
    pub user_agent: String,
    /// `[sip.limits]`
    pub limits: SipLimits,
}

/// An address and what is listened for there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Listen {
    /// UDP or TCP.
    pub transport: Transport,
    /// Where.
    pub address: SocketAddr,
}

impl fmt::Display for Listen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.transport.name().to_ascii_lowercase(), self.address)
    }
}

/// What carries requests of more than 1300 bytes to a next hop that is reached over UDP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LargeRequests {
    /// TCP, and UDP where that is refused.
    TcpThenUdp,
    /// TCP or nothing.
    Tcp,
    /// UDP.
    Udp,
}

/// `[[sip.trusted]]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trusted {
    /// Where requests come from.
    pub networks: Vec<IpNet>,
    /// The domains they may speak for. Empty: all SIP domains.
    pub domains: Vec<String>,
}

/// `[sip.limits]`
#[derive(Clone, Copy, Debug)]
pub struct SipLimits {
    /// Bytes of one message.
    pub message: usize,
    /// Connections at a time.
    pub connections: usize,
    /// Server transactions that wait for their answer.
    pub ongoing: usize,
    /// Messages that may wait for one destination.
    pub queue_per_destination: usize,
    /// Messages that may wait in all.
    pub queue_in_all: usize,
}

/// `[xmpp]`
#[derive(Clone, Debug)]
pub struct Xmpp {
    /// `[[xmpp.component]]`. At least one.
    pub components: Vec<Component>,
    /// `[xmpp.limits]`
    pub limits: XmppLimits,
}

/// `[[xmpp.component]]`: one XEP-0114 component that we are.
#[derive(Clone, Debug)]
pub struct Component {
    /// The domain.
    pub domain: String,
    /// `host:port` of the XMPP server.
    pub connect: String,
    /// The secret shared with it.
    pub secret: SecretString,
}

/// `[xmpp.limits]`
#[derive(Clone, Copy, Debug)]
pub struct XmppLimits {
    /// Bytes of one stanza.
    pub stanza: usize,
    /// Bytes that may wait for the XMPP server to read them.
    pub unsent: usize,
}

/// How addresses of a domain are shown on the other side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rule {
    /// Unchanged.
    Same,
    /// The user part stays, the domain is another.
    Map,
    /// The whole address becomes the user part in a domain of the gateway.
    Encode,
}

/// `[[sip_domain]]` or `[[xmpp_domain]]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Domain {
    /// The domain at home, in the form of [`cpim::canonical_domain`]; `None` is any that is not named.
    pub name: Option<String>,
    /// How its addresses are shown on the other side.
    pub rule: Rule,
    /// The domain they are shown under; `None` exactly for [`Rule::Same`].
    pub shown_as: Option<String>,
    /// What its users are known to take.
    pub accepts: Accepts,
    /// Its users are telephone numbers too, and how they are written on SIP.
    pub numbers: Option<Numbers>,
    /// Where requests to its users go, if not where [`Sip::route`] leads; only SIP domains have one.
    pub route: Option<Route>,
}

/// How a user who is a telephone number is written on SIP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Numbers {
    /// As every user.
    Plain,
    /// With `user=phone`.
    Phone,
    /// As a `tel:` URI.
    Tel,
}

impl Domain {
    /// The domain on the other side: `None` where any domain is shown unchanged.
    pub fn shown(&self) -> Option<&str> {
        self.shown_as.as_deref().or(self.name.as_deref())
    }

    /// Whether its requests go another way than those of `[sip]`.
    fn has_own_way(&self, usual: &Route) -> bool {
        let same = |route: &Route| route.next_hops == usual.next_hops && route.route_set == usual.route_set;
        self.route.as_ref().is_some_and(|route| !same(route))
    }
}

/// `[answers]`
#[derive(Clone, Debug)]
pub struct Answers {
    /// How long a SIP sender waits for the fate of a message.
    pub window: Duration,
    /// Status for what the XMPP server took without a word of its fate: 202 or 200.
    pub on_acceptance: u16,
    /// What becomes of a bounce that comes after the answer.
    pub late_failure: LateFailure,
    /// XMPP domains that SIP senders may be redirected to.
    pub redirect_to: Vec<String>,
    /// Ask the far client for a receipt (XEP-0184).
    pub ask_receipts: bool,
}

/// What becomes of a bounce that comes after the answer, beside being counted and logged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LateFailure {
    /// One short message tells the sender.
    Text,
    /// Nothing more.
    None,
}

/// `[log]`
#[derive(Clone, Debug)]
pub struct Log {
    /// Text or JSON.
    pub format: LogFormat,
    /// The least level that is written, or directives such as `info,sip=debug`.
    pub level: String,
    /// Replace addresses of users.
    pub redact_addresses: bool,
}

/// How log lines are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// For machines, one object a line.
    Json,
}

/// `[admin]`
#[derive(Clone, Copy, Debug)]
pub struct Admin {
    /// Where health and metrics are served; nowhere if absent.
    pub listen: Option<SocketAddr>,
}

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The file, the environment or the command line.
    pub place: String,
    /// The key, from the root; items of lists are counted from 1.
    pub key: String,
    /// The value as it was found, unless it is long or secret.
    pub value: Option<String>,
    /// What is wrong and what would be right.
    pub what: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.place, self.key)?;
        if let Some(value) = &self.value {
            write!(f, " = {value}:")?;
        }
        write!(f, " {}", self.what)
    }
}

/// Everything that is wrong.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct ConfigErrors(pub Vec<Problem>);

impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (problem, place) in self.0.iter().zip(0..) {
            let separator = if place == 0 { "" } else { "\n" };
            write!(f, "{separator}{problem}")?;
        }
        Ok(())
    }
}

/// What the command line sets over the file and the environment.
#[derive(Clone, Debug, Default)]
pub struct Overrides {
    /// `log.level`
    pub log_level: Option<String>,
    /// `log.format`
    pub log_format: Option<String>,
}

/// No configuration is longer, in bytes.
const LONGEST: usize = 1 << 20;
/// Environment variables of this prefix are keys; `__` stands for the dot.
const PREFIX: &str = "ENTENTE_";

/// Reads and checks a configuration.
pub fn load(path: &Path, overrides: &Overrides) -> Result<Config, ConfigErrors> {
    let place = path.display().to_string();
    let text = read(path).map_err(|what| unreadable(&place, what))?;
    // Every key is in a section, so that ENTENTE_ variables without "__" are somebody else's: a secret's, for example.
    let environment = Env::prefixed(PREFIX).filter(|key| key.as_str().contains("__")).split("__");
    let mut figment = Figment::new().merge(Toml::string(&text)).merge(environment);
    if let Some(level) = &overrides.log_level {
        figment = figment.merge(Serialized::default("log.level", level));
    }
    if let Some(format) = &overrides.log_format {
        figment = figment.merge(Serialized::default("log.format", format));
    }
    let folder = path.parent().map(Path::to_owned).unwrap_or_default();
    checked(figment, folder, &place)
}

/// The text of the file, which may be a pipe.
fn read(path: &Path) -> Result<String, String> {
    let mut bytes = Vec::new();
    let file = File::open(path).and_then(|file| file.take(LONGEST as u64 + 1).read_to_end(&mut bytes));
    file.map_err(|error| format!("cannot be read: {error}"))?;
    if bytes.len() > LONGEST {
        return Err(format!("is longer than {LONGEST} bytes"));
    }
    String::from_utf8(bytes).map_err(|_| "is not UTF-8".into())
}

/// Checks a configuration that is given as text, without the environment.
pub fn parse(text: &str) -> Result<Config, ConfigErrors> {
    checked(Figment::new().merge(Toml::string(text)), PathBuf::new(), "the text")
}

fn checked(figment: Figment, folder: PathBuf, place: &str) -> Result<Config, ConfigErrors> {
    let entries = match figment.data() {
        Ok(mut profiles) => profiles.remove(&Profile::Default).unwrap_or_default(),
        Err(error) => return Err(unreadable(place, format!("is not TOML: {}", without_excerpt(&error.to_string())))),
    };
    Builder { folder, problems: Problems::new(figment, place), warnings: Vec::new() }.build(Table::root(entries))
}

/// What is wrong and where, without the line itself: it may hold a secret.
fn without_excerpt(error: &str) -> String {
    error.lines().filter(|line| !line.contains('|')).collect::<Vec<_>>().join(": ")
}

fn unreadable(place: &str, what: String) -> ConfigErrors {
    ConfigErrors(vec![Problem { place: place.into(), key: "the file".into(), value: None, what }])
}

struct Builder {
    /// Files that the configuration names are looked for here.
    folder: PathBuf,
    problems: Problems,
    warnings: Vec<String>,
}

impl Builder {
    fn build(mut self, mut root: Table) -> Result<Config, ConfigErrors> {
        let problems = &mut self.problems;
        let tables = ["gateway", "sip", "xmpp", "answers", "log", "admin"].map(|key| root.table(key, problems));
        let [gateway, sip, xmpp, answers, log, admin] = tables;
        let gateway = self.gateway(gateway);
        let (mut sip, usual_route) = self.sip(sip);
        let xmpp = self.xmpp(xmpp);
        let mut sip_domains = self.domains(&mut root, "sip_domain", "as_xmpp", Keys::read);
        let xmpp_domains = without_keys(self.domains(&mut root, "xmpp_domain", "as_sip", |_, _| ()));
        routes::put_together(&mut sip, &usual_route, &mut sip_domains, &mut self.problems);
        let sip_domains = without_keys(sip_domains);
        let answers = self.answers(answers);
        let log = self.log(log);
        let admin = self.admin(admin);
        let Self { mut problems, warnings, .. } = self;
        root.finish(&mut problems);
        let mut config = Config { gateway, sip, xmpp, sip_domains, xmpp_domains, answers, log, admin, warnings };
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
