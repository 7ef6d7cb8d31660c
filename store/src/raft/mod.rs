//! The only place that names openraft: nothing of it leaves this crate.

pub(crate) mod log_counters;
mod log_memory;
pub(crate) mod log_storage;
pub(crate) mod log_writer;
pub(crate) mod types;
pub(crate) mod wire;
