//! The log as openraft uses it: reads from memory, writes through the writer thread.
//!
//! ```text
//! openraft's core ── append, vote, truncate, purge ──► Memory, at once
//!                 └─► Queue (bounded) ──► writer thread ──► Log ──► callbacks, in order
//! ```
//! Memory is ahead of the disk, as openraft asks for. When the disk fails this cannot be undone:
//! the process must stop, which [`LogStorage::failure`] tells it.

use std::fmt::Debug;
use std::io;
use std::ops::RangeBounds;
use std::sync::{Arc, Mutex, MutexGuard};

use openraft::storage::{IOFlushed, LogState, RaftLogReader, RaftLogStorage};
use openraft::type_config::TypeConfigExt;
use openraft::{OptionalSend, entry::RaftEntry};
use prost::Message as _;

use super::log_counters::LogCounters;
use super::log_memory::Memory;
use super::log_writer::{self, Failure, LogWriter, Queue, Raise};
use super::types::{Entry, LogId, Types, Vote};
use crate::identity::{DataFolder, FolderError, Identity};
use crate::log::disk::{Disk, Folder};
use crate::log::{Batch, ENTRY_BYTES_MAX, Log, OpenError, Options, Record};
use crate::proto;

/// Why the log cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum OpenLogError {
    #[error(transparent)]
    Folder(#[from] FolderError),
    #[error(transparent)]
    Log(#[from] OpenError),
    #[error("cannot start the log's writer thread: {0}")]
    Thread(io::Error),
}

/// The log of this node; its last clone's end is the writer's.
pub(crate) struct LogStorage {
    memory: Arc<Mutex<Memory>>,
    queue: Queue,
    counters: Arc<LogCounters>,
}

/// Reads the log.
#[derive(Clone)]
pub(crate) struct LogReader {
    memory: Arc<Mutex<Memory>>,
}

impl LogStorage {
    /// Opens the log in `folder`, claiming the folder first. Everything it reports is durable.
    pub(crate) fn open(
        folder: &DataFolder,
        identity: Identity,
        options: Options,
    ) -> Result<(Self, LogWriter), OpenLogError> {
        folder.claim(&identity)?;
        let existing = folder.had_log()?;
        let disk = Folder::new(folder.log_path()?, options.syncs);
        let opened = Self::start(disk, identity, options, existing, folder.clone())?;
        folder.note_log(&identity)?;
        Ok(opened)
    }

    /// Opens the log in `disk`; `held` is kept while it is written.
    fn start<D: Disk, H: Send + 'static>(
        disk: D,
        identity: Identity,
        options: Options,
        existing: bool,
        held: H,
    ) -> Result<(Self, LogWriter), OpenLogError> {
        let mut memory = Memory::default();
        let log = Log::open(disk, identity, options, existing, &mut |r| memory.replay(r))?;
        let counters = Arc::<LogCounters>::default();
        counters.count_payload(memory.payload_bytes());
        let memory = Arc::new(Mutex::new(memory));
        let shared = (Arc::clone(&memory), Arc::clone(&counters));
        let started = log_writer::start(log, shared.0, shared.1, held);
        let (queue, writer) = started.map_err(OpenLogError::Thread)?;
        Ok((Self { memory, queue, counters }, writer))
    }

    /// A second way to read it, from any thread.
    pub(crate) fn reader(&self) -> LogReader {
        LogReader { memory: Arc::clone(&self.memory) }
    }

    /// Set once, when the log failed.
    pub(crate) fn failure(&self) -> Failure {
        self.queue.failure()
    }

    /// For others whose failure ends the process too.
    pub(crate) fn raise(&self) -> Raise {
        self.queue.raise()
    }

    /// The last entry that is known to be committed, and the term of the last vote.
    pub(crate) async fn known(&mut self) -> io::Result<(Option<LogId>, u64)> {
        let committed = self.read_committed().await?;
        let term = self.memory().vote.map_or(0, |vote| vote.leader_id.term);
        Ok((committed, term))
    }

    /// The last entry that is no longer in the log.
    pub(crate) fn purged(&self) -> Option<LogId> {
        self.memory().state().last_purged_log_id
    }

    /// Payload of the entries up to `index`, as the counters count it.
    pub(crate) fn payload_up_to(&self, index: u64) -> u64 {
        self.memory().payload_up_to(index)
    }

    /// Makes the log agree with the snapshot that the node starts from. A crash may have come
    /// between the two steps of installing it: the file was there, the log not cut yet. What the
    /// log then holds up to `last`, and what it holds after another entry in its place, is not part
    /// of the history.
    pub(crate) async fn follow_snapshot(&mut self, last: LogId) -> io::Result<()> {
        let state = self.memory().state();
        let ends_before = state.last_log_id.is_none_or(|id| id.index < last.index);
        let here = self.memory().read(last.index..=last.index).first().map(|entry| entry.log_id);
        let differs = here.is_some_and(|id| id != last);
        if !ends_before && !differs {
            return Ok(());
        }
        tracing::warn!(index = last.index, "the log goes on from a snapshot that it did not reach");
        if differs {
            let before = self.memory().read(..last.index).last().map(|entry| entry.log_id);
            self.truncate_after(before.or(state.last_purged_log_id)).await?;
        }
        self.purge(last).await
    }

    pub(crate) fn counters(&self) -> Arc<LogCounters> {
        Arc::clone(&self.counters)
    }

    fn memory(&self) -> MutexGuard<'_, Memory> {
        self.memory.lock().expect("invariant: nothing panics while holding this")
    }

    /// Puts the entries into memory, where they can be read from now on, and encodes them.
    fn take(&self, entries: Vec<Entry>) -> io::Result<Batch> {
        let refused = |why: String| io::Error::new(io::ErrorKind::InvalidInput, why);
        let mut memory = self.memory();
        let mut next = memory.next_index();
        let mut batch = Batch::default();
        for entry in &entries {
            let index = entry.index();
            if let Some(next) = next.filter(|next| *next != index) {
                return Err(refused(format!("entry {index} where {next} must follow")));
            }
            next = Some(index + 1);
            let bytes = proto::Entry::from(entry).encode_to_vec();
            if bytes.len() > ENTRY_BYTES_MAX {
                let length = bytes.len();
                return Err(refused(format!("entry {index} of {length} bytes is too large")));
            }
            batch.push(Record::Append { index, entry: &bytes });
        }
        let before = memory.payload_bytes();
        memory.append(entries);
        self.counters.count_payload(memory.payload_bytes() - before);
        Ok(batch)
    }

    async fn submit_one(&self, record: Record<'_>, flushed: IOFlushed<Types>) -> io::Result<()> {
        let mut batch = Batch::default();
        batch.push(record);
        self.queue.submit(batch, flushed).await
    }
}

