//! Which transaction a message belongs to: RFC 3261 17.2.3 for requests, 17.1.3 for responses.
//!
//! Stricter than 17.2.3 in two points, because some clients use the same branches again after every start: a request
//! belongs to a transaction only if it came from the same address, or over the same stream, and is the same, byte for byte,
//! below its top Via. Otherwise it begins a transaction of its own beside the other. The port may change on the way, as a
//! NAT changes it: the answer follows (RFC 3581).

use super::{Flow, Transport};
use crate::wire::{Essentials, Request, Via};
use slotmap::Key;
use smallvec::SmallVec;
use std::hash::{BuildHasher, Hash, Hasher};
use std::net::IpAddr;
use std::ops::Range;
use turn::Minters;
use xxhash_rust::xxh3::xxh3_64_with_secret;

/// What branches begin with that are unique by RFC 3261 (8.1.1.7).
const COOKIE: &[u8] = b"z9hG4bK";
/// Base 32 digits of the 128 bits of our branches.
pub(crate) const BRANCH_DIGITS: usize = 26;
/// Octets of a secret of XXH3, at least 136; the more, the more of it is used.
const SECRET: usize = 192;
/// Base 32 digits of a tag: 65 bits' room for 64 bits.
const TAG_DIGITS: usize = 13;

/// Who a request is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Identity {
    /// Hash of source address or stream, branch and sent-by. CANCEL has the key of the request it cancels.
    pub(crate) key: u128,
    /// Hash of the request without its top Via, the method included.
    pub(crate) request_hash: u64,
}

impl Identity {
    /// Both in one, equal only for retransmissions of one request.
    pub(crate) fn hash(self) -> u128 {
        let spread = u128::from(self.request_hash) << 64 | u128::from(self.request_hash.rotate_left(29));
        self.key ^ spread
    }

    /// The tag that responses add to To: the same in all of them (8.2.6.2), and in the answer to a CANCEL (9.2). The table
    /// of finished transactions uses the other half of the key for its places, so tags tell nothing about those.
    pub(crate) fn to_tag(key: u128) -> u64 {
        (key >> 64) as u64
    }
}

/// Makes keys: those of requests over UDP are the same after the next start, for whoever repeats one then.
#[derive(Debug)]
pub(crate) struct Keys {
    minters: Minters,
    /// For what stands in tables of this run only.
    hasher: ahash::RandomState,
    /// Secret of the hash of whole requests. That hash, XXH3, is the same in every build and on every machine.
    secret: [u8; SECRET],
    /// Tells the streams of this run from those of others, which have the same numbers.
    run: [u8; 8],
}

impl Keys {
    pub(crate) fn new(mut minters: Minters, hasher: ahash::RandomState) -> Self {
        let run = (minters.fresh.mint() as u64).to_le_bytes();
        let mut secret = [0; SECRET];
        for (place, part) in secret.chunks_exact_mut(16).enumerate() {
            part.copy_from_slice(&minters.lasting.keyed(&[b"request", &[place as u8]]).to_le_bytes());
        }
        Self { minters, hasher, secret, run }
    }

    /// The identity of a request.
    pub(crate) fn identity(&self, flow: &Flow, request: &Request<'_>, of: &Essentials<'_>) -> Identity {
        let key = match of.via.branch {
            Some(branch) if of.via.has_cookie() => self.key(flow, &of.via, &[branch]),
            _ => self.key_of_rfc_2543(flow, request, of, of.to.tag.unwrap_or_default()),
        };
        let via = span_in(request.bytes, of.via.raw).unwrap_or(0..0);
        let [above, below] = [request.bytes.get(..via.start), request.bytes.get(via.end..)]
            .map(|part| xxh3_64_with_secret(part.unwrap_or_default(), &self.secret));
        Identity { key, request_hash: above.rotate_left(32) ^ below }
    }

    /// The keys that the INVITE of an ACK can have: an INVITE of RFC 2543 had no To tag where ours stands in the ACK.
    pub(crate) fn keys_of_ack(&self, flow: &Flow, ack: &Request<'_>, of: &Essentials<'_>) -> [Option<u128>; 2] {
        match (of.via.branch, of.to.tag) {
            (Some(branch), _) if of.via.has_cookie() => [Some(self.key(flow, &of.via, &[branch])), None],
            (_, None) => [Some(self.key_of_rfc_2543(flow, ack, of, b"")), None],
            (_, Some(tag)) => {
                let without = self.key_of_rfc_2543(flow, ack, of, b"");
                let ours = turn::base32::<TAG_DIGITS>(Identity::to_tag(without).into());
                let answered = ours.eq_ignore_ascii_case(tag).then_some(without);
                [answered, Some(self.key_of_rfc_2543(flow, ack, of, tag))]
            }
        }
    }

    /// For branches without the cookie: all that 17.2.3 names; the method of the CSeq is left out as it is from the branch.
    fn key_of_rfc_2543(&self, flow: &Flow, request: &Request<'_>, of: &Essentials<'_>, to_tag: &[u8]) -> u128 {
        let number = of.cseq.number.to_le_bytes();
        let from_tag = of.from.tag.unwrap_or_default();
        self.key(flow, &of.via, &[request.uri, to_tag, from_tag, of.call_id, &number, of.via.raw])
    }

