//! The tables of docs/src/content.md: each row has cases here, and each case is one of a row.

use entente_tests::book;
use entente_tests::world::{World, status};

/// A content of one side, and what becomes of it on the other.
enum Case {
    /// MESSAGE with these header lines (each ended by LF) and this body: these stand in the stanza, one behind the other.
    Shown(&'static str, &'static str, &'static [&'static str]),
    /// The same, to a domain that is known to take images.
    ShownToTakers(&'static str, &'static str, &'static [&'static str]),
    /// MESSAGE: this is its answer, and these stand in it.
    Refused(&'static str, &'static str, u16, &'static [&'static str]),
}

use Case::{Refused, Shown, ShownToTakers};

const PLAIN: &str = "Content-Type: text/plain\n";
const HTML: &str = "Content-Type: text/html\n";
const CPIM: &str = "Content-Type: message/cpim\n";
const ALTERNATIVE: &str = "Content-Type: multipart/alternative;boundary=b\n";
const MIXED: &str = "Content-Type: multipart/mixed;boundary=b\n";
const RELATED: &str = "Content-Type: multipart/related;boundary=b\n";
const SIGNED: &str =
    "Content-Type: multipart/signed;boundary=b;protocol=\"application/pkcs7-signature\";micalg=sha-256\n";
const SEALED: &str = "Content-Type: application/pkcs7-mime;smime-type=enveloped-data\n";

