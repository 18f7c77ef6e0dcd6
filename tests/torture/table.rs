//! Tables in text: one row per line, columns between tabs, `#` before a comment.
//!
//! In a column `\r`, `\n`, `\t`, `\\` and `\xNN` stand for octets, and `{text*count}` for so many repetitions.

/// The rows of a table with as many columns as asked for.
pub(crate) fn rows<const COLUMNS: usize>(text: &str) -> Vec<[&str; COLUMNS]> {
    text.lines()
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
        .map(|line| {
            let columns: Vec<&str> = line.split('\t').collect();
            columns.try_into().unwrap_or_else(|columns| panic!("{COLUMNS} columns: {columns:?}"))
        })
        .collect()
}

/// The octets that a column stands for.
pub(crate) fn octets(text: &str) -> Vec<u8> {
    let mut octets = Vec::new();
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        if first == '{' {
            let (inside, behind) = rest[1..].split_once('}').expect("a closing brace");
            let (what, count) = inside.rsplit_once('*').expect("a count");
            octets.extend(self::octets(what).repeat(count.parse().expect("a number")));
            rest = behind;
        } else if first == '\\' {
            let (octet, length) = match rest.as_bytes()[1] {
                b'r' => (b'\r', 2),
                b'n' => (b'\n', 2),
                b't' => (b'\t', 2),
                b'x' => (u8::from_str_radix(&rest[2..4], 16).expect("two digits"), 4),
                other => (other, 2),
            };
            octets.push(octet);
            rest = &rest[length..];
        } else {
            octets.extend_from_slice(&rest.as_bytes()[..first.len_utf8()]);
            rest = &rest[first.len_utf8()..];
        }
    }
    octets
}

#[test]
fn columns_are_read_as_written() {
    assert_eq!(rows::<2>("# comment\n\na\tb\n"), [["a", "b"]]);
    assert_eq!(octets(r"a\r\n\x00\\{\xffx*2}"), b"a\r\n\0\\\xffx\xffx");
}
