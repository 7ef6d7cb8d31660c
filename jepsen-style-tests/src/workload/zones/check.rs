//! The verdicts on what zones showed.

use std::collections::BTreeMap;
use std::path::Path;

use super::{Answer, Call, Op};
use crate::history::{self, Micros, Outcome};
use crate::run::{FaultEvent, Folder};
use crate::verdict::{Finding, Verdict};

/// Fewer acknowledged writes, or views of a zone, say nothing.
const ENOUGH: usize = 20;

pub(super) fn check(folder: &Path) -> anyhow::Result<Vec<Verdict>> {
    let folder = Folder::open(folder);
    let mut ops: Vec<Op> = history::read_classes(&folder.history(), &Call::CLASSES)?;
    ops.sort_by_key(|op| op.start);
    Ok(vec![views(&ops), equal(&ops), fences(&ops, &folder.faults()?)])
}

/// What writers tried with one key.
#[derive(Debug, Default)]
struct Tried<'a> {
    /// By value.
    puts: BTreeMap<u64, &'a Op>,
    /// The first deletion that was not refused.
    deleted: Option<&'a Op>,
}

fn tried(ops: &[Op]) -> BTreeMap<&str, Tried<'_>> {
    let mut keys = BTreeMap::<&str, Tried<'_>>::new();
    for op in ops {
        match (&op.call, &op.outcome) {
            (Call::Put { key, value }, _) => {
                keys.entry(key).or_default().puts.insert(*value, op);
            }
            (Call::Delete { key }, Outcome::Done { .. } | Outcome::Unknown { .. }) => {
                keys.entry(key).or_default().deleted.get_or_insert(op);
            }
            _ => {}
        }
    }
    keys
}

/// What a reader has seen of a zone so far.
#[derive(Debug, Default)]
struct Seen<'a> {
    views: usize,
    version: Option<(u64, u64)>,
    /// The last value of each key, none once it was gone, and the view that showed it.
    keys: BTreeMap<&'a str, (Option<u64>, u64)>,
}

type Wrong = (String, Vec<u64>);

/// Never back, no phantom deletion, nothing that nobody wrote.
fn views(ops: &[Op]) -> Verdict {
    let tried = tried(ops);
    let mut zones = BTreeMap::<&str, Seen<'_>>::new();
    let mut wrong: Option<Wrong> = None;
    let mut delays = Vec::new();
    for op in ops {
        let (Call::View { zone }, Some(Answer::Viewed { version, changed, missing })) =
            (&op.call, op.outcome.answer())
        else {
            continue;
        };
        let seen = zones.entry(zone).or_default();
        seen.views += 1;
        let mut found = goes_back(seen, op, *version);
        for (key, value) in changed {
            let first = wrong_value(&tried, seen, op, (key, *value));
            found = found.or(first);
            delays.extend(delay(&tried, op, key, *value));
            seen.keys.insert(key, (Some(*value), op.id));
        }
        for key in missing {
            found = found.or_else(|| phantom(&tried, seen, op, key));
            seen.keys.insert(key, (None, op.id));
        }
        wrong = wrong.or_else(|| found.map(|(why, ids)| (format!("{zone}: {why}"), ids)));
    }
    let written =
        ops.iter().filter(|op| matches!(op.outcome.answer(), Some(Answer::Written { .. })));
    let written = written.count();
    let finding = match wrong {
        Some((why, operations)) => Finding::Violated { why, operations },
        None if written < ENOUGH
            || zones.is_empty()
            || zones.values().any(|z| z.views < ENOUGH) =>
        {
            Finding::Undecided { why: format!("{written} writes, {} zones seen", zones.len()) }
        }
        None => Finding::Held,
    };
    let views: usize = zones.values().map(|seen| seen.views).sum();
    let mut figures = vec![
        ("acknowledged writes".to_owned(), written.to_string()),
        ("views".to_owned(), views.to_string()),
    ];
    figures.extend(delay_figures(delays));
    Verdict { checker: "zones never go back".to_owned(), finding, figures }
}

fn goes_back(seen: &mut Seen<'_>, op: &Op, version: u64) -> Option<Wrong> {
    let before = seen.version.replace((version, op.id));
    let (before, id) = before.filter(|(before, _)| *before > version)?;
    Some((format!("its state goes back from version {before} to {version}"), vec![id, op.id]))
}

