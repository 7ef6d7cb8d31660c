use std::collections::BTreeMap;

use super::*;
use crate::nemesis::Fault;

/// Operations in the order of their starts; each begins when the one before it has ended.
struct Story(Vec<Op>);

impl Story {
    fn and(mut self, call: Call, outcome: Outcome<Answer>) -> Self {
        let id = self.0.len() as u64;
        let class = call.class().to_owned();
        let (client, node) = ("somebody".to_owned(), "somewhere".to_owned());
        let (start, end) = (id * 1000, id * 1000 + 500);
        self.0.push(Op { id, client, node, class, start, end, call, outcome });
        self
    }

    fn put(self, key: &str, value: u64) -> Self {
        let answer = Answer::Written { version: None };
        self.and(Call::Put { key: key.to_owned(), value }, Outcome::Done { answer })
    }

    fn view(self, version: u64, changed: &[(&str, u64)], missing: &[&str]) -> Self {
        let changed = changed.iter().map(|(key, value)| ((*key).to_owned(), *value)).collect();
        let missing = missing.iter().map(|key| (*key).to_owned()).collect();
        let answer = Answer::Viewed { version, changed, missing };
        self.and(Call::View { zone: "east".to_owned() }, Outcome::Done { answer })
    }

    fn delete(self, key: &str, outcome: Outcome<Answer>) -> Self {
        self.and(Call::Delete { key: key.to_owned() }, outcome)
    }
}

fn refused() -> Outcome<Answer> {
    Outcome::Refused { why: "503 no leader".to_owned() }
}

fn unknown() -> Outcome<Answer> {
    Outcome::Unknown { why: "504".to_owned() }
}

/// Enough for a decision: writes that the zone shows one after the other.
fn story() -> Story {
    (1..=20).fold(Story(Vec::new()), |story, value| {
        story.put("a", value).view(value, &[("a", value)], &[])
    })
}

#[test]
fn what_zones_may_show_holds() {
    let held = [
        story().view(21, &[], &[]),
        // Versions in between may be skipped.
        story().put("a", 21).put("a", 22).view(21, &[("a", 22)], &[]),
        story().delete("a", Outcome::Done { answer: Answer::Written { version: None } }).view(
            21,
            &[],
            &["a"],
        ),
        story().delete("a", unknown()).view(21, &[], &["a"]),
        story().and(Call::Put { key: "a".to_owned(), value: 21 }, unknown()).view(
            21,
            &[("a", 21)],
            &[],
        ),
    ];
    for (number, story) in held.iter().enumerate() {
        assert_eq!(views(&story.0).finding, Finding::Held, "story {number}");
    }
}

#[test]
fn what_zones_may_not_show_is_found_with_its_operations() {
    let wrong: [(&str, Story, &[u64]); 6] = [
        ("gone, and nobody had deleted it", story().view(21, &[], &["a"]), &[39, 40]),
        (
            "gone, and nobody had deleted it",
            story().delete("a", refused()).view(21, &[], &["a"]),
            &[39, 41],
        ),
        ("goes back from 20 to 19", story().view(21, &[("a", 19)], &[]), &[36, 39, 40]),
        ("goes back from version 20 to 3", story().view(3, &[], &[]), &[39, 40]),
        ("which nobody had written", story().view(21, &[("b", 1)], &[]), &[40]),
        (
            "was gone, and is there again",
            story().delete("a", unknown()).view(21, &[], &["a"]).view(22, &[("a", 20)], &[]),
            &[38, 41, 42],
        ),
    ];
    for (says, story, ids) in wrong {
        match views(&story.0).finding {
            Finding::Violated { why, operations } => {
                assert!(why.contains(says) && why.starts_with("east: "), "{why}");
                assert_eq!(operations, ids, "{why}");
            }
            other => panic!("{says}: {other:?}"),
        }
    }
    let refused = story().and(Call::Put { key: "a".to_owned(), value: 21 }, refused()).view(
        21,
        &[("a", 21)],
        &[],
    );
    assert!(
        matches!(views(&refused.0).finding, Finding::Violated { why, .. } if why.contains("refused"))
    );
    let little = Story(Vec::new()).put("a", 1).view(1, &[("a", 1)], &[]);
    assert!(matches!(views(&little.0).finding, Finding::Undecided { .. }));
}

fn compared(differences: &[&str]) -> Op {
    let differences = differences.iter().map(|text| (*text).to_owned()).collect();
    let answer = Answer::Compared { resources: 3, differences };
    let call = Call::Compare { zone: "east".to_owned() };
    Story(Vec::new()).and(call, Outcome::Done { answer }).0.remove(0)
}

#[test]
fn zones_that_differ_in_the_end_are_found() {
    assert_eq!(equal(&[compared(&[]), compared(&[])]).finding, Finding::Held);
    for ops in [
        [compared(&["a: the global has 1, the zone 2"]), compared(&[])],
        [compared(&[]), compared(&["a: the global has 1, the zone 2"])],
    ] {
        assert!(matches!(equal(&ops).finding, Finding::Violated { .. }));
    }
    assert!(matches!(equal(&[]).finding, Finding::Undecided { .. }));
}

#[test]
fn a_fence_needs_globals_that_lost_something() {
    let nodes = vec!["global-1".to_owned()];
    let event = |fault| FaultEvent {
        fault,
        installing: 0,
        installed: Some(1),
        healing: None,
        healed: None,
        failure: None,
        refusal: None,
    };
    let (lost, killed) =
        (event(Fault::Rollback { nodes: nodes.clone() }), event(Fault::Kill { nodes }));
    let call = Call::Adopt { zone: "east".to_owned(), reason: "rolled back".to_owned() };
    let adopted = Outcome::Done { answer: Answer::Adopted };
    let done = Story(Vec::new()).and(call.clone(), adopted).0;
    let not = Story(Vec::new()).and(call, refused()).0;
    assert_eq!(fences(&done, std::slice::from_ref(&lost)).finding, Finding::Held);
    assert_eq!(fences(&[], std::slice::from_ref(&lost)).finding, Finding::Held);
    assert!(matches!(fences(&done, &[killed]).finding, Finding::Violated { .. }));
    assert!(matches!(fences(&not, &[lost]).finding, Finding::Violated { .. }));
}

/// What is written into a history is read back as it was.
#[test]
fn operations_are_written_and_read() {
    let changed = BTreeMap::from([("a".to_owned(), 1)]);
    let answer = Answer::Viewed { version: 7, changed, missing: vec!["b".to_owned()] };
    let call = Call::View { zone: "east".to_owned() };
    let op = Story(Vec::new()).and(call, Outcome::Done { answer }).0.remove(0);
    let text = serde_json::to_string(&op).expect("JSON");
    assert_eq!(serde_json::from_str::<Op>(&text).expect("an operation"), op);
}
