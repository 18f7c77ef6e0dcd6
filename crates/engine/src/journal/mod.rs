//! What the engine keeps durably: messages whose destination is away.

mod settings;

pub use settings::{Keep, Settings, When};
