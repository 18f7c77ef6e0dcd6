//! `<html/>` of a message (XEP-0071): what stands in it, written anew in one namespace.
//!
//! What XHTML-IM allows is not checked here; who shows it has to (XEP-0071 section 11.1).

use super::{Localized, Texts};
use crate::ns;
use std::borrow::Cow;
use xml::writer::{attribute, close, escape_text};
use xml::{Event, Reader};

/// `<html/>`, which has begun. Gives each `<body/>` in it with its language, as markup that needs no context: every element
/// without a prefix and taken as XHTML; elements of other namespaces are left out, and what they hold is kept.
pub(super) fn parse<'a>(reader: &mut Reader<'a, '_>) -> Result<Texts<'a>, xml::Error> {
    let mut bodies = Texts::new();
    while reader.next_child()? {
        if reader.is(ns::XHTML, "body") {
            let lang = reader.language()?;
            let text = Cow::Owned(markup(reader)?);
            bodies.push(Localized { lang, text });
        } else {
            reader.skip_element()?;
        }
    }
    Ok(bodies)
}

/// The element that has begun, up to and with its end.
fn markup(reader: &mut Reader<'_, '_>) -> Result<String, xml::Error> {
    let mut out = Vec::new();
    let mut open: Vec<Option<&str>> = Vec::new();
    start(reader, &mut open, &mut out)?;
    while !open.is_empty() {
        match reader.next()? {
            Event::Start => start(reader, &mut open, &mut out)?,
            Event::Text(text) => drop(escape_text(&*text, &mut out)),
            Event::End => {
                if let Some(name) = open.pop().flatten() {
                    close(name, &mut out);
                }
            }
            Event::Done => break,
        }
    }
    Ok(String::from_utf8_lossy(&out).into_owned())
}

fn start<'a>(reader: &Reader<'a, '_>, open: &mut Vec<Option<&'a str>>, out: &mut Vec<u8>) -> Result<(), xml::Error> {
    let name = (reader.namespace() == ns::XHTML).then(|| reader.name());
    open.push(name);
    if let Some(name) = name {
        out.push(b'<');
        out.extend_from_slice(name.as_bytes());
        for found in reader.attributes() {
            let (name, value) = found?;
            attribute(name, &*value, out);
        }
        out.push(b'>');
    }
    Ok(())
}
