//! The recent changes in memory: what watches read, and what the history's thread has still to
//! write. Pushing never waits; what was dropped before it was written comes from the log again.

use std::collections::VecDeque;
use std::sync::Arc;

use super::change::Change;
use crate::raft::types::LogId;

/// Changes kept, and their bytes. At a thousand writes a second a watcher has a minute to come
/// back before it reads from disk.
const MAX_CHANGES: usize = 65_536;
const MAX_BYTES: usize = 16 << 20;

/// How far something is: an entry of the log, and the version of the state after it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Mark {
    pub(crate) last: LogId,
    pub(crate) version: u64,
}

/// A change and the entry that made it.
pub(super) type Pushed = (LogId, Arc<Change>);

#[derive(Debug)]
pub(super) struct Ring {
    changes: VecDeque<Pushed>,
    bytes: usize,
    /// Bytes that ever came.
    pushed: u64,
    max: (usize, usize),
    /// Every change above this version, up to the head, is here.
    floor: u64,
    head: Option<Mark>,
    compacted: u64,
}

impl Ring {
    pub(super) fn new() -> Self {
        Self::bounded(MAX_CHANGES, MAX_BYTES)
    }

    pub(super) fn bounded(changes: usize, bytes: usize) -> Self {
        let max = (changes, bytes);
        Self {
            changes: VecDeque::new(),
            bytes: 0,
            pushed: 0,
            max,
            floor: 0,
            head: None,
            compacted: 0,
        }
    }

    pub(super) fn push(&mut self, entry: LogId, change: Change) {
        self.bytes += change.size();
        self.pushed += change.size() as u64;
        self.changes.push_back((entry, Arc::new(change)));
        while self.changes.len() > self.max.0.max(1)
            || (self.bytes > self.max.1 && self.changes.len() > 1)
        {
            let Some((_, dropped)) = self.changes.pop_front() else { return };
            self.bytes -= dropped.size();
            self.floor = dropped.version;
        }
    }

    pub(super) fn reach(&mut self, head: Mark, compacted: u64) {
        self.head = Some(head);
        self.compacted = compacted;
    }

    /// What was changed up to here never comes by: the state was installed as a whole.
    pub(super) fn jump(&mut self, head: Mark, compacted: u64) {
        self.changes.clear();
        self.bytes = 0;
        self.floor = head.version;
        self.reach(head, compacted);
    }

    pub(super) fn head(&self) -> Option<Mark> {
        self.head
    }

    /// The version of the newest state.
    pub(super) fn version(&self) -> u64 {
        self.head.map_or(0, |head| head.version)
    }

    pub(super) fn pushed(&self) -> u64 {
        self.pushed
    }

    pub(super) fn floor(&self) -> u64 {
        self.floor
    }

    pub(super) fn compacted(&self) -> u64 {
        self.compacted
    }

    /// The first changes after `version`, within a bound of bytes but at least one, and how far
    /// they lead; none if some of them were dropped.
    pub(super) fn after(&self, version: u64, bytes: usize) -> Option<(Vec<Pushed>, Mark)> {
        let head = self.head.filter(|_| version >= self.floor)?;
        let first = self.changes.partition_point(|(_, change)| change.version <= version);
        let mut taken = 0;
        let few = self.changes.range(first..).enumerate().take_while(|(at, (_, change))| {
            taken += change.size();
            *at == 0 || taken <= bytes
        });
        let few: Vec<Pushed> = few.map(|(_, pushed)| pushed.clone()).collect();
        let mark = match few.last() {
            Some((last, change)) if first + few.len() < self.changes.len() => {
                Mark { last: *last, version: change.version }
            }
            _ => head,
        };
        Some((few, mark))
    }
}
