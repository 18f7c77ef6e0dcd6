//! How SIP users spell themselves.
//!
//! The user part of a SIP URI tells `Juliet` from `juliet` (RFC 3261 section 19.1.4), a JID does not. A user whose address
//! is not in lower case is known on XMPP by its folded form, and what comes back names that. The spelling that was seen
//! last is kept, so that the answer reaches whoever wrote.

use cpim::{ImUri, fold_case};
use hashbrown::HashTable;
use std::borrow::Cow;
use turn::Minter;

/// Most users whose spelling is kept; for one more the one that was learned first is forgotten. It is written to in lower
/// case then, as someone who never wrote is.
const MAX_SPELLINGS: usize = 8192;

/// The spellings that differ from their folded form.
pub(crate) struct Spellings {
    rows: Vec<Option<ImUri<'static>>>,
    by_folded: HashTable<usize>,
    hasher: ahash::RandomState,
    /// The row that is written next: the oldest, once all are.
    next: usize,
    limit: usize,
}

impl Spellings {
    pub(crate) fn new(minter: &Minter) -> Self {
        let [a, b] = [minter.keyed(&[b"spellings", b"a"]), minter.keyed(&[b"spellings", b"b"])];
        Self {
            rows: Vec::new(),
            by_folded: HashTable::new(),
            hasher: ahash::RandomState::with_seeds(a as u64, (a >> 64) as u64, b as u64, (b >> 64) as u64),
            next: 0,
            limit: MAX_SPELLINGS,
        }
    }

    /// A user has written under this address.
    pub(crate) fn note(&mut self, address: &ImUri<'_>) {
        let folded = fold_case(address.local());
        let is_folded = matches!(folded, Cow::Borrowed(_));
        if is_folded && self.by_folded.is_empty() {
            return;
        }
        let hash = self.hash(&folded, address.domain());
        match self.place(hash, &folded, address.domain()) {
            Some(place) if is_folded => self.forget(place),
            Some(place) => {
                if let Some(Some(row)) = self.rows.get_mut(place)
                    && row.local() != address.local()
                {
                    *row = address.clone().into_owned();
                }
            }
            None if is_folded => {}
            None => self.learn(hash, address),
        }
    }

    /// How the user at this address spells himself, where that is known to be in another way than in lower case.
    pub(crate) fn find(&self, address: &ImUri<'_>) -> Option<ImUri<'_>> {
        if self.by_folded.is_empty() {
            return None;
        }
        let folded = fold_case(address.local());
        let place = self.place(self.hash(&folded, address.domain()), &folded, address.domain())?;
        self.rows.get(place)?.as_ref().map(ImUri::borrowed)
    }

    fn learn(&mut self, hash: u64, address: &ImUri<'_>) {
        let place = self.next;
        self.next = (place + 1) % self.limit;
        if place == self.rows.len() {
            self.rows.push(None);
        } else {
            self.forget(place);
        }
        self.rows[place] = Some(address.clone().into_owned());
        let (hasher, rows) = (&self.hasher, &self.rows);
        self.by_folded.insert_unique(hash, place, |&place| {
            rows[place].as_ref().map_or(0, |row| hash_of(hasher, &fold_case(row.local()), row.domain()))
        });
    }

    fn forget(&mut self, place: usize) {
        if let Some(row) = self.rows.get_mut(place).and_then(Option::take) {
            let hash = self.hash(&fold_case(row.local()), row.domain());
            if let Ok(entry) = self.by_folded.find_entry(hash, |&known| known == place) {
                entry.remove();
            }
        }
    }

    fn place(&self, hash: u64, folded: &str, domain: &str) -> Option<usize> {
        let same = |&place: &usize| {
            let row = self.rows.get(place).and_then(Option::as_ref);
            row.is_some_and(|row| row.domain() == domain && fold_case(row.local()) == folded)
        };
        self.by_folded.find(hash, same).copied()
    }

    fn hash(&self, folded: &str, domain: &str) -> u64 {
        hash_of(&self.hasher, folded, domain)
    }
}

fn hash_of(hasher: &ahash::RandomState, folded: &str, domain: &str) -> u64 {
    hasher.hash_one((folded, domain))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> ImUri<'_> {
        ImUri::parse(text).unwrap()
    }

    fn found(spellings: &Spellings, text: &str) -> Option<String> {
        spellings.find(&address(text)).map(|uri| uri.local().to_owned())
    }

    #[test]
    fn the_spelling_seen_last_is_found_under_every_spelling() {
        let mut spellings = Spellings::new(&Minter::new([1; 16]));
        spellings.note(&address("im:romeo@sip.example"));
        assert_eq!(found(&spellings, "im:romeo@sip.example"), None);
        spellings.note(&address("im:Juliet@sip.example"));
        assert_eq!(found(&spellings, "im:juliet@sip.example").as_deref(), Some("Juliet"));
        assert_eq!(found(&spellings, "im:JULIET@sip.example").as_deref(), Some("Juliet"));
        assert_eq!(found(&spellings, "im:juliet@pbx.example"), None);
        spellings.note(&address("im:jULIET@sip.example"));
        assert_eq!(found(&spellings, "im:juliet@sip.example").as_deref(), Some("jULIET"));
        spellings.note(&address("im:juliet@sip.example"));
        assert_eq!(found(&spellings, "im:juliet@sip.example"), None);
        assert!(spellings.by_folded.is_empty());
        spellings.note(&address("im:%CE%91%CE%A3@sip.example"));
        assert_eq!(found(&spellings, "im:%CE%B1%CF%83@sip.example").as_deref(), Some("\u{391}\u{3a3}"));
        assert_eq!(found(&spellings, "im:%CE%B1%CF%82@sip.example"), None, "a final sigma is another letter");
    }

    #[test]
    fn so_many_are_kept_and_no_more() {
        let mut spellings = Spellings::new(&Minter::new([1; 16]));
        let name = |n: usize| format!("im:User{n}@sip.example");
        for n in 0..MAX_SPELLINGS {
            spellings.note(&address(&name(n)));
        }
        assert!(found(&spellings, "im:user0@sip.example").is_some());
        spellings.note(&address(&name(MAX_SPELLINGS)));
        assert_eq!(found(&spellings, "im:user0@sip.example"), None, "the one learned first");
        assert!(found(&spellings, "im:user1@sip.example").is_some());
        for n in 0..3 * MAX_SPELLINGS {
            spellings.note(&address(&name(n)));
            if n % 3 == 0 {
                spellings.note(&address(&name(n).to_lowercase()));
            }
        }
        assert!(spellings.rows.len() <= MAX_SPELLINGS && spellings.by_folded.len() <= MAX_SPELLINGS);
        let rows = spellings.rows.iter().flatten().count();
        assert_eq!(rows, spellings.by_folded.len(), "nothing is left behind");
    }
}
