//! The global control plane: one member of the Raft cluster that holds meshes and policies.

mod contents;
mod flags;
mod kds;
mod mutant;
mod run;
mod zones;

pub use flags::RunArgs;
pub use run::run;
