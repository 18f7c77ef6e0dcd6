//! What XHTML-IM recommends, and what is written of everything else.

use std::borrow::Cow;
use std::fmt::Write as _;
use xml::writer::escape_attribute;

/// The elements of XHTML-IM and their attributes (XEP-0071 section 7.8). `<body/>` is written by who writes the stanza.
pub(super) const ELEMENTS: &[(&str, &[&str])] = &[
    ("a", &["href", "style", "type"]),
    ("blockquote", &["style"]),
    ("br", &[]),
    ("cite", &["style"]),
    ("em", &[]),
    ("img", &["alt", "height", "src", "style", "width"]),
    ("li", &["style"]),
    ("ol", &["style"]),
    ("p", &["style"]),
    ("span", &["style"]),
    ("strong", &[]),
    ("ul", &["style"]),
];

/// Elements of HTML that mean something that XHTML-IM can say, or that begin a line.
pub(super) const UNDERSTOOD: &[&str] = &[
    "b",
    "i",
    "u",
    "ins",
    "s",
    "strike",
    "del", // formats
    "address",
    "article",
    "aside",
    "center",
    "dd",
    "div",
    "dl",
    "dt",
    "figcaption",
    "figure",
    "footer",
    "form",
    "h1",
    "h2",
    "h3",
    "h4",
    "h5",
    "h6",
    "header",
    "hr",
    "main",
    "nav",
    "pre",
    "section",
    "table",
    "tr", // lines
    "td",
    "th", // columns
];

/// Elements of which not even the text is for people.
pub(super) const HIDDEN: &[&str] = &[
    "applet", "audio", "canvas", "embed", "frame", "frameset", "head", "iframe", "math", "noembed", "noframes",
    "noscript", "object", "script", "select", "style", "svg", "template", "textarea", "title", "video", "xmp",
];

/// The style properties of XHTML-IM (XEP-0071 section 7.6.1).
pub(super) const STYLES: &[&str] = &[
    "background-color",
    "color",
    "font-family",
    "font-size",
    "font-style",
    "font-weight",
    "margin-left",
    "margin-right",
    "text-align",
    "text-decoration",
];

/// Where a link may lead. None of these runs anything.
pub(super) const SCHEMES: &[&str] =
    &["ftp", "geo", "http", "https", "im", "irc", "ircs", "mailto", "pres", "sip", "sips", "tel", "xmpp"];

/// Elements that hold nothing.
pub(super) const VOID: &[&str] = &["br", "hr", "img"];

/// How deep the elements of what is written may stand in each other; deeper ones are left out.
const DEEPEST: usize = 32;

