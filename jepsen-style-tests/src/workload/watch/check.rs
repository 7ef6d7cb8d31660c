//! The verdicts on what watches were told: the properties that etcd's robustness tests ask of a watch.

use std::collections::BTreeMap;
use std::path::Path;

use super::streams::{self, Stream};
use super::{Answer, CLASSES, DELETE, Op, PUT, PUT_ALL, PUT_ELSEWHERE, Told};
use crate::history;
use crate::run::Folder;
use crate::verdict::{Finding, Verdict};
use crate::workload::{self, MALFORMED, Wrong, availability};

/// Fewer writes, or events, say nothing.
const ENOUGH: usize = 20;

/// What is wrong with a watch of this name, asked from this version.
type Judge<'a> = dyn Fn(&str, &(u64, Stream<'_>)) -> Option<Wrong> + 'a;

pub(super) fn check(folder: &Path) -> anyhow::Result<Vec<Verdict>> {
    let folder = Folder::open(folder);
    let ops: Vec<Op> = history::read_classes(&folder.history(), &CLASSES)?;
    let mut verdicts = judged(&ops);
    verdicts.push(availability::verdict(
        &folder,
        &[("write", &[PUT, DELETE, PUT_ALL, PUT_ELSEWHERE])],
    )?);
    Ok(verdicts)
}

fn judged(ops: &[Op]) -> Vec<Verdict> {
    let streams = streams::streams(ops);
    let each = |wrong: &Judge<'_>| {
        streams.iter().filter_map(|(name, stream)| wrong(name, stream)).collect::<Vec<_>>()
    };
    let verdict = |checker: &str, wrong: &[Wrong]| {
        let finding = workload::finding(wrong);
        Verdict { checker: checker.to_owned(), finding, figures: Vec::new() }
    };
    let (whole, complete) = match streams::known(ops, &streams) {
        Err(wrong) => (vec![wrong], None),
        Ok(known) => {
            let mut gaps = each(&|name, (from, stream)| streams::gap(name, *from, stream, &known));
            gaps.extend(streams::not_deleted(ops, &known));
            (Vec::new(), Some(gaps))
        }
    };
    let complete = match complete {
        Some(gaps) => verdict("in order, once, nothing left out", &gaps),
        None => {
            let why = "what a version is cannot be said".to_owned();
            Verdict {
                checker: "in order, once, nothing left out".to_owned(),
                finding: Finding::Undecided { why },
                figures: Vec::new(),
            }
        }
    };
    let nowhere = streams::from_nowhere(ops, &streams);
    let ends = each(&|name, (_, stream)| streams::other_end(ops, name, stream));
    vec![
        enough(ops, &streams, complete),
        verdict("a version is never split", &whole),
        verdict(
            "previous values",
            &each(&|name, (_, stream)| streams::wrong_previous(name, stream)),
        ),
        verdict("nothing else, and all in the end", &[Vec::from_iter(nowhere), ends].concat()),
        understood(ops),
    ]
}

/// Every event and answer has what the API says that it has.
fn understood(ops: &[Op]) -> Verdict {
    let malformed = ops.iter().find_map(|op| match op.outcome.answer()? {
        Answer::Told { ended: Some(why), .. } if why.starts_with(MALFORMED) => {
            Some(Wrong { why: why.clone(), operations: vec![op.id] })
        }
        _ => None,
    });
    let mut verdict = workload::whole(ops);
    if let Some(wrong) = malformed {
        verdict.finding = workload::finding(&[wrong]);
    }
    verdict
}

/// With the figures, and undecided where they are too small.
fn enough(
    ops: &[Op],
    streams: &BTreeMap<&str, (u64, Stream<'_>)>,
    mut verdict: Verdict,
) -> Verdict {
    let written =
        ops.iter().filter(|op| matches!(op.outcome.answer(), Some(Answer::Written { .. })));
    let written = written.count();
    let told = |wanted: fn(&Told) -> bool| {
        streams.values().flat_map(|(_, stream)| stream).filter(|(told, _)| wanted(told)).count()
    };
    let changes = told(|told| matches!(told, Told::Change { .. }));
    let ended = ops
        .iter()
        .filter(|op| matches!(op.outcome.answer(), Some(Answer::Told { ended: Some(_), .. })));
    let mut delays = streams::delays(ops, streams);
    delays.sort_unstable();
    let delay = |at: usize| {
        let micros = delays.get(at).copied().unwrap_or_default();
        format!("{} ms", micros / 1000)
    };
    verdict.figures = vec![
        ("acknowledged changes".to_owned(), written.to_string()),
        ("watches".to_owned(), streams.len().to_string()),
        ("changes told".to_owned(), changes.to_string()),
        ("marks".to_owned(), told(|told| matches!(told, Told::Progress { .. })).to_string()),
        (
            "told that it is compacted".to_owned(),
            told(|t| matches!(t, Told::Compacted { .. })).to_string(),
        ),
        ("streams that broke".to_owned(), ended.count().to_string()),
        ("acknowledged to told, in the middle".to_owned(), delay(delays.len() / 2)),
        ("acknowledged to told, longest".to_owned(), delay(delays.len().saturating_sub(1))),
    ];
    if verdict.finding == Finding::Held && (written < ENOUGH || changes < ENOUGH) {
        let why = format!("only {written} writes were acknowledged and {changes} changes told");
        verdict.finding = Finding::Undecided { why };
    }
    verdict
}

#[cfg(test)]
mod tests;
