//! The command line.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use anyhow::{Context as _, Result, bail};
use clap::{Args, Parser, ValueEnum};

const ABOUT: &str = "\
Load generator of entente. One thread plays both outer ends of a gateway: the XMPP server that accepts it as a component \
(XEP-0114, any secret) and the SIP user agents, over UDP or TCP. Messages go in at one end and are watched for at the other.";

const LONG_ABOUT: &str = "\
Load generator of entente. One thread plays both outer ends of a gateway: the XMPP server that accepts it as a component
(XEP-0114, any secret) and the SIP user agents, over UDP or TCP. Messages go in at one end and are watched for at the other.

A message is known by a mark in its body. Counted over the whole run: sent, answered by status, delivered, lost, duplicates,
disorder within a pair, wrong addresses, altered bodies. Measured between warm-up and drain: deliveries per second, latency of
all messages due in that time (in an open loop from the due time, so a pause of the gateway shows), the gateway's on-CPU time
(schedstat of every thread of the process and its descendants) and memory (PSS, RSS; what it has grown by, per message).

A message is LOST when it did not come out and nobody was told: no final answer, or a 2xx, to a SIP sender; no stanza error to
an XMPP sender. REFUSED BUT DELIVERED are messages that came out although the sender was told they did not; a 504 for what
the gateway cannot know counts among them.";

const EXAMPLES: &str = "\
Examples:
  Start entente on CPU 0, load it from CPU 1:
    cargo build --release
    target/release/entente-bench --gateway target/release/entente --gateway-cpu 0 --cpu 1 --workload both --pairs 100
  Fixed rate, a hanging XMPP server, retransmitting phones:
    entente-bench --gateway target/release/entente --workload sip-to-xmpp --rate 2000 --retransmit \\
        --stall-at 1 --stall-for 6 --seconds 8 --drain 10 --loss-timeout 15
  Another gateway that is already running, its addresses in a file of arguments:
    entente-bench @bench/kamailio-xmpp.args --no-gateway --pidfile /run/kamailio.pid --workload sip-to-xmpp
  The generator's own ceiling, against a stand-in that only copies:
    entente-bench --mirror --gateway-cpu 0 --cpu 1 --workload both
  The same for one message at a time that waits for the truth:
    entente-bench --mirror --mirror-barrier --gateway-cpu 0 --cpu 1 --workload sip-to-xmpp --window 1

