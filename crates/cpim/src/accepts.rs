//! Which types of content somebody is known to take.
//!
//! Page mode has no way to ask beforehand: of whom nobody said anything, plain text is all that is known.

use crate::{DomainPattern, MediaType};

/// The types that the users of a domain are known to take. Plain text is always among them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Accepts {
    /// Type and subtype in lower case; `*` is any subtype.
    ranges: Vec<(Box<str>, Box<str>)>,
}

/// A text that is no media type.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no type as \"text/html\" or \"image/*\"")]
pub struct NotAType(pub String);

static PLAIN_TEXT: Accepts = Accepts { ranges: Vec::new() };

impl Accepts {
    /// These types; `image/*` is any type of image.
    pub fn new(types: impl IntoIterator<Item = impl AsRef<str>>) -> Result<Self, NotAType> {
        let is_name = |name: &str| {
            !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"!#$&^_.+-".contains(&b))
        };
        let mut ranges = Vec::new();
        for text in types {
            let lower = text.as_ref().to_ascii_lowercase();
            match lower.split_once('/') {
                Some(("text", "plain")) => {}
                Some((main, sub)) if is_name(main) && (is_name(sub) || sub == "*") => {
                    ranges.push((main.into(), sub.into()));
                }
                _ => return Err(NotAType(text.as_ref().to_owned())),
            }
        }
        Ok(Self { ranges })
    }

    /// Whether a type is among them.
    pub fn takes(&self, media_type: &MediaType<'_>) -> bool {
        self.ranges.iter().any(|(main, sub)| media_type.is(main, sub) || (&**sub == "*" && media_type.is_a(main)))
            || media_type.is("text", "plain")
    }

    /// Whether nothing but plain text is among them.
    pub fn is_plain_text(&self) -> bool {
        self.ranges.is_empty()
    }
}

/// What the users of each domain of one side are known to take.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AcceptedBy {
    rows: Vec<(DomainPattern, Accepts)>,
}

impl AcceptedBy {
    /// A table; rows for named domains are looked at before those for any.
    pub fn new(mut rows: Vec<(DomainPattern, Accepts)>) -> Self {
        rows.sort_by_key(|(domain, _)| *domain == DomainPattern::Any);
        Self { rows }
    }

    /// What users of `domain` (in lower case) take.
    pub fn of(&self, domain: &str) -> &Accepts {
        self.rows.iter().find(|(row, _)| row.matches(domain)).map_or(&PLAIN_TEXT, |(_, accepts)| accepts)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn media_type(text: &str) -> MediaType<'_> {
        MediaType::parse(text.as_bytes()).unwrap()
    }

    #[test]
    fn plain_text_is_always_taken_and_nothing_else_unasked() {
        let accepts = Accepts::new(["text/plain", "Text/HTML", "image/*"]).unwrap();
        for (text, taken) in [
            ("text/plain;charset=utf-8", true),
            ("TEXT/html", true),
            ("image/png", true),
            ("IMAGE/svg+xml; x=y", true),
            ("text/calendar", false),
            ("imagex/png", false),
            ("message/cpim", false),
        ] {
            assert_eq!(accepts.takes(&media_type(text)), taken, "{text}");
        }
        assert!(Accepts::default().takes(&media_type("text/plain")) && Accepts::default().is_plain_text());
        assert!(!Accepts::default().takes(&media_type("text/html")) && !accepts.is_plain_text());
        for text in ["", "text", "text/", "/plain", "*/*", "te xt/plain", "text/plain;charset=utf-8", "text/*x"] {
            assert_eq!(Accepts::new([text]), Err(NotAType(text.to_owned())));
        }
    }

    #[test]
    fn a_named_domain_speaks_for_itself() {
        let html = Accepts::new(["text/html"]).unwrap();
        let table = AcceptedBy::new(vec![
            (DomainPattern::Any, html.clone()),
            (DomainPattern::Exactly("plain.example".into()), Accepts::default()),
        ]);
        assert!(table.of("plain.example").is_plain_text());
        assert_eq!(table.of("other.example"), &html);
        assert!(AcceptedBy::default().of("other.example").is_plain_text());
    }
}
