//! The global control plane: one member of the Raft cluster that holds meshes and policies.

mod contents;
mod flags;
mod kds;
mod mutant;
mod run;
mod zones;

pub use flags::{MemberFlag, RunArgs, member_list};
pub use run::run;

/// What is done to a global's data while it does not run.
pub mod offline {
    pub use higuma_store::{
        Backup, BackupError, NodeId, Passing, Remains, RestoreError, SeedError, Survivor,
        SurvivorError, restore,
    };
}
