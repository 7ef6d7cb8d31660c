//! What will go wrong and when: drawn from the seed, before anything happens.
//!
//! Two lanes, each one fault after the other, so that up to two faults overlap. Nothing happens in
//! the first second, and everything is healed before the last phase, in which the system recovers
//! under load.

use std::time::Duration;

use anyhow::bail;

use super::Fault;
use super::targets::Targets;
use crate::cluster::Node;
use crate::draw::Draw;

/// A fault with its times, from the nemesis's begin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Planned {
    pub(crate) at: Duration,
    pub(crate) until: Duration,
    pub(crate) fault: Fault,
}

/// Kinds of faults, as nemeses choose among them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Kill,
    Pause,
    PowerCut,
    Rollback,
    Empty,
    Partition,
    OneWay,
    HalfOpen,
    Slow,
    Lossy,
    DiskFull,
    Torn,
    Flipped,
    Wiped,
    SyncFails,
    SlowSync,
    ClockJump,
}

/// What a name stands for.
struct Nemesis {
    name: &'static str,
    kinds: &'static [Kind],
    /// Whose processes and links it may touch.
    reach: Reach,
    lanes: u8,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reach {
    /// Every node, and the links between zones.
    Everything,
    /// Globals and zones' control planes: what must not cost a request.
    ControlPlanes,
    /// All globals at once.
    AllGlobals,
    /// One global at a time.
    OneGlobal,
}

const NEMESES: [Nemesis; 19] = {
    use Kind::*;
    use Reach::*;
    [
        nemesis("none", &[], Everything, 0),
        nemesis("kill", &[Kill], Everything, 2),
        nemesis("pause", &[Pause], Everything, 2),
        nemesis("power", &[PowerCut], ControlPlanes, 2),
        nemesis("partition", &[Partition, OneWay, HalfOpen], Everything, 2),
        nemesis("slow", &[Slow, Lossy], Everything, 2),
        nemesis("disk", &[DiskFull], ControlPlanes, 2),
        nemesis("torn", &[Torn], OneGlobal, 1),
        nemesis("flip", &[Flipped], OneGlobal, 1),
        nemesis("wipe", &[Wiped], OneGlobal, 1),
        nemesis("sync-error", &[SyncFails], OneGlobal, 1),
        nemesis("slow-sync", &[SlowSync], OneGlobal, 1),
        nemesis("rollback", &[Rollback], AllGlobals, 1),
        nemesis("empty", &[Empty], AllGlobals, 1),
        nemesis("clock", &[ClockJump], ControlPlanes, 2),
        nemesis("restart-all", &[Kill], AllGlobals, 1),
        nemesis("power-all", &[PowerCut], AllGlobals, 1),
        nemesis(
            "mixed",
            &[Kill, Pause, PowerCut, Partition, OneWay, HalfOpen, Slow, Lossy, DiskFull],
            ControlPlanes,
            2,
        ),
        nemesis(
            "everything",
            &[Kill, Pause, PowerCut, Partition, OneWay, HalfOpen, Slow, Lossy, DiskFull],
            Everything,
            3,
        ),
    ]
};

impl Nemesis {
    fn loses_history(&self) -> bool {
        self.kinds.iter().any(|kind| matches!(kind, Kind::Rollback | Kind::Empty))
    }
}

const fn nemesis(name: &'static str, kinds: &'static [Kind], reach: Reach, lanes: u8) -> Nemesis {
    Nemesis { name, kinds, reach, lanes }
}

/// Milliseconds in which nothing happens.
const QUIET: u64 = 1000;
/// The last phase is a fifth of the time, and not longer than this.
const LONGEST_END: u64 = 5000;
/// Shorter runs have no room for a fault.
const SHORTEST: u64 = 5000;
const SHORTEST_FAULT: u64 = 700;
const LONGEST_FAULT: u64 = 6000;
/// Between two faults of a lane: about as long as faults are, so that a majority remains for most of
/// the time.
const GAP: (u64, u64) = (300, 4000);
/// After a roll-back operators act; so it comes once, when there is something to lose.
const ROLLBACK_AFTER: u64 = 40;

/// All nemeses, for a message or a help text.
pub(crate) fn names() -> Vec<&'static str> {
    NEMESES.iter().map(|nemesis| nemesis.name).collect()
}

