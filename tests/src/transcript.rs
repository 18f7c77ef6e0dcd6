//! Plays a transcript: a conversation in readable text, with who says what.
//!
//! ```text
//! # a comment
//! >> sip                      the proxy sends this datagram (line ends become CRLF; a last empty line ends the headers)
//! << sip                      this datagram leaves, line by line; {name} captures, or has to be what was captured
//! >> xmpp                     the server writes this
//! << xmpp                     this stanza leaves
//! -- 500ms                    time passes
//! << nothing                  nothing more has left on either side
//! ```
//!
//! Pings of the barrier are stanzas like any other: a transcript says when they are returned.

use crate::world::World;
use std::collections::BTreeMap;
use std::time::Duration;

/// Plays `text` in a world whose component stream stands; panics with the whole conversation at the first difference.
pub fn play(name: &str, text: &str) {
    play_in(World::new(), name, text);
}

/// The same in a given world.
pub fn play_in(mut world: World, name: &str, text: &str) {
    let mut captures = BTreeMap::new();
    for (number, (head, body)) in steps(text).into_iter().enumerate() {
        let context = || format!("{name}, step {}: {head}", number + 1);
        match head.split_whitespace().collect::<Vec<_>>()[..] {
            [">>", "sip"] => world.proxy_sends(crlf(&fill(&body, &captures))),
            [">>", "xmpp"] => world.server_writes(fill(&body, &captures).replace('\n', "")),
            ["<<", "sip"] => {
                let Some(found) = world.take_datagram() else { panic!("{}: no datagram left", context()) };
                expect(&body, &found.replace("\r\n", "\n"), &mut captures, &context());
            }
            ["<<", "xmpp"] => {
                let Some(found) = world.take_stanza() else { panic!("{}: no stanza left", context()) };
                expect(&body.replace('\n', ""), &found, &mut captures, &context());
            }
            ["<<", "nothing"] => {
                assert_eq!(world.take_datagram(), None, "{}", context());
                assert_eq!(world.take_stanza(), None, "{}", context());
            }
            ["--", time] => world.advance(parse_time(time)),
            _ => panic!("{}: not a step", context()),
        }
    }
    world.assert_quiet();
}

/// The steps of a transcript: each head with the lines below it.
fn steps(text: &str) -> Vec<(String, String)> {
    let mut steps: Vec<(String, String)> = Vec::new();
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        if [">> ", "<< ", "-- "].iter().any(|mark| line.starts_with(mark)) {
            steps.push((line.to_owned(), String::new()));
        } else if let Some((_, body)) = steps.last_mut() {
            body.push_str(line);
            body.push('\n');
        }
    }
    for (_, body) in &mut steps {
        // One empty line separates steps and does not belong to them.
        if body.ends_with("\n\n") {
            body.pop();
        }
        body.pop();
    }
    steps
}

fn parse_time(text: &str) -> Duration {
    match text.strip_suffix("ms") {
        Some(ms) => Duration::from_millis(ms.parse().expect("milliseconds")),
        None => Duration::from_secs(text.strip_suffix('s').expect("a unit").parse().expect("seconds")),
    }
}

fn crlf(text: &str) -> String {
    // A request whose last line is a header line has no body; its headers still end with an empty line.
    let text = text.replace('\n', "\r\n");
    if text.contains("\r\n\r\n") { text } else { text + "\r\n\r\n" }
}

fn fill(text: &str, captures: &BTreeMap<String, String>) -> String {
    let mut filled = text.to_owned();
    for (name, value) in captures {
        filled = filled.replace(&format!("{{{name}}}"), value);
    }
    filled
}

/// Holds `found` against `pattern`; a `{name}` takes the shortest text that lets the rest of its line fit.
fn expect(pattern: &str, found: &str, captures: &mut BTreeMap<String, String>, context: &str) {
    let (pattern, found) = (pattern.trim_end_matches('\n'), found.trim_end_matches('\n'));
    let pattern_lines: Vec<&str> = pattern.split('\n').collect();
    let found_lines: Vec<&str> = found.split('\n').collect();
    assert_eq!(pattern_lines.len(), found_lines.len(), "{context}\nexpected:\n{pattern}\nfound:\n{found}");
    for (expected, line) in pattern_lines.iter().zip(&found_lines) {
        assert!(
            fits(&fill(expected, captures), line, captures),
            "{context}\nexpected: {expected}\nfound:    {line}\n\n{found}"
        );
    }
}

fn fits(pattern: &str, text: &str, captures: &mut BTreeMap<String, String>) -> bool {
    let Some((before, rest)) = pattern.split_once('{') else { return pattern == text };
    let Some((name, after)) = rest.split_once('}') else { return pattern == text };
    let Some(tail) = text.strip_prefix(before) else { return false };
    let stop = after.split('{').next().unwrap_or_default();
    let mut end = 0;
    loop {
        let Some(place) = (if stop.is_empty() { Some(tail.len()) } else { tail[end..].find(stop).map(|at| end + at) })
        else {
            return false;
        };
        let mut trial = captures.clone();
        trial.insert(name.to_owned(), tail[..place].to_owned());
        if fits(&fill(after, &trial), &tail[place..], &mut trial) {
            *captures = trial;
            return true;
        }
        end = place + 1;
        if stop.is_empty() || end > tail.len() {
            return false;
        }
    }
}
