//! What clients do to the system, and how what they saw is judged.

use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use tokio_util::sync::CancellationToken;

use crate::cluster::Cluster;
use crate::history::Recorder;
use crate::verdict::Verdict;

/// What a workload works with.
#[derive(Clone)]
pub(crate) struct Context {
    pub(crate) cluster: Arc<dyn Cluster>,
    pub(crate) recorder: Recorder,
    pub(crate) seed: u64,
}

/// One of `register`, `set`, `zones`, `traffic`, `churn`.
#[async_trait]
pub(crate) trait Workload: Send + Sync {
    fn name(&self) -> &'static str;

    /// Before any fault: what must be there for it to run. An error is a harness failure.
    async fn prepare(&self, context: &Context) -> anyhow::Result<()>;

    /// Until `stop`: what clients do while faults come and go. An error is a harness failure.
    async fn run(&self, context: &Context, stop: CancellationToken) -> anyhow::Result<()>;

    /// All faults are healed: waits for quiescence, within a bound that it records as an operation
    /// of class `recovery`, and reads what must be there at the end.
    async fn finish(&self, context: &Context) -> anyhow::Result<()>;

    /// Judges a run's folder (`crate::run`); reads files, asks nobody.
    fn check(&self, folder: &Path) -> anyhow::Result<Vec<Verdict>>;
}
