//! MIME entities as SIP carries them (RFC 2045, RFC 2046, RFC 5621): header fields, multiparts, transfer encodings.
//!
//! Lines end with CRLF and nothing else: an entity may have been signed, and what one reader takes for the end of a line
//! another takes for text.

use crate::{Disposition, MediaType, is_language_tag};
use base64::Engine as _;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use smallvec::SmallVec;
use std::borrow::Cow;

/// Parts of one multipart.
pub const MOST_PARTS: usize = 32;
/// Header fields of one entity.
pub const MOST_FIELDS: usize = 64;
/// RFC 2046 section 5.1.1.
const LONGEST_BOUNDARY: usize = 70;

/// Why octets are no entity.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum MimeError {
    /// A line of the header that is no field.
    #[error("a MIME header field cannot be read")]
    Field,
    /// More header fields than [`MOST_FIELDS`].
    #[error("too many MIME header fields")]
    TooManyFields,
    /// The boundary is missing, empty or too long.
    #[error("the multipart has no usable boundary")]
    Boundary,
    /// The boundary never comes, or the last one is missing.
    #[error("the multipart is cut off")]
    CutOff,
    /// More parts than [`MOST_PARTS`].
    #[error("too many body parts")]
    TooManyParts,
    /// A transfer encoding that is not known.
    #[error("the Content-Transfer-Encoding is not supported")]
    UnknownTransfer,
    /// The body is not what its transfer encoding says.
    #[error("the body cannot be decoded as its Content-Transfer-Encoding says")]
    BrokenTransfer,
}

/// One entity: header fields, an empty line, a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entity<'a> {
    /// The header fields with their line ends, without the empty line.
    head: &'a [u8],
    /// The body, as it stands.
    pub body: &'a [u8],
}

impl<'a> Entity<'a> {
    /// Splits and checks the header; the body is not looked at.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, MimeError> {
        let mut rest = bytes;
        let mut fields = 0;
        loop {
            let (line, behind) = split_line(rest);
            if line.is_empty() {
                let head = &bytes[..bytes.len() - rest.len()];
                return Ok(Self { head, body: behind });
            }
            let folded = matches!(line, [b' ' | b'\t', ..]);
            let named = line.iter().position(|&octet| octet == b':').is_some_and(|colon| is_name(&line[..colon]));
            // A line end inside of a line is one that somebody else may see.
            if line.contains(&b'\n') || line.contains(&b'\r') || !(named || folded && fields > 0) {
                return Err(MimeError::Field);
            }
            fields += usize::from(!folded);
            if fields > MOST_FIELDS {
                return Err(MimeError::TooManyFields);
            }
            rest = behind;
        }
    }

    /// The header fields with their line ends, as they stand.
    pub fn head(&self) -> &'a [u8] {
        self.head
    }

    /// The value of the first field of this name, without regard to case; a folded one keeps its line ends.
    pub fn field(&self, name: &str) -> Option<&'a [u8]> {
        let mut rest = self.head;
        while !rest.is_empty() {
            let (line, mut behind) = split_line(rest);
            let mut length = line.len();
            while matches!(behind, [b' ' | b'\t', ..]) {
                let (more, after) = split_line(behind);
                length += 2 + more.len();
                behind = after;
            }
            let colon = line.iter().position(|&octet| octet == b':')?;
            if line[..colon].trim_ascii_end().eq_ignore_ascii_case(name.as_bytes()) {
                return rest.get(colon + 1..length).map(<[u8]>::trim_ascii);
            }
            rest = behind;
        }
        None
    }

    /// The `Content-Type`; `None` where there is none, `Some(None)` where it cannot be read.
    pub fn media_type(&self) -> Option<Option<MediaType<'a>>> {
        self.field("Content-Type").map(MediaType::parse)
    }

    /// What the part is for; `None` also where the field is malformed.
    pub fn disposition(&self) -> Option<Disposition<'a>> {
        self.field("Content-Disposition").and_then(Disposition::parse)
    }

    /// The language of the part: the first of a list.
    pub fn language(&self) -> Option<&'a str> {
        let value = std::str::from_utf8(self.field("Content-Language")?).ok()?;
        value.split(',').map(str::trim).next().filter(|tag| is_language_tag(tag))
    }

    /// The body with its `Content-Transfer-Encoding` undone.
    pub fn decoded_body(&self) -> Result<Cow<'a, [u8]>, MimeError> {
        decode_transfer(self.body, self.field("Content-Transfer-Encoding").unwrap_or(b"binary"))
    }
}

