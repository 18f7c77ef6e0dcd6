use super::*;

fn namespaces() -> StreamNamespaces {
    let header = b"<stream:stream xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams' xml:lang='en'>";
    let none = StreamNamespaces::default();
    let mut reader = Reader::header(header, &none, &Limits::default()).unwrap();
    assert_eq!(reader.next(), Ok(Event::Start));
    assert_eq!(reader.namespace(), "http://etherx.jabber.org/streams");
    reader.stream_namespaces().unwrap()
}

/// One line per event; the first error instead of the rest.
fn read(input: &[u8]) -> Result<String, Error> {
    let namespaces = namespaces();
    let mut reader = Reader::new(input, &namespaces, &Limits::default())?;
    let mut lines = String::new();
    loop {
        match reader.next()? {
            Event::Start => {
                lines.push_str(&format!("+{{{}}}{}", reader.namespace(), reader.name()));
                for attribute in reader.attributes() {
                    let (name, value) = attribute?;
                    lines.push_str(&format!(" {name}={value:?}"));
                }
                lines.push('\n');
            }
            Event::Text(text) => lines.push_str(&format!("{text:?}\n")),
            Event::End => lines.push_str("-\n"),
            Event::Done => return Ok(lines),
        }
    }
}

#[test]
fn elements_attributes_and_text() {
    let input = b"<message to='a@b' id = \"x'y\" ><body>Hi <![CDATA[<&]]> &lt;&#x263A;&#10;&gt;</body><e:x xmlns:e='urn:e' a='1'/></message >";
    assert_eq!(
        read(input).unwrap(),
        "+{jabber:client}message to=\"a@b\" id=\"x'y\"\n+{jabber:client}body\n\"Hi <& <☺\\n>\"\n-\n+{urn:e}x a=\"1\"\n-\n-\n"
    );
}

#[test]
fn namespaces_come_and_go_with_their_elements() {
    assert_eq!(
        read(b"<a><b xmlns='urn:b' xmlns:p='urn:p'><p:c/><d xmlns=''/></b><e/><stream:f/><xml:g/></a>").unwrap(),
        "+{jabber:client}a\n+{urn:b}b\n+{urn:p}c\n-\n+{}d\n-\n-\n+{jabber:client}e\n-\n\
         +{http://etherx.jabber.org/streams}f\n-\n+{http://www.w3.org/XML/1998/namespace}g\n-\n-\n"
    );
}

#[test]
fn line_ends_are_normalised_and_references_are_not() {
    assert_eq!(
        read(b"<a>1\r\n2\r3\n4&#13;&#10;5<![CDATA[\r\n&amp;]]></a>").unwrap(),
        "+{jabber:client}a\n\"1\\n2\\n3\\n4\\r\\n5\\n&amp;\"\n-\n"
    );
    assert_eq!(read(b"<a b='1\r\n2\t3\n\r4&#10;&#9;'/>").unwrap(), "+{jabber:client}a b=\"1 2 3  4\\n\\t\"\n-\n");
}

#[test]
fn plain_values_are_borrowed() {
    let namespaces = namespaces();
    let mut reader = Reader::new(b"<a b='c'>text</a>", &namespaces, &Limits::default()).unwrap();
    reader.next().unwrap();
    assert!(matches!(reader.attribute("b"), Ok(Some(Cow::Borrowed("c")))));
    assert!(matches!(reader.next(), Ok(Event::Text(Cow::Borrowed("text")))));
}