An argument @FILE stands for the words in FILE (one or more per line, # begins a comment; a word may be quoted with \").
Where an option stands twice, the later one counts.
Exit status: 0 measured; 1 with --strict when anything was lost, doubled, disordered, altered or wrongly addressed;
2 when it could not be measured.";

#[derive(Parser, Debug)]
#[command(name = "entente-bench", version, about = ABOUT, long_about = LONG_ABOUT, after_help = EXAMPLES, args_override_self = true)]
pub(crate) struct Options {
    /// Which way the messages go.
    #[arg(long, value_enum, default_value_t = Workload::Both)]
    pub(crate) workload: Workload,
    /// Closed loop: so many messages under way in each direction.
    #[arg(long, default_value_t = 64, value_name = "N", conflicts_with = "rate", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) window: u32,
    /// Open loop: so many messages a second in each direction, come what may; what a pause of the generator has held up
    /// follows, if need be in the drain.
    #[arg(long, value_name = "PER-SECOND", value_parser = positive)]
    pub(crate) rate: Option<f64>,
    /// Pairs of users, used in turn. 1 is a single conversation.
    #[arg(long, default_value_t = 100, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub(crate) pairs: u32,
    /// Length of the body in bytes (at least the 15 of the mark).
    #[arg(long, default_value_t = 50, value_name = "BYTES")]
    pub(crate) size: usize,
    /// Before the measured window.
    #[arg(long, default_value = "1", value_name = "SECONDS")]
    pub(crate) warmup: Seconds,
    /// The measured window.
    #[arg(long, default_value = "5", value_name = "SECONDS")]
    pub(crate) seconds: Seconds,
    /// Longest wait, after the last message was sent, for what is still under way.
    #[arg(long, default_value = "5", value_name = "SECONDS")]
    pub(crate) drain: Seconds,
    /// After this time a message does not hold its place in the window any more.
    #[arg(long, default_value = "10", value_name = "SECONDS")]
    pub(crate) loss_timeout: Seconds,

    /// What the UAC speaks. The UAS takes both.
    #[arg(long, value_enum, default_value_t = SipTransport::Udp)]
    pub(crate) sip_transport: SipTransport,
    /// The UAC retransmits over UDP (Timer E, Timer F).
    #[arg(long)]
    pub(crate) retransmit: bool,
    /// How the UAS answers a MESSAGE: a code, a code with a phrase, or none.
    #[arg(long, default_value = "200", value_name = "ANSWER")]
    pub(crate) sip_answer: SipAnswer,
    /// How an XMPP user answers a message.
    #[arg(long, value_enum, default_value_t = XmppAnswer::None)]
    pub(crate) xmpp_answer: XmppAnswer,
    /// Hold back what the XMPP server routes back to the component.
    #[arg(long, default_value = "0", value_name = "SECONDS")]
    pub(crate) barrier_delay: Seconds,

    /// Fault: the XMPP server neither reads nor writes from this time on, counted from the start of the measured window.
    #[arg(long, value_name = "SECONDS", requires = "stall_for")]
    pub(crate) stall_at: Option<Seconds>,
    /// How long it does so.
    #[arg(long, value_name = "SECONDS", requires = "stall_at")]
    pub(crate) stall_for: Option<Seconds>,
    /// Fault: the XMPP server cuts the link at this time, counted likewise.
    #[arg(long, value_name = "SECONDS")]
    pub(crate) drop_at: Option<Seconds>,
    /// How long its port stays closed then.
    #[arg(long, default_value = "0", value_name = "SECONDS", requires = "drop_at")]
    pub(crate) refuse_for: Seconds,

    #[command(flatten)]
    pub(crate) gateway: GatewayOptions,
    #[command(flatten)]
    pub(crate) addresses: AddressOptions,

    /// The gateway's SIP address (IPv4 or IPv6, numeric).
    #[arg(long, default_value = "127.0.0.1:16060", value_name = "IP:PORT", help_heading = "Addressing")]
    pub(crate) gateway_sip: SocketAddr,
    /// Where the SIP user agents are: next hop of the gateway, UDP and TCP.
    #[arg(long, default_value = "127.0.0.1:16062", value_name = "IP:PORT", help_heading = "Addressing")]
    pub(crate) sip_listen: SocketAddr,
    /// Where the XMPP server accepts components.
    #[arg(long, default_value = "127.0.0.1:16347", value_name = "IP:PORT", help_heading = "Addressing")]
    pub(crate) xmpp_listen: SocketAddr,

    /// Keep the generator on this CPU.
    #[arg(long, value_name = "CPU")]
    pub(crate) cpu: Option<usize>,
    /// Print one line of JSON instead of the table.
    #[arg(long)]
    pub(crate) json: bool,
    /// Exit with status 1 when anything was lost, doubled, disordered, altered or wrongly addressed.
    #[arg(long)]
    pub(crate) strict: bool,
    /// A name for this run, repeated in the output.
    #[arg(long, default_value = "", value_name = "TEXT")]
    pub(crate) label: String,
}

#[derive(Args, Debug)]
#[command(next_help_heading = "Gateway")]
pub(crate) struct GatewayOptions {
    /// Start this program as the gateway (`PROGRAM run --config FILE`) and stop it at the end.
    #[arg(long, value_name = "PROGRAM", required_unless_present_any = ["no_gateway", "mirror"])]
    pub(crate) gateway: Option<PathBuf>,
    /// Configuration for it instead of the one made from the addresses below. {sip-listen}, {gateway-sip}, {xmpp-listen} and
    /// {directory} in it are replaced.
    #[arg(long, value_name = "FILE", requires = "gateway")]
    pub(crate) gateway_config: Option<PathBuf>,
    /// The started gateway keeps a journal, of what cannot be delivered at once or of every message, in the folder for
    /// temporary files.
    #[arg(long, value_enum, requires = "gateway", conflicts_with = "gateway_config")]
    pub(crate) journal: Option<Journal>,
    /// Keep the started gateway on this CPU.
    #[arg(long, value_name = "CPU")]
    pub(crate) gateway_cpu: Option<usize>,
    /// Where the started gateway's output goes (default: shown only when it fails).
    #[arg(long, value_name = "FILE")]
    pub(crate) gateway_log: Option<PathBuf>,
    /// The gateway is running already.
    #[arg(long, conflicts_with = "gateway")]
    pub(crate) no_gateway: bool,
    /// Processes to sample, with their descendants.
    #[arg(long, value_name = "PID,...", value_delimiter = ',', requires = "no_gateway")]
    pub(crate) pid: Vec<u32>,
    /// Files that hold such process numbers; read when the gateway has connected.
    #[arg(long, value_name = "FILE,...", value_delimiter = ',', requires = "no_gateway")]
    pub(crate) pidfile: Vec<PathBuf>,
    /// Instead of a gateway start a stand-in that copies messages across and parses next to nothing.
    #[arg(long, conflicts_with_all = ["gateway", "no_gateway"])]
    pub(crate) mirror: bool,
    /// The stand-in answers a MESSAGE only when two pings to its own domain have come back, as entente does.
    #[arg(long, requires = "mirror")]
    pub(crate) mirror_barrier: bool,
    /// Make the stand-in err at every N-th message: proves that the generator notices.
    #[arg(long, value_enum, requires = "mirror")]
    pub(crate) mirror_fault: Option<MirrorFault>,
    /// How long the gateway may take until its component handshake.
    #[arg(long, default_value = "20", value_name = "SECONDS")]
    pub(crate) connect_timeout: Seconds,
}

/// Templates; `{sip}` is the SIP user of the pair, `{xmpp}` its XMPP user, `{n}` its number; `-` switches a check off.
#[derive(Args, Debug)]
#[command(next_help_heading = "Addressing")]
pub(crate) struct AddressOptions {
    /// From URI of a SIP sender. In these templates {sip} is the SIP user of the pair, {xmpp} its XMPP user, {n} its number.
    #[arg(long, default_value = "sip:{sip}@sip.test", value_name = "URI")]
    pub(crate) sip_sends_from: String,
    /// Request-URI and To URI of a SIP sender.
    #[arg(long, default_value = "sip:{xmpp}@xmpp.test", value_name = "URI")]
    pub(crate) sip_sends_to: String,
    /// What must come out as `from` (a resource behind it is allowed); - for no check.
    #[arg(long, default_value = "{sip}@sip.test", value_name = "JID")]
    pub(crate) xmpp_gets_from: String,
    /// What must come out as `to`.
    #[arg(long, default_value = "{xmpp}@xmpp.test", value_name = "JID")]
    pub(crate) xmpp_gets_to: String,
    /// `from` of an XMPP sender.
    #[arg(long, default_value = "{xmpp}@xmpp.test/bench", value_name = "JID")]
    pub(crate) xmpp_sends_from: String,
    /// `to` of an XMPP sender.
    #[arg(long, default_value = "{sip}@sip.test", value_name = "JID")]
    pub(crate) xmpp_sends_to: String,
    /// What must come out as From URI (parameters behind it are allowed).
    #[arg(long, default_value = "sip:{xmpp}@xmpp.test", value_name = "URI")]
    pub(crate) sip_gets_from: String,
    /// What must come out as Request-URI.
    #[arg(long, default_value = "sip:{sip}@sip.test", value_name = "URI")]
    pub(crate) sip_gets_to: String,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub(crate) enum Workload {
    SipToXmpp,
    XmppToSip,
    Both,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub(crate) enum SipTransport {
    Udp,
    Tcp,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub(crate) enum XmppAnswer {
    /// Nothing.
    None,
    /// A receipt (XEP-0184) where one is asked for.
    Receipt,
    /// The server bounces it: item-not-found.
    Bounce,
}

/// Which messages the gateway stores.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub(crate) enum Journal {
    Away,
    Every,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub(crate) enum MirrorFault {
    Lose,
    Repeat,
    Swap,
    Alter,
    Misaddress,
}

/// The status line of `--sip-answer` with its code.
#[derive(Clone, Debug)]
pub(crate) struct SipAnswer(pub(crate) Option<(u16, String)>);

impl FromStr for SipAnswer {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "none" {
            return Ok(Self(None));
        }
        let code = text.get(..3).and_then(|code| code.parse().ok()).filter(|code| (200..700).contains(code));
        code.map(|code| Self(Some((code, with_phrase(text)))))
            .ok_or_else(|| "a code from 200 to 699, or none".to_owned())
    }
}

/// A reason phrase for `--sip-answer` when only the code is given.
fn with_phrase(answer: &str) -> String {
    match answer.trim() {
        "200" => "200 OK".to_owned(),
        "202" => "202 Accepted".to_owned(),
        code if !code.contains(' ') => format!("{code} Answer"),
        line => line.to_owned(),
    }
}

/// Seconds with decimals.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Seconds(f64);

impl Seconds {
    pub(crate) fn nanoseconds(self) -> u64 {
        (self.0 * 1e9) as u64
    }

    pub(crate) fn as_f64(self) -> f64 {
        self.0
    }
}

impl FromStr for Seconds {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let seconds = text.strip_suffix('s').unwrap_or(text).parse::<f64>().map_err(|error| error.to_string())?;
        let sane = (0.0..=86_400.0).contains(&seconds);
        sane.then_some(Self(seconds)).ok_or_else(|| "0 to 86400 seconds".to_owned())
    }
}

fn positive(text: &str) -> Result<f64, String> {
    let rate = text.parse::<f64>().map_err(|error| error.to_string())?;
    (rate.is_finite() && rate > 0.0).then_some(rate).ok_or_else(|| "more than zero".to_owned())
}

/// Replaces every `@FILE` among the arguments by the words of the file.
pub(crate) fn expand(arguments: impl Iterator<Item = OsString>) -> Result<Vec<OsString>> {
    let mut expanded = Vec::new();
    for argument in arguments {
        match argument.to_str().and_then(|text| text.strip_prefix('@')) {
            Some(file) => {
                let text = std::fs::read_to_string(Path::new(file)).with_context(|| format!("cannot read {file}"))?;
                expanded.extend(words(&text).with_context(|| file.to_owned())?.into_iter().map(OsString::from));
            }
            None => expanded.push(argument),
        }
    }
    Ok(expanded)
}

fn words(text: &str) -> Result<Vec<String>> {
    let mut words = Vec::new();
    for line in text.lines() {
        let mut rest = line.trim_start();
        while !rest.is_empty() && !rest.starts_with('#') {
            let (word, after) = match rest.strip_prefix('"') {
                Some(quoted) => match quoted.split_once('"') {
                    Some(parts) => parts,
                    None => bail!("a quotation mark is missing: {line}"),
                },
                None => rest.split_once(char::is_whitespace).unwrap_or((rest, "")),
            };
            words.push(word.to_owned());
            rest = after.trim_start();
        }
    }
    Ok(words)
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;

    #[test]
    fn the_command_line_is_consistent() {
        Options::command().debug_assert();
    }

    #[test]
    fn words_of_an_argument_file() {
        assert_eq!(
            words("# all\n--a b\n  --c \"d e\" # tail\n\n-f").expect("well-formed"),
            ["--a", "b", "--c", "d e", "-f"]
        );
        assert!(words("--c \"d e").is_err());
    }

    #[test]
    fn answers_of_the_uas() {
        let answer = |text: &str| text.parse::<SipAnswer>().map(|answer| answer.0);
        assert_eq!(answer("none"), Ok(None));
        assert_eq!(answer("200"), Ok(Some((200, "200 OK".to_owned()))));
        assert_eq!(answer("404 Not Found"), Ok(Some((404, "404 Not Found".to_owned()))));
        assert!(answer("99").is_err() && answer("100").is_err());
    }
}
