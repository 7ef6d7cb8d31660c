//! The state machine against what may never break, and against a plain map that does the same.

use std::collections::BTreeMap;

use higuma_model::{Audience, Labels, MAX_RESULTS, RequestId, Spec, Timestamp, Upstream};
use proptest::prelude::*;

use super::*;
use crate::codec;

const CLUSTER: ClusterId = ClusterId(7);

fn machine() -> Machine {
    Machine::new(CLUSTER)
}

fn transaction(random: u64, operations: Vec<Operation>) -> Transaction {
    Transaction {
        id: RequestId { at: Timestamp(1_000), random },
        at: Timestamp(1_000 + i64::try_from(random).unwrap()),
        writer: Owner::Global,
        demands: vec![],
        checks: vec![],
        operations,
    }
}

fn key(name: u8) -> Key {
    Key::new(Kind::TrafficPermission, "default", &format!("p{name}"))
}

fn put(name: u8, value: u8) -> Operation {
    Operation::Put(Draft {
        key: key(name),
        audience: Audience::AllZones,
        labels: Labels::new(),
        spec: Spec::Json(format!("{{\"v\":{value}}}").into()),
        status: None,
    })
}

fn resource(name: &str, owner: Owner, version: u64) -> Resource {
    Resource {
        key: Key::new(Kind::Dataplane, "default", name),
        owner,
        version,
        modified_at: 0,
        created: Timestamp(1),
        modified: Timestamp(2),
        audience: Audience::None,
        labels: Labels::new(),
        spec: Spec::Json("{}".into()),
        status: None,
    }
}

fn received(version: u64, upserts: Vec<Resource>, removed: Vec<Key>) -> Received {
    let position = Upstream { cluster: ClusterId(9), epoch: 1, version };
    Received { zone: Some("east".into()), position, builds_on: None, upserts, removed }
}

/// Every resource as it is kept and sent, in order.
fn bytes(snapshot: &Snapshot) -> Vec<Vec<u8>> {
    use prost::Message;
    let wire = |resource: &Arc<Resource>| crate::proto::Resource::from(&**resource);
    snapshot.iter().map(|resource| wire(resource).encode_to_vec()).collect()
}

#[derive(Debug, Clone)]
enum Step {
    Write(Vec<Operation>, Option<(u8, u64)>),
    Repeat(usize),
    Term,
    Batch(u64, u8),
}

