//! Clusters of several members in one process: real sockets, real files.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "cluster/members.rs"]
mod members;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use higuma_model::{
    Audience, Check, Draft, Key, Kind, Operation, Owner, Refusal, RequestId, Spec, Terms,
    Timestamp, Transaction,
};
use higuma_store::{Consistency, FormError, Mutant, OpenError, Options, Store, Timers, WriteError};
use tokio::net::TcpListener;

/// Long enough for an election with the default timers on a busy machine, many times over.
const PATIENCE: Duration = Duration::from_secs(30);

fn put(random: u64, name: &str, spec: &str) -> Transaction {
    Transaction {
        id: RequestId { at: Timestamp(1_000), random },
        at: Timestamp(1_000),
        writer: Owner::Global,
        demands: vec![],
        checks: vec![],
        operations: vec![Operation::Put(Draft {
            key: Key::mesh_resource(name),
            audience: Audience::AllZones,
            labels: BTreeMap::new(),
            spec: Spec::Json(spec.into()),
            status: None,
        })],
        terms: Terms::default(),
    }
}

struct Lab {
    folder: tempfile::TempDir,
    members: BTreeMap<u64, String>,
    mutant: Option<Mutant>,
}

impl Lab {
    /// Addresses for `size` members; each listener is bound again by its member.
    async fn new(size: u64) -> Self {
        let mut members = BTreeMap::new();
        for id in 1..=size {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            members.insert(id, listener.local_addr().unwrap().to_string());
        }
        Self { folder: tempfile::tempdir().unwrap(), members, mutant: None }
    }

    fn path(&self, id: u64) -> std::path::PathBuf {
        self.folder.path().join(id.to_string())
    }

    async fn open(&self, id: u64) -> Result<Store, OpenError> {
        self.open_in(id, &self.path(id)).await
    }

    async fn open_in(&self, id: u64, folder: &Path) -> Result<Store, OpenError> {
        let address: SocketAddr = self.members[&id].parse().unwrap();
        let listener = bind(address).await;
        Store::open(Options {
            folder: folder.to_owned(),
            node: id,
            members: self.members.clone(),
            listener: Some(listener),
            tls: None,
            timers: Timers::default(),
            mutant: self.mutant,
        })
        .await
    }

    async fn open_all(&self) -> BTreeMap<u64, Store> {
        let opened = futures::future::join_all(self.members.keys().map(|id| self.open(*id))).await;
        let stores: Vec<Store> = opened.into_iter().map(Result::unwrap).collect();
        let ids: Vec<_> = stores.iter().map(Store::cluster_id).collect();
        assert!(ids.windows(2).all(|pair| pair[0] == pair[1]), "one cluster id: {ids:?}");
        self.members.keys().copied().zip(stores).collect()
    }
}

/// Binds as soon as the endpoint of a store that did not open is gone.
async fn bind(address: SocketAddr) -> TcpListener {
    let deadline = tokio::time::Instant::now() + PATIENCE;
    loop {
        match TcpListener::bind(address).await {
            Ok(listener) => return listener,
            Err(error) => assert!(tokio::time::Instant::now() < deadline, "{error}"),
        }
        tokio::task::yield_now().await;
    }
}

async fn leader(stores: &BTreeMap<u64, Store>) -> u64 {
    let deadline = tokio::time::Instant::now() + PATIENCE;
    loop {
        for store in stores.values() {
            if let Some(leader) = store.cluster().await.leader
                && stores.contains_key(&leader)
            {
                return leader;
            }
        }
        assert!(tokio::time::Instant::now() < deadline, "no leader");
        tokio::task::yield_now().await;
    }
}

