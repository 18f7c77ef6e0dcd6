//! What is shown of several parts (RFC 5621, RFC 2046 section 5.1, RFC 2387).

use super::{Presented, is_unknown, part, refused, unreadable};
use crate::translate::xhtml::Budget;
use cpim::mime::{self, Entity};
use cpim::{Failure, MediaType, Reason, is_for_show};
use std::borrow::Cow;
use xmpp::stanza::{Localized, Texts};

/// The parts of a multipart as one text. A subtype that is not known is taken as mixed (RFC 5621 section 4.2).
pub(super) fn shown<'c>(
    octets: &'c [u8],
    media_type: &MediaType<'_>,
    depth: usize,
    budget: &mut Budget,
) -> Result<Presented<'c>, Failure<'static>> {
    let parts = mime::parts(octets, media_type).map_err(unreadable)?;
    if media_type.is("multipart", "alternative") {
        alternative(&parts, depth, budget)
    } else if media_type.is("multipart", "related") {
        related(&parts, media_type.param("start").as_deref(), depth, budget)
    } else {
        mixed(&parts, depth, budget)
    }
}

/// One text in several forms, the richest last (RFC 5621 section 6.1). A stanza can hold several: the plain text as body,
/// HTML as its format, and plain texts in other languages; of what remains only the last that can be shown. What the parts
/// say of their handling does not count (section 8.3).
fn alternative<'c>(parts: &[Entity<'c>], depth: usize, budget: &mut Budget) -> Result<Presented<'c>, Failure<'static>> {
    let is = |entity: &Entity<'c>, main: &str, sub: &str| match entity.media_type() {
        None => (main, sub) == ("text", "plain"),
        Some(media_type) => media_type.is_some_and(|media_type| media_type.is(main, sub)),
    };
    let is_text = |entity: &&Entity<'c>| is(entity, "text", "plain") || is(entity, "text", "html");
    let mut failure = Failure::from(Reason::UnsupportedMedia);
    let mut best: Option<Presented<'c>> = None;
    let plain = parts.iter().filter(|entity| is(entity, "text", "plain"));
    let html = parts.iter().filter(|entity| is(entity, "text", "html"));
    let others = parts.iter().rev().filter(|entity| !is_text(entity));
    for entity in plain.chain(html).chain(others) {
        if best.is_some() && !is_text(&entity) {
            break;
        }
        match (part(entity, depth, budget), &mut best) {
            (Ok(presented), None) => best = Some(presented),
            (Ok(presented), Some(best)) => join(best, presented),
            (Err(other), _) if failure.text.is_none() => failure = other,
            (Err(_), _) => {}
        }
    }
    best.ok_or(failure)
}

/// Adds another form of the same text.
fn join<'c>(best: &mut Presented<'c>, other: Presented<'c>) {
    // Some write nothing but HTML and leave the plain part empty; who shows no formats shall see the text too.
    if best.body.trim().is_empty() && best.translations.is_empty() && !other.body.trim().is_empty() {
        best.language = other.language.or(best.language.take());
        best.body = other.body;
        best.html.extend(other.html);
        best.replaced += other.replaced;
        return;
    }
    let lang = if other.language == best.language { None } else { other.language };
    let has = |texts: &Texts<'c>, lang: &Option<Cow<'c, str>>| texts.iter().any(|known| known.lang == *lang);
    if let Some(html) = other.html.into_iter().next()
        && !has(&best.html, &lang)
    {
        best.replaced += other.replaced;
        best.html.push(Localized { lang: lang.clone(), text: html.text });
        // XEP-0071 section 5: where there are several, each names its language.
        if let [first, _, ..] = &mut best.html[..]
            && first.lang.is_none()
        {
            first.lang = best.language.clone();
        }
    }
    // XEP-0071 section 8 rule 4: for each formatted text there is a body.
    if lang.is_some() && !has(&best.translations, &lang) {
        best.translations.push(Localized { lang, text: other.body });
    }
}

/// All parts that can be shown, one below the other, without their format. A part that cannot is left out only where it says
/// that it may be (RFC 5621 section 8.4).
fn mixed<'c>(parts: &[Entity<'c>], depth: usize, budget: &mut Budget) -> Result<Presented<'c>, Failure<'static>> {
    let mut all: Option<Presented<'c>> = None;
    for entity in parts {
        match (shown_part(entity, depth, budget), &mut all) {
            (Ok(presented), None) => all = Some(presented),
            (Ok(presented), Some(all)) => {
                all.body.to_mut().push('\n');
                all.body.to_mut().push_str(&presented.body);
                all.html.clear();
                all.translations.clear();
            }
            (Err(failure), _) if is_unknown(&failure) && is_optional(entity) => {}
            (Err(failure), _) => return Err(failure),
        }
    }
    all.ok_or_else(|| Reason::UnsupportedMedia.into())
}

/// A compound whose root is shown (RFC 2387). The other parts belong to it and are not shown on their own (RFC 5621 section
/// 7.3); one that says that it is required is missed.
fn related<'c>(
    parts: &[Entity<'c>],
    start: Option<&[u8]>,
    depth: usize,
    budget: &mut Budget,
) -> Result<Presented<'c>, Failure<'static>> {
    let is_start = |entity: &&Entity<'c>| start.is_some() && entity.field("Content-ID") == start;
    let root = parts.iter().find(is_start).or(parts.first()).ok_or(Reason::BadRequest)?;
    let is_missed =
        |entity: &Entity<'c>| !std::ptr::eq(entity, root) && entity.disposition().is_some_and(|d| d.is_required());
    if parts.iter().any(is_missed) {
        return Err(refused(Reason::UnsupportedMedia, "a required part of multipart/related cannot be shown"));
    }
    shown_part(root, depth, budget)
}

fn shown_part<'c>(entity: &Entity<'c>, depth: usize, budget: &mut Budget) -> Result<Presented<'c>, Failure<'static>> {
    if !is_for_show(entity.disposition(), entity.media_type().flatten().as_ref()) {
        return Err(Reason::UnsupportedMedia.into());
    }
    part(entity, depth, budget)
}

fn is_optional(entity: &Entity<'_>) -> bool {
    entity.disposition().is_some_and(|disposition| disposition.is_optional())
}