fn operation() -> impl Strategy<Value = Operation> {
    prop_oneof![
        6 => (0..6_u8, 0..4_u8).prop_map(|(name, value)| put(name, value)),
        3 => (0..6_u8).prop_map(|name| Operation::Delete(key(name))),
        1 => Just(Operation::DeleteMesh("default".into())),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    let demand = prop::option::weighted(0.3, (0..6_u8, 0..30_u64));
    prop_oneof![
        8 => (prop::collection::vec(operation(), 1..4), demand)
            .prop_map(|(operations, demand)| Step::Write(operations, demand)),
        1 => (0..20_usize).prop_map(Step::Repeat),
        1 => Just(Step::Term),
        2 => (1..40_u64, 0..4_u8).prop_map(|(version, name)| Step::Batch(version, name)),
    ]
}

/// The steps as a log, framed as the log holds it.
fn log(steps: &[Step]) -> Vec<Result<bytes::Bytes, u64>> {
    let mut log: Vec<Result<bytes::Bytes, u64>> = Vec::new();
    for (at, step) in steps.iter().enumerate() {
        let random = at as u64;
        let mut command = match step {
            Step::Term => {
                log.push(Err(random + 1));
                continue;
            }
            Step::Repeat(back) => {
                let earlier = log.iter().rev().filter(|entry| entry.is_ok()).nth(*back);
                log.extend(earlier.cloned());
                continue;
            }
            Step::Write(operations, _) => transaction(random, operations.clone()),
            Step::Batch(version, name) => {
                let east = resource(&format!("d{name}"), Owner::zone("east"), *version);
                let batch = received(*version, vec![east], vec![]);
                transaction(random, vec![Operation::Receive(batch)])
            }
        };
        if let Step::Write(_, Some((name, modified_at))) = step {
            command.demands = vec![Check::Unchanged { key: key(*name), modified_at: *modified_at }];
        }
        log.push(Ok(codec::encode(&command).unwrap()));
    }
    log
}

fn run(log: &[Result<bytes::Bytes, u64>]) -> (Machine, Vec<Outcome>) {
    let mut machine = machine();
    let mut outcomes = Vec::new();
    for (index, entry) in (1..).zip(log) {
        match entry {
            Ok(command) => outcomes.push(machine.apply(index, &codec::decode(command).unwrap())),
            Err(term) => machine.begin_term(*term, index, term * 31),
        }
    }
    (machine, outcomes)
}

proptest! {
    #[test]
    fn same_log_same_bytes(steps in prop::collection::vec(step(), 0..60)) {
        let log = log(&steps);
        let (one, first) = run(&log);
        let (two, second) = run(&log);
        prop_assert_eq!(bytes(one.snapshot()), bytes(two.snapshot()));
        prop_assert_eq!(&one, &two);
        prop_assert_eq!(first, second);
    }

    /// A map that is changed only by transactions that answer `Done` holds what the state holds.
    #[test]
    fn a_transaction_is_applied_whole_or_not_at_all(steps in prop::collection::vec(step(), 0..60)) {
        let (mut machine, mut map) = (machine(), BTreeMap::<Key, Spec>::new());
        for (index, entry) in (1..).zip(log(&steps)) {
            let Ok(command) = entry else { continue };
            let transaction = codec::decode(&command).unwrap();
            let known = machine.snapshot().result(&transaction.id).is_some();
            let before = machine.snapshot().clone();
            match machine.apply(index, &transaction) {
                Outcome::Done { .. } if !known => apply_to(&mut map, &transaction.operations),
                Outcome::Done { .. } => prop_assert_eq!(bytes(&before), bytes(machine.snapshot())),
                Outcome::Refused(_) => prop_assert_eq!(bytes(&before), bytes(machine.snapshot())),
            }
            let state = machine.snapshot().of_kind(Kind::TrafficPermission);
            let state: BTreeMap<_, _> = state.map(|r| (r.key.clone(), r.spec.clone())).collect();
            prop_assert_eq!(&state, &map);
            prop_assert!(machine.snapshot().version() <= index);
        }
    }
}

fn apply_to(map: &mut BTreeMap<Key, Spec>, operations: &[Operation]) {
    for operation in operations {
        match operation {
            Operation::Put(draft) => drop(map.insert(draft.key.clone(), draft.spec.clone())),
            Operation::Delete(key) => drop(map.remove(key)),
            Operation::DeleteMesh(_) => map.clear(),
            Operation::Receive(_) | Operation::Adopt(_) => {}
        }
    }
}

#[test]
fn an_acknowledged_write_is_never_applied_twice() {
    let mut machine = machine();
    let first = transaction(1, vec![put(1, 1)]);
    let done = machine.apply(1, &first);
    machine.apply(2, &transaction(2, vec![put(1, 2)]));
    assert_eq!(machine.apply(3, &first), done, "it answers what it answered");
    let spec = machine.snapshot().get(&key(1)).unwrap().spec.clone();
    assert_eq!(spec, Spec::Json("{\"v\":2}".into()));
}

#[test]
fn an_id_that_may_be_forgotten_is_refused() {
    let mut machine = machine();
    let first = transaction(0, vec![put(1, 1)]);
    machine.apply(1, &first);
    for n in 1..=MAX_RESULTS as u64 {
        let mut later = transaction(n, vec![]);
        later.id.at = Timestamp(2_000);
        machine.apply(n + 1, &later);
    }
    assert_eq!(machine.apply(99_999, &first), Outcome::Refused(Refusal::Expired));
}

#[test]
fn a_clock_that_jumped_refuses_no_later_write() {
    const YEAR: i64 = 365 * 24 * 60 * 60 * 1000;
    let mut machine = machine();
    let mut index = 0;
    let mut write = |machine: &mut Machine, now: i64, random: u64| {
        index += 1;
        let id = machine.snapshot().request_id(Timestamp(now), random);
        let request =
            Transaction { id, at: Timestamp(now), ..transaction(random, vec![put(1, 1)]) };
        machine.apply(index, &request)
    };
    write(&mut machine, 1_000, 1);
    write(&mut machine, YEAR, 2);
    for random in 3..MAX_RESULTS as u64 + 9 {
        let outcome = write(&mut machine, 1_001, random);
        assert!(matches!(outcome, Outcome::Done { .. }), "{random}: {outcome:?}");
    }
    let lost = machine.apply(99_999, &transaction(1, vec![put(1, 2)]));
    assert_eq!(lost, Outcome::Refused(Refusal::Expired), "an old id is not applied again");
}

#[test]
fn only_the_owner_writes_a_resource() {
    let mut machine = machine();
    let east = resource("d1", Owner::zone("east"), 3);
    let batch = received(3, vec![east.clone()], vec![]);
    machine.apply(1, &transaction(1, vec![Operation::Receive(batch)]));
    let before = machine.snapshot().clone();

    let west = received(9, vec![resource("d1", Owner::zone("west"), 1)], vec![]);
    let west = Received { zone: Some("west".into()), ..west };
    let back = received(9, vec![resource("x", Owner::Global, 1)], vec![]);
    let for_west = received(9, vec![resource("d2", Owner::zone("west"), 1)], vec![]);
    let by_west = received(9, vec![], vec![east.key.clone()]);
    let by_west = Received { zone: Some("west".into()), ..by_west };
    for (random, operation) in [
        (2, Operation::Delete(east.key.clone())),
        (3, Operation::Receive(west)),
        (4, Operation::Receive(back)),
        (5, Operation::Receive(for_west)),
        (6, Operation::Receive(by_west)),
    ] {
        let outcome = machine.apply(random, &transaction(random, vec![operation]));
        assert!(matches!(outcome, Outcome::Refused(Refusal::Foreign { .. })), "{outcome:?}");
        assert_eq!(bytes(machine.snapshot()), bytes(&before));
    }
}

#[test]
fn a_batch_is_written_once_with_its_position_and_from_one_store() {
    let mut machine = machine();
    let receive = |batch| vec![Operation::Receive(batch)];
    let one = resource("d1", Owner::zone("east"), 5);
    machine.apply(1, &transaction(1, receive(received(5, vec![one.clone()], vec![]))));
    let stored = machine.snapshot().get(&one.key).unwrap().clone();
    assert_eq!((stored.version, stored.modified_at), (5, 1), "the owner's version, and our own");
    assert_eq!(machine.snapshot().cursor("east").unwrap().version, 5);

    let replay = received(5, vec![], vec![one.key.clone()]);
    machine.apply(2, &transaction(2, receive(replay)));
    assert!(machine.snapshot().get(&one.key).is_some(), "a replay changes nothing");

    let gap = Received { builds_on: Some(8), ..received(9, vec![], vec![one.key.clone()]) };
    let outcome = machine.apply(3, &transaction(3, receive(gap)));
    assert!(matches!(outcome, Outcome::Refused(Refusal::Stale { .. })), "{outcome:?}");

    let mut other = received(99, vec![], vec![one.key.clone()]);
    other.position.cluster = ClusterId(10);
    let outcome = machine.apply(4, &transaction(4, receive(other)));
    assert!(matches!(outcome, Outcome::Refused(Refusal::OtherStore { .. })), "{outcome:?}");

    machine.apply(5, &transaction(5, receive(received(6, vec![], vec![one.key.clone()]))));
    assert!(machine.snapshot().get(&one.key).is_none());
    assert_eq!(machine.snapshot().cursor("east").unwrap().version, 6);
}

#[test]
fn what_is_adopted_replaces_the_position_that_it_names_and_nothing_else() {
    let zone = |random, operation| Transaction {
        writer: Owner::zone("east"),
        ..transaction(random, vec![operation])
    };
    let at = |cluster, version| Upstream { cluster: ClusterId(cluster), epoch: 1, version };
    let down = |position, upserts, removed| Received {
        zone: None,
        position,
        builds_on: None,
        upserts,
        removed,
    };
    let policy = |name: &str, version| Resource {
        key: Key::new(Kind::TrafficPermission, "default", name),
        ..resource(name, Owner::Global, version)
    };
    let (a, b) = (policy("a", 50), policy("b", 3));
    let mut machine = machine();
    let own = resource("own", Owner::zone("east"), 0);
    let draft = Draft {
        key: own.key.clone(),
        audience: Audience::None,
        labels: Labels::new(),
        spec: own.spec.clone(),
        status: None,
    };
    machine.apply(1, &zone(1, Operation::Put(draft)));
    let first = down(at(9, 50), vec![a.clone()], vec![]);
    machine.apply(2, &zone(2, Operation::Receive(first)));

    let adopt = |replaces, received| Operation::Adopt(Adopted { replaces, received });
    let other = down(at(8, 3), vec![b.clone()], vec![a.key.clone()]);
    let before = machine.snapshot().clone();
    for (random, operation) in [
        (3, adopt(at(9, 49), other.clone())),
        (4, adopt(at(8, 50), other.clone())),
        (5, adopt(at(9, 50), down(at(8, 3), vec![], vec![own.key.clone()]))),
        (6, adopt(at(9, 50), Received { zone: Some("west".into()), ..other.clone() })),
    ] {
        let outcome = machine.apply(random, &zone(random, operation));
        assert!(matches!(outcome, Outcome::Refused(_)), "{random}: {outcome:?}");
        assert_eq!(bytes(machine.snapshot()), bytes(&before), "{random}");
        assert_eq!(machine.snapshot().upstream(), before.upstream(), "{random}");
    }

    let adopted = zone(7, adopt(at(9, 50), other.clone()));
    let adopted = codec::decode(&codec::encode(&adopted).unwrap()).unwrap();
    let outcome = machine.apply(7, &adopted);
    assert_eq!(outcome, Outcome::Done { version: 7 });
    let keys: Vec<_> = machine.snapshot().iter().map(|r| r.key.clone()).collect();
    assert_eq!(keys.len(), 2, "{keys:?}");
    assert!(keys.contains(&b.key) && keys.contains(&own.key), "{keys:?}");
    assert_eq!(machine.snapshot().upstream(), Some(at(8, 3)));
    let again = machine.apply(8, &zone(8, adopt(at(9, 50), other)));
    assert!(matches!(again, Outcome::Refused(Refusal::Stale { .. })), "only once: {again:?}");
}

#[test]
fn each_term_begins_one_epoch() {
    let mut machine = machine();
    machine.begin_term(1, 1, 11);
    machine.begin_term(1, 2, 12);
    machine.begin_term(3, 3, 13);
    let epochs: Vec<_> = machine.snapshot().epochs().map(|e| (e.nonce, e.since)).collect();
    assert_eq!(epochs, [(11, 1), (13, 3)]);
    assert_eq!(machine.snapshot().epoch_at(2).unwrap().nonce, 11);
}

#[test]
fn a_command_of_another_format_or_with_damage_is_not_applied() {
    let framed = codec::encode(&transaction(1, vec![put(1, 1)])).unwrap();
    for at in 0..framed.len() {
        let mut damaged = framed.to_vec();
        damaged[at] ^= 0x10;
        assert!(codec::decode(&damaged.into()).is_err(), "byte {at}");
    }
    let large = "x".repeat(higuma_model::MAX_TRANSACTION_BYTES);
    let draft = Draft {
        key: key(1),
        audience: Audience::None,
        labels: Labels::new(),
        spec: Spec::Json(large.into()),
        status: None,
    };
    let error = codec::encode(&transaction(1, vec![Operation::Put(draft)])).unwrap_err();
    assert!(error.to_string().contains("more than the 1048576"), "{error}");
}
