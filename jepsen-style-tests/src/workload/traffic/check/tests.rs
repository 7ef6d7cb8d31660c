//! Hand-made histories: the policies that hold, and one violation of each kind.

use std::collections::BTreeMap;

use serde_json::Value;

use super::super::operator::{Deed, Standing};
use super::*;
use crate::history::{Operation, Outcome};
use crate::nemesis::Fault;
use crate::workload::requests::ZoneProgress;
use crate::workload::requests::path::tests::{both_zones, event, request};

const SECOND: u64 = 1_000_000;

/// The operator's; takes half a second.
fn deed(id: u64, start: u64, call: Deed, outcome: Outcome<Standing>) -> DeedOp {
    Operation {
        id,
        client: "operator".to_owned(),
        node: "global-1".to_owned(),
        class: "permission".to_owned(),
        start: start * SECOND,
        end: start * SECOND + SECOND / 2,
        call,
        outcome,
    }
}

fn change(id: u64, start: u64, number: u64, policy: Policy) -> DeedOp {
    let standing = Standing { number, version: id };
    deed(id, start, Deed::Change { number, policy }, Outcome::Done { answer: standing })
}

fn unknown(mut deed: DeedOp) -> DeedOp {
    deed.outcome = Outcome::Unknown { why: "no answer".to_owned() };
    deed
}

fn only(service: &str) -> Policy {
    Policy::AllowOnly { service: service.to_owned() }
}

/// Both zones have confirmed a version, with all proxies.
fn word(id: u64, at: u64, version: u64, zones: &[&str]) -> ProgressOp {
    let progress = ZoneProgress { version, proxies: 3 };
    let answer: BTreeMap<_, _> = zones.iter().map(|&zone| (zone.to_owned(), progress)).collect();
    Operation {
        id,
        client: "progress".to_owned(),
        node: "east".to_owned(),
        class: PROGRESS.to_owned(),
        start: at * SECOND,
        end: at * SECOND,
        call: Value::Null,
        outcome: Outcome::Done { answer },
    }
}

fn at(id: u64, second: u64, service: &str, status: u16) -> RequestOp {
    request(id, "web", service, second * SECOND, status)
}

fn judged(requests: &[RequestOp], deeds: &[DeedOp], words: &[ProgressOp]) -> Finding {
    policies(requests, deeds, words, &both_zones(), &[]).finding
}

const BOTH: &[&str] = &["east", "west"];

/// Three changes of the permission at 1, 5 and 9 s; both zones confirm each two seconds later.
fn three() -> (Vec<DeedOp>, Vec<ProgressOp>) {
    let deeds = vec![
        change(100, 1, 1, only("backend")),
        change(101, 5, 2, Policy::AllowAll),
        change(102, 9, 3, only("backend")),
    ];
    let words = vec![word(200, 3, 100, BOTH), word(201, 7, 101, BOTH), word(202, 11, 102, BOTH)];
    (deeds, words)
}

fn operations(finding: Finding) -> Vec<u64> {
    match finding {
        Finding::Violated { operations, .. } => operations,
        other => panic!("{other:?}"),
    }
}

#[test]
fn what_was_confirmed_binds_and_what_is_under_way_binds_nothing() {
    let (deeds, words) = three();
    let requests = [
        at(0, 0, "billing", 200),
        // Either is right between the change and its confirmation.
        at(1, 2, "billing", 200),
        at(2, 2, "billing", 403),
        at(3, 4, "billing", 403),
        at(4, 4, "backend", 200),
        at(5, 6, "billing", 403),
        at(6, 8, "billing", 200),
        at(7, 12, "billing", 403),
    ];
    assert_eq!(judged(&requests, &deeds, &words), Finding::Held);
    assert!(matches!(judged(&requests[..1], &deeds[..1], &words), Finding::Undecided { .. }));
}

#[test]
fn what_a_confirmed_policy_denies_does_not_get_through() {
    let (deeds, words) = three();
    let found = judged(&[at(9, 4, "billing", 200)], &deeds, &words);
    assert_eq!(operations(found), [9, 100, 200]);
}

#[test]
fn what_every_policy_allows_is_not_denied() {
    let (deeds, words) = three();
    let found = judged(&[at(9, 8, "billing", 403)], &deeds, &words);
    assert_eq!(operations(found), [9, 101, 201]);
    let never_denied = judged(&[at(9, 4, "backend", 403)], &deeds, &words);
    assert_eq!(operations(never_denied), [9, 100, 200]);
}

