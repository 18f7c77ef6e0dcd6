//! A strict pull reader over one whole element.

use crate::namespace::{Bindings, Bound};
use crate::tag::{Name, Part, Tag, TagEnd, Written};
use crate::text::{append_cdata, append_text, attribute_value, check_characters};
use crate::{Error, Limits, StreamNamespaces};
use memchr::memchr;
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
            let mut markup = self.rest();
            if !markup.starts_with('<') {
                let end = memchr(b'<', markup.as_bytes()).ok_or(Error::Unclosed)?;
                append_text(markup.get(..end).unwrap_or_default(), &mut text)?;
                self.at += end;
                markup = self.rest();
            }
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
        self.find_attribute(|attribute| attribute.local == name && self.bindings.uri(attribute.namespace) == namespace)
    }

    /// Its attributes without a namespace, declarations left out, in their order.
    pub fn attributes(&self) -> impl Iterator<Item = Result<(&'a str, Cow<'a, str>), Error>> {
        let plain = self.attributes.iter().filter(|attribute| attribute.namespace == Bound::None);
        plain.map(|attribute| Ok((attribute.local, attribute.value()?)))
    }

    /// All its attributes, declarations left out, in their order: namespace (empty for none), name, value.
    pub fn qualified_attributes(&self) -> impl Iterator<Item = Result<(&str, &'a str, Cow<'a, str>), Error>> {
        self.attributes.iter().map(|attribute| {
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
        if self.open.len() >= self.limits.depth {
            return Err(Error::TooDeep);
        }
        let start = self.at;
        let mut tag = Tag::new(self.text, start + 1);
        let Name { qualified, prefix, local } = tag.name()?;
        let outer_bindings = self.bindings.len();
        self.empty = match self.read_attributes(&mut tag)? {
            TagEnd::Open => false,
            TagEnd::Empty if !self.header => true,
            TagEnd::Empty => return Err(Error::Unclosed),
            TagEnd::Declaration => return Err(Error::Attribute),
        };
        let namespace = self.bindings.resolve(prefix)?;
        self.open.push(Open { qualified, local, namespace, outer_bindings, start });
        self.at = tag.position();
        self.begun = true;
        Ok(Event::Start)
    }

    /// Enters the declarations and keeps the attributes, all checked.
    fn read_attributes(&mut self, tag: &mut Tag<'a>) -> Result<TagEnd, Error> {
        self.attributes.clear();
        // Prefixes are resolved when all declarations are known; until then `prefixes` holds them.
        let mut prefixes: SmallVec<[&'a str; 8]> = SmallVec::new();
        let outer_bindings = self.bindings.len();
        let mut count = 0;
        let end = loop {
            let Written { name, raw, plain } = match tag.part()? {
                Part::Attribute(attribute) => attribute,
                Part::End(end) => break end,
            };
            count += 1;
            if count > self.limits.attributes {
                return Err(Error::TooManyAttributes);
            }
            // What cannot be resolved is told now, whether or not anyone asks for the value.
            let value = if plain { Cow::Borrowed(raw) } else { attribute_value(raw)? };
            let declared = match (name.prefix, name.local) {
                ("", "xmlns") => "",
                ("xmlns", declared) => declared,
                (prefix, local) => {
                    self.attributes.push(Attribute { namespace: Bound::None, local, raw, plain });
                    prefixes.push(prefix);
                    continue;
                }
            };
            if self.bindings.own().skip(outer_bindings).any(|(own, _)| own == declared) {
                return Err(Error::DuplicateAttribute);
            }
            self.bindings.declare(declared, value, self.limits.namespaces)?;
        };
        for (index, prefix) in prefixes.iter().enumerate() {
            let Some(attribute) = self.attributes.get(index) else { break };
            // An attribute without a prefix has no namespace, whatever the default is (Namespaces in XML 1.0 section 6.2).
            let namespace = if prefix.is_empty() { Bound::None } else { self.bindings.resolve(prefix)? };
            let duplicate = self.attributes.iter().take(index).any(|earlier| {
                earlier.local == attribute.local
                    && (earlier.namespace == namespace
                        || self.bindings.uri(earlier.namespace) == self.bindings.uri(namespace))
            });
            if duplicate {
                return Err(Error::DuplicateAttribute);
            }
            if let Some(attribute) = self.attributes.get_mut(index) {
                attribute.namespace = namespace;
            }
        }
        Ok(end)
    }

    /// Behind `</`.
    fn end_tag(&mut self, tag: &'a str) -> Result<Event<'a>, Error> {
        let Some(open) = self.open.last() else { return Err(Error::MismatchedEnd) };
        let behind = tag.strip_prefix(open.qualified).ok_or(Error::MismatchedEnd)?;
        let behind = behind.trim_start_matches([' ', '\t', '\r', '\n']);
        match behind.as_bytes().first() {
            None => return Err(Error::Unclosed),
            Some(b'>') => self.at = self.text.len() - behind.len() + 1,
            Some(_) => return Err(Error::MismatchedEnd),
        }
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
