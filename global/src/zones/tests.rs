//! A global of one node on loopback, and a zone with a store of its own.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use higuma_kds::inbox::{Laggard, ZoneReport};
use higuma_kds::wire::Direction;
use higuma_kds::{Client, ClientState, client};
use higuma_model::spec::ZoneInsight;
use higuma_model::{ClusterId, KindSpec, Upstream, hashed_name, testing};
use higuma_rest::{Api, BuiltinAuthority, router};
use higuma_serve::Peer;
use higuma_serve::axum::body::Body;
use higuma_serve::axum::http::Request;
use higuma_store::{Options, Timers};
use higuma_testkit::{poll_until, wait_for};
use http_body_util::BodyExt;
use serde_json::json;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;

use super::*;

/// Far longer than anything here takes on a busy machine; a failure shows the last state.
const PATIENCE: Duration = Duration::from_secs(30);

async fn store(folder: &tempfile::TempDir) -> Store {
    let store = Store::open(Options {
        folder: folder.path().to_owned(),
        node: 1,
        members: BTreeMap::from([(1, "127.0.0.1:1".to_owned())]),
        listener: None,
        tls: None,
        timers: Timers::default(),
        mutant: None,
    })
    .await
    .unwrap();
    store.read(Consistency::Linearizable).await.unwrap();
    store
}

async fn put<T: KindSpec + serde::Serialize>(store: &Store, place: Place, name: &str, spec: &T) {
    let mesh = if T::KIND == Kind::Dataplane { "default" } else { "" };
    let draft = place.draft(mesh, name, spec).unwrap();
    let (id, at) = request_id(&store.snapshot());
    let (demands, checks, operations) = (vec![], vec![], vec![Operation::Put(draft)]);
    let terms = Terms::default();
    let writer = place.owner();
    let put = Transaction { id, at, writer, demands, checks, operations, terms };
    store.write(&put).await.unwrap();
}

/// A node of the global.
struct Global {
    _folder: tempfile::TempDir,
    store: Store,
    endpoint: Endpoint,
    address: SocketAddr,
    rest: higuma_serve::axum::Router,
    _tasks: JoinSet<anyhow::Result<()>>,
}

impl Global {
    async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store = store(&folder).await;
        let endpoint = Endpoint::new(store.clone());
        let (mut tasks, stop) = (JoinSet::new(), CancellationToken::new());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let routes = higuma_kds::server(store.watch(), Arc::new(endpoint.clone()), stop.clone());
        tasks.spawn(crate::kds::serve(listener, routes, None, stop.clone()));
        tasks.spawn(keep_insights(endpoint.clone(), stop));
        let api = Arc::new(Api {
            store: store.clone(),
            place: Place::Global,
            authority: Arc::new(BuiltinAuthority),
            progress: Arc::new(endpoint.reports.clone()),
            quota: higuma_model::DEFAULT_QUOTA_BYTES,
            localhost_is_admin: true,
            roles: watch::channel(Arc::default()).1,
            version: "0.0.0-test",
            mutant: None,
        });
        let rest = router(api, higuma_serve::axum::Router::new());
        Self { _folder: folder, store, endpoint, address, rest, _tasks: tasks }
    }

    async fn call(&self, method: &str, path: &str) -> Value {
        let peer = Peer { addr: "127.0.0.1:9".parse().unwrap(), tls: false, certificate: None };
        let request = Request::builder().method(method).uri(path).extension(peer);
        let request = request.body(Body::empty()).unwrap();
        let response = self.rest.clone().oneshot(request).await.unwrap();
        let bytes = response.into_body().collect().await.unwrap().to_bytes();
        serde_json::from_slice(&bytes).unwrap()
    }

    async fn until(&self, what: &str, wanted: impl Fn(&Snapshot) -> bool) -> Arc<Snapshot> {
        let mut states = self.store.watch();
        wait_for(&mut states, what, PATIENCE, |state| wanted(state)).await.unwrap()
    }

    async fn until_answer(&self, path: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        let probe = || self.call("GET", path);
        poll_until(path, PATIENCE, probe, |answer| wanted(answer)).await.unwrap()
    }
}

/// A zone's control plane, as far as KDS knows it.
struct Site {
    _folder: tempfile::TempDir,
    store: Store,
    states: watch::Receiver<ClientState>,
    reports: watch::Sender<ZoneReport>,
    stop: CancellationToken,
    running: JoinSet<()>,
}

