use higuma_model::{Audience, ClusterId, Owner};

use super::*;
use crate::testing::{CLUSTER, History, to_west};

fn history() -> History {
    let mut history = History::new(CLUSTER); // epoch 1 from version 1
    history.policy("a"); // version 2
    history.policy("b"); // version 3
    history.epoch(9); // epoch 9 from version 4
    history.policy("c"); // version 5
    history
}

fn at(version: u64, epoch: u64) -> Option<Position> {
    Some(Position { cluster: CLUSTER, epoch, version })
}

#[test]
fn the_course_depends_on_where_the_receiver_stands() {
    struct Case {
        why: &'static str,
        peer: Option<Position>,
        proved: Option<u64>,
        expected: Option<Course>,
    }
    let foreign = Position { cluster: ClusterId(1), epoch: 9, version: 5 };
    let case = |why, peer, proved, expected| Case { why, peer, proved, expected };
    for case in [
        case("a fresh receiver", None, None, Some(Course::List)),
        case("at the same version", at(5, 9), None, Some(Course::Resume)),
        case("in an earlier epoch", at(3, 1), None, Some(Course::Resume)),
        case("before the first write", at(0, 0), None, Some(Course::Resume)),
        case("another cluster", Some(foreign), None, Some(Course::Foreign)),
        case("another epoch at its version", at(5, 8), None, Some(Course::Foreign)),
        case("an epoch that began later", at(3, 9), None, Some(Course::Foreign)),
        case("ahead, same epoch: lagging", at(7, 9), None, None),
        case("ahead, unknown epoch: lagging", at(7, 77), None, None),
        case("ahead in an epoch that ended", at(7, 1), None, Some(Course::Foreign)),
        case("ahead of the proof", at(7, 9), Some(6), Some(Course::RolledBack)),
        case("proved to exist", at(7, 9), Some(7), None),
    ] {
        let found = course(&history().now(), case.peer, case.proved);
        assert_eq!(found, case.expected, "{}", case.why);
    }
}

#[test]
fn below_the_horizon_the_receiver_lists_what_it_has() {
    let mut history = history();
    let at_five = at(5, 9);
    history.pass_horizon();
    assert!(history.now().horizon() > 5);
    assert_eq!(course(&history.now(), at_five, None), Some(Course::Inventory));
}

fn request(type_url: &str) -> Request {
    messages::subscription(&to_west(), type_url)
}

fn ack(response: &Response) -> Request {
    messages::ack(&to_west(), &response.type_url, &response.nonce)
}

/// A sender that follows a receiver of these kinds.
fn following(history: &History, peer: Option<Position>) -> (Sender, Vec<Response>) {
    let mut sender = Sender::new(to_west(), history.now(), peer);
    for kind in to_west().kinds() {
        sender.receive(&request(kind.name())).unwrap();
    }
    let opening = sender.advance().unwrap();
    sender.receive(&ack(&opening[0])).unwrap();
    let first = sender.advance().unwrap();
    (sender, first)
}

fn outline(responses: &[Response]) -> Vec<String> {
    let line = |response: &Response| match messages::commit_of(response) {
        Some(commit) if response.type_url == Commit::TYPE => {
            format!("{:?} to {} from {}", commit.step(), commit.version, commit.from)
        }
        _ => format!(
            "{} +{} -{}",
            response.type_url,
            response.resources.len(),
            response.removed_resources.len()
        ),
    };
    responses.iter().map(line).collect()
}

#[test]
fn a_list_comes_as_one_batch_and_changes_follow() {
    let mut history = history();
    let (mut sender, first) = following(&history, None);
    assert_eq!(outline(&first), ["TrafficPermission +3 -0", "Batch to 5 from 0"]);

    history.policy("d");
    history.delete(Kind::TrafficPermission, "a");
    sender.offer(history.now()).unwrap();
    assert_eq!(sender.advance().unwrap(), [], "one batch in flight");
    sender.receive(&ack(&first[0])).unwrap();
    assert_eq!(sender.standing(), Standing::Sending, "received is not applied");
    sender.receive(&ack(&first[1])).unwrap();
    assert_eq!(sender.standing(), Standing::Applied(5));
    let second = sender.advance().unwrap();
    assert_eq!(outline(&second), ["TrafficPermission +1 -1", "Batch to 7 from 5"]);
}

