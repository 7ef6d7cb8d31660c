//! The folder of snapshots: which are kept, which one a node starts from.

use std::io;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Instant;

use bytes::Bytes;
use higuma_model::ClusterId;

use super::error::SnapshotError;
use super::frame::Digest;
use super::part;
use super::state::{Place, State};
use crate::log::disk::{Disk, DiskFile};
use crate::proto::LogId;

const ASIDE: &str = "building.tmp";
const SUFFIX: &str = ".snap";
const DAMAGED: &str = ".damaged";
/// The newest, and the one before: if the newest rots the other is there.
const KEPT: usize = 2;

const NO_PANIC: &str = "invariant: nothing panics while holding this";

/// A file that was read back whole since it was written, or that this node started from.
#[derive(Debug)]
pub(crate) struct Kept<F> {
    pub(crate) place: Place,
    pub(crate) bytes: u64,
    pub(crate) digest: Digest,
    /// Still readable when the name is gone.
    pub(crate) file: F,
}

/// What building cost.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    built: AtomicU64,
    last_build_us: AtomicU64,
    installed: AtomicU64,
}

/// What became of snapshots since the store was opened.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    pub built: u64,
    /// How long the last build took, read back included, in microseconds.
    pub last_build_us: u64,
    pub installed: u64,
    /// The newest one's size in bytes and last entry; 0: none.
    pub bytes: u64,
    pub last_index: u64,
}

/// The snapshots of one node.
pub(crate) struct Snapshots<D: Disk> {
    pub(super) disk: D,
    pub(super) cluster: ClusterId,
    /// At most [`KEPT`], oldest first. Held while names change.
    kept: Mutex<Vec<Arc<Kept<D::File>>>>,
    /// Held while one is written or named; true: closed, nothing is any more.
    closed: Mutex<bool>,
    /// Held while a file is received.
    pub(crate) receiving: Arc<tokio::sync::Mutex<()>>,
    counters: Counters,
}

/// What is in the folder, before the log is known. Nothing was changed.
pub(crate) struct Found<D: Disk> {
    snapshots: Snapshots<D>,
    newest: Option<(Kept<D::File>, State)>,
    /// Older than that one, oldest first.
    older: Vec<(LogId, String)>,
    damaged: Vec<String>,
    error: Option<SnapshotError>,
}

impl<D: Disk> Found<D> {
    /// The newest snapshot that checks out. Refuses what another version or cluster wrote.
    pub(crate) fn read(disk: D, cluster: ClusterId) -> Result<Self, SnapshotError> {
        let names = disk.list().map_err(SnapshotError::io("list", &disk.path("")))?;
        let mut older: Vec<(LogId, String)> =
            names.into_iter().filter_map(|name| Some((parse(&name)?, name))).collect();
        older.sort_unstable_by_key(|(id, _)| (id.index, id.term));
        let snapshots = Snapshots {
            disk,
            cluster,
            kept: Mutex::default(),
            closed: Mutex::default(),
            receiving: Arc::default(),
            counters: Counters::default(),
        };
        let (mut damaged, mut error) = (Vec::new(), None);
        while let Some((_, name)) = older.pop() {
            match snapshots.load(&name) {
                Ok(newest) => {
                    return Ok(Self { snapshots, newest: Some(newest), older, damaged, error });
                }
                Err(found @ SnapshotError::Damaged { .. }) => {
                    tracing::error!(error = %found, "a snapshot does not check out");
                    damaged.push(name);
                    error.get_or_insert(found);
                }
                Err(error) => return Err(error),
            }
        }
        Ok(Self { snapshots, newest: None, older, damaged, error })
    }

