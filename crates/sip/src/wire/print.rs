//! Writes parts of messages, each appended to a buffer of bytes. No formatter, no allocation of its own.
//!
//! The caller gives legal values: what came out of the parser is legal, text of other origin goes through
//! [`quoted_string`], [`escape_user`] or [`one_line`] first.

use super::chars;
use super::{HeaderName, Method, status_phrase};

/// `INVITE sip:... SIP/2.0` and its line end.
pub fn request_line(method: Method<'_>, uri: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(method.as_bytes());
    out.push(b' ');
    out.extend_from_slice(uri);
    out.extend_from_slice(b" SIP/2.0\r\n");
}

/// `SIP/2.0 200 OK` and its line end; without a reason the usual phrase. A reason of foreign text is cleaned by
/// [`one_line`].
pub fn status_line(status: u16, reason: Option<&str>, out: &mut Vec<u8>) {
    out.extend_from_slice(b"SIP/2.0 ");
    decimal(u64::from(status), out);
    out.push(b' ');
    one_line(reason.unwrap_or_else(|| status_phrase(status)).as_bytes(), out);
    line_end(out);
}

/// A line of a known field.
pub fn header(name: HeaderName, value: &[u8], out: &mut Vec<u8>) {
    header_line(name.as_str().as_bytes(), value, out);
}

/// A line of any field.
pub fn header_line(name: &[u8], value: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(name);
    out.extend_from_slice(b": ");
    out.extend_from_slice(value);
    line_end(out);
}

/// A line of a field whose value is a number.
pub fn number_header(name: HeaderName, value: u64, out: &mut Vec<u8>) {
    out.extend_from_slice(name.as_str().as_bytes());
    out.extend_from_slice(b": ");
    decimal(value, out);
    line_end(out);
}

/// A `CSeq` line.
pub fn cseq(number: u32, method: Method<'_>, out: &mut Vec<u8>) {
    out.extend_from_slice(b"CSeq: ");
    decimal(u64::from(number), out);
    out.push(b' ');
    out.extend_from_slice(method.as_bytes());
    line_end(out);
}

/// A `Via` line of a request we send: sent-by is `host` or `host:port`, `rport` asks for RFC 3581, and the branch is the
/// cookie `z9hG4bK` and what `branch` appends.
pub fn via(transport: &[u8], sent_by: &[u8], rport: bool, branch: impl FnOnce(&mut Vec<u8>), out: &mut Vec<u8>) {
    out.extend_from_slice(b"Via: SIP/2.0/");
    out.extend_from_slice(transport);
    out.push(b' ');
    out.extend_from_slice(sent_by);
    if rport {
        out.extend_from_slice(b";rport");
    }
    out.extend_from_slice(b";branch=z9hG4bK");
    branch(out);
    line_end(out);
}

/// `Content-Length`, the empty line, and the body: the end of every message we write.
pub fn body(body: &[u8], out: &mut Vec<u8>) {
    number_header(HeaderName::ContentLength, body.len() as u64, out);
    line_end(out);
    out.extend_from_slice(body);
}

/// CRLF.
pub fn line_end(out: &mut Vec<u8>) {
    out.extend_from_slice(b"\r\n");
}

/// A number in decimal digits.
pub fn decimal(number: u64, out: &mut Vec<u8>) {
    let mut digits = [0_u8; 20];
    let mut at = digits.len();
    let mut rest = number;
    for place in digits.iter_mut().rev() {
        *place = b'0' + (rest % 10) as u8;
        rest /= 10;
        at -= 1;
        if rest == 0 {
            break;
        }
    }
    out.extend_from_slice(digits.get(at..).unwrap_or_default());
}

/// Bytes in lower-case hexadecimal digits.
pub fn hexadecimal(bytes: &[u8], out: &mut Vec<u8>) {
    for &byte in bytes {
        out.push(digit(byte >> 4));
        out.push(digit(byte & 15));
    }
}

fn digit(nibble: u8) -> u8 {
    if nibble < 10 { b'0' + nibble } else { b'a' + (nibble - 10) }
}

/// A `quoted-string` (RFC 3261 section 25.1): quotes and backslashes escaped, line ends and other controls as a space.
pub fn quoted_string(text: &[u8], out: &mut Vec<u8>) {
    out.push(b'"');
    for &byte in text {
        match byte {
            b'"' | b'\\' => out.extend_from_slice(&[b'\\', byte]),
            b'\t' => out.push(byte),
            0..=0x1f | 0x7f => out.push(b' '),
            _ => out.push(byte),
        }
    }
    out.push(b'"');
}

/// Text for a reason phrase or an unstructured value: line ends and other controls as a space.
pub fn one_line(text: &[u8], out: &mut Vec<u8>) {
    out.extend(text.iter().map(|&byte| if matches!(byte, 0..=8 | 10..=0x1f | 0x7f) { b' ' } else { byte }));
}

