use super::*;
use crate::MediaType;
use proptest::prelude::*;
use time::macros::datetime;

/// RFC 3862 section 5.1, without its tags.
const EXAMPLE: &str = "From: MR SANDERS <im:piglet@100akerwood.com>\r\n\
    To: Depressed Donkey <im:eeyore@100akerwood.com>\r\n\
    DateTime: 2000-12-13T13:40:00-08:00\r\n\
    Subject: the weather will be fine today\r\n\
    Subject:;lang=fr beau temps prevu pour aujourd'hui\r\n\
    NS: MyFeatures <mid:MessageFeatures@id.foo.com>\r\n\
    Require: MyFeatures.VitalMessageOption\r\n\
    MyFeatures.VitalMessageOption: Confirmation-requested\r\n\
    MyFeatures.WackyMessageOption: Use-silly-font\r\n\
    \r\n\
    Content-type: text/xml; charset=utf-8\r\n\
    Content-ID: <1234567890@foo.com>\r\n\
    \r\n\
    <body>\r\n\
    Here is the text of my message.\r\n\
    </body>\r\n";

fn printed(message: &Message<'_>) -> Vec<u8> {
    let mut out = Vec::new();
    message.print(&mut out);
    out
}

#[test]
fn the_example_of_the_rfc_is_read_and_printed_unchanged() {
    let message = parse(EXAMPLE.as_bytes()).unwrap();
    assert_eq!(message.headers().len(), 9);
    let from = message.from().next().unwrap().unwrap();
    assert_eq!((&*from.name, from.uri), ("MR SANDERS", "im:piglet@100akerwood.com"));
    assert_eq!(from.inbox().unwrap().to_string(), "im:piglet@100akerwood.com");
    assert_eq!(message.to().next().unwrap().unwrap().name, "Depressed Donkey");
    assert_eq!(message.date_time(), Some(Ok(datetime!(2000-12-13 13:40 -8))));
    let subjects: Vec<_> = message.subjects().collect();
    assert_eq!(subjects[0], (None, "the weather will be fine today".into()));
    assert_eq!(subjects[1], (Some("fr"), "beau temps prevu pour aujourd'hui".into()));
    let vital = message.headers().last().unwrap();
    assert_eq!((vital.prefix, vital.name), (Some("MyFeatures"), "WackyMessageOption"));
    assert_eq!(vital.namespace, Some("mid:MessageFeatures@id.foo.com"));
    assert_eq!(message.unmet_requirement(|_, _| false), Some("MyFeatures.VitalMessageOption"));
    let knows = |namespace: Option<&str>, name: &str| {
        namespace == Some("mid:MessageFeatures@id.foo.com") && name == "VitalMessageOption"
    };
    assert_eq!(message.unmet_requirement(knows), None);
    assert!(message.entity.media_type().unwrap().unwrap().is("text", "xml"));
    assert_eq!(message.entity.field("Content-ID"), Some(&b"<1234567890@foo.com>"[..]));
    assert_eq!(message.entity.body, b"<body>\r\nHere is the text of my message.\r\n</body>\r\n");
    assert_eq!(printed(&message), EXAMPLE.as_bytes());
}

/// One header in front of a content.
fn with(headers: &str) -> String {
    format!("{headers}\r\n\r\nContent-Type: text/plain\r\n\r\nhi")
}

