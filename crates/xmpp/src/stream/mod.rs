//! Streams: XEP-0114 components, both roles, and accepting clients.
