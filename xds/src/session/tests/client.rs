//! A client that behaves as Envoy does, and fails when it is sent something that would drop a request.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};

use envoy_types::pb::envoy::config::cluster::v3::Cluster;
use envoy_types::pb::envoy::config::listener::v3::Listener;
use envoy_types::pb::envoy::config::route::v3::RouteConfiguration;
use envoy_types::pb::envoy::service::discovery::v3::{
    DeltaDiscoveryRequest, DeltaDiscoveryResponse,
};
use prost::Message;

use super::{Cds, Eds, Lds, Rds, ack, ask, nack};
use crate::config::{Config, ResourceType};
use crate::session::Session;

#[derive(Debug, Default)]
pub(super) struct Client {
    /// By name: the version, and what a listener or a route names.
    clusters: BTreeMap<String, String>,
    endpoints: BTreeMap<String, String>,
    listeners: BTreeMap<String, (String, Vec<String>)>,
    routes: BTreeMap<String, (String, Vec<String>)>,
    /// Routes that listeners wait for or have.
    asked_routes: BTreeSet<String>,
    /// New clusters, and changed ones, serve once they have endpoints.
    warming: BTreeSet<String>,
    to_server: VecDeque<DeltaDiscoveryRequest>,
    to_client: VecDeque<DeltaDiscoveryResponse>,
    /// What was refused, alone in its response: it may not come again.
    refused: BTreeSet<(ResourceType, String, String)>,
}

impl Client {
    pub(super) fn new() -> Self {
        Self::default()
    }

    /// Opens a stream: what it has, it tells.
    pub(super) fn connect(&mut self) {
        self.to_server.clear();
        self.to_client.clear();
        self.refused.clear();
        // What waits for endpoints that it had before takes those (Envoy, after a timeout).
        self.warming.retain(|name| !self.endpoints.contains_key(name));
        let versions = |map: &BTreeMap<String, (String, Vec<String>)>| -> HashMap<String, String> {
            map.iter().map(|(name, (version, _))| (name.clone(), version.clone())).collect()
        };
        let plain = |map: &BTreeMap<String, String>| map.clone().into_iter().collect();
        let first = |kind, names: &[&str], known: HashMap<String, String>| DeltaDiscoveryRequest {
            initial_resource_versions: known,
            ..ask(kind, names)
        };
        let clusters: Vec<&str> = self.clusters.keys().map(String::as_str).collect();
        let routes: Vec<&str> = self.asked_routes.iter().map(String::as_str).collect();
        let mut requests = vec![first(Cds, &[], plain(&self.clusters))];
        if !clusters.is_empty() {
            requests.push(first(Eds, &clusters, plain(&self.endpoints)));
        }
        requests.push(first(Lds, &[], versions(&self.listeners)));
        if !routes.is_empty() {
            requests.push(first(Rds, &routes, versions(&self.routes)));
        }
        self.to_server.extend(requests);
    }

    pub(super) fn enqueue(&mut self, responses: Vec<DeltaDiscoveryResponse>) {
        self.to_client.extend(responses);
    }

    /// Moves one message, in the direction that `to_server` says if there is one; false: all is quiet.
    pub(super) fn step(&mut self, session: &mut Session, to_server: bool) -> bool {
        if (to_server || self.to_client.is_empty())
            && let Some(request) = self.to_server.pop_front()
        {
            let responses = session.on_request(&request).expect("a request that is served");
            self.enqueue(responses);
            return true;
        }
        match self.to_client.pop_front() {
            Some(response) => {
                self.receive(&response);
                true
            }
            None => false,
        }
    }

    pub(super) fn settle(&mut self, session: &mut Session) {
        // Each step sends or acknowledges something: far more are a loop.
        for _ in 0..10_000 {
            if !self.step(session, true) {
                return;
            }
        }
        panic!("it never settles: {self:#?}");
    }

    fn receive(&mut self, response: &DeltaDiscoveryResponse) {
        let kind = ResourceType::from_url(&response.type_url).unwrap();
        let bad: Vec<&str> = response
            .resources
            .iter()
            .filter(|resource| resource_says(resource.resource.as_ref().unwrap(), kind, "bad"))
            .map(|resource| resource.name.as_str())
            .collect();
        if !bad.is_empty() {
            if let [only] = &*response.resources {
                let fresh = self.refused.insert((kind, only.name.clone(), only.version.clone()));
                assert!(fresh, "refused, and sent again: {kind:?} {}", only.name);
            }
            return self.to_server.push_back(nack(response, &bad.join(", ")));
        }
        let answer = ack(response);
        for resource in &response.resources {
            let any = resource.resource.as_ref().unwrap();
            let version = resource.version.clone();
            self.put(kind, &resource.name, version, &any.value);
        }
        for name in &response.removed_resources {
            self.remove(kind, name);
        }
        self.to_server.push_back(answer);
        if kind == Lds {
            self.drop_unused_routes();
        }
    }

