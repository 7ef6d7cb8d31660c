//! The records that replace each other: vote, committed, purged. The first frame of every segment
//! repeats the last of each, so that older segments can go.

use super::record::Record;

/// Of each body: three numbers as prost, with room to spare.
const BODY_BYTES_MAX: usize = 64;
/// Of all three records, their heads included.
pub(super) const STATE_BYTES_MAX: usize = 3 * (BODY_BYTES_MAX + 16);

#[derive(Debug, Default)]
pub(super) struct State {
    vote: Option<Vec<u8>>,
    committed: Option<Vec<u8>>,
    purged: Option<(u64, Vec<u8>)>,
}

impl State {
    pub(super) fn apply(&mut self, record: &Record<'_>) {
        match *record {
            Record::Vote(vote) => self.vote = Some(vote.to_vec()),
            Record::Committed(id) => self.committed = Some(id.to_vec()),
            Record::Purge { index, id } => self.purged = Some((index, id.to_vec())),
            Record::Append { .. } | Record::TruncateAfter { .. } | Record::Seal => {}
        }
    }

    /// The records, and how many.
    pub(super) fn encode(&self) -> (Vec<u8>, u32) {
        let vote = self.vote.as_deref().map(Record::Vote);
        let committed = self.committed.as_deref().map(Record::Committed);
        let purged = self.purged.as_ref().map(|(index, id)| Record::Purge { index: *index, id });
        let mut out = Vec::new();
        let mut count = 0;
        for record in [vote, committed, purged].into_iter().flatten() {
            record.encode(&mut out);
            count += 1;
        }
        (out, count)
    }
}

/// The size of a state record's body and its limit; none for other records.
pub(super) fn bound(record: &Record<'_>) -> Option<(usize, usize)> {
    match record {
        Record::Vote(body) | Record::Committed(body) | Record::Purge { id: body, .. } => {
            Some((body.len(), BODY_BYTES_MAX))
        }
        Record::Append { .. } | Record::TruncateAfter { .. } | Record::Seal => None,
    }
}
