//! The thread that writes the log. It takes what waits, writes it as one group with one sync, and
//! then says so to all of it, in order. After a failure it writes nothing more: every request is
//! told, and the failure is raised for the process to stop.

use std::io;
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};

use openraft::storage::IOFlushed;
use prost::Message as _;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, watch};

use super::log_counters::LogCounters;
use super::log_memory::Memory;
use super::types::{LogId, Types};
use crate::log::disk::Disk;
use crate::log::{Batch, CommitError, FRAME_BODY_BYTES_MAX, Log, Record};
use crate::proto;

/// Requests that wait for the writer. openraft's core waits when it is full, which slows proposals
/// down to the disk's pace; twice the groups seen at 256 clients.
const QUEUE_REQUESTS_MAX: usize = 512;
/// Bytes that wait for the writer or are being written: several of the largest groups, so that the
/// disk is never idle, and no more memory than that.
const QUEUE_BYTES_MAX: usize = 4 * FRAME_BODY_BYTES_MAX;

/// Set once, when the log fails; the process must then exit with this message.
pub(crate) type Failure = watch::Receiver<Option<Arc<str>>>;

/// Says why the process must stop. The first reason stays: what follows is mostly its consequence.
#[derive(Debug, Clone)]
pub(crate) struct Raise(Arc<watch::Sender<Option<Arc<str>>>>);

impl Raise {
    fn new() -> (Self, Failure) {
        let (sender, failure) = watch::channel(None);
        (Self(Arc::new(sender)), failure)
    }

    pub(crate) fn raise(&self, reason: &str) {
        self.0.send_if_modified(|raised| {
            let first = raised.is_none();
            raised.get_or_insert_with(|| reason.into());
            first
        });
    }
}

/// The end of the writer thread.
#[derive(Debug)]
pub(crate) struct LogWriter {
    thread: JoinHandle<()>,
}

impl LogWriter {
    /// Blocks until everything is written and the data folder is free. The storage must have been
    /// dropped, by openraft too.
    pub(crate) fn join(self) {
        // A panic was raised as a failure already.
        drop(self.thread.join());
    }
}

/// Where requests go.
#[derive(Debug)]
pub(super) struct Queue {
    requests: mpsc::Sender<Request>,
    bytes: Arc<Semaphore>,
    failure: Failure,
    raise: Raise,
}

/// Told, exactly once, when its records are durable or never will be known to be.
struct Done(Option<IOFlushed<Types>>);

struct Request {
    batch: Batch,
    done: Done,
    _bytes: OwnedSemaphorePermit,
}

impl std::fmt::Debug for Request {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Request").field("batch", &self.batch).finish_non_exhaustive()
    }
}

impl Queue {
    /// Waits for room, not for the disk: `flushed` is called once the batch is durable. It is
    /// called, with an error, where this returns one.
    pub(super) async fn submit(&self, batch: Batch, flushed: IOFlushed<Types>) -> io::Result<()> {
        let done = Done(Some(flushed));
        let stopped = || io::Error::other("the log's writer has stopped");
        let permits = u32::try_from(batch.bytes().min(QUEUE_BYTES_MAX))
            .expect("invariant: the bound fits 32 bits");
        let bytes = Arc::clone(&self.bytes).acquire_many_owned(permits);
        let bytes = bytes.await.map_err(|_| stopped())?;
        let failure = self.failure.borrow().clone();
        if let Some(reason) = failure {
            done.tell(Err(&reason));
            return Err(io::Error::other(reason.to_string()));
        }
        let request = Request { batch, done, _bytes: bytes };
        self.requests.send(request).await.map_err(|_| stopped())
    }

    pub(super) fn failure(&self) -> Failure {
        self.failure.clone()
    }

    pub(super) fn raise(&self) -> Raise {
        self.raise.clone()
    }
}

