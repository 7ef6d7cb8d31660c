//! `Idempotency-Key`, through any node, over a change of the leader and a restart of all.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use higuma_store::{Consistency, Options, Store, Timers};
use serde_json::{Value, json};
use tokio::net::TcpListener;

use super::{Answered, PERMISSION, Server, mesh, permission};

/// An election with the default timers on a busy machine, many times over.
const PATIENCE: Duration = Duration::from_secs(30);

fn same(one: &Answered, other: &Answered) -> bool {
    let of = |a: &Answered| (a.status, a.etag.clone(), a.version, a.body.clone());
    of(one) == of(other)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_retry_is_answered_as_the_first_and_changes_nothing() {
    let server = Server::start().await;
    server.put("/meshes/default", mesh()).await;
    let (text, other) = (permission("backend").to_string(), permission("billing").to_string());
    let put = |key: &'static str, body: &str| {
        let body = body.to_owned();
        let server = &server;
        async move { server.call("PUT", PERMISSION, &[("idempotency-key", key)], &body).await }
    };
    let first = put("one", &text).await;
    assert_eq!((first.status.as_u16(), first.replayed), (201, false));
    assert_eq!(first.etag, Some(format!("\"{}\"", first.version)));
    let again = put("one", &text).await;
    assert!(again.replayed && same(&first, &again), "{}", again.body);

    let unchanged = put("same", &text).await;
    assert_eq!((unchanged.status.as_u16(), &unchanged.etag), (200, &first.etag));
    let changed = server.call("PUT", PERMISSION, &[], &other).await;
    for (key, earlier) in [("one", &first), ("same", &unchanged)] {
        let retried = put(key, &text).await;
        assert!(retried.replayed && same(earlier, &retried), "{key}: it would undo the change");
    }
    let now = server.get(PERMISSION).await;
    assert_eq!(now.etag, changed.etag);

    let reused = put("one", &other).await;
    assert_eq!(reused.status, 422, "{}", reused.body);
    assert!(reused.body["detail"].as_str().unwrap().contains("a new request needs a new key"));
    let method = server.call("DELETE", PERMISSION, &[("idempotency-key", "one")], "").await;
    assert_eq!(method.status, 422);
    assert_eq!(put("a b", &text).await.status, 400);

    let delete = || server.call("DELETE", PERMISSION, &[("idempotency-key", "gone")], "");
    let deleted = delete().await;
    assert_eq!(deleted.status, 200);
    let again = delete().await;
    assert!(again.replayed && same(&deleted, &again), "not 404: it was this request that did it");

    // What was refused is not remembered.
    let key = [("idempotency-key", "later"), ("if-match", "*")];
    assert_eq!(server.call("PUT", PERMISSION, &key, &text).await.status, 412);
    server.put(PERMISSION, permission("billing")).await;
    let later = server.call("PUT", PERMISSION, &key, &text).await;
    assert_eq!((later.status.as_u16(), later.replayed), (200, false));
    let again = server.call("PUT", PERMISSION, &key, &text).await;
    assert!(again.replayed && same(&later, &again));
}

#[tokio::test(flavor = "multi_thread")]
async fn attempts_at_the_same_time_are_one() {
    let server = Server::start().await;
    server.put("/meshes/default", mesh()).await;
    let body =
        json!({"operations": [{"put": permission("backend"), "ifAbsent": true}]}).to_string();
    let post = || server.call("POST", "/_transactions", &[("idempotency-key", "k")], &body);
    let answers = futures(post).await;
    let (first, replayed): (Vec<_>, Vec<_>) = answers.iter().partition(|a| !a.replayed);
    assert_eq!((first.len(), replayed.len()), (1, 3));
    assert!(replayed.iter().all(|answer| same(first[0], answer)));
    assert_eq!(first[0].body["operations"][0]["result"], "created");
}

async fn futures<F: Future<Output = Answered>>(post: impl Fn() -> F) -> [Answered; 4] {
    let (a, b, c, d) = tokio::join!(post(), post(), post(), post());
    [a, b, c, d]
}

/// The nodes of a global, in one process.
struct Nodes {
    folder: tempfile::TempDir,
    members: BTreeMap<u64, String>,
}

impl Nodes {
    async fn new() -> Self {
        let mut members = BTreeMap::new();
        for id in 1..=3 {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            members.insert(id, listener.local_addr().unwrap().to_string());
        }
        Self { folder: tempfile::tempdir().unwrap(), members }
    }

    async fn open(&self, id: u64) -> Server {
        let path: &Path = self.folder.path();
        let address = &self.members[&id];
        let bind = async || TcpListener::bind(address).await;
        let listener = higuma_testkit::poll_until("a listener", PATIENCE, bind, Result::is_ok);
        let store = Store::open(Options {
            folder: path.join(id.to_string()),
            node: id,
            members: self.members.clone(),
            listener: Some(listener.await.unwrap().unwrap()),
            tls: None,
            timers: Timers::default(),
            mutant: None,
        });
        Server::over(store.await.unwrap(), None)
    }

    async fn open_all(&self) -> BTreeMap<u64, Server> {
        let (a, b, c) = tokio::join!(self.open(1), self.open(2), self.open(3));
        let nodes = BTreeMap::from([(1, a), (2, b), (3, c)]);
        leader(&nodes).await;
        nodes
    }
}

async fn leader(nodes: &BTreeMap<u64, Server>) -> u64 {
    let known = async || {
        let some = nodes.values().next()?;
        some.store.read(Consistency::Linearizable).await.ok()?;
        some.store.leader().filter(|leader| nodes.contains_key(leader))
    };
    higuma_testkit::poll_until("a leader", PATIENCE, known, Option::is_some).await.unwrap().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_retry_is_applied_once_through_any_node_and_over_a_change_of_the_leader() {
    let lab = Nodes::new().await;
    let mut nodes = lab.open_all().await;
    let body = json!({"operations": [{"put": mesh()}, {"put": permission("backend")}]}).to_string();
    let send = async |server: &Server| -> Answered {
        let key = [("idempotency-key", "4f1d5a0e-transfer")];
        let sent = async || server.call("POST", "/_transactions", &key, &body).await;
        // 503 and 504 are what a client repeats under the same key.
        let done = |answer: &Answered| answer.status.is_success();
        higuma_testkit::poll_until("an answer", PATIENCE, sent, done).await.unwrap()
    };
    let first = send(&nodes[&1]).await;
    assert!(!first.replayed);
    for server in nodes.values() {
        let again = send(server).await;
        assert!(again.replayed && same(&first, &again), "{}", again.body);
    }
    let led = leader(&nodes).await;
    nodes.remove(&led).unwrap().store.shutdown().await;
    let change = permission("billing").to_string();
    let survivor = nodes.values().next().unwrap();
    let changed = async || survivor.call("PUT", PERMISSION, &[], &change).await.status;
    higuma_testkit::poll_until("a write", PATIENCE, changed, |s| s.is_success()).await.unwrap();
    for server in nodes.values() {
        let again = send(server).await;
        assert!(again.replayed && same(&first, &again), "under a new leader: {}", again.body);
    }
    for server in nodes.values() {
        server.store.shutdown().await;
    }
    drop(nodes);

    let nodes = lab.open_all().await;
    for server in nodes.values() {
        let again = send(server).await;
        assert!(again.replayed && same(&first, &again), "after a restart: {}", again.body);
        let have: Value = server.get(PERMISSION).await.body;
        let service = &have["destinations"][0]["match"]["kuma.io/service"];
        assert_eq!(service, "billing", "the retry undid nothing");
    }
    for server in nodes.values() {
        server.store.shutdown().await;
    }
}
