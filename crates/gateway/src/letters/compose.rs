//! A letter as an e-mail (RFC 5322): in plain words what it is about, and beside it the content as it came.
//!
//! Nothing of what strangers wrote stands in a header but for their addresses in the subject, from which whatever could end a
//! line or turn the direction of writing is taken.

use lettre::Address;
use lettre::address::Envelope;
use lettre::message::header::{ContentDisposition, ContentTransferEncoding, ContentType, HeaderName, HeaderValue};
use lettre::message::{Body, Mailbox, Message, MultiPart, SinglePart};
use std::time::{SystemTime, UNIX_EPOCH};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc2822;
use turn::Letter;

/// Who writes to whom.
#[derive(Clone, Debug)]
pub(super) struct Heads {
    /// The author of the e-mail: the gateway.
    pub(super) from: Address,
    /// Who gets it; nobody in particular where it is kept in a file.
    pub(super) to: Option<Address>,
    /// The host in our Message-IDs.
    pub(super) host: String,
}

/// Characters of an address that a subject shows,
const IN_SUBJECT: usize = 100;
/// and that the text does.
const IN_TEXT: usize = 3000;
/// Octets of a content type that stands in a header; RFC 5322 section 2.1.1 allows lines of 998.
const TYPE: usize = 500;
/// Octets of the letter's name that stand in the Message-ID.
const NAME: usize = 200;

/// The e-mail, in ASCII and with CRLF at the ends of its lines.
pub(super) fn compose(letter: &Letter, heads: &Heads, now: SystemTime) -> Result<Vec<u8>, lettre::error::Error> {
    let (source, destination) = (&letter.source, &letter.destination);
    let subject =
        format!("Undelivered message from {} to {}", shown(source, IN_SUBJECT), shown(destination, IN_SUBJECT));
    // What looks like an encoded word (RFC 2047) would be shown as what it stands for.
    let subject = subject.replace("=?", "=\u{FFFD}");
    let mut message = Message::builder()
        .from(Mailbox::new(Some("Entente".into()), heads.from.clone()))
        .subject(subject)
        .date(now)
        .message_id(Some(format!("<{}@{}>", name(&letter.id), heads.host)))
        // RFC 3834 section 5: nobody answers it by machine.
        .raw_header(HeaderValue::new(HeaderName::new_from_ascii_str("Auto-Submitted"), "auto-generated".into()));
    if let Some(to) = &heads.to {
        message = message.to(Mailbox::new(None, to.clone()));
    }
    // Who carries it is told elsewhere; the type wants to have it.
    let envelope = Envelope::new(Some(heads.from.clone()), vec![heads.from.clone()])?;
    let kind = kind(&letter.content_type);
    let disposition = match kind.inline {
        true => ContentDisposition::inline(),
        // HTML, for example, of whoever wrote it is not shown before somebody wants to see it.
        false => ContentDisposition::attachment("content"),
    };
    let content =
        SinglePart::builder().header(kind.content_type).header(disposition).body(base64(letter.content.clone()));
    let parts = MultiPart::mixed().singlepart(SinglePart::plain(text(letter))).singlepart(content);
    Ok(message.envelope(envelope).multipart(parts)?.formatted())
}

fn text(letter: &Letter) -> String {
    let arrived = letter.arrived.and_then(spelled);
    let arrived = arrived.map_or_else(String::new, |arrived| format!("Came:    {arrived}\r\n"));
    format!(
        "This message was accepted and could not be delivered.\r\n\
         \r\n\
         From:    {}\r\n\
         To:      {}\r\n\
         {arrived}\
         Reason:  {}\r\n\
         Content: {}, {} bytes\r\n\
         \r\n\
         What it says is in the other part, as it came.\r\n",
        shown(&letter.source, IN_TEXT),
        shown(&letter.destination, IN_TEXT),
        shown(letter.reason, IN_SUBJECT),
        shown(&String::from_utf8_lossy(&letter.content_type), TYPE),
        letter.content.len(),
    )
}

