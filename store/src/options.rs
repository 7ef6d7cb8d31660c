//! What a store is opened with.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use tonic::transport::{ClientTlsConfig, ServerTlsConfig};

/// A member's number in its cluster, from 1; never used twice.
pub type NodeId = u64;

/// How one member opens its store.
#[derive(Debug)]
pub struct Options {
    pub folder: PathBuf,
    pub node: NodeId,
    /// Every member's Raft address, `host:port`, this node's own included. One member: a store
    /// without peers, which needs no listener.
    pub members: BTreeMap<NodeId, String>,
    /// Where the other members reach this one; none for a single member.
    pub listener: Option<tokio::net::TcpListener>,
    /// None: plaintext, for the caller to refuse off loopback.
    pub tls: Option<Tls>,
    pub timers: Timers,
    /// None, but in a process that is broken on purpose.
    pub mutant: Option<Mutant>,
}

/// A deliberate defect, for the tests that must find it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mutant {
    /// Entries are called durable without a sync.
    AckBeforeSync,
    /// A linearizable read is answered without the leader.
    StaleRead,
}

impl Mutant {
    /// As people name them.
    pub const NAMES: &[(&str, Self)] =
        &[("ack-before-sync", Self::AckBeforeSync), ("stale-read", Self::StaleRead)];
}

/// Mutual TLS of the Raft endpoint.
#[derive(Debug, Clone)]
pub struct Tls {
    pub server: ServerTlsConfig,
    pub client: ClientTlsConfig,
}

/// Raft's timers. After a leader's death the next one takes `election_max` plus a random time
/// between `election_min` and `election_max`.
#[derive(Debug, Clone, Copy)]
pub struct Timers {
    pub heartbeat: Duration,
    pub election_min: Duration,
    pub election_max: Duration,
}

impl Default for Timers {
    /// Chosen for disks whose fsync may take 100 ms now and then (votes are synced).
    fn default() -> Self {
        Self {
            heartbeat: Duration::from_millis(100),
            election_min: Duration::from_millis(300),
            election_max: Duration::from_millis(600),
        }
    }
}
