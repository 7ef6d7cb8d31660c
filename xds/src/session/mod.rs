//! The incremental (delta) variant of the aggregated discovery service, without IO: what one stream
//! has asked for, what it has acknowledged, and what to send it next (Envoy, `xds_protocol`, "Incremental xDS").
//!
//! - **Order.** A listener or route is sent only once the client has every cluster that it names, endpoints included;
//!   a cluster is removed only once nothing that the client has names it. So a change drops no request.
//! - **Refusals.** Of a response that is refused, the guilty resource is found by halving, and not sent again until
//!   its bytes change. What the client had stays in force, with the clusters that it names.
//! - One response of each type is in flight at most.
//!
//! Not here: the stream, authentication, and time.

mod order;
mod subscription;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use envoy_types::pb::envoy::service::discovery::v3::{
    DeltaDiscoveryRequest, DeltaDiscoveryResponse, Resource,
};

use crate::config::{Config, Encoded, ResourceType};
use crate::index::Versions;
use subscription::{Answer, Flight, Subscription};

pub use subscription::MAX_NAMES;

/// Bytes of resources in one response: well below the 4 MiB that gRPC clients commonly take. A single larger
/// resource goes alone.
pub const MAX_RESPONSE_BYTES: usize = 1024 * 1024;

/// Why a request cannot be served; the stream should end with it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RequestError {
    #[error(
        "resources of type {0:?} are not served; a proxy of this mesh asks for clusters, endpoints, listeners, routes and secrets"
    )]
    UnknownType(String),
    #[error("over {MAX_NAMES} resources of type {0:?} asked for by name")]
    TooManyNames(String),
}

/// A resource that the client refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Nack {
    pub kind: ResourceType,
    pub name: Arc<str>,
    /// The version that was refused; what the client had before is in force.
    pub version: String,
    /// The client's words.
    pub error: String,
}

/// One client's stream.
#[derive(Debug, Default)]
pub struct Session {
    target: Option<(Arc<Config>, Versions)>,
    types: [Subscription; ResourceType::ALL.len()],
    acked: Option<Versions>,
    nonces: u64,
}

impl Session {
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes in a request, and gives what is to be sent next.
    pub fn on_request(
        &mut self,
        request: &DeltaDiscoveryRequest,
    ) -> Result<Vec<DeltaDiscoveryResponse>, RequestError> {
        let Some(kind) = ResourceType::from_url(&request.type_url) else {
            return Err(RequestError::UnknownType(request.type_url.chars().take(128).collect()));
        };
        let answer = self.of_mut(kind).answered(request);
        self.learn(kind, answer);
        if !self.of_mut(kind).subscribe(kind, request) {
            return Err(RequestError::TooManyNames(kind.url()));
        }
        Ok(self.next())
    }

    /// Sets what the client is to run, and gives what is to be sent next.
    pub fn on_config(
        &mut self,
        config: &Config,
        versions: Versions,
    ) -> Vec<DeltaDiscoveryResponse> {
        for kind in ResourceType::ALL {
            self.of_mut(kind).forgive(config.of(kind));
        }
        self.target = Some((Arc::new(config.clone()), versions));
        self.next()
    }

    /// The last versions that the client runs in full. Versions that changed nothing for it
    /// count as soon as all before them do.
    pub fn acked_version(&self) -> Option<Versions> {
        self.acked
    }

    /// What the client refused and has not been given anew, by type and name.
    pub fn nacks(&self) -> Vec<Nack> {
        let Some((config, _)) = &self.target else { return Vec::new() };
        let refused = |kind: ResourceType| {
            self.of(kind).refused(config.of(kind)).map(move |(name, version, error)| Nack {
                kind,
                name: name.clone(),
                version: version.to_owned(),
                error: error.to_owned(),
            })
        };
        ResourceType::ALL.into_iter().flat_map(refused).collect()
    }

    fn of(&self, kind: ResourceType) -> &Subscription {
        &self.types[kind as usize]
    }

    fn of_mut(&mut self, kind: ResourceType) -> &mut Subscription {
        &mut self.types[kind as usize]
    }

    /// What an answer to one type means for others.
    fn learn(&mut self, kind: ResourceType, answer: Answer) {
        match (kind, answer) {
            // Envoy warms a changed cluster anew, and does not ask for its endpoints again.
            (ResourceType::Cluster, Answer::Accepted { changed, .. }) => {
                self.of_mut(ResourceType::Endpoints).send_again(changed);
            }
            // An address that a removed listener had is free: what was refused for it may fit now.
            (ResourceType::Listener, Answer::Accepted { removed: true, .. }) => {
                self.of_mut(ResourceType::Listener).retry_refused();
            }
            _ => {}
        }
    }

    /// At most one response of each type, in the order in which they go out.
    fn next(&mut self) -> Vec<DeltaDiscoveryResponse> {
        let mut responses = Vec::new();
        for kind in ResourceType::ALL {
            responses.extend(self.next_of(kind));
        }
        if let Some((config, versions)) = &self.target
            && order::runs(self, config)
        {
            self.acked = Some(*versions);
        }
        responses
    }

    fn next_of(&mut self, kind: ResourceType) -> Option<DeltaDiscoveryResponse> {
        let (config, versions) = self.target.clone()?;
        if !self.of(kind).may_send() {
            return None;
        }
        let (upserts, removed) = match order::due(self, &config, kind) {
            order::Due::Nothing => return None,
            order::Due::Upserts(upserts) => (upserts, Vec::new()),
            order::Due::Removed(names) => (Vec::new(), names),
        };
        self.nonces += 1;
        let nonce = self.nonces.to_string();
        let response = DeltaDiscoveryResponse {
            system_version_info: format!("{}/{}", versions.owner, versions.local),
            resources: upserts.iter().map(|(name, encoded)| resource(name, encoded)).collect(),
            type_url: kind.url(),
            removed_resources: removed.iter().map(ToString::to_string).collect(),
            nonce: nonce.clone(),
            ..Default::default()
        };
        self.of_mut(kind).sent(Flight { nonce, upserts, removed });
        Some(response)
    }
}

fn resource(name: &str, encoded: &Encoded) -> Resource {
    Resource {
        name: name.to_owned(),
        version: encoded.version().to_owned(),
        resource: Some(encoded.any().clone()),
        ..Default::default()
    }
}
