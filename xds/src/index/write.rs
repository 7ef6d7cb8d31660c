//! How the index follows a delta.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::ops::Bound;
use std::sync::Arc;

use higuma_model::spec::{Dataplane, Mesh, SERVICE_TAG, Tags, TrafficPermission, TrafficRoute};
use higuma_model::spec::{Vip, ZONE_TAG, ZoneIngress};
use higuma_model::{Delta, Key, Kind, KindSpec, Owner, Resource};

use super::matching::Policy;
use super::service::{Instance, Members, Offer, Service, narrowing};
use super::{Index, Ingress, MeshIndex};
use crate::proxy::Problem;

/// Services whose encoded parts a change makes stale; a mesh without a service means all of it.
#[derive(Default)]
struct Stale {
    services: BTreeSet<(Arc<str>, Arc<str>)>,
    meshes: BTreeSet<Arc<str>>,
}

impl Index {
    pub(super) fn apply(&mut self, delta: &Delta) {
        let mut stale = Stale::default();
        for resource in &delta.removed {
            self.take(&resource.key, &mut stale);
        }
        for resource in &delta.upserts {
            self.take(&resource.key, &mut stale);
            if let Err(problem) = self.put(resource, &mut stale) {
                self.fault(&resource.key, vec![problem]);
            }
        }
        self.refresh(stale);
    }

    fn put(&mut self, resource: &Resource, stale: &mut Stale) -> Result<(), Problem> {
        let (key, mesh) = (resource.key.clone(), Arc::<str>::from(resource.key.mesh()));
        match key.kind() {
            Kind::Mesh => {
                let name = Arc::<str>::from(key.name());
                let spec = Arc::new(decode::<Mesh>(resource)?);
                self.meshes.entry(name.clone()).or_default().spec = Some(spec);
                stale.meshes.insert(name);
            }
            Kind::TrafficPermission => {
                let policy = policy::<TrafficPermission>(resource)?;
                self.meshes.entry(mesh).or_default().permissions.insert(key, policy);
            }
            Kind::TrafficRoute => {
                let policy = policy::<TrafficRoute>(resource)?;
                let index = self.meshes.entry(mesh.clone()).or_default();
                for name in named(&policy.spec) {
                    *index.named.entry(name.clone()).or_default() += 1;
                    stale.named(&mesh, index, &name.0);
                }
                index.routes.insert(key, policy);
            }
            Kind::Dataplane if resource.owner == Owner::Zone(self.zone.clone()) => {
                let dataplane = Arc::new(decode::<Dataplane>(resource)?);
                self.join(&key, &dataplane, stale);
                self.meshes.entry(mesh).or_default().dataplanes.insert(key, dataplane);
            }
            Kind::ZoneIngress => {
                let spec = decode::<ZoneIngress>(resource)?;
                let zone = if spec.zone.is_empty() { &*self.zone } else { &spec.zone };
                let ingress = Arc::new(Ingress { zone: zone.into(), key: key.clone(), spec });
                self.offer(&ingress, stale);
                self.ingresses.insert(key, ingress);
            }
            Kind::Vip => {
                let address = decode::<Vip>(resource)?.address;
                self.vips.insert(key.name().into(), address);
            }
            _ => {}
        }
        Ok(())
    }

    /// Takes out what a key stood for.
    fn take(&mut self, key: &Key, stale: &mut Stale) {
        self.faults.remove(key);
        let mesh = Arc::<str>::from(key.mesh());
        match key.kind() {
            Kind::Mesh => {
                let name = Arc::<str>::from(key.name());
                if let Some(index) = self.meshes.get_mut(&name) {
                    index.spec = None;
                    stale.meshes.insert(name);
                }
            }
            Kind::TrafficPermission => {
                if let Some(index) = self.meshes.get_mut(&mesh) {
                    index.permissions.remove(key);
                }
            }
            Kind::TrafficRoute => {
                let Some(index) = self.meshes.get_mut(&mesh) else { return };
                let Some(policy) = index.routes.remove(key) else { return };
                for name in named(&policy.spec) {
                    index.forget(&name);
                    stale.named(&mesh, index, &name.0);
                }
            }
            Kind::Dataplane => {
                let Some(index) = self.meshes.get_mut(&mesh) else { return };
                let Some(dataplane) = index.dataplanes.remove(key) else { return };
                for (at, inbound) in dataplane.networking.inbound.iter().enumerate() {
                    let service = Arc::<str>::from(inbound.service());
                    index.change(&service, |members| {
                        members.instances.remove(&(key.clone(), at));
                    });
                    stale.services.insert((mesh.clone(), service));
                }
            }
            Kind::ZoneIngress => {
                if let Some(ingress) = self.ingresses.remove(key) {
                    self.withdraw(&ingress, stale);
                }
            }
            Kind::Vip => {
                self.vips.remove(key.name());
            }
            _ => {}
        }
        if self.meshes.get(&mesh).is_some_and(MeshIndex::is_empty) {
            self.meshes.remove(&mesh);
        }
    }

