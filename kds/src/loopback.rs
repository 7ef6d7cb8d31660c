//! Both ends over real connections on loopback.

mod adoption;
mod garbage;
mod store;
mod tls;

use std::collections::HashMap;
use std::sync::Arc;

use higuma_model::{Audience, ClusterId, Kind, Owner, Snapshot};
use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio_stream::wrappers::{ReceiverStream, TcpListenerStream};
use tokio_util::sync::CancellationToken;
use tonic::transport::Channel;

use crate::batch::Position;
use crate::inbox::{Flow, Laggard, ZoneReport, ZoneStream};
use crate::messages::{self, Request, Response};
use crate::proto::kuma::mesh::v1alpha1 as kuma;
use crate::testing::{CLUSTER, History, copy, to_west, view};
use crate::wire::Direction;
use crate::{Client, ClientState, Standing, client, server, tuned};
use store::{PATIENCE, Store};

const ANY: &str = "127.0.0.1:0";
const ZONE_STORE: ClusterId = ClusterId(0xfee1);

fn up() -> Direction {
    Direction::ToGlobal("west".into())
}

/// A node of the global, and how to stop it.
struct Node {
    address: String,
    stop: CancellationToken,
    serving: JoinSet<()>,
}

impl Node {
    async fn serve(store: &Arc<Store>, address: &str) -> Self {
        let listener = TcpListener::bind(address).await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let stop = CancellationToken::new();
        let routes = server(store.state.subscribe(), store.clone(), stop.clone());
        let stopped = stop.clone().cancelled_owned();
        let mut serving = JoinSet::new();
        serving.spawn(async move {
            let server = tuned(tonic::transport::Server::builder()).add_routes(routes);
            let incoming = TcpListenerStream::new(listener);
            server.serve_with_incoming_shutdown(incoming, stopped).await.unwrap();
        });
        Self { address, stop, serving }
    }

    async fn stop(mut self) -> String {
        self.stop.cancel();
        self.serving.join_next().await.unwrap().unwrap();
        self.address
    }
}

fn follow(
    tasks: &mut JoinSet<()>,
    zone: &Arc<Store>,
    nodes: &[&Node],
    reports: watch::Receiver<ZoneReport>,
) -> watch::Receiver<ClientState> {
    let (adoption, running) = client(client_of(zone, nodes, reports)).unwrap();
    tasks.spawn(running);
    adoption.states()
}

fn client_of(zone: &Arc<Store>, nodes: &[&Node], reports: watch::Receiver<ZoneReport>) -> Client {
    Client {
        zone: "west".into(),
        globals: nodes.iter().map(|node| node.address.clone()).collect(),
        tls: None,
        pinned: None,
        snapshots: zone.state.subscribe(),
        inbox: zone.clone(),
        reports,
        mutant: None,
        stop: CancellationToken::new(),
    }
}

fn no_reports() -> watch::Receiver<ZoneReport> {
    watch::channel(ZoneReport::default()).1
}

async fn until_state(
    states: &mut watch::Receiver<ClientState>,
    done: impl Fn(&ClientState) -> bool,
) -> ClientState {
    let found = tokio::time::timeout(PATIENCE, states.wait_for(|state| done(state))).await;
    let found = found.ok().map(|state| state.unwrap().clone());
    found.unwrap_or_else(|| panic!("last state: {:?}", states.borrow()))
}

fn global() -> History {
    let mut global = History::new(CLUSTER);
    global.put(Kind::Mesh, "default", Owner::Global, Audience::AllZones);
    global.policy("a");
    global
}

fn zone() -> History {
    let mut zone = History::new(ZONE_STORE);
    zone.put(Kind::Dataplane, "dp-1", Owner::zone("west"), Audience::None);
    zone
}

