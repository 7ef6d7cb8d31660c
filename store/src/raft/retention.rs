//! When a snapshot is built, and how far the log is purged after it.

use std::collections::BTreeMap;
use std::sync::Arc;

use openraft::async_runtime::watch::WatchReceiver as _;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::log_counters::LogCounters;
use super::running::Raft;
use super::state_machine::Files;
use super::types::LogId;
use crate::room::ROOM_BYTES;

/// How much log is written between two snapshots, how much is kept behind the newest, and how much
/// room there must be for it all.
#[derive(Debug, Clone, Copy)]
pub struct Retention {
    /// Entries between two snapshots. At a thousand writes a second a snapshot each minute: 29 MB of
    /// it at 100,000 resources are then well below what the log itself writes.
    pub entries: u64,
    /// Bytes of payload between two snapshots, where entries are large. With `entries` it bounds
    /// what is in memory of the log, and what is replayed at a start: up to twice this.
    pub bytes: u64,
    /// Entries kept behind the newest snapshot: a member that was away for a short time gets them
    /// and not a whole snapshot.
    pub keep: u64,
    /// Bytes that must be free on the disk, beside room for two snapshots; with less the node counts
    /// as nearly full.
    pub room: u64,
}

impl Default for Retention {
    fn default() -> Self {
        Self { entries: 50_000, bytes: 128 << 20, keep: 10_000, room: ROOM_BYTES }
    }
}

/// A purge is worth it for this part of what is kept: a watermark may move with every entry.
const PURGE_STEPS: u64 = 10;

/// Entries after which a snapshot that did not come is asked for again, at least.
const ASK_AGAIN_MIN: u64 = 1000;

/// Who else still needs the log, and from where on. Whoever derives something from it that a
/// snapshot does not hold says here how far that is durable.
#[derive(Debug, Clone)]
pub(crate) struct Watermarks(Arc<watch::Sender<BTreeMap<&'static str, u64>>>);

impl Default for Watermarks {
    fn default() -> Self {
        Self(Arc::new(watch::channel(BTreeMap::new()).0))
    }
}

impl Watermarks {
    /// Entries above `index` are needed by `who`; those up to it no longer are.
    pub(crate) fn set(&self, who: &'static str, index: u64) {
        self.0.send_if_modified(|marks| marks.insert(who, index) != Some(index));
    }

    fn lowest(&self) -> Option<u64> {
        self.0.borrow().values().min().copied()
    }
}

/// The last entry that may be purged: the one place where this is decided. All of it must be in the
/// snapshot before the newest, so that the newest can rot; `keep` entries stay behind the newest;
/// and nobody else needs it.
fn purge_bound(newest: u64, older: Option<u64>, keep: u64, watermark: Option<u64>) -> Option<u64> {
    let bound = older?.min(newest.saturating_sub(keep)).min(watermark.unwrap_or(u64::MAX));
    Some(bound).filter(|bound| *bound > 0)
}

/// Builds snapshots and purges the log while a store runs.
pub(crate) struct Keeper {
    pub(crate) raft: Raft,
    pub(crate) files: Arc<Files>,
    pub(crate) counters: Arc<LogCounters>,
    pub(crate) retention: Retention,
    pub(crate) watermarks: Watermarks,
    /// Payload of the log up to the newest snapshot, as `counters` count it.
    pub(crate) payload: u64,
}

impl Keeper {
    /// Ends with the store, or with Raft.
    pub(crate) async fn run(mut self, stop: CancellationToken) {
        let mut metrics = self.raft.data_metrics();
        let mut marks = self.watermarks.0.subscribe();
        // What was applied and the newest snapshot when one was last asked for; and up to where a
        // purge was.
        let (mut asked, mut scheduled) = (None, 0);
        loop {
            let (applied, newest, purged) = {
                let now = metrics.borrow_watched();
                let index = |id: Option<LogId>| id.map_or(0, |id| id.index);
                (index(now.last_applied), index(now.snapshot), index(now.purged))
            };
            if self.is_due(applied, newest, asked) {
                asked = Some((applied, newest));
                self.payload = self.counters.payload();
                if self.raft.trigger().snapshot().await.is_err() {
                    return;
                }
            }
            if let Some(bound) = self.purgeable(newest, purged.max(scheduled)) {
                scheduled = bound;
                if self.raft.trigger().purge_log(bound).await.is_err() {
                    return;
                }
            }
            tokio::select! {
                () = stop.cancelled() => return,
                changed = metrics.changed() => if changed.is_err() { return },
                // Never closed: this keeper holds the other end too.
                _ = marks.changed() => {}
            }
        }
    }

    /// Whether enough was applied since the newest snapshot. While one is built none is asked for:
    /// openraft would ignore it. It also ignores one whose build was overtaken by an installed
    /// snapshot, so after as many entries again it is asked for once more.
    fn is_due(&self, applied: u64, newest: u64, asked: Option<(u64, u64)>) -> bool {
        let entries = applied.saturating_sub(newest);
        let bytes = self.counters.payload().saturating_sub(self.payload);
        let due =
            entries >= self.retention.entries || (entries > 0 && bytes >= self.retention.bytes);
        let pending = asked.is_some_and(|(at, before)| {
            before == newest && applied < at + self.retention.entries.max(ASK_AGAIN_MIN)
        });
        due && !pending
    }

    /// Where the log may begin, if that is a step worth a record in it.
    fn purgeable(&self, newest: u64, purged: u64) -> Option<u64> {
        let Retention { keep, .. } = self.retention;
        let older = self.files.older_index();
        let bound = purge_bound(newest, older, keep, self.watermarks.lowest())?;
        (bound >= purged + (keep / PURGE_STEPS).max(1)).then_some(bound)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_log_is_purged_to_the_lowest_of_all_that_need_it() {
        assert_eq!(purge_bound(100, None, 10, None), None, "one snapshot alone may rot");
        assert_eq!(purge_bound(100, Some(50), 10, None), Some(50));
        assert_eq!(purge_bound(100, Some(95), 10, None), Some(90));
        assert_eq!(purge_bound(100, Some(95), 10, Some(7)), Some(7));
        assert_eq!(purge_bound(5, Some(3), 10, None), None);
        let marks = Watermarks::default();
        assert_eq!(marks.lowest(), None);
        marks.set("history", 9);
        marks.set("audit", 4);
        assert_eq!(marks.lowest(), Some(4));
    }
}
