//! `SIP-date` (RFC 3261 sections 20.17 and 25.1): RFC 1123 dates in GMT.

use sip::wire::print::decimal;
use time::format_description::well_known::Rfc2822;
use time::{OffsetDateTime, UtcOffset};

const WEEKDAYS: &[u8; 21] = b"MonTueWedThuFriSatSun";
const MONTHS: &[u8; 36] = b"JanFebMarAprMayJunJulAugSepOctNovDec";

/// Reads the value of a Date. What is no date, or one that no calendar has, says nothing.
pub fn parse(value: &[u8]) -> Option<OffsetDateTime> {
    OffsetDateTime::parse(std::str::from_utf8(value).ok()?.trim(), &Rfc2822).ok()
}

/// The same moment in GMT, if a Date can say it: its years have four digits.
pub fn writable(date: OffsetDateTime) -> Option<OffsetDateTime> {
    date.checked_to_offset(UtcOffset::UTC).filter(|date| (1000..=9999).contains(&date.year()))
}

/// Appends a [`writable`] date as it stands in a Date, in whole seconds.
pub fn write(date: OffsetDateTime, out: &mut Vec<u8>) {
    let place = |number: u8| usize::from(number) * 3;
    let weekday = place(date.weekday().number_days_from_monday());
    let month = place(u8::from(date.month()) - 1);
    out.extend_from_slice(&WEEKDAYS[weekday..weekday + 3]);
    out.extend_from_slice(b", ");
    two_digits(date.day(), out);
    out.push(b' ');
    out.extend_from_slice(&MONTHS[month..month + 3]);
    out.push(b' ');
    decimal(u64::from(date.year().unsigned_abs()), out);
    for (separator, part) in [(b' ', date.hour()), (b':', date.minute()), (b':', date.second())] {
        out.push(separator);
        two_digits(part, out);
    }
    out.extend_from_slice(b" GMT");
}

fn two_digits(number: u8, out: &mut Vec<u8>) {
    out.extend_from_slice(&[b'0' + number / 10 % 10, b'0' + number % 10]);
}

#[cfg(test)]
mod tests {
    use super::*;
    use time::macros::datetime;

    #[test]
    fn rows() {
        // The example of RFC 3261 section 20.17.
        for (text, date) in [
            ("Sat, 13 Nov 2010 23:29:00 GMT", datetime!(2010-11-13 23:29:00 UTC)),
            ("Thu, 01 Jan 1970 00:00:00 GMT", datetime!(1970-01-01 00:00:00 UTC)),
        ] {
            assert_eq!(parse(text.as_bytes()), Some(date), "{text}");
            let mut out = Vec::new();
            write(writable(date).unwrap(), &mut out);
            assert_eq!(String::from_utf8(out).unwrap(), text);
        }
        let mut out = Vec::new();
        write(writable(datetime!(2026-11-20 21:00:00.5 +2)).unwrap(), &mut out);
        assert_eq!(out, b"Fri, 20 Nov 2026 19:00:00 GMT");
        for (month, name) in
            (1..=12u8).zip(["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"])
        {
            let date = datetime!(2026-01-05 00:00:00 UTC).replace_month(time::Month::try_from(month).unwrap()).unwrap();
            let mut out = Vec::new();
            write(date, &mut out);
            assert_eq!(parse(&out), Some(date), "the weekday is looked at too");
            assert_eq!(out.get(8..11), Some(name.as_bytes()));
        }
        // As others write them.
        for text in ["  Sat, 13 Nov 2010 23:29:00 GMT ", "Sat, 13 Nov 2010 23:29:00 +0000", "13 Nov 2010 23:29:00 GMT"]
        {
            assert_eq!(parse(text.as_bytes()), Some(datetime!(2010-11-13 23:29:00 UTC)), "{text}");
        }
        for text in ["", "yesterday", "Sat, 31 Feb 2010 23:29:00 GMT", "2010-11-13T23:29:00Z", "1289690940"] {
            assert_eq!(parse(text.as_bytes()), None, "{text}");
        }
        assert_eq!(parse(b"\xff"), None);
        for date in
            [datetime!(9999-12-31 23:59:59 -23), datetime!(0999-12-31 23:59:59 UTC), datetime!(0000-01-01 0:00 +23)]
        {
            assert_eq!(writable(date), None, "{date}");
        }
    }
}
