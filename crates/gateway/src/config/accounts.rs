//! `[[sip.account]]`: as whom challenges of SIP peers are answered.

use super::reader::{Problems, Table};
use super::{Domain, Sip, secrets, values};
use figment::value::Value;
use secrecy::SecretString;
use std::path::Path;

/// Longer names of realms and users are mistakes, in bytes.
const LONGEST: usize = 255;

/// `[[sip.account]]`
#[derive(Clone, Debug)]
pub struct Account {
    /// The realm that is answered.
    pub realm: String,
    /// The user name.
    pub username: String,
    /// The password.
    pub password: SecretString,
    /// The SIP domains whose requests it is used for. Empty: those of the configuration.
    pub domains: Vec<String>,
}

pub(super) fn read(
    sip: &mut Table,
    folder: &Path,
    problems: &mut Problems,
    warnings: &mut Vec<String>,
) -> Vec<Account> {
    let mut accounts = Vec::new();
    for mut entry in sip.tables("account", problems) {
        let remedy = "write the realm that stands in the challenges, as in realm = \"sip.example\"";
        let realm = entry.require("realm", problems, remedy, name).unwrap_or_default();
        let remedy = "write the user name that the SIP proxy knows the gateway by";
        let username = entry.require("username", problems, remedy, username).unwrap_or_default();
        let remedy = "write password = { file = \"...\" } or { env = \"...\" }";
        let path = entry.key("password");
        let password = entry
            .require_secret("password", problems, remedy, |value| secrets::secret(value, folder, &path, warnings))
            .unwrap_or_default();
        let domains = entry.list("domains", problems, values::domain).unwrap_or_default();
        entry.finish(problems);
        accounts.push(Account { realm, username, password, domains });
    }
    accounts
}

/// Each realm has one account for a domain, and each domain is one whose requests go out.
pub(super) fn check(sip: &Sip, sip_domains: &[Domain], problems: &mut Problems) {
    let Sip { accounts, follow_redirects, .. } = sip;
    let any = sip_domains.iter().any(|domain| domain.name.is_none());
    let is_redirected_to = |domain: &str| follow_redirects.iter().any(|allowed| allowed == "*" || allowed == domain);
    for (place, account) in accounts.iter().enumerate() {
        let key = format!("sip.account[{}]", place + 1);
        for domain in &account.domains {
            let is_ours = any || sip_domains.iter().any(|known| known.name.as_ref() == Some(domain));
            if !is_ours && !is_redirected_to(domain) {
                let what = format!("{domain:?} is no [[sip_domain]], so that this could never match");
                problems.add(&format!("{key}.domains"), what);
            }
        }
        let overlaps = |earlier: &&Account| {
            let shared = account.domains.iter().any(|domain| earlier.domains.contains(domain));
            let same_reach = account.domains.is_empty() && earlier.domains.is_empty();
            earlier.realm == account.realm && (shared || same_reach)
        };
        // A missing realm is noted where it was read.
        if !account.realm.is_empty() && accounts[..place].iter().any(|earlier| overlaps(&earlier)) {
            problems.add(&format!("{key}.realm"), format!("{:?} has an account already", account.realm));
        }
    }
}

fn name(value: &Value) -> Result<String, String> {
    let spelled = values::text(value)?;
    if spelled.is_empty() || spelled.len() > LONGEST || spelled.chars().any(char::is_control) {
        return Err(format!("must be text of 1 to {LONGEST} bytes without control characters"));
    }
    Ok(spelled.to_owned())
}

/// RFC 7616 section 4: the colon is what ends a user name in a digest.
fn username(value: &Value) -> Result<String, String> {
    name(value).and_then(|name| {
        if name.contains(':') { Err("must be a user name, which holds no colon".into()) } else { Ok(name) }
    })
}