/// Text as the user part of a URI: what `user` of RFC 3261 section 25.1 does not allow is written as `%` and two upper-case
/// hexadecimal digits. `;`, `?` and `,` are allowed there and not the same as their escaped forms (section 19.1.4); with
/// them the URI needs its angle brackets in a header.
pub fn escape_user(text: &[u8], out: &mut Vec<u8>) {
    for &byte in text {
        if chars::is(byte, chars::USER) {
            out.push(byte);
        } else {
            escape(byte, out);
        }
    }
}

/// Text as the value of a URI parameter (`paramchar` of RFC 3261 section 25.1).
pub fn escape_param(text: &[u8], out: &mut Vec<u8>) {
    for &byte in text {
        if chars::is(byte, chars::PARAM) {
            out.push(byte);
        } else {
            escape(byte, out);
        }
    }
}

fn escape(byte: u8, out: &mut Vec<u8>) {
    out.extend_from_slice(&[b'%', digit(byte >> 4).to_ascii_uppercase(), digit(byte & 15).to_ascii_uppercase()]);
}

/// Undoes [`escape_user`] and every other percent-encoding. A `%` without two digits stays as it is.
pub fn unescape(escaped: &[u8], out: &mut Vec<u8>) {
    let mut rest = escaped;
    while let Some((&byte, tail)) = rest.split_first() {
        let decoded = match (byte, tail) {
            (b'%', [high, low, ..]) => {
                char::from(*high).to_digit(16).zip(char::from(*low).to_digit(16)).map(|(high, low)| high * 16 + low)
            }
            _ => None,
        };
        match decoded.and_then(|value| u8::try_from(value).ok()) {
            Some(value) => {
                out.push(value);
                rest = tail.get(2..).unwrap_or_default();
            }
            None => {
                out.push(byte);
                rest = tail;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn written(write: impl FnOnce(&mut Vec<u8>)) -> String {
        let mut out = Vec::new();
        write(&mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn lines_are_written_as_the_grammar_has_them() {
        let branch = |out: &mut Vec<u8>| out.extend_from_slice(b"abc");
        assert_eq!(
            written(|out| request_line(Method::Message, b"sip:a@b.example", out)),
            "MESSAGE sip:a@b.example SIP/2.0\r\n"
        );
        assert_eq!(written(|out| status_line(202, None, out)), "SIP/2.0 202 Accepted\r\n");
        assert_eq!(written(|out| status_line(400, Some("No\r\nX: y"), out)), "SIP/2.0 400 No  X: y\r\n");
        assert_eq!(written(|out| header(HeaderName::CallId, b"1@h", out)), "Call-ID: 1@h\r\n");
        assert_eq!(written(|out| cseq(4_294_967_295, Method::Other(b"FOO"), out)), "CSeq: 4294967295 FOO\r\n");
        assert_eq!(
            written(|out| via(b"UDP", b"[2001:db8::1]:5060", true, branch, out)),
            "Via: SIP/2.0/UDP [2001:db8::1]:5060;rport;branch=z9hG4bKabc\r\n"
        );
        assert_eq!(written(|out| body(b"hi", out)), "Content-Length: 2\r\n\r\nhi");
    }

    #[test]
    fn a_user_part_holds_any_text() {
        for (text, escaped) in [
            ("romeo", "romeo"),
            ("a@b", "a%40b"),
            ("o'hara & co", "o'hara%20&%20co"),
            ("a;b?c,d", "a;b?c,d"),
            ("j\u{fc}rgen", "j%C3%BCrgen"),
            ("100%", "100%25"),
        ] {
            assert_eq!(written(|out| escape_user(text.as_bytes(), out)), escaped);
            assert_eq!(written(|out| unescape(escaped.as_bytes(), out)), text);
        }
        assert_eq!(written(|out| unescape(b"%zz%4", out)), "%zz%4");
    }

    /// RFC 7247 section 6.2 table 1, which is the `user` of RFC 3261 section 25.1 and percent-encoding for the rest.
    #[test]
    fn each_character_of_a_user_part() {
        for byte in b' '..=b'~' {
            let plain = byte.is_ascii_alphanumeric() || b"!$&'()*+,-./;=?_~".contains(&byte);
            let expected = if plain { char::from(byte).to_string() } else { format!("%{byte:02X}") };
            assert_eq!(written(|out| escape_user(&[byte], out)), expected);
        }
    }

    proptest! {
        #[test]
        fn numbers_are_written_like_everywhere(number: u64) {
            prop_assert_eq!(written(|out| decimal(number, out)), number.to_string());
        }

        #[test]
        fn escaping_is_undone(text: Vec<u8>) {
            for escape in [escape_user, escape_param] {
                let (mut escaped, mut back) = (Vec::new(), Vec::new());
                escape(&text, &mut escaped);
                unescape(&escaped, &mut back);
                prop_assert_eq!(&back, &text);
                prop_assert!(escaped.iter().all(u8::is_ascii_graphic));
            }
        }

        #[test]
        fn quoting_is_undone(text in "[^\\p{Cc}]*") {
            let mut quoted = Vec::new();
            quoted_string(text.as_bytes(), &mut quoted);
            prop_assert_eq!(&*super::super::headers::unquote(&quoted), text.as_bytes());
        }
    }
}
