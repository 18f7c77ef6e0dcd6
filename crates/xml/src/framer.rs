//! Where the stanzas of a stream begin and end, found without parsing them.

use crate::{Error, Limits};
use memchr::memchr;

/// Cuts a stream into its header, its depth-1 elements and its end.
///
/// ```text
///            declaration, white space
///   Prolog ---------------------------> Prolog
///   Prolog --<stream:stream>----------> Between     Frame::Header
///   Between --<name ...>--------------> Content     depth 1
///   Content --<name ...>, </name>-----> Content     depth +1, -1
///   Content --</name>, depth 0--------> Between     Frame::Stanza
///   Between --</name>-----------------> Between     Frame::Close
/// ```
///
/// It remembers how far it has looked, so octets that arrive one by one are looked at once. Its place is counted from the
/// start of the data it is given: whoever calls it drops exactly the octets that a frame says are consumed, and gives what
/// remains, with what arrived since, to the next call.
#[derive(Clone, Debug)]
pub struct Framer {
    limits: Limits,
    /// The header has been seen.
    open: bool,
    /// The XML declaration has been seen.
    declared: bool,
    /// Elements open inside the current stanza; zero between stanzas.
    depth: usize,
    /// How far the data has been looked at.
    at: usize,
    place: Place,
}

/// What the octet at `Framer::at` is part of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// Text, or white space between stanzas.
    Content,
    /// A start tag, behind its `<`; attributes seen so far.
    Tag { attributes: usize },
    /// A value in a start tag, and the quote that ends it.
    Value { quote: u8, attributes: usize },
    /// An end tag, behind its `</`.
    EndTag,
    /// A CDATA section, behind its `<![CDATA[`.
    CData,
    /// The XML declaration, behind its `<?`.
    Declaration,
}

/// What the octets of a stream are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Frame<'a> {
    /// Nothing whole yet. White space in front may be dropped.
    Incomplete {
        /// Octets to drop.
        consumed: usize,
    },
    /// The start tag of the stream.
    Header {
        /// From `<` to `>`.
        bytes: &'a [u8],
        /// Octets to drop.
        consumed: usize,
    },
    /// An element of depth one.
    Stanza {
        /// From `<` to `>`.
        bytes: &'a [u8],
        /// Octets to drop.
        consumed: usize,
    },
    /// The end tag of the stream.
    Close {
        /// Octets to drop.
        consumed: usize,
    },
}

const CDATA: &[u8] = b"<![CDATA[";

impl Framer {
    /// A framer for a stream that begins.
    pub fn new(limits: Limits) -> Self {
        Self { limits, open: false, declared: false, depth: 0, at: 0, place: Place::Content }
    }

    /// The stream begins anew with the next octet, as it does after STARTTLS and SASL (RFC 6120 sections 5.4.3.3, 6.4.6).
    pub fn restart(&mut self) {
        *self = Self::new(self.limits);
    }

    /// Other limits from here on, as after authentication.
    pub fn set_limits(&mut self, limits: Limits) {
        self.limits = limits;
    }

