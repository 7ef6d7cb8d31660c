//! What a request crosses, and when a fault excuses that it failed.
//!
//! A request goes from its caller's proxy to an instance of the service: in the caller's zone
//! directly, to another zone through that zone's ingress. Only faults of these nodes, and of the
//! links between them, excuse it; none of a control plane does.

use std::collections::BTreeSet;

use anyhow::Context as _;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{NODES, WORKLOADS};
use crate::cluster::{Node, Role};
use crate::history::{self, Micros, Operation};
use crate::nemesis::Fault;
use crate::run::{FaultEvent, Folder};

/// How long after its healing a fault still excuses: proxies start and connect again, and outlier
/// detection takes an endpoint back, on a machine that does much else.
pub(crate) const SLACK: Micros = 10_000_000;

/// A node, as a history has it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Place {
    pub(crate) name: String,
    pub(crate) role: String,
    pub(crate) zone: Option<String>,
}

impl Place {
    pub(crate) fn of(node: &Node) -> Self {
        let role = match node.role {
            Role::Global => "global",
            Role::Remote => "remote",
            Role::Ingress => "ingress",
            Role::Workload => "workload",
        };
        Self { name: node.name.clone(), role: role.to_owned(), zone: node.zone.clone() }
    }
}

/// Where everything is.
#[derive(Debug, Clone)]
pub(crate) struct Topology {
    pub(crate) places: Vec<Place>,
}

/// Nodes and links that something needs.
#[derive(Debug, Clone, Default)]
pub(crate) struct Path {
    nodes: BTreeSet<String>,
    links: Vec<(String, String)>,
    /// Whether a full disk of a node is in its way.
    disks: bool,
}

impl Topology {
    /// As the run recorded it.
    pub(crate) fn read(folder: &Folder) -> anyhow::Result<Self> {
        let recorded: Vec<Operation<Value, Vec<Place>>> =
            history::read_classes(&folder.history(), &[NODES])?;
        let first = recorded.first().and_then(|operation| operation.outcome.answer());
        Ok(Self { places: first.context("the history does not name the nodes")?.clone() })
    }

    pub(crate) fn zone(&self, node: &str) -> Option<&str> {
        self.places.iter().find(|place| place.name == node)?.zone.as_deref()
    }

    fn of_role<'a>(&'a self, role: &'a str) -> impl Iterator<Item = &'a Place> {
        self.places.iter().filter(move |place| place.role == role)
    }

    /// All workloads of a service that are or may join.
    fn instances(&self, service: &str) -> Vec<&Place> {
        let serves = |name: &str| WORKLOADS.iter().any(|w| w.name == name && w.service == service);
        self.of_role("workload").filter(|place| serves(&place.name)).collect()
    }

    /// The zones that have instances of a service.
    pub(crate) fn zones_of(&self, service: &str) -> BTreeSet<&str> {
        self.instances(service).iter().filter_map(|place| place.zone.as_deref()).collect()
    }

    /// How many proxies a zone has while no spare has joined.
    pub(crate) fn proxies(&self, zone: &str) -> usize {
        let spare = |name: &str| WORKLOADS.iter().any(|w| w.name == name && w.spare);
        let with_envoy = self.of_role("workload").chain(self.of_role("ingress"));
        with_envoy.filter(|p| p.zone.as_deref() == Some(zone) && !spare(&p.name)).count()
    }

    /// What a request of `from` to a service may cross.
    pub(crate) fn request(&self, from: &str, service: &str) -> Path {
        let mut path = Path::default();
        path.nodes.insert(from.to_owned());
        for instance in self.instances(service) {
            path.nodes.insert(instance.name.clone());
            if instance.zone.as_deref() == self.zone(from) {
                path.links.push((from.to_owned(), instance.name.clone()));
                continue;
            }
            for ingress in self.of_role("ingress").filter(|place| place.zone == instance.zone) {
                path.nodes.insert(ingress.name.clone());
                path.links.push((from.to_owned(), ingress.name.clone()));
                path.links.push((ingress.name.clone(), instance.name.clone()));
            }
        }
        path
    }

