//! All that a snapshot consists of: what a file of it must hold, and how it comes back from one.

use std::sync::Arc;

use imbl::{OrdMap, OrdSet, Vector};

use super::{ClusterId, Epoch, Keyed, Remembered, Snapshot, Tombstone, Upstream};
use crate::resource::{Resource, Timestamp};
use crate::transaction::{Outcome, RequestId};
use crate::{Key, content};

/// A snapshot in parts. What is derived (the indexes by version, sizes) is not among them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Contents {
    pub cluster: ClusterId,
    pub version: u64,
    pub resources: Vec<Arc<Resource>>,
    pub tombstones: Vec<(Key, Tombstone)>,
    pub horizon: u64,
    pub epochs: Vec<Epoch>,
    /// Oldest first; see [`Snapshot::predecessors`].
    pub predecessors: Vec<Upstream>,
    pub upstream: Option<Upstream>,
    /// By zone.
    pub cursors: Vec<(Arc<str>, Upstream)>,
    pub results: Vec<(RequestId, Outcome)>,
    /// By the digest of the caller's key.
    pub keyed: Vec<(u128, Keyed)>,
    pub results_horizon: Timestamp,
}

impl Contents {
    /// Of a store without any write.
    pub fn new(cluster: ClusterId) -> Self {
        Self {
            cluster,
            version: 0,
            resources: Vec::new(),
            tombstones: Vec::new(),
            horizon: 0,
            epochs: Vec::new(),
            predecessors: Vec::new(),
            upstream: None,
            cursors: Vec::new(),
            results: Vec::new(),
            keyed: Vec::new(),
            results_horizon: Timestamp(i64::MIN),
        }
    }

    /// Of a snapshot: made into one again it is the same.
    pub fn of(snapshot: &Snapshot) -> Self {
        Self {
            cluster: snapshot.cluster,
            version: snapshot.version,
            resources: snapshot.iter().cloned().collect(),
            tombstones: snapshot
                .tombstones()
                .map(|(key, gone)| (key.clone(), gone.clone()))
                .collect(),
            horizon: snapshot.horizon,
            epochs: snapshot.epochs().copied().collect(),
            predecessors: snapshot.predecessors().copied().collect(),
            upstream: snapshot.upstream,
            cursors: snapshot.cursors().map(|(zone, at)| (zone.clone(), *at)).collect(),
            results: snapshot.results().map(|(id, outcome)| (*id, outcome.clone())).collect(),
            keyed: snapshot.keyed_requests().map(|(key, first)| (*key, first.clone())).collect(),
            results_horizon: snapshot.results_horizon,
        }
    }
}

/// What of a snapshot must be written down, each in an order that follows from the state alone.
impl Snapshot {
    pub fn tombstones(&self) -> impl ExactSizeIterator<Item = (&Key, &Tombstone)> {
        self.tombstones.iter()
    }

    pub fn cursors(&self) -> impl ExactSizeIterator<Item = (&Arc<str>, &Upstream)> {
        self.cursors.iter()
    }

    pub fn results(&self) -> impl ExactSizeIterator<Item = (&RequestId, &Outcome)> {
        self.results.iter().map(|(id, remembered)| (id, &remembered.outcome))
    }

    /// The requests that their callers named, by the digest of the key.
    pub fn keyed_requests(&self) -> impl ExactSizeIterator<Item = (&u128, &Keyed)> {
        self.keyed.iter()
    }

    pub fn results_horizon(&self) -> Timestamp {
        self.results_horizon
    }
}

impl From<Contents> for Snapshot {
    fn from(contents: Contents) -> Self {
        // Named one by one: a part that is added must not be forgotten here.
        let Contents {
            cluster,
            version,
            resources,
            tombstones,
            horizon,
            epochs,
            predecessors,
            upstream,
            cursors,
            results,
            keyed,
            results_horizon,
        } = contents;
        let bytes = resources.iter().map(|resource| resource.size() as u64).sum();
        let parts = resources.iter().map(|resource| content::part(cluster, resource));
        let content = parts.fold(0, u128::wrapping_add);
        let remembered = |(id, outcome)| (id, Remembered { outcome, key: None });
        let mut results: OrdMap<RequestId, Remembered> =
            results.into_iter().map(remembered).collect();
        for (key, first) in &keyed {
            if let Some(remembered) = results.get_mut(&first.id) {
                remembered.key = Some(*key);
            }
        }
        let written = resources.iter().map(|r| (r.modified_at, r.key.clone()));
        let written: OrdSet<(u64, Key)> = written.collect();
        let removed = tombstones.iter().map(|(key, tombstone)| (tombstone.version, key.clone()));
        let removed: OrdSet<(u64, Key)> = removed.collect();
        Self {
            cluster,
            version,
            content,
            resources: resources.into_iter().map(|r| (r.key.clone(), r)).collect(),
            tombstones: OrdMap::from_iter(tombstones),
            written,
            removed,
            horizon,
            epochs: Vector::from_iter(epochs),
            predecessors: Vector::from_iter(predecessors),
            upstream,
            cursors: OrdMap::from_iter(cursors),
            results,
            keyed: OrdMap::from_iter(keyed),
            bytes,
            results_horizon,
        }
    }
}
