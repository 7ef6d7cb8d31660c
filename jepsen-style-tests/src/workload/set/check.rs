//! The verdicts on a history of a set.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use super::{Answer, Call, Op};
use crate::history::{self, Outcome};
use crate::run::Folder;
use crate::verdict::{Finding, Verdict};
use crate::workload::availability;

/// Fewer additions say nothing.
const ENOUGH: usize = 20;

pub(super) fn check(folder: &Path) -> anyhow::Result<Vec<Verdict>> {
    let folder = Folder::open(folder);
    let ops: Vec<Op> = history::read_classes(&folder.history(), &["add", "remove", "list"])?;
    Ok(vec![set(&ops), availability::verdict(&folder, &[("write", &["add", "remove"])])?])
}

/// What must be there, and what must not.
#[derive(Default)]
struct Expected<'a> {
    /// Each with the operation that says so.
    there: BTreeMap<&'a str, u64>,
    gone: BTreeMap<&'a str, u64>,
    refused: BTreeMap<&'a str, u64>,
    attempted: BTreeSet<&'a str>,
    unknown: usize,
}

fn expected(ops: &[Op]) -> Expected<'_> {
    let mut expected = Expected::default();
    // A client removes only what was acknowledged to it, so additions come first.
    for op in ops {
        match (&op.call, &op.outcome) {
            (Call::Add { element }, outcome) => {
                expected.attempted.insert(element);
                match outcome {
                    Outcome::Done { .. } => drop(expected.there.insert(element, op.id)),
                    Outcome::Refused { .. } => drop(expected.refused.insert(element, op.id)),
                    Outcome::Unknown { .. } => expected.unknown += 1,
                }
            }
            (Call::Remove { element }, Outcome::Done { .. }) => {
                expected.there.remove(element.as_str());
                expected.gone.insert(element, op.id);
            }
            (Call::Remove { element }, Outcome::Unknown { .. }) => {
                expected.there.remove(element.as_str());
                expected.unknown += 1;
            }
            (Call::Remove { .. }, Outcome::Refused { .. }) | (Call::List, _) => {}
        }
    }
    expected
}

fn set(ops: &[Op]) -> Verdict {
    let expected = expected(ops);
    let mut wrong: Vec<(String, Vec<u64>)> = Vec::new();
    let mut listed = 0;
    let mut unlisted = Vec::new();
    for op in ops {
        match (&op.call, &op.outcome) {
            (Call::List, Outcome::Done { answer: Answer::Listed { elements } }) => {
                listed += 1;
                wrong.extend(differences(&expected, op, elements));
            }
            (Call::List, Outcome::Refused { why } | Outcome::Unknown { why }) => {
                unlisted.push(why.as_str());
            }
            _ => {}
        }
    }
    let added = expected.there.len() + expected.gone.len();
    let finding = match wrong.first() {
        Some((_, operations)) => {
            let why: Vec<&str> = wrong.iter().map(|(why, _)| why.as_str()).collect();
            Finding::Violated { why: why.join(". "), operations: operations.clone() }
        }
        None if listed == 0 || !unlisted.is_empty() => {
            let why = format!("{listed} nodes listed; {}", unlisted.join("; "));
            Finding::Undecided { why }
        }
        None if added < ENOUGH => {
            Finding::Undecided { why: format!("only {added} additions were acknowledged") }
        }
        None => Finding::Held,
    };
    let figures = vec![
        ("acknowledged additions".to_owned(), added.to_string()),
        ("acknowledged removals".to_owned(), expected.gone.len().to_string()),
        ("refused additions".to_owned(), expected.refused.len().to_string()),
        ("unknown".to_owned(), expected.unknown.to_string()),
        ("nodes that listed".to_owned(), listed.to_string()),
    ];
    Verdict { checker: "nothing lost".to_owned(), finding, figures }
}

/// What is wrong with one node's list, each with the operations that show it.
fn differences(expected: &Expected<'_>, list: &Op, elements: &[String]) -> Vec<(String, Vec<u64>)> {
    let listed: BTreeSet<&str> = elements.iter().map(String::as_str).collect();
    let node = &list.node;
    let mut wrong = Vec::new();
    let mut say = |what: &str, found: Vec<(&str, Option<u64>)>| {
        if let Some((name, id)) = found.first() {
            let more = match found.len() {
                1 => String::new(),
                count => format!(" and {} more", count - 1),
            };
            let operations = id.iter().copied().chain([list.id]).collect();
            wrong.push((format!("{node}: {name}{more} {what}"), operations));
        }
    };
    let known = |map: &BTreeMap<&'_ str, u64>, wanted: bool| -> Vec<(String, Option<u64>)> {
        map.iter()
            .filter(|(name, _)| listed.contains(*name) == wanted)
            .map(|(name, id)| ((*name).to_owned(), Some(*id)))
            .collect()
    };
    for (what, found) in [
        ("acknowledged and lost", known(&expected.there, false)),
        ("removed, acknowledged, and there again", known(&expected.gone, true)),
        ("refused and there all the same", known(&expected.refused, true)),
    ] {
        say(what, found.iter().map(|(name, id)| (name.as_str(), *id)).collect());
    }
    let strange = listed.iter().filter(|name| !expected.attempted.contains(**name));
    say("never added by anybody", strange.map(|name| (*name, None)).collect());
    if listed.len() < elements.len() {
        let twice = elements.len() - listed.len();
        wrong.push((format!("{node}: lists {twice} elements twice"), vec![list.id]));
    }
    wrong
}

#[cfg(test)]
mod tests;
