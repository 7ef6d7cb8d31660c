//! A backup becomes the beginning of a new cluster.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use higuma_model::ClusterId;

use super::{End, Seat, SeedError};
use crate::identity::{DataFolder, FolderError, occupant};
use crate::options::NodeId;
use crate::proto;
use crate::snapshot::Backup;

/// The entry that a restored state stands at: the first that a log may have after the one that would
/// have formed the cluster.
const RESTORED: proto::LogId = proto::LogId { term: 1, index: 1 };

/// Why a backup was not restored. The folder is as it was, or empty.
#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    #[error(
        "the data folder {} is not empty: `{found}` is in it. Restore into an empty or a new \
         folder; nothing was changed",
        path.display()
    )]
    NotEmpty { path: PathBuf, found: String },
    #[error(transparent)]
    Seed(#[from] SeedError),
}

impl From<FolderError> for RestoreError {
    fn from(error: FolderError) -> Self {
        Self::Seed(error.into())
    }
}

/// Makes `folder`, which must be empty, that of the first node of a new cluster. Started with the
/// same members, it tells the others, whose folders are empty, and they get the state from it.
///
/// # Errors
/// The folder is in use or not empty, can't be written, or `node` is not the first of `members`.
pub fn restore(
    backup: &Backup,
    folder: &Path,
    node: NodeId,
    members: &BTreeMap<NodeId, String>,
) -> Result<ClusterId, RestoreError> {
    let not_empty = |found| RestoreError::NotEmpty { path: folder.to_owned(), found };
    // Before it is locked, too: no lock is to be left in somebody else's folder.
    if let Some(found) = occupant(folder)? {
        return Err(not_empty(found));
    }
    let locked = DataFolder::lock(folder)?;
    if let Some(found) = occupant(folder)? {
        return Err(not_empty(found));
    }
    let end = End {
        last: RESTORED,
        term: RESTORED.term,
        base: backup.state.version(),
        epoch_term: RESTORED.term,
    };
    let seat = Seat { folder: &locked, node, members };
    Ok(seat.take(&backup.state, &end, ".")?)
}
