//! Against a control plane that answers what the test says, over TLS.

use std::collections::VecDeque;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use higuma_serve::axum::Router;
use higuma_serve::axum::extract::State;
use higuma_serve::axum::routing::post;
use higuma_serve::pki::{Authority, Subject};
use higuma_serve::{ClientAuth, HttpServer, Transport};
use http::{HeaderMap, StatusCode, header};
use serde_json::json;
use tempfile::TempDir;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::*;

const DAY: Duration = Duration::from_hours(24);
const LONG: Duration = Duration::from_secs(30);

type Scripted = (StatusCode, &'static str, String);

#[derive(Clone, Default)]
struct Script {
    answers: Arc<Mutex<VecDeque<Scripted>>>,
    requests: Arc<Mutex<Vec<(HeaderMap, Value)>>>,
}

async fn answer(
    State(script): State<Script>,
    headers: HeaderMap,
    body: String,
) -> (StatusCode, [(header::HeaderName, &'static str); 1], String) {
    let body = serde_json::from_str(&body).expect("a JSON body");
    script.requests.lock().expect("lock").push((headers, body));
    let next = script.answers.lock().expect("lock").pop_front();
    let (status, media_type, text) = next.expect("an answer for each request");
    (status, [(header::CONTENT_TYPE, media_type)], text)
}

/// A control plane with its CA on disk; gone when dropped.
struct Fake {
    address: String,
    ca: PathBuf,
    script: Script,
    _folder: TempDir,
    _server: JoinSet<anyhow::Result<()>>,
}

impl Fake {
    async fn start(answers: impl IntoIterator<Item = Scripted>) -> Self {
        let ca = Authority::generate("test", DAY).expect("CA");
        let ip: IpAddr = higuma_testkit::loopback();
        let subject = Subject { ips: vec![ip], ..Subject::default() };
        let issued = ca.issue(&subject, DAY).expect("certificate");
        let pem = ca.certificate_pem();
        let transport = Transport::from_pem(pem, &issued.certificate_pem, &issued.key_pem);
        let tls = transport.expect("transport").rustls_server(ClientAuth::None);
        let folder = tempfile::tempdir().expect("tempdir");
        let path = folder.path().join("ca.pem");
        std::fs::write(&path, pem).expect("write");

        let script = Script::default();
        script.answers.lock().expect("lock").extend(answers);
        let router = Router::new().route("/bootstrap", post(answer)).with_state(script.clone());
        let listener = tokio::net::TcpListener::bind((ip, 0)).await.expect("bind");
        let address = listener.local_addr().expect("address").to_string();
        let mut server = JoinSet::new();
        server.spawn(HttpServer::new(listener, router).tls(tls).run(CancellationToken::new()));
        Self { address, ca: path, script, _folder: folder, _server: server }
    }

    fn control_plane(&self, addresses: &[&str]) -> ControlPlane {
        let addresses: Vec<_> = addresses.iter().map(|&a| a.to_owned()).collect();
        ControlPlane::new(&addresses, Some(&self.ca), false).expect("control plane")
    }

    async fn fetch(&self) -> (Result<Bootstrap, Refusal>, Vec<Progress>) {
        fetch_from(&self.control_plane(&[&self.address])).await
    }
}

async fn fetch_from(control_plane: &ControlPlane) -> (Result<Bootstrap, Refusal>, Vec<Progress>) {
    let mut seen = Vec::new();
    let request = request(Kind::Dataplane, control_plane);
    let fetched = fetch(control_plane, &request, |progress| seen.push(progress));
    (tokio::time::timeout(LONG, fetched).await.expect("an end"), seen)
}

fn request(kind: Kind, control_plane: &ControlPlane) -> Request {
    let document = ProxyDocument {
        kind,
        mesh: if kind == Kind::Dataplane { "default".to_owned() } else { String::new() },
        name: "web-1".to_owned(),
        value: json!({"type": kind.name(), "name": "web-1"}),
    };
    let envoy = Version { version: "1.40.0".to_owned(), build: "9e/1.40.0".to_owned() };
    let admin = "127.0.0.3:9901".parse().expect("address");
    Request::new(&document, "i-1".to_owned(), admin, control_plane, envoy)
}

fn ok(config: &Value) -> Scripted {
    (StatusCode::OK, "application/json; charset=utf-8", config.to_string())
}

fn problem(status: StatusCode, title: &str) -> Scripted {
    let body = json!({
        "type": "/std-errors", "status": status.as_u16(), "title": title, "detail": "the detail",
        "invalid_parameters": [{"field": "networking.address", "reason": "is empty"}],
    });
    (status, "application/json", body.to_string())
}

#[tokio::test]
async fn the_request_says_who_asks() {
    let config = json!({"node": {"id": "default.web-1"}});
    let fake = Fake::start([ok(&config), ok(&config)]).await;
    let (fetched, _) = fake.fetch().await;
    assert_eq!(fetched, Ok(Bootstrap { config, from: fake.address.clone() }));

    let control_plane = fake.control_plane(&[&fake.address]);
    let ingress = request(Kind::ZoneIngress, &control_plane);
    fetch(&control_plane, &ingress, |_| {}).await.expect("given");

    let requests = fake.script.requests.lock().expect("lock").clone();
    assert_eq!(requests[0].0["accept"], "application/json");
    assert_eq!(requests[0].0["content-type"], "application/json");
    let mut want = json!({
        "mesh": "default", "name": "web-1", "instance": "i-1",
        "dataplane": {"type": "Dataplane", "name": "web-1"},
        "adminAddress": "127.0.0.3", "adminPort": 9901,
        "controlPlanes": [fake.address],
        "version": {
            "higumaDp": {"version": env!("CARGO_PKG_VERSION")},
            "envoy": {"version": "1.40.0", "build": "9e/1.40.0"},
        },
    });
    assert_eq!(requests[0].1, want);
    let fields = want.as_object_mut().expect("object");
    fields.remove("dataplane");
    fields.insert("mesh".to_owned(), "".into());
    fields.insert("zoneIngress".to_owned(), json!({"type": "ZoneIngress", "name": "web-1"}));
    assert_eq!(requests[1].1, want);
}

#[tokio::test]
async fn refusals_end_it_with_the_control_planes_words() {
    struct Case {
        answer: Scripted,
        says: &'static str,
    }
    let case = |answer, says| Case { answer, says };
    let page = (StatusCode::NOT_FOUND, "text/html", "<h1>gone\x1b</h1>".to_owned());
    for case in [
        case(
            problem(StatusCode::CONFLICT, "Name in use"),
            "(409 Conflict): Name in use: the detail\n  networking.address: is empty; stop the proxy that runs under this name",
        ),
        case(
            problem(StatusCode::UNPROCESSABLE_ENTITY, "Invalid"),
            "(422 Unprocessable Entity): Invalid: the detail",
        ),
        case(problem(StatusCode::BAD_REQUEST, "Bad"), "(400 Bad Request): Bad"),
        case(
            problem(StatusCode::NOT_FOUND, "Not here"),
            "Not here: the detail\n  networking.address: is empty; is --cp the address of a zone's control plane (port 5678)?",
        ),
        case(page, "(404 Not Found): <h1>gone </h1>; is --cp"),
        case(
            (StatusCode::FORBIDDEN, "text/plain", String::new()),
            "(403 Forbidden): no reason given",
        ),
    ] {
        let fake = Fake::start([case.answer]).await;
        let error = fake.fetch().await.0.expect_err(case.says).to_string();
        assert!(error.contains(case.says), "{error}");
    }
}

#[tokio::test]
async fn what_may_change_is_waited_for() {
    let fake = Fake::start([
        problem(StatusCode::INTERNAL_SERVER_ERROR, "Store is full"),
        problem(StatusCode::NOT_FOUND, "Mesh not found"),
        ok(&json!({})),
    ])
    .await;
    let (fetched, seen) = fake.fetch().await;
    assert_eq!(fetched.expect("given").config, json!({}));
    let reasons: Vec<_> = seen
        .iter()
        .filter_map(|progress| match progress {
            Progress::Waiting(why) => Some(why.as_str()),
            Progress::Asking => None,
        })
        .collect();
    let wanted = ["500 Internal Server Error: Store is full", "Mesh not found: the detail"];
    assert_eq!(reasons.len(), wanted.len(), "{reasons:?}");
    for (reason, wanted) in reasons.iter().zip(wanted) {
        assert!(reason.contains(wanted), "{reason}");
    }
}

#[tokio::test]
async fn another_replica_answers_for_one_that_is_down_or_not_trusted() {
    let config = json!({"node": {}});
    let fake = Fake::start([ok(&config)]).await;
    let stranger = Fake::start([]).await;
    let down = higuma_testkit::free_addr().to_string();
    let control_plane = fake.control_plane(&[&down, &stranger.address, &fake.address]);
    let (fetched, seen) = fetch_from(&control_plane).await;
    assert_eq!(fetched, Ok(Bootstrap { config, from: fake.address.clone() }));
    assert_eq!(seen, [Progress::Asking, Progress::Asking, Progress::Asking]);
    assert!(stranger.script.requests.lock().expect("lock").is_empty(), "it was told too much");
}

#[tokio::test]
async fn nobody_there_is_said_with_each_address() {
    let fake = Fake::start([]).await;
    let stranger = Fake::start([]).await;
    let down = higuma_testkit::free_addr().to_string();
    let control_plane = fake.control_plane(&[&down, &stranger.address]);
    let request = request(Kind::Dataplane, &control_plane);
    let (sender, mut watched) = tokio::sync::watch::channel(None);
    let fetched = fetch(&control_plane, &request, |progress| {
        if let Progress::Waiting(why) = progress {
            sender.send_replace(Some(why));
        }
    });
    let said = higuma_testkit::wait_for(&mut watched, "a reason", LONG, Option::is_some);
    let said = tokio::select! {
        _ = fetched => panic!("there is nobody"),
        said = said => said.expect("said").expect("a reason"),
    };
    let parts: Vec<_> = said.split("; ").collect();
    assert_eq!(parts.len(), 2, "{said}");
    assert!(parts[0].starts_with(&format!("{down}: ")) && parts[0].contains("refused"), "{said}");
    let untrusted = parts[1].starts_with(&format!("{}: ", stranger.address));
    assert!(untrusted && parts[1].contains("certificate"), "{said}");
}
