//! gateway.toml: one file, read once into a typed [`Config`] and checked as a whole.
//!
//! Defaults, then the file, then the environment (`ENTENTE_SIP__NEXT_HOP` is `sip.next_hop`), then the command line: the
//! later wins. Everything that is wrong is told at once, with its place, key, value and what would be right.

mod accounts;
mod builder;
mod check;
mod journal;
mod mail;
mod reader;
mod reload;
mod routes;
mod secrets;
mod values;

use builder::Builder;
use cpim::Accepts;
use figment::providers::{Env, Format, Serialized, Toml};
use figment::value::Dict;
use figment::{Figment, Profile, Provider};
use ipnet::IpNet;
use reader::{Problems, Table};
use secrecy::SecretString;
use sip::transaction::Transport;
use std::fmt;
use std::fs::File;
use std::io::Read;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

pub use accounts::Account;
pub use journal::{DeadLetterFile, Journal, Keep, When};
pub use mail::{Mail, MailTls};
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
    /// `[journal]`
    pub journal: Journal,
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
    /// Bytes kept of messages under way, in each direction.
    pub under_way: usize,
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
    let mut figment = merged(path)?;
    if let Some(level) = &overrides.log_level {
        figment = figment.merge(Serialized::default("log.level", level));
    }
    if let Some(format) = &overrides.log_format {
        figment = figment.merge(Serialized::default("log.format", format));
    }
    checked(figment, folder_of(path), &path.display().to_string())
}

/// The folder of the journal in a configuration of which nothing else has to be right, nor its secrets at hand.
pub fn journal_folder(path: &Path) -> Result<Option<PathBuf>, ConfigErrors> {
    let (figment, place) = (merged(path)?, path.display().to_string());
    let mut root = Table::root(entries(&figment, &place)?);
    let mut problems = Problems::new(figment, &place);
    let table = root.table("journal", &mut problems);
    let folder = journal::folder(table, &folder_of(path), &mut problems);
    problems.finish()?;
    Ok(folder)
}

/// The file, and the environment over it.
fn merged(path: &Path) -> Result<Figment, ConfigErrors> {
    let place = path.display().to_string();
    let text = read(path).map_err(|what| unreadable(&place, what))?;
    // Every key is in a section, so that ENTENTE_ variables without "__" are somebody else's: a secret's, for example.
    let environment = Env::prefixed(PREFIX).filter(|key| key.as_str().contains("__")).split("__");
    Ok(Figment::new().merge(Toml::string(&text)).merge(environment))
}

/// Where files are looked for that the configuration names.
fn folder_of(path: &Path) -> PathBuf {
    path.parent().map(Path::to_owned).unwrap_or_default()
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
    let entries = entries(&figment, place)?;
    Builder::new(folder, Problems::new(figment, place)).build(Table::root(entries))
}

fn entries(figment: &Figment, place: &str) -> Result<Dict, ConfigErrors> {
    match figment.data() {
        Ok(mut profiles) => Ok(profiles.remove(&Profile::Default).unwrap_or_default()),
        Err(error) => Err(unreadable(place, format!("is not TOML: {}", without_excerpt(&error.to_string())))),
    }
}

/// What is wrong and where, without the line itself: it may hold a secret.
fn without_excerpt(error: &str) -> String {
    error.lines().filter(|line| !line.contains('|')).collect::<Vec<_>>().join(": ")
}

fn unreadable(place: &str, what: String) -> ConfigErrors {
    ConfigErrors(vec![Problem { place: place.into(), key: "the file".into(), value: None, what }])
}
