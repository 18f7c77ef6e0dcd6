//! Header fields that speak of the content of a MESSAGE (RFC 7572 table 1).

use cpim::{Content, is_language_tag};
use sip::wire::HeaderName;
use sip::wire::print::{header, one_line};

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