    /// The state to start from with a log that begins after entry `purged`. None: the whole log is
    /// there, and nothing else is needed. A damaged file that is not needed is put aside.
    pub(crate) fn serve(
        mut self,
        purged: Option<u64>,
    ) -> Result<(Snapshots<D>, Option<State>), SnapshotError> {
        let newest = self.newest.as_ref().map(|(kept, _)| kept.place.last);
        match (newest, purged) {
            (Some(last), Some(purged)) if last.index < purged => {
                let path = self.snapshots.disk.path(&name(&last));
                let gap = || SnapshotError::Gap { path, last: last.index, purged };
                return Err(self.error.unwrap_or_else(gap));
            }
            (None, Some(purged)) => {
                let path = self.snapshots.disk.path("");
                return Err(self.error.unwrap_or(SnapshotError::Missing { path, purged }));
            }
            _ => self.snapshots.put_aside(&self.damaged)?,
        }
        let Some((newest, state)) = self.newest else { return Ok((self.snapshots, None)) };
        let older = self.older.pop().and_then(|(id, name)| self.snapshots.noted(id, &name));
        self.snapshots.kept().extend(older.into_iter().chain([newest]).map(Arc::new));
        Ok((self.snapshots, Some(state)))
    }
}

impl<D: Disk> Snapshots<D> {
    /// Writes a state down, reads it back, and keeps it. Blocks on the disk.
    pub(crate) fn write(&self, state: &State) -> Result<Arc<Kept<D::File>>, SnapshotError> {
        let _open = self.while_open()?;
        let started = Instant::now();
        let path = self.disk.path(ASIDE);
        let written = self.write_aside(state);
        let (file, bytes, digest) = written.map_err(SnapshotError::io("write", &path))?;
        let read = self.disk.read(ASIDE).map_err(SnapshotError::io("read back", &path))?;
        let back = State::decode(Bytes::from(read), self.cluster);
        if !back.is_ok_and(|(back, found)| found == digest && back.place == state.place) {
            return Err(SnapshotError::ReadBack { path });
        }
        let kept = Kept { place: state.place.clone(), bytes, digest, file };
        let kept = self.keep(ASIDE, kept)?;
        let took = u64::try_from(started.elapsed().as_micros()).unwrap_or(u64::MAX);
        self.counters.last_build_us.store(took, Relaxed);
        self.counters.built.fetch_add(1, Relaxed);
        Ok(kept)
    }

    /// Waits for what is being written; after this nothing touches the folder.
    pub(crate) fn close(&self) {
        *self.closed.lock().expect(NO_PANIC) = true;
    }

