//! The state machine against what may never break, and against a plain map that does the same.

use std::collections::BTreeMap;

use higuma_model::{
    Audience, Effect, Idempotency, Labels, MAX_RESULTS, RequestId, Spec, Terms, Timestamp, Upstream,
};
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
        terms: Terms::default(),
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
    let large = "x".repeat(higuma_model::MAX_ENTRY_BYTES);
    let draft = Draft {
        key: key(1),
        audience: Audience::None,
        labels: Labels::new(),
        spec: Spec::Json(large.into()),
        status: None,
    };
    let error = codec::encode(&transaction(1, vec![Operation::Put(draft)])).unwrap_err();
    assert!(error.to_string().contains("more than the 2097152"), "{error}");
}

fn named(key: u128, request: u128, random: u64, operations: Vec<Operation>) -> Transaction {
    let effects = Arc::from([Effect::Created]);
    let idempotency = Some(Idempotency { key, request, effects });
    Transaction { terms: Terms { idempotency, quota: None }, ..transaction(random, operations) }
}

#[test]
fn a_named_request_is_applied_once_and_its_name_serves_no_other() {
    let mut machine = machine();
    let first = machine.apply(1, &named(7, 1, 1, vec![put(1, 1)]));
    assert_eq!(first, Outcome::Done { version: 1 });
    machine.apply(2, &transaction(2, vec![put(1, 2)]));
    let before = bytes(machine.snapshot());

    let again = named(7, 1, 3, vec![put(1, 1)]);
    assert_eq!(machine.apply(3, &again), first, "answered as the first");
    assert_eq!(machine.apply(4, &again), first, "and so is the same attempt");
    let other = machine.apply(5, &named(7, 2, 5, vec![put(2, 1)]));
    assert_eq!(other, Outcome::Refused(Refusal::KeyReused));
    assert_eq!(bytes(machine.snapshot()), before);
    let keyed = machine.snapshot().keyed(7).unwrap();
    assert_eq!((keyed.version, keyed.id.random, &*keyed.effects), (1, 1, &[Effect::Created][..]));

    // What was refused changed nothing: its name is free.
    let mut refused = named(8, 1, 6, vec![put(3, 1)]);
    refused.demands = vec![Check::Exists(key(3))];
    assert!(matches!(machine.apply(6, &refused), Outcome::Refused(Refusal::Demand { .. })));
    assert!(machine.snapshot().keyed(8).is_none());
    assert_eq!(machine.apply(7, &named(8, 1, 7, vec![put(3, 1)])), Outcome::Done { version: 7 });
}

#[test]
fn a_name_is_forgotten_with_the_id_of_what_was_applied_under_it() {
    let mut machine = machine();
    let first = named(7, 1, 0, vec![put(1, 1)]);
    machine.apply(1, &first);
    for n in 1..MAX_RESULTS as u64 {
        let mut later = transaction(n, vec![]);
        later.id.at = Timestamp(2_000);
        machine.apply(n + 1, &later);
    }
    let mut retry = named(7, 1, 1, vec![put(1, 2)]);
    retry.id.at = Timestamp(2_001);
    assert!(machine.snapshot().keyed(7).is_some());
    assert_eq!(machine.apply(99_998, &retry), Outcome::Done { version: 1 }, "the last one kept");
    assert!(machine.snapshot().keyed(7).is_none(), "that answer pushed the first one out");
    assert_eq!(machine.apply(99_999, &first), Outcome::Refused(Refusal::Expired));
}

