//! The gateway itself under many times what it takes, over real sockets: nothing that it accepted is lost, order is kept, it
//! lives, its memory is bounded, and messages cross when the flood is over. How fast any of it is does not matter here.

mod entente;

use std::fs;
use std::process::{Child, Command, Stdio};

use entente_tests::ports::free_address;
use serde_json::Value;

/// What a gateway with the limits below may take at its height, in KiB: several times what it does take.
const MOST_MEMORY: u64 = 200 << 10;

/// Limits that a flood reaches at once, however fast the machine is.
const LIMITS: &str = "\
[answers]
window = \"3.2s\"
[sip.limits]
ongoing = 200
queue_per_destination = 20
queue_in_all = 100
[xmpp.limits]
unsent = \"64 KiB\"
";

/// A gateway between a SIP proxy and an XMPP server, both of which the generator plays; killed with the test.
struct Gateway {
    process: Child,
    addresses: [String; 3],
    folder: tempfile::TempDir,
}

impl Drop for Gateway {
    fn drop(&mut self) {
        // It may have ended by itself, which the test has noticed then.
        let _ = self.process.kill();
        let _ = self.process.wait();
        if std::thread::panicking() {
            eprintln!(
                "log of the gateway:\n{}",
                fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
            );
        }
    }
}

impl Gateway {
    fn start(limits: &str) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let addresses = [(); 3].map(|()| free_address().to_string());
        let [gateway, phones, server] = &addresses;
        let config = include_str!("../gateway.toml")
            .replace("{gateway-sip}", gateway)
            .replace("{sip-listen}", phones)
            .replace("{xmpp-listen}", server);
        let file = folder.path().join("gateway.toml");
        fs::write(&file, config + limits).expect("the configuration is written");
        let log = fs::File::create(folder.path().join("log")).expect("a log");
        let process = Command::new(entente::program())
            .args(["run", "--config"])
            .arg(file)
            .stdin(Stdio::null())
            .stderr(log)
            .spawn()
            .expect("the gateway can be started");
        Self { process, addresses, folder }
    }

    /// Lets the generator loose on it, and gives its report.
    fn bear(&mut self, words: &str) -> Value {
        let [gateway, phones, server] = &self.addresses;
        let output = Command::new(env!("CARGO_BIN_EXE_entente-bench"))
            .args(["--no-gateway", "--json", "--connect-timeout", "60", "--warmup", "0", "--drain", "60"])
            .args(["--loss-timeout", "60", "--gateway-sip", gateway, "--sip-listen", phones, "--xmpp-listen", server])
            .args(["--pid", &self.process.id().to_string()])
            .args(words.split_whitespace())
            .output()
            .expect("the generator can be started");
        let words = String::from_utf8_lossy(&output.stderr);
        let report: Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{words}"));
        assert_eq!(report["gateway_alive"], true, "{report}");
        assert!(self.process.try_wait().expect("its state").is_none(), "it lives");
        assert_eq!(report["handshakes"], 1, "one stream, from the first message to the last: {report}");
        for moment in ["loaded", "drained"] {
            let peak = count(&report["gateway"]["memory_kib"][moment], "peak_rss");
            assert!(peak > 0 && peak < MOST_MEMORY, "{report}");
        }
        for (name, direction) in report["directions"].as_object().expect("directions") {
            for never in ["disordered", "duplicates", "altered", "wrong_address"] {
                assert_eq!(count(direction, never), 0, "{name} {never}: {report}");
            }
        }
        report
    }

    /// A few messages in each direction, of which every one crosses.
    fn is_as_before(&mut self) {
        let report = self.bear("--workload both --rate 50 --pairs 2 --seconds 0.2");
        for direction in report["directions"].as_object().expect("directions").values() {
            let [sent, delivered, lost] = ["sent", "delivered", "lost"].map(|key| count(direction, key));
            assert_eq!((sent, delivered, lost), (10, 10, 0), "{report}");
        }
    }
}

fn count(of: &Value, key: &str) -> u64 {
    of[key].as_u64().unwrap_or_else(|| panic!("no count {key} in {of}"))
}

/// How often a SIP sender was told this.
fn answered(direction: &Value, status: &str) -> u64 {
    direction["answered"][status].as_u64().unwrap_or(0)
}

/// From SIP everything has its answer, as TCP loses none; what is accepted arrives, and what is refused does not, but for what
/// was written and had no word in time.
fn sip_senders_are_told_the_truth(direction: &Value) {
    let sent = count(direction, "sent");
    let [accepted, congested, overloaded, unknown] =
        ["202", "480", "503", "504"].map(|status| answered(direction, status));
    assert_eq!(accepted + congested + overloaded + unknown, sent, "one answer for each, and a known one: {direction}");
    assert_eq!(count(direction, "lost_accepted"), 0, "{direction}");
    assert!(count(direction, "refused_but_delivered") <= unknown, "{direction}");
    assert!(accepted > 0 && congested + overloaded > sent / 10, "it was a flood: {direction}");
}

/// From XMPP everything arrives, or its sender is told.
fn xmpp_senders_are_told_the_truth(direction: &Value) {
    let (sent, delivered, told) =
        (count(direction, "sent"), count(direction, "delivered"), count(direction, "stanza_errors"));
    assert_eq!(count(direction, "refused_or_unanswered_and_untold"), 0, "{direction}");
    assert_eq!(delivered + told, sent, "{direction}");
    assert!(delivered > 0 && told > sent / 10, "it was a flood: {direction}");
}

#[test]
fn a_flood_from_sip_is_refused_and_what_is_accepted_arrives() {
    let mut gateway = Gateway::start(LIMITS);
    let flood = "--workload sip-to-xmpp --sip-transport tcp --barrier-delay 0.5 --rate 20000 --pairs 50 --seconds 0.5";
    sip_senders_are_told_the_truth(&gateway.bear(flood)["directions"]["sip-to-xmpp"]);
    gateway.is_as_before();
}

/// Datagrams are lost on the way to a gateway that has no time for them, and their senders do not send again here. Whatever is
/// answered is true all the same.
#[test]
fn a_flood_of_datagrams_without_small_limits_is_borne() {
    let mut gateway = Gateway::start("");
    let report =
        gateway.bear("--workload sip-to-xmpp --sip-transport udp --rate 200000 --pairs 50 --seconds 0.1 --drain 5");
    let direction = &report["directions"]["sip-to-xmpp"];
    assert_eq!(count(direction, "lost_accepted"), 0, "{report}");
    assert!(count(direction, "refused_but_delivered") <= answered(direction, "504"), "{report}");
    assert!(answered(direction, "202") > 0, "{report}");
    gateway.is_as_before();
}

#[test]
fn a_flood_from_xmpp_is_refused_and_the_rest_arrives() {
    let mut gateway = Gateway::start(LIMITS);
    let report = gateway.bear("--workload xmpp-to-sip --rate 100000 --pairs 10 --seconds 0.1");
    xmpp_senders_are_told_the_truth(&report["directions"]["xmpp-to-sip"]);
    gateway.is_as_before();
}

#[test]
fn floods_of_both_directions_are_borne_together() {
    let mut gateway = Gateway::start(LIMITS);
    let report =
        gateway.bear("--workload both --sip-transport tcp --barrier-delay 0.5 --rate 20000 --pairs 10 --seconds 0.5");
    sip_senders_are_told_the_truth(&report["directions"]["sip-to-xmpp"]);
    xmpp_senders_are_told_the_truth(&report["directions"]["xmpp-to-sip"]);
    gateway.is_as_before();
}