    /// The key for answering a request of which only the top Via could be read.
    pub(crate) fn key_of_refused(&self, flow: &Flow, via: &Via<'_>) -> u128 {
        self.key(flow, via, &[via.branch.unwrap_or(via.raw)])
    }

    fn key(&self, flow: &Flow, via: &Via<'_>, rest: &[&[u8]]) -> u128 {
        let mut source = [0; 17];
        match (flow.transport, flow.stream) {
            (Transport::Tcp, Some(stream)) => {
                source[..8].copy_from_slice(&stream.data().as_ffi().to_le_bytes());
                source[8..16].copy_from_slice(&self.run);
            }
            _ => {
                let address = match flow.peer.ip() {
                    IpAddr::V4(v4) => v4.to_ipv6_mapped(),
                    IpAddr::V6(v6) => v6,
                };
                source[..16].copy_from_slice(&address.octets());
                source[16] = 1;
            }
        }
        let host: SmallVec<[u8; 64]> = via.host.iter().map(u8::to_ascii_lowercase).collect();
        let port = via.port.unwrap_or(5060).to_le_bytes();
        let mut parts: SmallVec<[&[u8]; 9]> = SmallVec::from_slice(&[&source[..], &host[..], &port[..]]);
        parts.extend_from_slice(rest);
        self.minters.lasting.keyed(&parts)
    }

    /// What merged requests have in common (8.2.2.2): From tag, Call-ID and CSeq, and the addresses of From and To, because
    /// some clients draw the same tags and Call-IDs after every start, whoever uses them. `None` for a request with a To tag,
    /// to which the rule does not apply.
    pub(crate) fn merge_hash(&self, of: &Essentials<'_>) -> Option<u64> {
        if of.to.tag.is_some() {
            return None;
        }
        let mut hasher = self.hasher.build_hasher();
        of.from.tag.unwrap_or_default().hash(&mut hasher);
        of.call_id.hash(&mut hasher);
        of.cseq.number.hash(&mut hasher);
        of.cseq.method.as_bytes().hash(&mut hasher);
        of.from.uri.raw.hash(&mut hasher);
        of.to.uri.raw.hash(&mut hasher);
        Some(hasher.finish())
    }

    /// A new branch or tag.
    pub(crate) fn mint(&mut self) -> u128 {
        self.minters.fresh.mint()
    }
}

fn has_cookie(branch: &[u8]) -> bool {
    branch.get(..COOKIE.len()).is_some_and(|start| start.eq_ignore_ascii_case(COOKIE))
}

/// Reads a branch that we wrote: the cookie and 128 bits in base 32, in any case.
pub(crate) fn read_branch(branch: &[u8]) -> Option<u128> {
    if !has_cookie(branch) {
        return None;
    }
    let digits = branch.get(COOKIE.len()..).filter(|digits| digits.len() == BRANCH_DIGITS)?;
    digits.iter().rev().try_fold(0u128, |value, digit| {
        let digit = match digit {
            b'a'..=b'z' => digit - b'a',
            b'A'..=b'Z' => digit - b'A',
            b'2'..=b'7' => digit - b'2' + 26,
            _ => return None,
        };
        (value >> 123 == 0).then_some(value << 5 | u128::from(digit))
    })
}

/// Appends a tag.
pub(crate) fn write_tag(tag: u64, out: &mut Vec<u8>) {
    out.extend_from_slice(&turn::base32::<TAG_DIGITS>(u128::from(tag)));
}

/// Where `inner`, a slice of `outer`, lies in it.
pub(crate) fn span_in(outer: &[u8], inner: &[u8]) -> Option<Range<usize>> {
    let start = (inner.as_ptr() as usize).checked_sub(outer.as_ptr() as usize)?;
    let end = start.checked_add(inner.len())?;
    (end <= outer.len()).then_some(start..end)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_branch_is_read_as_it_was_written(branch: u128, upper: bool) {
            let mut text = COOKIE.to_vec();
            text.extend_from_slice(&turn::base32::<BRANCH_DIGITS>(branch));
            if upper {
                text.make_ascii_uppercase();
            }
            prop_assert_eq!(read_branch(&text), Some(branch));
        }

        #[test]
        fn any_other_text_is_no_branch_or_one_of_128_bits(text: Vec<u8>) {
            let mut branch = COOKIE.to_vec();
            branch.extend_from_slice(&text);
            if let Some(value) = read_branch(&branch) {
                let mut again = COOKIE.to_vec();
                again.extend_from_slice(&turn::base32::<BRANCH_DIGITS>(value));
                prop_assert!(again.eq_ignore_ascii_case(&branch));
            }
        }
    }

    #[test]
    fn more_than_128_bits_are_no_branch() {
        assert_eq!(read_branch(b"z9hG4bK77777777777777777777777777"), None);
        assert_eq!(read_branch(b"z9hG4bK7777777777777777777777777h"), Some(u128::MAX));
        assert_eq!(read_branch(b"z9hG4bKaaaaa"), None);
        assert_eq!(read_branch(b""), None);
    }

    #[test]
    fn spans() {
        let outer = b"abcdef";
        assert_eq!(span_in(outer, &outer[2..4]), Some(2..4));
        assert_eq!(span_in(outer, &outer[6..]), Some(6..6));
        assert_eq!(span_in(&outer[..3], &outer[2..4]), None);
        assert_eq!(span_in(&outer[3..], &outer[2..4]), None);
    }
}