struct SiteInbox(Store);

#[tonic::async_trait]
impl Inbox for SiteInbox {
    async fn apply(&self, batch: Batch) -> Result<(), InboxError> {
        let (received, _) = batch.into_received().unwrap();
        let (id, at) = request_id(&self.0.snapshot());
        let (demands, checks, terms) = (vec![], vec![], Terms::default());
        let operations = vec![Operation::Receive(received)];
        let writer = Owner::zone("east");
        let receive = Transaction { id, at, writer, demands, checks, operations, terms };
        self.0.write(&receive).await.map(drop).map_err(|e| InboxError::Refused(e.to_string()))
    }

    async fn proof(&self) -> Option<u64> {
        Some(self.0.snapshot().version())
    }
}

impl Site {
    async fn start(global: &Global) -> Self {
        Self::follows(global, None).await
    }

    /// A zone that has followed a global to `position`.
    async fn follows(global: &Global, position: Option<Upstream>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store = store(&folder).await;
        if let Some(position) = position {
            let batch = Batch {
                direction: Direction::ToZone("east".into()),
                position: Some(position),
                from: None,
                replaces: None,
                upserts: vec![],
                removed: vec![],
                refused: vec![],
            };
            SiteInbox(store.clone()).apply(batch).await.unwrap();
        }
        let spec: higuma_model::spec::Dataplane = testing::dataplane("web-1")
            .tag("kuma.io/service", "web")
            .inbound(8080)
            .resource(Owner::zone("east"), 1)
            .decode()
            .unwrap();
        put(&store, Place::Zone("east".into()), "web-1", &spec).await;
        let (reports, received) = watch::channel(ZoneReport::default());
        let stop = CancellationToken::new();
        let (adoption, following) = client(Client {
            zone: "east".into(),
            globals: vec![global.address.to_string()],
            tls: None,
            pinned: None,
            snapshots: store.watch(),
            inbox: Arc::new(SiteInbox(store.clone())),
            reports: received,
            mutant: None,
            stop: stop.clone(),
        })
        .unwrap();
        let states = adoption.states();
        let mut running = JoinSet::new();
        running.spawn(following);
        Self { _folder: folder, store, states, reports, stop, running }
    }

    async fn leave(mut self) {
        self.stop.cancel();
        self.running.join_next().await.unwrap().unwrap();
    }

    async fn until_error(&mut self, text: &str) {
        let has = |state: &ClientState| format!("{state:?}").contains(text);
        wait_for(&mut self.states, text, PATIENCE, has).await.unwrap();
    }
}

fn online(state: &Snapshot) -> Option<bool> {
    let insight = state.get(&Key::new(Kind::ZoneInsight, "", "east"))?;
    Some(insight.decode::<ZoneInsight>().unwrap().is_online())
}

