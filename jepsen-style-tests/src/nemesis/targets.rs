//! Whom a fault is done to.

use anyhow::bail;

use super::schedule::{Kind, Reach};
use super::{Damage, Fault};
use crate::cluster::{Node, Role};
use crate::draw::Draw;

/// Of 100 faults that end or stop processes, so many do it to all globals at once.
const ALL_GLOBALS: u64 = 12;
/// Of 100, so many do it to a node that is no global, where there are others.
const NO_GLOBAL: u64 = 45;
/// Milliseconds that a packet takes longer: from a neighbouring region to a very bad line.
const DELAY: (u64, u64) = (20, 300);
/// Packets in 100 that are lost.
const LOSS: (u64, u64) = (5, 40);
/// Bytes of a write that was cut.
const TORN: (u64, u64) = (1, 4096);
/// Where a byte of the log is flipped, in percent: not in its last write, which looks like one that was
/// cut.
const MIDDLE: (u64, u64) = (20, 70);
/// Milliseconds that a sync takes longer: from a busy disk to one that is about to fail.
const LATE: (u64, u64) = (20, 500);
/// Seconds that a clock jumps, either way.
const JUMP: (u64, u64) = (1, 7200);

/// A cluster's nodes by what can be done to them.
pub(super) struct Targets {
    globals: Vec<String>,
    remotes: Vec<String>,
    /// Nodes with Envoys, where they are within reach.
    proxies: Vec<String>,
    /// All nodes of each zone, where links between zones are within reach.
    zones: Vec<Vec<String>>,
    reach: Reach,
}

impl Targets {
    pub(super) fn new(nodes: &[Node], reach: Reach) -> anyhow::Result<Self> {
        let named = |role: Role| {
            let with_role = nodes.iter().filter(move |node| node.role == role);
            with_role.map(|node| node.name.clone()).collect::<Vec<_>>()
        };
        let globals = named(Role::Global);
        if globals.len() < 2 {
            bail!("a nemesis needs a cluster of several globals, not {}", globals.len());
        }
        let mut targets =
            Self { globals, remotes: Vec::new(), proxies: Vec::new(), zones: Vec::new(), reach };
        if !matches!(reach, Reach::AllGlobals | Reach::OneGlobal) {
            targets.remotes = named(Role::Remote);
        }
        if reach == Reach::Everything {
            targets.proxies = named(Role::Ingress);
            targets.proxies.extend(named(Role::Workload));
            let mut zones: Vec<_> = nodes.iter().filter_map(|node| node.zone.as_deref()).collect();
            zones.sort_unstable();
            zones.dedup();
            let of_zone = |zone: &&str| {
                let in_it = nodes.iter().filter(|node| node.zone.as_deref() == Some(zone));
                in_it.map(|node| node.name.clone()).collect()
            };
            targets.zones = zones.iter().map(of_zone).collect();
        }
        Ok(targets)
    }

