use std::sync::Arc;

use higuma_model::{Audience, ClusterId, Kind, Owner};

use super::*;
use crate::testing::{CLUSTER, History, copy, key, to_west, view, write};
use crate::{SendError, Sender, Standing};

/// A sender and a receiver with nothing between them.
struct Link {
    sender: Sender,
    receiver: Receiver,
    local: Arc<Snapshot>,
    fenced: Option<Fence>,
    batches: Vec<Batch>,
}

impl Link {
    fn open(global: &History, local: Arc<Snapshot>) -> Self {
        let position = local.upstream();
        let sender = Sender::new(to_west(), global.now(), position);
        let receiver = Receiver::new(to_west(), position, None);
        let mut link = Self { sender, receiver, local, fenced: None, batches: Vec::new() };
        for request in link.receiver.subscriptions() {
            link.sender.receive(&request).unwrap();
        }
        link
    }

    /// Runs until neither end has anything to say.
    fn settle(&mut self) -> Result<(), SendError> {
        loop {
            let responses = self.sender.advance()?;
            if responses.is_empty() {
                return Ok(());
            }
            for response in responses {
                self.deliver(response);
            }
        }
    }

    fn deliver(&mut self, response: Response) {
        let actions = self.receiver.receive(response, &self.local).unwrap();
        for action in actions {
            match action {
                Action::Reply(request) => self.sender.receive(&request).unwrap(),
                Action::Apply(batch) => {
                    self.local = Arc::new(write(&self.local, &batch));
                    self.batches.push(batch);
                    let reply = self.receiver.applied().unwrap();
                    self.sender.receive(&reply).unwrap();
                }
                Action::Fenced(fence) => self.fenced = Some(fence),
                Action::Accepted | Action::Moved(_) => {}
            }
        }
    }
}

fn fresh() -> Arc<Snapshot> {
    Arc::new(Snapshot::new(ClusterId(0xfee1)))
}

fn global() -> History {
    let mut global = History::new(CLUSTER);
    global.policy("a");
    global.put(Kind::Mesh, "default", Owner::Global, Audience::AllZones);
    global
}

/// A zone that follows `global`.
fn synced(global: &History) -> Arc<Snapshot> {
    let mut link = Link::open(global, fresh());
    link.settle().unwrap();
    assert_eq!(copy(&to_west(), &link.local), view(&to_west(), &global.now()));
    link.local
}

#[test]
fn a_fresh_zone_trusts_the_first_global() {
    let zone = synced(&global());
    assert_eq!(zone.upstream(), Some(crate::batch::position_of(&global().now())));
}

#[test]
fn a_resumed_zone_gets_the_difference_and_deletions_by_name() {
    let mut global = global();
    let zone = synced(&global);
    global.policy("b");
    global.delete(Kind::TrafficPermission, "a");
    let mut link = Link::open(&global, zone);
    link.settle().unwrap();
    let [batch] = link.batches.as_slice() else { panic!("{:?}", link.batches) };
    assert_eq!((batch.upserts.len(), batch.removed.len()), (1, 1), "{batch:?}");
    assert_eq!(copy(&to_west(), &link.local), view(&to_west(), &global.now()));
}

#[test]
fn another_history_fences_and_changes_nothing() {
    let zone = synced(&global());
    let mut other_epoch = History::new(CLUSTER);
    other_epoch.epoch(66);
    other_epoch.policy("z");
    let mut cases = vec![
        ("another cluster", History::new(ClusterId(4)), "is cluster 0000"),
        ("an empty cluster of that id", History::new(CLUSTER), ""),
        ("another epoch", other_epoch, "restored or formed anew"),
    ];
    for (why, other, text) in &mut cases {
        other.policy("x");
        other.policy("y");
        if *why == "an empty cluster of that id" {
            *other = History::new(CLUSTER);
        }
        let mut link = Link::open(other, zone.clone());
        link.settle().unwrap();
        if link.sender.wants_proof() {
            link.sender.proved(other.now().version());
            link.settle().unwrap();
            *text = "rolled back";
        }
        let fence = link.fenced.unwrap_or_else(|| panic!("{why}: not fenced"));
        assert!(fence.to_string().contains(*text), "{why}: {fence}");
        assert_eq!(link.local, zone, "{why}: nothing changed");
        assert_eq!(link.sender.standing(), Standing::Fenced(fence.to_string()), "{why}: both say");
    }
}

#[test]
fn a_pinned_cluster_is_the_only_one() {
    let mut link = Link::open(&global(), fresh());
    link.receiver = Receiver::new(to_west(), None, Some(ClusterId(4)));
    link.settle().unwrap();
    assert!(matches!(link.fenced, Some(Fence::NotPinned { .. })), "{:?}", link.fenced);
}

#[test]
fn an_empty_list_deletes_nothing() {
    let zone = synced(&global());
    // Adopted: the zone forgot its position, and the new global has nothing.
    let mut link = Link::open(&History::new(ClusterId(4)), zone.clone());
    link.receiver = Receiver::new(to_west(), None, None);
    link.sender = Sender::new(to_west(), History::new(ClusterId(4)).now(), None);
    link.receiver.subscriptions().iter().for_each(|r| link.sender.receive(r).unwrap());
    link.settle().unwrap();
    assert_eq!(copy(&to_west(), &link.local), copy(&to_west(), &zone));
    assert_eq!(link.local.upstream().unwrap().cluster, ClusterId(4));
}

