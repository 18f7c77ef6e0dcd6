//! What is tried on arbitrary octets: one function for each fuzz target, which panics where a promise is broken.
//!
//! The fuzzer (`fuzz/`) calls them with what it makes up, and a test replays what it has found before.

mod content;
mod engine;
mod sip;
mod xmpp;

pub mod corpus;

use std::time::{Duration, Instant, SystemTime};
use turn::Calendar;

/// A target: its name, which is that of its corpus, and what it does.
pub type Target = (&'static str, fn(&[u8]));

/// All targets.
pub const TARGETS: &[Target] = &[
    ("sip_message", sip::message),
    ("sip_framing", sip::framing),
    ("sip_uri", sip::uri),
    ("xml_framer", xmpp::framer),
    ("xmpp_stanza", xmpp::stanza),
    ("jid", xmpp::jid),
    ("message_cpim", content::message_cpim),
    ("content", content::presented),
    ("engine", engine::engine),
];

/// A calendar, and a moment in it.
#[allow(clippy::disallowed_methods, reason = "somewhere time has to begin")]
fn today() -> (Calendar, Instant) {
    let now = Instant::now();
    // 2026-11-20T19:00:00Z
    (Calendar::new(now, SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(1_795_201_200))), now)
}

/// Tries a target on some octets.
///
/// # Panics
///
/// Where the program breaks a promise, or there is no such target.
pub fn try_on(target: &str, data: &[u8]) {
    let (_, run) = TARGETS.iter().find(|(name, _)| *name == target).unwrap_or_else(|| panic!("no target {target}"));
    run(data);
}
