//! Devices: `gr` in SIP URIs and resources of JIDs (RFC 5627, RFC 7572 note 1 of tables 1 and 2).
//!
//! The value of `gr` is the name of the device, percent-encoded where a `paramchar` of RFC 3261 cannot be. URI parameters
//! are compared without regard to case and resources are not, so upper case is encoded too where another device of the same
//! user is there that could be taken for this one: what reads `%4f` as octets tells them apart.
//!
//! A `gr` without a value marks a temporary GRUU, which hides the device on purpose. It is no name of one.

use cpim::Device;
use sip::wire::print::{escape_param, unescape};
use sip::wire::uri::Uri;
use std::borrow::Cow;

/// A longer `gr` is not written: it would fill the request. Resources that people and clients choose are far shorter.
const LONGEST: usize = 512;

/// Appends `;gr=` with the name of a device.
pub fn write_gr(device: &Device<'_>, out: &mut Vec<u8>) {
    let start = out.len();
    out.extend_from_slice(b";gr=");
    if device.differs_by_case {
        for &byte in device.name.as_bytes() {
            if byte.is_ascii_uppercase() {
                // Upper case ASCII is 4x and 5x; its hexadecimal digits are letters only from `J` to `O` and at `Z`.
                let digit = |value: u8| char::from_digit(u32::from(value), 16).unwrap_or('0') as u8;
                out.extend_from_slice(&[b'%', digit(byte >> 4), digit(byte & 15).to_ascii_uppercase()]);
            } else {
                escape_param(&[byte], out);
            }
        }
    } else {
        escape_param(device.name.as_bytes(), out);
    }
    if out.len() - start > LONGEST || device.name.is_empty() {
        out.truncate(start);
    }
}

/// What the `gr` of a URI says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Gr<'a> {
    /// There is none, or a temporary one.
    None,
    /// The name of a device.
    Device(Cow<'a, str>),
    /// No device can have this name.
    Unusable,
}

/// Reads the device that a URI names.
pub fn gr<'a>(uri: &Uri<'a>) -> Gr<'a> {
    let Some(Some(value)) = uri.param("gr") else { return Gr::None };
    if value.is_empty() {
        return Gr::None;
    }
    let name = if value.contains(&b'%') {
        let mut octets = Vec::with_capacity(value.len());
        unescape(value, &mut octets);
        String::from_utf8(octets).map(Cow::Owned).ok()
    } else {
        std::str::from_utf8(value).map(Cow::Borrowed).ok()
    };
    match name {
        Some(name) if !name.chars().any(char::is_control) => Gr::Device(name),
        _ => Gr::Unusable,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn written(name: &str, differs_by_case: bool) -> String {
        let mut out = Vec::new();
        write_gr(&Device { name: name.into(), differs_by_case }, &mut out);
        String::from_utf8(out).unwrap()
    }

    fn read(uri: &str) -> Gr<'_> {
        gr(&Uri::parse(uri.as_bytes()).unwrap())
    }

    /// RFC 7572 examples 1 and 2, RFC 5627 sections 3.1.1 and 3.1.2.
    #[test]
    fn rows() {
        for (name, like_another, parameter) in [
            ("yn0cl4bnw0yr3vym", false, ";gr=yn0cl4bnw0yr3vym"),
            ("Balcony", false, ";gr=Balcony"),
            ("BalZony", true, ";gr=%42al%5Aony"),
            ("a b;c=d?e\"f%g", false, ";gr=a%20b%3Bc%3Dd%3Fe%22f%25g"),
            ("urn:uuid:f81d4fae-7dec", false, ";gr=urn:uuid:f81d4fae-7dec"),
            ("caf\u{e9}", false, ";gr=caf%C3%A9"),
            ("", false, ""),
        ] {
            assert_eq!(written(name, like_another), parameter);
        }
        assert_eq!(read("sip:a@b;gr=urn:uuid:f81d4fae-7dec"), Gr::Device("urn:uuid:f81d4fae-7dec".into()));
        assert_eq!(read("sip:a@b;GR=%42al%5aony"), Gr::Device("BalZony".into()));
        assert_eq!(read("sip:a@b"), Gr::None);
        assert_eq!(read("sip:tgruu.7hs@b;gr"), Gr::None, "a temporary GRUU is never mapped");
        assert_eq!(read("sip:a@b;gr=%ff"), Gr::Unusable);
        assert_eq!(read("sip:a@b;gr=x%0d%0aVia:y"), Gr::Unusable);
    }

    #[test]
    fn a_name_that_would_fill_the_request_is_left_out() {
        assert_eq!(written(&"a".repeat(508), false).len(), 512);
        assert_eq!(written(&"a".repeat(509), false), "");
        assert_eq!(written(&"\u{e9}".repeat(85), false), "", "as it is written, not as it is meant");
    }

    proptest! {
        #[test]
        fn every_resource_comes_back(name in "[^\\p{Cc}]{1,40}", like_another: bool) {
            let parameter = written(&name, like_another);
            prop_assert!(parameter.bytes().all(|byte| byte.is_ascii_graphic()));
            // Behind `%` stand two digits, everything else stands for itself.
            let mut plain = parameter.split('%').enumerate().map(|(n, part)| if n == 0 { part } else { &part[2..] });
            prop_assert!(!like_another || !plain.any(|part| part.contains(|c: char| c.is_ascii_uppercase())));
            let uri = format!("sip:a@b{parameter}");
            prop_assert_eq!(read(&uri), Gr::Device(name.into()));
        }
    }
}