    /// Adds the inbounds of a Dataplane of this zone to their services.
    fn join(&mut self, key: &Key, dataplane: &Dataplane, stale: &mut Stale) {
        let mut problems = Vec::new();
        let mesh = Arc::<str>::from(key.mesh());
        for (at, inbound) in dataplane.networking.inbound.iter().enumerate() {
            let text = if inbound.address.is_empty() {
                &dataplane.networking.address
            } else {
                &inbound.address
            };
            let Ok(address) = text.parse::<IpAddr>() else {
                problems.push(Problem::new(
                    key,
                    format!(
                        "inbound {at}: its address {text:?} is no IP address, so other proxies do \
                         not get it; set networking.address or the inbound's address to one"
                    ),
                ));
                continue;
            };
            let mut tags = inbound.tags.clone();
            tags.entry(ZONE_TAG.to_owned()).or_insert_with(|| self.zone.to_string());
            let dataplane = key.clone();
            let instance = Arc::new(Instance { dataplane, address, port: inbound.port, tags });
            let service = Arc::<str>::from(inbound.service());
            self.meshes.entry(mesh.clone()).or_default().change(&service, |members| {
                members.instances.insert((key.clone(), at), instance);
            });
            stale.services.insert((mesh.clone(), service));
        }
        self.fault(key, problems);
    }

    /// Adds what another zone offers through an ingress.
    fn offer(&mut self, ingress: &Ingress, stale: &mut Stale) {
        let zone = ingress.zone.clone();
        if zone == self.zone {
            return;
        }
        let (address, port) = match advertised(ingress) {
            Ok(address) => address,
            Err(problem) => return self.fault(&ingress.key, vec![problem]),
        };
        for (mesh, service) in offered(ingress) {
            let of = |tags: &Tags| tags.get(SERVICE_TAG).is_some_and(|name| **name == *service);
            let sets = ingress.spec.available_services.iter();
            let sets = sets.filter(|set| *set.mesh == *mesh && of(&set.tags) && set.instances > 0);
            let with_zone = |tags: &Tags| {
                let mut tags = tags.clone();
                tags.entry(ZONE_TAG.to_owned()).or_insert_with(|| zone.to_string());
                tags
            };
            let offer = Arc::new(Offer {
                ingress: ingress.key.clone(),
                zone: zone.clone(),
                address,
                port,
                sets: sets.map(|set| (with_zone(&set.tags), set.instances)).collect(),
            });
            self.meshes.entry(mesh.clone()).or_default().change(&service, |members| {
                members.offers.insert(ingress.key.clone(), offer);
            });
            stale.services.insert((mesh, service));
        }
    }

    fn withdraw(&mut self, ingress: &Ingress, stale: &mut Stale) {
        for (mesh, service) in offered(ingress) {
            if let Some(index) = self.meshes.get_mut(&mesh) {
                index.change(&service, |members| {
                    members.offers.remove(&ingress.key);
                });
            }
            stale.services.insert((mesh, service));
        }
    }

    fn fault(&mut self, key: &Key, problems: Vec<Problem>) {
        if !problems.is_empty() {
            self.faults.insert(key.clone(), problems.into());
        }
    }

    /// Replaces the services that changed.
    fn refresh(&mut self, mut stale: Stale) {
        for name in &stale.meshes {
            if let Some(index) = self.meshes.get(name) {
                let all = index.members.keys().map(|service| (name.clone(), service.clone()));
                stale.services.extend(all.collect::<Vec<_>>());
            }
        }
        for (name, service) in stale.services {
            let Some(terms) = self.meshes.get(&name).map(|mesh| self.terms(&name, mesh)) else {
                continue;
            };
            let Some(mesh) = self.meshes.get_mut(&name) else { continue };
            match mesh.members.get(&service).cloned() {
                Some(members) => {
                    let named = mesh.named_for(&service);
                    let built = Service::new(&service, &terms, members, named);
                    mesh.services.insert(service, Arc::new(built));
                }
                None => {
                    mesh.services.remove(&service);
                }
            }
        }
        let empty = self.meshes.iter().filter(|(_, mesh)| mesh.is_empty());
        for name in empty.map(|(name, _)| name.clone()).collect::<Vec<_>>() {
            self.meshes.remove(&name);
        }
    }
}

