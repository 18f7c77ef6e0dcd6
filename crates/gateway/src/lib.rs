//! The edge of entente: the only crate that knows sockets, the clock, files and signals.
//!
//! [`driver`] runs machines ([`turn::Machine`]) on one thread; [`net`] holds the sockets it does so with; [`config`] reads
//! gateway.toml and [`assembly`] makes the engine's settings of it; [`telemetry`] sets up the log; [`measures`] names the
//! engine's counters, which [`admin`] serves beside the health; [`letters`] puts what could not be delivered into other
//! hands; [`store`] keeps what has to outlive the program; [`program`] runs it all until a signal ends it and tells systemd of
//! it; [`sandbox`] runs it between two domains of its own. No header, stanza or status code is spelled in this crate, but for
//! the headers of an e-mail.

#![forbid(unsafe_code)]

pub mod admin;
pub mod assembly;
pub mod config;
pub mod driver;
pub mod letters;
mod manager;
pub mod measures;
pub mod net;
pub mod next_hops;
pub mod program;
pub mod queue;
pub mod sandbox;
pub mod store;
pub mod telemetry;
