//! What is said about a message beside its content and its addresses. Both protocols know these attributes, RFC 3860 leaves
//! them to its users, and RFC 3862 has a header for most.

use std::borrow::Cow;
use std::time::Instant;
use time::OffsetDateTime;

/// What a message says about itself; all of it may be absent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Envelope<'a> {
    /// The conversation it belongs to.
    pub thread: Option<Thread<'a>>,
    /// When it was written (`DateTime` of RFC 3862), where it says so. It is shown to people and proves nothing.
    pub sent: Option<OffsetDateTime>,
    /// From when on nobody wants it any more (RFC 3428 section 7). The relay lets nothing pass that has expired.
    pub expires: Option<Instant>,
    /// The device its sender used, where that is known.
    pub source_device: Option<Device<'a>>,
    /// The one device of the recipient that it is for; any of them where none is named.
    pub destination_device: Option<Cow<'a, str>>,
    /// What its sender wants to be called (the formal name of `From` in RFC 3862), as [`clean_name`] leaves it. No decision
    /// rests on it.
    pub source_name: Option<Cow<'a, str>>,
    /// An identifier that its sender made unique in the world (XEP-0359).
    pub unique_id: Option<Cow<'a, str>>,
    /// How soon it wants to be read.
    pub urgency: Option<Urgency>,
    /// What its sender allows to those who hold it on the way.
    pub keeping: Keeping,
}

/// Where a message may be kept by whoever cannot hand it on at once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Keeping {
    /// Wherever policy wants.
    #[default]
    Anywhere,
    /// Until it is delivered or too old, and no longer (XEP-0334 section 4.1).
    NotForGood,
    /// Nowhere (XEP-0334 section 4.2; `Store` of XEP-0131).
    Nowhere,
}

/// A conversation (RFC 6121 section 5.2.5): opaque, compared octet by octet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Thread<'a> {
    /// One that has a name on the XMPP side.
    Named(Cow<'a, str>),
    /// One that has none there yet: a keyed hash of what its sender calls it, which may be the name of one message only, and
    /// may say where he is.
    Unnamed(u128),
}

/// One device of a user: a resource (RFC 7622), or a GRUU (RFC 5627).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Device<'a> {
    /// Its name, unescaped.
    pub name: Cow<'a, str>,
    /// Another device of the same user is there whose name differs from this one's by case only.
    pub differs_by_case: bool,
}

/// How soon a message wants to be read (XEP-0131 section 5.6, Priority of RFC 3261).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the words of XEP-0131")]
pub enum Urgency {
    Low,
    Medium,
    High,
}

/// Longer names of people are cut.
const LONGEST_NAME: usize = 128;

/// The name of a person as it may be shown to another one: one line, without characters that cannot be seen or that turn the
/// direction of what stands around it; cut where it is long. `None` where nothing is left.
pub fn clean_name(name: &str) -> Option<Cow<'_, str>> {
    let is_hidden = |c: char| {
        c.is_control() || matches!(c, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    let name = name.trim();
    let name = name.get(..name.floor_char_boundary(LONGEST_NAME)).unwrap_or_default();
    let shown = if name.contains(is_hidden) {
        let visible: String =
            name.chars().map(|c| if c.is_control() { ' ' } else { c }).filter(|&c| !is_hidden(c)).collect();
        Cow::Owned(visible.trim().to_owned())
    } else {
        Cow::Borrowed(name)
    };
    (!shown.is_empty()).then_some(shown)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_cleaned() {
        for (name, clean) in [
            ("Juliet", Some("Juliet")),
            ("  Juliet Capulet ", Some("Juliet Capulet")),
            ("\u{5d9}\u{5d5}\u{5dc}", Some("\u{5d9}\u{5d5}\u{5dc}")),
            ("a\r\nVia: b\0", Some("a  Via: b")),
            ("admin\u{202e}nimda", Some("adminnimda")),
            ("", None),
            (" \u{202e}\t ", None),
        ] {
            assert_eq!(clean_name(name).as_deref(), clean, "{name:?}");
        }
        assert_eq!(clean_name(&"\u{e9}".repeat(100)).unwrap().len(), LONGEST_NAME);
        assert_eq!(clean_name(&format!("x{}", "\u{e9}".repeat(100))).unwrap().len(), LONGEST_NAME - 1);
    }
}
