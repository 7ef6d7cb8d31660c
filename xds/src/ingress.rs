//! The configuration of a zone's ingress: TLS from other zones goes, by its SNI and as it is, to an instance.
//!
//! A service has a door for itself, for each single tag and each full tag set of its instances, and for
//! the tag sets that routes name: whatever a route of any zone may ask for.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use envoy_types::pb::envoy::config::listener::v3::FilterChain;
use higuma_model::Key;
use higuma_model::spec::Tags;

use crate::cluster::{Endpoint, Localities};
use crate::config::{Config, Encoded, Uses};
use crate::index::service::{Service, includes};
use crate::index::{Index, Ingress};
use crate::proxy::{Problem, Proxy};
use crate::{cluster, listener, names};

/// One SNI and where it leads.
#[derive(Debug)]
pub(crate) struct Door {
    /// In lower case: Envoy compares it so.
    sni: String,
    cluster_name: Arc<str>,
    cluster: Arc<Encoded>,
    endpoints: Arc<Encoded>,
    chain: FilterChain,
    problems: Vec<Problem>,
}

/// The doors of a service, by SNI. Tag sets whose SNIs differ only in case share one, since Envoy
/// refuses two chains for it.
pub(crate) fn doors<'a>(service: &Service, named: impl Iterator<Item = &'a Tags>) -> Vec<Door> {
    let mut sets: BTreeSet<Tags> = named.cloned().collect();
    for full in service.tag_sets() {
        sets.extend(full.iter().map(|(key, value)| Tags::from([(key.clone(), value.clone())])));
        sets.insert(full);
    }
    let instances = &service.members.instances;
    let there = |tags: &Tags| instances.values().any(|instance| includes(&instance.tags, tags));
    let mut by_sni = BTreeMap::<String, Vec<Tags>>::new();
    for tags in sets.into_iter().filter(there) {
        let sni = names::sni(&service.terms.mesh, &service.name, &tags).to_ascii_lowercase();
        by_sni.entry(sni).or_default().push(tags);
    }
    by_sni.into_iter().map(|(sni, sets)| door(service, sni, &sets)).collect()
}

fn door(service: &Service, sni: String, sets: &[Tags]) -> Door {
    let mut problems = Vec::new();
    let mesh = &service.terms.mesh;
    if sni.len() > names::MAX_SNI_BYTES {
        let message = format!(
            "service {:?} is not offered to other zones with {} of its tags: the SNI would be over {} \
             bytes; use shorter or fewer tags",
            service.name,
            sets[0].len(),
            names::MAX_SNI_BYTES
        );
        problems.push(Problem::new(&Key::mesh_resource(mesh), message));
    }
    if sets.len() > 1 {
        let message = format!(
            "tags of service {:?} that differ only in case lead to the same instances from other zones ({sni})",
            service.name
        );
        problems.push(Problem::new(&Key::mesh_resource(mesh), message));
    }
    let name = format!("{mesh}:{}", names::cluster(&service.name, &sets[0]));
    let wanted: Vec<&Tags> = sets.iter().collect();
    let addresses = cluster::instances(service, &wanted, &mut problems);
    let endpoint = |(address, port): (IpAddr, u16)| Endpoint { address, port, weight: 0 };
    let endpoints = addresses.into_keys().map(endpoint).collect();
    let here = Localities::from([((0, service.terms.zone.clone()), endpoints)]);
    Door {
        chain: listener::pass_through(&sni, &name),
        cluster: Encoded::new(cluster::eds_cluster(&name), Uses::default()),
        endpoints: Encoded::new(cluster::assignment(&name, here), Uses::default()),
        cluster_name: name.into(),
        sni,
        problems,
    }
}

pub(crate) fn config(index: &Index, proxy: &Proxy) -> (Config, Vec<Problem>) {
    let mut problems = index.faults(&proxy.key).to_vec();
    let mut config = Config::default();
    let Some(ingress) = index.ingress(&proxy.key) else {
        let message = format!("no such ZoneIngress in zone {}: nothing to configure", index.zone());
        problems.push(Problem::new(&proxy.key, message));
        return (config, problems);
    };
    let here = match own_address(ingress, index.zone()) {
        Ok(here) => here,
        Err(problem) => {
            problems.push(problem);
            return (config, problems);
        }
    };
    problems.extend(unadvertised(ingress));
    let doors = open_doors(index, &mut problems);
    for door in doors.values() {
        config.clusters.insert(door.cluster_name.clone(), door.cluster.clone());
        config.endpoints.insert(door.cluster_name.clone(), door.endpoints.clone());
    }
    let chains = doors.values().map(|door| door.chain.clone()).collect();
    let listener = listener::by_sni(here, chains);
    let used = doors.values().map(|door| door.cluster_name.clone()).collect();
    config
        .listeners
        .insert(listener.name.as_str().into(), Encoded::new(listener, Uses::clusters(used)));
    (config, problems)
}

/// All doors of the zone by SNI. Of two services whose SNIs differ only in case the first has it.
fn open_doors<'a>(index: &'a Index, problems: &mut Vec<Problem>) -> BTreeMap<&'a str, &'a Door> {
    let mut open = BTreeMap::<&str, &Door>::new();
    for (mesh, mesh_index) in index.meshes() {
        for door in mesh_index.services().flat_map(|service| service.doors().iter()) {
            for problem in &door.problems {
                if !problems.contains(problem) {
                    problems.push(problem.clone());
                }
            }
            if door.sni.len() > names::MAX_SNI_BYTES {
                continue;
            }
            if let Some(other) = open.get(&*door.sni) {
                let message = format!(
                    "{} is not offered to other zones: its SNI is that of {} but for the case",
                    door.cluster_name, other.cluster_name
                );
                problems.push(Problem::new(&Key::mesh_resource(mesh), message));
                continue;
            }
            open.insert(&door.sni, door);
        }
    }
    open
}

fn own_address(ingress: &Ingress, zone: &str) -> Result<(IpAddr, u16), Problem> {
    let networking = &ingress.spec.networking;
    if *ingress.zone != *zone {
        let message = format!("it leads into zone {}, and this is zone {zone}", ingress.zone);
        return Err(Problem::new(&ingress.key, message));
    }
    let text = &networking.address;
    let wrong = |_| {
        let message = format!("networking.address {text:?} is no IP address to listen on");
        Problem::new(&ingress.key, message)
    };
    Ok((text.parse().map_err(wrong)?, networking.port))
}

fn unadvertised(ingress: &Ingress) -> Option<Problem> {
    let networking = &ingress.spec.networking;
    let missing = networking.advertised_address.is_empty() || networking.advertised_port.is_none();
    missing.then(|| {
        let message =
            "no other zone uses it: it has no networking.advertisedAddress and advertisedPort";
        Problem::new(&ingress.key, message)
    })
}
