use super::*;
use proptest::prelude::*;

fn formatted(html: &str) -> (String, String) {
    let formatted = from_html(html, &mut Budget::default()).unwrap();
    assert_conforms(&formatted.markup);
    (formatted.markup, formatted.text)
}

/// Reads markup strictly and checks each element and attribute against the table of XEP-0071 section 7.8 and the list of
/// section 7.6.1, copied from there.
fn assert_conforms(markup: &str) {
    const TABLE_8: &[(&str, &str)] = &[
        ("a", "href, style, type"),
        ("blockquote", "style"),
        ("br", ""),
        ("cite", "style"),
        ("em", ""),
        ("img", "alt, height, src, style, width"),
        ("li", "style"),
        ("ol", "style"),
        ("p", "style"),
        ("span", "style"),
        ("strong", ""),
        ("ul", "style"),
    ];
    const PROPERTIES: &str = "background-color color font-family font-size font-style font-weight margin-left margin-right \
                              text-align text-decoration";
    let namespaces = StreamNamespaces::new("http://www.w3.org/1999/xhtml");
    let body = format!("<body>{markup}</body>");
    let mut reader = Reader::new(body.as_bytes(), &namespaces, &Limits { depth: 40, ..Limits::default() }).unwrap();
    reader.next().unwrap();
    loop {
        match reader.next().unwrap() {
            Event::Start => {
                let row = TABLE_8.iter().find(|(name, _)| *name == reader.name());
                let (_, allowed) = row.unwrap_or_else(|| panic!("<{}> in {markup}", reader.name()));
                for attribute in reader.qualified_attributes() {
                    let (space, name, value) = attribute.unwrap();
                    assert_eq!(space, "", "{markup}");
                    assert!(allowed.split(", ").any(|known| known == name), "{name} in {markup}");
                    if name == "style" {
                        for declaration in value.split(';') {
                            let (property, value) = declaration.split_once(':').unwrap();
                            assert!(PROPERTIES.split(' ').any(|known| known == property), "{property} in {markup}");
                            assert!(!value.contains("url") && !value.contains("expression"), "{markup}");
                        }
                    }
                    if name == "href" || name == "src" {
                        let scheme = value.split(':').next().unwrap().to_ascii_lowercase();
                        assert!(!["javascript", "data", "vbscript", "file"].contains(&&*scheme), "{markup}");
                    }
                }
            }
            Event::Text(_) | Event::End => {}
            Event::Done => return,
        }
    }
}

/// One row for each element of the table, with every attribute of the integration set and one event.
#[test]
fn each_element_keeps_its_attributes_and_loses_all_others() {
    let others = "class='c' id='i' title='t' onclick='x()' lang='de' xml:lang='de' accesskey='k' charset='c' hreflang='de' \
                  rel='r' rev='r' tabindex='1' uri='u' longdesc='l' cite='c' name='n' target='_blank'";
    let all = format!(
        "href='http://a.example/?b&amp;c' style='color:red' type='text/html' alt='A' height='10' width='20%' src='https://a.example/i' {others}"
    );
    for (name, attributes) in [
        ("a", "href='http://a.example/?b&amp;c' type='text/html' style='color:red'"),
        ("blockquote", "style='color:red'"),
        ("cite", "style='color:red'"),
        ("em", ""),
        ("p", "style='color:red'"),
        ("span", "style='color:red'"),
        ("strong", ""),
    ] {
        let space = if attributes.is_empty() { "" } else { " " };
        let expected = format!("<{name}{space}{attributes}>x</{name}>");
        assert_eq!(formatted(&format!("<{name} {all}>x</{name}>")).0, expected);
    }
    for list in ["ol", "ul"] {
        let (markup, _) = formatted(&format!("<{list} {all}><li {all}>x</li></{list}>"));
        assert_eq!(markup, format!("<{list} style='color:red'><li style='color:red'>x</li></{list}>"));
    }
    assert_eq!(formatted(&format!("x<br {all}>y")).0, "x<br/>y");
    let (image, _) = formatted(&format!("<img {all}>"));
    assert_eq!(image, "<img alt='A' height='10' width='20%' src='https://a.example/i' style='color:red'/>");
    let (image, text) = formatted("<img src='https://a.example/i'>");
    assert_eq!((&*image, &*text), ("<img src='https://a.example/i' alt=''/>", "https://a.example/i"));
}

