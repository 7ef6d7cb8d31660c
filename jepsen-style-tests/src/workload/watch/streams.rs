//! What each watch was told, put together over its connections, and what is wrong with it.

use std::collections::BTreeMap;
use std::ops::Bound;

use super::{Answer, Call, Edit, HARNESS, Op, Told};
use crate::history::{Micros, Outcome};
use crate::workload::Wrong;

/// One watch: its events, each with the operation that it came in.
pub(super) type Stream<'a> = Vec<(&'a Told, &'a Op)>;

/// By the watch's name. Each begins with the version that it was asked from.
pub(super) fn streams(ops: &[Op]) -> BTreeMap<&str, (u64, Stream<'_>)> {
    let mut lines: Vec<&Op> =
        ops.iter().filter(|op| matches!(op.call, Call::Watch { .. })).collect();
    lines.sort_by_key(|op| (op.start, op.id));
    let mut streams: BTreeMap<&str, (u64, Stream<'_>)> = BTreeMap::new();
    for op in lines {
        let Call::Watch { from } = op.call else { continue };
        let (_, stream) = streams.entry(&op.client).or_insert((from, Vec::new()));
        if let Some(Answer::Told { events, .. }) = op.outcome.answer() {
            stream.extend(events.iter().map(|told| (told, op)));
        }
    }
    streams
}

/// What a version did to each key, sorted, and an operation that says so.
pub(super) type Known<'a> = BTreeMap<u64, (Vec<(&'a str, Option<&'a str>)>, u64)>;

/// What writers were told, and what any watch was. A deletion may have found nothing left to delete,
/// and then has the version of the state ([`not_deleted`]).
///
/// # Errors
/// Two that do not agree: a version that was split, or has something that was not written.
pub(super) fn known<'a>(
    ops: &'a [Op],
    streams: &BTreeMap<&'a str, (u64, Stream<'a>)>,
) -> Result<Known<'a>, Wrong> {
    let mut known = Known::new();
    for op in ops {
        let Some(Answer::Written { version }) = op.outcome.answer() else { continue };
        if matches!(op.call, Call::Delete { .. } | Call::PutElsewhere { .. }) {
            continue;
        }
        let mut edits = op.call.edits();
        edits.sort_unstable();
        if let Some((_, witness)) = known.insert(*version, (edits, op.id)) {
            let why = format!("two writes were acknowledged with version {version}");
            return Err(Wrong { why, operations: vec![witness, op.id] });
        }
    }
    for (name, (_, stream)) in streams {
        for (told, op) in stream {
            let Told::Change { version, edits, .. } = told else { continue };
            let mut seen: Vec<_> =
                edits.iter().map(|edit| (&*edit.key, edit.value.as_deref())).collect();
            seen.sort_unstable();
            let (expected, witness) =
                known.entry(*version).or_insert_with(|| (seen.clone(), op.id));
            if *expected != seen {
                let why = format!(
                    "version {version} is {} and {name} was told {}",
                    shown(expected),
                    shown(&seen)
                );
                return Err(Wrong { why, operations: vec![*witness, op.id] });
            }
        }
    }
    Ok(known)
}

/// A deletion that was acknowledged at a version at which the resource was there, by all that is known.
pub(super) fn not_deleted(ops: &[Op], known: &Known<'_>) -> Option<Wrong> {
    let mut values: BTreeMap<&str, BTreeMap<u64, (Option<&str>, u64)>> = BTreeMap::new();
    for (version, (edits, witness)) in known {
        for (key, value) in edits {
            values.entry(key).or_default().insert(*version, (*value, *witness));
        }
    }
    ops.iter().find_map(|op| {
        let Call::Delete { key } = &op.call else { return None };
        let Some(Answer::Written { version }) = op.outcome.answer() else { return None };
        let (at, (value, witness)) = values.get(key.as_str())?.range(..=version).next_back()?;
        let value = (*value)?;
        let why = format!(
            "{key} was deleted as of version {version}, and no watch was told: it is {value} since {at}"
        );
        Some(Wrong { why, operations: vec![*witness, op.id] })
    })
}

fn shown(edits: &[(&str, Option<&str>)]) -> String {
    let one = |(key, value): &(&str, Option<&str>)| format!("{key} = {}", value.unwrap_or("gone"));
    edits.iter().map(one).collect::<Vec<_>>().join(", ")
}

/// Ordered, unique, complete: each version once, in order, all that there are.
pub(super) fn gap(name: &str, from: u64, stream: &Stream<'_>, known: &Known<'_>) -> Option<Wrong> {
    let mut last = from;
    let mut before: Option<&Op> = None;
    for (told, op) in stream {
        let version = told.version();
        let wrong = |why: String, witness: Option<u64>| {
            let before = witness.or_else(|| before.map(|op| op.id));
            let mut operations: Vec<u64> = before.into_iter().chain([op.id]).collect();
            operations.dedup();
            Some(Wrong { why: format!("{name} ({}): {why}", op.node), operations })
        };
        if version <= last {
            return wrong(format!("version {version} came after version {last}"), None);
        }
        let upto = match told {
            Told::Change { .. } => Bound::Excluded(version),
            Told::Progress { .. } => Bound::Included(version),
            // What is no longer kept can't be told.
            Told::Compacted { .. } => Bound::Included(last),
        };
        let missed = known.range((Bound::Excluded(last), upto)).next();
        if !matches!(told, Told::Compacted { .. })
            && let Some((missed, (edits, witness))) = missed
        {
            let why = format!(
                "version {missed} ({}) was left out between {last} and {version}",
                shown(edits)
            );
            return wrong(why, Some(*witness));
        }
        (last, before) = (version, Some(*op));
    }
    None
}

