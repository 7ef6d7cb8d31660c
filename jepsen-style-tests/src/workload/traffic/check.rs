//! The verdicts on a history of traffic.

use std::path::Path;

use super::operator::{self, DeedOp};
use super::policy::{Kind, Policy};
use super::timeline::Timeline;
use super::{PROGRESS, ProgressOp, names};
use crate::history;
use crate::run::{FaultEvent, Folder, another_history};
use crate::verdict::{Finding, Verdict};
use crate::workload::requests::check::{self, seconds};
use crate::workload::requests::path::Topology;
use crate::workload::requests::{self, RequestOp, Response};

/// Fewer acknowledged changes say nothing.
const ENOUGH: usize = 3;
/// Violations that are named; the rest are counted.
const NAMED: usize = 4;

const FORBIDDEN: u16 = 403;

pub(super) fn check(folder: &Path) -> anyhow::Result<Vec<Verdict>> {
    let folder = Folder::open(folder);
    let path = folder.history();
    let faults = folder.faults()?;
    let topology = Topology::read(&folder)?;
    let requests: Vec<RequestOp> = history::read_classes(&path, &requests::classes())?;
    let deeds: Vec<DeedOp> = history::read_classes(&path, &operator::classes())?;
    let progress: Vec<ProgressOp> = history::read_classes(&path, &[PROGRESS])?;
    let questions: Vec<names::QuestionOp> = history::read_classes(&path, &names::CLASSES)?;
    Ok(vec![
        policies(&requests, &deeds, &progress, &topology, &faults),
        check::verdict(&requests, &topology, &faults, |_, answer| answer.status == FORBIDDEN),
        names::verdict(&questions, &topology, &faults),
    ])
}

/// What the policies say of the requests.
#[derive(Default)]
struct Judged {
    wrong: Vec<(String, Vec<u64>)>,
    let_through: usize,
    denied: usize,
    /// Requests that had to be denied, or to go to some instances only.
    bound: usize,
}

fn policies(
    requests: &[RequestOp],
    deeds: &[DeedOp],
    progress: &[ProgressOp],
    topology: &Topology,
    faults: &[FaultEvent],
) -> Verdict {
    // Another history has other versions: what zones have confirmed can't be told from them. They
    // refuse it, which is the business of other checkers.
    let until = another_history(faults);
    let deeds: Vec<DeedOp> = deeds.iter().filter(|deed| deed.start < until).cloned().collect();
    let progress: Vec<ProgressOp> =
        progress.iter().filter(|word| word.start < until).cloned().collect();
    let before = Kind::ALL.map(Policy::open);
    let timeline =
        |at: usize| Timeline::new(Kind::ALL[at], &before[at], &deeds, &progress, topology);
    let (permissions, routes) = (timeline(0), timeline(1));
    let mut judged = Judged::default();
    let within = requests.iter().filter(|request| request.end < until);
    for request in within {
        let Some(answer) = request.outcome.answer() else { continue };
        match answer.status {
            200 => {
                judged.permission(&permissions, request, answer);
                judged.route(&routes, request, answer, topology);
            }
            FORBIDDEN => judged.denial(&permissions, request, topology),
            _ => {}
        }
    }
    let changes = permissions.changes() + routes.changes();
    judged.verdict(changes)
}

impl Judged {
    /// Nothing gets through that everything that may be in force where it ended denies.
    fn permission(&mut self, permissions: &Timeline<'_>, request: &RequestOp, answer: &Response) {
        self.let_through += 1;
        let service = &request.call.service;
        let in_force = permissions.in_force(&answer.zone, request.start, request.end);
        if !in_force.policies.iter().any(|policy| policy.allows(service)) {
            self.bound += 1;
            let why = format!(
                "{} reached {service} in {} at {}, which {:?} denies",
                request.node,
                answer.zone,
                seconds(request.start),
                in_force.policies
            );
            self.note(why, in_force.because, request);
        }
    }

    /// Nothing is denied that everything that may be in force allows, wherever it ended.
    fn denial(&mut self, permissions: &Timeline<'_>, request: &RequestOp, topology: &Topology) {
        self.denied += 1;
        let service = &request.call.service;
        let mut because = Vec::new();
        for zone in topology.zones_of(service) {
            let in_force = permissions.in_force(zone, request.start, request.end);
            let denied = in_force.policies.iter().filter(|policy| !policy.allows(service)).count();
            if denied == in_force.policies.len() {
                self.bound += 1;
            }
            if denied > 0 {
                return;
            }
            because.extend(in_force.because);
        }
        let why = format!(
            "{} was denied {service} at {}, which nothing that was in force denies",
            request.node,
            seconds(request.start)
        );
        self.note(why, because, request);
    }

    /// No instance answers to which nothing that may be in force at the caller leads.
    fn route(
        &mut self,
        routes: &Timeline<'_>,
        request: &RequestOp,
        answer: &Response,
        topology: &Topology,
    ) {
        let Some(zone) = topology.zone(&request.node).filter(|_| request.call.service == "backend")
        else {
            return;
        };
        let in_force = routes.in_force(zone, request.start, request.end);
        let leads = |policy: &&Policy| policy.leads_to(&answer.version, &answer.zone);
        if !in_force.policies.iter().any(leads) {
            let why = format!(
                "{} was answered by {} in {} at {}, to which {:?} does not lead",
                request.node,
                answer.instance,
                answer.zone,
                seconds(request.start),
                in_force.policies
            );
            self.note(why, in_force.because, request);
        } else if !in_force.policies.contains(&&Policy::Anywhere) {
            self.bound += 1;
        }
    }

    fn note(&mut self, why: String, because: Vec<u64>, request: &RequestOp) {
        let mut operations = because;
        operations.push(request.id);
        operations.dedup();
        self.wrong.push((why, operations));
    }

    fn verdict(self, changes: usize) -> Verdict {
        let finding = match self.wrong.as_slice() {
            [(first, _), ..] => {
                let named = self.wrong.iter().take(NAMED);
                let mut operations: Vec<u64> =
                    named.flat_map(|(_, operations)| operations.iter().copied()).collect();
                operations.sort_unstable();
                operations.dedup();
                let why = format!("{} requests; the first: {first}", self.wrong.len());
                Finding::Violated { why, operations }
            }
            [] if changes < ENOUGH || self.bound == 0 => Finding::Undecided {
                why: format!("{changes} changes bound {} requests", self.bound),
            },
            [] => Finding::Held,
        };
        let figures = vec![
            ("acknowledged changes of policy".to_owned(), changes.to_string()),
            ("requests let through".to_owned(), self.let_through.to_string()),
            ("requests denied".to_owned(), self.denied.to_string()),
            ("requests that a policy bound".to_owned(), self.bound.to_string()),
        ];
        Verdict { checker: "policies hold".to_owned(), finding, figures }
    }
}

#[cfg(test)]
mod tests;
