//! SIP MESSAGE requests and message operations (RFC 3428, RFC 7572 tables 1 and 2).

use super::address::{AddressError, Party, Rules};
use super::envelope::{self, Context};
use cpim::mime::{self, MimeError};
use cpim::{Content, Envelope, ImUri, MediaType, Subject, is_language_tag};
use sip::transaction::{Answer, Extra};
use sip::wire::headers::unfold;
use sip::wire::uri::{Scheme, Uri};
use sip::wire::{Essentials, HeaderName, Request};
use std::borrow::Cow;

/// The types that cross to XMPP, as the value of an Accept.
pub const ACCEPT: &str = "text/plain, text/html, message/cpim, multipart/alternative, multipart/mixed, \
                          multipart/related, multipart/signed, multipart/encrypted, application/pkcs7-mime";

/// What a MESSAGE says, in the core's words.
#[derive(Debug)]
pub struct Abstracted<'a> {
    /// From whom.
    pub source: ImUri<'a>,
    /// To whom: the Request-URI decides, where To differs.
    pub destination: ImUri<'a>,
    /// What is said about it.
    pub envelope: Envelope<'a>,
    /// The entity.
    pub content: Content<'a>,
}

/// MESSAGE -> message operation. `Err` is the answer to a request that is no operation at all (check 1 of RFC 3860 section
/// 3.4.1: an address that is not valid).
pub fn to_cpim<'a>(
    request: &Request<'a>,
    essentials: &Essentials<'a>,
    context: Context<'_>,
) -> Result<Abstracted<'a>, Answer<'static>> {
    // RFC 7247 section 8: sips in either promises what XMPP cannot keep.
    if essentials.to.uri.scheme == Scheme::Sips {
        return Err(destination_refused(AddressError::Secure));
    }
    let target = target(essentials)?;
    let destination = context.rules.to_cpim(&target, Party::Foreign).map_err(destination_refused)?;
    let source = context.rules.to_cpim(&essentials.from.uri, Party::Native).map_err(source_refused)?;
    let media_type = match request.head.first(HeaderName::ContentType) {
        Some(raw) => Some(MediaType::parse(raw).ok_or(warned(400, "unreadable Content-Type"))?),
        None if request.body.is_empty() => None,
        None => return Err(Answer { extra: Extra::ACCEPT, ..Answer::new(415) }),
    };
    let mut codings = request.head.all(HeaderName::ContentEncoding).filter(|value| !value.is_empty());
    let encoding = codings.next().filter(|value| !value.eq_ignore_ascii_case(b"identity"));
    // A second line would be the rest of one list. Nobody needs it.
    if codings.next().is_some() {
        return Err(Answer { extra: Extra::ACCEPT_ENCODING, ..Answer::new(415) });
    }
    let body = body(request, media_type.as_ref())?;
    let content = Content {
        media_type,
        encoding,
        disposition: request.head.first(HeaderName::ContentDisposition).map(Cow::Borrowed),
        body,
        subjects: request.head.first(HeaderName::Subject).and_then(subject).into_iter().collect(),
        language: request.head.first(HeaderName::ContentLanguage).and_then(language),
        alternatives: Vec::new(),
    };
    // RFC 5627 section 6.1: no device of the user is there that has this name.
    let envelope = envelope::to_cpim(request, essentials, &source, &destination, &target, context)
        .ok_or(warned(480, "no device has this gr"))?;
    Ok(Abstracted { source, destination, envelope, content })
}

/// SIP bodies are binary (RFC 5621 section 3.2), but S/MIME comes from worlds that are not.
fn body<'a>(request: &Request<'a>, media_type: Option<&MediaType<'_>>) -> Result<Cow<'a, [u8]>, Answer<'static>> {
    let encoding = match media_type {
        Some(media_type) if !media_type.is("text", "plain") => request.head.other("Content-Transfer-Encoding"),
        _ => None,
    };
    let Some(encoding) = encoding else { return Ok(Cow::Borrowed(request.body)) };
    mime::decode_transfer(request.body, encoding).map_err(|error| match error {
        MimeError::UnknownTransfer => Answer { extra: Extra::ACCEPT, ..Answer::new(415) },
        _ => warned(400, "the body is not what its Content-Transfer-Encoding says"),
    })
}

/// Whom a request is for: the Request-URI decides.
pub fn destination<'a>(essentials: &Essentials<'a>, rules: &Rules) -> Result<ImUri<'a>, Answer<'static>> {
    rules.to_cpim(&target(essentials)?, Party::Foreign).map_err(destination_refused)
}

fn target<'a>(essentials: &Essentials<'a>) -> Result<Uri<'a>, Answer<'static>> {
    essentials.uri.ok_or(warned(400, "no Request-URI"))
}

/// RFC 7572 table 2. A subject is for people: octets that are not UTF-8 show as U+FFFD.
fn subject(value: &[u8]) -> Option<Subject<'_>> {
    let text = match unfold(value) {
        Cow::Borrowed(text) => String::from_utf8_lossy(text),
        Cow::Owned(text) => Cow::Owned(String::from_utf8_lossy(&text).into_owned()),
    };
    (!text.trim().is_empty()).then_some(Subject { language: None, text })
}

/// A stanza has one language: the first that is named.
fn language(value: &[u8]) -> Option<Cow<'_, str>> {
    let tag = std::str::from_utf8(value).ok()?.split(',').next()?.trim();
    is_language_tag(tag).then_some(Cow::Borrowed(tag))
}

fn destination_refused(error: AddressError) -> Answer<'static> {
    match error {
        AddressError::Scheme => Answer::new(416),
        AddressError::Secure => warned(403, "sips cannot be kept towards XMPP"),
        AddressError::NoUser => warned(484, "the Request-URI names no user"),
        AddressError::Unknown => Answer::new(404),
        AddressError::Malformed => warned(484, "the Request-URI cannot be an address"),
    }
}

fn source_refused(error: AddressError) -> Answer<'static> {
    match error {
        AddressError::Scheme | AddressError::Secure => warned(403, "From needs a sip URI"),
        AddressError::NoUser => warned(403, "From names no user"),
        AddressError::Unknown | AddressError::Malformed => warned(403, "From cannot be an address"),
    }
}

fn warned(status: u16, warning: &'static str) -> Answer<'static> {
    Answer { warning: Some(warning), ..Answer::new(status) }
}
