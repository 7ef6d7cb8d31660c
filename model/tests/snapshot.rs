//! What readers of a Snapshot rely on: differences, changes since a version, tombstones, results.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use higuma_model::{
    BelowHorizon, ClusterId, Key, Kind, MAX_RESULTS, MAX_TOMBSTONES, Outcome, Owner, RESULT_AGE_MS,
    RequestId, Resource, Snapshot, Timestamp, testing,
};
use proptest::prelude::*;

/// One transaction: keys (of few) to put, or to remove.
type Steps = Vec<Vec<(bool, u8)>>;

fn steps() -> impl Strategy<Value = Steps> {
    let operation = (any::<bool>(), 0_u8..6);
    proptest::collection::vec(proptest::collection::vec(operation, 1..4), 1..24)
}

fn resource(key: u8, version: u64) -> Arc<Resource> {
    let name = format!("n{}", key / 2);
    // Two kinds, so that the order of keys is not that of names.
    let resource = match key % 2 {
        0 => testing::traffic_permission(&name).resource(Owner::Global, version),
        _ => testing::dataplane(&name).resource(Owner::zone("east"), version),
    };
    Arc::new(resource)
}

/// The state after each transaction, the empty one first.
fn play(steps: &Steps) -> Vec<Snapshot> {
    let mut snapshot = Snapshot::new(ClusterId(1));
    let mut all = vec![snapshot.clone()];
    for (at, operations) in (1..).zip(steps) {
        for (put, key) in operations {
            let resource = resource(*key, at);
            if *put {
                snapshot.put(resource);
            } else {
                snapshot.remove(&resource.key, at);
            }
        }
        all.push(snapshot.clone());
    }
    all
}

fn contents(snapshot: &Snapshot) -> BTreeMap<Key, Arc<Resource>> {
    snapshot.iter().map(|resource| (resource.key.clone(), resource.clone())).collect()
}

fn keys(resources: &[Arc<Resource>]) -> BTreeSet<Key> {
    resources.iter().map(|resource| resource.key.clone()).collect()
}

proptest! {
    #[test]
    fn old_and_since_make_new(steps in steps()) {
        let all = play(&steps);
        for (old, new) in all.iter().flat_map(|old| all.iter().map(move |new| (old, new))) {
            let delta = new.since(old);
            let mut rebuilt = contents(old);
            for removed in &delta.removed {
                prop_assert_eq!(rebuilt.remove(&removed.key), Some(removed.clone()));
            }
            for upsert in &delta.upserts {
                let before = rebuilt.insert(upsert.key.clone(), upsert.clone());
                prop_assert_ne!(before.as_ref(), Some(upsert), "a change changes something");
            }
            prop_assert_eq!(rebuilt, contents(new));
            let in_order: Vec<_> = delta.upserts.iter().map(|upsert| &upsert.key).collect();
            prop_assert!(in_order.is_sorted());
        }
    }

    #[test]
    fn changes_since_is_the_difference(steps in steps()) {
        let all = play(&steps);
        let new = all.last().unwrap();
        for (version, old) in (0..).zip(&all) {
            let changes = new.changes_since(version).unwrap();
            let delta = new.since(old);
            prop_assert_eq!(keys(&changes.upserts), keys(&delta.upserts));
            prop_assert!(changes.upserts.iter().map(|r| r.modified_at).is_sorted());
            prop_assert!(changes.removed.iter().map(|(_, tombstone)| tombstone.version).is_sorted());
            let removed: BTreeSet<_> = changes.removed.iter().map(|(key, _)| key.clone()).collect();
            prop_assert!(removed.is_superset(&keys(&delta.removed)));
            // What came and went since may be told as removed: to remove it is no change.
            for key in removed.difference(&keys(&delta.removed)) {
                prop_assert!(old.get(key).is_none() && new.get(key).is_none(), "{}", key);
            }
        }
    }

    #[test]
    fn a_key_is_either_there_or_a_tombstone(steps in steps()) {
        for snapshot in play(&steps) {
            for key in (0..6).map(|key| resource(key, 1).key.clone()) {
                prop_assert!(snapshot.get(&key).is_none() || snapshot.tombstone(&key).is_none());
            }
            let of_kinds = Kind::ALL.into_iter().map(|kind| snapshot.of_kind(kind).count());
            prop_assert_eq!(of_kinds.sum::<usize>(), snapshot.len());
        }
    }
}

