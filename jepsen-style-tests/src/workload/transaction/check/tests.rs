use super::super::{ACCOUNTS, Call, FIRST, OPENING, Side, accounts, plates};
use super::*;

/// A history by hand.
struct Story(Vec<Op>);

/// What two accounts had when they were read: the token and its ETag.
type Had<'a> = [(&'a str, u64); 2];

fn transfer(token: &str, had: Had<'_>) -> Call {
    let side = |number: usize, balance| Side {
        account: format!("account-{number}"),
        replaces: had[number].0.to_owned(),
        tag: had[number].1,
        balance,
    };
    Call::Transfer {
        token: token.to_owned(),
        sides: [side(0, OPENING - 10), side(1, OPENING + 10)],
    }
}

fn stamp(token: &str) -> Call {
    Call::Stamp { token: token.to_owned() }
}

fn applied(version: u64, replayed: bool) -> Outcome<Answer> {
    Outcome::Done { answer: Answer::Applied { version, replayed } }
}

fn unknown() -> Outcome<Answer> {
    Outcome::Unknown { why: "504".to_owned() }
}

/// Everything as at first, but for the first two accounts and the plates.
fn all(version: u64, first: [(u64, &str); 2], shown: [&str; 3]) -> Outcome<Answer> {
    let mut held: std::collections::BTreeMap<_, _> =
        accounts().map(|name| (name, (OPENING, FIRST.to_owned()))).collect();
    for (number, (balance, token)) in first.into_iter().enumerate() {
        held.insert(format!("account-{number}"), (balance, token.to_owned()));
    }
    let plates = plates().zip(shown).map(|(name, token)| (name, token.to_owned())).collect();
    Outcome::Done { answer: Answer::All { version, accounts: held, plates } }
}

const OPENED: [(u64, &str); 2] = [(OPENING, FIRST), (OPENING, FIRST)];
const CLEAN: [&str; 3] = [FIRST; 3];

impl Story {
    /// Each after the one before; for concurrent ones the time is given.
    fn of(steps: Vec<(Call, Outcome<Answer>)>) -> Self {
        let mut story = Self(Vec::new());
        for (call, outcome) in steps {
            let at = 10 * story.0.len() as u64;
            story = story.with((at, at + 5), call, outcome);
        }
        story
    }

    fn with(mut self, (start, end): (u64, u64), call: Call, outcome: Outcome<Answer>) -> Self {
        let id = self.0.len() as u64;
        let (client, node, class) = ("c".to_owned(), "global-1".to_owned(), "any".to_owned());
        self.0.push(Op { id, client, node, class, start, end, call, outcome });
        self
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

fn look() -> Call {
    Call::Look { stale: false }
}

fn found(checker: &str, operations: &[u64]) -> Vec<(String, Vec<u64>)> {
    vec![(checker.to_owned(), operations.to_vec())]
}

#[test]
fn what_can_be_explained_holds() {
    let story = Story::of(vec![
        (look(), all(5, OPENED, CLEAN)),
        (transfer("t1", [(FIRST, 1), (FIRST, 2)]), applied(6, false)),
        (stamp("s1"), unknown()),
        (stamp("s1"), applied(7, true)),
        (look(), all(7, [(990, "t1"), (1010, "t1")], ["s1"; 3])),
        (transfer("t1", [(FIRST, 1), (FIRST, 2)]), applied(6, true)),
        (transfer("t2", [(FIRST, 1), (FIRST, 2)]), Outcome::Done { answer: Answer::Mismatch }),
        (transfer("t3", [("t1", 6), ("t1", 6)]), unknown()),
        (look(), all(9, [(980, "t3"), (1020, "t3")], ["s1"; 3])),
        // A stale look may be of any version.
        (Call::Look { stale: true }, all(5, OPENED, CLEAN)),
    ]);
    assert_eq!(story.violated(), []);
    let few = judged(&story.0);
    assert!(matches!(few[0].finding, Finding::Undecided { .. }), "{:?}", few[0]);
}

#[test]
fn a_transaction_that_is_seen_in_part_is_found() {
    let story = Story::of(vec![
        (transfer("t1", [(FIRST, 1), (FIRST, 2)]), unknown()),
        (look(), all(6, [(990, "t1"), (OPENING, FIRST)], CLEAN)),
    ]);
    let sum = found("sum constant", &[1]);
    assert_eq!(story.violated(), [found("all or nothing", &[0, 1]), sum].concat());
    let plates = Story::of(vec![
        (stamp("s1"), unknown()),
        (Call::Look { stale: true }, all(6, OPENED, ["s1", FIRST, FIRST])),
    ]);
    assert_eq!(plates.violated(), found("all or nothing", &[0, 1]));
    let refused = Outcome::Refused { why: "503".to_owned() };
    let story = Story::of(vec![(stamp("s1"), refused), (look(), all(6, OPENED, ["s1"; 3]))]);
    assert_eq!(story.violated(), found("all or nothing", &[0, 1]));
}

#[test]
fn a_key_that_is_applied_twice_is_found() {
    let twice = Story::of(vec![(stamp("s1"), applied(6, false)), (stamp("s1"), applied(8, true))]);
    assert_eq!(twice.violated(), found("applied once", &[0, 1]));
    let anew = Story::of(vec![(stamp("s1"), applied(6, false)), (stamp("s1"), applied(6, false))]);
    let in_time = found("versions agree", &[0, 1]);
    assert_eq!(anew.violated(), [found("applied once", &[0, 1]), in_time].concat());
    let t1 = || transfer("t1", [(FIRST, 1), (FIRST, 2)]);
    let judged_anew = Story::of(vec![
        (t1(), applied(6, false)),
        (t1(), Outcome::Done { answer: Answer::Mismatch }),
    ]);
    let names: Vec<String> = judged_anew.violated().into_iter().map(|(name, _)| name).collect();
    assert_eq!(names, ["applied once"]);
    // Nobody was told of the first time, but somebody saw it.
    let unseen = Story::of(vec![
        (stamp("s1"), unknown()),
        (look(), all(6, OPENED, ["s1"; 3])),
        (stamp("s2"), applied(7, false)),
        (stamp("s1"), applied(8, false)),
    ]);
    assert_eq!(unseen.violated(), found("versions agree", &[1]));
}

#[test]
fn what_was_acknowledged_and_is_not_there_is_found() {
    let t1 = transfer("t1", [(FIRST, 1), (FIRST, 2)]);
    let lost = Story::of(vec![(t1, applied(6, false)), (look(), all(7, OPENED, CLEAN))]);
    assert_eq!(lost.violated(), found("versions agree", &[0, 1]));
    let stale = Story::of(vec![(stamp("s1"), applied(6, false)), (look(), all(5, OPENED, CLEAN))]);
    assert_eq!(stale.violated(), found("versions agree", &[0, 1]));
    let both = Story(Vec::new())
        .with((0, 9), transfer("t1", [(FIRST, 1), (FIRST, 2)]), applied(6, false))
        .with((0, 9), transfer("t2", [(FIRST, 1), (FIRST, 2)]), applied(7, false));
    assert_eq!(both.violated(), found("versions agree", &[0, 1]));
    assert_eq!(OPENING * ACCOUNTS as u64, 6000);
}
