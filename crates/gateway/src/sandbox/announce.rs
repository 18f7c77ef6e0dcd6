//! What the sandbox says of itself: for people, for programs, and in the ready file.

use super::SandboxError;
use super::plan::{Account, Plan, SIP_DOMAIN, Side, XMPP_DOMAIN};
use sandbox::users::Crossing;
use serde_json::json;
use std::fmt;
use std::io::{self, Write as _};
use std::path::Path;
use std::time::Duration;

/// Everything that somebody needs to log in.
pub(super) struct Announcement<'a> {
    pub(super) plan: &'a Plan,
    pub(super) accounts: &'a [Account],
    /// In PEM.
    pub(super) certificate: &'a str,
}

impl Announcement<'_> {
    /// Prints it on standard output.
    pub(super) fn print(&self, json: bool) -> io::Result<()> {
        let mut out = io::stdout().lock();
        if json {
            writeln!(out, "{}", self.json())?;
        } else {
            writeln!(out, "{self}")?;
        }
        out.flush()
    }

    /// Writes it as JSON, all at once: whoever sees the file can read it.
    pub(super) fn write_ready_file(&self, path: &Path) -> Result<(), SandboxError> {
        let mut name = path.as_os_str().to_owned();
        name.push(format!(".{}", std::process::id()));
        let unfinished = Path::new(&name);
        let written = std::fs::write(unfinished, format!("{}\n", self.json()));
        written
            .and_then(|()| std::fs::rename(unfinished, path))
            .map_err(|error| SandboxError::ReadyFile { path: path.to_owned(), error })
    }

    fn json(&self) -> serde_json::Value {
        let Self { plan, accounts, certificate } = self;
        let accounts: Vec<_> = accounts
            .iter()
            .map(|account| {
                json!({
                    "side": account.side.as_str(),
                    "address": account.address(),
                    "user": account.name,
                    "password": account.password,
                })
            })
            .collect();
        json!({
            "event": "ready",
            "xmpp": {
                "domain": XMPP_DOMAIN,
                "host": plan.xmpp_clients.ip(),
                "port": plan.xmpp_clients.port(),
                "component_port": plan.xmpp_components.port(),
                "certificate": certificate,
            },
            "sip": {
                "domain": SIP_DOMAIN,
                "host": plan.sip.ip(),
                "port": plan.sip.port(),
                "gateway_port": plan.gateway.port(),
            },
            "admin": { "host": plan.admin.ip(), "port": plan.admin.port() },
            "accounts": accounts,
        })
    }
}

/// One text that is across, for programs.
pub(super) fn crossing(crossing: &Crossing) -> serde_json::Value {
    let Crossing { from, to, delivered, answered, status, reason, told } = crossing;
    let ms = |duration: &Duration| duration.as_micros() as f64 / 1000.0;
    json!({
        "event": "crossed",
        "from": from,
        "to": to,
        "delivered_ms": ms(delivered),
        "answered_ms": ms(answered),
        "status": status,
        "reason": reason,
        "sender_is_told": told,
    })
}

/// Removes a ready file, if there is one.
pub(super) fn remove(path: &Path) -> Result<(), SandboxError> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(SandboxError::ReadyFile { path: path.to_owned(), error })
        }
        _ => Ok(()),
    }
}

impl fmt::Display for Announcement<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Plan { sip, gateway, admin, xmpp_clients, xmpp_components } = self.plan;
        writeln!(f, "An XMPP domain, a SIP domain, and the gateway between them. Ctrl-C ends it; nothing is kept.\n")?;
        writeln!(f, "  XMPP   {XMPP_DOMAIN:<16} {xmpp_clients}   STARTTLS, SCRAM, PLAIN behind TLS")?;
        writeln!(f, "  SIP    {SIP_DOMAIN:<16} {sip}   UDP and TCP, digest")?;
        writeln!(f, "  between them: SIP {gateway}, component stream {xmpp_components}, http://{admin}/metrics\n")?;
        writeln!(f, "Accounts, with the same user@domain on the other side:\n")?;
        for account in self.accounts {
            writeln!(f, "  {:<32} password {}", account.address(), account.password)?;
        }
        let first = |side| self.accounts.iter().find(|account| account.side == side);
        let (Some(xmpp), Some(sip_user)) = (first(Side::Xmpp), first(Side::Sip)) else { return Ok(()) };
        let jid = xmpp.address();
        let uri = sip_user.address();
        let jid_of_sip = format!("{}@{SIP_DOMAIN}", sip_user.name);
        let (ip, port) = (xmpp_clients.ip(), xmpp_clients.port());
        let (user, password) = (&sip_user.name, &sip_user.password);
        writeln!(f, "\nTo write from one to the other:\n")?;
        writeln!(f, "  profanity   /connect {jid} server {ip} port {port} tls trust")?;
        writeln!(f, "              /msg {jid_of_sip} hello")?;
        writeln!(f, "  slixmpp     import slixmpp, ssl")?;
        writeln!(f, "              xmpp = slixmpp.ClientXMPP({jid:?}, {:?})", xmpp.password)?;
        writeln!(f, "              # insecure: takes any certificate, because this one is self-made")?;
        writeln!(f, "              xmpp.ssl_context.check_hostname = False")?;
        writeln!(f, "              xmpp.ssl_context.verify_mode = ssl.CERT_NONE")?;
        writeln!(
            f,
            "              hello = lambda _: (xmpp.send_presence(), xmpp.send_message({jid_of_sip:?}, \"hello\"))"
        )?;
        writeln!(f, "              xmpp.add_event_handler(\"session_start\", hello)")?;
        writeln!(f, "              xmpp.add_event_handler(\"message\", print)")?;
        writeln!(f, "              xmpp.connect(({:?}, {port}))", ip.to_string())?;
        writeln!(f, "              xmpp.process()")?;
        writeln!(f, "  baresip     its files in ~/.baresip, then /message hello:")?;
        writeln!(f, "              accounts: <{uri}>;auth_pass={password};outbound=\"sip:{sip}\"")?;
        writeln!(f, "              contacts: \"{}\" <sip:{jid}>", xmpp.name)?;
        writeln!(f, "  linphone    SIP account: user {user}, password {password}, domain {SIP_DOMAIN},")?;
        write!(f, "              proxy sip:{sip};transport=udp, which is also the outbound proxy")
    }
}