#[test]
fn each_break_of_the_grammar_is_named() {
    let long = format!("Subject: {}", "x".repeat(100_000));
    let quoted = "From:;a=1;b=\"x;\\\"y\" <im:a@b.example>";
    for fine in ["", "From: <im:a@b.example>", "Subject:;lang=en x", quoted, "Subject: ", "X: a  b", &long] {
        let text = if fine.is_empty() { with("")[2..].to_owned() } else { with(fine) };
        assert_eq!(parse(text.as_bytes()).map(|message| printed(&message)), Ok(text.clone().into_bytes()), "{fine}");
    }
    let cases = [
        ("Subject: x\n", FormatError::Control),
        ("Subject: a\rb", FormatError::Control),
        ("Subject: a\tb", FormatError::Control),
        ("Subject: a\u{7f}", FormatError::Control),
        ("Subject: a\r\n b", FormatError::WhiteSpace),
        ("Subject: a\r\n\tb", FormatError::WhiteSpace),
        ("Subject: a ", FormatError::WhiteSpace),
        (" Subject: a", FormatError::WhiteSpace),
        ("Subject:a", FormatError::Space),
        ("Subject:  a", FormatError::Space),
        ("Subject:", FormatError::Space),
        ("Subject", FormatError::Name),
        (": a", FormatError::Name),
        ("Sub ject: a", FormatError::Name),
        ("a.b.c: d", FormatError::Name),
        (".b: d", FormatError::Name),
        ("S\u{fc}bject: a", FormatError::Name),
        ("Subject:;lang a", FormatError::Parameter),
        ("Subject:;=en a", FormatError::Parameter),
        ("Subject:;x=\"y a", FormatError::Parameter),
        ("Subject:;lang= a", FormatError::Parameter),
        ("NS: x", FormatError::Namespace),
        ("NS: x <relative>", FormatError::Namespace),
        ("NS: x <http://a.example/#part>", FormatError::Namespace),
        ("NS: x<mid:y>", FormatError::Namespace),
        ("NS: <:x>", FormatError::Namespace),
    ];
    for (headers, error) in cases {
        assert_eq!(parse(with(headers).as_bytes()), Err(error), "{headers:?}");
    }
    let whole: &[(&[u8], FormatError)] = &[
        (b"", FormatError::Unended),
        (b"From: <im:a@b.example>\r\n", FormatError::Unended),
        (b"Subject: \xff\r\n\r\n", FormatError::Utf8),
        // Headers of 5 octets per character are not UTF-8 any more.
        (b"Subject: \xf8\x88\x80\x80\x80\r\n\r\n", FormatError::Utf8),
        (b"\r\nFrom: <im:a@b.example>\r\n\r\nhi", FormatError::NoContentType),
        (b"X: y\r\n\r\n\r\nhi", FormatError::NoContentType),
        (b"X: y\r\n\r\nContent-Type: plain\r\n\r\nhi", FormatError::NoContentType),
        (b"X: y\r\n\r\nno field\r\n\r\nhi", FormatError::Content(MimeError::Field)),
    ];
    for (bytes, error) in whole {
        assert_eq!(parse(bytes), Err(*error), "{}", bytes.escape_ascii());
    }
    let endless = with(&vec!["NS: x <mid:y>"; MOST_HEADERS + 1].join("\r\n"));
    assert_eq!(parse(endless.as_bytes()), Err(FormatError::TooManyHeaders));
}

#[test]
fn names_mean_something_in_their_namespace_only() {
    let text = with(
        "from: <im:no@b.example>\r\n\
         x.From: <im:before@b.example>\r\n\
         NS: x <urn:ietf:params:cpim-headers:>\r\n\
         x.From: <im:same@b.example>\r\n\
         From: <im:plain@b.example>\r\n\
         NS: x <mid:other>\r\n\
         x.From: <im:other@b.example>\r\n\
         NS: <mid:default>\r\n\
         From: <im:not@b.example>\r\n\
         Require: Whatever\r\n\
         NS: <urn:ietf:params:cpim-headers:>\r\n\
         From: <im:again@b.example>\r\n\
         Require: From,x.From, Subject",
    );
    let message = parse(text.as_bytes()).unwrap();
    let from: Vec<_> = message.from().map(|address| address.unwrap().uri).collect();
    assert_eq!(from, ["im:same@b.example", "im:plain@b.example", "im:again@b.example"]);
    assert_eq!(message.headers()[1].namespace, None, "used before it is declared");
    let mut asked = Vec::new();
    message.unmet_requirement(|namespace, name| {
        asked.push((namespace.map(str::to_owned), name.to_owned()));
        true
    });
    assert_eq!(asked, [(Some("mid:other".to_owned()), "From".to_owned())]);
    assert_eq!(
        parse(with("Require: Later.Option").as_bytes()).unwrap().unmet_requirement(|_, _| false),
        Some("Later.Option")
    );
}

