//! gateway.toml as operators write it, and as they get it wrong.
#![allow(clippy::unwrap_used)]

use gateway::config::{Config, LargeRequests, LateFailure, LogFormat, Overrides, Problem, Rule, load};
use secrecy::ExposeSecret;
use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// The least that works.
const LEAST: &str = r#"
[sip]
next_hop = "udp:proxy.sip.example:5060"
[[xmpp.component]]
domain = "sip.example"
connect = "localhost:5347"
secret = { file = "secret" }
[[sip_domain]]
name = "sip.example"
[[xmpp_domain]]
name = "xmpp.example"
"#;

fn folder_with(text: &str) -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let secret = folder.path().join("secret");
    std::fs::write(&secret, "squeamish ossifrage\n").unwrap();
    std::fs::set_permissions(&secret, Permissions::from_mode(0o640)).unwrap();
    let path = folder.path().join("gateway.toml");
    std::fs::write(&path, text).unwrap();
    (folder, path)
}

fn read(text: &str) -> Result<Config, Vec<Problem>> {
    let (_folder, path) = folder_with(text);
    load(&path, &Overrides::default()).map_err(|errors| errors.0)
}

/// The keys that are wrong, with what is said of each.
fn wrong(text: &str) -> Vec<(String, String)> {
    read(text).unwrap_err().into_iter().map(|problem| (problem.key, problem.what)).collect()
}

#[test]
fn the_least_configuration_gets_every_default() {
    let config = read(LEAST).unwrap();
    assert_eq!(config.gateway.start_max_forwards, 70);
    let listen: Vec<String> = config.sip.listen.iter().map(ToString::to_string).collect();
    assert_eq!(listen, ["udp:127.0.0.1:5060", "tcp:127.0.0.1:5060"]);
    assert_eq!((&*config.sip.advertise, &*config.sip.advertise_tcp), ("127.0.0.1:5060", "127.0.0.1:5060"));
    let hops: Vec<String> = config.sip.route.next_hops.iter().map(ToString::to_string).collect();
    assert_eq!(hops, ["udp:proxy.sip.example:5060"]);
    assert_eq!((config.sip.route.congestion_safe, config.sip.route.path_mtu), (false, 1500));
    assert!(config.sip.route.route_set.is_empty() && config.sip_domains[0].route.is_none());
    assert_eq!((config.sip.large_requests, config.sip.limits.connections), (LargeRequests::TcpThenUdp, 1000));
    assert!(config.sip.trusted.is_empty());
    assert_eq!((config.sip.parallel, config.sip.limits.message), (1, 65_535));
    assert_eq!(config.xmpp.components[0].secret.expose_secret(), "squeamish ossifrage");
    assert_eq!((config.xmpp.limits.stanza, config.xmpp.limits.unsent), (262_144, 4_194_304));
    assert_eq!(config.sip_domains[0].rule, Rule::Same);
    assert_eq!(config.answers.window.as_millis(), 2000);
    assert_eq!((config.answers.on_acceptance, config.answers.late_failure), (202, LateFailure::Text));
    assert_eq!((config.log.format, config.log.level.as_str()), (LogFormat::Text, "info"));
    assert!(config.admin.listen.is_none() && config.journal.folder.is_none());
    assert!(config.warnings.is_empty(), "{:?}", config.warnings);
    assert!(!format!("{config:?}").contains("ossifrage"), "secrets are never printed");
}

/// The file that is shipped: as it is, and with every key that it shows commented out set to the value it shows.
#[test]
fn the_shipped_file_loads_and_the_defaults_it_shows_are_the_defaults() {
    let shipped = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../../gateway.toml")).unwrap();
    // The environment is not the test's to change.
    let shipped = shipped.replace("{ env = \"ENTENTE_COMPONENT_SECRET\" }", "{ file = \"secret\" }");
    let plain = read(&shipped).unwrap();

    let mut shown = String::new();
    let mut example = false;
    for line in shipped.lines() {
        example = line.starts_with("#[") || (example && line.starts_with('#'));
        let key = line.strip_prefix('#').filter(|rest| rest.starts_with(|c: char| c.is_ascii_lowercase()));
        match key {
            Some(key) if !example => shown.push_str(key),
            _ => shown.push_str(line),
        }
        shown.push('\n');
    }
    let mut explicit = read(&shown).unwrap();
    let examples =
        (explicit.admin.listen.take(), explicit.journal.folder.take(), explicit.journal.dead_letter_file.take());
    assert!(matches!(examples, (Some(_), Some(_), Some(_))), "shown as examples, off by default");
    assert!(plain.sip.user_agent.starts_with(&explicit.sip.user_agent));
    explicit.sip.user_agent.clone_from(&plain.sip.user_agent);
    assert_eq!(format!("{plain:#?}"), format!("{explicit:#?}"));

    for section in ["gateway", "sip", "sip.limits", "xmpp.limits", "answers", "journal", "log", "admin"] {
        assert!(shipped.contains(&format!("\n[{section}]\n")), "{section}");
    }
}

