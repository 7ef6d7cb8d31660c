//! Which indexes the log holds: dense, from above the purged ones to the last.

use super::record::Record;

/// An entry that does not follow its predecessor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("entry {found} where {expected} must follow")]
pub(crate) struct Gap {
    pub(crate) expected: u64,
    pub(crate) found: u64,
}

/// The indexes after the records seen so far.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Extent {
    /// The next entry's index; none while any may come first.
    next: Option<u64>,
    purged: Option<u64>,
    /// Older segments are gone: the first entry seen may lie above those that a purge, recorded
    /// later, has removed.
    cut: bool,
    /// The lowest index seen while `cut`.
    front: Option<u64>,
}

impl Extent {
    /// For a log whose first segments were deleted.
    pub(super) fn cut() -> Self {
        Self { cut: true, ..Self::default() }
    }

    /// The highest index held or purged.
    pub(super) fn last(&self) -> Option<u64> {
        self.next.and_then(|next| next.checked_sub(1))
    }

    pub(super) fn purged(&self) -> Option<u64> {
        self.purged
    }

    pub(super) fn apply(&mut self, record: &Record<'_>) -> Result<(), Gap> {
        match *record {
            Record::Append { index, .. } => self.append(index)?,
            Record::TruncateAfter { index } => self.truncate(index),
            Record::Purge { index, .. } => {
                self.purged = self.purged.max(Some(index));
                self.next = self.next.max(Some(index + 1));
            }
            Record::Vote(_) | Record::Committed(_) | Record::Seal => {}
        }
        Ok(())
    }

    /// Once everything is read: nothing may be missing between the purged entries and the first
    /// one seen.
    pub(super) fn check_front(&self) -> Result<(), Gap> {
        let expected = self.purged.map_or(0, |index| index + 1);
        match self.front {
            Some(found) if found > expected => Err(Gap { expected, found }),
            _ if self.cut && self.purged.is_none() => Err(Gap { expected, found: expected + 1 }),
            _ => Ok(()),
        }
    }

    fn append(&mut self, index: u64) -> Result<(), Gap> {
        let first_of_cut = self.cut && self.front.is_none();
        match self.next {
            Some(next) if index < next || (index > next && !first_of_cut) => {
                return Err(Gap { expected: next, found: index });
            }
            _ => {}
        }
        if first_of_cut {
            self.front = Some(index);
        }
        self.next = Some(index + 1);
        Ok(())
    }

    fn truncate(&mut self, index: Option<u64>) {
        let from = index.map_or(0, |index| index + 1);
        if self.next.is_none_or(|next| from >= next) {
            return;
        }
        self.front = self.front.map(|front| front.min(from));
        let purged = self.purged.map(|index| index + 1);
        self.next = if from == 0 { purged } else { purged.max(Some(from)) };
    }
}
