//! `[journal]` as operators write it, and as they get it wrong.
#![allow(clippy::unwrap_used)]

use gateway::config::{Config, Keep, MailTls, Overrides, Problem, When, load, parse};
use secrecy::ExposeSecret;
use std::path::Path;
use std::time::Duration;

/// The least that works, with names on both sides.
const LEAST: &str = r#"
[sip]
next_hop = "udp:proxy.example:5060"
[[xmpp.component]]
domain = "sip.example"
connect = "localhost:5347"
secret = "x"
[[sip_domain]]
name = "sip.example"
[[xmpp_domain]]
name = "xmpp.example"
[[xmpp_domain]]
name = "b.example"
rule = "encode"
as_sip = "gw.example"
"#;

fn read(more: &str) -> Config {
    parse(&format!("{LEAST}{more}")).unwrap_or_else(|errors| panic!("{errors}\nin\n{more}"))
}

fn wrong(more: &str) -> Vec<Problem> {
    match parse(&format!("{LEAST}{more}")) {
        Ok(config) => panic!("taken: {:#?}", config.journal),
        Err(errors) => errors.0,
    }
}

#[test]
fn a_folder_alone_keeps_what_is_for_those_who_are_away() {
    let none = read("").journal;
    assert_eq!((none.folder, none.keep), (None, Vec::new()));
    let journal = read("[journal]\nfolder = \"/var/lib/entente/journal\"\n").journal;
    assert_eq!(journal.folder.as_deref(), Some(Path::new("/var/lib/entente/journal")));
    assert_eq!((journal.max_entries, journal.max_octets), (100_000, 1 << 30));
    assert!(journal.keep.is_empty() && journal.dead_letter_file.is_none());
    let usual = Keep::default();
    assert_eq!((usual.domain, usual.when, usual.lifetime), (None, When::Away, Duration::from_secs(86_400)));
    assert_eq!((usual.per_conversation, usual.largest), (1000, 65_536));
}

#[test]
fn each_domain_may_have_rules_of_its_own() {
    let journal = read(
        "[journal]\nfolder = \"j\"\nmax_entries = 500\nmax_octets = \"2 MiB\"\ndead_letter_file = \"dead\"\n\
         [[journal.keep]]\ndomain = \"*\"\nwhen = \"never\"\n\
         [[journal.keep]]\ndomain = \"SIP.example.\"\nwhen = \"every\"\nfor = \"2d\"\nper_conversation = 5\nlargest = \"1 KiB\"\n\
         [[journal.keep]]\ndomain = \"b.example\"\n",
    )
    .journal;
    assert_eq!((journal.max_entries, journal.max_octets), (500, 2 << 20));
    let dead = journal.dead_letter_file.unwrap();
    assert_eq!((&*dead.path, dead.limit), (Path::new("dead"), 1 << 30));
    let sip = Keep {
        domain: Some("sip.example".into()),
        when: When::Every,
        lifetime: Duration::from_secs(172_800),
        per_conversation: 5,
        largest: 1024,
    };
    // What holds for all bounds the defaults too.
    let never = Keep { when: When::Never, per_conversation: 500, ..Keep::default() };
    let b = Keep { domain: Some("b.example".into()), per_conversation: 500, ..Keep::default() };
    assert_eq!(journal.keep, [never, sip, b]);
}

#[test]
fn its_paths_are_looked_for_beside_the_configuration() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("gateway.toml");
    std::fs::write(&path, format!("{LEAST}[journal]\nfolder = \"journal\"\ndead_letter_file = \"/dead\"\n")).unwrap();
    let journal = load(&path, &Overrides::default()).unwrap().journal;
    assert_eq!(journal.folder.unwrap(), folder.path().join("journal"));
    assert_eq!(journal.dead_letter_file.unwrap().path, Path::new("/dead"));
}

