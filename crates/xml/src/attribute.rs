//! The attributes of a start tag, as they stand there.

use crate::Error;
use quick_xml::events::attributes::Attributes;
use std::borrow::Cow;

/// The names and raw values of a tag whose content (between `<` and `>`) is `content`, behind its name of `name_len`
/// octets. quick-xml takes `a='1'b='2'`; XML wants white space in between.
pub(crate) fn attributes(content: &str, name_len: usize) -> impl Iterator<Item = Result<(&str, &str), Error>> {
    let mut attributes = Attributes::new(content, name_len);
    attributes.with_checks(false);
    let base = content.as_ptr() as usize;
    // Behind the name, or behind the closing quote of the attribute before.
    let mut end = base + name_len;
    attributes.map(move |attribute| {
        let attribute = attribute.map_err(|_| Error::Attribute)?;
        let name = attribute.key.into_inner();
        let Cow::Borrowed(value) = attribute.value else { return Err(Error::Attribute) };
        if name.as_ptr() as usize <= end {
            return Err(Error::Attribute);
        }
        end = value.as_ptr() as usize + value.len() + 1;
        Ok((name, value))
    })
}
