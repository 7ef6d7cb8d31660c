//! Members that keep little of their log: snapshots, purge, and catching up by a snapshot.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use higuma_model::{
    Audience, Draft, Key, Labels, Operation, Owner, RequestId, Spec, Terms, Timestamp, Transaction,
};
use higuma_store::{Consistency, OpenError, Options, Retention, Store, Timers, WriteError};
use higuma_testkit::poll_until;
use tokio::net::TcpListener;

const PATIENCE: Duration = Duration::from_secs(60);
/// So little that a hundred writes cross several snapshots and purges.
const LITTLE: Retention = Retention { entries: 40, bytes: 128 << 20, keep: 5, room: 0 };

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
            spec: Spec::Json(format!("{{\"v\":\"{}\"}}", "x".repeat(2_000)).into()),
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
    async fn new(size: u64) -> Self {
        let mut members = BTreeMap::new();
        let mut held = Vec::new();
        for id in 1..=size {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            members.insert(id, listener.local_addr().unwrap().to_string());
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
        Store::open_with(options, LITTLE).await
    }

    async fn open_all(&self) -> BTreeMap<u64, Store> {
        let opened = futures::future::join_all(self.members.keys().map(|id| self.open(*id))).await;
        self.members.keys().copied().zip(opened.into_iter().map(Result::unwrap)).collect()
    }

    /// The snapshots of a node, oldest first.
    fn snapshots(&self, id: u64) -> Vec<PathBuf> {
        let mut found = files(&self.path(id).join("snapshots"), "snap");
        found.sort();
        found
    }
}

fn files(folder: &Path, extension: &str) -> Vec<PathBuf> {
    let all = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    all.filter(|path| path.extension().is_some_and(|found| found == extension)).collect()
}

/// Fifty at a time: between two such groups a snapshot can begin.
async fn write_all(store: &Store, numbers: std::ops::Range<u64>) -> u64 {
    let numbers: Vec<u64> = numbers.collect();
    let mut last = 0;
    for group in numbers.chunks(50) {
        let group = group.iter().map(|number| write(store, *number));
        last = futures::future::join_all(group).await.into_iter().max().unwrap();
    }
    last
}

async fn write(store: &Store, number: u64) -> u64 {
    let transaction = put(number);
    let deadline = tokio::time::Instant::now() + PATIENCE;
    loop {
        match store.write(&transaction).await {
            Ok(version) => return version,
            Err(WriteError::Refused(refusal)) => panic!("refused: {refusal}"),
            Err(error) => assert!(tokio::time::Instant::now() < deadline, "{error}"),
        }
    }
}

/// Until the log of a node begins after entry `index`.
async fn purged_past(store: &Store, index: u64) {
    let purged = async || store.own_state().purged_index;
    poll_until("a purge", PATIENCE, purged, |purged| *purged > index).await.unwrap();
}

async fn shutdown(stores: BTreeMap<u64, Store>) {
    for store in stores.into_values() {
        store.shutdown().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_that_was_away_past_the_purge_point_catches_up_by_a_snapshot() {
    let lab = Lab::new(3).await;
    let mut stores = lab.open_all().await;
    write_all(&stores[&1], 0..10).await;
    let away = stores.remove(&3).unwrap();
    let had = away.own_state().last_index;
    away.shutdown().await;
    drop(away);
    let written = write_all(&stores[&1], 10..260).await;
    for store in stores.values() {
        purged_past(store, had).await;
    }

    let back = lab.open(3).await.unwrap();
    let caught_up = back.read(Consistency::AtLeast(written)).await.unwrap();
    let known = stores[&1].read(Consistency::Linearizable).await.unwrap();
    assert_eq!(*caught_up, *known, "whole, results and tombstones included");
    assert!(back.snapshot_counts().installed >= 1, "{:?}", back.snapshot_counts());
    stores.insert(3, back);
    shutdown(stores).await;

    let stores = lab.open_all().await;
    let again = stores[&3].read(Consistency::Linearizable).await.unwrap();
    assert_eq!(again.version(), written);
    assert_eq!(again.len(), 260);
    write_all(&stores[&3], 260..261).await;
    shutdown(stores).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_transfer_goes_on_from_what_is_on_disk_and_begins_again_where_that_is_damaged() {
    let lab = Lab::new(3).await;
    let mut stores = lab.open_all().await;
    write_all(&stores[&1], 0..10).await;
    let away = stores.remove(&3).unwrap();
    let had = away.own_state().last_index;
    away.shutdown().await;
    drop(away);
    let written = write_all(&stores[&1], 10..260).await;
    for store in stores.values() {
        purged_past(store, had).await;
    }
    let folder = lab.path(3).join("snapshots");
    // Whichever leads sends its own; each has half of it on disk, of one a byte is wrong.
    for id in [1, 2] {
        let mut bytes = fs::read(lab.snapshots(id).pop().unwrap()).unwrap();
        let digest: String =
            bytes[bytes.len() - 32..].iter().map(|byte| format!("{byte:02x}")).collect();
        bytes.truncate(bytes.len() / 2);
        bytes[700] ^= 1;
        fs::write(folder.join(format!("{digest}.part")), bytes).unwrap();
    }
    let back = lab.open(3).await.unwrap();
    let caught_up = back.read(Consistency::AtLeast(written)).await.unwrap();
    assert_eq!(caught_up.len(), 260);
    assert!(files(&folder, "part").is_empty(), "nothing half is left");
    stores.insert(3, back);
    shutdown(stores).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_starts_from_its_snapshot_from_the_older_one_or_says_why_not() {
    let lab = Lab::new(1).await;
    let store = lab.open(1).await.unwrap();
    let written = write_all(&store, 0..230).await;
    purged_past(&store, 30).await;
    let known = store.snapshot();
    store.shutdown().await;
    drop(store);
    let same = async || {
        let store = lab.open(1).await.unwrap();
        let found = store.read(Consistency::AtLeast(written)).await.unwrap();
        assert_eq!(found.len(), known.len());
        assert!(found.iter().eq(known.iter()), "byte for byte");
        assert!(found.results().eq(known.results()), "a repeated write still answers the same");
        store.shutdown().await;
    };
    same().await;

    let newest = lab.snapshots(1).pop().unwrap();
    let mut bytes = fs::read(&newest).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 0x10;
    fs::write(&newest, &bytes).unwrap();
    same().await;
    assert!(newest.with_extension("damaged").exists(), "kept as evidence");

    for path in lab.snapshots(1) {
        fs::remove_file(path).unwrap();
    }
    let Err(error) = lab.open(1).await else { panic!("opened without its state") };
    let error = error.to_string();
    for text in ["no snapshot is left in", "the log begins after entry", "Put the file back"] {
        assert!(error.contains(text), "{text:?} is not in {error}");
    }
}