#[test]
fn an_adopted_list_replaces_what_it_names_kinds_of() {
    let zone = synced(&global());
    let mut other = History::new(ClusterId(4));
    other.policy("b");
    let mut link = Link::open(&other, zone);
    link.receiver = Receiver::new(to_west(), None, None);
    link.sender = Sender::new(to_west(), other.now(), None);
    link.receiver.subscriptions().iter().for_each(|r| link.sender.receive(r).unwrap());
    link.settle().unwrap();
    let mut expected = view(&to_west(), &other.now());
    expected.insert(key(Kind::Mesh, "default"), 3);
    assert_eq!(copy(&to_west(), &link.local), expected, "no mesh was listed, so none is deleted");
}

#[test]
fn one_bad_resource_costs_itself() {
    let mut global = global();
    let zone = synced(&global);
    global.bad_mesh("default");
    global.policy("b");
    let mut link = Link::open(&global, zone.clone());
    link.settle().unwrap();
    let [verdict] = link.sender.verdicts() else { panic!("{:?}", link.sender.verdicts()) };
    assert_eq!((verdict.r#type.as_str(), verdict.name.as_str()), ("Mesh", "default"));
    assert!(verdict.reason.contains("mtls.backends[0].type"), "{verdict:?}");
    let mesh = key(Kind::Mesh, "default");
    assert_eq!(link.local.get(&mesh), zone.get(&mesh), "the last accepted value stays");
    assert_eq!(link.local.len(), zone.len() + 1, "the rest applied");
    assert_eq!(link.local.upstream().unwrap().version, global.now().version());

    global.put(Kind::Mesh, "default", Owner::Global, Audience::AllZones);
    link.sender.offer(global.now()).unwrap();
    link.settle().unwrap();
    assert_eq!(link.sender.verdicts(), [], "mended");
    assert_eq!(copy(&to_west(), &link.local), view(&to_west(), &global.now()));
}

#[test]
fn what_others_own_here_is_neither_taken_nor_removed() {
    let mut zone = History::new(ClusterId(0xfee1));
    zone.put(Kind::Mesh, "default", Owner::zone("west"), Audience::None);
    let mut link = Link::open(&global(), zone.now());
    link.settle().unwrap();
    let [verdict] = link.sender.verdicts() else { panic!("{:?}", link.sender.verdicts()) };
    assert_eq!(verdict.reason, "the name is taken here by a resource of zone west");
    assert_eq!(link.local.get(&key(Kind::Mesh, "default")).unwrap().owner, Owner::zone("west"));
}

#[test]
fn an_inventory_gets_what_it_lacks_and_loses_what_is_gone() {
    let mut global = global();
    global.policy("gone");
    let zone = synced(&global);
    global.delete(Kind::TrafficPermission, "gone");
    global.policy("b");
    global.pass_horizon();
    let mut link = Link::open(&global, zone);
    link.settle().unwrap();
    let [batch] = link.batches.as_slice() else { panic!("{:?}", link.batches) };
    assert_eq!((batch.upserts.len(), batch.removed.len()), (1, 1), "{batch:?}");
    assert_eq!(copy(&to_west(), &link.local), view(&to_west(), &global.now()));
}

#[test]
fn an_inventory_that_would_lose_most_fences() {
    let mut global = global();
    (0..60).for_each(|n| global.policy(&format!("p{n}")));
    let zone = synced(&global);
    (0..51).for_each(|n| global.delete(Kind::TrafficPermission, &format!("p{n}")));
    let mut within = Link::open(&global, zone.clone());
    within.settle().unwrap();
    assert_eq!(within.fenced, None, "deletions that the history holds never fence");
    assert_eq!(copy(&to_west(), &within.local), view(&to_west(), &global.now()));

    global.pass_horizon();
    let mut link = Link::open(&global, zone.clone());
    link.settle().unwrap();
    let fence = link.fenced.unwrap().to_string();
    assert!(fence.contains("remove 51 of 61 TrafficPermission"), "{fence}");
    assert_eq!(link.local, zone);
}

#[test]
fn a_sender_that_breaks_the_protocol_is_told_off() {
    use crate::batch::position_of;
    use crate::proto::higuma::commit::Step;
    let state = global().now();
    let zone = synced(&global());
    let at = position_of(&state);
    let send = |receiver: &mut Receiver, commit: Commit| {
        let response = messages::commit_response(&to_west(), &commit, "1".to_owned());
        receiver.receive(response, &zone).map(drop)
    };
    let opened = || {
        let mut receiver = Receiver::new(to_west(), Some(at), None);
        let mut opening = Commit::at(at, Step::Opening);
        opening.course = Course::Resume.into();
        send(&mut receiver, opening).unwrap();
        receiver
    };
    let batch = |version, from, entries| {
        let position = Position { version, ..at };
        Commit { from, entries, ..Commit::at(position, Step::Batch) }
    };
    let older = Position { version: at.version - 1, ..at };
    for (why, commit) in [
        ("a batch that builds elsewhere", batch(at.version + 2, at.version + 1, 0)),
        ("a batch that goes back", batch(at.version - 1, at.version, 0)),
        ("a batch that lost a message", batch(at.version + 1, at.version, 1)),
        ("a mark that goes back", Commit::at(older, Step::Mark)),
        ("a step of the future", Commit { step: 77, ..Commit::at(at, Step::Mark) }),
        ("no cluster", Commit { cluster_id: "x".to_owned(), ..Commit::at(at, Step::Mark) }),
    ] {
        let error = send(&mut opened(), commit).unwrap_err();
        assert!(matches!(error, ReceiveError::Protocol(_)), "{why}: {error}");
    }
    for course in [Course::Resume, Course::Inventory, Course::None] {
        let mut opening = Commit::at(older, Step::Opening);
        opening.course = course.into();
        let mut receiver = Receiver::new(to_west(), Some(at), None);
        assert!(send(&mut receiver, opening.clone()).is_err(), "{course:?} from behind");
        let mut receiver = Receiver::new(to_west(), None, None);
        assert!(send(&mut receiver, opening).is_err(), "{course:?} that nobody asked for");
    }
    let mut receiver = Receiver::new(to_west(), Some(at), None);
    assert!(send(&mut receiver, batch(at.version + 1, at.version, 0)).is_err(), "not opened");
    send(&mut opened(), batch(at.version + 1, at.version, 0)).unwrap();
}

/// Cluster 4, which goes on from what `global` is now.
fn successor(global: &History) -> History {
    let mut next = History::continuing(global.now());
    next.change(|state| *state = state.succeeded_by(ClusterId(4)));
    next
}

#[test]
fn a_zone_follows_a_cluster_that_goes_on_from_its_own() {
    let mut global = global();
    let behind = synced(&global);
    global.policy("b");
    global.delete(Kind::TrafficPermission, "a");
    let level = synced(&global);
    let mut next = successor(&global);
    next.epoch(44);
    for zone in [&behind, &level] {
        // Nothing to write yet for the second: its position moves by a mark.
        let mut link = Link::open(&next, zone.clone());
        link.settle().unwrap();
        assert_eq!(link.fenced, None);
        assert_eq!(copy(&to_west(), &link.local), view(&to_west(), &next.now()));
        assert_eq!(link.receiver.position().map(|at| at.cluster), Some(ClusterId(4)));
    }
    next.policy("c");
    for zone in [behind, level] {
        let followed = zone.upstream();
        let mut link = Link::open(&next, zone);
        link.settle().unwrap();
        let [batch] = link.batches.as_slice() else { panic!("{:?}", link.batches) };
        assert_eq!(batch.replaces, followed, "in its place, and only there");
        assert_eq!(link.local.upstream(), Some(crate::batch::position_of(&next.now())));
        assert_eq!(copy(&to_west(), &link.local), view(&to_west(), &next.now()));
        let mut again = Link::open(&next, link.local);
        again.settle().unwrap();
        assert_eq!((again.fenced, again.batches), (None, vec![]));
    }
}

#[test]
fn a_zone_that_has_seen_more_than_the_successor_has_fences() {
    let mut global = global();
    let mut next = successor(&global);
    next.epoch(44);
    (0..9).for_each(|n| next.policy(&format!("n{n}")));
    let mut fork = global.clone();
    fork.epoch(9);
    fork.policy("f");
    global.policy("lost");
    global.policy("lost-too");
    let another = {
        let mut other = successor(&global);
        other.change(|state| *state = state.succeeded_by(ClusterId(5)));
        other
    };
    for (why, next, zone) in [
        ("ahead of it", &next, synced(&global)),
        ("of another epoch at that version", &another, synced(&fork)),
    ] {
        let mut link = Link::open(next, zone.clone());
        link.settle().unwrap();
        let fence = link.fenced.expect(why);
        assert!(matches!(fence, Fence::AnotherCluster { .. }), "{why}: {fence}");
        assert_eq!((link.local, link.batches), (zone, vec![]), "{why}");
    }
}

#[test]
fn a_successor_is_no_other_end_of_a_pin_and_says_nothing_before_it_knows() {
    let global = global();
    let zone = synced(&global);
    let next = successor(&global);
    let mut link = Link::open(&next, zone.clone());
    link.receiver = Receiver::new(to_west(), zone.upstream(), Some(CLUSTER));
    link.settle().unwrap();
    assert!(matches!(link.fenced, Some(Fence::NotPinned { .. })), "{:?}", link.fenced);

    // A node of it that has not got the state yet.
    let mut sender = Sender::new(to_west(), Snapshot::new(ClusterId(4)).into(), zone.upstream());
    assert_eq!(sender.advance().unwrap(), vec![]);
    assert_eq!(sender.standing(), Standing::Held);
    sender.offer(next.now()).unwrap();
    assert_eq!(sender.advance().unwrap().len(), 1);
}
