//! Corpora in text: one input a line, octets outside of printable ASCII escaped as in a Rust byte string.

/// The inputs of a corpus.
///
/// # Panics
///
/// Where a line cannot be read.
pub fn inputs(text: &str) -> impl Iterator<Item = Vec<u8>> {
    text.lines().filter(|line| !line.starts_with('#')).map(octets)
}

/// The line of an input.
pub fn line(input: &[u8]) -> String {
    // An input that looks like a comment is none.
    match input.strip_prefix(b"#") {
        Some(rest) => format!("\\x23{}", rest.escape_ascii()),
        None => input.escape_ascii().to_string(),
    }
}

fn octets(line: &str) -> Vec<u8> {
    let mut octets = Vec::with_capacity(line.len());
    let mut rest = line.bytes();
    while let Some(octet) = rest.next() {
        let escaped = if octet == b'\\' { rest.next().expect("something behind a backslash") } else { 0 };
        octets.push(match escaped {
            0 => octet,
            b'n' => b'\n',
            b'r' => b'\r',
            b't' => b'\t',
            b'x' => {
                let mut digit = || {
                    let digit = rest.next().and_then(|digit| char::from(digit).to_digit(16));
                    digit.expect("two digits behind \\x") as u8
                };
                digit() * 16 + digit()
            }
            other => other,
        });
    }
    octets
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::assert_eq;

    #[test]
    fn a_line_is_read_as_it_was_written() {
        for input in [&b""[..], b"a\\b\r\n\t\0\xff'\"", b"# no comment", &(0..=255).collect::<Vec<u8>>()] {
            let line = line(input);
            assert!(!line.contains('\n'));
            assert_eq!(inputs(&line).next().unwrap_or_default(), input, "{line}");
        }
    }
}
