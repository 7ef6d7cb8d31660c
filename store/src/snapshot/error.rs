//! What can be wrong with a snapshot file, in words for whoever has to act on it.

use std::io;
use std::path::{Path, PathBuf};

use higuma_model::ClusterId;

use super::frame::FORMAT;
use crate::log::rejoin;

/// Why there is no state to start from, or why a snapshot could not be kept.
#[derive(Debug, thiserror::Error)]
pub enum SnapshotError {
    #[error("cannot {doing} {}: {source}", path.display())]
    Io { doing: &'static str, path: PathBuf, source: io::Error },
    #[error(
        "the snapshot {} is damaged at byte {offset}: {why}. It held the state of this node; the \
         log no longer reaches back to its beginning, nor to an older snapshot. {}",
        path.display(),
        rejoin!()
    )]
    Damaged { path: PathBuf, offset: usize, why: String },
    #[error(
        "no snapshot is left in {}, and the log begins after entry {purged}: the state up to there \
         is lost. Put the file back; {}",
        path.display(),
        rejoin!()
    )]
    Missing { path: PathBuf, purged: u64 },
    #[error(
        "the snapshot {} ends at entry {last}, and the log begins only after entry {purged}: a \
         newer snapshot is missing. Put the file back; {}",
        path.display(),
        rejoin!()
    )]
    Gap { path: PathBuf, last: u64, purged: u64 },
    #[error(
        "{} is a snapshot of cluster {found}, but this node belongs to cluster {expected}. Put back \
         the files of this node",
        path.display()
    )]
    Foreign { path: PathBuf, found: ClusterId, expected: ClusterId },
    #[error(
        "{} has format {found}, this program knows format {FORMAT}: another version wrote it. \
         Start that version again",
        path.display()
    )]
    Format { path: PathBuf, found: u32 },
    #[error(
        "{} holds section {kind}, which this program does not know: a newer version wrote it. \
         Start that version again",
        path.display()
    )]
    Section { path: PathBuf, kind: u32 },
    #[error(
        "{} is intact but not understood ({why}): another version wrote it. Start that version \
         again",
        path.display()
    )]
    NotUnderstood { path: PathBuf, why: String },
    #[error(
        "the snapshot {} was written and synced, and reads back differently: this disk can't be \
         trusted. The log still holds everything. {}",
        path.display(),
        rejoin!()
    )]
    ReadBack { path: PathBuf },
    #[error("the store is closed")]
    Closed,
    #[error("the thread that worked on a snapshot ended: {0}")]
    Thread(String),
}

/// What is wrong with the bytes of one, wherever they are.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Broken {
    Damaged { offset: usize, why: String },
    Format(u32),
    Section(u32),
    NotUnderstood(String),
    Foreign { found: ClusterId, expected: ClusterId },
}

impl Broken {
    pub(super) fn damaged(offset: usize, why: String) -> Self {
        Self::Damaged { offset, why }
    }

    pub(super) fn at(self, path: PathBuf) -> SnapshotError {
        match self {
            Self::Damaged { offset, why } => SnapshotError::Damaged { path, offset, why },
            Self::Format(found) => SnapshotError::Format { path, found },
            Self::Section(kind) => SnapshotError::Section { path, kind },
            Self::NotUnderstood(why) => SnapshotError::NotUnderstood { path, why },
            Self::Foreign { found, expected } => SnapshotError::Foreign { path, found, expected },
        }
    }
}

impl SnapshotError {
    pub(super) fn io(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io { doing, path: path.to_owned(), source }
    }
}
