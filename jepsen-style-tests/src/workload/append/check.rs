//! The verdicts on a history of lists.

use std::path::Path;

use super::cycle::{self, Cycle};
use super::graph::{Because, graph};
use super::lists::{self, Taken};
use super::{Answer, CLASSES, COMMIT, LOOK, Op};
use crate::history::{self, Outcome};
use crate::run::Folder;
use crate::verdict::{Finding, Verdict};
use crate::workload::{self, Wrong, availability};

/// Fewer transactions, or looks, say nothing.
const ENOUGH: usize = 20;

pub(super) fn check(folder: &Path) -> anyhow::Result<Vec<Verdict>> {
    let folder = Folder::open(folder);
    let ops: Vec<Op> = history::read_classes(&folder.history(), &CLASSES)?;
    let sorts: [(&str, &[&str]); 2] = [("read", &[LOOK]), ("transaction", &[COMMIT])];
    let available = availability::verdict(&folder, &sorts)?;
    Ok(vec![serializable(&ops), workload::whole(&ops), available])
}

fn serializable(ops: &[Op]) -> Verdict {
    let taken = lists::taken(ops);
    let (wrong, edges) = match lists::strange(ops).map_or_else(|| lists::orders(&taken), Err) {
        Err(wrong) => (Some(wrong), 0),
        Ok(orders) => {
            let graph = graph(&taken, &orders);
            let edges = graph.iter().map(Vec::len).sum();
            (cycle::shortest(&graph).map(|cycle| told(&taken, &cycle)), edges)
        }
    };
    let of = |wanted: fn(&Op) -> bool| ops.iter().filter(|op| wanted(op)).count();
    let applied = of(|op| matches!(op.outcome.answer(), Some(Answer::Applied { .. })));
    let looks = of(|op| matches!(op.outcome.answer(), Some(Answer::Lists { .. })));
    let mut finding = workload::finding(wrong.as_slice());
    if finding == Finding::Held && (applied < ENOUGH || looks < ENOUGH) {
        let why = format!("only {applied} transactions were applied and {looks} looks answered");
        finding = Finding::Undecided { why };
    }
    let mismatched = of(|op| matches!(op.outcome.answer(), Some(Answer::Mismatch)));
    let figures = vec![
        ("transactions applied".to_owned(), applied.to_string()),
        (
            "of unknown fate".to_owned(),
            of(|op| matches!(op.outcome, Outcome::Unknown { .. })).to_string(),
        ),
        ("of a list that had changed".to_owned(), mismatched.to_string()),
        ("looks".to_owned(), looks.to_string()),
        ("dependencies".to_owned(), edges.to_string()),
    ];
    Verdict { checker: "strictly serializable".to_owned(), finding, figures }
}

/// A cycle in words.
fn told(taken: &[Taken<'_>], cycle: &Cycle) -> Wrong {
    let id = |place: usize| taken[place].op.id;
    let steps: Vec<String> = cycle
        .iter()
        .map(|(from, edge)| {
            let (from, to, key) = (id(*from), id(edge.to), &edge.key);
            match edge.because {
                Because::Wrote => format!("#{to} appended to {key} right behind #{from}"),
                Because::WasRead => format!("#{to} read in {key} what #{from} appended last"),
                Because::ReadBefore => {
                    format!("#{from} read {key} without what #{to} appended next")
                }
                Because::Ended => format!("#{to} began after #{from} was acknowledged"),
            }
        })
        .collect();
    let why = format!("{}: no order explains that {}", cycle::name(cycle), steps.join(", and "));
    Wrong { why, operations: cycle.iter().map(|(from, _)| id(*from)).collect() }
}

#[cfg(test)]
mod tests;
