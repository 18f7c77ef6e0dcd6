//! message/cpim, the common message format (RFC 3862): read here, written in [`write`].
//!
//! ```text
//!  From: MR SANDERS <im:piglet@100akerwood.com>      message headers: one line each, CRLF, one space behind the colon
//!  Subject:;lang=fr beau temps
//!
//!  Content-Type: text/plain; charset=utf-8           the MIME entity
//!
//!  the weather will be fine today
//! ```
//!
//! What is read borrows from the octets that were received, and prints as exactly these octets: a message/cpim may be signed
//! and is never changed (RFC 3862 section 6). Reading is as strict as the RFC, because "very strict adherence to the message
//! format (including whitespace usage) may be needed to achieve interoperability" (section 7.1); what it wants tolerated is
//! tolerated: unknown headers, unknown escapes, lines of any length.

mod address;
mod escape;
mod write;

pub use address::Address;
pub use escape::{escape, unescape};
pub use write::{OutAddress, OutHeader, OutMessage, OutSubject, WriteError};

use crate::mime::{Entity, MimeError};
use smallvec::SmallVec;
use std::borrow::Cow;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// The namespace of headers without a prefix (RFC 3862 section 4).
pub const HEADERS: &str = "urn:ietf:params:cpim-headers:";
/// Message headers of one message. The RFC knows no limit; ours bounds the work.
pub const MOST_HEADERS: usize = 256;

/// Why octets are no message/cpim.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FormatError {
    /// Section 2.2: headers are UTF-8.
    #[error("message/cpim: a header is not UTF-8")]
    Utf8,
    /// Section 2.2: each line ends with CRLF, and no control character stands in it.
    #[error("message/cpim: a header holds a control character or a bare line end")]
    Control,
    /// Section 2.2: a header is one line, without white space around it.
    #[error("message/cpim: a header line begins or ends with white space")]
    WhiteSpace,
    /// Section 3.1.
    #[error("message/cpim: a header name cannot be read")]
    Name,
    /// Section 3.6.
    #[error("message/cpim: a header parameter cannot be read")]
    Parameter,
    /// Section 2.2: exactly one space follows the colon and the parameters.
    #[error("message/cpim: not exactly one space in front of a header value")]
    Space,
    /// Section 3.4: a namespace is an absolute URI without fragment.
    #[error("message/cpim: NS without an absolute URI")]
    Namespace,
    /// Section 4.1.
    #[error("message/cpim: an address cannot be read")]
    Address,
    /// Section 4.4.
    #[error("message/cpim: DateTime cannot be read")]
    DateTime,
    /// More headers than [`MOST_HEADERS`].
    #[error("message/cpim: too many headers")]
    TooManyHeaders,
    /// The empty line behind the headers is missing.
    #[error("message/cpim: the headers do not end")]
    Unended,
    /// Section 2.4: the content has a Content-Type.
    #[error("message/cpim: the content has no type")]
    NoContentType,
    /// The content is no entity.
    #[error("message/cpim: {0}")]
    Content(#[from] MimeError),
}

/// One message header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header<'a> {
    line: &'a str,
    /// What stands in front of the dot.
    pub prefix: Option<&'a str>,
    /// The name, without the prefix. It means something in its namespace only.
    pub name: &'a str,
    /// The namespace; `None` where the prefix was not declared before, so that nobody can know the header.
    pub namespace: Option<&'a str>,
    params: &'a str,
    /// The value as it stands, with its escapes.
    pub value: &'a str,
}

impl<'a> Header<'a> {
    /// The line as received, without its line end.
    pub fn line(&self) -> &'a str {
        self.line
    }

    /// The parameters in order, each as name and value; a quoted value keeps its quotes and escapes.
    pub fn params(&self) -> impl Iterator<Item = (&'a str, &'a str)> + use<'a> {
        let mut rest = self.params;
        std::iter::from_fn(move || {
            let (name, value, behind) = split_parameter(rest)?;
            rest = behind;
            Some((name, value))
        })
    }

    /// The language of the value (section 3.3). Without one it is `i-default`, which says nothing.
    pub fn language(&self) -> Option<&'a str> {
        self.params().find(|(name, _)| *name == "lang").map(|(_, value)| value)
    }

    /// The value with its escapes resolved.
    pub fn text(&self) -> Cow<'a, str> {
        unescape(self.value)
    }

    /// Whether this is the header of this name that RFC 3862 defines.
    pub fn is(&self, name: &str) -> bool {
        self.name == name && self.namespace == Some(HEADERS)
    }
}