#[test]
fn every_error_is_told_at_once_with_place_key_value_and_remedy() {
    let text = LEAST.replace("next_hop", "nexthop").replace("localhost:5347", "localhost")
        + "[answers]\nwindow = \"5s\"\non_acceptance = 204\n[log]\nlevel = \"loud\"\n[sipp]\n";
    let (_folder, path) = folder_with(&text);
    let errors = load(&path, &Overrides::default()).unwrap_err();
    let place = path.display();
    for line in [
        format!("{place}: sip.nexthop is not a key here: did you mean \"next_hop\"?"),
        "the configuration: sip.next_hop is missing: write the proxy of your SIP domain".into(),
        format!("{place}: xmpp.component[1].connect = \"localhost\": must be HOST:PORT"),
        format!("{place}: answers.window = \"5s\": must be from 200ms to 3.2s"),
        format!("{place}: answers.on_acceptance = 204: must be 202 or 200"),
        format!("{place}: log.level = \"loud\": must be off, error,"),
        format!("{place}: sipp is not a key here: did you mean \"sip\"?"),
    ] {
        assert!(errors.to_string().lines().any(|told| told.starts_with(&line)), "{line}\nin\n{errors}");
    }
    assert_eq!(errors.0.len(), 7, "{errors}");
}

#[test]
fn each_transport_is_advertised_as_it_is_reached() {
    let advertised = |lines: &str| {
        let sip = read(&LEAST.replace("[sip]\n", &format!("[sip]\n{lines}\n"))).unwrap().sip;
        (sip.advertise, sip.advertise_tcp)
    };
    let both = |udp: &str, tcp: &str| (udp.to_owned(), tcp.to_owned());
    let listen = "listen = [\"tcp:127.0.0.1:5070\", \"udp:127.0.0.1:5060\"]";
    assert_eq!(advertised(listen), both("127.0.0.1:5060", "127.0.0.1:5070"));
    assert_eq!(advertised("listen = [\"udp:127.0.0.1:5060\"]"), both("127.0.0.1:5060", "127.0.0.1:5060"));
    let given = "advertise = \"gw.example:5060\"";
    assert_eq!(advertised(given), both("gw.example:5060", "gw.example:5060"));
    let given = "advertise = \"gw.example:5060\"\nadvertise_tcp = \"gw.example:5070\"";
    assert_eq!(advertised(given), both("gw.example:5060", "gw.example:5070"));
    let config =
        read(&LEAST.replace("[sip]\n", "[sip]\nlisten = [\"udp:0.0.0.0:5060\", \"tcp:[::]:5060\"]\n")).unwrap();
    assert_eq!(config.warnings.len(), 2, "{:?}", config.warnings);

    let tcp_only = LEAST.replace("[sip]\n", "[sip]\nlisten = [\"tcp:127.0.0.1:5060\"]\n");
    assert!(wrong(&tcp_only)[0].1.contains("must name a UDP address too"));
    assert!(read(&tcp_only.replace("\"udp:proxy", "\"tcp:proxy")).is_ok());
}