#[tokio::test]
async fn both_ways_converge_and_move_on_to_another_node() {
    let mut tasks = JoinSet::new();
    let (global, mut events) = Store::new(global().now());
    let (west, _) = Store::new(zone().now());
    let (first, second) = (Node::serve(&global, ANY).await, Node::serve(&global, ANY).await);
    let mut states = follow(&mut tasks, &west, &[&first, &second], no_reports());

    let converged = async |what: &str| {
        let down =
            |zone: &Snapshot| copy(&to_west(), zone) == view(&to_west(), &global.state.borrow());
        let up_copy = |global: &Snapshot| copy(&up(), global) == view(&up(), &west.state.borrow());
        global.until(what, up_copy).await;
        west.until(what, down).await;
    };
    converged("the first lists").await;
    until_state(&mut states, |state| matches!(state, ClientState::Synced { .. })).await;

    global.put(Kind::TrafficPermission, "b", Owner::Global, Audience::AllZones);
    west.put(Kind::Dataplane, "dp-2", Owner::zone("west"), Audience::None);
    converged("changes").await;

    // Whichever of the two serves the zone, one of these rounds stops it.
    let address = first.stop().await;
    global.put(Kind::TrafficPermission, "one", Owner::Global, Audience::AllZones);
    west.put(Kind::Dataplane, "one", Owner::zone("west"), Audience::None);
    converged("with the second node alone").await;
    let again = Node::serve(&global, &address).await;
    second.stop().await;
    global.put(Kind::TrafficPermission, "two", Owner::Global, Audience::AllZones);
    west.put(Kind::Dataplane, "two", Owner::zone("west"), Audience::None);
    converged("with the first node again").await;
    drop(again);
    let mut opened = 0;
    let mut applied = 0;
    while let Ok(event) = events.try_recv() {
        match event.what {
            ZoneStream::Opened(hello) => {
                opened += 1;
                assert!(hello.commits && *event.zone == *"west");
            }
            ZoneStream::Standing(Standing::Applied(version)) => {
                assert!(version >= applied, "the zone goes back from {applied} to {version}");
                applied = version;
            }
            ZoneStream::Refused(verdicts) => assert_eq!(verdicts, []),
            ZoneStream::Standing(_) | ZoneStream::Closed => {}
        }
    }
    assert!(opened >= 2 && applied > 0, "{opened} streams, applied {applied}");
}

#[tokio::test]
async fn a_zone_of_another_cluster_fences_and_sends_nothing_up() {
    let mut tasks = JoinSet::new();
    let (global, mut events) = Store::new(global().now());
    let mut zone = zone();
    zone.change(|state| {
        let at = state.version() + 1;
        state.set_upstream(Position { cluster: ClusterId(4), epoch: 1, version: 3 }, at);
    });
    let (west, _) = Store::new(zone.now());
    let node = Node::serve(&global, ANY).await;
    let mut states = follow(&mut tasks, &west, &[&node], no_reports());

    let fenced = until_state(&mut states, |s| matches!(s, ClientState::Fenced { .. })).await;
    let ClientState::Fenced { reason } = fenced else { panic!("{fenced:?}") };
    assert!(reason.contains("came from cluster 00000000000000000000000000000004"), "{reason}");
    assert_eq!(*west.state.borrow(), zone.now(), "nothing changed in the zone");
    assert_eq!(copy(&up(), &global.state.borrow()).len(), 0, "nothing went up");
    loop {
        let event = tokio::time::timeout(PATIENCE, events.recv()).await.unwrap().unwrap();
        assert_eq!(event.flow, Flow::ToZone, "the upward stream never opens");
        if let ZoneStream::Standing(Standing::Fenced(shown)) = event.what {
            assert_eq!(shown, reason, "both sides say why");
            return;
        }
    }
}

/// Proxies come and go elsewhere: a zone hears of versions that change nothing for it, and that a backup
/// lacks.
#[tokio::test]
async fn a_zone_that_only_marks_led_further_follows_the_successor() {
    let mut tasks = JoinSet::new();
    let (old, _) = Store::new(global().now());
    let (west, _) = Store::new(zone().now());
    let node = Node::serve(&old, ANY).await;
    let mut states = follow(&mut tasks, &west, &[&node], no_reports());
    west.until("the first list", |zone| {
        copy(&to_west(), zone) == view(&to_west(), &global().now())
    })
    .await;
    let backed_up = old.state.borrow().clone();
    old.put(Kind::Dataplane, "elsewhere", Owner::zone("east"), Audience::None);
    let seen = old.state.borrow().version();
    until_state(&mut states, |s| *s == ClientState::Synced { version: seen }).await;
    assert!(west.state.borrow().upstream().is_some_and(|at| at.version < seen), "only marked");
    let address = node.stop().await;

    let mut next = History::continuing(backed_up);
    next.change(|state| *state = state.succeeded_by(ClusterId(4)));
    next.epoch(44);
    next.policy("b");
    let (store, _) = Store::new(next.now());
    let _node = Node::serve(&store, &address).await;
    west.until("the successor", |zone| copy(&to_west(), zone) == view(&to_west(), &next.now()))
        .await;
    assert_eq!(west.state.borrow().upstream(), Some(crate::batch::position_of(&next.now())));
}

