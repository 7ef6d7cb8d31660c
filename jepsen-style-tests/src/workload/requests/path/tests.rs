//! A topology and what happens in it, for the tests of the checkers.

use super::super::{Request, RequestOp, Response};
use super::*;
use crate::history::Outcome;

pub(crate) fn both_zones() -> Topology {
    let place = |(name, role, zone): (&str, &str, &str)| Place {
        name: name.to_owned(),
        role: role.to_owned(),
        zone: (!zone.is_empty()).then(|| zone.to_owned()),
    };
    let places = [
        ("global-1", "global", ""),
        ("global-2", "global", ""),
        ("global-3", "global", ""),
        ("east", "remote", "east"),
        ("west", "remote", "west"),
        ("east-ingress", "ingress", "east"),
        ("west-ingress", "ingress", "west"),
        ("web", "workload", "east"),
        ("backend-v1", "workload", "east"),
        ("backend-v1-2", "workload", "east"),
        ("backend-v2", "workload", "west"),
        ("billing", "workload", "west"),
        ("billing-2", "workload", "west"),
    ];
    Topology { places: places.map(place).to_vec() }
}

/// Took 10 ms; answered by the service's instance in the west.
pub(crate) fn request(id: u64, from: &str, service: &str, start: u64, status: u16) -> RequestOp {
    let (instance, version) =
        if service == "billing" { ("billing", "v1") } else { ("backend-v2", "v2") };
    let mut answer = Response { status, ..Response::default() };
    if status == 200 {
        answer.instance = instance.to_owned();
        answer.version = version.to_owned();
        answer.zone = "west".to_owned();
    }
    Operation {
        id,
        client: format!("{from} to {service}"),
        node: from.to_owned(),
        class: super::super::class(service).to_owned(),
        start,
        end: start + 10_000,
        call: Request { service: service.to_owned(), open: true },
        outcome: Outcome::Done { answer },
    }
}

fn names(nodes: &[&str]) -> Vec<String> {
    nodes.iter().map(|&node| node.to_owned()).collect()
}

/// From one second to another.
pub(crate) fn event(fault: Fault, from: u64, to: u64) -> FaultEvent {
    let (from, to) = (from * 1_000_000, to * 1_000_000);
    FaultEvent {
        fault,
        installing: from,
        installed: Some(from),
        healing: Some(to),
        healed: Some(to),
        failure: None,
        refusal: None,
    }
}

pub(crate) fn kill(nodes: &[&str], from: u64, to: u64) -> FaultEvent {
    event(Fault::Kill { nodes: names(nodes) }, from, to)
}

pub(crate) fn partition(left: &[&str], right: &[&str], from: u64, to: u64) -> FaultEvent {
    event(Fault::Partition { left: names(left), right: names(right) }, from, to)
}

#[test]
fn a_zone_has_its_proxies_less_those_that_may_join() {
    let topology = both_zones();
    assert_eq!((topology.proxies("east"), topology.proxies("west")), (3, 3));
    assert_eq!(topology.zones_of("backend").into_iter().collect::<Vec<_>>(), ["east", "west"]);
    assert_eq!(topology.zones_of("billing").into_iter().collect::<Vec<_>>(), ["west"]);
}

#[test]
fn a_control_plane_that_cannot_write_is_in_the_way_of_its_own_proxies_only() {
    let topology = both_zones();
    let full = |node: &str| event(Fault::DiskFull { node: node.to_owned() }, 1, 2);
    let covered = |path: &Path, fault| topology.excuses(path, &[fault]).cover(1_500_000, 1_600_000);
    assert!(covered(&topology.control("web"), full("east")));
    assert!(!covered(&topology.control("web"), full("west")));
    assert!(!covered(&topology.request("web", "billing"), full("east")));
    assert!(covered(&topology.upward("east"), full("global-2")));
    let both = topology.control("web").and(topology.upward("east"));
    assert!(covered(&both, full("global-2")) && covered(&both, full("east")));
}
