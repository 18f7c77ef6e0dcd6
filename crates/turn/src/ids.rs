//! Identifiers that nobody can guess: one keyed hash of a counter.

use siphasher::sip128::{Hasher128, SipHasher13};
use std::hash::Hasher;

/// Sixteen bytes of randomness, given at construction, so that a run can be repeated.
pub type Seed = [u8; 16];

/// Octets that are gathered to be hashed at once: those of two addresses, and more.
const GATHERED: usize = 256;

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
        let mut gathered = [0; GATHERED];
        // Nearly always all of it is short, and one run is cheaper than many.
        if let Some(length) = gather(parts, &mut gathered) {
            return hasher.hash(&gathered[..length]).as_u128();
        }
        hasher.write_u8(1);
        for part in parts {
            hasher.write(&length_of(part));
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

/// What a machine takes its identifiers from.
#[derive(Clone, Debug)]
pub struct Minters {
    /// New at each start: what it mints has not been given before, in this run or in any other.
    pub fresh: Minter,
    /// The same at each start, where anything outlives one; else as good as `fresh`. Only its keyed hashes are used: what it
    /// mints would begin anew with the next run.
    pub lasting: Minter,
}

impl Minters {
    /// Minters of a machine that is the same after its next start. `seed` is not.
    pub fn new(seed: Seed, lasting: Seed) -> Self {
        Self { fresh: Minter::new(seed), lasting: Minter::new(lasting) }
    }

    /// Minters of a machine that leaves nothing behind.
    pub fn of_one_run(minter: Minter) -> Self {
        Self { lasting: minter.clone(), fresh: minter }
    }

    /// Minters for another machine, derived from these.
    pub fn derive(&self, purpose: &str) -> Minters {
        Minters { fresh: self.fresh.derive(purpose), lasting: self.lasting.derive(purpose) }
    }
}

/// Writes what is hashed of `parts`, as far as it has room.
fn gather(parts: &[&[u8]], out: &mut [u8; GATHERED]) -> Option<usize> {
    out[0] = 1;
    let mut end = 1;
    for part in parts {
        let (length, octets) = out.get_mut(end..)?.split_first_chunk_mut()?;
        *length = length_of(part);
        octets.get_mut(..part.len())?.copy_from_slice(part);
        end += length.len() + part.len();
    }
    Some(end)
}

/// Nothing that is hashed comes near four gigabytes.
fn length_of(part: &[u8]) -> [u8; 4] {
    (part.len() as u32).to_le_bytes()
}

const ALPHABET: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";

/// The lowest `DIGITS` × 5 bits of `value` in lower-case base 32; 26 digits hold all 128 bits. The alphabet is legal in every
/// identifier of SIP and XMPP and survives case folding.
pub fn base32<const DIGITS: usize>(value: u128) -> [u8; DIGITS] {
    let mut text = [0; DIGITS];
    // Twelve digits fit into a word, and words are cheaper to shift than 128 bits.
    let words = [value as u64, (value >> 60) as u64, (value >> 120) as u64];
    for (digits, mut word) in text.chunks_mut(12).zip(words) {
        for digit in digits {
            *digit = ALPHABET[(word & 31) as usize];
            word >>= 5;
        }
    }
    text
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
    fn long_parts_are_hashed_like_short_ones() {
        let minter = Minter::new([3; 16]);
        let long = [7; 1000];
        for length in 0..long.len() {
            let parts: [&[u8]; 3] = [b"ab", &long[..length], b"c"];
            let mut hasher = SipHasher13::new_with_key(&[3; 16]);
            hasher.write_u8(1);
            for part in parts {
                hasher.write_u32(part.len() as u32);
                hasher.write(part);
            }
            assert_eq!(minter.keyed(&parts), hasher.finish128().as_u128(), "{length} octets");
        }
    }

    #[test]
    fn base32_of_128_bits_takes_26_digits() {
        assert_eq!(&base32::<26>(u128::MAX), b"7777777777777777777777777h");
        for shift in 0..128 {
            let expected: [u8; 26] =
                std::array::from_fn(|digit| if digit == shift / 5 { ALPHABET[1 << (shift % 5)] } else { b'a' });
            assert_eq!(base32(1 << shift), expected, "bit {shift}");
            assert_eq!(base32::<8>(1 << shift), expected[..8], "bit {shift}");
        }
    }
}
