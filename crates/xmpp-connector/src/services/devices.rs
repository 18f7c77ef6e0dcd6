//! The devices of foreign users that wrote here lately. A SIP user has no presence yet that would show them; whoever got a
//! message from one knows that it is there, and may ask it what it can.

use std::time::{Duration, Instant};
use turn::{Minter, Recent};
use xmpp::jid::JidParts;

/// A device that wrote counts as being there for so long.
const THERE: Duration = Duration::from_secs(3600);
/// Devices that are remembered.
const PLACES: usize = 4096;

/// All of them; takes memory once a device has written.
#[derive(Debug)]
pub(crate) struct Devices {
    minter: Minter,
    recent: Recent<()>,
}

impl Devices {
    pub(crate) fn new(minter: &Minter) -> Self {
        Self { minter: minter.derive("foreign devices"), recent: Recent::new(PLACES, THERE) }
    }

    /// Something was written in the name of `jid`, a full JID in normal form.
    pub(crate) fn wrote(&mut self, now: Instant, jid: &[u8]) {
        let key = self.minter.keyed(&[jid]);
        self.recent.see(now, key);
    }

    /// Whether the resource of a JID is a device that wrote lately.
    pub(crate) fn knows(&self, now: Instant, jid: &JidParts<'_>) -> bool {
        jid.resource.is_some()
            && !self.recent.is_unused()
            && self.recent.find(now, self.minter.keyed(&[jid.to_string().as_bytes()])).is_some()
    }
}
