//! Writing XML, straight into the buffer that leaves.
//!
//! What XML forbids is never written: such a character, and bytes that are not UTF-8, become U+FFFD. Every function that
//! takes text from elsewhere says how often that happened.

const REPLACEMENT: &[u8] = "\u{FFFD}".as_bytes();

/// What an octet needs.
const PLAIN: u8 = 0;
/// Escaped everywhere: `&`, `<`, `>`, CR.
const ALWAYS: u8 = 1;
/// Escaped in attributes: quotes, TAB, LF.
const IN_ATTRIBUTES: u8 = 2;
/// A control character that XML forbids.
const FORBIDDEN: u8 = 3;
/// May begin U+FFFE or U+FFFF.
const SUSPECT: u8 = 4;

/// Octets that are looked at together.
const BLOCK: usize = 16;

const CLASS: [u8; 256] = {
    let mut class = [PLAIN; 256];
    let mut octet = 0;
    while octet < 0x20 {
        class[octet] = FORBIDDEN;
        octet += 1;
    }
    class[b'\r' as usize] = ALWAYS;
    class[b'&' as usize] = ALWAYS;
    class[b'<' as usize] = ALWAYS;
    class[b'>' as usize] = ALWAYS;
    class[b'\t' as usize] = IN_ATTRIBUTES;
    class[b'\n' as usize] = IN_ATTRIBUTES;
    class[b'\'' as usize] = IN_ATTRIBUTES;
    class[b'"' as usize] = IN_ATTRIBUTES;
    class[0xEF] = SUSPECT;
    class
};

/// Appends `text` as character data. CR is written as a reference, so that it survives the reader's line ends (XML 1.0
/// section 2.11). Returns how many characters had to be replaced.
pub fn escape_text(text: impl AsRef<[u8]>, out: &mut Vec<u8>) -> usize {
    escape(text.as_ref(), ALWAYS, out)
}

/// Appends `value` as the value of an attribute, for either quote. White space other than the space is written as
/// references, so that it survives normalisation (XML 1.0 section 3.3.3).
pub fn escape_attribute(value: impl AsRef<[u8]>, out: &mut Vec<u8>) -> usize {
    escape(value.as_ref(), IN_ATTRIBUTES, out)
}

/// Appends ` name='value'`.
pub fn attribute(name: &str, value: impl AsRef<[u8]>, out: &mut Vec<u8>) -> usize {
    out.push(b' ');
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b"='");
    let replaced = escape_attribute(value, out);
    out.push(b'\'');
    replaced
}

/// Appends `<name>text</name>`.
pub fn element(name: &str, text: impl AsRef<[u8]>, out: &mut Vec<u8>) -> usize {
    out.push(b'<');
    out.extend_from_slice(name.as_bytes());
    out.push(b'>');
    let replaced = escape_text(text, out);
    close(name, out);
    replaced
}

/// Appends `</name>`.
pub fn close(name: &str, out: &mut Vec<u8>) {
    out.extend_from_slice(b"</");
    out.extend_from_slice(name.as_bytes());
    out.push(b'>');
}

fn escape(bytes: &[u8], up_to: u8, out: &mut Vec<u8>) -> usize {
    if is_plain(bytes) {
        out.extend_from_slice(bytes);
        return 0;
    }
    out.reserve(bytes.len());
    if bytes.is_ascii() || std::str::from_utf8(bytes).is_ok() {
        return escape_valid(bytes, up_to, out);
    }
    let mut replaced = 0;
    for chunk in bytes.utf8_chunks() {
        replaced += escape_valid(chunk.valid().as_bytes(), up_to, out);
        if !chunk.invalid().is_empty() {
            out.extend_from_slice(REPLACEMENT);
            replaced += 1;
        }
    }
    replaced
}

/// Whether nothing has to be done about any of these octets, wherever they stand: nearly always.
fn is_plain(bytes: &[u8]) -> bool {
    // A sum without a branch, so that the compiler takes all of a block at once.
    let is = |octet: u8, special: u8| u8::from(octet == special);
    let quote = |octet| is(octet, b'\'') | is(octet, b'"');
    let markup = |octet| is(octet, b'&') | is(octet, b'<') | is(octet, b'>');
    let marks = |octet: u8| quote(octet) | markup(octet) | u8::from(octet < b' ') | u8::from(!octet.is_ascii());
    let is_plain_block = |block: &[u8; BLOCK]| block.map(marks) == [0; BLOCK];
    match bytes.last_chunk() {
        Some(last) => bytes.as_chunks().0.iter().all(is_plain_block) && is_plain_block(last),
        None => bytes.iter().all(|&octet| octet.is_ascii() && CLASS[usize::from(octet)] == PLAIN),
    }
}

