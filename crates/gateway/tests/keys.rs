//! gateway.toml names every key that is read, and says of each what becomes of a change while the gateway runs.
#![allow(clippy::unwrap_used)]

use entente_tests::settings::{Effect, sections};
use gateway::config::{self, Config};
use std::collections::BTreeSet;

/// A configuration with every section in it, to be changed key by key.
const WHOLE: &str = r#"
[gateway]
[sip]
next_hop = "udp:proxy.example:5060"
[[sip.trusted]]
networks = ["192.0.2.0/24"]
[[sip.account]]
realm = "sip.example"
username = "gateway"
password = "mercutio"
[sip.limits]
[[xmpp.component]]
domain = "sip.example"
connect = "localhost:5347"
secret = "montague"
[xmpp.limits]
[[sip_domain]]
name = "sip.example"
[[xmpp_domain]]
name = "xmpp.example"
[answers]
[journal]
folder = "journal"
[journal.mail]
server = "localhost:25"
from = "entente@example.org"
to = "postmaster@example.org"
[[journal.keep]]
domain = "*"
[log]
[admin]
"#;

/// For each key another value than `WHOLE` has, and what else has to change with it for the whole to be right.
const OTHERS: &[(&str, &str, &str)] = &[
    ("gateway.name", "\"gw.example\"", ""),
    ("gateway.start_max_forwards", "20", ""),
    ("sip.listen", "[\"udp:127.0.0.1:5061\"]", ""),
    ("sip.advertise", "\"gw.example:5060\"", ""),
    ("sip.advertise_tcp", "\"gw.example:5060\"", ""),
    ("sip.next_hop", "\"tcp:proxy.example:5060\"", ""),
    ("sip.route", "\"sip:proxy.example;lr\"", ""),
    ("sip.congestion_safe", "true", ""),
    ("sip.path_mtu", "9000", ""),
    ("sip.large_requests", "\"udp\"", ""),
    ("sip.parallel", "2", ""),
    ("sip.user_agent", "\"\"", ""),
    ("sip.trusted.networks", "[\"198.51.100.0/24\"]", ""),
    ("sip.trusted.domains", "[\"sip.example\"]", ""),
    ("sip.follow_redirects", "[\"*\", \"sip.example\"]", ""),
    ("sip.account.realm", "\"other.example\"", ""),
    ("sip.account.username", "\"somebody\"", ""),
    ("sip.account.password", "\"benvolio\"", ""),
    ("sip.account.domains", "[\"sip.example\"]", ""),
    ("sip.limits.message", "\"4 KiB\"", ""),
    ("sip.limits.connections", "20", ""),
    ("sip.limits.ongoing", "20", ""),
    ("sip.limits.queue_per_destination", "20", ""),
    ("sip.limits.queue_in_all", "20", ""),
    ("sip.limits.under_way", "\"2 MiB\"", ""),
    (
        "xmpp.component.domain",
        "\"other.example\"",
        "[[sip_domain]]\nname = \"other.example\"\n[[xmpp.component]]\ndomain = \"sip.example\"\nconnect = \"localhost:5347\"\n\
         secret = \"montague\"\n",
    ),
    ("xmpp.component.connect", "\"localhost:5348\"", ""),
    ("xmpp.component.secret", "\"capulet\"", ""),
    ("xmpp.limits.stanza", "\"20 KiB\"", ""),
    ("xmpp.limits.unsent", "\"1 MiB\"", ""),
    ("sip_domain.name", "\"pbx.example\"", "rule = \"map\"\nas_xmpp = \"sip.example\"\n"),
    ("sip_domain.rule", "\"encode\"", "as_xmpp = \"sip.example\"\n"),
    ("sip_domain.as_xmpp", "\"sip.example\"", "rule = \"encode\"\n"),
    ("sip_domain.accepts", "[\"text/html\"]", ""),
    ("sip_domain.numbers", "\"tel\"", ""),
    ("xmpp_domain.numbers", "\"tel\"", ""),
    ("sip_domain.next_hop", "\"udp:192.0.2.1:5060\"", ""),
    ("sip_domain.route", "\"sip:192.0.2.1;lr\"", ""),
    ("sip_domain.congestion_safe", "true", ""),
    ("sip_domain.path_mtu", "9000", ""),
    ("xmpp_domain.name", "\"other.example\"", ""),
    ("xmpp_domain.rule", "\"encode\"", "as_sip = \"gw.example\"\n"),
    ("xmpp_domain.as_sip", "\"gw.example\"", "rule = \"encode\"\n"),
    ("xmpp_domain.accepts", "[\"image/*\"]", ""),
    ("answers.window", "\"1s\"", ""),
    ("answers.on_acceptance", "200", ""),
    ("answers.late_failure", "\"none\"", ""),
    ("answers.ask_receipts", "true", ""),
    ("answers.redirect_to", "[\"xmpp.example\"]", ""),
    ("journal.folder", "\"elsewhere\"", ""),
    ("journal.max_entries", "2000", ""),
    ("journal.max_octets", "\"1 MiB\"", ""),
    ("journal.dead_letter_file", "\"dead\"", ""),
    ("journal.max_dead_letters", "\"2 GiB\"", "dead_letter_file = \"dead\"\n"),
    ("journal.mail.server", "\"localhost:587\"", ""),
    ("journal.mail.tls", "\"none\"", ""),
    ("journal.mail.authorities", "\"PEM\"", ""),
    ("journal.mail.username", "\"entente\"", "password = \"mercutio\"\n"),
    ("journal.mail.password", "\"mercutio\"", "username = \"entente\"\n"),
    ("journal.mail.from", "\"other@example.org\"", ""),
    ("journal.mail.to", "\"other@example.org\"", ""),
    ("journal.keep.domain", "\"xmpp.example\"", ""),
    ("journal.keep.when", "\"every\"", ""),
    ("journal.keep.for", "\"2d\"", ""),
    ("journal.keep.per_conversation", "20", ""),
    ("journal.keep.largest", "\"1 KiB\"", ""),
    ("log.format", "\"json\"", ""),
    ("log.level", "\"debug\"", ""),
    ("log.redact_addresses", "true", ""),
    ("admin.listen", "\"127.0.0.1:9090\"", ""),
];

