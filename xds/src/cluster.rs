//! Clusters, and the endpoints of services.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use envoy_types::pb::envoy::config::cluster::v3 as pb;
use envoy_types::pb::envoy::config::core::v3 as core;
use envoy_types::pb::envoy::config::endpoint::v3 as eds;
use envoy_types::pb::envoy::extensions::upstreams::http::v3 as http;
use envoy_types::pb::envoy::r#type::v3::Percent;
use higuma_model::Key;
use higuma_model::spec::{Protocol, Tags};

use crate::config::{Encoded, Uses};
use crate::envoy::{address, ads, milliseconds, number, pack, seconds, truth};
use crate::index::service::{Offer, Part, Service, includes};
use crate::proxy::Problem;
use crate::{names, tls};

/// Kuma's default for outbound connections; inbound ones get twice as long.
const CONNECT_SECONDS: i64 = 5;
const LOCAL_CONNECT_SECONDS: i64 = 10;
/// Kuma's default idle time of connections to the application.
const LOCAL_IDLE_SECONDS: i64 = 7200;
/// Connections between proxies are made anew after so many requests, or so long. An ingress picks
/// an instance for each connection, not for each request: over one that stays, an instance that
/// joins behind it would get nothing. A handshake of half a millisecond is little for each.
const REQUESTS_PER_CONNECTION: u32 = 100;
const CONNECTION_SECONDS: i64 = 10;
/// Failures to connect before an endpoint is left out, how often they are judged, and for how long it is out:
/// a dead ingress costs a client some two seconds.
const FAILURES: u32 = 3;
const JUDGED_MS: i32 = 500;
const OUT_SECONDS: i64 = 5;
const OUT_AT_MOST_SECONDS: i64 = 30;
/// Retries in flight: as many as requests (Envoy's default). Its own default, 3, fails the fourth
/// of the callers that meet an endpoint whose Envoy is not listening yet, or no longer. Each
/// request is bounded by itself (`http::RETRIES`), and what is retried has reached nobody.
const RETRIES_AT_ONCE: u32 = 1_024;
/// Traffic goes to endpoints that are out only where none is left.
const PANIC_PERCENT: f64 = 1.0;
/// Bounds that keep the sum of weights, which Envoy wants in 32 bits, far from overflow.
const MAX_WEIGHT: u64 = 100_000;
const MAX_SCALE: u64 = 1_000;

/// The cluster of a service's instances with the given tags, with mTLS if the mesh has it.
pub(crate) fn part(service: &Service, tags: &Tags) -> Part {
    let terms = &service.terms;
    let mut problems = Vec::new();
    let name = names::cluster(&service.name, tags);
    let sni = names::sni(&terms.mesh, &service.name, tags);
    let sni = (sni.len() <= names::MAX_SNI_BYTES).then_some(sni);
    if sni.is_none() && service.offers().next().is_some() {
        problems.push(Problem::new(
            &Key::mesh_resource(&terms.mesh),
            format!(
                "service {:?} is not reached in other zones: its SNI with {} tags would be over {} \
                 bytes; use shorter or fewer tags in routes",
                service.name,
                tags.len(),
                names::MAX_SNI_BYTES
            ),
        ));
    }
    let endpoints = endpoints(service, tags, sni.is_some(), &mut problems);
    let mut cluster = eds_cluster(&name);
    cluster.typed_extension_protocol_options = http_options(Protocol::Http, true);
    if terms.mtls {
        cluster.transport_socket = Some(tls::upstream(&terms.mesh, &service.name, sni));
    }
    let assignment = assignment(&name, endpoints);
    Part {
        name: name.into(),
        cluster: Encoded::new(cluster, Uses::default()),
        endpoints: Encoded::new(assignment, Uses::default()),
        problems,
    }
}

/// A cluster whose endpoints come by EDS under its own name.
pub(crate) fn eds_cluster(name: &str) -> pb::Cluster {
    pb::Cluster {
        name: name.to_owned(),
        alt_stat_name: alt_stat_name(name),
        connect_timeout: seconds(CONNECT_SECONDS),
        cluster_discovery_type: Some(pb::cluster::ClusterDiscoveryType::Type(
            pb::cluster::DiscoveryType::Eds.into(),
        )),
        eds_cluster_config: Some(pb::cluster::EdsClusterConfig {
            eds_config: Some(ads()),
            ..Default::default()
        }),
        outlier_detection: Some(outliers()),
        circuit_breakers: Some(pb::CircuitBreakers {
            thresholds: vec![pb::circuit_breakers::Thresholds {
                max_retries: number(RETRIES_AT_ONCE),
                ..Default::default()
            }],
            ..Default::default()
        }),
        common_lb_config: Some(pb::cluster::CommonLbConfig {
            healthy_panic_threshold: Some(Percent { value: PANIC_PERCENT }),
            ..Default::default()
        }),
        ..Default::default()
    }
}

