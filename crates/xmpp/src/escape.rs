//! JID escaping (XEP-0106): how a localpart carries the nine characters it must not have.
//!
//! Both directions work on localparts only, on text that has been decoded from whatever syntax it came in. Unescaping
//! expects the normal form that [`crate::jid`] gives, where hexadecimal digits are in lower case (XEP-0106 4.1 rule 2).
//!
//! [`unescape_local`] undoes [`escape_local`] for every text that can be escaped. The opposite does not hold for every
//! localpart: `\5cx` and `\20x` are legal localparts that no escaping yields; [`is_escaping`] tells.

use std::borrow::Cow;

/// The feature of those who do it (XEP-0106 section 6).
pub const FEATURE: &str = "jid\\20escaping";

/// A text that has no escaped form: the sequence `\20` must not begin or end a localpart (XEP-0106 3.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a localpart can neither begin nor end with a space")]
pub struct EdgeSpace;

/// The escape sequence of a character (XEP-0106 table 1), but for the backslash, which is escaped only where it would
/// be misread.
fn sequence(byte: u8) -> Option<&'static str> {
    Some(match byte {
        b' ' => "\\20",
        b'"' => "\\22",
        b'&' => "\\26",
        b'\'' => "\\27",
        b'/' => "\\2f",
        b':' => "\\3a",
        b'<' => "\\3c",
        b'>' => "\\3e",
        b'@' => "\\40",
        _ => return None,
    })
}

/// The character that the two digits behind a backslash stand for (XEP-0106 table 2). Case is significant (3.1).
fn escaped(digits: &[u8]) -> Option<u8> {
    Some(match digits {
        b"20" => b' ',
        b"22" => b'"',
        b"26" => b'&',
        b"27" => b'\'',
        b"2f" => b'/',
        b"3a" => b':',
        b"3c" => b'<',
        b"3e" => b'>',
        b"40" => b'@',
        b"5c" => b'\\',
        _ => return None,
    })
}

/// Whether a backslash followed by `rest` would be read as an escape sequence, also after the localpart has been folded
/// to lower case.
fn begins_sequence(rest: &[u8]) -> bool {
    match rest {
        [high, low, ..] => escaped(&[high.to_ascii_lowercase(), low.to_ascii_lowercase()]).is_some(),
        _ => false,
    }
}

/// The escaped form of a text. The result is not yet a localpart: characters that no escaping makes legal are left to
/// [`crate::jid::normal_local`].
///
/// ```
/// use xmpp::escape::{escape_local, unescape_local};
///
/// assert_eq!(escape_local("d'artagnan").unwrap(), r"d\27artagnan");
/// assert_eq!(escape_local(r"c:\5commas").unwrap(), r"c\3a\5c5commas");
/// assert_eq!(unescape_local(r"c\3a\5c5commas"), r"c:\5commas");
/// assert!(escape_local(" leading").is_err());
/// ```
pub fn escape_local(text: &str) -> Result<Cow<'_, str>, EdgeSpace> {
    if text.starts_with(' ') || text.ends_with(' ') {
        return Err(EdgeSpace);
    }
    let needs = |index: usize, byte: u8, rest: &[u8]| {
        sequence(byte).or_else(|| (byte == b'\\' && begins_sequence(rest)).then_some("\\5c")).map(|s| (index, s))
    };
    let mut places = text
        .bytes()
        .enumerate()
        .filter_map(|(index, byte)| needs(index, byte, text.as_bytes().get(index + 1..).unwrap_or_default()));
    let Some(mut place) = places.next() else { return Ok(Cow::Borrowed(text)) };
    let mut result = String::with_capacity(text.len() + 16);
    let mut copied = 0;
    loop {
        // Every place is an ASCII character, so the cuts are at character boundaries.
        result.push_str(text.get(copied..place.0).unwrap_or_default());
        result.push_str(place.1);
        copied = place.0 + 1;
        match places.next() {
            Some(next) => place = next,
            None => break,
        }
    }
    result.push_str(text.get(copied..).unwrap_or_default());
    Ok(Cow::Owned(result))
}

/// The text that a localpart in normal form stands for. Partial and unknown sequences stay as they are (XEP-0106 4.3).
pub fn unescape_local(local: &str) -> Cow<'_, str> {
    let mut rest = local;
    let mut result: Option<String> = None;
    let mut scanned = 0;
    while let Some(found) = rest.get(scanned..).and_then(|tail| memchr::memchr(b'\\', tail.as_bytes())) {
        let at = scanned + found;
        match rest.as_bytes().get(at + 1..at + 3).and_then(escaped) {
            Some(byte) => {
                let result = result.get_or_insert_with(|| String::with_capacity(local.len()));
                result.push_str(rest.get(..at).unwrap_or_default());
                result.push(byte as char);
                rest = rest.get(at + 3..).unwrap_or_default();
                scanned = 0;
            }
            None => scanned = at + 1,
        }
    }
    match result {
        None => Cow::Borrowed(local),
        Some(mut result) => {
            result.push_str(rest);
            Cow::Owned(result)
        }
    }
}

