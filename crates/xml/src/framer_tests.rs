use super::*;

const HEADER: &str = "<?xml version='1.0'?>\n<stream:stream xmlns='jabber:component:accept' \
                          xmlns:stream='http://etherx.jabber.org/streams' to='a>b'>";

/// Feeds `input` in pieces that end at `cuts`, keeping the tail as a driver does.
fn frames(input: &[u8], cuts: &[usize], limits: Limits) -> (Vec<(char, String)>, Option<Error>) {
    frames_of(Framer::new(limits), input, cuts)
}

fn frames_of(mut framer: Framer, input: &[u8], cuts: &[usize]) -> (Vec<(char, String)>, Option<Error>) {
    let mut kept: Vec<u8> = Vec::new();
    let mut found = Vec::new();
    let mut from = 0;
    for cut in cuts.iter().copied().chain([input.len()]) {
        kept.extend_from_slice(&input[from..cut]);
        from = cut;
        loop {
            let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
            let consumed = match framer.scan(&kept) {
                Ok(Frame::Incomplete { consumed }) => {
                    kept.drain(..consumed);
                    break;
                }
                Ok(Frame::Header { bytes, consumed }) => {
                    found.push(('H', text(bytes)));
                    consumed
                }
                Ok(Frame::Stanza { bytes, consumed }) => {
                    found.push(('S', text(bytes)));
                    consumed
                }
                Ok(Frame::Excess { head, consumed, .. }) => {
                    found.push(('X', text(head)));
                    consumed
                }
                Ok(Frame::Close { consumed }) => {
                    found.push(('C', String::new()));
                    consumed
                }
                Err(error) => return (found, Some(error)),
            };
            kept.drain(..consumed);
        }
    }
    (found, None)
}

fn conversation() -> String {
    format!(
        "{HEADER} \n<handshake/><a b='>' c=\"'/>\"><b/>te/xt]]<![CDATA[</a> ]] > ]]]>\n<c ></c\n></a>\r\n<d></d>\
             <e x='/'>é</e></stream:stream>"
    )
}

#[test]
fn stanzas_are_cut_at_their_ends() {
    let (found, error) = frames(conversation().as_bytes(), &[], Limits::default());
    assert_eq!(error, None);
    let kinds: String = found.iter().map(|(kind, _)| *kind).collect();
    assert_eq!(kinds, "HSSSSC");
    assert!(found[0].1.starts_with("<stream:stream") && found[0].1.ends_with("'a>b'>"));
    assert_eq!(found[1].1, "<handshake/>");
    assert_eq!(found[2].1, "<a b='>' c=\"'/>\"><b/>te/xt]]<![CDATA[</a> ]] > ]]]>\n<c ></c\n></a>");
    assert_eq!(found[3].1, "<d></d>");
    assert_eq!(found[4].1, "<e x='/'>é</e>");
}

#[test]
fn a_cut_anywhere_changes_nothing() {
    let input = conversation();
    let whole = frames(input.as_bytes(), &[], Limits::default());
    for cut in 0..=input.len() {
        assert_eq!(frames(input.as_bytes(), &[cut], Limits::default()), whole, "cut at {cut}");
    }
    let every: Vec<usize> = (0..input.len()).collect();
    assert_eq!(frames(input.as_bytes(), &every, Limits::default()), whole);
}

#[test]
fn what_a_stream_must_not_hold() {
    let deep = "<a>".repeat(65);
    let many = format!("<a{}/>", " b='1'".repeat(101));
    let long = format!("<a>{}</a>", "x".repeat(262_144));
    let endless = format!("<a>{}", "x".repeat(262_144));
    let endless_tag = format!("<a {}", "x".repeat(262_144));
    let rows: &[(&str, Error)] = &[
        ("<!-- -->", Error::Comment),
        ("<a><!-- --></a>", Error::Comment),
        ("<!DOCTYPE a>", Error::DocumentType),
        ("<a><!doctype a></a>", Error::DocumentType),
        ("<a><!ENTITY x 'y'></a>", Error::Markup),
        ("<?xml version='1.0'?>", Error::ProcessingInstruction),
        ("<a><?php ?></a>", Error::ProcessingInstruction),
        ("text", Error::StrayText),
        ("<a/>text", Error::StrayText),
        ("\0", Error::StrayText),
        ("<![CDATA[x]]>", Error::StrayText),
        ("<a><![CDETA[x]]></a>", Error::Markup),
        ("<a b='<'/>", Error::LessThan),
        ("<a <b/>", Error::LessThan),
        (&deep, Error::TooDeep),
        (&many, Error::TooManyAttributes),
        (&long, Error::TooLong),
        (&endless, Error::TooLong),
        (&endless_tag, Error::TooLong),
    ];
    for (input, expected) in rows {
        let input = format!("{HEADER}{input}");
        let error = frames(input.as_bytes(), &[], Limits::default()).1;
        assert_eq!(error, Some(*expected), "{}", &input[HEADER.len()..input.len().min(HEADER.len() + 60)]);
        if input.len() < 1000 {
            let cuts: Vec<usize> = (1..input.len()).collect();
            let error = frames(input.as_bytes(), &cuts, Limits::default()).1;
            assert_eq!(error, Some(*expected), "octet by octet: {}", &input[HEADER.len()..]);
        }
    }
}

