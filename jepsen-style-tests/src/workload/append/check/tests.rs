use super::super::{Call, List};
use super::*;

/// A history by hand, on the lists `s0-k0` (a) and `s0-k1` (b).
#[derive(Default)]
struct Story(Vec<Op>);

const A: &str = "s0-k0";
const B: &str = "s0-k1";

fn values(text: &str) -> Vec<String> {
    text.split_whitespace().map(str::to_owned).collect()
}

/// A list as it was read, and what is appended; the tag is nobody's business here.
fn list(key: &str, read: &str, appends: Option<&str>) -> List {
    let (key, appends) = (key.to_owned(), appends.map(str::to_owned));
    List { key, read: values(read), tag: Some(1), appends }
}

impl Story {
    fn with(mut self, (start, end): (u64, u64), call: Call, outcome: Outcome<Answer>) -> Self {
        let id = self.0.len() as u64;
        let (client, node, class) = ("c".to_owned(), "global-1".to_owned(), "any".to_owned());
        self.0.push(Op { id, client, node, class, start, end, call, outcome });
        self
    }

    fn commits(self, time: (u64, u64), lists: Vec<List>) -> Self {
        let answer = Answer::Applied { version: 1 };
        self.with(time, Call::Commit { lists }, Outcome::Done { answer })
    }

    fn may_commit(self, time: (u64, u64), lists: Vec<List>) -> Self {
        self.with(time, Call::Commit { lists }, Outcome::Unknown { why: "504".to_owned() })
    }

    fn looks(self, time: (u64, u64), stale: bool, a: &str, b: &str) -> Self {
        let lists = [(A.to_owned(), values(a)), (B.to_owned(), values(b))];
        let answer = Answer::Lists { version: 1, lists: lists.into() };
        self.with(time, Call::Look { set: 0, stale }, Outcome::Done { answer })
    }

    /// How the reason begins, and the operations that show it.
    fn violation(&self) -> Option<(String, Vec<u64>)> {
        match serializable(&self.0).finding {
            Finding::Violated { why, mut operations } => {
                operations.sort_unstable();
                Some((why.split([':', ' ']).next().unwrap_or_default().to_owned(), operations))
            }
            _ => None,
        }
    }
}

fn violation(name: &str, operations: &[u64]) -> Option<(String, Vec<u64>)> {
    Some((name.to_owned(), operations.to_vec()))
}

#[test]
fn what_can_be_explained_holds() {
    let story = Story::default()
        .commits((0, 1), vec![list(A, "", Some("1")), list(B, "", Some("2"))])
        .commits((2, 5), vec![list(A, "1", Some("3")), list(B, "2", None)])
        // While it is appended, it is there or not.
        .looks((3, 4), false, "1", "2")
        .may_commit((6, 7), vec![list(B, "2", Some("4"))])
        .may_commit((6, 7), vec![list(A, "1 3", Some("lost"))])
        .looks((8, 9), false, "1 3", "2")
        .looks((10, 11), false, "1 3", "2 4")
        .looks((12, 13), true, "1", "2");
    assert_eq!(story.violation(), None);
    assert!(matches!(serializable(&story.0).finding, Finding::Undecided { .. }), "so few");
}

#[test]
fn half_a_transaction_is_a_cycle() {
    // Its first half is read without its second.
    let story = Story::default()
        .commits((0, 9), vec![list(A, "", Some("1")), list(B, "", Some("2"))])
        .looks((3, 4), true, "1", "");
    assert_eq!(story.violation(), violation("G-single", &[0, 1]));
}

#[test]
fn two_that_read_what_the_other_changed_are_a_cycle() {
    let story = Story::default()
        .commits((0, 9), vec![list(A, "", None), list(B, "", Some("2"))])
        .commits((0, 9), vec![list(B, "", None), list(A, "", Some("1"))]);
    assert_eq!(story.violation(), violation("G2", &[0, 1]));
}

#[test]
fn each_reading_the_other_is_a_cycle() {
    let story = Story::default()
        .commits((0, 9), vec![list(A, "", Some("1")), list(B, "2", None)])
        .commits((0, 9), vec![list(B, "", Some("2")), list(A, "1", None)]);
    assert_eq!(story.violation(), violation("G1c", &[0, 1]));
}

#[test]
fn a_stale_look_that_claims_to_be_current_is_a_cycle_in_time() {
    let story = |stale| {
        Story::default()
            .commits((0, 1), vec![list(A, "", Some("1"))])
            .looks((2, 3), stale, "", "")
            .looks((4, 5), false, "1", "")
    };
    assert_eq!(story(true).violation(), None);
    assert_eq!(story(false).violation(), violation("G-single-realtime", &[0, 1]));
}

#[test]
fn a_lost_append_is_found() {
    let replaced = Story::default()
        .commits((0, 9), vec![list(A, "", Some("1"))])
        .commits((0, 9), vec![list(A, "", Some("2"))]);
    assert_eq!(replaced.violation(), violation(A, &[0, 1]), "two values at one place");
    let gone =
        Story::default().commits((0, 1), vec![list(A, "", Some("1"))]).looks((2, 3), false, "", "");
    assert_eq!(gone.violation(), violation("G-single-realtime", &[0, 1]));
}

#[test]
fn what_was_refused_never_appended_or_is_there_twice_is_found() {
    let lists = vec![list(A, "", Some("1"))];
    let mismatch = Outcome::Done { answer: Answer::Mismatch };
    let refused = Story::default().with((0, 1), Call::Commit { lists }, mismatch);
    assert_eq!(refused.looks((2, 3), false, "1", "").violation(), violation(A, &[0, 1]));
    let nobody = Story::default().looks((2, 3), false, "1", "");
    assert_eq!(nobody.violation(), violation(A, &[0]));
    let twice = Story::default().commits((0, 1), vec![list(A, "", Some("1"))]);
    assert_eq!(twice.looks((2, 3), false, "1 1", "").violation(), violation(A, &[0, 1]));
}