#[test]
fn what_cannot_be_together_is_named() {
    let component = "[[xmpp.component]]\ndomain = \"other.example\"\nconnect = \"h:1\"\nsecret = \"x\"\n";
    let domain = |section: &str, rest: &str| format!("[[{section}_domain]]\n{rest}\n");
    for (added, key, what) in [
        (component.to_owned(), "xmpp.component[2].domain", "would carry nothing"),
        (component.replace("other", "sip"), "xmpp.component[2].domain", "stands twice"),
        (domain("sip", "name = \"b.example\""), "sip_domain[2]", "no [[xmpp.component]] has domain = \"b.example\""),
        (domain("sip", "name = \"xmpp.example\""), "xmpp_domain[1].name", "a domain has one home"),
        (domain("xmpp", "name = \"XMPP.example\""), "xmpp_domain[2].name", "a domain has one home"),
        (domain("xmpp", "name = \"b.example\"\nrule = \"map\""), "xmpp_domain[2].as_sip", "is missing"),
        (domain("xmpp", "name = \"*\"\nrule = \"map\"\nas_sip = \"c.example\""), "xmpp_domain[2].rule", "any domain"),
        (
            domain("xmpp", "name = \"b.example\"\nas_sip = \"c.example\""),
            "xmpp_domain[2].as_sip",
            "leave one of them out",
        ),
        (
            domain("xmpp", "name = \"b.example\"\nrule = \"encode\"\nas_sip = \"sip.example\""),
            "xmpp_domain[2]",
            "real users",
        ),
        (
            domain("xmpp", "name = \"b.example\"\nrule = \"map\"\nas_sip = \"xmpp.example\""),
            "xmpp_domain[2]",
            "those of another domain",
        ),
        (
            "[[sip.trusted]]\nnetworks = [\"::1\"]\ndomains = [\"c.example\"]".into(),
            "sip.trusted[1].domains",
            "never match",
        ),
        ("[answers]\nredirect_to = [\"b.example\"]".into(), "answers.redirect_to", "never match"),
        ("[answers]\nredirect_to = [\"sip.example\"]".into(), "answers.redirect_to", "is no [[xmpp_domain]]"),
        (domain("xmpp", "name = \"*\"\nnumbers = \"tel\""), "xmpp_domain[2].numbers", "a domain that is named"),
        (
            domain(
                "xmpp",
                "name = \"b.example\"\nnumbers = \"tel\"\n[[xmpp_domain]]\nname = \"c.example\"\nnumbers = \"plain\"",
            ),
            "xmpp_domain[3].numbers",
            "another [[xmpp_domain]]",
        ),
        (
            domain("xmpp", "name = \"b.example\"\nrule = \"encode\"\nas_sip = \"gw.example\"\nnumbers = \"phone\""),
            "xmpp_domain[2].numbers",
            "no number there",
        ),
        (domain("xmpp", "name = \"b.example\"\nnumbers = true"), "xmpp_domain[2].numbers", "must be \"no\" or"),
        ("[[sip.trusted]]\nnetworks = [\"10.0.0.1/8\"]".into(), "sip.trusted[1].networks[1]", "write \"10.0.0.0/8\""),
    ] {
        let told = wrong(&format!("{LEAST}{added}"));
        assert!(told.iter().any(|(at, why)| at == key && why.contains(what)), "{added}\n{told:?}");
    }
}

