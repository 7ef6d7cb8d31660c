//! A control plane of a few lines for tests: the index, the generator and the session over a real
//! stream, with TLS.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use envoy_types::pb::envoy::service::discovery::v3 as pb;
use envoy_types::pb::envoy::service::discovery::v3::aggregated_discovery_service_server as server;
use higuma_model::{Key, Kind, Snapshot};
use higuma_xds::{Identity, Index, Proxy, ProxyKind, Session};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio_stream::wrappers::{ReceiverStream, TcpListenerStream};
use tonic::transport::{Server, ServerTlsConfig};
use tonic::{Request, Response, Status, Streaming};

/// Far longer than anything here takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// By node: the local version that it runs in full, and what it refused.
type Progress = BTreeMap<String, (u64, Vec<String>)>;

pub(crate) struct ControlPlane {
    pub(crate) port: u16,
    index: watch::Sender<Index>,
    progress: watch::Receiver<Progress>,
    snapshot: Snapshot,
    _tasks: JoinSet<()>,
}

/// Certificates of this test: the control plane's, and those of the mesh.
pub(crate) struct Authority {
    pub(crate) pem: String,
    /// What its proxies take from others: certificates of these.
    pub(crate) trusted: String,
    issuer: rcgen::Issuer<'static, rcgen::KeyPair>,
}

impl Authority {
    pub(crate) fn new() -> Self {
        Self::named("a mesh")
    }

    /// Two of one name cannot be told apart where both are trusted.
    pub(crate) fn named(name: &str) -> Self {
        let mut params = rcgen::CertificateParams::new(Vec::new()).unwrap();
        params.distinguished_name.push(rcgen::DnType::CommonName, name);
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let key = rcgen::KeyPair::generate().unwrap();
        let pem = params.self_signed(&key).unwrap().pem();
        Self { trusted: pem.clone(), pem, issuer: rcgen::Issuer::new(params, key) }
    }

    pub(crate) fn identity(&self, name: rcgen::SanType) -> Identity {
        let mut params = rcgen::CertificateParams::new(Vec::new()).unwrap();
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.subject_alt_names = vec![name];
        let key = rcgen::KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        Identity {
            cert_chain_pem: certificate.pem().as_bytes().into(),
            key_pem: key.serialize_pem().as_bytes().into(),
            ca_pem: self.trusted.as_bytes().into(),
        }
    }
}

impl ControlPlane {
    pub(crate) async fn start(zone: &str, snapshot: Snapshot, authority: &Arc<Authority>) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let own = authority.identity(rcgen::SanType::IpAddress([127, 0, 0, 1].into()));
        let own = tonic::transport::Identity::from_pem(own.cert_chain_pem, own.key_pem);
        let (index, seen) = watch::channel(Index::new(zone, &snapshot));
        let (told, progress) = watch::channel(Progress::new());
        let streams = Mutex::new(JoinSet::new());
        let service = Streams { index: seen, told, authority: authority.clone(), streams };
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            Server::builder()
                .tls_config(ServerTlsConfig::new().identity(own))
                .unwrap()
                .add_service(server::AggregatedDiscoveryServiceServer::new(service))
                .serve_with_incoming(TcpListenerStream::new(listener))
                .await
                .unwrap();
        });
        Self { port, index, progress, snapshot, _tasks: tasks }
    }

    /// Follows to another snapshot by its difference.
    pub(crate) fn set(&mut self, snapshot: Snapshot) {
        let delta = snapshot.since(&self.snapshot);
        self.index.send_modify(|index| index.update(&snapshot, &delta));
        self.snapshot = snapshot;
    }

    /// Waits until the nodes run the current version in full.
    pub(crate) async fn converged(&self, nodes: &[&str]) {
        let version = self.snapshot.version();
        let runs = |progress: &Progress| {
            nodes.iter().all(|node| progress.get(*node).is_some_and(|(acked, _)| *acked >= version))
        };
        let mut progress = self.progress.clone();
        let waited = tokio::time::timeout(PATIENCE, progress.wait_for(runs)).await;
        let last = self.progress.borrow().clone();
        assert!(waited.is_ok(), "{nodes:?} do not run version {version}: {last:?}");
    }
}

