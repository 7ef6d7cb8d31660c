//! HTTP: connection managers whose routes come by RDS, and the routes.

use std::sync::Arc;

use envoy_types::pb::envoy::config::core::v3 as core;
use envoy_types::pb::envoy::config::listener::v3::{Filter, filter};
use envoy_types::pb::envoy::config::rbac::v3::Rbac as Rules;
use envoy_types::pb::envoy::config::route::v3 as pb;
use envoy_types::pb::envoy::config::route::v3::retry_policy as retry;
use envoy_types::pb::envoy::config::route::v3::weighted_cluster::ClusterWeight;
use envoy_types::pb::envoy::extensions::filters::http::rbac::v3::{Rbac, RbacPerRoute};
use envoy_types::pb::envoy::extensions::filters::http::router::v3::Router;
use envoy_types::pb::envoy::extensions::filters::network::http_connection_manager::v3 as hcm;
use envoy_types::pb::envoy::extensions::retry::host::previous_hosts::v3::PreviousHostsPredicate;
use envoy_types::pb::envoy::extensions::retry::priority::previous_priorities::v3::PreviousPrioritiesConfig;
use envoy_types::pb::google::protobuf::Any;

use crate::envoy::{ads, milliseconds, number, pack, seconds, truth};
use crate::{names, rbac};

/// Kuma's defaults (`mesh-timeout-all`): requests, streams and connections, outbound; inbound streams
/// and connections may idle twice as long, and requests there have no limit of their own.
const REQUEST_SECONDS: i64 = 15;
const STREAM_IDLE_SECONDS: i64 = 1800;
const IDLE_SECONDS: i64 = 3600;
/// Tries after the first, as in Kuma; what is retried never reached the other side.
const RETRIES: u32 = 5;
const RETRY_ON: &str = "connect-failure,refused-stream,reset-before-request";
/// All tries together take a second or so, longer than in Kuma (25 and 250 ms): while one endpoint
/// is left out and the only other one is not listening yet, the next tries must come after Envoy
/// has left that one out as well, and so takes any (seen under load after 0.3 s).
const RETRY_BASE_MS: i32 = 50;
const RETRY_MAX_MS: i32 = 1_000;
/// Tries to pick a host that this request has not failed on.
const OTHER_HOST_TRIES: i64 = 5;
/// Failures in one priority before the next is tried.
const PRIORITY_TRIES: i32 = 2;

const RBAC_FILTER: &str = "envoy.filters.http.rbac";

/// A cluster and its share of the requests.
pub(crate) type Weighted = (Arc<str>, u32);

/// Takes requests in. With mTLS the RBAC filter denies whatever the route does not allow, so that
/// permissions change with the route, on open connections too.
pub(crate) fn inbound(route: &str, stat_prefix: &str, mtls: bool) -> Filter {
    let mut manager = manager(route, stat_prefix);
    manager.common_http_protocol_options = idle(2 * IDLE_SECONDS);
    manager.stream_idle_timeout = seconds(2 * STREAM_IDLE_SECONDS);
    if mtls {
        let deny = Rbac { rules: Some(rbac::deny_all()), ..Default::default() };
        manager.http_filters.insert(0, http_filter(RBAC_FILTER, pack(deny)));
        let forward = hcm::http_connection_manager::ForwardClientCertDetails::SanitizeSet;
        manager.forward_client_cert_details = forward.into();
        manager.set_current_client_cert_details =
            Some(hcm::http_connection_manager::SetCurrentClientCertDetails {
                uri: true,
                ..Default::default()
            });
    }
    filter_of(manager)
}

/// Sends requests out.
pub(crate) fn outbound(route: &str, stat_prefix: &str) -> Filter {
    let mut manager = manager(route, stat_prefix);
    manager.common_http_protocol_options = idle(IDLE_SECONDS);
    manager.stream_idle_timeout = seconds(STREAM_IDLE_SECONDS);
    filter_of(manager)
}

/// All requests to the application; `rules` are in force where the listener asks for mTLS.
pub(crate) fn inbound_route(
    name: &str,
    service: &str,
    cluster: &str,
    rules: Option<Rules>,
) -> pb::RouteConfiguration {
    let action = pb::RouteAction {
        timeout: seconds(0),
        cluster_specifier: Some(pb::route_action::ClusterSpecifier::Cluster(cluster.to_owned())),
        ..Default::default()
    };
    let mut route = route_to(action);
    if let Some(rules) = rules {
        let allowed = Rbac { rules: Some(rules), ..Default::default() };
        let allowed = RbacPerRoute { rbac: Some(allowed) };
        route.typed_per_filter_config = [(RBAC_FILTER.to_owned(), pack(allowed))].into();
    }
    let mut configuration = configuration(name, service, route);
    // Kuma's proxies tell their tags in it, for policies of the inbound only.
    configuration.request_headers_to_remove = vec!["x-kuma-tags".to_owned()];
    configuration
}

