//! Stream errors (RFC 6120 4.9): unrecoverable, always followed by the end of the stream.

use std::fmt;
use xml::Fault;

/// The namespace of the conditions (RFC 6120 4.9.2).
pub const STREAM_ERROR_NAMESPACE: &str = "urn:ietf:params:xml:ns:xmpp-streams";

macro_rules! conditions {
    ($($(#[$doc:meta])* $variant:ident = $name:literal,)*) => {
        /// A condition of RFC 6120 4.9.3.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum StreamError {
            $($(#[$doc])* $variant,)*
        }

        impl StreamError {
            /// All conditions.
            pub const ALL: &[StreamError] = &[$(StreamError::$variant,)*];

            /// The element that names the condition.
            pub fn name(self) -> &'static str {
                match self {
                    $(StreamError::$variant => $name,)*
                }
            }
        }
    };
}

conditions! {
    /// XML that cannot be processed (4.9.3.1).
    BadFormat = "bad-format",
    /// An undeclared or wrong namespace prefix (4.9.3.2).
    BadNamespacePrefix = "bad-namespace-prefix",
    /// A new stream conflicts with this one (4.9.3.3).
    Conflict = "conflict",
    /// Nothing came for too long (4.9.3.4).
    ConnectionTimeout = "connection-timeout",
    /// The domain is served no longer (4.9.3.5).
    HostGone = "host-gone",
    /// The domain is not served here (4.9.3.6).
    HostUnknown = "host-unknown",
    /// An address is missing or is none (4.9.3.7).
    ImproperAddressing = "improper-addressing",
    /// A fault of ours (4.9.3.8).
    InternalServerError = "internal-server-error",
    /// The `from` is not one the peer may use (4.9.3.9).
    InvalidFrom = "invalid-from",
    /// The stream or its content is in another namespace (4.9.3.10).
    InvalidNamespace = "invalid-namespace",
    /// XML that does not follow its schema (4.9.3.11).
    InvalidXml = "invalid-xml",
    /// Stanzas before the stream was authenticated, or a wrong handshake (4.9.3.12).
    NotAuthorized = "not-authorized",
    /// Not XML (4.9.3.13).
    NotWellFormed = "not-well-formed",
    /// Against a local policy: too large, too deep, too often (4.9.3.14).
    PolicyViolation = "policy-violation",
    /// A remote party that is needed cannot be reached (4.9.3.15).
    RemoteConnectionFailed = "remote-connection-failed",
    /// Something changed that needs a new stream (4.9.3.16).
    Reset = "reset",
    /// The server lacks resources for the stream (4.9.3.17).
    ResourceConstraint = "resource-constraint",
    /// XML that RFC 6120 11.1 forbids (4.9.3.18).
    RestrictedXml = "restricted-xml",
    /// The peer should go elsewhere (4.9.3.19).
    SeeOtherHost = "see-other-host",
    /// The server stops (4.9.3.20).
    SystemShutdown = "system-shutdown",
    /// None of the others (4.9.3.21).
    UndefinedCondition = "undefined-condition",
    /// Not UTF-8 (4.9.3.22).
    UnsupportedEncoding = "unsupported-encoding",
    /// A feature that is mandatory and not supported (4.9.3.23).
    UnsupportedFeature = "unsupported-feature",
    /// A first-level element that is no stanza (4.9.3.24).
    UnsupportedStanzaType = "unsupported-stanza-type",
    /// Another version of XMPP (4.9.3.25).
    UnsupportedVersion = "unsupported-version",
}

impl StreamError {
    /// The condition of a name; what is unknown counts as undefined (RFC 6120 4.9.2).
    pub fn parse(name: &str) -> Self {
        // COMPAT: its name in RFC 3920 (RFC 6120 4.9.3.13).
        let name = if name == "xml-not-well-formed" { "not-well-formed" } else { name };
        Self::ALL.iter().copied().find(|condition| condition.name() == name).unwrap_or(StreamError::UndefinedCondition)
    }

    /// Appends the error and the end of the stream (RFC 6120 4.9.1.1). `text` explains, in English, and may be empty.
    pub fn write(self, text: &str, out: &mut Vec<u8>) {
        out.extend_from_slice(b"<stream:error><");
        out.extend_from_slice(self.name().as_bytes());
        xml::writer::attribute("xmlns", STREAM_ERROR_NAMESPACE, out);
        out.extend_from_slice(b"/>");
        if !text.is_empty() {
            out.extend_from_slice(b"<text");
            xml::writer::attribute("xmlns", STREAM_ERROR_NAMESPACE, out);
            out.extend_from_slice(b" xml:lang='en'>");
            xml::writer::escape_text(text, out);
            out.extend_from_slice(b"</text>");
        }
        out.extend_from_slice(b"</stream:error></stream:stream>");
    }
}

impl fmt::Display for StreamError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl From<xml::Error> for StreamError {
    fn from(error: xml::Error) -> Self {
        match error.fault() {
            Fault::NotWellFormed => StreamError::NotWellFormed,
            Fault::Restricted => StreamError::RestrictedXml,
            Fault::Encoding => StreamError::UnsupportedEncoding,
            Fault::Limit => StreamError::PolicyViolation,
            Fault::Format => StreamError::BadFormat,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_known_and_different() {
        for (index, condition) in StreamError::ALL.iter().enumerate() {
            assert_eq!(StreamError::parse(condition.name()), *condition);
            assert!(StreamError::ALL.iter().skip(index + 1).all(|other| other.name() != condition.name()));
        }
        assert_eq!(StreamError::ALL.len(), 25);
        assert_eq!(StreamError::parse("nonsense"), StreamError::UndefinedCondition);
        assert_eq!(StreamError::parse("xml-not-well-formed"), StreamError::NotWellFormed);
    }

    /// RFC 6120 4.9.3.13, 14, 18, 22 and 11.3: the specific condition, never the undefined one.
    #[test]
    fn each_fault_of_xml_has_its_condition() {
        for (error, expected) in [
            (xml::Error::Comment, "restricted-xml"),
            (xml::Error::ProcessingInstruction, "restricted-xml"),
            (xml::Error::DocumentType, "restricted-xml"),
            (xml::Error::UnknownEntity, "restricted-xml"),
            (xml::Error::NotUtf8, "unsupported-encoding"),
            (xml::Error::Encoding, "unsupported-encoding"),
            (xml::Error::TooLong, "policy-violation"),
            (xml::Error::TooDeep, "policy-violation"),
            (xml::Error::TooManyAttributes, "policy-violation"),
            (xml::Error::TooManyNamespaces, "policy-violation"),
            (xml::Error::StrayText, "bad-format"),
            (xml::Error::UnboundPrefix, "not-well-formed"),
            (xml::Error::NamespaceDeclaration, "not-well-formed"),
            (xml::Error::DuplicateAttribute, "not-well-formed"),
            (xml::Error::MismatchedEnd, "not-well-formed"),
            (xml::Error::ForbiddenCharacter, "not-well-formed"),
            (xml::Error::LessThan, "not-well-formed"),
        ] {
            assert_eq!(StreamError::from(error).name(), expected, "{error}");
        }
    }

    #[test]
    fn written_with_its_text_and_the_end() {
        let mut out = Vec::new();
        StreamError::HostUnknown.write("a & b", &mut out);
        let expected = "<stream:error><host-unknown xmlns='urn:ietf:params:xml:ns:xmpp-streams'/>\
             <text xmlns='urn:ietf:params:xml:ns:xmpp-streams' xml:lang='en'>a &amp; b</text></stream:error></stream:stream>";
        assert_eq!(String::from_utf8(out).unwrap(), expected);
    }
}
