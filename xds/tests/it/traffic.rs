//! Real Envoys over the real protocol: permissions bind open connections, requests cross zones, and
//! a change drops none.

use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use higuma_model::Snapshot;
use higuma_xds::{BootstrapRequest, ProxyKind};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use crate::ads::{Authority, ControlPlane};
use crate::{cases, envoy};

const PATIENCE: Duration = Duration::from_secs(60);

/// An Envoy that ends with the test.
struct Envoy {
    process: Child,
    folder: tempfile::TempDir,
}

impl Envoy {
    fn start(mesh: &str, name: &str, host: &str, control_plane: &ControlPlane, ca: &str) -> Self {
        let bootstrap = higuma_xds::bootstrap(&BootstrapRequest {
            kind: if mesh.is_empty() { ProxyKind::Ingress } else { ProxyKind::Sidecar },
            mesh: mesh.to_owned(),
            name: name.to_owned(),
            service: name.to_owned(),
            zone: String::new(),
            admin: (host.parse().unwrap(), 9901),
            control_planes: vec![("127.0.0.1".to_owned(), control_plane.port)],
            ca_pem: ca.to_owned(),
            token: None,
            metadata: Default::default(),
        });
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("bootstrap.json");
        std::fs::write(&path, bootstrap.to_string()).unwrap();
        let log = std::fs::File::create(folder.path().join("log")).unwrap();
        let process = Command::new(envoy::envoy())
            .args(["--disable-hot-restart", "--concurrency", "1", "-l", "warning", "-c"])
            .arg(&path)
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .expect("Envoy runs");
        Self { process, folder }
    }
}

impl Drop for Envoy {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
        if std::thread::panicking() {
            let log = std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default();
            eprintln!("an Envoy said:\n{log}");
        }
    }
}

/// Loopback addresses of this process alone, so that tests may run side by side.
fn host(at: u8) -> String {
    let id = std::process::id();
    format!("127.{}.{}.{at}", 16 + (id >> 8) % 200, id % 256)
}

/// An application that answers each request with its name.
fn serve(tasks: &mut JoinSet<()>, listener: TcpListener, name: &'static str) {
    tasks.spawn(async move {
        let mut connections = JoinSet::new();
        while let Ok((stream, _)) = listener.accept().await {
            connections.spawn(answer(stream, name));
        }
    });
}

async fn answer(mut stream: TcpStream, name: &'static str) {
    let mut seen = Vec::new();
    let mut buffer = [0; 4096];
    while let Ok(read @ 1..) = stream.read(&mut buffer).await {
        seen.extend_from_slice(&buffer[..read]);
        while let Some(end) = seen.windows(4).position(|window| window == b"\r\n\r\n") {
            seen.drain(..end + 4);
            let length = name.len();
            let response = format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n\r\n{name}");
            if stream.write_all(response.as_bytes()).await.is_err() {
                return;
            }
        }
    }
}

/// One connection that is kept open.
struct Client {
    stream: TcpStream,
}

impl Client {
    async fn connect(host: &str, port: u16) -> Self {
        let deadline = tokio::time::Instant::now() + PATIENCE;
        let mut ticks = tokio::time::interval(Duration::from_millis(20));
        loop {
            match TcpStream::connect((host, port)).await {
                Ok(stream) => return Self { stream },
                Err(error) => assert!(
                    tokio::time::Instant::now() < deadline,
                    "nothing listens on {host}:{port}: {error}"
                ),
            }
            ticks.tick().await;
        }
    }

    /// Status and body.
    async fn get(&mut self) -> (u16, String) {
        self.stream.write_all(b"GET / HTTP/1.1\r\nhost: api\r\n\r\n").await.unwrap();
        let mut seen = String::new();
        let mut buffer = [0; 4096];
        loop {
            let read = self.stream.read(&mut buffer).await.unwrap();
            assert!(read > 0, "the connection ends after {seen:?}");
            seen.push_str(std::str::from_utf8(&buffer[..read]).unwrap());
            let Some((head, body)) = seen.split_once("\r\n\r\n") else { continue };
            let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
            if body.len() >= length.map_or(0, |length| length.parse().unwrap()) {
                let status = head.split(' ').nth(1).unwrap().parse().unwrap();
                return (status, body.to_owned());
            }
        }
    }
}

/// How many connections an Envoy refused since their certificate was not of a CA that it trusts.
async fn certificates_refused(host: &str) -> u64 {
    let mut admin = TcpStream::connect((host, 9901)).await.unwrap();
    let request = "GET /stats?filter=ssl.fail_verify_error HTTP/1.1\r\nhost: admin\r\n\
                   connection: close\r\n\r\n";
    admin.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    admin.read_to_string(&mut answer).await.unwrap();
    let counts = answer.lines().filter_map(|line| line.split_once("ssl.fail_verify_error: "));
    counts.map(|(_, count)| count.parse::<u64>().unwrap()).sum()
}

const MESH: &str = "type: Mesh\nname: default\n\
    mtls: {enabledBackend: ca, backends: [{name: ca, type: builtin}]}\n";
