//! The sizes of the log, and the bounds that follow from them.

use super::frame::{ALIGNMENT, frame_bytes};
use super::record::Record;
use super::segment;
use super::state::STATE_BYTES_MAX;

/// Large enough that rotations are rare, small enough that zero-filling two of them at the first
/// start is not felt.
const SEGMENT_BYTES: u32 = 16 << 20;
/// Room for the state, a seal and a frame of some use.
const SEGMENT_BYTES_MIN: u32 = 1 << 10;
/// A group is cut into frames of at most this: bounds the room left unused at a segment's end.
pub(crate) const FRAME_BODY_BYTES_MAX: usize = 4 << 20;
/// A proposal, and what surrounds it.
pub(crate) const ENTRY_BYTES_MAX: usize = higuma_model::MAX_ENTRY_BYTES + (64 << 10);

/// Sizes, and when segments are prepared.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Options {
    /// Of one segment; a multiple of 8. An existing segment keeps the size it was made with.
    pub(crate) segment_bytes: u32,
    /// Prepares the next segment in a thread of its own, not when it is needed.
    pub(crate) prepare_ahead: bool,
    /// Without it nothing that is written is durable: for the mutant only.
    pub(crate) syncs: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self { segment_bytes: SEGMENT_BYTES, prepare_ahead: true, syncs: true }
    }
}

impl Options {
    /// Panics where a segment has no room for frames, or ends where none can.
    pub(super) fn check(&self) {
        let aligned = (self.segment_bytes as usize).is_multiple_of(ALIGNMENT);
        assert!(
            aligned && self.segment_bytes >= SEGMENT_BYTES_MIN,
            "invariant: {self:?} is usable"
        );
    }

    /// The longest body of a frame, without the state that a segment's first frame carries.
    pub(super) fn frame_body_bytes_max(&self) -> usize {
        let room = self.segment_bytes as usize - segment::FIRST_FRAME_AT - seal_bytes();
        FRAME_BODY_BYTES_MAX.min(room - frame_bytes(STATE_BYTES_MAX))
    }

    /// The longest record, its head included.
    pub(super) fn record_bytes_max(&self) -> usize {
        ENTRY_BYTES_MAX.min(self.frame_body_bytes_max())
    }
}

/// Room kept free in every segment for the frame that seals it.
pub(super) fn seal_bytes() -> usize {
    frame_bytes(Record::Seal.bytes())
}
