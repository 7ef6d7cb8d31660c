//! The compose database: the lab of `docker-compose.yml`, under a project and addresses of the
//! run's own. Nodes have the names that processes have, so that tests need not know which it is.
//!
//! ```text
//! docker  containers, by docker's own command
//! place   a node with its containers, brought to what is wanted of it
//! state   which faults hold, and what follows for each node
//! ```
//!
//! Its means are those of an operator: kill, pause, and the packet filter of a container's network.
//! Disks and clocks are not within its reach.

pub(crate) mod docker;
mod place;
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
use super::{Alive, Cluster, FaultError, Node, Role};
use crate::nemesis::{Fault, Refusal};
use state::State;

/// Where processes have diagnostics, and remotes DNS.
const DIAGNOSTICS: u16 = 5680;
const DNS: u16 = 5653;
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
                namespaces: Arc::new(RwLock::new(state.namespaces())),
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
            let done = work(&mut state);
            *namespaces.write().unwrap_or_else(PoisonError::into_inner) = state.namespaces();
            done
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

/// Where the lab has what processes have at `to`, seen from `node`.
fn in_the_lab(nodes: &[Node], node: &str, to: SocketAddr) -> SocketAddr {
    if to.port() == DNS {
        return SocketAddr::new(to.ip(), LAB_DNS);
    }
    // Control planes have diagnostics where a Prometheus reaches them.
    let control_plane = |one: &&Node| matches!(one.role, Role::Global | Role::Remote);
    match nodes.iter().filter(control_plane).find(|one| one.name == node) {
        Some(one) if to == (Ipv4Addr::LOCALHOST, DIAGNOSTICS).into() => {
            SocketAddr::new(one.address, DIAGNOSTICS)
        }
        _ => to,
    }
}

fn supported(fault: &Fault) -> bool {
    fault.is_of_links() || matches!(fault, Fault::Kill { .. } | Fault::Pause { .. })
}

#[async_trait]
impl Cluster for Compose {
    fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    async fn connect(&self, node: &str, to: SocketAddr) -> std::io::Result<TcpStream> {
        self.namespace(node)?.connect(in_the_lab(&self.nodes, node, to)).await
    }

    async fn udp(&self, node: &str, to: SocketAddr) -> std::io::Result<UdpSocket> {
        self.namespace(node)?.udp(in_the_lab(&self.nodes, node, to)).await
    }

    fn supports(&self, fault: &Fault) -> bool {
        supported(fault)
    }

    async fn install(&self, fault: &Fault) -> Result<Option<Refusal>, FaultError> {
        if !supported(fault) {
            return Err(FaultError::Unsupported(format!("{fault} in the lab's containers")));
        }
        let fault = fault.clone();
        let done = self.with(move |state| state.install(&fault)).await;
        done.map(|()| None).map_err(FaultError::Failed)
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
mod tests {
    use super::*;

    #[test]
    fn what_processes_have_elsewhere_is_found_in_the_lab() {
        let address = [172, 28, 0, 11].into();
        let global = Node { name: "global-1".to_owned(), role: Role::Global, zone: None, address };
        let at = |node: &str, to: &str| {
            in_the_lab(std::slice::from_ref(&global), node, to.parse().unwrap()).to_string()
        };
        assert_eq!(at("global-1", "127.0.0.1:5680"), "172.28.0.11:5680");
        assert_eq!(at("global-1", "127.0.0.1:5681"), "127.0.0.1:5681");
        assert_eq!(at("web", "127.0.0.1:5680"), "127.0.0.1:5680");
        assert_eq!(at("web", "172.28.11.10:5653"), "172.28.11.10:53");
    }

    #[test]
    fn disks_and_clocks_are_not_within_reach() {
        use crate::nemesis::Damage;
        let nodes = || vec!["global-1".to_owned()];
        assert!(supported(&Fault::Kill { nodes: nodes() }));
        assert!(supported(&Fault::HalfOpen { left: nodes(), right: nodes() }));
        for fault in [
            Fault::PowerCut { nodes: nodes() },
            Fault::Rollback { nodes: nodes() },
            Fault::DiskFull { node: "global-1".to_owned() },
            Fault::Damage { node: "global-1".to_owned(), how: Damage::Wiped },
            Fault::SlowSync { node: "global-1".to_owned(), delay_ms: 1 },
            Fault::ClockJump { node: "global-1".to_owned(), seconds: 1 },
        ] {
            assert!(!supported(&fault), "{fault}");
        }
    }
}
