//! Entities that cross as they are, in `<e2e/>` (RFC 3923): signed and encrypted ones, and others for who is known to take
//! them.
//!
//! XML knows one line end. A text whose lines all end with CRLF crosses as text, LF in the stanza and CRLF again behind it, so
//! that its signature still fits; a sealed entity crosses in base64, and its header says so. Nothing else crosses.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use cpim::mime::{Entity, MimeError};
use cpim::{Content, MediaType};
use std::borrow::Cow;

/// Octets of base64 in a line (RFC 2045 section 6.8).
const BASE64_LINE: usize = 76;

/// The text of `<e2e/>` for an entity. `None` where it cannot be carried without being altered.
pub fn wrap(media_type: &MediaType<'_>, disposition: Option<&[u8]>, body: &[u8]) -> Option<String> {
    let as_text = if media_type.is_sealed() { None } else { text(body) };
    // A signature covers how its parts are encoded: what is no text cannot become one.
    if as_text.is_none() && media_type.is_a("multipart") {
        return None;
    }
    let mut entity = String::with_capacity(body.len() + 100);
    field("Content-Type", media_type.raw(), &mut entity)?;
    if let Some(disposition) = disposition {
        field("Content-Disposition", disposition, &mut entity)?;
    }
    match as_text {
        Some(text) => {
            entity.push('\n');
            entity.push_str(&text.replace("\r\n", "\n"));
        }
        None => {
            entity.push_str("Content-Transfer-Encoding: base64\n\n");
            let digits = STANDARD.encode(body);
            for line in digits.as_bytes().chunks(BASE64_LINE) {
                entity.push_str(std::str::from_utf8(line).ok()?);
                entity.push('\n');
            }
        }
    }
    Some(entity)
}

/// A text that XML carries and whose every line end is CRLF.
fn text(body: &[u8]) -> Option<&str> {
    let text = std::str::from_utf8(body).ok()?;
    let mut before = '\0';
    for character in text.chars() {
        let fits = match character {
            '\n' => before == '\r',
            '\t' | '\r' => before != '\r',
            '\0'..='\x1f' | '\u{fffe}' | '\u{ffff}' => false,
            _ => before != '\r',
        };
        if !fits {
            return None;
        }
        before = character;
    }
    (before != '\r').then_some(text)
}

/// One header field in one line.
fn field(name: &str, value: &[u8], entity: &mut String) -> Option<()> {
    let value = unfold(value);
    let value = text(&value).filter(|value| !value.contains('\n'))?;
    entity.push_str(name);
    entity.push_str(": ");
    entity.push_str(value);
    entity.push('\n');
    Some(())
}

fn unfold(value: &[u8]) -> Cow<'_, [u8]> {
    if !value.contains(&b'\n') {
        return Cow::Borrowed(value);
    }
    let lines = value.split(|&octet| octet == b'\n').map(<[u8]>::trim_ascii).filter(|line| !line.is_empty());
    Cow::Owned(lines.collect::<Vec<_>>().join(&b' '))
}

/// Why the text of an `<e2e/>` is no entity.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum E2eError {
    /// The header or the transfer encoding.
    #[error(transparent)]
    Mime(#[from] MimeError),
    /// Nobody could tell what the octets mean.
    #[error("the entity in <e2e/> names no type")]
    NoType,
}

