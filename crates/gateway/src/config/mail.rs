//! `[journal.mail]`: the mail server that gets what could not be delivered.

use super::reader::{Problems, Table};
use super::{secrets, values};
use figment::value::Value;
use lettre::Address;
use lettre::transport::smtp::client::Certificate;
use secrecy::{ExposeSecret, SecretString};
use std::fs::File;
use std::io::Read;
use std::path::Path;

/// `[journal.mail]`
#[derive(Clone, Debug)]
pub struct Mail {
    /// The host of the mail server, an IPv6 address without its brackets.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// What protects the connection.
    pub tls: MailTls,
    /// In PEM, the certificates that the server's is to be signed by; those of the system if absent.
    pub authorities: Option<Vec<u8>>,
    /// User name and password.
    pub credentials: Option<(String, SecretString)>,
    /// The author of the e-mails.
    pub from: Address,
    /// Who gets them.
    pub to: Address,
}

/// What protects a connection to a mail server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MailTls {
    /// Nothing.
    None,
    /// TLS that is begun inside (RFC 3207), or nothing is sent.
    StartTls,
    /// TLS from the first byte on (RFC 8314).
    Tls,
}

impl PartialEq for Mail {
    fn eq(&self, other: &Self) -> bool {
        let Self { host, port, tls, authorities, credentials, from, to } = self;
        let secret = |credentials: &Option<(String, SecretString)>| {
            credentials.as_ref().map(|(name, password)| (name.clone(), password.expose_secret().to_owned()))
        };
        (host, port, tls, authorities) == (&other.host, &other.port, &other.tls, &other.authorities)
            && secret(credentials) == secret(&other.credentials)
            && (from, to) == (&other.from, &other.to)
    }
}

impl Mail {
    /// Whether it is on this machine.
    pub(super) fn is_local(&self) -> bool {
        let address: Option<std::net::IpAddr> = self.host.parse().ok();
        self.host == "localhost" || address.is_some_and(|address| address.is_loopback())
    }
}

/// A file of certificates is not longer, in bytes.
const LONGEST: u64 = 1 << 20;
/// No user name is longer, in bytes.
const LONGEST_NAME: usize = 255;
/// What a certificate begins with (RFC 7468).
const BEGIN: &[u8] = b"-----BEGIN CERTIFICATE-----";

/// The section, if there is one.
pub(super) fn read(
    mut table: Table,
    is_there: bool,
    folder: &Path,
    problems: &mut Problems,
    warnings: &mut Vec<String>,
) -> Option<Mail> {
    const TLS: &[(&str, MailTls)] = &[("starttls", MailTls::StartTls), ("tls", MailTls::Tls), ("none", MailTls::None)];
    if !is_there {
        return None;
    }
    let remedy = "write the mail server, as in server = \"mail.example:587\"";
    let server = table.require("server", problems, remedy, |value| {
        let spelled = values::host_port(value)?;
        let (host, port) = spelled.rsplit_once(':').unwrap_or_default();
        let port = port.parse().map_err(|_| "has no port".to_owned())?;
        Ok((host.trim_matches(['[', ']']).to_owned(), port))
    });
    let tls = table.read("tls", problems, values::one_of(TLS)).unwrap_or(MailTls::StartTls);
    let given = table.has("authorities");
    let authorities = table.read("authorities", problems, |value| certificates(value, folder));
    if given && tls == MailTls::None {
        problems.add(&table.key("authorities"), "has no meaning with tls = \"none\": leave one of them out");
    }
    let username = table.read("username", problems, username);
    let key = table.key("password");
    let has_password = table.has("password");
    if username.is_none() && has_password {
        problems.add(&key, "has no meaning without username");
    }
    let password = has_password.then(|| {
        table.require_secret("password", problems, "", |value| secrets::secret(value, folder, &key, warnings))
    });
    if username.is_some() && password.is_none() {
        problems.add(&key, "is missing: write password = { file = \"...\" } or { env = \"...\" }");
    }
    let remedy = "write the address that the e-mails come from, as in from = \"entente@example.org\"";
    let from = table.require("from", problems, remedy, address);
    let remedy = "write the address that the e-mails are for, as in to = \"postmaster@example.org\"";
    let to = table.require("to", problems, remedy, address);
    table.finish(problems);
    let (host, port) = server?;
    let credentials = username.zip(password.flatten());
    Some(Mail { host, port, tls, authorities, credentials, from: from?, to: to? })
}

/// An address that every mail server takes.
fn address(value: &Value) -> Result<Address, String> {
    let spelled = values::text(value)?;
    let wrong = || "must be an address such as \"postmaster@example.org\", in ASCII".to_owned();
    if !spelled.is_ascii() {
        return Err(wrong());
    }
    spelled.parse().map_err(|_| wrong())
}

fn username(value: &Value) -> Result<String, String> {
    let spelled = values::text(value)?;
    if spelled.is_empty() || spelled.len() > LONGEST_NAME || spelled.chars().any(char::is_control) {
        return Err(format!("must be text of 1 to {LONGEST_NAME} bytes without control characters"));
    }
    Ok(spelled.to_owned())
}

/// The certificates in a file.
fn certificates(value: &Value, folder: &Path) -> Result<Vec<u8>, String> {
    let path = folder.join(values::path(value)?);
    let unreadable = |error| format!("cannot be read from {}: {error}", path.display());
    // Before it is opened: to open a pipe is to wait for its writer.
    if !std::fs::metadata(&path).map_err(unreadable)?.is_file() {
        return Err(format!("cannot be read from {}: it is not a regular file", path.display()));
    }
    let mut bytes = Vec::new();
    File::open(&path).and_then(|file| file.take(LONGEST).read_to_end(&mut bytes)).map_err(unreadable)?;
    let none = || format!("holds no certificate in PEM: {}", path.display());
    let marked = bytes.windows(BEGIN.len()).any(|window| window == BEGIN);
    if marked && Certificate::from_pem(&bytes).is_ok() { Ok(bytes) } else { Err(none()) }
}
