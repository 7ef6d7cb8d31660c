//! One Envoy's ADS stream: what it asks, what it is to run, what it confirms.
//!
//! Driven by whoever polls its responses: when the connection ends, the value is dropped and with
//! it the proxy's presence.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use envoy_types::pb::envoy::config::core::v3::Node;
use envoy_types::pb::envoy::service::discovery::v3::{
    DeltaDiscoveryRequest, DeltaDiscoveryResponse,
};
use envoy_types::pb::google::protobuf::value::Kind as ValueKind;
use higuma_model::{Admission, Document, Key, Kind, Rejection, RequestId};
use higuma_xds::{Identity, Proxy, ProxyKind, Session, config};
use tokio::sync::watch;
use tokio::time::Instant;
use tonic::{Status, Streaming};

use crate::credential::Credential;
use crate::live::{LiveProxy, Presence};
use crate::progress::Progress;
use crate::view::View;
use crate::zone::{Zone, now, random};

/// Node metadata that the bootstrap carries: the document and the process that runs it.
pub(crate) const DOCUMENT_KEY: &str = "dataplane.resource";
pub(crate) const INSTANCE_KEY: &str = "higuma.instance";
/// Node metadata of a proxy that is to listen on the addresses of `.mesh` names: `true`.
pub(crate) const BIND_OUTBOUNDS_KEY: &str = "higuma.bind-outbounds";

/// Faults that are kept of one proxy; the first ones say what to mend.
const MAX_FAULTS: usize = 8;

/// How long a stream may be open before it says whose it is. Envoy sends its first request with
/// the stream.
const FIRST_REQUEST_LIMIT: Duration = Duration::from_secs(10);

/// Whether a stream's proxy is in the state.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Standing {
    /// Not yet: the registrar is about to write it.
    New,
    Registered,
    /// No longer: it is leaving, or was deleted.
    Gone,
}

/// A stream whose proxy is registered.
pub(crate) struct ProxyStream {
    zone: Arc<Zone>,
    presence: Presence,
    proxy: Proxy,
    inbound: Streaming<DeltaDiscoveryRequest>,
    views: watch::Receiver<Arc<View>>,
    session: Session,
    credential: Option<Credential>,
    /// When the credential is looked at again.
    renewal: Option<Instant>,
    standing: Standing,
    faults: Vec<String>,
    out: VecDeque<DeltaDiscoveryResponse>,
}

impl ProxyStream {
    /// Reads the first request, which names the proxy, and registers it.
    pub(crate) async fn open(
        zone: Arc<Zone>,
        mut inbound: Streaming<DeltaDiscoveryRequest>,
    ) -> Result<Self, Status> {
        let first = tokio::time::timeout(FIRST_REQUEST_LIMIT, inbound.message()).await;
        let first = first.map_err(|_| Status::deadline_exceeded("no request came"))??;
        let first = first.ok_or_else(|| Status::invalid_argument("no request came"))?;
        let node = first.node.as_ref();
        let node = node.ok_or_else(|| Status::invalid_argument("the first request has no node"))?;
        let (document, instance) = introduced(node)?;
        let bind_outbounds = text(node, BIND_OUTBOUNDS_KEY).is_some_and(|value| value == "true");
        let key = document.key();
        admit(&zone, &document)?;
        let proxy = LiveProxy {
            stream: random(),
            instance: instance.into(),
            document: Arc::new(document),
            connected: now(),
            leaving: false,
        };
        let entered = zone.live.enter(key.clone(), proxy);
        let presence = entered.map_err(|taken| Status::already_exists(taken.to_string()))?;
        tracing::info!(proxy = %key, "proxy connected");
        let kind = match key.kind() {
            Kind::ZoneIngress => ProxyKind::Ingress,
            _ => ProxyKind::Sidecar,
        };
        let mut stream = Self {
            proxy: Proxy { key, kind, zone: zone.name.clone(), bind_outbounds },
            views: zone.views.clone(),
            zone,
            presence,
            inbound,
            session: Session::new(),
            credential: None,
            renewal: None,
            standing: Standing::New,
            faults: Vec::new(),
            out: VecDeque::new(),
        };
        stream.note();
        stream.requested(&first)?;
        stream.views.mark_changed();
        Ok(stream)
    }

    /// The next response; an error ends the stream.
    pub(crate) async fn next(&mut self) -> Option<Result<DeltaDiscoveryResponse, Status>> {
        loop {
            if let Some(response) = self.out.pop_front() {
                return Some(Ok(response));
            }
            tokio::select! {
                () = self.zone.stop.cancelled() => {
                    return Some(Err(Status::unavailable("the control plane stops")));
                }
                request = self.inbound.message() => match request {
                    Ok(Some(request)) => {
                        if let Err(status) = self.requested(&request) {
                            return Some(Err(status));
                        }
                    }
                    Ok(None) | Err(_) => return None,
                },
                changed = self.views.changed() => {
                    changed.ok()?;
                    self.generate();
                }
                () = at(self.renewal) => self.generate(),
            }
        }
    }