struct Streams {
    index: watch::Receiver<Index>,
    told: watch::Sender<Progress>,
    authority: Arc<Authority>,
    streams: Mutex<JoinSet<()>>,
}

#[tonic::async_trait]
impl server::AggregatedDiscoveryService for Streams {
    type StreamAggregatedResourcesStream = ReceiverStream<Result<pb::DiscoveryResponse, Status>>;
    type DeltaAggregatedResourcesStream =
        ReceiverStream<Result<pb::DeltaDiscoveryResponse, Status>>;

    async fn stream_aggregated_resources(
        &self,
        _: Request<Streaming<pb::DiscoveryRequest>>,
    ) -> Result<Response<Self::StreamAggregatedResourcesStream>, Status> {
        Err(Status::unimplemented("only the delta variant is served"))
    }

    async fn delta_aggregated_resources(
        &self,
        request: Request<Streaming<pb::DeltaDiscoveryRequest>>,
    ) -> Result<Response<Self::DeltaAggregatedResourcesStream>, Status> {
        let (sender, receiver) = mpsc::channel(16);
        let stream = Stream {
            index: self.index.clone(),
            told: self.told.clone(),
            authority: self.authority.clone(),
            requests: request.into_inner(),
            responses: sender,
        };
        self.streams.lock().unwrap().spawn(stream.serve());
        Ok(Response::new(ReceiverStream::new(receiver)))
    }
}

struct Stream {
    index: watch::Receiver<Index>,
    told: watch::Sender<Progress>,
    authority: Arc<Authority>,
    requests: Streaming<pb::DeltaDiscoveryRequest>,
    responses: mpsc::Sender<Result<pb::DeltaDiscoveryResponse, Status>>,
}

impl Stream {
    /// Ends with the stream.
    async fn serve(mut self) {
        let Ok(Some(first)) = self.requests.message().await else { return };
        let node = first.node.as_ref().expect("the first request names its node").id.clone();
        let (proxy, identity) = self.who(&node);
        let mut session = Session::new();
        let generate = |index: &Index| higuma_xds::config(index, &proxy, &identity).0;
        let (config, versions) = {
            let index = self.index.borrow_and_update();
            (generate(&index), index.versions())
        };
        session.on_config(&config, versions);
        let mut next = session.on_request(&first).expect("a request that is served");
        loop {
            self.tell(&node, &session);
            for response in next {
                if self.responses.send(Ok(response)).await.is_err() {
                    return;
                }
            }
            next = tokio::select! {
                request = self.requests.message() => match request {
                    Ok(Some(request)) => session.on_request(&request).expect("it is served"),
                    _ => return,
                },
                changed = self.index.changed() => {
                    if changed.is_err() {
                        return;
                    }
                    let (config, versions) = {
                        let index = self.index.borrow_and_update();
                        (generate(&index), index.versions())
                    };
                    session.on_config(&config, versions)
                }
            };
        }
    }

    fn who(&self, node: &str) -> (Proxy, Identity) {
        let (mesh, name) = node.split_once('.').expect("mesh.name");
        let zone: Arc<str> = self.index.borrow().zone().into();
        if mesh.is_empty() {
            let key = Key::new(Kind::ZoneIngress, "", name);
            let kind = ProxyKind::Ingress;
            return (Proxy { key, kind, zone, bind_outbounds: false }, Identity::default());
        }
        let (service, _) = name.rsplit_once('-').expect("service-number");
        let uri = format!("spiffe://{mesh}/{service}").as_str().try_into().unwrap();
        let identity = self.authority.identity(rcgen::SanType::URI(uri));
        let key = Key::new(Kind::Dataplane, mesh, name);
        (Proxy { key, kind: ProxyKind::Sidecar, zone, bind_outbounds: false }, identity)
    }

    fn tell(&self, node: &str, session: &Session) {
        let acked = session.acked_version().map_or(0, |versions| versions.local);
        let nacks = session.nacks().iter().map(|nack| format!("{nack:?}")).collect();
        self.told.send_modify(|progress| {
            progress.insert(node.to_owned(), (acked, nacks));
        });
    }
}
