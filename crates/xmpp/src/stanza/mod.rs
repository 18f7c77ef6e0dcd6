//! Stanzas: `<message/>`, `<presence/>`, `<iq/>` (RFC 6120 section 8), read and written.