const ALLOW: &str = "type: TrafficPermission\nname: web-to-api\nmesh: default\n\
    sources: [{match: {kuma.io/service: web}}]\ndestinations: [{match: {kuma.io/service: api}}]\n";

const LOCAL_FIRST: &str = "type: Mesh\nname: default\n\
    mtls: {enabledBackend: ca, backends: [{name: ca, type: builtin}]}\n\
    routing: {localityAwareLoadBalancing: true}\n";
const TO_WEST: &str = "type: TrafficRoute\nname: to-west\nmesh: default\n\
    sources: [{match: {kuma.io/service: web}}]\ndestinations: [{match: {kuma.io/service: api}}]\n\
    conf: {destination: {kuma.io/service: api, kuma.io/zone: west}}\n";

fn web(host: &str) -> String {
    format!(
        "type: Dataplane\nname: web-1\nmesh: default\nnetworking:\n  address: {host}\n  \
         inbound: [{{port: 80, servicePort: 18080, tags: {{kuma.io/service: web}}}}]\n  \
         outbound: [{{port: 9001, address: {host}, tags: {{kuma.io/service: api}}}}]\n"
    )
}

fn api(name: &str, host: &str) -> String {
    format!(
        "type: Dataplane\nname: {name}\nmesh: default\nnetworking:\n  address: {host}\n  inbound: \
         [{{port: 8080, servicePort: 18080, tags: {{kuma.io/service: api, kuma.io/protocol: http}}}}]\n"
    )
}

fn ingress(host: &str) -> String {
    format!(
        "type: ZoneIngress\nname: west-1\nzone: west\nnetworking: {{address: {host}, port: 10001, \
         advertisedAddress: {host}, advertisedPort: 10001}}\navailableServices: [{{mesh: default, \
         instances: 1, tags: {{kuma.io/service: api, kuma.io/protocol: http, kuma.io/zone: west}}}}]\n"
    )
}

