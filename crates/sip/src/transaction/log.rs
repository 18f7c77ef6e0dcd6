//! What is written of finished server transactions, so that their answers outlive the process.
//!
//! A log is records one behind the other. Numbers are little-endian.
//!
//! | octets | what |
//! |---:|---|
//! | 2 | length of the rest |
//! | 16 | key |
//! | 8 | hash of the request |
//! | 8 | Timer J: milliseconds since 1970, UTC |
//! | 2 | status |
//! | 1 | shape |
//! | 4 | Retry-After |
//! | the rest | text |
//!
//! Records have no checksum: one that was not written as it stands is malformed by its length, its status or the lengths in
//! its text, and what passes all the same has a key that no request has.

use super::answer;
use super::finished::Kept;

/// Octets of a record without its text and its length.
const FIXED: usize = 16 + 8 + 8 + 2 + 1 + 4;
/// A longer text is not written.
const LONGEST_TEXT: usize = u16::MAX as usize - FIXED;

/// One finished transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Record<'a> {
    pub(crate) key: u128,
    pub(crate) request_hash: u64,
    /// Milliseconds since 1970.
    pub(crate) expires: u64,
    pub(crate) kept: Kept<'a>,
}

/// What stands in a log instead of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Malformed;

/// Appends a record. `None` where its text is longer than [`LONGEST_TEXT`]; nothing is written then.
pub(crate) fn write(record: &Record<'_>, out: &mut Vec<u8>) -> Option<()> {
    let Record { key, request_hash, expires, kept } = record;
    if kept.text.len() > LONGEST_TEXT {
        return None;
    }
    out.extend_from_slice(&((FIXED + kept.text.len()) as u16).to_le_bytes());
    out.extend_from_slice(&key.to_le_bytes());
    out.extend_from_slice(&request_hash.to_le_bytes());
    out.extend_from_slice(&expires.to_le_bytes());
    out.extend_from_slice(&kept.status.to_le_bytes());
    out.push(kept.shape);
    out.extend_from_slice(&kept.retry_after.to_le_bytes());
    out.extend_from_slice(kept.text);
    Some(())
}

/// The records of a log. Behind one that is malformed the next one is looked for where it says that it ends; what is not
/// whole at the end is one malformed record.
pub(crate) fn read(mut log: &[u8]) -> impl Iterator<Item = Result<Record<'_>, Malformed>> {
    std::iter::from_fn(move || {
        if log.is_empty() {
            return None;
        }
        let length = log.split_first_chunk().map(|(length, rest)| (usize::from(u16::from_le_bytes(*length)), rest));
        let Some((record, rest)) = length.and_then(|(length, rest)| rest.split_at_checked(length)) else {
            log = b"";
            return Some(Err(Malformed));
        };
        log = rest;
        Some(parse(record).ok_or(Malformed))
    })
}

fn parse(mut octets: &[u8]) -> Option<Record<'_>> {
    fn take<'a, const N: usize>(octets: &mut &'a [u8]) -> Option<&'a [u8; N]> {
        let (taken, rest) = octets.split_first_chunk()?;
        *octets = rest;
        Some(taken)
    }
    let octets = &mut octets;
    let key = u128::from_le_bytes(*take(octets)?);
    let request_hash = u64::from_le_bytes(*take(octets)?);
    let expires = u64::from_le_bytes(*take(octets)?);
    let status = u16::from_le_bytes(*take(octets)?);
    let [shape] = *take(octets)?;
    let retry_after = u32::from_le_bytes(*take(octets)?);
    let kept = Kept { status, shape, retry_after, text: octets };
    answer::is_whole(&kept).then_some(Record { key, request_hash, expires, kept })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::transaction::answer::{Answer, Extra, keep};
    use proptest::prelude::*;

    fn record(n: u8, text: &[u8]) -> Record<'_> {
        let kept = Kept { status: 480, shape: 0, retry_after: 7, text };
        Record { key: u128::from(n) << 100, request_hash: 3, expires: 1_795_201_200_000, kept }
    }

    fn written(records: &[Record<'_>]) -> Vec<u8> {
        let mut log = Vec::new();
        records.iter().for_each(|record| write(record, &mut log).unwrap());
        log
    }

    #[test]
    fn records_are_read_as_they_were_written() {
        let mut text = Vec::new();
        let answer = Answer {
            reason: Some("Gone with the wind"),
            warning: Some("delivery \"unknown\""),
            retry_after: Some(9),
            extra: Extra::ALLOW,
            more: b"Contact: <sip:a@b>\r\n",
            ..Answer::new(410)
        };
        let kept = keep(&answer, &mut text);
        let records = [record(1, b""), Record { kept, ..record(2, b"") }, record(3, b"\x02\0\0\0ok")];
        let log = written(&records);
        assert_eq!(log.len(), 3 * (2 + FIXED) + kept.text.len() + 6);
        assert_eq!(read(&log).collect::<Vec<_>>(), records.map(Ok));
    }

    #[test]
    fn a_text_that_is_too_long_is_not_written() {
        let mut text = vec![0; LONGEST_TEXT + 1];
        let mut log = Vec::new();
        assert_eq!((write(&record(1, &text), &mut log), log.len()), (None, 0));
        text.pop();
        assert_eq!(write(&record(1, &text), &mut log), Some(()));
        assert_eq!(read(&log).collect::<Vec<_>>(), [Ok(record(1, &text))]);
    }

    #[test]
    fn what_was_torn_off_is_one_malformed_record() {
        let records = [record(1, b""), record(2, b"\x02\0\0\0ok")];
        let log = written(&records);
        let first = written(&records[..1]).len();
        for end in first + 1..log.len() {
            assert_eq!(read(&log[..end]).collect::<Vec<_>>(), [Ok(records[0]), Err(Malformed)], "{end} octets");
        }
    }

    #[test]
    fn what_cannot_have_been_an_answer_is_passed_over() {
        let good = record(1, b"");
        let kept = |status, shape, text| Record { kept: Kept { status, shape, retry_after: 0, text }, ..good };
        for (bad, why) in [
            (kept(199, 0, b"".as_slice()), "a provisional"),
            (kept(700, 0, b""), "no status"),
            (kept(200, 0, b"\x03\0"), "a text without lengths"),
            (kept(200, 0, b"\x03\0\x01\0ok"), "lengths beyond the text"),
            (kept(200, 1 << 6, b""), "a response that was passed on, without one"),
        ] {
            let log = written(&[bad, good]);
            assert_eq!(read(&log).collect::<Vec<_>>(), [Err(Malformed), Ok(good)], "{why}");
        }
        let mut short = written(&[good]);
        short[0] -= 1;
        short.pop();
        assert_eq!(read(&short).collect::<Vec<_>>(), [Err(Malformed)]);
    }

    proptest! {
        #[test]
        fn any_octets_are_read_to_their_end(log: Vec<u8>) {
            prop_assert!(read(&log).count() <= log.len().div_ceil(2));
        }

        #[test]
        fn whatever_is_read_can_be_printed(mut log: Vec<u8>, at: prop::sample::Index) {
            let mut whole = written(&[record(1, b"\x02\0\0\0ok"), record(2, b"\x01\0\x01\0rw")]);
            let place = at.index(whole.len());
            log.truncate(whole.len() - place);
            whole[place..place + log.len()].copy_from_slice(&log);
            for Record { kept, .. } in read(&whole).flatten() {
                let mut out = Vec::new();
                answer::print(&kept, &crate::transaction::open::Memo::default(), &answer::Phrases::default(), &mut out);
                prop_assert!(out.starts_with(b"SIP/2.0 "));
            }
        }
    }
}