#[test]
fn what_a_stream_must_not_begin_with() {
    let endless = " x='y'".repeat(50) + &format!(" y='{}", "x".repeat(9000));
    let long = format!("<stream:stream{endless}");
    let rows: &[(&str, Error)] = &[
        ("<?xml version='1.0' encoding='ISO-8859-1'?><s>", Error::Encoding),
        ("<?xml version='2.0'?><s>", Error::Declaration),
        ("<?xml?><s>", Error::Declaration),
        ("<?xml encoding='UTF-8'?><s>", Error::Declaration),
        ("<?xml version='1.0'encoding='UTF-8'?><s>", Error::Attribute),
        ("<?xml-stylesheet href='a'?><s>", Error::ProcessingInstruction),
        ("<?xml version='1.0'?><?xml version='1.0'?><s>", Error::ProcessingInstruction),
        ("<!DOCTYPE s><s>", Error::DocumentType),
        ("<!-- --><s>", Error::Comment),
        ("</s>", Error::Markup),
        ("<s/>", Error::Unclosed),
        ("GET / HTTP/1.1\r\n", Error::StrayText),
        ("\u{FEFF}<s>", Error::StrayText),
        (&long, Error::TooLong),
    ];
    for (input, expected) in rows {
        assert_eq!(frames(input.as_bytes(), &[], Limits::default()).1, Some(*expected), "{input:.80}");
    }
    for input in ["<s>", " \n<s>", "<?xml version=\"1.0\" encoding='utf-8' standalone='yes' ?>\r\n <s a='b'>"] {
        assert_eq!(frames(input.as_bytes(), &[], Limits::default()).1, None, "{input}");
    }
}

#[test]
fn limits_hold_exactly() {
    let limits = Limits { stanza: 10, depth: 2, attributes: 1, ..Limits::default() };
    for (input, expected) in [
        ("<a>789</a>", None),
        ("<a>7890</a>", Some(Error::TooLong)),
        ("<a><b/></a>", Some(Error::TooLong)),
        ("<a b='1'/>", None),
        ("   <a/>   <a>789</a>", None),
    ] {
        assert_eq!(frames(format!("<s>{input}").as_bytes(), &[], limits).1, expected, "{input}");
    }
    let limits = Limits { depth: 2, ..Limits::default() };
    assert_eq!(frames(b"<s><a><b/></a>", &[], limits).1, None);
    assert_eq!(frames(b"<s><a><b><c/></b></a>", &[], limits).1, Some(Error::TooDeep));
}

#[test]
fn white_space_between_stanzas_is_dropped_as_it_comes() {
    let mut framer = Framer::new(Limits::default());
    assert!(matches!(framer.scan(b"<s>"), Ok(Frame::Header { consumed: 3, .. })));
    assert_eq!(framer.scan(b" \n\t\r"), Ok(Frame::Incomplete { consumed: 4 }));
    assert_eq!(framer.scan(b" <a"), Ok(Frame::Incomplete { consumed: 1 }));
    assert_eq!(framer.scan(b"<a/> "), Ok(Frame::Stanza { bytes: b"<a/>", consumed: 4 }));
}

#[test]
fn octets_are_looked_at_once() {
    // A stanza of 200 000 octets that comes octet by octet: quadratic work would take minutes.
    let mut framer = Framer::new(Limits::default());
    let mut data = b"<s>".to_vec();
    framer.scan(&data).unwrap();
    data.clear();
    data.extend_from_slice(b"<a b='");
    data.resize(200_000, b'x');
    for end in 1..=data.len() {
        assert_eq!(framer.scan(&data[..end]), Ok(Frame::Incomplete { consumed: 0 }));
        assert!(framer.at >= end - 1);
    }
}

