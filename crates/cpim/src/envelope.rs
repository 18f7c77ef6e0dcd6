//! What is said about a message beside its content and its addresses. Both protocols know these attributes, RFC 3860 leaves
//! them to its users, and RFC 3862 has a header for most.

use std::borrow::Cow;
use std::time::Instant;
use time::OffsetDateTime;

/// What a message says about itself; all of it may be absent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Envelope<'a> {
    /// The conversation it belongs to (RFC 6121 section 5.2.5): opaque, compared octet by octet.
    pub thread: Option<Cow<'a, str>>,
    /// When it was written (`DateTime` of RFC 3862), where it says so. It is shown to people and proves nothing.
    pub sent: Option<OffsetDateTime>,
    /// From when on nobody wants it any more (RFC 3428 section 7). The relay lets nothing pass that has expired.
    pub expires: Option<Instant>,
    /// The device its sender used, where that is known.
    pub source_device: Option<Device<'a>>,
    /// The one device of the recipient that it is for; any of them where none is named.
    pub destination_device: Option<Cow<'a, str>>,
    /// What its sender wants to be called (the formal name of `From` in RFC 3862). No decision rests on it.
    pub source_name: Option<Cow<'a, str>>,
    /// An identifier that its sender made unique in the world (XEP-0359).
    pub unique_id: Option<Cow<'a, str>>,
    /// How soon it wants to be read.
    pub urgency: Option<Urgency>,
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
