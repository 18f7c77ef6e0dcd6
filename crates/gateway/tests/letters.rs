//! Letters by e-mail, against mail servers that do what a script says.
#![allow(clippy::unwrap_used, clippy::disallowed_methods)]

use gateway::letters::{Clerk, FileSettings, MailSettings, Outcome, Security, Settings};
use gateway::net::tls;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime};
use turn::Letter;

/// What a mail server does next.
#[derive(Clone, Copy)]
enum Step {
    /// It says this, and a line end.
    Say(&'static str),
    /// It says this.
    Utter(&'static str),
    /// It reads a line that begins like this.
    Hear(&'static str),
    /// It reads a message, up to its dot.
    Take,
    /// It begins TLS.
    Secure,
    /// It says nothing, until the other side goes away.
    Wait,
}

use Step::{Hear, Say, Secure, Take, Utter, Wait};

/// EHLO and what it offers; then one message that it takes.
const GREETING: [Step; 3] = [Say("220 mail.example ESMTP"), Hear("EHLO gw.example"), Say("250 mail.example")];
const ENVELOPE: [Step; 6] = [
    Hear("MAIL FROM:<gateway@mail.example>"),
    Say("250 2.1.0 Ok"),
    Hear("RCPT TO:<postmaster@mail.example>"),
    Say("250 2.1.5 Ok"),
    Hear("DATA"),
    Say("354 End data with <CR><LF>.<CR><LF>"),
];
const GOODBYE: [Step; 4] = [Take, Say("250 2.0.0 Ok: queued"), Hear("QUIT"), Say("221 Bye")];

trait Wire: Read + Write + Send {}
impl<T: Read + Write + Send> Wire for T {}

/// A mail server.
struct Server {
    port: u16,
    thread: JoinHandle<Vec<Vec<u8>>>,
}

impl Server {
    fn play(script: &[Step]) -> Self {
        Self::play_all(&[script.to_vec()], None)
    }

    fn play_with(script: &[Step], tls: Option<Arc<rustls::ServerConfig>>) -> Self {
        Self::play_all(&[script.to_vec()], tls)
    }

    /// A script for each connection.
    fn play_all(scripts: &[Vec<Step>], tls: Option<Arc<rustls::ServerConfig>>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let scripts = scripts.to_vec();
        let thread = std::thread::spawn(move || {
            let taken = scripts.iter().map(|script| serve(listener.accept().unwrap().0, script, tls.clone()));
            taken.collect::<Vec<_>>().concat()
        });
        Self { port, thread }
    }

    /// The messages that it took. Panics where it did not hear what it was to hear.
    fn taken(self) -> Vec<Vec<u8>> {
        self.thread.join().unwrap()
    }
}

fn serve(socket: TcpStream, script: &[Step], tls: Option<Arc<rustls::ServerConfig>>) -> Vec<Vec<u8>> {
    let mut taken = Vec::new();
    let mut plain = Some(socket.try_clone().unwrap());
    let mut wire: Box<dyn Wire> = Box::new(socket);
    for step in script {
        match step {
            Say(words) => wire.write_all(format!("{words}\r\n").as_bytes()).unwrap(),
            Utter(words) => wire.write_all(words.as_bytes()).unwrap(),
            Hear(beginning) => {
                let line = read_to(&mut wire, b"\n");
                assert!(line.starts_with(beginning.as_bytes()), "{:?}", String::from_utf8_lossy(&line));
            }
            Take => taken.push(read_to(&mut wire, b"\r\n.\r\n")),
            Secure => {
                let connection = rustls::ServerConnection::new(tls.clone().unwrap()).unwrap();
                wire = Box::new(rustls::StreamOwned::new(connection, plain.take().unwrap()));
            }
            Wait => {
                // Whether in order or not: the other side goes.
                while let Ok(1..) = wire.read(&mut [0; 512]) {}
            }
        }
    }
    let _ = wire.flush();
    taken
}

/// Byte by byte: nothing behind it is taken.
fn read_to(wire: &mut impl Read, end: &[u8]) -> Vec<u8> {
    let mut read = Vec::new();
    let mut byte = [0];
    while !read.ends_with(end) {
        match wire.read(&mut byte) {
            Ok(1) => read.push(byte[0]),
            other => panic!("{other:?} behind {:?}", String::from_utf8_lossy(&read)),
        }
    }
    read
}

const PATIENCE: Duration = Duration::from_secs(120);

fn mail(port: u16) -> MailSettings {
    MailSettings {
        host: "127.0.0.1".into(),
        port,
        security: Security::None,
        authorities: None,
        credentials: None,
        from: "gateway@mail.example".parse().unwrap(),
        to: "postmaster@mail.example".parse().unwrap(),
        patience: PATIENCE,
    }
}

fn letter() -> Letter {
    Letter {
        id: "7".into(),
        source: "juliet@sip.example".into(),
        destination: "romeo@xmpp.example".into(),
        arrived: None,
        reason: "nobody took it in time",
        content_type: b"text/plain".to_vec(),
        content: b"Wherefore art thou?".to_vec(),
    }
}

fn clerk(mail: MailSettings, file: Option<&Path>) -> Clerk {
    let file = file.map(|path| FileSettings { path: path.to_owned(), limit: 1 << 20 });
    Clerk::new(Settings { host: "gw.example".into(), file, mail: Some(mail) }).unwrap()
}

/// What becomes of a letter, and what is logged of it at all levels.
fn deliver(clerk: &mut Clerk, letter: &Letter) -> (Outcome, String) {
    let log = Log::default();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing::level_filters::LevelFilter::TRACE)
        .with_ansi(false)
        .with_writer(log.clone())
        .finish();
    let outcome = tracing::subscriber::with_default(subscriber, || clerk.deliver(letter, SystemTime::UNIX_EPOCH));
    let text = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
    (outcome, text)
}

#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl tracing_subscriber::fmt::MakeWriter<'_> for Log {
    type Writer = Log;

    fn make_writer(&self) -> Log {
        self.clone()
    }
}

fn script(parts: &[&[Step]]) -> Vec<Step> {
    parts.concat()
}

/// A certificate for 127.0.0.1 that signs itself, in PEM, and the side of a server that has it.
fn certificate() -> (Vec<u8>, Arc<rustls::ServerConfig>) {
    let made = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
    let key = rustls::pki_types::PrivateKeyDer::Pkcs8(made.signing_key.serialize_der().into());
    (made.cert.pem().into_bytes(), tls::accepting(vec![made.cert.der().clone()], key).unwrap())
}

#[test]
fn a_letter_is_mailed_in_the_clear_where_that_is_wanted() {
    let server = Server::play(&script(&[&GREETING, &ENVELOPE, &GOODBYE]));
    let (outcome, log) = deliver(&mut clerk(mail(server.port), None), &letter());
    assert_eq!((outcome, &*log), (Outcome::Mailed, ""));
    let taken = server.taken();
    let email = String::from_utf8(taken.concat()).unwrap();
    for line in [
        "From: Entente <gateway@mail.example>",
        "To: postmaster@mail.example",
        "Message-ID: <7@gw.example>",
        "Subject: Undelivered message from juliet@sip.example to romeo@xmpp.example",
        "Reason:  nobody took it in time",
        "V2hlcmVmb3JlIGFydCB0aG91Pw==",
    ] {
        assert!(email.contains(&format!("\r\n{line}\r\n")) || email.starts_with(line), "{line} in {email}");
    }
}

#[test]
fn a_large_letter_is_mailed_whole() {
    let large = Letter { content: vec![b'.'; 1 << 20], ..letter() };
    let server = Server::play(&script(&[&GREETING, &ENVELOPE, &GOODBYE]));
    assert_eq!(deliver(&mut clerk(mail(server.port), None), &large), (Outcome::Mailed, String::new()));
    assert!(server.taken().concat().len() > (1 << 20) * 4 / 3);
}

#[test]
fn a_letter_is_mailed_behind_starttls_with_a_password() {
    let (pem, tls) = certificate();
    let server = Server::play_with(
        &script(&[
            &[Say("220 mail.example ESMTP"), Hear("EHLO gw.example"), Say("250-mail.example"), Say("250 STARTTLS")],
            &[Hear("STARTTLS"), Say("220 Ready"), Secure, Hear("EHLO gw.example")],
            // \0gateway\0secret
            &[
                Say("250-mail.example"),
                Say("250 AUTH PLAIN LOGIN"),
                Hear("AUTH PLAIN AGdhdGV3YXkAc2VjcmV0"),
                Say("235 Ok"),
            ],
            &ENVELOPE,
            &GOODBYE,
        ]),
        Some(tls),
    );
    let settings = MailSettings {
        security: Security::StartTls,
        authorities: Some(pem),
        credentials: Some(("gateway".into(), "secret".to_owned().into())),
        ..mail(server.port)
    };
    assert_eq!(deliver(&mut clerk(settings, None), &letter()), (Outcome::Mailed, String::new()));
    assert_eq!(server.taken().len(), 1);
}

#[test]
fn a_letter_is_mailed_over_tls() {
    let (pem, tls) = certificate();
    let server = Server::play_with(&script(&[&[Secure], &GREETING, &ENVELOPE, &GOODBYE]), Some(tls));
    let settings = MailSettings { security: Security::Tls, authorities: Some(pem), ..mail(server.port) };
    assert_eq!(deliver(&mut clerk(settings, None), &letter()), (Outcome::Mailed, String::new()));
    assert_eq!(server.taken().len(), 1);
}

#[test]
fn nothing_is_said_to_a_server_that_is_not_the_right_one() {
    let (_, tls) = certificate();
    let (other, _) = certificate();
    let starttls =
        [Say("220 hi"), Hear("EHLO"), Say("250-hi"), Say("250 STARTTLS"), Hear("STARTTLS"), Say("220 Ready")];
    for (security, script) in
        [(Security::Tls, script(&[&[Secure, Wait]])), (Security::StartTls, script(&[&starttls, &[Secure, Wait]]))]
    {
        let server = Server::play_with(&script, Some(tls.clone()));
        let settings = MailSettings { security, authorities: Some(other.clone()), ..mail(server.port) };
        let (outcome, log) = deliver(&mut clerk(settings, None), &letter());
        assert_eq!(outcome, Outcome::Failed);
        assert!(log.contains("ERROR") && log.contains("TLS with it fails"), "{security:?}: {log}");
        assert!(server.taken().is_empty());
    }
    // What is wanted is not to be had.
    let server = Server::play(&GREETING);
    let (outcome, log) =
        deliver(&mut clerk(MailSettings { security: Security::StartTls, ..mail(server.port) }, None), &letter());
    assert_eq!(outcome, Outcome::Failed);
    assert!(log.contains("it offers no STARTTLS"), "{log}");
    server.taken();
    let server = Server::play(&GREETING);
    let credentials = Some(("gateway".into(), "secret".to_owned().into()));
    let (outcome, log) = deliver(&mut clerk(MailSettings { credentials, ..mail(server.port) }, None), &letter());
    assert_eq!(outcome, Outcome::Failed);
    assert!(log.contains("it asks for no password"), "{log}");
    server.taken();
}

#[test]
fn words_slipped_in_before_tls_are_not_taken_for_protected_ones() {
    let (pem, tls) = certificate();
    let server = Server::play_with(
        &script(&[
            &[Say("220 hi"), Hear("EHLO"), Say("250-hi"), Say("250 STARTTLS"), Hear("STARTTLS")],
            &[Utter("220 Ready\r\n250 as if it had been asked\r\n"), Wait],
        ]),
        Some(tls),
    );
    let settings = MailSettings { security: Security::StartTls, authorities: Some(pem), ..mail(server.port) };
    let (outcome, log) = deliver(&mut clerk(settings, None), &letter());
    assert_eq!(outcome, Outcome::Failed);
    assert!(log.contains("TLS with it fails"), "{log}");
    assert!(server.taken().is_empty());
}

/// Refusals for good, at every place where a server can refuse.
fn refusals() -> Vec<(Vec<Step>, u16)> {
    let [mail_from, yes, rcpt_to, ok, data, _] = ENVELOPE;
    vec![
        (vec![Say("554 5.7.1 go away")], 554),
        (vec![Say("220 hi"), Hear("EHLO"), Say("550 not you")], 550),
        (script(&[&GREETING, &[mail_from, Say("552 5.3.4 too large"), Hear("QUIT"), Say("221 Bye")]]), 552),
        (script(&[&GREETING, &[mail_from, yes, rcpt_to, Say("550 5.1.1 nobody"), Hear("QUIT"), Say("221 Bye")]]), 550),
        (script(&[&GREETING, &[mail_from, yes, rcpt_to, ok, data, Say("503 no"), Hear("QUIT"), Say("221 Bye")]]), 503),
        // It does not even answer to the goodbye.
        (script(&[&GREETING, &ENVELOPE, &[Take, Say("554 no: Wherefore art thou?"), Hear("QUIT"), Wait]]), 554),
    ]
}

#[test]
fn what_is_refused_for_good_is_an_error_and_kept_to_be_tried_again() {
    for (script, code) in refusals() {
        let server = Server::play(&script);
        let (outcome, log) = deliver(&mut clerk(mail(server.port), None), &letter());
        assert_eq!(outcome, Outcome::Failed, "{code}");
        assert!(log.contains("ERROR") && log.contains(&format!("refused with {code}")), "{code}: {log}");
        server.taken();
    }
}

#[test]
fn what_is_refused_for_good_goes_to_the_file_where_there_is_one() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("dead");
    for (script, code) in refusals() {
        let server = Server::play(&script);
        let (outcome, log) = deliver(&mut clerk(mail(server.port), Some(&path)), &letter());
        assert_eq!(outcome, Outcome::Written, "{code}");
        assert!(log.contains("ERROR") && log.contains(&format!("refused with {code}")), "{code}: {log}");
        server.taken();
    }
    let written = std::fs::read_to_string(&path).unwrap();
    assert_eq!(written.matches("\nV2hlcmVmb3JlIGFydCB0aG91Pw==\n").count(), refusals().len());
}

