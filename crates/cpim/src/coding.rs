//! Codings of a body as a whole (`Content-Encoding`, RFC 3261 section 20.12 and RFC 9110 section 8.4.1), undone within a
//! bound.

use flate2::bufread::MultiGzDecoder;
use flate2::{Decompress, FlushDecompress, Status};
use std::borrow::Cow;
use std::io::Read as _;

/// What [`decode`] undoes, as the value of an Accept-Encoding.
pub const CODINGS: &str = "deflate, gzip, identity";

/// How many times longer than the longest message a decoded body may be. Text shrinks to a third or so; what shrinks to
/// less than a quarter repeats itself, or is a bomb.
pub const GROWTH: usize = 4;

/// Codings may stand one on the other; beyond these nobody means it well.
const MOST_CODINGS: usize = 2;

/// Why a body could not be decoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CodingError {
    /// A coding that is not known.
    #[error("the Content-Encoding is not supported")]
    Unknown,
    /// What came out was longer than the limit.
    #[error("the decoded body is too long")]
    TooLong,
    /// The body is not what its coding says: cut off, damaged, or with something behind its end.
    #[error("the body cannot be decoded as its Content-Encoding says")]
    Broken,
}

/// Undoes the codings in the list `codings`, the last one first. No more than `limit` octets (and a little working room)
/// are ever held, whatever the body claims.
pub fn decode<'a>(body: &'a [u8], codings: &[u8], limit: usize) -> Result<Cow<'a, [u8]>, CodingError> {
    let mut decoded = Cow::Borrowed(body);
    let mut steps = 0;
    for coding in codings.rsplit(|&octet| octet == b',').map(<[u8]>::trim_ascii) {
        let named = |names: &[&str]| names.iter().any(|name| coding.eq_ignore_ascii_case(name.as_bytes()));
        if coding.is_empty() || named(&["identity"]) {
            continue;
        }
        steps += 1;
        if steps > MOST_CODINGS {
            return Err(CodingError::Unknown);
        }
        decoded = Cow::Owned(if named(&["deflate"]) {
            deflate(&decoded, limit)?
        } else if named(&["gzip", "x-gzip"]) {
            gzip(&decoded, limit)?
        } else {
            return Err(CodingError::Unknown);
        });
    }
    Ok(decoded)
}

/// "deflate" is a zlib stream (RFC 1950); some send the bare deflate stream in it (RFC 1951).
fn deflate(body: &[u8], limit: usize) -> Result<Vec<u8>, CodingError> {
    let is_zlib = matches!(body, [first, second, ..]
        if first & 0x0f == 8 && u16::from_be_bytes([*first, *second]).is_multiple_of(31));
    if is_zlib {
        match inflate(body, true, limit) {
            Err(CodingError::Broken) => {}
            known => return known,
        }
    }
    inflate(body, false, limit)
}

fn inflate(body: &[u8], zlib: bool, limit: usize) -> Result<Vec<u8>, CodingError> {
    let mut machine = Decompress::new(zlib);
    let mut decoded = Vec::with_capacity(body.len().saturating_mul(2).min(limit).max(64));
    loop {
        let (taken, given) = (machine.total_in() as usize, machine.total_out() as usize);
        let rest = body.get(taken..).unwrap_or_default();
        let status =
            machine.decompress_vec(rest, &mut decoded, FlushDecompress::None).map_err(|_| CodingError::Broken)?;
        if decoded.len() > limit {
            return Err(CodingError::TooLong);
        }
        if status == Status::StreamEnd {
            let all = machine.total_in() as usize == body.len();
            return if all { Ok(decoded) } else { Err(CodingError::Broken) };
        }
        if decoded.len() == decoded.capacity() {
            decoded.reserve(decoded.len().min(limit.saturating_sub(decoded.len()) + 1));
        } else if (machine.total_in() as usize, machine.total_out() as usize) == (taken, given) {
            // There was room, and it wants more of a body that has no more.
            return Err(CodingError::Broken);
        }
    }
}