fn spelled(moment: SystemTime) -> Option<String> {
    let seconds = moment.duration_since(UNIX_EPOCH).ok()?.as_secs();
    let moment = OffsetDateTime::from_unix_timestamp(i64::try_from(seconds).ok()?).ok()?;
    moment.format(&Rfc2822).ok()
}

/// What a stranger wrote, in at most `most` characters of one line that says what it seems to say.
fn shown(text: &str, most: usize) -> String {
    let harmless = |c: char| match c {
        // Ends of lines, and what turns the direction of writing (Unicode, Bidi_Control).
        '\u{2028}'
        | '\u{2029}'
        | '\u{61C}'
        | '\u{200E}'
        | '\u{200F}'
        | '\u{202A}'..='\u{202E}'
        | '\u{2066}'..='\u{2069}' => '\u{FFFD}',
        c if c.is_control() => '\u{FFFD}',
        c => c,
    };
    let mut shown: String = text.chars().take(most).map(harmless).collect();
    if text.chars().nth(most).is_some() {
        shown.push('\u{2026}');
    }
    shown
}

/// The letter's name as the left side of a Message-ID (RFC 5322 section 3.6.4): what does not fit there is spelled in hex.
fn name(id: &str) -> String {
    use std::fmt::Write;
    let mut name = String::with_capacity(id.len());
    for octet in id.bytes().take(NAME) {
        match octet {
            b'0'..=b'9' | b'a'..=b'z' | b'A'..=b'Z' | b'-' | b'_' => name.push(char::from(octet)),
            // Nothing fails that writes to a string.
            other => drop(write!(name, "={other:02X}")),
        }
    }
    name
}

/// How a content is labelled.
struct Kind {
    content_type: ContentType,
    inline: bool,
}

/// The content's own type, where an e-mail can have it in a part that is encoded in base64: not where it is no legal type, and
/// not for `multipart` and `message`, which RFC 2045 section 6.4 forbids to encode. Those are octets; the text names their type.
fn kind(content_type: &[u8]) -> Kind {
    let octets = || Kind { content_type: parsed("application/octet-stream"), inline: false };
    let spelled = std::str::from_utf8(content_type).unwrap_or_default().trim_ascii();
    let printable = spelled.bytes().all(|octet| (0x20..0x7F).contains(&octet));
    if !printable || spelled.len() > TYPE {
        return octets();
    }
    let lower = spelled.to_ascii_lowercase();
    if lower.starts_with("multipart/") || lower.starts_with("message/") {
        return octets();
    }
    // Text without a charset is UTF-8 with both of our neighbours, and ASCII in an e-mail (RFC 2046 section 4.1.2).
    let silent = lower.starts_with("text/") && !lower.contains("charset");
    let whole = if silent { format!("{spelled}; charset=utf-8") } else { spelled.to_owned() };
    match ContentType::parse(&whole) {
        Ok(content_type) => Kind { content_type, inline: lower.starts_with("text/plain") },
        Err(_) => octets(),
    }
}

fn parsed(known: &'static str) -> ContentType {
    ContentType::parse(known).unwrap_or(ContentType::TEXT_PLAIN)
}

