//! The global control plane: one member of the Raft cluster that holds meshes and policies.

mod authority;
mod flags;
mod run;

pub use flags::RunArgs;
pub use run::run;
