//! What each transaction read and wrote, and the one order of each list's values that all of them
//! must agree on.

use std::collections::{BTreeMap, BTreeSet};

use super::{Answer, Call, KEYS, Op, key};
use crate::history::Outcome;
use crate::workload::Wrong;

/// A list as a transaction read it: its key and the values.
pub(super) type Read<'a> = (String, &'a [String]);

/// A transaction that took effect, for certain or because somebody saw what it wrote.
#[derive(Debug)]
pub(super) struct Taken<'a> {
    pub(super) op: &'a Op,
    pub(super) reads: Vec<Read<'a>>,
    /// Key and value.
    pub(super) appends: Vec<(&'a str, &'a str)>,
    /// It was acknowledged: whoever begins after that comes after it.
    pub(super) ended: bool,
    /// It sees everything that was acknowledged before it began.
    pub(super) current: bool,
}

/// By key, all values that were ever in the list, in their order.
pub(super) type Orders<'a> = BTreeMap<String, Vec<&'a str>>;

/// The transactions that took effect.
pub(super) fn taken(ops: &[Op]) -> Vec<Taken<'_>> {
    let lists = ops.iter().flat_map(looked);
    let seen: BTreeSet<&str> = lists.flat_map(|(_, values)| values).map(String::as_str).collect();
    let each = ops.iter().filter_map(|op| {
        let (ended, current) = match (&op.call, &op.outcome) {
            (Call::Look { stale, .. }, Outcome::Done { .. }) => (true, !stale),
            (_, Outcome::Done { answer: Answer::Applied { .. } }) => (true, true),
            (Call::Commit { lists }, Outcome::Unknown { .. }) => {
                let appended = lists.iter().filter_map(|list| list.appends.as_deref());
                // As all its conditions held, what it read was so then.
                if !appended.into_iter().any(|value| seen.contains(value)) {
                    return None;
                }
                (false, true)
            }
            _ => return None,
        };
        let appends = appends(op).collect();
        Some(Taken { op, reads: looked(op), appends, ended, current })
    });
    each.collect()
}

/// What an operation says that the lists were.
fn looked(op: &Op) -> Vec<Read<'_>> {
    match (&op.call, op.outcome.answer()) {
        // Before those that others appended had been read and confirmed.
        (Call::Commit { lists }, _) => {
            lists.iter().map(|list| (list.key.clone(), &*list.read)).collect()
        }
        (Call::Look { set, .. }, Some(Answer::Lists { lists, .. })) => {
            let keys = (0..KEYS).map(|number| key(*set, number));
            keys.map(|key| {
                let values = lists.get(&key).map_or(&[][..], Vec::as_slice);
                (key, values)
            })
            .collect()
        }
        _ => Vec::new(),
    }
}

fn appends(op: &Op) -> impl Iterator<Item = (&str, &str)> {
    let lists = match &op.call {
        Call::Commit { lists } => &**lists,
        Call::Look { .. } => &[],
    };
    lists.iter().filter_map(|list| Some((&*list.key, list.appends.as_deref()?)))
}

/// A value that nobody appended there, that was refused, or that is there twice.
pub(super) fn strange(ops: &[Op]) -> Option<Wrong> {
    let writers: BTreeMap<(&str, &str), &Op> =
        ops.iter().flat_map(|op| appends(op).map(move |append| (append, op))).collect();
    for op in ops {
        for (key, values) in looked(op) {
            let mut met = BTreeSet::new();
            for value in values {
                let writer = writers.get(&(&*key, value.as_str()));
                let why = match writer.map(|writer| &writer.outcome) {
                    None => "was never appended to it".to_owned(),
                    Some(Outcome::Refused { why }) => format!("was refused ({why})"),
                    Some(Outcome::Done { answer: Answer::Mismatch }) => {
                        "was refused (mismatch)".to_owned()
                    }
                    Some(_) if !met.insert(value) => "is there twice".to_owned(),
                    Some(_) => continue,
                };
                let operations = writer.map(|writer| writer.id).into_iter().chain([op.id]);
                let why = format!("{key} holds {value}, which {why}");
                return Some(Wrong { why, operations: operations.collect() });
            }
        }
    }
    None
}

/// The order of each list's values.
///
/// # Errors
/// Two that read or wrote a list do not agree: neither is a beginning of the other.
pub(super) fn orders<'a>(taken: &[Taken<'a>]) -> Result<Orders<'a>, Wrong> {
    let mut longest: BTreeMap<&str, (Vec<&'a str>, u64)> = BTreeMap::new();
    for transaction in taken {
        for (key, read) in &transaction.reads {
            let appended = transaction.appends.iter().filter(|(to, _)| to == key);
            let values: Vec<&str> =
                read.iter().map(String::as_str).chain(appended.map(|(_, value)| *value)).collect();
            let id = transaction.op.id;
            let (known, witness) = longest.entry(key).or_insert_with(|| (values.clone(), id));
            let common = known.iter().zip(&values).take_while(|(a, b)| a == b).count();
            if common < known.len().min(values.len()) {
                let why = format!(
                    "{key} has {} at place {} for one and {} for another",
                    known[common],
                    common + 1,
                    values[common]
                );
                return Err(Wrong { why, operations: vec![*witness, id] });
            }
            if values.len() > known.len() {
                (*known, *witness) = (values, id);
            }
        }
    }
    Ok(longest.into_iter().map(|(key, (values, _))| (key.to_owned(), values)).collect())
}