impl Done {
    fn tell(mut self, result: Result<(), &Arc<str>>) {
        if let Some(flushed) = self.0.take() {
            flushed.io_completed(result.map_err(|reason| io::Error::other(reason.to_string())));
        }
    }
}

impl Drop for Done {
    fn drop(&mut self) {
        if let Some(flushed) = self.0.take() {
            let lost = "the log's writer stopped before this was known to be durable";
            flushed.io_completed(Err(io::Error::other(lost)));
        }
    }
}

/// Starts the thread. `held` is kept until it ends: the lock of the data folder.
pub(super) fn start<D: Disk, H: Send + 'static>(
    log: Log<D>,
    memory: Arc<Mutex<Memory>>,
    counters: Arc<LogCounters>,
    held: H,
) -> io::Result<(Queue, LogWriter)> {
    let (requests, receiver) = mpsc::channel(QUEUE_REQUESTS_MAX);
    let (raise, failure) = Raise::new();
    let mut writer =
        Writer { log, memory, counters, raise: raise.clone(), failed: None, committed: None };
    let thread = thread::Builder::new().name("log-writer".into()).spawn(move || {
        writer.run(receiver);
        drop(writer);
        drop(held);
    })?;
    let bytes = Arc::new(Semaphore::new(QUEUE_BYTES_MAX));
    Ok((Queue { requests, bytes, failure, raise }, LogWriter { thread }))
}

struct Writer<D: Disk> {
    log: Log<D>,
    memory: Arc<Mutex<Memory>>,
    counters: Arc<LogCounters>,
    raise: Raise,
    failed: Option<Arc<str>>,
    /// The last committed id on disk.
    committed: Option<LogId>,
}

impl<D: Disk> Writer<D> {
    fn run(&mut self, mut requests: mpsc::Receiver<Request>) {
        while let Some(first) = requests.blocking_recv() {
            let (mut batch, mut waiting) = (first.batch, vec![(first.done, first._bytes)]);
            while batch.bytes() < FRAME_BODY_BYTES_MAX {
                let Ok(next) = requests.try_recv() else { break };
                batch.absorb(next.batch);
                waiting.push((next.done, next._bytes));
            }
            self.note_committed(&mut batch);
            self.commit(&batch);
            let result = self.failed.as_ref().map_or(Ok(()), Err);
            for (done, _) in waiting {
                done.tell(result);
            }
        }
        // A clean stop: the next start need not ask the others what was committed.
        let mut batch = Batch::default();
        self.note_committed(&mut batch);
        self.commit(&batch);
    }

    fn commit(&mut self, batch: &Batch) {
        if self.failed.is_some() || batch.is_empty() {
            return;
        }
        match self.log.commit(batch) {
            Ok(written) => {
                let entries = batch.records().filter(|r| matches!(r, Record::Append { .. }));
                self.counters.count(entries.count() as u64, &written);
            }
            Err(error) => self.fail(&error),
        }
    }

    fn fail(&mut self, error: &CommitError) {
        tracing::error!(%error, "the log failed, this node must stop");
        let reason: Arc<str> = error.to_string().into();
        self.failed = Some(Arc::clone(&reason));
        self.raise.raise(&reason);
    }

    /// What is committed needs no sync of its own: it rides along, once the entries it speaks of
    /// are durable. (Alone and without a sync it would break the rule that a frame is written only
    /// after its predecessor is durable.)
    fn note_committed(&mut self, batch: &mut Batch) {
        let memory = self.memory.lock().expect("invariant: nothing panics while holding this");
        let committed = memory.committed;
        drop(memory);
        let Some(id) = committed.filter(|id| Some(id.index) <= self.log.last_index()) else {
            return;
        };
        if self.committed != Some(id) {
            batch.push(Record::Committed(&proto::LogId::from(id).encode_to_vec()));
            self.committed = Some(id);
        }
    }
}

impl<D: Disk> Drop for Writer<D> {
    fn drop(&mut self) {
        if thread::panicking() {
            self.raise.raise("the log's writer panicked");
        }
    }
}
