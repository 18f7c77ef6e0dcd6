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

use crate::{DomainPattern, ImUri, UriError};
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
    /// The domain it is shown under, in lower case; empty for [`Rule::Same`].
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
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Presented<'a> {
    /// The local part in plain text.
    pub local: Cow<'a, str>,
    /// The domain.
    pub domain: Cow<'a, str>,
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
        Ok(match row.rule {
            Rule::Same => Presented { local: Cow::Borrowed(address.local()), domain: Cow::Borrowed(address.domain()) },
            Rule::Map => Presented { local: Cow::Borrowed(address.local()), domain: Cow::Borrowed(&row.shown_as) },
            Rule::Encode => {
                let mut local = String::with_capacity(address.local().len() + address.domain().len() + 1);
                local.push_str(address.local());
                local.push('@');
                local.push_str(address.domain());
                Presented { local: Cow::Owned(local), domain: Cow::Borrowed(&row.shown_as) }
            }
        })
    }

    /// The home address behind `local@domain` as it is written in this world: of a foreign user where a row says so, of a
    /// user of this world otherwise.
    pub fn recover<'a>(&self, local: Cow<'a, str>, domain: Cow<'a, str>) -> Result<ImUri<'a>, PresentationError> {
        let shown = self.rows.iter().find(|row| row.rule != Rule::Same && row.shown_as.eq_ignore_ascii_case(&domain));
        match shown {
            None => Ok(ImUri::from_parts(local, domain)?),
            Some(Presentation { rule: Rule::Map, home: DomainPattern::Exactly(home), .. }) => {
                Ok(ImUri::from_parts(local, Cow::Owned(home.to_string()))?)
            }
            Some(_) => {
                let (user, home) = local.rsplit_once('@').ok_or(PresentationError::NotEncoded)?;
                let home = home.to_ascii_lowercase();
                let known = self.rows.iter().any(|row| {
                    row.rule == Rule::Encode && row.shown_as.eq_ignore_ascii_case(&domain) && row.home.matches(&home)
                });
                if !known {
                    return Err(PresentationError::Unknown);
                }
                Ok(ImUri::from_parts(Cow::Owned(user.to_owned()), Cow::Owned(home))?)
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
            assert_eq!((&*presented.local, &*presented.domain), (local, domain));
            assert_eq!(table.recover(Cow::Borrowed(local), Cow::Borrowed(domain)).unwrap(), uri);
        }
        let recover = |local: &'static str, domain: &'static str| table.recover(local.into(), domain.into());
        assert_eq!(recover("plain", "GW.example"), Err(PresentationError::NotEncoded));
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