#[test]
fn a_tolerant_framer_passes_over_what_is_too_much() {
    let limits = Limits { stanza: 60, depth: 3, attributes: 3, ..Limits::default() };
    let long = format!("<long a='1'>{}<![CDATA[ </long> ]]> <b c='/'/></long>", "x".repeat(300));
    let head = format!("<head a='{}'/>", "x".repeat(300));
    let input = format!(
        "<s><a/>{long}<b/><deep><a><b><c><d><e/></d></c></b></a></deep> <c/><many a='1' b='2' c='3' d='4' e='/'/>\
             {head}<many a='1' b='2' c='3' d='4'><x></x></many><d>1</d><long>{}</long>{}<e/></s>",
        "y".repeat(48),
        "<e>1</e>".repeat(3),
    );
    let expected = "<s>|<a/>|X<long a='1'>|<b/>|X<deep>|<c/>|X|X|X|<d>1</d>|X<long>|<e>1</e>|<e>1</e>|<e>1</e>|<e/>|C";
    let shown = |cuts: &[usize]| {
        let (found, error) = frames_of(Framer::tolerant(limits), input.as_bytes(), cuts);
        assert_eq!(error, None, "cut at {cuts:?}");
        let show = |(kind, bytes): &(char, String)| match kind {
            'X' => format!("X{bytes}"),
            'C' => "C".to_owned(),
            _ => bytes.clone(),
        };
        found.iter().map(show).collect::<Vec<_>>().join("|")
    };
    assert_eq!(shown(&[]), expected);
    for cut in 0..=input.len() {
        assert_eq!(shown(&[cut]), expected, "cut at {cut}");
    }
    assert_eq!(shown(&(0..input.len()).collect::<Vec<_>>()), expected);
}

#[test]
fn an_endless_stanza_is_not_kept() {
    let mut framer = Framer::tolerant(Limits { stanza: 1000, ..Limits::default() });
    let mut kept = b"<s>".to_vec();
    framer.scan(&kept).unwrap();
    kept = b"<a b='c'>".to_vec();
    let mut told = 0;
    for _ in 0..10_000 {
        kept.extend_from_slice(b"<b>0123456789</b>");
        let consumed = match framer.scan(&kept).unwrap() {
            Frame::Incomplete { consumed } => consumed,
            Frame::Excess { head, error, consumed } => {
                assert_eq!((head, error), (&b"<a b='c'>"[..], Error::TooLong));
                told += 1;
                consumed
            }
            other => panic!("{other:?}"),
        };
        kept.drain(..consumed);
        assert!(kept.len() < 1100);
    }
    assert_eq!(told, 1);
    // What is not XML ends it all the same, and so does a header over its limit.
    kept.extend_from_slice(b"<!-- -->");
    assert_eq!(framer.scan(&kept), Err(Error::Comment));
    let mut framer = Framer::tolerant(Limits { header: 10, ..Limits::default() });
    assert_eq!(framer.scan(b"<s a='123456789'>"), Err(Error::TooLong));
}

proptest::proptest! {
    #[test]
    fn a_tolerant_framer_finds_the_same_for_all_cuts(
        pieces in proptest::collection::vec(proptest::sample::select(vec![
            "<a>", "</a>", "<a/>", "<b c='/' d='>'>", "text", "<![CDATA[>]]]>", " ", "<e f='1' g='2' h='3'/>",
        ]), 0..20),
        cuts in proptest::collection::vec(0usize..200, 0..6),
    ) {
        let input = format!("<s>{}", pieces.concat());
        let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(input.len())).collect();
        cuts.sort_unstable();
        let limits = Limits { stanza: 40, depth: 3, attributes: 2, ..Limits::default() };
        let whole = frames_of(Framer::tolerant(limits), input.as_bytes(), &[]);
        let cut = frames_of(Framer::tolerant(limits), input.as_bytes(), &cuts);
        let stanzas = |found: &[(char, String)]| -> Vec<_> { found.iter().filter(|f| f.0 != 'X').cloned().collect() };
        proptest::prop_assert_eq!(stanzas(&whole.0), stanzas(&cut.0));
    }

    #[test]
    fn any_bytes_and_cuts_give_the_same_frames(
        input in proptest::collection::vec(proptest::sample::select(b"<>/!?[]-'\"= acDAT&;\0\xC3\xA9".to_vec()), 0..80),
        cuts in proptest::collection::vec(0usize..80, 0..6),
    ) {
        let input = [b"<s>".as_slice(), &input].concat();
        let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(input.len())).collect();
        cuts.sort_unstable();
        let limits = Limits { stanza: 40, depth: 3, attributes: 2, ..Limits::default() };
        proptest::prop_assert_eq!(frames(&input, &cuts, limits).0, frames(&input, &[], limits).0);
    }
}
