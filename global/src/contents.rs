//! Whether all nodes that are at one version hold the same.

use std::time::Duration;

use higuma_serve::Metrics;
use higuma_store::Store;
use prometheus_client::metrics::gauge::Gauge;
use tokio_util::sync::CancellationToken;

/// Between two looks: nodes that came to differ stay so, and a look is one small call to each.
const EVERY: Duration = Duration::from_secs(30);

/// Says once of each set of nodes that they differ, and for as long as they do in the metric.
pub(crate) async fn compare(
    store: Store,
    metrics: Metrics,
    stop: CancellationToken,
) -> anyhow::Result<()> {
    let diverged: Gauge = Gauge::default();
    metrics.register(|registry| {
        let help = "Nodes that are at one version with another and do not hold the same: an alarm";
        registry.register("higuma_store_diverged_nodes", help, diverged.clone());
    });
    let mut told = Vec::new();
    loop {
        tokio::select! {
            () = stop.cancelled() => return Ok(()),
            () = tokio::time::sleep(EVERY) => {}
        }
        let found = store.cluster().await.divergences();
        let nodes: usize = found.iter().map(|at| at.members.len()).sum();
        diverged.set(i64::try_from(nodes).unwrap_or(i64::MAX));
        for at in &found {
            if !told.contains(&at.members) {
                tracing::error!(
                    version = at.version,
                    nodes = ?at.members,
                    "nodes at one version do not hold the same: see `higuma inspect cluster`"
                );
                told.push(at.members.clone());
            }
        }
        if found.is_empty() {
            told.clear();
        }
    }
}
