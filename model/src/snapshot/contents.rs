//! All that a snapshot consists of: what a file of it must hold, and how it comes back from one.

use std::collections::BTreeMap;
use std::sync::Arc;

use imbl::{OrdMap, OrdSet, Vector};

use super::{ClusterId, Epoch, Keyed, Remembered, Snapshot, Tombstone, Upstream};
use crate::Key;
use crate::resource::{Resource, Timestamp};
use crate::transaction::{Idempotency, Outcome, RequestId};

/// A snapshot in parts. What is derived (the indexes by version) is not among them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Contents {
    pub cluster: ClusterId,
    pub version: u64,
    pub resources: Vec<Arc<Resource>>,
    pub tombstones: Vec<(Key, Tombstone)>,
    pub horizon: u64,
    pub epochs: Vec<Epoch>,
    pub upstream: Option<Upstream>,
    /// By zone.
    pub cursors: Vec<(Arc<str>, Upstream)>,
    pub results: Vec<(RequestId, Outcome)>,
    /// Of the results, those that a caller named.
    pub named: Vec<(RequestId, Idempotency)>,
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
            upstream: None,
            cursors: Vec::new(),
            results: Vec::new(),
            named: Vec::new(),
            results_horizon: Timestamp(i64::MIN),
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

    /// What a caller named a request, if he did.
    pub fn named(&self, id: &RequestId) -> Option<Idempotency> {
        let key = self.results.get(id)?.key?;
        let Keyed { request, effects, .. } = self.keyed.get(&key)?;
        Some(Idempotency { key, request: *request, effects: effects.clone() })
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
            upstream,
            cursors,
            results,
            named,
            results_horizon,
        } = contents;
        let bytes = resources.iter().map(|r| r.size() as u64).sum();
        let keys: BTreeMap<RequestId, u128> = named.iter().map(|(id, n)| (*id, n.key)).collect();
        let outcomes: BTreeMap<RequestId, &Outcome> =
            results.iter().map(|(i, o)| (*i, o)).collect();
        let keyed = named.into_iter().filter_map(|(id, named)| match outcomes.get(&id) {
            Some(Outcome::Done { version }) => {
                let (request, effects) = (named.request, named.effects);
                Some((named.key, Keyed { id, request, version: *version, effects }))
            }
            _ => None,
        });
        let keyed = keyed.collect();
        let remembered = |(id, outcome): (RequestId, Outcome)| {
            (id, Remembered { outcome, key: keys.get(&id).copied() })
        };
        let written = resources.iter().map(|r| (r.modified_at, r.key.clone()));
        let written: OrdSet<(u64, Key)> = written.collect();
        let removed = tombstones.iter().map(|(key, tombstone)| (tombstone.version, key.clone()));
        let removed: OrdSet<(u64, Key)> = removed.collect();
        Self {
            cluster,
            version,
            resources: resources.into_iter().map(|r| (r.key.clone(), r)).collect(),
            tombstones: OrdMap::from_iter(tombstones),
            written,
            removed,
            horizon,
            epochs: Vector::from_iter(epochs),
            upstream,
            cursors: OrdMap::from_iter(cursors),
            results: results.into_iter().map(remembered).collect(),
            keyed,
            bytes,
            results_horizon,
        }
    }
}
