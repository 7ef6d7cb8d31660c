//! The configuration of a proxy beside a workload.
//!
//! ```text
//! other proxies ──mTLS, permissions──► inbound:IP:PORT ──► localhost:PORT (application)
//! application ──► outbound:IP:PORT ──routes, shares──► service clusters ──mTLS──► instances, ingresses
//! ```

mod inbound;
mod outbound;

use std::collections::BTreeSet;
use std::sync::Arc;

use envoy_types::pb::envoy::config::cluster::v3::Cluster;
use envoy_types::pb::envoy::config::listener::v3::Listener;
use envoy_types::pb::envoy::config::route::v3::RouteConfiguration;
use higuma_model::Key;
use higuma_model::spec::{Dataplane, Tags};

use crate::config::{Config, Encoded, Uses};
use crate::index::{Index, MeshIndex};
use crate::proxy::{Identity, Problem, Proxy};
use crate::tls;

/// Everything about the proxy that generators ask for, and what they have made so far.
struct Draft<'a> {
    key: &'a Key,
    index: &'a Index,
    mesh: &'a MeshIndex,
    mtls: bool,
    dataplane: &'a Dataplane,
    /// Addresses that have a listener.
    bound: BTreeSet<(std::net::IpAddr, u16)>,
    config: Config,
    problems: Vec<Problem>,
}

pub(crate) fn config(index: &Index, proxy: &Proxy, identity: &Identity) -> (Config, Vec<Problem>) {
    let mesh_name = proxy.key.mesh();
    let found =
        index.mesh(mesh_name).and_then(|mesh| Some((mesh, mesh.dataplanes.get(&proxy.key)?)));
    let mut problems = index.faults(&proxy.key).to_vec();
    let Some((mesh, dataplane)) = found else {
        let message = format!("no such Dataplane in zone {}: nothing to configure", index.zone());
        problems.push(Problem::new(&proxy.key, message));
        return (Config::default(), problems);
    };
    problems.extend(index.policy_faults(mesh_name).cloned());
    if mesh.spec.is_none() {
        let message = format!("its mesh {mesh_name:?} is not known here: nothing to configure");
        problems.push(Problem::new(&proxy.key, message));
        return (Config::default(), problems);
    }
    let mut draft = Draft {
        key: &proxy.key,
        index,
        mesh,
        mtls: mesh.has_mtls(),
        dataplane,
        bound: BTreeSet::new(),
        config: Config::default(),
        problems,
    };
    inbound::generate(&mut draft);
    outbound::generate(&mut draft);
    if proxy.bind_outbounds {
        outbound::bind(&mut draft);
    }
    draft.add_secrets(identity);
    (draft.config, draft.problems)
}

impl<'a> Draft<'a> {
    fn mesh_name(&self) -> &'a str {
        self.key.mesh()
    }

    fn problem(&mut self, message: String) {
        self.problems.push(Problem::new(self.key, message));
    }

    fn add_cluster(&mut self, cluster: Cluster) {
        let name = Arc::<str>::from(&*cluster.name);
        self.config.clusters.insert(name, Encoded::new(cluster, Uses::default()));
    }

    fn add_listener(&mut self, listener: Listener, uses: Uses) {
        let name = Arc::<str>::from(&*listener.name);
        self.config.listeners.insert(name, Encoded::new(listener, uses));
    }

    fn add_route(&mut self, route: RouteConfiguration, uses: Uses) {
        let name = Arc::<str>::from(&*route.name);
        self.config.routes.insert(name, Encoded::new(route, uses));
    }

    /// Without a certificate nothing is sent in plain: Envoy waits for the secrets.
    fn add_secrets(&mut self, identity: &Identity) {
        if !self.mtls || self.config.listeners.is_empty() {
            return;
        }
        if identity.is_empty() {
            let message =
                "the mesh has mTLS and the proxy no certificate yet: no traffic until it has one";
            return self.problem(message.to_owned());
        }
        self.config.secrets = tls::secrets(self.mesh_name(), identity);
    }

    /// The tag sets that a policy's sources are matched with.
    fn sources(&self) -> Vec<&'a Tags> {
        let networking = &self.dataplane.networking;
        let inbound = networking.inbound.iter().map(|inbound| &inbound.tags);
        inbound.chain(networking.gateway.iter().map(|gateway| &gateway.tags)).collect()
    }
}