const TO_XMPP: &[(&str, &[Case])] = &[
    ("none, no type", &[Shown("", "", &["<body></body>"]), Refused("", "hi", 415, &["\r\nAccept: text/plain, "])]),
    (
        "`text/plain`",
        &[
            Shown(PLAIN, "hi", &["<body>hi</body>"]),
            Shown(PLAIN, "", &["<body></body>"]),
            Refused("Content-Type: text/plain;charset=klingon\n", "hi", 415, &["\r\nAccept: "]),
            Refused("Content-Type: text/plain;charset=us-ascii\n", "f\u{fc}r", 400, &["Warning: 399 "]),
        ],
    ),
    (
        "`text/html`",
        &[
            Shown(
                HTML,
                "<b>hi</b> <script>x</script>there<br>",
                &[
                    "<body>hi there\n</body><html xmlns='http://jabber.org/protocol/xhtml-im'>",
                    "<body xmlns='http://www.w3.org/1999/xhtml'><strong>hi</strong> there<br/></body></html>",
                ],
            ),
            Shown(
                "Content-Type: text/html;charset=iso-8859-1\n",
                "a&eacute;&#1;&amp;",
                &["<body>a\u{e9}\u{fffd}&amp;</body>"],
            ),
            Refused(HTML, LONG_HTML, 413, &["Warning: 399 "]),
        ],
    ),
    (
        "`message/cpim` around anything here but itself",
        &[
            Shown(CPIM, "From: <im:juliet@sip.example>\n\nContent-Type: text/plain\n\nhi", &["<body>hi</body>"]),
            Shown(CPIM, "X: y\n\nContent-Type: text/html\n\n<i>hi</i>", &["<body>hi</body>", "<em>hi</em>"]),
            Shown(CPIM, "X: y\n\nContent-Type: application/pkcs7-mime\n\n0", &["encrypted", "base64\n\nMA==\n]]>"]),
            Shown(
                "MIME-Version: 1.0\nContent-ID: <1@b.example>\nContent-Type: Message/CPIM;x=y\n",
                "X: y\n\nContent-Type: multipart/mixed;boundary=b\n\n--b\n\none\n--b--",
                &["<body>one</body>"],
            ),
            Refused(CPIM, "no header", 400, &["Warning: 399 "]),
            Refused(CPIM, "From: <im:iago@sip.example>\n\nContent-Type: text/plain\n\nhi", 403, &["Warning: 399 "]),
            Refused(CPIM, "Require: X\n\nContent-Type: text/plain\n\nhi", 415, &["Warning: 399 "]),
            Refused(CPIM, "X: y\n\nContent-Type: message/cpim\n\nX: y\n\nContent-Type: text/plain\n\nhi", 415, &[]),
        ],
    ),
    (
        "`multipart/alternative`",
        &[
            Shown(
                ALTERNATIVE,
                "--b\nContent-Type: text/html\n\n<b>hi</b>\n--b\nContent-Type: text/plain\n\nhi\n--b--",
                &["<body>hi</body><html ", "<strong>hi</strong>"],
            ),
            Shown(
                ALTERNATIVE,
                "--b\nContent-Language: en\n\nhi\n--b\nContent-Language: de\n\nhallo\n\
                 --b\nContent-Type: text/html\nContent-Language: de\n\n<b>hallo</b>\n--b--",
                &[
                    " xml:lang='en'>",
                    "<body>hi</body><body xml:lang='de'>hallo</body><html ",
                    " xml:lang='de'><strong>",
                ],
            ),
            Shown(
                ALTERNATIVE,
                "--b\nContent-Type: image/png\n\nP\n--b\nContent-Type: text/html\n\nhi\n--b--",
                &["<body>hi</body>"],
            ),
            Refused(
                ALTERNATIVE,
                "--b\nContent-Type: image/png\nContent-Disposition: render;handling=optional\n\nP\n--b--",
                415,
                &[],
            ),
            Shown(
                ALTERNATIVE,
                "--b\nContent-Type: text/html\nContent-Language: en\n\nhi\n\
                 --b\nContent-Type: text/html\nContent-Language: de\n\nhallo\n--b--",
                &[
                    "<body>hi</body><body xml:lang='de'>hallo</body><html ",
                    " xml:lang='en'>hi</body><body ",
                    " xml:lang='de'>hallo<",
                ],
            ),
            Shown(
                "Content-Type: multipart/alternative;boundary=b\nContent-Disposition: render;handling=optional\n",
                "--b\nContent-Type: image/png\nContent-Disposition: render;handling=required\n\nP\n--b--",
                &["<body></body>"],
            ),
            Refused(ALTERNATIVE, "--b\n\nhi\n--b", 400, &["Warning: 399 "]),
        ],
    ),
    (
        "`multipart/mixed`, and multiparts that are not named here",
        &[
            Shown(
                MIXED,
                "--b\n\none\n--b\nContent-Type: text/html\n\n<i>two</i>\n--b--",
                &["<body>one\ntwo</body><thread>"],
            ),
            Shown(
                MIXED,
                "--b\n\none\n--b\nContent-Type: image/png\nContent-Disposition: render;handling=optional\n\nP\n--b--",
                &["<body>one</body>"],
            ),
            Shown("Content-Type: multipart/digest;boundary=b\n", "--b\n\none\n--b--", &["<body>one</body>"]),
            Refused(MIXED, "--b\n\none\n--b\nContent-Type: image/png\n\nP\n--b--", 415, &["\r\nAccept: "]),
            Refused(MIXED, "--b\n\none\n--b\nContent-Type: application/sdp\n\nv=0\n--b--", 415, &[]),
        ],
    ),
    (
        "`multipart/related`",
        &[
            Shown(
                RELATED,
                "--b\nContent-Type: text/html\n\n<img src='cid:1' alt='a dog'>\n--b\nContent-Type: image/png\nContent-ID: <1>\n\nP\n--b--",
                &["<body>a dog</body>"],
            ),
            Shown(
                "Content-Type: multipart/related;boundary=b;start=\"<2>\"\n",
                "--b\nContent-ID: <1>\n\none\n--b\nContent-ID: <2>\n\ntwo\n--b--",
                &["<body>two</body>"],
            ),
            Refused(
                RELATED,
                "--b\n\none\n--b\nContent-Type: image/png\nContent-Disposition: inline;handling=required\n\nP\n--b--",
                415,
                &["Warning: 399 "],
            ),
            Refused(RELATED, "--b\nContent-Disposition: by-reference\n\none\n--b--", 415, &[]),
        ],
    ),
    (
        "`multipart/signed`, `multipart/encrypted`",
        &[
            Shown(
                SIGNED,
                "--b\nContent-Type: text/plain\n\n<hi> ]]>\n--b\nContent-Type: application/pkcs7-signature\n\nMA==\n--b--\n",
                &[
                    " xml:lang='en'>",
                    "<body>This message is signed. ",
                    "<e2e xmlns='urn:ietf:params:xml:ns:xmpp-e2e'><![CDATA[Content-Type: multipart/signed;boundary=b;",
                    "\n\n--b\nContent-Type: text/plain\n\n<hi> ]]]]><![CDATA[>\n--b\n",
                ],
            ),
            Shown(
                "Content-Type: multipart/encrypted;boundary=b\n",
                "--b\n\nx\n--b--",
                &["<body>This message is encrypted. "],
            ),
            Refused(SIGNED, "--b\n\n\u{1}\n--b--", 415, &["Warning: 399 "]),
        ],
    ),
    (
        "`application/pkcs7-mime`, `application/pgp-encrypted`, `application/pgp`",
        &[
            Shown(
                SEALED,
                "0\u{1}",
                &[
                    "<body>This message is encrypted. ",
                    "<![CDATA[Content-Type: application/pkcs7-mime;smime-type=enveloped-data\n",
                    "Content-Transfer-Encoding: base64\n\nMAE=\n]]></e2e>",
                ],
            ),
            Shown(
                "Content-Type: application/pgp\nContent-Disposition: attachment;handling=required\n",
                "x",
                &["\nContent-Disposition: attachment;handling=required\n"],
            ),
        ],
    ),
    (
        "a type that `accepts` of the `[[xmpp_domain]]` names",
        &[
            ShownToTakers(
                "Content-Type: image/svg+xml\n",
                "<svg/>\n",
                &["<body>This message is of a type", "svg+xml\n\n<svg/>\n]]>"],
            ),
            ShownToTakers(
                "Content-Type: image/png\n",
                "P\u{1}",
                &["png\nContent-Transfer-Encoding: base64\n\nUAE=\n]]>"],
            ),
            Refused("Content-Type: image/png\n", "P", 415, &["\r\nAccept: "]),
        ],
    ),
    (
        "everything else",
        &[
            Refused("Content-Type: message/imdn+xml\n", "<imdn/>", 415, &["\r\nAccept: "]),
            Refused("Content-Type: application/im-iscomposing+xml\n", "<isComposing/>", 415, &["\r\nAccept: "]),
            Shown(
                "Content-Type: image/png\nContent-Disposition: render;handling=optional\nSubject: s\n",
                "P",
                &["<subject>s</subject><body></body>"],
            ),
        ],
    ),
];

