//! How an address of one world is shown in the other.
//!
//! A user of a SIP domain needs an address that XMPP users can write to, and the other way round. Each connector keeps one
//! table of how foreign domains are shown in its world:
//!
//! | rule | home address | shown as |
//! |---|---|---|
//! | [`Rule::Same`] | `juliet@sip.example` | `juliet@sip.example` (RFC 7247) |
//! | [`Rule::Map`] | `juliet@sip.example` | `juliet@gw.xmpp.example` |
//! | [`Rule::Encode`] | `juliet@sip.example` | `juliet@sip.example` escaped into the local part, `@gw.xmpp.example` |
//!
//! Both directions work on plain text; the connector then escapes by its own protocol (`juliet\40sip.example` in a JID,
//! `sip:romeo%40xmpp.example@…` in a SIP URI).

use crate::{DomainPattern, ImUri, UriError, canonical_domain};
use std::borrow::Cow;

/// How addresses of a domain are shown in the other world.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rule {
    /// Unchanged.
    Same,
    /// The user part stays, the domain is another.
    Map,
    /// The whole address becomes the user part in a domain of the gateway.
    Encode,
}

/// One row of the table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Presentation {
    /// The home domain.
    pub home: DomainPattern,
    /// The domain it is shown under, in the form of [`canonical_domain`](crate::canonical_domain); empty for
    /// [`Rule::Same`].
    pub shown_as: Box<str>,
    /// How.
    pub rule: Rule,
}

/// Why a table cannot be, or an address has no counterpart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PresentationError {
    /// The home domain has no row.
    #[error("no rule says how addresses of this domain are shown")]
    Unknown,
    /// Under the domain of an encoding rule stands a user part that is no encoded address.
    #[error("the user part is not an encoded address")]
    NotEncoded,
    /// The parts make no address.
    #[error(transparent)]
    Address(#[from] UriError),
}

/// An address as it is shown, not escaped yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Presented<'a> {
    /// The user part in plain text.
    pub user: &'a str,
    /// The home domain, where it stands behind the user and an `@` in the local part ([`Rule::Encode`]). Each protocol
    /// spells it in its own way.
    pub home: Option<&'a str>,
    /// The domain it is shown under.
    pub domain: &'a str,
}

impl<'a> Presented<'a> {
    /// The local part, with the home domain spelled `home`.
    pub fn local(&self, spell: impl FnOnce(&'a str) -> Cow<'a, str>) -> Cow<'a, str> {
        match self.home {
            None => Cow::Borrowed(self.user),
            Some(home) => {
                let home = spell(home);
                let mut local = String::with_capacity(self.user.len() + home.len() + 1);
                local.push_str(self.user);
                local.push('@');
                local.push_str(&home);
                Cow::Owned(local)
            }
        }
    }
}

/// The table of one connector: how foreign domains are shown in its world.
#[derive(Clone, Debug, Default)]
pub struct Presentations {
    rows: Vec<Presentation>,
}

impl Presentations {
    /// A table; rows for named domains are looked at before those for any.
    pub fn new(mut rows: Vec<Presentation>) -> Self {
        rows.sort_by_key(|row| row.home == DomainPattern::Any);
        Self { rows }
    }

    /// The rows, named domains first.
    pub fn rows(&self) -> &[Presentation] {
        &self.rows
    }