/// All requests to the clusters by weight; there is at least one, and the sum of weights fits 32 bits.
pub(crate) fn outbound_route(
    name: &str,
    service: &str,
    clusters: &[Weighted],
) -> pb::RouteConfiguration {
    use pb::route_action::ClusterSpecifier;
    let weight = |(name, weight): &Weighted| ClusterWeight {
        name: name.to_string(),
        weight: number(*weight),
        ..Default::default()
    };
    let specifier = match clusters {
        [(only, _)] => ClusterSpecifier::Cluster(only.to_string()),
        several => ClusterSpecifier::WeightedClusters(pb::WeightedCluster {
            clusters: several.iter().map(weight).collect(),
            ..Default::default()
        }),
    };
    let action = pb::RouteAction {
        timeout: seconds(REQUEST_SECONDS),
        retry_policy: Some(retries()),
        cluster_specifier: Some(specifier),
        ..Default::default()
    };
    configuration(name, service, route_to(action))
}

fn route_to(action: pb::RouteAction) -> pb::Route {
    let all = pb::route_match::PathSpecifier::Prefix("/".to_owned());
    pb::Route {
        r#match: Some(pb::RouteMatch { path_specifier: Some(all), ..Default::default() }),
        action: Some(pb::route::Action::Route(action)),
        ..Default::default()
    }
}

fn configuration(name: &str, service: &str, route: pb::Route) -> pb::RouteConfiguration {
    let host = pb::VirtualHost {
        name: service.to_owned(),
        domains: vec!["*".to_owned()],
        routes: vec![route],
        ..Default::default()
    };
    pb::RouteConfiguration {
        name: name.to_owned(),
        virtual_hosts: vec![host],
        ..Default::default()
    }
}

/// Another host, then another priority, for requests that never reached the other side.
fn retries() -> pb::RetryPolicy {
    let other_host = retry::RetryHostPredicate {
        name: "envoy.retry_host_predicates.previous_hosts".to_owned(),
        config_type: Some(retry::retry_host_predicate::ConfigType::TypedConfig(pack(
            PreviousHostsPredicate {},
        ))),
    };
    let other_priority = retry::RetryPriority {
        name: "envoy.retry_priorities.previous_priorities".to_owned(),
        config_type: Some(retry::retry_priority::ConfigType::TypedConfig(pack(
            PreviousPrioritiesConfig { update_frequency: PRIORITY_TRIES },
        ))),
    };
    pb::RetryPolicy {
        retry_on: RETRY_ON.to_owned(),
        num_retries: number(RETRIES),
        retry_back_off: Some(retry::RetryBackOff {
            base_interval: milliseconds(RETRY_BASE_MS),
            max_interval: milliseconds(RETRY_MAX_MS),
        }),
        retry_host_predicate: vec![other_host],
        host_selection_retry_max_attempts: OTHER_HOST_TRIES,
        retry_priority: Some(other_priority),
        ..Default::default()
    }
}

fn manager(route: &str, stat_prefix: &str) -> hcm::HttpConnectionManager {
    use hcm::http_connection_manager::{CodecType, InternalAddressConfig, RouteSpecifier};
    let host = |prefix: &str, length: u32| core::CidrRange {
        address_prefix: prefix.to_owned(),
        prefix_len: number(length),
    };
    hcm::HttpConnectionManager {
        codec_type: CodecType::Auto.into(),
        stat_prefix: names::stat(stat_prefix),
        http_filters: vec![http_filter("envoy.filters.http.router", pack(Router::default()))],
        // Only the host itself is internal: nobody else may set Envoy's own headers.
        internal_address_config: Some(InternalAddressConfig {
            cidr_ranges: vec![host("127.0.0.1", 32), host("::1", 128)],
            ..Default::default()
        }),
        normalize_path: truth(true),
        route_specifier: Some(RouteSpecifier::Rds(hcm::Rds {
            config_source: Some(ads()),
            route_config_name: route.to_owned(),
        })),
        ..Default::default()
    }
}

fn idle(timeout: i64) -> Option<core::HttpProtocolOptions> {
    Some(core::HttpProtocolOptions { idle_timeout: seconds(timeout), ..Default::default() })
}

fn http_filter(name: &str, config: Any) -> hcm::HttpFilter {
    hcm::HttpFilter {
        name: name.to_owned(),
        config_type: Some(hcm::http_filter::ConfigType::TypedConfig(config)),
        ..Default::default()
    }
}

fn filter_of(manager: hcm::HttpConnectionManager) -> Filter {
    Filter {
        name: "envoy.filters.network.http_connection_manager".to_owned(),
        config_type: Some(filter::ConfigType::TypedConfig(pack(manager))),
    }
}
