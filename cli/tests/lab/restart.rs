//! A planned restart of each node, one after the other, while others write.

use std::sync::atomic::{AtomicBool, Ordering};

use super::*;

#[test]
fn no_write_fails_while_each_node_is_restarted_in_turn() {
    let lab = Lab::new();
    lab.lab_ok(&["up", "--globals-only", "--base", &format!("127.{}", lab.base)]);
    let stop = AtomicBool::new(false);
    let written: usize = std::thread::scope(|scope| {
        let (lab, stop) = (&lab, &stop);
        let writers: Vec<_> =
            (0..2).map(|writer| scope.spawn(move || write_until(lab, writer, stop))).collect();
        // A failed assertion must end the writers too.
        let restarted = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            (1..=3).for_each(|node| restart(lab, node));
        }));
        stop.store(true, Ordering::Relaxed);
        let written = writers.into_iter().map(|writer| writer.join().expect("a writer")).sum();
        restarted.expect("the restarts");
        written
    });
    assert!(written > 10, "only {written} writes");
    sent_by_hand(&lab);
}

/// Writes as an operator does; how many times.
fn write_until(lab: &Lab, writer: usize, stop: &AtomicBool) -> usize {
    let manifest = lab.folder.with_extension(format!("{writer}.yaml"));
    let mut written = 0;
    while !stop.load(Ordering::Relaxed) {
        lab.apply(&manifest, &format!("type: Mesh\nname: m{writer}-{}\n", written % 20));
        written += 1;
    }
    written
}

fn restart(lab: &Lab, node: u64) {
    let name = format!("global-{node}");
    lab.lab_ok(&["kill", &name, "--signal", "term"]);
    let row = |text: &str| text.lines().find(|line| line.starts_with(&name)).map(str::to_owned);
    let dead = |row: &Option<String>| row.as_ref().is_some_and(|row| row.ends_with("dead"));
    until("the node ends", CATCH_UP, || row(&lab.lab_ok(&["status"])), dead);
    lab.lab_ok(&["start", &name]);
    caught_up(lab, node);
}

fn caught_up(lab: &Lab, node: u64) {
    let lag = format!("/members/{}/lag", node - 1);
    // Writes go on: it need not be at the very end.
    let near = |seen: &Value| seen.pointer(&lag).and_then(Value::as_u64).is_some_and(|n| n < 100);
    until("the node caught up", CATCH_UP, || lab.cluster(), near);
}

fn sent_by_hand(lab: &Lab) {
    let leader = lab.cluster()["leader"].as_u64().expect("a leader");
    let to = if leader == 3 { 1 } else { leader + 1 };
    let out = lab.ok(&["cluster", "transfer-leader", "--to", &to.to_string()]);
    assert!(out.starts_with(&format!("node {to} leads; before it, node {leader} did")), "{out}");
    let out = lab.ok(&["cluster", "status"]);
    assert!(out.contains(&format!("Leader: node {to}")) && out.contains("DISK"), "{out}");
    let refused = lab.run(&["cluster", "transfer-leader", "--to", "7"]);
    assert_eq!(refused.status.code(), Some(1));
    assert!(text(&refused.stderr).contains("node 7 is no member"), "{}", text(&refused.stderr));
}