    fn requested(&mut self, request: &DeltaDiscoveryRequest) -> Result<(), Status> {
        let sent = self.session.on_request(request);
        self.out.extend(sent.map_err(|error| Status::invalid_argument(error.to_string()))?);
        self.note();
        Ok(())
    }

    /// Generates what the proxy is to run now. One that left the state (it is leaving, or was
    /// deleted) keeps what it has until its stream ends.
    fn generate(&mut self) {
        let view = self.views.borrow_and_update().clone();
        if view.snapshot.get(&self.proxy.key).is_none() {
            self.renewal = None;
            if self.standing == Standing::Registered {
                // It confirms no later version, and nobody is to wait for one.
                self.standing = Standing::Gone;
                self.zone.books.forget(self.presence.key(), self.presence.stream());
            }
            return;
        }
        self.standing = Standing::Registered;
        self.faults.clear();
        let identity = self.identity(&view);
        let now = Instant::now();
        self.renewal = self.credential.as_ref().map(|credential| credential.renewal(now));
        let (config, problems) = config(&view.index, &self.proxy, &identity);
        self.faults.extend(problems.iter().map(ToString::to_string));
        self.out.extend(self.session.on_config(&config, view.index.versions()));
        self.note();
    }

    fn identity(&mut self, view: &View) -> Identity {
        if self.proxy.kind == ProxyKind::Ingress {
            return Identity::default();
        }
        let before = self.credential.take();
        let (key, now) = (&self.proxy.key, Instant::now());
        match Credential::for_proxy(&view.snapshot, key, before.as_ref(), now) {
            Ok(credential) => self.credential = credential,
            Err(error) => {
                tracing::warn!(proxy = %key, %error, "no certificate");
                self.faults.push(error.to_string());
                self.credential = before;
            }
        }
        self.credential.as_ref().map(|credential| credential.identity.clone()).unwrap_or_default()
    }

    /// Writes into the books what is known of the proxy.
    fn note(&self) {
        // A stream that another of the same process has followed speaks for the proxy no more.
        if self.standing == Standing::Gone || !self.presence.is_current() {
            return;
        }
        let nacks = self.session.nacks();
        let refused = nacks.iter().map(|nack| format!("{}: refused: {}", nack.name, nack.error));
        let faults = refused.chain(self.faults.iter().cloned()).take(MAX_FAULTS).collect();
        let acked = self.session.acked_version();
        let stream = self.presence.stream();
        self.zone.books.note(&self.proxy.key, Progress { stream, acked, faults });
    }
}

impl Drop for ProxyStream {
    fn drop(&mut self) {
        self.zone.books.forget(self.presence.key(), self.presence.stream());
        tracing::info!(proxy = %self.proxy.key, "proxy disconnected");
    }
}

async fn at(time: Option<Instant>) {
    match time {
        Some(time) => tokio::time::sleep_until(time).await,
        None => std::future::pending().await,
    }
}

/// The document and the process in a node's metadata.
fn introduced(node: &Node) -> Result<(Document, String), Status> {
    let needed = |key: &str| {
        text(node, key).ok_or_else(|| {
            Status::invalid_argument(format!(
                "node metadata {key} is missing: start Envoy with the bootstrap of this control \
                 plane (`higuma dp run` asks for it)"
            ))
        })
    };
    let wrong =
        |why: String| Status::invalid_argument(format!("node metadata {DOCUMENT_KEY}: {why}"));
    let value = serde_json::from_str(needed(DOCUMENT_KEY)?).map_err(|e| wrong(e.to_string()))?;
    let document = Document::parse(value).map_err(|violations| {
        wrong(violations.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))
    })?;
    Ok((document, needed(INSTANCE_KEY)?.to_owned()))
}

/// A text in a node's metadata.
fn text<'a>(node: &'a Node, key: &str) -> Option<&'a str> {
    match node.metadata.as_ref()?.fields.get(key)?.kind.as_ref()? {
        ValueKind::StringValue(text) => Some(text),
        _ => None,
    }
}

/// Checks a proxy's document against the state; the registrar writes it.
pub(crate) fn admissible(zone: &Zone, document: &Document) -> Result<(), Rejection> {
    let snapshot = zone.store.snapshot();
    let id = RequestId { at: now(), random: random() };
    let admission =
        Admission { snapshot: &snapshot, place: &zone.place, id, now: id.at, strict: false };
    admission.register(document.clone()).map(|_| ())
}

fn admit(zone: &Zone, document: &Document) -> Result<(), Status> {
    admissible(zone, document).map_err(|rejection| match rejection {
        Rejection::MeshNotFound(_) => Status::not_found(rejection.to_string()),
        _ => Status::invalid_argument(rejection.to_string()),
    })
}

/// The key of a proxy by what its process says.
pub(crate) fn proxy_key(mesh: &str, name: &str) -> Key {
    if mesh.is_empty() {
        Key::new(Kind::ZoneIngress, "", name)
    } else {
        Key::new(Kind::Dataplane, mesh, name)
    }
}
