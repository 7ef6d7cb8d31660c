//! A backup: a state in a file that belongs to no node, from which a new cluster begins.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::{fs, io};

use bytes::Bytes;
use higuma_model::{ClusterId, Kind, Snapshot, Timestamp};

use super::error::Broken;
use super::frame::{BACKUP_FORMAT, Header, Reader, Sink, Writer};
use super::part::SNAPSHOT_BYTES_MAX;
use super::state;
use crate::codec::{cluster_bytes, digest, digest_bytes};
use crate::options::NodeId;
use crate::proto::SnapshotBackup;

/// Who makes a backup, and when.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stamp {
    /// By the clock of the node that wrote it.
    pub made: Timestamp,
    pub node: NodeId,
    /// The version of its program.
    pub program: String,
}

/// What a backup holds, checked as a whole.
#[derive(Debug, Clone, PartialEq)]
pub struct Backup {
    pub stamp: Stamp,
    /// Of its file.
    pub bytes: u64,
    pub state: Snapshot,
}

/// Why a file is no backup that can be used.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    #[error("cannot read {}: {source}", path.display())]
    Io { path: PathBuf, source: io::Error },
    #[error("{} is no backup of Higuma: it does not begin like one", path.display())]
    NotABackup { path: PathBuf },
    #[error(
        "the backup {} is damaged at byte {offset}: {why}. Nothing of it is used; take another one",
        path.display()
    )]
    Damaged { path: PathBuf, offset: usize, why: String },
    #[error(
        "the backup {} has format {found}, this program knows format {BACKUP_FORMAT}: a newer \
         version of Higuma wrote it. Use that version",
        path.display()
    )]
    Format { path: PathBuf, found: u32 },
    #[error(
        "the backup {} is intact but not understood ({why}): a newer version of Higuma wrote it. \
         Use that version",
        path.display()
    )]
    NotUnderstood { path: PathBuf, why: String },
    #[error(
        "the resources in the backup {} have not the hash that was written with them: the node \
         that wrote it, or this program, has a defect. Take another one, at another node",
        path.display()
    )]
    Content { path: PathBuf },
}

/// Writes a backup of a state, in pieces of at most some 256 KiB. The same state and stamp have the same bytes.
///
/// # Errors
/// The sink's.
pub fn write_backup<'a>(state: &Snapshot, stamp: &Stamp, sink: &'a mut Sink<'a>) -> io::Result<()> {
    let header = SnapshotBackup {
        cluster: cluster_bytes(state.cluster()),
        version: state.version(),
        made_ms: stamp.made.0,
        node: stamp.node,
        program: stamp.program.clone(),
        content: digest_bytes(state.content()),
        sections: state::sections(state),
    };
    let mut out = Writer::begin(sink, &header)?;
    state::write(state, &mut out)?;
    out.end().map(drop)
}

impl Backup {
    /// Reads a file and checks all of it.
    ///
    /// # Errors
    /// It can't be read, is damaged, or is of another kind or version.
    pub fn read(path: &Path) -> Result<Self, BackupError> {
        let io = |source| BackupError::Io { path: path.to_owned(), source };
        let length = fs::metadata(path).map_err(io)?.len();
        if length > SNAPSHOT_BYTES_MAX {
            let why = format!("{length} bytes are more than any state takes");
            return Err(io(io::Error::other(why)));
        }
        Self::decode(fs::read(path).map_err(io)?.into(), path)
    }

    fn decode(bytes: Bytes, path: &Path) -> Result<Self, BackupError> {
        if !bytes.starts_with(&SnapshotBackup::MAGIC) {
            return Err(BackupError::NotABackup { path: path.to_owned() });
        }
        let length = bytes.len() as u64;
        let at = |broken: Broken| BackupError::of(broken, path);
        let reader = Reader::<SnapshotBackup>::open(bytes).map_err(at)?;
        let header = reader.header.clone();
        let cluster = state::cluster_of(&header.cluster).map_err(at)?;
        let (state, _) = state::read(reader, cluster).map_err(at)?;
        if digest(&header.content).ok() != Some(state.content())
            || header.version != state.version()
        {
            return Err(BackupError::Content { path: path.to_owned() });
        }
        let (made, program) = (Timestamp(header.made_ms), header.program);
        Ok(Self { stamp: Stamp { made, node: header.node, program }, bytes: length, state })
    }

    pub fn cluster(&self) -> ClusterId {
        self.state.cluster()
    }

    /// How many resources of each kind it holds.
    pub fn kinds(&self) -> BTreeMap<Kind, usize> {
        let mut kinds = BTreeMap::new();
        for resource in self.state.iter() {
            *kinds.entry(resource.key.kind()).or_default() += 1;
        }
        kinds
    }
}

impl BackupError {
    fn of(broken: Broken, path: &Path) -> Self {
        let path = path.to_owned();
        match broken {
            Broken::Damaged { offset, why } => Self::Damaged { path, offset, why },
            Broken::Format(found) => Self::Format { path, found },
            Broken::Section(kind) => Self::NotUnderstood { path, why: format!("section {kind}") },
            Broken::NotUnderstood(why) => Self::NotUnderstood { path, why },
            // A backup is asked for no cluster.
            Broken::Foreign { .. } => Self::NotABackup { path },
        }
    }
}

#[cfg(test)]
mod tests;
