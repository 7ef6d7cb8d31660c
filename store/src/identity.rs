//! Whose data a folder holds: one cluster, one node.
//!
//! The `identity` file is written before the log exists and never changes owner; every segment of
//! the log repeats it. A lock keeps a second process out. This module knows nothing of what the
//! log says: it refuses a folder that belongs to somebody else, and one whose log has gone.

mod incoming;

use std::fmt;
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use higuma_model::ClusterId;
use rustix::fs::{FlockOperation, flock};
use serde::{Deserialize, Serialize};

pub(crate) use incoming::occupant;

/// The version of the `identity` file that this program reads and writes.
const FORMAT: u32 = 1;

const IDENTITY: &str = "identity";
const IDENTITY_ASIDE: &str = "identity.tmp";
const LOCK: &str = "lock";
const LOG: &str = "log";
const SNAPSHOTS: &str = "snapshots";
const HISTORY: &str = "history";
/// What a restore, or a `force-new`, is about to make the folder's contents.
const INCOMING: &str = "incoming";
/// In `incoming`, once all of it is there; says where what it replaces goes.
const COMPLETE: &str = "complete";

/// The owner of a data folder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Identity {
    pub(crate) cluster: ClusterId,
    pub(crate) node: u64,
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "node {} of cluster {}", self.node, self.cluster)
    }
}

/// Why a data folder cannot be used. None of these passes by itself.
#[derive(Debug, thiserror::Error)]
pub enum FolderError {
    #[error("cannot {doing} {}: {source}", path.display())]
    Io { doing: &'static str, path: PathBuf, source: io::Error },
    #[error(
        "the data folder {} is in use: another process holds its lock. Stop that process, or give \
         this one a folder of its own",
        path.display()
    )]
    Locked { path: PathBuf },
    #[error(
        "the data folder {} belongs to {found}, but this process is {expected}. Start it with the \
         folder of its own node, or with an empty folder if it never had one",
        path.display()
    )]
    Foreign { path: PathBuf, found: Identity, expected: String },
    #[error(
        "{} has format {found}, this program knows format {FORMAT}: a newer version wrote it. \
         Start that version again",
        path.display()
    )]
    Format { path: PathBuf, found: u64 },
    #[error(
        "{} cannot be read as an identity ({why}). Put it back from a copy; or replace this node \
         in its cluster first, and only then remove its data folder",
        path.display()
    )]
    Damaged { path: PathBuf, why: String },
    #[error(
        "{} holds a log but no identity file: part of the folder is missing. Put the file back; or \
         replace this node in its cluster first, and only then remove its data folder",
        path.display()
    )]
    NoIdentity { path: PathBuf },
    #[error(
        "a `higuma restore` or a `higuma cluster force-new` was cut short in the data folder {}. \
         Give `higuma cluster force-new` again: it ends what it began, or begins anew. After a \
         restore remove the folder, and restore again",
        path.display()
    )]
    Unfinished { path: PathBuf },
}

/// The `identity` file as it is written.
#[derive(Serialize, Deserialize)]
struct Page {
    format: u32,
    cluster: String,
    node: u64,
    /// The log was created: from then on its absence is damage, not a first start.
    log: bool,
    /// The node has the state that its cluster begins with, and the other members do not know the
    /// cluster yet.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    hand_out: bool,
}

/// What the `identity` file says.
#[derive(Debug, Clone, Copy)]
struct Owned {
    identity: Identity,
    log: bool,
    hand_out: bool,
}

/// A data folder, locked by this process until the last clone is dropped.
#[derive(Debug, Clone)]
pub(crate) struct DataFolder {
    path: PathBuf,
    _lock: Arc<File>,
}