    /// How a foreign `address` is shown in this world.
    pub fn present<'a>(&'a self, address: &'a ImUri<'_>) -> Result<Presented<'a>, PresentationError> {
        let row = self.rows.iter().find(|row| row.home.matches(address.domain())).ok_or(PresentationError::Unknown)?;
        let user = address.local();
        Ok(match row.rule {
            Rule::Same => Presented { user, home: None, domain: address.domain() },
            Rule::Map => Presented { user, home: None, domain: &row.shown_as },
            Rule::Encode => Presented { user, home: Some(address.domain()), domain: &row.shown_as },
        })
    }

    /// The home address behind `local@domain` as it is written in this world: of a foreign user where a row says so, of a
    /// user of this world otherwise. Domains may be spelled in any way that [`canonical_domain`](crate::canonical_domain)
    /// knows.
    pub fn recover<'a>(&self, local: Cow<'a, str>, domain: Cow<'a, str>) -> Result<ImUri<'a>, PresentationError> {
        let canonical = match domain {
            Cow::Borrowed(domain) => canonical_domain(domain)?,
            Cow::Owned(domain) => Cow::Owned(canonical_domain(&domain)?.into_owned()),
        };
        let shown = self.rows.iter().find(|row| row.rule != Rule::Same && *row.shown_as == *canonical);
        match shown {
            None => Ok(ImUri::in_canonical_domain(local, canonical)?),
            Some(Presentation { rule: Rule::Map, home: DomainPattern::Exactly(home), .. }) => {
                Ok(ImUri::from_parts(local, Cow::Owned(home.to_string()))?)
            }
            Some(Presentation { shown_as, .. }) => {
                // Each of the two parts in it may be as long as a part of an address can.
                let (user, home) = local.rsplit_once('@').ok_or(PresentationError::NotEncoded)?;
                let home = ImUri::from_parts(Cow::Owned(user.to_owned()), Cow::Owned(home.to_owned()))?;
                let known = self.rows.iter().any(|row| {
                    row.rule == Rule::Encode && row.shown_as == *shown_as && row.home.matches(home.domain())
                });
                if known { Ok(home) } else { Err(PresentationError::Unknown) }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(home: &str, shown_as: &str, rule: Rule) -> Presentation {
        let home = if home == "*" { DomainPattern::Any } else { DomainPattern::Exactly(home.into()) };
        Presentation { home, shown_as: shown_as.into(), rule }
    }

    #[test]
    fn both_directions_of_each_rule() {
        let table = Presentations::new(vec![
            row("*", "gw.example", Rule::Encode),
            row("same.example", "", Rule::Same),
            row("home.example", "shown.example", Rule::Map),
        ]);
        for (home, local, domain) in [
            ("im:a@same.example", "a", "same.example"),
            ("im:a@home.example", "a", "shown.example"),
            ("im:a@other.example", "a@other.example", "gw.example"),
            ("im:a%40b@other.example", "a@b@other.example", "gw.example"),
        ] {
            let uri = ImUri::parse(home).unwrap();
            let presented = table.present(&uri).unwrap();
            assert_eq!((&*presented.local(Cow::Borrowed), presented.domain), (local, domain));
            assert_eq!(table.recover(Cow::Borrowed(local), Cow::Borrowed(domain)).unwrap(), uri);
        }
        let recover = |local: &'static str, domain: &'static str| table.recover(local.into(), domain.into());
        let longest = "a".repeat(1023);
        for (user, ok) in [(longest.clone(), true), (longest + "a", false)] {
            let encoded = table.recover(format!("{user}@other.example").into(), "gw.example".into());
            assert_eq!(encoded.is_ok(), ok);
        }
        assert_eq!(recover("plain", "GW.example"), Err(PresentationError::NotEncoded));
        assert_eq!(recover("a@B\u{fc}cher.example", "gw.example.").unwrap().to_string(), "im:a@xn--bcher-kva.example");
        for no_domain in ["a@b c", "a@b;lr", "a@b:5060", "a@b>", "a@b\u{20ac}/", "a@-b", "a@b..c"] {
            assert_eq!(recover(no_domain, "gw.example"), Err(PresentationError::Address(UriError::Domain)));
        }
        assert_eq!(recover("@x.example", "gw.example"), Err(PresentationError::Address(UriError::Empty)));
        assert_eq!(recover("a", "native.example").unwrap().to_string(), "im:a@native.example");
    }

    #[test]
    fn without_a_row_there_is_no_counterpart() {
        let table = Presentations::new(vec![row("sip.example", "gw.example", Rule::Encode)]);
        assert_eq!(table.present(&ImUri::parse("im:a@b.example").unwrap()), Err(PresentationError::Unknown));
        assert_eq!(
            table.recover("a@b.example".into(), "gw.example".into()),
            Err(PresentationError::Unknown),
            "an encoded address must not open a way to domains that nobody configured"
        );
    }
}
