//! The kinds of resources that Higuma has, and the ones of Kuma that it does not have yet.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A kind of resource. Its name on every wire and in every file is [`Kind::name`], never a number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Kind {
    Mesh,
    Secret,
    Zone,
    ZoneInsight,
    ZoneIngress,
    Dataplane,
    DataplaneInsight,
    TrafficPermission,
    TrafficRoute,
    /// The address of a host name of `.mesh`: the zone's own, in no other zone and not in Kuma.
    Vip,
    /// What is secret and of no mesh: the keys that user tokens are signed with, and which tokens are
    /// revoked. Each control plane has its own.
    GlobalSecret,
}

/// Whether names of a kind are unique in the whole system or within a mesh.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    Global,
    Mesh,
}

/// Who writes resources of a kind (`reference` of Kuma: the KDS flags of each type).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Author {
    /// Operators, at the global control plane; every zone gets a copy.
    Operator,
    /// The zone that the resource belongs to; the global gets a copy.
    Zone,
    /// The control plane itself; refused from outside on any node.
    ControlPlane,
}

/// What is fixed about a kind.
#[derive(Debug, Clone, Copy)]
pub struct KindInfo {
    pub name: &'static str,
    /// The path segment of the REST API, `/meshes/{mesh}/{path}/{name}` or `/{path}/{name}`.
    pub path: &'static str,
    pub scope: Scope,
    pub author: Author,
    /// Whether a synced copy's name gets the hash suffix (Kuma: `no-hash` kinds keep their name).
    pub hashed: bool,
}

impl Kind {
    pub const ALL: [Self; 11] = [
        Self::Mesh,
        Self::Secret,
        Self::Zone,
        Self::ZoneInsight,
        Self::ZoneIngress,
        Self::Dataplane,
        Self::DataplaneInsight,
        Self::TrafficPermission,
        Self::TrafficRoute,
        Self::Vip,
        Self::GlobalSecret,
    ];

    pub const fn info(self) -> &'static KindInfo {
        use Author::{ControlPlane, Operator, Zone};
        macro_rules! info {
            ($name:literal, $path:literal, $scope:ident, $author:ident, $hashed:literal) => {
                &KindInfo {
                    name: $name,
                    path: $path,
                    scope: Scope::$scope,
                    author: $author,
                    hashed: $hashed,
                }
            };
        }
        match self {
            Self::Mesh => info!("Mesh", "meshes", Global, Operator, false),
            Self::Secret => info!("Secret", "secrets", Mesh, ControlPlane, false),
            Self::Zone => info!("Zone", "zones", Global, Operator, true),
            Self::ZoneInsight => info!("ZoneInsight", "zone-insights", Global, ControlPlane, true),
            Self::ZoneIngress => info!("ZoneIngress", "zoneingresses", Global, Zone, true),
            Self::Dataplane => info!("Dataplane", "dataplanes", Mesh, Zone, true),
            Self::DataplaneInsight => {
                info!("DataplaneInsight", "dataplane-insights", Mesh, ControlPlane, true)
            }
            Self::TrafficPermission => {
                info!("TrafficPermission", "traffic-permissions", Mesh, Operator, true)
            }
            Self::TrafficRoute => info!("TrafficRoute", "traffic-routes", Mesh, Operator, true),
            Self::Vip => info!("Vip", "vips", Global, ControlPlane, false),
            Self::GlobalSecret => {
                info!("GlobalSecret", "globalsecrets", Global, ControlPlane, false)
            }
        }
    }

    pub const fn name(self) -> &'static str {
        self.info().name
    }

    pub const fn path(self) -> &'static str {
        self.info().path
    }

    pub const fn scope(self) -> Scope {
        self.info().scope
    }

    pub fn from_path(path: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.path() == path)
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A type that is no kind of this version.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UnknownKind {
    #[error("type {0} is one of Kuma's that this version of Higuma does not have yet")]
    NotYet(String),
    #[error("unknown type {given:?}{}; known types: {}", hint(.given), names())]
    Unknown { given: String },
}

fn names() -> String {
    Kind::ALL.map(Kind::name).join(", ")
}

fn hint(given: &str) -> String {
    let same = |kind: &Kind| kind.name().eq_ignore_ascii_case(given);
    match Kind::ALL.into_iter().find(same) {
        Some(kind) => format!(" (did you mean {kind}?)"),
        None => String::new(),
    }
}

impl FromStr for Kind {
    type Err = UnknownKind;

    fn from_str(name: &str) -> Result<Self, UnknownKind> {
        if let Some(kind) = Self::ALL.into_iter().find(|kind| kind.name() == name) {
            return Ok(kind);
        }
        if KUMA_KINDS.contains(&name) {
            return Err(UnknownKind::NotYet(name.to_owned()));
        }
        Err(UnknownKind::Unknown { given: name.chars().take(64).collect() })
    }
}

/// Kuma's other types (v2.13), so that their manifests get a true answer.
const KUMA_KINDS: &[&str] = &[
    "CircuitBreaker",
    "Config",
    "ExternalService",
    "FaultInjection",
    "HealthCheck",
    "HostnameGenerator",
    "MeshAccessLog",
    "MeshCircuitBreaker",
    "MeshExternalService",
    "MeshFaultInjection",
    "MeshGateway",
    "MeshGatewayRoute",
    "MeshHTTPRoute",
    "MeshHealthCheck",
    "MeshIdentity",
    "MeshInsight",
    "MeshLoadBalancingStrategy",
    "MeshMetric",
    "MeshMultiZoneService",
    "MeshPassthrough",
    "MeshProxyPatch",
    "MeshRateLimit",
    "MeshRetry",
    "MeshService",
    "MeshTCPRoute",
    "MeshTLS",
    "MeshTimeout",
    "MeshTrace",
    "MeshTrafficPermission",
    "MeshTrust",
    "ProxyTemplate",
    "RateLimit",
    "Retry",
    "ServiceInsight",
    "Timeout",
    "TrafficLog",
    "TrafficTrace",
    "VirtualOutbound",
    "Workload",
    "ZoneEgress",
    "ZoneEgressInsight",
    "ZoneIngressInsight",
];
