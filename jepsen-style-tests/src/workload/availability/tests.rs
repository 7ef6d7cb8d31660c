use serde_json::Value;

use super::*;

const GLOBALS: [&str; 3] = ["global-1", "global-2", "global-3"];

fn names(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

fn op(node: &str, end: Micros, done: bool) -> Operation {
    let outcome = match done {
        true => Outcome::Done { answer: Value::Null },
        false => Outcome::Refused { why: String::new() },
    };
    Operation {
        id: end,
        client: node.to_owned(),
        node: node.to_owned(),
        class: "write".to_owned(),
        start: end.saturating_sub(1000),
        end,
        call: Value::Null,
        outcome,
    }
}

fn event(fault: Fault, installing: Micros, healed: Micros) -> FaultEvent {
    FaultEvent {
        fault,
        installing,
        installed: Some(installing),
        healing: Some(healed),
        healed: Some(healed),
        failure: None,
        refusal: None,
    }
}

/// Every global serves every 100 ms, but for `without` at the node given.
fn serving(without: &[(&str, Micros, Micros)]) -> Vec<Operation> {
    let mut ops = Vec::new();
    for at in (100_000..20_000_000).step_by(100_000) {
        for node in GLOBALS {
            let missing = without.iter().any(|(n, from, to)| *n == node && *from < at && at < *to);
            ops.push(op(node, at, !missing));
        }
    }
    ops
}

#[test]
fn a_client_that_hangs_hides_nothing_and_its_node_does_not_count() {
    let pause = Fault::Pause { nodes: names(&["global-1"]) };
    let faults = [event(pause, 5_000_000, 12_000_000)];
    let at_1 = ("global-1", 5_000_000, 12_000_000);
    let others = [at_1, ("global-2", 5_000_000, 6_500_000), ("global-3", 5_000_000, 7_000_000)];
    let gaps = gaps(&serving(&others), &faults);
    let longest = gaps.iter().max_by_key(|gap| gap.length()).unwrap();
    assert_eq!(longest.length(), 1_500_000, "{longest}");
    assert_eq!(longest.cause, "after pause");
}

#[test]
fn without_a_majority_nothing_is_measured() {
    let kill = Fault::Kill { nodes: names(&["global-1", "global-2"]) };
    let faults = [event(kill, 5_000_000, 12_000_000)];
    // Their start takes 800 ms, which is not the time of those who serve.
    let dead = GLOBALS.map(|node| (node, 5_000_000, 12_800_000));
    let longest = |ops: &[Operation]| gaps(ops, &faults).iter().map(Gap::length).max();
    assert_eq!(longest(&serving(&dead)), Some(100_000));
    // But if they never serve, that is one.
    let forever = GLOBALS.map(|node| (node, 5_000_000, 20_000_000));
    assert_eq!(longest(&serving(&forever)), Some(19_900_000 - 17_000_000));
}

#[test]
fn who_is_in_a_majority() {
    let partition =
        |left: &[&str], right: &[&str]| Fault::Partition { left: names(left), right: names(right) };
    let healthy = |faults: &[Fault]| {
        let events: Vec<_> = faults.iter().map(|fault| event(fault.clone(), 0, 9)).collect();
        let effects: Vec<_> = events.iter().flat_map(|event| Effect::of(event, &[])).collect();
        let healthy = healthy(&GLOBALS, effects.iter().map(|effect| &effect.does));
        healthy.map(|set| set.into_iter().collect::<Vec<_>>())
    };
    assert_eq!(healthy(&[]).unwrap(), GLOBALS);
    let alone = partition(&["global-1"], &["global-2", "global-3", "east"]);
    assert_eq!(healthy(std::slice::from_ref(&alone)).unwrap(), GLOBALS[1..]);
    let kill = Fault::Kill { nodes: names(&["global-2"]) };
    assert_eq!(healthy(&[alone, kill.clone()]), None);
    assert_eq!(healthy(&[kill]).unwrap(), ["global-1", "global-3"]);
    // Each of two majorities may serve.
    assert_eq!(healthy(&[partition(&["global-1"], &["global-2"])]).unwrap(), GLOBALS);
    let zone = Fault::Lossy { left: names(&["east"]), right: names(&GLOBALS), percent: 10 };
    assert_eq!(healthy(&[zone]).unwrap(), GLOBALS);
    let slow = Fault::Lossy { left: names(&GLOBALS), right: names(&GLOBALS), percent: 10 };
    assert_eq!(healthy(&[slow]), None);
}

/// A run in which nothing was written for 15 s, on a machine with this load.
fn judged(load: f64) -> Finding {
    let parent = tempfile::tempdir().unwrap();
    let folder = Folder::create(&parent.path().join("run")).unwrap();
    folder.write_faults(&[]).unwrap();
    let silent = GLOBALS.map(|node| (node, 3_000_000, 18_000_000));
    let mut ops = serving(&silent);
    let mut looked = op("all", 20_000_000, true);
    looked.class = "load".to_owned();
    looked.outcome = Outcome::Done { answer: serde_json::json!({"load": load, "cores": 2}) };
    ops.push(looked);
    let lines = ops.iter().map(|op| serde_json::to_string(op).unwrap() + "\n");
    std::fs::write(folder.history(), lines.collect::<String>()).unwrap();
    verdict(&folder, &[("write", &["write"])]).unwrap().finding
}

#[test]
fn a_long_silence_is_a_violation_but_on_an_overloaded_machine() {
    assert!(matches!(judged(5.0), Finding::Violated { .. }), "{:?}", judged(5.0));
    assert!(matches!(judged(23.0), Finding::Undecided { .. }), "{:?}", judged(23.0));
}