/// RFC 3862 sections 4.2 and 4.3: several recipients and copies, all kept; section 6 misspells the namespace.
#[test]
fn all_recipients_are_kept() {
    let text = with(
        "To: <im:a@b.example>\r\ncc: C <im:c@b.example>\r\nTo: <im:d@b.example>\r\ncc: <im:e@b.example>\r\n\
         CC: <im:no@b.example>\r\nNS: x <urn:ietf:params-cpim-headers:>\r\nx.To: <im:no@b.example>",
    );
    let message = parse(text.as_bytes()).unwrap();
    let uris = |address: Result<Address<'_>, FormatError>| address.unwrap().uri.to_owned();
    assert_eq!(message.to().map(uris).collect::<Vec<_>>(), ["im:a@b.example", "im:d@b.example"]);
    assert_eq!(message.cc().map(uris).collect::<Vec<_>>(), ["im:c@b.example", "im:e@b.example"]);
    assert_eq!(printed(&message), text.as_bytes());
}

#[test]
fn a_prefix_means_something_in_its_message_only() {
    let declares = with("NS: x <mid:y>\r\nx.A: b");
    assert_eq!(parse(declares.as_bytes()).unwrap().headers()[1].namespace, Some("mid:y"));
    assert_eq!(parse(with("x.A: b").as_bytes()).unwrap().headers()[0].namespace, None);
}

#[test]
fn the_work_for_requirements_is_bounded() {
    let declared: String = (0..200).map(|n| format!("NS: x{n} <urn:ietf:params:cpim-headers:>\r\n")).collect();
    let names = |count| with(&format!("{declared}Require: {}", vec!["x0.From"; count].join(",")));
    assert_eq!(parse(names(MOST_HEADERS).as_bytes()).unwrap().unmet_requirement(|_, _| false), None);
    let endless = names(100_000);
    assert_eq!(parse(endless.as_bytes()).unwrap().unmet_requirement(|_, _| true), Some("x0.From"));
}

#[test]
fn addresses_of_every_form() {
    let name = |value| Address::parse(value).map(|address| (address.name.into_owned(), address.uri.to_owned()));
    for (value, expected) in [
        ("<im:tigger@100akerwood.com>", ("", "im:tigger@100akerwood.com")),
        ("Winnie the Pooh <im:pooh@100akerwood.com>", ("Winnie the Pooh", "im:pooh@100akerwood.com")),
        ("\"\"<sip:a@b>", ("", "sip:a@b")),
        ("\"A \\\"<B>\\\"\" <sip:a@b>", ("A \"<B>\"", "sip:a@b")),
        ("<tel:+15551234>", ("", "tel:+15551234")),
    ] {
        assert_eq!(name(value), Ok((expected.0.to_owned(), expected.1.to_owned())), "{value}");
    }
    for value in ["", "im:a@b", "<a@b>", "<im:a@b", "\"A <im:a@b>", "A <im:a@b> x", "<im:>", "<>", "<im:a b@c>"] {
        assert_eq!(name(value), Err(FormatError::Address), "{value}");
    }
    for (uri, inbox) in [
        ("im:a%40b@c.example?subject=x@y", Some("im:a%40b@c.example")),
        ("SIP:Alice:secret@Sip.Example:5060;transport=tcp?x=y", Some("im:Alice@sip.example")),
        ("sips:f%C3%BC@[2001:db8::1]", Some("im:f%C3%BC@[2001:db8::1]")),
        ("sip:a@[2001:db8::1]:5060", Some("im:a@[2001:db8::1]")),
        ("pres:a@c.example", Some("im:a@c.example")),
        ("tel:+15551234", None),
        ("xmpp:a@c.example", None),
        ("sip:c.example", None),
        ("im:?subject=x", None),
        ("sip:a%00@c.example", None),
        ("sip:a@c%2eexample", None),
    ] {
        let value = format!("<{uri}>");
        let found = Address::parse(&value).unwrap().inbox().map(|inbox| inbox.to_string());
        assert_eq!(found.as_deref(), inbox, "{uri}");
    }
}

