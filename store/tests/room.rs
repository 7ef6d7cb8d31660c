//! A member whose disk is nearly full: it does not lead, and without a majority that has room only
//! deletions are taken.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use higuma_model::{
    Audience, Draft, Key, Labels, Operation, Owner, RequestId, Spec, Terms, Timestamp, Transaction,
};
use higuma_store::{Options, Retention, Store, Timers, WriteError};
use higuma_testkit::poll_until;
use tokio::net::TcpListener;

const PATIENCE: Duration = Duration::from_secs(30);
/// More than any disk has: so this node's is nearly full.
const NEVER_ENOUGH: u64 = 1 << 62;

fn transaction(random: u64, operation: Operation) -> Transaction {
    Transaction {
        id: RequestId { at: Timestamp(1_000), random },
        at: Timestamp(1_000),
        writer: Owner::Global,
        demands: vec![],
        checks: vec![],
        operations: vec![operation],
        terms: Terms::default(),
    }
}

fn put(random: u64) -> Transaction {
    let draft = Draft {
        key: Key::mesh_resource("m"),
        audience: Audience::AllZones,
        labels: Labels::new(),
        spec: Spec::Json(format!("{{\"v\":{random}}}").into()),
        status: None,
    };
    transaction(random, Operation::Put(draft))
}

fn options(folder: &Path, node: u64, members: &BTreeMap<u64, String>) -> Options {
    Options {
        folder: folder.join(node.to_string()),
        node,
        members: members.clone(),
        listener: None,
        tls: None,
        timers: Timers::default(),
        mutant: None,
    }
}

async fn acknowledged(store: &Store, transaction: &Transaction) {
    let written = async || store.write(transaction).await;
    poll_until("a write", PATIENCE, written, Result::is_ok).await.unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_takes_deletions_and_refuses_puts_until_there_is_room() {
    let folder = tempfile::tempdir().unwrap();
    let members = BTreeMap::from([(1, "127.0.0.1:1".to_owned())]);
    let open = async |room| {
        let retention = Retention { room, ..Retention::default() };
        Store::open_with(options(folder.path(), 1, &members), retention).await.unwrap()
    };
    let store = open(0).await;
    acknowledged(&store, &put(1)).await;
    store.shutdown().await;
    drop(store);

    let store = open(NEVER_ENOUGH).await;
    let led = store.leader_is_not(None);
    tokio::time::timeout(PATIENCE, led).await.unwrap().unwrap();
    let refused = store.write(&put(2)).await;
    match &refused {
        Err(WriteError::Busy(why)) => {
            assert!(why.contains("disk nearly full on node 1 ("), "{why}");
            assert!(why.contains("only deletions are taken"), "{why}");
        }
        other => panic!("taken: {other:?}"),
    }
    assert!(store.own_state().disk_low);
    let gone = transaction(3, Operation::Delete(Key::mesh_resource("m")));
    acknowledged(&store, &gone).await;
    assert!(store.snapshot().is_empty());
    store.shutdown().await;
    drop(store);

    let store = open(0).await;
    acknowledged(&store, &put(4)).await;
    store.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn members_with_full_disks_do_not_lead_and_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let (mut members, mut listeners) = (BTreeMap::new(), BTreeMap::new());
    for id in 1..=3 {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        members.insert(id, listener.local_addr().unwrap().to_string());
        listeners.insert(id, listener);
    }
    let mut opened = Vec::new();
    for id in [1, 2, 3] {
        let room = if id == 3 { 0 } else { NEVER_ENOUGH };
        let mut options = options(folder.path(), id, &members);
        options.listener = listeners.remove(&id);
        opened.push(Store::open_with(options, Retention { room, ..Retention::default() }));
    }
    let stores = futures::future::join_all(opened).await;
    let stores: Vec<Store> = stores.into_iter().map(Result::unwrap).collect();
    let leader = async || stores[0].leader();
    poll_until("the one with room leads", PATIENCE, leader, |l| *l == Some(3)).await.unwrap();
    // Of three members one has room: that is no majority.
    let tried = async || stores[0].write(&put(1)).await.map_err(|error| error.to_string());
    let named = |tried: &Result<u64, String>| {
        tried.as_ref().is_err_and(|why| why.contains("node 1 (") && why.contains("node 2 ("))
    };
    poll_until("a refusal", PATIENCE, tried, named).await.unwrap().unwrap_err();
    let gone = transaction(3, Operation::Delete(Key::mesh_resource("m")));
    acknowledged(&stores[1], &gone).await;
    for store in &stores {
        store.shutdown().await;
    }
}
