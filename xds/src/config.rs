//! What one Envoy runs: its resources by type and name, encoded once.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use envoy_types::pb::envoy::config::cluster::v3::Cluster;
use envoy_types::pb::envoy::config::endpoint::v3::ClusterLoadAssignment;
use envoy_types::pb::envoy::config::listener::v3::Listener;
use envoy_types::pb::envoy::config::route::v3::RouteConfiguration;
use envoy_types::pb::envoy::extensions::transport_sockets::tls::v3::Secret;
use envoy_types::pb::google::protobuf::Any;
use prost::{Message, Name};
use sha2::{Digest, Sha256};

use crate::envoy::pack;

/// Bytes of a content hash that make a version: collisions stay out of reach at 128 bits.
const VERSION_BYTES: usize = 16;

/// The types of resources that Envoy asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ResourceType {
    Secret,
    Cluster,
    Endpoints,
    Listener,
    Route,
}

impl ResourceType {
    /// In the order in which changes are sent: what is named before what names it.
    pub const ALL: [Self; 5] =
        [Self::Secret, Self::Cluster, Self::Endpoints, Self::Listener, Self::Route];

    pub fn url(self) -> String {
        match self {
            Self::Secret => Secret::type_url(),
            Self::Cluster => Cluster::type_url(),
            Self::Endpoints => ClusterLoadAssignment::type_url(),
            Self::Listener => Listener::type_url(),
            Self::Route => RouteConfiguration::type_url(),
        }
    }

    pub fn from_url(url: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.url() == url)
    }
}

/// One resource in the bytes that go on the wire, with what is asked about it on the way.
///
/// Bytes are deterministic: generators put at most one entry into any protobuf map, since maps
/// have no order of their own (a test walks all golden files for it).
pub struct Encoded {
    any: Any,
    version: String,
    uses: Uses,
}

/// What a listener or a route names, and so needs to be there.
#[derive(Debug, Clone, Default)]
pub(crate) struct Uses {
    pub(crate) clusters: Vec<Arc<str>>,
    pub(crate) routes: Vec<Arc<str>>,
}

impl Uses {
    pub(crate) fn clusters(mut clusters: Vec<Arc<str>>) -> Self {
        clusters.sort();
        clusters.dedup();
        Self { clusters, routes: Vec::new() }
    }

    pub(crate) fn route(name: &str) -> Self {
        Self { clusters: Vec::new(), routes: vec![name.into()] }
    }
}

impl Encoded {
    pub(crate) fn new<M: Message + Name>(message: M, uses: Uses) -> Arc<Self> {
        let any = pack(message);
        let version = hex::encode(&Sha256::digest(&any.value)[..VERSION_BYTES]);
        Arc::new(Self { any, version, uses })
    }

    pub fn any(&self) -> &Any {
        &self.any
    }

    /// A hash of the content: equal on every control plane that generates the same bytes.
    pub fn version(&self) -> &str {
        &self.version
    }

    pub(crate) fn uses(&self) -> &Uses {
        &self.uses
    }
}

impl PartialEq for Encoded {
    fn eq(&self, other: &Self) -> bool {
        self.version == other.version && self.any.type_url == other.any.type_url
    }
}

impl Eq for Encoded {}

/// Says nothing of the content: it may be a private key.
impl fmt::Debug for Encoded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Encoded({}, {} bytes)", self.version, self.any.value.len())
    }
}

/// Resources of one type by name.
pub type Resources = BTreeMap<Arc<str>, Arc<Encoded>>;

/// Everything one Envoy runs. Clones share the encoded resources.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Config {
    pub secrets: Resources,
    pub clusters: Resources,
    pub endpoints: Resources,
    pub listeners: Resources,
    pub routes: Resources,
}

impl Config {
    pub fn of(&self, kind: ResourceType) -> &Resources {
        match kind {
            ResourceType::Secret => &self.secrets,
            ResourceType::Cluster => &self.clusters,
            ResourceType::Endpoints => &self.endpoints,
            ResourceType::Listener => &self.listeners,
            ResourceType::Route => &self.routes,
        }
    }

    pub fn is_empty(&self) -> bool {
        ResourceType::ALL.into_iter().all(|kind| self.of(kind).is_empty())
    }
}
