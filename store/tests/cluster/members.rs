//! Members that come, go, and are restarted, and leadership that is handed from one to the other.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use higuma_store::{OrderError, Retention};
use tokio::task::JoinSet;

use super::*;

/// Between two writes: the machine is small, and they are to show gaps, not load.
const PACE: Duration = Duration::from_millis(5);

/// Writers that want every write of theirs acknowledged. What is refused because nobody leads is
/// asked again, as every client does; a write whose fate is not known is a failure.
struct Load {
    writers: JoinSet<u64>,
    stop: Arc<AtomicBool>,
}

impl Load {
    fn through(stores: impl Iterator<Item = Store>) -> Self {
        let (mut writers, stop) = (JoinSet::new(), Arc::new(AtomicBool::new(false)));
        for store in stores {
            let stop = stop.clone();
            writers.spawn(async move {
                let (mut written, mut pace) = (0, tokio::time::interval(PACE));
                while !stop.load(Ordering::Relaxed) {
                    acknowledged(&store).await;
                    written += 1;
                    pace.tick().await;
                }
                written
            });
        }
        Self { writers, stop }
    }

    /// How many were acknowledged; fails if one was not.
    async fn end(self) -> u64 {
        self.stop.store(true, Ordering::Relaxed);
        self.writers.join_all().await.into_iter().sum()
    }
}

async fn acknowledged(store: &Store) {
    static NEXT: AtomicU64 = AtomicU64::new(1_000);
    let id = NEXT.fetch_add(1, Ordering::Relaxed);
    let transaction = put(id, &format!("m{}", id % 50), &format!("{{\"n\":{id}}}"));
    let deadline = tokio::time::Instant::now() + PATIENCE;
    loop {
        match store.write(&transaction).await {
            Ok(_) => return,
            Err(error @ (WriteError::NoLeader(_) | WriteError::Busy(_))) => {
                assert!(tokio::time::Instant::now() < deadline, "{error}");
            }
            Err(error) => panic!("through node {}: {error}", store.node()),
        }
    }
}

