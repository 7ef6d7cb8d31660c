//! The write-ahead log: what a node acknowledged survives a power cut.
//!
//! Segments of one size, preallocated with zeros; one frame with a checksum per group commit; one
//! fdatasync per frame. Frame N+1 is written only after frame N was synced, hence the rule by which
//! [`recovery`] tells a write that a crash cut short (wiped) from damage (refused). Any error while
//! writing poisons the log: after a failed sync nobody knows what is on disk.
//!
//! ```text
//! 0000000000000001.wal  [header][frame 0][frame 1]..[frame 7: seal]000
//! 0000000000000002.wal  [header][frame 8: vote, committed, purged, ..][frame 9]00000000
//! next.tmp              00000000000000000000000000000
//! ```
//!
//! It keeps no entries in memory and knows nothing of Raft: a purge deletes the segments below it,
//! whoever asks for one.

pub(crate) mod disk;
mod error;
mod extent;
mod frame;
mod options;
mod record;
mod recovery;
mod segment;
mod state;

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use std::{io, thread};

pub(crate) use self::error::{CommitError, OpenError, rejoin};
pub(crate) use self::options::{ENTRY_BYTES_MAX, FRAME_BODY_BYTES_MAX, Options};
pub(crate) use self::record::{Batch, Record};

use self::disk::{Disk, DiskFile};
use self::extent::Extent;
use self::frame::SegmentHeader;
use self::options::seal_bytes;
use self::state::{STATE_BYTES_MAX, State};
use crate::identity::Identity;

/// What a commit cost.
#[derive(Debug, Default)]
pub(crate) struct Written {
    /// How long each fdatasync of a frame took.
    pub(crate) syncs: Vec<Duration>,
    /// Of frames, in bytes.
    pub(crate) bytes: u64,
}

/// The log of one node, open for writing.
pub(crate) struct Log<D: Disk> {
    disk: D,
    owner: Identity,
    options: Options,
    current: Current<D::File>,
    /// Sealed segments, oldest first.
    sealed: VecDeque<Sealed>,
    extent: Extent,
    state: State,
    /// Writes the spare file.
    spare: Option<JoinHandle<io::Result<()>>>,
    /// The frame being written; kept for its allocation.
    frame: Vec<u8>,
    failed: Option<Arc<str>>,
}

/// The segment that is written to.
struct Current<F> {
    file: F,
    header: SegmentHeader,
    /// Where the next frame goes.
    at: usize,
    /// The next frame's number.
    batch: u64,
    /// The highest index appended in this segment.
    last_index: Option<u64>,
}

struct Sealed {
    seq: u64,
    last_index: Option<u64>,
}

/// One frame of a batch.
struct Planned {
    records: Range<usize>,
    /// In a new segment.
    rotate: bool,
}

