//! A zone's control plane whose global is gone: it serves what is on its disk.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use higuma_model::spec::Mesh;
use higuma_model::testing::{mesh, secret, traffic_permission, zone_ingress};
use higuma_model::{
    ClusterId, Operation, Owner, Place, Received, RequestId, Terms, Timestamp, Transaction,
    Upstream, ca_certificate_key, ca_private_key_key,
};
use higuma_remote::RunArgs;
use higuma_serve::flags::{RestFlags, TlsFlags};
use higuma_serve::pki::{Authority, Subject, write_certificate, write_key};
use higuma_store::{Options, Store, Timers};
use higuma_testkit::{FakeEnvoy, free_addr, poll_until, wait_for};
use serde_json::{Value, json};
use tokio::net::UdpSocket;
use tokio::task::JoinSet;
use tonic::transport::{Certificate, ClientTlsConfig};

const PATIENCE: Duration = Duration::from_secs(30);
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

struct Zone {
    folder: tempfile::TempDir,
    global: Vec<String>,
    address: SocketAddr,
    rest: SocketAddr,
    dns: SocketAddr,
    ca_pem: String,
    tls: TlsFlags,
    running: JoinSet<anyhow::Result<()>>,
}

/// Writes what a global had sent before it was lost.
async fn fill(folder: &Path) {
    let ca = Authority::generate("default", DAY).unwrap();
    let (certificate, key) =
        (ca_certificate_key("default", "ca-1"), ca_private_key_key("default", "ca-1"));
    let pem = ca.certificate_pem().as_bytes();
    let upserts = vec![
        mesh("default").mtls("ca-1").resource(Owner::Global, 3),
        secret("default", certificate.name(), pem, Owner::Global, 3),
        secret("default", key.name(), ca.key_pem().as_bytes(), Owner::Global, 3),
        traffic_permission("all")
            .source(&[("kuma.io/service", "*")])
            .destination(&[("kuma.io/service", "*")])
            .resource(Owner::Global, 4),
        zone_ingress("west-1")
            .available("default", &[("kuma.io/service", "billing")], 1)
            .resource(Owner::zone("west"), 4),
    ];
    let position = Upstream { cluster: ClusterId(5), epoch: 1, version: 4 };
    let received = Received { zone: None, position, builds_on: None, upserts, removed: vec![] };
    write(folder, vec![Operation::Receive(received)]).await;
}

/// Writes into a data folder what a zone east has written before.
async fn write(folder: &Path, operations: Vec<Operation>) {
    let store = Store::open(Options {
        folder: folder.to_owned(),
        node: 1,
        members: BTreeMap::from([(1, "127.0.0.1:1".to_owned())]),
        listener: None,
        tls: None,
        timers: Timers::default(),
        mutant: None,
    })
    .await
    .unwrap();
    let transaction = Transaction {
        id: RequestId { at: Timestamp(1), random: 1 },
        at: Timestamp(1),
        writer: Owner::zone("east"),
        demands: vec![],
        checks: vec![],
        operations,
        terms: Terms::default(),
    };
    let written = async || store.write(&transaction).await;
    poll_until("the zone's state is written", PATIENCE, written, Result::is_ok)
        .await
        .unwrap()
        .unwrap();
    store.shutdown().await;
}

fn tls(folder: &Path, ip: IpAddr) -> (TlsFlags, String) {
    let ca = Authority::generate("lab", DAY).unwrap();
    let subject = Subject { common_name: "east".into(), ips: vec![ip], ..Subject::default() };
    let issued = ca.issue(&subject, DAY).unwrap();
    let path = |name: &str| -> PathBuf { folder.join(name) };
    write_certificate(&path("ca.pem"), ca.certificate_pem()).unwrap();
    write_certificate(&path("cert.pem"), &issued.certificate_pem).unwrap();
    write_key(&path("key.pem"), &issued.key_pem).unwrap();
    let flags = TlsFlags {
        tls_ca: Some(path("ca.pem")),
        tls_cert: Some(path("cert.pem")),
        tls_key: Some(path("key.pem")),
    };
    (flags, ca.certificate_pem().to_owned())
}