#[test]
fn a_zone_that_confirmed_nothing_is_frozen_in_policy() {
    let (deeds, mut words) = three();
    words.retain(|word| word.id == 201);
    words.push(word(203, 11, 102, &["east"]));
    // billing is in the west, which goes on to allow it.
    let requests = [at(9, 12, "billing", 200), at(10, 12, "billing", 403)];
    let found = judged(&requests, &deeds, &words);
    assert!(matches!(found, Finding::Undecided { .. }), "nothing was bound: {found:?}");
}

#[test]
fn a_zone_with_a_proxy_away_does_not_speak_for_it() {
    let (deeds, mut words) = three();
    let Outcome::Done { answer } = &mut words[2].outcome else { panic!() };
    answer.get_mut("west").unwrap().proxies = 2;
    let requests = [at(9, 12, "billing", 200), at(10, 4, "billing", 403)];
    assert_eq!(judged(&requests, &deeds, &words), Finding::Held);
}

#[test]
fn a_change_of_unknown_fate_may_be_in_force_unless_the_next_replaced_what_was_before_it() {
    let (mut deeds, words) = three();
    deeds[2] = unknown(deeds[2].clone());
    deeds.push(change(103, 0, 4, Policy::AllowAll));
    let may = [at(0, 12, "billing", 403), at(1, 12, "billing", 200), at(2, 4, "billing", 403)];
    assert_eq!(judged(&may, &deeds, &words), Finding::Held);
    let (mut deeds, words) = three();
    deeds[0] = unknown(deeds[0].clone());
    let never_came = judged(&[at(9, 4, "billing", 403)], &deeds, &words);
    assert_eq!(operations(never_came), [9, 200]);
}

#[test]
fn a_look_tells_that_a_change_of_unknown_fate_came() {
    let (mut deeds, words) = three();
    deeds[0] = unknown(deeds[0].clone());
    let standing = Standing { number: 1, version: 100 };
    let look = Deed::Look { kind: Kind::Permission };
    deeds.push(deed(104, 2, look, Outcome::Done { answer: standing }));
    let found = judged(&[at(9, 4, "billing", 200)], &deeds, &words);
    assert_eq!(operations(found), [9, 100, 200]);
}

#[test]
fn no_instance_answers_to_which_no_route_leads() {
    let deeds = vec![
        change(100, 1, 1, Policy::ByVersion { v1: 100 }),
        change(101, 5, 2, Policy::ToZone { zone: "west".to_owned() }),
        change(102, 9, 3, Policy::ByVersion { v1: 30 }),
    ];
    let words = vec![word(200, 3, 100, BOTH), word(201, 7, 101, BOTH), word(202, 11, 102, BOTH)];
    // All are answered by v2 in the west.
    let right = [at(0, 2, "backend", 200), at(1, 8, "backend", 200), at(2, 12, "backend", 200)];
    assert_eq!(judged(&right, &deeds, &words), Finding::Held);
    let found = judged(&[at(9, 4, "backend", 200)], &deeds, &words);
    assert_eq!(operations(found), [9, 100, 200]);
}

#[test]
fn nothing_is_said_of_policies_once_the_globals_have_another_history() {
    let (deeds, words) = three();
    let wrong = [at(9, 4, "billing", 200)];
    let empty = |from| event(Fault::Empty { nodes: vec!["global-1".to_owned()] }, from, from + 1);
    let found = |from| policies(&wrong, &deeds, &words, &both_zones(), &[empty(from)]).finding;
    assert!(matches!(found(3), Finding::Undecided { .. }));
    assert!(matches!(found(6), Finding::Violated { .. }));
}

/// Versions begin anew: a change of then is not taken for one that was long confirmed.
#[test]
fn what_was_changed_in_another_history_was_not_in_force_before() {
    let (mut deeds, mut words) = three();
    words.insert(0, word(199, 0, 99, BOTH));
    deeds.push(change(50, 20, 4, only("backend")));
    let right = [at(9, 8, "billing", 200)];
    let emptied = event(Fault::Empty { nodes: vec!["global-1".to_owned()] }, 15, 16);
    let found = policies(&right, &deeds, &words, &both_zones(), &[emptied]).finding;
    assert!(!matches!(found, Finding::Violated { .. }), "{found:?}");
}
