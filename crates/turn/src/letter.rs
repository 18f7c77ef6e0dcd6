//! What a machine gives up and has put into other hands.

use std::time::SystemTime;

/// A message that was accepted and could not be delivered, for whoever looks after the gateway. It is in those hands only when
/// the machine is told so: until then the machine keeps it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Letter {
    /// Its name with the machine: the same letter, handed over again, has the same one.
    pub id: String,
    /// Who wrote it, as people would write the address.
    pub source: String,
    /// Whom it was for.
    pub destination: String,
    /// When it came, where that is known.
    pub arrived: Option<SystemTime>,
    /// Why it was not delivered, in a few words.
    pub reason: &'static str,
    /// What the content is: a MIME type with its parameters, as it came.
    pub content_type: Vec<u8>,
    /// The content, as it came.
    pub content: Vec<u8>,
}
