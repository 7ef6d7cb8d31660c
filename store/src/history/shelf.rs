//! The history on disk, in sled: one tree, every step one batch.

use std::fs::{self, Permissions};
use std::io;
use std::ops::Bound;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::Arc;

use higuma_model::{ClusterId, Key, Resource, Snapshot, Timestamp};
use sled::Batch;

use super::change::{Change, Edit, keeps};
use super::record::{self, BadRecord, MARK_KEY, Summary};
use super::ring::{Mark, Pushed};
use crate::codec;
use crate::proto;
use crate::raft::wire::log_id;

/// Values above a quarter of it become files that sled never syncs.
const SEGMENT_BYTES: usize = 8 << 20;
/// sled takes several times this. What is read often is in the ring.
const CACHE_BYTES: u64 = 16 << 20;
/// A power cut costs what is refilled from the log.
const FLUSH_MS: u64 = 1_000;
/// Versions deleted in one batch.
const SWEEP: usize = 256;
/// Bytes behind the version in the key of a value.
const PART: usize = 2;

/// Why the history on disk can't be used.
#[derive(Debug, thiserror::Error)]
pub(super) enum ShelfError {
    #[error(transparent)]
    Record(#[from] BadRecord),
    #[error("sled: {0}")]
    Sled(#[from] sled::Error),
    #[error("it is of another cluster or format")]
    Foreign,
    #[error("its version {version} of term {kept} is not in the log")]
    OtherHistory { version: u64, kept: u64 },
    #[error("the log has no entries from {from} to {to}, and they are missing here")]
    Gap { from: u64, to: u64 },
    #[error("the state that the log goes on from can't be read: {0}")]
    Base(String),
    #[error("entry {index} can't be read: {why}")]
    Undecodable { index: u64, why: String },
    #[error("it says it has the change of version {0}, and has not")]
    Missing(u64),
    #[error("it panicked: {0}")]
    Panicked(String),
}

impl ShelfError {
    /// Whether another try may go well with the same bytes: the disk is full, say.
    pub(super) fn may_pass(&self) -> bool {
        use io::ErrorKind::{
            PermissionDenied, QuotaExceeded, ReadOnlyFilesystem, StorageFull, WouldBlock,
        };
        if matches!(self, Self::Base(_) | Self::Gap { .. }) {
            // The log was purged while it was read.
            return true;
        }
        let Self::Sled(sled::Error::Io(error)) = self else { return false };
        matches!(
            error.kind(),
            PermissionDenied | QuotaExceeded | ReadOnlyFilesystem | StorageFull | WouldBlock
        )
    }
}

type Result<T> = std::result::Result<T, ShelfError>;

/// How far the history goes and what it takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Standing {
    pub(super) mark: Mark,
    pub(super) compacted: u64,
    pub(super) bytes: u64,
}

pub(super) struct Shelf {
    db: sled::Db,
    cluster: ClusterId,
}

impl Standing {
    pub(super) fn empty() -> Self {
        Self { mark: Mark { last: log_id(0, 0), version: 0 }, compacted: 0, bytes: 0 }
    }
}

impl Shelf {
    pub(super) fn open(path: &Path, cluster: ClusterId) -> Result<(Self, Option<Standing>)> {
        let config = sled::Config::new()
            .path(path)
            .segment_size(SEGMENT_BYTES)
            .cache_capacity(CACHE_BYTES)
            .flush_every_ms(Some(FLUSH_MS));
        let db = config.open()?;
        // As everything in the data folder: for this user alone.
        fs::set_permissions(path, Permissions::from_mode(0o700)).map_err(sled::Error::Io)?;
        let shelf = Self { db, cluster };
        let standing = match shelf.db.get(MARK_KEY)? {
            Some(bytes) => Some(shelf.standing(&bytes)?),
            None if shelf.db.is_empty() => None,
            None => return Err(BadRecord("the mark is missing").into()),
        };
        Ok((shelf, standing))
    }

    fn standing(&self, bytes: &[u8]) -> Result<Standing> {
        let mark: proto::HistoryMark = record::unframe(bytes)?;
        let cluster = codec::cluster_id(&mark.cluster).ok();
        if cluster != Some(self.cluster) || mark.format != u32::from(record::FORMAT) {
            return Err(ShelfError::Foreign);
        }
        let last = mark.last.ok_or(BadRecord("the mark names no entry"))?.into();
        let (compacted, bytes) = (mark.compacted, mark.bytes);
        Ok(Standing { mark: Mark { last, version: mark.version }, compacted, bytes })
    }

