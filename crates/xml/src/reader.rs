//! A strict pull reader over one whole element.

use crate::namespace::{Bindings, Bound};
use crate::text::{
    append_cdata, append_text, attribute_value, check_characters, is_plain_value, is_white_space, split_name,
};
use crate::{Error, Limits, StreamNamespaces, attribute};
use memchr::memchr;
use quick_xml::parser::{ElementParser, Parser};
use smallvec::SmallVec;
use std::borrow::Cow;

/// Reads one element, as a [`Framer`](crate::Framer) cuts it, from its first `<` to its last `>`.
///
/// Contract: [`next`](Self::next) until [`Event::Done`]; only then is the element known to be well-formed. After
/// [`Event::Start`], and until the next call that moves on, [`name`](Self::name), [`namespace`](Self::namespace) and
/// [`attribute`](Self::attribute) speak of the element that has begun. For the usual case, children of one element, there
/// are [`next_child`](Self::next_child), [`text_content`](Self::text_content) and [`skip_element`](Self::skip_element).
///
/// ```
/// # use xml::{Limits, Reader, StreamNamespaces};
/// let namespaces = StreamNamespaces::new("jabber:client");
/// let limits = Limits::default();
/// let mut reader = Reader::new(b"<message to='a@b'><body>Hi &amp; ho</body></message>", &namespaces, &limits)?;
/// reader.next()?;
/// assert_eq!((reader.namespace(), reader.name()), ("jabber:client", "message"));
/// assert_eq!(reader.attribute("to")?.as_deref(), Some("a@b"));
/// while reader.next_child()? {
///     assert_eq!(reader.text_content()?, "Hi & ho");
/// }
/// reader.finish()?;
/// # Ok::<(), xml::Error>(())
/// ```
#[derive(Debug)]
pub struct Reader<'a, 'n> {
    text: &'a str,
    at: usize,
    limits: Limits,
    bindings: Bindings<'a, 'n>,
    open: SmallVec<[Open<'a>; 8]>,
    attributes: SmallVec<[Attribute<'a>; 8]>,
    /// The element at the top is `<empty/>`, and its end has not been told.
    empty: bool,
    /// Only a start tag is expected: the header of a stream.
    header: bool,
    /// The outermost element has begun.
    begun: bool,
}

/// An element whose end has not come.
#[derive(Clone, Copy, Debug)]
struct Open<'a> {
    qualified: &'a str,
    local: &'a str,
    namespace: Bound,
    /// Declarations in force outside of it.
    outer_bindings: usize,
    /// Where its `<` stands.
    start: usize,
}

#[derive(Clone, Copy, Debug)]
struct Attribute<'a> {
    namespace: Bound,
    local: &'a str,
    raw: &'a str,
    /// The value is what stands there: no reference, no white space to be made spaces.
    plain: bool,
}

impl<'a> Attribute<'a> {
    fn value(&self) -> Result<Cow<'a, str>, Error> {
        if self.plain { Ok(Cow::Borrowed(self.raw)) } else { attribute_value(self.raw) }
    }
}

/// What comes next in an element.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event<'a> {
    /// An element begins.
    Start,
    /// All text up to the next tag: references resolved, CDATA sections joined, line ends made LF.
    Text(Cow<'a, str>),
    /// The element that began last ends.
    End,
    /// Nothing is left, and all was well-formed.
    Done,
}

impl<'a, 'n> Reader<'a, 'n> {
    /// A reader of one element of a stream. All characters are checked here.
    pub fn new(bytes: &'a [u8], namespaces: &'n StreamNamespaces, limits: &Limits) -> Result<Self, Error> {
        if bytes.len() > limits.stanza {
            return Err(Error::TooLong);
        }
        Ok(Self {
            text: check_characters(bytes)?,
            at: 0,
            limits: *limits,
            bindings: Bindings::new(namespaces),
            open: SmallVec::new(),
            attributes: SmallVec::new(),
            empty: false,
            header: false,
            begun: false,
        })
    }

