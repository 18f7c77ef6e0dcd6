//! `<presence/>` (RFC 6121 section 4).

use super::{Common, Delay, Error, Texts, delay, error, localized};
use crate::ns;
use std::borrow::Cow;
use xml::Reader;

/// A presence stanza.
#[derive(Clone, Debug, Default)]
pub struct Presence<'a> {
    /// The sender, as written.
    pub from: Option<Cow<'a, str>>,
    /// The recipient, as written.
    pub to: Option<Cow<'a, str>>,
    /// Its id.
    pub id: Option<Cow<'a, str>>,
    /// `type`.
    pub kind: PresenceType,
    /// `xml:lang` of the stanza itself.
    pub lang: Option<Cow<'a, str>>,
    /// `<show/>`; what the RFC does not define is left out.
    pub show: Option<Show>,
    /// `<status/>`, one for each language.
    pub statuses: Texts<'a>,
    /// `<priority/>`; zero where it is absent or no number.
    pub priority: i8,
    /// It was held back (XEP-0203): when it was sent.
    pub delay: Option<Delay<'a>>,
    /// `<error/>`.
    pub error: Option<Error<'a>>,
    /// It holds elements that are none of the above.
    pub has_other_payload: bool,
    /// Its octets.
    pub raw: &'a [u8],
}

/// `type` of a presence stanza (RFC 6121 section 4.7.1).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PresenceType {
    /// No `type`: the sender is available.
    #[default]
    Available,
    /// The sender is no longer available.
    Unavailable,
    /// The sender wants to subscribe.
    Subscribe,
    /// The sender allows it.
    Subscribed,
    /// The sender subscribes no more.
    Unsubscribe,
    /// The sender denies or ends it.
    Unsubscribed,
    /// A server asks for the current presence.
    Probe,
    /// An error about a presence sent earlier.
    Error,
    /// A value that the RFC does not define.
    Unknown,
}

impl PresenceType {
    /// The value of the attribute; empty where there is none to write.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Available | Self::Unknown => "",
            Self::Unavailable => "unavailable",
            Self::Subscribe => "subscribe",
            Self::Subscribed => "subscribed",
            Self::Unsubscribe => "unsubscribe",
            Self::Unsubscribed => "unsubscribed",
            Self::Probe => "probe",
            Self::Error => "error",
        }
    }

    fn parse(value: &str) -> Self {
        match value {
            "unavailable" => Self::Unavailable,
            "subscribe" => Self::Subscribe,
            "subscribed" => Self::Subscribed,
            "unsubscribe" => Self::Unsubscribe,
            "unsubscribed" => Self::Unsubscribed,
            "probe" => Self::Probe,
            "error" => Self::Error,
            _ => Self::Unknown,
        }
    }
}

/// `<show/>` (RFC 6121 section 4.7.2.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Show {
    /// Away for a short time.
    Away,
    /// Wants to chat.
    Chat,
    /// Do not disturb.
    Dnd,
    /// Away for long.
    Xa,
}

impl Show {
    /// The text of the element.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Away => "away",
            Self::Chat => "chat",
            Self::Dnd => "dnd",
            Self::Xa => "xa",
        }
    }

    fn parse(value: &str) -> Option<Self> {
        [Self::Away, Self::Chat, Self::Dnd, Self::Xa].into_iter().find(|show| show.as_str() == value)
    }
}

/// `<presence/>`, which has begun.
pub(super) fn parse<'a>(reader: &mut Reader<'a, '_>, raw: &'a [u8]) -> Result<Presence<'a>, xml::Error> {
    let common = Common::parse(reader)?;
    let mut presence = Presence {
        from: common.from,
        to: common.to,
        id: common.id,
        lang: common.lang,
        kind: common.kind.as_deref().map_or(PresenceType::Available, PresenceType::parse),
        raw,
        ..Presence::default()
    };
    while reader.next_child()? {
        match (reader.name(), reader.namespace()) {
            ("show", space) if ns::is_content(space) => {
                let show = Show::parse(reader.text_content()?.trim());
                presence.show = presence.show.or(show);
            }
            ("status", space) if ns::is_content(space) => presence.statuses.push(localized(reader)?),
            ("priority", space) if ns::is_content(space) => {
                presence.priority = reader.text_content()?.trim().parse().unwrap_or(0);
            }
            ("error", space) if ns::is_content(space) => {
                let error = error::parse(reader)?;
                presence.error.get_or_insert(error);
            }
            ("delay", ns::DELAY) => {
                let delay = delay(reader)?;
                presence.delay = presence.delay.take().or(delay);
            }
            _ => {
                presence.has_other_payload = true;
                reader.skip_element()?;
            }
        }
    }
    Ok(presence)
}
