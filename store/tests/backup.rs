//! A cluster is backed up and restored, or loses its majority and goes on from its survivor.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use higuma_model::{
    Audience, Contents, Draft, Key, Labels, Operation, Owner, RequestId, Snapshot, Spec, Terms,
    Timestamp, Transaction,
};
use higuma_store::{
    Backup, Consistency, FormError, OpenError, Options, Stamp, Store, Survivor, SurvivorError,
    Timers, WriteError, restore, write_backup,
};
use higuma_testkit::poll_until;
use tokio::net::TcpListener;

const PATIENCE: Duration = Duration::from_secs(60);
/// What a new cluster leaves out of the old one's versions; see ADR 0036.
const LEFT_OUT: u64 = 1_000_000_000;

fn put(number: u64) -> Transaction {
    Transaction {
        id: RequestId { at: Timestamp(1_000), random: number },
        at: Timestamp(1_000),
        writer: Owner::Global,
        demands: vec![],
        checks: vec![],
        operations: vec![Operation::Put(Draft {
            key: Key::mesh_resource(&format!("m{number}")),
            audience: Audience::AllZones,
            labels: Labels::new(),
            spec: Spec::Json(format!("{{\"v\":\"{}\"}}", "x".repeat(3_000)).into()),
            status: None,
        })],
        terms: Terms::default(),
    }
}

struct Lab {
    folder: tempfile::TempDir,
    members: BTreeMap<u64, String>,
}

impl Lab {
    async fn new(ids: &[u64]) -> Self {
        let mut members = BTreeMap::new();
        let mut held = Vec::new();
        for id in ids {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            members.insert(*id, listener.local_addr().unwrap().to_string());
            held.push(listener);
        }
        Self { folder: tempfile::tempdir().unwrap(), members }
    }

    fn path(&self, id: u64) -> PathBuf {
        self.folder.path().join(id.to_string())
    }

    async fn open(&self, id: u64) -> Result<Store, OpenError> {
        let address: SocketAddr = self.members[&id].parse().unwrap();
        let bound = async || TcpListener::bind(address).await;
        let listener = poll_until("its address", PATIENCE, bound, Result::is_ok).await;
        let options = Options {
            folder: self.path(id),
            node: id,
            members: self.members.clone(),
            listener: Some(listener.unwrap().unwrap()),
            tls: None,
            timers: Timers::default(),
            mutant: None,
        };
        Store::open(options).await
    }

    async fn open_all(&self) -> BTreeMap<u64, Store> {
        let opened = futures::future::join_all(self.members.keys().map(|id| self.open(*id))).await;
        self.members.keys().copied().zip(opened.into_iter().map(Result::unwrap)).collect()
    }
}

async fn write(store: &Store, number: u64) -> u64 {
    let transaction = put(number);
    let written = async || store.write(&transaction).await;
    let done = |written: &Result<u64, WriteError>| match written {
        Err(WriteError::Refused(refusal)) => panic!("refused: {refusal}"),
        written => written.is_ok(),
    };
    poll_until("a write", PATIENCE, written, done).await.unwrap().unwrap()
}

async fn write_all(store: &Store, numbers: std::ops::Range<u64>) {
    futures::future::join_all(numbers.map(|number| write(store, number))).await;
}

async fn read(store: &Store) -> Arc<Snapshot> {
    let read = async || store.read(Consistency::Linearizable).await;
    poll_until("a read", PATIENCE, read, Result::is_ok).await.unwrap().unwrap()
}

async fn back_up(store: &Store, path: &Path) -> Arc<Snapshot> {
    let state = read(store).await;
    let stamp = Stamp { made: Timestamp(9), node: store.node(), program: "test".to_owned() };
    let mut bytes = Vec::new();
    let mut sink = |more: &[u8]| {
        bytes.extend_from_slice(more);
        Ok(())
    };
    write_backup(&state, &stamp, &mut sink).unwrap();
    fs::write(path, bytes).unwrap();
    state
}

/// A state as if it were still of the cluster that it came from.
fn as_before(state: &Snapshot) -> Snapshot {
    let mut contents = Contents::of(state);
    contents.cluster = contents.predecessors.pop().unwrap().cluster;
    Snapshot::from(contents)
}

async fn shut_down(stores: BTreeMap<u64, Store>) {
    futures::future::join_all(stores.values().map(Store::shutdown)).await;
}

