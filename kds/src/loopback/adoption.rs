//! Zones that refuse their global, and what their operator makes of it.

use std::collections::BTreeMap;
use std::sync::Arc;

use higuma_model::{Audience, ClusterId, Key, Kind, Owner};
use tokio::task::JoinSet;

use super::*;
use crate::testing::key;
use crate::{AdoptError, Adoption, LookError, Mutant, Offer};

const NORTH: &str = "north-1";

fn start(
    tasks: &mut JoinSet<()>,
    zone: &Arc<Store>,
    node: &Node,
    mutant: Option<Mutant>,
) -> Adoption {
    let config = Client { mutant, ..client_of(zone, &[node], no_reports()) };
    let (adoption, running) = client(config).unwrap();
    tasks.spawn(running);
    adoption
}

/// A global with 60 policies more, and an ingress of another zone.
fn followed() -> History {
    let mut global = global();
    let north = Owner::zone("north");
    global.put(Kind::ZoneIngress, NORTH, north.clone(), Audience::AllBut(north));
    (0..60).for_each(|n| global.policy(&format!("p{n}")));
    global
}

/// A zone that has followed `global`, and follows nothing now.
async fn zone_of(global: &History) -> Arc<Store> {
    let mut tasks = JoinSet::new();
    let (store, _) = Store::new(global.now());
    let (west, _) = Store::new(zone().now());
    let node = Node::serve(&store, ANY).await;
    start(&mut tasks, &west, &node, None);
    west.until("all of the global", |s| copy(&to_west(), s) == view(&to_west(), &global.now()))
        .await;
    tasks.shutdown().await;
    west
}

async fn fenced(adoption: &Adoption) -> String {
    let mut states = adoption.states();
    match until_state(&mut states, |s| matches!(s, ClientState::Fenced { .. })).await {
        ClientState::Fenced { reason } => reason,
        other => panic!("{other:?}"),
    }
}

async fn synced(adoption: &Adoption) {
    let mut states = adoption.states();
    until_state(&mut states, |s| matches!(s, ClientState::Synced { .. })).await;
}

/// The same history up to a version, and then another.
fn fork(history: &History, at: u64, nonce: u64) -> History {
    let mut fork = History::continuing(history.at(at));
    fork.epoch(nonce);
    fork
}

/// What a zone that has adopted must have: the global's view, and what of other zones it does not
/// know.
fn expected(global: &History, kept: &[Key]) -> BTreeMap<Key, u64> {
    let mut expected = view(&to_west(), &global.now());
    expected.extend(kept.iter().map(|key| (key.clone(), 4)));
    expected
}

fn names(list: &[crate::Named]) -> Vec<&str> {
    list.iter().map(|named| named.display_name.as_str()).collect()
}

#[tokio::test]
async fn a_fenced_zone_follows_what_its_operator_adopts() {
    struct Case {
        what: &'static str,
        global: History,
        reason: &'static str,
        removed: usize,
        kept: &'static [&'static str],
    }
    let mut history = followed();
    let mut rolled_back = History::continuing(history.at(30));
    rolled_back.policy("new");
    let mut rewritten = fork(&history, 30, 67);
    (0..90).for_each(|n| rewritten.policy(&format!("q{}", n % 3)));
    let mut other = History::new(ClusterId(4));
    other.policy("a");
    let mut lost = History::continuing(history.now());
    (0..51).for_each(|n| lost.delete(Kind::TrafficPermission, &format!("p{n}")));
    lost.pass_horizon();
    history.policy("last");
    let empty = History::new(ClusterId(5));
    let case = |what, global, reason, removed, kept| Case { what, global, reason, removed, kept };
    for Case { what, global, reason, removed, kept } in [
        case("rolled back", rolled_back, "it was rolled back", 34, &[][..]),
        case("another history", rewritten, "restored or formed anew", 34, &[]),
        case("another cluster", other, "is cluster 0000", 61, &[NORTH]),
        case("an empty cluster", empty, "is cluster 0000", 62, &[NORTH]),
        case("most is gone", lost, "would remove 51 of", 51, &[]),
    ] {
        let west = zone_of(&followed()).await;
        let before = west.state.borrow().clone();
        let mut tasks = JoinSet::new();
        let (store, _) = Store::new(global.now());
        let node = Node::serve(&store, ANY).await;
        let adoption = start(&mut tasks, &west, &node, None);
        assert!(fenced(&adoption).await.contains(reason), "{what}: {:?}", adoption.state());

        let offer = adoption.look().await.unwrap();
        assert_eq!(offer.removed.len(), removed, "{what}: {:?}", names(&offer.removed));
        assert_eq!(names(&offer.kept), kept, "{what}");
        assert_eq!(offer.position.cluster, global.now().cluster(), "{what}");
        let other = Position { version: offer.position.version + 1, ..offer.position };
        assert_eq!(adoption.adopt(other).await, Err(AdoptError::NotShown), "{what}");
        assert_eq!(*west.state.borrow(), before, "{what}: nothing changed yet");

        let adopted = adoption.adopt(offer.position).await.unwrap();
        assert_eq!(adoption.adopt(offer.position).await, Ok(adopted), "{what}: asked again");
        synced(&adoption).await;
        let kept: Vec<Key> = kept.iter().map(|name| key(Kind::ZoneIngress, name)).collect();
        let wanted = expected(&global, &kept);
        assert_eq!(copy(&to_west(), &west.state.borrow()), wanted, "{what}");

        store.put(Kind::TrafficPermission, "later", Owner::Global, Audience::AllZones);
        let global = History::continuing(store.state.borrow().clone());
        let wanted = expected(&global, &kept);
        west.until("what comes later", |s| copy(&to_west(), s) == wanted).await;
        let own = view(&up(), &west.state.borrow());
        store.until("what the zone owns", |s| copy(&up(), s) == own).await;
    }
}

