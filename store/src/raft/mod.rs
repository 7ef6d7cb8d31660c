//! The only place that names openraft: nothing of it leaves this crate.

mod changes;
pub(crate) mod history_source;
mod intake;
pub(crate) mod log_counters;
mod log_memory;
pub(crate) mod log_storage;
pub(crate) mod log_writer;
pub(crate) mod network;
pub(crate) mod orders;
mod receiving;
pub(crate) mod retention;
pub(crate) mod roll;
pub(crate) mod roster;
pub(crate) mod running;
mod sending;
pub(crate) mod service;
pub(crate) mod state_machine;
pub(crate) mod tls;
pub(crate) mod types;
pub(crate) mod warden;
pub(crate) mod wire;