/// A message/cpim as received.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message<'a> {
    headers: SmallVec<[Header<'a>; 8]>,
    /// The content: its MIME headers, of which `Content-Type` is there, and its body.
    pub entity: Entity<'a>,
    /// The MIME entity from its first header field on.
    content: &'a [u8],
}

/// Reads a message/cpim from its first message header on, as it is the body of something that says its type.
pub fn parse(bytes: &[u8]) -> Result<Message<'_>, FormatError> {
    let mut headers: SmallVec<[Header<'_>; 8]> = SmallVec::new();
    let mut prefixes: SmallVec<[(&str, &str); 4]> = SmallVec::new();
    let mut default = HEADERS;
    let mut rest = bytes;
    loop {
        let end = rest.iter().position(|&octet| octet == b'\n').ok_or(FormatError::Unended)?;
        let line = rest[..end].strip_suffix(b"\r").ok_or(FormatError::Control)?;
        rest = &rest[end + 1..];
        if line.is_empty() {
            break;
        }
        if headers.len() == MOST_HEADERS {
            return Err(FormatError::TooManyHeaders);
        }
        let mut header = parse_line(std::str::from_utf8(line).map_err(|_| FormatError::Utf8)?)?;
        header.namespace = match header.prefix {
            None => Some(default),
            Some(prefix) => prefixes.iter().rev().find(|(known, _)| *known == prefix).map(|(_, uri)| *uri),
        };
        // Without a prefix, NS is always the declaration: once the default namespace was changed, nothing could be declared
        // any more.
        if header.is("NS") || (header.prefix.is_none() && header.name == "NS") {
            match parse_declaration(header.value)? {
                ("", uri) => default = uri,
                declared => prefixes.push(declared),
            }
        }
        headers.push(header);
    }
    let entity = Entity::parse(rest)?;
    if entity.media_type().flatten().is_none() {
        return Err(FormatError::NoContentType);
    }
    Ok(Message { headers, entity, content: rest })
}

/// `Header-name ":" *( ";" Parameter ) SP Header-value`
fn parse_line(line: &str) -> Result<Header<'_>, FormatError> {
    if line.bytes().any(|octet| octet < b' ' || octet == 0x7f) && !line.starts_with('\t') {
        return Err(FormatError::Control);
    }
    if line.starts_with([' ', '\t']) {
        return Err(FormatError::WhiteSpace);
    }
    let (full_name, behind) = line.split_once(':').ok_or(FormatError::Name)?;
    let (prefix, name) = match full_name.split_once('.') {
        Some((prefix, name)) => (Some(prefix), name),
        None => (None, full_name),
    };
    if !is_name(name) || prefix.is_some_and(|prefix| !is_name(prefix)) {
        return Err(FormatError::Name);
    }
    let mut rest = behind;
    while rest.starts_with(';') {
        let (name, _, after) = split_parameter(rest).ok_or(FormatError::Parameter)?;
        if !is_name(name) {
            return Err(FormatError::Parameter);
        }
        rest = after;
    }
    let params = &behind[..behind.len() - rest.len()];
    let value = rest.strip_prefix(' ').ok_or(FormatError::Space)?;
    if value.starts_with(' ') {
        return Err(FormatError::Space);
    }
    // An empty value leaves the space that has to stand in front of it at the end of the line.
    if value.ends_with(' ') {
        return Err(FormatError::WhiteSpace);
    }
    Ok(Header { line, prefix, name, namespace: None, params, value })
}

/// `;name=value` at the front: name, value and what follows.
fn split_parameter(text: &str) -> Option<(&str, &str, &str)> {
    let (name, behind) = text.strip_prefix(';')?.split_once('=')?;
    if !behind.starts_with('"') {
        let end = behind.find([';', ' ']).unwrap_or(behind.len());
        let (value, rest) = behind.split_at(end);
        return (!value.is_empty()).then_some((name, value, rest));
    }
    let end = 2 + quoted_end(behind.get(1..)?)?;
    Some((name, behind.get(..end)?, behind.get(end..)?))
}

/// Where the quote is that ends a string whose first quote stands in front of `text`.
fn quoted_end(text: &str) -> Option<usize> {
    let mut escaped = false;
    text.bytes().position(|octet| {
        let ends = octet == b'"' && !escaped;
        escaped = octet == b'\\' && !escaped;
        ends
    })
}

/// `[ Name-prefix ] "<" URI ">"`; the prefix of the default namespace is empty.
fn parse_declaration(value: &str) -> Result<(&str, &str), FormatError> {
    let (prefix, uri) = value.split_once('<').ok_or(FormatError::Namespace)?;
    let uri = uri.strip_suffix('>').ok_or(FormatError::Namespace)?;
    let prefix = match prefix {
        "" => "",
        named => named.strip_suffix(' ').filter(|prefix| is_name(prefix)).ok_or(FormatError::Namespace)?,
    };
    if is_absolute_uri(uri) { Ok((prefix, uri)) } else { Err(FormatError::Namespace) }
}