#[test]
fn what_is_not_possible_now_is_kept_to_be_tried_again() {
    let [mail_from, yes, rcpt_to, ..] = ENVELOPE;
    let [.., invited] = ENVELOPE;
    let quit = [Hear("QUIT"), Say("221 Bye")];
    let folder = tempfile::tempdir().unwrap();
    let path: PathBuf = folder.path().join("dead");
    for (script, words) in [
        (vec![Say("421 busy")], "alone for a while, with 421"),
        (script(&[&GREETING, &[mail_from, Say("451 greylisted")], &quit]), "alone for a while, with 451"),
        (script(&[&GREETING, &[mail_from, yes, rcpt_to, Say("450 full")], &quit]), "alone for a while, with 450"),
        (script(&[&GREETING, &ENVELOPE, &[Take, Say("452 no room")], &quit]), "alone for a while, with 452"),
        // Gone without a word, in several places.
        (vec![], "cannot be reached, or went away"),
        (script(&[&GREETING, &[mail_from]]), "cannot be reached, or went away"),
        (script(&[&GREETING, &ENVELOPE, &[Take]]), "cannot be reached, or went away"),
        (vec![Say("220")], "cannot be reached, or went away"),
        // Answers that are none.
        (vec![Say("hello"), Wait], "cannot be reached, or went away"),
        (script(&[&GREETING, &ENVELOPE[..5], &[Say("250 Ok")], &quit]), "cannot be reached, or went away"),
        (script(&[&GREETING, &ENVELOPE, &[Take, invited], &quit]), "cannot be reached, or went away"),
    ] {
        let server = Server::play(&script);
        let (outcome, log) = deliver(&mut clerk(mail(server.port), Some(&path)), &letter());
        assert_eq!(outcome, Outcome::Failed, "{words}");
        assert!(log.contains("WARN") && log.contains(words) && !log.contains("ERROR"), "{words}: {log}");
        server.taken();
    }
    // Nobody listens, and nobody else can.
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    socket.bind(&std::net::SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
    let port = socket.local_addr().unwrap().as_socket().unwrap().port();
    let (outcome, log) = deliver(&mut clerk(mail(port), Some(&path)), &letter());
    assert!(outcome == Outcome::Failed && log.contains("cannot be reached"), "{log}");
    assert!(!path.exists());
}

#[test]
fn a_server_that_is_silent_or_never_ends_is_left() {
    for script in [
        vec![Wait],
        vec![Utter("220-"), Wait],
        script(&[&GREETING, &[Hear("MAIL"), Wait]]),
        script(&[&GREETING, &ENVELOPE, &[Take, Wait]]),
    ] {
        let server = Server::play(&script);
        let settings = MailSettings { patience: Duration::from_millis(500), ..mail(server.port) };
        let (outcome, log) = deliver(&mut clerk(settings, None), &letter());
        assert_eq!(outcome, Outcome::Failed);
        assert!(log.contains("did not answer in time"), "{log}");
    }
    // A line without an end.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let thread = std::thread::spawn(move || {
        let mut socket = listener.accept().unwrap().0;
        let mut said = 0;
        while socket.write_all(&[b'2'; 4096]).is_ok() {
            said += 4096;
            assert!(said < 64 << 20, "it listens for ever");
        }
    });
    let (outcome, log) = deliver(&mut clerk(mail(port), None), &letter());
    assert!(outcome == Outcome::Failed && log.contains("cannot be reached, or went away"), "{log}");
    thread.join().unwrap();
}

