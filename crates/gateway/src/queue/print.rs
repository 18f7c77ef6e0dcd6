//! What the command writes.

use super::{Entry, State, Summary};
use serde::Serialize;
use std::io::{self, Write};

/// One entry in one line.
pub(super) fn line(entry: &Entry, out: &mut dyn Write) -> io::Result<()> {
    let Entry { id, state, stored, summary } = entry;
    match summary {
        Summary::Whole { since, until, from, to, why, octets, .. } => {
            let (since, until) = (moment(since), moment(until));
            let state = word(*state);
            let (from, to, why) = (harmless(from), harmless(to), harmless(why));
            writeln!(out, "{id}  {state:<8}  {since:<20}  {until:<20}  {octets:>7} B  {from} -> {to}  ({why})")
        }
        Summary::Damaged { damaged } => writeln!(out, "{id}  damaged   {stored} B are stored: {damaged}"),
    }
}

/// One entry with what it says.
pub(super) fn text(entry: &Entry, content: Option<&[u8]>, out: &mut dyn Write) -> io::Result<()> {
    let Entry { id, state, stored, summary } = entry;
    writeln!(out, "Id:      {id}\nState:   {}", word(*state))?;
    match summary {
        Summary::Whole { since, until, from, to, why, mark, content_type, octets } => {
            writeln!(out, "From:    {}", harmless(from))?;
            writeln!(out, "To:      {}", harmless(to))?;
            writeln!(out, "Since:   {}", moment(since))?;
            writeln!(out, "Until:   {}", moment(until))?;
            writeln!(out, "Why:     {}", harmless(why))?;
            writeln!(out, "Mark:    {}", harmless(mark))?;
            writeln!(out, "Content: {}, {octets} bytes", harmless(content_type))?;
        }
        Summary::Damaged { damaged } => writeln!(out, "Damaged: {damaged}; {stored} bytes are stored")?,
    }
    let Some(content) = content else { return Ok(()) };
    match std::str::from_utf8(content) {
        Ok(text) => writeln!(out, "\n{}", harmless_lines(text)),
        Err(_) => writeln!(out, "\nThis is no text: --raw gives the bytes."),
    }
}

/// One object in one line.
pub(super) fn json(value: &impl Serialize, out: &mut dyn Write) -> io::Result<()> {
    serde_json::to_writer(&mut *out, value)?;
    out.write_all(b"\n")
}

/// An entry with its content in base64, as an object.
#[derive(Serialize)]
pub(super) struct Whole<'a> {
    #[serde(flatten)]
    pub(super) entry: &'a Entry,
    pub(super) content: Option<&'a str>,
}

fn word(state: State) -> &'static str {
    match state {
        State::Waiting => "waiting",
        State::GivenUp => "given up",
        State::Damaged => "damaged",
    }
}

fn moment(moment: &Option<String>) -> &str {
    moment.as_deref().unwrap_or("unknown")
}

/// What a stranger wrote, in one line that says what it seems to say: nothing in it moves the cursor or turns the direction of
/// writing (Unicode, Bidi_Control).
fn harmless(text: &str) -> String {
    text.chars()
        .map(|c| if is_harmful(c) || c == '\n' || c == '\t' { char::REPLACEMENT_CHARACTER } else { c })
        .collect()
}

/// Likewise, and lines stay lines.
fn harmless_lines(text: &str) -> String {
    let text = text.replace("\r\n", "\n");
    text.chars().map(|c| if is_harmful(c) { char::REPLACEMENT_CHARACTER } else { c }).collect()
}

fn is_harmful(c: char) -> bool {
    let turns = matches!(
        c,
        '\u{61C}' | '\u{200E}' | '\u{200F}' | '\u{2028}' | '\u{2029}' | '\u{202A}'..='\u{202E}' | '\u{2066}'..='\u{2069}'
    );
    turns || (c.is_control() && c != '\n' && c != '\t')
}