const ABOUT: &[(&str, &[Case])] = &[
    (
        "`charset`",
        &[
            Shown("Content-Type: text/plain;charset=\"ISO-8859-5\"\n", "abc", &["<body>abc</body>"]),
            Refused("Content-Type: text/plain;charset=us-ascii\n", "\u{e9}", 400, &[]),
        ],
    ),
    (
        "`Content-Encoding: deflate`, `gzip`",
        &[
            Shown("Content-Type: text/plain\nContent-Encoding: identity\n", "hi", &["<body>hi</body>"]),
            Refused("Content-Type: text/plain\nContent-Encoding: deflate\n", "hi", 400, &["Warning: 399 "]),
            Refused("Content-Type: text/plain\nContent-Encoding: br\n", "hi", 415, &["\r\nAccept-Encoding: "]),
        ],
    ),
    (
        "`Content-Transfer-Encoding` of a part",
        &[
            Shown(MIXED, "--b\nContent-Transfer-Encoding: base64\n\naGk=\n--b--", &["<body>hi</body>"]),
            Shown(MIXED, "--b\nContent-Transfer-Encoding: quoted-printable\n\n=68i\n--b--", &["<body>hi</body>"]),
            Refused(MIXED, "--b\nContent-Transfer-Encoding: x\n\nhi\n--b--", 415, &[]),
        ],
    ),
    (
        "`Content-Transfer-Encoding` of the whole",
        &[
            Shown(
                "Content-Type: application/pkcs7-mime\nContent-Transfer-Encoding: base64\n",
                "MAE\n=",
                &["base64\n\nMAE=\n]]>"],
            ),
            Shown("Content-Type: text/html\nContent-Transfer-Encoding: BINARY\n", "hi", &["<body>hi</body>"]),
            Refused("Content-Type: application/pgp\nContent-Transfer-Encoding: base64\n", "*", 400, &["Warning: 399 "]),
            Refused("Content-Type: application/pgp\nContent-Transfer-Encoding: x\n", "x", 415, &["\r\nAccept: "]),
            Shown("Content-Type: text/plain\nContent-Transfer-Encoding: base64\n", "aGk=", &["<body>aGk=</body>"]),
        ],
    ),
    (
        "`Content-Disposition`",
        &[
            Shown("Content-Type: text/plain\nContent-Disposition: render\n", "hi", &["<body>hi</body>"]),
            Shown(
                "Content-Type: text/plain\nContent-Disposition: icon handling=optional\n",
                "hi",
                &["<body>hi</body>"],
            ),
            Refused("Content-Type: text/plain\nContent-Disposition: icon\n", "hi", 415, &["Warning: 399 "]),
        ],
    ),
    ("`Content-Length` of a part", &[Shown(MIXED, "--b\nContent-Length: 1\n\nhello\n--b--", &["<body>hello</body>"])]),
    ("characters that XML forbids", &[Shown(PLAIN, "a\0b\u{ffff}", &["<body>a\u{fffd}b\u{fffd}</body>"])]),
    ("`Subject`", &[Shown("Content-Type: text/plain\nSubject: a & b\n", "hi", &["<subject>a &amp; b</subject>"])]),
    (
        "`Content-Language`",
        &[
            Shown("Content-Type: text/plain\nContent-Language: de, en\n", "hi", &[" xml:lang='de'>"]),
            Shown(CPIM, "X: y\n\nContent-Type: text/plain\nContent-Language: fr\n\nhi", &[" xml:lang='fr'>"]),
        ],
    ),
    ("more than a stanza may hold once it is escaped", &[Refused(PLAIN, AMPERSANDS, 413, &[])]),
];

