//! Reads the commented configuration `gateway.toml` as its readers do: sections, keys, and what the comments say of each.
//!
//! The page `docs/src/configuration.md` is made of it.

use crate::book;
use std::fmt::Write;

/// What the comment of a key says when a change of it takes effect with the next start only.
pub const AT_START: &str = "Read at the start.";
/// What it says when a change takes effect for connections that are made from then on.
pub const PER_CONNECTION: &str = "Read for each connection.";
const REQUIRED: &str = "Required.";
const DEFAULT: &str = "Default: ";

/// When a change of a key takes effect in a running gateway.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Once the file is read again.
    AtOnce,
    /// For connections that are made from then on.
    NextConnection,
    /// With the next start.
    Restart,
}

/// A section, which may stand in the file several times.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Section {
    /// Its name, as in `sip.limits`.
    pub name: String,
    /// It may be repeated: `[[...]]`.
    pub repeated: bool,
    /// The comment above its first header, line by line.
    pub intro: Vec<String>,
    /// Its keys.
    pub keys: Vec<Key>,
}

/// A key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Key {
    /// Its name.
    pub name: String,
    /// The value that the file shows, as TOML.
    pub value: String,
    /// What the comment above says.
    pub text: String,
}

impl Key {
    /// When a change of it takes effect.
    pub fn effect(&self) -> Effect {
        if self.text.contains(AT_START) {
            Effect::Restart
        } else if self.text.contains(PER_CONNECTION) {
            Effect::NextConnection
        } else {
            Effect::AtOnce
        }
    }
}

/// The sections of `gateway.toml`, in order.
pub fn sections() -> Vec<Section> {
    let path = book::root().join("gateway.toml");
    read(&std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display())))
}

/// The sections of a commented configuration. Keys that are commented out count; of a key that stands there several times
/// the first one that has a comment counts.
pub fn read(text: &str) -> Vec<Section> {
    let mut sections: Vec<Section> = Vec::new();
    let mut current = None;
    let mut comment: Vec<String> = Vec::new();
    for line in text.lines() {
        // What is commented out without a space is a part of the file that is not in use.
        let used = line.strip_prefix('#').filter(|rest| !rest.is_empty() && !rest.starts_with(' ')).unwrap_or(line);
        if let Some(header) = used.strip_prefix('[') {
            let name = header.trim_matches(['[', ']']).to_owned();
            let repeated = used.starts_with("[[");
            let place = sections.iter().position(|section| section.name == name).unwrap_or_else(|| {
                sections.push(Section { name, repeated, intro: comment.clone(), keys: Vec::new() });
                sections.len() - 1
            });
            current = Some(place);
            comment.clear();
        } else if let Some(said) = used.strip_prefix('#') {
            comment.push(said.strip_prefix(' ').unwrap_or(said).to_owned());
        } else if let Some((name, value)) = used.split_once(" = ") {
            let section = &mut sections[current.unwrap_or_else(|| panic!("{line}: a key without a section"))];
            let key = Key { name: name.to_owned(), value: value.to_owned(), text: comment.join(" ") };
            match section.keys.iter_mut().find(|known| known.name == key.name) {
                None => section.keys.push(key),
                Some(known) if known.text.is_empty() => *known = key,
                Some(_) => {}
            }
            comment.clear();
        } else {
            assert!(used.trim().is_empty(), "neither comment, section nor key: {line}");
            comment.clear();
        }
    }
    sections
}

/// The generated part of the page: a table of keys for each section.
pub fn page(sections: &[Section]) -> String {
    let mut page = String::new();
    // Writing to a String cannot fail.
    for section in sections {
        let header = if section.repeated { format!("[[{}]]", section.name) } else { format!("[{}]", section.name) };
        let _ = writeln!(page, "\n## `{header}`");
        let (code, prose): (Vec<_>, Vec<_>) = section.intro.iter().partition(|line| line.starts_with("  "));
        if !prose.is_empty() {
            let prose: Vec<&str> = prose.iter().map(|line| line.as_str()).collect();
            let _ = writeln!(page, "\n{}", escaped(&prose.join("\n")));
        }
        if !code.is_empty() {
            let _ = writeln!(page, "\n```text");
            code.iter().for_each(|line| {
                let _ = writeln!(page, "{}", line.trim_start());
            });
            let _ = writeln!(page, "```");
        }
        if section.keys.is_empty() {
            continue;
        }
        let _ = writeln!(page, "\n| key | default | a change takes effect | what it is |\n|---|---|---|---|");
        for key in &section.keys {
            let effect = match key.effect() {
                Effect::AtOnce => "at once",
                Effect::NextConnection => "for the next connection",
                Effect::Restart => "with a restart",
            };
            let text = key.text.replace(AT_START, "").replace(PER_CONNECTION, "");
            let required = text.contains(REQUIRED);
            let text = text.replace(REQUIRED, "");
            let (text, default) = text
                .split_once(DEFAULT)
                .map_or((&*text, None), |(text, default)| (text, Some(default.trim().trim_end_matches('.'))));
            let default = match default {
                _ if required => format!("required, as in `{}`", key.value.replace('|', "\\|")),
                Some(words) => escaped(words),
                None => format!("`{}`", key.value.replace('|', "\\|")),
            };
            let text = escaped(text.trim());
            let _ = writeln!(page, "| `{}` | {default} | {effect} | {text} |", key.name);
        }
    }
    page
}

/// Prose of a comment as prose of a page.
fn escaped(prose: &str) -> String {
    prose.replace('&', "&amp;").replace('<', "&lt;").replace('|', "\\|").replace('*', "\\*").replace('_', "\\_")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sections_and_keys_are_read_with_their_comments() {
        let text = "# Of the file.\n\n# About a.\n[a]\n# One | two.\n# More. Required. Read at the start.\nx = 1\n\
                    #y = \"2\"\n\n# Another:\n#   like this\n#[[b.c]]\n# Of z. Default: none.\n#z = true\n\n[a]\n# Of y.\ny = 3\n";
        let sections = read(text);
        assert_eq!(sections.len(), 2);
        assert_eq!(
            (&*sections[0].name, sections[0].repeated, &sections[0].intro[..]),
            ("a", false, &["About a.".to_owned()][..])
        );
        let keys: Vec<_> =
            sections[0].keys.iter().map(|key| (&*key.name, &*key.value, &*key.text, key.effect())).collect();
        let first = "One | two. More. Required. Read at the start.";
        assert_eq!(keys, [("x", "1", first, Effect::Restart), ("y", "3", "Of y.", Effect::AtOnce)]);
        assert!(sections[1].repeated);
        let page = page(&sections);
        assert!(page.contains("| `x` | required, as in `1` | with a restart | One \\| two. More. |\n"), "{page}");
        assert!(page.contains("\n## `[[b.c]]`\n\nAnother:\n\n```text\nlike this\n```\n"), "{page}");
        assert!(page.contains("| `z` | none | at once | Of z. |\n"), "{page}");
    }
}