/// Whether a nemesis needs clocks that can jump.
pub(crate) fn jumps_clocks(nemesis: &str) -> bool {
    NEMESES.iter().any(|one| one.name == nemesis && one.kinds.contains(&Kind::ClockJump))
}

/// Whether a nemesis needs syncs that fail or take long.
pub(crate) fn touches_syncs(nemesis: &str) -> bool {
    let touches = |kind: &Kind| matches!(kind, Kind::SyncFails | Kind::SlowSync);
    NEMESES.iter().any(|one| one.name == nemesis && one.kinds.iter().any(touches))
}

/// Whether a nemesis does something to disks or clocks of nodes.
pub(crate) fn needs_disks_or_clocks(nemesis: &str) -> bool {
    use Kind::*;
    let needs = |kind: &Kind| {
        let links_and_signals =
            matches!(kind, Kill | Pause | Partition | OneWay | HalfOpen | Slow | Lossy);
        !links_and_signals
    };
    NEMESES.iter().any(|one| one.name == nemesis && one.kinds.iter().any(needs))
}

/// Whether the globals have another history after it: it takes from them what they acknowledged.
pub(crate) fn loses_history(nemesis: &str) -> bool {
    NEMESES.iter().any(|one| one.name == nemesis && one.loses_history())
}

/// Draws what will go wrong in `duration`, the earliest first. The same arguments give the same.
///
/// # Errors
/// No nemesis has this name, there is no time for it, or the nodes are not what it is done to.
pub(crate) fn schedule(
    seed: u64,
    nemesis: &str,
    duration: Duration,
    nodes: &[Node],
) -> anyhow::Result<Vec<Planned>> {
    let Some(nemesis) = NEMESES.iter().find(|one| one.name == nemesis) else {
        bail!("there is no nemesis {nemesis:?}; there are {}", names().join(", "));
    };
    if nemesis.kinds.is_empty() {
        return Ok(Vec::new());
    }
    let all = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    if all < SHORTEST {
        bail!("nemesis {} needs at least {} s, not {duration:?}", nemesis.name, SHORTEST / 1000);
    }
    let targets = Targets::new(nodes, nemesis.reach)?;
    let end = all - (all / 5).min(LONGEST_END);
    let mut planned = Vec::new();
    for lane in 0..nemesis.lanes {
        let mut draw = Draw::new(seed, &format!("nemesis {} {lane}", nemesis.name));
        planned.extend(one_lane(nemesis, &targets, &mut draw, end));
    }
    planned.sort_by_key(|one| one.at);
    Ok(planned)
}

fn one_lane(nemesis: &Nemesis, targets: &Targets, draw: &mut Draw, end: u64) -> Vec<Planned> {
    let once = nemesis.loses_history();
    let mut planned = Vec::new();
    let mut at = if once { QUIET.max(end * ROLLBACK_AFTER / 100) } else { QUIET };
    let longest = (end / 6).clamp(SHORTEST_FAULT, LONGEST_FAULT);
    loop {
        at += draw.between(GAP.0, GAP.1.min(GAP.0 + end / 4));
        let until = at + draw.between(SHORTEST_FAULT, longest);
        if until > end {
            return planned;
        }
        let kind = draw.one(nemesis.kinds).copied();
        if let Some(fault) = kind.and_then(|kind| targets.fault(kind, draw)) {
            let (at, until) = (Duration::from_millis(at), Duration::from_millis(until));
            planned.push(Planned { at, until, fault });
        }
        if once {
            return planned;
        }
        at = until;
    }
}
