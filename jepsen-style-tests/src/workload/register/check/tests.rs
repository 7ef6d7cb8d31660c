use super::super::{Answer, Found};
use super::*;

/// A history by hand: each line `client start end call → outcome`, on one key.
struct Story(Vec<Op>);

impl Story {
    fn new() -> Self {
        Self(Vec::new())
    }

    fn with(mut self, (start, end): (u64, u64), call: Call, outcome: Outcome<Answer>) -> Self {
        let id = self.0.len() as u64;
        let (client, node, class) =
            (format!("c{id}"), "global-1".to_owned(), call.class().to_owned());
        self.0.push(Op { id, client, node, class, start, end, call, outcome });
        self
    }

    fn writes(self, time: (u64, u64), value: &str, tag: u64) -> Self {
        let answer = Answer::Written { version: tag, tag };
        self.with(time, write(value), Outcome::Done { answer })
    }

    fn maybe_writes(self, start: u64, value: &str) -> Self {
        self.with((start, start + 1), write(value), Outcome::Unknown { why: "broke".to_owned() })
    }

    /// At the version of the tag.
    fn reads(self, time: (u64, u64), found: Option<(&str, u64)>) -> Self {
        let version = found.map_or(0, |(_, tag)| tag);
        self.with(time, Call::Read { key: key() }, shown(version, found))
    }

    fn swaps(self, time: (u64, u64), (from, tag): (&str, u64), value: &str, now: u64) -> Self {
        let answer = Answer::Written { version: now, tag: now };
        self.with(time, swap(from, tag, value), Outcome::Done { answer })
    }

    fn mismatches(self, time: (u64, u64), (from, tag): (&str, u64), value: &str) -> Self {
        self.with(time, swap(from, tag, value), Outcome::Done { answer: Answer::Mismatch })
    }

    fn search(&self) -> Search {
        search(&self.0.iter().collect::<Vec<_>>(), Duration::from_secs(10))
    }

    fn shrunk(&self) -> Vec<u64> {
        let few = shrink(&self.0.iter().collect::<Vec<_>>(), Duration::from_secs(10));
        few.iter().map(|op| op.id).collect()
    }

    fn contradictions(&self) -> Vec<Vec<u64>> {
        versions::check(&self.0).into_iter().map(|wrong| wrong.operations).collect()
    }
}

fn key() -> String {
    "k".to_owned()
}

fn write(value: &str) -> Call {
    Call::Write { key: key(), value: value.to_owned() }
}

fn swap(from: &str, tag: u64, value: &str) -> Call {
    Call::Swap { key: key(), from: from.to_owned(), tag, value: value.to_owned() }
}

fn shown(version: u64, found: Option<(&str, u64)>) -> Outcome<Answer> {
    let found = found.map(|(value, tag)| Found { value: value.to_owned(), tag });
    Outcome::Done { answer: Answer::Value { version, found } }
}

#[test]
fn what_can_be_explained_holds() {
    let story = Story::new()
        .reads((0, 1), None)
        .writes((2, 9), "a", 5)
        // While it is being written, it is there or not.
        .reads((3, 4), None)
        .reads((5, 6), Some(("a", 5)))
        .swaps((10, 12), ("a", 5), "b", 6)
        .mismatches((13, 14), ("a", 5), "c")
        .maybe_writes(15, "d")
        .reads((20, 21), Some(("b", 6)))
        .reads((30, 31), Some(("d", 7)))
        .maybe_writes(32, "e")
        // Because of "e", which nobody saw.
        .mismatches((40, 41), ("d", 7), "f");
    assert_eq!(story.search(), Search::Linearizable);
    assert_eq!(story.contradictions(), Vec::<Vec<u64>>::new());
}

#[test]
fn a_stale_read_is_found_by_both_and_shown_with_its_witnesses_only() {
    let mut story = Story::new();
    for n in 0..50 {
        let at = n * 10;
        story = story.writes((at, at + 1), &format!("v{n}"), n + 1);
        story = story.reads((at + 3, at + 4), Some((&format!("v{n}"), n + 1)));
    }
    // Operation 100, and some more that are fine.
    story = story.reads((600, 601), Some(("v48", 49))).reads((610, 611), Some(("v49", 50)));
    assert_eq!(story.search(), Search::NotLinearizable);
    assert_eq!(story.shrunk(), [96, 98, 100], "both writes and the read");
    assert_eq!(story.contradictions(), [vec![98, 100]]);
}