    fn put(&mut self, kind: ResourceType, name: &str, version: String, bytes: &[u8]) {
        // What came after it was no longer asked for.
        let unwanted = match kind {
            Eds => !self.clusters.contains_key(name),
            Rds => !self.asked_routes.contains(name),
            _ => false,
        };
        if unwanted {
            return;
        }
        match kind {
            Cds => {
                self.warming.insert(name.to_owned());
                if self.clusters.insert(name.to_owned(), version).is_none() {
                    self.to_server.push_back(ask(Eds, &[name]));
                }
            }
            Eds => {
                self.endpoints.insert(name.to_owned(), version);
                self.warming.remove(name);
            }
            Lds => {
                let listener = Listener::decode(bytes).unwrap();
                let used = used(&listener.stat_prefix);
                for name in &used {
                    match name.strip_prefix('/') {
                        Some(route) if self.asked_routes.insert(route.to_owned()) => {
                            self.to_server.push_back(ask(Rds, &[route]));
                        }
                        Some(_) => {}
                        None => self.assert_serves(name, &listener.name),
                    }
                }
                self.listeners.insert(name.to_owned(), (version, used));
            }
            Rds => {
                let route = RouteConfiguration::decode(bytes).unwrap();
                let used = used(&route.vhost_header);
                used.iter().for_each(|cluster| self.assert_serves(cluster, &route.name));
                self.routes.insert(name.to_owned(), (version, used));
            }
            ResourceType::Secret => {}
        }
    }

    fn remove(&mut self, kind: ResourceType, name: &str) {
        match kind {
            Cds => {
                let users = self.listeners.iter().chain(&self.routes);
                for (user, (_, used)) in users {
                    assert!(
                        !used.contains(&name.to_owned()),
                        "{user} uses {name}, which is removed"
                    );
                }
                self.clusters.remove(name);
                self.endpoints.remove(name);
                self.warming.remove(name);
                self.unsubscribe(Eds, name);
            }
            Lds => {
                // What was refused may have wanted the address of this one.
                self.refused.retain(|(kind, _, _)| *kind != Lds);
                self.listeners.remove(name);
            }
            _ => {}
        }
    }

    /// A client drops routes that no listener has.
    fn drop_unused_routes(&mut self) {
        let used: BTreeSet<String> = self
            .listeners
            .values()
            .flat_map(|(_, used)| used.iter().filter_map(|name| name.strip_prefix('/')))
            .map(str::to_owned)
            .collect();
        for name in self.asked_routes.clone().into_iter().filter(|name| !used.contains(name)) {
            self.asked_routes.remove(&name);
            self.routes.remove(&name);
            self.unsubscribe(Rds, &name);
        }
    }

    fn unsubscribe(&mut self, kind: ResourceType, name: &str) {
        let mut request = ask(kind, &[]);
        request.resource_names_unsubscribe = vec![name.to_owned()];
        self.to_server.push_back(request);
    }

    /// A cluster that is there; one that warms anew serves as it did before.
    fn assert_serves(&self, cluster: &str, user: &str) {
        assert!(self.clusters.contains_key(cluster), "{user} names {cluster}, which is not there");
        assert!(self.endpoints.contains_key(cluster), "{user} names {cluster}, which is not warm");
    }

    pub(super) fn assert_runs(&self, config: &Config) {
        let versions = |kind: ResourceType| -> BTreeMap<String, String> {
            let version =
                |(name, encoded): (&std::sync::Arc<str>, &std::sync::Arc<crate::Encoded>)| {
                    (name.to_string(), encoded.version().to_owned())
                };
            config.of(kind).iter().map(version).collect()
        };
        let plain = |map: &BTreeMap<String, (String, Vec<String>)>| -> BTreeMap<String, String> {
            map.iter().map(|(name, (version, _))| (name.clone(), version.clone())).collect()
        };
        assert_eq!(self.clusters, versions(Cds));
        assert_eq!(self.endpoints, versions(Eds));
        assert_eq!(plain(&self.listeners), versions(Lds));
        assert_eq!(plain(&self.routes), versions(Rds));
        assert!(self.warming.is_empty(), "still warming: {:?}", self.warming);
    }
}

/// What a listener or route of these tests names: `bytes>used,used`.
fn used(text: &str) -> Vec<String> {
    let (_, used) = text.split_once('>').unwrap_or((text, ""));
    used.split(',').filter(|name| !name.is_empty()).map(str::to_owned).collect()
}

fn resource_says(
    any: &envoy_types::pb::google::protobuf::Any,
    kind: ResourceType,
    word: &str,
) -> bool {
    let bytes = &*any.value;
    match kind {
        Cds => Cluster::decode(bytes).unwrap().alt_stat_name == word,
        Lds => Listener::decode(bytes).unwrap().stat_prefix.starts_with(word),
        Rds => RouteConfiguration::decode(bytes).unwrap().vhost_header.starts_with(word),
        _ => false,
    }
}