const CPIM_HEADERS: &[(&str, &[Case])] = &[
    (
        "`From`",
        &[
            Shown(
                CPIM,
                "From: Juliet <sip:juliet@sip.example>\n\nContent-Type: text/plain\n\nhi",
                &["<body>hi</body>", "<nick xmlns='http://jabber.org/protocol/nick'>Juliet</nick>"],
            ),
            Refused(CPIM, "From: <im:iago@sip.example>\n\nContent-Type: text/plain\n\nhi", 403, &[]),
        ],
    ),
    (
        "`To`, `cc`",
        &[Shown(
            CPIM,
            "To: Somebody <im:a@b.example>\nTo: <im:c@b.example>\ncc: <im:d@b.example>\n\nContent-Type: text/plain\n\nhi",
            &["to='romeo@xmpp.example'", "<body>hi</body>"],
        )],
    ),
    (
        "`Subject`, `Subject:;lang=`",
        &[Shown(
            "Content-Type: message/cpim\nSubject: outside\n",
            "Subject: inside\nSubject:;lang=fr dedans\n\nContent-Type: text/plain\n\nhi",
            &["<subject>inside</subject><subject xml:lang='fr'>dedans</subject><body>"],
        )],
    ),
    (
        "`DateTime`",
        &[
            Shown(
                CPIM,
                "DateTime: 2026-11-20T12:00:00+02:00\n\nContent-Type: text/plain\n\nhi",
                &["<delay ", "stamp='2026-11-20T10:00:00Z'"],
            ),
            Shown(CPIM, "DateTime: soon\n\nContent-Type: text/plain\n\nhi", &["<body>hi</body>"]),
        ],
    ),
    (
        "`NS`, others",
        &[Shown(
            CPIM,
            "NS: a <mid:b>\na.Subject: no\nsubject: no\n\nContent-Type: text/plain\n\nhi",
            &["'><body>hi</body>"],
        )],
    ),
];

