//! `entente queue`.

/// The socket in the folder of the journal.
pub const SOCKET: &str = "control";