fn base64(content: Vec<u8>) -> Body {
    let encoding = ContentTransferEncoding::Base64;
    // Base64 takes everything; if not, the content goes as lettre likes it.
    Body::new_with_encoding(content, encoding).unwrap_or_else(Body::new)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    /// Monday, 1 September 2026, 12:00 UTC.
    fn noon() -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(1_788_264_000)
    }

    fn letter() -> Letter {
        Letter {
            id: "7-a_Z".into(),
            source: "juliet@sip.example".into(),
            destination: "romeo@xmpp.example".into(),
            arrived: Some(noon() - Duration::from_secs(3600)),
            reason: "nobody took it in time",
            content_type: b"text/plain".to_vec(),
            content: "Wherefore art thou? \u{2764}\n\n.\nFrom here\r".into(),
        }
    }

    fn composed(letter: &Letter) -> String {
        let heads = Heads {
            from: "gateway@mail.example".parse().unwrap(),
            to: Some("postmaster@mail.example".parse().unwrap()),
            host: "gw.example".into(),
        };
        let email = String::from_utf8(compose(letter, &heads, noon()).unwrap()).unwrap();
        assert!(email.is_ascii(), "{email}");
        assert!(email.ends_with("\r\n"));
        for line in email.split_inclusive("\r\n") {
            assert!(line.len() <= 1000 && line.ends_with("\r\n"), "{line:?}");
            assert!(!line[..line.len() - 2].contains(['\r', '\n']), "{line:?}");
        }
        email
    }

    /// The lines of the heads: of the whole, of the text, of the content.
    fn heads(email: &str) -> [Vec<String>; 3] {
        let heads = |text: &str| -> Vec<String> {
            let head = text.split_once("\r\n\r\n").unwrap().0.replace("\r\n ", " ");
            head.trim_start().lines().map(str::to_owned).collect()
        };
        let whole = heads(email);
        let boundary = whole.iter().find_map(|line| line.split_once("boundary=\"")).unwrap().1.trim_end_matches('"');
        let parts: Vec<_> = email.split(&format!("--{boundary}")).collect();
        assert_eq!((parts.len(), parts[3]), (4, "--\r\n"), "{email}");
        [whole, heads(parts[1]), heads(parts[2])]
    }

    fn content(email: &str) -> Vec<u8> {
        let encoded = email.rsplit_once("\r\n\r\n").unwrap().1.split_once("\r\n--").unwrap().0.replace("\r\n", "");
        base64::Engine::decode(&base64::engine::general_purpose::STANDARD, encoded).unwrap()
    }

    #[test]
    fn who_wrote_to_whom_is_said_and_what_is_untouched() {
        let email = composed(&letter());
        let [whole, told, untouched] = heads(&email);
        let boundary = whole.last().unwrap().clone();
        assert!(boundary.starts_with("Content-Type: multipart/mixed; boundary="), "{boundary}");
        let mut whole: Vec<_> = whole.iter().map(String::as_str).filter(|line| *line != boundary).collect();
        whole.sort();
        assert_eq!(
            whole,
            [
                "Auto-Submitted: auto-generated",
                "Date: Tue, 01 Sep 2026 12:00:00 +0000",
                "From: Entente <gateway@mail.example>",
                "MIME-Version: 1.0",
                "Message-ID: <7-a_Z@gw.example>",
                "Subject: Undelivered message from juliet@sip.example to romeo@xmpp.example",
                "To: postmaster@mail.example",
            ]
        );
        assert_eq!(told, ["Content-Type: text/plain; charset=utf-8", "Content-Transfer-Encoding: 7bit"]);
        let body = email.split("\r\n\r\n").skip(2).take(4).collect::<Vec<_>>().join("\r\n\r\n");
        let lines = [
            "From:    juliet@sip.example",
            "To:      romeo@xmpp.example",
            "Came:    Tue, 01 Sep 2026 11:00:00 +0000",
            "Reason:  nobody took it in time",
            "Content: text/plain, 37 bytes",
        ];
        assert!(body.contains(&lines.join("\r\n")), "{body}");
        assert_eq!(
            untouched,
            [
                "Content-Type: text/plain; charset=utf-8",
                "Content-Disposition: inline",
                "Content-Transfer-Encoding: base64"
            ]
        );
        assert_eq!(content(&email), letter().content);
    }

    #[test]
    fn a_content_has_its_own_type_where_an_email_can_have_it() {
        let octets = "application/octet-stream";
        let long = format!("text/plain; x={}", "a".repeat(TYPE));
        for (given, told, shown) in [
            ("text/plain", "text/plain; charset=utf-8", "inline"),
            ("Text/Plain; charset=iso-8859-1", "text/plain; charset=iso-8859-1", "inline"),
            ("text/html", "text/html; charset=utf-8", "attachment; filename=\"content\""),
            ("image/png", "image/png", "attachment; filename=\"content\""),
            (
                "application/pkcs7-mime; smime-type=signed-data",
                "application/pkcs7-mime; smime-type=signed-data",
                "attachment; filename=\"content\"",
            ),
            ("multipart/mixed; boundary=x", octets, "attachment; filename=\"content\""),
            ("Message/CPIM", octets, "attachment; filename=\"content\""),
            ("", octets, "attachment; filename=\"content\""),
            ("nonsense", octets, "attachment; filename=\"content\""),
            ("text/plain\r\nBcc: eve@evil.example", octets, "attachment; filename=\"content\""),
            ("text/pl\u{e4}in", octets, "attachment; filename=\"content\""),
            (&long, octets, "attachment; filename=\"content\""),
        ] {
            let email = composed(&Letter { content_type: given.into(), ..letter() });
            let [whole, _, untouched] = heads(&email);
            let expected = [
                format!("Content-Type: {told}"),
                format!("Content-Disposition: {shown}"),
                "Content-Transfer-Encoding: base64".into(),
            ];
            assert_eq!(untouched, expected, "{given:?}");
            assert_eq!(whole.len(), 8, "{whole:?}");
            assert_eq!(content(&email), letter().content, "{given:?}");
        }
    }

    #[test]
    fn what_strangers_write_begins_no_header() {
        let evil = "\r\nBcc: eve@evil.example\r\n\r\nBuy!\u{202E}\u{2028}\0";
        let email = composed(&Letter {
            id: format!("7{evil}"),
            source: format!("juliet{evil}@sip.example"),
            destination: format!("romeo{evil}@xmpp.example"),
            content_type: format!("text/plain{evil}").into(),
            ..letter()
        });
        let [whole, told, untouched] = heads(&email);
        let names = |head: &[String]| {
            let mut names: Vec<_> = head.iter().map(|line| line.split_once(": ").unwrap().0.to_owned()).collect();
            names.sort();
            names
        };
        let usual = ["Auto-Submitted", "Content-Type", "Date", "From", "MIME-Version", "Message-ID", "Subject", "To"];
        assert_eq!(names(&whole), usual, "{email}");
        assert_eq!(names(&told), ["Content-Transfer-Encoding", "Content-Type"]);
        assert_eq!(names(&untouched), ["Content-Disposition", "Content-Transfer-Encoding", "Content-Type"]);
        assert!(!email.lines().any(|line| line.starts_with("Bcc") || line.starts_with("Buy")), "{email}");
    }

    #[test]
    fn addresses_of_all_letters_and_lengths_are_shown() {
        let email = composed(&Letter { source: "j\u{fc}liet@sip.example".into(), ..letter() });
        let [whole, ..] = heads(&email);
        let subject = whole.iter().find(|line| line.starts_with("Subject: ")).unwrap();
        assert!(subject.contains("=?utf-8?b?asO8bGlldEBzaXAuZXhhbXBsZQ==?="), "{subject}");
        assert!(email.contains("j=C3=BCliet@sip.example"), "{email}");

        let email = composed(&Letter { source: "=?utf-8?Q?mother=40sip.example?=".into(), ..letter() });
        assert!(!heads(&email)[0].concat().contains("mother"), "{email}");

        let email = composed(&Letter { source: "\u{1F339}".repeat(5000), id: "\u{1F339}".repeat(500), ..letter() });
        assert!(email.len() < 60_000, "{}", email.len());
    }

    #[test]
    fn a_large_content_of_all_octets_stays_what_it_is() {
        let octets: Vec<u8> = (0..=255).cycle().take(1 << 20).collect();
        let large = Letter { content: octets, content_type: b"application/octet-stream".to_vec(), ..letter() };
        assert_eq!(content(&composed(&large)), large.content);
        let empty = Letter { content: Vec::new(), arrived: None, ..letter() };
        let email = composed(&empty);
        assert!(!email.contains("Came:"), "{email}");
    }
}
