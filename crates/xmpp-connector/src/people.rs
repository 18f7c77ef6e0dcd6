//! Who writes to whom, as far as it was seen: which devices of an XMPP user are there, and which conversations go on
//! (RFC 6121 section 5.1).
//!
//! Both are memories of a fixed size and time. A row that is forgotten costs nobody a message: what is then written goes to
//! the bare JID as `normal`, as the first message of RFC 7572 does.

use cpim::Device;
use std::time::{Duration, Instant};
use turn::{Minter, Recent};
use xmpp::jid::JidParts;

/// A device that was seen counts as being there for so long, if nothing says otherwise.
const THERE: Duration = Duration::from_secs(3600);
/// Two who wrote to each other within this time know each other.
const ACQUAINTED: Duration = Duration::from_secs(24 * 3600);
/// Users and conversations that are remembered.
const PLACES: usize = 4096;
/// Devices of one user that are remembered.
const DEVICES: usize = 4;
/// Longer names of devices and of threads are not remembered.
const LONGEST: usize = 256;

/// A device of a user, and when it was seen or left.
#[derive(Clone, Debug)]
struct Seen {
    resource: String,
    at: Instant,
    gone: bool,
}

/// What is known of a device that somebody writes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Meant<'s> {
    /// It is there; its name as it is written.
    There(&'s str),
    /// It left, not long ago.
    Gone,
    /// Nothing, or two could be meant.
    Unknown,
}

/// What an XMPP user and somebody of the other world have to do with each other.
#[derive(Clone, Debug, Default)]
struct Conversation {
    /// The last text from XMPP was part of a chat, and when it was.
    chat: Option<Instant>,
    /// The device that wrote it; empty once it is not known to be the one any more.
    resource: String,
    /// Its thread; empty if it had none.
    thread: String,
}

/// Where what continues a conversation goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Continued<'s> {
    /// The device that wrote last.
    pub(crate) resource: Option<&'s str>,
    /// The thread of what it wrote.
    pub(crate) thread: Option<&'s str>,
}

/// An XMPP user and somebody of the other world.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Pair(u128);

/// All of it.
#[derive(Debug)]
pub(crate) struct People {
    minter: Minter,
    devices: Recent<Vec<Seen>>,
    conversations: Recent<Conversation>,
}

impl People {
    pub(crate) fn new(minter: &Minter) -> Self {
        Self {
            minter: minter.derive("people"),
            devices: Recent::new(PLACES, THERE),
            conversations: Recent::new(PLACES, ACQUAINTED),
        }
    }

    fn user(&self, jid: &JidParts<'_>) -> u128 {
        self.minter.keyed(&[b"user", local(jid), jid.domain.as_bytes()])
    }

    /// The name under which a conversation of these two is remembered.
    pub(crate) fn pair(&self, jid: &JidParts<'_>, foreign: &JidParts<'_>) -> Pair {
        let (user, other) = (jid.domain.as_bytes(), foreign.domain.as_bytes());
        Pair(self.minter.keyed(&[b"pair", local(jid), user, local(foreign), other]))
    }