/// What became of an element that has begun.
enum Open {
    /// This was written for it.
    Written(&'static str),
    /// This was written for it; it is a line of its own.
    Line(&'static str),
    /// A list, and the number of its last item where it counts them.
    List(&'static str, Option<u32>),
    /// A link, where its text began, and where it leads.
    Link(usize, String),
    /// Text as it was typed.
    Typed,
    /// It is a line, of which nothing is written.
    OnlyLine,
    /// Nothing.
    Nothing,
}

/// Takes elements and text, writes markup and text.
#[derive(Default)]
pub(super) struct Filter {
    markup: String,
    text: String,
    open: Vec<Open>,
    written: usize,
    /// How many elements are open whose content is dropped.
    hidden: usize,
    typed: usize,
    /// A new line begins with what comes next.
    break_text: bool,
    /// The new line has to be written in the markup too, where no element makes one.
    break_markup: bool,
    /// White space was read that counts if anything follows.
    space: bool,
    /// How long the text was behind the mark of the last item of a list: no line begins there.
    item: usize,
}

impl Filter {
    /// An element begins.
    pub(super) fn start(&mut self, name: &str, attributes: &[(&str, Cow<'_, str>)]) {
        let name = name.to_ascii_lowercase();
        if self.hidden > 0 || HIDDEN.contains(&&*name) {
            self.hidden += 1;
            self.open.push(Open::Nothing);
            return;
        }
        let open = match &*name {
            "br" => {
                self.line_end();
                Open::Nothing
            }
            "img" => {
                self.image(attributes);
                Open::Nothing
            }
            "a" => self.link(attributes),
            "em" | "i" => self.inline("em", attributes, None),
            "strong" | "b" => self.inline("strong", attributes, None),
            "u" | "ins" => self.inline("span", attributes, Some("text-decoration:underline")),
            "s" | "strike" | "del" => self.inline("span", attributes, Some("text-decoration:line-through")),
            "cite" => self.inline("cite", attributes, None),
            "span" => self.inline("span", attributes, None),
            "p" => self.line("p", attributes),
            "blockquote" => self.line("blockquote", attributes),
            "ul" => self.list("ul", None, attributes),
            "ol" => self.list("ol", Some(0), attributes),
            "li" => self.item(attributes),
            "td" | "th" => {
                self.space = true;
                Open::Nothing
            }
            "pre" => {
                self.only_line();
                self.typed += 1;
                Open::Typed
            }
            other if UNDERSTOOD.contains(&other) => {
                self.only_line();
                Open::OnlyLine
            }
            _ => Open::Nothing,
        };
        if matches!(open, Open::Written(_) | Open::Line(_) | Open::List(..) | Open::Link(..)) {
            self.written += 1;
        }
        self.open.push(open);
    }

    /// The element that began last ends.
    pub(super) fn end(&mut self) {
        let Some(open) = self.open.pop() else { return };
        if self.hidden > 0 {
            self.hidden -= 1;
            return;
        }
        match open {
            Open::Nothing => {}
            Open::OnlyLine => self.only_line(),
            Open::Typed => {
                self.typed -= 1;
                self.only_line();
            }
            Open::Written(name) => self.close(name),
            Open::Line(name) | Open::List(name, _) => {
                self.close(name);
                self.break_text = true;
                self.break_markup = false;
            }
            Open::Link(start, href) => {
                self.close("a");
                let shown = self.text.get(start..).unwrap_or_default().trim();
                let bare = href.strip_prefix("mailto:").unwrap_or(&href);
                if shown != href && shown != bare {
                    // Where a link leads is part of what was said.
                    let _ = if shown.is_empty() { write!(self.text, "{href}") } else { write!(self.text, " <{href}>") };
                }
            }
        }
    }

    /// Text: white space is one space at most, and none at either end of a line, but where it was typed.
    pub(super) fn text(&mut self, text: &str) {
        if self.hidden > 0 {
            return;
        }
        if self.typed > 0 {
            return self.typed_text(text);
        }
        for piece in text.split_inclusive([' ', '\t', '\n', '\r']) {
            let word = piece.trim_end_matches([' ', '\t', '\n', '\r']);
            if !word.is_empty() {
                self.settle();
                self.push_text(word);
            }
            self.space |= word.len() < piece.len();
        }
    }

    fn typed_text(&mut self, text: &str) {
        for (index, line) in text.split('\n').enumerate() {
            if index > 0 {
                self.line_end();
            }
            if !line.is_empty() {
                self.settle();
                self.text.push_str(line);
                // XEP-0071 section 8 rule 9: spaces that mean something are such as do not break.
                push_escaped(&line.replace(' ', "\u{a0}"), &mut self.markup);
            }
        }
    }

    /// What was written: markup and text. All elements that were begun have to have ended.
    pub(super) fn finish(self) -> (String, String) {
        (self.markup, self.text)
    }

    /// Something follows: the line end or space that stood in front of it is written.
    fn settle(&mut self) {
        if self.break_text {
            if !self.text.is_empty() && !self.text.ends_with('\n') && self.text.len() != self.item {
                self.text.push('\n');
            }
            if self.break_markup && !self.markup.is_empty() {
                self.markup.push_str("<br/>");
            }
        } else if self.space && !self.text.is_empty() && !self.text.ends_with('\n') {
            self.push_text(" ");
        }
        self.break_text = false;
        self.break_markup = false;
        self.space = false;
    }

    fn push_text(&mut self, text: &str) {
        self.text.push_str(text);
        push_escaped(text, &mut self.markup);
    }

    fn line_end(&mut self) {
        self.settle();
        self.text.push('\n');
        self.markup.push_str("<br/>");
    }

    /// A line begins or ends that no element of the markup makes.
    fn only_line(&mut self) {
        self.break_markup = !self.break_text || self.break_markup;
        self.break_text = true;
    }

    /// `<name attributes>`, if there is room for it.
    fn open(&mut self, name: &'static str, attributes: &[(&str, Cow<'_, str>)], more_style: Option<&str>) -> bool {
        if self.written >= DEEPEST {
            return false;
        }
        let known = ELEMENTS.iter().find(|(known, _)| *known == name).map_or(&[][..], |(_, attributes)| attributes);
        self.markup.push('<');
        self.markup.push_str(name);
        for (attribute, value) in attributes {
            let Some(&attribute) = known.iter().find(|known| *known == attribute) else { continue };
            let value = match attribute {
                "style" => continue,
                "href" | "src" => uri(value).map(Cow::Borrowed),
                "height" | "width" => length(value).map(Cow::Borrowed),
                "type" => cpim::MediaType::parse(value.as_bytes()).map(|_| Cow::Borrowed(&**value)),
                _ => Some(Cow::Borrowed(&**value)),
            };
            if let Some(value) = value {
                push_attribute(attribute, &value, &mut self.markup);
            }
        }
        if known.contains(&"style") {
            let given = attributes.iter().find(|(attribute, _)| *attribute == "style").map_or("", |(_, value)| value);
            let style = style(given, more_style);
            if !style.is_empty() {
                push_attribute("style", &style, &mut self.markup);
            }
        }
        true
    }

    fn inline(&mut self, name: &'static str, attributes: &[(&str, Cow<'_, str>)], style: Option<&str>) -> Open {
        self.settle();
        if !self.open(name, attributes, style) {
            return Open::Nothing;
        }
        self.markup.push('>');
        Open::Written(name)
    }

    fn line(&mut self, name: &'static str, attributes: &[(&str, Cow<'_, str>)]) -> Open {
        if !self.open(name, attributes, None) {
            self.only_line();
            return Open::OnlyLine;
        }
        self.markup.push('>');
        self.break_text = true;
        self.break_markup = false;
        Open::Line(name)
    }

    fn list(&mut self, name: &'static str, number: Option<u32>, attributes: &[(&str, Cow<'_, str>)]) -> Open {
        match self.line(name, attributes) {
            Open::Line(name) => Open::List(name, number),
            other => other,
        }
    }

    fn item(&mut self, attributes: &[(&str, Cow<'_, str>)]) -> Open {
        let list = self.open.iter_mut().rev().find_map(|open| match open {
            Open::List(_, number) => Some(number),
            _ => None,
        });
        let Some(number) = list else {
            // XHTML has no item outside of a list.
            self.only_line();
            return Open::OnlyLine;
        };
        let mark = match number {
            Some(number) => {
                *number += 1;
                format!("{number}. ")
            }
            None => "- ".to_owned(),
        };
        let open = self.line("li", attributes);
        self.settle();
        self.text.push_str(&mark);
        self.item = self.text.len();
        open
    }

    fn link(&mut self, attributes: &[(&str, Cow<'_, str>)]) -> Open {
        let href = attributes.iter().find(|(name, _)| *name == "href").and_then(|(_, value)| uri(value));
        let Some(href) = href else { return Open::Nothing };
        self.settle();
        if !self.open("a", attributes, None) {
            return Open::Nothing;
        }
        self.markup.push('>');
        Open::Link(self.text.len(), href.to_owned())
    }

    /// An image that can be had from somewhere, or else the words in its place.
    fn image(&mut self, attributes: &[(&str, Cow<'_, str>)]) {
        let find = |wanted: &str| attributes.iter().find(|(name, _)| *name == wanted).map(|(_, value)| &**value);
        let alt = find("alt").unwrap_or_default();
        let src = find("src").and_then(uri).filter(|src| src.starts_with("http:") || src.starts_with("https:"));
        let Some(src) = src else { return self.text(alt) };
        self.settle();
        if self.open("img", attributes, None) {
            if find("alt").is_none() {
                push_attribute("alt", "", &mut self.markup);
            }
            self.markup.push_str("/>");
        }
        let _ = if alt.is_empty() { write!(self.text, "{src}") } else { write!(self.text, "{alt} <{src}>") };
    }

    fn close(&mut self, name: &'static str) {
        self.written -= 1;
        self.markup.push_str("</");
        self.markup.push_str(name);
        self.markup.push('>');
    }
}

fn push_escaped(text: &str, markup: &mut String) {
    for character in text.chars() {
        match character {
            '<' => markup.push_str("&lt;"),
            '>' => markup.push_str("&gt;"),
            '&' => markup.push_str("&amp;"),
            other => markup.push(other),
        }
    }
}

fn push_attribute(name: &str, value: &str, markup: &mut String) {
    let mut escaped = Vec::with_capacity(value.len());
    escape_attribute(value, &mut escaped);
    markup.push(' ');
    markup.push_str(name);
    markup.push_str("='");
    markup.push_str(&String::from_utf8_lossy(&escaped));
    markup.push('\'');
}

/// An absolute URI of one of the [`SCHEMES`].
fn uri(value: &str) -> Option<&str> {
    let value = value.trim_matches([' ', '\t', '\n', '\r', '\x0c']);
    let (scheme, rest) = value.split_once(':')?;
    let is_known = SCHEMES.iter().any(|known| scheme.eq_ignore_ascii_case(known));
    let is_clean = value.chars().all(|c| !c.is_control() && !c.is_whitespace() && !"<>\"`\\".contains(c));
    (is_known && is_clean && !rest.is_empty()).then_some(value)
}

/// Pixels or per cent.
fn length(value: &str) -> Option<&str> {
    let digits = value.strip_suffix('%').unwrap_or(value);
    ((1..=4).contains(&digits.len()) && digits.bytes().all(|octet| octet.is_ascii_digit())).then_some(value)
}

/// The declarations that XHTML-IM knows, with values that are words, numbers and colours.
fn style(given: &str, more: Option<&str>) -> String {
    let mut kept = String::new();
    let more = more.unwrap_or_default();
    for declaration in given.split(';').chain([more]) {
        let Some((property, value)) = declaration.split_once(':') else { continue };
        let property = property.trim().to_ascii_lowercase();
        let value = value.trim();
        if !STYLES.contains(&&*property) || !is_harmless(value) {
            continue;
        }
        if !kept.is_empty() {
            kept.push(';');
        }
        kept.push_str(&property);
        kept.push(':');
        kept.push_str(value);
    }
    kept
}

/// Whether a value calls nothing but a colour and holds nothing that begins something else.
fn is_harmless(value: &str) -> bool {
    let plain = |c: char| c.is_alphanumeric() || " #%.,+-'\"()".contains(c);
    let balanced = |quote: char| value.matches(quote).count().is_multiple_of(2);
    let calls_colours = value.match_indices('(').all(|(at, _)| {
        let before = value.get(..at).unwrap_or_default().to_ascii_lowercase();
        ["rgb", "rgba", "hsl", "hsla"].iter().any(|known| {
            before
                .strip_suffix(known)
                .is_some_and(|before| !before.ends_with(|c: char| c.is_alphanumeric() || c == '-'))
        })
    });
    !value.is_empty()
        && value.len() <= 200
        && value.chars().all(plain)
        && balanced('\'')
        && balanced('"')
        && value.matches('(').count() == value.matches(')').count()
        && calls_colours
}
