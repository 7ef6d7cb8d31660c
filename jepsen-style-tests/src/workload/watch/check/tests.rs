use super::super::{Call, Edit, Told};
use super::*;
use crate::history::Outcome;

/// A history by hand.
#[derive(Default)]
struct Story(Vec<Op>);

fn edit(key: &str, value: Option<&str>, previous: Option<(&str, u64)>) -> Edit {
    let operation = match (value, previous) {
        (None, _) => "deleted",
        (_, None) => "created",
        _ => "updated",
    };
    Edit {
        key: key.to_owned(),
        operation: operation.to_owned(),
        value: value.map(str::to_owned),
        previous: previous.map(|(value, _)| value.to_owned()),
        previous_version: previous.map(|(_, version)| version),
    }
}

fn change(version: u64, edits: Vec<Edit>) -> Told {
    Told::Change { version, at: 0, edits }
}

fn put(key: &str, value: &str) -> Call {
    Call::Put { key: key.to_owned(), value: value.to_owned() }
}

/// `a` is 1 at version 5, 2 at version 7, and gone at version 9.
fn a() -> [Told; 3] {
    [
        change(5, vec![edit("a", Some("1"), None)]),
        change(7, vec![edit("a", Some("2"), Some(("1", 5)))]),
        change(9, vec![edit("a", None, Some(("2", 7)))]),
    ]
}

impl Story {
    /// Each after the one before.
    fn with(mut self, client: &str, call: Call, outcome: Outcome<Answer>) -> Self {
        let id = self.0.len() as u64;
        let (client, node, class) = (client.to_owned(), "global-1".to_owned(), "any".to_owned());
        let (start, end) = (10 * id, 10 * id + 5);
        self.0.push(Op { id, client, node, class, start, end, call, outcome });
        self
    }

    fn wrote(self, call: Call, version: u64) -> Self {
        self.with("w", call, Outcome::Done { answer: Answer::Written { version } })
    }

    fn told(self, watch: &str, from: u64, events: Vec<Told>) -> Self {
        let answer = Answer::Told { events, ended: None };
        self.with(watch, Call::Watch { from }, Outcome::Done { answer })
    }

    /// What the writes of [`a`] were told.
    fn of_a() -> Self {
        let gone = Call::Delete { key: "a".to_owned() };
        Self::default().wrote(put("a", "1"), 5).wrote(put("a", "2"), 7).wrote(gone, 9)
    }

    /// The checkers that find a violation, each with the operations that it shows.
    fn violated(&self) -> Vec<(String, Vec<u64>)> {
        let found = judged(&self.0).into_iter().filter_map(|verdict| match verdict.finding {
            Finding::Violated { operations, .. } => Some((verdict.checker, operations)),
            _ => None,
        });
        found.collect()
    }
}

fn found(checker: &str, operations: &[u64]) -> Vec<(String, Vec<u64>)> {
    vec![(checker.to_owned(), operations.to_vec())]
}

const ORDER: &str = "in order, once, nothing left out";

#[test]
fn what_a_watch_may_be_told_holds() {
    let [first, second, third] = a();
    let unknown = Outcome::Unknown { why: "504".to_owned() };
    let story = Story::of_a()
        .with("w", put("b", "9"), unknown)
        .told("one", 2, vec![first, Told::Progress { version: 6 }])
        .with("one", Call::Watch { from: 6 }, Outcome::Refused { why: "down".to_owned() })
        .told("one", 6, vec![second.clone(), third.clone()])
        .told("one", 9, vec![change(11, vec![edit("b", Some("9"), None)])])
        // Begins later, and misses what is no longer kept.
        .told("two", 5, vec![second, Told::Compacted { version: 9 }])
        .told("two", 9, vec![change(11, vec![edit("b", Some("9"), None)])])
        .with("h", Call::List, {
            let values = [("b".to_owned(), "9".to_owned())].into();
            Outcome::Done { answer: Answer::Listed { version: 11, values } }
        });
    assert_eq!(story.violated(), []);
    assert!(matches!(judged(&story.0)[0].finding, Finding::Undecided { .. }), "so few");
}

#[test]
fn a_version_that_is_left_out_repeated_or_out_of_order_is_found() {
    let [first, second, third] = a();
    let skips = Story::of_a().told("one", 2, vec![first.clone(), Told::Progress { version: 8 }]);
    assert_eq!(skips.violated(), found(ORDER, &[1, 3]));
    let repeats = Story::of_a().told("one", 2, vec![first.clone(), second.clone()]);
    let repeats = repeats.told("one", 7, vec![second.clone(), third.clone()]);
    assert_eq!(repeats.violated()[0], found(ORDER, &[3, 4])[0]);
    let out_of_order = Story::of_a().told("one", 2, vec![second.clone(), first.clone()]);
    assert_eq!(out_of_order.violated()[0].0, ORDER);
    let lost = Story::of_a().told("one", 2, vec![first.clone(), second.clone(), third.clone()]);
    let deleted = Call::Delete { key: "a".to_owned() };
    assert_eq!(lost.wrote(deleted, 12).violated(), [], "gone already");
    let lost = Story::of_a().told("one", 2, vec![first.clone(), second.clone()]);
    assert_eq!(lost.violated(), found(ORDER, &[1, 2]));
    // Nobody was acknowledged, but another watch was told.
    let unknown = Outcome::Unknown { why: "504".to_owned() };
    let other = Story::default()
        .with("w", put("a", "1"), unknown)
        .told("one", 2, vec![first, Told::Progress { version: 6 }])
        .told("two", 2, vec![Told::Progress { version: 6 }]);
    assert_eq!(other.violated(), found(ORDER, &[1, 2]));
}

#[test]
fn a_version_that_is_split_is_found() {
    let values = [("a".to_owned(), "1".to_owned()), ("b".to_owned(), "2".to_owned())];
    let half = Story::default().wrote(Call::PutAll { values: values.into() }, 5).told(
        "one",
        2,
        vec![change(5, vec![edit("a", Some("1"), None)])],
    );
    assert_eq!(half.violated(), found("a version is never split", &[0, 1]));
}

#[test]
fn a_wrong_previous_value_and_a_wrong_word_are_found() {
    let [first, _, third] = a();
    let wrong = change(7, vec![edit("a", Some("2"), Some(("0", 5)))]);
    let story = Story::of_a().told("one", 2, vec![first.clone(), wrong, third.clone()]);
    assert_eq!(story.violated(), found("previous values", &[3]));
    let created = change(7, vec![edit("a", Some("2"), None)]);
    let story = Story::of_a().told("one", 2, vec![first, created, third]);
    assert_eq!(story.violated(), found("previous values", &[3]));
}

#[test]
fn what_nobody_wrote_and_what_differs_in_the_end_is_found() {
    let [first, ..] = a();
    let refused = Outcome::Refused { why: "503".to_owned() };
    let told = "nothing else, and all in the end";
    let story =
        Story::default().with("w", put("a", "1"), refused).told("one", 2, vec![first.clone()]);
    assert_eq!(story.violated(), found(told, &[0, 1]));
    let other = vec![change(5, vec![edit("Mesh//default", Some("x"), None)])];
    assert_eq!(Story::default().told("one", 2, other).violated(), found(told, &[0]));
    let answer = Answer::Listed { version: 5, values: [].into() };
    let end = Story::default().wrote(put("a", "1"), 5).told("one", 2, vec![first]).with(
        "h",
        Call::List,
        Outcome::Done { answer },
    );
    assert_eq!(end.violated(), found(told, &[1, 2]));
}