#[test]
fn a_user_is_named_by_any_uri_of_his() {
    let users = ["im:Juliet@sip.example", "im:%C3%89lodie@sip.example", "im:+3012345@sip.example"];
    let [juliet, elodie, number] = users.map(|text| crate::ImUri::parse(text).unwrap());
    for (uri, user, named) in [
        ("im:juliet@sip.example", &juliet, true),
        ("sip:JULIET@SIP.example:5070;x=y", &juliet, true),
        ("sip:juliet@pbx.example", &juliet, false),
        ("im:juliette@sip.example", &juliet, false),
        ("sip:%C3%A9lodie@sip.example", &elodie, true),
        ("sip:elodie@sip.example", &elodie, false),
        ("tel:+30-12345", &number, true),
        ("TEL:+3012345;cpc=ordinary", &number, true),
        ("sip:+30-12345@sip.example;user=phone", &number, true),
        ("sip:+30-12345@pbx.example;user=phone", &number, false),
        ("tel:+30-123456", &number, false),
        ("tel:+3012345;ext=1", &number, false),
        ("tel:3012345", &number, false),
        ("tel:+3012345", &juliet, false),
        ("urn:juliet@sip.example", &juliet, false),
    ] {
        let value = format!("<{uri}>");
        assert_eq!(Address::parse(&value).unwrap().names(user), named, "{uri} {user}");
    }
}