/// Whether a text can be an absolute URI (RFC 2396 section 4.3): a scheme, something behind it, no fragment.
fn is_absolute_uri(uri: &str) -> bool {
    let Some((scheme, rest)) = uri.split_once(':') else { return false };
    let is_scheme = scheme.starts_with(|c: char| c.is_ascii_alphabetic())
        && scheme.bytes().all(|octet| octet.is_ascii_alphanumeric() || b"+-.".contains(&octet));
    is_scheme && !rest.is_empty() && uri.chars().all(|c| !c.is_whitespace() && !c.is_control() && !"<>#\"".contains(c))
}

/// `1*NAMECHAR`
fn is_name(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|octet| octet.is_ascii_alphanumeric() || b"!#$%&'*+-^_`|~".contains(&octet))
}

impl<'a> Message<'a> {
    /// All message headers in order.
    pub fn headers(&self) -> &[Header<'a>] {
        &self.headers
    }

    /// The headers of this name that RFC 3862 defines, in order.
    pub fn all(&self, name: &str) -> impl Iterator<Item = &Header<'a>> {
        self.headers.iter().filter(move |header| header.is(name))
    }

    /// Who is said to have written it. The RFC allows several.
    pub fn from(&self) -> impl Iterator<Item = Result<Address<'a>, FormatError>> {
        self.all("From").map(|header| Address::parse(header.value))
    }

    /// For whom it is.
    pub fn to(&self) -> impl Iterator<Item = Result<Address<'a>, FormatError>> {
        self.all("To").map(|header| Address::parse(header.value))
    }

    /// Who gets a copy.
    pub fn cc(&self) -> impl Iterator<Item = Result<Address<'a>, FormatError>> {
        self.all("cc").map(|header| Address::parse(header.value))
    }

    /// When it was sent; the first DateTime counts.
    pub fn date_time(&self) -> Option<Result<OffsetDateTime, FormatError>> {
        let header = self.all("DateTime").next()?;
        Some(OffsetDateTime::parse(header.value, &Rfc3339).map_err(|_| FormatError::DateTime))
    }

    /// What it is about, for each language that was named.
    pub fn subjects(&self) -> impl Iterator<Item = (Option<&'a str>, Cow<'a, str>)> {
        self.all("Subject").map(|header| (header.language(), header.text()))
    }

    /// The first name in a Require that is not a header of RFC 3862 and that `known` does not know; it is asked with the
    /// namespace, if the prefix was declared, and the name. Of more names than [`MOST_HEADERS`] nobody has to know all.
    pub fn unmet_requirement(&self, mut known: impl FnMut(Option<&str>, &str) -> bool) -> Option<&'a str> {
        // A prefix in Require means what it means there, and not what a later NS makes of it.
        let mut prefixes: SmallVec<[(&str, &str); 4]> = SmallVec::new();
        let mut default = HEADERS;
        let mut names = 0;
        for header in &self.headers {
            if header.is("NS") || (header.prefix.is_none() && header.name == "NS") {
                match parse_declaration(header.value) {
                    Ok(("", uri)) => default = uri,
                    Ok(declared) => prefixes.push(declared),
                    Err(_) => {}
                }
            }
            if !header.is("Require") {
                continue;
            }
            for full_name in header.value.split(',').map(str::trim).filter(|name| !name.is_empty()) {
                let (namespace, name) = match full_name.split_once('.') {
                    None => (Some(default), full_name),
                    Some((prefix, name)) => {
                        (prefixes.iter().rev().find(|(known, _)| *known == prefix).map(|(_, uri)| *uri), name)
                    }
                };
                let ours = ["From", "To", "cc", "DateTime", "Subject", "NS", "Require"];
                let is_ours = namespace == Some(HEADERS) && ours.contains(&name);
                names += 1;
                if names > MOST_HEADERS || (!is_ours && !known(namespace, name)) {
                    return Some(full_name);
                }
            }
        }
        None
    }

    /// Appends the message as it was received, octet for octet.
    pub fn print(&self, out: &mut Vec<u8>) {
        for header in &self.headers {
            out.extend_from_slice(header.line.as_bytes());
            out.extend_from_slice(b"\r\n");
        }
        out.extend_from_slice(b"\r\n");
        out.extend_from_slice(self.content);
    }
}

#[cfg(test)]
mod tests;
