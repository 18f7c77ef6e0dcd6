//! `entente` as an operator calls it.
#![allow(clippy::unwrap_used)]

use std::process::{Command, Output};

const CONFIG: &str = r#"
[sip]
next_hop = "udp:127.0.0.1:5070"
[[xmpp.component]]
domain = "sip.example"
connect = "localhost:5347"
secret = { env = "ENTENTE_TEST_SECRET" }
[[sip_domain]]
name = "sip.example"
[[xmpp_domain]]
name = "xmpp.example"
"#;

fn entente(arguments: &[&str], variables: &[(&str, &str)]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_entente"));
    command.args(arguments).envs(variables.iter().copied()).output().unwrap()
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

#[test]
fn check_says_ok_or_everything_that_is_wrong() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("gateway.toml");
    std::fs::write(&path, CONFIG).unwrap();
    let check = ["check", "--config", path.to_str().unwrap()];
    let secret = ("ENTENTE_TEST_SECRET", "squeamish ossifrage");

    let right = entente(&check, &[secret]);
    assert_eq!((right.status.code(), text(&right.stdout), text(&right.stderr)), (Some(0), "OK\n", ""));

    let no_secret = entente(&check, &[]);
    assert_eq!(no_secret.status.code(), Some(64));
    let told = text(&no_secret.stderr);
    assert!(told.contains("xmpp.component[1].secret is not in the environment: set ENTENTE_TEST_SECRET"), "{told}");

    let environment =
        [secret, ("ENTENTE_SIP__NEXT_HOP", "tls:proxy:5061"), ("ENTENTE_LOG__LEVL", "info"), ("ENTENTE_OTHER", "x")];
    let wrong = entente(&check, &environment);
    assert_eq!((wrong.status.code(), text(&wrong.stdout)), (Some(64), ""));
    let told = text(&wrong.stderr);
    assert!(told.contains("the environment: sip.next_hop = \"tls:proxy:5061\": must be udp:HOST:PORT"), "{told}");
    assert!(told.contains("log.levl is not a key here: did you mean \"level\"?"), "{told}");
    assert_eq!(told.lines().count(), 2, "{told}");

    let overridden = entente(&check, &[secret, ("ENTENTE_SIP__NEXT_HOP", "udp:proxy:5060")]);
    assert_eq!(overridden.status.code(), Some(0));
}

#[test]
fn wrong_arguments_are_wrong_use() {
    assert_eq!(entente(&["chekc"], &[]).status.code(), Some(64));
    let help = entente(&["--help"], &[]);
    assert_eq!(help.status.code(), Some(0));
    assert!(text(&help.stdout).contains("check"));
}

/// A section from the environment, in a wrong form: it may hold a secret.
#[test]
fn what_may_hold_a_secret_is_not_shown() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("gateway.toml");
    std::fs::write(&path, CONFIG).unwrap();
    let check = ["check", "--config", path.to_str().unwrap()];
    for (name, value) in [
        ("ENTENTE_XMPP__COMPONENT", "{secret = \"hunter2\""),
        ("ENTENTE_XMPP__COMPONENT", "hunter2"),
        ("ENTENTE_XMPP__COMPONENT", "[\"hunter2\"]"),
        ("ENTENTE_XMPP__COMPONENT", "[{secret = \"hunter2\", domain = \"\\u0001\"}]"),
        ("ENTENTE_XMPP", "hunter2"),
        ("ENTENTE_XMPP__HUNTER2", "hunter2"),
    ] {
        let told = entente(&check, &[("ENTENTE_TEST_SECRET", "x"), (name, value)]);
        let text = text(&told.stderr);
        if name.contains("__") {
            assert_eq!(told.status.code(), Some(64), "{name}={value}");
            assert!(text.contains("the environment: xmpp."), "{text}");
        }
        assert!(!text.contains("hunter2\"") && !text.contains("= \"hunter2"), "{name}={value}: {text}");
    }
}