/// The examples of XEP-0071 section 9 as HTML, and what a client may show that knows no format.
#[test]
fn the_examples_cross() {
    for (html, markup, text) in [
        (
            "<p style='font-size:large'><em>Wow</em>, I&apos;m <span style='color:green'>green</span>\n with \
             <strong>envy</strong>!</p>",
            "<p style='font-size:large'><em>Wow</em>, I'm <span style='color:green'>green</span> with \
             <strong>envy</strong>!</p>",
            "Wow, I'm green with envy!",
        ),
        (
            "<p>As Emerson said in his essay <cite>Self-Reliance</cite>:</p>\n<blockquote>&quot;A foolish \
             consistency&quot;</blockquote>",
            "<p>As Emerson said in his essay <cite>Self-Reliance</cite>:</p><blockquote>\"A foolish \
             consistency\"</blockquote>",
            "As Emerson said in his essay Self-Reliance:\n\"A foolish consistency\"",
        ),
        (
            "<p>Are you licensed to <a href='http://www.jabber.org/'>Jabber</a>?</p><p><img alt='A License' \
             src='http://www.xmpp.org/images/psa-license.jpg' height='261' width='537'/></p>",
            "<p>Are you licensed to <a href='http://www.jabber.org/'>Jabber</a>?</p><p><img alt='A License' \
             src='http://www.xmpp.org/images/psa-license.jpg' height='261' width='537'/></p>",
            "Are you licensed to Jabber <http://www.jabber.org/>?\nA License \
             <http://www.xmpp.org/images/psa-license.jpg>",
        ),
        (
            "<p>Here&apos;s my .plan:</p><ol><li>Add examples:<ul><li>lists</li>\n<li>styles</li></ul></li>\
             <li>Kick back</li></ol>",
            "<p>Here's my .plan:</p><ol><li>Add examples:<ul><li>lists</li><li>styles</li></ul></li>\
             <li>Kick back</li></ol>",
            "Here's my .plan:\n1. Add examples:\n- lists\n- styles\n2. Kick back",
        ),
        (
            "<p>The <acronym>XHTML</acronym> rules</p><ol type='1' start='4'><li><p>If</p></li></ol>",
            "<p>The XHTML rules</p><ol><li><p>If</p></li></ol>",
            "The XHTML rules\n1. If",
        ),
    ] {
        assert_eq!(formatted(html), (markup.to_owned(), text.to_owned()), "{html}");
    }
}

#[test]
fn what_html_can_say_otherwise_is_said() {
    for (html, markup, text) in [
        ("plain", "plain", "plain"),
        ("", "", ""),
        ("<b>b</b><i>i</i>", "<strong>b</strong><em>i</em>", "bi"),
        (
            "<u>u</u><s>s</s>",
            "<span style='text-decoration:underline'>u</span><span style='text-decoration:line-through'>s</span>",
            "us",
        ),
        ("<div>one</div><div>two</div>three", "one<br/>two<br/>three", "one\ntwo\nthree"),
        ("<h1>Title</h1><p>text</p>after", "Title<p>text</p>after", "Title\ntext\nafter"),
        ("<table><tr><td>a</td><td>b</td></tr><tr><td>c</td></tr></table>", "a b<br/>c", "a b\nc"),
        ("<pre>a  b\n c</pre>d", "a\u{a0}\u{a0}b<br/>\u{a0}c<br/>d", "a  b\n c\nd"),
        (" a \n\t b&nbsp;&nbsp;c ", "a b\u{a0}\u{a0}c", "a b\u{a0}\u{a0}c"),
        ("a<br><br/>b<br>", "a<br/><br/>b<br/>", "a\n\nb\n"),
        (
            "<a href='http://a.example/'>http://a.example/</a>",
            "<a href='http://a.example/'>http://a.example/</a>",
            "http://a.example/",
        ),
        ("<a href='mailto:a@b.example'>a@b.example</a>", "<a href='mailto:a@b.example'>a@b.example</a>", "a@b.example"),
        ("<a href='sip:a@b.example'></a>", "<a href='sip:a@b.example'></a>", "sip:a@b.example"),
        ("<li>alone</li>", "alone", "alone"),
        (
            "1 &lt; 2 &amp;&amp; 3 &gt; 2 &eacute; &copy;",
            "1 &lt; 2 &amp;&amp; 3 &gt; 2 \u{e9} \u{a9}",
            "1 < 2 && 3 > 2 \u{e9} \u{a9}",
        ),
        (
            "<p>open <b>and <i>never</p> ended",
            "<p>open <strong>and <em>never</em></strong></p><strong><em>ended</em></strong>",
            "open and never\nended",
        ),
        (
            "<b>wrongly <i>nested</b> here</i>",
            "<strong>wrongly <em>nested</em></strong><em> here</em>",
            "wrongly nested here",
        ),
        (
            "<!DOCTYPE html><html><head><title>T</title></head><body bgcolor=red style='color:red' lang=de>x</body></html>",
            "x",
            "x",
        ),
    ] {
        assert_eq!(formatted(html), (markup.to_owned(), text.to_owned()), "{html}");
    }
}

