//! No request fails because of a control plane.

use std::collections::BTreeMap;

use super::path::{Excuses, Topology};
use super::{RequestOp, Response};
use crate::history::Outcome;
use crate::run::FaultEvent;
use crate::verdict::{Finding, Verdict};

/// Fewer say nothing.
const ENOUGH: usize = 100;

/// Violations that are named; the rest are counted.
const NAMED: usize = 10;

/// Judges requests. What a status other than 200 means, `is_answer` says: a refusal by a policy
/// is an answer.
pub(crate) fn verdict(
    requests: &[RequestOp],
    topology: &Topology,
    faults: &[FaultEvent],
    is_answer: impl Fn(&RequestOp, &Response) -> bool,
) -> Verdict {
    let mut excuses: BTreeMap<(&str, &str), Excuses> = BTreeMap::new();
    let (mut failed, mut excused) = (Vec::new(), 0);
    for request in requests {
        let Some(why) = failure(request, &is_answer) else { continue };
        let pair = (request.node.as_str(), request.call.service.as_str());
        let excuses = excuses
            .entry(pair)
            .or_insert_with(|| topology.excuses(&topology.request(pair.0, pair.1), faults));
        if excuses.cover(request.start, request.end) {
            excused += 1;
        } else {
            failed.push((request, why));
        }
    }
    let finding = match failed.as_slice() {
        [] if requests.len() < ENOUGH => {
            Finding::Undecided { why: format!("only {} requests", requests.len()) }
        }
        [] => Finding::Held,
        [(first, why), ..] => {
            let (from, to, count) = (&first.node, &first.call.service, failed.len());
            Finding::Violated {
                why: format!(
                    "{count} requests failed while no fault touched their path; the first from \
                     {from} to {to} at {}: {why}",
                    seconds(first.start)
                ),
                operations: failed.iter().map(|(op, _)| op.id).take(NAMED).collect(),
            }
        }
    };
    let figures = vec![
        ("requests".to_owned(), requests.len().to_string()),
        ("failed".to_owned(), failed.len().to_string()),
        ("failed while a fault touched their path".to_owned(), excused.to_string()),
    ];
    Verdict { checker: "no request fails".to_owned(), finding, figures }
}

fn failure(
    request: &RequestOp,
    is_answer: &impl Fn(&RequestOp, &Response) -> bool,
) -> Option<String> {
    match &request.outcome {
        Outcome::Done { answer } if answer.status == 200 || is_answer(request, answer) => None,
        Outcome::Done { answer } => Some(format!("status {}", answer.status)),
        Outcome::Refused { why } | Outcome::Unknown { why } => Some(why.clone()),
    }
}

/// For a reader.
pub(crate) fn seconds(micros: u64) -> String {
    format!("{}.{:03} s", micros / 1_000_000, micros % 1_000_000 / 1000)
}

#[cfg(test)]
mod tests {
    use super::super::path::tests::{both_zones, kill, partition, request};
    use super::*;

    fn judged(requests: &[RequestOp], faults: &[FaultEvent]) -> Finding {
        verdict(requests, &both_zones(), faults, |_, answer| answer.status == 403).finding
    }

    /// Enough good ones, and these.
    fn with(more: Vec<RequestOp>) -> Vec<RequestOp> {
        let good = (0..120).map(|n| request(n, "web", "billing", n * 100_000, 200));
        good.chain(more).collect()
    }

    fn violates(finding: &Finding, ids: &[u64]) -> bool {
        matches!(finding, Finding::Violated { operations, .. } if operations == ids)
    }

    #[test]
    fn good_answers_and_refusals_by_a_policy_hold_and_few_say_nothing() {
        let denied = request(900, "web", "billing", 5_000_000, 403);
        assert_eq!(judged(&with(vec![denied]), &[]), Finding::Held);
        let one = vec![request(0, "web", "billing", 0, 200)];
        assert!(matches!(judged(&one, &[]), Finding::Undecided { .. }));
    }

    #[test]
    fn a_failed_request_is_a_violation_that_names_it() {
        let failed = request(900, "web", "billing", 5_000_000, 503);
        assert!(violates(&judged(&with(vec![failed]), &[]), &[900]));
        let mut reset = request(901, "web", "billing", 5_000_000, 200);
        reset.outcome = Outcome::Unknown { why: "connection reset".to_owned() };
        assert!(violates(&judged(&with(vec![reset]), &[]), &[901]));
    }

    #[test]
    fn only_a_fault_of_its_own_path_excuses_it() {
        let failed = || with(vec![request(900, "web", "billing", 5_000_000, 503)]);
        for node in ["web", "west-ingress", "billing"] {
            assert_eq!(judged(&failed(), &[kill(&[node], 4, 6)]), Finding::Held, "{node}");
        }
        for node in ["global-1", "east", "west", "east-ingress", "backend-v1"] {
            assert!(violates(&judged(&failed(), &[kill(&[node], 4, 6)]), &[900]), "{node}");
        }
        let between = partition(&["web", "east-ingress"], &["billing", "west-ingress"], 4, 6);
        assert_eq!(judged(&failed(), &[between]), Finding::Held);
        let from_global = partition(&["west"], &["global-1", "global-2", "global-3"], 4, 6);
        assert!(violates(&judged(&failed(), &[from_global]), &[900]));
    }

    #[test]
    fn what_fails_after_the_slack_or_before_the_fault_is_not_excused() {
        let at = |second: u64| with(vec![request(900, "web", "billing", second * 1_000_000, 503)]);
        let fault = [kill(&["billing"], 4, 6)];
        assert!(violates(&judged(&at(3), &fault), &[900]));
        assert_eq!(judged(&at(15), &fault), Finding::Held);
        assert!(violates(&judged(&at(17), &fault), &[900]));
    }

    #[test]
    fn a_killed_proxy_is_back_once_its_control_plane_is() {
        let at = |second: u64| with(vec![request(900, "web", "billing", second * 1_000_000, 503)]);
        let faults = [kill(&["billing"], 4, 6), kill(&["west"], 5, 20)];
        assert_eq!(judged(&at(29), &faults), Finding::Held);
        assert!(violates(&judged(&at(31), &faults), &[900]));
    }
}