/// The entity that the text of an `<e2e/>` spells. Its sender may have begun the section with a line end, as RFC 3923 does in
/// its examples.
pub fn unwrap(text: &str) -> Result<Content<'static>, E2eError> {
    let octets = text.trim_start_matches('\n').replace('\n', "\r\n").into_bytes();
    let entity = Entity::parse(&octets)?;
    let media_type =
        entity.field("Content-Type").and_then(|raw| MediaType::parse(unfold(raw))).ok_or(E2eError::NoType)?;
    let body = match entity.field("Content-Transfer-Encoding") {
        // RFC 2045 section 6.4: a multipart is not encoded as a whole.
        Some(_) if media_type.is_a("multipart") => Cow::Borrowed(entity.body),
        _ => entity.decoded_body()?,
    };
    Ok(Content {
        media_type: Some(media_type.into_owned()),
        disposition: entity.field("Content-Disposition").map(|value| Cow::Owned(unfold(value).into_owned())),
        language: entity.language().map(|tag| Cow::Owned(tag.to_owned())),
        body: Cow::Owned(body.into_owned()),
        ..Content::default()
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn media_type(text: &str) -> MediaType<'_> {
        MediaType::parse(text.as_bytes()).unwrap()
    }

    #[test]
    fn text_crosses_as_text_and_sealed_octets_in_base64() {
        let signed = "multipart/signed;boundary=b;\r\n protocol=\"application/pkcs7-signature\"";
        assert_eq!(
            wrap(&media_type(signed), None, b"--b\r\n\r\nhi ]]>\r\n--b--\r\n").as_deref(),
            Some(
                "Content-Type: multipart/signed;boundary=b; protocol=\"application/pkcs7-signature\"\n\n\
                 --b\n\nhi ]]>\n--b--\n"
            )
        );
        let sealed = wrap(&media_type("application/pkcs7-mime"), Some(b"attachment;handling=required"), b"0\x80\r\n");
        assert_eq!(
            sealed.as_deref(),
            Some(
                "Content-Type: application/pkcs7-mime\nContent-Disposition: attachment;handling=required\n\
                 Content-Transfer-Encoding: base64\n\nMIANCg==\n"
            )
        );
        assert_eq!(
            wrap(&media_type("image/png"), None, b"\x89PNG").as_deref(),
            Some("Content-Type: image/png\nContent-Transfer-Encoding: base64\n\niVBORw==\n")
        );
    }

    #[test]
    fn what_would_be_altered_does_not_cross() {
        for body in ["lone\nfeed", "lone\rreturn", "\r", "end\r", "\n", "control \x01", "\u{ffff}", "a\r\r\n"] {
            assert_eq!(wrap(&media_type("multipart/signed;boundary=b"), None, body.as_bytes()), None, "{body:?}");
        }
        assert_eq!(wrap(&media_type("multipart/encrypted;boundary=b"), None, b"\xff"), None);
        assert_eq!(wrap(&media_type("application/pkcs7-mime;name=\"\x01\""), None, b""), None);
        assert_eq!(wrap(&media_type("application/pgp"), Some(b"attachment;x=\xff"), b""), None);
    }

    #[test]
    fn what_is_no_entity_is_named() {
        assert_eq!(unwrap("U2FsdGVkX19okeKTlLxa/1n1FE\nOxFs40uc9Fx81a5"), Err(E2eError::Mime(MimeError::Field)));
        assert_eq!(unwrap("\n\n\n"), Err(E2eError::NoType));
        assert_eq!(unwrap(""), Err(E2eError::NoType));
        assert_eq!(unwrap("Content-Type: plain\n\nhi"), Err(E2eError::NoType));
        let broken = "Content-Type: application/pgp\nContent-Transfer-Encoding: base64\n\n*";
        assert_eq!(unwrap(broken), Err(E2eError::Mime(MimeError::BrokenTransfer)));
        // The example of RFC 3923 section 3.2, whose section begins with a line end and whose header is folded.
        let folded =
            unwrap("\nContent-Type: multipart/signed; boundary=next;\n              micalg=sha1\n\n--next").unwrap();
        assert_eq!(folded.media_type.unwrap().raw(), b"multipart/signed; boundary=next; micalg=sha1");
        assert_eq!(&*folded.body, b"--next");
    }

    proptest! {
        #[test]
        fn a_text_comes_back(lines in proptest::collection::vec("[^\\x00-\\x08\\x0a-\\x1f\\u{fffe}\\u{ffff}]{0,12}", 0..6)) {
            let body = lines.join("\r\n");
            let wrapped = wrap(&media_type("multipart/signed;boundary=b"), None, body.as_bytes()).unwrap();
            let content = unwrap(&wrapped).unwrap();
            prop_assert_eq!(&*content.body, body.as_bytes());
            let found = content.media_type.unwrap();
            prop_assert_eq!(found.raw(), b"multipart/signed;boundary=b");
        }

        #[test]
        fn sealed_octets_come_back(body: Vec<u8>) {
            let wrapped = wrap(&media_type("application/pkcs7-mime;smime-type=enveloped-data"), None, &body).unwrap();
            prop_assert!(text(wrapped.replace('\n', "\r\n").as_bytes()).is_some());
            prop_assert_eq!(&*unwrap(&wrapped).unwrap().body, &body[..]);
        }

        #[test]
        fn no_text_panics(text in "(Content-Type: |a/b|\n|base64|Content-Transfer-Encoding: |.){0,20}") {
            let _ = unwrap(&text);
        }
    }
}
