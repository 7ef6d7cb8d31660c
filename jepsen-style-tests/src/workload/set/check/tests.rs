use super::*;

fn op(id: u64, call: Call, outcome: Outcome<Answer>) -> Op {
    let (client, node) = ("c".to_owned(), "global-1".to_owned());
    Op { id, client, node, class: call.class().to_owned(), start: id, end: id, call, outcome }
}

fn done() -> Outcome<Answer> {
    Outcome::Done { answer: Answer::Written { version: Some(1) } }
}

fn refused() -> Outcome<Answer> {
    Outcome::Refused { why: "no leader".to_owned() }
}

fn unknown() -> Outcome<Answer> {
    Outcome::Unknown { why: "broke".to_owned() }
}

fn add(element: &str) -> Call {
    Call::Add { element: element.to_owned() }
}

fn remove(element: &str) -> Call {
    Call::Remove { element: element.to_owned() }
}

/// 100 acknowledged additions, then `more`, then a list of the 100 and `listed`.
fn judged(more: Vec<(Call, Outcome<Answer>)>, listed: &[&str]) -> Finding {
    let base = (0..100).map(|n| (add(&format!("base-{n:02}")), done()));
    let mut ops: Vec<Op> = base.chain(more).zip(0..).map(|((c, o), id)| op(id, c, o)).collect();
    let base = (0..100).map(|n| format!("base-{n:02}"));
    let elements = base.chain(listed.iter().map(|name| (*name).to_owned())).collect();
    let answer = Outcome::Done { answer: Answer::Listed { elements } };
    ops.push(op(ops.len() as u64, Call::List, answer));
    set(&ops).finding
}

fn violated(finding: &Finding) -> (&str, &[u64]) {
    match finding {
        Finding::Violated { why, operations } => (why, operations),
        other => panic!("{other:?}"),
    }
}

#[test]
fn what_is_unknown_may_be_there_or_not() {
    let more = || vec![(add("x"), unknown()), (add("y"), done()), (remove("y"), unknown())];
    assert_eq!(judged(more(), &[]), Finding::Held);
    assert_eq!(judged(more(), &["x", "y"]), Finding::Held);
}

#[test]
fn what_is_lost_what_comes_back_and_what_was_refused_is_named_with_its_operation() {
    let lost = judged(vec![(add("x"), done())], &[]);
    assert_eq!(violated(&lost), ("global-1: x acknowledged and lost", &[100, 101][..]));
    let back = judged(vec![(add("x"), done()), (remove("x"), done())], &["x"]);
    assert_eq!(
        violated(&back),
        ("global-1: x removed, acknowledged, and there again", &[101, 102][..])
    );
    let there = judged(vec![(add("x"), refused())], &["x"]);
    assert_eq!(violated(&there), ("global-1: x refused and there all the same", &[100, 101][..]));
    let strange = judged(vec![], &["x"]);
    assert_eq!(violated(&strange), ("global-1: x never added by anybody", &[100][..]));
    let twice = judged(vec![(add("x"), done())], &["x", "x"]);
    assert_eq!(violated(&twice), ("global-1: lists 1 elements twice", &[101][..]));
    // A removal that was refused changes nothing.
    let kept = vec![(add("x"), done()), (remove("x"), refused())];
    assert!(matches!(judged(kept, &[]), Finding::Violated { .. }));
}

#[test]
fn a_node_that_does_not_list_and_too_few_additions_decide_nothing() {
    let few = [op(0, add("x"), done())];
    assert!(matches!(set(&few).finding, Finding::Undecided { .. }));
    let unlisted = [op(0, add("x"), done()), op(1, Call::List, refused())];
    assert!(matches!(set(&unlisted).finding, Finding::Undecided { .. }));
}