#[test]
fn what_makes_no_sense_is_refused_with_its_place_and_reason() {
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml");
    let long = format!("/{}", "x".repeat(110));
    let journal = |rest: &str| format!("[journal]\nfolder = \"j\"\n{rest}\n");
    let keep = |rest: &str| journal(&format!("[[journal.keep]]\ndomain = \"xmpp.example\"\n{rest}"));
    let mail = |rest: &str| {
        let usual = ["server = \"mail.example:25\"", "from = \"a@example.org\"", "to = \"b@example.org\""];
        let name = |line: &str| line.split(' ').next().unwrap_or_default().to_owned();
        let others = usual.iter().filter(|line| !rest.lines().any(|given| name(given) == name(line)));
        let others: Vec<&str> = others.copied().collect();
        journal(&format!("[journal.mail]\n{}\n{rest}", others.join("\n")))
    };
    for (text, key, what) in [
        ("[[journal.keep]]\ndomain = \"*\"\n".into(), "journal.keep", "no meaning without journal.folder"),
        ("[journal]\ndead_letter_file = \"d\"\n".into(), "journal.dead_letter_file", "without journal.folder"),
        ("[journal]\nmax_entries = 5\n".into(), "journal.max_entries", "without journal.folder"),
        ("[journal]\nmax_octets = \"2 MiB\"\n".into(), "journal.max_octets", "without journal.folder"),
        ("[journal]\nfolder = \"\"\n".into(), "journal.folder", "must be a path"),
        ("[journal]\nfolder = [\"a\", \"b\"]\n".into(), "journal.folder", "must be text"),
        (format!("[journal]\nfolder = \"{file}\"\n"), "journal.folder", "is a file"),
        (format!("[journal]\nfolder = \"{long}\"\n"), "journal.folder", "must be shorter than 108 bytes"),
        (journal("dead_letter_file = \"j/dead\""), "journal.dead_letter_file", "the journal's alone"),
        (journal("max_entries = 0"), "journal.max_entries", "from 1 to 10000000"),
        (journal("max_octets = \"1 KiB\""), "journal.max_octets", "from 1048576 B"),
        (journal("[[journal.keep]]\nwhen = \"away\""), "journal.keep[1].domain", "is missing"),
        (keep("when = \"always\""), "journal.keep[1].when", "\"never\" or \"away\" or \"every\""),
        (keep("for = \"0s\""), "journal.keep[1].for", "must be from 1s to 31d"),
        (keep("for = \"32d\""), "journal.keep[1].for", "must be from 1s to 31d"),
        (keep("for = 5"), "journal.keep[1].for", "with ms, s, min, h or d"),
        (keep("per_conversation = 0"), "journal.keep[1].per_conversation", "from 1 to"),
        (
            keep("per_conversation = 200000"),
            "journal.keep[1].per_conversation",
            "more than journal.max_entries, 100000",
        ),
        (keep("largest = \"0 B\""), "journal.keep[1].largest", "from 1024 B to 1048576 B"),
        (keep("largest = \"2 MiB\""), "journal.keep[1].largest", "to 1048576 B"),
        (keep("when = \"never\"\nfor = \"1h\""), "journal.keep[1].for", "leave one of them out"),
        (keep("when = \"never\"\nlargest = \"1 KiB\""), "journal.keep[1].largest", "leave one of them out"),
        (keep("[[journal.keep]]\ndomain = \"XMPP.example\""), "journal.keep[2].domain", "stands in an earlier"),
        (journal("[[journal.keep]]\ndomain = \"c.example\""), "journal.keep[1].domain", "could never match"),
        (journal("[[journal.keep]]\ndomain = \"gw.example\""), "journal.keep[1].domain", "write the domain of theirs"),
        (
            "[journal]\n[journal.mail]\nserver = \"a:25\"\nfrom = \"a@b.c\"\nto = \"a@b.c\"\n".into(),
            "journal.mail",
            "without journal",
        ),
        (journal("max_dead_letters = \"2 GiB\""), "journal.max_dead_letters", "without dead_letter_file"),
        (
            journal("dead_letter_file = \"d\"\nmax_dead_letters = \"1 KiB\""),
            "journal.max_dead_letters",
            "from 1048576 B",
        ),
        (journal("mail = \"postmaster@example.org\""), "journal.mail", "write [journal.mail]"),
        (journal("[journal.mail]"), "journal.mail.server", "is missing"),
        (journal("[journal.mail]"), "journal.mail.from", "is missing"),
        (journal("[journal.mail]"), "journal.mail.to", "is missing"),
        (mail("server = \"mail.example\""), "journal.mail.server", "must be HOST:PORT"),
        (mail("tls = \"ssl\""), "journal.mail.tls", "\"starttls\" or \"tls\" or \"none\""),
        (mail("to = \"postmaster\""), "journal.mail.to", "must be an address"),
        (mail("from = \"m\u{fc}ller@example.org\""), "journal.mail.from", "in ASCII"),
        (mail("username = \"\"\npassword = \"x\""), "journal.mail.username", "text of 1 to 255"),
        (mail("username = \"entente\""), "journal.mail.password", "is missing"),
        (mail("password = \"mercutio\""), "journal.mail.password", "without username"),
        (mail("authorities = \"/none\""), "journal.mail.authorities", "cannot be read from /none"),
        (mail(&format!("authorities = \"{file}\"")), "journal.mail.authorities", "no certificate"),
        (
            mail(&format!("tls = \"none\"\nauthorities = \"{file}\"")),
            "journal.mail.authorities",
            "leave one of them out",
        ),
        (mail("host = \"a\""), "journal.mail.host", "known are server, tls"),
        (keep("age = \"1h\""), "journal.keep[1].age", "known are domain, when, for"),
    ] {
        let told = wrong(&text);
        let found = told.iter().any(|problem| problem.key == key && problem.what.contains(what));
        assert!(found, "{text}\n{told:#?}");
    }
}

