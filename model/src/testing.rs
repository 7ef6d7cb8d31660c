//! Builders for tests: what matters is in the test, the rest has a default.
//!
//! ```
//! use higuma_model::{Owner, testing};
//!
//! let web = testing::dataplane("web-1").tag("kuma.io/service", "web").inbound(8080);
//! let document = web.clone().document();
//! let resource = web.resource(Owner::zone("east"), 7);
//! assert_eq!(document.key(), resource.key);
//! ```

use std::net::Ipv4Addr;
use std::sync::Arc;

use serde::Serialize;
use serde_json::Value;

use crate::resource::{Labels, Owner, Resource, Timestamp};
use crate::spec::{
    Admin, AvailableService, CaBackend, Dataplane, Gateway, Inbound, Mesh, Mtls, Outbound,
    SERVICE_TAG, Selector, SplitEntry, Tags, TrafficPermission, TrafficRoute, Vip, Zone,
    ZoneIngress,
};
use crate::{
    ClusterId, Document, Key, Kind, KindSpec, Place, SecretBytes, Snapshot, Spec, canonical_spec,
};

/// A resource in the making.
#[derive(Debug, Clone)]
pub struct Builder<T> {
    mesh: String,
    name: String,
    labels: Labels,
    spec: T,
    /// Tags of all inbounds, those to come included.
    tags: Tags,
}

/// A Dataplane at 192.168.0.1, in mesh `default`.
pub fn dataplane(name: &str) -> Builder<Dataplane> {
    builder::<Dataplane>(name).address("192.168.0.1")
}

pub fn mesh(name: &str) -> Builder<Mesh> {
    builder(name)
}

/// A TrafficPermission in mesh `default`; without a source or destination it has none.
pub fn traffic_permission(name: &str) -> Builder<TrafficPermission> {
    builder(name)
}

/// A TrafficRoute in mesh `default`.
pub fn traffic_route(name: &str) -> Builder<TrafficRoute> {
    builder(name)
}

/// A ZoneIngress at 192.168.0.1:10001, not advertised.
pub fn zone_ingress(name: &str) -> Builder<ZoneIngress> {
    let mut ingress: Builder<ZoneIngress> = builder(name);
    ingress.spec.networking.address = "192.168.0.1".to_owned();
    ingress.spec.networking.port = 10_001;
    ingress
}

pub fn zone(name: &str) -> Builder<Zone> {
    builder(name)
}

/// A Secret as admission stores it.
pub fn secret(mesh: &str, name: &str, bytes: &[u8], owner: Owner, version: u64) -> Resource {
    let key = Key::new(Kind::Secret, mesh, name);
    resource(key, &Labels::new(), Spec::Secret(SecretBytes::plain(bytes)), owner, version)
}

/// The address of a host name, as a zone's registrar writes it.
pub fn vip(hostname: &str, address: Ipv4Addr, zone: &str, version: u64) -> Resource {
    let spec = canonical_spec(&Vip { address }).expect("invariant: an address is canonical");
    resource(crate::vip::key(hostname), &Labels::new(), spec, Owner::zone(zone), version)
}

/// A Snapshot of these resources, put in this order.
pub fn snapshot(resources: impl IntoIterator<Item = Resource>) -> Snapshot {
    let mut snapshot = Snapshot::new(ClusterId(1));
    for resource in resources {
        snapshot.put(Arc::new(resource));
    }
    snapshot
}