#[test]
fn only_what_concerns_the_zone_is_a_batch() {
    let mut history = history();
    let (mut sender, first) = following(&history, at(5, 9));
    assert_eq!(outline(&first), ["Mark to 5 from 0"], "nothing new, but it learns where it is");
    sender.receive(&ack(&first[0])).unwrap();
    assert_eq!(sender.advance().unwrap(), []);

    let mut step = |change: &dyn Fn(&mut History)| {
        change(&mut history);
        sender.offer(history.now()).unwrap();
        let sent = sender.advance().unwrap();
        sender.receive(&ack(sent.last().unwrap())).unwrap();
        outline(&sent)
    };
    let east = || Owner::zone("east");
    let put = |h: &mut History, kind, audience| h.put(kind, "x", east(), audience);
    assert_eq!(step(&|h| put(h, Kind::Dataplane, Audience::None)), ["Mark to 6 from 0"]);
    assert_eq!(
        step(&|h| put(h, Kind::ZoneIngress, Audience::AllBut(east()))),
        ["ZoneIngress +1 -0", "Batch to 7 from 5"].map(|s| s.replace("from 5", "from 6"))
    );
    assert_eq!(
        step(&|h| put(h, Kind::ZoneIngress, Audience::None)),
        ["ZoneIngress +0 -1", "Batch to 8 from 7"],
        "no longer for this zone"
    );
    assert_eq!(step(&|h| h.delete(Kind::ZoneIngress, "x")), ["Mark to 9 from 0"]);
    assert_eq!(
        step(&|h| h.put(Kind::ZoneIngress, "own", Owner::zone("west"), Audience::AllZones)),
        ["Mark to 10 from 0"],
        "never back to its owner"
    );
}

#[test]
fn a_lagging_node_holds_until_it_has_caught_up() {
    let mut history = history();
    let behind = history.now();
    history.policy("d");
    let mut sender = Sender::new(to_west(), behind, at(6, 9));
    assert_eq!((sender.advance().unwrap(), sender.standing()), (vec![], Standing::Held));
    assert!(sender.wants_proof());
    sender.proved(6);
    assert_eq!(sender.advance().unwrap(), []);
    sender.offer(history.now()).unwrap();
    assert_eq!(outline(&sender.advance().unwrap()), ["Opening to 6 from 0"]);
}

#[test]
fn a_replaced_history_ends_the_stream() {
    let old = history();
    let (mut sender, _) = following(&old, None);
    let mut other = History::new(CLUSTER);
    other.epoch(5);
    other.policy("a");
    other.policy("b");
    other.policy("c");
    assert_eq!(sender.offer(other.now()), Err(SendError::Replaced));
    assert_eq!(sender.offer(History::new(ClusterId(4)).now()), Err(SendError::Replaced));
}

#[test]
fn a_batch_that_no_entry_holds_is_refused_with_its_size() {
    let mut history = history();
    let name = |n: usize| format!("{n}-{}", "x".repeat(200));
    (0..4000).for_each(|n| history.policy(&name(n)));
    let mut sender = Sender::new(to_west(), history.now(), None);
    sender.receive(&request("TrafficPermission")).unwrap();
    let opening = sender.advance().unwrap();
    sender.receive(&ack(&opening[0])).unwrap();
    let error = sender.advance().unwrap_err();
    let SendError::TooLarge { bytes, entries: 4003, .. } = error else { panic!("{error}") };
    assert!(bytes > MAX_BATCH_BYTES && error.to_string().contains(&bytes.to_string()));
}

#[test]
fn a_fenced_receiver_is_left_alone_and_shown() {
    let mut history = history();
    let foreign = Position { cluster: ClusterId(1), epoch: 9, version: 5 };
    let mut sender = Sender::new(to_west(), history.now(), Some(foreign));
    let opening = sender.advance().unwrap();
    let nack = messages::nack(ack(&opening[0]), FENCED, "another cluster".to_owned(), &[]);
    sender.receive(&nack).unwrap();
    assert_eq!(sender.standing(), Standing::Fenced("another cluster".to_owned()));
    history.policy("d");
    sender.offer(history.now()).unwrap();
    assert_eq!(sender.advance().unwrap(), []);
}

#[test]
fn a_history_that_is_not_followed_is_never_sent() {
    let foreign = Position { cluster: ClusterId(1), epoch: 9, version: 5 };
    let mut sender = Sender::new(to_west(), history().now(), Some(foreign));
    let opening = sender.advance().unwrap();
    let error = sender.receive(&ack(&opening[0])).unwrap_err();
    assert!(matches!(error, SendError::Protocol(_)));
}
