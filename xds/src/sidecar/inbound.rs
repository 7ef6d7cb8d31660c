//! Traffic from other proxies to the application.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use envoy_types::pb::envoy::config::core::v3::TrafficDirection;
use envoy_types::pb::envoy::config::listener::v3::FilterChain;
use higuma_model::spec::{Inbound, Protocol};

use super::Draft;
use crate::config::{Encoded, Uses};
use crate::index::matching;
use crate::{cluster, http, listener, rbac, tls};

type Address = (IpAddr, u16);

pub(super) fn generate(draft: &mut Draft<'_>) {
    let dataplane = draft.dataplane;
    for inbound in &dataplane.networking.inbound {
        if let Err(problem) = generate_one(draft, inbound) {
            draft.problem(format!("inbound on port {}: {problem}", inbound.port));
        }
    }
}

fn generate_one(draft: &mut Draft<'_>, inbound: &Inbound) -> Result<(), String> {
    let (here, application) = addresses(draft, inbound)?;
    if !draft.bound.insert(here) {
        return Err("another listener has its address already; left out".to_owned());
    }
    let cluster = application_cluster(draft, application, inbound.protocol());
    let permission = matching::permission(draft.mesh.permissions.values(), &inbound.tags);
    let rules = draft.mtls.then(|| rbac::rules(draft.mesh_name(), permission.map(|p| &**p)));
    let listener_name = listener::name(TrafficDirection::Inbound, here.0, here.1);
    let uses;
    let mut filters = Vec::new();
    match inbound.protocol() {
        Protocol::Http => {
            let name = route_name(draft, inbound, here);
            let route = http::inbound_route(&name, inbound.service(), &cluster, rules);
            draft.add_route(route, Uses::clusters(vec![cluster.clone()]));
            uses = Uses::route(&name);
            filters.push(http::inbound(&name, &cluster, draft.mtls));
        }
        Protocol::Tcp => {
            filters.extend(rules.map(|rules| listener::rbac(&listener_name, rules)));
            let idle = 2 * listener::IDLE_SECONDS;
            filters.push(listener::connection(&cluster, &[(cluster.clone(), 1)], idle));
            uses = Uses::clusters(vec![cluster]);
        }
    }
    let chain = FilterChain {
        filters,
        transport_socket: draft.mtls.then(|| tls::downstream(draft.mesh_name())),
        ..Default::default()
    };
    draft.add_listener(listener::plain(TrafficDirection::Inbound, here, chain), uses);
    Ok(())
}

/// Where Envoy listens, and where the application does.
fn addresses(draft: &Draft<'_>, inbound: &Inbound) -> Result<(Address, Address), String> {
    let parse = |text: &str| {
        let wrong = |_| format!("{text:?} is no IP address to listen on or connect to; left out");
        text.parse::<IpAddr>().map_err(wrong)
    };
    let host = if inbound.address.is_empty() {
        parse(&draft.dataplane.networking.address)?
    } else {
        parse(&inbound.address)?
    };
    let here = (host, inbound.port);
    let port = if inbound.service_port == 0 { inbound.port } else { inbound.service_port };
    let asked = &inbound.service_address;
    let application = if asked.is_empty() { (host, port) } else { (parse(asked)?, port) };
    let loopback = (IpAddr::V4(Ipv4Addr::LOCALHOST), port);
    match (application == here, asked.is_empty() && loopback != here) {
        (false, _) => Ok((here, application)),
        // The same port on one address: the application has the loopback's.
        (true, true) => Ok((here, loopback)),
        (true, false) => Err("the application has the listener's own address; left out".to_owned()),
    }
}

/// The cluster of the application; inbounds that lead to the same one share it.
fn application_cluster(
    draft: &mut Draft<'_>,
    (host, port): (IpAddr, u16),
    protocol: Protocol,
) -> Arc<str> {
    let kumas = format!("localhost:{port}");
    let distinct = format!("{host}:{port}:{protocol:?}").to_lowercase();
    let built = cluster::local(&kumas, host, port, protocol);
    let encoded = Encoded::new(built.clone(), Uses::default());
    match draft.config.clusters.get(&*kumas) {
        Some(other) if *other != encoded => {
            draft.add_cluster(cluster::local(&distinct, host, port, protocol));
            distinct.into()
        }
        _ => {
            draft.add_cluster(built);
            kumas.into()
        }
    }
}

/// Kuma's name, and with the address where two inbounds are of one service.
fn route_name(draft: &Draft<'_>, inbound: &Inbound, (host, port): (IpAddr, u16)) -> String {
    let service = inbound.service();
    let inbounds = &draft.dataplane.networking.inbound;
    if inbounds.iter().filter(|other| other.service() == service).count() > 1 {
        format!("inbound:{service}:{host}:{port}")
    } else {
        format!("inbound:{service}")
    }
}