/// The cluster of the application behind an inbound.
pub(crate) fn local(name: &str, host: IpAddr, port: u16, protocol: Protocol) -> pb::Cluster {
    let endpoint = Endpoint { address: host, port, weight: 0 };
    pb::Cluster {
        name: name.to_owned(),
        alt_stat_name: alt_stat_name(name),
        connect_timeout: seconds(LOCAL_CONNECT_SECONDS),
        cluster_discovery_type: Some(pb::cluster::ClusterDiscoveryType::Type(
            pb::cluster::DiscoveryType::Static.into(),
        )),
        load_assignment: Some(eds::ClusterLoadAssignment {
            cluster_name: name.to_owned(),
            endpoints: vec![eds::LocalityLbEndpoints {
                lb_endpoints: vec![endpoint.encode()],
                ..Default::default()
            }],
            ..Default::default()
        }),
        typed_extension_protocol_options: http_options(protocol, false),
        ..Default::default()
    }
}

/// HTTP/2 between proxies whatever the service speaks; HTTP/1 to applications.
fn http_options(
    protocol: Protocol,
    between_proxies: bool,
) -> std::collections::HashMap<String, envoy_types::pb::google::protobuf::Any> {
    use http::http_protocol_options::explicit_http_config::ProtocolConfig;
    use http::http_protocol_options::{ExplicitHttpConfig, UpstreamProtocolOptions};
    if protocol == Protocol::Tcp {
        return Default::default();
    }
    let protocol_config = if between_proxies {
        ProtocolConfig::Http2ProtocolOptions(core::Http2ProtocolOptions::default())
    } else {
        ProtocolConfig::HttpProtocolOptions(core::Http1ProtocolOptions::default())
    };
    let connections = if between_proxies {
        core::HttpProtocolOptions {
            max_requests_per_connection: number(REQUESTS_PER_CONNECTION),
            max_connection_duration: seconds(CONNECTION_SECONDS),
            ..Default::default()
        }
    } else {
        core::HttpProtocolOptions {
            idle_timeout: seconds(LOCAL_IDLE_SECONDS),
            ..Default::default()
        }
    };
    let options = http::HttpProtocolOptions {
        common_http_protocol_options: Some(connections),
        upstream_protocol_options: Some(UpstreamProtocolOptions::ExplicitHttpConfig(
            ExplicitHttpConfig { protocol_config: Some(protocol_config) },
        )),
        ..Default::default()
    };
    let name = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions".to_owned();
    [(name, pack(options))].into()
}

/// Endpoints that cannot be connected to are left out for a while. What the other side answers
/// never counts: behind an ingress it may come from any of many instances.
fn outliers() -> pb::OutlierDetection {
    pb::OutlierDetection {
        split_external_local_origin_errors: true,
        consecutive_local_origin_failure: number(FAILURES),
        enforcing_consecutive_local_origin_failure: number(100),
        enforcing_local_origin_success_rate: number(0),
        enforcing_consecutive_5xx: number(0),
        enforcing_consecutive_gateway_failure: number(0),
        enforcing_success_rate: number(0),
        interval: milliseconds(JUDGED_MS),
        base_ejection_time: seconds(OUT_SECONDS),
        max_ejection_time: seconds(OUT_AT_MOST_SECONDS),
        max_ejection_percent: number(100),
        always_eject_one_host: truth(true),
        ..Default::default()
    }
}

fn alt_stat_name(name: &str) -> String {
    let stat = names::stat(name);
    if stat == name { String::new() } else { stat }
}

/// Where connections go, with a share of them.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Endpoint {
    pub(crate) address: IpAddr,
    pub(crate) port: u16,
    /// 0: the same share for all.
    pub(crate) weight: u64,
}

impl Endpoint {
    fn encode(&self) -> eds::LbEndpoint {
        let endpoint = eds::Endpoint {
            address: Some(address(&self.address.to_string(), self.port)),
            ..Default::default()
        };
        let weight = u32::try_from(self.weight.min(MAX_WEIGHT)).expect("invariant: it is bounded");
        eds::LbEndpoint {
            load_balancing_weight: if weight == 0 { None } else { number(weight) },
            host_identifier: Some(eds::lb_endpoint::HostIdentifier::Endpoint(endpoint)),
            ..Default::default()
        }
    }
}

/// Endpoints by priority and zone, in that order.
pub(crate) type Localities = BTreeMap<(u32, Arc<str>), Vec<Endpoint>>;