#[tokio::test]
async fn a_cluster_of_three_goes_on_from_a_backup() {
    let old = Lab::new(&[1, 2, 3]).await;
    let stores = old.open_all().await;
    write_all(&stores[&2], 0..120).await;
    let file = old.folder.path().join("backup");
    let state = back_up(&stores[&2], &file).await;
    write_all(&stores[&2], 120..130).await;
    let old_cluster = stores[&1].cluster_id();
    shut_down(stores).await;

    let backup = Backup::read(&file).unwrap();
    assert_eq!((backup.cluster(), &backup.state), (old_cluster, &*state));
    let new = Lab::new(&[1, 2, 3]).await;
    let cluster = restore(&backup, &new.path(1), 1, &new.members).unwrap();
    let stores = new.open_all().await;
    for store in stores.values() {
        assert_eq!(store.cluster_id(), cluster);
        let seen = read(store).await;
        let before = as_before(&seen);
        assert_eq!(before.content(), state.content());
        assert!(before.iter().eq(state.iter()) && before.version() == state.version());
    }
    let version = write(&stores[&3], 200).await;
    assert!(version > state.version() + LEFT_OUT, "{version}");
    write_all(&stores[&1], 201..260).await;
    shut_down(stores).await;

    let stores = new.open_all().await;
    for store in stores.values() {
        assert_eq!(read(store).await.len(), state.len() + 60);
        assert_eq!(store.cluster().await.divergences(), []);
    }
    shut_down(stores).await;
}

#[tokio::test]
async fn a_restored_node_takes_no_member_of_another_cluster() {
    let old = Lab::new(&[1, 2]).await;
    let stores = old.open_all().await;
    write(&stores[&1], 1).await;
    let file = old.folder.path().join("backup");
    back_up(&stores[&1], &file).await;
    stores[&1].shutdown().await;
    fs::remove_dir_all(old.path(1)).unwrap();
    restore(&Backup::read(&file).unwrap(), &old.path(1), 1, &old.members).unwrap();
    let Err(error) = old.open(1).await else { panic!("node 2 is of the old cluster") };
    assert!(matches!(error, OpenError::Form(FormError::Refused { peer: 2, .. })), "{error}");
    let said = error.to_string();
    assert!(said.contains("remove its data folder only if that cluster is gone"), "{said}");
    stores[&2].shutdown().await;
}

#[tokio::test]
async fn the_survivor_of_a_lost_majority_begins_a_new_cluster() {
    let mut lab = Lab::new(&[1, 2, 3]).await;
    let stores = lab.open_all().await;
    write_all(&stores[&1], 0..40).await;
    let state = read(&stores[&3]).await;
    let path = lab.path(3);
    let running = Survivor::open(&path).await.unwrap_err();
    assert!(running.to_string().contains("another process holds its lock"), "{running}");
    shut_down(stores).await;
    for lost in [1, 2] {
        fs::remove_dir_all(lab.path(lost)).unwrap();
    }

    let survivor = Survivor::open(&path).await.unwrap();
    let remains = survivor.remains().clone();
    assert_eq!((remains.node, remains.is_voter, remains.resources), (3, true, state.len()));
    assert_eq!((remains.version, remains.cluster), (state.version(), state.cluster()));
    assert_eq!((&remains.members, remains.newest), (&lab.members, Some(Timestamp(1_000))));
    assert!(remains.committed_index <= remains.last_index && remains.last_term > 0);
    let refused = survivor.force_new(&lab.members).unwrap_err().to_string();
    assert!(refused.contains("lowest number, 1, not to node 3"), "{refused}");

    // Under numbers of their own, nobody is taken for one of the lost.
    let more = Lab::new(&[4, 5]).await;
    lab.members.retain(|id, _| *id == 3);
    lab.members.extend(more.members);
    let cluster = survivor.force_new(&lab.members).unwrap();
    let aside = path.join(survivor.aside());
    assert!(aside.join("log").exists() && aside.join("identity").exists());
    drop(survivor);
    let stores = lab.open_all().await;
    for store in stores.values() {
        let seen = read(store).await;
        assert_eq!((seen.cluster(), as_before(&seen).content()), (cluster, state.content()));
    }
    assert!(write(&stores[&5], 100).await > state.version() + LEFT_OUT);
    shut_down(stores).await;
}

#[tokio::test]
async fn a_survivor_alone_is_a_cluster_of_one() {
    let mut lab = Lab::new(&[1, 2, 3]).await;
    let stores = lab.open_all().await;
    write_all(&stores[&1], 0..40).await;
    let state = read(&stores[&2]).await;
    shut_down(stores).await;
    let alone: BTreeMap<_, _> =
        lab.members.clone().into_iter().filter(|(id, _)| *id == 2).collect();
    let survivor = Survivor::open(&lab.path(2)).await.unwrap();
    let cluster = survivor.force_new(&alone).unwrap();
    drop(survivor);
    lab.members = alone;
    let store = lab.open(2).await.unwrap();
    let seen = read(&store).await;
    assert_eq!(as_before(&seen).content(), state.content());
    write(&store, 100).await;
    store.shutdown().await;
    match Survivor::open(&lab.path(2)).await {
        Err(SurvivorError::Alone { node: 2, cluster: found }) => assert_eq!(found, cluster),
        other => panic!("{other:?}"),
    }
    let nothing = Survivor::open(&lab.path(7)).await.unwrap_err().to_string();
    assert!(nothing.contains("holds no data of a node"), "{nothing}");
    assert!(!lab.path(7).exists());
}