fn wrong_value(
    tried: &BTreeMap<&str, Tried<'_>>,
    seen: &Seen<'_>,
    op: &Op,
    (key, value): (&str, u64),
) -> Option<Wrong> {
    let put = tried.get(key).and_then(|tried| tried.puts.get(&value));
    let Some(put) = put.filter(|put| put.start <= op.end) else {
        return Some((format!("{key} is {value}, which nobody had written"), vec![op.id]));
    };
    if let Outcome::Refused { why } = &put.outcome {
        let why = format!("{key} is {value}, which was refused ({why})");
        return Some((why, vec![put.id, op.id]));
    }
    match seen.keys.get(key) {
        Some((Some(before), id)) if *before > value => {
            Some((format!("{key} goes back from {before} to {value}"), vec![put.id, *id, op.id]))
        }
        Some((None, id)) => {
            Some((format!("{key} was gone, and is there again"), vec![put.id, *id, op.id]))
        }
        _ => None,
    }
}

fn phantom(
    tried: &BTreeMap<&str, Tried<'_>>,
    seen: &Seen<'_>,
    op: &Op,
    key: &str,
) -> Option<Wrong> {
    let deleted = tried.get(key).and_then(|tried| tried.deleted);
    if deleted.is_some_and(|delete| delete.start <= op.end) {
        return None;
    }
    let last = seen.keys.get(key).map(|(_, id)| *id);
    let why = format!("{key} is gone, and nobody had deleted it");
    Some((why, last.into_iter().chain([op.id]).collect()))
}

/// From the acknowledgement of a write to the first view that shows it, where that came later.
fn delay(tried: &BTreeMap<&str, Tried<'_>>, op: &Op, key: &str, value: u64) -> Option<Micros> {
    let put = tried.get(key)?.puts.get(&value)?;
    put.outcome.answer()?;
    Some(op.end.saturating_sub(put.end))
}

fn delay_figures(mut delays: Vec<Micros>) -> Vec<(String, String)> {
    delays.sort_unstable();
    let at = |of_100: usize| delays.get((delays.len() * of_100 / 100).min(delays.len().max(1) - 1));
    let shown = |name: &str, of_100| {
        let millis = at(of_100)? / 1000;
        Some((format!("acknowledged to seen in a zone, {name}"), format!("{millis} ms")))
    };
    [shown("p50", 50), shown("p99", 99), shown("max", 100)].into_iter().flatten().collect()
}

/// Whether each zone ended with what the global has.
fn equal(ops: &[Op]) -> Verdict {
    let mut finding = Finding::Undecided { why: "nothing was compared".to_owned() };
    let mut figures = Vec::new();
    for op in ops {
        let Call::Compare { zone } = &op.call else { continue };
        match &op.outcome {
            Outcome::Done { answer: Answer::Compared { resources, differences } } => {
                figures.push((format!("resources compared in {zone}"), resources.to_string()));
                if let Some(first) = differences.first() {
                    let why = format!("{zone}: {} differences: {first}", differences.len());
                    finding = Finding::Violated { why, operations: vec![op.id] };
                } else if !matches!(finding, Finding::Violated { .. }) && figures.len() == 1 {
                    finding = Finding::Held;
                }
            }
            other => {
                let why = format!("{zone} could not be compared: {other:?}");
                return Verdict {
                    checker: "zones equal".to_owned(),
                    finding: Finding::Undecided { why },
                    figures,
                };
            }
        }
    }
    Verdict { checker: "zones equal".to_owned(), finding, figures }
}

/// A zone refuses a global only where the globals lost what they had acknowledged.
fn fences(ops: &[Op], faults: &[FaultEvent]) -> Verdict {
    let lost = faults.iter().any(|event| event.installed.is_some() && event.fault.loses_history());
    let mut finding = Finding::Held;
    let mut adopted = 0;
    for op in ops {
        let Call::Adopt { zone, reason } = &op.call else { continue };
        adopted += 1;
        let why = match &op.outcome {
            _ if !lost => format!("{zone} refused a global that had lost nothing: {reason}"),
            Outcome::Done { .. } => continue,
            Outcome::Refused { why } | Outcome::Unknown { why } => {
                format!("{zone} could not be made to follow: {why}")
            }
        };
        finding = Finding::Violated { why, operations: vec![op.id] };
    }
    let figures = vec![("zones that were fenced and adopted".to_owned(), adopted.to_string())];
    Verdict { checker: "fences".to_owned(), finding, figures }
}

#[cfg(test)]
mod tests;