/// Waits until a member knows that it leads.
async fn leads(store: &Store) {
    let mut seen = store.leader();
    let led = async {
        while seen != Some(store.node()) {
            seen = store.leader_is_not(seen).await.unwrap();
        }
    };
    tokio::time::timeout(PATIENCE, led).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn no_write_fails_while_each_member_is_restarted_in_turn() {
    let lab = Lab::new(3).await;
    let mut stores = lab.open_all().await;
    leader(&stores).await;
    for id in 1..=3 {
        let leaving = stores.remove(&id).unwrap();
        let load = Load::through(stores.values().cloned());
        leaving.shutdown().await;
        drop(leaving);
        let back = lab.open(id).await.unwrap();
        let version = stores.values().next().unwrap().snapshot().version();
        back.read(Consistency::AtLeast(version)).await.unwrap();
        stores.insert(id, back);
        assert!(load.end().await > 0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn leadership_goes_where_it_is_sent_and_nowhere_else() {
    let lab = Lab::new(3).await;
    let mut stores = lab.open_all().await;
    let first = leader(&stores).await;
    let load = Load::through(stores.values().cloned());
    for to in (1..=3).filter(|id| *id != first).chain([first]) {
        // Through any member.
        let led = ordered(async || stores[&1].transfer_leader(Some(to)).await).await;
        assert_eq!(led, to);
        leads(&stores[&to]).await;
    }
    load.end().await;
    let again = ordered(async || stores[&2].transfer_leader(Some(first)).await).await;
    assert_eq!(again, first, "it leads already");
    let second = first % 3 + 1;
    ordered(async || stores[&1].transfer_leader(Some(second)).await).await;

    let refused = stores[&first].transfer_leader(Some(9)).await.unwrap_err();
    assert!(refused.to_string().contains("node 9 is no member; members are 1, 2, 3"), "{refused}");
    let gone = (1..=3).find(|id| ![first, second].contains(id)).unwrap();
    stores.remove(&gone).unwrap().shutdown().await;
    let refused = stores[&first].transfer_leader(Some(gone)).await;
    let Err(OrderError::Refused(why)) = refused else { panic!("{refused:?}") };
    assert!(why.contains(&format!("node {gone} does not answer")), "{why}");
    assert_eq!(stores[&first].leader(), Some(second), "nothing was done");
}

/// So little that a hundred writes cross several snapshots and purges.
const LITTLE: Retention = Retention { entries: 40, bytes: 128 << 20, keep: 5, room: 0 };

impl Lab {
    /// A free address, and a node that waits there to be added.
    async fn joining(&self, id: u64) -> (String, Joining) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        (address, self.joining_at(id, listener))
    }

    fn joining_at(&self, id: u64, listener: TcpListener) -> Joining {
        let options = Options {
            folder: self.path(id),
            node: id,
            members: BTreeMap::new(),
            listener: Some(listener),
            tls: None,
            timers: Timers::default(),
            mutant: None,
        };
        let mut opens = JoinSet::new();
        opens.spawn(Store::open_with(options, LITTLE));
        Joining(opens)
    }
}

struct Joining(JoinSet<Result<Store, OpenError>>);

impl Joining {
    async fn ends(mut self) -> Result<Store, OpenError> {
        let ended = tokio::time::timeout(PATIENCE, self.0.join_next());
        ended.await.expect("it opens, or says why not").unwrap().unwrap()
    }
}

/// Repeats an order until it is done: a node may just be starting, or catching up.
async fn ordered<T>(order: impl AsyncFn() -> Result<T, OrderError>) -> T {
    let deadline = tokio::time::Instant::now() + PATIENCE;
    loop {
        match order().await {
            Ok(done) => return done,
            Err(error) => assert!(tokio::time::Instant::now() < deadline, "{error}"),
        }
        tokio::task::yield_now().await;
    }
}

fn refused<T: std::fmt::Debug>(result: Result<T, OrderError>) -> String {
    match result {
        Err(OrderError::Refused(why)) => why,
        other => panic!("{other:?}"),
    }
}

async fn told_that_it_is_out(store: &Store, id: u64) {
    let why = tokio::time::timeout(PATIENCE, store.failed()).await.expect("it is told");
    assert!(why.contains(&format!("node {id} was removed from cluster")), "{why}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_moves_to_other_nodes_while_it_is_written_to() {
    let lab = Lab::new(3).await;
    let mut stores = lab.open_all().await;
    for (old, new) in [(1, 4), (2, 5), (3, 6)] {
        let others = stores.iter().filter(|(id, _)| **id != old).map(|(_, store)| store.clone());
        let load = Load::through(others);
        let (address, joining) = lab.joining(new).await;
        let asked = stores.values().next_back().unwrap().clone();
        ordered(async || asked.add_learner(new, &address, Some(old)).await).await;
        let store = joining.ends().await.unwrap();
        let seen = asked.cluster().await.members.into_iter().find(|member| member.id == new);
        assert!(seen.is_some_and(|member| !member.votes && member.address == address));
        ordered(async || asked.promote(new, Some(old)).await).await;
        load.end().await;

        let gone = stores.remove(&old).unwrap();
        told_that_it_is_out(&gone, old).await;
        gone.shutdown().await;
        let version = asked.read(Consistency::Linearizable).await.unwrap().version();
        let there = store.read(Consistency::AtLeast(version)).await.unwrap();
        assert_eq!(there.content(), asked.snapshot().content());
        stores.insert(new, store);
    }
    let cluster = stores[&4].cluster().await;
    let members: Vec<_> = cluster.members.iter().map(|m| (m.id, m.votes)).collect();
    assert_eq!(members, [(4, true), (5, true), (6, true)]);

    // They know each other without a list.
    let address: SocketAddr = cluster.members[1].address.parse().unwrap();
    stores.remove(&5).unwrap().shutdown().await;
    let back = lab.joining_at(5, bind(address).await).ends().await.unwrap();
    let version = write(&back, &put(1, "after", "{}")).await;
    stores[&6].read(Consistency::AtLeast(version)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_not_to_be_a_member_is_refused_with_what_to_do() {
    let lab = Lab::new(3).await;
    let mut stores = lab.open_all().await;
    write(&stores[&1], &put(1, "kept", "{}")).await;
    let asked = stores[&2].clone();
    let (address, _four) = lab.joining(4).await;
    let (nobody, held) = {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        (listener.local_addr().unwrap().to_string(), listener)
    };
    drop(held);
    let taken = lab.members[&3].clone();
    for (id, at, want) in [
        (3, &*address, "node 3 is a member, at"),
        (4, &*taken, "is the address of node 3"),
        (4, &*nobody, "node 4 does not answer at"),
        (5, &*address, "is node 4, not node 5"),
        (0, &*address, "a node has a number from 1"),
        (4, "nonsense", "an address HOST:PORT"),
    ] {
        let why = refused(asked.add_learner(id, at, None).await);
        assert!(why.contains(want), "{why}");
    }
    let why = refused(asked.promote(4, None).await);
    assert!(why.contains("node 4 is no member; members are 1, 2, 3"), "{why}");
    assert!(refused(asked.remove(9).await).contains("node 9 is no member"));

    // One of three is down: no other may go, and it may.
    stores.remove(&3).unwrap().shutdown().await;
    let why = refused(asked.remove(1).await);
    assert!(why.contains("of 2 voters 1 would answer, and 2 are needed"), "{why}");
    ordered(async || asked.remove(3).await).await;
    let why = refused(asked.add_learner(3, &address, None).await);
    assert!(why.contains("numbers are never used twice") && why.contains("Take 4"), "{why}");

    // It comes back, with all its data, and is told.
    let back = lab.open(3).await.unwrap();
    told_that_it_is_out(&back, 3).await;
    back.shutdown().await;

    // Wiped, it is recognized by the list and by the calls of the others.
    let wiped = lab.folder.path().join("wiped");
    match lab.open_in(3, &wiped).await {
        Err(error @ OpenError::Form(FormError::Wiped { .. })) => {
            assert!(error.to_string().contains("higuma cluster replace"), "{error}");
        }
        other => panic!("{:?}", other.err()),
    }
    let at: SocketAddr = lab.members[&2].parse().unwrap();
    stores.remove(&2).unwrap().shutdown().await;
    drop(asked);
    std::fs::rename(lab.path(2), lab.folder.path().join("aside")).unwrap();
    match lab.joining_at(2, bind(at).await).ends().await {
        Err(error @ OpenError::Form(FormError::Called { node: 2, .. })) => {
            assert!(error.to_string().contains("higuma cluster replace 2 --with NEW"), "{error}");
        }
        other => panic!("a wiped node joined: {:?}", other.err()),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_that_is_removed_hands_over_and_the_last_one_stays() {
    let lab = Lab::new(2).await;
    let mut stores = lab.open_all().await;
    let first = leader(&stores).await;
    let second = 3 - first;
    ordered(async || stores[&second].transfer_leader(Some(first)).await).await;
    ordered(async || stores[&first].remove(first).await).await;
    let gone = stores.remove(&first).unwrap();
    told_that_it_is_out(&gone, first).await;
    leads(&stores[&second]).await;
    write(&stores[&second], &put(1, "alone", "{}")).await;
    let why = refused(stores[&second].remove(second).await);
    assert!(why.contains(&format!("node {second} is the last that votes")), "{why}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_comes_by_a_snapshot_and_its_number_stays_used_over_snapshots_and_restarts() {
    let lab = Lab::new(1).await;
    let listener = bind(lab.members[&1].parse().unwrap()).await;
    let options = |listener| Options {
        folder: lab.path(1),
        node: 1,
        members: lab.members.clone(),
        listener: Some(listener),
        tls: None,
        timers: Timers::default(),
        mutant: None,
    };
    let store = Store::open_with(options(listener), LITTLE).await.unwrap();
    let fill = async |from: u64, store: &Store| {
        for number in from..from + 200 {
            write(store, &put(number, &format!("m{number}"), "{}")).await;
        }
    };
    fill(0, &store).await;
    let (address, joining) = lab.joining(2).await;
    ordered(async || store.add_learner(2, &address, None).await).await;
    let new = joining.ends().await.unwrap();
    ordered(async || store.promote(2, None).await).await;
    let seen = store.read(Consistency::Linearizable).await.unwrap();
    let there = new.read(Consistency::AtLeast(seen.version())).await.unwrap();
    assert_eq!(*there, *seen);
    assert!(new.snapshot_counts().installed > 0, "the log alone no longer has it");

    ordered(async || store.remove(2).await).await;
    told_that_it_is_out(&new, 2).await;
    new.shutdown().await;
    fill(1_000, &store).await;
    // The entries that named node 2 are gone when the log begins behind them.
    let deadline = tokio::time::Instant::now() + PATIENCE;
    while store.own_state().purged_index < 300 {
        assert!(tokio::time::Instant::now() < deadline, "{:?}", store.own_state());
        tokio::task::yield_now().await;
    }
    store.shutdown().await;
    drop(store);
    let listener = bind(lab.members[&1].parse().unwrap()).await;
    let store = Store::open_with(options(listener), LITTLE).await.unwrap();
    leads(&store).await;
    let why = refused(store.add_learner(2, "127.0.0.1:9", None).await);
    assert!(why.contains("numbers are never used twice, and 2 was used"), "{why}");
}