fn escape_valid(bytes: &[u8], up_to: u8, out: &mut Vec<u8>) -> usize {
    let mut replaced = 0;
    let mut rest = bytes;
    while let Some(place) = rest.iter().position(|octet| CLASS[usize::from(*octet)] != PLAIN) {
        let (plain, special) = rest.split_at(place);
        out.extend_from_slice(plain);
        let Some((&octet, behind)) = special.split_first() else { break };
        rest = behind;
        let reference: &[u8] = match (octet, CLASS[usize::from(octet)]) {
            (_, FORBIDDEN) => {
                replaced += 1;
                REPLACEMENT
            }
            (_, SUSPECT) => {
                if let [0xBF, 0xBE | 0xBF, behind @ ..] = rest {
                    rest = behind;
                    replaced += 1;
                    REPLACEMENT
                } else {
                    out.push(octet);
                    continue;
                }
            }
            (_, class) if class > up_to => {
                out.push(octet);
                continue;
            }
            (b'&', _) => b"&amp;",
            (b'<', _) => b"&lt;",
            (b'>', _) => b"&gt;",
            (b'\'', _) => b"&apos;",
            (b'"', _) => b"&quot;",
            (b'\t', _) => b"&#9;",
            (b'\n', _) => b"&#10;",
            _ => b"&#13;",
        };
        out.extend_from_slice(reference);
    }
    out.extend_from_slice(rest);
    replaced
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_escaped_where() {
        let rows: &[(&[u8], &str, &str, usize)] = &[
            (b"plain", "plain", "plain", 0),
            (b"a<b>&c", "a&lt;b&gt;&amp;c", "a&lt;b&gt;&amp;c", 0),
            (b"]]>", "]]&gt;", "]]&gt;", 0),
            (b"'\"\t\n\r", "'\"\t\n&#13;", "&apos;&quot;&#9;&#10;&#13;", 0),
            ("é\u{FFFD}\u{FEFF}".as_bytes(), "é\u{FFFD}\u{FEFF}", "é\u{FFFD}\u{FEFF}", 0),
            (b"\0a\x1F\x7F", "\u{FFFD}a\u{FFFD}\x7F", "\u{FFFD}a\u{FFFD}\x7F", 2),
            ("\u{FFFE}|\u{FFFF}".as_bytes(), "\u{FFFD}|\u{FFFD}", "\u{FFFD}|\u{FFFD}", 2),
            (b"a\xFFb\xC3", "a\u{FFFD}b\u{FFFD}", "a\u{FFFD}b\u{FFFD}", 2),
        ];
        for (input, text, value, replaced) in rows {
            let mut out = Vec::new();
            assert_eq!(escape_text(input, &mut out), *replaced, "{input:?}");
            assert_eq!(String::from_utf8_lossy(&out), *text);
            out.clear();
            assert_eq!(escape_attribute(input, &mut out), *replaced, "{input:?}");
            assert_eq!(String::from_utf8_lossy(&out), *value);
        }
    }

    #[test]
    fn the_place_of_an_octet_does_not_matter() {
        for length in 0..40 {
            let mut text = vec![b'x'; length];
            for place in 0..length {
                for (octet, escaped) in
                    [(b'<', "&lt;"), (b'\'', "&apos;"), (b'\t', "&#9;"), (1, "\u{FFFD}"), (0xC3, "\u{FFFD}")]
                {
                    text[place] = octet;
                    let mut out = Vec::new();
                    escape_attribute(&text, &mut out);
                    let expected = ["x".repeat(place).as_str(), escaped, &"x".repeat(length - place - 1)].concat();
                    assert_eq!(String::from_utf8(out).unwrap(), expected, "{octet} at {place} of {length}");
                }
                text[place] = b'x';
            }
        }
    }

    #[test]
    fn elements_and_attributes() {
        let mut out = b"<a".to_vec();
        attribute("b", "c'd", &mut out);
        out.push(b'>');
        element("e", "f&g", &mut out);
        close("a", &mut out);
        assert_eq!(out, b"<a b='c&apos;d'><e>f&amp;g</e></a>");
    }
}
