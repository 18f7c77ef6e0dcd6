//! Streams: XEP-0114 components, both roles, and accepting clients.

pub mod client;
pub mod component;
mod error;
pub mod initiator;

pub use error::{STREAM_ERROR_NAMESPACE, StreamError};