/// One tag more than an HTML text may have.
const LONG_HTML: &str = {
    const TAGS: [u8; 257 * 3] = {
        let mut tags = [b'<'; 257 * 3];
        let mut index = 0;
        while index < 257 {
            tags[index * 3 + 1] = b'i';
            tags[index * 3 + 2] = b'>';
            index += 1;
        }
        tags
    };
    match std::str::from_utf8(&TAGS) {
        Ok(text) => text,
        Err(_) => "",
    }
};

const AMPERSANDS: &str = {
    static OCTETS: [u8; 60_000] = [b'&'; 60_000];
    match std::str::from_utf8(&OCTETS) {
        Ok(text) => text,
        Err(_) => "",
    }
};

fn request(lines: &str, body: &str) -> String {
    let (lines, body) = (lines.replace('\n', "\r\n"), body.replace('\n', "\r\n"));
    format!(
        "MESSAGE sip:romeo@xmpp.example SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.9:5060;branch=z9hG4bK-row\r\n\
         Max-Forwards: 70\r\nFrom: <sip:juliet@sip.example>;tag=j\r\nTo: <sip:romeo@xmpp.example>\r\n\
         Call-ID: row@192.0.2.9\r\nCSeq: 1 MESSAGE\r\n{lines}Content-Length: {}\r\n\r\n{body}",
        body.len()
    )
}

fn assert_in_order(text: &str, pieces: &[&str]) {
    let mut rest = text;
    for piece in pieces {
        let (_, behind) = rest.split_once(piece).unwrap_or_else(|| panic!("{piece:?} in {text}"));
        rest = behind;
    }
}

fn run(case: &Case) {
    match case {
        Shown(lines, body, pieces) => shown(&mut World::new(), lines, body, pieces),
        ShownToTakers(lines, body, pieces) => {
            let mut world = World::with(|settings| {
                let accepts = cpim::Accepts::new(["image/*"]).expect("a type");
                let domain = cpim::DomainPattern::Exactly("xmpp.example".into());
                settings.xmpp.accepted = cpim::AcceptedBy::new(vec![(domain, accepts)]);
            });
            shown(&mut world, lines, body, pieces);
        }
        Refused(lines, body, code, pieces) => {
            let mut world = World::new();
            world.proxy_sends(request(lines, body));
            assert_eq!(world.take_stanza(), None, "{lines}{body}");
            let answer = world.take_datagram().expect("an answer");
            assert_eq!(status(&answer), Some(*code), "{lines}{body}\n{answer}");
            assert_in_order(&answer, pieces);
            world.assert_quiet();
        }
    }
}

fn shown(world: &mut World, lines: &str, body: &str, pieces: &[&str]) {
    world.proxy_sends(request(lines, body));
    assert_eq!(world.take_datagram(), None, "{lines}{body}");
    let stanza = world.take_stanza().expect("a stanza");
    assert_in_order(&stanza.replace("&#13;\n", "\n"), pieces);
}

fn check(columns: &[&str], cases: &[(&str, &[Case])]) {
    let tables = book::tables(&book::page("content.md"));
    let table = tables.iter().find(|table| table.columns == columns).expect("the table");
    let rows: Vec<_> = table.rows.iter().map(|row| row[0].as_str()).collect();
    let known: Vec<_> = cases.iter().map(|(row, _)| *row).collect();
    assert_eq!(rows, known, "each row of the page has its cases");
    cases.iter().flat_map(|(_, cases)| cases.iter()).for_each(run);
}

#[test]
fn each_content_of_sip_becomes_what_its_row_says() {
    check(&["content", "becomes", "otherwise"], TO_XMPP);
}

#[test]
fn what_is_said_about_a_content_becomes_what_its_row_says() {
    check(&["about the content", "becomes", "notes"], ABOUT);
}

#[test]
fn each_header_of_a_wrapper_becomes_what_its_row_says() {
    check(&["message/cpim header", "becomes"], CPIM_HEADERS);
}
