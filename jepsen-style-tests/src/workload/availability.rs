//! How long nothing was served although a majority of the globals was there.
//!
//! Only clients at the majority's nodes count. One of them that hangs hides nothing: what is
//! measured is the time in which not one of all calls came back well.

use std::collections::BTreeSet;

use crate::history::{self, Micros, Operation, Outcome};
use crate::nemesis::Fault;
use crate::run::{FaultEvent, Folder};
use crate::verdict::{Finding, Verdict};
use crate::workload::recovery;

/// Longer than this is a violation; the design's goal is 2 s (docs/failure-modes.md), and what
/// was reached is a figure. Several faults may follow each other, with an election each, on a
/// machine that does more than this.
const LIMIT: Micros = 10_000_000;

/// A process that was started or let go on again counts from its first answer on, at the latest
/// after this: one that never serves again hides nothing.
const START_LIMIT: Micros = 5_000_000;

/// Calls of one sort: its name and its classes.
pub(crate) type Sort<'a> = (&'a str, &'a [&'a str]);

/// Judges the calls of each sort.
pub(crate) fn verdict(folder: &Folder, sorts: &[Sort<'_>]) -> anyhow::Result<Verdict> {
    let faults = folder.faults()?;
    let mut figures = Vec::new();
    let mut finding = Finding::Held;
    for (sort, classes) in sorts {
        let ops: Vec<Operation> = history::read_classes(&folder.history(), classes)?;
        let gaps = gaps(&ops, &faults);
        let Some(longest) = gaps.iter().max_by_key(|gap| gap.length()) else {
            finding = Finding::Undecided { why: format!("no {sort} while a majority was there") };
            continue;
        };
        figures.push((format!("longest without a {sort}"), longest.to_string()));
        if longest.length() > LIMIT {
            let why = format!("no {sort} for {longest} although a majority was there");
            finding = match recovery::overload(folder)? {
                None => Finding::Violated { why, operations: around(&ops, longest) },
                Some(load) => Finding::Undecided { why: format!("{why}, but with {load}") },
            };
        }
        for cause in gaps.iter().map(|gap| &gap.cause).collect::<BTreeSet<_>>() {
            let of_cause = gaps.iter().filter(|gap| gap.cause == *cause);
            let longest = of_cause.map(Gap::length).max().unwrap_or_default();
            figures.push((format!("{sort}: {cause}"), seconds(longest)));
        }
    }
    Ok(Verdict { checker: "available".to_owned(), finding, figures })
}

fn seconds(micros: Micros) -> String {
    format!("{}.{:02} s", micros / 1_000_000, micros % 1_000_000 / 10_000)
}

/// A time without success.
#[derive(Debug, PartialEq, Eq)]
struct Gap {
    from: Micros,
    to: Micros,
    /// What had changed: `after pause`, `after the end of kill`, `no fault`.
    cause: String,
}

impl Gap {
    fn length(&self) -> Micros {
        self.to - self.from
    }
}

impl std::fmt::Display for Gap {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} from {} ({})", seconds(self.length()), seconds(self.from), self.cause)
    }
}

fn around(ops: &[Operation], gap: &Gap) -> Vec<u64> {
    const SHOWN: usize = 20;
    let within = ops.iter().filter(|op| op.start < gap.to && op.end >= gap.from);
    within.map(|op| op.id).take(SHOWN).collect()
}

/// The times between successes while a majority was there, each at least as long as a call.
fn gaps(ops: &[Operation], faults: &[FaultEvent]) -> Vec<Gap> {
    let Some(begin) = ops.iter().map(|op| op.start).min() else { return Vec::new() };
    let end = ops.iter().map(|op| op.end).max().unwrap_or(begin);
    let globals: Vec<&str> = {
        let all: BTreeSet<&str> = ops.iter().map(|op| op.node.as_str()).collect();
        all.into_iter().collect()
    };
    let mut successes: Vec<&Operation> =
        ops.iter().filter(|op| matches!(op.outcome, Outcome::Done { .. })).collect();
    successes.sort_by_key(|op| op.end);
    let effects: Vec<Effect<'_>> =
        faults.iter().flat_map(|event| Effect::of(event, &successes)).collect();
    let mut borders: Vec<Micros> = vec![begin, end];
    borders.extend(effects.iter().flat_map(|effect| [effect.from, effect.to]));
    borders.retain(|at| (begin..=end).contains(at));
    borders.sort_unstable();
    borders.dedup();
    let mut gaps = Vec::new();
    let mut since: Option<Micros> = None;
    let mut close = |since: Micros, to: Micros| {
        gaps.push(Gap { from: since, to, cause: cause(since, to, faults) });
    };
    for border in borders.windows(2) {
        let (from, to) = (border[0], border[1]);
        let in_force = effects.iter().filter(|effect| effect.from <= from && from < effect.to);
        let Some(healthy) = healthy(&globals, in_force.map(|effect| &effect.does)) else {
            if let Some(since) = since.take() {
                close(since, from);
            }
            continue;
        };
        let mut last = since.unwrap_or(from);
        let first = successes.partition_point(|op| op.end < from);
        let within = successes[first..].iter().take_while(|op| op.end < to);
        for op in within.filter(|op| healthy.contains(op.node.as_str())) {
            close(last, op.end);
            last = op.end;
        }
        since = Some(last);
    }
    if let Some(since) = since {
        close(since, end);
    }
    gaps
}