#[tokio::test]
async fn another_store_of_a_zone_is_not_taken() {
    let mut tasks = JoinSet::new();
    let mut bound = global();
    bound.change(|state| {
        let other = Position { cluster: ClusterId(9), epoch: 1, version: 1 };
        state.set_cursor("west".into(), other, state.version() + 1);
    });
    let (global, _) = Store::new(bound.now());
    let (west, _) = Store::new(zone().now());
    let node = Node::serve(&global, ANY).await;
    let mut states = follow(&mut tasks, &west, &[&node], no_reports());
    let fenced = until_state(&mut states, |s| matches!(s, ClientState::Fenced { .. })).await;
    assert!(format!("{fenced:?}").contains("the global takes nothing from here"), "{fenced:?}");
    assert_eq!(copy(&up(), &global.state.borrow()).len(), 0);
}

#[tokio::test]
async fn refusals_say_why_to_the_zone() {
    let mut tasks = JoinSet::new();
    let mut large = global();
    (0..4000).for_each(|n| large.policy(&format!("{n}-{}", "x".repeat(200))));
    let (oversized, _) = Store::new(large.now());
    let denying = Store { denies: true, ..Arc::into_inner(Store::new(global().now()).0).unwrap() };
    for (global, expected) in [
        (oversized, "but a batch holds 1835008"),
        (Arc::new(denying), "zone west is not let in: it is disabled"),
    ] {
        let (west, _) = Store::new(zone().now());
        let node = Node::serve(&global, ANY).await;
        let mut states = follow(&mut tasks, &west, &[&node], no_reports());
        until_state(&mut states, |state| {
            matches!(state, ClientState::Connecting { last_error: Some(e) } if e.contains(expected))
        })
        .await;
    }
}

/// A follower that is cut off from its cluster lags behind a zone, and cannot prove anything.
#[tokio::test]
async fn a_zone_leaves_a_node_that_lags() {
    let mut history = global();
    let behind = Arc::into_inner(Store::new(history.now()).0).unwrap();
    let behind = Arc::new(Store { proves: false, ..behind });
    history.policy("b");
    let mut zone = zone();
    zone.change(|state| {
        state.set_upstream(crate::batch::position_of(&history.now()), state.version() + 1);
    });
    let (west, _) = Store::new(zone.now());
    history.policy("c");
    let (current, _) = Store::new(history.now());
    let (lagging, leading) = (Node::serve(&behind, ANY).await, Node::serve(&current, ANY).await);

    let mut tasks = JoinSet::new();
    let mut alone = follow(&mut tasks, &west, &[&lagging], no_reports());
    until_state(&mut alone, |state| {
        let text = "did not bring this zone up to date";
        matches!(state, ClientState::Connecting { last_error: Some(e) } if e.contains(text))
    })
    .await;
    assert_eq!(*west.state.borrow(), zone.now(), "nothing went back");
    tasks.shutdown().await;
    let mut both = follow(&mut tasks, &west, &[&lagging, &leading], no_reports());
    let newest = ClientState::Synced { version: history.now().version() };
    until_state(&mut both, |state| *state == newest).await;
}

#[tokio::test]
async fn reports_arrive_and_are_bounded() {
    let mut tasks = JoinSet::new();
    let (global, _) = Store::new(global().now());
    let (west, _) = Store::new(zone().now());
    let node = Node::serve(&global, ANY).await;
    let (progress, reports) = watch::channel(ZoneReport::default());
    follow(&mut tasks, &west, &[&node], reports);
    let laggards = vec![Laggard { name: "dp-1".to_owned(), ..Default::default() }; 40];
    progress.send_replace(ZoneReport { version: 7, proxies: 3, laggards, ..Default::default() });
    let mut received = global.reports.subscribe();
    let seven = |report: &Option<ZoneReport>| report.as_ref().is_some_and(|r| r.version == 7);
    let report = tokio::time::timeout(PATIENCE, received.wait_for(seven)).await.unwrap();
    let report = report.unwrap().clone().unwrap();
    assert_eq!((report.zone.as_str(), report.proxies, report.laggards.len()), ("west", 3, 16));
}

