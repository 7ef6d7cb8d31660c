//! Listeners and the filters of plain connections.

use std::net::IpAddr;

use envoy_types::pb::envoy::config::core::v3::TrafficDirection;
use envoy_types::pb::envoy::config::listener::v3 as pb;
use envoy_types::pb::envoy::config::rbac::v3::Rbac as Rules;
use envoy_types::pb::envoy::extensions::filters::listener::tls_inspector::v3::TlsInspector;
use envoy_types::pb::envoy::extensions::filters::network::direct_response::v3::Config as DirectResponse;
use envoy_types::pb::envoy::extensions::filters::network::rbac::v3::Rbac;
use envoy_types::pb::envoy::extensions::filters::network::tcp_proxy::v3 as tcp;
use envoy_types::pb::google::protobuf::Any;

use crate::envoy::{address, number, pack, seconds};
use crate::http::Weighted;
use crate::names;

/// Kuma's default idle time of outbound connections; inbound ones get twice as long.
pub(crate) const IDLE_SECONDS: i64 = 3600;
/// Endpoints tried for one connection, as in Kuma.
const CONNECT_ATTEMPTS: u32 = 5;

/// What a listener is called, and the part of its name that statistics carry.
pub(crate) fn name(direction: TrafficDirection, host: IpAddr, port: u16) -> String {
    let side = if direction == TrafficDirection::Inbound { "inbound" } else { "outbound" };
    format!("{side}:{host}:{port}")
}

/// A listener with one chain.
pub(crate) fn plain(
    direction: TrafficDirection,
    (host, port): (IpAddr, u16),
    chain: pb::FilterChain,
) -> pb::Listener {
    pb::Listener {
        name: name(direction, host, port),
        address: Some(address(&host.to_string(), port)),
        traffic_direction: direction.into(),
        filter_chains: vec![chain],
        ..Default::default()
    }
}

/// A listener that looks at the SNI of each connection to find its chain.
pub(crate) fn by_sni((host, port): (IpAddr, u16), chains: Vec<pb::FilterChain>) -> pb::Listener {
    let mut listener = plain(TrafficDirection::Inbound, (host, port), pb::FilterChain::default());
    listener.listener_filters = vec![pb::ListenerFilter {
        name: "envoy.filters.listener.tls_inspector".to_owned(),
        config_type: Some(pb::listener_filter::ConfigType::TypedConfig(pack(
            TlsInspector::default(),
        ))),
        ..Default::default()
    }];
    // Envoy refuses a listener without chains; this one is there, and closes what connects.
    listener.filter_chains = if chains.is_empty() { vec![closing()] } else { chains };
    listener
}

/// TLS that asks for `sni` goes to `cluster` as it is.
pub(crate) fn pass_through(sni: &str, cluster: &str) -> pb::FilterChain {
    pb::FilterChain {
        filter_chain_match: Some(pb::FilterChainMatch {
            server_names: vec![sni.to_owned()],
            transport_protocol: "tls".to_owned(),
            ..Default::default()
        }),
        filters: vec![connection(cluster, &[(cluster.into(), 1)], IDLE_SECONDS)],
        name: sni.to_owned(),
        ..Default::default()
    }
}

/// Connections go to the clusters by weight; there is at least one, and weights are above 0.
pub(crate) fn connection(stat_prefix: &str, clusters: &[Weighted], idle: i64) -> pb::Filter {
    use tcp::tcp_proxy::ClusterSpecifier;
    use tcp::tcp_proxy::weighted_cluster::ClusterWeight;
    let weight = |(name, weight): &Weighted| ClusterWeight {
        name: name.to_string(),
        weight: *weight,
        ..Default::default()
    };
    let specifier = match clusters {
        [(only, _)] => ClusterSpecifier::Cluster(only.to_string()),
        several => ClusterSpecifier::WeightedClusters(tcp::tcp_proxy::WeightedCluster {
            clusters: several.iter().map(weight).collect(),
        }),
    };
    filter(
        "envoy.filters.network.tcp_proxy",
        pack(tcp::TcpProxy {
            stat_prefix: names::stat(stat_prefix),
            idle_timeout: seconds(idle),
            max_connect_attempts: number(CONNECT_ATTEMPTS),
            cluster_specifier: Some(specifier),
            ..Default::default()
        }),
    )
}

/// Lets in only the connections that the rules allow.
pub(crate) fn rbac(listener: &str, rules: Rules) -> pb::Filter {
    let stat_prefix = format!("{}.", names::stat(listener));
    filter(
        "envoy.filters.network.rbac",
        pack(Rbac { rules: Some(rules), stat_prefix, ..Default::default() }),
    )
}

fn closing() -> pb::FilterChain {
    let close = filter("envoy.filters.network.direct_response", pack(DirectResponse::default()));
    pb::FilterChain { filters: vec![close], ..Default::default() }
}

fn filter(name: &str, config: Any) -> pb::Filter {
    pb::Filter {
        name: name.to_owned(),
        config_type: Some(pb::filter::ConfigType::TypedConfig(config)),
    }
}
