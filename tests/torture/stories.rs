//! What takes several steps: half a message and silence, a handshake that fails, a server that accepts and never answers, a
//! word in another's name. A table of steps; `stories.tsv` says which there are.

use crate::{others, table};
use entente_tests::world::{World, attribute, message, proxy};
use std::time::Duration;
use turn::StreamId;

/// One story while it is played.
struct Stage<'w> {
    world: &'w mut World,
    name: &'static str,
    n: u32,
    /// The connection of him whom the story is about.
    connection: Option<StreamId>,
    /// His message over that connection, and how much of it he has written.
    begun: Option<(Vec<u8>, usize)>,
    /// The id of the stanza that was written last.
    id: String,
    /// The last request that reached the next hop.
    request: Vec<u8>,
    /// What was written to the server and not looked at.
    stanzas: Vec<String>,
    /// Datagrams that left and were not looked at.
    datagrams: Vec<Vec<u8>>,
    /// The server neither reads nor answers.
    hangs: bool,
    /// Pings that the server holds back, where it does.
    held: Option<Vec<String>>,
}

/// An ordinary message of his.
fn ordinary(n: u32, body: &[u8], tcp: bool) -> Vec<u8> {
    let text = message(n, "romeo@xmpp.example", "");
    let text = text.replace("Content-Length: 0", &format!("Content-Length: {}", body.len()));
    let text = if tcp { text.replace("/UDP", "/TCP") } else { text };
    [text.as_bytes(), body].concat()
}

/// Whether `text` is `pattern`, in which `…` stands for anything.
fn is_like(text: &str, pattern: &str) -> bool {
    let pieces: Vec<&str> = pattern.split('…').collect();
    let [first, middle @ .., last] = &pieces[..] else { return text == pattern };
    let Some(mut rest) = text.strip_prefix(first) else { return false };
    for piece in middle {
        let Some(at) = rest.find(piece) else { return false };
        rest = &rest[at + piece.len()..];
    }
    rest.ends_with(last)
}

impl Stage<'_> {
    /// Takes in what has left; the pings of the barrier come back unless the server hangs or holds them back.
    fn look(&mut self) {
        let stanzas = match &mut self.held {
            _ if self.hangs || self.world.stream.is_none() => Vec::new(),
            Some(held) => {
                let is_ping = |stanza: &String| stanza.starts_with("<iq");
                let (pings, stanzas) = self.world.take_stanzas().into_iter().partition(is_ping);
                held.extend::<Vec<_>>(pings);
                stanzas
            }
            None => {
                let said = others::settle_all(self.world);
                self.datagrams.extend(said.datagrams);
                said.stanzas
            }
        };
        self.datagrams.extend(self.world.datagrams.drain(..).map(|(_, bytes)| bytes));
        for stanza in &stanzas {
            if let Some(id) = attribute(stanza, "id").filter(|_| stanza.starts_with("<message")) {
                self.id = id.to_owned();
            }
        }
        self.stanzas.extend(stanzas);
    }

    fn connection(&self) -> StreamId {
        self.connection.unwrap_or_else(|| panic!("{}: he has not connected", self.name))
    }

    fn writes(&mut self, bytes: &[u8]) {
        let connection = self.connection();
        if !self.world.is_closed_by_gateway(connection) {
            self.world.sip_writes(connection, bytes);
        }
    }

    /// Answers that have come, as datagrams and over his connection.
    fn answers(&mut self) -> String {
        self.look();
        let is_answer = |bytes: &Vec<u8>| bytes.starts_with(b"SIP/2.0 ");
        let (mut answers, rest): (Vec<_>, Vec<_>) = self.datagrams.drain(..).partition(is_answer);
        self.datagrams = rest;
        if let Some(connection) = self.connection {
            // Some of what he writes are keep-alives, whose answer is a line end.
            let said = std::iter::from_fn(|| self.world.sip_reads_bytes(connection));
            answers.extend(said.filter(|bytes| bytes != b"\r\n"));
        }
        if answers.is_empty() {
            return "silence".to_owned();
        }
        answers.iter().map(|answer| others::summary(answer)).collect::<Vec<_>>().join(", ")
    }

    fn found(&self, what: &str, found: &str, expected: &str) {
        assert!(is_like(found, expected), "{}: {what}\n     {found}\nnot  {expected}", self.name);
    }

    fn play(&mut self, step: &str, value: &str) {
        let octets = |text: &str| table::octets(text);
        match step {
            "he connects" => {
                let port = 20_000 + u16::try_from(self.n % 10_000).unwrap_or_default();
                self.connection = Some(self.world.sip_connects((proxy().ip(), port).into()));
            }
            "he writes" => self.writes(&octets(value)),
            "he writes a message" => self.writes(&ordinary(self.n, &octets(value), true)),
            "he begins a message" => {
                let whole = ordinary(self.n, b"hello", true);
                let length = value.parse().expect("a number of octets");
                self.writes(&whole[..length]);
                self.begun = Some((whole, length));
            }
            "he writes one octet more" => {
                let (whole, written) = self.begun.take().expect("a message that is begun");
                self.writes(&whole[written..=written]);
                self.begun = Some((whole, written + 1));
            }
            "he ends his message" => {
                let (whole, written) = self.begun.take().expect("a message that is begun");
                self.writes(&whole[written..]);
            }
            "he sends a message" => {
                let request = ordinary(self.n, &octets(value), false);
                self.world.proxy_sends(request);
            }
            "a stranger sends a message" => {
                let request = ordinary(self.n, &octets(value), false);
                self.world.sends_from(([203, 0, 113, 5], 5060).into(), request);
            }
            "a stranger sends" => {
                self.world.sends_from(([203, 0, 113, 5], 5060).into(), octets(value));
            }
            "he is told" => {
                let answers = self.answers();
                self.found(step, &answers, value);
            }
            "his connection is" => {
                let closed = self.world.is_closed_by_gateway(self.connection());
                self.found(step, if closed { "closed" } else { "open" }, value);
            }
            "another user writes over his connection" => {
                let connection = self.connection();
                others::go_on_over(self.world, connection, 20_000 + self.n, self.name);
            }
            "the next hop is sent" => {
                self.look();
                let mut requests: Vec<Vec<u8>> = std::mem::take(&mut self.datagrams);
                // What is repeated because nobody answers is one.
                requests.dedup();
                self.request = requests.first().cloned().unwrap_or_default();
                let shown: Vec<_> = requests.iter().map(|bytes| String::from_utf8_lossy(bytes)).collect();
                self.found(step, &shown.join(" and "), &String::from_utf8_lossy(&octets(value)));
            }
            "the next hop answers" => {
                let request = String::from_utf8_lossy(&self.request).into_owned();
                self.world.proxy_sends(entente_tests::world::response(&request, value, ""));
            }
            "the server writes" => {
                let text = value.replace("{id}", &self.id);
                self.world.server_writes(octets(&text));
            }
            "the server is sent" => {
                self.look();
                let stanzas = std::mem::take(&mut self.stanzas).concat();
                let shown = if stanzas.is_empty() { "nothing" } else { &stanzas };
                self.found(step, shown, &String::from_utf8_lossy(&octets(value)));
            }
            "the server hangs" => (self.hangs, self.world.reading) = (true, false),
            "the server goes on" => {
                self.hangs = false;
                self.world.resume_reading();
            }
            "the server holds pings back" => self.held = Some(Vec::new()),
            "the server hands pings back" => {
                for ping in self.held.take().expect("pings that are held back") {
                    self.world.server_writes(ping);
                }
            }
            "the server accepts the connection" => {
                others::await_connection(self.world, self.name);
                let header = self.world.accept_connection();
                self.found(step, &header, value);
            }
            "the gateway closes the stream" => {
                self.look();
                assert!(self.world.carry_out_close().is_some(), "{}: the stream is ended", self.name);
                self.hangs = false;
                self.world.reading = true;
            }
            "the link breaks" => self.world.break_stream(),
            "the link comes back" => others::come_back(self.world, self.name),
            "time passes" => {
                let seconds: f64 = value.parse().expect("seconds");
                self.world.advance(Duration::from_secs_f64(seconds));
            }
            _ => panic!("{}: {step} is no step", self.name),
        }
    }

    /// Nothing is left that nobody has looked at.
    fn end(mut self) {
        let answers = self.answers();
        self.found("left over", &answers, "silence");
        assert_eq!(self.stanzas, Vec::<String>::new(), "{}: left over", self.name);
        assert_eq!(self.datagrams, Vec::<Vec<u8>>::new(), "{}: left over", self.name);
        if let Some(connection) = self.connection.filter(|&stream| !self.world.is_closed_by_gateway(stream)) {
            others::go_on_over(self.world, connection, 30_000 + self.n, self.name);
            self.world.sip_closes(connection);
        }
    }
}

