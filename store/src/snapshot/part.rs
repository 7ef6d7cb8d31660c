//! A snapshot file that is being received: it grows on disk, goes on where a broken connection left
//! it, and is checked as a whole before it counts for anything.

use std::io;

use bytes::Bytes;
use tokio::sync::OwnedMutexGuard;

use super::error::SnapshotError;
use super::files::{Kept, Snapshots};
use super::frame::Digest;
use super::state::State;
use crate::log::disk::{Disk, DiskFile};

/// Bytes of one message of a transfer: small beside what gRPC takes, large beside its overhead.
pub(crate) const CHUNK_BYTES_MAX: usize = 256 << 10;
/// The largest file that is received. The state of a store is in memory, and this is more than that
/// may be; it keeps a broken sender from filling the disk without end.
pub(crate) const SNAPSHOT_BYTES_MAX: u64 = 8 << 30;

const SUFFIX: &str = ".part";

/// What of a file is here.
pub(crate) struct Part<D: Disk> {
    name: String,
    file: D::File,
    length: u64,
    digest: Digest,
    /// One file is received at a time; until it is kept, too.
    receiving: OwnedMutexGuard<()>,
}

/// A file that is here whole, synced and checked, and the state in it.
pub(crate) struct Received<D: Disk> {
    part: Part<D>,
    pub(crate) state: State,
}

impl<D: Disk> std::fmt::Debug for Received<D> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Received").field("last", &self.state.place.last).finish_non_exhaustive()
    }
}

impl<D: Disk> Part<D> {
    /// Bytes that are here.
    pub(crate) fn length(&self) -> u64 {
        self.length
    }

    pub(crate) fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.file.write_at(bytes, self.length)?;
        self.length += bytes.len() as u64;
        Ok(())
    }
}

impl<D: Disk> Snapshots<D> {
    /// What is here of the file with this digest; parts of others go, their senders have newer
    /// snapshots by now. More than `bytes` cannot be right: then it begins again.
    pub(crate) fn part(
        &self,
        receiving: OwnedMutexGuard<()>,
        digest: Digest,
        bytes: u64,
    ) -> Result<Part<D>, SnapshotError> {
        let own = format!("{}{SUFFIX}", hex::encode(digest));
        let names = self.disk.list().map_err(SnapshotError::io("list", &self.disk.path("")))?;
        let mut here = false;
        for name in names.into_iter().filter(|name| is_part(name)) {
            if name == own {
                here = true;
                continue;
            }
            let path = self.disk.path(&name);
            self.disk.remove(&name).map_err(SnapshotError::io("remove", &path))?;
        }
        let path = self.disk.path(&own);
        let open = || {
            let file = if here { self.disk.open(&own)? } else { self.disk.create(&own)? };
            match file.length()? {
                length if length <= bytes => Ok((file, length)),
                _ => Ok((self.disk.create(&own)?, 0)),
            }
        };
        let (file, length) = open().map_err(SnapshotError::io("open", &path))?;
        Ok(Part { name: own, file, length, digest, receiving })
    }

    /// Syncs and checks a file that is here whole. One that does not check out is removed: it is
    /// sent again from its beginning.
    pub(crate) fn check(&self, part: Part<D>) -> Result<Received<D>, SnapshotError> {
        let path = self.disk.path(&part.name);
        part.file.sync().map_err(SnapshotError::io("sync", &path))?;
        part.file.forget_cached();
        let bytes = self.disk.read(&part.name).map_err(SnapshotError::io("read", &path))?;
        match State::decode(Bytes::from(bytes), self.cluster) {
            Ok((state, digest)) if digest == part.digest => Ok(Received { part, state }),
            Ok(_) => {
                self.discard(&part)?;
                let why = "it is not the file that was announced".to_owned();
                Err(SnapshotError::Damaged { path, offset: 0, why })
            }
            Err(broken) => {
                self.discard(&part)?;
                Err(broken.at(path))
            }
        }
    }

    /// Makes a received file the newest snapshot: with one rename, so that a crash leaves all of it
    /// or nothing.
    pub(crate) fn adopt(&self, received: Received<D>) -> Result<State, SnapshotError> {
        let _open = self.while_open()?;
        let Received { part, state } = received;
        let Part { name, file, length, digest, receiving } = part;
        let kept = Kept { place: state.place.clone(), bytes: length, digest, file };
        self.keep(&name, kept)?;
        drop(receiving);
        self.count_installed();
        Ok(state)
    }

    fn discard(&self, part: &Part<D>) -> Result<(), SnapshotError> {
        let path = self.disk.path(&part.name);
        self.disk.remove(&part.name).map_err(SnapshotError::io("remove", &path))
    }
}

pub(super) fn is_part(name: &str) -> bool {
    name.ends_with(SUFFIX)
}
