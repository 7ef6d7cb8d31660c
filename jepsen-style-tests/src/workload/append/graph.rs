//! What has to come before what: the dependencies between transactions.

use std::collections::BTreeMap;

use super::lists::{Orders, Taken};
use crate::history::Micros;

/// Why one comes before another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Because {
    /// The other appended right behind what it appended.
    Wrote,
    /// The other read what it appended.
    WasRead,
    /// It read the list before the other appended to it.
    ReadBefore,
    /// It was acknowledged before the other began.
    Ended,
}

/// An edge: to which transaction, why, and about which list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Edge {
    pub(super) to: usize,
    pub(super) because: Because,
    pub(super) key: String,
}

/// By the place of a transaction, the edges that leave it.
pub(super) type Graph = Vec<Vec<Edge>>;

pub(super) fn graph(taken: &[Taken<'_>], orders: &Orders<'_>) -> Graph {
    let mut graph: Graph = vec![Vec::new(); taken.len()];
    let mut writers: BTreeMap<(&str, &str), usize> = BTreeMap::new();
    for (at, transaction) in taken.iter().enumerate() {
        writers.extend(transaction.appends.iter().map(|append| (*append, at)));
    }
    let writer = |key: &str, value: Option<&&str>| writers.get(&(key, *value?)).copied();
    let mut join = |from: Option<usize>, to: Option<usize>, because: Because, key: &str| {
        if let (Some(from), Some(to)) = (from, to)
            && from != to
        {
            graph[from].push(Edge { to, because, key: key.to_owned() });
        }
    };
    for (key, order) in orders {
        for two in order.windows(2) {
            join(writer(key, two.first()), writer(key, two.last()), Because::Wrote, key);
        }
    }
    for (at, transaction) in taken.iter().enumerate() {
        for (key, read) in &transaction.reads {
            let Some(order) = orders.get(key) else { continue };
            let last = read.len().checked_sub(1).and_then(|last| order.get(last));
            join(writer(key, last), Some(at), Because::WasRead, key);
            join(Some(at), writer(key, order.get(read.len())), Because::ReadBefore, key);
        }
    }
    in_time(taken, &mut graph);
    graph
}

/// From each that was acknowledged to those that began after it. What follows from others is left
/// out: an edge to a transaction stands for those to all that begin after its end.
fn in_time(taken: &[Taken<'_>], graph: &mut Graph) {
    let mut events: Vec<(Micros, bool, usize)> = Vec::new();
    for (at, transaction) in taken.iter().enumerate().filter(|(_, one)| one.current) {
        events.push((transaction.op.start, false, at));
        if transaction.ended {
            events.push((transaction.op.end, true, at));
        }
    }
    // A begin at the moment of an end is not after it.
    events.sort_unstable();
    let mut last_ended: Vec<usize> = Vec::new();
    let mut before: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
    for (_, ends, at) in events {
        if !ends {
            for from in &last_ended {
                let key = String::new();
                graph[*from].push(Edge { to: at, because: Because::Ended, key });
            }
            before.insert(at, last_ended.clone());
            continue;
        }
        let earlier = before.remove(&at).unwrap_or_default();
        last_ended.retain(|one| !earlier.contains(one));
        last_ended.push(at);
    }
}