    /// A reader of the header of a stream: one start tag, and nothing behind it. `none` lends it an empty table.
    pub fn header(bytes: &'a [u8], none: &'n StreamNamespaces, limits: &Limits) -> Result<Self, Error> {
        Ok(Self { header: true, ..Self::new(bytes, none, limits)? })
    }

    /// What comes next.
    #[allow(clippy::should_implement_trait)]
    pub fn next(&mut self) -> Result<Event<'a>, Error> {
        if self.empty {
            self.empty = false;
            self.leave();
            return Ok(Event::End);
        }
        if self.open.is_empty() || self.header {
            return if self.begun {
                if self.at == self.text.len() { Ok(Event::Done) } else { Err(Error::Trailing) }
            } else if self.rest().starts_with('<') {
                self.start_tag()
            } else {
                Err(Error::StrayText)
            };
        }
        let mut text = Cow::Borrowed("");
        loop {
            let rest = self.rest();
            let end = memchr(b'<', rest.as_bytes()).ok_or(Error::Unclosed)?;
            if end > 0 {
                append_text(rest.get(..end).unwrap_or_default(), &mut text)?;
                self.at += end;
            }
            let markup = self.rest();
            if let Some(section) = markup.strip_prefix("<![CDATA[") {
                let (content, consumed) = cdata(section)?;
                append_cdata(content, &mut text);
                self.at += consumed;
            } else if !text.is_empty() {
                return Ok(Event::Text(text));
            } else if let Some(end_tag) = markup.strip_prefix("</") {
                return self.end_tag(end_tag);
            } else {
                return self.start_tag();
            }
        }
    }

    /// The local name of the element that began last.
    pub fn name(&self) -> &'a str {
        self.open.last().map_or("", |open| open.local)
    }

    /// Its namespace; empty if it has none.
    pub fn namespace(&self) -> &str {
        self.open.last().map_or("", |open| self.bindings.uri(open.namespace))
    }

    /// Its namespace, independent of the reader; allocated only where the declaration is in the header of the stream.
    pub fn namespace_of_data(&self) -> Cow<'a, str> {
        self.open.last().map_or(Cow::Borrowed(""), |open| self.bindings.uri_of_data(open.namespace))
    }

    /// Whether it is the one of that name.
    pub fn is(&self, namespace: &str, name: &str) -> bool {
        self.name() == name && self.namespace() == namespace
    }

    /// Its attribute of that name and no namespace.
    pub fn attribute(&self, name: &str) -> Result<Option<Cow<'a, str>>, Error> {
        self.find_attribute(|attribute| attribute.namespace == Bound::None && attribute.local == name)
    }

    /// Its attribute of that namespace and name.
    pub fn attribute_in(&self, namespace: &str, name: &str) -> Result<Option<Cow<'a, str>>, Error> {
        self.find_attribute(|attribute| {
            attribute.local == name
                && attribute.namespace != Bound::Unknown
                && self.bindings.uri(attribute.namespace) == namespace
        })
    }

    /// Its attributes without a namespace, declarations left out, in their order.
    pub fn attributes(&self) -> impl Iterator<Item = Result<(&'a str, Cow<'a, str>), Error>> {
        let plain = self.attributes.iter().filter(|attribute| attribute.namespace == Bound::None);
        plain.map(|attribute| Ok((attribute.local, attribute.value()?)))
    }

    /// All its attributes, declarations and what has an unknown namespace left out, in their order: namespace (empty for
    /// none), name, value.
    pub fn qualified_attributes(&self) -> impl Iterator<Item = Result<(&str, &'a str, Cow<'a, str>), Error>> {
        self.attributes.iter().filter(|attribute| attribute.namespace != Bound::Unknown).map(|attribute| {
            Ok((self.bindings.uri(attribute.namespace), attribute.local, attribute_value(attribute.raw)?))
        })
    }

    /// Its `xml:lang`.
    pub fn language(&self) -> Result<Option<Cow<'a, str>>, Error> {
        self.find_attribute(|attribute| attribute.namespace == Bound::Xml && attribute.local == "lang")
    }

    /// How many elements are open.
    pub fn depth(&self) -> usize {
        self.open.len()
    }

    /// Moves to the next child of the element that was just begun or whose child has just ended. `false` at its end. Text
    /// in between is passed over.
    pub fn next_child(&mut self) -> Result<bool, Error> {
        loop {
            match self.next()? {
                Event::Start => return Ok(true),
                Event::Text(_) => {}
                Event::End | Event::Done => return Ok(false),
            }
        }
    }

    /// The text of the element that began last, up to and with its end. Children are passed over with all they hold.
    pub fn text_content(&mut self) -> Result<Cow<'a, str>, Error> {
        let mut content = Cow::Borrowed("");
        loop {
            match self.next()? {
                Event::Text(text) if content.is_empty() => content = text,
                Event::Text(text) => content.to_mut().push_str(&text),
                Event::Start => drop(self.skip_element()?),
                Event::End | Event::Done => return Ok(content),
            }
        }
    }

    /// Moves behind the element that began last; gives its octets as they came, from `<` to `>`. A prefix in them may be
    /// declared outside of them.
    pub fn skip_element(&mut self) -> Result<&'a [u8], Error> {
        let start = self.open.last().map_or(self.at, |open| open.start);
        let depth = self.depth();
        while self.depth() >= depth && depth > 0 {
            if self.next()? == Event::Done {
                break;
            }
        }
        Ok(self.text.as_bytes().get(start..self.at).unwrap_or_default())
    }

    /// Reads what is left; tells whether the whole element was well-formed.
    pub fn finish(&mut self) -> Result<(), Error> {
        while self.next()? != Event::Done {}
        Ok(())
    }

    /// After the start of a header: what it declares for the stanzas of its stream.
    pub fn stream_namespaces(&self) -> Result<StreamNamespaces, Error> {
        Ok(StreamNamespaces {
            bindings: self.bindings.own().map(|(prefix, uri)| (prefix.into(), uri.into())).collect(),
            language: self.language()?.map(|language| language.into_owned().into_boxed_str()),
            unbound_prefixes: false,
        })
    }

    fn rest(&self) -> &'a str {
        self.text.get(self.at..).unwrap_or_default()
    }

    fn find_attribute(&self, wanted: impl Fn(&Attribute<'a>) -> bool) -> Result<Option<Cow<'a, str>>, Error> {
        self.attributes.iter().find(|attribute| wanted(attribute)).map(Attribute::value).transpose()
    }

    /// At a `<` that does not begin an end tag or a CDATA section.
    fn start_tag(&mut self) -> Result<Event<'a>, Error> {
        let markup = self.rest();
        match markup.as_bytes() {
            [b'<', b'?', ..] => return Err(Error::ProcessingInstruction),
            [b'<', b'!', b'-', ..] => return Err(Error::Comment),
            [b'<', b'!', b'D' | b'd', ..] => return Err(Error::DocumentType),
            [b'<', b'!' | b'/', ..] => return Err(Error::Markup),
            _ => {}
        }
        let end = ElementParser::Outside.feed(markup.as_bytes()).ok_or(Error::Unclosed)?;
        let inside = markup.get(1..end).unwrap_or_default();
        let (content, empty) = match inside.strip_suffix('/') {
            Some(content) => (content, true),
            None => (inside, false),
        };
        if self.open.len() >= self.limits.depth {
            return Err(Error::TooDeep);
        }
        if self.header && empty {
            return Err(Error::Unclosed);
        }
        let white_space = |octet: &u8| is_white_space(*octet);
        let name_len = content.as_bytes().iter().position(white_space).unwrap_or(content.len());
        let qualified = content.get(..name_len).unwrap_or_default();
        let (prefix, local) = split_name(qualified)?;
        let outer_bindings = self.bindings.len();
        self.read_attributes(content, name_len)?;
        let namespace = self.bindings.resolve(prefix)?;
        self.open.push(Open { qualified, local, namespace, outer_bindings, start: self.at });
        self.at += end + 1;
        self.empty = empty;
        self.begun = true;
        Ok(Event::Start)
    }

    /// Enters the declarations and keeps the attributes, all checked.
    fn read_attributes(&mut self, content: &'a str, name_len: usize) -> Result<(), Error> {
        self.attributes.clear();
        if content.len() == name_len {
            return Ok(());
        }
        // Prefixes are resolved when all declarations are known; until then `prefixes` holds them.
        let mut prefixes: SmallVec<[&'a str; 8]> = SmallVec::new();
        let outer_bindings = self.bindings.len();
        for (count, attribute) in attribute::attributes(content, name_len).enumerate() {
            let (name, raw) = attribute?;
            if count >= self.limits.attributes {
                return Err(Error::TooManyAttributes);
            }
            let plain = is_plain_value(raw)?;
            let (prefix, local) = split_name(name)?;
            let declared = match (prefix, local) {
                ("", "xmlns") => "",
                ("xmlns", declared) => declared,
                _ => {
                    if !plain {
                        // What cannot be resolved is told now, whether or not anyone asks for the value.
                        attribute_value(raw)?;
                    }
                    self.attributes.push(Attribute { namespace: Bound::None, local, raw, plain });
                    prefixes.push(prefix);
                    continue;
                }
            };
            if self.bindings.own().skip(outer_bindings).any(|(own, _)| own == declared) {
                return Err(Error::DuplicateAttribute);
            }
            let uri = if plain { Cow::Borrowed(raw) } else { attribute_value(raw)? };
            self.bindings.declare(declared, uri, self.limits.namespaces)?;
        }
        for (index, prefix) in prefixes.iter().enumerate() {
            let Some(attribute) = self.attributes.get(index) else { break };
            let namespace = self.bindings.resolve_attribute(prefix)?;
            let duplicate = self.attributes.iter().zip(&prefixes).take(index).any(|(earlier, other)| {
                earlier.local == attribute.local
                    && match (earlier.namespace, namespace) {
                        (Bound::Unknown, _) | (_, Bound::Unknown) => other == prefix,
                        (one, two) => one == two || self.bindings.uri(one) == self.bindings.uri(two),
                    }
            });
            if duplicate {
                return Err(Error::DuplicateAttribute);
            }
            if let Some(attribute) = self.attributes.get_mut(index) {
                attribute.namespace = namespace;
            }
        }
        Ok(())
    }

    /// Behind `</`.
    fn end_tag(&mut self, tag: &'a str) -> Result<Event<'a>, Error> {
        let end = memchr(b'>', tag.as_bytes()).ok_or(Error::Unclosed)?;
        let name = tag.get(..end).unwrap_or_default().trim_end_matches([' ', '\t', '\r', '\n']);
        if self.open.last().is_none_or(|open| open.qualified != name) {
            return Err(Error::MismatchedEnd);
        }
        self.at += end + 3;
        self.leave();
        Ok(Event::End)
    }

    fn leave(&mut self) {
        if let Some(open) = self.open.pop() {
            self.bindings.truncate(open.outer_bindings);
        }
        self.attributes.clear();
    }
}

/// Behind `<![CDATA[`: the content, and how many octets the whole section takes.
fn cdata(section: &str) -> Result<(&str, usize), Error> {
    let mut from = 0;
    while let Some(found) = memchr(b'>', section.as_bytes().get(from..).unwrap_or_default()) {
        let end = from + found;
        if let Some(content) = section.get(..end).and_then(|text| text.strip_suffix("]]")) {
            return Ok((content, "<![CDATA[".len() + end + 1));
        }
        from = end + 1;
    }
    Err(Error::Unclosed)
}

#[cfg(test)]
#[path = "reader_tests.rs"]
mod tests;
