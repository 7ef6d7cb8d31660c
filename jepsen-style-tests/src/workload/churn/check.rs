//! The verdicts on a history of churn.

use std::collections::BTreeMap;
use std::path::Path;

use super::{CHANGE, ChangeOp, LIST, LIST_AT_END, ListOp};
use crate::history::{self, Micros};
use crate::run::{FaultEvent, Folder, another_history};
use crate::verdict::{Finding, Verdict};
use crate::workload::requests::check::{self, seconds};
use crate::workload::requests::path::{Excuses, Topology};
use crate::workload::requests::{self, RequestOp, WORKLOADS};

/// Within this, a proxy that joined is asked by those that call its service from its zone; what
/// nobody there calls gets answers to what it calls itself. Seconds, of which Envoy's start takes most, on a machine that does
/// much else.
pub(super) const SERVED: Micros = 15_000_000;

/// Within this, the Dataplane of a proxy that left is gone.
pub(super) const GONE: Micros = 5_000_000;

/// Violations that are named; the rest are counted.
const NAMED: usize = 4;

pub(super) fn check(folder: &Path) -> anyhow::Result<Vec<Verdict>> {
    let folder = Folder::open(folder);
    let path = folder.history();
    let faults = folder.faults()?;
    let topology = Topology::read(&folder)?;
    let requests: Vec<RequestOp> = history::read_classes(&path, &requests::classes())?;
    let changes: Vec<ChangeOp> = history::read_classes(&path, &CHANGE)?;
    let lists: Vec<ListOp> = history::read_classes(&path, &[LIST])?;
    let at_end: Vec<ListOp> = history::read_classes(&path, &[LIST_AT_END])?;
    let seen = Seen { requests: &requests, lists: &lists, topology: &topology, faults: &faults };
    Ok(vec![
        check::verdict(&requests, &topology, &faults, |_, _| false),
        seen.verdict(&changes),
        equal(&at_end),
    ])
}

/// Why something is a violation, and the operations that show it.
type Wrong = (String, Vec<u64>);

/// What was seen while proxies joined and left.
struct Seen<'a> {
    requests: &'a [RequestOp],
    lists: &'a [ListOp],
    topology: &'a Topology,
    faults: &'a [FaultEvent],
}

