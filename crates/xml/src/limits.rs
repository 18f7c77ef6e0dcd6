//! How much a stranger may send.

/// Limits of one stream. Each is checked before anything is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Octets of one stanza, from `<` to `>`. RFC 6120 section 13.12 asks for 10 000 at least.
    pub stanza: usize,
    /// Octets of a stream header, with the XML declaration before it.
    pub header: usize,
    /// Elements inside each other; the stanza itself is the first.
    pub depth: usize,
    /// Attributes of one element, namespace declarations counted.
    pub attributes: usize,
    /// Namespace declarations in force at one place, those of the stream header not counted.
    pub namespaces: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { stanza: 262_144, header: 8_192, depth: 64, attributes: 100, namespaces: 32 }
    }
}