impl RaftLogStorage<Types> for LogStorage {
    type LogReader = LogReader;

    async fn get_log_state(&mut self) -> io::Result<LogState<Types>> {
        Ok(self.memory().state())
    }

    async fn get_log_reader(&mut self) -> LogReader {
        LogReader { memory: Arc::clone(&self.memory) }
    }

    async fn save_vote(&mut self, vote: &Vote) -> io::Result<()> {
        let bytes = proto::Vote::from(*vote).encode_to_vec();
        let (sender, synced) = Types::oneshot();
        self.submit_one(Record::Vote(&bytes), IOFlushed::signal(sender)).await?;
        synced.await.map_err(io::Error::other)??;
        self.memory().vote = Some(*vote);
        Ok(())
    }

    async fn save_committed(&mut self, committed: Option<LogId>) -> io::Result<()> {
        self.memory().committed = committed;
        Ok(())
    }

    async fn read_committed(&mut self) -> io::Result<Option<LogId>> {
        let memory = self.memory();
        // What rotted at the end of the log is not there to be applied.
        Ok(memory.committed.filter(|id| Some(id.index + 1) <= memory.next_index()))
    }

    async fn append<I>(&mut self, entries: I, flushed: IOFlushed<Types>) -> io::Result<()>
    where
        I: IntoIterator<Item = Entry> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        match self.take(entries.into_iter().collect()) {
            Ok(batch) => self.queue.submit(batch, flushed).await,
            Err(refused) => {
                let told = io::Error::new(refused.kind(), refused.to_string());
                flushed.io_completed(Err(told));
                Err(refused)
            }
        }
    }

    async fn truncate_after(&mut self, last: Option<LogId>) -> io::Result<()> {
        let index = last.map(|id| id.index);
        self.memory().truncate_after(index);
        self.submit_one(Record::TruncateAfter { index }, IOFlushed::noop()).await
    }

    async fn purge(&mut self, id: LogId) -> io::Result<()> {
        self.memory().purge(id);
        let bytes = proto::LogId::from(id).encode_to_vec();
        let record = Record::Purge { index: id.index, id: &bytes };
        self.submit_one(record, IOFlushed::noop()).await
    }
}

impl LogReader {
    /// Some of the entries held in `start..end`, from the first on.
    pub(crate) fn some(&self, start: u64, end: u64) -> Vec<Entry> {
        self.memory().read_some(start, end)
    }

    fn memory(&self) -> MutexGuard<'_, Memory> {
        self.memory.lock().expect("invariant: nothing panics while holding this")
    }
}

impl RaftLogReader<Types> for LogReader {
    async fn try_get_log_entries<RB>(&mut self, range: RB) -> io::Result<Vec<Entry>>
    where
        RB: RangeBounds<u64> + Clone + Debug + OptionalSend,
    {
        Ok(self.memory().read(range))
    }

    async fn read_vote(&mut self) -> io::Result<Option<Vote>> {
        Ok(self.memory().vote)
    }

    async fn limited_get_log_entries(&mut self, start: u64, end: u64) -> io::Result<Vec<Entry>> {
        Ok(self.memory().read_some(start, end))
    }
}

#[cfg(test)]
mod tests;
