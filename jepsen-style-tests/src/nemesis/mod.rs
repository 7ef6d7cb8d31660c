//! What goes wrong, when, and for how long: drawn from the seed, never from the clock.

mod damage;
mod drive;
mod schedule;
mod targets;
mod words;

use serde::{Deserialize, Serialize};

pub(crate) use damage::{Damage, Refusal, refusals};
pub(crate) use drive::drive;
pub(crate) use schedule::{
    Planned, jumps_clocks, loses_history, names, needs_disks_or_clocks, schedule, touches_syncs,
};

/// One thing that goes wrong. Nodes are named as the cluster names them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", tag = "is")]
pub(crate) enum Fault {
    /// SIGKILL; healed by starting it again.
    Kill { nodes: Vec<String> },
    /// SIGSTOP; healed by SIGCONT.
    Pause { nodes: Vec<String> },
    /// The file system of each stops taking writes at once and forgets what was not synced, the
    /// process is killed; healed by mounting it again and starting the process.
    PowerCut { nodes: Vec<String> },
    /// All of `nodes` are killed and their data folders become what they were at the last copy.
    Rollback { nodes: Vec<String> },
    /// All of `nodes` are killed and their data folders emptied.
    Empty { nodes: Vec<String> },
    /// No packet goes between a node of `left` and one of `right`.
    Partition { left: Vec<String>, right: Vec<String> },
    /// No packet goes from a node of `from` to one of `to`; the other way they do.
    OneWay { from: Vec<String>, to: Vec<String> },
    /// Connections that are open go dead without a word; new ones are made.
    HalfOpen { left: Vec<String>, right: Vec<String> },
    /// Every packet between `left` and `right` takes this much longer.
    Slow { left: Vec<String>, right: Vec<String>, delay_ms: u32, jitter_ms: u32 },
    /// So many in 100 packets between `left` and `right` are lost.
    Lossy { left: Vec<String>, right: Vec<String>, percent: u8 },
    /// The node's file system has no free block left.
    DiskFull { node: String },
    /// Something is done to what the node has on its disk.
    Damage { node: String, how: Damage },
    /// Every sync of the node's log takes this much longer.
    SlowSync { node: String, delay_ms: u32 },
    /// The wall clock of the node's process jumps.
    ClockJump { node: String, seconds: i64 },
}

impl Fault {
    /// Its sort, as it is written in `faults.jsonl`.
    pub(crate) fn sort(&self) -> String {
        if let Self::Damage { how, .. } = self {
            return how.sort().to_owned();
        }
        let value = serde_json::to_value(self).unwrap_or_default();
        value["is"].as_str().unwrap_or("a fault").to_owned()
    }

    /// Whether globals lose what they had acknowledged.
    pub(crate) fn loses_history(&self) -> bool {
        matches!(self, Self::Rollback { .. } | Self::Empty { .. })
    }

    /// Whether the node's processes do not run while it holds.
    pub(crate) fn ends_processes(&self) -> bool {
        matches!(
            self,
            Self::Kill { .. }
                | Self::PowerCut { .. }
                | Self::Rollback { .. }
                | Self::Empty { .. }
                | Self::Damage { .. }
        )
    }

    /// Whether it is done to links, not to processes.
    pub(crate) fn is_of_links(&self) -> bool {
        matches!(
            self,
            Self::Partition { .. }
                | Self::OneWay { .. }
                | Self::HalfOpen { .. }
                | Self::Slow { .. }
                | Self::Lossy { .. }
        )
    }

    /// All nodes that it is done to.
    pub(crate) fn nodes(&self) -> Vec<&str> {
        let (some, more): (&[String], &[String]) = match self {
            Self::Kill { nodes }
            | Self::Pause { nodes }
            | Self::PowerCut { nodes }
            | Self::Rollback { nodes }
            | Self::Empty { nodes } => (nodes, &[]),
            Self::Partition { left, right }
            | Self::HalfOpen { left, right }
            | Self::Slow { left, right, .. }
            | Self::Lossy { left, right, .. } => (left, right),
            Self::OneWay { from, to } => (from, to),
            Self::DiskFull { node }
            | Self::Damage { node, .. }
            | Self::SlowSync { node, .. }
            | Self::ClockJump { node, .. } => (std::slice::from_ref(node), &[]),
        };
        some.iter().chain(more).map(String::as_str).collect()
    }
}

#[cfg(test)]
mod tests;
