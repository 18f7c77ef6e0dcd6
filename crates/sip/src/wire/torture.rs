//! The torture messages of RFC 4475 and RFC 5118: what each must lead to, arriving as one datagram.

use super::*;
use Expected::*;

pub(in crate::wire) enum Expected {
    /// Readable, and the same bytes again when written.
    Accepted,
    /// Answered with this status and a phrase that names this.
    Refused(u16, &'static str),
    /// Not even parsed.
    Dropped(DropReason),
    /// A response that parses, whose values do not: dropped.
    Unread,
}

pub(in crate::wire) struct Row {
    pub(in crate::wire) name: &'static str,
    section: &'static str,
    pub(in crate::wire) bytes: &'static [u8],
    pub(in crate::wire) expected: Expected,
}

macro_rules! row {
    ($folder:literal, $name:literal, $section:literal, $expected:expr) => {
        Row {
            name: $name,
            section: concat!($folder, " ", $section),
            bytes: include_bytes!(concat!("../../../../tests/torture/", $folder, "/", $name, ".dat")),
            expected: $expected,
        }
    };
}

#[rustfmt::skip]
pub(in crate::wire) const TABLE: &[Row] = &[
    row!("rfc4475", "wsinv", "3.1.1.1", Accepted),
    row!("rfc4475", "intmeth", "3.1.1.2", Accepted),
    row!("rfc4475", "esc01", "3.1.1.3", Accepted),
    row!("rfc4475", "escnull", "3.1.1.4", Accepted),
    row!("rfc4475", "esc02", "3.1.1.5", Accepted),
    row!("rfc4475", "lwsdisp", "3.1.1.6", Accepted),
    row!("rfc4475", "longreq", "3.1.1.7", Accepted),
    row!("rfc4475", "dblreq", "3.1.1.8", Accepted),
    row!("rfc4475", "semiuri", "3.1.1.9", Accepted),
    row!("rfc4475", "transports", "3.1.1.10", Accepted),
    row!("rfc4475", "mpart01", "3.1.1.11", Accepted),
    row!("rfc4475", "unreason", "3.1.1.12", Accepted),
    row!("rfc4475", "noreason", "3.1.1.13", Accepted),
    row!("rfc4475", "badinv01", "3.1.2.1", Refused(400, "Malformed Via")),
    row!("rfc4475", "clerr", "3.1.2.2", Refused(400, "Content-Length Larger")),
    row!("rfc4475", "ncl", "3.1.2.3", Refused(400, "Malformed Content-Length")),
    row!("rfc4475", "scalar02", "3.1.2.4", Refused(400, "CSeq")),
    row!("rfc4475", "scalarlg", "3.1.2.5", Unread),
    row!("rfc4475", "quotbal", "3.1.2.6", Refused(400, "Malformed To")),
    row!("rfc4475", "ltgtruri", "3.1.2.7", Refused(400, "Request-URI")),
    row!("rfc4475", "lwsruri", "3.1.2.8", Refused(400, "Request Line")),
    row!("rfc4475", "lwsstart", "3.1.2.9", Refused(400, "Request Line")),
    row!("rfc4475", "trws", "3.1.2.10", Refused(400, "Request Line")),
    row!("rfc4475", "escruri", "3.1.2.11", Refused(400, "Headers in Request-URI")),
    row!("rfc4475", "baddate", "3.1.2.12", Accepted), // the date is not used
    row!("rfc4475", "regbadct", "3.1.2.13", Refused(400, "Contact")),
    row!("rfc4475", "badaspec", "3.1.2.14", Refused(400, "Malformed To")),
    row!("rfc4475", "baddn", "3.1.2.15", Refused(400, "No Empty Line")), // the file of the archive ends too early; see below
    row!("rfc4475", "badvers", "3.1.2.16", Refused(505, "Version")),
    row!("rfc4475", "mismatch01", "3.1.2.17", Refused(400, "CSeq Method")),
    row!("rfc4475", "mismatch02", "3.1.2.18", Refused(501, "Not Implemented")),
    row!("rfc4475", "bigcode", "3.1.2.19", Dropped(DropReason::BadResponse)),
    row!("rfc4475", "badbranch", "3.2.1", Refused(400, "Branch")),
    row!("rfc4475", "insuf", "3.3.1", Refused(400, "Missing To")),
    row!("rfc4475", "unkscm", "3.3.2", Accepted), // the 416 comes behind the method
    row!("rfc4475", "novelsc", "3.3.3", Accepted),
    row!("rfc4475", "unksm2", "3.3.4", Accepted), // a registrar refuses it
    row!("rfc4475", "bext01", "3.3.5", Accepted), // the 420 needs to know what we support
    row!("rfc4475", "invut", "3.3.6", Accepted), // 415 is the content's reader's
    row!("rfc4475", "regaut01", "3.3.7", Accepted),
    row!("rfc4475", "multi01", "3.3.8", Refused(400, "Several")),
    row!("rfc4475", "mcl01", "3.3.9", Refused(400, "Contradicting")),
    row!("rfc4475", "bcast", "3.3.10", Accepted), // dropped where it matches no Via of ours
    row!("rfc4475", "zeromf", "3.3.11", Accepted), // 483 is for who forwards
    row!("rfc4475", "cparam01", "3.3.12", Accepted),
    row!("rfc4475", "cparam02", "3.3.13", Accepted),
    row!("rfc4475", "regescrt", "3.3.14", Accepted),
    row!("rfc4475", "sdp01", "3.3.15", Accepted), // 406 is the content's reader's
    row!("rfc4475", "inv2543", "3.4.1", Accepted),
    row!("rfc4475", "test", "appendix A", Dropped(DropReason::NotSip)),
    row!("rfc5118", "ipv6-good", "4.1", Accepted),
    row!("rfc5118", "ipv6-bad", "4.2", Refused(400, "Request-URI")),
    row!("rfc5118", "port-ambiguous", "4.3", Accepted),
    row!("rfc5118", "port-unambiguous", "4.4", Accepted),
    row!("rfc5118", "via-received-param-with-delim", "4.5", Accepted),
    row!("rfc5118", "via-received-param-no-delim", "4.5", Accepted),
    row!("rfc5118", "ipv6-in-sdp", "4.6", Refused(400, "Content-Length Larger")), // its printed Content-Length is 17 too large
    row!("rfc5118", "mult-ip-in-header", "4.7", Accepted),
    row!("rfc5118", "mult-ip-in-sdp", "4.8", Accepted),
    row!("rfc5118", "ipv4-mapped-ipv6", "4.9", Accepted),
    row!("rfc5118", "ipv6-bug-abnf-3-colons", "4.10", Accepted),
    row!("rfc5118", "ipv6-correct-abnf-2-colons", "4.10", Accepted),
];

/// What the stack says to one datagram.
pub(in crate::wire) fn verdict(bytes: &[u8]) -> Result<(), String> {
    let limits = Limits::default();
    match parse(bytes, Carriage::Datagram, &limits) {
        Err(Unreadable::Drop(reason)) => Err(format!("dropped: {reason:?}")),
        Ok(Message::Request(request)) => {
            request.check(&limits).map(|_| ()).map_err(|refusal| format!("{} {}", refusal.status, refusal.reason))
        }
        Ok(Message::Response(response)) => response.essentials().map(|_| ()).ok_or_else(|| "dropped: unread".into()),
    }
}

#[test]
fn every_message_gets_the_answer_that_the_rfc_wants() {
    let mut wrong = String::new();
    for row in TABLE {
        let verdict = verdict(row.bytes);
        let right = match (&row.expected, &verdict) {
            (Accepted, Ok(())) => true,
            (Refused(status, about), Err(said)) => said.starts_with(&status.to_string()) && said.contains(about),
            (Dropped(reason), Err(said)) => *said == format!("dropped: {reason:?}"),
            (Unread, Err(said)) => said == "dropped: unread",
            _ => false,
        };
        if !right {
            wrong += &format!("{} ({}): {verdict:?}\n", row.name, row.section);
        }
    }
    assert!(wrong.is_empty(), "\n{wrong}");
}

#[test]
fn messages_with_a_flaw_of_their_own_are_mended_and_tried_again() {
    let bytes = |name: &str| TABLE.iter().find(|row| row.name == name).expect("in the table").bytes;
    let ended = [bytes("baddn"), b"\r\n"].concat();
    assert_eq!(verdict(&ended), Err("400 Bad Request: Malformed To".to_owned()));
    let without = String::from_utf8_lossy(bytes("badinv01")).replace(";;,;,,", "");
    assert_eq!(verdict(without.as_bytes()), Err("400 Bad Request: Malformed Contact".to_owned()));
    let counted = String::from_utf8_lossy(bytes("ipv6-in-sdp")).replace("268", "251");
    assert_eq!(verdict(counted.as_bytes()), Ok(()));
}

#[test]
fn accepted_messages_are_written_back_byte_for_byte() {
    for row in TABLE.iter().filter(|row| matches!(row.expected, Accepted)) {
        let message = parse(row.bytes, Carriage::Datagram, &Limits::default()).expect("accepted");
        let mut written = Vec::new();
        let (head, body, bytes) = match &message {
            Message::Request(request) => {
                print::request_line(request.method, request.uri, &mut written);
                (&request.head, request.body, request.bytes)
            }
            Message::Response(response) => {
                written.extend_from_slice(format!("SIP/2.0 {} ", response.status).as_bytes());
                written.extend_from_slice(response.reason);
                print::line_end(&mut written);
                (&response.head, response.body, response.bytes)
            }
        };
        head.lines().for_each(|line| written.extend_from_slice(line.whole));
        print::line_end(&mut written);
        written.extend_from_slice(body);
        assert_eq!(written.escape_ascii().to_string(), bytes.escape_ascii().to_string(), "{}", row.name);
        assert!(row.bytes.starts_with(bytes), "{}", row.name);
    }
}
