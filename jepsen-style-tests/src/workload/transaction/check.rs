//! The verdicts on a history of transactions.

use std::path::Path;

use super::applied::{self, Fate, Fates};
use super::{AGAIN, Answer, CLASSES, LOOK, Op, READ, STAMP, TRANSFER, looks};
use crate::history::{self, Outcome};
use crate::run::Folder;
use crate::verdict::{Finding, Verdict};
use crate::workload::{self, Wrong, availability};

/// Fewer transactions, or looks, say nothing.
const ENOUGH: usize = 20;

pub(super) fn check(folder: &Path) -> anyhow::Result<Vec<Verdict>> {
    let folder = Folder::open(folder);
    let ops: Vec<Op> = history::read_classes(&folder.history(), &CLASSES)?;
    let mut verdicts = judged(&ops);
    let sorts: [(&str, &[&str]); 2] =
        [("read", &[READ, LOOK]), ("transaction", &[TRANSFER, STAMP, AGAIN])];
    verdicts.push(availability::verdict(&folder, &sorts)?);
    Ok(verdicts)
}

fn judged(ops: &[Op]) -> Vec<Verdict> {
    let fates = applied::fates(ops);
    let verdict = |checker: &str, wrong: Vec<Option<Wrong>>| {
        let wrong: Vec<Wrong> = wrong.into_iter().flatten().collect();
        let finding = workload::finding(&wrong);
        Verdict { checker: checker.to_owned(), finding, figures: Vec::new() }
    };
    vec![
        enough(ops, &fates, verdict("applied once", vec![applied::more_than_once(&fates)])),
        verdict("all or nothing", vec![looks::part(ops, &fates), looks::from_nowhere(ops, &fates)]),
        verdict("sum constant", vec![looks::sum(ops)]),
        verdict(
            "versions agree",
            vec![looks::lost(ops, &fates), looks::replaced_twice(&fates), looks::back_in_time(ops)],
        ),
        workload::whole(ops),
    ]
}

/// With the figures, and undecided where they are too small.
fn enough(ops: &[Op], fates: &Fates<'_>, mut verdict: Verdict) -> Verdict {
    let looked =
        ops.iter().filter(|op| matches!(op.outcome.answer(), Some(Answer::All { .. }))).count();
    let known = fates.values().filter(|fate| fate.applied.is_some()).count();
    let of = |wanted: fn(&Op) -> bool| ops.iter().filter(|op| wanted(op)).count().to_string();
    let refused = |fate: &&Fate<'_>| fate.applied.is_none() && fate.impossible().is_some();
    let refused = fates.values().filter(refused).count();
    verdict.figures = vec![
        ("transactions applied".to_owned(), known.to_string()),
        ("certainly not applied".to_owned(), refused.to_string()),
        ("fate not known".to_owned(), (fates.len() - known - refused).to_string()),
        ("sent again".to_owned(), of(|op| op.class == AGAIN)),
        (
            "sent again and answered as before".to_owned(),
            of(|op| matches!(op.outcome.answer(), Some(Answer::Applied { replayed: true, .. }))),
        ),
        (
            "of unknown fate at first".to_owned(),
            of(|op| op.class != AGAIN && matches!(op.outcome, Outcome::Unknown { .. })),
        ),
        ("looks".to_owned(), looked.to_string()),
    ];
    if verdict.finding == Finding::Held && (known < ENOUGH || looked < ENOUGH) {
        let why = format!("only {known} transactions were applied and {looked} looks answered");
        verdict.finding = Finding::Undecided { why };
    }
    verdict
}

#[cfg(test)]
mod tests;
