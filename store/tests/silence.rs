//! A leader that says nothing more while its connections stay open: paused, or cut off by a
//! network that drops packets.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use higuma_model::{
    Audience, Draft, Key, Operation, Owner, RequestId, Spec, Terms, Timestamp, Transaction,
};
use higuma_store::{Consistency, Options, Store, Timers};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};

const PATIENCE: Duration = Duration::from_secs(30);
/// A leader's own limit for what is forwarded to it (`FORWARD_LIMIT`): who waits for a silent one
/// waits that long. An election takes 1.2 s at most.
const WAITED_FOR_THE_SILENT: Duration = Duration::from_secs(4);

/// Three members whose every connection goes through a relay that can fall silent.
struct Cluster {
    stores: BTreeMap<u64, Store>,
    /// The member that neither hears nor is heard; 0 for none.
    silent: Arc<watch::Sender<u64>>,
    _relays: JoinSet<()>,
    _folder: tempfile::TempDir,
}

impl Cluster {
    async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let silent = Arc::new(watch::channel(0).0);
        let mut relays = JoinSet::new();
        let mut listeners = BTreeMap::new();
        for id in 1..=3_u64 {
            listeners.insert(id, TcpListener::bind("127.0.0.1:0").await.unwrap());
        }
        let real: BTreeMap<u64, SocketAddr> =
            listeners.iter().map(|(id, l)| (*id, l.local_addr().unwrap())).collect();
        let mut opening = Vec::new();
        for (id, listener) in listeners {
            let mut members = BTreeMap::new();
            for (peer, address) in &real {
                let shown = match *peer == id {
                    true => *address,
                    false => relay(&mut relays, [id, *peer], *address, silent.subscribe()).await,
                };
                members.insert(*peer, shown.to_string());
            }
            opening.push(Store::open(Options {
                folder: folder.path().join(id.to_string()),
                node: id,
                members,
                listener: Some(listener),
                tls: None,
                timers: Timers::default(),
                mutant: None,
            }));
        }
        let opened = futures::future::join_all(opening).await;
        let stores = (1..).zip(opened.into_iter().map(Result::unwrap)).collect();
        Self { stores, silent, _relays: relays, _folder: folder }
    }

    /// The leader that all members name.
    async fn leader(&self) -> u64 {
        let known = async {
            loop {
                let named: Vec<_> = self.stores.values().map(Store::leader).collect();
                if let Some(leader) = named[0].filter(|_| named.windows(2).all(|w| w[0] == w[1])) {
                    return leader;
                }
                tokio::task::yield_now().await;
            }
        };
        timeout(PATIENCE, known).await.expect("a leader")
    }
}

/// Listens for the connections of `ends[0]` to `ends[1]`.
async fn relay(
    relays: &mut JoinSet<()>,
    ends: [u64; 2],
    to: SocketAddr,
    silent: watch::Receiver<u64>,
) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    relays.spawn(async move {
        let mut connections = JoinSet::new();
        while let Ok((from, _)) = listener.accept().await {
            let Ok(to) = TcpStream::connect(to).await else { continue };
            let (from_read, from_write) = from.into_split();
            let (to_read, to_write) = to.into_split();
            connections.spawn(carry(from_read, to_write, ends, silent.clone()));
            connections.spawn(carry(to_read, from_write, ends, silent.clone()));
        }
    });
    address
}

/// Passes bytes on, but holds them while one of `ends` is silent; closes nothing.
async fn carry(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    ends: [u64; 2],
    mut silent: watch::Receiver<u64>,
) {
    let mut buffer = vec![0; 64 << 10];
    while let Ok(length @ 1..) = from.read(&mut buffer).await {
        let heard = silent.wait_for(|silent| !ends.contains(silent)).await.is_ok();
        if !heard || to.write_all(&buffer[..length]).await.is_err() {
            return;
        }
    }
}

fn put(random: u64) -> Transaction {
    Transaction {
        id: RequestId { at: Timestamp(1_000), random },
        at: Timestamp(1_000),
        writer: Owner::Global,
        demands: vec![],
        checks: vec![],
        operations: vec![Operation::Put(Draft {
            key: Key::mesh_resource(&format!("m{random}")),
            audience: Audience::AllZones,
            labels: BTreeMap::new(),
            spec: Spec::Json("{}".into()),
            status: None,
        })],
        terms: Terms::default(),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_asked_of_a_leader_that_fell_silent_is_asked_of_the_next() {
    let cluster = Cluster::new().await;
    let leader = cluster.leader().await;
    let followers: Vec<_> = cluster.stores.iter().filter(|(id, _)| **id != leader).collect();
    let written = followers[0].1.write(&put(1)).await;
    let before = written.expect("a follower forwards to the leader");

    cluster.silent.send_replace(leader);
    let began = Instant::now();
    let second = put(2);
    let (write, read) =
        tokio::join!(followers[0].1.write(&second), followers[1].1.read(Consistency::Linearizable));
    let took = began.elapsed();
    assert!(write.expect("written by the next leader") > before);
    assert!(read.expect("read from the next leader").version() >= before);
    assert!(took < WAITED_FOR_THE_SILENT, "{took:?}: it was waited for the silent leader");

    cluster.silent.send_replace(0);
    let old = &cluster.stores[&leader];
    let heard = timeout(PATIENCE, async {
        while !old.read(Consistency::Linearizable).await.is_ok_and(|s| s.len() == 2) {}
    });
    heard.await.expect("the old leader follows once it is heard again");
}
