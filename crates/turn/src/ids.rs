//! Identifiers that nobody can guess: one keyed hash of a counter.

use siphasher::sip128::{Hasher128, SipHasher13};
use std::hash::Hasher;

/// Sixteen bytes of randomness, given at construction, so that a run can be repeated.
pub type Seed = [u8; 16];

/// Makes branches, tags, Call-IDs, stanza ids and keyed marks.
#[derive(Clone, Debug)]
pub struct Minter {
    key: Seed,
    counter: u64,
}

impl Minter {
    /// A minter that repeats itself for the same seed.
    pub fn new(seed: Seed) -> Self {
        Self { key: seed, counter: 0 }
    }

    /// The next identifier: 128 bits that have not been given before and cannot be predicted without the seed.
    pub fn mint(&mut self) -> u128 {
        self.counter += 1;
        let mut hasher = SipHasher13::new_with_key(&self.key);
        hasher.write_u64(self.counter);
        hasher.finish128().as_u128()
    }

    /// A keyed hash of `parts`, each with its length, so that moving an octet from one to the next changes it. The same
    /// parts give the same value.
    pub fn keyed(&self, parts: &[&[u8]]) -> u128 {
        let mut hasher = SipHasher13::new_with_key(&self.key);
        hasher.write_u8(1);
        for part in parts {
            hasher.write_usize(part.len());
            hasher.write(part);
        }
        hasher.finish128().as_u128()
    }

    /// A minter of its own for another machine, derived from this one.
    pub fn derive(&self, purpose: &str) -> Minter {
        Minter::new(self.keyed(&[b"derive", purpose.as_bytes()]).to_le_bytes())
    }

    /// A seed for a keyed hash table.
    pub fn table_seed(&self, purpose: &str) -> Seed {
        self.keyed(&[b"table", purpose.as_bytes()]).to_le_bytes()
    }
}

/// What 128 bits take.
const DIGITS: usize = 26;
const ALPHABET: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";

/// Appends the lowest `digits` × 5 bits of `value` in lower-case base 32; 26 digits hold all 128 bits. The alphabet is
/// legal in every identifier of SIP and XMPP and survives case folding.
pub fn write_base32(value: u128, digits: usize, out: &mut impl Extend<u8>) {
    let mut text = [0; DIGITS];
    // Twelve digits fit into a word, and words are cheaper to shift than 128 bits.
    let words = [value as u64, (value >> 60) as u64, (value >> 120) as u64];
    for (chunk, mut word) in text.chunks_mut(12).zip(words) {
        for digit in chunk {
            *digit = ALPHABET[(word & 31) as usize];
            word >>= 5;
        }
    }
    out.extend(text.into_iter().take(digits));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_seeds_repeat_and_others_differ() {
        let mut a = Minter::new([1; 16]);
        let mut b = Minter::new([1; 16]);
        let mut c = Minter::new([2; 16]);
        let first = a.mint();
        assert_eq!(first, b.mint());
        assert_ne!(first, c.mint());
        assert_ne!(first, a.mint());
        assert_ne!(a.keyed(&[b"ab", b"c"]), a.keyed(&[b"a", b"bc"]));
    }

    #[test]
    fn base32_of_128_bits_takes_26_digits() {
        let mut out = Vec::new();
        write_base32(u128::MAX, 26, &mut out);
        assert_eq!(out, b"7777777777777777777777777h");
        for shift in 0..128 {
            out.clear();
            write_base32(1 << shift, 26, &mut out);
            let expected: Vec<u8> =
                (0..26).map(|digit| if digit == shift / 5 { ALPHABET[1 << (shift % 5)] } else { b'a' }).collect();
            assert_eq!(out, expected, "bit {shift}");
        }
    }
}
