//! The compose database: the lab of `docker-compose.yml`, under a project and addresses of the
//! run's own. Nodes have the names that processes have, so that tests need not know which it is.
//!
//! ```text
//! docker  containers, by docker's own command
//! rules   faults -> a node's packet filter                            (data, no IO)
//! state   which faults hold, and what follows for each node
//! ```
//!
//! Its means are those of an operator: kill, pause, and the packet filter of a container's network.
//! Disks are not within its reach.

pub(crate) mod docker;
mod rules;
mod state;

use std::collections::HashMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use anyhow::Context as _;
use async_trait::async_trait;
use tokio::net::{TcpStream, UdpSocket};
use tokio::time::Instant;

use super::namespace::Namespace;
use super::processes::Plan;
use super::processes::topology::{DIAGNOSTICS, DNS};
use super::{Alive, Cluster, FaultError, Node};
use crate::nemesis::Fault;
use state::State;

/// Where the lab's remotes answer DNS: containers' resolvers ask no other port.
const LAB_DNS: u16 = 53;
/// An application of the lab.
const APP: u16 = 8080;
/// How long a workload may take to join or to leave; faults can pause it meanwhile.
const STEPS: Duration = Duration::from_secs(60);
const LOOK: Duration = Duration::from_millis(100);

/// A lab that is up. Dropped without [`Cluster::down`], it is taken down all the same, and blocks
/// its thread for that.
#[derive(Debug)]
pub(crate) struct Compose {
    nodes: Vec<Node>,
    /// Of the nodes that run.
    namespaces: Arc<RwLock<HashMap<String, Namespace>>>,
    state: Arc<Mutex<State>>,
}

impl Compose {
    /// Brings the lab up and waits until it is healthy. On an error nothing is left. The plan's
    /// shape is not asked: it is always the whole lab, with two ingresses in west.
    ///
    /// # Errors
    /// The machine lacks something, or a container does not become healthy; says which and why.
    pub(crate) async fn up(plan: Plan) -> anyhow::Result<Self> {
        tokio::task::spawn_blocking(move || {
            let state = State::raise(&plan)?;
            Ok(Self {
                nodes: state.nodes(),
                namespaces: Arc::new(RwLock::new(state.namespaces()?)),
                state: Arc::new(Mutex::new(state)),
            })
        })
        .await?
    }

    /// Does something with the state, in a thread that may block, and looks again which networks
    /// there are.
    async fn with<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut State) -> anyhow::Result<T> + Send + 'static,
    ) -> anyhow::Result<T> {
        let (state, namespaces) = (Arc::clone(&self.state), Arc::clone(&self.namespaces));
        let done = tokio::task::spawn_blocking(move || {
            let mut state = state.lock().unwrap_or_else(PoisonError::into_inner);
            let done = work(&mut state)?;
            *namespaces.write().unwrap_or_else(PoisonError::into_inner) = state.namespaces()?;
            Ok(done)
        });
        done.await.context("a thread of the harness panicked")?
    }

    fn namespace(&self, node: &str) -> std::io::Result<Namespace> {
        let namespaces = self.namespaces.read().unwrap_or_else(PoisonError::into_inner);
        // A container that does not run has no network from which anything could be asked.
        namespaces.get(node).cloned().ok_or_else(|| {
            let why = format!("{node} does not run, or there is no such node");
            std::io::Error::new(std::io::ErrorKind::NotConnected, why)
        })
    }

    /// Whether both of a workload's processes take connections.
    async fn lives(&self, workload: &str) -> bool {
        for port in [APP, DIAGNOSTICS] {
            if self.connect(workload, (Ipv4Addr::LOCALHOST, port).into()).await.is_err() {
                return false;
            }
        }
        true
    }
}

fn in_the_lab(to: SocketAddr) -> SocketAddr {
    let port = if to.port() == DNS { LAB_DNS } else { to.port() };
    SocketAddr::new(to.ip(), port)
}

#[async_trait]
impl Cluster for Compose {
    fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    async fn connect(&self, node: &str, to: SocketAddr) -> std::io::Result<TcpStream> {
        self.namespace(node)?.connect(in_the_lab(to)).await
    }

    async fn udp(&self, node: &str, to: SocketAddr) -> std::io::Result<UdpSocket> {
        self.namespace(node)?.udp(in_the_lab(to)).await
    }

    fn supports(&self, fault: &Fault) -> bool {
        State::supports(fault).is_ok()
    }

    async fn install(&self, fault: &Fault) -> Result<(), FaultError> {
        State::supports(fault).map_err(FaultError::Unsupported)?;
        let fault = fault.clone();
        self.with(move |state| state.install(&fault)).await.map_err(FaultError::Failed)
    }

    async fn heal(&self, fault: &Fault) -> Result<(), FaultError> {
        let fault = fault.clone();
        self.with(move |state| state.heal(&fault)).await.map_err(FaultError::Failed)
    }

    async fn keep_copy(&self) -> anyhow::Result<()> {
        anyhow::bail!("the compose database copies no data folders: it has no rollback")
    }

    async fn join(&self, workload: &str) -> anyhow::Result<()> {
        let end = Instant::now() + STEPS;
        let name = workload.to_owned();
        let held = self.with(move |state| state.join(&name)).await?;
        while !held && !self.lives(workload).await {
            if Instant::now() > end {
                anyhow::bail!("{workload} does not live after {STEPS:?}");
            }
            tokio::time::sleep(LOOK).await;
        }
        Ok(())
    }

    async fn leave(&self, workload: &str) -> anyhow::Result<()> {
        let end = Instant::now() + STEPS;
        loop {
            let name = workload.to_owned();
            if self.with(move |state| state.leave(&name)).await? {
                return Ok(());
            }
            if Instant::now() > end {
                anyhow::bail!("{workload} is paused still after {STEPS:?}, and cannot leave");
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    async fn alive(&self) -> anyhow::Result<Vec<Alive>> {
        self.with(|state| state.alive()).await
    }

    async fn down(&self) -> anyhow::Result<()> {
        self.with(State::down).await
    }
}

#[cfg(test)]
mod tests;