#[test]
fn what_quick_xml_lets_through_and_other_attacks() {
    let deep = "<a>".repeat(5000) + &"</a>".repeat(5000);
    let many = format!("<a{}/>", (0..101).map(|n| format!(" b{n}='1'")).collect::<String>());
    let bindings = format!("<a{}/>", (0..33).map(|n| format!(" xmlns:b{n}='urn:{n}'")).collect::<String>());
    let long = format!("<a>{}</a>", "x".repeat(5_000_000));
    let rows: &[(&[u8], Error)] = &[
        (b"<!DOCTYPE a [<!ENTITY b 'c'>]><a>&b;</a>", Error::DocumentType),
        (b"<a><!DOCTYPE b></a>", Error::DocumentType),
        (b"<a><!-- c --></a>", Error::Comment),
        (b"<a><?b c?></a>", Error::ProcessingInstruction),
        (b"<?xml version='1.0'?><a/>", Error::ProcessingInstruction),
        (b"<a>&foo;</a>", Error::UnknownEntity),
        (b"<a b='&foo;'/>", Error::UnknownEntity),
        (b"<a>&#0;</a>", Error::ForbiddenCharacter),
        (b"<a>&#x1;</a>", Error::ForbiddenCharacter),
        (b"<a>&#xD800;</a>", Error::ForbiddenCharacter),
        (b"<a>&#xFFFF;</a>", Error::ForbiddenCharacter),
        (b"<a>&#x110000;</a>", Error::ForbiddenCharacter),
        (b"<a>&#99999999999999999999;</a>", Error::ForbiddenCharacter),
        (b"<a b='&#1;'/>", Error::ForbiddenCharacter),
        (b"<a>\x01</a>", Error::ForbiddenCharacter),
        (b"<a>\0</a>", Error::ForbiddenCharacter),
        ("<a>\u{FFFE}</a>".as_bytes(), Error::ForbiddenCharacter),
        ("<a b='\u{FFFF}'/>".as_bytes(), Error::ForbiddenCharacter),
        (b"<a>\xC3</a>", Error::NotUtf8),
        (b"<a>\xED\xA0\x80</a>", Error::NotUtf8),
        (b"<a>\xC0\x80</a>", Error::NotUtf8),
        (b"<a>&</a>", Error::Reference),
        (b"<a>&lt</a>", Error::Reference),
        (b"<a>&;</a>", Error::Reference),
        (b"<a>&#;</a>", Error::Reference),
        (b"<a>&#x;</a>", Error::Reference),
        (b"<a>&#+65;</a>", Error::Reference),
        (b"<a>&#X41;</a>", Error::Reference),
        (b"<a>& b;</a>", Error::Reference),
        (b"<b:a/>", Error::UnboundPrefix),
        (b"<a b:c='d'/>", Error::UnboundPrefix),
        (b"<a><b xmlns:c='d'/><c:e/></a>", Error::UnboundPrefix),
        (b"<a b='1' b='2'/>", Error::DuplicateAttribute),
        (b"<a xmlns:b='u' xmlns:c='u' b:d='1' c:d='2'/>", Error::DuplicateAttribute),
        (b"<a xmlns='u' xmlns='v'/>", Error::DuplicateAttribute),
        (b"<a xmlns:b='u' xmlns:b='u'/>", Error::DuplicateAttribute),
        (b"<a b='<'/>", Error::LessThan),
        (b"<a>]]></a>", Error::CDataEnd),
        (b"<1a/>", Error::Name),
        (b"<-a/>", Error::Name),
        (b"<a:1b xmlns:a='u'/>", Error::Name),
        (b"<a:b:c/>", Error::Name),
        (b"<:a/>", Error::Name),
        (b"<a:/>", Error::Name),
        (b"< a/>", Error::Name),
        (b"<>", Error::Name),
        (b"<a/b/>", Error::Name),
        ("<a×/>".as_bytes(), Error::Name),
        (b"<a 1b='c'/>", Error::Name),
        (b"<a b='1'/c='2'></a>", Error::Attribute),
        (b"<a b='1'c='2'/>", Error::Attribute),
        (b"<a b/>", Error::Attribute),
        (b"<a b=c/>", Error::Attribute),
        (b"<a b=/>", Error::Attribute),
        (b"<a b='1' / >", Error::Attribute),
        (b"<a></b>", Error::MismatchedEnd),
        (b"<a></a b='c'>", Error::MismatchedEnd),
        (b"<a></ a>", Error::MismatchedEnd),
        (b"<a xmlns:b='u' xmlns:c='u'><b:d></c:d></a>", Error::MismatchedEnd),
        (b"<a>", Error::Unclosed),
        (b"<a><![CDATA[ ]]</a>", Error::Unclosed),
        (b"<a b='", Error::Unclosed),
        (b"<a/><b/>", Error::Trailing),
        (b"<a/> ", Error::Trailing),
        (b"", Error::StrayText),
        (b"text<a/>", Error::StrayText),
        (b"</a>", Error::Markup),
        (b"<a><!ELEMENT b></a>", Error::Markup),
        (b"<a xmlns:b=''/>", Error::NamespaceDeclaration),
        (b"<a xmlns:xml='u'/>", Error::NamespaceDeclaration),
        (b"<a xmlns:xmlns='u'/>", Error::NamespaceDeclaration),
        (b"<a xmlns:b='http://www.w3.org/XML/1998/namespace' xml:c='' b:c=''/>", Error::DuplicateAttribute),
        (b"<a xmlns='http://www.w3.org/2000/xmlns/'/>", Error::NamespaceDeclaration),
        (deep.as_bytes(), Error::TooDeep),
        (many.as_bytes(), Error::TooManyAttributes),
        (bindings.as_bytes(), Error::TooManyNamespaces),
        (long.as_bytes(), Error::TooLong),
    ];
    for (input, expected) in rows {
        let shown = String::from_utf8_lossy(input).chars().take(60).collect::<String>();
        assert_eq!(read(input), Err(*expected), "{shown}");
    }
}