impl Zone {
    /// A zone whose global is lost.
    async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        fill(&folder.path().join("data")).await;
        // Nobody listens there.
        Self::start_in(folder, vec!["127.0.0.1:9".to_owned()])
    }

    fn start_in(folder: tempfile::TempDir, global: Vec<String>) -> Self {
        higuma_serve::install_crypto_provider();
        let address = free_addr();
        let (tls, ca_pem) = tls(folder.path(), address.ip());
        let running = JoinSet::new();
        let (rest, dns) = (free_addr(), free_addr());
        let mut zone = Self { folder, global, address, rest, dns, ca_pem, tls, running };
        let args = zone.args();
        zone.running.spawn(higuma_remote::run(args));
        zone
    }

    fn args(&self) -> RunArgs {
        RunArgs {
            state_quota: higuma_model::DEFAULT_QUOTA_BYTES,
            zone: "east".to_owned(),
            data_dir: self.folder.path().join("data"),
            global: self.global.clone(),
            bind: self.address.ip(),
            proxy_port: self.address.port(),
            dns_port: self.dns.port(),
            rest_port: self.rest.port(),
            diagnostics_port: free_addr().port(),
            diagnostics_bind: None,
            tls: self.tls.clone(),
            rest: RestFlags {
                https_port: free_addr().port(),
                https_bind: None,
                https_cert: None,
                https_key: None,
                localhost_is_admin: true,
                roles: None,
            },
        }
    }

    async fn connect(&self, instance: &str, document: &Value) -> anyhow::Result<FakeEnvoy> {
        let tls = ClientTlsConfig::new().ca_certificate(Certificate::from_pem(&self.ca_pem));
        let metadata = [
            ("dataplane.resource", document.to_string()),
            ("higuma.instance", instance.to_owned()),
        ];
        let url = format!("https://{}", self.address);
        let connect = async || FakeEnvoy::connect(&url, tls.clone(), &metadata).await;
        poll_until("a stream", PATIENCE, connect, Result::is_ok)
            .await
            .map_err(anyhow::Error::msg)?
    }

    async fn rest(&self, path: &str) -> Value {
        let url = format!("http://{}{path}", self.rest);
        reqwest::get(url).await.unwrap().json().await.unwrap()
    }

    async fn post(&self, path: &str, body: &Value) -> (u16, Value) {
        let ca = reqwest::Certificate::from_pem(self.ca_pem.as_bytes()).unwrap();
        let client = reqwest::Client::builder().tls_certs_only([ca]).build().unwrap();
        let url = format!("https://{}{path}", self.address);
        let answer = client.post(url).json(body).send().await.unwrap();
        (answer.status().as_u16(), answer.json().await.unwrap())
    }

    /// Writes a resource over REST as soon as that listens.
    async fn put(&self, path: &str, body: &Value) -> (u16, Value) {
        let url = format!("http://{}{path}", self.rest);
        let client = reqwest::Client::new();
        let put = async || client.put(&url).json(body).send().await;
        let answer = poll_until("REST", PATIENCE, put, Result::is_ok).await.unwrap().unwrap();
        (answer.status().as_u16(), answer.json().await.unwrap())
    }

    /// Why it ended by itself.
    async fn refusal(&mut self) -> String {
        let ended = tokio::time::timeout(PATIENCE, self.running.join_next()).await;
        ended.unwrap().unwrap().unwrap().unwrap_err().to_string()
    }

    /// The address that DNS answers for a host name; none where it answers without one.
    async fn resolve(&self, hostname: &str) -> std::io::Result<Option<Ipv4Addr>> {
        let mut query = vec![0x12, 0x34, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
        for label in hostname.split('.') {
            query.push(u8::try_from(label.len()).unwrap());
            query.extend(label.bytes());
        }
        // The root, type A, class IN.
        query.extend([0, 0, 1, 0, 1]);
        let socket = UdpSocket::bind((self.address.ip(), 0)).await?;
        socket.connect(self.dns).await?;
        socket.send(&query).await?;
        let mut answer = [0; 512];
        let received = tokio::time::timeout(PATIENCE, socket.recv(&mut answer)).await;
        let length = received.unwrap()?;
        assert_eq!(answer[..2], query[..2], "the same id");
        let answers = u16::from_be_bytes([answer[6], answer[7]]);
        let last: [u8; 4] = answer[length - 4..length].try_into().unwrap();
        Ok((answers == 1).then(|| Ipv4Addr::from(last)))
    }

    /// Names of the zone's Dataplanes, and whether their insights say online.
    async fn dataplanes(&self) -> Vec<String> {
        let list = self.rest("/meshes/default/dataplanes").await;
        let items = list["items"].as_array().unwrap();
        items.iter().map(|item| item["name"].as_str().unwrap().to_owned()).collect()
    }
}