#[test]
fn nothing_that_runs_or_loads_crosses() {
    for (html, markup) in [
        ("a<script>alert(1)</script>b", "ab"),
        ("a<style>b{}</style><svg onload=x><text>t</text></svg>c", "ac"),
        ("a<object data=x>alt</object><iframe src=x>alt</iframe><embed src=x>b", "ab"),
        ("<img src=x onerror=alert(1) alt=words>", "words"),
        ("<img src='data:image/png;base64,AA' alt='words'><img src='cid:1@b'>", "words"),
        ("<a href='javascript:alert(1)'>x</a><a href='data:text/html,y'>y</a><a href='/z'>z</a>", "xyz"),
        ("<a href=' jAvA\tsCript&colon;alert(1)'>x</a><a href='&#1;javascript:x'>y</a>", "xy"),
        ("<a href='vbscript:x'>x</a><a href='file:///etc/passwd'>y</a><a href='http:'>z</a>", "xyz"),
        ("<p onclick=x ONMOUSEOVER=y>x</p>", "<p>x</p>"),
        ("<p style='background-image:url(http://a.example/)'>x</p>", "<p>x</p>"),
        ("<p style='color:expression(alert(1))'>x</p>", "<p>x</p>"),
        ("<p style='color:red;position:fixed;-moz-binding:url(x)'>x</p>", "<p style='color:red'>x</p>"),
        ("<p style='background-color:url(javascript:x);font-family:\"a;b\"'>x</p>", "<p>x</p>"),
        ("<p style='color:rgb(1,2,3);margin-left:5%'>x</p>", "<p style='color:rgb(1, 2, 3);margin-left:5%'>x</p>"),
        ("<p style='color:/**/red;text-align:\\65 xp'>x</p>", "<p style='color:red;text-align:exp'>x</p>"),
        ("<link rel=stylesheet href=x><meta http-equiv=refresh content=0><base href=x>x", "x"),
        ("<form action=x><input value=v><button>b</button></form>", "b"),
        ("<math><mtext><table><mglyph><style><img src=x onerror=alert(1)>", ""),
        ("<noscript><p title=\"</noscript><img src=x onerror=alert(1)>\">", "\"&gt;"),
        ("<!--><script>alert(1)</script-->x", ""),
        ("<![CDATA[<script>y</script>]]>x", "y]]&gt;x"),
    ] {
        let (found, text) = formatted(html);
        assert_eq!(found, markup, "{html}");
        assert!(!text.contains("alert"), "{text}");
    }
}

#[test]
fn characters_that_xml_forbids_are_replaced_and_counted() {
    let formatted = from_html("a\x01b<i title='\x02'>\u{fffe}</i>&#11;", &mut Budget::default()).unwrap();
    assert_eq!(formatted.markup, "a\u{fffd}b<em>\u{fffd}</em>\u{fffd}");
    assert_eq!((&*formatted.text, formatted.replaced), ("a\u{fffd}b\u{fffd}\u{fffd}", 3));
}

#[test]
fn work_and_depth_are_bounded() {
    assert_eq!(from_html(&"x".repeat(LONGEST + 1), &mut Budget::default()), Err(HtmlError::TooMuch));
    assert_eq!(from_html(&"x".repeat(LONGEST), &mut Budget::default()).unwrap().text.len(), LONGEST);
    assert_eq!(from_html(&"<i>".repeat(MOST_TAGS + 1), &mut Budget::default()), Err(HtmlError::TooMuch));
    let mut budget = Budget::default();
    assert!(from_html(&"<i>".repeat(MOST_TAGS / 2 + 1), &mut budget).is_ok());
    assert_eq!(from_html(&"<i>".repeat(MOST_TAGS / 2), &mut budget), Err(HtmlError::TooMuch), "it is for all together");
    assert!(from_html(&"<i>".repeat(MOST_TAGS / 2 - 1), &mut budget).is_ok());
    let (markup, text) = formatted(&(format!("{}x", "<em>".repeat(MOST_TAGS))));
    assert_eq!((markup.matches("<em>").count(), &*text), (32, "x"));
    let (markup, text) = formatted(&(format!("{}x", "<blockquote>".repeat(MOST_TAGS))));
    assert_eq!((markup.matches("<blockquote>").count(), &*text), (32, "x"));
    // Each paragraph begins all formats anew: the most that can come of it.
    let formats: String = (0..MOST_TAGS / 2).map(|n| format!("<b a={n}>")).collect();
    let hostile = format!("<p>{formats}</p>{}", "<p>x".repeat(MOST_TAGS / 2 - 2));
    let (markup, _) = formatted(&hostile);
    assert!(markup.len() < 120_000, "{}", markup.len());
    let (_, text) = formatted(&format!("<a {}>x</a>", "b ".repeat(LONGEST / 2 - 10)));
    assert_eq!(text, "x");
}

