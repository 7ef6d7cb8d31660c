//! The API over a real store of one member.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "api/backup.rs"]
mod backup;
#[path = "api/idempotency.rs"]
mod idempotency;
#[path = "api/roles.rs"]
mod roles;
#[path = "api/tokens.rs"]
mod tokens;
#[path = "api/transactions.rs"]
mod transactions;

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;

use axum::body::Body;
use axum::http::{Request, StatusCode};
use higuma_model::Place;
use higuma_rest::{Api, Authority, CaPair, NoProgress, Roles, router};
use higuma_serve::Peer;
use higuma_store::{Options, Store, Timers};
use http_body_util::BodyExt;
use serde_json::{Value, json};
use tokio::sync::watch;
use tower::ServiceExt;

/// Small, so that a test reaches it; above the largest resource.
const QUOTA: u64 = 4 << 20;

/// From a caller on this host, unless the request says otherwise.
fn here(mut request: Request<Body>) -> Request<Body> {
    let addr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 9);
    let peer = Peer { addr, tls: false, certificate: None };
    request.extensions_mut().get_or_insert_with(|| peer);
    request
}

struct Keys;

impl Authority for Keys {
    fn builtin_ca(&self, mesh: &str, _: &str) -> Result<CaPair, String> {
        Ok(CaPair { certificate_pem: format!("cert of {mesh}"), key_pem: "key".to_owned() })
    }
}

struct Server {
    _folder: Option<tempfile::TempDir>,
    store: Store,
    router: axum::Router,
}

#[derive(Debug)]
struct Answered {
    status: StatusCode,
    etag: Option<String>,
    replayed: bool,
    version: u64,
    body: Value,
}

impl Server {
    async fn start() -> Self {
        Self::start_with(Roles::default()).await
    }

    async fn start_with(roles: Roles) -> Self {
        let folder = tempfile::tempdir().unwrap();
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
        Self::with(store, Some(folder), roles)
    }

    fn over(store: Store, folder: Option<tempfile::TempDir>) -> Self {
        Self::with(store, folder, Roles::default())
    }

    fn with(store: Store, folder: Option<tempfile::TempDir>, roles: Roles) -> Self {
        let api = Api {
            store: store.clone(),
            place: Place::Global,
            authority: Arc::new(Keys),
            progress: Arc::new(NoProgress),
            quota: QUOTA,
            localhost_is_admin: true,
            roles: watch::channel(Arc::new(roles)).1,
            version: "0.0.0-test",
            mutant: None,
        };
        Self { _folder: folder, store, router: router(Arc::new(api), axum::Router::new()) }
    }

    async fn send(&self, request: Request<Body>) -> Answered {
        let response = self.router.clone().oneshot(here(request)).await.unwrap();
        let header = |name: &str| {
            response.headers().get(name).map(|value| value.to_str().unwrap().to_owned())
        };
        let (etag, version) = (header("etag"), header("x-higuma-version"));
        let replayed = header("idempotent-replayed").is_some();
        let status = response.status();
        let bytes = response.into_body().collect().await.unwrap().to_bytes();
        Answered {
            status,
            etag,
            replayed,
            version: version.expect("every answer says a version").parse().unwrap(),
            body: serde_json::from_slice(&bytes).unwrap(),
        }
    }

    async fn call(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &str,
    ) -> Answered {
        let mut request = Request::builder().method(method).uri(path);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        self.send(request.body(Body::from(body.to_owned())).unwrap()).await
    }

    async fn put(&self, path: &str, body: Value) -> Answered {
        self.call("PUT", path, &[], &body.to_string()).await
    }

    async fn get(&self, path: &str) -> Answered {
        self.call("GET", path, &[], "").await
    }
}

fn mesh() -> Value {
    json!({"type": "Mesh", "name": "default", "mtls": {
        "enabledBackend": "ca-1", "backends": [{"name": "ca-1", "type": "builtin"}]}})
}

fn permission(service: &str) -> Value {
    json!({"type": "TrafficPermission", "name": "p", "mesh": "default",
        "sources": [{"match": {"kuma.io/service": "web"}}],
        "destinations": [{"match": {"kuma.io/service": service}}]})
}

const PERMISSION: &str = "/meshes/default/traffic-permissions/p";