#[test]
fn tombstones_are_bounded_and_raise_the_horizon() {
    let key = |n: usize| Key::new(Kind::TrafficPermission, "m", &n.to_string());
    let template = testing::traffic_permission("x").resource(Owner::Global, 1);
    let mut snapshot = Snapshot::new(ClusterId(1));
    let mut version = 0;
    for n in 0..MAX_TOMBSTONES + 2 {
        version += 1;
        let resource = Resource { key: key(n), modified_at: version, ..template.clone() };
        snapshot.put(Arc::new(resource));
        version += 1;
        snapshot.remove(&key(n), version);
    }
    // The first two removals, at versions 2 and 4, are forgotten.
    assert_eq!(snapshot.horizon(), 4);
    assert_eq!(snapshot.tombstone(&key(1)), None);
    assert_eq!(snapshot.tombstone(&key(2)).unwrap().version, 6);
    assert_eq!(snapshot.changes_since(3).unwrap_err(), BelowHorizon { horizon: 4 });
    let changes = snapshot.changes_since(4).unwrap();
    assert_eq!(changes.removed.len(), MAX_TOMBSTONES);
    assert_eq!(changes.removed[0].0, key(2));
    assert!(changes.upserts.is_empty());
}

#[test]
fn a_resource_that_comes_back_leaves_no_tombstone() {
    let snapshot = play(&vec![vec![(true, 0)], vec![(false, 0)], vec![(true, 0)]]).pop().unwrap();
    let changes = snapshot.changes_since(1).unwrap();
    assert_eq!(changes.removed, []);
    assert_eq!(changes.upserts[0].modified_at, 3);
}

fn id(at: i64, random: u64) -> RequestId {
    RequestId { at: Timestamp(at), random }
}

#[test]
fn results_expire_by_age() {
    let mut snapshot = Snapshot::new(ClusterId(1));
    let outcome = Outcome::Done { version: 1 };
    snapshot.remember(id(1000, 1), outcome.clone(), None, Timestamp(1000));
    snapshot.remember(id(2000, 1), outcome.clone(), None, Timestamp(2000));
    assert_eq!(snapshot.result(&id(1000, 1)), Some(&outcome));
    assert!(!snapshot.is_expired(&id(1000, 1)));

    let later = 1000 + RESULT_AGE_MS;
    snapshot.remember(id(later, 1), outcome.clone(), None, Timestamp(later));
    assert_eq!(snapshot.result(&id(1000, 1)), None);
    assert!(snapshot.is_expired(&id(1000, 1)));
    assert!(snapshot.is_expired(&id(1000, 77)), "one never seen is as old");
    assert_eq!(snapshot.result(&id(2000, 1)), Some(&outcome));
    assert!(!snapshot.is_expired(&id(2000, 1)));
}

#[test]
fn results_expire_by_number() {
    let mut snapshot = Snapshot::new(ClusterId(1));
    let last = i64::try_from(MAX_RESULTS).unwrap() + 1;
    for at in 1..=last {
        snapshot.remember(id(at, 0), Outcome::Done { version: 1 }, None, Timestamp(at));
    }
    assert_eq!(snapshot.result(&id(1, 0)), None);
    assert!(snapshot.is_expired(&id(1, 0)));
    assert!(snapshot.result(&id(2, 0)).is_some());
    assert!(!snapshot.is_expired(&id(2, 0)));
}
