//! What a client keeps of those who challenge it (RFC 3261 sections 22.2 and 22.3, RFC 7616 sections 3.5 and 3.6).
//!
//! ```text
//!   request ------------> 401/407: challenged() ----> the same request with credentials --> 200: concluded(), next nonce
//!   a later request, with credentials for the nonce that is known, counted up: volunteered -> 200
//!                                                         |-> 401/407 with another nonce: as above
//!   credentials that answered a challenge -> 401/407: rejected, unless stale=true
//! ```
//!
//! Credentials for a proxy are volunteered with every request that goes the same way, those for a server only with requests
//! to the domain that asked: the row "a given value of the To header field" of RFC 3261 section 22.2, one row per domain.

use super::Role;
use super::client::{Account, Covered, answer_in_session};
use super::digest::Secret;
use super::fields::{Challenge, next_nonce};
use crate::wire::{Head, HeaderName, print};
use slotmap::SlotMap;
use smallvec::SmallVec;
use turn::Minter;

/// Realms that are remembered; for one more the one that was not used for longest is forgotten, which costs a round trip.
const MOST_SPACES: usize = 64;
/// A longer realm, nonce or opaque is no challenge that we answer.
const LONGEST_TEXT: usize = 1024;
/// How often a request is answered anew because the nonce was stale.
const MOST_STALE: u8 = 2;

slotmap::new_key_type! {
    struct SpaceKey;
}

/// An account of ours.
#[derive(Clone, PartialEq, Eq)]
pub struct Key {
    /// The realm that it is for. Nobody else is answered.
    pub realm: Vec<u8>,
    /// The hosts of Request-URIs for which it is used, in any case; empty for all.
    pub domains: Vec<Vec<u8>>,
    /// The user name.
    pub username: Vec<u8>,
    /// The password.
    pub password: Vec<u8>,
}

impl Key {
    fn covers(&self, place: &Place<'_>) -> bool {
        self.domains.is_empty() || self.domains.iter().any(|domain| domain.eq_ignore_ascii_case(place.domain))
    }
}

impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Key").field("realm", &self.realm.escape_ascii().to_string()).finish_non_exhaustive()
    }
}

/// Where a request goes.
#[derive(Clone, Copy, Debug)]
pub struct Place<'a> {
    /// A number of the caller's for the way to it: what is asked for on one is volunteered on it only.
    pub way: u16,
    /// The host of its Request-URI.
    pub domain: &'a [u8],
}

/// A realm that has challenged us.
struct Space {
    role: Role,
    way: u16,
    /// For a server the domain whose requests it challenged.
    domain: Vec<u8>,
    /// Place in the list of accounts.
    account: usize,
    /// Its last challenge, with the nonce that is to be used.
    challenge: Challenge<'static>,
    /// The nonce that came with the challenge.
    first_nonce: Vec<u8>,
    cnonce: u128,
    /// How many requests carried the nonce.
    count: u32,
    /// Goes up with each new nonce.
    generation: u32,
    /// When it was used last, counted in uses.
    used: u64,
}

/// The credentials that a request carried, so that its response can be judged.
#[derive(Clone, Debug, Default)]
pub struct Shown(SmallVec<[Proof; 2]>);

#[derive(Clone, Copy, Debug)]
struct Proof {
    role: Role,
    /// Place in the list of accounts, and which list it was.
    account: usize,
    edition: u32,
    space: SpaceKey,
    generation: u32,
    /// They answer a challenge to this request; else they were volunteered.
    asked: bool,
    stale: u8,
}

/// Why a challenge is not answered: the request has failed with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Unanswered {
    /// No challenge that can be read is from a realm in which we have an account.
    #[error("no account for any realm that asks")]
    NoAccount,
    /// The credentials have been seen, and are not accepted.
    #[error("credentials were rejected")]
    Rejected,
}

impl Shown {
    /// What was shown of an account, whatever has become of the realm since: other requests share it.
    fn find(&mut self, role: Role, account: usize, edition: u32) -> Option<&mut Proof> {
        self.0.iter_mut().find(|proof| (proof.role, proof.account, proof.edition) == (role, account, edition))
    }
}

