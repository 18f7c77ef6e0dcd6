//! XMPP to CPIM and back, without state: one file per subject.

pub mod address;
pub mod content;
pub mod e2e;
pub mod error;
pub mod language;
pub mod message;
pub mod offered;
pub mod xhtml;
