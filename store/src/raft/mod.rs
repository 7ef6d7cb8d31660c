//! The only place that names openraft: nothing of it leaves this crate.

mod network;
mod state_machine;
pub(crate) mod types;
pub(crate) mod wire;
