//! What a store is opened with.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use futures::stream::BoxStream;
use higuma_model::ClusterName;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::server::TlsStream;

/// A member's number in its cluster, from 1; never used twice.
pub type NodeId = u64;

/// How one member opens its store.
#[derive(Debug)]
pub struct Options {
    pub folder: PathBuf,
    pub node: NodeId,
    /// Every member's Raft address, `host:port`, this node's own included. One member: a store
    /// without peers, which needs no listener. None: a running cluster adds this node
    /// ([`Store::add_learner`](crate::Store::add_learner)), and the log names the others.
    pub members: BTreeMap<NodeId, String>,
    /// Where the other members reach this one; none for a single member.
    pub listener: Option<TcpListener>,
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

/// Connections of callers that showed a certificate and were let in.
pub type Incoming = BoxStream<'static, io::Result<TlsStream<TcpStream>>>;

/// Mutual TLS of the Raft endpoint. What it shows and trusts is asked at each connection, so the
/// certificates may change while the store is open.
pub struct Tls {
    /// Takes the listener's connections through their handshakes.
    pub accept: Box<dyn FnOnce(TcpListener) -> Incoming + Send>,
    /// With HTTP/2 by ALPN.
    pub client: Arc<rustls::ClientConfig>,
    /// The cluster's name, if every certificate has to carry it with its node's number
    /// ([`ClusterName::node_uri`]); none: any certificate that `accept` lets in will do.
    pub cluster_name: Option<ClusterName>,
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tls").field("cluster_name", &self.cluster_name).finish_non_exhaustive()
    }
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
