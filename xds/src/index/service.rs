//! One service of a mesh as a zone sees it: its instances here, and the ingresses of the zones that
//! have it too. Clusters and endpoint sets are encoded on first use and shared by all proxies.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::{Arc, OnceLock};

use higuma_model::Key;
use higuma_model::spec::{PROTOCOL_TAG, Protocol, SERVICE_TAG, Tags};
use imbl::OrdMap;

use crate::cluster;
use crate::config::Encoded;
use crate::ingress::{self, Door};
use crate::proxy::Problem;

/// What holds for all services of a mesh.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Terms {
    pub(crate) mesh: Arc<str>,
    pub(crate) zone: Arc<str>,
    pub(crate) mtls: bool,
    /// Other zones only when this one has nothing healthy.
    pub(crate) local_first: bool,
}

/// An inbound of a Dataplane of this zone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Instance {
    pub(crate) dataplane: Key,
    pub(crate) address: IpAddr,
    pub(crate) port: u16,
    pub(crate) tags: Tags,
}

/// What another zone offers of a service through one ingress: full tag sets and their instances.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Offer {
    pub(crate) ingress: Key,
    pub(crate) zone: Arc<str>,
    pub(crate) address: IpAddr,
    pub(crate) port: u16,
    pub(crate) sets: Vec<(Tags, u32)>,
}

/// A cluster with its endpoints, encoded.
#[derive(Debug)]
pub(crate) struct Part {
    pub(crate) name: Arc<str>,
    pub(crate) cluster: Arc<Encoded>,
    pub(crate) endpoints: Arc<Encoded>,
    pub(crate) problems: Vec<Problem>,
}

/// A service. Changed only by replacing it, so what it has encoded stays true.
#[derive(Debug)]
pub(crate) struct Service {
    pub(crate) name: Arc<str>,
    pub(crate) terms: Terms,
    pub(crate) members: Members,
    /// Clusters for the tag sets that routes name; others are encoded for the proxy that asks.
    parts: BTreeMap<Tags, OnceLock<Arc<Part>>>,
    doors: OnceLock<Arc<[Door]>>,
}

/// Who stands behind a service.
#[derive(Debug, Clone, Default)]
pub(crate) struct Members {
    pub(crate) instances: OrdMap<(Key, usize), Arc<Instance>>,
    pub(crate) offers: OrdMap<Key, Arc<Offer>>,
}

impl Members {
    pub(crate) fn is_empty(&self) -> bool {
        self.instances.is_empty() && self.offers.is_empty()
    }
}

/// Whether a full tag set has all that is wanted.
pub(crate) fn includes(tags: &Tags, wanted: &Tags) -> bool {
    wanted.iter().all(|(key, value)| tags.get(key) == Some(value))
}

impl Service {
    /// `named` are the tag sets that routes of the mesh name for this service.
    pub(crate) fn new(
        name: &Arc<str>,
        terms: &Terms,
        members: Members,
        named: BTreeSet<Tags>,
    ) -> Self {
        let all = named.into_iter().chain([Tags::new()]);
        Self {
            name: name.clone(),
            terms: terms.clone(),
            members,
            parts: all.map(|tags| (tags, OnceLock::new())).collect(),
            doors: OnceLock::new(),
        }
    }

    /// The cluster of the instances with these tags (without the service's own).
    pub(crate) fn part(&self, tags: &Tags) -> Arc<Part> {
        let encode = || Arc::new(cluster::part(self, tags));
        self.parts.get(tags).map_or_else(encode, |part| part.get_or_init(encode).clone())
    }

    /// What the ingress of this zone opens for the service.
    pub(crate) fn doors(&self) -> &Arc<[Door]> {
        self.doors.get_or_init(|| ingress::doors(self, self.parts.keys()).into())
    }

    /// The protocol that all instances have in common; `None` without instances.
    pub(crate) fn protocol(&self) -> Option<Protocol> {
        let of = |tags: &Tags| {
            tags.get(PROTOCOL_TAG).map_or(Protocol::Tcp, |tag| Protocol::from_tag(tag))
        };
        let here = self.members.instances.values().map(|instance| of(&instance.tags));
        let there = self.offers().flat_map(|offer| offer.sets.iter().map(|(tags, _)| of(tags)));
        here.chain(there).min()
    }

    /// What other zones offer; they are reached by mTLS only.
    pub(crate) fn offers(&self) -> impl Iterator<Item = &Arc<Offer>> {
        self.members.offers.values().filter(|_| self.terms.mtls)
    }

    /// The distinct tag sets of the instances here, each without the service's own tag.
    pub(crate) fn tag_sets(&self) -> BTreeSet<Tags> {
        let sets = self.members.instances.values().map(|instance| narrowing(&instance.tags));
        sets.collect()
    }
}

/// Tags without the one that names the service.
pub(crate) fn narrowing(tags: &Tags) -> Tags {
    let mut tags = tags.clone();
    tags.remove(SERVICE_TAG);
    tags
}