impl<D: Disk> Log<D> {
    /// Opens the log in `disk`, or creates it where there is none and `existing` is false. Passes
    /// every record to `replay`, which says why it does not understand one. What it passed is
    /// durable when this returns.
    pub(crate) fn open(
        disk: D,
        owner: Identity,
        options: Options,
        existing: bool,
        replay: &mut dyn FnMut(&Record<'_>) -> Result<(), String>,
    ) -> Result<Self, OpenError> {
        options.check();
        let recovered = match recovery::recover(&disk, owner, replay)? {
            Some(recovered) => recovered,
            None if existing => {
                return Err(OpenError::Missing { path: disk.path(&segment::name(1)) });
            }
            None => recovery::create(&disk, owner, options)?,
        };
        let recovery::Recovered { current, sealed, extent, state } = recovered;
        let frame = Vec::new();
        let mut log = Self {
            disk,
            owner,
            options,
            current,
            sealed,
            extent,
            state,
            spare: None,
            frame,
            failed: None,
        };
        log.prepare_ahead();
        Ok(log)
    }

    /// Makes the records durable, in order; a crash may leave any number of the first ones. The
    /// batch is cut into frames where it is long, each synced before the next. Any I/O error
    /// poisons the log.
    pub(crate) fn commit(&mut self, batch: &Batch) -> Result<Written, CommitError> {
        if let Some(reason) = &self.failed {
            return Err(CommitError::Failed(Arc::clone(reason)));
        }
        let frames = self.plan(batch)?;
        let written = self.write(batch, &frames);
        if let Err(error) = &written {
            self.failed = Some(error.to_string().into());
        }
        written
    }

    /// The highest index held or purged.
    pub(crate) fn last_index(&self) -> Option<u64> {
        self.extent.last()
    }

    /// Refuses what cannot be written, before anything is.
    fn plan(&self, batch: &Batch) -> Result<Vec<Planned>, CommitError> {
        let mut extent = self.extent;
        let limit = self.options.record_bytes_max();
        for record in batch.records() {
            extent.apply(&record)?;
            let (bytes, limit) = state::bound(&record).unwrap_or_else(|| (record.bytes(), limit));
            if bytes > limit {
                return Err(CommitError::TooLarge { bytes, limit });
            }
        }
        let mut frames = Vec::new();
        let (mut at, mut fresh) = (self.current.at, self.is_fresh());
        let mut end = self.current.header.bytes as usize;
        for records in self.cut(batch) {
            let body = batch.slice(&records).len();
            let need = frame::frame_bytes(body + if fresh { STATE_BYTES_MAX } else { 0 });
            let rotate = at + need + seal_bytes() > end;
            if rotate {
                (at, end) = (segment::FIRST_FRAME_AT, self.options.segment_bytes as usize);
                at += frame::frame_bytes(body + STATE_BYTES_MAX);
            } else {
                at += need;
            }
            fresh = false;
            frames.push(Planned { records, rotate });
        }
        Ok(frames)
    }

    /// The batch in pieces that fit a frame.
    fn cut(&self, batch: &Batch) -> Vec<Range<usize>> {
        let limit = self.options.frame_body_bytes_max();
        let mut pieces = Vec::new();
        let mut start = 0;
        for end in 1..=batch.len() {
            if batch.slice(&(start..end)).len() > limit {
                pieces.push(start..end - 1);
                start = end - 1;
            }
        }
        if start < batch.len() {
            pieces.push(start..batch.len());
        }
        pieces
    }

    fn write(&mut self, batch: &Batch, frames: &[Planned]) -> Result<Written, CommitError> {
        let mut written = Written::default();
        for planned in frames {
            if planned.rotate {
                self.rotate(&mut written)?;
            }
            self.write_frame(batch.slice(&planned.records), planned.records.len(), &mut written)?;
        }
        // The purge is durable, and the state it needs from older segments stands in this one.
        self.delete_purged()?;
        Ok(written)
    }

    /// Writes a frame, syncs it, and only then counts its records as held.
    fn write_frame(
        &mut self,
        body: &[u8],
        records: usize,
        written: &mut Written,
    ) -> Result<(), CommitError> {
        let (state, state_records) =
            if self.is_fresh() { self.state.encode() } else { (Vec::new(), 0) };
        let records = u32::try_from(records).expect("invariant: a frame is below 4 GiB");
        let current = &mut self.current;
        let parts = (&*state, body);
        let records = state_records + records;
        frame::encode(&mut self.frame, &current.header, current.batch, records, parts);
        let path = self.disk.path(&segment::name(current.header.seq));
        let offset = current.at as u64;
        current.file.write_at(&self.frame, offset).map_err(CommitError::io("write to", &path))?;
        let started = Instant::now();
        current.file.sync().map_err(CommitError::io("sync", &path))?;
        written.syncs.push(started.elapsed());
        written.bytes += self.frame.len() as u64;
        current.at += self.frame.len();
        current.batch += 1;
        for record in record::decode_all(body).flatten() {
            self.extent.apply(&record)?;
            self.state.apply(&record);
            if let Record::Append { index, .. } = record {
                current.last_index = current.last_index.max(Some(index));
            }
        }
        Ok(())
    }

    /// The order matters. The successor is there, durably, before the seal is: a sealed segment
    /// without one proves that a file is missing.
    fn rotate(&mut self, written: &mut Written) -> Result<(), CommitError> {
        let path = self.disk.path(segment::SPARE);
        self.finish_spare().map_err(CommitError::io("prepare", &path))?;
        let header = SegmentHeader {
            bytes: self.options.segment_bytes,
            seq: self.current.header.seq + 1,
            // The seal is the frame between.
            first_batch: self.current.batch + 1,
            owner: self.owner,
            salt: salt(),
        };
        let path = self.disk.path(&segment::name(header.seq));
        let file =
            segment::create(&self.disk, &header).map_err(CommitError::io("create", &path))?;
        let mut seal = Vec::new();
        Record::Seal.encode(&mut seal);
        self.write_frame(&seal, 1, written)?;
        let next = Current::new(file, header);
        let last = std::mem::replace(&mut self.current, next);
        let Current { header, last_index, .. } = last;
        self.sealed.push_back(Sealed { seq: header.seq, last_index });
        self.prepare_ahead();
        Ok(())
    }

    fn delete_purged(&mut self) -> Result<(), CommitError> {
        let Some(purged) = self.extent.purged() else { return Ok(()) };
        while let Some(oldest) = self.sealed.front() {
            if oldest.last_index.is_some_and(|index| index > purged) || self.is_fresh() {
                break;
            }
            let name = segment::name(oldest.seq);
            let path = self.disk.path(&name);
            self.disk.remove(&name).map_err(CommitError::io("remove", &path))?;
            // One by one: of two removals in flight, a crash might keep the second only.
            self.disk.sync_names().map_err(CommitError::io("sync", &path))?;
            self.sealed.pop_front();
        }
        Ok(())
    }

    /// Nothing stands in the current segment: its first frame repeats the state.
    fn is_fresh(&self) -> bool {
        self.current.at == segment::FIRST_FRAME_AT
    }

    fn prepare_ahead(&mut self) {
        if !self.options.prepare_ahead {
            return;
        }
        let (disk, bytes) = (self.disk.clone(), self.options.segment_bytes);
        let thread = thread::Builder::new().name("log-spare".into());
        // Without a thread the segment is prepared when it is needed.
        self.spare = thread.spawn(move || segment::prepare_spare(&disk, bytes)).ok();
    }

    fn finish_spare(&mut self) -> io::Result<()> {
        match self.spare.take() {
            Some(thread) => thread.join().unwrap_or_else(|_| Err(io::Error::other("panicked"))),
            None => segment::prepare_spare(&self.disk, self.options.segment_bytes),
        }
    }
}

impl<D: Disk> Drop for Log<D> {
    fn drop(&mut self) {
        // Nothing of this log touches the folder any more once it is dropped. What became of the
        // spare file does not matter: the next start makes a new one.
        if let Some(thread) = self.spare.take() {
            drop(thread.join());
        }
    }
}

impl<F> Current<F> {
    /// A segment without frames.
    fn new(file: F, header: SegmentHeader) -> Self {
        let batch = header.first_batch;
        Self { file, header, at: segment::FIRST_FRAME_AT, batch, last_index: None }
    }
}

fn salt() -> u32 {
    getrandom::u32().expect("invariant: the kernel's random source answers")
}

#[cfg(test)]
pub(crate) mod tests;