/// Tags from pairs.
pub fn tags(pairs: &[(&str, &str)]) -> Tags {
    pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

fn builder<T: KindSpec + Default>(name: &str) -> Builder<T> {
    let mesh = match T::KIND.scope() {
        crate::kind::Scope::Mesh => crate::DEFAULT_MESH,
        crate::kind::Scope::Global => "",
    };
    Builder {
        mesh: mesh.to_owned(),
        name: name.to_owned(),
        labels: Labels::new(),
        spec: T::default(),
        tags: Tags::new(),
    }
}

fn resource(key: Key, labels: &Labels, spec: Spec, owner: Owner, version: u64) -> Resource {
    let place = match &owner {
        Owner::Global => Place::Global,
        Owner::Zone(zone) => Place::Zone(zone.clone()),
    };
    let draft = place.draft_with(key, labels, spec);
    Resource {
        key: draft.key,
        owner,
        version,
        modified_at: version,
        created: Timestamp::default(),
        modified: Timestamp::default(),
        audience: draft.audience,
        labels: draft.labels,
        spec: draft.spec,
        status: draft.status,
    }
}

impl<T: KindSpec + Serialize> Builder<T> {
    pub fn mesh(mut self, mesh: &str) -> Self {
        mesh.clone_into(&mut self.mesh);
        self
    }

    pub fn label(mut self, key: &str, value: &str) -> Self {
        self.labels.insert(key.to_owned(), value.to_owned());
        self
    }

    pub fn document(self) -> Document {
        let Ok(Value::Object(spec)) = serde_json::to_value(&self.spec) else {
            panic!("a typed spec is an object");
        };
        Document { kind: T::KIND, mesh: self.mesh, name: self.name, labels: self.labels, spec }
    }

    /// The resource as admission makes it, put at `version` by its owner.
    pub fn resource(self, owner: Owner, version: u64) -> Resource {
        let key = Key::new(T::KIND, &self.mesh, &self.name);
        let spec = canonical_spec(&self.spec).expect("invariant: builders make canonical specs");
        resource(key, &self.labels, spec, owner, version)
    }
}

impl Builder<Dataplane> {
    pub fn address(mut self, address: &str) -> Self {
        address.clone_into(&mut self.spec.networking.address);
        self
    }

    /// A tag of the gateway and of every inbound, those to come included.
    pub fn tag(mut self, key: &str, value: &str) -> Self {
        let networking = &mut self.spec.networking;
        let inbound = networking.inbound.iter_mut().map(|inbound| &mut inbound.tags);
        let gateway = networking.gateway.iter_mut().map(|gateway| &mut gateway.tags);
        for tags in inbound.chain(gateway).chain([&mut self.tags]) {
            tags.insert(key.to_owned(), value.to_owned());
        }
        self
    }

    /// An inbound whose application listens on the same port of the loopback address.
    pub fn inbound(mut self, port: u16) -> Self {
        self.spec.networking.inbound.push(Inbound {
            port,
            service_address: "127.0.0.1".to_owned(),
            tags: self.tags.clone(),
            ..Inbound::default()
        });
        self
    }

    /// Where the application of the last inbound listens.
    pub fn service_port(mut self, port: u16) -> Self {
        if let Some(inbound) = self.spec.networking.inbound.last_mut() {
            inbound.service_port = port;
        }
        self
    }

    /// An outbound on the loopback address to a service.
    pub fn outbound(mut self, port: u16, service: &str) -> Self {
        let tags = tags(&[(SERVICE_TAG, service)]);
        self.spec.networking.outbound.push(Outbound { port, tags, ..Outbound::default() });
        self
    }

    /// A delegated gateway with the tags given so far.
    pub fn gateway(mut self) -> Self {
        let gateway = Gateway { tags: self.tags.clone(), ..Gateway::default() };
        self.spec.networking.gateway = Some(gateway);
        self
    }

    pub fn admin(mut self, port: u16) -> Self {
        self.spec.networking.admin = Some(Admin { port });
        self
    }
}

impl Builder<Mesh> {
    /// A builtin CA, in force.
    pub fn mtls(mut self, backend: &str) -> Self {
        let backends = vec![CaBackend { name: backend.to_owned(), ..CaBackend::default() }];
        self.spec.mtls = Some(Mtls { enabled_backend: backend.to_owned(), backends });
        self
    }

    /// The backends stay, none is in force.
    pub fn mtls_off(mut self) -> Self {
        if let Some(mtls) = &mut self.spec.mtls {
            mtls.enabled_backend.clear();
        }
        self
    }

    pub fn locality_aware(mut self) -> Self {
        self.spec.routing.get_or_insert_default().locality_aware_load_balancing = true;
        self
    }
}

fn selector(pairs: &[(&str, &str)]) -> Selector {
    Selector { tags: tags(pairs) }
}

impl Builder<TrafficPermission> {
    pub fn source(mut self, pairs: &[(&str, &str)]) -> Self {
        self.spec.sources.push(selector(pairs));
        self
    }

    pub fn destination(mut self, pairs: &[(&str, &str)]) -> Self {
        self.spec.destinations.push(selector(pairs));
        self
    }
}

impl Builder<TrafficRoute> {
    pub fn source(mut self, pairs: &[(&str, &str)]) -> Self {
        self.spec.sources.push(selector(pairs));
        self
    }

    pub fn destination(mut self, pairs: &[(&str, &str)]) -> Self {
        self.spec.destinations.push(selector(pairs));
        self
    }

    /// Sends everything to one destination.
    pub fn to(mut self, pairs: &[(&str, &str)]) -> Self {
        self.spec.conf.destination = tags(pairs);
        self
    }

    /// Sends a share to a destination.
    pub fn split(mut self, weight: u32, pairs: &[(&str, &str)]) -> Self {
        self.spec.conf.split.push(SplitEntry { weight, destination: tags(pairs) });
        self
    }
}

impl Builder<ZoneIngress> {
    pub fn zone(mut self, zone: &str) -> Self {
        zone.clone_into(&mut self.spec.zone);
        self
    }

    pub fn address(mut self, address: &str, port: u16) -> Self {
        address.clone_into(&mut self.spec.networking.address);
        self.spec.networking.port = port;
        self
    }

    pub fn advertised(mut self, address: &str, port: u16) -> Self {
        address.clone_into(&mut self.spec.networking.advertised_address);
        self.spec.networking.advertised_port = Some(port);
        self
    }

    /// Instances of a service that the ingress leads to.
    pub fn available(mut self, mesh: &str, pairs: &[(&str, &str)], instances: u32) -> Self {
        let (tags, mesh) = (tags(pairs), mesh.to_owned());
        self.spec.available_services.push(AvailableService { tags, instances, mesh });
        self
    }
}

impl Builder<Zone> {
    pub fn disabled(mut self) -> Self {
        self.spec.enabled = Some(false);
        self
    }
}