    /// Looks for the next frame. After an error the stream has no further frames.
    pub fn scan<'a>(&mut self, data: &'a [u8]) -> Result<Frame<'a>, Error> {
        let mut start = 0;
        if self.depth == 0 && self.place == Place::Content {
            start = self.skip_white_space(data);
        }
        loop {
            match self.place {
                Place::Content => {
                    if self.depth == 0 {
                        // Between stanzas, or before the header: a declaration has just ended.
                        if self.at > start && !self.open {
                            start = self.skip_white_space(data);
                        }
                        match data.get(self.at) {
                            None => return Ok(self.incomplete(start)),
                            Some(b'<') => {}
                            Some(_) => return Err(Error::StrayText),
                        }
                    } else {
                        let rest = data.get(self.at..).unwrap_or_default();
                        let Some(found) = memchr(b'<', rest) else {
                            return self.wait(data, start);
                        };
                        self.at += found;
                    }
                    if !self.enter_markup(data)? {
                        return self.wait(data, start);
                    }
                }
                Place::Tag { mut attributes } => {
                    let rest = data.get(self.at..).unwrap_or_default();
                    let Some(found) = rest.iter().position(|octet| matches!(octet, b'>' | b'\'' | b'"' | b'<')) else {
                        self.at = data.len();
                        return self.wait(data, start);
                    };
                    let octet = rest.get(found).copied().unwrap_or_default();
                    self.at += found + 1;
                    match octet {
                        b'<' => return Err(Error::LessThan),
                        b'>' => {
                            self.place = Place::Content;
                            let empty = self.at.checked_sub(2).and_then(|before| data.get(before)) == Some(&b'/');
                            if let Some(frame) = self.after_tag(data, start, empty)? {
                                return Ok(frame);
                            }
                        }
                        quote => {
                            attributes += 1;
                            if attributes > self.limits.attributes {
                                return Err(Error::TooManyAttributes);
                            }
                            self.place = Place::Value { quote, attributes };
                        }
                    }
                }
                Place::Value { quote, attributes } => {
                    let rest = data.get(self.at..).unwrap_or_default();
                    let Some(found) = rest.iter().position(|octet| *octet == quote || *octet == b'<') else {
                        self.at = data.len();
                        return self.wait(data, start);
                    };
                    if rest.get(found) == Some(&b'<') {
                        return Err(Error::LessThan);
                    }
                    self.at += found + 1;
                    self.place = Place::Tag { attributes };
                }
                Place::EndTag => {
                    if !self.skip_behind(data, b"") {
                        return self.wait(data, start);
                    }
                    self.place = Place::Content;
                    if self.depth == 0 {
                        return Ok(Frame::Close { consumed: self.leave() });
                    }
                    self.depth -= 1;
                    if self.depth == 0 {
                        return self.whole(data, start, self.limits.stanza, |bytes, consumed| Frame::Stanza {
                            bytes,
                            consumed,
                        });
                    }
                }
                Place::CData => {
                    if !self.skip_behind(data, b"]]") {
                        return self.wait(data, start);
                    }
                    self.place = Place::Content;
                }
                Place::Declaration => {
                    if !self.skip_behind(data, b"?") {
                        return self.wait(data, start);
                    }
                    check_declaration(data.get(start..self.at).unwrap_or_default())?;
                    self.declared = true;
                    self.place = Place::Content;
                }
            }
        }
    }

    /// At a `<`: which markup begins. `false` when that cannot be said yet.
    fn enter_markup(&mut self, data: &[u8]) -> Result<bool, Error> {
        let markup = data.get(self.at..).unwrap_or_default();
        let (length, place) = match markup.get(1) {
            None => return Ok(false),
            Some(b'/') if self.open => (2, Place::EndTag),
            Some(b'/') => return Err(Error::Markup),
            Some(b'?') if !self.open && !self.declared => (2, Place::Declaration),
            Some(b'?') => return Err(Error::ProcessingInstruction),
            Some(b'!') => {
                if let Some(kind) = markup.get(2) {
                    match kind {
                        b'-' => return Err(Error::Comment),
                        b'D' | b'd' => return Err(Error::DocumentType),
                        _ => {}
                    }
                }
                let prefix = markup.get(..CDATA.len()).unwrap_or(markup);
                if !CDATA.starts_with(prefix) {
                    return Err(Error::Markup);
                }
                if self.depth == 0 {
                    return Err(Error::StrayText);
                }
                if prefix.len() < CDATA.len() {
                    return Ok(false);
                }
                (CDATA.len(), Place::CData)
            }
            Some(_) => (1, Place::Tag { attributes: 0 }),
        };
        self.at += length;
        self.place = place;
        Ok(true)
    }

    /// Behind the `>` of a start tag.
    fn after_tag<'a>(&mut self, data: &'a [u8], start: usize, empty: bool) -> Result<Option<Frame<'a>>, Error> {
        if !self.open {
            if empty {
                return Err(Error::Unclosed);
            }
            self.open = true;
            let limit = self.limits.header;
            return self.whole(data, start, limit, |bytes, consumed| Frame::Header { bytes, consumed }).map(Some);
        }
        // An empty element is as deep as its start tag.
        if self.depth >= self.limits.depth {
            return Err(Error::TooDeep);
        }
        if !empty {
            self.depth += 1;
        } else if self.depth == 0 {
            let limit = self.limits.stanza;
            return self.whole(data, start, limit, |bytes, consumed| Frame::Stanza { bytes, consumed }).map(Some);
        }
        Ok(None)
    }

    /// Steps over white space between stanzas.
    fn skip_white_space(&mut self, data: &[u8]) -> usize {
        let rest = data.get(self.at..).unwrap_or_default();
        self.at += rest.iter().position(|octet| !is_white_space(*octet)).unwrap_or(rest.len());
        self.at
    }

    /// Moves behind the next `>` that has `before` in front of it, all of it inside the markup.
    fn skip_behind(&mut self, data: &[u8], before: &[u8]) -> bool {
        while let Some(found) = memchr(b'>', data.get(self.at..).unwrap_or_default()) {
            let end = self.at + found;
            self.at = end + 1;
            if data.get(..end).unwrap_or_default().ends_with(before) {
                return true;
            }
        }
        self.at = data.len();
        false
    }

    /// Nothing whole yet, with an element begun at `start`.
    fn wait<'a>(&mut self, data: &[u8], start: usize) -> Result<Frame<'a>, Error> {
        if self.place == Place::Content && self.depth > 0 {
            // A `<` whose kind is not known yet is looked at again; all other text is done.
            if data.get(self.at) != Some(&b'<') {
                self.at = data.len();
            }
        }
        let limit = if self.open { self.limits.stanza } else { self.limits.header };
        if data.len() - start.min(data.len()) > limit {
            return Err(Error::TooLong);
        }
        Ok(self.incomplete(start))
    }

    fn incomplete<'a>(&mut self, start: usize) -> Frame<'a> {
        self.at -= start.min(self.at);
        Frame::Incomplete { consumed: start }
    }

    /// A frame that ends here.
    fn whole<'a>(
        &mut self,
        data: &'a [u8],
        start: usize,
        limit: usize,
        frame: fn(&'a [u8], usize) -> Frame<'a>,
    ) -> Result<Frame<'a>, Error> {
        let bytes = data.get(start..self.at).unwrap_or_default();
        if bytes.len() > limit {
            return Err(Error::TooLong);
        }
        Ok(frame(bytes, self.leave()))
    }

    fn leave(&mut self) -> usize {
        std::mem::take(&mut self.at)
    }
}