fn with(section: &str, key: &str, value: &str, more: &str) -> String {
    let header = WHOLE.lines().find(|line| line.trim_matches(['[', ']']) == section && line.starts_with('['));
    let header = header.unwrap_or_else(|| panic!("{section} has no place in this test yet"));
    let mut text = String::new();
    let mut inside = false;
    for line in WHOLE.lines() {
        inside = if line.starts_with('[') { line == header } else { inside };
        let replaced = inside && line.split(" = ").next() == Some(key);
        if !replaced {
            text.push_str(line);
            text.push('\n');
        }
        if line == header {
            text.push_str(&format!("{key} = {value}\n{}", if more.starts_with('[') { "" } else { more }));
        }
    }
    if more.starts_with('[') {
        text.push_str(more);
    }
    text
}

fn read(text: &str) -> Config {
    // A file that is there.
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("authorities.pem");
    if text.contains("PEM") {
        std::fs::write(&path, rcgen::generate_simple_self_signed(["mail.example".into()]).unwrap().cert.pem()).unwrap();
    }
    let text = &*text.replace("PEM", path.to_str().unwrap());
    config::parse(text).unwrap_or_else(|errors| panic!("{errors}\nin\n{text}"))
}

#[test]
fn every_key_that_is_read_stands_in_the_commented_file() {
    let sections = sections();
    for section in &sections {
        // What is asked for is told to whoever writes something else.
        let text = with(&section.name, "zzzzzzzzzzzzzzzz", "1", "");
        let errors = config::parse(&text).unwrap_err().to_string();
        let known = errors.lines().find_map(|line| line.split_once("zzz is not a key here: known are "));
        let (_, known) = known.unwrap_or_else(|| panic!("{errors}"));
        let subsection = |name: &str| sections.iter().any(|other| other.name == format!("{}.{name}", section.name));
        let known: BTreeSet<&str> = known.split(", ").filter(|name| !subsection(name)).collect();
        let shown: BTreeSet<&str> = section.keys.iter().map(|key| &*key.name).collect();
        assert_eq!(
            known, shown,
            "keys of [{}]: left the ones that are read, right those in gateway.toml",
            section.name
        );
    }
    let errors = config::parse("zzzzzzzzzzzzzzzz = 1").unwrap_err().to_string();
    let (_, known) = errors.split_once("is not a key here: known are ").unwrap();
    for name in known.lines().next().unwrap().split(", ") {
        assert!(sections.iter().any(|section| section.name.split('.').next() == Some(name)), "[{name}]");
    }
}

#[test]
fn what_needs_a_restart_is_marked_so_and_nothing_else() {
    let running = read(WHOLE);
    for section in sections() {
        for key in section.keys {
            let path = format!("{}.{}", section.name, key.name);
            let other = OTHERS.iter().find(|(known, ..)| *known == path);
            let (_, value, more) = other.unwrap_or_else(|| panic!("tell this test another value of {path}"));
            let fresh = read(&with(&section.name, &key.name, value, more));
            let whole = format!("{fresh:?}");
            let reread = config::reread(&running, fresh);
            let kept = match &reread {
                Ok(reread) => !reread.kept.is_empty(),
                // A domain under a component that is not there yet.
                Err(_) => true,
            };
            assert_eq!(kept, key.effect() == Effect::Restart, "{path}: {reread:?}");
            if let Ok(reread) = reread {
                let taken = format!("{:?}", reread.config) == whole;
                assert_eq!(taken, !kept, "{path}: what is not kept is taken, and the other way round");
            }
        }
    }
}

/// Secrets are not shown, so the test above cannot see them.
#[test]
fn each_component_that_runs_gets_its_own_new_secret() {
    use secrecy::ExposeSecret;
    let second = "[[xmpp.component]]\ndomain = \"b.example\"\nconnect = \"localhost:5347\"\nsecret = \"tybalt\"\n\
                  [[sip_domain]]\nname = \"b.example\"\n";
    let running = read(&format!("{WHOLE}{second}"));
    // The other way round.
    let text = format!("{}{}", second.replace("tybalt", "mercutio"), WHOLE.replace("montague", "capulet"));
    let reread = config::reread(&running, read(&text)).unwrap();
    assert_eq!(reread.kept, ["xmpp.component"], "their order is settled at the start");
    let secrets: Vec<_> =
        reread.config.xmpp.components.iter().map(|component| component.secret.expose_secret()).collect();
    assert_eq!(secrets, ["capulet", "mercutio"]);
}
