use serde_json::json;

use super::*;

const SECOND: Micros = 1_000_000;

fn sight(node: &str, at: Micros, answer: serde_json::Value) -> Looked {
    let mut whole = json!({"leader": null, "missing": [], "offline": [], "standing": null});
    whole.as_object_mut().unwrap().extend(answer.as_object().unwrap().clone());
    serde_json::from_value(json!({
        "id": 0, "client": "witness", "node": node, "class": CLASS, "start": at, "end": at,
        "call": null, "outcome": {"is": "done", "answer": whole},
    }))
    .unwrap()
}

/// Three globals led by the first, and the zone `east` that follows them, as seen at the begin.
fn healthy() -> Vec<Looked> {
    let globals = ["global-1", "global-2", "global-3"];
    let mut sights: Vec<Looked> =
        globals.iter().map(|node| sight(node, 0, json!({"leader": "global-1"}))).collect();
    sights.push(sight("east", 0, json!({"standing": "Synced"})));
    sights
}

fn event(fault: Fault, healed: Micros) -> FaultEvent {
    FaultEvent {
        fault,
        installing: SECOND,
        installed: Some(SECOND),
        healing: Some(healed),
        healed: Some(healed),
        failure: None,
        refusal: None,
    }
}

fn names(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

fn signs(event: &FaultEvent, more: Vec<Looked>) -> Vec<Sign> {
    let mut sights = healthy();
    sights.extend(more);
    Nodes::of(&sights).signs(event, &sights)
}

#[test]
fn a_leader_that_dies_is_seen_missing_and_another_is_seen_leading() {
    let killed = event(Fault::Kill { nodes: names(&["global-1"]) }, 9 * SECOND);
    let more = vec![
        // What the dead one said last proves nothing.
        sight("global-1", SECOND + 1, json!({"leader": "global-3"})),
        sight("global-2", 2 * SECOND, json!({"leader": null, "missing": ["global-1"]})),
        sight("global-3", 3 * SECOND, json!({"leader": "global-3", "missing": ["global-1"]})),
    ];
    let expected =
        vec![("shown as not reached", Some(SECOND)), ("another leads", Some(2 * SECOND))];
    assert_eq!(signs(&killed, more), expected);
}

#[test]
fn what_is_seen_after_the_healing_was_not_noticed() {
    let killed = event(Fault::Pause { nodes: names(&["global-2"]) }, 2 * SECOND);
    let more =
        vec![sight("global-1", 3 * SECOND, json!({"leader": "global-1", "missing": ["global-2"]}))];
    assert_eq!(signs(&killed, more), [("shown as not reached", None)]);
}

#[test]
fn without_a_majority_nobody_leads_and_without_globals_a_zone_says_so() {
    let two = event(Fault::PowerCut { nodes: names(&["global-1", "global-3"]) }, 9 * SECOND);
    let more = vec![sight("global-2", 4 * SECOND, json!({"missing": ["global-1", "global-3"]}))];
    let expected =
        vec![("shown as not reached", Some(3 * SECOND)), ("nobody leads", Some(3 * SECOND))];
    assert_eq!(signs(&two, more), expected);
    let all =
        event(Fault::Kill { nodes: names(&["global-1", "global-2", "global-3"]) }, 9 * SECOND);
    let more = vec![sight("east", 2 * SECOND, json!({"standing": "Connecting"}))];
    assert_eq!(signs(&all, more), [("a zone says that it follows nobody", Some(SECOND))]);
}

#[test]
fn a_leader_without_room_is_there_and_leads_no_more() {
    let full = event(Fault::DiskFull { node: "global-1".to_owned() }, 9 * SECOND);
    let more = vec![sight("global-2", 3 * SECOND, json!({"leader": "global-2"}))];
    assert_eq!(signs(&full, more), [("another leads", Some(2 * SECOND))]);
    let follower = event(Fault::DiskFull { node: "global-3".to_owned() }, 9 * SECOND);
    assert_eq!(signs(&follower, Vec::new()), []);
}

#[test]
fn a_zone_that_is_lost_or_cut_off_is_shown_offline() {
    let (east, all) = (names(&["east"]), names(&["global-1", "global-2", "global-3"]));
    let cut = Fault::Partition { left: all, right: east.clone() };
    for fault in [Fault::Kill { nodes: east }, cut] {
        let lost = event(fault, 9 * SECOND);
        let offline = json!({"leader": "global-1", "offline": ["east"]});
        let more = vec![sight("global-3", 6 * SECOND, offline)];
        assert_eq!(signs(&lost, more), [("the zone is shown offline", Some(5 * SECOND))]);
    }
    let one_global = Fault::Partition { left: names(&["global-1"]), right: names(&["east"]) };
    assert_eq!(signs(&event(one_global, 9 * SECOND), Vec::new()), []);
}

#[test]
fn a_refusal_counts_from_the_start_of_those_that_are_refused() {
    let all = names(&["global-1", "global-2", "global-3"]);
    let emptied = event(Fault::Empty { nodes: all }, 5 * SECOND);
    let more = vec![sight("east", 7 * SECOND, json!({"standing": "Fenced"}))];
    assert_eq!(
        signs(&emptied, more),
        [("a zone refuses them, after their start", Some(2 * SECOND))]
    );
}

#[test]
fn figures_say_of_how_many_they_are() {
    assert_eq!(
        words(&[Some(SECOND), None, Some(3 * SECOND)]),
        "2 of 3, middle 3.00 s, longest 3.00 s"
    );
    assert_eq!(words(&[None]), "0 of 1");
}
