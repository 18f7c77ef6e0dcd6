//! The escapes of message headers (RFC 3862 section 2.3).

use std::borrow::Cow;

/// Resolves escapes. A backslash always begins one; an unknown one is the character behind it, and a lone backslash at the
/// end is nothing (section 2.3.1). Two escapes that are a surrogate pair are one character; half a pair is U+FFFD.
pub fn unescape(text: &str) -> Cow<'_, str> {
    let Some(first) = text.find('\\') else { return Cow::Borrowed(text) };
    let (before, mut rest) = text.split_at(first);
    let mut plain = String::with_capacity(text.len());
    plain.push_str(before);
    while let Some(behind) = rest.strip_prefix('\\') {
        rest = take_escape(behind, &mut plain);
        let end = rest.find('\\').unwrap_or(rest.len());
        let (before, behind) = rest.split_at(end);
        plain.push_str(before);
        rest = behind;
    }
    Cow::Owned(plain)
}

/// Takes an escape whose backslash is already gone.
fn take_escape<'a>(text: &'a str, plain: &mut String) -> &'a str {
    if let Some((unit, behind)) = unit(text) {
        let pair = behind.strip_prefix('\\').and_then(self::unit);
        let (decoded, rest) = match pair {
            Some((low, behind)) if (0xdc00..0xe000).contains(&low) && (0xd800..0xdc00).contains(&unit) => {
                (char::decode_utf16([unit, low]).next(), behind)
            }
            _ => (char::decode_utf16([unit]).next(), behind),
        };
        plain.push(decoded.and_then(Result::ok).unwrap_or(char::REPLACEMENT_CHARACTER));
        return rest;
    }
    let mut characters = text.chars();
    match characters.next() {
        Some('b') => plain.push('\u{8}'),
        Some('t') => plain.push('\t'),
        Some('n') => plain.push('\n'),
        Some('r') => plain.push('\r'),
        Some(other) => plain.push(other),
        None => {}
    }
    characters.as_str()
}

/// `uxxxx` at the front, and what follows.
fn unit(text: &str) -> Option<(u16, &str)> {
    let digits = text.strip_prefix('u')?;
    let (digits, rest) = digits.split_at_checked(4)?;
    let unit = digits.bytes().try_fold(0, |unit, digit| Some(unit << 4 | char::from(digit).to_digit(16)? as u16))?;
    Some((unit, rest))
}

/// Appends `text` with what must be escaped escaped, and nothing else (section 2.3.1). `quote` is the quote that the text
/// will stand in.
pub fn escape(text: &str, quote: Option<char>, out: &mut Vec<u8>) {
    for character in text.chars() {
        match character {
            '\\' => out.extend_from_slice(b"\\\\"),
            '\u{8}' => out.extend_from_slice(b"\\b"),
            '\t' => out.extend_from_slice(b"\\t"),
            '\n' => out.extend_from_slice(b"\\n"),
            '\r' => out.extend_from_slice(b"\\r"),
            '\0'..='\x1f' | '\x7f' => {
                out.extend_from_slice(b"\\u00");
                for digit in [character as u8 >> 4, character as u8 & 0xf] {
                    out.push(b"0123456789abcdef"[usize::from(digit)]);
                }
            }
            _ => {
                if Some(character) == quote {
                    out.push(b'\\');
                }
                out.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
            }
        }
    }
}
