//! The attributes of a start tag, as they stand there.

use crate::Error;
use crate::text::is_white_space;
use memchr::memchr;

/// The names and raw values of a tag whose content (between `<` and `>`) is `content`, behind its name of `name_len`
/// octets. White space stands in front of each (XML 1.0 section 3.1); what the names are nobody has looked at.
pub(crate) fn attributes(content: &str, name_len: usize) -> impl Iterator<Item = Result<(&str, &str), Error>> {
    let mut rest = content.get(name_len..).unwrap_or_default();
    std::iter::from_fn(move || {
        let text = skip_white_space(rest);
        if text.is_empty() {
            return None;
        }
        let attribute = if text.len() < rest.len() { attribute(text) } else { None };
        rest = attribute.map_or("", |(_, _, behind)| behind);
        Some(attribute.map(|(name, value, _)| (name, value)).ok_or(Error::Attribute))
    })
}

/// `Name Eq AttValue`: the name, the value, and what follows.
fn attribute(text: &str) -> Option<(&str, &str, &str)> {
    let name_len = text.bytes().position(|octet| octet == b'=' || is_white_space(octet))?;
    let (name, behind) = text.split_at_checked(name_len)?;
    let quoted = skip_white_space(skip_white_space(behind).strip_prefix('=')?);
    let quote = quoted.bytes().next().filter(|octet| matches!(octet, b'\'' | b'"'))?;
    let value = quoted.get(1..)?;
    let end = memchr(quote, value.as_bytes())?;
    Some((name, value.get(..end)?, value.get(end + 1..)?))
}

fn skip_white_space(text: &str) -> &str {
    let begin = text.bytes().position(|octet| !is_white_space(octet)).unwrap_or(text.len());
    text.get(begin..).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use quick_xml::events::attributes::Attributes;
    use std::borrow::Cow;

    #[test]
    fn attributes_as_they_may_be_written() {
        let read = |content| attributes(content, 1).collect::<Result<Vec<_>, _>>();
        for (content, expected) in [
            ("a", &[][..]),
            ("a \t", &[]),
            ("a b='1'", &[("b", "1")]),
            ("a\nb = \"'\"\r\n c=''  ", &[("b", "'"), ("c", "")]),
            ("a b='\u{e9}>' \u{e9}='='", &[("b", "\u{e9}>"), ("\u{e9}", "=")]),
        ] {
            assert_eq!(read(content).as_deref(), Ok(expected), "{content:?}");
        }
        for broken in
            ["a b='1'c='2'", "ab='1'", "a b", "a b=", "a b=1", "a b='", "a b='1\"", "a b c='1'", "a b='1'=", "a b'1'"]
        {
            assert_eq!(read(broken), Err(Error::Attribute), "{broken:?}");
        }
    }

    proptest! {
        /// A reader of others, which wants no white space in front of a name.
        #[test]
        fn another_reader_sees_the_same(content in "a([ ]?[b=' \"\t]{0,4}=['\"][b= \t]{0,2}['\"]){0,3}[ b='\"]{0,2}") {
            let mut others = Attributes::new(&content, 1);
            others.with_checks(false);
            let mut end = content.as_ptr() as usize + 1;
            let others: Option<Vec<(&str, &str)>> = others
                .map(|attribute| {
                    let attribute = attribute.ok()?;
                    let Cow::Borrowed(value) = attribute.value else { return None };
                    let name = attribute.key.into_inner();
                    let apart = name.as_ptr() as usize > end;
                    end = value.as_ptr() as usize + value.len() + 1;
                    apart.then_some((name, value))
                })
                .collect();
            let ours: Option<Vec<_>> = attributes(&content, 1).collect::<Result<Vec<_>, _>>().ok();
            // Neither has to know a name when it sees one.
            let named = |found: &Vec<(&str, &str)>| found.iter().all(|(name, _)| !name.is_empty() && !name.starts_with('='));
            let (ours, others) = (ours.filter(named), others.filter(named));
            prop_assert_eq!(ours, others);
        }
    }
}
