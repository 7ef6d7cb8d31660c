//! What the log did, for whoever exports metrics.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use crate::log::Written;

/// Upper bounds of the sync histogram, in microseconds: from a fast NVMe's fdatasync to a disk
/// that makes followers miss heartbeats.
pub(crate) const SYNC_BOUNDS_US: [u64; 10] =
    [100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 100_000, 1_000_000];

/// Counted by the writer thread only, but for the payload; reads may be a little behind and not of
/// one moment.
#[derive(Debug, Default)]
pub(crate) struct LogCounters {
    /// Of entries taken into memory, those found at the start included, in bytes.
    payload: AtomicU64,
    entries: AtomicU64,
    bytes: AtomicU64,
    syncs: AtomicU64,
    sync_us: AtomicU64,
    last_sync_us: AtomicU64,
    /// How many syncs took at most the bound of the same place; one more for the slower ones.
    sync_buckets: [AtomicU64; SYNC_BOUNDS_US.len() + 1],
}

/// The counters since the log was opened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogCounts {
    pub entries: u64,
    /// Of frames written.
    pub bytes: u64,
    pub syncs: u64,
    /// All syncs together, in microseconds.
    pub sync_us: u64,
    pub last_sync_us: u64,
    /// Not cumulative; by `SYNC_BOUNDS_US`, slower ones last.
    pub sync_buckets: [u64; SYNC_BOUNDS_US.len() + 1],
}

impl LogCounters {
    pub(crate) fn counts(&self) -> LogCounts {
        LogCounts {
            entries: self.entries.load(Relaxed),
            bytes: self.bytes.load(Relaxed),
            syncs: self.syncs.load(Relaxed),
            sync_us: self.sync_us.load(Relaxed),
            last_sync_us: self.last_sync_us.load(Relaxed),
            sync_buckets: std::array::from_fn(|i| self.sync_buckets[i].load(Relaxed)),
        }
    }

    pub(super) fn count_payload(&self, bytes: u64) {
        self.payload.fetch_add(bytes, Relaxed);
    }

    pub(super) fn payload(&self) -> u64 {
        self.payload.load(Relaxed)
    }

    pub(super) fn count(&self, entries: u64, written: &Written) {
        self.entries.fetch_add(entries, Relaxed);
        self.bytes.fetch_add(written.bytes, Relaxed);
        for sync in &written.syncs {
            self.count_sync(*sync);
        }
    }

    fn count_sync(&self, took: Duration) {
        let us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        self.syncs.fetch_add(1, Relaxed);
        self.sync_us.fetch_add(us, Relaxed);
        self.last_sync_us.store(us, Relaxed);
        let bucket = SYNC_BOUNDS_US.partition_point(|bound| *bound < us);
        self.sync_buckets[bucket].fetch_add(1, Relaxed);
    }
}