impl Seen<'_> {
    fn verdict(&self, changes: &[ChangeOp]) -> Verdict {
        let mut by_workload: BTreeMap<&str, Vec<&ChangeOp>> = BTreeMap::new();
        for change in changes {
            by_workload.entry(&change.node).or_default().push(change);
        }
        let mut wrong: Vec<Wrong> = Vec::new();
        let (mut served, mut gone) = (Vec::new(), 0);
        for changes in by_workload.values_mut() {
            changes.sort_by_key(|change| change.start);
            for (number, change) in changes.iter().enumerate() {
                let until = changes.get(number + 1).map_or(Micros::MAX, |next| next.start);
                if change.call {
                    match self.joined(change, until) {
                        Ok(took) => served.extend(took),
                        Err(why) => wrong.push(why),
                    }
                } else {
                    gone += 1;
                    wrong.extend(self.left(change, until));
                }
            }
        }
        served.sort_unstable();
        let finding = match wrong.as_slice() {
            [(first, _), ..] => {
                let named = wrong.iter().take(NAMED);
                let why = format!("{} times; the first: {first}", wrong.len());
                let operations = named.flat_map(|(_, ids)| ids.iter().copied()).collect();
                Finding::Violated { why, operations }
            }
            [] if served.is_empty() || gone == 0 => {
                let joined = served.len();
                Finding::Undecided { why: format!("{joined} joined and were asked, {gone} left") }
            }
            [] => Finding::Held,
        };
        let mut figures = vec![
            ("joined and were asked".to_owned(), served.len().to_string()),
            ("left".to_owned(), gone.to_string()),
        ];
        if let (Some(middle), Some(longest)) = (served.get(served.len() / 2), served.last()) {
            figures
                .push(("from the join to the first request, median".to_owned(), seconds(*middle)));
            figures.push(("and longest".to_owned(), seconds(*longest)));
        }
        Verdict { checker: "proxies come and go".to_owned(), finding, figures }
    }

    /// How long it took until a proxy that joined was served; none where it did not have the time
    /// or a fault excuses that it was not.
    fn joined(&self, join: &ChangeOp, until: Micros) -> Result<Option<Micros>, Wrong> {
        let workload = join.node.as_str();
        let is_called = !self.callers(workload).is_empty();
        let is_its = |request: &&RequestOp| {
            let answer = request.outcome.answer().filter(|answer| answer.status == 200);
            let by_it = answer.is_some_and(|answer| answer.instance == workload);
            by_it || (!is_called && answer.is_some() && request.node == workload)
        };
        let within = self.requests.iter().filter(|r| r.start >= join.start && r.end <= until);
        let first = within.filter(is_its).map(|request| request.end).min();
        let due = join.end + SERVED;
        match first {
            Some(first) if first <= due => Ok(Some(first.saturating_sub(join.end))),
            _ if until < due || self.last() < due => Ok(None),
            _ if self.excuses_join(workload).cover(join.start, due) => Ok(None),
            _ => {
                let (bound, at) = (SERVED / 1_000_000, seconds(join.start));
                let why = format!("{workload} joined at {at} and served nothing for {bound} s");
                Err((why, vec![join.id]))
            }
        }
    }

    /// When the history ends.
    fn last(&self) -> Micros {
        self.lists.iter().map(|list| list.end).max().unwrap_or(0)
    }

    /// Who calls a workload's service from its own zone. Callers of other zones reach it through
    /// the ingress of its zone, which does not see requests but connections: those that are open
    /// stay with their instances, so nothing is owed to a new one before a new one is made.
    fn callers(&self, workload: &str) -> Vec<&'static str> {
        let zone = self.topology.zone(workload);
        let here = WORKLOADS.iter().filter(|w| !w.spare && self.topology.zone(w.name) == zone);
        let calls = here.filter(|w| w.calls.iter().any(|(to, _)| *to == service(workload)));
        calls.map(|w| w.name).collect()
    }

    /// A proxy needs its zone's control plane to join, and its callers need the way to it.
    fn excuses_join(&self, workload: &str) -> Excuses {
        let mut path = self.topology.control(workload);
        for caller in self.callers(workload) {
            path = path.and(self.topology.request(caller, service(workload)));
        }
        for called in WORKLOADS.iter().filter(|w| w.name == workload).flat_map(|w| w.calls) {
            path = path.and(self.topology.request(workload, called.0));
        }
        self.topology.excuses(&path, self.faults)
    }

    /// What is wrong after a proxy left, until it joins again.
    fn left(&self, leave: &ChangeOp, until: Micros) -> Option<Wrong> {
        let workload = leave.node.as_str();
        let asked = self.requests.iter().find(|request| {
            let answer = request.outcome.answer();
            let by_it = answer.is_some_and(|answer| answer.instance == workload);
            by_it && request.start > leave.end && request.end < until
        });
        if let Some(request) = asked {
            let why = format!("{workload} had left and answered at {}", seconds(request.start));
            return Some((why, vec![leave.id, request.id]));
        }
        let here = self.topology.control(workload);
        let zone = self.topology.zone(workload).unwrap_or_default();
        let in_zone = self.topology.excuses(&here, self.faults);
        let in_global = self.topology.excuses(&here.and(self.topology.upward(zone)), self.faults);
        // What zones own does not reach globals that they refuse.
        let refused = another_history(self.faults);
        let late = self.lists.iter().find(|list| {
            let of_zone = self.topology.zone(&list.node).is_some();
            let excuses = if of_zone { &in_zone } else { &in_global };
            let names = list.outcome.answer();
            list.start > leave.end + GONE
                && list.end < until
                && names.is_some_and(|names| names.contains(workload))
                && (of_zone || list.end < refused)
                && !excuses.cover(leave.start, list.end)
        })?;
        let why = format!(
            "{workload} left at {} and {} has its Dataplane at {}",
            seconds(leave.end),
            late.node,
            seconds(late.start)
        );
        Some((why, vec![leave.id, late.id]))
    }
}

fn service(workload: &str) -> &'static str {
    WORKLOADS.iter().find(|w| w.name == workload).map_or("", |w| w.service)
}

/// At the end each control plane has the Dataplanes of the proxies that run, and no others.
fn equal(lists: &[ListOp]) -> Verdict {
    let mut wrong: Vec<Wrong> = Vec::new();
    let mut unanswered = Vec::new();
    for list in lists {
        match (&list.call, list.outcome.answer()) {
            (Some(expected), Some(names)) if expected != names => {
                let more: Vec<_> = names.difference(expected).collect();
                let less: Vec<_> = expected.difference(names).collect();
                let node = &list.node;
                let why = format!("{node} has {more:?} that do not run, and lacks {less:?}");
                wrong.push((why, vec![list.id]));
            }
            (Some(_), Some(_)) => {}
            _ => unanswered.push(list.node.as_str()),
        }
    }
    let finding = if let Some((why, operations)) = wrong.first() {
        Finding::Violated { why: why.clone(), operations: operations.clone() }
    } else if lists.is_empty() || !unanswered.is_empty() {
        let why = format!("{} lists; without an answer: {}", lists.len(), unanswered.join(", "));
        Finding::Undecided { why }
    } else {
        Finding::Held
    };
    let figures = vec![("control planes that listed".to_owned(), lists.len().to_string())];
    Verdict { checker: "Dataplanes are the running proxies".to_owned(), finding, figures }
}

#[cfg(test)]
mod tests;
