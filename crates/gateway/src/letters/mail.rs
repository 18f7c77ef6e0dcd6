//! Letters by e-mail, over SMTP (RFC 5321): one connection for each, everything within one time.
//!
//! The commands are given one by one, and not by lettre's transports: those wait for the answer to QUIT before they tell what
//! became of the message.

use super::line::Line;
use lettre::Address;
use lettre::transport::smtp::authentication::{Credentials, DEFAULT_MECHANISMS};
use lettre::transport::smtp::client::{AsyncSmtpConnection, Certificate, CertificateStore, TlsParameters};
use lettre::transport::smtp::commands::{Data, Mail, Rcpt};
use lettre::transport::smtp::extension::ClientId;
use lettre::transport::smtp::response::{Response, Severity};
use secrecy::{ExposeSecret, SecretString};
use std::error::Error;
use std::io;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::runtime::Runtime;
use tokio::time::timeout;

/// Where letters are sent, and how.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The host of the mail server: a name, or an address without brackets.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// What protects the connection.
    pub security: Security,
    /// In PEM, the certificates that the server's is to be signed by; those of the system if absent.
    pub authorities: Option<Vec<u8>>,
    /// User and password.
    pub credentials: Option<(String, SecretString)>,
    /// The author of the e-mails, who hears too when one cannot be delivered. In ASCII.
    pub from: Address,
    /// Who gets them. In ASCII.
    pub to: Address,
    /// How long one may take.
    pub patience: Duration,
}

/// What protects a connection to a mail server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Security {
    /// Nothing.
    None,
    /// TLS that is begun inside (RFC 3207), or nothing is sent.
    StartTls,
    /// TLS from the first byte on (RFC 8314).
    Tls,
}

/// Why an e-mail is not with the server.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum MailError {
    /// It will not take this one, or none from us.
    #[error("the mail server refused with {0}")]
    Refused(u16),
    /// It would be no use to ask again before somebody has changed something.
    #[error("the mail server cannot be used as configured: {0}")]
    Unusable(&'static str),
    /// Not now.
    #[error("the mail server asked to be left alone for a while, with {0}")]
    NotNow(u16),
    /// It could not be reached, or it went away.
    #[error("the mail server cannot be reached, or went away")]
    Unreachable,
    /// It did not finish in time.
    #[error("the mail server did not answer in time")]
    Silent,
}

impl MailError {
    /// Whether somebody has to do something.
    pub(super) fn is_permanent(&self) -> bool {
        matches!(self, MailError::Refused(_) | MailError::Unusable(_))
    }
}

/// How long the server may take for its last words. What became of the message is known by then.
const GOODBYE: Duration = Duration::from_secs(2);

/// Sends e-mails to one address.
pub(super) struct Mailer {
    runtime: Runtime,
    settings: Settings,
    hello: ClientId,
    tls: Option<TlsParameters>,
}

impl Mailer {
    /// `host` is who we say we are.
    pub(super) fn new(settings: Settings, host: &str) -> io::Result<Self> {
        let tls = match settings.security {
            Security::None => None,
            Security::StartTls | Security::Tls => Some(tls(&settings).map_err(io::Error::other)?),
        };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        Ok(Self { runtime, settings, hello: ClientId::Domain(host.to_owned()), tls })
    }

    /// Hands one e-mail to the server. `email` is ASCII with CRLF.
    pub(super) fn send(&self, email: &[u8]) -> Result<(), MailError> {
        self.runtime.block_on(async {
            let (connection, told) = match timeout(self.settings.patience, self.say(email)).await {
                Ok(said) => said,
                Err(_) => return Err(MailError::Silent),
            };
            if let Some(mut connection) = connection {
                // RFC 5321 section 4.1.1.10 wants a goodbye. Nothing depends on it.
                let _ = timeout(GOODBYE, connection.quit()).await;
            }
            told.map_err(|told| judged(&told))
        })
    }

    async fn say(&self, email: &[u8]) -> (Option<AsyncSmtpConnection>, Result<(), Told>) {
        let mut connection = match self.connect().await {
            Ok(connection) => connection,
            Err(error) => return (None, Err(error)),
        };
        let told = self.hand_over(&mut connection, email).await;
        (Some(connection), told)
    }

