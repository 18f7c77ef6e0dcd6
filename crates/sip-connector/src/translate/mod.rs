//! SIP to CPIM and back, without state: one file per subject.

pub mod address;
pub mod content;
pub mod date;
pub mod device;
pub mod envelope;
pub mod message;
pub mod redirect;
pub(crate) mod rich;
pub mod status;
pub mod thread;