    /// A device of `jid` wrote to `foreign`, with this thread if it is part of a chat. Gives the device.
    pub(crate) fn wrote<'a>(
        &mut self,
        now: Instant,
        jid: &JidParts<'a>,
        foreign: &JidParts<'_>,
        chat: Option<Option<&str>>,
    ) -> Option<Device<'a>> {
        let pair = self.pair(jid, foreign);
        let (conversation, _) = self.conversations.touch(now, pair.0);
        let resource = jid.resource.as_deref().filter(|resource| resource.len() <= LONGEST);
        conversation.chat = chat.map(|_| now);
        set(&mut conversation.resource, resource);
        set(&mut conversation.thread, chat.flatten().filter(|thread| thread.len() <= LONGEST));
        let name = jid.resource.clone()?;
        let differs_by_case = self.saw(now, jid);
        Some(Device { name, differs_by_case })
    }

    /// A device shows that it is there. Tells whether another one differs from it by case only.
    fn saw(&mut self, now: Instant, jid: &JidParts<'_>) -> bool {
        let Some(resource) = jid.resource.as_deref().filter(|resource| resource.len() <= LONGEST) else { return false };
        let user = self.user(jid);
        let (devices, known) = self.devices.touch(now, user);
        if !known {
            devices.clear();
        }
        if let Some(device) = devices.iter_mut().find(|device| device.resource == resource) {
            (device.at, device.gone) = (now, false);
        } else if devices.len() < DEVICES {
            devices.push(Seen { resource: resource.to_owned(), at: now, gone: false });
        } else if let Some(oldest) = devices.iter_mut().min_by_key(|device| device.at) {
            set(&mut oldest.resource, Some(resource));
            (oldest.at, oldest.gone) = (now, false);
        }
        let is_like = |device: &Seen| device.resource != resource && device.resource.eq_ignore_ascii_case(resource);
        devices.iter().any(|device| is_there(now, device) && is_like(device))
    }

    /// Presence of a device towards somebody: it is there or no longer there. A chat with another device, or with one that
    /// is no longer there, is not bound to it any more (RFC 6121 section 5.1).
    pub(crate) fn on_presence(&mut self, now: Instant, jid: &JidParts<'_>, foreign: &JidParts<'_>, available: bool) {
        let Some(resource) = jid.resource.as_deref() else { return };
        let pair = self.pair(jid, foreign);
        if let Some(conversation) = self.conversations.find_mut(now, pair.0)
            && (conversation.resource == resource) != available
        {
            conversation.resource.clear();
        }
        if available {
            self.saw(now, jid);
        } else {
            self.forget(now, jid);
        }
    }

    /// A device said that a message for it did not arrive: nothing more is sent to it alone.
    pub(crate) fn is_gone(&mut self, now: Instant, jid: &JidParts<'_>, foreign: &JidParts<'_>) {
        self.on_presence(now, jid, foreign, false);
    }

    fn forget(&mut self, now: Instant, jid: &JidParts<'_>) {
        let user = self.user(jid);
        let devices = self.devices.find_mut(now, user).into_iter().flatten();
        for device in devices.filter(|device| Some(&*device.resource) == jid.resource.as_deref()) {
            (device.at, device.gone) = (now, true);
        }
    }

    /// The device of `jid` that is meant by `name`: the one of this very name, or the only one whose name differs from it by
    /// case, as `gr` is compared.
    pub(crate) fn device(&self, now: Instant, jid: &JidParts<'_>, name: &str) -> Meant<'_> {
        let Some(devices) = self.devices.find(now, self.user(jid)) else { return Meant::Unknown };
        let recent = || devices.iter().filter(|device| is_recent(now, device));
        let meant = recent().find(|device| device.resource == name).or_else(|| {
            let mut alike = recent().filter(|device| device.resource.eq_ignore_ascii_case(name));
            alike.next().filter(|_| alike.next().is_none())
        });
        match meant {
            Some(device) if device.gone => Meant::Gone,
            Some(device) => Meant::There(&device.resource),
            None => Meant::Unknown,
        }
    }

    /// The chat of two, if one goes on.
    pub(crate) fn chat(&self, now: Instant, pair: Pair) -> Option<Continued<'_>> {
        let conversation = self.conversations.find(now, pair.0)?;
        conversation.chat.filter(|&at| now.saturating_duration_since(at) < THERE)?;
        Some(Continued {
            resource: Some(&*conversation.resource).filter(|resource| !resource.is_empty()),
            thread: Some(&*conversation.thread).filter(|thread| !thread.is_empty()),
        })
    }

    /// Whether the one of the other world writes without having been in contact before (XEP-0172 section 4.2). From now on
    /// they are.
    pub(crate) fn is_first_contact(&mut self, now: Instant, pair: Pair) -> bool {
        if self.conversations.find(now, pair.0).is_some() {
            return false;
        }
        let (conversation, _) = self.conversations.touch(now, pair.0);
        conversation.chat = None;
        set(&mut conversation.resource, None);
        set(&mut conversation.thread, None);
        true
    }
}

fn local<'j>(jid: &'j JidParts<'_>) -> &'j [u8] {
    jid.local.as_deref().unwrap_or_default().as_bytes()
}

fn is_there(now: Instant, device: &Seen) -> bool {
    !device.gone && is_recent(now, device)
}

fn is_recent(now: Instant, device: &Seen) -> bool {
    now.saturating_duration_since(device.at) < THERE
}

/// Sets a text in the memory that it has.
fn set(text: &mut String, value: Option<&str>) {
    text.clear();
    text.push_str(value.unwrap_or_default());
}
