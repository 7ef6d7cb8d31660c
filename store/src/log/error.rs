//! What can go wrong with the log, in words for whoever has to act on it.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::extent::Gap;
use super::frame::FORMAT;
use crate::identity::Identity;

/// How a damaged node comes back. Its data is evidence until it was replaced, and the entries it
/// acknowledged may be needed for a majority.
macro_rules! rejoin {
    () => {
        "To rejoin: first replace this node in its cluster (add a node with a new id, wait until \
         it has caught up, remove this one), and only after that remove this node's data folder"
    };
}

pub(crate) use rejoin;

/// Why the log does not open. Nothing was changed on disk but what a crash had left unfinished.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error("cannot {doing} {}: {source}", path.display())]
    Io { doing: &'static str, path: PathBuf, source: io::Error },
    #[error(
        "the log is damaged: {} at byte {offset}: {why}. This is not a write that a crash cut \
         short: entries that this node had acknowledged are lost or altered. {}",
        path.display(),
        rejoin!()
    )]
    Damaged { path: PathBuf, offset: u64, why: String },
    #[error(
        "the log is incomplete: {} is missing. Crashes do not remove it: entries that this node \
         had acknowledged are lost. Put the file back; {}",
        path.display(),
        rejoin!()
    )]
    Missing { path: PathBuf },
    #[error(
        "{} belongs to {found}, but this is {expected}. Start this process with its own data \
         folder, or put back the file that was there",
        path.display()
    )]
    Foreign { path: PathBuf, found: Identity, expected: Identity },
    #[error(
        "{} has format {found}, this program knows format {FORMAT}: another version wrote it. \
         Start that version again",
        path.display()
    )]
    Format { path: PathBuf, found: u32 },
    #[error(
        "{} at byte {offset} is intact but not understood ({why}): another version wrote it. \
         Start that version again",
        path.display()
    )]
    NotUnderstood { path: PathBuf, offset: u64, why: String },
}

impl OpenError {
    pub(super) fn io(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io { doing, path: path.to_owned(), source }
    }
}

/// Why a batch was not made durable. After `Io` some of its records may be on disk, and the log
/// takes no more; after the others but `Failed` nothing was written.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CommitError {
    #[error(
        "cannot {doing} {}: {source}. What this node acknowledged is on its disk; of the writes \
         under way nothing is known here, and it writes no more. Make room or mend the disk, then \
         start it again: the other members make up for it. If the disk is lost, replace this node \
         in its cluster",
        path.display()
    )]
    Io { doing: &'static str, path: PathBuf, source: io::Error },
    #[error("the log failed earlier: {0}")]
    Failed(Arc<str>),
    #[error("a record of {bytes} bytes is larger than the {limit} that the log takes")]
    TooLarge { bytes: usize, limit: usize },
    #[error("the log must stay dense: {0}")]
    Gap(#[from] Gap),
}

impl CommitError {
    pub(super) fn io(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io { doing, path: path.to_owned(), source }
    }
}
