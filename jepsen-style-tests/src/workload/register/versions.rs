//! What versions promise, over any number of operations: each write has a place in one order, and
//! everybody's view agrees with it. O(n log n).

use std::collections::BTreeMap;
use std::ops::Bound;

use super::{Answer, Call, Found, Op};
use crate::history::{Micros, Outcome};

/// What was seen that cannot be, and the operations that show it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Wrong {
    pub(super) why: String,
    pub(super) operations: Vec<u64>,
}

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
    // (time, ends before begins at the same time is not assumed, operation)
    let mut moments: Vec<(Micros, bool, &Op, u64)> = Vec::new();
    let linear = |op: &Op| match (&op.call, op.outcome.answer()?) {
        (Call::Read { .. }, Answer::Value { version, .. }) => Some(*version),
        (_, Answer::Written { tag, .. }) => Some(*tag),
        _ => None,
    };
    for op in ops {
        let Some(version) = linear(op) else { continue };
        moments.push((op.start, false, op, version));
        moments.push((op.end, true, op, version));
    }
    moments.sort_by_key(|(time, ends, op, _)| (*time, *ends, op.id));
    let mut newest: Option<(u64, &Op)> = None;
    let mut at_start: BTreeMap<u64, (u64, &Op)> = BTreeMap::new();
    for (_, ends, op, version) in moments {
        if !ends {
            at_start.extend(newest.map(|newest| (op.id, newest)));
            continue;
        }
        if let Some((before, witness)) = at_start.remove(&op.id) {
            let writes = op.call.value().is_some();
            if version < before || (writes && version == before) {
                let why = format!(
                    "{}: {} at {} is of version {version}, and began after version {before} was \
                     answered at {}",
                    op.call.key(),
                    op.call.class(),
                    op.node,
                    witness.node,
                );
                return Some(Wrong { why, operations: vec![witness.id, op.id] });
            }
        }
        if newest.is_none_or(|(newest, _)| newest < version) {
            newest = Some((version, op));
        }
    }
    None
}