#[test]
fn what_looks_odd_and_is_well_formed() {
    for input in [
        "<a xmlns:xml='http://www.w3.org/XML/1998/namespace'/>",
        "<a xmlns='http://www.w3.org/XML/1998/namespace'/>",
        "<a xmlns:b='http://www.w3.org/XML/1998/namespace' b:c='d'/>",
        "<a>]] > ]]&gt;</a>",
        "<a b='>' c='/'/>",
        "<a b=\"]]>\"/>",
        "<é ü='1'/>",
        "<_a.-1/>",
        "<a b:c='1' c='2' xmlns:b='jabber:client'/>",
        "<a>\u{85}\u{7F}\u{FFFD}\u{10FFFF}\u{FEFF}</a>",
        "<a\n/>",
        "<a></a\t>",
        "<a><![CDATA[]]]]><![CDATA[>]]></a>",
    ] {
        assert!(read(input.as_bytes()).is_ok(), "{input}: {:?}", read(input.as_bytes()));
    }
}

#[test]
fn children_are_walked_and_passed_over() {
    let namespaces = namespaces();
    let input = b"<a> <b>1<x>no</x>2</b> <c xmlns='u'><d e='&amp;'/></c><f/>tail</a>";
    let mut reader = Reader::new(input, &namespaces, &Limits::default()).unwrap();
    reader.next().unwrap();
    assert!(reader.next_child().unwrap());
    assert_eq!(reader.name(), "b");
    assert_eq!(reader.text_content().unwrap(), "12");
    assert!(reader.next_child().unwrap());
    assert_eq!(reader.namespace_of_data(), "u");
    assert_eq!(reader.skip_element().unwrap(), b"<c xmlns='u'><d e='&amp;'/></c>");
    assert!(reader.next_child().unwrap());
    assert!(reader.is("jabber:client", "f"));
    assert_eq!(reader.skip_element().unwrap(), b"<f/>");
    assert!(!reader.next_child().unwrap());
    reader.finish().unwrap();
}

#[test]
fn a_header_gives_its_declarations_and_language() {
    let namespaces = namespaces();
    assert_eq!(namespaces.find(""), Some("jabber:client"));
    assert_eq!(namespaces.find("stream"), Some("http://etherx.jabber.org/streams"));
    assert_eq!(namespaces.language(), Some("en"));
    let none = StreamNamespaces::default();
    for (input, expected) in
        [(&b"<s><a/>"[..], Error::Trailing), (b"<s/>", Error::Unclosed), (b"<s a='&b;'>", Error::UnknownEntity)]
    {
        let mut reader = Reader::header(input, &none, &Limits::default()).unwrap();
        assert_eq!(reader.finish(), Err(expected), "{input:?}");
    }
}

/// What quick-xml's own namespace reader makes of a document, in the form of `read`.
fn oracle(input: &str) -> Option<String> {
    use quick_xml::XmlVersion;
    use quick_xml::events::Event as Their;
    use quick_xml::name::ResolveResult;
    let mut reader = quick_xml::reader::NsReader::from_str(input);
    reader.config_mut().expand_empty_elements = true;
    let mut lines = String::new();
    let mut text = String::new();
    loop {
        let (resolved, event) = reader.read_resolved_event().ok()?;
        if matches!(event, Their::Start(_) | Their::End(_)) && !text.is_empty() {
            lines.push_str(&format!("{text:?}\n"));
            text.clear();
        }
        match event {
            Their::Start(start) => {
                let namespace = match resolved {
                    ResolveResult::Bound(namespace) => namespace.into_inner().to_owned(),
                    ResolveResult::Unbound => "jabber:client".to_owned(),
                    ResolveResult::Unknown(_) => return None,
                };
                lines.push_str(&format!("+{{{namespace}}}{}", start.local_name().into_inner()));
                for attribute in start.attributes() {
                    let attribute = attribute.ok()?;
                    if attribute.key.as_namespace_binding().is_none() && attribute.key.prefix().is_none() {
                        let value = attribute.normalized_value(XmlVersion::Implicit1_0).ok()?;
                        lines.push_str(&format!(" {}={value:?}", attribute.key.into_inner()));
                    }
                }
                lines.push('\n');
            }
            Their::End(_) => lines.push_str("-\n"),
            Their::Text(piece) => text.push_str(&piece.xml10_content()),
            Their::CData(piece) => text.push_str(&piece.xml10_content()),
            Their::GeneralRef(reference) => match reference.resolve_char_ref().ok()? {
                Some(character) => text.push(character),
                None => text.push_str(quick_xml::escape::resolve_predefined_entity(&reference)?),
            },
            Their::Eof => return Some(lines),
            _ => return None,
        }
    }
}

mod any {
    use super::{Limits, Reader, namespaces, oracle, read};
    use crate::writer;
    use proptest::prelude::*;

