//! `[journal]`: which messages are kept in the folder of the gateway until they are delivered, and for how long.

use super::reader::{Problems, Table};
use super::{Config, Domain, Mail, MailTls, mail, values};
use figment::value::Value;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// `[journal]`
#[derive(Clone, Debug, PartialEq)]
pub struct Journal {
    /// Where the journal lives. Without it there is none.
    pub folder: Option<PathBuf>,
    /// Messages that may be kept at a time.
    pub max_entries: usize,
    /// Bytes of them in all.
    pub max_octets: usize,
    /// `[[journal.keep]]`, each for another domain. Empty: [`Keep::default`] for every domain.
    pub keep: Vec<Keep>,
    /// `dead_letter_file` and `max_dead_letters`: where messages are written that were given up.
    pub dead_letter_file: Option<DeadLetterFile>,
    /// `[journal.mail]`: where they are sent.
    pub mail: Option<Mail>,
}

/// A file for messages that were given up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeadLetterFile {
    /// Where it is.
    pub path: PathBuf,
    /// Bytes that it may grow to.
    pub limit: u64,
}

/// `[[journal.keep]]`: what is kept of the messages to a domain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Keep {
    /// The domain that the recipient is at home in, in the form of [`cpim::canonical_domain`]; `None` is any.
    pub domain: Option<String>,
    /// Which of its messages.
    pub when: When,
    /// How long.
    pub lifetime: Duration,
    /// How many of one sender for one recipient.
    pub per_conversation: usize,
    /// Bytes of one, with all that is kept of it.
    pub largest: usize,
}

impl Default for Keep {
    fn default() -> Self {
        Self {
            domain: None,
            when: When::Away,
            lifetime: Duration::from_secs(24 * 60 * 60),
            per_conversation: 1000,
            largest: 64 << 10,
        }
    }
}

/// Which messages are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum When {
    /// None.
    Never,
    /// Those that cannot be delivered when they come.
    Away,
    /// Each, before it is sent on.
    Every,
}

/// What is said of keys that need a folder.
const WITHOUT: &str = "has no meaning without journal.folder: nothing is kept";
/// The end of the path of a socket, with its zero, has to fit into so many bytes (unix(7)).
const SOCKET_PATH: usize = 108;
/// No lifetime is longer.
const LONGEST_LIFE: Duration = Duration::from_secs(31 * 24 * 60 * 60);

pub(super) fn read(mut table: Table, folder: &Path, problems: &mut Problems, warnings: &mut Vec<String>) -> Journal {
    const WHEN: &[(&str, When)] = &[("never", When::Never), ("away", When::Away), ("every", When::Every)];
    let place = |value: &Value| values::path(value).map(|path| folder.join(path));
    let max_entries = table.read("max_entries", problems, values::count(1..=10_000_000)).unwrap_or(100_000);
    let mut keep = Vec::new();
    for mut entry in table.tables("keep", problems) {
        let usual = Keep::default();
        let domain = entry.require("domain", problems, "write the domain, or \"*\" for any", |value| {
            if value.as_str() == Some("*") { Ok(None) } else { values::domain(value).map(Some) }
        });
        let when = entry.read("when", problems, values::one_of(WHEN)).unwrap_or(usual.when);
        for key in ["for", "per_conversation", "largest"] {
            if when == When::Never && entry.has(key) {
                problems.add(&entry.key(key), "has no meaning with when = \"never\": leave one of them out");
            }
        }
        let life = Duration::from_secs(1)..=LONGEST_LIFE;
        let lifetime = entry.read("for", problems, values::duration(life)).unwrap_or(usual.lifetime);
        let per_conversation = entry.read("per_conversation", problems, values::count(1..=1_000_000));
        let largest = entry.read("largest", problems, values::size(1 << 10..=1 << 20));
        entry.finish(problems);
        if let Some(domain) = domain {
            keep.push(Keep {
                domain,
                when,
                lifetime,
                // The default is never more than what holds for all.
                per_conversation: per_conversation.unwrap_or(usual.per_conversation.min(max_entries)),
                largest: largest.unwrap_or(usual.largest),
            });
        }
    }
    let path = table.read("dead_letter_file", problems, place);
    let limit = table.read("max_dead_letters", problems, values::size(1 << 20..=1 << 40));
    if path.is_none() && limit.is_some() {
        problems.add(&table.key("max_dead_letters"), "has no meaning without dead_letter_file");
    }
    let has_mail = table.has("mail");
    let mail = mail::read(table.table("mail", problems), has_mail, folder, problems, warnings);
    let folder = table.read("folder", problems, place);
    for key in ["max_entries", "max_octets"] {
        if folder.is_none() && !table.has("folder") && table.has(key) {
            problems.add(&table.key(key), WITHOUT);
        }
    }
    let journal = Journal {
        folder,
        max_entries,
        max_octets: table.read("max_octets", problems, values::size(1 << 20..=1 << 40)).unwrap_or(1 << 30),
        keep,
        dead_letter_file: path.map(|path| DeadLetterFile { path, limit: limit.unwrap_or(1 << 30) as u64 }),
        mail,
    };
    table.finish(problems);
    journal
}

