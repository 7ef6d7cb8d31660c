//! How long it took until what the nemesis did was to be seen.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use super::{CLASS, Sight};
use crate::history::{self, Micros, Operation};
use crate::nemesis::Fault;
use crate::run::{FaultEvent, Folder};

type Looked = Operation<serde_json::Value, Sight>;

/// What shows a fault, and the time after which it was seen, if it was.
type Sign = (&'static str, Option<Micros>);

const ANOTHER_LEADS: &str = "another leads";

fn is_global(looked: &Looked) -> bool {
    looked.outcome.answer().is_some_and(|sight| sight.standing.is_none())
}

/// For each sort of fault and what shows it: of how many it was seen while they held, and the
/// times from the begin of the installation.
pub(crate) fn figures(folder: &Folder) -> anyhow::Result<Vec<(String, String)>> {
    let sights: Vec<Looked> = history::read_classes(&folder.history(), &[CLASS])?;
    let nodes = Nodes::of(&sights);
    let mut seen: BTreeMap<String, Vec<Option<Micros>>> = BTreeMap::new();
    for event in folder.faults()?.iter().filter(|event| event.installed.is_some()) {
        for (what, after) in nodes.signs(event, &sights) {
            let sort = format!("noticed: {}: {what}", event.fault.sort());
            seen.entry(sort).or_default().push(after);
        }
    }
    Ok(seen.into_iter().map(|(sort, times)| (sort, words(&times))).collect())
}

fn words(times: &[Option<Micros>]) -> String {
    let mut known: Vec<Micros> = times.iter().copied().flatten().collect();
    known.sort_unstable();
    let of = format!("{} of {}", known.len(), times.len());
    let seconds =
        |micros: Micros| format!("{}.{:02}", micros / 1_000_000, micros % 1_000_000 / 10_000);
    match (known.get(known.len() / 2), known.last()) {
        (Some(middle), Some(longest)) => {
            format!("{of}, middle {} s, longest {} s", seconds(*middle), seconds(*longest))
        }
        _ => of,
    }
}

/// The control planes, as those who looked at them name them.
struct Nodes {
    globals: BTreeSet<String>,
    /// A zone's control plane has the name of its zone.
    zones: BTreeSet<String>,
}

impl Nodes {
    fn of(sights: &[Looked]) -> Self {
        let (globals, zones): (Vec<&Looked>, Vec<&Looked>) =
            sights.iter().partition(|l| is_global(l));
        let names = |looked: Vec<&Looked>| looked.into_iter().map(|l| l.node.clone()).collect();
        Self { globals: names(globals), zones: names(zones) }
    }

    /// What should be seen of a fault, and after which time it was.
    fn signs(&self, event: &FaultEvent, sights: &[Looked]) -> Vec<Sign> {
        let Some(lost) = self.lost(&event.fault) else { return Vec::new() };
        let watched = Watched { event, sights };
        if matches!(event.fault, Fault::Rollback { .. } | Fault::Empty { .. }) {
            return self.refusal(&watched);
        }
        let left: BTreeSet<String> = self.globals.difference(&lost).cloned().collect();
        let mut signs = self.at_globals(&watched, &lost, &left);
        if matches!(event.fault, Fault::DiskFull { .. }) {
            // A node whose disk is full is there until it has to write past what it prepared.
            signs.retain(|(what, _)| *what == ANOTHER_LEADS);
            return signs;
        }
        if left.is_empty() && self.zones.is_disjoint(&lost) && !self.zones.is_empty() {
            let alone = |looked: &Looked, sight: &Sight| {
                self.zones.contains(&looked.node) && sight.standing.as_deref() != Some("Synced")
            };
            signs.push(("a zone says that it follows nobody", watched.while_it_held(alone)));
        }
        for zone in lost.intersection(&self.zones).filter(|_| left.len() * 2 > self.globals.len()) {
            let offline = |looked: &Looked, sight: &Sight| {
                left.contains(&looked.node) && sight.offline.contains(zone)
            };
            if !watched.before(offline) {
                signs.push(("the zone is shown offline", watched.while_it_held(offline)));
            }
        }
        signs
    }

    /// What zones show of globals that lost something, from the time at which these start.
    fn refusal(&self, watched: &Watched<'_>) -> Vec<Sign> {
        let Some(started) = watched.event.healed.filter(|_| !self.zones.is_empty()) else {
            return Vec::new();
        };
        let fenced = |_: &Looked, sight: &Sight| sight.standing.as_deref() == Some("Fenced");
        vec![(
            "a zone refuses them, after their start",
            watched.first(started..Micros::MAX, fenced),
        )]
    }

    /// What the globals that are `left` show of those that are `lost`.
    fn at_globals(
        &self,
        watched: &Watched<'_>,
        lost: &BTreeSet<String>,
        left: &BTreeSet<String>,
    ) -> Vec<Sign> {
        let mut signs = Vec::new();
        let missing = |looked: &Looked, sight: &Sight| {
            left.contains(&looked.node) && !sight.missing.is_disjoint(lost)
        };
        let led = |by: &BTreeSet<String>, looked: &Looked, sight: &Sight| {
            left.contains(&looked.node) && sight.leader.as_ref().is_some_and(|l| by.contains(l))
        };
        let dead = self.globals.len() - left.len();
        if dead == 0 || left.is_empty() {
            return signs;
        }
        if !watched.before(missing) {
            signs.push(("shown as not reached", watched.while_it_held(missing)));
        }
        if watched.before(|looked, sight| led(lost, looked, sight)) {
            let nobody = |looked: &Looked, sight: &Sight| {
                left.contains(&looked.node) && sight.leader.is_none()
            };
            signs.push(match left.len() > dead {
                true => (ANOTHER_LEADS, watched.while_it_held(|l, s| led(left, l, s))),
                false => ("nobody leads", watched.while_it_held(nobody)),
            });
        }
        signs
    }

    /// The control planes that the others lose; None if nothing has to be seen of it.
    fn lost(&self, fault: &Fault) -> Option<BTreeSet<String>> {
        let control_plane =
            |node: &&String| self.globals.contains(*node) || self.zones.contains(*node);
        let all = |nodes: &[String]| nodes.iter().filter(control_plane).cloned().collect();
        match fault {
            Fault::Kill { nodes }
            | Fault::Pause { nodes }
            | Fault::PowerCut { nodes }
            | Fault::Rollback { nodes }
            | Fault::Empty { nodes } => Some(all(nodes)),
            Fault::DiskFull { node } | Fault::Damage { node, .. } => {
                Some(all(std::slice::from_ref(node)))
            }
            Fault::Partition { left, right } => {
                let (left, right): (BTreeSet<String>, BTreeSet<String>) = (all(left), all(right));
                let globals = |side: &BTreeSet<String>| side.intersection(&self.globals).count();
                let whole = |side: &BTreeSet<String>| globals(side) * 2 > self.globals.len();
                match (whole(&left), whole(&right)) {
                    (true, false) => Some(right),
                    (false, true) => Some(left),
                    // A ring, or zones from each other: nobody is lost to all.
                    _ => None,
                }
            }
            Fault::OneWay { .. }
            | Fault::HalfOpen { .. }
            | Fault::Slow { .. }
            | Fault::Lossy { .. }
            | Fault::SlowSync { .. }
            | Fault::ClockJump { .. } => None,
        }
    }
}

/// What was seen of one fault.
struct Watched<'a> {
    event: &'a FaultEvent,
    sights: &'a [Looked],
}

impl Watched<'_> {
    /// When a sign was first seen between two times, as the time since the first of them.
    fn first(&self, when: Range<Micros>, sign: impl Fn(&Looked, &Sight) -> bool) -> Option<Micros> {
        let within = self.sights.iter().filter(|looked| when.contains(&looked.end));
        let shows = within.filter(|l| l.outcome.answer().is_some_and(|sight| sign(l, sight)));
        shows.map(|looked| looked.end - when.start).min()
    }

    fn while_it_held(&self, sign: impl Fn(&Looked, &Sight) -> bool) -> Option<Micros> {
        let until = self.event.healing.unwrap_or(Micros::MAX);
        self.first(self.event.installing..until, sign)
    }

    /// Whether a node showed it when the fault began.
    fn before(&self, sign: impl Fn(&Looked, &Sight) -> bool) -> bool {
        let mut last: BTreeMap<&str, &Looked> = BTreeMap::new();
        for looked in self.sights.iter().filter(|looked| looked.end < self.event.installing) {
            last.insert(&looked.node, looked);
        }
        last.values().any(|l| l.outcome.answer().is_some_and(|sight| sign(l, sight)))
    }
}

#[cfg(test)]
mod tests;
