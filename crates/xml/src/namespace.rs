//! Prefixes and the namespaces they stand for (Namespaces in XML 1.0).

use crate::Error;
use smallvec::SmallVec;
use std::borrow::Cow;

/// What the prefix `xml` always stands for.
pub const XML_NAMESPACE: &str = "http://www.w3.org/XML/1998/namespace";
const XMLNS_NAMESPACE: &str = "http://www.w3.org/2000/xmlns/";

/// What the header of a stream declares for every stanza in it: the default namespace, prefixes, the language.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StreamNamespaces {
    pub(crate) bindings: Vec<(Box<str>, Box<str>)>,
    pub(crate) language: Option<Box<str>>,
    pub(crate) unbound_prefixes: bool,
}

impl StreamNamespaces {
    /// Only a default namespace.
    pub fn new(default: &str) -> Self {
        Self { bindings: vec![("".into(), default.into())], ..Self::default() }
    }

    /// The same for a stream on which names may have prefixes that nobody declared, as on that of a component: such an element
    /// has no namespace, such an attribute is left out, and the stream is not ended by either for all who share it.
    pub fn with_unbound_prefixes(self) -> Self {
        Self { unbound_prefixes: true, ..self }
    }

    /// What a prefix stands for; the empty one is the default.
    pub fn find(&self, prefix: &str) -> Option<&str> {
        self.bindings.iter().find(|(own, _)| &**own == prefix).map(|(_, uri)| &**uri)
    }

    /// The `xml:lang` of the header, the default for every stanza (RFC 6120 section 4.7.4).
    pub fn language(&self) -> Option<&str> {
        self.language.as_deref()
    }
}

/// The namespace of a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Bound {
    /// No namespace.
    None,
    /// The one of the prefix `xml`.
    Xml,
    /// A declaration of this element or one around it.
    Own(usize),
    /// A declaration of the stream header.
    Stream(usize),
    /// None that is known: the prefix is not declared, and that is
    /// [tolerated](StreamNamespaces::with_unbound_prefixes).
    Unknown,
}

/// The declarations in force, the innermost last.
#[derive(Debug)]
pub(crate) struct Bindings<'a, 'n> {
    own: SmallVec<[(&'a str, Cow<'a, str>); 4]>,
    stream: &'n StreamNamespaces,
}

impl<'a, 'n> Bindings<'a, 'n> {
    pub(crate) fn new(stream: &'n StreamNamespaces) -> Self {
        Self { own: SmallVec::new(), stream }
    }

    pub(crate) fn len(&self) -> usize {
        self.own.len()
    }

    pub(crate) fn truncate(&mut self, len: usize) {
        self.own.truncate(len);
    }

    /// Enters the declaration of `prefix`.
    pub(crate) fn declare(&mut self, prefix: &'a str, uri: Cow<'a, str>, limit: usize) -> Result<(), Error> {
        // Namespaces in XML 1.0 sections 2.2 and 3: `xml` and `xmlns` stand for themselves, and only they do.
        // COMPAT: Prosody 0.12.3 and ejabberd 23.01 hand an `<xml:a/>` of a user on as `<a xmlns='...'/>`, and Prosody an
        // attribute `xml:b` as `ns1:b`. Nobody may write such declarations. They are read, as otherwise any user could end
        // the stream for everybody (tests/torture/xmpp.tsv).
        if (prefix == "xml" && uri != XML_NAMESPACE) || prefix == "xmlns" || uri == XMLNS_NAMESPACE {
            return Err(Error::NamespaceDeclaration);
        }
        if !prefix.is_empty() && uri.is_empty() {
            return Err(Error::NamespaceDeclaration);
        }
        if self.own.len() >= limit {
            return Err(Error::TooManyNamespaces);
        }
        self.own.push((prefix, uri));
        Ok(())
    }

    pub(crate) fn resolve(&self, prefix: &str) -> Result<Bound, Error> {
        if let Some(index) = self.own.iter().rposition(|(own, _)| same_prefix(own, prefix)) {
            return Ok(Bound::Own(index));
        }
        if let Some(index) = self.stream.bindings.iter().position(|(own, _)| same_prefix(own, prefix)) {
            return Ok(Bound::Stream(index));
        }
        match prefix {
            "" => Ok(Bound::None),
            "xml" => Ok(Bound::Xml),
            _ if self.stream.unbound_prefixes && prefix != "xmlns" => Ok(Bound::Unknown),
            _ => Err(Error::UnboundPrefix),
        }
    }

    /// What the prefix of an attribute stands for.
    pub(crate) fn resolve_attribute(&self, prefix: &str) -> Result<Bound, Error> {
        // An attribute without a prefix has no namespace, whatever the default is (Namespaces in XML 1.0 section 6.2).
        if prefix.is_empty() { Ok(Bound::None) } else { self.resolve(prefix) }
    }

    pub(crate) fn uri(&self, bound: Bound) -> &str {
        match bound {
            Bound::None | Bound::Unknown => "",
            Bound::Xml => XML_NAMESPACE,
            Bound::Own(index) => self.own.get(index).map_or("", |(_, uri)| uri),
            Bound::Stream(index) => self.stream.bindings.get(index).map_or("", |(_, uri)| uri),
        }
    }

    /// The same, free of this table: borrowed where the declaration stands in the data itself.
    pub(crate) fn uri_of_data(&self, bound: Bound) -> Cow<'a, str> {
        match bound {
            Bound::Own(index) => self.own.get(index).map_or(Cow::Borrowed(""), |(_, uri)| uri.clone()),
            Bound::None | Bound::Unknown => Cow::Borrowed(""),
            Bound::Xml => Cow::Borrowed(XML_NAMESPACE),
            Bound::Stream(_) => Cow::Owned(self.uri(bound).to_owned()),
        }
    }

    pub(crate) fn own(&self) -> impl Iterator<Item = (&'a str, &str)> {
        self.own.iter().map(|(prefix, uri)| (*prefix, &**uri))
    }
}

/// Most prefixes are empty, and comparing nothing must not call memcmp: with masked vector loads from the dangling pointer
/// of an empty string it takes a hundred nanoseconds on current processors.
fn same_prefix(a: &str, b: &str) -> bool {
    a.len() == b.len() && (a.is_empty() || a == b)
}
