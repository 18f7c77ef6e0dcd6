//! The language that a stanza inherits from its stream (RFC 6120 section 4.7.4).

use cpim::is_language_tag;
use std::borrow::Cow;

const LETTERS: usize = 26;

/// Every tag of two letters, one behind the other: nearly all streams name one of these, and a stanza that inherits it
/// costs nothing.
static PAIRS: [u8; LETTERS * LETTERS * 2] = pairs();

const fn pairs() -> [u8; LETTERS * LETTERS * 2] {
    let mut pairs = [0; LETTERS * LETTERS * 2];
    let mut index = 0;
    while index < LETTERS * LETTERS {
        pairs[2 * index] = b'a' + (index / LETTERS) as u8;
        pairs[2 * index + 1] = b'a' + (index % LETTERS) as u8;
        index += 1;
    }
    pairs
}

/// The tag of a stream for a stanza of it that names none. What is no language tag is inherited by nobody.
pub fn inherited(tag: Option<&str>) -> Option<Cow<'static, str>> {
    let tag = tag.filter(|tag| is_language_tag(tag))?;
    let kept = match tag.as_bytes() {
        [first @ b'a'..=b'z', second @ b'a'..=b'z'] => {
            let index = usize::from(first - b'a') * LETTERS + usize::from(second - b'a');
            PAIRS.get(2 * index..2 * index + 2).and_then(|pair| std::str::from_utf8(pair).ok())
        }
        _ => None,
    };
    Some(kept.map_or_else(|| Cow::Owned(tag.to_owned()), Cow::Borrowed))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tag_stays_what_it_is() {
        for tag in ["aa", "en", "de", "zz", "EN", "de-CH", "x", "zh-Hant"] {
            assert_eq!(inherited(Some(tag)).as_deref(), Some(tag));
        }
        assert!(matches!(inherited(Some("en")), Some(Cow::Borrowed(_))), "without an allocation");
        for none in [None, Some(""), Some("d e"), Some("en_US"), Some("en\r\nX: y")] {
            assert_eq!(inherited(none), None);
        }
    }
}