    pub(super) fn while_open(&self) -> Result<MutexGuard<'_, bool>, SnapshotError> {
        let closed = self.closed.lock().expect(NO_PANIC);
        if *closed { Err(SnapshotError::Closed) } else { Ok(closed) }
    }

    /// Gives a file that is whole and synced its name, durably, and lets the oldest go.
    pub(super) fn keep(
        &self,
        name: &str,
        kept: Kept<D::File>,
    ) -> Result<Arc<Kept<D::File>>, SnapshotError> {
        let kept = Arc::new(kept);
        let to = self::name(&kept.place.last);
        let path = self.disk.path(&to);
        let mut all = self.kept();
        self.disk.rename(name, &to).map_err(SnapshotError::io("rename to", &path))?;
        self.disk.sync_names().map_err(SnapshotError::io("sync the folder of", &path))?;
        all.retain(|other| other.place.last != kept.place.last);
        all.push(Arc::clone(&kept));
        all.sort_by_key(|kept| (kept.place.last.index, kept.place.last.term));
        while all.len() > KEPT {
            let oldest = self::name(&all.remove(0).place.last);
            let path = self.disk.path(&oldest);
            self.disk.remove(&oldest).map_err(SnapshotError::io("remove", &path))?;
        }
        self.remove_strangers(&all)?;
        Ok(kept)
    }

    pub(crate) fn newest(&self) -> Option<Arc<Kept<D::File>>> {
        self.kept().last().cloned()
    }

    /// The one before the newest.
    pub(crate) fn older(&self) -> Option<Arc<Kept<D::File>>> {
        let kept = self.kept();
        (kept.len() == KEPT).then(|| Arc::clone(&kept[0]))
    }

    /// The last entry of the snapshot before the newest; none where there is only one.
    pub(crate) fn older_index(&self) -> Option<u64> {
        let kept = self.kept();
        (kept.len() == KEPT).then(|| kept[0].place.last.index)
    }

    pub(crate) fn counts(&self) -> Counts {
        let newest = self.newest();
        Counts {
            built: self.counters.built.load(Relaxed),
            last_build_us: self.counters.last_build_us.load(Relaxed),
            installed: self.counters.installed.load(Relaxed),
            bytes: newest.as_ref().map_or(0, |kept| kept.bytes),
            last_index: newest.map_or(0, |kept| kept.place.last.index),
        }
    }

    pub(super) fn count_installed(&self) {
        self.counters.installed.fetch_add(1, Relaxed);
    }

    /// The state in a kept file.
    pub(crate) fn state(&self, kept: &Kept<D::File>) -> Result<State, SnapshotError> {
        self.load(&name(&kept.place.last)).map(|(_, state)| state)
    }

    fn kept(&self) -> MutexGuard<'_, Vec<Arc<Kept<D::File>>>> {
        self.kept.lock().expect(NO_PANIC)
    }

    fn write_aside(&self, state: &State) -> io::Result<(D::File, u64, Digest)> {
        let file = self.disk.create(ASIDE)?;
        let mut at = 0;
        let digest = state.encode(&mut |bytes| {
            file.write_at(bytes, at)?;
            at += bytes.len() as u64;
            Ok(())
        })?;
        file.sync()?;
        file.forget_cached();
        Ok((file, at, digest))
    }

    fn load(&self, name: &str) -> Result<(Kept<D::File>, State), SnapshotError> {
        let path = self.disk.path(name);
        let file = self.disk.open(name).map_err(SnapshotError::io("open", &path))?;
        let bytes = self.disk.read(name).map_err(SnapshotError::io("read", &path))?;
        let length = bytes.len() as u64;
        let decoded = State::decode(Bytes::from(bytes), self.cluster);
        let (state, digest) = decoded.map_err(|broken| broken.at(path.clone()))?;
        if Some(state.place.last) != parse(name) {
            let why = "another snapshot's name".to_owned();
            return Err(SnapshotError::Damaged { path, offset: 0, why });
        }
        Ok((Kept { place: state.place.clone(), bytes: length, digest, file }, state))
    }

    /// The snapshot before the one that this node starts from: it bounds what may be purged, so it
    /// must check out too.
    fn noted(&self, id: LogId, name: &str) -> Option<Kept<D::File>> {
        match self.load(name) {
            Ok((kept, _)) => Some(kept),
            Err(error) => {
                tracing::error!(%error, index = id.index, "an older snapshot is of no use");
                None
            }
        }
    }

    /// Keeps damaged files as evidence, out of the way.
    fn put_aside(&self, damaged: &[String]) -> Result<(), SnapshotError> {
        for name in damaged {
            let aside = format!("{}{DAMAGED}", name.trim_end_matches(SUFFIX));
            let path = self.disk.path(&aside);
            self.disk.rename(name, &aside).map_err(SnapshotError::io("rename to", &path))?;
            tracing::error!(path = %path.display(), "kept a damaged snapshot; an older state is used");
        }
        if damaged.is_empty() {
            return Ok(());
        }
        self.disk.sync_names().map_err(SnapshotError::io("sync", &self.disk.path("")))
    }

    /// Removes snapshots that are not counted (a crash between two removals leaves them) and files
    /// of which a part was received and that nobody will finish.
    fn remove_strangers(&self, all: &[Arc<Kept<D::File>>]) -> Result<(), SnapshotError> {
        let names = self.disk.list().map_err(SnapshotError::io("list", &self.disk.path("")))?;
        // Kept until the end: nobody begins to go on with a part that is removed here.
        let idle = self.receiving.try_lock().ok();
        for name in names {
            let is_old = parse(&name).is_some_and(|id| {
                all.iter().all(|kept| kept.place.last != id)
                    && all.first().is_some_and(|oldest| id.index < oldest.place.last.index)
            });
            if is_old || (part::is_part(&name) && idle.is_some()) {
                let path = self.disk.path(&name);
                self.disk.remove(&name).map_err(SnapshotError::io("remove", &path))?;
            }
        }
        Ok(())
    }
}

fn name(last: &LogId) -> String {
    format!("{:016x}-{:016x}{SUFFIX}", last.index, last.term)
}

/// The entry in a snapshot's name; none for any other name.
fn parse(name: &str) -> Option<LogId> {
    let (index, term) = name.strip_suffix(SUFFIX)?.split_once('-')?;
    let number = |digits| u64::from_str_radix(digits, 16).ok();
    let id = LogId { term: number(term)?, index: number(index)? };
    (self::name(&id) == name).then_some(id)
}