/// Undoes a Content-Transfer-Encoding (RFC 2045 section 6).
pub fn decode_transfer<'a>(body: &'a [u8], encoding: &[u8]) -> Result<Cow<'a, [u8]>, MimeError> {
    let named = |names: &[&str]| names.iter().any(|name| encoding.eq_ignore_ascii_case(name.as_bytes()));
    if named(&["7bit", "8bit", "binary"]) {
        Ok(Cow::Borrowed(body))
    } else if named(&["base64"]) {
        const LENIENT: GeneralPurpose = GeneralPurpose::new(
            &STANDARD,
            GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
        );
        let digits: Vec<u8> = body.iter().copied().filter(|octet| !octet.is_ascii_whitespace()).collect();
        LENIENT.decode(digits).map(Cow::Owned).map_err(|_| MimeError::BrokenTransfer)
    } else if named(&["quoted-printable"]) {
        quoted_printable(body).map(Cow::Owned)
    } else {
        Err(MimeError::UnknownTransfer)
    }
}

/// The first line, without its CRLF, and what follows it.
fn split_line(bytes: &[u8]) -> (&[u8], &[u8]) {
    match bytes.windows(2).position(|pair| pair == b"\r\n") {
        Some(end) => (&bytes[..end], &bytes[end + 2..]),
        None => (bytes, b""),
    }
}

fn is_name(name: &[u8]) -> bool {
    let name = name.trim_ascii_end();
    !name.is_empty() && name.iter().all(|octet| octet.is_ascii_graphic() && *octet != b':')
}

/// RFC 2045 section 6.7. Soft line breaks are removed, white space at the end of a line is not text.
fn quoted_printable(body: &[u8]) -> Result<Vec<u8>, MimeError> {
    let mut decoded = Vec::with_capacity(body.len());
    let mut rest = body;
    while !rest.is_empty() {
        let (line, behind) = split_line(rest);
        let ended = rest.len() > line.len();
        let mut octets = line.trim_ascii_end();
        let soft = octets.last() == Some(&b'=');
        if soft {
            octets = &octets[..octets.len() - 1];
        }
        let mut octets = octets.iter().copied();
        while let Some(octet) = octets.next() {
            if octet != b'=' {
                decoded.push(octet);
                continue;
            }
            let mut digit = || octets.next().and_then(|digit| char::from(digit).to_digit(16));
            let (Some(high), Some(low)) = (digit(), digit()) else { return Err(MimeError::BrokenTransfer) };
            decoded.push((high * 16 + low) as u8);
        }
        if ended && !soft {
            decoded.extend_from_slice(b"\r\n");
        }
        rest = behind;
    }
    Ok(decoded)
}

