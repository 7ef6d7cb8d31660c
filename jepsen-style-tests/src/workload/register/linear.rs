//! Linearizability of one key, by search (porcupine).

use std::collections::BTreeMap;
use std::time::Duration;

use porcupine_rs::{CheckResult, Model, Operation as Entry, check_operations_timeout};

use super::{Answer, Call, Op};
use crate::history::Outcome;

/// A register; 0 is the absence of a resource, other numbers stand for values.
#[derive(Debug, Clone)]
struct Register;

#[derive(Debug, Clone)]
enum Step {
    Read(u32),
    Write(u32),
    Swap { from: u32, to: u32 },
    Mismatch { from: u32 },
}

impl Model for Register {
    type State = u32;
    type Op = Step;
    type Metadata = ();

    fn init() -> u32 {
        0
    }

    fn step(state: &u32, step: &Step) -> (bool, u32) {
        match *step {
            Step::Read(value) => (*state == value, *state),
            Step::Write(value) => (true, value),
            Step::Swap { from, to } => (*state == from, to),
            Step::Mismatch { from } => (*state != from, *state),
        }
    }
}

/// What the search says of the operations on one key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Search {
    Linearizable,
    NotLinearizable,
    /// Not decided within its limit.
    TimedOut,
}

/// Searches for an order of `ops`, all on one key, in which each sees what the one before left.
///
/// An operation whose fate is unknown takes part if somebody saw what it wrote: then it took
/// effect before they were answered. One that nobody saw may have taken effect or not; as values
/// are unique, only a mismatch could have been caused by it, so that the mismatches which may
/// have been are left out, and it with them. This makes the check weaker, never wrong.
pub(super) fn search(ops: &[&Op], limit: Duration) -> Search {
    let entries = entries(ops);
    match check_operations_timeout(&entries, limit) {
        CheckResult::Ok => Search::Linearizable,
        CheckResult::Illegal => Search::NotLinearizable,
        CheckResult::Unknown => Search::TimedOut,
    }
}

fn entries(ops: &[&Op]) -> Vec<Entry<Register>> {
    let seen = first_seen(ops);
    let unseen = ops
        .iter()
        .filter(|op| is_unknown(op) && op.call.value().is_some_and(|v| !seen.contains_key(v)))
        .map(|op| op.start)
        .min();
    let mut numbers = Numbers::default();
    ops.iter()
        .filter_map(|op| {
            let step = step(op, unseen, &mut numbers)?;
            let end = match op.call.value().filter(|_| is_unknown(op)) {
                Some(value) => *seen.get(value)?,
                None => op.end,
            };
            let time = |micros| i64::try_from(micros).unwrap_or(i64::MAX);
            Some(Entry {
                client_id: None,
                call_time: time(op.start),
                return_time: time(end),
                op: step,
                metadata: None,
            })
        })
        .collect()
}

/// The step of an operation; None if it says nothing.
fn step<'a>(op: &'a Op, unseen: Option<u64>, numbers: &mut Numbers<'a>) -> Option<Step> {
    match (&op.call, &op.outcome) {
        (_, Outcome::Refused { .. }) => None,
        (Call::Read { .. }, Outcome::Done { answer: Answer::Value { found, .. } }) => {
            Some(Step::Read(found.as_ref().map_or(0, |found| numbers.of(&found.value))))
        }
        (Call::Write { value, .. }, _) => Some(Step::Write(numbers.of(value))),
        (Call::Swap { from, .. }, Outcome::Done { answer: Answer::Mismatch }) => {
            let sure = unseen.is_none_or(|start| op.end < start);
            sure.then(|| Step::Mismatch { from: numbers.of(from) })
        }
        (Call::Swap { from, value, .. }, _) => {
            Some(Step::Swap { from: numbers.of(from), to: numbers.of(value) })
        }
        _ => None,
    }
}

fn is_unknown(op: &Op) -> bool {
    matches!(op.outcome, Outcome::Unknown { .. })
}

/// When the first of those who saw a value had their answer. Whatever kind of read it was: what a
/// node shows is committed.
fn first_seen<'a>(ops: &[&'a Op]) -> BTreeMap<&'a str, u64> {
    let mut seen = BTreeMap::new();
    for op in ops {
        let value = match (&op.call, &op.outcome) {
            (_, Outcome::Done { answer: Answer::Value { found: Some(found), .. } }) => &found.value,
            (Call::Swap { from, .. }, Outcome::Done { answer: Answer::Written { .. } }) => from,
            _ => continue,
        };
        let end = seen.entry(value.as_str()).or_insert(op.end);
        *end = op.end.min(*end);
    }
    seen
}

/// Values as numbers, from 1.
#[derive(Default)]
struct Numbers<'a>(BTreeMap<&'a str, u32>);

impl<'a> Numbers<'a> {
    fn of(&mut self, value: &'a str) -> u32 {
        let next = u32::try_from(self.0.len()).unwrap_or(u32::MAX).saturating_add(1);
        *self.0.entry(value).or_insert(next)
    }
}
