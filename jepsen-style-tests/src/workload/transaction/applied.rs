//! What became of each transaction, by all that was said of it, and whether it was applied once.

use std::collections::BTreeMap;

use super::{Answer, Call, Op, Side};
use crate::history::Outcome;
use crate::workload::Wrong;

/// What is known of one transaction.
#[derive(Debug)]
pub(super) struct Fate<'a> {
    pub(super) call: &'a Call,
    /// All that were sent under its key, by their start.
    attempts: Vec<&'a Op>,
    /// Its version, and the attempt that was told it.
    pub(super) applied: Option<(u64, u64)>,
}

/// By token.
pub(super) type Fates<'a> = BTreeMap<&'a str, Fate<'a>>;

pub(super) fn fates(ops: &[Op]) -> Fates<'_> {
    let mut fates = Fates::new();
    for op in ops {
        let Some(token) = op.call.token() else { continue };
        let fate = fates.entry(token).or_insert(Fate {
            call: &op.call,
            attempts: Vec::new(),
            applied: None,
        });
        fate.attempts.push(op);
        if let Some((version, _)) = version(op) {
            fate.applied.get_or_insert((version, op.id));
        }
    }
    for fate in fates.values_mut() {
        fate.attempts.sort_by_key(|op| (op.start, op.id));
    }
    fates
}

/// The version that an attempt was told, and whether it is an earlier one's.
fn version(op: &Op) -> Option<(u64, bool)> {
    match op.outcome.answer()? {
        Answer::Applied { version, replayed } => Some((*version, *replayed)),
        _ => None,
    }
}

fn mismatched(op: &Op) -> bool {
    matches!(op.outcome, Outcome::Done { answer: Answer::Mismatch })
}

impl<'a> Fate<'a> {
    /// Why it can have had no effect: every attempt was refused, or one was told that what it is
    /// about is not as it was, which then never comes back.
    pub(super) fn impossible(&self) -> Option<(&'static str, u64)> {
        if let Some(op) = self.attempts.iter().find(|op| mismatched(op)) {
            return Some(("told that its condition does not hold", op.id));
        }
        let refused = |op: &&Op| matches!(op.outcome, Outcome::Refused { .. });
        let last = self.attempts.last().filter(|_| self.attempts.iter().all(refused));
        last.map(|op| ("refused", op.id))
    }

    pub(super) fn first(&self) -> u64 {
        self.attempts.first().map_or(0, |op| op.id)
    }

    /// Its side at an account.
    pub(super) fn side(&self, account: &str) -> Option<&'a Side> {
        self.call.sides().iter().find(|side| side.account == account)
    }

    /// What contradicts that it was applied once.
    fn twice(&self, token: &str) -> Option<Wrong> {
        let (version, told) = self.applied?;
        for op in &self.attempts {
            let wrong = |why: String| Some(Wrong { why, operations: vec![told, op.id] });
            let later = self
                .attempts
                .iter()
                .any(|first| first.end < op.start && self::version(first).is_some());
            match self::version(op) {
                Some((other, _)) if other != version => {
                    return wrong(format!(
                        "{token} was applied at version {version} and at {other}"
                    ));
                }
                Some((_, false)) if later => {
                    return wrong(format!(
                        "{token} was acknowledged, and what was sent again under its key is called new"
                    ));
                }
                None if later && mismatched(op) => {
                    return wrong(format!(
                        "{token} was acknowledged at version {version}, and sent again under its key \
                         it was judged anew (412)"
                    ));
                }
                _ => {}
            }
        }
        let another = self.attempts.iter().find_map(|op| match &op.outcome {
            Outcome::Refused { why } if why.starts_with("422") => Some(op.id),
            _ => None,
        });
        another.map(|id| {
            let why = format!("{token} was sent twice, and called another request (422)");
            Wrong { why, operations: vec![told, id] }
        })
    }
}

/// A transaction that was applied twice, or two that share a version.
pub(super) fn more_than_once(fates: &Fates<'_>) -> Option<Wrong> {
    let mut versions: BTreeMap<u64, (&str, u64)> = BTreeMap::new();
    for (token, fate) in fates {
        if let Some(wrong) = fate.twice(token) {
            return Some(wrong);
        }
        let Some((version, told)) = fate.applied else { continue };
        if let Some((other, witness)) = versions.insert(version, (token, told)) {
            let why = format!("{other} and {token} both have version {version}");
            return Some(Wrong { why, operations: vec![witness, told] });
        }
    }
    None
}