/// The parts of a multipart with this media type (RFC 2046 section 5.1). Preamble and epilogue are left out.
pub fn parts<'a>(body: &'a [u8], media_type: &MediaType<'_>) -> Result<SmallVec<[Entity<'a>; 4]>, MimeError> {
    let boundary = media_type.param("boundary").ok_or(MimeError::Boundary)?;
    if boundary.is_empty() || boundary.len() > LONGEST_BOUNDARY {
        return Err(MimeError::Boundary);
    }
    let mut parts = SmallVec::new();
    let mut start = None;
    let mut rest = body;
    while !rest.is_empty() {
        let at = body.len() - rest.len();
        let (line, behind) = split_line(rest);
        rest = behind;
        let Some(mark) = line.strip_prefix(b"--").and_then(|line| line.strip_prefix(&boundary[..])) else { continue };
        let mark = mark.trim_ascii_end();
        let last = mark == b"--";
        if !(mark.is_empty() || last) {
            continue;
        }
        if let Some(start) = start {
            if parts.len() == MOST_PARTS {
                return Err(MimeError::TooManyParts);
            }
            // The line end before a boundary belongs to the boundary.
            parts.push(Entity::parse(body.get(start..at.saturating_sub(2)).unwrap_or_default())?);
        }
        if last {
            return if parts.is_empty() { Err(MimeError::CutOff) } else { Ok(parts) };
        }
        start = Some(body.len() - rest.len());
    }
    Err(MimeError::CutOff)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn fields_and_body_are_told_apart() {
        let entity = Entity::parse(
            b"Content-type: text/plain;\r\n charset=utf-8\r\nContent-ID: <1@foo.com>\r\nX:\r\n\r\nhello\r\n\r\nthere\n",
        )
        .unwrap();
        assert_eq!(entity.body, b"hello\r\n\r\nthere\n");
        assert_eq!(entity.field("content-id"), Some(&b"<1@foo.com>"[..]));
        assert_eq!(entity.field("x"), Some(&b""[..]));
        assert_eq!(entity.field("y"), None);
        let media_type = entity.media_type().unwrap().unwrap();
        assert!(media_type.is("text", "plain"));
        assert_eq!(media_type.param("charset").as_deref(), Some(&b"utf-8"[..]));
        let bare = Entity::parse(b"\r\nhello").unwrap();
        assert_eq!((bare.head(), bare.body, bare.media_type()), (&b""[..], &b"hello"[..], None));
        assert_eq!(Entity::parse(b"A: b").unwrap().field("a"), Some(&b"b"[..]));
        for broken in [&b"no field\r\n\r\n"[..], b" folded: first\r\n\r\n", b": x\r\n\r\n", b"A: b\nC: d\r\n\r\n"] {
            assert_eq!(Entity::parse(broken), Err(MimeError::Field), "{broken:?}");
        }
        let many = b"A: b\r\n".repeat(MOST_FIELDS + 1);
        assert_eq!(Entity::parse(&many), Err(MimeError::TooManyFields));
    }

    #[test]
    fn transfer_encodings_are_undone() {
        type Case = (&'static str, &'static [u8], Result<&'static [u8], MimeError>);
        let cases: &[Case] = &[
            ("8bit", b"f\xc3\xbcr", Ok(b"f\xc3\xbcr")),
            ("BASE64", b"Zs\r\nO8cg==\r\n", Ok(b"f\xc3\xbcr")),
            ("base64", b"ZsO8cg", Ok(b"f\xc3\xbcr")),
            ("base64", b"Zs*8cg==", Err(MimeError::BrokenTransfer)),
            ("quoted-printable", b"f=C3=bcr a=\r\nnd so  \r\non=3D\r\n", Ok(b"f\xc3\xbcr and so\r\non=\r\n")),
            ("quoted-printable", b"=C", Err(MimeError::BrokenTransfer)),
            ("quoted-printable", b"=XY", Err(MimeError::BrokenTransfer)),
            ("uuencode", b"", Err(MimeError::UnknownTransfer)),
        ];
        for (encoding, body, expected) in cases {
            let head = format!("Content-Transfer-Encoding: {encoding}\r\n\r\n");
            let bytes = [head.as_bytes(), body].concat();
            let decoded = Entity::parse(&bytes).unwrap().decoded_body();
            assert_eq!(decoded.as_deref().map_err(|error| *error), *expected, "{encoding} {body:?}");
        }
    }

    fn split<'a>(body: &'a str, boundary: &str) -> Result<Vec<&'a [u8]>, MimeError> {
        let raw = format!("multipart/mixed;boundary=\"{boundary}\"");
        let media_type = MediaType::parse(raw.as_bytes()).unwrap();
        parts(body.as_bytes(), &media_type).map(|parts| parts.iter().map(|part| part.body).collect())
    }

    #[test]
    fn parts_are_what_stands_between_boundaries() {
        let text = "preamble\r\n--x\r\nA: b\r\n\r\none\r\n--xy\r\n --x\r\n--x  \r\n\r\n\r\n--x\r\n--x--\r\nepilogue";
        assert_eq!(split(text, "x"), Ok(vec![&b"one\r\n--xy\r\n --x"[..], b"", b""]));
        assert_eq!(split("--x\r\n\r\nhi\r\n--x--", "x"), Ok(vec![&b"hi"[..]]));
        for cut in
            ["", "--x", "--x--", "--x\r\n\r\nhi", "--x\r\n\r\nhi\r\n--x", "--y\r\n\r\nhi\r\n--y--", "--x\n\nhi\n--x--"]
        {
            assert_eq!(split(cut, "x"), Err(MimeError::CutOff), "{cut:?}");
        }
        for boundary in ["", &"b".repeat(71)] {
            assert_eq!(split("--x\r\n\r\n\r\n--x--", boundary), Err(MimeError::Boundary));
        }
        let many = "--x\r\n\r\n\r\n".repeat(MOST_PARTS + 2) + "--x--";
        assert_eq!(split(&many, "x"), Err(MimeError::TooManyParts));
    }

    proptest! {
        #[test]
        fn no_octets_panic(bytes in "(--x|--|\r\n|A: b|=[0-9A-F]{2}|=|[^x]){0,40}") {
            if let Ok(entity) = Entity::parse(bytes.as_bytes()) {
                let _ = (entity.field("A"), entity.media_type(), entity.decoded_body());
            }
            let _ = split(&bytes, "x");
            let quoted = format!("Content-Transfer-Encoding: quoted-printable\r\n\r\n{bytes}");
            let _ = Entity::parse(quoted.as_bytes()).map(|entity| entity.decoded_body());
        }
    }
}