fn web() -> Value {
    json!({"type": "Dataplane", "mesh": "default", "name": "web-1", "networking": {
        "address": "127.0.0.1",
        "inbound": [{"port": 18080, "servicePort": 18081,
            "tags": {"kuma.io/service": "web", "kuma.io/protocol": "http"}}]}})
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restarted_remote_serves_its_last_state_before_it_connects_to_anything() {
    let zone = Zone::start().await;
    let mut envoy = zone.connect("a", &web()).await.unwrap();
    let has = |kind: &'static str| {
        move |all: &higuma_testkit::Resources| all.get(kind).is_some_and(|held| !held.is_empty())
    };
    for kind in ["listener", "cluster", "routeconfiguration"] {
        wait_for(&mut envoy.resources, kind, PATIENCE, has(kind)).await.unwrap();
    }
    assert_eq!(zone.dataplanes().await, ["web-1"], "the stream's proxy is registered");
    let item = zone.rest("/meshes/default/dataplanes/web-1").await;
    let tags = &item["networking"]["inbound"][0]["tags"];
    assert_eq!(tags["kuma.io/zone"], "east", "the zone is stamped");

    let mut other = zone.connect("b", &web()).await.unwrap();
    let refused = other.ended().await.to_string();
    assert!(refused.contains("held by another running proxy"), "{refused}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proxy_that_leaves_is_out_of_the_mesh_when_it_is_told_so() {
    let zone = Zone::start().await;
    let mut envoy = zone.connect("a", &web()).await.unwrap();
    let any = |all: &higuma_testkit::Resources| all.contains_key("listener");
    wait_for(&mut envoy.resources, "its listeners", PATIENCE, any).await.unwrap();
    let asked = json!({"instance": "b", "dataplane": web(), "adminAddress": "127.0.0.1",
        "adminPort": 9901, "controlPlanes": [zone.address.to_string()]});
    let (status, body) = zone.post("/bootstrap", &asked).await;
    assert_eq!((status, &body["title"]), (409, &json!("Conflict")), "{body}");

    let stranger = json!({"mesh": "default", "name": "web-1", "instance": "b"});
    assert_eq!(zone.post("/leave", &stranger).await.0, 404);
    let leave = json!({"mesh": "default", "name": "web-1", "instance": "a"});
    let (status, body) = zone.post("/leave", &leave).await;
    assert_eq!((status, body), (200, json!({"confirmed": true})));
    assert_eq!(zone.dataplanes().await, [] as [&str; 0]);
    let kept = envoy.resources.borrow().get("listener").is_some_and(|held| !held.is_empty());
    assert!(kept, "it keeps what it runs until it drains");
    drop(envoy);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bootstrap_is_for_a_proxy_of_a_known_mesh() {
    let zone = Zone::start().await;
    drop(zone.connect("a", &web()).await);
    let ask = |document: Value| {
        json!({"instance": "z", "dataplane": document, "adminAddress": "127.0.0.1",
            "adminPort": 9901, "controlPlanes": [zone.address.to_string()]})
    };
    let mut document = web();
    document["name"] = json!("web-2");
    let (status, body) = zone.post("/bootstrap", &ask(document.clone())).await;
    assert_eq!(
        (status, &body["admin"]["address"]["socketAddress"]["portValue"]),
        (200, &json!(9901))
    );
    document["mesh"] = json!("other");
    let (status, body) = zone.post("/bootstrap", &ask(document.clone())).await;
    assert_eq!((status, &body["title"]), (404, &json!("Mesh not found")), "{body}");
    document["mesh"] = json!("default");
    document["networking"] = json!({});
    let (status, body) = zone.post("/bootstrap", &ask(document)).await;
    assert_eq!(status, 400, "{body}");
    assert!(!body["invalid_parameters"].as_array().unwrap().is_empty(), "{body}");
    let (status, body) = zone.post("/bootstrap", &json!({"x": 1})).await;
    assert_eq!((status, &body["title"]), (400, &json!("Bad Request")), "{body}");
}

#[tokio::test(flavor = "multi_thread")]
async fn names_are_answered_while_the_global_is_gone() {
    let zone = Zone::start().await;
    let answered = |answer: &std::io::Result<Option<Ipv4Addr>>| matches!(answer, Ok(Some(_)));
    let billing = async || zone.resolve("billing.mesh").await;
    let billing = poll_until("another zone's service", PATIENCE, billing, answered).await;
    assert_eq!(zone.resolve("web.mesh").await.unwrap(), None, "it has no proxy yet");

    let envoy = zone.connect("a", &web()).await.unwrap();
    let web = async || zone.resolve("web.mesh").await;
    let web = poll_until("the new service", PATIENCE, web, answered).await.unwrap().unwrap();
    assert_ne!(web, billing.unwrap().unwrap());
    let vip = zone.rest("/vips/web.mesh").await;
    assert_eq!(vip["address"], json!(web.unwrap().to_string()), "{vip}");
    drop(envoy);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_zone_on_its_own_is_the_authority_of_its_meshes() {
    let zone = Zone::start_in(tempfile::tempdir().unwrap(), Vec::new());
    let default = json!({"type": "Mesh", "name": "default", "mtls": {
        "enabledBackend": "ca-1", "backends": [{"name": "ca-1", "type": "builtin"}]}});
    let (status, body) = zone.put("/meshes/default", &default).await;
    assert_eq!(status, 201, "{body}");
    let any = json!([{"match": {"kuma.io/service": "*"}}]);
    let all = json!({"type": "TrafficPermission", "mesh": "default", "name": "all",
        "sources": any, "destinations": any});
    let (status, body) = zone.put("/meshes/default/traffic-permissions/all", &all).await;
    assert_eq!(status, 201, "{body}");
    let (status, body) = zone.put("/zones/west", &json!({"type": "Zone", "name": "west"})).await;
    assert!((400..500).contains(&status), "there are no zones: {status} {body}");

    let mut envoy = zone.connect("a", &web()).await.unwrap();
    let has = |kind: &'static str| {
        move |all: &higuma_testkit::Resources| all.get(kind).is_some_and(|held| !held.is_empty())
    };
    for kind in ["listener", "cluster", "routeconfiguration"] {
        wait_for(&mut envoy.resources, kind, PATIENCE, has(kind)).await.unwrap();
    }
    // Its own versions are those that its proxies are held against.
    let progress = async || zone.rest("/_progress").await["zones"]["east"].clone();
    let known = |east: &Value| east["proxies"] == 1 && east["received"].as_u64() >= Some(2);
    poll_until("its own progress", PATIENCE, progress, known).await.unwrap();
    let item = zone.rest("/meshes/default/dataplanes/web-1").await;
    assert_eq!(item["networking"]["inbound"][0]["tags"]["kuma.io/zone"], "east", "{item}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_data_folder_stays_what_it_was() {
    let global = || vec!["127.0.0.1:9".to_owned()];
    let followed = tempfile::tempdir().unwrap();
    fill(&followed.path().join("data")).await;
    let refused = Zone::start_in(followed, Vec::new()).refusal().await;
    assert!(refused.contains("follows a global"), "{refused}");

    let alone = tempfile::tempdir().unwrap();
    let place = Place::Standalone("east".into());
    let mesh = place.draft("", "default", &Mesh::default()).unwrap();
    write(&alone.path().join("data"), vec![Operation::Put(mesh)]).await;
    let refused = Zone::start_in(alone, global()).refusal().await;
    assert!(refused.contains("of a zone on its own (it has written Mesh default"), "{refused}");
}