#[test]
fn escapes_are_resolved_and_written() {
    for (escaped, plain) in [
        ("plain", "plain"),
        (r#"\\ \" \' \b\t\n\r"#, "\\ \" ' \u{8}\t\n\r"),
        (r"\u0041\u00e9\u00E9", "A\u{e9}\u{e9}"),
        (r"\ud83d\ude00", "\u{1f600}"),
        (r"\ud83d \ude00", "\u{fffd} \u{fffd}"),
        (r"\ud83d\u0041", "\u{fffd}A"),
        (r"\u12", "u12"),
        (r"\u12g4", "u12g4"),
        (r"\x\U", "xU"),
        ("end\\", "end"),
        ("\\\u{fc}", "\u{fc}"),
    ] {
        assert_eq!(unescape(escaped), plain, "{escaped}");
    }
    let mut out = Vec::new();
    escape("\\ \u{8}\t\n\r\0\u{1f}\u{7f} \"'\u{e9}", Some('"'), &mut out);
    assert_eq!(String::from_utf8(out).unwrap(), "\\\\ \\b\\t\\n\\r\\u0000\\u001f\\u007f \\\"'\u{e9}");
    let mut single = Vec::new();
    escape("it's \"so\"", Some('\''), &mut single);
    assert_eq!(single, b"it\\'s \"so\"");
}

const NOBODY: OutAddress<'_> = OutAddress { name: "", uri: "sip:bob@sip.example" };

fn letter<'a>() -> OutMessage<'a> {
    OutMessage {
        from: OutAddress { name: "", uri: "sip:juliet@sip.example" },
        to: &[NOBODY],
        cc: &[],
        date_time: None,
        subjects: &[],
        namespaces: &[],
        headers: &[],
        media_type: MediaType::PLAIN_TEXT,
        body: b"hi",
    }
}

/// The strictest reader that is known refuses display names, LF, a leading empty line, `Content-type`, a missing From or
/// To, and NS without a space.
#[test]
fn what_is_written_is_what_strict_readers_take() {
    let mut out = Vec::new();
    let message = OutMessage {
        date_time: Some(datetime!(2026-11-20 18:14:37 UTC)),
        subjects: &[
            OutSubject { language: None, text: "line one\nline two " },
            OutSubject { language: Some("de"), text: "Wetter" },
        ],
        namespaces: &[("imdn", "urn:ietf:params:imdn")],
        headers: &[OutHeader { prefix: "imdn", name: "Message-ID", value: "w1A3c~o9DyZX" }],
        ..letter()
    };
    message.write(&mut out).unwrap();
    let expected = "From: <sip:juliet@sip.example>\r\n\
        To: <sip:bob@sip.example>\r\n\
        DateTime: 2026-11-20T18:14:37Z\r\n\
        Subject: line one\\nline two\r\n\
        Subject:;lang=de Wetter\r\n\
        NS: imdn <urn:ietf:params:imdn>\r\n\
        imdn.Message-ID: w1A3c~o9DyZX\r\n\
        \r\n\
        Content-Type: text/plain;charset=utf-8\r\n\
        \r\n\
        hi";
    assert_eq!(String::from_utf8(out.clone()).unwrap(), expected);
    let read = parse(&out).unwrap();
    assert_eq!(read.subjects().next().unwrap().1, "line one\nline two");
    assert_eq!(read.headers().last().unwrap().namespace, Some("urn:ietf:params:imdn"));
}

#[test]
fn what_cannot_be_written_is_not_begun() {
    let cases: &[(OutMessage<'_>, WriteError)] = &[
        (OutMessage { to: &[], ..letter() }, WriteError::Address),
        (OutMessage { from: OutAddress { name: "", uri: "a>\r\nX: y" }, ..letter() }, WriteError::Address),
        (OutMessage { cc: &[OutAddress { name: "", uri: "" }], ..letter() }, WriteError::Address),
        (OutMessage { namespaces: &[("a b", "mid:x")], ..letter() }, WriteError::Name),
        (OutMessage { namespaces: &[("a", "x")], ..letter() }, WriteError::Namespace),
        (OutMessage { headers: &[OutHeader { prefix: "a", name: "B", value: "" }], ..letter() }, WriteError::Name),
        (OutMessage { subjects: &[OutSubject { language: Some("d e"), text: "" }], ..letter() }, WriteError::Name),
        (
            OutMessage { media_type: MediaType::parse(b"text/plain;\r\n x=y").unwrap(), ..letter() },
            WriteError::MediaType,
        ),
    ];
    for (message, error) in cases {
        let mut out = b"before".to_vec();
        assert_eq!(message.write(&mut out), Err(*error));
        assert_eq!(out, b"before");
    }
}

fn look_at_everything(message: &Message<'_>) {
    for address in message.from().chain(message.to()).chain(message.cc()).flatten() {
        let _ = address.inbox();
    }
    for header in message.headers() {
        let _ = (header.params().count(), header.language(), header.text(), header.line());
    }
    let _ = (message.date_time(), message.subjects().count(), message.unmet_requirement(|_, _| false));
    let _ = message.entity.decoded_body();
}

proptest! {
    #[test]
    fn no_octets_panic(bytes: Vec<u8>) {
        if let Ok(message) = parse(&bytes) {
            look_at_everything(&message);
        }
    }

    #[test]
    fn what_is_read_prints_as_it_was(
        text in "((From|To|cc|Subject|NS|Require|x\\.y|DateTime):(;lang=[a-z]{1,3}|;a=\"[^\r\n\"]{0,3}\"){0,2} [!-~\u{80}-\u{ff}]([ -~]{0,9}[!-~])?\r\n|[ -~]{0,9}\r\n){0,8}\r\n(Content-Type: [a-z]{1,3}/[a-z]{1,3}\r\n)?\r\n(.|\r\n){0,20}"
    ) {
        if let Ok(message) = parse(text.as_bytes()) {
            look_at_everything(&message);
            prop_assert_eq!(&printed(&message)[..], text.as_bytes());
        }
    }

    #[test]
    fn what_is_written_reads_back(name in "\\PC{0,12}", subject in "(?s).{0,20}", value in "(?s).{0,20}", body: Vec<u8>) {
        let subjects = [OutSubject { language: None, text: &subject }];
        let headers = [OutHeader { prefix: "x", name: "Y", value: &value }];
        let message = OutMessage {
            from: OutAddress { name: &name, uri: "im:a@b.example" },
            subjects: &subjects,
            namespaces: &[("x", "mid:y")],
            headers: &headers,
            body: &body,
            ..letter()
        };
        let mut out = Vec::new();
        message.write(&mut out).unwrap();
        let read = parse(&out).unwrap();
        prop_assert_eq!(&*read.from().next().unwrap().unwrap().name, &*name);
        prop_assert_eq!(&*read.subjects().next().unwrap().1, subject.trim_matches(' '));
        prop_assert_eq!(&*read.headers().last().unwrap().text(), value.trim_matches(' '));
        prop_assert_eq!(read.entity.body, &body[..]);
    }
}
