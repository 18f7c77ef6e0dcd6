//! Telephone numbers (RFC 3966), as they stand in `tel:` URIs and in local parts of users who are numbers.

use std::borrow::Cow;

/// Octets that are for the eye only (RFC 3966 section 5.1.1).
const SEPARATORS: [char; 4] = ['-', '.', '(', ')'];

/// The one spelling of a `telephone-subscriber` (RFC 3966 section 3) by which equal numbers are equal text (section 4):
/// visual separators removed, lower case, and of the parameters those that tell one telephone from another, `ext` or
/// `isub` first and `phone-context` behind it. Other parameters may be ignored (section 5.4).
///
/// `None` for what is no number: a local one without context, a global one with it, one with a parameter that must be
/// understood (`m-…`), a parameter that stands twice. Percent-encoding in `isub` is not read.
///
/// A text in this spelling is borrowed.
///
/// ```
/// use cpim::telephone::canonical;
///
/// assert_eq!(canonical("+1-201-555-0123").as_deref(), Some("+12015550123"));
/// assert_eq!(canonical("863-1234;phone-context=+1-914-555").as_deref(), Some("8631234;phone-context=+1914555"));
/// assert_eq!(canonical("863-1234"), None);
/// ```
pub fn canonical(subscriber: &str) -> Option<Cow<'_, str>> {
    let mut parts = subscriber.split(';');
    let number = parts.next()?;
    let global = number.starts_with('+');
    let digits = if global { global_digits(number)? } else { local_digits(number)? };
    let (mut extension, mut subaddress, mut context) = (None, None, None);
    for part in parts {
        let (name, value) = part.split_once('=').map_or((part, None), |(name, value)| (name, Some(value)));
        let place = if name.eq_ignore_ascii_case("ext") {
            &mut extension
        } else if name.eq_ignore_ascii_case("isub") {
            &mut subaddress
        } else if name.eq_ignore_ascii_case("phone-context") {
            &mut context
        } else if name.get(..2).is_some_and(|prefix| prefix.eq_ignore_ascii_case("m-")) {
            return None;
        } else {
            continue;
        };
        if place.replace(value?).is_some() {
            return None;
        }
    }
    if global == context.is_some() || (extension.is_some() && subaddress.is_some()) {
        return None;
    }
    let mut text = digits.into_owned();
    if let Some(extension) = extension {
        text.push_str(";ext=");
        text.push_str(&only(extension, |c| c.is_ascii_digit())?);
    }
    if let Some(subaddress) = subaddress {
        text.push_str(";isub=");
        let legal = |c: char| c.is_ascii_alphanumeric() || "-_.!~*'()[]/:&+$".contains(c);
        if subaddress.is_empty() || !subaddress.chars().all(legal) {
            return None;
        }
        text.push_str(&subaddress.to_ascii_lowercase());
    }
    if let Some(context) = context {
        text.push_str(";phone-context=");
        text.push_str(&descriptor(context)?);
    }
    Some(if text == subscriber { Cow::Borrowed(subscriber) } else { Cow::Owned(text) })
}

/// `global-number-digits`.
fn global_digits(number: &str) -> Option<Cow<'_, str>> {
    let digits = only(number.strip_prefix('+')?, |c| c.is_ascii_digit())?;
    Some(if digits.len() + 1 == number.len() { Cow::Borrowed(number) } else { Cow::Owned(format!("+{digits}")) })
}

/// `local-number-digits`.
fn local_digits(number: &str) -> Option<Cow<'_, str>> {
    only(number, |c| c.is_ascii_hexdigit() || c == '*' || c == '#')
}

/// What is left without separators, in lower case, where it is all legal and not nothing.
fn only(text: &str, legal: impl Fn(char) -> bool) -> Option<Cow<'_, str>> {
    if !text.chars().all(|c| legal(c) || SEPARATORS.contains(&c)) {
        return None;
    }
    let plain = !text.contains(SEPARATORS) && !text.bytes().any(|b| b.is_ascii_uppercase());
    let kept = if plain { Cow::Borrowed(text) } else { Cow::Owned(text.replace(SEPARATORS, "").to_ascii_lowercase()) };
    (!kept.is_empty()).then_some(kept)
}

/// The context of a local number: the leading digits of global ones, or a domain name.
fn descriptor(context: &str) -> Option<Cow<'_, str>> {
    if context.starts_with('+') {
        return global_digits(context);
    }
    let name = context.strip_suffix('.').unwrap_or(context);
    let legal = |label: &str| {
        !label.is_empty()
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
    };
    let name_of_a_host = name.split('.').all(legal)
        && name.rsplit('.').next().is_some_and(|top| top.starts_with(|c: char| c.is_ascii_alphabetic()));
    name_of_a_host.then(|| Cow::Owned(name.to_ascii_lowercase()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// RFC 3966 sections 3 to 6.
    #[test]
    fn numbers_have_one_spelling() {
        for (subscriber, spelling) in [
            ("+1-201-555-0123", "+12015550123"),
            ("+358-555-1234567", "+3585551234567"),
            ("+1(800)555.0123", "+18005550123"),
            ("7042;phone-context=example.com", "7042;phone-context=example.com"),
            ("863-1234;phone-context=+1-914-555", "8631234;phone-context=+1914555"),
            ("863;Phone-Context=Houston.Example.COM.", "863;phone-context=houston.example.com"),
            ("+1-201-555-0123;ext=12-3", "+12015550123;ext=123"),
            ("+12;isub=aB1", "+12;isub=ab1"),
            ("911;phone-context=+1;ext=5", "911;ext=5;phone-context=+1"),
            ("*21#;phone-context=a.example", "*21#;phone-context=a.example"),
            ("AbF;phone-context=a.example", "abf;phone-context=a.example"),
            ("+12;npdi;rn=+34", "+12"),
            ("+12;cpc=ordinary;tgrp=x", "+12"),
        ] {
            assert_eq!(canonical(subscriber).as_deref(), Some(spelling), "{subscriber}");
            assert!(matches!(canonical(spelling), Some(Cow::Borrowed(same)) if same == spelling), "{spelling}");
        }
    }

    #[test]
    fn what_is_no_number_is_refused() {
        for subscriber in [
            "",
            "+",
            "+-",
            "-.()",
            "+12a",
            "+12*",
            "863",
            "911;ext=1",
            "juliet",
            "+1 2",
            "+12;phone-context=+1",
            "12;phone-context",
            "12;phone-context=",
            "12;phone-context=+",
            "12;phone-context=1.2",
            "12;phone-context=-a",
            "12;phone-context=a..b",
            "12;phone-context=a@b",
            "12;phone-context=a;phone-context=b",
            "+12;ext=1;ext=1",
            "+12;ext=1;isub=2",
            "+12;ext=",
            "+12;ext=a",
            "+12;isub=a%3Bb",
            "+12;isub",
            "+12;m-new=1",
            "+12;M-new",
            "\u{ff0b}12",
            "+\u{661}\u{662}",
        ] {
            assert_eq!(canonical(subscriber), None, "{subscriber}");
        }
    }

    proptest! {
        #[test]
        fn the_spelling_of_a_spelling_is_itself(
            subscriber in "[+]?[0-9a-fA-F*#.()-]{1,8}(;(ext|isub|phone-context|x)=[+0-9a-zA-Z.%-]{0,6}){0,3}|\\PC{0,16}"
        ) {
            if let Some(spelling) = canonical(&subscriber) {
                prop_assert!(spelling.is_ascii() && !spelling.contains('@'));
                prop_assert_eq!(canonical(&spelling), Some(spelling.clone()));
            }
        }
    }
}