#[test]
fn xhtml_becomes_html_without_what_is_hostile() {
    for (markup, html) in [
        ("<body><p style='font-weight:bold'>hi!</p></body>", "<p style=\"font-weight:bold\">hi!</p>"),
        ("<body>a<br></br>b <em>&lt;c&gt;</em></body>", "a<br>b <em>&lt;c&gt;</em>"),
        ("<body><script>x</script><p onclick='x'>y</p></body>", "<p>y</p>"),
        ("<body><a href='javascript:x'>y</a><iframe>z</iframe><object>q</object></body>", "y"),
        ("<body><a href='https://a.example/'>y</a></body>", "<a href=\"https://a.example/\">y</a>"),
        ("<body><acronym title='t'>A</acronym><unknown>b</unknown></body>", "Ab"),
        ("<body><SCRIPT>x</SCRIPT>y</body>", "y"),
    ] {
        assert_eq!(to_html(markup, "").as_deref(), Some(html), "{markup}");
    }
    for nothing in ["<body></body>", "<body> \n</body>", "<body><script>x</script></body>", "<body>", "text", ""] {
        assert_eq!(to_html(nothing, ""), None, "{nothing}");
    }
}

#[test]
fn xhtml_that_is_too_much_is_left_out() {
    let paragraphs = |count: usize| format!("<body>{}</body>", "<p>x</p>".repeat(count));
    assert!(to_html(&paragraphs(MOST_TAGS - 1), "x").is_some());
    assert_eq!(to_html(&paragraphs(MOST_TAGS), "x"), None);
    assert_eq!(to_html(&format!("<body>{}</body>", "x".repeat(LONGEST)), "x"), None);
    // Formats that HTML begins again in each paragraph.
    let formats = ["<em>", "</em>"].map(|tag| tag.repeat(30));
    let hostile = format!("<body><p>{}{}{}</p></body>", formats[0], "<p>x</p>".repeat(200), formats[1]);
    assert!(to_html(&hostile, "x").is_some_and(|html| html.len() < 100_000));
}

/// The plain bodies of the examples of XEP-0071 section 9, and others.
#[test]
fn a_format_that_says_less_than_the_body_is_left_out() {
    let says = |markup: &str, body: &str| to_html(&format!("<body>{markup}</body>"), body).is_some();
    for (markup, body) in [
        (
            "<p style='font-size:large'><em>Wow</em>, I'm <span>green</span> with <strong>envy</strong>!</p>",
            "Wow, I'm green with envy!",
        ),
        (
            "<p>Hey, are you licensed to <a href='http://www.jabber.org/'>Jabber</a>?</p><p><img \
             src='http://www.xmpp.org/images/psa-license.jpg' alt='A License'></img></p>",
            "Hey, are you licensed to Jabber?\n\nhttp://www.xmpp.org/images/psa-license.jpg",
        ),
        (
            "<p>.plan:</p><ol><li>Add:<ul><li>lists</li><li>styles</li></ul></li><li>Relax</li></ol>",
            ".plan:\n1. Add:\n   - lists\n   * styles\n2. Relax",
        ),
        ("<b>\u{1f600}</b> more", "\u{1f600}"),
        ("a<br></br>b", "a\nb"),
    ] {
        assert!(says(markup, body), "{markup}");
    }
    for (markup, body) in
        [("yes", "no"), ("two one", "one two"), ("hi", "hi \u{1f600}"), ("<script>all</script>some", "all")]
    {
        assert!(!says(markup, body), "{markup}");
    }
    // Of a long list the numbers of the first items are passed over.
    for (items, fits) in [(64, true), (65, false)] {
        let numbered: Vec<_> = (1..=items).map(|n| format!("{n}. x")).collect();
        assert_eq!(says(&"<p>x</p>".repeat(items), &numbered.join("\n")), fits, "{items}");
    }
}

proptest! {
    #[test]
    fn whatever_comes_is_well_formed_and_conforms(
        html in "(<(p|b|i|a|li|ul|table|td|svg|math|script|img|br|/p|/b|/i|/a|/ul|!--|!\\[CDATA\\[)( (href|src|style|on|x)=('|\"|)[a-z:;()\"' ]{0,8})?>?|[ -~]{0,6}|\\PC|\u{0}|\u{1}|&[a-z#0-9]{1,5};){0,24}"
    ) {
        if let Ok(formatted) = from_html(&html, &mut Budget::default()) {
            assert_conforms(&formatted.markup);
            // What was made of HTML is XHTML-IM as it is.
            let again = format!("<body>{}</body>", formatted.markup);
            prop_assert!(to_html(&again, &formatted.text).is_some() || formatted.markup.trim().is_empty() || formatted.text.is_empty());
        }
    }

    #[test]
    fn any_characters_are_text(html in any::<String>()) {
        if let Ok(formatted) = from_html(&html, &mut Budget::default()) {
            assert_conforms(&formatted.markup);
        }
    }
}
