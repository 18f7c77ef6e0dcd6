//! `<iq/>` (RFC 6120 section 8.2.3).

use super::{Common, Error, error};
use crate::ns;
use std::borrow::Cow;
use xml::Reader;

/// A request or its answer.
#[derive(Clone, Debug)]
pub struct Iq<'a> {
    /// The sender, as written.
    pub from: Option<Cow<'a, str>>,
    /// The recipient, as written.
    pub to: Option<Cow<'a, str>>,
    /// Its id, which the RFC demands.
    pub id: Option<Cow<'a, str>>,
    /// `type`.
    pub kind: IqType,
    /// `xml:lang` of the stanza itself.
    pub lang: Option<Cow<'a, str>>,
    /// The first child that is not `<error/>`.
    pub payload: Option<Payload<'a>>,
    /// Children that are not `<error/>`. A request must have exactly one; any other number is a `bad-request`.
    pub payloads: usize,
    /// `<error/>`.
    pub error: Option<Error<'a>>,
    /// Its octets.
    pub raw: &'a [u8],
}

/// `type` of an iq.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IqType {
    /// Asks.
    Get,
    /// Changes.
    Set,
    /// Answers.
    Result,
    /// Answers that it did not work.
    Error,
    /// Absent, or a value that the RFC does not define: a `bad-request`.
    Unknown,
}

impl IqType {
    /// The value of the attribute.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Get => "get",
            Self::Set => "set",
            Self::Result => "result",
            Self::Error | Self::Unknown => "error",
        }
    }
}

/// What an iq is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Payload<'a> {
    /// Its namespace.
    pub ns: Cow<'a, str>,
    /// Its local name.
    pub name: &'a str,
    /// Its attribute `node`, which service discovery uses (XEP-0030).
    pub node: Option<Cow<'a, str>>,
    /// Its octets. A prefix in them may be declared outside of them.
    pub raw: &'a [u8],
}

impl Iq<'_> {
    /// Whether it is a request of that payload.
    pub fn asks(&self, kind: IqType, ns: &str, name: &str) -> bool {
        self.kind == kind && self.payload.as_ref().is_some_and(|payload| payload.ns == ns && payload.name == name)
    }

    /// Whether it is a request, so that it must be answered.
    pub fn is_request(&self) -> bool {
        matches!(self.kind, IqType::Get | IqType::Set)
    }
}

/// `<iq/>`, which has begun.
pub(super) fn parse<'a>(reader: &mut Reader<'a, '_>, raw: &'a [u8]) -> Result<Iq<'a>, xml::Error> {
    let common = Common::parse(reader)?;
    let kind = match common.kind.as_deref() {
        Some("get") => IqType::Get,
        Some("set") => IqType::Set,
        Some("result") => IqType::Result,
        Some("error") => IqType::Error,
        _ => IqType::Unknown,
    };
    let mut iq = Iq {
        from: common.from,
        to: common.to,
        id: common.id,
        lang: common.lang,
        kind,
        payload: None,
        payloads: 0,
        error: None,
        raw,
    };
    while reader.next_child()? {
        if reader.name() == "error" && ns::is_content(reader.namespace()) {
            let error = error::parse(reader)?;
            iq.error.get_or_insert(error);
            continue;
        }
        iq.payloads += 1;
        let (ns, name, node) = (reader.namespace_of_data(), reader.name(), reader.attribute("node")?);
        let raw = reader.skip_element()?;
        iq.payload.get_or_insert(Payload { ns, name, node, raw });
    }
    Ok(iq)
}
