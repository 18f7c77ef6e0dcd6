//! text/html and XHTML-IM (XEP-0071, RFC 7572 section 7), both taken for hostile.
//!
//! ```text
//!  text/html  ->  ammonia (reads HTML, drops what nobody allows)  ->  made XML  ->  strict reader  ->  Filter
//!  XHTML-IM   ->  strict reader  ->  Filter  ->  ammonia
//! ```
//!
//! The filter knows what XHTML-IM recommends (XEP-0071 section 7.8) and writes that and nothing else, well-formed whatever
//! comes, and beside it the text alone. What it does not know it leaves out and keeps the text of it; of scripts, styles and
//! embedded objects not even that.

mod filter;

use ammonia::{Builder, UrlRelative};
use filter::Filter;
use std::sync::LazyLock;
use xml::{Event, Limits, Reader, StreamNamespaces};

/// Octets of HTML that are read in one message.
pub const LONGEST: usize = 32 * 1024;
/// Tags in them. Each paragraph of HTML begins again whatever format was not ended before, so that work and memory grow with
/// the square of this.
pub const MOST_TAGS: usize = 256;

/// A text with its format.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Formatted {
    /// What stands in the XHTML `<body/>`; empty where nothing is left of the format.
    pub markup: String,
    /// The text alone.
    pub text: String,
    /// How many characters that XML forbids were replaced.
    pub replaced: usize,
}

/// Why an HTML text cannot be shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HtmlError {
    /// More than the [`Budget`] has left.
    #[error("too long or too much markup for an HTML text")]
    TooMuch,
    /// What was made of it is no XML, which is our fault.
    #[error("the HTML text cannot be read")]
    Unreadable,
}

/// What is left of [`LONGEST`] and [`MOST_TAGS`] for further HTML in the same message.
#[derive(Clone, Copy, Debug)]
pub struct Budget {
    octets: usize,
    tags: usize,
}

impl Default for Budget {
    fn default() -> Self {
        Self { octets: LONGEST, tags: MOST_TAGS }
    }
}

impl Budget {
    fn spend(&mut self, html: &str, tags: usize) -> Result<(), HtmlError> {
        let octets = self.octets.checked_sub(html.len()).ok_or(HtmlError::TooMuch)?;
        let tags = self.tags.checked_sub(tags).ok_or(HtmlError::TooMuch)?;
        *self = Self { octets, tags };
        Ok(())
    }
}

fn count_tags(markup: &str) -> usize {
    markup.bytes().filter(|&octet| octet == b'<').count()
}

/// Reads an HTML text.
pub fn from_html(html: &str, budget: &mut Budget) -> Result<Formatted, HtmlError> {
    budget.spend(html, count_tags(html))?;
    let clean = SANITIZER.clean(html).to_string();
    let (xml, replaced) = into_xml(&clean);
    let read = read(&xml);
    debug_assert!(read.is_ok(), "{read:?}: {xml}");
    let (markup, text) = read.map_err(|_| HtmlError::Unreadable)?;
    Ok(Formatted { markup, text, replaced })
}

/// The HTML of a `<body/>` of XHTML-IM, as [`xmpp::stanza::Message::html`] holds it. `None` where it is too much, or does not say all
/// that `body` says: who shows the one does not show the other (XEP-0071 section 8 rule 2).
pub fn to_html(markup: &str, body: &str) -> Option<String> {
    // Here each element has a tag at its end too.
    Budget::default().spend(markup, count_tags(markup) / 2).ok()?;
    let (markup, text) = read(markup).ok()?;
    let html = SANITIZER.clean(&markup).to_string();
    (!html.is_empty() && says_all(&text, body)).then_some(html)
}

/// Numbers of items that a body may have and its format need not.
const MOST_ITEMS: usize = 64;

