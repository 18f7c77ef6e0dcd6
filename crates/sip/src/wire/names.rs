//! Header field names: the ones this program reads, in their full and compact forms.
//!
//! RFC 3261 section 20 and 7.3.3 (compact forms); the IANA registry for those of later RFCs.

macro_rules! names {
    ($($(#[$doc:meta])* $variant:ident = $text:literal,)*) => {
        /// A header field name. Comparison on the wire ignores case (RFC 3261 section 7.3.1).
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[repr(u8)]
        pub enum HeaderName {
            $(#[doc = concat!("`", $text, "`")] $variant,)*
            /// One that has no name of its own here.
            Other,
        }

        impl HeaderName {
            /// Every name but [`HeaderName::Other`].
            pub const ALL: &[HeaderName] = &[$(HeaderName::$variant,)*];

            /// How the name is written; empty for [`HeaderName::Other`].
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(HeaderName::$variant => $text,)*
                    HeaderName::Other => "",
                }
            }
        }
    };
}

names! {
    Via = "Via",
    From = "From",
    To = "To",
    CallId = "Call-ID",
    CSeq = "CSeq",
    MaxForwards = "Max-Forwards",
    ContentType = "Content-Type",
    ContentLength = "Content-Length",
    ContentEncoding = "Content-Encoding",
    ContentDisposition = "Content-Disposition",
    ContentLanguage = "Content-Language",
    Contact = "Contact",
    Route = "Route",
    RecordRoute = "Record-Route",
    Require = "Require",
    ProxyRequire = "Proxy-Require",
    Supported = "Supported",
    Unsupported = "Unsupported",
    Allow = "Allow",
    AllowEvents = "Allow-Events",
    Accept = "Accept",
    AcceptEncoding = "Accept-Encoding",
    AcceptLanguage = "Accept-Language",
    Expires = "Expires",
    MinExpires = "Min-Expires",
    Date = "Date",
    Subject = "Subject",
    Event = "Event",
    SubscriptionState = "Subscription-State",
    SipEtag = "SIP-ETag",
    SipIfMatch = "SIP-If-Match",
    Warning = "Warning",
    RetryAfter = "Retry-After",
    WwwAuthenticate = "WWW-Authenticate",
    Authorization = "Authorization",
    ProxyAuthenticate = "Proxy-Authenticate",
    ProxyAuthorization = "Proxy-Authorization",
    AuthenticationInfo = "Authentication-Info",
    UserAgent = "User-Agent",
    Server = "Server",
    Priority = "Priority",
    InReplyTo = "In-Reply-To",
    ReplyTo = "Reply-To",
    ReferTo = "Refer-To",
    PAssertedIdentity = "P-Asserted-Identity",
    Path = "Path",
    Timestamp = "Timestamp",
    MimeVersion = "MIME-Version",
    Organization = "Organization",
}

impl HeaderName {
    /// Which header field `name` is, by its length and first letter and then one comparison. Nearly all are written as they
    /// are here.
    pub fn classify(name: &[u8]) -> Self {
        use HeaderName::*;
        let Some(first) = name.first().map(|byte| byte | 0x20) else { return Other };
        let candidates: &[HeaderName] = match (name.len(), first) {
            (1, b'v') => return Via,
            (1, b'f') => return From,
            (1, b't') => return To,
            (1, b'i') => return CallId,
            (1, b'm') => return Contact,
            (1, b'c') => return ContentType,
            (1, b'l') => return ContentLength,
            (1, b'e') => return ContentEncoding,
            (1, b'k') => return Supported,
            (1, b's') => return Subject,
            (1, b'o') => return Event,
            (1, b'u') => return AllowEvents,
            (1, b'r') => return ReferTo,
            (2, b't') => &[To],
            (3, b'v') => &[Via],
            (4, b'f') => &[From],
            (4, b'c') => &[CSeq],
            (4, b'd') => &[Date],
            (4, b'p') => &[Path],
            (5, b'a') => &[Allow],
            (5, b'e') => &[Event],
            (5, b'r') => &[Route],
            (6, b'a') => &[Accept],
            (6, b's') => &[Server],
            (7, b'c') => &[CallId, Contact],
            (7, b'e') => &[Expires],
            (7, b'r') => &[Require],
            (7, b's') => &[Subject],
            (7, b'w') => &[Warning],
            (8, b'p') => &[Priority],
            (8, b'r') => &[ReplyTo, ReferTo],
            (8, b's') => &[SipEtag],
            (9, b's') => &[Supported],
            (9, b't') => &[Timestamp],
            (10, b'u') => &[UserAgent],
            (11, b'i') => &[InReplyTo],
            (11, b'm') => &[MinExpires],
            (11, b'r') => &[RetryAfter],
            (11, b'u') => &[Unsupported],
            (12, b'a') => &[AllowEvents],
            (12, b'c') => &[ContentType],
            (12, b'm') => &[MaxForwards, MimeVersion],
            (12, b'o') => &[Organization],
            (12, b'r') => &[RecordRoute],
            (12, b's') => &[SipIfMatch],
            (13, b'a') => &[Authorization],
            (13, b'p') => &[ProxyRequire],
            (14, b'c') => &[ContentLength],
            (15, b'a') => &[AcceptEncoding, AcceptLanguage],
            (16, b'c') => &[ContentEncoding, ContentLanguage],
            (16, b'w') => &[WwwAuthenticate],
            (18, b'p') => &[ProxyAuthenticate],
            (18, b's') => &[SubscriptionState],
            (19, b'a') => &[AuthenticationInfo],
            (19, b'c') => &[ContentDisposition],
            (19, b'p') => &[ProxyAuthorization, PAssertedIdentity],
            _ => return Other,
        };
        candidates
            .iter()
            .copied()
            .find(|candidate| {
                let known = candidate.as_str().as_bytes();
                known == name || known.eq_ignore_ascii_case(name)
            })
            .unwrap_or(Other)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_is_recognised_in_any_case() {
        for &name in HeaderName::ALL {
            assert_eq!(HeaderName::classify(name.as_str().as_bytes()), name);
            assert_eq!(HeaderName::classify(name.as_str().to_ascii_lowercase().as_bytes()), name);
            assert_eq!(HeaderName::classify(name.as_str().to_ascii_uppercase().as_bytes()), name);
        }
    }

    #[test]
    fn compact_forms_are_the_same_fields() {
        let forms = [
            ("v", HeaderName::Via),
            ("f", HeaderName::From),
            ("t", HeaderName::To),
            ("i", HeaderName::CallId),
            ("m", HeaderName::Contact),
            ("c", HeaderName::ContentType),
            ("l", HeaderName::ContentLength),
            ("e", HeaderName::ContentEncoding),
            ("k", HeaderName::Supported),
            ("s", HeaderName::Subject),
            ("o", HeaderName::Event),
            ("u", HeaderName::AllowEvents),
            ("r", HeaderName::ReferTo),
        ];
        for (compact, name) in forms {
            assert_eq!(HeaderName::classify(compact.as_bytes()), name, "{compact}");
            assert_eq!(HeaderName::classify(compact.to_ascii_uppercase().as_bytes()), name, "{compact}");
        }
        for letter in b"abdghjnpqwxyz0" {
            assert_eq!(HeaderName::classify(&[*letter]), HeaderName::Other);
        }
    }

    #[test]
    fn near_misses_are_other_fields() {
        for name in ["", "Vias", "Fro", "Call_ID", "CSec", "X-From", "Max-Forward", "Content-Typo", "\u{e9}"] {
            assert_eq!(HeaderName::classify(name.as_bytes()), HeaderName::Other, "{name}");
        }
    }
}
