//! The bytes of a segment: one header, then frames, then zeros.
//!
//! ```text
//! header  magic 8 | format u32 | bytes u32 | seq u64 | first batch u64 | cluster 16 | node u64
//!         | salt u32 | crc u32                                                       = 64 bytes
//! frame   magic u32 | length u32 | batch u64 | crc u32 | records u32 | body, padded to 8 bytes
//! ```
//! Little-endian. A frame's CRC covers its segment's number and salt, its batch, length, number of
//! records and body. The salt is random, so that no bytes inside an entry, and none of an older
//! segment, pass for a frame of this one.

use std::ops::Range;

use higuma_model::ClusterId;

use crate::identity::Identity;

/// The version of the log's format that this program reads and writes.
pub(super) const FORMAT: u32 = 1;

pub(super) const SEGMENT_HEADER_BYTES: usize = 64;
pub(super) const FRAME_HEADER_BYTES: usize = 24;
/// Frames start at multiples of this, so that a scan past a broken length finds the later ones.
pub(super) const ALIGNMENT: usize = 8;

const SEGMENT_MAGIC: [u8; 8] = *b"HIGUMAWL";
const FRAME_MAGIC: [u8; 4] = *b"hgFR";
/// Where the header's CRC stands, and how far it reaches; the same in every format.
const HEADER_CRC_AT: usize = 60;

/// What stands at the start of a segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct SegmentHeader {
    /// The whole file's size.
    pub(super) bytes: u32,
    pub(super) seq: u64,
    /// The number of the first frame in this segment.
    pub(super) first_batch: u64,
    pub(super) owner: Identity,
    pub(super) salt: u32,
}

/// Why a header is not one.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum BadHeader {
    /// Not a segment's, or altered.
    Damaged,
    /// Another version's.
    Format(u32),
}

impl SegmentHeader {
    pub(super) fn encode(&self) -> [u8; SEGMENT_HEADER_BYTES] {
        let mut out = [0; SEGMENT_HEADER_BYTES];
        out[..8].copy_from_slice(&SEGMENT_MAGIC);
        out[8..12].copy_from_slice(&FORMAT.to_le_bytes());
        out[12..16].copy_from_slice(&self.bytes.to_le_bytes());
        out[16..24].copy_from_slice(&self.seq.to_le_bytes());
        out[24..32].copy_from_slice(&self.first_batch.to_le_bytes());
        out[32..48].copy_from_slice(&self.owner.cluster.0.to_le_bytes());
        out[48..56].copy_from_slice(&self.owner.node.to_le_bytes());
        out[56..60].copy_from_slice(&self.salt.to_le_bytes());
        let crc = crc32fast::hash(&out[..HEADER_CRC_AT]);
        out[HEADER_CRC_AT..].copy_from_slice(&crc.to_le_bytes());
        out
    }

    pub(super) fn decode(bytes: &[u8]) -> Result<Self, BadHeader> {
        let header = bytes.get(..SEGMENT_HEADER_BYTES).ok_or(BadHeader::Damaged)?;
        let crc = crc32fast::hash(&header[..HEADER_CRC_AT]);
        if header[..8] != SEGMENT_MAGIC || u32_at(header, HEADER_CRC_AT) != crc {
            return Err(BadHeader::Damaged);
        }
        let format = u32_at(header, 8);
        if format != FORMAT {
            return Err(BadHeader::Format(format));
        }
        let cluster = header[32..48].try_into().expect("invariant: 16 bytes");
        let cluster = ClusterId(u128::from_le_bytes(cluster));
        Ok(Self {
            bytes: u32_at(header, 12),
            seq: u64_at(header, 16),
            first_batch: u64_at(header, 24),
            owner: Identity { cluster, node: u64_at(header, 48) },
            salt: u32_at(header, 56),
        })
    }
}

/// A frame whose checksum is right.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Frame {
    pub(super) batch: u64,
    pub(super) records: u32,
    pub(super) body: Range<usize>,
    /// Where the next frame starts.
    pub(super) end: usize,
}

/// Bytes a frame takes in a segment.
pub(super) fn frame_bytes(body: usize) -> usize {
    (FRAME_HEADER_BYTES + body).next_multiple_of(ALIGNMENT)
}

/// Builds a frame in `out`, replacing what was there. The body is `state` and then `body`.
pub(super) fn encode(
    out: &mut Vec<u8>,
    segment: &SegmentHeader,
    batch: u64,
    records: u32,
    (state, body): (&[u8], &[u8]),
) {
    let length = state.len() + body.len();
    let length32 = u32::try_from(length).expect("invariant: a frame fits its segment");
    out.clear();
    out.extend_from_slice(&FRAME_MAGIC);
    out.extend_from_slice(&length32.to_le_bytes());
    out.extend_from_slice(&batch.to_le_bytes());
    out.extend_from_slice(&[0; 4]);
    out.extend_from_slice(&records.to_le_bytes());
    out.extend_from_slice(state);
    out.extend_from_slice(body);
    let crc = crc(segment, out);
    out[16..20].copy_from_slice(&crc.to_le_bytes());
    out.resize(frame_bytes(length), 0);
}

/// The frame at `at`, if a valid one stands there.
pub(super) fn decode(segment: &SegmentHeader, bytes: &[u8], at: usize) -> Option<Frame> {
    let rest = bytes.get(at..)?;
    if rest.len() < FRAME_HEADER_BYTES || rest[..4] != FRAME_MAGIC {
        return None;
    }
    let length = usize::try_from(u32_at(rest, 4)).ok()?;
    let frame = rest.get(..frame_bytes(length))?;
    let (content, padding) = frame.split_at(FRAME_HEADER_BYTES + length);
    if crc(segment, content) != u32_at(rest, 16) || padding.iter().any(|byte| *byte != 0) {
        return None;
    }
    Some(Frame {
        batch: u64_at(rest, 8),
        records: u32_at(rest, 20),
        body: at + FRAME_HEADER_BYTES..at + FRAME_HEADER_BYTES + length,
        end: at + frame.len(),
    })
}

/// Over a whole frame but its magic and the CRC itself.
fn crc(segment: &SegmentHeader, frame: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&segment.seq.to_le_bytes());
    hasher.update(&segment.salt.to_le_bytes());
    hasher.update(&frame[4..16]);
    hasher.update(&frame[20..]);
    hasher.finalize()
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().expect("invariant: 4 bytes"))
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().expect("invariant: 8 bytes"))
}
