//! What versions promise, over any number of operations: each write has a place in one order, and
//! everybody's view agrees with it. O(n log n).

use std::collections::BTreeMap;
use std::ops::Bound;

use super::{Answer, Call, Found, Op};
use crate::history::Outcome;
use crate::workload::Wrong;
use crate::workload::order::{self, Moment};

/// All that is known of the values of one key: by ETag, the value and who says so.
type Values<'a> = BTreeMap<u64, (&'a str, u64)>;

/// The first value after an ETag, with its own and who says so.
fn first_after<'a>(values: &Values<'a>, tag: u64) -> Option<(u64, &'a str, u64)> {
    let later = values.range((Bound::Excluded(tag), Bound::Unbounded)).next();
    later.map(|(at, (value, witness))| (*at, *value, *witness))
}

/// The first contradiction of each sort.
pub(super) fn check(ops: &[Op]) -> Vec<Wrong> {
    let mut wrong = Vec::new();
    let values = match values(ops) {
        Ok(values) => values,
        Err(why) => return vec![why],
    };
    wrong.extend(from_nowhere(ops));
    wrong.extend(ops.iter().find_map(|op| inconsistent(op, values.get(op.call.key()))));
    wrong.extend(ops.iter().find_map(|op| swapped_too_late(op, values.get(op.call.key()))));
    wrong.extend(ops.iter().find_map(too_old));
    wrong.extend(back_in_time(ops));
    wrong
}

fn found(op: &Op) -> Option<(&Found, u64)> {
    match op.outcome.answer()? {
        Answer::Value { version, found } => Some((found.as_ref()?, *version)),
        Answer::Written { .. } | Answer::Mismatch => None,
    }
}

/// The value and ETag that an operation shows.
fn shown(op: &Op) -> Option<(u64, &str)> {
    if let Some((found, _)) = found(op) {
        return Some((found.tag, &found.value));
    }
    match op.outcome.answer()? {
        Answer::Written { tag, .. } => Some((*tag, op.call.value()?)),
        Answer::Value { .. } | Answer::Mismatch => None,
    }
}

/// By key; fails if an ETag stands for two values or a value has two ETags.
fn values(ops: &[Op]) -> Result<BTreeMap<&str, Values<'_>>, Wrong> {
    let mut values: BTreeMap<&str, Values<'_>> = BTreeMap::new();
    let mut tags: BTreeMap<(&str, &str), (u64, u64)> = BTreeMap::new();
    for op in ops {
        let (key, Some((tag, value))) = (op.call.key(), shown(op)) else { continue };
        let (known, first) = *values.entry(key).or_default().entry(tag).or_insert((value, op.id));
        if known != value {
            let why = format!("{key}: ETag {tag} is {known} to one client and {value} to another");
            return Err(Wrong { why, operations: vec![first, op.id] });
        }
        let (known, first) = *tags.entry((key, value)).or_insert((tag, op.id));
        if known != tag {
            let why =
                format!("{key}: {value} was written once and has the ETags {known} and {tag}");
            return Err(Wrong { why, operations: vec![first, op.id] });
        }
    }
    Ok(values)
}

/// A value that nobody wrote, or that was refused.
fn from_nowhere(ops: &[Op]) -> Option<Wrong> {
    let written: BTreeMap<(&str, &str), &Op> =
        ops.iter().filter_map(|op| Some(((op.call.key(), op.call.value()?), op))).collect();
    ops.iter().find_map(|op| {
        let (found, _) = found(op)?;
        let key = op.call.key();
        let Some(write) = written.get(&(key, found.value.as_str())) else {
            let why = format!("{key}: {} was read and never written", found.value);
            return Some(Wrong { why, operations: vec![op.id] });
        };
        let why = match &write.outcome {
            Outcome::Refused { why } => format!("refused ({why})"),
            Outcome::Done { answer: Answer::Mismatch } => "refused (mismatch)".to_owned(),
            _ if write.start > op.end => "begun only later".to_owned(),
            _ => return None,
        };
        let why = format!("{key}: {} was read, and its write was {why}", found.value);
        Some(Wrong { why, operations: vec![write.id, op.id] })
    })
}

/// A read at version V shows the last value up to V, whatever kind of read it is.
fn inconsistent(op: &Op, values: Option<&Values<'_>>) -> Option<Wrong> {
    let Some(Answer::Value { version, found }) = op.outcome.answer() else { return None };
    let key = op.call.key();
    let tag = found.as_ref().map_or(0, |found| found.tag);
    if tag > *version {
        let why = format!("{key}: read at version {version} with the later ETag {tag}");
        return Some(Wrong { why, operations: vec![op.id] });
    }
    let (between, value, witness) = first_after(values?, tag).filter(|(at, ..)| at <= version)?;
    let saw = found.as_ref().map_or("nothing", |found| &found.value);
    let why = format!("{key}: read {saw} at version {version}, and {value} is of {between}");
    Some(Wrong { why, operations: vec![witness, op.id] })
}

/// A swap replaces the value that it names.
fn swapped_too_late(op: &Op, values: Option<&Values<'_>>) -> Option<Wrong> {
    let Call::Swap { key, tag: from, .. } = &op.call else { return None };
    let Some(Answer::Written { tag, .. }) = op.outcome.answer() else { return None };
    if tag <= from {
        let why = format!("{key}: what replaced ETag {from} has the earlier ETag {tag}");
        return Some(Wrong { why, operations: vec![op.id] });
    }
    let (between, value, witness) = first_after(values?, *from).filter(|(at, ..)| at < tag)?;
    let why = format!(
        "{key}: ETag {from} was swapped at {tag}, although {value} had replaced it at {between}"
    );
    Some(Wrong { why, operations: vec![witness, op.id] })
}

/// A read with `min-version` is at least of that version.
fn too_old(op: &Op) -> Option<Wrong> {
    let Call::ReadSince { key, version: asked } = &op.call else { return None };
    let Some(Answer::Value { version, .. }) = op.outcome.answer() else { return None };
    (version < asked).then(|| {
        let why = format!("{key}: asked for version {asked} at least and given {version}");
        Wrong { why, operations: vec![op.id] }
    })
}

/// What began after somebody was answered is not older than that answer: over all keys.
fn back_in_time(ops: &[Op]) -> Option<Wrong> {
    let moment = |op: &Op| {
        let version = match (&op.call, op.outcome.answer()?) {
            (Call::Read { .. }, Answer::Value { version, .. }) => *version,
            (_, Answer::Written { tag, .. }) => *tag,
            _ => return None,
        };
        let writes = op.call.value().is_some();
        Some(Moment { id: op.id, start: op.start, end: op.end, version, writes })
    };
    let moments: Vec<Moment> = ops.iter().filter_map(moment).collect();
    let (before, after) = order::back_in_time(&moments)?;
    let by_id = |id| ops.iter().find(|op| op.id == id);
    let (witness, op) = (by_id(before.id)?, by_id(after.id)?);
    let why = format!(
        "{}: {} at {} is of version {}, and began after version {} was answered at {}",
        op.call.key(),
        op.call.class(),
        op.node,
        after.version,
        before.version,
        witness.node,
    );
    Some(Wrong { why, operations: vec![witness.id, op.id] })
}
