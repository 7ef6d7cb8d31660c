//! Hand-made histories: what holds, and one violation of each rule.

use std::collections::BTreeSet;

use serde_json::Value;

use super::*;
use crate::history::{Operation, Outcome};
use crate::nemesis::Fault;
use crate::workload::requests::path::tests::{both_zones, event, kill, request};

const SECOND: Micros = 1_000_000;

fn operation<C, A>(id: u64, node: &str, at: (u64, u64), call: C, answer: A) -> Operation<C, A> {
    Operation {
        id,
        client: node.to_owned(),
        node: node.to_owned(),
        class: String::new(),
        start: at.0 * SECOND,
        end: at.1 * SECOND,
        call,
        outcome: Outcome::Done { answer },
    }
}

fn join(id: u64, workload: &str, second: u64) -> ChangeOp {
    operation(id, workload, (second, second + 1), true, Value::Null)
}

fn leave(id: u64, workload: &str, second: u64) -> ChangeOp {
    operation(id, workload, (second, second + 1), false, Value::Null)
}

fn names(names: &[&str]) -> BTreeSet<String> {
    names.iter().map(|&name| name.to_owned()).collect()
}

fn list(id: u64, node: &str, second: u64, listed: &[&str]) -> ListOp {
    operation(id, node, (second, second), None, names(listed))
}

fn answered_by(id: u64, instance: &str, second: u64) -> RequestOp {
    let mut op = request(id, "web", "backend", second * SECOND, 200);
    if let Outcome::Done { answer } = &mut op.outcome {
        answer.instance = instance.to_owned();
    }
    op
}

/// backend-v1-2 joins at 1 s, is asked at 4 s, leaves at 20 s and joins again at 60 s; and these.
fn judged(requests: Vec<RequestOp>, lists: Vec<ListOp>, faults: &[FaultEvent]) -> Finding {
    let changes = [
        join(100, "backend-v1-2", 1),
        leave(101, "backend-v1-2", 20),
        join(102, "backend-v1-2", 60),
    ];
    let topology = both_zones();
    let end = list(999, "west", 100, &[]);
    let (requests, lists) = (requests, lists.into_iter().chain([end]).collect::<Vec<_>>());
    let seen = Seen { requests: &requests, lists: &lists, topology: &topology, faults };
    seen.verdict(&changes).finding
}

/// What makes both joins good.
fn asked() -> Vec<RequestOp> {
    vec![answered_by(1, "backend-v1-2", 4), answered_by(2, "backend-v1-2", 62)]
}

fn violates(finding: &Finding, ids: &[u64]) -> bool {
    matches!(finding, Finding::Violated { operations, .. } if operations == ids)
}

#[test]
fn who_joins_is_asked_and_who_leaves_is_gone() {
    let lists =
        vec![list(200, "east", 10, &["backend-v1-2"]), list(201, "east", 40, &["backend-v1"])];
    assert_eq!(judged(asked(), lists, &[]), Finding::Held);
}

#[test]
fn a_joined_proxy_that_is_not_asked_in_time_is_a_violation() {
    let late = vec![answered_by(1, "backend-v1-2", 18), answered_by(2, "backend-v1-2", 62)];
    assert!(violates(&judged(late.clone(), vec![], &[]), &[100]));
    // With the globals down all the same; with its own control plane down it is excused.
    let globals = [kill(&["global-1", "global-2", "global-3"], 0, 15)];
    assert!(violates(&judged(late.clone(), vec![], &globals), &[100]));
    assert_eq!(judged(late, vec![], &[kill(&["east"], 0, 5)]), Finding::Held);
}

#[test]
fn a_proxy_that_left_answers_nothing() {
    let mut requests = asked();
    requests.push(answered_by(3, "backend-v1-2", 30));
    assert!(violates(&judged(requests, vec![], &[]), &[101, 3]));
}

#[test]
fn the_dataplane_of_a_proxy_that_left_goes() {
    let zone = || vec![list(200, "east", 30, &["backend-v1", "backend-v1-2"])];
    assert!(violates(&judged(asked(), zone(), &[]), &[101, 200]));
    assert!(violates(&judged(asked(), zone(), &[kill(&["global-1"], 22, 25)]), &[101, 200]));
    assert_eq!(judged(asked(), zone(), &[kill(&["east"], 20, 25)]), Finding::Held);
    let global = || vec![list(200, "global-1", 30, &["backend-v1", "backend-v1-2"])];
    assert!(violates(&judged(asked(), global(), &[]), &[101, 200]));
    assert_eq!(judged(asked(), global(), &[kill(&["global-1"], 22, 25)]), Finding::Held);
    // Zones refuse globals that lost something, and go on among themselves.
    let all = ["global-1", "global-2", "global-3"].map(str::to_owned).to_vec();
    let rolled_back = [event(Fault::Rollback { nodes: all }, 5, 6)];
    assert_eq!(judged(asked(), global(), &rolled_back), Finding::Held);
    assert!(violates(&judged(asked(), zone(), &rolled_back), &[101, 200]));
    let soon = vec![list(200, "east", 24, &["backend-v1-2"])];
    assert_eq!(judged(asked(), soon, &[]), Finding::Held);
}

#[test]
fn at_the_end_every_control_plane_has_the_running_proxies() {
    let at_end = |id, node, listed: &[&str]| {
        operation(id, node, (1, 1), Some(names(&["web", "backend-v1"])), names(listed))
    };
    let right = at_end(1, "east", &["web", "backend-v1"]);
    assert_eq!(equal(std::slice::from_ref(&right)).finding, Finding::Held);
    for wrong in [&["web"][..], &["web", "backend-v1", "web-2"]] {
        let lists = [right.clone(), at_end(2, "global-1", wrong)];
        assert!(violates(&equal(&lists).finding, &[2]), "{wrong:?}");
    }
    let mut silent = right;
    silent.outcome = Outcome::Refused { why: "no answer".to_owned() };
    assert!(matches!(equal(&[silent]).finding, Finding::Undecided { .. }));
    assert!(matches!(equal(&[]).finding, Finding::Undecided { .. }));
}

#[test]
fn who_is_called_from_another_zone_only_is_owed_answers_to_its_own_calls() {
    let topology = both_zones();
    let (changes, lists) = ([join(100, "billing-2", 1)], [list(999, "west", 100, &[])]);
    let found = |requests: &[RequestOp]| {
        let seen = Seen { requests, lists: &lists, topology: &topology, faults: &[] };
        seen.verdict(&changes).finding
    };
    let own = request(1, "billing-2", "backend", 4 * SECOND, 200);
    assert!(matches!(found(&[own]), Finding::Undecided { .. }), "nobody left");
    assert!(violates(&found(&[request(1, "web", "billing", 4 * SECOND, 200)]), &[100]));
}
