//! SIP messages as a peer wrote them down, read just well enough for assertions.
//!
//! This is not the parser under test: what it says about a message must not depend on it.

/// One message of a trace.
#[derive(Clone, Debug)]
pub struct Traced {
    /// Whether the peer that keeps the trace sent it.
    pub sent: bool,
    /// The message, line ends as they were.
    pub text: String,
}

impl Traced {
    /// The first line.
    pub fn start_line(&self) -> &str {
        self.text.lines().next().unwrap_or_default()
    }

    /// The status of a response.
    pub fn status(&self) -> Option<u16> {
        self.start_line().strip_prefix("SIP/2.0 ")?.get(..3)?.parse().ok()
    }

    /// The method of a request.
    pub fn method(&self) -> Option<&str> {
        let line = self.start_line();
        line.ends_with(" SIP/2.0").then(|| line.split(' ').next().unwrap_or_default())
    }

    /// The value of the first header of that name.
    pub fn header(&self, name: &str) -> Option<&str> {
        let head = self.text.split("\r\n\r\n").next()?;
        head.lines().skip(1).find_map(|line| {
            let (found, value) = line.split_once(':')?;
            found.trim().eq_ignore_ascii_case(name).then(|| value.trim())
        })
    }

    /// The body.
    pub fn body(&self) -> &str {
        self.text.split_once("\r\n\r\n").map_or("", |(_, body)| body)
    }
}

/// A trace without what had been sent or got before, octet for octet: retransmissions, of which there may be any number where
/// the machine is busy.
pub fn without_retransmissions(trace: Vec<Traced>) -> Vec<Traced> {
    let mut once: Vec<Traced> = Vec::with_capacity(trace.len());
    for traced in trace {
        if !once.iter().any(|before| before.sent == traced.sent && before.text == traced.text) {
            once.push(traced);
        }
    }
    once
}

/// Who is meant by a URI, in angle brackets or not: what comes before its parameters, of which one names a device (RFC 5627).
pub fn user_of(uri: &str) -> &str {
    let uri = uri.trim_start_matches('<').trim_end_matches('>');
    uri.split(';').next().unwrap_or(uri)
}