/// What a fault does to who can serve, and from when to when.
struct Effect<'a> {
    from: Micros,
    to: Micros,
    does: Does<'a>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Does<'a> {
    Absent(&'a str),
    /// In one direction or both.
    Cut(&'a [String], &'a [String]),
    /// It cannot be said who serves.
    Blurred(&'a [String], &'a [String]),
}

impl<'a> Effect<'a> {
    fn of(event: &'a FaultEvent, successes: &[&Operation]) -> Vec<Self> {
        if event.installed.is_none() {
            return Vec::new();
        }
        let from = event.installing;
        let back = |node: &str| {
            let Some(healed) = event.healed else { return Micros::MAX };
            let later = successes[successes.partition_point(|op| op.end < healed)..].iter();
            let first = later.filter(|op| op.node == node).map(|op| op.end).next();
            first.unwrap_or(Micros::MAX).min(healed.saturating_add(START_LIMIT))
        };
        let absent = |node: &'a String| Self { from, to: back(node), does: Does::Absent(node) };
        let between = |does| vec![Self { from, to: event.healed.unwrap_or(Micros::MAX), does }];
        match &event.fault {
            Fault::Kill { nodes }
            | Fault::Pause { nodes }
            | Fault::PowerCut { nodes }
            | Fault::Rollback { nodes }
            | Fault::Empty { nodes } => nodes.iter().map(absent).collect(),
            Fault::DiskFull { node }
            | Fault::Damage { node, .. }
            | Fault::SlowSync { node, .. } => vec![absent(node)],
            Fault::Partition { left, right } | Fault::OneWay { from: left, to: right } => {
                between(Does::Cut(left, right))
            }
            Fault::HalfOpen { left, right }
            | Fault::Slow { left, right, .. }
            | Fault::Lossy { left, right, .. } => between(Does::Blurred(left, right)),
            Fault::ClockJump { .. } => Vec::new(),
        }
    }
}

/// The change that a gap is attributed to: the first fault that began in it or just before, else
/// the first that ended.
fn cause(from: Micros, to: Micros, faults: &[FaultEvent]) -> String {
    const JUST: Micros = 300_000;
    let near = |at: &Micros| (from.saturating_sub(JUST)..to).contains(at);
    let took_hold = faults.iter().filter(|event| event.installed.is_some());
    let began = took_hold.clone().find(|event| near(&event.installing));
    let ended = || took_hold.clone().find(|event| event.healed.as_ref().is_some_and(near));
    match (began, began.is_none().then(ended).flatten()) {
        (Some(event), _) => format!("after {}", event.fault.sort()),
        (None, Some(event)) => format!("after the end of {}", event.fault.sort()),
        (None, None) => "no change".to_owned(),
    }
}

/// The globals that are in a majority whose members all reach each other; None if there is none,
/// or if faults are in force under which it cannot be said.
fn healthy<'a, 'b>(
    globals: &[&'a str],
    effects: impl Iterator<Item = &'b Does<'b>>,
) -> Option<BTreeSet<&'a str>> {
    let is_global = |name: &String| globals.contains(&name.as_str());
    let mut down: BTreeSet<&str> = BTreeSet::new();
    let mut cut: BTreeSet<(&str, &str)> = BTreeSet::new();
    for does in effects {
        match does {
            Does::Absent(node) => drop(down.insert(node)),
            Does::Cut(left, right) => {
                for left in *left {
                    for right in *right {
                        cut.extend([(left.as_str(), right.as_str()), (right, left)]);
                    }
                }
            }
            Does::Blurred(left, right) => {
                if left.iter().any(is_global) && right.iter().any(is_global) {
                    return None;
                }
            }
        }
    }
    let up: Vec<&str> = globals.iter().copied().filter(|name| !down.contains(name)).collect();
    let reach = |group: &[&str]| {
        group.iter().all(|one| group.iter().all(|other| !cut.contains(&(*one, *other))))
    };
    let all_but = |left_out: Option<&str>| -> Vec<&'a str> {
        up.iter().copied().filter(|name| Some(*name) != left_out).collect()
    };
    // Of three globals a majority is all that are up, or all of them but one.
    let candidates = std::iter::once(None).chain(up.iter().copied().map(Some)).map(all_but);
    let majorities = candidates.filter(|group| group.len() * 2 > globals.len() && reach(group));
    let healthy: BTreeSet<&str> = majorities.flatten().collect();
    (!healthy.is_empty()).then_some(healthy)
}

#[cfg(test)]
mod tests;