    pub(super) fn fault(&self, kind: Kind, draw: &mut Draw) -> Option<Fault> {
        Some(match kind {
            Kind::Kill => Fault::Kill { nodes: self.processes(draw)? },
            Kind::Pause => Fault::Pause { nodes: self.processes(draw)? },
            Kind::PowerCut => Fault::PowerCut { nodes: self.with_disks(draw)? },
            Kind::Rollback => Fault::Rollback { nodes: self.globals.clone() },
            Kind::Empty => Fault::Empty { nodes: self.globals.clone() },
            Kind::Partition => {
                let (left, right) = self.sides(draw)?;
                Fault::Partition { left, right }
            }
            Kind::OneWay => {
                let (left, right) = self.sides(draw)?;
                let (from, to) = if draw.percent(50) { (left, right) } else { (right, left) };
                Fault::OneWay { from, to }
            }
            Kind::HalfOpen => {
                let (left, right) = self.sides(draw)?;
                Fault::HalfOpen { left, right }
            }
            Kind::Slow => {
                let (left, right) = self.sides(draw)?;
                let delay = draw.between(DELAY.0, DELAY.1);
                let jitter = draw.between(0, delay / 2);
                Fault::Slow { left, right, delay_ms: small(delay), jitter_ms: small(jitter) }
            }
            Kind::Lossy => {
                let (left, right) = self.sides(draw)?;
                let percent = u8::try_from(draw.between(LOSS.0, LOSS.1)).unwrap_or(u8::MAX);
                Fault::Lossy { left, right, percent }
            }
            Kind::DiskFull => Fault::DiskFull { node: self.with_disk(draw)? },
            Kind::Torn => {
                let bytes = small(draw.between(TORN.0, TORN.1));
                Fault::Damage { node: self.with_disk(draw)?, how: Damage::Torn { bytes } }
            }
            Kind::Flipped => {
                let percent = u8::try_from(draw.between(MIDDLE.0, MIDDLE.1)).unwrap_or(u8::MAX);
                Fault::Damage { node: self.with_disk(draw)?, how: Damage::Flipped { percent } }
            }
            Kind::Wiped => Fault::Damage { node: self.with_disk(draw)?, how: Damage::Wiped },
            Kind::SyncFails => {
                Fault::Damage { node: self.with_disk(draw)?, how: Damage::SyncFails }
            }
            Kind::SlowSync => {
                let delay_ms = small(draw.between(LATE.0, LATE.1));
                Fault::SlowSync { node: self.with_disk(draw)?, delay_ms }
            }
            Kind::ClockJump => {
                let far = i64::from(small(draw.between(JUMP.0, JUMP.1)));
                let seconds = if draw.percent(50) { far } else { -far };
                Fault::ClockJump { node: self.with_disk(draw)?, seconds }
            }
        })
    }

    /// One node whose processes are ended or stopped, or all globals.
    fn processes(&self, draw: &mut Draw) -> Option<Vec<String>> {
        if self.reach == Reach::AllGlobals || draw.percent(ALL_GLOBALS) {
            return Some(self.globals.clone());
        }
        if self.proxies.is_empty() || draw.percent(100 - NO_GLOBAL) {
            return Some(vec![self.with_disk(draw)?]);
        }
        Some(vec![draw.one(&self.proxies)?.clone()])
    }

    fn with_disks(&self, draw: &mut Draw) -> Option<Vec<String>> {
        if self.reach == Reach::AllGlobals || draw.percent(ALL_GLOBALS) {
            return Some(self.globals.clone());
        }
        Some(vec![self.with_disk(draw)?])
    }

    /// A control plane.
    fn with_disk(&self, draw: &mut Draw) -> Option<String> {
        let among = if draw.percent(NO_GLOBAL) && !self.remotes.is_empty() {
            &self.remotes
        } else {
            &self.globals
        };
        draw.one(among).cloned()
    }

    /// The two sides of a link that breaks.
    fn sides(&self, draw: &mut Draw) -> Option<(Vec<String>, Vec<String>)> {
        let one = draw.one(&self.globals)?.clone();
        let others: Vec<_> = self.globals.iter().filter(|name| **name != one).cloned().collect();
        let ways = 2 + u64::from(!self.remotes.is_empty()) + u64::from(self.zones.len() > 1);
        Some(match draw.below(ways) {
            // One node from everybody else.
            0 => (vec![one], others.into_iter().chain(self.remotes.iter().cloned()).collect()),
            // A ring, in which every node has a majority and no two have the same.
            1 => (vec![one], vec![draw.one(&others)?.clone()]),
            // A zone from the global.
            2 => (vec![draw.one(&self.remotes)?.clone()], self.globals.clone()),
            // A zone from the others.
            _ => {
                let zone = draw.one(&self.zones)?;
                let rest = self.zones.iter().filter(|other| *other != zone).flatten();
                (zone.clone(), rest.cloned().collect())
            }
        })
    }
}

fn small(number: u64) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}
