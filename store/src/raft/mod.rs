//! The only place that names openraft: nothing of it leaves this crate.

pub(crate) mod types;
pub(crate) mod wire;
