//! The content of a MESSAGE, and the header fields that speak of it (RFC 7572 table 1).

use cpim::{Content, is_language_tag};
use sip::wire::HeaderName;
use sip::wire::print::{header, one_line};
use smallvec::SmallVec;

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

/// The forms of a content, at least one; what is not in it is written to `buffer`.
pub fn forms<'a>(content: &'a Content<'_>, buffer: &'a mut Vec<u8>) -> Forms<'a> {
    write_lines(content, buffer);
    let content_type = content.media_type.as_ref().map_or(&b""[..], |media_type| media_type.raw());
    SmallVec::from_buf([Form { content_type, lines: buffer, body: &content.body }])
}

/// Appends Subject and Content-Language, each where there is something to say. SIP has one subject: the one in the language
/// of the text, else the one in no language, else the first.
pub fn write_lines(content: &Content<'_>, out: &mut Vec<u8>) {
    let in_language = |language: Option<&str>| content.subjects.iter().find(|s| s.language.as_deref() == language);
    let subject =
        in_language(content.language.as_deref()).or_else(|| in_language(None)).or_else(|| content.subjects.first());
    if let Some(subject) = subject.filter(|subject| !subject.text.trim().is_empty()) {
        out.extend_from_slice(b"Subject: ");
        one_line(subject.text.trim().as_bytes(), out);
        out.extend_from_slice(b"\r\n");
    }
    if let Some(language) = content.language.as_deref().filter(|tag| is_language_tag(tag)) {
        header(HeaderName::ContentLanguage, language.as_bytes(), out);
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
    fn nothing_becomes_a_line_of_its_own() {
        let text = lines(Some("en\r\nX: y"), &[(None, "a\r\nVia: b\0\u{7f}")]);
        assert_eq!(text.matches("\r\n").count(), 1, "{text:?}");
        assert!(text.starts_with("Subject: a") && text.ends_with("\r\n"), "{text:?}");
        assert!(!text.trim_end().contains(|c: char| c.is_control()), "{text:?}");
    }
}