/// What an unmodified zone of Kuma sends: metadata without Higuma's features.
fn kuma_call<T>(message: T) -> tonic::Request<T> {
    let mut call = tonic::Request::new(message);
    let metadata = call.metadata_mut();
    metadata.insert("client-id", "west".parse().unwrap());
    metadata.insert("kds-version", "v3".parse().unwrap());
    metadata.append("features", "zone-ping-health".parse().unwrap());
    metadata.append("features", "hash-suffix".parse().unwrap());
    call
}

async fn kuma_zone(node: &Node) -> Channel {
    Channel::from_shared(format!("http://{}", node.address)).unwrap().connect().await.unwrap()
}

#[tokio::test]
async fn a_kuma_zone_is_served_its_lists() {
    let (global, _) = Store::new(global().now());
    let node = Node::serve(&global, ANY).await;
    let channel = kuma_zone(&node).await;
    let mut sync =
        super::proto::kuma::mesh::v1alpha1::kds_sync_service_client::KdsSyncServiceClient::new(
            channel,
        );
    let (requests, queue) = mpsc::channel::<Request>(16);
    for type_url in ["Mesh", "TrafficPermission", "MeshTimeout"] {
        requests.send(messages::subscription(&to_west(), type_url)).await.unwrap();
    }
    let answer = sync.global_to_zone_sync(kuma_call(ReceiverStream::new(queue))).await.unwrap();
    assert!(answer.metadata().get("higuma-resume").is_none(), "{:?}", answer.metadata());
    let mut responses = answer.into_inner();
    let mut sizes = HashMap::new();
    for _ in 0..3 {
        let response = responses.message().await.unwrap().unwrap();
        sizes.insert(response.type_url.clone(), response.resources.len());
        assert_eq!(response.control_plane.as_ref().unwrap().identifier, "global");
        let ack = messages::ack(&to_west(), &response.type_url, &response.nonce);
        requests.send(ack).await.unwrap();
    }
    let expected = [("Mesh", 1), ("TrafficPermission", 1), ("MeshTimeout", 0)];
    assert_eq!(sizes, expected.map(|(name, size)| (name.to_owned(), size)).into());

    global.put(Kind::TrafficPermission, "b", Owner::Global, Audience::AllZones);
    let change = responses.message().await.unwrap().unwrap();
    assert_eq!((change.type_url.as_str(), change.resources.len()), ("TrafficPermission", 1));
    assert!(change.resources[0].name.starts_with("b-"), "{}", change.resources[0].name);
}

#[tokio::test]
async fn a_kuma_zones_own_resources_are_taken() {
    let (global, _) = Store::new(global().now());
    let node = Node::serve(&global, ANY).await;
    let channel = kuma_zone(&node).await;
    let mut sync = kuma::kds_sync_service_client::KdsSyncServiceClient::new(channel.clone());
    let (responses, queue) = mpsc::channel::<Response>(16);
    let call = kuma_call(ReceiverStream::new(queue));
    let mut requests = sync.zone_to_global_sync(call).await.unwrap().into_inner();
    let mut sender = crate::plain::PlainSender::new(up(), zone().now());
    for _ in up().kinds() {
        let request = requests.message().await.unwrap().unwrap();
        assert_eq!(request.node.as_ref().unwrap().id, "west");
        sender.receive(&request).unwrap();
    }
    for response in sender.advance() {
        responses.send(response).await.unwrap();
    }
    global.until("the zone's dataplane", |s| copy(&up(), s) == view(&up(), &zone().now())).await;

    let mut services = kuma::global_kds_service_client::GlobalKdsServiceClient::new(channel);
    let health = services.health_check(kuma_call(kuma::ZoneHealthCheckRequest {})).await.unwrap();
    assert!(health.into_inner().interval.unwrap().seconds > 0);
    let (_keep, queue) = mpsc::channel::<kuma::StatsResponse>(1);
    let tunnel = services.stream_stats(kuma_call(ReceiverStream::new(queue))).await;
    assert_eq!(tunnel.unwrap_err().code(), tonic::Code::Unimplemented);
}