/// `folder` alone.
pub(super) fn folder(mut table: Table, beside: &Path, problems: &mut Problems) -> Option<PathBuf> {
    table.read("folder", problems, |value| values::path(value).map(|path| beside.join(path)))
}

/// What is said is said of messages that can be, and in a place where they can lie.
pub(super) fn check(config: &Config, problems: &mut Problems) {
    let Journal { folder, max_entries, keep, dead_letter_file, mail, .. } = &config.journal;
    match folder {
        Some(folder) => {
            if folder.is_file() {
                problems
                    .add("journal.folder", format!("{} is a file: it must be a folder of its own", folder.display()));
            }
            let socket = folder.join(crate::queue::SOCKET);
            if socket.as_os_str().len() >= SOCKET_PATH {
                let what = format!("is too long: {} must be shorter than {SOCKET_PATH} bytes", socket.display());
                problems.add("journal.folder", what);
            }
            if dead_letter_file.as_ref().is_some_and(|file| file.path.starts_with(folder)) {
                problems.add("journal.dead_letter_file", "lies in journal.folder, which is the journal's alone");
            }
        }
        None => {
            if !keep.is_empty() {
                problems.add("journal.keep", WITHOUT);
            }
            if dead_letter_file.is_some() {
                problems.add("journal.dead_letter_file", WITHOUT);
            }
            if mail.is_some() {
                problems.add("journal.mail", WITHOUT);
            }
        }
    }
    for (place, row) in keep.iter().enumerate() {
        let key = format!("journal.keep[{}]", place + 1);
        is_a_home(row.domain.as_deref(), &config.sip_domains, &config.xmpp_domains, &format!("{key}.domain"), problems);
        if keep[..place].iter().any(|earlier| earlier.domain == row.domain) {
            let name = row.domain.as_deref().unwrap_or("*");
            problems.add(&format!("{key}.domain"), format!("{name:?} stands in an earlier [[journal.keep]] already"));
        }
        if row.when != When::Never && row.per_conversation > *max_entries {
            let what = format!("= {} is more than journal.max_entries, {max_entries}", row.per_conversation);
            problems.add(&format!("{key}.per_conversation"), what);
        }
    }
}

/// What is allowed, and may not be what is meant.
pub(super) fn warn(journal: &Journal, warnings: &mut Vec<String>) {
    if journal.folder.is_some() && !journal.keep.is_empty() && journal.keep.iter().all(|row| row.when == When::Never) {
        warnings.push("journal.folder is set, and nothing is kept: every [[journal.keep]] says \"never\"".into());
    }
    let Some(mail) = journal.mail.as_ref().filter(|mail| mail.tls == MailTls::None && !mail.is_local()) else { return };
    warnings.push(format!(
        "journal.mail.tls = \"none\" with {}, on another machine: what people wrote goes there in the clear{}",
        mail.host,
        if mail.credentials.is_some() { ", and so does the password" } else { "" }
    ));
}

/// Recipients have one address in the journal: that of their home.
fn is_a_home(name: Option<&str>, sip: &[Domain], xmpp: &[Domain], key: &str, problems: &mut Problems) {
    let Some(name) = name else { return };
    let mut all = sip.iter().chain(xmpp);
    if all.clone().any(|domain| domain.name.as_deref() == Some(name)) {
        return;
    }
    if all.clone().any(|domain| domain.shown_as.as_deref() == Some(name)) {
        problems.add(key, format!("{name:?} is where users of other domains are shown: write the domain of theirs"));
    } else if !all.any(|domain| domain.name.is_none()) {
        let what = format!("{name:?} is no [[sip_domain]] and no [[xmpp_domain]], so that this could never match");
        problems.add(key, what);
    }
}