/// `entente check` must not call right what cannot start.
#[test]
fn no_two_sockets_listen_in_one_place() {
    for (listen, admin, wrong_key) in [
        (r#""udp:127.0.0.1:5060", "udp:127.0.0.1:5060""#, "127.0.0.1:9090", Some("sip.listen")),
        (r#""udp:127.0.0.1:5060", "udp:0.0.0.0:5060""#, "127.0.0.1:9090", Some("sip.listen")),
        (r#""udp:127.0.0.1:5060", "tcp:127.0.0.1:9090""#, "127.0.0.1:9090", Some("admin.listen")),
        (r#""udp:127.0.0.1:5060", "tcp:127.0.0.1:9090""#, "0.0.0.0:9090", Some("admin.listen")),
        (r#""udp:127.0.0.1:5060", "udp:127.0.0.2:5060", "tcp:127.0.0.1:5060""#, "127.0.0.1:9090", None),
        (r#""udp:127.0.0.1:9090", "udp:[::1]:9090", "tcp:[::]:9090""#, "127.0.0.1:9090", None),
    ] {
        let text = LEAST.replace("[sip]\n", &format!("[sip]\nlisten = [{listen}]\n"));
        let problems = read(&format!("{text}[admin]\nlisten = \"{admin}\"\n")).err().unwrap_or_default();
        let told: Vec<_> = problems.iter().map(|problem| (&*problem.key, &*problem.what)).collect();
        match wrong_key {
            None => assert!(told.is_empty(), "{listen} {told:?}"),
            Some(key) => {
                assert!(
                    matches!(&told[..], [(at, what)] if *at == key && what.contains("beside")),
                    "{listen} {told:?}"
                );
            }
        }
    }
}

/// The file may spell a domain in any way. The core and SIP get A-labels, the XMPP server U-labels (RFC 7622 3.2.1).
#[test]
fn international_domains_and_addresses_are_domains() {
    let text = LEAST
        .replacen("domain = \"sip.example\"", "domain = \"XN--BCHER-KVA.example\"", 1)
        .replacen("name = \"sip.example\"", "name = \"B\u{fc}cher.example.\"\nnumbers = \"phone\"", 1)
        .replacen("name = \"xmpp.example\"", "name = \"[2001:DB8:0::1]\"\nnumbers = \"tel\"", 1);
    let config = read(&text).unwrap();
    assert_eq!(config.sip_domains[0].name.as_deref(), Some("xn--bcher-kva.example"));
    assert_eq!(config.xmpp_domains[0].name.as_deref(), Some("[2001:db8::1]"));
    let settings = gateway::assembly::engine_settings(&config, &gateway::next_hops::NextHops::default());
    assert_eq!(settings.xmpp.links[0].component.domain, "b\u{fc}cher.example");
    let numbers = |numbers: Option<sip_connector::Numbers>| numbers.map(|numbers| (numbers.domain, numbers.form));
    let phone = ("xn--bcher-kva.example".into(), sip_connector::NumberForm::Phone);
    assert_eq!(numbers(settings.sip.native_numbers), Some(phone));
    let tel = ("[2001:db8::1]".into(), sip_connector::NumberForm::Tel);
    assert_eq!(numbers(settings.sip.foreign_numbers), Some(tel));
    for no_domain in ["a b", "xn--.example", "[fe80::1%25eth0]", "a..example"] {
        let told = wrong(&LEAST.replace("name = \"xmpp.example\"", &format!("name = \"{no_domain}\"")));
        assert!(
            told.iter().any(|(at, what)| at == "xmpp_domain[1].name" && what.contains("a domain name")),
            "{told:?}"
        );
    }
}

#[test]
fn accounts_answer_the_realms_of_sip_domains() {
    let account = |lines: &str| format!("{LEAST}[[sip.account]]\nusername = \"gw\"\npassword = \"mab\"\n{lines}\n");
    let config = read(&account("realm = \"PBX (asterisk)\"\ndomains = [\"SIP.example\"]")).unwrap();
    let [own] = &config.sip.accounts[..] else { panic!("{config:?}") };
    assert_eq!(
        (&*own.realm, &*own.username, &own.domains[..]),
        ("PBX (asterisk)", "gw", &["sip.example".to_owned()][..])
    );
    assert_eq!(own.password.expose_secret(), "mab");
    assert!(!format!("{config:?}").contains("mab"), "secrets are never printed");
    assert!(config.warnings[0].starts_with("sip.account[1].password stands in the configuration"));
    let twice = "realm = \"a\"\n[[sip.account]]\nrealm = \"a\"\nusername = \"b\"\npassword = { file = \"secret\" }";
    let long = format!("realm = \"{}\"", "r".repeat(256));
    for (lines, key, what) in [
        ("", "sip.account[1].realm", "is missing: write the realm"),
        ("realm = \"\"", "sip.account[1].realm", "1 to 255 bytes"),
        (&long, "sip.account[1].realm", "1 to 255 bytes"),
        ("realm = \"a\\r\\nb\"", "sip.account[1].realm", "without control characters"),
        ("realm = \"a\"\ndomains = [\"b.example\"]", "sip.account[1].domains", "never match"),
        (twice, "sip.account[2].realm", "has an account already"),
    ] {
        let told = wrong(&account(lines));
        assert!(told.iter().any(|(at, why)| at == key && why.contains(what)), "{lines}\n{told:?}");
    }
    let told = wrong(&account("realm = \"a\"").replace("\"gw\"", "\"g:w\""));
    assert!(told[0].1.contains("no colon"), "{told:?}");
    let problems =
        read(&account("realm = \"a\"").replace("\"mab\"", "{ env = \"ENTENTE_NO_SUCH_VARIABLE\" }")).unwrap_err();
    assert_eq!((&*problems[0].key, &problems[0].value), ("sip.account[1].password", &None));
}

/// Wherever a redirection leads, an account is asked for in vain unless it names that domain.
#[test]
fn an_account_is_for_our_domains_and_for_those_that_it_names() {
    let account = |more: &str| format!("[[sip.account]]\nrealm = \"r\"\nusername = \"gw\"\npassword = \"x\"\n{more}\n");
    let redirecting = LEAST.replace("[sip]\n", "[sip]\nfollow_redirects = [\"*\"]\n");
    assert_ne!(redirecting, LEAST);
    let domains = |text: &str| -> Vec<Vec<Vec<u8>>> {
        let settings =
            gateway::assembly::engine_settings(&read(text).unwrap(), &gateway::next_hops::NextHops::default());
        settings.sip.accounts.into_iter().map(|account| account.domains).collect()
    };
    assert_eq!(domains(&format!("{redirecting}{}", account(""))), [[b"sip.example"]]);
    // The one that names a domain goes before the one for all of them.
    let both = format!("{redirecting}{}{}", account(""), account("domains = [\"partner.example\"]"));
    assert_eq!(domains(&both), [[&b"partner.example"[..]], [b"sip.example"]]);
    let any = format!("{redirecting}{}", account(""))
        .replace("name = \"sip.example\"", "name = \"*\"\nrule = \"encode\"\nas_xmpp = \"sip.example\"");
    assert_eq!(domains(&any), [Vec::<Vec<u8>>::new()]);
}

#[test]
fn an_empty_file_lacks_exactly_what_has_no_default() {
    let keys: Vec<String> = wrong("").into_iter().map(|(key, _)| key).collect();
    assert_eq!(keys, ["xmpp.component", "sip_domain", "xmpp_domain", "sip.next_hop"]);
}

#[test]
fn secrets_come_from_a_file_or_the_environment_and_are_not_repeated() {
    let plain = LEAST.replace("{ file = \"secret\" }", "\"hunter2\"");
    let config = read(&plain).unwrap();
    assert_eq!(config.warnings.len(), 1);
    assert!(config.warnings[0].starts_with("xmpp.component[1].secret stands in the configuration"));
    for (spelled, what) in [
        ("{ file = \"absent\" }", "cannot be read from"),
        ("{ env = \"ENTENTE_NO_SUCH_VARIABLE\" }", "set ENTENTE_NO_SUCH_VARIABLE"),
        ("{ file = \"secret\", env = \"HOME\" }", "must be { file"),
        ("\"\"", "is empty"),
        ("12345", "must be { file"),
    ] {
        let problems = read(&LEAST.replace("{ file = \"secret\" }", spelled)).unwrap_err();
        assert_eq!(problems[0].key, "xmpp.component[1].secret");
        assert!(problems[0].what.contains(what), "{problems:?}");
        assert_eq!(problems[0].value, None);
    }
}

/// What a secret file may hold, and what becomes of it.
#[test]
fn a_secret_is_one_line_and_a_file_has_an_end() {
    let with_file = |content: &[u8]| {
        let (folder, path) = folder_with(LEAST);
        std::fs::write(folder.path().join("secret"), content).unwrap();
        load(&path, &Overrides::default()).map_err(|errors| errors.0)
    };
    for (content, secret) in [
        (&b"montague"[..], "montague"),
        (b"montague\n", "montague"),
        (b"montague\r\n", "montague"),
        (b"two words\n", "two words"),
        ("Möntägue\n".as_bytes(), "Möntägue"),
        (&[b'x'; 4096], &"x".repeat(4096)),
    ] {
        let config = with_file(content).unwrap();
        assert_eq!(config.xmpp.components[0].secret.expose_secret(), secret);
        assert!(config.warnings.is_empty(), "{:?}", config.warnings);
    }
    for content in [&b" montague"[..], b"montague \n", "montague\u{a0}".as_bytes()] {
        let config = with_file(content).unwrap();
        assert!(config.warnings[0].contains("begins or ends with white space"), "{:?}", config.warnings);
    }
    for (content, what) in [
        (&b""[..], "is empty"),
        (b"\n", "is empty"),
        (b"montague\n\n", "more than one line"),
        (b"montague\ncapulet\n", "more than one line"),
        (b"monta\rgue", "more than one line"),
        (b"monta\tgue", "a control character"),
        (b"monta\0gue", "a control character"),
        (b"monta\xffgue", "is not UTF-8"),
        (&[b'x'; 4097], "is longer than 4096 bytes"),
        (&[b'x'; 1 << 20], "is longer than 4096 bytes"),
    ] {
        let problems = with_file(content).unwrap_err();
        assert_eq!(problems.len(), 1);
        assert!(problems[0].what.contains(what), "{what}: {problems:?}");
        assert!(!problems[0].to_string().contains("gue") && problems[0].value.is_none(), "{problems:?}");
    }
    // Neither has an end.
    for endless in ["/dev/zero", "/dev/stdin", "."] {
        let problems = read(&LEAST.replace("file = \"secret\"", &format!("file = \"{endless}\""))).unwrap_err();
        assert!(problems[0].what.contains("it is not a regular file"), "{problems:?}");
    }
    let pipe = tempfile::tempdir().unwrap();
    let pipe = pipe.path().join("pipe");
    nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::S_IRUSR).unwrap();
    let text = LEAST.replace("file = \"secret\"", &format!("file = \"{}\"", pipe.display()));
    assert!(read(&text).unwrap_err()[0].what.contains("it is not a regular file"));
    let endless = load(Path::new("/dev/zero"), &Overrides::default()).unwrap_err();
    assert!(endless.0[0].what.contains("is longer than"), "{endless}");
}

#[test]
fn what_should_be_looked_at_is_told_as_a_warning() {
    let told = |change: &dyn Fn(&str) -> String| read(&change(LEAST)).unwrap().warnings;
    for (warning, change) in [
        (
            "is everybody",
            &(|text: &str| format!("{text}[[sip.trusted]]\nnetworks = [\"0.0.0.0/0\"]\n")) as &dyn Fn(&str) -> String,
        ),
        ("is everybody", &|text: &str| format!("{text}[[sip.trusted]]\nnetworks = [\"::/0\"]\n")),
        ("is on another machine", &|text: &str| text.replace("localhost:5347", "xmpp.example:5347")),
        ("is on another machine", &|text: &str| text.replace("localhost:5347", "[2001:db8::1]:5347")),
        ("answers everybody", &|text: &str| format!("{text}[admin]\nlisten = \"0.0.0.0:9090\"\n")),
        ("writes addresses of users", &|text: &str| format!("{text}[log]\nlevel = \"info,engine=trace\"\n")),
    ] {
        let warnings = told(change);
        assert!(warnings.len() == 1 && warnings[0].contains(warning), "{warning}: {warnings:?}");
    }
    for right in [
        &(|text: &str| format!("{text}[log]\nlevel = \"trace\"\nredact_addresses = true\n")) as &dyn Fn(&str) -> String,
        &|text: &str| format!("{text}[admin]\nlisten = \"[::1]:9090\"\n"),
        &|text: &str| text.replace("localhost:5347", "[::1]:5347"),
        &|text: &str| text.replace("udp:proxy.sip.example:5060", "tcp:127.0.0.1:5061"),
    ] {
        assert!(told(right).is_empty(), "{:?}", told(right));
    }
    let (folder, path) = folder_with(LEAST);
    std::fs::set_permissions(folder.path().join("secret"), Permissions::from_mode(0o644)).unwrap();
    let warnings = load(&path, &Overrides::default()).unwrap().warnings;
    assert!(warnings[0].contains("can be read by everybody on this machine: chmod 640 "), "{warnings:?}");
}

#[test]
fn the_command_line_wins_over_the_file() {
    let (_folder, path) = folder_with(&format!("{LEAST}[log]\nlevel = \"warn\"\n"));
    let overrides = Overrides { log_level: Some("debug".into()), log_format: Some("json".into()) };
    let config = load(&path, &overrides).unwrap();
    assert_eq!((config.log.level.as_str(), config.log.format), ("debug", LogFormat::Json));
    let overrides = Overrides { log_level: Some("loud".into()), log_format: None };
    let errors = load(&path, &overrides).unwrap_err();
    assert_eq!(errors.0[0].place, "the command line");
}

#[test]
fn a_file_that_is_absent_or_no_toml_is_told_so() {
    let folder = tempfile::tempdir().unwrap();
    let absent = load(&folder.path().join("absent.toml"), &Overrides::default()).unwrap_err();
    assert!(absent.0[0].what.starts_with("cannot be read"));
    assert!(read("[sip\n").unwrap_err()[0].what.starts_with("is not TOML"));
}

#[test]
fn a_syntax_error_beside_a_secret_does_not_show_it() {
    let text = "[[xmpp.component]]\nsecret = \"montague-and-capulet\" oops\n";
    let errors = gateway::config::parse(text).expect_err("not TOML").to_string();
    assert!(errors.contains("line 2"), "{errors}");
    assert!(!errors.contains("montague"), "{errors}");
}