    /// Documents put together from pieces that are likely to be well-formed.
    fn document() -> impl Strategy<Value = String> {
        let piece = prop::sample::select(vec![
            "<a>",
            "</a>",
            "<b c='d'>",
            "</b>",
            "<e/>",
            "text",
            "&lt;",
            "&#10;",
            "&#xe9;",
            "\r\n",
            "é",
            "<![CDATA[<x>]]>",
            "<p:q xmlns:p='urn:p' p:r='1' r='2'/>",
            "<n xmlns='urn:n'>",
            "</n>",
            " ",
            "]]",
            "&gt;",
            "<f g='&amp;\t1'></f>",
        ]);
        prop::collection::vec(piece, 0..12).prop_map(|pieces| format!("<root>{}</root>", pieces.concat()))
    }

    proptest! {
        #[test]
        fn bytes_never_panic(input in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = read(&input);
        }

        #[test]
        fn markup_never_panics(input in "[<>/!?\\[\\]\\-'\"= acDAT&;#x1:é\r\n]{0,60}") {
            let _ = read(input.as_bytes());
            let _ = read(format!("<a>{input}</a>").as_bytes());
            let _ = read(format!("<a {input}/>").as_bytes());
        }

        #[test]
        fn quick_xml_reads_the_same(input in document()) {
            if let Ok(ours) = read(input.as_bytes()) {
                prop_assert_eq!(Some(ours), oracle(&input));
            }
        }

        #[test]
        fn what_is_written_is_read_again(text in any::<String>(), value in any::<String>()) {
            let mut out = b"<a".to_vec();
            let mut replaced = writer::attribute("b", &value, &mut out);
            out.push(b'>');
            replaced += writer::escape_text(&text, &mut out);
            writer::close("a", &mut out);
            let namespaces = namespaces();
            let mut reader = Reader::new(&out, &namespaces, &Limits::default()).unwrap();
            reader.next().unwrap();
            let read_value = reader.attribute("b").unwrap().unwrap();
            let read_text = reader.text_content().unwrap();
            reader.finish().unwrap();
            let allowed = |text: &str| text.replace(|c| !crate::text::is_char(c), "\u{FFFD}");
            prop_assert_eq!(read_value, allowed(&value));
            prop_assert_eq!(read_text, allowed(&text));
            let forbidden = text.chars().chain(value.chars()).filter(|c| !crate::text::is_char(*c)).count();
            prop_assert_eq!(replaced, forbidden);
        }

        #[test]
        fn any_octets_are_written_as_xml(text in prop::collection::vec(any::<u8>(), 0..60)) {
            let mut out = b"<a>".to_vec();
            let replaced = writer::escape_text(&text, &mut out);
            writer::close("a", &mut out);
            let namespaces = namespaces();
            let mut reader = Reader::new(&out, &namespaces, &Limits::default()).unwrap();
            reader.finish().unwrap();
            prop_assert_eq!(replaced > 0, std::str::from_utf8(&text).map_or(true, |text| !text.chars().all(crate::text::is_char)));
        }
    }
}

/// On the stream of a component (see [`StreamNamespaces::with_unbound_prefixes`]).
#[test]
fn what_has_a_prefix_without_a_declaration_is_nobodys() {
    let namespaces = namespaces().with_unbound_prefixes();
    let start = |input: &'static [u8]| {
        let mut reader = Reader::new(input, &namespaces, &Limits::default())?;
        reader.next()?;
        let plain: Vec<_> = reader.attributes().map(|attribute| attribute.unwrap().0).collect();
        let qualified = reader.qualified_attributes().count();
        Ok((plain, qualified, reader.attribute_in("", "c")?.is_some()))
    };
    assert_eq!(start(b"<a b:c='1' d:c='2' e='3'/>"), Ok((vec!["e"], 1, false)));
    assert_eq!(start(b"<a b:c='1' c='2'/>"), Ok((vec!["c"], 1, true)));
    assert_eq!(start(b"<a b:c='1' b:c='2'/>"), Err(Error::DuplicateAttribute));
    assert_eq!(start(b"<a b:c='&d;'/>"), Err(Error::UnknownEntity));
    assert_eq!(start(b"<xmlns:a/>"), Err(Error::UnboundPrefix));
    let mut reader = Reader::new(b"<b:a xmlns='urn:a'></b:a>", &namespaces, &Limits::default()).unwrap();
    reader.next().unwrap();
    assert_eq!((reader.namespace(), reader.name(), &*reader.namespace_of_data()), ("", "a", ""));
    assert_eq!(reader.finish(), Ok(()));
    let mut reader = Reader::new(b"<b:a></c:a>", &namespaces, &Limits::default()).unwrap();
    assert_eq!(reader.finish(), Err(Error::MismatchedEnd));
}
