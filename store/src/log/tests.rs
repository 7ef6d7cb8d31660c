mod damage;
mod limits;
mod property;
mod rotation;

use std::collections::BTreeMap;

use super::disk::lossy::LossyDisk;
use super::frame::{self, Frame, SegmentHeader};
use super::*;
use higuma_model::ClusterId;

const OWNER: Identity = Identity { cluster: ClusterId(0xc0ffee), node: 3 };

/// Segments so small that a few batches rotate.
const SMALL: Options = Options { segment_bytes: 2048, prepare_ahead: false, syncs: true };

/// splitmix64: the same numbers for the same seed, on every machine.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub(crate) fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound as u64) as usize
    }

    pub(crate) fn chance(&mut self, percent: usize) -> bool {
        self.below(100) < percent
    }

    pub(crate) fn bytes(&mut self, length: usize) -> Vec<u8> {
        (0..length).map(|_| self.next() as u8).collect()
    }
}

/// What the records seen so far amount to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Contents {
    entries: BTreeMap<u64, Vec<u8>>,
    vote: Option<Vec<u8>>,
    committed: Option<Vec<u8>>,
    purged: Option<u64>,
}

impl Contents {
    fn apply(&mut self, record: &Record<'_>) {
        match *record {
            Record::Append { index, entry } => {
                self.entries.insert(index, entry.to_vec());
            }
            Record::TruncateAfter { index } => {
                self.entries.retain(|i, _| Some(*i) <= index);
            }
            Record::Purge { index, .. } => {
                self.purged = self.purged.max(Some(index));
                self.entries.retain(|i, _| *i > index);
            }
            Record::Vote(vote) => self.vote = Some(vote.to_vec()),
            Record::Committed(id) => self.committed = Some(id.to_vec()),
            Record::Seal => {}
        }
        let purged = self.purged;
        self.entries.retain(|i, _| Some(*i) > purged);
    }

    fn apply_all(&mut self, batch: &Batch) {
        batch.records().for_each(|record| self.apply(&record));
    }

    fn last(&self) -> Option<u64> {
        self.entries.keys().next_back().copied().max(self.purged)
    }
}

fn open(
    disk: &LossyDisk,
    options: Options,
    existing: bool,
) -> Result<(Log<LossyDisk>, Contents), OpenError> {
    let mut contents = Contents::default();
    let log = Log::open(disk.clone(), OWNER, options, existing, &mut |record| {
        contents.apply(record);
        Ok(())
    })?;
    Ok((log, contents))
}

/// Opens a log that must open.
fn reopen(disk: &LossyDisk) -> (Log<LossyDisk>, Contents) {
    open(disk, SMALL, true).map_err(|e| e.to_string()).unwrap()
}

fn refusal(disk: &LossyDisk) -> OpenError {
    match open(disk, SMALL, true) {
        Ok((_, contents)) => panic!("opened, with {:?}", contents.last()),
        Err(error) => error,
    }
}

fn batch(records: &[Record<'_>]) -> Batch {
    let mut batch = Batch::default();
    records.iter().for_each(|record| batch.push(*record));
    batch
}

fn entry(index: u64, length: usize) -> Batch {
    let entry = Random(index).bytes(length);
    batch(&[Record::Append { index, entry: &entry }])
}

/// A log of entries `0..count`, one a frame.
fn log_of(count: u64, length: usize) -> (LossyDisk, Log<LossyDisk>) {
    let disk = LossyDisk::new(1);
    let (mut log, _) = open(&disk, SMALL, false).unwrap();
    for index in 0..count {
        log.commit(&entry(index, length)).unwrap();
    }
    (disk, log)
}

/// The frames of a segment as they stand on the disk.
fn frames(disk: &LossyDisk, name: &str) -> Vec<(usize, Frame)> {
    let bytes = disk.read(name).unwrap();
    let header = SegmentHeader::decode(&bytes).unwrap();
    let mut at = segment::FIRST_FRAME_AT;
    let mut frames = Vec::new();
    while let Some(frame) = frame::decode(&header, &bytes, at) {
        frames.push((at, frame.clone()));
        at = frame.end;
    }
    frames
}