/// A later snapshot with these documents; `zone` owns the Dataplanes.
fn state(version: u64, zone: &str, documents: &[&str]) -> Snapshot {
    let mut resources = cases::resources(&documents.join("---\n"));
    for resource in &mut resources {
        resource.modified_at += version * 100;
        if resource.key.kind() == higuma_model::Kind::Dataplane {
            resource.owner = higuma_model::Owner::zone(zone);
        }
    }
    cases::snapshot(&resources)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_follow_permissions_and_cross_zones() {
    let authority = Arc::new(Authority::new());
    let (web_host, east_host, west_host, door) = (host(1), host(2), host(3), host(4));
    let mut apps = JoinSet::new();
    for (host, name) in [(&east_host, "east"), (&west_host, "west")] {
        let listener = TcpListener::bind((host.as_str(), 18080)).await.unwrap();
        serve(&mut apps, listener, name);
    }
    let (web, api_1, api_2) = (web(&web_host), api("api-1", &east_host), api("api-2", &west_host));
    let door_1 = ingress(&door);
    let mut east =
        ControlPlane::start("east", state(1, "east", &[MESH, &web, &api_1]), &authority).await;
    let west = state(1, "west", &[MESH, ALLOW, &api_2, &door_1]);
    let west = ControlPlane::start("west", west, &authority).await;
    let ca = &authority.pem;
    let mut envoys = [
        Envoy::start("default", "web-1", &web_host, &east, ca),
        Envoy::start("default", "api-1", &east_host, &east, ca),
        Envoy::start("default", "api-2", &west_host, &west, ca),
        Envoy::start("", "west-1", &door, &west, ca),
    ];
    let sidecars = ["default.web-1", "default.api-1"];
    east.converged(&sidecars).await;
    west.converged(&["default.api-2", ".west-1"]).await;

    let mut client = Client::connect(&web_host, 9001).await;
    let (status, body) = client.get().await;
    assert_eq!((status, body.as_str()), (403, "RBAC: access denied"), "no permission");
    east.set(state(2, "east", &[MESH, ALLOW, &web, &api_1]));
    east.converged(&sidecars).await;
    assert_eq!(client.get().await, (200, "east".to_owned()), "on the same connection");
    east.set(state(3, "east", &[MESH, &web, &api_1]));
    east.converged(&sidecars).await;
    assert_eq!(client.get().await.0, 403, "on the same connection");

    // Invariant 13: instances, clusters and routes come and go, and no request is lost.
    let both = [MESH, ALLOW, &web, &api_1, &door_1];
    let only_west = [MESH, ALLOW, &web, &door_1];
    let routed = [MESH, ALLOW, TO_WEST, &web, &api_1, &door_1];
    let local_first = [LOCAL_FIRST, ALLOW, &web, &api_1, &door_1];
    let states: [&[&str]; 4] = [&only_west, &both, &routed, &local_first];
    east.set(state(4, "east", &both));
    east.converged(&sidecars).await;
    let mut seen = std::collections::BTreeSet::new();
    for (round, documents) in (0..).zip(states.iter().chain(&states).chain(&states)) {
        east.set(state(5 + round, "east", documents));
        for _ in 0..20 {
            let (status, body) = client.get().await;
            assert_eq!(status, 200, "in round {round}: {body}");
            seen.insert(body);
        }
        east.converged(&["default.web-1"]).await;
    }
    assert_eq!(seen.into_iter().collect::<Vec<_>>(), ["east", "west"]);
    east.set(state(20, "east", &only_west));
    east.converged(&["default.web-1"]).await;
    assert_eq!(client.get().await, (200, "west".to_owned()), "through the ingress");

    // A proxy dies and nobody says so: what fails to connect is tried elsewhere.
    east.set(state(21, "east", &local_first));
    east.converged(&sidecars).await;
    assert_eq!(client.get().await, (200, "east".to_owned()), "the own zone first");
    envoys[1].process.kill().unwrap();
    envoys[1].process.wait().unwrap();
    for at in 0..20 {
        assert_eq!(client.get().await, (200, "west".to_owned()), "request {at}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_inbound_takes_only_certificates_of_its_own_mesh() {
    let authority = Arc::new(Authority::new());
    let mut another = Authority::named("another mesh");
    // The caller would take either: it is the inbound that has to refuse.
    another.trusted.push_str(&authority.pem);
    let another = Arc::new(another);
    let (api_host, web_host, stranger_host) = (host(21), host(22), host(23));
    let mut apps = JoinSet::new();
    serve(&mut apps, TcpListener::bind((api_host.as_str(), 18080)).await.unwrap(), "api");
    let api = api("api-1", &api_host);
    let own = state(1, "east", &[MESH, ALLOW, &web(&web_host), &api]);
    let own = ControlPlane::start("east", own, &authority).await;
    // The same names in all it says of itself, and signed by another mesh's CA.
    let foreign = state(1, "east", &[MESH, ALLOW, &web(&stranger_host), &api]);
    let foreign = ControlPlane::start("east", foreign, &another).await;
    let _envoys = [
        Envoy::start("default", "api-1", &api_host, &own, &authority.pem),
        Envoy::start("default", "web-1", &web_host, &own, &authority.pem),
        Envoy::start("default", "web-1", &stranger_host, &foreign, &another.pem),
    ];
    own.converged(&["default.api-1", "default.web-1"]).await;
    foreign.converged(&["default.web-1"]).await;
    let mut web = Client::connect(&web_host, 9001).await;
    assert_eq!(web.get().await, (200, "api".to_owned()));
    assert_eq!(certificates_refused(&api_host).await, 0);
    let mut stranger = Client::connect(&stranger_host, 9001).await;
    let (status, body) = stranger.get().await;
    assert_eq!(status, 503, "{body}");
    assert!(certificates_refused(&api_host).await > 0, "by the inbound, for the certificate");
    assert_eq!(web.get().await, (200, "api".to_owned()), "and goes on with its own");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_instance_that_joins_behind_an_ingress_gets_its_share() {
    let authority = Arc::new(Authority::new());
    let (web_host, first_host, second_host, door) = (host(11), host(12), host(13), host(14));
    let mut apps = JoinSet::new();
    for (host, name) in [(&first_host, "first"), (&second_host, "second")] {
        let listener = TcpListener::bind((host.as_str(), 18080)).await.unwrap();
        serve(&mut apps, listener, name);
    }
    let (web, door_1) = (web(&web_host), ingress(&door));
    let (first, second) = (api("api-1", &first_host), api("api-2", &second_host));
    let east = state(1, "east", &[MESH, ALLOW, &web, &door_1]);
    let east = ControlPlane::start("east", east, &authority).await;
    let west = state(1, "west", &[MESH, ALLOW, &first, &door_1]);
    let mut west = ControlPlane::start("west", west, &authority).await;
    let ca = &authority.pem;
    let _envoys = [
        Envoy::start("default", "web-1", &web_host, &east, ca),
        Envoy::start("default", "api-1", &first_host, &west, ca),
        Envoy::start("", "west-1", &door, &west, ca),
    ];
    east.converged(&["default.web-1"]).await;
    west.converged(&["default.api-1", ".west-1"]).await;
    let mut client = Client::connect(&web_host, 9001).await;
    assert_eq!(client.get().await, (200, "first".to_owned()));

    west.set(state(2, "west", &[MESH, ALLOW, &first, &second, &door_1]));
    let _joined = Envoy::start("default", "api-2", &second_host, &west, ca);
    west.converged(&["default.api-1", "default.api-2", ".west-1"]).await;
    // East is told nothing: for it there is the ingress as before.
    let mut seen = std::collections::BTreeMap::new();
    for at in 0..1000 {
        let (status, body) = client.get().await;
        assert_eq!(status, 200, "request {at}: {body}");
        *seen.entry(body).or_insert(0) += 1;
    }
    assert!(seen.get("first") >= Some(&100) && seen.get("second") >= Some(&100), "{seen:?}");
}