/// What each edit says that was there before is what the one before it left.
pub(super) fn wrong_previous(name: &str, stream: &Stream<'_>) -> Option<Wrong> {
    let mut state: BTreeMap<&str, (Option<&str>, u64, u64)> = BTreeMap::new();
    for (told, op) in stream {
        let (version, edits) = match told {
            Told::Change { version, edits, .. } => (*version, edits),
            Told::Progress { .. } => continue,
            Told::Compacted { .. } => {
                state.clear();
                continue;
            }
        };
        for edit in edits {
            let key = edit.key.as_str();
            let before = state.insert(key, (edit.value.as_deref(), version, op.id));
            let (value, at, witness) = match before {
                // What was there before the watch is not known.
                None => (edit.previous.as_deref(), edit.previous_version.unwrap_or(0), op.id),
                Some(before) => before,
            };
            let Some(why) = strange(edit, value, at) else { continue };
            let why = format!("{name}: {key} at version {version}: {why}");
            let mut operations = vec![witness, op.id];
            operations.dedup();
            return Some(Wrong { why, operations });
        }
    }
    None
}

/// What an edit says of a key that had a value since a version, and that is not so.
fn strange(edit: &Edit, value: Option<&str>, at: u64) -> Option<String> {
    let expected = match (value, &edit.value) {
        (None, Some(_)) => "created",
        (Some(_), Some(_)) => "updated",
        (_, None) => "deleted",
    };
    if edit.operation != expected {
        return Some(format!("called {}, and it was {expected}", edit.operation));
    }
    let previous_version = value.map(|_| at);
    if edit.previous.as_deref() != value || edit.previous_version != previous_version {
        return Some(format!(
            "before it was {:?} of {:?}, and it was {value:?} of {previous_version:?}",
            edit.previous, edit.previous_version
        ));
    }
    None
}

/// Something that nobody wrote, or that was refused.
pub(super) fn from_nowhere(
    ops: &[Op],
    streams: &BTreeMap<&str, (u64, Stream<'_>)>,
) -> Option<Wrong> {
    let mut written: BTreeMap<(&str, Option<&str>), Vec<&Op>> = BTreeMap::new();
    for op in ops {
        for edit in op.call.edits() {
            written.entry(edit).or_default().push(op);
        }
    }
    let told =
        streams.iter().flat_map(|(name, (_, stream))| stream.iter().map(move |one| (name, one)));
    for (name, (told, op)) in told {
        let Told::Change { version, edits, .. } = told else { continue };
        for edit in edits.iter().filter(|edit| !edit.key.starts_with(HARNESS)) {
            let what = (edit.key.as_str(), edit.value.as_deref());
            let writers = written.get(&what).map(Vec::as_slice).unwrap_or_default();
            let refused = |op: &&Op| matches!(op.outcome, Outcome::Refused { .. });
            if writers.iter().all(refused) {
                let how = if writers.is_empty() { "nobody wrote" } else { "was refused" };
                let why =
                    format!("{name} was told {} at version {version}, which {how}", shown(&[what]));
                let ids = writers.iter().take(1).map(|op| op.id);
                return Some(Wrong { why, operations: ids.chain([op.id]).collect() });
            }
        }
    }
    None
}

/// What a watch's events make of nothing, and what the globals list in the end.
pub(super) fn other_end(ops: &[Op], name: &str, stream: &Stream<'_>) -> Option<Wrong> {
    if stream.iter().any(|(told, _)| matches!(told, Told::Compacted { .. })) {
        return None;
    }
    let mut state: BTreeMap<&str, &str> = BTreeMap::new();
    for (told, _) in stream {
        let Told::Change { edits, .. } = told else { continue };
        for edit in edits {
            match &edit.value {
                Some(value) => drop(state.insert(&edit.key, value)),
                None => drop(state.remove(edit.key.as_str())),
            }
        }
    }
    let last = stream.last().map(|(_, op)| op.id);
    ops.iter().find_map(|op| {
        let Some(Answer::Listed { values, .. }) = op.outcome.answer() else { return None };
        let listed: BTreeMap<&str, &str> =
            values.iter().map(|(key, value)| (&**key, &**value)).collect();
        let keys =
            listed.keys().chain(state.keys()).find(|key| listed.get(*key) != state.get(*key));
        let key = keys?;
        let why = format!(
            "{name}: after all that it was told {key} is {:?}, and {} lists {:?}",
            state.get(key),
            op.node,
            listed.get(key)
        );
        Some(Wrong { why, operations: last.into_iter().chain([op.id]).collect() })
    })
}

/// From the acknowledgement of each change to its sight by each watch.
pub(super) fn delays(ops: &[Op], streams: &BTreeMap<&str, (u64, Stream<'_>)>) -> Vec<Micros> {
    let acknowledged: BTreeMap<u64, Micros> = ops
        .iter()
        .filter_map(|op| match op.outcome.answer()? {
            Answer::Written { version } => Some((*version, op.end)),
            _ => None,
        })
        .collect();
    let told = streams.values().flat_map(|(_, stream)| stream);
    let delay = |(told, _): &(&Told, &Op)| match told {
        Told::Change { version, at, .. } => Some(at.saturating_sub(*acknowledged.get(version)?)),
        _ => None,
    };
    told.filter_map(delay).collect()
}
