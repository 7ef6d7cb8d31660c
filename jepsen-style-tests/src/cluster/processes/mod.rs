//! The processes database: real `higuma` processes, each node in a network namespace of its own
//! and each control plane on a file system of its own.
//!
//! ```text
//! topology      who there is: addresses, command lines, probes        (data, no IO)
//! requirements  what the machine must have, before anything is made
//! network       namespaces and the bridge between them
//! disk          ext4 on a loop device: power cut, full
//! process       start in a namespace, signal, last words
//! marks         processes by the mark in their environment
//! harm          what is done to a node's files, and undone
//! trace         syncs that fail or take long
//! place         a host with its disk and processes, brought to what is wanted of it
//! state         which faults hold, and what follows for each node
//! ```

pub(crate) mod disk;
pub(crate) mod folders;
mod harm;
pub(crate) mod marks;
pub(crate) mod network;
mod pki;
mod place;
mod process;
mod requirements;
mod state;
pub(crate) mod topology;
mod trace;

use std::collections::HashMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Context as _;
use async_trait::async_trait;
use tokio::net::{TcpStream, UdpSocket};
use tokio::time::Instant;

use super::namespace::Namespace;
use super::{Alive, Cluster, FaultError, Node};
use crate::nemesis::{Damage, Fault, Refusal};
use state::State;

/// How long a workload may take to join or to leave; faults can pause it meanwhile.
const STEPS: Duration = Duration::from_secs(60);
const LOOK: Duration = Duration::from_millis(30);

/// How much of a cluster there is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shape {
    /// Three globals.
    Globals,
    /// And two zones with proxies. East has one ingress, west one or two.
    Whole { west_ingresses: u8 },
}

/// What to bring up.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    /// 1 to 12 of a-z and 0-9; no other run may have it at the same time.
    pub(crate) id: String,
    /// The run's folder; it exists.
    pub(crate) folder: PathBuf,
    /// The `higuma` binary that is tested.
    pub(crate) binary: PathBuf,
    /// None: as `higuma dp run` finds it.
    pub(crate) envoy: Option<PathBuf>,
    pub(crate) mutant: Option<String>,
    pub(crate) shape: Shape,
    /// Clocks of control planes can jump. They then run with libfaketime, which has to be there,
    /// and which other nemeses are better without.
    pub(crate) clocks: bool,
    /// Syncs of control planes can fail or take long.
    pub(crate) traces: bool,
}

/// A cluster of processes that is up. Dropped without [`Cluster::down`], it is taken down all the
/// same, and blocks its thread for that.
#[derive(Debug)]
pub(crate) struct Processes {
    nodes: Vec<Node>,
    namespaces: HashMap<String, Namespace>,
    /// Clocks can jump.
    clocks: bool,
    /// Syncs can fail or take long.
    traces: bool,
    state: Arc<Mutex<State>>,
}

/// Tells the thread that brings a cluster up that nobody waits any more.
struct Abandon(Arc<AtomicBool>);

impl Drop for Abandon {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

impl Processes {
    /// Brings everything up and waits until it is ready or, where that takes a Mesh, lives. On an
    /// error nothing is left but logs. If this future is dropped, the same happens in a thread
    /// that tokio's runtime waits for at its end.
    ///
    /// # Errors
    /// The machine lacks something, or a process does not become ready; says which and why.
    pub(crate) async fn up(plan: Plan) -> anyhow::Result<Self> {
        let abandoned = Arc::new(AtomicBool::new(false));
        let _abandon = Abandon(Arc::clone(&abandoned));
        tokio::task::spawn_blocking(move || {
            let state = State::raise(&plan, &abandoned)?;
            Ok(Self {
                nodes: state.nodes(),
                namespaces: state.namespaces(),
                clocks: plan.clocks,
                traces: plan.traces,
                state: Arc::new(Mutex::new(state)),
            })
        })
        .await?
    }

    /// Does something with the state, in a thread that may block.
    async fn with<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut State) -> T + Send + 'static,
    ) -> anyhow::Result<T> {
        let state = Arc::clone(&self.state);
        let done = tokio::task::spawn_blocking(move || {
            work(&mut state.lock().unwrap_or_else(PoisonError::into_inner))
        });
        done.await.context("a thread of the harness panicked")
    }

    /// Takes one step after the other until one says that it was the last.
    async fn until(
        &self,
        node: &str,
        step: fn(&mut State, &str) -> anyhow::Result<Option<String>>,
    ) -> anyhow::Result<()> {
        let end = Instant::now() + STEPS;
        loop {
            let name = node.to_owned();
            let Some(waits_for) = self.with(move |state| step(state, &name)).await?? else {
                return Ok(());
            };
            if Instant::now() > end {
                anyhow::bail!("{node}: not after {STEPS:?}: {waits_for}");
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    fn namespace(&self, node: &str) -> std::io::Result<&Namespace> {
        self.namespaces.get(node).ok_or_else(|| {
            std::io::Error::new(std::io::ErrorKind::NotFound, format!("there is no node {node}"))
        })
    }
}

#[async_trait]
impl Cluster for Processes {
    fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    async fn connect(&self, node: &str, to: SocketAddr) -> std::io::Result<TcpStream> {
        self.namespace(node)?.connect(to).await
    }

    async fn udp(&self, node: &str, to: SocketAddr) -> std::io::Result<UdpSocket> {
        self.namespace(node)?.udp(to).await
    }

    fn supports(&self, fault: &Fault) -> bool {
        match fault {
            Fault::ClockJump { .. } => self.clocks,
            Fault::SlowSync { .. } | Fault::Damage { how: Damage::SyncFails, .. } => self.traces,
            _ => true,
        }
    }

    async fn install(&self, fault: &Fault) -> Result<Option<Refusal>, FaultError> {
        if !self.supports(fault) {
            let why = match fault {
                Fault::ClockJump { .. } => {
                    "it was brought up without libfaketime, so clocks cannot jump"
                }
                _ => "it was brought up without strace, so syncs are what they are",
            };
            return Err(FaultError::Unsupported(why.to_owned()));
        }
        let fault = fault.clone();
        let done = self.with(move |state| state.install(&fault)).await;
        done.and_then(|installed| installed).map_err(FaultError::Failed)
    }

    async fn heal(&self, fault: &Fault) -> Result<(), FaultError> {
        let fault = fault.clone();
        let done = self.with(move |state| state.heal(&fault)).await;
        done.and_then(|healed| healed).map_err(FaultError::Failed)
    }

    async fn keep_copy(&self) -> anyhow::Result<()> {
        self.with(State::keep_copy).await?
    }

    async fn join(&self, workload: &str) -> anyhow::Result<()> {
        self.until(workload, State::go_on_joining).await
    }

    async fn leave(&self, workload: &str) -> anyhow::Result<()> {
        self.until(workload, State::go_on_leaving).await
    }

    async fn alive(&self) -> anyhow::Result<Vec<Alive>> {
        self.with(State::alive).await?
    }

    async fn down(&self) -> anyhow::Result<()> {
        self.with(State::down).await?
    }
}

#[cfg(test)]
mod tests;
