//! Traffic from the application to services.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use envoy_types::pb::envoy::config::core::v3::TrafficDirection;
use envoy_types::pb::envoy::config::listener::v3::FilterChain;
use higuma_model::spec::{Outbound, Protocol, SERVICE_TAG, Tags, TrafficRoute};

use super::Draft;
use crate::config::Uses;
use crate::http::{self, Weighted};
use crate::index::matching::{self, Policy};
use crate::index::service::narrowing;
use crate::proxy::Problem;
use crate::{listener, names};

pub(super) fn generate(draft: &mut Draft<'_>) {
    let dataplane = draft.dataplane;
    for outbound in &dataplane.networking.outbound {
        if let Err(problem) = generate_one(draft, outbound) {
            draft.problem(format!("outbound on port {}: {problem}", outbound.port));
        }
    }
}

/// Where a service listens by its name, whatever port its instances have.
const BOUND_PORT: u16 = 80;

/// A listener on the address of each service's host name, for applications that call
/// `http://<service>.mesh/`. An outbound of the document that has the place already keeps it.
/// Names are those of all meshes together, so two services may share an address: those of one
/// mesh (`Web` and `web`) share it with the first in order, those of two meshes are never seen by
/// one proxy.
pub(super) fn bind(draft: &mut Draft<'_>) {
    let mesh = draft.mesh;
    for service in mesh.services() {
        let Some(address) = draft.index.address(&service.name) else { continue };
        if draft.bound.contains(&(IpAddr::V4(address), BOUND_PORT)) {
            continue;
        }
        let outbound = Outbound {
            port: BOUND_PORT,
            address: address.to_string(),
            tags: [(SERVICE_TAG.to_owned(), service.name.to_string())].into(),
        };
        if let Err(problem) = generate_one(draft, &outbound) {
            draft.problem(format!("{address} of service {:?}: {problem}", service.name));
        }
    }
}

fn generate_one(draft: &mut Draft<'_>, outbound: &Outbound) -> Result<(), String> {
    let text = outbound.bind_address();
    let wrong = |_| format!("{text:?} is no IP address to listen on; left out");
    let here = (text.parse::<IpAddr>().map_err(wrong)?, outbound.port);
    let service = outbound.service();
    if service.is_empty() {
        return Err(format!("it names no service (tag {SERVICE_TAG}); left out"));
    }
    if !draft.bound.insert(here) {
        return Err("another listener has its address already; left out".to_owned());
    }
    let destinations = destinations(draft, outbound);
    let protocol = protocol(draft, &destinations);
    let clusters: Vec<Weighted> = destinations
        .into_iter()
        .map(|((service, tags), weight)| (add_service_cluster(draft, &service, &tags), weight))
        .collect();
    let used = Uses::clusters(clusters.iter().map(|(name, _)| name.clone()).collect());
    let (filter, uses) = match protocol {
        Protocol::Http => {
            let name = format!("outbound:{}", names::cluster(service, &narrowing(&outbound.tags)));
            let route = http::outbound_route(&name, service, &clusters);
            draft.add_route(route, used);
            (http::outbound(&name, service), Uses::route(&name))
        }
        Protocol::Tcp => (listener::connection(service, &clusters, listener::IDLE_SECONDS), used),
    };
    let chain = FilterChain { filters: vec![filter], ..Default::default() };
    draft.add_listener(listener::plain(TrafficDirection::Outbound, here, chain), uses);
    Ok(())
}

/// Services and tag sets with their shares, none of them 0.
type Destinations = BTreeMap<(Arc<str>, Tags), u32>;

/// Where the route that rules this outbound sends traffic. Without one, or with one that says nothing
/// usable, traffic goes to what the outbound names.
fn destinations(draft: &mut Draft<'_>, outbound: &Outbound) -> Destinations {
    let sources = draft.sources();
    let route = matching::route(draft.mesh.routes.values(), &sources, outbound.service());
    let implied = || {
        let named = (outbound.service().into(), narrowing(&outbound.tags));
        Destinations::from([(named, 1)])
    };
    let Some(route) = route else { return implied() };
    match routed(route, outbound) {
        Ok(destinations) => destinations,
        Err(problem) => {
            draft.problems.push(problem);
            implied()
        }
    }
}

fn routed(route: &Policy<TrafficRoute>, outbound: &Outbound) -> Result<Destinations, Problem> {
    let conf = &route.spec.conf;
    let single = (!conf.destination.is_empty()).then_some((&conf.destination, 1));
    let split = conf.split.iter().map(|entry| (&entry.destination, entry.weight));
    let mut shares = BTreeMap::<(Arc<str>, Tags), u64>::new();
    for (named, weight) in single.into_iter().chain(split).filter(|(_, weight)| *weight > 0) {
        let tags = filled(named, &outbound.tags);
        let service = Arc::<str>::from(tags.get(SERVICE_TAG).map_or("", String::as_str));
        *shares.entry((service, narrowing(&tags))).or_default() += u64::from(weight);
    }
    let unusable = |why: &str| {
        let to = outbound.service();
        Problem::new(&route.key, format!("not applied to traffic to {to:?}: {why}"))
    };
    match shares.values().sum::<u64>() {
        0 => Err(unusable("its weights are all 0")),
        sum if u32::try_from(sum).is_err() => Err(unusable("its weights add up to over 2^32 - 1")),
        _ => Ok(shares
            .into_iter()
            .map(|(to, share)| (to, u32::try_from(share).expect("invariant: at most the sum")))
            .collect()),
    }
}

/// Wildcards and what a destination does not name come from the outbound.
fn filled(destination: &Tags, outbound: &Tags) -> Tags {
    let exact = destination.iter().filter(|(_, value)| *value != "*");
    let mut tags = outbound.clone();
    tags.extend(exact.map(|(key, value)| (key.clone(), value.clone())));
    tags
}

/// The protocol that all destinations have in common. One without instances has no say; without
/// any instance it is TCP.
fn protocol(draft: &Draft<'_>, destinations: &Destinations) -> Protocol {
    let services = destinations.keys().filter_map(|(name, _)| draft.mesh.service(name));
    services.filter_map(|service| service.protocol()).min().unwrap_or(Protocol::Tcp)
}

fn add_service_cluster(draft: &mut Draft<'_>, service: &str, tags: &Tags) -> Arc<str> {
    let part = match draft.mesh.service(service) {
        Some(service) => service.part(tags),
        // Its cluster is there and empty, so requests fail fast until someone has the service.
        None => draft.index.nobody(draft.mesh_name(), service).part(tags),
    };
    draft.config.clusters.insert(part.name.clone(), part.cluster.clone());
    draft.config.endpoints.insert(part.name.clone(), part.endpoints.clone());
    for problem in &part.problems {
        if !draft.problems.contains(problem) {
            draft.problems.push(problem.clone());
        }
    }
    part.name.clone()
}
