//! The system under test, as the harness sees it: nodes with names, places where clients can
//! stand, and the means to do harm. Two exist: processes in network namespaces, and the compose lab.

use async_trait::async_trait;
use std::net::{IpAddr, SocketAddr};
use tokio::net::{TcpStream, UdpSocket};

use crate::nemesis::{Fault, Refusal};

pub(crate) mod command;
pub(crate) mod compose;
pub(crate) mod links;
pub(crate) mod namespace;
pub(crate) mod processes;
mod slow;

/// What a node is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Role {
    Global,
    Remote,
    Ingress,
    /// An application with the Envoy beside it.
    Workload,
}

/// A node of the cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Node {
    /// `global-1`, `east`, `east-ingress`, `web` …
    pub(crate) name: String,
    pub(crate) role: Role,
    /// None for globals.
    pub(crate) zone: Option<String>,
    /// Where other nodes reach it: KDS, ADS, DNS (port 5653), the ingress and the inbounds. REST
    /// and diagnostics of control planes, and what a workload offers to itself, are on loopback.
    pub(crate) address: IpAddr,
}

/// Why a fault did not take hold. It is always a failure of the harness, never a pass.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FaultError {
    #[error("this database has no means for it: {0}")]
    Unsupported(String),
    #[error("{0:#}")]
    Failed(anyhow::Error),
}

/// What `Cluster::alive` found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Alive {
    pub(crate) node: String,
    /// Each process of the node that should run and does not: its name and what its log ends with.
    pub(crate) dead: Vec<(String, String)>,
}

/// A system under test.
#[async_trait]
pub(crate) trait Cluster: Send + Sync {
    fn nodes(&self) -> &[Node];

    /// A connection made from the node's own network, as a program on that host would make it:
    /// `127.0.0.1:5681` is the node's REST.
    async fn connect(&self, node: &str, to: SocketAddr) -> std::io::Result<TcpStream>;

    /// A UDP socket in the node's own network, connected to `to`.
    async fn udp(&self, node: &str, to: SocketAddr) -> std::io::Result<UdpSocket>;

    /// Whether the harness can do this here.
    fn supports(&self, fault: &Fault) -> bool;

    /// Does harm. When it returns, the fault is in effect, and this is what the node said of it, where
    /// it has to refuse.
    async fn install(&self, fault: &Fault) -> Result<Option<Refusal>, FaultError>;

    /// Ends it. When it returns, its cause is gone; the system need not have recovered.
    async fn heal(&self, fault: &Fault) -> Result<(), FaultError>;

    /// A copy of each global's data folder, for [`Fault::Rollback`]: of one moment, in which all are
    /// stopped. Copies of different moments would be a state that the cluster never had.
    async fn keep_copy(&self) -> anyhow::Result<()>;

    /// Starts the processes of a workload node, the application first, and waits until they live
    /// (`/healthy`), which is before they serve (`/ready`). If a fault holds the node down, it joins
    /// when that is healed.
    async fn join(&self, workload: &str) -> anyhow::Result<()>;

    /// Stops the processes of a workload node as an operator would, by SIGTERM and the proxy first,
    /// and waits until they have ended.
    async fn leave(&self, workload: &str) -> anyhow::Result<()>;

    /// What should run and does not.
    async fn alive(&self) -> anyhow::Result<Vec<Alive>>;

    /// Ends everything and leaves nothing behind; logs are in the run's folder afterwards.
    async fn down(&self) -> anyhow::Result<()>;
}
