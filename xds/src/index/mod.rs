//! What the generators look up, kept up to date at the cost of each change.
//!
//! ```text
//! Snapshot, Delta ──update──► Index ── services (instances, other zones' offers) ──► clusters, endpoints
//!                                   ── permissions, routes, dataplanes, ingresses
//! ```
//!
//! A clone shares everything (persistent maps): one task updates, and publishes clones to the tasks of the
//! proxies. Not here: what a proxy makes of it (`sidecar`, `ingress`).

pub(crate) mod matching;
pub(crate) mod service;
mod write;

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use std::sync::Arc;

use higuma_model::spec::{AvailableService, Dataplane, Mesh, Tags};
use higuma_model::spec::{TrafficPermission, TrafficRoute, ZoneIngress};
use higuma_model::{Delta, Key, Kind, Snapshot, vip};
use imbl::OrdMap;

use crate::proxy::Problem;
use matching::Policy;
use service::{Members, Service, Terms};

/// Where a configuration stands: the owner's version (the global's, as far as this zone has
/// followed it) and the local one.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Versions {
    pub owner: u64,
    pub local: u64,
}

impl Versions {
    pub fn of(snapshot: &Snapshot) -> Self {
        let owner = snapshot.upstream().map_or(0, |upstream| upstream.version);
        Self { owner, local: snapshot.version() }
    }
}

/// What the configurations of a zone's proxies are made of.
#[derive(Debug, Clone)]
pub struct Index {
    zone: Arc<str>,
    versions: Versions,
    meshes: OrdMap<Arc<str>, MeshIndex>,
    ingresses: OrdMap<Key, Arc<Ingress>>,
    /// The addresses of host names.
    vips: OrdMap<Arc<str>, Ipv4Addr>,
    /// What single resources got wrong, whoever asks.
    faults: OrdMap<Key, Arc<[Problem]>>,
}

/// One mesh.
#[derive(Debug, Clone, Default)]
pub(crate) struct MeshIndex {
    pub(crate) spec: Option<Arc<Mesh>>,
    pub(crate) dataplanes: OrdMap<Key, Arc<Dataplane>>,
    pub(crate) permissions: OrdMap<Key, Arc<Policy<TrafficPermission>>>,
    pub(crate) routes: OrdMap<Key, Arc<Policy<TrafficRoute>>>,
    services: OrdMap<Arc<str>, Arc<Service>>,
    members: OrdMap<Arc<str>, Members>,
    /// Services and tag sets that routes name as destinations, with the number of times.
    named: OrdMap<(Arc<str>, Tags), usize>,
}

/// A ZoneIngress and the zone that it leads into.
#[derive(Debug)]
pub(crate) struct Ingress {
    pub(crate) key: Key,
    pub(crate) zone: Arc<str>,
    pub(crate) spec: ZoneIngress,
}

impl Index {
    /// The index of a zone over a whole snapshot.
    pub fn new(zone: &str, snapshot: &Snapshot) -> Self {
        let mut index = Self {
            zone: zone.into(),
            versions: Versions::default(),
            meshes: OrdMap::new(),
            ingresses: OrdMap::new(),
            vips: OrdMap::new(),
            faults: OrdMap::new(),
        };
        let delta = Delta { upserts: snapshot.iter().cloned().collect(), removed: Vec::new() };
        index.update(snapshot, &delta);
        index
    }

    /// Follows `delta` to `snapshot`. The cost follows the delta; a change of a Mesh concerns all services of
    /// the mesh.
    pub fn update(&mut self, snapshot: &Snapshot, delta: &Delta) {
        self.apply(delta);
        self.versions = Versions::of(snapshot);
    }

    pub fn zone(&self) -> &str {
        &self.zone
    }

    /// The versions of the snapshot that the index stands at.
    pub fn versions(&self) -> Versions {
        self.versions
    }

    /// Everything that is wrong with single resources, whichever proxy they concern.
    pub fn problems(&self) -> impl Iterator<Item = &Problem> {
        self.faults.values().flat_map(|problems| problems.iter())
    }

    /// Whether mTLS is on in a mesh, so that its proxies need an [`Identity`](crate::Identity).
    pub fn has_mtls(&self, mesh: &str) -> bool {
        self.mesh(mesh).is_some_and(MeshIndex::has_mtls)
    }

    pub(crate) fn mesh(&self, mesh: &str) -> Option<&MeshIndex> {
        self.meshes.get(mesh)
    }

    pub(crate) fn meshes(&self) -> impl Iterator<Item = (&Arc<str>, &MeshIndex)> {
        self.meshes.iter()
    }

    pub(crate) fn ingress(&self, key: &Key) -> Option<&Arc<Ingress>> {
        self.ingresses.get(key)
    }

    /// The address of a service's host name, once the zone has given it one.
    pub(crate) fn address(&self, service: &str) -> Option<Ipv4Addr> {
        self.vips.get(&*vip::hostname(service)?).copied()
    }

    /// What is wrong with a resource itself.
    pub(crate) fn faults(&self, key: &Key) -> &[Problem] {
        self.faults.get(key).map_or(&[], |problems| problems)
    }

    /// What is wrong with the policies of a mesh.
    pub(crate) fn policy_faults<'a>(&'a self, mesh: &'a str) -> impl Iterator<Item = &'a Problem> {
        let policy = |kind: Kind| matches!(kind, Kind::TrafficPermission | Kind::TrafficRoute);
        let of_mesh = move |key: &Key| {
            key.mesh() == mesh && policy(key.kind()) || *key == Key::mesh_resource(mesh)
        };
        self.faults.iter().filter(move |(key, _)| of_mesh(key)).flat_map(|(_, found)| found.iter())
    }

    /// A service that nobody has.
    pub(crate) fn nobody(&self, mesh: &str, service: &str) -> Service {
        let empty = MeshIndex::default();
        let terms = self.terms(&mesh.into(), self.mesh(mesh).unwrap_or(&empty));
        Service::new(&service.into(), &terms, Members::default(), BTreeSet::new())
    }

    fn terms(&self, name: &Arc<str>, mesh: &MeshIndex) -> Terms {
        Terms {
            mesh: name.clone(),
            zone: self.zone.clone(),
            mtls: mesh.has_mtls(),
            local_first: mesh.spec.as_ref().is_some_and(|spec| spec.prefers_local_zone()),
        }
    }
}

impl MeshIndex {
    pub(crate) fn has_mtls(&self) -> bool {
        self.spec.as_ref().is_some_and(|spec| spec.enabled_backend().is_some())
    }

    pub(crate) fn service(&self, name: &str) -> Option<&Arc<Service>> {
        self.services.get(name)
    }

    pub(crate) fn services(&self) -> impl Iterator<Item = &Arc<Service>> {
        self.services.values()
    }
}

/// What the zone of the index offers to other zones: instances by mesh and full tag set, in that order.
/// Written to the zone's ingresses.
pub fn available_services(index: &Index) -> Vec<AvailableService> {
    let mut counts = BTreeMap::<(Arc<str>, Tags), u32>::new();
    for (mesh, mesh_index) in &index.meshes {
        for service in mesh_index.services.values() {
            for instance in service.members.instances.values() {
                *counts.entry((mesh.clone(), instance.tags.clone())).or_default() += 1;
            }
        }
    }
    let offered = |((mesh, tags), instances): ((Arc<str>, Tags), u32)| AvailableService {
        tags,
        instances,
        mesh: mesh.to_string(),
    };
    counts.into_iter().map(offered).collect()
}