#[test]
fn every_story_ends_as_told_and_hurts_nobody() {
    let mut world = World::new();
    let mut shared = world.sip_connects((proxy().ip(), 1).into());
    let steps = table::rows::<3>(include_str!("stories.tsv"));
    let stories: Vec<_> = steps.chunk_by(|one, next| one[0] == next[0]).collect();
    let mut names: Vec<&str> = stories.iter().map(|steps| steps[0][0]).collect();
    for (n, steps) in (100_000..).zip(&stories) {
        let name = steps[0][0];
        let begun = world.now;
        let mut stage = Stage {
            world: &mut world,
            name,
            n,
            connection: None,
            begun: None,
            id: String::new(),
            request: Vec::new(),
            stanzas: Vec::new(),
            datagrams: Vec::new(),
            hangs: false,
            held: None,
        };
        for [_, step, value] in *steps {
            stage.play(step, value);
        }
        stage.end();
        others::go_on(&mut world, n, name);
        if world.now - begun >= sip::transport::IDLE {
            assert!(world.is_closed_by_gateway(shared), "{name}: nobody wrote over it for so long");
            shared = world.sip_connects((proxy().ip(), 1).into());
        }
        others::go_on_over(&mut world, shared, n, name);
        others::quiet(&mut world, name);
    }
    names.sort_unstable();
    assert!(names.windows(2).all(|pair| pair[0] != pair[1]), "a story is told once, in one piece: {names:?}");
}

#[test]
fn a_pattern_is_the_whole_text() {
    for (text, pattern, expected) in [
        ("abc", "abc", true),
        ("abc", "ab", false),
        ("abc", "…", true),
        ("abc", "a…", true),
        ("abc", "…c", true),
        ("abc", "…b", false),
        ("abcbc", "a…c", true),
        ("abc", "a…c…", true),
        ("abc", "…x…", false),
        ("", "", true),
        ("a", "", false),
    ] {
        assert_eq!(is_like(text, pattern), expected, "{text:?} {pattern:?}");
    }
}