pub(crate) fn assignment(name: &str, localities: Localities) -> eds::ClusterLoadAssignment {
    let encode = |((priority, zone), endpoints): ((u32, Arc<str>), Vec<Endpoint>)| {
        let locality = core::Locality { zone: zone.to_string(), ..Default::default() };
        eds::LocalityLbEndpoints {
            locality: Some(locality),
            lb_endpoints: endpoints.iter().map(Endpoint::encode).collect(),
            priority,
            ..Default::default()
        }
    };
    eds::ClusterLoadAssignment {
        cluster_name: name.to_owned(),
        endpoints: localities.into_iter().map(encode).collect(),
        ..Default::default()
    }
}

/// The addresses of local instances with the tags, in order; a second instance of an address is a
/// problem, since Envoy would drop one of them.
pub(crate) fn instances(
    service: &Service,
    wanted: &[&Tags],
    problems: &mut Vec<Problem>,
) -> BTreeMap<(IpAddr, u16), Key> {
    let mut found = BTreeMap::<(IpAddr, u16), Key>::new();
    for instance in service.members.instances.values() {
        if !wanted.iter().any(|tags| includes(&instance.tags, tags)) {
            continue;
        }
        let at = (instance.address, instance.port);
        match found.get(&at) {
            Some(other) if *other != instance.dataplane => problems.push(Problem::new(
                &instance.dataplane,
                format!(
                    "its address {}:{} for service {:?} is that of {other} too; one of them gets no traffic",
                    at.0, at.1, service.name
                ),
            )),
            _ => {
                found.insert(at, instance.dataplane.clone());
            }
        }
    }
    found
}

/// Local instances, and the ingresses of other zones that have instances with the tags. An
/// ingress weighs as many instances as it stands for; ingresses of one zone share them.
fn endpoints(
    service: &Service,
    tags: &Tags,
    cross_zones: bool,
    problems: &mut Vec<Problem>,
) -> Localities {
    let local = instances(service, &[tags], problems);
    let mut zones = BTreeMap::<Arc<str>, BTreeMap<(IpAddr, u16), u64>>::new();
    let mut taken: BTreeMap<(IpAddr, u16), Arc<str>> =
        local.keys().map(|at| (*at, service.terms.zone.clone())).collect();
    for offer in service.offers().filter(|_| cross_zones) {
        let instances = offered(offer, tags);
        if instances == 0 {
            continue;
        }
        let at = (offer.address, offer.port);
        let holder = taken.entry(at).or_insert_with(|| offer.zone.clone());
        if *holder != offer.zone {
            let message = format!("its address {}:{} is one of zone {holder} too", at.0, at.1);
            problems.push(Problem::new(&offer.ingress, message));
            continue;
        }
        let weight = zones.entry(offer.zone.clone()).or_default().entry(at).or_default();
        *weight = instances.max(*weight);
    }
    let scale = zones.values().map(|at| at.len() as u64).fold(1, least_common_multiple);
    let scale = if scale > MAX_SCALE { 1 } else { scale };
    let mut localities = Localities::new();
    if !local.is_empty() {
        let endpoint = |(address, port): &(IpAddr, u16)| Endpoint {
            address: *address,
            port: *port,
            weight: scale,
        };
        let here = (0, service.terms.zone.clone());
        localities.insert(here, local.keys().map(endpoint).collect());
    }
    let priority = u32::from(service.terms.local_first);
    for (zone, ingresses) in zones {
        let shared_by = ingresses.len() as u64;
        let endpoint = |((address, port), instances): ((IpAddr, u16), u64)| Endpoint {
            address,
            port,
            weight: (instances.saturating_mul(scale) / shared_by).max(1),
        };
        localities.insert((priority, zone), ingresses.into_iter().map(endpoint).collect());
    }
    without_gap(localities)
}

/// Envoy wants priorities from 0 on: without local endpoints the other zones are first.
fn without_gap(localities: Localities) -> Localities {
    if localities.keys().any(|(priority, _)| *priority == 0) {
        return localities;
    }
    localities.into_iter().map(|((_, zone), endpoints)| ((0, zone), endpoints)).collect()
}

fn offered(offer: &Offer, tags: &Tags) -> u64 {
    let sets = offer.sets.iter().filter(|(set, _)| includes(set, tags));
    sets.map(|(_, instances)| u64::from(*instances)).sum()
}

fn least_common_multiple(a: u64, b: u64) -> u64 {
    let (mut x, mut y) = (a, b);
    while y != 0 {
        (x, y) = (y, x % y);
    }
    (a / x).saturating_mul(b)
}
