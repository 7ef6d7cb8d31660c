//! Segment files: their names, and how one comes to be.

use std::io;

use super::disk::{Disk, DiskFile};
use super::frame::{SEGMENT_HEADER_BYTES, SegmentHeader};

/// The next segment before it has a number: zeros.
pub(super) const SPARE: &str = "next.tmp";
const SUFFIX: &str = ".wal";

/// Zeros are written in pieces of this size.
const PIECE_BYTES: usize = 1 << 20;

pub(super) fn name(seq: u64) -> String {
    format!("{seq:016x}{SUFFIX}")
}

/// The number in a segment's name; none for any other name.
pub(super) fn seq(name: &str) -> Option<u64> {
    let digits = name.strip_suffix(SUFFIX)?;
    u64::from_str_radix(digits, 16).ok().filter(|seq| self::name(*seq) == name)
}

/// Writes the spare file: `bytes` zeros, synced, so that a later fdatasync in it has neither blocks
/// to allocate nor a length to change.
pub(super) fn prepare_spare<D: Disk>(disk: &D, bytes: u32) -> io::Result<()> {
    let file = disk.create(SPARE)?;
    let zeros = vec![0; PIECE_BYTES.min(bytes as usize)];
    let mut at = 0;
    while at < u64::from(bytes) {
        let left = usize::try_from(u64::from(bytes) - at).unwrap_or(PIECE_BYTES);
        let piece = &zeros[..left.min(PIECE_BYTES)];
        file.write_at(piece, at)?;
        at += piece.len() as u64;
    }
    file.sync()
}

/// Makes the spare file a segment. The header is durable before the name is, so that no segment is
/// ever seen without one.
pub(super) fn create<D: Disk>(disk: &D, header: &SegmentHeader) -> io::Result<D::File> {
    let file = disk.open(SPARE)?;
    file.write_at(&header.encode(), 0)?;
    file.sync()?;
    disk.rename(SPARE, &name(header.seq))?;
    disk.sync_names()?;
    Ok(file)
}

/// Where the first frame of a segment stands.
pub(super) const FIRST_FRAME_AT: usize = SEGMENT_HEADER_BYTES;