/// Whether a localpart is what [`escape_local`] makes of its unescaped text, so that the way there and back ends at the
/// same address.
pub fn is_escaping(local: &str) -> bool {
    escape_local(&unescape_local(local)).is_ok_and(|again| again == local)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::jid::normal_local;
    use proptest::prelude::*;

    /// XEP-0106 tables 1 and 2, the examples of 3, 4.2, 4.3 and of the section "Examples".
    const PAIRS: &[(&str, &str)] = &[
        ("space cadet", r"space\20cadet"),
        (r#"call me "ishmael""#, r"call\20me\20\22ishmael\22"),
        ("at&t guy", r"at\26t\20guy"),
        ("d'artagnan", r"d\27artagnan"),
        ("/.fanboy", r"\2f.fanboy"),
        ("::foo::", r"\3a\3afoo\3a\3a"),
        ("<foo>", r"\3cfoo\3e"),
        ("user@host", r"user\40host"),
        (r"c:\net", r"c\3a\net"),
        (r"c:\\net", r"c\3a\\net"),
        (r"c:\cool stuff", r"c\3a\cool\20stuff"),
        (r"c:\5commas", r"c\3a\5c5commas"),
        (r"\3and\2is\5cool", r"\5c3and\2is\5c5cool"),
        ("treville@musketeers.lit", r"treville\40musketeers.lit"),
        (r"\2plus\2is\4", r"\2plus\2is\4"),
        (r"foo\bar", r"foo\bar"),
        (r"foob\41r", r"foob\41r"),
        (r"\5c", r"\5c5c"),
        (r"\27", r"\5c27"),
        (r"\20x", r"\5c20x"),
        (r"\", r"\"),
        (r"a\2", r"a\2"),
        ("tr\u{e9}ville\u{e9} \u{e9}", "tr\u{e9}ville\u{e9}\\20\u{e9}"),
    ];

    #[test]
    fn tables_and_examples() {
        for (text, local) in PAIRS {
            assert_eq!(escape_local(text).as_deref(), Ok(*local), "{text}");
            assert_eq!(unescape_local(local), *text, "{local}");
            assert!(is_escaping(local));
        }
    }

    #[test]
    fn no_space_at_the_edges() {
        for text in [" a", "a ", " "] {
            assert_eq!(escape_local(text), Err(EdgeSpace));
        }
    }

    #[test]
    fn hexadecimal_digits_are_in_lower_case_on_the_wire() {
        assert_eq!(unescape_local(r"a\2Fb"), r"a\2Fb", "not in normal form, not a sequence");
        assert_eq!(unescape_local(&normal_local(r"a\2Fb").unwrap()), "a/b");
        // A text that would become a sequence by folding is escaped too.
        assert_eq!(escape_local(r"a\2Fb").as_deref(), Ok(r"a\5c2Fb"));
    }

    #[test]
    fn legal_localparts_that_are_no_escaping() {
        for local in [r"\5cx", r"\20x", r"x\20"] {
            assert!(!is_escaping(local), "{local}");
        }
    }

    #[test]
    fn nothing_to_do_is_borrowed() {
        assert!(matches!(escape_local(r"juliet\x"), Ok(Cow::Borrowed(_))));
        assert!(matches!(unescape_local(r"juliet\x"), Cow::Borrowed(_)));
    }

    proptest! {
        #[test]
        fn unescaping_undoes_escaping(text in "([\\\\ \"&'/:<>@2-5a-fACF]|\\PC){0,24}") {
            match escape_local(&text) {
                Ok(local) => {
                    prop_assert_eq!(unescape_local(&local), text.as_str());
                    prop_assert!(!local.contains(&[' ', '"', '&', '\'', '/', ':', '<', '>', '@'][..]));
                    prop_assert!(!local.starts_with("\\20") && !local.ends_with("\\20"));
                }
                Err(EdgeSpace) => prop_assert!(text.starts_with(' ') || text.ends_with(' ')),
            }
        }

        #[test]
        fn an_escaped_identifier_is_a_localpart(text in "[a-z0-9.\\\\\"&'/:<>@]{1,24}") {
            let local = escape_local(&text).expect("no spaces");
            prop_assert_eq!(&normal_local(&local).expect("only legal characters"), &local);
        }

        #[test]
        fn unescaping_takes_anything(text in "([\\\\2-5a-f]|\\PC){0,32}") {
            let plain = unescape_local(&text);
            prop_assert!(plain.len() <= text.len());
        }
    }
}