impl DataFolder {
    /// Locks the folder, creating it where it does not exist.
    pub(crate) fn lock(path: &Path) -> Result<Self, FolderError> {
        // Secrets are in it, not encrypted in this version: for this user alone.
        let created = fs::DirBuilder::new().recursive(true).mode(0o700).create(path);
        created.map_err(failed("create the data folder", path))?;
        let name = path.join(LOCK);
        let file = File::options().create(true).truncate(false).write(true).open(&name);
        let file = file.map_err(failed("open the lock file", &name))?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Self { path: path.to_owned(), _lock: Arc::new(file) }),
            Err(rustix::io::Errno::WOULDBLOCK) => {
                Err(FolderError::Locked { path: path.to_owned() })
            }
            Err(errno) => Err(failed("lock", &name)(errno.into())),
        }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Whose folder this is; none for one that was never claimed. Refuses another node's.
    pub(crate) fn identity(&self, node: u64) -> Result<Option<Identity>, FolderError> {
        if self.path.join(INCOMING).exists() {
            return Err(FolderError::Unfinished { path: self.path.clone() });
        }
        match self.owner()? {
            Some(found) if found.node != node => {
                Err(self.foreign(found, format!("configured as node {node}")))
            }
            Some(found) => Ok(Some(found)),
            None if self.has_segments()? => {
                Err(FolderError::NoIdentity { path: self.path.clone() })
            }
            None => Ok(None),
        }
    }

    /// Whose folder this is, whoever it is.
    pub(crate) fn owner(&self) -> Result<Option<Identity>, FolderError> {
        Ok(self.read()?.map(|page| page.identity))
    }

    /// Makes the folder `identity`'s, durably, before anything else is written into it. Does
    /// nothing where it already is; refuses a folder of another node or cluster.
    pub(crate) fn claim(&self, identity: &Identity) -> Result<(), FolderError> {
        match self.identity(identity.node)? {
            Some(found) if found == *identity => Ok(()),
            Some(found) => Err(self.foreign(found, identity.to_string())),
            None => self.write(Owned { identity: *identity, log: false, hand_out: false }),
        }
    }

    /// The folder of the log's segments, created if need be.
    pub(crate) fn log_path(&self) -> Result<PathBuf, FolderError> {
        self.within(LOG)
    }

    /// The folder of the snapshots, created if need be.
    pub(crate) fn snapshots_path(&self) -> Result<PathBuf, FolderError> {
        self.within(SNAPSHOTS)
    }

    fn within(&self, name: &str) -> Result<PathBuf, FolderError> {
        let path = self.path.join(name);
        match fs::create_dir(&path) {
            Ok(()) => self.sync()?,
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {}
            Err(e) => return Err(failed("create", &path)(e)),
        }
        Ok(path)
    }

    /// Where the history is; made by whoever opens it.
    pub(crate) fn history_path(&self) -> PathBuf {
        self.path.join(HISTORY)
    }

    /// Whether a log was ever created here, so that an empty one is damage.
    pub(crate) fn had_log(&self) -> Result<bool, FolderError> {
        Ok(self.read()?.is_some_and(|page| page.log))
    }

    /// Notes, durably, that the log exists.
    pub(crate) fn note_log(&self, identity: &Identity) -> Result<(), FolderError> {
        let page = Owned { identity: *identity, log: true, hand_out: false };
        if self.had_log()? { Ok(()) } else { self.write(page) }
    }

    /// Whether the other members are still to be told which cluster they belong to.
    pub(crate) fn hands_out(&self) -> Result<bool, FolderError> {
        Ok(self.read()?.is_some_and(|page| page.hand_out))
    }

    /// Notes, durably, that every member knows the cluster.
    pub(crate) fn handed_out(&self) -> Result<(), FolderError> {
        match self.read()? {
            Some(page) => self.write(Owned { hand_out: false, ..page }),
            None => Ok(()),
        }
    }

    fn foreign(&self, found: Identity, expected: String) -> FolderError {
        FolderError::Foreign { path: self.path.clone(), found, expected }
    }

    fn has_segments(&self) -> Result<bool, FolderError> {
        let path = self.path.join(LOG);
        match fs::read_dir(&path) {
            Ok(mut names) => Ok(names.next().is_some()),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(e) => Err(failed("list", &path)(e)),
        }
    }

    fn read(&self) -> Result<Option<Owned>, FolderError> {
        let path = self.path.join(IDENTITY);
        let text = match fs::read(&path) {
            Ok(text) => text,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(failed("read", &path)(e)),
        };
        let damaged = |why: String| FolderError::Damaged { path: path.clone(), why };
        // The format first: a later one may hold other fields.
        let page: serde_json::Value =
            serde_json::from_slice(&text).map_err(|e| damaged(e.to_string()))?;
        match page.get("format").and_then(serde_json::Value::as_u64) {
            Some(format) if format == u64::from(FORMAT) => {}
            Some(found) => return Err(FolderError::Format { path, found }),
            None => return Err(damaged("no format".into())),
        }
        let page: Page = serde_json::from_value(page).map_err(|e| damaged(e.to_string()))?;
        let cluster = u128::from_str_radix(&page.cluster, 16)
            .map_err(|_| damaged(format!("`{}` is no cluster id", page.cluster)))?;
        let identity = Identity { cluster: ClusterId(cluster), node: page.node };
        Ok(Some(Owned { identity, log: page.log, hand_out: page.hand_out }))
    }

    /// Written aside, synced, renamed, and the folder synced: after a power cut the old page or the
    /// new one is there, never half of one.
    fn write(&self, owned: Owned) -> Result<(), FolderError> {
        let (aside, path) = (self.path.join(IDENTITY_ASIDE), self.path.join(IDENTITY));
        let Owned { identity: Identity { cluster, node }, log, hand_out } = owned;
        let page = Page { format: FORMAT, cluster: cluster.to_string(), node, log, hand_out };
        let mut text = serde_json::to_vec(&page).expect("invariant: a page of plain fields");
        text.push(b'\n');
        let written = File::create(&aside).and_then(|mut file| {
            file.write_all(&text)?;
            file.sync_all()
        });
        written.map_err(failed("write", &aside))?;
        fs::rename(&aside, &path).map_err(failed("rename to", &path))?;
        self.sync()
    }

    /// Syncs the folder and its parent: the folder itself may be new.
    fn sync(&self) -> Result<(), FolderError> {
        sync_folder(&self.path).map_err(failed("sync", &self.path))?;
        match self.path.canonicalize().map_err(failed("find", &self.path))?.parent() {
            Some(parent) => sync_folder(parent).map_err(failed("sync", parent)),
            None => Ok(()),
        }
    }
}

fn sync_folder(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

fn failed(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> FolderError {
    move |source| FolderError::Io { doing, path: path.to_owned(), source }
}

#[cfg(test)]
mod tests;
