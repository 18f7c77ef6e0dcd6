//! Characters: which are allowed, what references stand for, how names look.

use crate::Error;
use memchr::{memchr, memchr_iter, memchr3};
use quick_xml::escape::resolve_xml_entity;
use quick_xml::events::BytesRef;
use std::borrow::Cow;

/// The `Char` production of XML 1.0 section 2.2.
pub(crate) fn is_char(c: char) -> bool {
    matches!(c, '\t' | '\n' | '\r' | '\u{20}'..='\u{D7FF}' | '\u{E000}'..='\u{FFFD}' | '\u{10000}'..='\u{10FFFF}')
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

/// A name without a colon.
pub(crate) fn is_nc_name(name: &str) -> bool {
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
        let found = resolve_xml_entity(name).and_then(|text| text.chars().next());
        return found.ok_or(if is_nc_name(name) { Error::UnknownEntity } else { Error::Reference });
    };
    let (digits, radix) = number.strip_prefix('x').map_or((number, 10), |digits| (digits, 16));
    if digits.is_empty() || !digits.bytes().all(|digit| char::from(digit).is_digit(radix)) {
        return Err(Error::Reference);
    }
    // What no character has as its number, quick-xml refuses; what XML forbids, it does not.
    let character = BytesRef::new(name).resolve_char_ref().ok().flatten();
    character.filter(|c| is_char(*c)).ok_or(Error::ForbiddenCharacter)
}

/// Splits `rest`, which begins behind an `&`, into the character meant and what follows the `;`.
fn take_reference(rest: &str) -> Result<(char, &str), Error> {
    let end = memchr(b';', rest.as_bytes()).ok_or(Error::Reference)?;
    let name = rest.get(..end).unwrap_or_default();
    Ok((resolve(name)?, rest.get(end + 1..).unwrap_or_default()))
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
    if memchr3(b'>', b'&', b'\r', bytes).is_none() {
        append(raw, text);
        return Ok(());
    }
    for place in memchr_iter(b'>', bytes) {
        // XML 1.0 section 2.4: `]]>` must not appear in text.
        if bytes.get(..place).is_some_and(|before| before.ends_with(b"]]")) {
            return Err(Error::CDataEnd);
        }
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