#[test]
fn a_lost_write_and_a_swap_that_should_not_have_been_are_found() {
    let lost = Story::new().writes((0, 1), "a", 5).reads((2, 3), None);
    assert_eq!(lost.search(), Search::NotLinearizable);
    assert_eq!(lost.shrunk(), [0, 1]);
    assert_eq!(lost.contradictions(), [vec![0, 1]]);
    let both = Story::new().writes((0, 1), "a", 5).swaps((2, 5), ("a", 5), "b", 6).swaps(
        (3, 6),
        ("a", 5),
        "c",
        7,
    );
    assert_eq!(both.search(), Search::NotLinearizable);
    assert_eq!(both.contradictions(), [vec![1, 2]]);
    let mismatch = Story::new().writes((0, 1), "a", 5).mismatches((2, 3), ("a", 5), "b");
    assert_eq!(mismatch.search(), Search::NotLinearizable);
}

#[test]
fn what_was_refused_or_never_written_is_not_read() {
    let refused = Outcome::Refused { why: "no leader".to_owned() };
    let story = Story::new().with((0, 1), write("a"), refused).reads((2, 3), Some(("a", 5)));
    assert_eq!(story.contradictions(), [vec![0, 1]]);
    assert_eq!(story.search(), Search::NotLinearizable);
    assert_eq!(Story::new().reads((2, 3), Some(("x", 5))).contradictions(), [vec![0]]);
}

#[test]
fn an_unknown_write_does_not_come_and_go() {
    let story = Story::new()
        .writes((0, 1), "a", 1)
        .maybe_writes(2, "b")
        .reads((10, 11), Some(("b", 2)))
        .reads((12, 13), Some(("a", 1)));
    assert_eq!(story.search(), Search::NotLinearizable);
    assert_eq!(story.shrunk(), [0, 1, 2, 3]);
    assert_eq!(story.contradictions(), [vec![2, 3]]);
}

#[test]
fn reads_that_are_not_linearizable_keep_what_they_promise() {
    let since = |version| Call::ReadSince { key: key(), version };
    let story = Story::new()
        .writes((0, 1), "a", 5)
        .writes((2, 3), "b", 6)
        .with((4, 5), Call::StaleRead { key: key() }, shown(5, Some(("a", 5))))
        .with((4, 5), since(5), shown(5, Some(("a", 5))));
    assert_eq!(story.search(), Search::Linearizable, "stale reads are no part of it");
    assert_eq!(story.contradictions(), Vec::<Vec<u64>>::new());
    let late = Story::new().writes((0, 1), "a", 5).with((4, 5), since(6), shown(5, Some(("a", 5))));
    assert_eq!(late.contradictions(), [vec![1]]);
    let torn = Story::new().writes((0, 1), "a", 5).writes((2, 3), "b", 6).with(
        (4, 5),
        Call::StaleRead { key: key() },
        shown(7, Some(("a", 5))),
    );
    assert_eq!(torn.contradictions(), [vec![1, 2]]);
}

#[test]
fn one_etag_is_one_value() {
    let story = Story::new().writes((0, 1), "a", 5).reads((0, 3), Some(("b", 5)));
    assert_eq!(story.contradictions(), [vec![0, 1]]);
    let twice = Story::new().writes((0, 1), "a", 5).reads((2, 3), Some(("a", 8)));
    assert_eq!(twice.contradictions(), [vec![0, 1]]);
}

#[test]
fn too_little_is_undecided_and_so_is_what_takes_too_long() {
    let story = Story::new().writes((0, 1), "a", 5);
    assert!(matches!(linearizable(&story.0, SEARCH_LIMIT).finding, Finding::Undecided { .. }));
    // Overlapping writes that a late read contradicts: every order has to be tried.
    let mut hard = Story::new();
    for n in 0..40 {
        hard = hard.writes((0, 1000), &format!("v{n}"), n + 1);
    }
    hard = hard.reads((2000, 2001), None);
    let verdict = linearizable(&hard.0, Duration::from_millis(50));
    assert!(matches!(verdict.finding, Finding::Undecided { .. }), "{verdict:?}");
}
