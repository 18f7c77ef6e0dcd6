//! The content of a MESSAGE, and the header fields that speak of it (RFC 7572 table 1).

use super::rich::{self, Letterhead};
use cpim::{Accepts, Alternative, Content, Failure, MediaType, Reason, is_language_tag};
use sip::wire::HeaderName;
use sip::wire::print::{header, one_line};
use smallvec::SmallVec;
use std::borrow::Cow;
use std::ops::Range;

/// A longer subject is cut to so many octets: a header line has a limit everywhere, and one that is beyond it takes the message
/// with it.
const LONGEST_SUBJECT: usize = 1024;
/// An entity with a longer Content-Type or Content-Disposition is refused.
const LONGEST_DESCRIPTION: usize = 4096;

/// One form of a content.
#[derive(Clone, Copy, Debug, Default)]
pub struct Form<'a> {
    /// The value of Content-Type; empty where there is none.
    pub content_type: &'a [u8],
    /// Further header lines, each ended by CRLF.
    pub lines: &'a [u8],
    /// The body.
    pub body: &'a [u8],
}

/// The forms in which a content can be sent, the richest first. Whoever does not take one (415, 488) gets the next.
pub type Forms<'a> = SmallVec<[Form<'a>; 1]>;

/// Whom the forms are for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Recipient<'r> {
    /// What is known to be taken.
    pub(crate) accepts: &'r Accepts,
    /// What a wrapper repeats of the request.
    pub(crate) letterhead: Letterhead<'r>,
    /// What stands in no text by chance, nor on purpose.
    pub(crate) boundary: &'r [u8],
    /// Lines that do not depend on the form.
    pub(crate) about: &'r [u8],
}

/// The forms of a content, at least one; what is not in it is written to `buffer`. Secured entities go to everybody (RFC 3923
/// section 8), other types only to those who are known to take them: a client that takes anything shows markup.
pub(crate) fn forms<'a>(
    content: &'a Content<'_>,
    to: &Recipient<'_>,
    buffer: &'a mut Vec<u8>,
) -> Result<Forms<'a>, Failure<'static>> {
    let media_type = content.media_type.as_ref();
    if media_type.is_some_and(|media_type| !(to.accepts.takes(media_type) || media_type.is_secured())) {
        return Err(Failure {
            reason: Reason::UnsupportedMedia,
            text: Some(Cow::Borrowed("the recipient is not known to take content of this type")),
            alternate: None,
        });
    }
    // What describes an entity is not ours to cut.
    let described = [media_type.map(|media_type| media_type.raw()), content.disposition.as_deref()];
    if described.into_iter().flatten().any(|value| value.len() > LONGEST_DESCRIPTION) {
        return Err(Failure {
            reason: Reason::TooLarge,
            text: Some(Cow::Borrowed("Content-Type or Content-Disposition is too long")),
            alternate: None,
        });
    }
    buffer.extend_from_slice(to.about);
    write_lines(content, buffer);
    let content_type = media_type.map_or(&b""[..], |media_type| media_type.raw());
    if to.accepts.is_plain_text() || !media_type.is_some_and(|media_type| media_type.is("text", "plain")) {
        return Ok(SmallVec::from_buf([Form { content_type, lines: buffer, body: &content.body }]));
    }
    let own =
        Draft { content_type: Piece::There(content_type), lines: 0..buffer.len(), body: Piece::There(&content.body) };
    let drafts = rich_drafts(content, to, own, buffer);
    let written: &'a [u8] = buffer;
    Ok(drafts.iter().map(|draft| draft.form(written)).collect())
}

/// A form while its buffer still grows.
#[derive(Clone)]
struct Draft<'a> {
    content_type: Piece<'a>,
    lines: Range<usize>,
    body: Piece<'a>,
}

#[derive(Clone)]
enum Piece<'a> {
    There(&'a [u8]),
    Written(Range<usize>),
}

impl<'a> Piece<'a> {
    fn octets<'s>(&self, written: &'s [u8]) -> &'s [u8]
    where
        'a: 's,
    {
        match self {
            Piece::There(octets) => octets,
            Piece::Written(range) => written.get(range.clone()).unwrap_or_default(),
        }
    }
}

impl<'a> Draft<'a> {
    fn form(&self, written: &'a [u8]) -> Form<'a> {
        Form {
            content_type: self.content_type.octets(written),
            lines: written.get(self.lines.clone()).unwrap_or_default(),
            body: self.body.octets(written),
        }
    }
}

/// What the recipient takes beside the plain text `own`, in front of it: a wrapper around the best form, and that form
/// itself.
fn rich_drafts<'a>(
    content: &'a Content<'_>,
    to: &Recipient<'_>,
    own: Draft<'a>,
    buffer: &mut Vec<u8>,
) -> SmallVec<[Draft<'a>; 3]> {
    let takes = |main: &str, sub: &str| {
        MediaType::parse(format!("{main}/{sub}").into_bytes()).is_some_and(|media_type| to.accepts.takes(&media_type))
    };
    let others: SmallVec<[&Alternative<'_>; 4]> =
        content.alternatives.iter().filter(|other| to.accepts.takes(&other.media_type)).collect();
    let mut drafts = SmallVec::new();
    if takes("multipart", "alternative") && !others.is_empty() {
        drafts.extend(alternative(content, &others, to, buffer));
    } else if let Some(html) = content.alternatives.iter().find(|other| is_html_of(other, content))
        && takes("text", "html")
    {
        let (content_type, body) = (html.media_type.raw(), &html.body[..]);
        drafts.push(Draft {
            content_type: Piece::There(content_type),
            lines: own.lines.clone(),
            body: Piece::There(body),
        });
    }
    drafts.push(own);
    if takes("message", "cpim")
        && let Some(best) = drafts.first().cloned()
        && let Some(wrapped) = wrapper(content, &best, to, buffer)
    {
        drafts.insert(0, wrapped);
    }
    drafts
}

fn is_html_of(other: &Alternative<'_>, content: &Content<'_>) -> bool {
    other.media_type.is("text", "html") && (other.language.is_none() || other.language == content.language)
}

fn alternative<'a>(
    content: &Content<'_>,
    others: &[&Alternative<'_>],
    to: &Recipient<'_>,
    buffer: &mut Vec<u8>,
) -> Option<Draft<'a>> {
    let start = buffer.len();
    buffer.extend_from_slice(to.about);
    write_subject(content, buffer);
    buffer.extend_from_slice(rich::WHOLE);
    let lines = start..buffer.len();
    for piece in [&b"multipart/alternative;boundary=\""[..], to.boundary, b"\""] {
        buffer.extend_from_slice(piece);
    }
    let content_type = lines.end..buffer.len();
    let written = rich::write_alternative(content, others, to.boundary, buffer);
    let body = content_type.end..buffer.len();
    written.then_some(Draft { content_type: Piece::Written(content_type), lines, body: Piece::Written(body) })
}

