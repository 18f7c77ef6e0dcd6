//! Characters behind octets: the `charset` parameter (RFC 2046 section 4.1.2) and what it names.

use encoding_rs::{Encoding, UTF_8, UTF_16BE, UTF_16LE, WINDOWS_1252};
use std::borrow::Cow;

/// Why octets are no text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CharsetError {
    /// No character set of this name is known.
    #[error("the charset is not known")]
    Unknown,
    /// The octets do not spell characters in it.
    #[error("the body is not valid in its charset")]
    Invalid,
}

/// The text that `octets` spell in the character set of this name; UTF-8 where none is named (RFC 3428 section 4 wants it
/// of every MESSAGE). UTF-8 is borrowed as it stands. A byte order mark of another encoding is not part of the text.
///
/// Names mean what the Encoding Standard says, so that `iso-8859-1` is taken as windows-1252, of which it is a part and as
/// which it is nearly always meant. Nothing is ever repaired: what is not valid is an error.
pub fn decode<'a>(octets: &'a [u8], charset: Option<&[u8]>) -> Result<Cow<'a, str>, CharsetError> {
    let Some(label) = charset.map(<[u8]>::trim_ascii) else { return utf_8(octets) };
    if [&b"utf-8"[..], b"utf8"].iter().any(|name| label.eq_ignore_ascii_case(name)) {
        return utf_8(octets);
    }
    let encoding = if label.eq_ignore_ascii_case(b"utf-16") {
        // RFC 2781 section 4.3: the mark decides, and without one it is big-endian.
        if octets.starts_with(&[0xff, 0xfe]) { UTF_16LE } else { UTF_16BE }
    } else {
        Encoding::for_label_no_replacement(label).ok_or(CharsetError::Unknown)?
    };
    if encoding == UTF_8 {
        return utf_8(octets);
    }
    // "us-ascii" is a label of windows-1252; here it has 128 characters.
    let is_ascii = [&b"us-ascii"[..], b"ascii", b"ansi_x3.4-1968"].iter().any(|name| label.eq_ignore_ascii_case(name));
    if encoding == WINDOWS_1252 && is_ascii && !octets.is_ascii() {
        return Err(CharsetError::Invalid);
    }
    let mark: &[u8] = match encoding {
        encoding if encoding == UTF_16LE => &[0xff, 0xfe],
        encoding if encoding == UTF_16BE => &[0xfe, 0xff],
        _ => &[],
    };
    let octets = octets.strip_prefix(mark).unwrap_or(octets);
    encoding.decode_without_bom_handling_and_without_replacement(octets).ok_or(CharsetError::Invalid)
}

fn utf_8(octets: &[u8]) -> Result<Cow<'_, str>, CharsetError> {
    std::str::from_utf8(octets).map(Cow::Borrowed).map_err(|_| CharsetError::Invalid)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn each_charset_means_its_characters() {
        type Case = (Option<&'static str>, &'static [u8], Result<&'static str, CharsetError>);
        let cases: &[Case] = &[
            (None, "f\u{fc}r".as_bytes(), Ok("f\u{fc}r")),
            (None, b"f\xfcr", Err(CharsetError::Invalid)),
            (Some("UTF-8"), "\u{1f600}".as_bytes(), Ok("\u{1f600}")),
            (Some("utf-8"), b"\xed\xa0\x80", Err(CharsetError::Invalid)),
            (Some("us-ascii"), b"plain", Ok("plain")),
            (Some("US-ASCII"), "f\u{fc}r".as_bytes(), Err(CharsetError::Invalid)),
            (Some("iso-8859-1"), b"f\xfcr \xa0", Ok("f\u{fc}r \u{a0}")),
            (Some("iso-8859-15"), b"\xa4", Ok("\u{20ac}")),
            (Some("windows-1252"), b"\x80 \x93quoted\x94", Ok("\u{20ac} \u{201c}quoted\u{201d}")),
            (Some("koi8-r"), b"\xf2\xcf\xcd\xc5\xcf", Ok("\u{420}\u{43e}\u{43c}\u{435}\u{43e}")),
            (Some("Shift_JIS"), b"\x93\xfa\x96\x7b", Ok("\u{65e5}\u{672c}")),
            (Some("shift_jis"), b"\x93", Err(CharsetError::Invalid)),
            (Some("gb18030"), b"\xd6\xd0\xce\xc4", Ok("\u{4e2d}\u{6587}")),
            (Some("euc-kr"), b"\xc7\xd1", Ok("\u{d55c}")),
            (Some("utf-16"), b"\xff\xfeh\0i\0", Ok("hi")),
            (Some("utf-16"), b"\xfe\xff\0h\0i", Ok("hi")),
            (Some("utf-16"), b"\0h\0i", Ok("hi")),
            (Some("utf-16le"), b"h\0i\0", Ok("hi")),
            (Some("utf-16be"), b"\0h\0", Err(CharsetError::Invalid)),
            (Some("utf-16le"), b"\x3d\xd8", Err(CharsetError::Invalid)),
            (Some(" utf-8 "), b"hi", Ok("hi")),
            (Some("utf-7"), b"hi", Err(CharsetError::Unknown)),
            // Encodings that only serve to smuggle ASCII past a filter.
            (Some("iso-2022-kr"), b"hi", Err(CharsetError::Unknown)),
            (Some("hz-gb-2312"), b"hi", Err(CharsetError::Unknown)),
            (Some("klingon"), b"hi", Err(CharsetError::Unknown)),
            (Some(""), b"hi", Err(CharsetError::Unknown)),
        ];
        for (charset, octets, expected) in cases {
            let found = decode(octets, charset.map(str::as_bytes));
            assert_eq!(found.as_deref(), expected.as_ref().copied(), "{charset:?} {octets:?}");
        }
    }

    #[test]
    fn text_in_utf_8_is_borrowed() {
        for charset in [None, Some(&b"utf-8"[..]), Some(b"UTF8")] {
            assert!(matches!(decode(b"Art thou not Romeo?", charset), Ok(Cow::Borrowed(_))));
        }
    }

    proptest! {
        #[test]
        fn no_octets_and_no_label_panic(octets: Vec<u8>, label in proptest::collection::vec(any::<u8>(), 0..16)) {
            let _ = decode(&octets, Some(&label));
            for known in ["utf-16", "utf-16le", "shift_jis", "gb18030", "iso-2022-jp", "big5", "euc-jp", "macintosh"] {
                let _ = decode(&octets, Some(known.as_bytes()));
            }
        }
    }
}
