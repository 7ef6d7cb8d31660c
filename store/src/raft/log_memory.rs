//! The log as it is read: every entry that is not purged, in memory. Ahead of the disk by what is
//! being written.

use std::collections::VecDeque;
use std::ops::{Bound, RangeBounds};

use openraft::entry::RaftEntry;
use openraft::storage::LogState;
use prost::Message as _;

use super::types::{Entry, LogId, Payload, Types, Vote};
use super::wire;
use crate::log::Record;
use crate::proto;

/// What one read for replication returns at most, in bytes of payload: it becomes one message, and
/// gRPC takes 4 MiB by default.
const READ_BYTES_MAX: usize = 2 << 20;
/// What an entry counts at least, in bytes.
const ENTRY_BYTES_MIN: usize = 64;

#[derive(Debug, Default)]
pub(super) struct Memory {
    /// Dense.
    entries: VecDeque<Entry>,
    /// Of all entries that were ever appended, in bytes.
    appended: u64,
    purged: Option<LogId>,
    pub(super) vote: Option<Vote>,
    pub(super) committed: Option<LogId>,
}

impl Memory {
    /// Takes what the disk says; says why it does not understand it.
    pub(super) fn replay(&mut self, record: &Record<'_>) -> Result<(), String> {
        let described = |what: &'static str| move |e: prost::DecodeError| format!("{what}: {e}");
        match *record {
            Record::Append { index, entry } => {
                let entry = proto::Entry::decode(entry).map_err(described("entry"))?;
                let entry = wire::entry(entry).map_err(|e| e.to_string())?;
                if entry.index() != index {
                    return Err(format!("entry {} stands as {index}", entry.index()));
                }
                self.append(vec![entry]);
            }
            Record::TruncateAfter { index } => self.truncate_after(index),
            Record::Purge { id, .. } => self.purge(log_id(id).map_err(described("purged"))?),
            Record::Vote(vote) => {
                let vote = proto::Vote::decode(vote).map_err(described("vote"))?;
                self.vote = Some(vote.into());
            }
            Record::Committed(id) => {
                self.committed = Some(log_id(id).map_err(described("committed"))?);
            }
            Record::Seal => {}
        }
        Ok(())
    }

    /// The next entry's index; none while any may come first.
    pub(super) fn next_index(&self) -> Option<u64> {
        self.last().map(|id| id.index + 1)
    }

    pub(super) fn append(&mut self, entries: Vec<Entry>) {
        self.appended += entries.iter().map(|entry| payload_bytes(entry) as u64).sum::<u64>();
        self.entries.extend(entries);
    }

    /// Payload of all entries that were ever appended, in bytes.
    pub(super) fn payload_bytes(&self) -> u64 {
        self.appended
    }

    /// Of all that was ever appended, less the entries above `index`.
    pub(super) fn payload_up_to(&self, index: u64) -> u64 {
        let above = self.entries.range(self.place(index.saturating_add(1))..);
        let above: u64 = above.map(|entry| payload_bytes(entry) as u64).sum();
        self.appended.saturating_sub(above)
    }

    /// Keeps the entries up to `index`; those purged are gone already.
    pub(super) fn truncate_after(&mut self, index: Option<u64>) {
        let keep = index.map_or(0, |index| self.place(index + 1));
        self.entries.truncate(keep);
    }

    pub(super) fn purge(&mut self, id: LogId) {
        let gone = self.place(id.index + 1);
        self.entries.drain(..gone);
        self.purged = self.purged.max(Some(id));
    }

    pub(super) fn state(&self) -> LogState<Types> {
        LogState { last_purged_log_id: self.purged, last_log_id: self.last() }
    }

    /// The entries held in `range`.
    pub(super) fn read(&self, range: impl RangeBounds<u64>) -> Vec<Entry> {
        let start = match range.start_bound() {
            Bound::Included(start) => *start,
            Bound::Excluded(before) => before.saturating_add(1),
            Bound::Unbounded => 0,
        };
        let end = match range.end_bound() {
            Bound::Included(last) => last.saturating_add(1),
            Bound::Excluded(end) => *end,
            Bound::Unbounded => u64::MAX,
        };
        let (start, end) = (self.place(start), self.place(end));
        self.entries.range(start..end.max(start)).cloned().collect()
    }

    /// The first entries held in `start..end`: at least one, if any is held, and no more than a
    /// message takes.
    pub(super) fn read_some(&self, start: u64, end: u64) -> Vec<Entry> {
        let (start, end) = (self.place(start), self.place(end));
        let mut bytes = 0;
        let few = self.entries.range(start..end.max(start)).enumerate().take_while(|(i, entry)| {
            bytes += payload_bytes(entry);
            *i == 0 || bytes <= READ_BYTES_MAX
        });
        few.map(|(_, entry)| entry.clone()).collect()
    }

    fn last(&self) -> Option<LogId> {
        self.entries.back().map(|entry| entry.log_id).or(self.purged)
    }

    /// How many entries held are below `index`.
    fn place(&self, index: u64) -> usize {
        let first = self.entries.front().map_or(0, RaftEntry::index);
        let below = usize::try_from(index.saturating_sub(first)).unwrap_or(usize::MAX);
        below.min(self.entries.len())
    }
}

fn payload_bytes(entry: &Entry) -> usize {
    match &entry.payload {
        Payload::Command(command) => command.0.len().max(ENTRY_BYTES_MIN),
        Payload::Blank { .. } | Payload::Membership(_) => ENTRY_BYTES_MIN,
    }
}

fn log_id(bytes: &[u8]) -> Result<LogId, prost::DecodeError> {
    proto::LogId::decode(bytes).map(LogId::from)
}