/// Accounts, and the realms that have asked for them.
pub struct Keyring {
    keys: Vec<Key>,
    /// Goes up with each list of accounts.
    edition: u32,
    spaces: SlotMap<SpaceKey, Space>,
    minter: Minter,
    uses: u64,
}

impl std::fmt::Debug for Keyring {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Keyring").field("keys", &self.keys).field("spaces", &self.spaces.len()).finish_non_exhaustive()
    }
}

impl Keyring {
    /// A keyring with these accounts; of several for one realm and domain the first counts.
    pub fn new(keys: Vec<Key>, minter: Minter) -> Self {
        Self { keys, edition: 0, spaces: SlotMap::with_key(), minter, uses: 0 }
    }

    /// Takes other accounts. What is remembered goes with those that it was for.
    pub fn replace_keys(&mut self, keys: &[Key]) {
        if self.keys != keys {
            self.keys = keys.to_vec();
            self.edition = self.edition.wrapping_add(1);
            self.spaces.clear();
        }
    }

    /// Whether there is no account at all, and so nothing to answer or to volunteer.
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// Realms that are remembered.
    pub fn spaces(&self) -> usize {
        self.spaces.len()
    }

    /// Appends the header lines with credentials for a request: for each realm that is known to ask on this way. What they
    /// are is noted in `shown`.
    pub fn write(&mut self, place: &Place<'_>, covered: &Covered<'_>, shown: &mut Shown, out: &mut Vec<u8>) {
        for (key, space) in &mut self.spaces {
            if !space.is_for(place) {
                continue;
            }
            let Some(account) = self.keys.get(space.account).filter(|key| key.covers(place)) else { continue };
            let Some(count) = space.count.checked_add(1) else { continue };
            let start = out.len();
            out.extend_from_slice(space.role.credentials().as_str().as_bytes());
            out.extend_from_slice(b": ");
            let account = Account { username: &account.username, secret: Secret::Password(&account.password) };
            let cnonce = space.cnonce.to_be_bytes();
            let written =
                answer_in_session(&space.challenge, &space.first_nonce, &account, covered, count, &cnonce, out);
            if written.is_err() {
                out.truncate(start);
                continue;
            }
            print::line_end(out);
            self.uses += 1;
            (space.count, space.used) = (count, self.uses);
            match shown.find(space.role, space.account, self.edition) {
                Some(proof) => (proof.space, proof.generation) = (key, space.generation),
                None => shown.0.push(Proof {
                    role: space.role,
                    account: space.account,
                    edition: self.edition,
                    space: key,
                    generation: space.generation,
                    asked: false,
                    stale: 0,
                }),
            }
        }
    }

    /// Takes the challenges of a 401 or 407. `Ok` says that the request is worth repeating: [`write`](Self::write) has
    /// credentials for it that were not rejected yet.
    pub fn challenged(&mut self, place: &Place<'_>, head: &Head<'_>, shown: &mut Shown) -> Result<(), Unanswered> {
        let mut seen = SmallVec::<[(Role, usize); 4]>::new();
        let mut rejected = false;
        for role in [Role::Proxy, Role::Server] {
            // One line is one challenge (RFC 3261 section 7.3.1). What cannot be read is ignored, and so is a realm that has
            // been answered further up (RFC 8760 section 2.4).
            for challenge in head.all(role.challenge()).filter_map(|value| Challenge::parse(value).ok()) {
                let Some(account) = self.account(&challenge.realm, place) else { continue };
                if is_too_long(&challenge) || seen.contains(&(role, account)) {
                    continue;
                }
                seen.push((role, account));
                rejected |= !self.take(role, place, account, challenge, shown);
            }
        }
        match (seen.is_empty(), rejected) {
            (true, _) => Err(Unanswered::NoAccount),
            (_, true) => Err(Unanswered::Rejected),
            _ => Ok(()),
        }
    }

