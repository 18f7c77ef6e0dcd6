//! What a `<message/>` can show of a content (RFC 7572 section 7).
//!
//! Plain text in UTF-8 is borrowed and costs nothing; everything else is a slow path that may allocate. What cannot be shown
//! is refused with the reason that tells its sender what can be.

use cpim::charset::{self, CharsetError};
use cpim::coding::{self, CodingError};
use cpim::{Content, Failure, MediaType, Reason};
use std::borrow::Cow;

/// What a stanza shows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Presented<'c> {
    /// The text of `<body/>`.
    pub body: Cow<'c, str>,
}

/// Presents `content`; no more than `limit` octets are made of it.
pub fn present<'c>(content: &'c Content<'_>, limit: usize) -> Result<Presented<'c>, Failure<'static>> {
    let octets = match content.encoding {
        None => Cow::Borrowed(&content.body[..]),
        Some(codings) => coding::decode(&content.body, codings, limit).map_err(undecoded)?,
    };
    let body = match &content.media_type {
        None => text(octets, None)?,
        Some(media_type) if media_type.is("text", "plain") => text(octets, Some(media_type))?,
        Some(_) => return Err(Reason::UnsupportedMedia.into()),
    };
    Ok(Presented { body })
}

fn text<'c>(octets: Cow<'c, [u8]>, media_type: Option<&MediaType<'_>>) -> Result<Cow<'c, str>, Failure<'static>> {
    let charset = media_type.and_then(|media_type| media_type.param("charset"));
    let decoded = match octets {
        Cow::Borrowed(octets) => charset::decode(octets, charset.as_deref()),
        Cow::Owned(octets) => charset::decode(&octets, charset.as_deref()).map(|text| Cow::Owned(text.into_owned())),
    };
    decoded.map_err(|error| match error {
        CharsetError::Unknown => refused(Reason::UnsupportedMedia, "the charset is not known"),
        CharsetError::Invalid => refused(Reason::BadRequest, "the body is not valid in its charset"),
    })
}

fn undecoded(error: CodingError) -> Failure<'static> {
    match error {
        CodingError::Unknown => Reason::UnsupportedEncoding.into(),
        CodingError::TooLong => refused(Reason::TooLarge, "the decoded body is too long"),
        CodingError::Broken => refused(Reason::BadRequest, "the body cannot be decoded as its Content-Encoding says"),
    }
}

fn refused(reason: Reason, text: &'static str) -> Failure<'static> {
    Failure { reason, text: Some(Cow::Borrowed(text)), alternate: None }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: usize = 10_000;

    fn present_one(media_type: &str, encoding: Option<&str>, body: &[u8]) -> Result<String, Failure<'static>> {
        let content = Content {
            media_type: MediaType::parse(media_type.as_bytes()),
            encoding: encoding.map(str::as_bytes),
            body: Cow::Borrowed(body),
        };
        present(&content, LIMIT).map(|presented| presented.body.into_owned())
    }

    #[test]
    fn each_refusal_has_its_reason() {
        let cases: &[(&str, Option<&str>, &[u8], Result<&str, Reason>)] = &[
            ("text/plain", None, b"hello", Ok("hello")),
            ("Text/PLAIN;charset=ISO-8859-1", None, b"f\xfcr", Ok("f\u{fc}r")),
            ("text/plain;charset=klingon", None, b"hello", Err(Reason::UnsupportedMedia)),
            ("text/plain", None, b"f\xfcr", Err(Reason::BadRequest)),
            ("text/plain", Some("identity"), b"hello", Ok("hello")),
            ("text/plain", Some("br"), b"hello", Err(Reason::UnsupportedEncoding)),
            ("text/plain", Some("deflate"), b"hello", Err(Reason::BadRequest)),
            ("image/png", None, b"\x89PNG", Err(Reason::UnsupportedMedia)),
            ("message/imdn+xml", None, b"<imdn/>", Err(Reason::UnsupportedMedia)),
            ("application/im-iscomposing+xml", None, b"<isComposing/>", Err(Reason::UnsupportedMedia)),
        ];
        for (media_type, encoding, body, expected) in cases {
            let found = present_one(media_type, *encoding, body).map_err(|failure| failure.reason);
            assert_eq!(found.as_deref().map_err(|reason| *reason), *expected, "{media_type} {encoding:?}");
        }
    }

    #[test]
    fn plain_text_is_borrowed() {
        let content = Content::text(Cow::Borrowed("hello"));
        assert!(matches!(present(&content, LIMIT), Ok(Presented { body: Cow::Borrowed("hello") })));
    }
}