    /// What a node needs to talk to its zone's control plane.
    pub(crate) fn control(&self, node: &str) -> Path {
        let mut path = Path { disks: true, ..Path::default() };
        path.nodes.insert(node.to_owned());
        let zone = self.zone(node);
        for remote in self.of_role("remote").filter(|place| place.zone.as_deref() == zone) {
            path.nodes.insert(remote.name.clone());
            path.links.push((node.to_owned(), remote.name.clone()));
        }
        path
    }

    /// What a zone needs to follow the global and to tell it of its proxies.
    pub(crate) fn upward(&self, zone: &str) -> Path {
        let mut path = Path { disks: true, ..Path::default() };
        let globals: Vec<&Place> = self.of_role("global").collect();
        path.nodes.extend(globals.iter().map(|place| place.name.clone()));
        for (number, one) in globals.iter().enumerate() {
            let others = globals.iter().skip(number + 1);
            path.links.extend(others.map(|other| (one.name.clone(), other.name.clone())));
        }
        for remote in self.of_role("remote").filter(|place| place.zone.as_deref() == Some(zone)) {
            path.nodes.insert(remote.name.clone());
            let links = globals.iter().map(|place| (remote.name.clone(), place.name.clone()));
            path.links.extend(links);
        }
        path
    }

    /// When faults excuse what needs `path`, each from its installation to its end and the slack.
    pub(crate) fn excuses(&self, path: &Path, faults: &[FaultEvent]) -> Excuses {
        let touching = faults.iter().filter(|event| path.is_touched(&event.fault));
        let spans = touching.map(|event| (event.installing, self.ends(event, faults)));
        Excuses(spans.collect())
    }

    /// When a fault's effect has ended. A node whose processes were ended or stopped is back once
    /// it has been able to talk to its control plane again.
    fn ends(&self, event: &FaultEvent, faults: &[FaultEvent]) -> Micros {
        let mut end = event.healed.unwrap_or(Micros::MAX);
        if let Fault::Kill { nodes } | Fault::Pause { nodes } | Fault::PowerCut { nodes } =
            &event.fault
        {
            let controls: Vec<Path> = nodes.iter().map(|node| self.control(node)).collect();
            let mut last = 0;
            while last != end {
                last = end;
                for other in faults {
                    let holds = other.installing <= end.saturating_add(SLACK);
                    if holds && controls.iter().any(|path| path.is_touched(&other.fault)) {
                        end = end.max(other.healed.unwrap_or(Micros::MAX));
                    }
                }
            }
        }
        end.saturating_add(SLACK)
    }
}

impl Path {
    /// And what another needs.
    pub(crate) fn and(mut self, other: Self) -> Self {
        self.nodes.extend(other.nodes);
        self.links.extend(other.links);
        self.disks |= other.disks;
        self
    }

    fn is_touched(&self, fault: &Fault) -> bool {
        let of_nodes = |nodes: &[String]| nodes.iter().any(|node| self.nodes.contains(node));
        match fault {
            Fault::Kill { nodes }
            | Fault::Pause { nodes }
            | Fault::PowerCut { nodes }
            | Fault::Rollback { nodes }
            | Fault::Empty { nodes } => of_nodes(nodes),
            Fault::Partition { left, right }
            | Fault::OneWay { from: left, to: right }
            | Fault::HalfOpen { left, right }
            | Fault::Slow { left, right, .. }
            | Fault::Lossy { left, right, .. } => self.is_cut(left, right),
            Fault::DiskFull { node } => self.disks && self.nodes.contains(node),
            Fault::Damage { node, .. } => self.nodes.contains(node),
            Fault::SlowSync { .. } | Fault::ClockJump { .. } => false,
        }
    }

    fn is_cut(&self, left: &[String], right: &[String]) -> bool {
        self.links.iter().any(|(a, b)| {
            (left.contains(a) && right.contains(b)) || (left.contains(b) && right.contains(a))
        })
    }
}

/// Times in which a failure is excused.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Excuses(Vec<(Micros, Micros)>);

impl Excuses {
    /// Whether something that lasted from `start` to `end` is excused.
    pub(crate) fn cover(&self, start: Micros, end: Micros) -> bool {
        self.0.iter().any(|&(from, to)| from <= end && start <= to)
    }
}

#[cfg(test)]
pub(crate) mod tests;
