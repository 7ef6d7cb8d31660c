//! The verdicts on a history of registers.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};

use super::linear::{Search, search};
use super::shrink::shrink;
use super::{Call, Op, versions};
use crate::history::{self, Outcome};
use crate::run::Folder;
use crate::verdict::{Finding, Verdict};
use crate::workload::{self, availability};

/// How long the search may take over all keys. Usually it takes below a second.
const SEARCH_LIMIT: Duration = Duration::from_secs(90);

/// How long fewer operations are looked for once there is a violation.
const SHRINK_LIMIT: Duration = Duration::from_secs(20);

/// Fewer reads and writes that were done say nothing.
const ENOUGH: usize = 20;

const CLASSES: [&str; 5] = ["read", "stale read", "read since", "write", "swap"];

pub(super) fn check(folder: &Path) -> anyhow::Result<Vec<Verdict>> {
    let folder = Folder::open(folder);
    let ops: Vec<Op> = history::read_classes(&folder.history(), &CLASSES)?;
    Ok(vec![
        linearizable(&ops, SEARCH_LIMIT),
        agreeing(&ops),
        workload::whole(&ops),
        availability::verdict(&folder, &[("read", &["read"]), ("write", &["write", "swap"])])?,
    ])
}

fn done(ops: &[Op], class: &str) -> usize {
    ops.iter().filter(|op| op.class == class && op.outcome.answer().is_some()).count()
}

fn linearizable(ops: &[Op], limit: Duration) -> Verdict {
    let mut keys: BTreeMap<&str, Vec<&Op>> = BTreeMap::new();
    for op in ops {
        keys.entry(op.call.key()).or_default().push(op);
    }
    let began = Instant::now();
    let mut finding = Finding::Held;
    for (key, ops) in &keys {
        match search(ops, limit.saturating_sub(began.elapsed())) {
            Search::Linearizable => {}
            Search::NotLinearizable => {
                let few = shrink(ops, SHRINK_LIMIT);
                finding = Finding::Violated {
                    why: format!("{key}: no order explains {}", told(&few)),
                    operations: few.iter().map(|op| op.id).collect(),
                };
                break;
            }
            Search::TimedOut => {
                let why = format!(
                    "{key}: {} operations were too many to search in {} s",
                    ops.len(),
                    limit.as_secs()
                );
                finding = Finding::Undecided { why };
            }
        }
    }
    let (reads, writes) = (done(ops, "read"), done(ops, "write") + done(ops, "swap"));
    if finding == Finding::Held && (reads < ENOUGH || writes < ENOUGH) {
        let why = format!("only {reads} reads and {writes} writes were done");
        finding = Finding::Undecided { why };
    }
    Verdict { checker: "linearizable".to_owned(), finding, figures: figures(ops, keys.len()) }
}

/// The operations of an example in a sentence.
fn told(ops: &[Op]) -> String {
    const SHOWN: usize = 8;
    let one = |op: &Op| {
        let does = match &op.call {
            Call::Swap { from, value, .. } => format!("swaps {from} for {value}"),
            Call::Write { value, .. } => format!("writes {value}"),
            Call::Read { .. } | Call::StaleRead { .. } | Call::ReadSince { .. } => {
                "reads".to_owned()
            }
        };
        let saw = match &op.outcome {
            Outcome::Done { answer: super::Answer::Value { found, .. } } => {
                format!(" {}", found.as_ref().map_or("nothing", |found| &found.value))
            }
            Outcome::Done { answer: super::Answer::Mismatch } => " (mismatch)".to_owned(),
            Outcome::Done { .. } => String::new(),
            Outcome::Refused { .. } => " (refused)".to_owned(),
            Outcome::Unknown { .. } => " (unknown)".to_owned(),
        };
        format!("#{} at {} {does}{saw}", op.id, op.node)
    };
    let mut told: Vec<String> = ops.iter().take(SHOWN).map(one).collect();
    if ops.len() > SHOWN {
        told.push(format!("and {} more", ops.len() - SHOWN));
    }
    told.join("; ")
}

fn figures(ops: &[Op], keys: usize) -> Vec<(String, String)> {
    let mut figures = vec![("keys".to_owned(), keys.to_string())];
    for class in CLASSES {
        figures.push((format!("{class}, done"), done(ops, class).to_string()));
    }
    let unknown = ops.iter().filter(|op| matches!(op.outcome, Outcome::Unknown { .. })).count();
    let refused = ops.iter().filter(|op| matches!(op.outcome, Outcome::Refused { .. })).count();
    figures.push(("refused".to_owned(), refused.to_string()));
    figures.push(("unknown".to_owned(), unknown.to_string()));
    figures
}

fn agreeing(ops: &[Op]) -> Verdict {
    let finding = workload::finding(&versions::check(ops));
    Verdict { checker: "versions agree".to_owned(), finding, figures: Vec::new() }
}

#[cfg(test)]
mod tests;