    /// Writes changes and how far they lead, at once.
    pub(super) fn write(&self, changes: &[Pushed], standing: &mut Standing) -> Result<()> {
        let mut batch = Writing::default();
        for (_, change) in changes {
            for edit in &change.edits {
                let at = record::with(record::of_resource(&edit.key), change.version);
                batch.put(&at, &record::encode_value(edit.after.as_deref()));
            }
            batch.put(&record::of_version(change.version), &Summary::of(change).encode());
            batch.insert(record::of_time(change.at, change.version), &[]);
        }
        self.commit(batch, standing)
    }

    /// Begins anew with a state: its values, and nothing of what led there.
    pub(super) fn begin(&self, state: &Snapshot, mark: Mark) -> Result<Standing> {
        self.db.clear()?;
        let mut standing = Standing { mark, compacted: mark.version, bytes: 0 };
        let kept: Vec<&Arc<Resource>> = state.iter().filter(|r| keeps(r.key.kind())).collect();
        let mut few = kept.chunks(SWEEP).peekable();
        let mut batch = Writing::default();
        while let Some(some) = few.next() {
            for resource in some {
                let at = record::with(record::of_resource(&resource.key), resource.modified_at);
                batch.put(&at, &record::encode_value(Some(resource)));
            }
            if few.peek().is_some() {
                standing.bytes = standing.bytes.saturating_add_signed(batch.grown);
                // Without a mark: if this is cut short, it begins again.
                self.db.apply_batch(std::mem::take(&mut batch).batch)?;
            }
        }
        self.commit(batch, &mut standing)?;
        Ok(standing)
    }

    fn commit(&self, mut batch: Writing, standing: &mut Standing) -> Result<()> {
        standing.bytes = standing.bytes.saturating_add_signed(batch.grown);
        let mark = proto::HistoryMark {
            format: record::FORMAT.into(),
            cluster: codec::cluster_bytes(self.cluster),
            last: Some(standing.mark.last.into()),
            version: standing.mark.version,
            compacted: standing.compacted,
            bytes: standing.bytes,
        };
        batch.batch.insert(MARK_KEY, record::frame(&mark));
        Ok(self.db.apply_batch(batch.batch)?)
    }

    /// Deletes the next versions up to `until` and what only they needed; whether more are left.
    pub(super) fn sweep(&self, until: u64, standing: &mut Standing) -> Result<bool> {
        let mut batch = Writing::default();
        let old = self.summaries(0, until).take(SWEEP).collect::<Result<Vec<_>>>()?;
        for summary in &old {
            for touched in &summary.edits {
                let resource = || record::of_resource(&touched.key);
                if touched.before != 0 {
                    self.delete(&mut batch, &record::with(resource(), touched.before))?;
                }
                if touched.removed {
                    self.delete(&mut batch, &record::with(resource(), summary.version))?;
                }
            }
            self.delete(&mut batch, &record::of_version(summary.version))?;
            batch.remove(record::of_time(summary.at, summary.version), 0);
        }
        standing.compacted = standing.compacted.max(until);
        self.commit(batch, standing)?;
        Ok(old.len() == SWEEP)
    }

    fn delete(&self, batch: &mut Writing, prefix: &[u8]) -> Result<()> {
        for part in self.db.scan_prefix(prefix) {
            let (key, value) = part?;
            batch.remove(key.to_vec(), value.len());
        }
        Ok(())
    }

    pub(super) fn flush(&self) -> Result<()> {
        self.db.flush()?;
        Ok(())
    }

    /// What the versions in `after < version <= until` changed, oldest first.
    pub(super) fn summaries(
        &self,
        after: u64,
        until: u64,
    ) -> impl Iterator<Item = Result<Summary>> + '_ {
        let from = record::of_version(after.saturating_add(1));
        let to = record::part(record::of_version(until), u16::MAX);
        let range = (Bound::Included(from), Bound::Included(to));
        let versions = self.db.range::<Vec<u8>, _>(range).keys();
        let mut last = None;
        versions.filter_map(move |key| {
            let version = key.map_err(ShelfError::from);
            let version = version.and_then(|key| Ok(record::version_in(&key, PART)?));
            match version {
                Ok(version) if last == Some(version) => None,
                Ok(version) => {
                    last = Some(version);
                    Some(self.summary(version).and_then(|s| s.ok_or(ShelfError::Missing(version))))
                }
                Err(error) => Some(Err(error)),
            }
        })
    }

