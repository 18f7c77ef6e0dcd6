//! What the tests share: the engine in a world whose clock and network the test owns, and the player of transcripts.

pub mod book;
pub mod dice;
pub mod fuzz;
pub mod log;
pub mod ports;
pub mod settings;
pub mod steady;
pub mod store;
pub mod transcript;
pub mod world;

#[cfg(feature = "peers")]
pub mod peers;
