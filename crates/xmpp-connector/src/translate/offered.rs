//! What a stanza offers beside its text: the same in other languages, and its format.

use super::xhtml;
use cpim::{Alternative, Content, MediaType, is_language_tag};
use std::borrow::Cow;
use xmpp::stanza::{Localized, Message};

/// Other forms of one text that are looked at. A stanza with more of them is no text for people.
const MOST: usize = 4;

/// The further bodies of a stanza, each with its language, and where `html` is set, because somebody takes it, what is left of
/// its XHTML-IM as HTML. `content` holds one of the bodies already.
pub fn alternatives<'a>(message: &Message<'a>, content: &Content<'a>, html: bool) -> Vec<Alternative<'a>> {
    if message.bodies.len() <= 1 && (message.html.is_empty() || !html) {
        return Vec::new();
    }
    let language =
        |text: &Localized<'a>| text.lang.clone().or_else(|| message.lang.clone()).filter(|tag| is_language_tag(tag));
    let octets = |text: Cow<'a, str>| match text {
        Cow::Borrowed(text) => Cow::Borrowed(text.as_bytes()),
        Cow::Owned(text) => Cow::Owned(text.into_bytes()),
    };
    let shown = message.bodies.iter().position(|body| body.text.as_bytes() == &*content.body);
    let others = message.bodies.iter().enumerate().filter(|(place, _)| Some(*place) != shown).take(MOST);
    let plain = others.map(|(_, body)| Alternative {
        media_type: MediaType::PLAIN_TEXT,
        language: language(body),
        body: octets(body.text.clone()),
    });
    let formatted = message.html.iter().filter(|_| html).take(MOST).filter_map(|body| {
        let plain = message.bodies.iter().find(|plain| plain.lang == body.lang).or(message.bodies.first())?;
        let html = xhtml::to_html(&body.text, &plain.text)?;
        Some(Alternative { media_type: MediaType::HTML, language: language(body), body: Cow::Owned(html.into_bytes()) })
    });
    plain.chain(formatted).collect()
}