    /// Takes a final response that is no challenge: the nonce for the next request, where one is named.
    pub fn concluded(&mut self, head: &Head<'_>, shown: &Shown) {
        for role in [Role::Proxy, Role::Server] {
            let value = match role {
                Role::Server => head.first(HeaderName::AuthenticationInfo),
                Role::Proxy => head.other("Proxy-Authentication-Info"),
            };
            let Some(nonce) = value.and_then(next_nonce).filter(|nonce| nonce.len() <= LONGEST_TEXT) else { continue };
            // It does not say whom it is from. With credentials for two realms nobody knows.
            let ours = |proof: &&Proof| self.spaces.get(proof.space).is_some_and(|space| space.role == role);
            let mut proofs = shown.0.iter().filter(ours);
            let (Some(proof), None) = (proofs.next(), proofs.next()) else { continue };
            if let Some(space) = self.spaces.get_mut(proof.space)
                && space.generation == proof.generation
            {
                space.challenge.nonce = nonce.into_owned().into();
                space.count = 0;
                space.generation = space.generation.wrapping_add(1);
            }
        }
    }

    fn account(&self, realm: &[u8], place: &Place<'_>) -> Option<usize> {
        // The one that is for this domain goes before the one that is for all.
        let fits = |key: &Key| key.realm == realm && key.covers(place);
        let own = self.keys.iter().position(|key| fits(key) && !key.domains.is_empty());
        own.or_else(|| self.keys.iter().position(fits))
    }

    /// Remembers a challenge. `false` says that it rejects what was shown.
    fn take(
        &mut self,
        role: Role,
        place: &Place<'_>,
        account: usize,
        challenge: Challenge<'_>,
        shown: &mut Shown,
    ) -> bool {
        let known =
            self.spaces.iter().find(|(_, space)| space.role == role && space.account == account && space.is_for(place));
        let known = known.map(|(key, _)| key);
        if let Some(proof) = shown.find(role, account, self.edition) {
            let is_same_nonce = self
                .spaces
                .get(proof.space)
                .is_some_and(|space| space.generation == proof.generation && space.challenge.nonce == challenge.nonce);
            let again = !proof.asked || (challenge.stale && proof.stale < MOST_STALE);
            if is_same_nonce || !again {
                // It is not volunteered to the next ones either.
                if let Some(known) = known {
                    self.spaces.remove(known);
                }
                return false;
            }
            proof.stale = proof.stale.saturating_add(u8::from(proof.asked));
            proof.asked = true;
        }
        let (key, generation) = match known {
            Some(known) => (known, self.spaces.get(known).map_or(0, |space| space.generation.wrapping_add(1))),
            None => (self.insert(role, place, account, &challenge), 0),
        };
        self.uses += 1;
        if let Some(space) = self.spaces.get_mut(key) {
            space.first_nonce = challenge.nonce.to_vec();
            space.challenge = challenge.into_owned();
            space.cnonce = self.minter.mint();
            (space.count, space.generation, space.used) = (0, generation, self.uses);
        }
        match shown.find(role, account, self.edition) {
            Some(proof) => (proof.space, proof.generation) = (key, generation),
            None => shown.0.push(Proof {
                role,
                account,
                edition: self.edition,
                space: key,
                generation,
                asked: true,
                stale: 0,
            }),
        }
        true
    }

    fn insert(&mut self, role: Role, place: &Place<'_>, account: usize, challenge: &Challenge<'_>) -> SpaceKey {
        if self.spaces.len() >= MOST_SPACES
            && let Some(oldest) = self.spaces.iter().min_by_key(|(_, space)| space.used).map(|(key, _)| key)
        {
            self.spaces.remove(oldest);
        }
        self.spaces.insert(Space {
            role,
            way: place.way,
            domain: if role == Role::Server { place.domain.to_ascii_lowercase() } else { Vec::new() },
            account,
            challenge: challenge.clone().into_owned(),
            first_nonce: Vec::new(),
            cnonce: 0,
            count: 0,
            generation: 0,
            used: 0,
        })
    }
}

impl Space {
    fn is_for(&self, place: &Place<'_>) -> bool {
        self.way == place.way && (self.role == Role::Proxy || self.domain.eq_ignore_ascii_case(place.domain))
    }
}

fn is_too_long(challenge: &Challenge<'_>) -> bool {
    let opaque = challenge.opaque.as_deref().unwrap_or_default();
    [&challenge.realm, &challenge.nonce, opaque].iter().any(|text| text.len() > LONGEST_TEXT)
}

#[cfg(test)]
mod tests;
