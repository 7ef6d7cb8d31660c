//! Faults as people read them.

use std::fmt;

use super::{Damage, Fault};

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let all = |nodes: &[String]| nodes.join(", ");
        match self {
            Self::Kill { nodes } => write!(f, "kill {}", all(nodes)),
            Self::Pause { nodes } => write!(f, "pause {}", all(nodes)),
            Self::PowerCut { nodes } => write!(f, "power cut of {}", all(nodes)),
            Self::Rollback { nodes } => write!(f, "roll back {}", all(nodes)),
            Self::Empty { nodes } => write!(f, "empty {}", all(nodes)),
            Self::Partition { left, right } => write!(f, "cut {} | {}", all(left), all(right)),
            Self::OneWay { from, to } => write!(f, "cut {} → {}", all(from), all(to)),
            Self::HalfOpen { left, right } => {
                write!(f, "dead connections {} | {}", all(left), all(right))
            }
            Self::Slow { left, right, delay_ms, .. } => {
                write!(f, "{delay_ms} ms slower {} | {}", all(left), all(right))
            }
            Self::Lossy { left, right, percent } => {
                write!(f, "{percent} % lost {} | {}", all(left), all(right))
            }
            Self::DiskFull { node } => write!(f, "disk of {node} full"),
            Self::Damage { node, how: Damage::Torn { bytes } } => {
                write!(f, "power cut of {node}, {bytes} bytes into a write")
            }
            Self::Damage { node, how: Damage::Flipped { percent } } => {
                write!(f, "a byte at {percent} % of the log of {node} flipped")
            }
            Self::Damage { node, how: Damage::Wiped } => write!(f, "folder of {node} gone"),
            Self::Damage { node, how: Damage::SyncFails } => {
                write!(f, "syncs of {node} fail")
            }
            Self::SlowSync { node, delay_ms } => write!(f, "syncs of {node} {delay_ms} ms slower"),
            Self::ClockJump { node, seconds } => write!(f, "clock of {node} {seconds:+} s"),
        }
    }
}
