//! What is wrong with a peer's XML.

use thiserror::Error;

/// Why a stream or a stanza is refused. Nothing of it can be repaired: the stream ends with the error that
/// [`Error::fault`] names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum Error {
    /// The bytes are not UTF-8.
    #[error("not UTF-8")]
    NotUtf8,
    /// The XML declaration names another encoding than UTF-8.
    #[error("an encoding other than UTF-8")]
    Encoding,
    /// The XML declaration is not one, or not of XML 1.x.
    #[error("a malformed XML declaration")]
    Declaration,
    /// A character outside the `Char` production, as itself or as a reference.
    #[error("a character that XML forbids")]
    ForbiddenCharacter,
    /// A comment.
    #[error("a comment")]
    Comment,
    /// A processing instruction, or an XML declaration that is not at the beginning.
    #[error("a processing instruction")]
    ProcessingInstruction,
    /// A document type declaration.
    #[error("a document type declaration")]
    DocumentType,
    /// A reference to an entity that is not built in.
    #[error("an undefined entity")]
    UnknownEntity,
    /// An `&` that does not begin a reference.
    #[error("a malformed reference")]
    Reference,
    /// A name that is not a qualified name.
    #[error("a malformed name")]
    Name,
    /// Attributes that are not `name="value"` with white space before each.
    #[error("a malformed attribute")]
    Attribute,
    /// `<` inside a tag.
    #[error("`<` inside a tag")]
    LessThan,
    /// `]]>` in text.
    #[error("`]]>` in text")]
    CDataEnd,
    /// Markup that is none of the known kinds.
    #[error("malformed markup")]
    Markup,
    /// An end tag for another element.
    #[error("an end tag that does not match")]
    MismatchedEnd,
    /// The element ends before its end tag.
    #[error("an element without an end")]
    Unclosed,
    /// Text where only elements may stand.
    #[error("text between elements")]
    StrayText,
    /// Anything behind the end of the element.
    #[error("content behind the end")]
    Trailing,
    /// The same attribute twice, by name or by namespace and name.
    #[error("a duplicate attribute")]
    DuplicateAttribute,
    /// A prefix that is not declared.
    #[error("an undeclared prefix")]
    UnboundPrefix,
    /// A declaration that Namespaces in XML forbids.
    #[error("a forbidden namespace declaration")]
    NamespaceDeclaration,
    /// More octets than [`Limits::stanza`](crate::Limits) or [`Limits::header`](crate::Limits).
    #[error("too long")]
    TooLong,
    /// More than [`Limits::depth`](crate::Limits).
    #[error("too deep")]
    TooDeep,
    /// More than [`Limits::attributes`](crate::Limits).
    #[error("too many attributes")]
    TooManyAttributes,
    /// More than [`Limits::namespaces`](crate::Limits).
    #[error("too many namespace declarations")]
    TooManyNamespaces,
}

/// What kind of fault it is: RFC 6120 section 4.9.3 has a stream error for each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Not XML, or not namespace-aware XML: `not-well-formed`.
    NotWellFormed,
    /// XML that RFC 6120 section 11.1 does not allow: `restricted-xml`.
    Restricted,
    /// `unsupported-encoding`.
    Encoding,
    /// Over a limit of ours: `policy-violation`.
    Limit,
    /// Text between stanzas: `bad-format`.
    Format,
}

impl Error {
    /// The kind of fault.
    pub fn fault(self) -> Fault {
        match self {
            Self::NotUtf8 | Self::Encoding => Fault::Encoding,
            Self::Comment | Self::ProcessingInstruction | Self::DocumentType | Self::UnknownEntity => Fault::Restricted,
            Self::TooLong | Self::TooDeep | Self::TooManyAttributes | Self::TooManyNamespaces => Fault::Limit,
            Self::StrayText => Fault::Format,
            Self::Declaration
            | Self::ForbiddenCharacter
            | Self::Reference
            | Self::Name
            | Self::Attribute
            | Self::LessThan
            | Self::CDataEnd
            | Self::Markup
            | Self::MismatchedEnd
            | Self::Unclosed
            | Self::Trailing
            | Self::DuplicateAttribute
            | Self::UnboundPrefix
            | Self::NamespaceDeclaration => Fault::NotWellFormed,
        }
    }
}
