//! Our mark in the identifiers that we emit, by which a message that comes back is known.
//!
//! Stanza ids, origin-ids and Call-IDs that leave us begin with a mark: a unique part, a pass count, a keyed tag over these
//! two, and a keyed tag over these and the addresses. A request that re-enters with our valid tag and the same addresses is
//! in a loop; with other addresses (an alias, a list) it has passed us once more, which is allowed a few times
//! (RFC 3860 section 3.4.2, and the spirit of RFC 5393 across the two worlds). Bodies are never compared: people repeat
//! "ok".
//!
//! The second tag also proves that a bounce speaks of a message which we sent from this address to that one, long after
//! everything else about it is forgotten.

use crate::{ImUri, TransId, fold_case};
use smallvec::SmallVec;
use turn::{Minter, base32};

const UNIQUE: usize = 16;
const TAG: usize = 8;
const LENGTH: usize = UNIQUE + 1 + TAG + TAG;
/// A message may pass us so many times with changed addresses.
pub(crate) const MAX_PASSES: u8 = 4;

/// The text of a mark: 33 characters of lower-case letters and digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Mark([u8; LENGTH]);

impl Mark {
    /// Octets of a mark.
    pub const LENGTH: usize = LENGTH;

    /// Whether a text begins with what may be a mark. Only [`Marker::provenance`] knows whether it is one of ours.
    pub fn begins(text: &str) -> bool {
        text.as_bytes()
            .get(..LENGTH)
            .is_some_and(|found| found.iter().all(|byte| matches!(byte, b'a'..=b'z' | b'2'..=b'7')))
    }

    /// The mark that is spelled like this, and nothing else.
    pub fn parse(text: &str) -> Option<Self> {
        let mark = text.as_bytes().try_into().ok()?;
        Self::begins(text).then_some(Self(mark))
    }

    /// The text.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).unwrap_or_default()
    }
}

impl std::fmt::Debug for Mark {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What an identifier says about where its message has been.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Provenance {
    /// It does not bear our mark.
    Foreign,
    /// It bears our mark, of this pass.
    Ours {
        /// How often it had passed us when we marked it, from 1.
        pass: u8,
        /// Whether it was marked with these very addresses.
        same_addresses: bool,
    },
}

/// Makes marks and knows them again.
#[derive(Clone, Debug)]
pub struct Marker {
    minter: Minter,
}

impl Marker {
    /// A marker with a key of its own.
    pub fn new(minter: Minter) -> Self {
        Self { minter }
    }

    /// The mark for a message that passes for the `pass`-th time. The unique part follows from the TransID alone, so a
    /// message that is sent again bears the same mark.
    pub fn mark(&self, trans_id: &TransId, pass: u8, source: &ImUri<'_>, destination: &ImUri<'_>) -> Mark {
        let mut mark = [0; LENGTH];
        let (own, tags) = mark.split_at_mut(UNIQUE + 1);
        own[..UNIQUE].copy_from_slice(&base32::<UNIQUE>(self.minter.keyed(&[b"unique", &trans_id.0])));
        own[UNIQUE] = b'a' + pass.min(25);
        let (tag, addresses) = self.tags(own, source, destination);
        tags[..TAG].copy_from_slice(&tag);
        tags[TAG..].copy_from_slice(&addresses);
        Mark(mark)
    }

    /// The tag over what stands in front of the tags, and the one over that and the addresses.
    fn tags(&self, own: &[u8], source: &ImUri<'_>, destination: &ImUri<'_>) -> ([u8; TAG], [u8; TAG]) {
        let mut folded = SmallVec::<[u8; 192]>::new();
        for part in [source.local(), source.domain(), destination.local(), destination.domain()] {
            if part.is_ascii() {
                let start = folded.len();
                folded.extend_from_slice(part.as_bytes());
                folded[start..].make_ascii_lowercase();
            } else {
                folded.extend_from_slice(fold_case(part).as_bytes());
            }
            folded.push(0);
        }
        let tag = self.minter.keyed(&[b"tag", own]);
        let addresses = self.minter.keyed(&[b"addresses", own, &folded]);
        (base32(tag), base32(addresses))
    }

    /// Reads an identifier that came in. What follows the mark (an `@host` in a Call-ID) does not matter.
    pub fn provenance(&self, wire_id: &[u8], source: &ImUri<'_>, destination: &ImUri<'_>) -> Provenance {
        let Some(found) = wire_id.get(..LENGTH) else { return Provenance::Foreign };
        let pass = found[UNIQUE].wrapping_sub(b'a');
        if pass == 0 || pass > 25 {
            return Provenance::Foreign;
        }
        let (own, tags) = found.split_at(UNIQUE + 1);
        let (tag, addresses) = self.tags(own, source, destination);
        if tags[..TAG] != tag {
            return Provenance::Foreign;
        }
        Provenance::Ours { pass, same_addresses: tags[TAG..] == addresses }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn uri(text: &str) -> ImUri<'_> {
        ImUri::parse(text).unwrap()
    }

    #[test]
    fn a_mark_is_known_again_and_no_other() {
        let marker = Marker::new(Minter::new([1; 16]));
        let other = Marker::new(Minter::new([2; 16]));
        let (juliet, romeo, nurse) =
            (uri("im:Juliet@sip.example"), uri("im:romeo@xmpp.example"), uri("im:nurse@a.example"));
        let mark = marker.mark(&TransId::new(b"t1"), 1, &juliet, &romeo);
        assert_eq!(mark.as_str().len(), 33);
        assert_eq!(mark, marker.mark(&TransId::new(b"t1"), 1, &juliet, &romeo));
        let mut call_id = mark.as_bytes().to_vec();
        call_id.extend_from_slice(b"@gw.example");
        let folded = uri("im:juliet@sip.example");
        assert_eq!(marker.provenance(&call_id, &folded, &romeo), Provenance::Ours { pass: 1, same_addresses: true });
        assert_eq!(marker.provenance(&call_id, &juliet, &nurse), Provenance::Ours { pass: 1, same_addresses: false });
        let (upper, lower) = (uri("im:%C3%89lodie@sip.example"), uri("im:%C3%A9lodie@sip.example"));
        let accented = marker.mark(&TransId::new(b"t1"), 1, &upper, &romeo);
        let known = marker.provenance(accented.as_bytes(), &lower, &romeo);
        assert_eq!(known, Provenance::Ours { pass: 1, same_addresses: true }, "as the JID comes back");
        let with_thread = format!("{}.thread@gw.example", mark.as_str()).into_bytes();
        let again = Provenance::Ours { pass: 1, same_addresses: true };
        assert_eq!(marker.provenance(&with_thread, &juliet, &romeo), again, "what follows does not matter");
        assert_eq!(other.provenance(&call_id, &juliet, &romeo), Provenance::Foreign);
        assert_eq!(marker.provenance(b"short", &juliet, &romeo), Provenance::Foreign);
        for place in 0..25 {
            let mut forged = call_id.clone();
            forged[place] = if forged[place] == b'a' { b'b' } else { b'a' };
            assert_eq!(marker.provenance(&forged, &juliet, &romeo), Provenance::Foreign, "octet {place}");
        }
    }
}
