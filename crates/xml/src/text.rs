//! Characters: which are allowed, what references stand for, how names look.

use crate::Error;
use memchr::{memchr, memchr_iter, memchr2};
use std::borrow::Cow;

/// The `Char` production of XML 1.0 section 2.2.
pub(crate) fn is_char(c: char) -> bool {
    matches!(c, '\t' | '\n' | '\r' | '\u{20}'..='\u{D7FF}' | '\u{E000}'..='\u{FFFD}' | '\u{10000}'..='\u{10FFFF}')
}

/// The `S` production of XML 1.0 section 2.3.
pub(crate) fn is_white_space(octet: u8) -> bool {
    matches!(octet, b' ' | b'\t' | b'\r' | b'\n')
}

/// Reads bytes as UTF-8 and checks every character.
pub(crate) fn check_characters(bytes: &[u8]) -> Result<&str, Error> {
    let text = std::str::from_utf8(bytes).map_err(|_| Error::NotUtf8)?;
    // No branch inside, so that the compiler may take many octets at once.
    let control =
        bytes.iter().fold(false, |found, &b| found | ((b < 0x20) & (b != b'\t') & (b != b'\n') & (b != b'\r')));
    if control {
        return Err(Error::ForbiddenCharacter);
    }
    // U+FFFE and U+FFFF are EF BF BE and EF BF BF; UTF-8 has no surrogates.
    for place in memchr_iter(0xEF, bytes) {
        if let Some([0xBF, 0xBE | 0xBF]) = bytes.get(place + 1..place + 3) {
            return Err(Error::ForbiddenCharacter);
        }
    }
    Ok(text)
}

/// The prefix (empty if none) and the local part of a qualified name (Namespaces in XML 1.0 section 4).
pub(crate) fn split_name(name: &str) -> Result<(&str, &str), Error> {
    // Nearly all names are so.
    if !name.is_empty() && name.bytes().all(|octet| octet.is_ascii_lowercase()) {
        return Ok(("", name));
    }
    let mut colon = None;
    let mut plain = true;
    for (place, octet) in name.bytes().enumerate() {
        match octet {
            b'a'..=b'z' | b'A'..=b'Z' | b'_' => {}
            b'0'..=b'9' | b'-' | b'.' if place > 0 => {}
            b':' if colon.is_none() => colon = Some(place),
            0x80.. => plain = false,
            _ => return Err(Error::Name),
        }
    }
    let (prefix, local) = match colon {
        None => ("", name),
        Some(colon) => {
            let prefix = name.get(..colon).unwrap_or_default();
            if prefix.is_empty() {
                return Err(Error::Name);
            }
            (prefix, name.get(colon + 1..).unwrap_or_default())
        }
    };
    // The local part must begin like a name too.
    if local.is_empty() || local.starts_with(|c: char| matches!(c, '0'..='9' | '-' | '.')) {
        return Err(Error::Name);
    }
    if !plain && !(is_nc_name(local) && (prefix.is_empty() || is_nc_name(prefix))) {
        return Err(Error::Name);
    }
    Ok((prefix, local))
}

fn is_nc_name(name: &str) -> bool {
    let mut chars = name.chars();
    chars.next().is_some_and(is_name_start) && chars.all(is_name_char)
}

/// `NameStartChar` of XML 1.0 section 2.3, without the colon.
fn is_name_start(c: char) -> bool {
    matches!(c,
        'A'..='Z' | '_' | 'a'..='z' | '\u{C0}'..='\u{D6}' | '\u{D8}'..='\u{F6}' | '\u{F8}'..='\u{2FF}'
        | '\u{370}'..='\u{37D}' | '\u{37F}'..='\u{1FFF}' | '\u{200C}'..='\u{200D}' | '\u{2070}'..='\u{218F}'
        | '\u{2C00}'..='\u{2FEF}' | '\u{3001}'..='\u{D7FF}' | '\u{F900}'..='\u{FDCF}' | '\u{FDF0}'..='\u{FFFD}'
        | '\u{10000}'..='\u{EFFFF}')
}

/// `NameChar`, without the colon.
fn is_name_char(c: char) -> bool {
    is_name_start(c) || matches!(c, '-' | '.' | '0'..='9' | '\u{B7}' | '\u{300}'..='\u{36F}' | '\u{203F}'..='\u{2040}')
}

