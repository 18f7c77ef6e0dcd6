//! Writing a message/cpim as the strictest readers want it: From and To first and always, addresses in angle brackets, CRLF,
//! exactly one space behind each colon, `Content-Type` spelled so, no empty line in front.

use super::{HEADERS, escape, is_absolute_uri, is_name};
use crate::MediaType;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// Somebody to be named.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OutAddress<'a> {
    /// The name for people; nothing is written where it is empty, which is what some readers insist on.
    pub name: &'a str,
    /// The URI.
    pub uri: &'a str,
}

/// A subject to be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OutSubject<'a> {
    /// Its language, where it is known (section 4.5).
    pub language: Option<&'a str>,
    /// The text, not escaped.
    pub text: &'a str,
}

/// A header of another namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OutHeader<'a> {
    /// The prefix, which one of the namespaces declares.
    pub prefix: &'a str,
    /// The name.
    pub name: &'a str,
    /// The value, not escaped.
    pub value: &'a str,
}

/// A message to be written.
#[derive(Clone, Debug)]
pub struct OutMessage<'a> {
    /// Who writes.
    pub from: OutAddress<'a>,
    /// For whom it is; at least one.
    pub to: &'a [OutAddress<'a>],
    /// Who gets a copy.
    pub cc: &'a [OutAddress<'a>],
    /// When it was sent.
    pub date_time: Option<OffsetDateTime>,
    /// What it is about.
    pub subjects: &'a [OutSubject<'a>],
    /// Prefixes and the namespaces that they stand for.
    pub namespaces: &'a [(&'a str, &'a str)],
    /// Headers of these namespaces.
    pub headers: &'a [OutHeader<'a>],
    /// The type of the content.
    pub media_type: MediaType<'a>,
    /// The content.
    pub body: &'a [u8],
}

/// Why a message cannot be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WriteError {
    /// An address is no absolute URI, or there is no recipient.
    #[error("an address cannot be written")]
    Address,
    /// A name, prefix or language that is none, or a prefix that nothing declares.
    #[error("a name cannot be written")]
    Name,
    /// A namespace is no absolute URI.
    #[error("a namespace cannot be written")]
    Namespace,
    /// A moment before the year 0 or after 9999.
    #[error("the moment cannot be written")]
    DateTime,
    /// The type of the content holds line ends.
    #[error("the content type cannot be written")]
    MediaType,
}

impl OutMessage<'_> {
    /// Appends the message. Nothing is appended where it cannot be written.
    pub fn write(&self, out: &mut Vec<u8>) -> Result<(), WriteError> {
        let start = out.len();
        let written = self.write_all(out);
        if written.is_err() {
            out.truncate(start);
        }
        written
    }

    fn write_all(&self, out: &mut Vec<u8>) -> Result<(), WriteError> {
        if self.to.is_empty() {
            return Err(WriteError::Address);
        }
        write_address("From", &self.from, out)?;
        for to in self.to {
            write_address("To", to, out)?;
        }
        for cc in self.cc {
            write_address("cc", cc, out)?;
        }
        if let Some(moment) = self.date_time {
            let text = moment.format(&Rfc3339).map_err(|_| WriteError::DateTime)?;
            write_line("DateTime", None, &text, out);
        }
        for subject in self.subjects {
            if subject.language.is_some_and(|tag| !crate::content::is_language_tag(tag)) {
                return Err(WriteError::Name);
            }
            write_line("Subject", subject.language, subject.text, out);
        }
        for &(prefix, uri) in self.namespaces {
            if !is_name(prefix) {
                return Err(WriteError::Name);
            }
            if !is_absolute_uri(uri) || uri == HEADERS {
                return Err(WriteError::Namespace);
            }
            out.extend_from_slice(b"NS: ");
            out.extend_from_slice(prefix.as_bytes());
            out.extend_from_slice(b" <");
            out.extend_from_slice(uri.as_bytes());
            out.extend_from_slice(b">\r\n");
        }
        for header in self.headers {
            let declared = self.namespaces.iter().any(|(prefix, _)| *prefix == header.prefix);
            if !declared || !is_name(header.name) {
                return Err(WriteError::Name);
            }
            out.extend_from_slice(header.prefix.as_bytes());
            out.push(b'.');
            write_line(header.name, None, header.value, out);
        }
        out.extend_from_slice(b"\r\n");
        if self.media_type.raw().iter().any(u8::is_ascii_control) {
            return Err(WriteError::MediaType);
        }
        out.extend_from_slice(b"Content-Type: ");
        out.extend_from_slice(self.media_type.raw().trim_ascii());
        out.extend_from_slice(b"\r\n\r\n");
        out.extend_from_slice(self.body);
        Ok(())
    }
}

/// White space around a value would stand at the end of the line or make two spaces of one, so it goes.
fn write_line(name: &str, language: Option<&str>, value: &str, out: &mut Vec<u8>) {
    out.extend_from_slice(name.as_bytes());
    out.push(b':');
    if let Some(language) = language {
        out.extend_from_slice(b";lang=");
        out.extend_from_slice(language.as_bytes());
    }
    out.push(b' ');
    escape(value.trim_matches(' '), None, out);
    out.extend_from_slice(b"\r\n");
}

fn write_address(name: &str, address: &OutAddress<'_>, out: &mut Vec<u8>) -> Result<(), WriteError> {
    if !is_absolute_uri(address.uri) || !address.uri.is_ascii() || address.uri.contains('\\') {
        return Err(WriteError::Address);
    }
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b": ");
    if !address.name.is_empty() {
        out.push(b'"');
        escape(address.name, Some('"'), out);
        out.push(b'"');
    }
    out.push(b'<');
    out.extend_from_slice(address.uri.as_bytes());
    out.extend_from_slice(b">\r\n");
    Ok(())
}