/// Writes until it is acknowledged, as a client does that knows nothing was changed.
async fn write(store: &Store, transaction: &Transaction) -> u64 {
    let deadline = tokio::time::Instant::now() + PATIENCE;
    loop {
        match store.write(transaction).await {
            Ok(version) => return version,
            Err(WriteError::Refused(refusal)) => panic!("refused: {refusal}"),
            Err(error) => assert!(tokio::time::Instant::now() < deadline, "{error}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_forms_and_any_member_writes_and_reads() {
    let lab = Lab::new(3).await;
    let stores = lab.open_all().await;
    leader(&stores).await;
    let mut last = 0;
    for (id, store) in &stores {
        let version = write(store, &put(*id, &format!("m{id}"), "{}")).await;
        assert!(version > last, "versions rise");
        last = version;
        let here = store.snapshot();
        assert!(here.get(&Key::mesh_resource(&format!("m{id}"))).is_some(), "reads its own write");
    }
    for store in stores.values() {
        let snapshot = store.read(Consistency::Linearizable).await.unwrap();
        assert_eq!((snapshot.version(), snapshot.len()), (last, 3));
        let reached = store.read(Consistency::AtLeast(last)).await.unwrap();
        assert_eq!(*reached, *snapshot, "same log, same state on every member");
    }
    let cluster = stores[&2].cluster().await;
    assert!(cluster.members.iter().all(|member| member.state.is_ok()), "{cluster:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_acknowledged_write_survives_the_restart_of_all_and_the_loss_of_the_leader() {
    let lab = Lab::new(3).await;
    let stores = lab.open_all().await;
    let version = write(&stores[&1], &put(1, "before", r#"{"a":1}"#)).await;
    let before = stores[&1].read(Consistency::Linearizable).await.unwrap();
    for store in stores.values() {
        store.shutdown().await;
    }
    drop(stores);

    let mut stores = lab.open_all().await;
    let snapshot = stores[&2].read(Consistency::Linearizable).await.unwrap();
    assert_eq!(snapshot.version(), version);
    let key = Key::mesh_resource("before");
    assert_eq!(snapshot.get(&key), before.get(&key), "byte for byte, times and versions included");
    assert!(snapshot.epochs().count() > 1, "each new leader begins an epoch");

    let lost = leader(&stores).await;
    stores.remove(&lost).unwrap().shutdown().await;
    let survivor = stores.values().next().unwrap();
    let after = write(survivor, &put(2, "after", "{}")).await;
    assert!(after > version);

    let back = lab.open(lost).await.unwrap();
    let caught_up = back.read(Consistency::AtLeast(after)).await.unwrap();
    assert_eq!(caught_up.len(), 2, "a member that was away catches up from the others");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_that_was_restarted_leads_only_after_an_election() {
    let lab = Lab::new(3).await;
    let mut stores = lab.open_all().await;
    write(&stores[&1], &put(1, "kept", "{}")).await;
    let last = leader(&stores).await;
    // The others first, so that there is nobody to hand leadership to.
    let others: Vec<u64> = stores.keys().copied().filter(|id| *id != last).collect();
    for id in others {
        stores.remove(&id).unwrap().shutdown().await;
    }
    stores.remove(&last).unwrap().shutdown().await;
    let alone = lab.open(last).await.unwrap();
    // Nobody votes for it. One that took itself for the leader would say so at once.
    let led = tokio::time::timeout(Duration::from_secs(1), alone.leader_is_not(None)).await;
    assert!(led.is_err(), "{led:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_majority_writes_are_refused_fast_and_stale_reads_go_on() {
    let lab = Lab::new(3).await;
    let mut stores = lab.open_all().await;
    let version = write(&stores[&1], &put(1, "kept", "{}")).await;
    let last = leader(&stores).await;
    let others: Vec<u64> = stores.keys().copied().filter(|id| *id != last).collect();
    for id in others {
        stores.remove(&id).unwrap().shutdown().await;
    }
    let alone = &stores[&last];
    let deadline = tokio::time::Instant::now() + PATIENCE;
    let refused = loop {
        match alone.write(&put(2, "lost", "{}")).await {
            Err(error @ (WriteError::NoLeader(_) | WriteError::Busy(_))) => break error,
            // Proposed before the leader noticed that it is alone.
            Err(WriteError::Unknown(_)) => {}
            other => panic!("acknowledged without a majority: {other:?}"),
        }
        assert!(tokio::time::Instant::now() < deadline);
    };
    assert!(refused.to_string().contains("Nothing was changed"), "{refused}");
    let error = alone.read(Consistency::Linearizable).await.unwrap_err().to_string();
    assert!(error.contains("not reached: node"), "names the missing: {error}");
    assert_eq!(alone.read(Consistency::Stale).await.unwrap().version(), version);
}

/// What the test above asks for fails with the defect: so it would be found.
#[tokio::test(flavor = "multi_thread")]
async fn the_mutant_answers_linearizable_reads_without_a_majority() {
    let lab = Lab { mutant: Some(Mutant::StaleRead), ..Lab::new(3).await };
    let mut stores = lab.open_all().await;
    let version = write(&stores[&1], &put(1, "kept", "{}")).await;
    for id in [2, 3] {
        stores.remove(&id).unwrap().shutdown().await;
    }
    let read = stores[&1].read(Consistency::Linearizable).await.unwrap();
    assert_eq!(read.version(), version);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_is_applied_once_and_a_failed_check_changes_nothing() {
    let lab = Lab::new(1).await;
    let store = lab.open(1).await.unwrap();
    let first = put(7, "once", "{}");
    let version = write(&store, &first).await;
    write(&store, &put(8, "other", "{}")).await;
    assert_eq!(write(&store, &first).await, version, "a repeated id answers what it answered");

    let mut stale = put(9, "once", r#"{"b":2}"#);
    let key = Key::mesh_resource("once");
    stale.demands = vec![Check::Unchanged { key: key.clone(), modified_at: version - 1 }];
    let before = store.snapshot();
    match store.write(&stale).await {
        Err(WriteError::Refused(Refusal::Demand { have, .. })) => assert_eq!(have, Some(version)),
        other => panic!("{other:?}"),
    }
    assert_eq!(store.snapshot().get(&key), before.get(&key));

    let mut foreign = put(10, "once", r#"{"c":3}"#);
    foreign.writer = Owner::zone("east");
    let error = store.write(&foreign).await.unwrap_err().to_string();
    assert!(error.contains("belongs to the global control plane"), "{error}");
    assert_eq!(store.snapshot().of_kind(Kind::Mesh).count(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wiped_node_and_a_wrong_address_are_refused() {
    let lab = Lab::new(3).await;
    let mut stores = lab.open_all().await;
    write(&stores[&1], &put(1, "kept", "{}")).await;
    stores.remove(&3).unwrap().shutdown().await;

    let empty = lab.folder.path().join("empty");
    match lab.open_in(3, &empty).await {
        Err(OpenError::Form(error @ FormError::Wiped { .. })) => {
            assert!(error.to_string().contains("must not come back under its old id"), "{error}");
        }
        other => panic!("a wiped node joined: {:?}", other.err()),
    }
    let Err(error) = lab.open_in(3, &lab.path(2)).await else {
        panic!("two processes, one folder")
    };
    assert!(error.to_string().contains("another process holds its lock"), "{error}");

    stores.remove(&2).unwrap().shutdown().await;
    let deadline = tokio::time::Instant::now() + PATIENCE;
    let refused = loop {
        let Err(error) = lab.open_in(3, &lab.path(2)).await else {
            panic!("took another's folder")
        };
        // The lock of the store that was shut down goes with its last connection.
        if !error.to_string().contains("holds its lock") {
            break error;
        }
        assert!(tokio::time::Instant::now() < deadline, "{error}");
    };
    assert!(refused.to_string().contains("belongs to node 2"), "{refused}");
}

#[tokio::test]
async fn whoever_waits_for_a_leader_is_told_who_it_is_and_when_raft_has_stopped() {
    let lab = Lab::new(1).await;
    let store = lab.open(1).await.unwrap();
    let leader = tokio::time::timeout(PATIENCE, store.leader_is_not(None)).await.unwrap();
    assert_eq!(leader, Ok(Some(1)));
    store.shutdown().await;
    let mut known = leader;
    let stopped = async {
        while let Ok(leader) = known {
            known = store.leader_is_not(leader).await;
        }
    };
    tokio::time::timeout(PATIENCE, stopped).await.expect("a stopped member says so");
}