#[test]
fn above_the_quota_only_what_shrinks_the_state_is_taken() {
    let bounded = |random, quota, operations| {
        let terms = Terms { idempotency: None, quota: Some(quota) };
        Transaction { terms, ..transaction(random, operations) }
    };
    let mut machine = machine();
    machine.apply(1, &bounded(1, 1_000, vec![put(1, 1), put(2, 1)]));
    let bytes = machine.snapshot().bytes();
    let sum: usize = machine.snapshot().iter().map(|resource| resource.size()).sum();
    assert_eq!(bytes, sum as u64);
    let one = bytes / 2;
    let refused = machine.apply(2, &bounded(2, bytes, vec![put(3, 1)]));
    assert_eq!(refused, Outcome::Refused(Refusal::Full { bytes: bytes + one, quota: bytes }));
    assert_eq!(machine.snapshot().bytes(), bytes, "nothing was applied");
    for (index, operations, done) in [
        (3, vec![put(1, 2)], true),
        (4, vec![put(1, 200)], false),
        (5, vec![Operation::Delete(key(2)), put(3, 1)], true),
        (6, vec![Operation::Delete(key(3))], true),
    ] {
        // Far above it, since it was lowered.
        let outcome = machine.apply(index, &bounded(index, 1, operations));
        assert_eq!(matches!(outcome, Outcome::Done { .. }), done, "{index}: {outcome:?}");
    }
    assert_eq!(machine.snapshot().bytes(), one);
}

proptest! {
    #[test]
    fn the_bytes_of_the_state_are_those_of_its_resources(
        steps in prop::collection::vec(step(), 0..60),
    ) {
        let (machine, _) = run(&log(&steps));
        let sum: usize = machine.snapshot().iter().map(|resource| resource.size()).sum();
        prop_assert_eq!(machine.snapshot().bytes(), sum as u64);
    }

    /// By whatever way a state came about, and in whatever order: it says what it says.
    #[test]
    fn the_content_of_a_state_is_that_of_its_resources(
        steps in prop::collection::vec(step(), 0..60),
        at in any::<prop::sample::Index>(),
    ) {
        let (machine, _) = run(&log(&steps));
        let built = |resources: &[Arc<Resource>]| {
            let mut built = Snapshot::new(CLUSTER);
            resources.iter().rev().for_each(|resource| built.put(resource.clone()));
            built.content()
        };
        let mut resources: Vec<_> = machine.snapshot().iter().cloned().collect();
        prop_assert_eq!(machine.snapshot().content(), built(&resources));
        if !resources.is_empty() {
            let at = at.index(resources.len());
            let mut other = (*resources[at]).clone();
            other.version += 1;
            resources[at] = Arc::new(other);
            prop_assert_ne!(machine.snapshot().content(), built(&resources));
        }
    }
}

#[test]
fn terms_are_read_as_they_were_written() {
    let effects =
        [Effect::Created, Effect::Updated, Effect::Unchanged { modified_at: 9 }, Effect::Deleted];
    let idempotency = Idempotency { key: 1 << 120, request: 3, effects: effects.into() };
    let terms = Terms { idempotency: Some(idempotency), quota: Some(5) };
    let written = Transaction { terms, ..transaction(1, vec![put(1, 1)]) };
    assert_eq!(codec::decode(&codec::encode(&written).unwrap()).unwrap(), written);
    for refusal in [Refusal::KeyReused, Refusal::Full { bytes: 7, quota: 5 }] {
        let outcome = Outcome::Refused(refusal);
        assert_eq!(Outcome::try_from(crate::proto::Outcome::from(&outcome)).unwrap(), outcome);
    }
}

/// The bytes of a named and bounded transaction as the first version that knew them wrote them.
#[test]
fn terms_are_read_as_they_were_first_written() {
    const GOLDEN: &str = "017f1079660a450a0c08e80711010000000000000010e9071a00522e0a10000000000000\
         000000000000000000011210000000000000000000000000000000021a0208011a040803\
         10095805";
    let effects = Arc::from([Effect::Created, Effect::Unchanged { modified_at: 9 }]);
    let idempotency = Some(Idempotency { key: 1, request: 2, effects });
    let written =
        Transaction { terms: Terms { idempotency, quota: Some(5) }, ..transaction(1, vec![]) };
    let framed = codec::encode(&written).unwrap();
    let hex: String = framed.iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(hex, GOLDEN);
    assert_eq!(codec::decode(&framed).unwrap(), written);
}