fn gzip(body: &[u8], limit: usize) -> Result<Vec<u8>, CodingError> {
    let mut decoded = Vec::new();
    let most = limit as u64 + 1;
    MultiGzDecoder::new(body).take(most).read_to_end(&mut decoded).map_err(|_| CodingError::Broken)?;
    if decoded.len() > limit { Err(CodingError::TooLong) } else { Ok(decoded) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use flate2::Compression;
    use flate2::write::{DeflateEncoder, GzEncoder, ZlibEncoder};
    use proptest::prelude::*;
    use std::io::Write as _;

    const LIMIT: usize = 1000;

    fn coded(body: &[u8], coding: &str) -> Vec<u8> {
        let level = Compression::best();
        let all = "all is taken";
        match coding {
            "raw" => {
                let mut encoder = DeflateEncoder::new(Vec::new(), level);
                encoder.write_all(body).expect(all);
                encoder.finish().expect(all)
            }
            "deflate" => {
                let mut encoder = ZlibEncoder::new(Vec::new(), level);
                encoder.write_all(body).expect(all);
                encoder.finish().expect(all)
            }
            _ => {
                let mut encoder = GzEncoder::new(Vec::new(), level);
                encoder.write_all(body).expect(all);
                encoder.finish().expect(all)
            }
        }
    }

    /// The body, coded in this way, under this name.
    const WAYS: [(&str, &str); 4] =
        [("raw", "deflate"), ("deflate", "Deflate"), ("gzip", " gzip "), ("gzip", "identity, x-gzip")];

    #[test]
    fn what_was_coded_comes_back() {
        let long = "Wherefore art thou? ".repeat(50);
        for body in [&b""[..], b"x", b"Neither, fair saint, if either thee dislike.", long.as_bytes()] {
            for (way, name) in WAYS {
                let coded = coded(body, way);
                assert_eq!(decode(&coded, name.as_bytes(), LIMIT).as_deref(), Ok(body), "{way}");
            }
        }
        let twice = coded(&coded(b"hello", "deflate"), "gzip");
        assert_eq!(decode(&twice, b"deflate, gzip", LIMIT).as_deref(), Ok(&b"hello"[..]));
        for name in ["identity", "", " , "] {
            assert!(matches!(decode(b"hello", name.as_bytes(), LIMIT), Ok(Cow::Borrowed(b"hello"))));
        }
    }

    /// The zlib stream of a notification as a client in use writes it.
    #[test]
    fn a_stream_with_stored_and_fixed_blocks_is_read() {
        // One stored block, by hand: 78 01, final, length and its complement, the octets, Adler-32.
        let stored = [0x78, 0x01, 0x01, 0x02, 0x00, 0xfd, 0xff, b'h', b'i', 0x01, 0x3b, 0x00, 0xd2];
        assert_eq!(decode(&stored, b"deflate", LIMIT).as_deref(), Ok(&b"hi"[..]));
    }

    #[test]
    fn the_limit_is_exact() {
        for (way, name) in WAYS {
            let fits = coded(&vec![b'a'; LIMIT], way);
            assert_eq!(decode(&fits, name.as_bytes(), LIMIT).map(|body| body.len()), Ok(LIMIT), "{way}");
            for length in [LIMIT + 1, LIMIT * 10, 50_000_000] {
                let bomb = coded(&vec![b'a'; length], way);
                assert_eq!(decode(&bomb, name.as_bytes(), LIMIT), Err(CodingError::TooLong), "{way} {length}");
            }
        }
    }

    #[test]
    fn what_is_cut_off_or_followed_by_something_is_broken() {
        for (way, name) in WAYS {
            let whole = coded(b"Neither, fair saint, if either thee dislike.", way);
            for length in 0..whole.len() {
                assert_eq!(
                    decode(&whole[..length], name.as_bytes(), LIMIT),
                    Err(CodingError::Broken),
                    "{way} {length}"
                );
            }
            let followed = [&whole[..], b"GET / HTTP/1.1"].concat();
            assert_eq!(decode(&followed, name.as_bytes(), LIMIT), Err(CodingError::Broken), "{way}");
        }
        assert_eq!(decode(b"plain text", b"deflate", LIMIT), Err(CodingError::Broken));
        assert_eq!(decode(b"plain text", b"gzip", LIMIT), Err(CodingError::Broken));
        let mut damaged = coded(b"Neither, fair saint, if either thee dislike.", "deflate");
        if let Some(last) = damaged.last_mut() {
            *last ^= 1;
        }
        assert_eq!(decode(&damaged, b"deflate", LIMIT), Err(CodingError::Broken), "the checksum counts");
    }

    #[test]
    fn other_codings_are_unknown() {
        for name in ["br", "compress", "zstd", "deflate, br", "deflated", "gzip, gzip, gzip"] {
            let body = (0..3).fold(b"x".to_vec(), |body, _| coded(&body, "gzip"));
            assert_eq!(decode(&body, name.as_bytes(), LIMIT), Err(CodingError::Unknown), "{name}");
        }
    }

    proptest! {
        #[test]
        fn no_octets_panic_or_pass_the_limit(body: Vec<u8>, zlib in any::<bool>()) {
            let body = if zlib { [&[0x78, 0x9c][..], &body].concat() } else { body };
            for name in ["deflate", "gzip", "deflate, gzip"] {
                if let Ok(decoded) = decode(&body, name.as_bytes(), LIMIT) {
                    prop_assert!(decoded.len() <= LIMIT);
                }
            }
        }

        #[test]
        fn every_body_comes_back(body in proptest::collection::vec(any::<u8>(), 0..LIMIT)) {
            for (way, name) in WAYS {
                let coded = coded(&body, way);
                let decoded = decode(&coded, name.as_bytes(), LIMIT);
                prop_assert_eq!(decoded.as_deref(), Ok(&body[..]));
            }
        }
    }
}
