//! What the log records, and a batch of it. Bodies are opaque here: whoever writes them encodes
//! them in a form that outlives a version.

use std::ops::Range;

/// kind u8, index u64, body length u32; little-endian.
const HEAD_BYTES: usize = 13;

const APPEND: u8 = 1;
const TRUNCATE_AFTER: u8 = 2;
const PURGE: u8 = 3;
const VOTE: u8 = 4;
const COMMITTED: u8 = 5;
const SEAL: u8 = 6;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Record<'a> {
    /// One entry. Indexes are dense.
    Append {
        index: u64,
        entry: &'a [u8],
    },
    /// No entry above `index` is left; none at all without one.
    TruncateAfter {
        index: Option<u64>,
    },
    /// No entry up to `index` is left; `id` names the last of them.
    Purge {
        index: u64,
        id: &'a [u8],
    },
    Vote(&'a [u8]),
    /// The last committed entry as far as this node knew.
    Committed(&'a [u8]),
    /// The segment ends here and has a successor.
    Seal,
}

impl<'a> Record<'a> {
    /// Bytes this record takes in a frame.
    pub(super) fn bytes(&self) -> usize {
        HEAD_BYTES + self.parts().2.len()
    }

    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        let (kind, index, body) = self.parts();
        let length = u32::try_from(body.len()).expect("invariant: bodies are bounded below 4 GiB");
        out.push(kind);
        out.extend_from_slice(&index.to_le_bytes());
        out.extend_from_slice(&length.to_le_bytes());
        out.extend_from_slice(body);
    }

    /// The first record of `bytes` and what follows it. None if there is no whole record of a known
    /// kind.
    pub(super) fn decode(bytes: &'a [u8]) -> Option<(Self, &'a [u8])> {
        let (head, rest) = bytes.split_at_checked(HEAD_BYTES)?;
        let index = u64::from_le_bytes(head[1..9].try_into().ok()?);
        let length = u32::from_le_bytes(head[9..].try_into().ok()?);
        let (body, rest) = rest.split_at_checked(usize::try_from(length).ok()?)?;
        let record = match head[0] {
            APPEND => Record::Append { index, entry: body },
            TRUNCATE_AFTER => Record::TruncateAfter { index: index.checked_sub(1) },
            PURGE => Record::Purge { index, id: body },
            VOTE => Record::Vote(body),
            COMMITTED => Record::Committed(body),
            SEAL => Record::Seal,
            _ => return None,
        };
        Some((record, rest))
    }

    fn parts(&self) -> (u8, u64, &'a [u8]) {
        match *self {
            Record::Append { index, entry } => (APPEND, index, entry),
            // One more than the last index kept, so that 0 says: none.
            Record::TruncateAfter { index } => (TRUNCATE_AFTER, index.map_or(0, |i| i + 1), &[]),
            Record::Purge { index, id } => (PURGE, index, id),
            Record::Vote(vote) => (VOTE, 0, vote),
            Record::Committed(id) => (COMMITTED, 0, id),
            Record::Seal => (SEAL, 0, &[]),
        }
    }
}

/// Records to be written together, in order.
#[derive(Debug, Default)]
pub(crate) struct Batch {
    bytes: Vec<u8>,
    /// Where each record ends in `bytes`.
    ends: Vec<usize>,
}

impl Batch {
    pub(crate) fn push(&mut self, record: Record<'_>) {
        record.encode(&mut self.bytes);
        self.ends.push(self.bytes.len());
    }

    /// Puts the records of `other` behind these.
    pub(crate) fn absorb(&mut self, other: Self) {
        if self.is_empty() {
            *self = other;
            return;
        }
        let start = self.bytes.len();
        self.bytes.extend_from_slice(&other.bytes);
        self.ends.extend(other.ends.iter().map(|end| start + end));
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// Bytes of all records.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes.len()
    }

    pub(crate) fn records(&self) -> impl Iterator<Item = Record<'_>> {
        decode_all(&self.bytes).map(|r| r.expect("invariant: a batch holds what it encoded"))
    }

    pub(super) fn len(&self) -> usize {
        self.ends.len()
    }

    /// The bytes of records `range`.
    pub(super) fn slice(&self, range: &Range<usize>) -> &[u8] {
        let start = if range.start == 0 { 0 } else { self.ends[range.start - 1] };
        let end = if range.end == 0 { 0 } else { self.ends[range.end - 1] };
        &self.bytes[start..end]
    }
}

/// The records of a frame's body; ends with one `None` where the bytes make no record.
pub(super) fn decode_all(mut bytes: &[u8]) -> impl Iterator<Item = Option<Record<'_>>> {
    std::iter::from_fn(move || {
        if bytes.is_empty() {
            return None;
        }
        let decoded = Record::decode(bytes);
        bytes = decoded.map_or(&[], |(_, rest)| rest);
        Some(decoded.map(|(record, _)| record))
    })
}