#[tokio::test(flavor = "multi_thread")]
async fn a_resource_is_created_changed_read_and_deleted() {
    let server = Server::start().await;
    let created = server.put("/meshes/default", mesh()).await;
    assert_eq!((created.status, created.body), (StatusCode::CREATED, json!({})));
    let created = server.put(PERMISSION, permission("backend")).await;
    assert_eq!(created.status, StatusCode::CREATED, "{}", created.body);
    let same = server.put(PERMISSION, permission("backend")).await;
    assert_eq!((same.status, same.version), (StatusCode::OK, created.version), "no entry at all");
    assert_eq!(same.etag, created.etag);

    let got = server.get(PERMISSION).await;
    assert_eq!((got.status, got.etag.clone()), (StatusCode::OK, created.etag.clone()));
    let expected = permission("backend");
    for field in ["type", "name", "mesh", "sources", "destinations"] {
        assert_eq!(got.body[field], expected[field], "{field}");
    }

    let tag = created.etag.unwrap();
    let body = permission("billing").to_string();
    let changed = server.call("PUT", PERMISSION, &[("if-match", &tag)], &body).await;
    assert_eq!(changed.status, StatusCode::OK, "{}", changed.body);
    let refused = server.call("PUT", PERMISSION, &[("if-match", &tag)], &body).await;
    assert_eq!(refused.status, StatusCode::PRECONDITION_FAILED);
    assert_eq!(server.get(PERMISSION).await.etag, changed.etag, "nothing changed");

    let deleted = server.call("DELETE", PERMISSION, &[], "").await;
    assert_eq!((deleted.status, deleted.body), (StatusCode::OK, json!({})));
    let missing = server.call("DELETE", PERMISSION, &[], "").await;
    assert_eq!(missing.status, StatusCode::NOT_FOUND);
    assert_eq!(missing.body["title"], "Could not delete a resource");
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_input_is_answered_in_kumas_form_and_changes_nothing() {
    let server = Server::start().await;
    server.put("/meshes/default", mesh()).await;
    let before = server.store.snapshot();
    let large = format!("{{\"name\":\"{}\"}}", "x".repeat(3 << 19));
    let wrong_name = permission("b").to_string().replace("\"p\"", "\"q\"");
    let plain = permission("b").to_string();
    let dataplane = json!({"type": "Dataplane", "name": "d", "mesh": "default"}).to_string();
    for (what, method, path, body, status, text) in [
        ("malformed", "PUT", "/meshes/default", "{\"type\":", 400, "not JSON"),
        ("large", "PUT", "/meshes/default", &large, 413, "larger than 1572864 bytes"),
        ("name", "PUT", PERMISSION, &wrong_name, 400, "from the URL has to be the same"),
        (
            "mesh",
            "PUT",
            "/meshes/no/traffic-permissions/p",
            &plain.replace("default", "no"),
            404,
            "Failed to retrieve Mesh",
        ),
        ("type", "PUT", "/meshes/default/timeouts/t", &plain, 404, "nothing is served"),
        ("dataplane", "PUT", "/meshes/default/dataplanes/d", &dataplane, 405, "zone"),
        ("ingress", "PUT", "/zoneingresses/i", "{}", 405, "higuma ingress run"),
        ("secret", "GET", "/meshes/default/secrets", "", 405, "kept inside"),
        ("method", "POST", "/meshes", "", 405, "POST is not served"),
        ("query", "GET", "/meshes?size=0", "", 400, "from 1 to 1000"),
        ("delete's query", "DELETE", "/meshes/default?dry-run=true", "", 400, "not supported here"),
        ("unknown page", "GET", "/nothing/at/all/there/x", "", 404, "nothing is served"),
    ] {
        let answered = server.call(method, path, &[], body).await;
        assert_eq!(answered.status.as_u16(), status, "{what}: {}", answered.body);
        assert!(answered.body.to_string().contains(text), "{what}: {}", answered.body);
        assert!(answered.body["title"].is_string() && answered.body["detail"].is_string());
        assert_eq!(answered.body["status"], status, "{what}");
    }
    assert_eq!(*server.store.snapshot(), *before);
}

#[tokio::test(flavor = "multi_thread")]
async fn lists_come_in_pages() {
    let server = Server::start().await;
    for n in 0..5 {
        let name = format!("m{n}");
        server.put(&format!("/meshes/{name}"), json!({"type": "Mesh", "name": name})).await;
    }
    let mut path = "/meshes?size=2&name=m".to_owned();
    let mut names = Vec::new();
    loop {
        let page = server.call("GET", &path, &[("host", "localhost:5681")], "").await;
        assert_eq!((page.status, &page.body["total"]), (StatusCode::OK, &json!(5)));
        names.extend(page.body["items"].as_array().unwrap().iter().map(|i| i["name"].to_string()));
        let Some(next) = page.body["next"].as_str() else { break };
        path = next.strip_prefix("http://localhost:5681").unwrap().to_owned();
    }
    assert_eq!(names.len(), 5);
    assert!(names.is_sorted());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_mesh_goes_with_what_it_holds_and_secrets_stay_inside() {
    let server = Server::start().await;
    server.put("/meshes/default", mesh()).await;
    server.put(PERMISSION, permission("backend")).await;
    assert_eq!(server.store.snapshot().len(), 4, "mesh, permission, the CA's certificate and key");
    let cluster = server.get("/_cluster").await.body;
    assert_eq!((&cluster["leader"], &cluster["members"][0]["lag"]), (&json!(1), &json!(0)));
    assert_eq!(server.call("DELETE", "/meshes/default", &[], "").await.status, StatusCode::OK);
    assert!(server.store.snapshot().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_etag_is_of_the_write_that_it_answers() {
    let server = Server::start().await;
    server.put("/meshes/default", mesh()).await;
    let put = |n: u32| {
        let body = permission(&format!("service-{n}"));
        server.put(PERMISSION, body)
    };
    let (a, b, c, d) = tokio::join!(put(1), put(2), put(3), put(4));
    for written in [a, b, c, d] {
        let own = format!("\"{}\"", written.version);
        assert_eq!(written.etag, Some(own), "another one's would let its holder overwrite it");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_history_says_what_was_changed_by_whom_and_why() {
    let server = Server::start().await;
    server.put("/meshes/default", mesh()).await;
    let put = async |service: &str, reason: &str| {
        let body = permission(service).to_string();
        let written = server.call("PUT", PERMISSION, &[("higuma-reason", reason)], &body).await;
        assert!(written.status.is_success(), "{}", written.body);
        written.version
    };
    let (first, second) = (put("backend", "ticket 7").await, put("billing", "größer").await);
    let gone = server.call("DELETE", PERMISSION, &[], "").await.version;

    let history = server.get(&format!("{PERMISSION}/_history")).await;
    let items = history.body["items"].as_array().unwrap();
    let told: Vec<_> = items
        .iter()
        .map(|item| (item["version"].as_u64(), item["changes"][0]["operation"].as_str()))
        .collect();
    let expected = [(gone, "deleted"), (second, "updated"), (first, "created")]
        .map(|(v, o)| (Some(v), Some(o)));
    assert_eq!(told, expected, "{}", history.body);
    assert_eq!(items[1]["reason"], "größer");
    assert_eq!((&items[0]["reason"], &items[0]["node"]), (&Value::Null, &json!(1)));
    let change = &items[1]["changes"][0];
    let services = ["previous", "value"]
        .map(|side| &change[side]["destinations"][0]["match"]["kuma.io/service"]);
    assert_eq!(services, ["backend", "billing"]);

    let of_mesh = server.get("/meshes/default/_history?size=2").await;
    let older = of_mesh.body["next"].as_str().unwrap().split_once("//").unwrap().1;
    let older = server.get(&older[older.find('/').unwrap()..]).await;
    assert_eq!(of_mesh.body["items"].as_array().unwrap().len(), 2);
    assert_eq!(older.body["items"][1]["changes"][0]["type"], "Mesh", "{}", older.body);

    let at = server.get(&format!("{PERMISSION}?at={first}")).await;
    assert_eq!(at.body["destinations"][0]["match"]["kuma.io/service"], "backend");
    assert_eq!((at.version, at.etag), (first, None));
    let missing = server.get(&format!("{PERMISSION}?at={gone}")).await;
    assert_eq!(missing.status, StatusCode::NOT_FOUND, "{}", missing.body);
    let long_ago = server.get(&format!("{PERMISSION}?at=2001-01-31T14:00:00Z")).await;
    assert_eq!(long_ago.status, StatusCode::NOT_FOUND, "{}", long_ago.body);

    let back = server.get(&format!("/_diff?from={gone}&to={first}&mesh=default")).await;
    let changes = back.body["changes"].as_array().unwrap();
    assert_eq!(changes.len(), 1, "{}", back.body);
    assert_eq!(changes[0]["operation"], "created");
    assert_eq!(changes[0]["previousVersion"], Value::Null);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_history_has_not_is_refused_with_a_reason() {
    let server = Server::start().await;
    server.put("/meshes/default", mesh()).await;
    for (path, status, words) in [
        (format!("{PERMISSION}?at=99999"), StatusCode::NOT_FOUND, "the state is at version"),
        (format!("{PERMISSION}?at=yesterday"), StatusCode::BAD_REQUEST, "a version, or a time"),
        (format!("{PERMISSION}?at=1&colour=red"), StatusCode::BAD_REQUEST, "not supported here"),
        (
            "/meshes/default/dataplanes/web/_history".to_owned(),
            StatusCode::BAD_REQUEST,
            "versions of Dataplane are not kept; those of Mesh,",
        ),
        ("/_watch?from=yesterday".to_owned(), StatusCode::BAD_REQUEST, "must be a version"),
        ("/_watch?type=Secret".to_owned(), StatusCode::BAD_REQUEST, "of Secret are not kept"),
        ("/_diff?to=99999".to_owned(), StatusCode::NOT_FOUND, "the state is at version"),
    ] {
        let refused = server.get(&path).await;
        assert_eq!(refused.status, status, "{path}: {}", refused.body);
        assert!(refused.body.to_string().contains(words), "{path}: {}", refused.body);
    }
    let long = "x".repeat(300);
    let body = permission("backend").to_string();
    let refused = server.call("PUT", PERMISSION, &[("higuma-reason", &long)], &body).await;
    assert_eq!(refused.status, StatusCode::BAD_REQUEST);
    assert!(refused.body.to_string().contains("at most 256"), "{}", refused.body);
}

/// The next event of a watch that is no heartbeat: its name, its id and its data.
async fn event(body: &mut Body, text: &mut String) -> (String, Option<u64>, Value) {
    loop {
        if let Some((event, rest)) = text.split_once("\n\n") {
            let field = |name: &str| event.lines().find_map(|line| line.strip_prefix(name));
            let found = field("data: ").map(|data| {
                let id = field("id: ").map(|id| id.parse().unwrap());
                let name = field("event: ").unwrap().to_owned();
                (name, id, serde_json::from_str(data).unwrap())
            });
            *text = rest.to_owned();
            match found {
                Some(found) => return found,
                None => continue,
            }
        }
        let frame = body.frame().await.expect("a watch does not end").unwrap();
        text.push_str(std::str::from_utf8(frame.data_ref().unwrap()).unwrap());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watch_tells_each_version_and_how_far_it_is() {
    let server = Server::start().await;
    let mesh = server.put("/meshes/default", mesh()).await.version;
    let open = async |path: &str| {
        let request = Request::builder().uri(path).body(Body::empty()).unwrap();
        let response = server.router.clone().oneshot(here(request)).await.unwrap();
        assert_eq!(response.status(), StatusCode::OK);
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        response.into_body()
    };
    let (mut all, mut text) = (open("/_watch?from=0").await, String::new());
    let (name, id, data) = event(&mut all, &mut text).await;
    assert_eq!((&*name, id, &data["version"]), ("change", Some(mesh), &json!(mesh)));
    assert_eq!(data["changes"][0]["type"], "Mesh");
    assert_eq!(data["changes"].as_array().unwrap().len(), 1, "no secret is shown: {data}");

    let (mut meshes, mut other) = (open("/_watch?type=Mesh").await, String::new());
    let written = server.put(PERMISSION, permission("backend")).await.version;
    let (name, id, data) = event(&mut all, &mut text).await;
    assert_eq!((&*name, id), ("change", Some(written)));
    assert_eq!(data["changes"][0]["previous"], Value::Null);
    let (name, id, _) = event(&mut meshes, &mut other).await;
    assert_eq!((&*name, id), ("progress", Some(written)), "what it does not ask for is not told");
}