/// Whether all words of `body` stand in `text`, in their order. How lists, quotes and links look without a format is
/// everybody's own choice.
fn says_all(text: &str, body: &str) -> bool {
    let mut rest = text;
    let mut items = 0;
    body.split_whitespace().map(|word| word.trim_matches(|c: char| c.is_ascii_punctuation())).all(|word| {
        let found = rest.split_once(word);
        if let Some((_, behind)) = found {
            rest = behind;
            return true;
        }
        items += 1;
        items <= MOST_ITEMS && word.len() <= 3 && word.bytes().all(|octet| octet.is_ascii_digit())
    })
}

/// Runs one element through the filter.
fn read(xml: &str) -> Result<(String, String), xml::Error> {
    let namespaces = StreamNamespaces::new("");
    let limits = Limits { stanza: usize::MAX, depth: usize::MAX, ..Limits::default() };
    let mut reader = Reader::new(xml.as_bytes(), &namespaces, &limits)?;
    let mut filter = Filter::default();
    loop {
        match reader.next()? {
            Event::Start => {
                let name = reader.name();
                let attributes = reader.attributes().collect::<Result<Vec<_>, _>>()?;
                filter.start(name, &attributes);
            }
            Event::Text(text) => filter.text(&text),
            Event::End => filter.end(),
            Event::Done => return Ok(filter.finish()),
        }
    }
}

/// It looks things up in its hash tables and never walks them, so that what it makes does not depend on their order.
static SANITIZER: LazyLock<Builder<'static>> = LazyLock::new(|| {
    let attributes = filter::ELEMENTS.iter().map(|&(name, attributes)| (name, attributes.iter().copied().collect()));
    let mut sanitizer = Builder::empty();
    sanitizer
        .tags(filter::ELEMENTS.iter().map(|(name, _)| *name).chain(filter::UNDERSTOOD.iter().copied()).collect())
        .clean_content_tags(filter::HIDDEN.iter().copied().collect())
        .tag_attributes(attributes.collect())
        .generic_attributes(std::iter::empty().collect())
        .filter_style_properties(filter::STYLES.iter().copied().collect())
        .url_schemes(filter::SCHEMES.iter().copied().collect())
        .url_relative(UrlRelative::Deny)
        .link_rel(None)
        .strip_comments(true);
    sanitizer
});

/// One XML element of the serialised HTML that ammonia gives: attributes in double quotes, `&nbsp;` the only entity that XML
/// does not know, void elements not ended. Gives also how many characters were replaced.
fn into_xml(html: &str) -> (String, usize) {
    let mut xml = String::with_capacity(html.len() + 64);
    let mut replaced = 0;
    let mut tag: Option<usize> = None;
    let mut quoted = false;
    xml.push_str("<body>");
    let mut rest = html;
    while let Some(character) = rest.chars().next() {
        if let Some(behind) = rest.strip_prefix("&nbsp;") {
            xml.push('\u{a0}');
            rest = behind;
            continue;
        }
        rest = rest.get(character.len_utf8()..).unwrap_or_default();
        match (character, tag) {
            ('<', None) => {
                tag = Some(xml.len() + 1);
                xml.push('<');
            }
            ('>', Some(start)) if !quoted => {
                let name = xml.get(start..).and_then(|tag| tag.split(' ').next()).unwrap_or_default();
                if filter::VOID.contains(&name) {
                    xml.push('/');
                }
                xml.push('>');
                tag = None;
            }
            ('"', Some(_)) => {
                quoted = !quoted;
                xml.push('"');
            }
            ('<', Some(_)) => xml.push_str("&lt;"),
            ('\0'..='\x08' | '\x0b' | '\x0c' | '\x0e'..='\x1f' | '\u{fffe}' | '\u{ffff}', _) => {
                replaced += 1;
                xml.push(char::REPLACEMENT_CHARACTER);
            }
            (character, _) => xml.push(character),
        }
    }
    xml.push_str("</body>");
    (xml, replaced)
}

#[cfg(test)]
mod tests;
