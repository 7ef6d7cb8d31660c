//! What versions promise of time, over any number of operations and all keys: whoever begins after
//! somebody was answered is not answered with an older version. O(n log n).

use std::collections::BTreeMap;

use crate::history::Micros;

/// A linearizable operation that was done: when, and of which version.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Moment {
    pub(super) id: u64,
    pub(super) start: Micros,
    pub(super) end: Micros,
    pub(super) version: u64,
    /// It made the version, which is then newer than what was there.
    pub(super) writes: bool,
}

/// The first that is older than what was answered before it began: that answer, and it.
pub(super) fn back_in_time(moments: &[Moment]) -> Option<(Moment, Moment)> {
    // (time, ends: a begin at the same time is not after it, operation)
    let begins = moments.iter().map(|moment| (moment.start, false, *moment));
    let ends = moments.iter().map(|moment| (moment.end, true, *moment));
    let mut events: Vec<(Micros, bool, Moment)> = begins.chain(ends).collect();
    events.sort_by_key(|(time, ends, moment)| (*time, *ends, moment.id));
    let mut newest: Option<Moment> = None;
    let mut at_start: BTreeMap<u64, Moment> = BTreeMap::new();
    for (_, ends, moment) in events {
        if !ends {
            at_start.extend(newest.map(|newest| (moment.id, newest)));
            continue;
        }
        if let Some(before) = at_start.remove(&moment.id) {
            let same = moment.writes && moment.version == before.version;
            if moment.version < before.version || same {
                return Some((before, moment));
            }
        }
        if newest.is_none_or(|newest| newest.version < moment.version) {
            newest = Some(moment);
        }
    }
    None
}