fn web_key() -> Key {
    let labels = [("kuma.io/zone".to_owned(), "east".to_owned())].into();
    Key::new(Kind::Dataplane, "default", &hashed_name("default", "web-1", &labels))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_zone_joins_is_seen_and_leaves() {
    let global = Global::start().await;
    let site = Site::start(&global).await;
    global.until("online", |state| online(state) == Some(true)).await;
    let state = global.until("the Dataplane", |state| state.get(&web_key()).is_some()).await;
    let web = state.get(&web_key()).unwrap();
    assert_eq!((&web.owner, web.display_name()), (&Owner::zone("east"), "web-1"));
    let bound = state.cursor("east").unwrap();
    assert_eq!(bound.cluster, site.store.cluster_id());

    let refused = global.call("DELETE", "/zones/east").await;
    let why = "unable to delete Zone, Zone CP is still connected, please shut it down first";
    assert_eq!(refused["invalid_parameters"], json!([{"field": "zone", "reason": why}]));
    let zone = global.call("GET", "/zones/east/_overview").await;
    assert_eq!((&zone["type"], &zone["zone"]["enabled"]), (&json!("ZoneOverview"), &json!(true)));
    assert_eq!(zone["higuma"]["status"], "Online", "{zone}");
    let subscription = &zone["zoneInsight"]["subscriptions"][0];
    assert_eq!(subscription["globalInstanceId"], "1", "{zone}");
    assert!(subscription["version"]["kumaCp"]["version"].is_string(), "{zone}");

    site.leave().await;
    global.until("offline", |state| online(state) == Some(false)).await;
    let list = global.call("GET", "/zones/_overview").await;
    assert_eq!(
        (&list["total"], &list["items"][0]["higuma"]["status"]),
        (&json!(1), &json!("Offline"))
    );
    let kept = global.call("DELETE", "/zones/east").await.to_string();
    assert!(kept.contains("1 resources of this zone are still here"), "{kept}");
}

#[tokio::test(flavor = "multi_thread")]
async fn progress_is_what_the_zone_reports_and_what_did_not_change_since() {
    let global = Global::start().await;
    put(&global.store, Place::Global, "default", &higuma_model::spec::Mesh::default()).await;
    let site = Site::start(&global).await;
    global.until("the Dataplane", |state| state.get(&web_key()).is_some()).await;
    let mut followed = site.store.watch();
    let has_mesh = |state: &Arc<Snapshot>| state.upstream().is_some();
    let has = wait_for(&mut followed, "the mesh", PATIENCE, has_mesh).await.unwrap();
    let received = has.upstream().unwrap().version;
    let cluster_id = global.store.cluster_id().to_string();
    let fine =
        ZoneReport { cluster_id, received, version: received, proxies: 1, ..Default::default() };
    site.reports.send_replace(fine.clone());

    let proxies = |answer: &Value| answer["zones"]["east"]["proxies"] == 1;
    let all = global.until_answer("/_progress", proxies).await;
    let east = &all["zones"]["east"];
    assert!(all["version"].as_u64() > Some(received), "insights and Dataplanes are newer: {all}");
    assert_eq!(east["received"], all["version"], "and concern no proxy: {all}");
    assert_eq!((&east["version"], &east["upToDate"]), (&all["version"], &json!(true)), "{all}");
    assert!(east["ageMs"].is_u64(), "{all}");

    let behind = Laggard {
        mesh: "default".to_owned(),
        name: "web-1".to_owned(),
        version: received - 1,
        reason: "it refused a cluster".to_owned(),
    };
    let lagging = ZoneReport { version: received - 1, laggards: vec![behind.clone()], ..fine };
    site.reports.send_replace(lagging);
    let named = |answer: &Value| !answer["zones"]["east"]["laggards"][0].is_null();
    let all = global.until_answer("/_progress", named).await;
    assert_eq!(all["zones"]["east"]["version"], received - 1, "{all}");
    assert_eq!(
        all["zones"]["east"]["laggards"],
        json!([{"mesh": "default", "name": "web-1", "version": received - 1, "reason": behind.reason}])
    );
    let proxy = higuma_rest::Progress::proxy(&global.endpoint.reports, &web_key(), "east").unwrap();
    let refused = Some("it refused a cluster".to_owned());
    assert_eq!((proxy.version, proxy.up_to_date, proxy.reason), (received - 1, false, refused));
    let zone = global.call("GET", "/zones/east/_overview").await;
    assert_eq!(zone["higuma"]["upToDate"], false, "{zone}");

    site.leave().await;
    let gone = |answer: &Value| answer["zones"] == json!({});
    global.until_answer("/_progress", gone).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_zone_that_follows_another_global_is_shown_as_fenced_with_its_reason() {
    let global = Global::start().await;
    let other = Upstream { cluster: ClusterId(9), epoch: 1, version: 700 };
    let site = Site::follows(&global, Some(other)).await;
    let fenced = |zone: &Value| zone["higuma"]["status"] == "Fenced";
    let zone = global.until_answer("/zones/east/_overview", fenced).await;
    let reason = zone["higuma"]["reason"].as_str().unwrap();
    assert!(reason.contains("came from cluster 0000") && reason.contains("adopt"), "{zone}");
    assert_eq!(zone["higuma"]["upToDate"], false, "{zone}");
    let progress = global.call("GET", "/_progress").await;
    assert!(progress["zones"]["east"]["fenced"].is_string(), "{progress}");
    site.leave().await;
    let gone = |answer: &Value| answer["zones"] == json!({});
    global.until_answer("/_progress", gone).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replay_changes_nothing_and_another_store_is_refused() {
    let global = Global::start().await;
    put(&global.store, Place::Global, "east", &Zone { enabled: Some(true) }).await;
    let batch = |cluster, from, version| {
        let web = testing::dataplane("web-1").inbound(8080);
        let web = web.resource(Owner::zone("east"), version);
        Batch {
            direction: Direction::ToGlobal("east".into()),
            position: Some(Upstream { cluster: ClusterId(cluster), epoch: 1, version }),
            from,
            replaces: None,
            upserts: vec![web],
            removed: vec![],
            refused: vec![],
        }
    };
    global.endpoint.apply(batch(9, None, 5)).await.unwrap();
    let written = global.store.snapshot();
    assert_eq!(written.cursor("east").map(|cursor| cursor.version), Some(5));
    global.endpoint.apply(batch(9, None, 5)).await.unwrap();
    assert_eq!(global.store.snapshot().version(), written.version(), "a replay");

    for (what, batch, text) in [
        ("another store", batch(8, Some(5), 9), "zone east is bound to another store"),
        ("a gap", batch(9, Some(7), 9), "the batch builds on version 7, written is 5"),
        ("Kuma's", Batch { position: None, ..batch(9, None, 5) }, "a zone of Kuma gives"),
    ] {
        let error = global.endpoint.apply(batch).await.unwrap_err();
        assert!(matches!(error, InboxError::Refused(_)), "{what}: {error:?}");
        assert!(error.to_string().contains(text), "{what}: {error}");
        assert_eq!(global.store.snapshot().version(), written.version(), "{what}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn zones_that_may_not_come_in_are_told_why() {
    let global = Global::start().await;
    put(&global.store, Place::Global, "east", &Zone { enabled: Some(false) }).await;
    let mut site = Site::start(&global).await;
    site.until_error("it is disabled: apply the Zone east with `enabled: true`").await;
    assert_eq!(online(&global.store.snapshot()), None);

    put(&global.store, Place::Global, "east", &Zone { enabled: Some(true) }).await;
    global.until("online", |state| online(state) == Some(true)).await;
    global.until("the Dataplane", |state| state.get(&web_key()).is_some()).await;
    site.leave().await;
    let mut wiped = Site::start(&global).await;
    wiped.until_error("it is bound to another store").await;

    let nameless =
        Hello { zone: "-".into(), commits: true, position: None, version: String::new() };
    let denied = global.endpoint.admit(Flow::ToZone, &nameless).await.unwrap_err();
    assert!(denied.why.contains("name"), "{denied}");
}

#[tokio::test(flavor = "multi_thread")]
async fn reports_of_others_are_passed_over() {
    let global = Global::start().await;
    put(&global.store, Place::Global, "east", &Zone { enabled: Some(true) }).await;
    let ours = global.store.cluster_id().to_string();
    let other = ClusterId(4).to_string();
    for (what, zone, cluster_id, received, taken) in [
        ("ours", "east", &ours, 1, true),
        ("has followed nothing", "east", &String::new(), 0, true),
        ("of another cluster", "east", &other, 1, false),
        ("of no zone here", "west", &ours, 1, false),
    ] {
        let (zone, cluster_id) = (zone.to_owned(), cluster_id.clone());
        let report = ZoneReport { zone: zone.clone(), cluster_id, received, ..Default::default() };
        global.endpoint.reports.keep(&Streams::new(1));
        global.endpoint.report(report);
        let known = higuma_rest::Progress::zone(&global.endpoint.reports, &zone).is_some();
        assert_eq!(known, taken, "{what}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn metrics_tell_of_zones() {
    let global = Global::start().await;
    let site = Site::start(&global).await;
    global.until("online", |state| online(state) == Some(true)).await;
    let received = |answer: &Value| answer["zones"]["east"]["proxies"] == 2;
    site.reports.send_modify(|report| report.proxies = 2);
    global.until_answer("/_progress", received).await;
    let metrics = higuma_serve::Metrics::new();
    let collector = ZonesCollector(global.endpoint.clone());
    metrics.register(|registry| registry.register_collector(Box::new(collector)));
    let text = metrics.encode().unwrap();
    for line in [
        "higuma_zones 1\n",
        "higuma_zones_online 1\n",
        "higuma_kds_streams_to_zones 1\n",
        "higuma_zone_proxies{zone=\"east\"} 2\n",
    ] {
        assert!(text.contains(line), "{line}: {text}");
    }
}
