//! What is kept for whom.

use cpim::DomainPattern;
use std::time::Duration;

/// What can be set.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    /// For which destinations messages are kept; the first that matches counts, and where none does nothing is kept.
    pub keep: Vec<Keep>,
    /// Most entries at a time.
    pub max_entries: usize,
    /// Most octets of all entries.
    pub max_octets: usize,
    /// Who is there for messages that were accepted and cannot be delivered: they are handed over before they are forgotten.
    pub dead_letters: bool,
}

/// What is kept for the users of a domain.
#[derive(Clone, Debug)]
pub struct Keep {
    /// The domain of the destination, in the form of [`cpim::canonical_domain`].
    pub domain: DomainPattern,
    /// When a message for them is kept.
    pub when: When,
    /// How long it is kept, where it does not expire earlier.
    pub lifetime: Duration,
    /// Most entries of one conversation.
    pub per_conversation: usize,
    /// Most octets of a message with all that is kept of it.
    pub largest: usize,
}

/// When a message is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum When {
    /// Never.
    Never,
    /// Once it is known that its destination is away, or not known whether it has arrived.
    Away,
    /// From its arrival on, until its fate is known.
    Every,
}

impl Settings {
    /// What is kept for a destination in `domain`.
    pub(super) fn keep(&self, domain: &str) -> Option<&Keep> {
        self.keep.iter().find(|keep| keep.domain.matches(domain)).filter(|keep| keep.when != When::Never)
    }
}