impl MeshIndex {
    fn is_empty(&self) -> bool {
        self.spec.is_none()
            && self.dataplanes.is_empty()
            && self.permissions.is_empty()
            && self.routes.is_empty()
            && self.members.is_empty()
            && self.services.is_empty()
    }

    fn change(&mut self, service: &Arc<str>, change: impl FnOnce(&mut Members)) {
        let mut members = self.members.get(service).cloned().unwrap_or_default();
        change(&mut members);
        if members.is_empty() || service.is_empty() {
            self.members.remove(service);
        } else {
            self.members.insert(service.clone(), members);
        }
    }

    fn forget(&mut self, name: &(Arc<str>, Tags)) {
        match self.named.get_mut(name) {
            Some(count) if *count > 1 => *count -= 1,
            _ => {
                self.named.remove(name);
            }
        }
    }

    /// The tag sets that routes name for a service, by its name or by `*`.
    fn named_for(&self, service: &str) -> BTreeSet<Tags> {
        let of = |name: &str| {
            let from = (Arc::<str>::from(name), Tags::new());
            let name = from.0.clone();
            let range = self.named.range((Bound::Included(from), Bound::Unbounded));
            let of_name = range.take_while(move |((of, _), _)| *of == name);
            of_name.map(|((_, tags), _)| tags.clone()).collect::<Vec<_>>()
        };
        of(service).into_iter().chain(of("*")).collect()
    }
}

impl Stale {
    /// A route names a destination in another way: its service changes, or all of them.
    fn named(&mut self, mesh: &Arc<str>, index: &MeshIndex, service: &Arc<str>) {
        if **service == *"*" {
            self.meshes.insert(mesh.clone());
        } else if index.members.contains_key(service) {
            self.services.insert((mesh.clone(), service.clone()));
        }
    }
}

fn decode<T: KindSpec>(resource: &Resource) -> Result<T, Problem> {
    let ignored = |error: higuma_model::UnreadableSpec| {
        Problem::new(&resource.key, format!("ignored: {}", error.why))
    };
    resource.decode::<T>().map_err(ignored)
}

fn policy<T: KindSpec>(resource: &Resource) -> Result<Arc<Policy<T>>, Problem> {
    Ok(Arc::new(Policy {
        key: resource.key.clone(),
        name: resource.display_name().into(),
        created: resource.created,
        spec: decode::<T>(resource)?,
    }))
}

/// The services (`*`: any) and tag sets that a route names, wildcards left out.
fn named(route: &TrafficRoute) -> BTreeSet<(Arc<str>, Tags)> {
    let split = route.conf.split.iter().map(|entry| &entry.destination);
    let all = split.chain(std::iter::once(&route.conf.destination));
    let named = all.filter_map(|destination| {
        let service = destination.get(SERVICE_TAG).map_or("*", String::as_str);
        let mut tags = narrowing(destination);
        tags.retain(|_, value| value != "*");
        (!tags.is_empty()).then(|| (Arc::from(service), tags))
    });
    named.collect()
}

/// Meshes and services that an ingress has instances of.
fn offered(ingress: &Ingress) -> BTreeSet<(Arc<str>, Arc<str>)> {
    let sets = ingress.spec.available_services.iter().filter(|set| set.instances > 0);
    let named = sets.filter_map(|set| {
        Some((Arc::from(&*set.mesh), Arc::from(set.tags.get(SERVICE_TAG)?.as_str())))
    });
    named.collect()
}

fn advertised(ingress: &Ingress) -> Result<(IpAddr, u16), Problem> {
    let networking = &ingress.spec.networking;
    let unused = |why: String| {
        Problem::new(&ingress.key, format!("not used to reach zone {}: {why}", ingress.zone))
    };
    let text = &networking.advertised_address;
    match networking.advertised_port {
        Some(port) if port > 0 && !text.is_empty() => {
            let no_ip = |_| unused(format!("its advertisedAddress {text:?} is no IP address"));
            Ok((text.parse().map_err(no_ip)?, port))
        }
        _ => Err(unused("it has no advertisedAddress and advertisedPort".to_owned())),
    }
}