/// What the reference `name` (between `&` and `;`) stands for (XML 1.0 sections 4.1 and 4.6).
fn resolve(name: &str) -> Result<char, Error> {
    let Some(number) = name.strip_prefix('#') else {
        return match name {
            "lt" => Ok('<'),
            "gt" => Ok('>'),
            "amp" => Ok('&'),
            "apos" => Ok('\''),
            "quot" => Ok('"'),
            _ if split_name(name).is_ok() => Err(Error::UnknownEntity),
            _ => Err(Error::Reference),
        };
    };
    let (digits, radix) = match number.strip_prefix('x') {
        Some(digits) => (digits, 16),
        None => (number, 10),
    };
    // `from_str_radix` would take a sign.
    if digits.is_empty() || !digits.bytes().all(|digit| char::from(digit).is_digit(radix)) {
        return Err(Error::Reference);
    }
    // So many digits that they do not fit are a character that XML does not have.
    let code = u32::from_str_radix(digits, radix).map_err(|_| Error::ForbiddenCharacter)?;
    char::from_u32(code).filter(|c| is_char(*c)).ok_or(Error::ForbiddenCharacter)
}

/// Splits `rest`, which begins behind an `&`, into the character meant and what follows the `;`.
fn take_reference(rest: &str) -> Result<(char, &str), Error> {
    let end = memchr(b';', rest.as_bytes()).ok_or(Error::Reference)?;
    let name = rest.get(..end).unwrap_or_default();
    Ok((resolve(name)?, rest.get(end + 1..).unwrap_or_default()))
}

/// Whether a value of an attribute is what stands there, so that [`attribute_value`] need not look.
pub(crate) fn is_plain_value(raw: &str) -> Result<bool, Error> {
    let mut plain = true;
    let mut less_than = false;
    for &octet in raw.as_bytes() {
        less_than |= octet == b'<';
        plain &= octet != b'&' && octet >= b' ';
    }
    if less_than { Err(Error::LessThan) } else { Ok(plain) }
}

/// The value of an attribute: references resolved, white space made spaces (XML 1.0 section 3.3.3), line ends first made
/// one LF (2.11). Borrowed where nothing had to be done.
pub(crate) fn attribute_value(raw: &str) -> Result<Cow<'_, str>, Error> {
    let special = |octet: &u8| matches!(octet, b'&' | b'\t' | b'\r' | b'\n');
    let Some(first) = raw.as_bytes().iter().position(special) else { return Ok(Cow::Borrowed(raw)) };
    let mut value = String::with_capacity(raw.len());
    let mut rest = raw;
    let mut next = Some(first);
    while let Some(place) = next {
        value.push_str(rest.get(..place).unwrap_or_default());
        let octet = rest.as_bytes().get(place).copied().unwrap_or_default();
        rest = rest.get(place + 1..).unwrap_or_default();
        if octet == b'&' {
            let (character, behind) = take_reference(rest)?;
            value.push(character);
            rest = behind;
        } else {
            if octet == b'\r' {
                rest = rest.strip_prefix('\n').unwrap_or(rest);
            }
            value.push(' ');
        }
        next = rest.as_bytes().iter().position(special);
    }
    value.push_str(rest);
    Ok(Cow::Owned(value))
}

/// Adds a piece of text between markup to `text`: references resolved, line ends made LF (XML 1.0 section 2.11). Borrowed
/// where nothing had to be done.
pub(crate) fn append_text<'a>(raw: &'a str, text: &mut Cow<'a, str>) -> Result<(), Error> {
    let bytes = raw.as_bytes();
    for place in memchr_iter(b'>', bytes) {
        // XML 1.0 section 2.4: `]]>` must not appear in text.
        if bytes.get(..place).is_some_and(|before| before.ends_with(b"]]")) {
            return Err(Error::CDataEnd);
        }
    }
    if memchr2(b'&', b'\r', bytes).is_none() {
        append(raw, text);
        return Ok(());
    }
    let text = text.to_mut();
    let mut rest = raw;
    while let Some(place) = memchr(b'&', rest.as_bytes()) {
        push_with_line_ends(rest.get(..place).unwrap_or_default(), text);
        let (character, behind) = take_reference(rest.get(place + 1..).unwrap_or_default())?;
        text.push(character);
        rest = behind;
    }
    push_with_line_ends(rest, text);
    Ok(())
}

/// Adds the content of a CDATA section: nothing in it is markup, line ends are made LF.
pub(crate) fn append_cdata<'a>(raw: &'a str, text: &mut Cow<'a, str>) {
    if memchr(b'\r', raw.as_bytes()).is_none() {
        append(raw, text);
    } else {
        push_with_line_ends(raw, text.to_mut());
    }
}

fn append<'a>(raw: &'a str, text: &mut Cow<'a, str>) {
    if text.is_empty() {
        *text = Cow::Borrowed(raw);
    } else if !raw.is_empty() {
        text.to_mut().push_str(raw);
    }
}

fn push_with_line_ends(raw: &str, text: &mut String) {
    let mut rest = raw;
    while let Some(place) = memchr(b'\r', rest.as_bytes()) {
        text.push_str(rest.get(..place).unwrap_or_default());
        text.push('\n');
        rest = rest.get(place + 1..).unwrap_or_default();
        rest = rest.strip_prefix('\n').unwrap_or(rest);
    }
    text.push_str(rest);
}
