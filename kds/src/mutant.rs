//! Deliberate defects of a zone's end, for the tests that must find them.

use crate::Fence;

/// A deliberate defect: a fence that the zone leaves by itself, taking all that the global lists
/// and deleting all that it does not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mutant {
    /// A global that was rolled back, or whose history was rewritten, is obeyed: as by a zone that
    /// knows its global by the cluster's id alone.
    ObeyRollback,
    /// The first list of a cluster that is not known yet is obeyed, an empty one too: as by a zone
    /// that takes a new cluster for a first contact, and what its list lacks for deleted.
    EmptyListDeletes,
}

impl Mutant {
    /// As people name them.
    pub const NAMES: &[(&str, Self)] =
        &[("obey-rollback", Self::ObeyRollback), ("empty-list-deletes", Self::EmptyListDeletes)];

    /// Whether it leaves this fence.
    pub(crate) fn leaves(self, fence: &Fence) -> bool {
        match self {
            Self::ObeyRollback => {
                matches!(fence, Fence::RolledBack { .. } | Fence::AnotherHistory { .. })
            }
            Self::EmptyListDeletes => matches!(fence, Fence::AnotherCluster { .. }),
        }
    }
}