fn wrapper<'a>(
    content: &Content<'_>,
    inside: &Draft<'_>,
    to: &Recipient<'_>,
    buffer: &mut Vec<u8>,
) -> Option<Draft<'a>> {
    let media_type = MediaType::parse(inside.content_type.octets(buffer).to_vec())?;
    let entity = inside.body.octets(buffer).to_vec();
    let start = buffer.len();
    buffer.extend_from_slice(to.about);
    write_subject(content, buffer);
    let lines = start..buffer.len();
    let written = rich::write_cpim(content, &to.letterhead, media_type, &entity, buffer);
    let body = lines.end..buffer.len();
    written.then_some(Draft { content_type: Piece::There(b"message/cpim"), lines, body: Piece::Written(body) })
}

/// Appends Subject, Content-Language and Content-Disposition, each where there is something to say. SIP has one subject: the one in the language
/// of the text, else the one in no language, else the first.
pub fn write_lines(content: &Content<'_>, out: &mut Vec<u8>) {
    write_subject(content, out);
    if let Some(language) = content.language.as_deref().filter(|tag| is_language_tag(tag)) {
        header(HeaderName::ContentLanguage, language.as_bytes(), out);
    }
    if let Some(disposition) = &content.disposition {
        out.extend_from_slice(b"Content-Disposition: ");
        one_line(disposition, out);
        out.extend_from_slice(b"\r\n");
    }
}

fn write_subject(content: &Content<'_>, out: &mut Vec<u8>) {
    let in_language = |language: Option<&str>| content.subjects.iter().find(|s| s.language.as_deref() == language);
    let subject =
        in_language(content.language.as_deref()).or_else(|| in_language(None)).or_else(|| content.subjects.first());
    if let Some(subject) = subject.filter(|subject| !subject.text.trim().is_empty()) {
        let text = subject.text.trim();
        let shown = text.get(..text.floor_char_boundary(LONGEST_SUBJECT)).unwrap_or_default();
        out.extend_from_slice(b"Subject: ");
        one_line(shown.as_bytes(), out);
        if shown.len() < text.len() {
            out.extend_from_slice("\u{2026}".as_bytes());
        }
        out.extend_from_slice(b"\r\n");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use cpim::Subject;

    fn lines(language: Option<&str>, subjects: &[(Option<&str>, &str)]) -> String {
        let content = Content {
            language: language.map(|tag| tag.to_owned().into()),
            subjects: subjects
                .iter()
                .map(|(tag, text)| Subject {
                    language: tag.map(|tag| tag.to_owned().into()),
                    text: (*text).to_owned().into(),
                })
                .collect(),
            ..Content::default()
        };
        let mut out = Vec::new();
        write_lines(&content, &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn one_subject_is_chosen() {
        let both = [(Some("de"), "Wetter"), (None, "weather"), (Some("fr"), "temps")];
        assert_eq!(lines(None, &[]), "");
        assert_eq!(lines(None, &both), "Subject: weather\r\n");
        assert_eq!(lines(Some("fr"), &both), "Subject: temps\r\nContent-Language: fr\r\n");
        assert_eq!(lines(Some("it"), &both), "Subject: weather\r\nContent-Language: it\r\n");
        assert_eq!(lines(None, &both[..1]), "Subject: Wetter\r\n");
        assert_eq!(lines(None, &[(None, " ")]), "");
    }

    #[test]
    fn a_long_subject_is_cut_between_two_characters() {
        let longest = "s".repeat(LONGEST_SUBJECT);
        assert_eq!(lines(None, &[(None, &longest)]), format!("Subject: {longest}\r\n"));
        let longer = format!("s{}", "\u{e9}".repeat(LONGEST_SUBJECT / 2));
        let cut = &longer[..LONGEST_SUBJECT - 1];
        assert_eq!(lines(None, &[(None, &longer)]), format!("Subject: {cut}\u{2026}\r\n"));
    }

    #[test]
    fn nothing_becomes_a_line_of_its_own() {
        let text = lines(Some("en\r\nX: y"), &[(None, "a\r\nVia: b\0\u{7f}")]);
        assert_eq!(text.matches("\r\n").count(), 1, "{text:?}");
        assert!(text.starts_with("Subject: a") && text.ends_with("\r\n"), "{text:?}");
        assert!(!text.trim_end().contains(|c: char| c.is_control()), "{text:?}");
    }
}
