//! Forms of a content beyond its body: multipart/alternative (RFC 2046 section 5.1.4, RFC 5621 section 6) and message/cpim
//! (RFC 3862).

use cpim::msgfmt::{OutAddress, OutMessage, OutSubject};
use cpim::{Alternative, Content, MediaType, is_language_tag};
use memchr::memmem;
use smallvec::SmallVec;
use time::OffsetDateTime;

/// What all parts are for, and the whole (RFC 5621 section 8.2): the same, the whole needed, of the parts any.
pub(super) const WHOLE: &[u8] = b"Content-Disposition: render;handling=required\r\n";
const PART: &[u8] = b"Content-Disposition: render;handling=optional\r\n";

/// Appends the body of a multipart/alternative: the text in all languages and types that are in `others`, those in the
/// language of the body behind those in others, and the richest last. `false` where nothing was appended: the boundary stands
/// in a part, which nobody can have foreseen.
pub(super) fn write_alternative(
    content: &Content<'_>,
    others: &[&Alternative<'_>],
    boundary: &[u8],
    out: &mut Vec<u8>,
) -> bool {
    let stands_in = |body: &[u8]| memmem::find(body, boundary).is_some();
    if stands_in(&content.body) || others.iter().any(|other| stands_in(&other.body)) {
        return false;
    }
    let own = content.language.as_deref();
    let is_plain = |other: &Alternative<'_>| other.media_type.is("text", "plain");
    let is_own = |other: &Alternative<'_>| other.language.is_none() || other.language.as_deref() == own;
    let mut ordered: SmallVec<[&Alternative<'_>; 4]> = others.iter().copied().collect();
    ordered.sort_by_key(|other| (!is_plain(other), is_own(other)));
    let plain = ordered.iter().take_while(|other| is_plain(other)).count();
    let (poorer, richer) = ordered.split_at(plain);
    for other in poorer {
        write_part(boundary, &other.media_type, other.language.as_deref(), &other.body, out);
    }
    let own_type = content.media_type.as_ref().unwrap_or(&MediaType::PLAIN_TEXT);
    write_part(boundary, own_type, own, &content.body, out);
    for other in richer {
        write_part(boundary, &other.media_type, other.language.as_deref().or(own), &other.body, out);
    }
    for piece in [&b"--"[..], boundary, b"--\r\n"] {
        out.extend_from_slice(piece);
    }
    true
}

fn write_part(boundary: &[u8], media_type: &MediaType<'_>, language: Option<&str>, body: &[u8], out: &mut Vec<u8>) {
    for piece in [&b"--"[..], boundary, b"\r\nContent-Type: ", media_type.raw(), b"\r\n"] {
        out.extend_from_slice(piece);
    }
    if let Some(tag) = language.filter(|tag| is_language_tag(tag)) {
        for piece in [&b"Content-Language: "[..], tag.as_bytes(), b"\r\n"] {
            out.extend_from_slice(piece);
        }
    }
    for piece in [PART, b"\r\n", body, b"\r\n"] {
        out.extend_from_slice(piece);
    }
}

/// The addresses and the moment that a wrapper repeats.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Letterhead<'a> {
    /// The URI of From, as the request has it.
    pub(crate) from: &'a str,
    /// The Request-URI.
    pub(crate) to: &'a str,
    /// When it was sent.
    pub(crate) date_time: Option<OffsetDateTime>,
}

/// Appends a message/cpim around `body`. `false` where nothing was appended: an address or type that it cannot hold.
///
/// COMPAT: linphone 5.1.65 takes it only with addresses that are those of the request, without a name (test:
/// `what_is_wrapped_is_what_linphone_takes`).
pub(super) fn write_cpim(
    content: &Content<'_>,
    head: &Letterhead<'_>,
    media_type: MediaType<'_>,
    body: &[u8],
    out: &mut Vec<u8>,
) -> bool {
    let subjects: SmallVec<[OutSubject<'_>; 2]> = content
        .subjects
        .iter()
        .map(|subject| OutSubject {
            language: subject.language.as_deref().filter(|tag| is_language_tag(tag)),
            text: &subject.text,
        })
        .collect();
    let message = OutMessage {
        from: OutAddress { name: "", uri: head.from },
        to: &[OutAddress { name: "", uri: head.to }],
        cc: &[],
        date_time: head.date_time,
        subjects: &subjects,
        namespaces: &[],
        headers: &[],
        media_type,
        body,
    };
    message.write(out).is_ok()
}
