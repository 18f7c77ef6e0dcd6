//! A store for tests, and what every store keeps to.

pub mod contract;
mod simulated;

pub use simulated::{Condition, SimulatedStore};