/// `<?xml version="1.x" encoding="UTF-8" ...?>` (XML 1.0 section 2.8; RFC 6120 section 11.5).
fn check_declaration(bytes: &[u8]) -> Result<(), Error> {
    let text = std::str::from_utf8(bytes).map_err(|_| Error::NotUtf8)?;
    let inner = text.strip_prefix("<?").and_then(|text| text.strip_suffix("?>")).ok_or(Error::Declaration)?;
    let Some(attributes) = inner.strip_prefix("xml").filter(|rest| rest.starts_with([' ', '\t', '\r', '\n'])) else {
        return Err(if inner.starts_with("xml") && inner.len() == 3 {
            Error::Declaration
        } else {
            Error::ProcessingInstruction
        });
    };
    let mut version = false;
    for (place, attribute) in crate::attribute::attributes(attributes, 0).enumerate() {
        let (name, value) = attribute?;
        match (place, name) {
            (0, "version") if value.starts_with("1.") => version = true,
            (_, "encoding") if value.eq_ignore_ascii_case("UTF-8") => {}
            (_, "encoding") => return Err(Error::Encoding),
            (_, "standalone") => {}
            _ => return Err(Error::Declaration),
        }
    }
    if version { Ok(()) } else { Err(Error::Declaration) }
}

/// The `S` production.
pub(crate) fn is_white_space(octet: u8) -> bool {
    matches!(octet, b' ' | b'\t' | b'\r' | b'\n')
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEADER: &str = "<?xml version='1.0'?>\n<stream:stream xmlns='jabber:component:accept' \
                          xmlns:stream='http://etherx.jabber.org/streams' to='a>b'>";

    /// Feeds `input` in pieces that end at `cuts`, keeping the tail as a driver does.
    fn frames(input: &[u8], cuts: &[usize], limits: Limits) -> (Vec<(char, String)>, Option<Error>) {
        let mut framer = Framer::new(limits);
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

    proptest::proptest! {
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
}