    /// The same, newest first.
    pub(super) fn summaries_back(&self, before: u64) -> impl Iterator<Item = Result<Summary>> + '_ {
        let mut next = record::of_version(before);
        std::iter::from_fn(move || {
            let found = self.db.get_lt(&next).transpose()?;
            let version = found.map_err(ShelfError::from).and_then(|(key, _)| {
                if key.first() != Some(&b'v') {
                    return Ok(None);
                }
                Ok(Some(record::version_in(&key, PART)?))
            });
            match version {
                Ok(version) => {
                    let version = version?;
                    next = record::of_version(version);
                    Some(self.summary(version).and_then(|s| s.ok_or(ShelfError::Missing(version))))
                }
                Err(error) => Some(Err(error)),
            }
        })
    }

    /// The versions that changed a resource before `before`, newest first.
    pub(super) fn versions_of(
        &self,
        key: &Key,
        before: u64,
    ) -> impl Iterator<Item = Result<u64>> + '_ {
        let first = record::of_resource(key);
        let mut next = record::with(first.clone(), before);
        std::iter::from_fn(move || {
            let found = self.db.get_lt(&next).transpose()?;
            let version = found.map_err(ShelfError::from).and_then(|(key, _)| {
                if !key.starts_with(&first) {
                    return Ok(None);
                }
                Ok(Some(record::version_in(&key, PART)?))
            });
            match version {
                Ok(version) => {
                    let version = version?;
                    next = record::with(first.clone(), version);
                    Some(Ok(version))
                }
                Err(error) => Some(Err(error)),
            }
        })
    }

    /// What one version changed.
    pub(super) fn summary(&self, version: u64) -> Result<Option<Summary>> {
        let framed = self.value(&record::of_version(version))?;
        Ok(framed.map(|framed| Summary::decode(&framed)).transpose()?)
    }

    /// A change with its values, of the resources that `wanted` says.
    pub(super) fn change(&self, summary: Summary, wanted: impl Fn(&Key) -> bool) -> Result<Change> {
        let Summary { version, at, writer, origin, edits } = summary;
        let wanted = edits.into_iter().filter(|touched| wanted(&touched.key));
        let edits = wanted.map(|touched| {
            let before = match touched.before {
                0 => None,
                before => self.stored(&touched.key, before)?,
            };
            let after = match touched.removed {
                true => None,
                false => self.stored(&touched.key, version)?,
            };
            Ok(Edit { key: touched.key, before, after })
        });
        let edits = edits.collect::<Result<Vec<_>>>()?;
        Ok(Change { version, at, writer, origin, edits })
    }

    fn stored(&self, key: &Key, version: u64) -> Result<Option<Arc<Resource>>> {
        let framed = self.value(&record::with(record::of_resource(key), version))?;
        let framed = framed.ok_or(ShelfError::Missing(version))?;
        Ok(record::decode_value(&framed)?.map(Arc::new))
    }

    /// A resource as it was at a version, if it was there.
    pub(super) fn at(&self, key: &Key, version: u64) -> Result<Option<Arc<Resource>>> {
        match self.versions_of(key, version.saturating_add(1)).next().transpose()? {
            Some(version) => self.stored(key, version),
            None => Ok(None),
        }
    }

    /// The version up to which must be given up so that `bytes` become free.
    pub(super) fn frees(&self, bytes: u64, until: u64) -> Result<Option<u64>> {
        let mut freed = 0;
        let mut version = None;
        for summary in self.summaries(0, until) {
            let summary = summary?;
            freed += summary.encode().len() as u64;
            for touched in summary.edits.iter().filter(|touched| touched.before != 0) {
                let at = record::with(record::of_resource(&touched.key), touched.before);
                freed += self.value(&at)?.map_or(0, |value| value.len() as u64);
            }
            version = Some(summary.version);
            if freed >= bytes {
                break;
            }
        }
        Ok(version)
    }

    /// The newest change at a time or before it.
    pub(super) fn version_at(&self, at: Timestamp) -> Result<Option<u64>> {
        let after = record::of_time(Timestamp(at.0.saturating_add(1)), 0);
        match self.db.get_lt(after)? {
            Some((key, _)) if key.first() == Some(&b't') => Ok(Some(record::version_in(&key, 0)?)),
            _ => Ok(None),
        }
    }

    fn value(&self, prefix: &[u8]) -> Result<Option<Vec<u8>>> {
        let mut whole = None;
        for part in self.db.scan_prefix(prefix) {
            let (_, bytes) = part?;
            whole.get_or_insert_with(Vec::new).extend_from_slice(&bytes);
        }
        Ok(whole)
    }
}

/// A batch and how much larger it makes the history.
#[derive(Default)]
struct Writing {
    batch: Batch,
    grown: i64,
}

impl Writing {
    fn put(&mut self, prefix: &[u8], framed: &[u8]) {
        for (number, bytes) in record::parts(framed) {
            self.insert(record::part(prefix.to_vec(), number), bytes);
        }
    }

    fn insert(&mut self, key: Vec<u8>, value: &[u8]) {
        self.grown += signed(key.len() + value.len());
        self.batch.insert(key, value);
    }

    fn remove(&mut self, key: Vec<u8>, value_bytes: usize) {
        self.grown -= signed(key.len() + value_bytes);
        self.batch.remove(key);
    }
}

fn signed(bytes: usize) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}