#[test]
fn the_log_says_a_thing_once_and_nothing_of_what_was_written() {
    let refused = script(&[&GREETING, &ENVELOPE, &[Take, Say("554 Wherefore art thou?"), Hear("QUIT")]]);
    let taken = script(&[&GREETING, &ENVELOPE, &GOODBYE]);
    let server = Server::play_all(&[refused.clone(), refused.clone(), taken, refused], None);
    let mut clerk = clerk(mail(server.port), None);
    let mut whole = String::new();
    for (outcome, level, words) in [
        (Outcome::Failed, "ERROR", "refused with 554"),
        (Outcome::Failed, "DEBUG", "refused with 554"),
        (Outcome::Mailed, "INFO", "can be handed over again"),
        (Outcome::Failed, "ERROR", "refused with 554"),
    ] {
        let (found, log) = deliver(&mut clerk, &letter());
        assert_eq!(found, outcome);
        let lines: Vec<_> = log.lines().filter(|line| !line.contains(" TRACE ")).collect();
        assert_eq!(lines.len(), 1, "{log}");
        assert!(lines[0].contains(level) && lines[0].contains(words), "{level}: {log}");
        whole += lines[0];
    }
    for word in ["juliet", "romeo", "Wherefore"] {
        assert!(!whole.contains(word), "{whole}");
    }
    server.taken();
}
