//! A watch: every change after a version, in order, each once, and how far that is.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch as channel;
use tokio::time::Instant;

use super::change::Change;
use super::read::{Filter, HistoryError};
use super::{History, keeps};

/// How long nothing is said while others are written: a mark then says how far the watch is.
const MARK_EVERY: Duration = Duration::from_secs(1);
/// Before a history that is being filled is asked again.
const RETRY: Duration = Duration::from_millis(200);

/// Reads changes as fast as it is asked for them; holds at most what one read gave. One that falls
/// behind the ring reads from disk, and behind that is told that it is compacted.
pub struct Watcher {
    history: History,
    head: channel::Receiver<u64>,
    filter: Filter,
    /// Read and not said yet.
    read: VecDeque<Arc<Change>>,
    /// All up to here was read.
    upto: u64,
    /// All up to here was said.
    told: u64,
    quiet_since: Instant,
}

/// What a watch says next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Seen {
    /// One version, whole.
    Change(Change),
    /// All up to this version was said.
    Mark(u64),
}

impl History {
    /// Watches what changes after `from`; where this node is not that far, it begins when it is.
    ///
    /// # Errors
    /// Changes after `from` are no longer kept, or those of the kind never were.
    pub fn watch(&self, from: u64, filter: Filter) -> Result<Watcher, HistoryError> {
        if let Some(kind) = filter.kind.filter(|kind| !keeps(*kind)) {
            return Err(HistoryError::NotKept(kind));
        }
        let compacted = self.compacted();
        if from < compacted {
            return Err(HistoryError::Compacted { compacted });
        }
        Ok(Watcher {
            history: self.clone(),
            head: self.shared.head.subscribe(),
            filter,
            read: VecDeque::new(),
            upto: from,
            told: from,
            quiet_since: Instant::now(),
        })
    }
}

impl Watcher {
    /// The next change, or a mark; waits for it. Safe to drop while it waits.
    ///
    /// # Errors
    /// [`HistoryError::Compacted`]: what comes next is no longer kept.
    pub async fn next(&mut self) -> Result<Seen, HistoryError> {
        loop {
            while let Some(change) = self.read.pop_front() {
                if let Some(change) = self.filter.narrow(&change) {
                    self.told = change.version;
                    self.quiet_since = Instant::now();
                    return Ok(Seen::Change(change));
                }
            }
            if self.upto > self.told && self.quiet_since.elapsed() >= MARK_EVERY {
                self.told = self.upto;
                self.quiet_since = Instant::now();
                return Ok(Seen::Mark(self.upto));
            }
            let upto = self.upto;
            let head = &mut self.head;
            let more = async { head.wait_for(|head| *head > upto).await.is_ok() };
            let more = match upto > self.told {
                true => tokio::time::timeout_at(self.quiet_since + MARK_EVERY, more).await,
                false => Ok(more.await),
            };
            match more {
                Err(_) => continue,
                Ok(false) => return Err(HistoryError::Unusable("the node stops".to_owned())),
                Ok(true) => {}
            }
            match self.history.after(upto).await {
                Ok((changes, upto)) => {
                    self.read.extend(changes);
                    self.upto = upto;
                }
                Err(error @ (HistoryError::Filling { .. } | HistoryError::Unusable(_))) => {
                    tracing::debug!(%error, "a watch waits");
                    tokio::time::sleep(RETRY).await;
                }
                Err(error) => return Err(error),
            }
        }
    }
}

impl Filter {
    /// What a change says of the resources that are meant; nothing: it is about others.
    pub(super) fn narrow(&self, change: &Change) -> Option<Change> {
        let edits: Vec<_> =
            change.edits.iter().filter(|edit| self.matches(&edit.key)).cloned().collect();
        let Change { version, at, writer, origin, .. } = change;
        (!edits.is_empty()).then(|| Change {
            version: *version,
            at: *at,
            writer: writer.clone(),
            origin: origin.clone(),
            edits,
        })
    }
}
