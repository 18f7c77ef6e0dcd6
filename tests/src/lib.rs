//! Being written.

#[cfg(feature = "peers")]
pub mod peers;