#[tokio::test]
async fn another_history_than_the_one_that_was_shown_is_not_adopted() {
    let history = followed();
    let west = zone_of(&history).await;
    let before = west.state.borrow().clone();
    let mut tasks = JoinSet::new();
    let mut shown = fork(&history, 30, 66);
    shown.policy("x");
    let (store, _) = Store::new(shown.now());
    let node = Node::serve(&store, ANY).await;
    let adoption = start(&mut tasks, &west, &node, None);
    fenced(&adoption).await;
    let offer = adoption.look().await.unwrap();
    let address = node.stop().await;

    // Of the same versions, and not the same.
    let mut second = fork(&history, 30, 67);
    second.policy("y");
    let (store, _) = Store::new(second.now());
    let node = Node::serve(&store, &address).await;
    let refused = adoption.adopt(offer.position).await.unwrap_err();
    assert!(matches!(refused, AdoptError::Another(_)), "{refused}");
    assert_eq!(*west.state.borrow(), before, "nothing changed");
    fenced(&adoption).await;

    let offer = adoption.look().await.unwrap();
    adoption.adopt(offer.position).await.unwrap();
    synced(&adoption).await;
    assert_eq!(copy(&to_west(), &west.state.borrow()), expected(&second, &[]));
    drop(node);
}

#[tokio::test]
async fn a_zone_that_follows_its_global_drops_what_was_kept_when_it_is_told_so() {
    let west = zone_of(&followed()).await;
    let mut tasks = JoinSet::new();
    let mut other = History::new(ClusterId(4));
    other.policy("a");
    let (store, _) = Store::new(other.now());
    let node = Node::serve(&store, ANY).await;
    let adoption = start(&mut tasks, &west, &node, None);
    fenced(&adoption).await;
    let offer = adoption.look().await.unwrap();
    adoption.adopt(offer.position).await.unwrap();
    synced(&adoption).await;
    let north = key(Kind::ZoneIngress, NORTH);
    assert!(west.state.borrow().get(&north).is_some(), "its zone may not know the new global yet");

    let offer = adoption.look().await.unwrap();
    assert_eq!((names(&offer.removed), offer.kept.len()), (vec![NORTH], 0));
    adoption.adopt(offer.position).await.unwrap();
    assert!(west.state.borrow().get(&north).is_none());
    let offer: Arc<Offer> = adoption.look().await.unwrap();
    assert!(offer.is_empty(), "{offer:?}");
}

#[tokio::test]
async fn a_zone_that_reaches_no_global_or_has_followed_none_is_told_so() {
    let mut tasks = JoinSet::new();
    let (store, _) = Store::new(global().now());
    let (fresh, _) = Store::new(zone().now());
    let node = Node::serve(&store, ANY).await;
    let (adoption, _) = client(client_of(&fresh, &[&node], no_reports())).unwrap();
    assert_eq!(adoption.look().await, Err(LookError::Nothing));

    let west = zone_of(&followed()).await;
    let adoption = start(&mut tasks, &west, &node, None);
    node.stop().await;
    let error = adoption.look().await.unwrap_err().to_string();
    assert!(error.contains("127.0.0.1") && error.contains("no node"), "{error}");
}

#[tokio::test]
async fn a_mutant_leaves_its_fence_by_itself_and_no_other() {
    let history = followed();
    let rolled_back = || fork(&history, 30, 66);
    let emptied = || History::new(ClusterId(4));
    for (mutant, global, leaves) in [
        (Mutant::ObeyRollback, rolled_back(), true),
        (Mutant::ObeyRollback, emptied(), false),
        (Mutant::EmptyListDeletes, emptied(), true),
        (Mutant::EmptyListDeletes, rolled_back(), false),
    ] {
        let west = zone_of(&history).await;
        let before = west.state.borrow().clone();
        let mut tasks = JoinSet::new();
        let (store, _) = Store::new(global.now());
        let node = Node::serve(&store, ANY).await;
        let adoption = start(&mut tasks, &west, &node, Some(mutant));
        if leaves {
            synced(&adoption).await;
            let wanted = view(&to_west(), &global.now());
            west.until("policies that nobody deleted are gone", |s| {
                copy(&to_west(), s) == wanted && !wanted.contains_key(&policy("p59"))
            })
            .await;
        } else {
            fenced(&adoption).await;
            assert_eq!(*west.state.borrow(), before, "{mutant:?}");
        }
    }
}

fn policy(name: &str) -> Key {
    key(Kind::TrafficPermission, name)
}