    async fn connect(&self) -> Result<AsyncSmtpConnection, Told> {
        let Settings { host, port, security, credentials, patience, .. } = &self.settings;
        let address = (host.as_str(), *port);
        let mut connection = match (&self.tls, security) {
            (Some(tls), Security::Tls) => {
                let tls = Some(tls.clone());
                AsyncSmtpConnection::connect_tokio1(address, Some(*patience), &self.hello, tls, None).await?
            }
            (tls, _) => {
                let line = Line::new(TcpStream::connect(address).await.map_err(Told::Connection)?);
                let mut connection = AsyncSmtpConnection::connect_with_transport(Box::new(line), &self.hello).await?;
                if let Some(tls) = tls {
                    if !connection.can_starttls() {
                        return Err(Told::Unusable("it offers no STARTTLS"));
                    }
                    connection.starttls(tls.clone(), &self.hello).await?;
                }
                connection
            }
        };
        if let Some((user, password)) = credentials {
            let Some(_) = connection.server_info().get_auth_mechanism(DEFAULT_MECHANISMS) else {
                return Err(Told::Unusable("it asks for no password that we could give"));
            };
            let credentials = Credentials::new(user.clone(), password.expose_secret().to_owned());
            connection.auth(DEFAULT_MECHANISMS, &credentials).await?;
        }
        Ok(connection)
    }

    async fn hand_over(&self, connection: &mut AsyncSmtpConnection, email: &[u8]) -> Result<(), Told> {
        let Settings { from, to, .. } = &self.settings;
        // Otherwise the server would have to be asked for extensions first.
        debug_assert!(email.is_ascii() && from.to_string().is_ascii() && to.to_string().is_ascii());
        connection.command(Mail::new(Some(from.clone()), Vec::new())).await?;
        connection.command(Rcpt::new(to.clone(), Vec::new())).await?;
        // RFC 5321 section 4.3.2: the one answer that is an invitation.
        expect(&connection.command(Data).await?, Severity::PositiveIntermediate)?;
        expect(&connection.message(email).await?, Severity::PositiveCompletion)
    }
}

/// What came in the way.
enum Told {
    Smtp(lettre::transport::smtp::Error),
    Connection(io::Error),
    Unusable(&'static str),
    /// An answer that does not answer.
    Nonsense,
}

impl From<lettre::transport::smtp::Error> for Told {
    fn from(error: lettre::transport::smtp::Error) -> Self {
        Told::Smtp(error)
    }
}

fn expect(response: &Response, severity: Severity) -> Result<(), Told> {
    if response.code().severity == severity { Ok(()) } else { Err(Told::Nonsense) }
}

/// The words of a server may repeat what we sent, so that they are written at the level of what crosses the wire only.
fn judged(told: &Told) -> MailError {
    let error = match told {
        Told::Smtp(error) => error,
        Told::Connection(error) => {
            tracing::debug!(%error, "no connection to the mail server");
            return MailError::Unreachable;
        }
        Told::Unusable(why) => return MailError::Unusable(why),
        Told::Nonsense => return MailError::Unreachable,
    };
    tracing::trace!(%error, "what the mail server said");
    match error.status().map(u16::from) {
        Some(code) if error.is_permanent() => MailError::Refused(code),
        Some(code) => MailError::NotNow(code),
        None if is_about_tls(error) => MailError::Unusable("TLS with it fails: look at its name and its certificate"),
        None => MailError::Unreachable,
    }
}

/// Whether what is behind an error is the other side's TLS, which does not become better by itself.
fn is_about_tls(error: &(dyn Error + 'static)) -> bool {
    let mut next = Some(error);
    while let Some(error) = next {
        let inner = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        if inner.is_some_and(|inner| inner.is::<rustls::Error>()) {
            return true;
        }
        next = error.source();
    }
    false
}

fn tls(settings: &Settings) -> Result<TlsParameters, lettre::transport::smtp::Error> {
    let mut tls = TlsParameters::builder(settings.host.clone());
    if let Some(pem) = &settings.authorities {
        tls = tls.certificate_store(CertificateStore::None).add_root_certificate(Certificate::from_pem(pem)?);
    }
    tls.build()
}
