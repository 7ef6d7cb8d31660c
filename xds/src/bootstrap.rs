//! What an Envoy is started with: who it is, where its control plane is, and nothing else.

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;

use serde_json::{Map, Value as Json, json};

use crate::proxy::ProxyKind;

/// How long a connection to a control plane may take, and to be found dead.
const CONNECT_TIMEOUT: &str = "1s";
const KEEPALIVE_INTERVAL: &str = "5s";
const KEEPALIVE_TIMEOUT: &str = "3s";
/// Pauses between attempts to open the stream: short enough that a restarted control plane has its
/// proxies back within two seconds, and its grace before it calls them offline may rely on it.
const RECONNECT_BASE: &str = "0.200s";
const RECONNECT_MAX: &str = "2s";

/// What the bootstrap of one Envoy says.
#[derive(Clone)]
pub struct BootstrapRequest {
    pub kind: ProxyKind,
    /// Empty for ingresses.
    pub mesh: String,
    pub name: String,
    /// `node.cluster`: the service that the proxy stands for, for people who read dumps.
    pub service: String,
    pub zone: String,
    /// Where Envoy's administration listens.
    pub admin: (IpAddr, u16),
    /// The control planes of the zone, host (address or name) and port; not empty.
    pub control_planes: Vec<(String, u16)>,
    /// Roots that the control planes' certificates are checked with, PEM.
    pub ca_pem: String,
    /// Sent as `authorization` with the stream, bare as Kuma does; a secret.
    pub token: Option<String>,
    /// `node.metadata`, such as `dataplane.resource`.
    pub metadata: BTreeMap<String, String>,
}

impl fmt::Debug for BootstrapRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BootstrapRequest")
            .field("kind", &self.kind)
            .field("mesh", &self.mesh)
            .field("name", &self.name)
            .field("control_planes", &self.control_planes)
            .finish_non_exhaustive()
    }
}

/// Envoy's bootstrap as JSON (`envoy.config.bootstrap.v3.Bootstrap`).
pub fn bootstrap(request: &BootstrapRequest) -> Json {
    let listens = |(host, port): (IpAddr, u16)| socket_address(&host.to_string(), port);
    json!({
        "node": {
            "id": node_id(request),
            "cluster": node_cluster(request),
            "locality": {"zone": request.zone},
            "metadata": metadata(request),
        },
        "admin": {"address": listens(request.admin)},
        "dynamicResources": {
            "ldsConfig": {"ads": {}, "resourceApiVersion": "V3", "initialFetchTimeout": "0s"},
            "cdsConfig": {"ads": {}, "resourceApiVersion": "V3", "initialFetchTimeout": "0s"},
            "adsConfig": {
                "apiType": "DELTA_GRPC",
                "transportApiVersion": "V3",
                "setNodeOnFirstMessageOnly": true,
                "grpcServices": [grpc_service(request)],
            },
        },
        "staticResources": {"clusters": [ads_cluster(request)]},
    })
}

/// `<mesh>.<name>`, so that the control plane finds the resource; the mesh has no dot.
fn node_id(request: &BootstrapRequest) -> String {
    format!("{}.{}", request.mesh, request.name)
}

fn node_cluster(request: &BootstrapRequest) -> &str {
    match request.kind {
        ProxyKind::Ingress => "ingress",
        ProxyKind::Sidecar if request.service.is_empty() => "unknown",
        ProxyKind::Sidecar => &request.service,
    }
}

fn metadata(request: &BootstrapRequest) -> Map<String, Json> {
    let kind = match request.kind {
        ProxyKind::Sidecar => "dataplane",
        ProxyKind::Ingress => "ingress",
    };
    let own = [("dataplane.proxyType".to_owned(), json!(kind))];
    let given = request.metadata.iter().map(|(key, value)| (key.clone(), json!(value)));
    given.chain(own).collect()
}

fn grpc_service(request: &BootstrapRequest) -> Json {
    let token = request.token.iter().map(|token| json!({"key": "authorization", "value": token}));
    json!({
        "envoyGrpc": {
            "clusterName": "ads_cluster",
            "retryPolicy": {
                "retryBackOff": {"baseInterval": RECONNECT_BASE, "maxInterval": RECONNECT_MAX},
            },
        },
        "initialMetadata": token.collect::<Vec<_>>(),
    })
}

fn ads_cluster(request: &BootstrapRequest) -> Json {
    let hosts = &request.control_planes;
    let by_address = hosts.iter().all(|(host, _)| host.parse::<IpAddr>().is_ok());
    let endpoints: Vec<Json> = hosts
        .iter()
        .map(|(host, port)| json!({"endpoint": {"address": socket_address(host, *port)}}))
        .collect();
    json!({
        "name": "ads_cluster",
        "type": if by_address { "STATIC" } else { "STRICT_DNS" },
        "connectTimeout": CONNECT_TIMEOUT,
        "loadAssignment": {"clusterName": "ads_cluster", "endpoints": [{"lbEndpoints": endpoints}]},
        "typedExtensionProtocolOptions": {
            "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
                "@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
                "explicitHttpConfig": {"http2ProtocolOptions": {
                    "connectionKeepalive": {
                        "interval": KEEPALIVE_INTERVAL,
                        "timeout": KEEPALIVE_TIMEOUT,
                    },
                }},
            },
        },
        "transportSocket": {
            "name": "envoy.transport_sockets.tls",
            "typedConfig": tls(request),
        },
    })
}

/// The control plane must show a certificate for one of the hosts that it is known by.
fn tls(request: &BootstrapRequest) -> Json {
    let names = request.control_planes.iter().map(|(host, _)| {
        let kind = if host.parse::<IpAddr>().is_ok() { "IP_ADDRESS" } else { "DNS" };
        json!({"sanType": kind, "matcher": {"exact": host}})
    });
    let name = request.control_planes.iter().find(|(host, _)| host.parse::<IpAddr>().is_err());
    let mut context = json!({
        "@type": "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext",
        "commonTlsContext": {
            "tlsParams": {"tlsMinimumProtocolVersion": "TLSv1_2"},
            "alpnProtocols": ["h2"],
            "validationContext": {
                "trustedCa": {"inlineString": request.ca_pem},
                "matchTypedSubjectAltNames": names.collect::<Vec<_>>(),
            },
        },
    });
    if let Some((host, _)) = name {
        context["sni"] = json!(host);
    }
    context
}

fn socket_address(host: &str, port: u16) -> Json {
    json!({"socketAddress": {"address": host, "portValue": port}})
}
