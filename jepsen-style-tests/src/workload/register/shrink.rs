//! The fewest operations that still show a violation.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use super::linear::{Search, search};
use super::{Answer, Call, Op};
use crate::history::Outcome;

/// How long one attempt may search. What takes longer is kept: a longer example is still one.
const SEARCH_LIMIT: Duration = Duration::from_secs(2);

/// Of `ops`, all on one key and not linearizable: few that are not linearizable by themselves.
/// It stops looking for fewer after `limit`.
pub(super) fn shrink(ops: &[&Op], limit: Duration) -> Vec<Op> {
    let began = Instant::now();
    let mut left = shortest_prefix(ops);
    let mut size = left.len().div_ceil(2);
    while size > 0 && began.elapsed() < limit {
        let mut at = 0;
        let before = left.len();
        while at < left.len() && began.elapsed() < limit {
            let end = (at + size).min(left.len());
            let fewer: Vec<Op> = left[..at].iter().chain(&left[end..]).cloned().collect();
            if is_sound(&fewer, &left) && fails(&fewer) {
                left = fewer;
            } else {
                at = end;
            }
        }
        // Again with the same size as long as that helps; a single pass of ones is not enough.
        if left.len() == before {
            size = if size == 1 { 0 } else { size.div_ceil(2) };
        } else {
            size = size.min(left.len());
        }
    }
    left.sort_by_key(|op| (op.start, op.id));
    left
}

/// What was known when the n-th operation ended, for the smallest n that is not linearizable.
fn shortest_prefix(ops: &[&Op]) -> Vec<Op> {
    let mut by_end: Vec<&Op> = ops.to_vec();
    by_end.sort_by_key(|op| (op.end, op.id));
    let (mut holds, mut fails_at) = (0, by_end.len());
    while holds + 1 < fails_at {
        let middle = usize::midpoint(holds, fails_at);
        if fails(&prefix(&by_end, middle)) {
            fails_at = middle;
        } else {
            holds = middle;
        }
    }
    prefix(&by_end, fails_at)
}

/// The first `count` that ended; writes that had begun by then are of an unknown fate.
fn prefix(by_end: &[&Op], count: usize) -> Vec<Op> {
    let (ended, later) = by_end.split_at(count);
    let now = ended.last().map_or(0, |op| op.end);
    let begun = later.iter().filter(|op| op.start <= now && op.call.value().is_some());
    let pending = begun.filter(|op| !matches!(op.outcome, Outcome::Refused { .. })).map(|op| {
        let outcome = Outcome::Unknown { why: "had not ended".to_owned() };
        Op { outcome, ..(*op).clone() }
    });
    ended.iter().map(|op| (*op).clone()).chain(pending).collect()
}

fn fails(ops: &[Op]) -> bool {
    let ops: Vec<&Op> = ops.iter().collect();
    search(&ops, SEARCH_LIMIT) == Search::NotLinearizable
}

/// Whether leaving out what `fewer` has not got can only make it easier to linearize: reads
/// always; a write only if nothing that is left says anything of it.
fn is_sound(fewer: &[Op], all: &[Op]) -> bool {
    let writes = |ops: &[Op]| -> BTreeSet<String> {
        let writing = ops.iter().filter(|op| !matches!(op.outcome, Outcome::Refused { .. }));
        writing.filter_map(|op| op.call.value().map(str::to_owned)).collect()
    };
    let kept = writes(fewer);
    let gone: BTreeSet<String> = writes(all).difference(&kept).cloned().collect();
    let says_something = |op: &Op| match (&op.call, &op.outcome) {
        (_, Outcome::Done { answer: Answer::Value { found: Some(found), .. } }) => {
            gone.contains(&found.value)
        }
        (Call::Swap { .. }, Outcome::Done { answer: Answer::Mismatch }) => true,
        (Call::Swap { from, .. }, _) => gone.contains(from),
        _ => false,
    };
    gone.is_empty() || !fewer.iter().any(says_something)
}
