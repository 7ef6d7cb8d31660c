//! The store's metrics, read when they are scraped.

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Unit;

use crate::raft::log_counters::{LogCounts, SYNC_BOUNDS_US};
use crate::snapshot::Counts as SnapshotCounts;
use crate::store::Store;

/// Exports a store's state and what its log did.
pub struct StoreCollector(Store);

impl std::fmt::Debug for StoreCollector {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("StoreCollector")
    }
}

impl Store {
    /// What a metrics registry collects from this store.
    pub fn collector(&self) -> Box<dyn Collector> {
        Box::new(StoreCollector(self.clone()))
    }
}

impl Collector for StoreCollector {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let state = self.0.own_state();
        let bytes = self.0.snapshot().bytes();
        let counts = self.0.log_counts();
        let files = self.0.snapshot_counts();
        let leads = u64::from(self.0.leader() == Some(self.0.node()));
        for (name, help, value) in [
            ("version", "Version of the last write applied here", state.version),
            ("resources", "Resources in the state", state.resources),
            ("state_bytes", "What all resources take, by the measure of the quota", bytes),
            ("raft_term", "Raft term", state.term),
            ("raft_leader", "Whether this node leads its cluster", leads),
            ("raft_last_index", "Index of the last entry in the log", state.last_index),
            ("raft_applied_index", "Index of the last entry applied", state.applied_index),
            (
                "raft_purged_index",
                "Index of the last entry no longer in the log",
                state.purged_index,
            ),
            ("disk_low", "Whether this node's disk is nearly full", u64::from(state.disk_low)),
            ("snapshot_index", "Index of the last entry in the newest snapshot", files.last_index),
        ] {
            let gauge = ConstGauge::new(i64::try_from(value).unwrap_or(i64::MAX));
            let name = format!("higuma_store_{name}");
            let encoder = encoder.encode_descriptor(&name, help, None, gauge.metric_type())?;
            gauge.encode(encoder)?;
        }
        for (name, help, unit, value) in [
            ("entries", "Entries appended to the log", None, counts.entries),
            ("written", "Bytes written to the log", Some(Unit::Bytes), counts.bytes),
            ("syncs", "Syncs of the log", None, counts.syncs),
        ] {
            let counter = ConstCounter::new(value);
            let name = format!("higuma_store_log_{name}");
            let encoder =
                encoder.encode_descriptor(&name, help, unit.as_ref(), counter.metric_type())?;
            counter.encode(encoder)?;
        }
        encode_snapshots(&mut encoder, &files, state.disk_free)?;
        encode_syncs(&mut encoder, &counts)
    }
}

fn encode_snapshots(
    encoder: &mut DescriptorEncoder<'_>,
    files: &SnapshotCounts,
    free: u64,
) -> Result<(), std::fmt::Error> {
    for (name, help, value) in [
        ("built", "Snapshots built", files.built),
        ("installed", "Snapshots received from a leader and installed", files.installed),
    ] {
        let counter = ConstCounter::new(value);
        let name = format!("higuma_store_snapshots_{name}");
        let encoder = encoder.encode_descriptor(&name, help, None, counter.metric_type())?;
        counter.encode(encoder)?;
    }
    let free = ConstGauge::new(i64::try_from(free).unwrap_or(i64::MAX));
    let (name, help) = ("higuma_store_disk_free", "What this node may still write to its disk");
    let unit = Some(&Unit::Bytes);
    free.encode(encoder.encode_descriptor(name, help, unit, free.metric_type())?)?;
    let size = ConstGauge::new(i64::try_from(files.bytes).unwrap_or(i64::MAX));
    let (name, help) = ("higuma_store_snapshot_size", "Size of the newest snapshot");
    let unit = Some(&Unit::Bytes);
    size.encode(encoder.encode_descriptor(name, help, unit, size.metric_type())?)?;
    let took = ConstGauge::new(seconds(files.last_build_us));
    let (name, help) = ("higuma_store_snapshot_build", "How long the last build took");
    let unit = Some(&Unit::Seconds);
    took.encode(encoder.encode_descriptor(name, help, unit, took.metric_type())?)
}

/// How long the log's syncs took, from counters that are not cumulative to buckets that are.
fn encode_syncs(
    encoder: &mut DescriptorEncoder<'_>,
    counts: &LogCounts,
) -> Result<(), std::fmt::Error> {
    let (name, help) = ("higuma_store_log_sync", "How long a sync of the log took");
    let unit = Some(&Unit::Seconds);
    let mut encoder = encoder.encode_descriptor(name, help, unit, MetricType::Histogram)?;
    let bounds = SYNC_BOUNDS_US.iter().map(|us| seconds(*us)).chain([f64::MAX]);
    let buckets: Vec<(f64, u64)> = bounds.zip(counts.sync_buckets).collect();
    let total = buckets.iter().map(|(_, count)| count).sum();
    encoder.encode_histogram::<NoLabelSet>(seconds(counts.sync_us), total, &buckets, None)
}

#[expect(clippy::cast_precision_loss, reason = "2^52 microseconds are 142 years")]
fn seconds(us: u64) -> f64 {
    us as f64 / 1e6
}