#[test]
fn a_journal_that_keeps_nothing_is_told_as_a_warning() {
    let never = "[[journal.keep]]\ndomain = \"*\"\nwhen = \"never\"\n";
    let away = "[[journal.keep]]\ndomain = \"xmpp.example\"\n";
    for (rest, warned) in [(String::new(), false), (never.into(), true), (format!("{never}{away}"), false)] {
        let warnings = read(&format!("[journal]\nfolder = \"j\"\n{rest}")).warnings;
        assert_eq!(warnings.iter().any(|told| told.contains("nothing is kept")), warned, "{rest}: {warnings:?}");
    }
}

#[test]
fn a_mail_server_is_described_in_a_section_of_its_own() {
    let read = |rest: &str| {
        let more = "[journal]\nfolder = \"j\"\n[journal.mail]\nfrom = \"entente@example.org\"\nto = \"postmaster@example.org\"\n";
        let config = read(&format!("{more}{rest}"));
        (config.journal.mail.unwrap(), config.warnings)
    };
    let (mail, warnings) =
        read("server = \"[2001:db8::1]:465\"\ntls = \"tls\"\nusername = \"entente\"\npassword = \"mercutio\"");
    assert_eq!((&*mail.host, mail.port, mail.tls), ("2001:db8::1", 465, MailTls::Tls));
    assert_eq!(
        (mail.from.to_string(), mail.to.to_string()),
        ("entente@example.org".into(), "postmaster@example.org".into())
    );
    let (name, password) = mail.credentials.as_ref().unwrap();
    assert_eq!((&**name, password.expose_secret()), ("entente", "mercutio"));
    assert!(!format!("{mail:?}").contains("mercutio"));
    // The one of every component, and this one.
    assert_eq!(warnings.iter().filter(|told| told.contains("stands in the configuration itself")).count(), 2);

    let (mail, warnings) = read("server = \"mail.example:587\"");
    assert!(mail.tls == MailTls::StartTls && mail.credentials.is_none() && mail.authorities.is_none());
    assert!(!warnings.iter().any(|told| told.contains("journal.mail")), "{warnings:?}");
    for (server, warned) in
        [("mail.example:25", true), ("localhost:25", false), ("127.0.0.1:25", false), ("[::1]:25", false)]
    {
        let (_, warnings) = read(&format!("server = \"{server}\"\ntls = \"none\""));
        assert_eq!(warnings.iter().any(|told| told.contains("in the clear")), warned, "{server}: {warnings:?}");
    }
    // Another password is another mail server.
    let password = |word: &str| read(&format!("server = \"a:25\"\nusername = \"e\"\npassword = \"{word}\"")).0;
    assert!(password("tybalt") == password("tybalt") && password("tybalt") != password("mercutio"));
}
