//! Which domains live where, and who may speak for them.

use crate::{ImUri, Origin, PeerId, Proof, Side};

/// A domain of the configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DomainPattern {
    /// This domain, in the form of [`canonical_domain`](crate::canonical_domain).
    Exactly(Box<str>),
    /// Any domain that is not named elsewhere.
    Any,
}

impl DomainPattern {
    /// Whether `domain`, in the same form, is meant.
    pub fn matches(&self, domain: &str) -> bool {
        match self {
            DomainPattern::Exactly(exact) => **exact == *domain,
            DomainPattern::Any => true,
        }
    }
}

/// Why an operation may not pass; the variants are in the order of the checks of RFC 3860 section 3.4.1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Denial {
    /// No domain of the other side is responsible for the destination.
    #[error("no route to the domain of the destination")]
    Unresolvable,
    /// Nothing proves that the peer may speak for the sender.
    #[error("the peer has not shown that it may speak for the sender")]
    AccessDenied,
}

/// The rules that the relay asks. Small and sorted once; looked at for each operation.
#[derive(Clone, Debug, Default)]
pub struct Policy {
    homes: Vec<(Box<str>, Side)>,
    elsewhere: Option<Side>,
    speakers: Vec<(PeerId, DomainPattern)>,
}

impl Policy {
    /// Nothing is allowed yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// `domain` lives on `side`. [`DomainPattern::Any`] gives the home of all domains that are not named.
    pub fn add_home(&mut self, domain: DomainPattern, side: Side) {
        match domain {
            DomainPattern::Any => self.elsewhere = Some(side),
            DomainPattern::Exactly(name) => match self.homes.binary_search_by(|(known, _)| known.cmp(&name)) {
                Ok(place) => self.homes[place].1 = side,
                Err(place) => self.homes.insert(place, (name, side)),
            },
        }
    }

    /// `peer` may bring messages from senders in `domain`.
    pub fn add_speaker(&mut self, peer: PeerId, domain: DomainPattern) {
        self.speakers.push((peer, domain));
    }

    /// The side on which `domain` lives.
    pub fn home(&self, domain: &str) -> Option<Side> {
        match self.homes.binary_search_by(|(known, _)| (**known).cmp(domain)) {
            Ok(place) => Some(self.homes[place].1),
            Err(_) => self.elsewhere,
        }
    }

    /// Check 2 of RFC 3860 section 3.4.1: the side on which a destination lives, seen from the other one.
    pub fn resolve(&self, from: Side, destination: &ImUri<'_>) -> Result<Side, Denial> {
        self.home(destination.domain()).filter(|&side| side != from).ok_or(Denial::Unresolvable)
    }

    /// Checks 2 and 3 of RFC 3860 section 3.4.1; gives the side to concretise on.
    pub fn permit(&self, origin: &Origin, source: &ImUri<'_>, destination: &ImUri<'_>) -> Result<Side, Denial> {
        let side = self.resolve(origin.side, destination)?;
        let proven = origin.proof != Proof::Nothing
            && self.home(source.domain()) == Some(origin.side)
            && self.speakers.iter().any(|(peer, domain)| *peer == origin.peer && domain.matches(source.domain()));
        if proven { Ok(side) } else { Err(Denial::AccessDenied) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn exactly(name: &str) -> DomainPattern {
        DomainPattern::Exactly(name.into())
    }

    #[test]
    fn the_checks_in_their_order() {
        let mut policy = Policy::new();
        policy.add_home(exactly("sip.example"), Side::Sip);
        policy.add_home(exactly("pbx.example"), Side::Sip);
        policy.add_home(DomainPattern::Any, Side::Xmpp);
        policy.add_speaker(PeerId(1), exactly("sip.example"));
        policy.add_speaker(PeerId(2), DomainPattern::Any);
        let sip = |peer, proof| Origin { side: Side::Sip, peer: PeerId(peer), proof };
        let xmpp = |proof| Origin { side: Side::Xmpp, peer: PeerId(2), proof };
        let known = Proof::SourceNetwork;
        for (origin, from, to, verdict) in [
            (sip(1, known), "im:j@sip.example", "im:r@xmpp.example", Ok(Side::Xmpp)),
            (sip(1, known), "im:j@sip.example", "im:r@pbx.example", Err(Denial::Unresolvable)),
            (sip(1, Proof::Nothing), "im:j@sip.example", "im:r@pbx.example", Err(Denial::Unresolvable)),
            (sip(1, Proof::Nothing), "im:j@sip.example", "im:r@xmpp.example", Err(Denial::AccessDenied)),
            (sip(0, known), "im:j@sip.example", "im:r@xmpp.example", Err(Denial::AccessDenied)),
            (sip(1, known), "im:j@pbx.example", "im:r@xmpp.example", Err(Denial::AccessDenied)),
            (sip(1, known), "im:r@xmpp.example", "im:r@xmpp.example", Err(Denial::AccessDenied)),
            (xmpp(Proof::ComponentSecret), "im:r@xmpp.example", "im:j@sip.example", Ok(Side::Sip)),
            (xmpp(Proof::ComponentSecret), "im:j@sip.example", "im:j@sip.example", Err(Denial::AccessDenied)),
            (xmpp(Proof::ComponentSecret), "im:r@xmpp.example", "im:r@b.example", Err(Denial::Unresolvable)),
            (xmpp(Proof::Nothing), "im:r@xmpp.example", "im:j@sip.example", Err(Denial::AccessDenied)),
        ] {
            let (source, destination) = (ImUri::parse(from).unwrap(), ImUri::parse(to).unwrap());
            assert_eq!(policy.permit(&origin, &source, &destination), verdict, "{origin:?} {from} {to}");
        }
    }
}
