//! What a server of another age has stamped.
//!
//! Servers in the field enforce the stringprep profiles of RFC 6122, with or without characters younger than Unicode 3.2,
//! as often as RFC 7622. A localpart such as `i♥u` is legal there and not here. Whoever bears it is known to his
//! server, writes messages and wants answers; so an address that stands as such a server would leave it is taken as it
//! stands.

use super::{EXCLUDED, PART_MAX};
use stringprep::tables;
use unicode_normalization::is_nfkc;

/// Whether a localpart is what nodeprep (RFC 6122 appendix A) makes of it, unassigned characters let through (RFC 3454
/// section 7).
pub(super) fn is_local(text: &str) -> bool {
    !text.is_empty()
        && text.len() <= PART_MAX
        && !text.contains(EXCLUDED)
        && !text.chars().any(|c| is_mapped(c) || is_prohibited(c))
        && is_nfkc(text)
        && keeps_direction(text)
}

/// Whether a domainpart is a name of letters, digits, hyphens and underscores, in lower case, as names in the wild are, and
/// no A-label is among its labels.
pub(super) fn is_ascii_domain(text: &str) -> bool {
    text.len() <= PART_MAX
        && text.split('.').all(|label| {
            (1..=super::LABEL_MAX).contains(&label.len())
                && !label.starts_with('-')
                && !label.ends_with('-')
                && !label.starts_with("xn--")
                && label.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"-_".contains(&b))
        })
}

/// Whether a resourcepart can stand in a stanza. Nobody reads a meaning into it, so that is all that matters.
pub(super) fn is_resource(text: &str) -> bool {
    !text.is_empty() && text.len() <= PART_MAX && !text.chars().any(char::is_control)
}

fn is_mapped(c: char) -> bool {
    tables::commonly_mapped_to_nothing(c) || !tables::case_fold_for_nfkc(c).eq([c])
}

fn is_prohibited(c: char) -> bool {
    tables::ascii_space_character(c)
        || tables::non_ascii_space_character(c)
        || tables::ascii_control_character(c)
        || tables::non_ascii_control_character(c)
        || tables::private_use(c)
        || tables::non_character_code_point(c)
        || tables::inappropriate_for_plain_text(c)
        || tables::inappropriate_for_canonical_representation(c)
        || tables::change_display_properties_or_deprecated(c)
        || tables::tagging_character(c)
}

/// RFC 3454 section 6.
fn keeps_direction(text: &str) -> bool {
    if !text.chars().any(tables::bidi_r_or_al) {
        return true;
    }
    let at_edge = |c: Option<char>| c.is_some_and(tables::bidi_r_or_al);
    !text.chars().any(tables::bidi_l) && at_edge(text.chars().next()) && at_edge(text.chars().next_back())
}
