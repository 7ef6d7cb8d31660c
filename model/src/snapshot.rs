//! The whole state at one version: immutable to readers, structurally shared, cheap to clone.

mod contents;
mod succession;

use std::ops::Bound;
use std::sync::Arc;

use imbl::{OrdMap, OrdSet, Vector};

use crate::content;
use crate::delta::Delta;
use crate::resource::{Owner, Resource, Timestamp};
use crate::transaction::{Effect, Idempotency, Outcome, RequestId};
use crate::{Key, Kind};

pub use contents::Contents;
pub use succession::MAX_PREDECESSORS;

/// Tombstones kept before the oldest are dropped and the horizon rises. At some 100 bytes each
/// they cost at most 6.5 MB; a subscriber that missed more gets an inventory exchange.
pub const MAX_TOMBSTONES: usize = 65_536;

/// Results of requests kept, and for how long: a retry within either bound is applied once.
pub const MAX_RESULTS: usize = 10_000;
pub const RESULT_AGE_MS: i64 = 24 * 60 * 60 * 1000;

/// The identity of a cluster, drawn once when it forms.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ClusterId(pub u128);

impl std::fmt::Display for ClusterId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl std::fmt::Debug for ClusterId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        std::fmt::Display::fmt(self, f)
    }
}

/// A stretch of history under one leader: all versions from `since` to the next epoch's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Epoch {
    pub nonce: u64,
    pub since: u64,
}

/// What remains of a deleted resource until the horizon passes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tombstone {
    pub owner: Owner,
    pub version: u64,
}

/// How far one store has followed another; written with each batch from it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Upstream {
    pub cluster: ClusterId,
    pub epoch: u64,
    pub version: u64,
}

/// Changes after a version: what to put, what to remove.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Changes {
    pub upserts: Vec<Arc<Resource>>,
    pub removed: Vec<(Key, Tombstone)>,
}

/// `changes_since` was asked below the horizon: deletions before it are no longer known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("changes before version {horizon} are no longer kept")]
pub struct BelowHorizon {
    pub horizon: u64,
}

/// A request that its caller named, as it was applied first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Keyed {
    /// The id that it was applied under: as long as that is remembered, so is this.
    pub id: RequestId,
    /// A digest of what was asked.
    pub request: u128,
    pub version: u64,
    pub effects: Arc<[Effect]>,
}

/// What a request answered, and the caller's name of it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Remembered {
    outcome: Outcome,
    key: Option<u128>,
}

/// The state at one version. `version` is the version of the last write in it.
#[derive(Clone, PartialEq, Eq)]
pub struct Snapshot {
    cluster: ClusterId,
    version: u64,
    resources: OrdMap<Key, Arc<Resource>>,
    tombstones: OrdMap<Key, Tombstone>,
    /// Every live resource by the version of its last change, and every tombstone by its own.
    written: OrdSet<(u64, Key)>,
    removed: OrdSet<(u64, Key)>,
    horizon: u64,
    epochs: Vector<Epoch>,
    /// The clusters that this one goes on from, oldest first, each with the last version that came
    /// from there.
    predecessors: Vector<Upstream>,
    upstream: Option<Upstream>,
    /// How far each zone's own resources are written here, by zone.
    cursors: OrdMap<Arc<str>, Upstream>,
    results: OrdMap<RequestId, Remembered>,
    /// Of the results, those that a caller named, by the digest of the key.
    keyed: OrdMap<u128, Keyed>,
    /// The sum of all resources' parts, see [`content::part`].
    content: u128,
    /// Bytes of all resources, by [`Resource::size`].
    bytes: u64,
    /// No result of an id this old is kept.
    results_horizon: Timestamp,
}

impl Snapshot {
    pub fn new(cluster: ClusterId) -> Self {
        Self {
            cluster,
            version: 0,
            resources: OrdMap::new(),
            tombstones: OrdMap::new(),
            written: OrdSet::new(),
            removed: OrdSet::new(),
            horizon: 0,
            epochs: Vector::new(),
            predecessors: Vector::new(),
            upstream: None,
            cursors: OrdMap::new(),
            results: OrdMap::new(),
            keyed: OrdMap::new(),
            content: 0,
            bytes: 0,
            results_horizon: Timestamp(i64::MIN),
        }
    }

    pub fn cluster(&self) -> ClusterId {
        self.cluster
    }

    pub fn version(&self) -> u64 {
        self.version
    }

    /// The lowest version from which [`changes_since`](Self::changes_since) is exact.
    pub fn horizon(&self) -> u64 {
        self.horizon
    }

    pub fn upstream(&self) -> Option<Upstream> {
        self.upstream
    }

    /// How far a zone's own resources are written here, and which store they come from.
    pub fn cursor(&self, zone: &str) -> Option<Upstream> {
        self.cursors.get(zone).copied()
    }

    pub fn epochs(&self) -> impl DoubleEndedIterator<Item = &Epoch> {
        self.epochs.iter()
    }

    /// The epoch that a version of this history belongs to.
    pub fn epoch_at(&self, version: u64) -> Option<Epoch> {
        self.epochs.iter().rev().find(|epoch| epoch.since <= version).copied()
    }

    pub fn get(&self, key: &Key) -> Option<&Arc<Resource>> {
        self.resources.get(key)
    }

    pub fn len(&self) -> usize {
        self.resources.len()
    }

    pub fn is_empty(&self) -> bool {
        self.resources.is_empty()
    }

    /// What all resources take, in bytes, by [`Resource::size`].
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// A hash of what all resources say: equal on all nodes that are at one version, or something is
    /// wrong.
    pub fn content(&self) -> u128 {
        self.content
    }

    pub fn tombstone(&self, key: &Key) -> Option<&Tombstone> {
        self.tombstones.get(key)
    }

    /// All resources, by kind, mesh and name.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Resource>> {
        self.resources.values()
    }

    /// All resources of a kind, by mesh and name.
    pub fn of_kind(&self, kind: Kind) -> impl Iterator<Item = &Arc<Resource>> {
        let from = Key::new(kind, "", "");
        let range = self.resources.range((Bound::Included(from), Bound::Unbounded));
        range.map(|(_, resource)| resource).take_while(move |r| r.key.kind() == kind)
    }

    /// All resources of a kind in a mesh, by name.
    pub fn in_mesh<'a>(
        &'a self,
        kind: Kind,
        mesh: &'a str,
    ) -> impl Iterator<Item = &'a Arc<Resource>> {
        let from = Key::new(kind, mesh, "");
        let range = self.resources.range((Bound::Included(from), Bound::Unbounded));
        range
            .map(|(_, resource)| resource)
            .take_while(move |r| r.key.kind() == kind && r.key.mesh() == mesh)
    }

    /// What turns `old` into `self`. Its cost follows the change, not the state.
    pub fn since(&self, old: &Self) -> Delta {
        Delta::between(&old.resources, &self.resources)
    }

    /// Every net change after `version`, each list in the order of versions. Exact on any node that has
    /// this history, after any restart.
    pub fn changes_since(&self, version: u64) -> Result<Changes, BelowHorizon> {
        if version < self.horizon {
            return Err(BelowHorizon { horizon: self.horizon });
        }
        let from = || Bound::Included((version.saturating_add(1), Key::new(Kind::ALL[0], "", "")));
        let written = self.written.range((from(), Bound::Unbounded));
        let removed = self.removed.range((from(), Bound::Unbounded));
        Ok(Changes {
            upserts: written.filter_map(|(_, key)| self.resources.get(key).cloned()).collect(),
            removed: removed
                .filter_map(|(_, key)| Some((key.clone(), self.tombstones.get(key)?.clone())))
                .collect(),
        })
    }

    /// What a request with this id answered, if it was applied.
    pub fn result(&self, id: &RequestId) -> Option<&Outcome> {
        self.results.get(id).map(|remembered| &remembered.outcome)
    }

    /// The request that was applied under a caller's key.
    pub fn keyed(&self, key: u128) -> Option<&Keyed> {
        self.keyed.get(&key)
    }

    /// An id for a new request. Its time is the proposer's clock, but always after every time
    /// that is remembered here: a clock that runs behind, or another's that ran ahead, makes no
    /// new request look like an old one.
    pub fn request_id(&self, now: Timestamp, random: u64) -> RequestId {
        let newest = self.results.get_max().map_or(Timestamp(i64::MIN), |(newest, _)| newest.at);
        let after = newest.max(self.results_horizon).0.saturating_add(1);
        RequestId { at: now.max(Timestamp(after)), random }
    }

    /// Whether an id is so old that its result may have been dropped.
    pub fn is_expired(&self, id: &RequestId) -> bool {
        id.at <= self.results_horizon
    }
}

/// How the state machine changes a snapshot that nobody reads yet.
impl Snapshot {
    /// Puts a resource; its `modified_at` is the version of this change.
    pub fn put(&mut self, resource: Arc<Resource>) {
        let (key, at) = (resource.key.clone(), resource.modified_at);
        if let Some(tombstone) = self.tombstones.remove(&key) {
            self.removed.remove(&(tombstone.version, key.clone()));
        }
        self.bytes += resource.size() as u64;
        self.content = self.content.wrapping_add(content::part(self.cluster, &resource));
        if let Some(before) = self.resources.insert(key.clone(), resource) {
            self.bytes -= before.size() as u64;
            self.content = self.content.wrapping_sub(content::part(self.cluster, &before));
            self.written.remove(&(before.modified_at, key.clone()));
        }
        self.written.insert((at, key));
        self.version = at;
    }

    /// Removes a resource at a version, leaving a tombstone. Absent ones are no change.
    pub fn remove(&mut self, key: &Key, version: u64) -> Option<Arc<Resource>> {
        let removed = self.resources.remove(key)?;
        self.bytes -= removed.size() as u64;
        self.content = self.content.wrapping_sub(content::part(self.cluster, &removed));
        self.written.remove(&(removed.modified_at, key.clone()));
        let tombstone = Tombstone { owner: removed.owner.clone(), version };
        self.tombstones.insert(key.clone(), tombstone);
        self.removed.insert((version, key.clone()));
        self.version = version;
        self.drop_old_tombstones();
        Some(removed)
    }

    /// Starts an epoch; its first version is above every version so far.
    pub fn begin_epoch(&mut self, epoch: Epoch) {
        self.epochs.push_back(epoch);
    }

    /// Notes how far this zone has followed its global.
    pub fn set_upstream(&mut self, upstream: Upstream, version: u64) {
        self.upstream = Some(upstream);
        self.version = version;
    }

    /// Notes how far a zone's own resources are written here.
    pub fn set_cursor(&mut self, zone: Arc<str>, position: Upstream, version: u64) {
        self.cursors.insert(zone, position);
        self.version = version;
    }

    /// Remembers what a request answered, dropping what is too old by `now` or by number. Under its
    /// caller's key only what was done is remembered: a refused one may be sent again.
    pub fn remember(
        &mut self,
        id: RequestId,
        outcome: Outcome,
        named: Option<&Idempotency>,
        now: Timestamp,
    ) {
        let key = match (&outcome, named) {
            (Outcome::Done { version }, Some(named)) => {
                let (request, effects) = (named.request, named.effects.clone());
                let keyed = Keyed { id, request, version: *version, effects };
                self.keyed.insert(named.key, keyed);
                Some(named.key)
            }
            _ => None,
        };
        self.results.insert(id, Remembered { outcome, key });
        let too_old = Timestamp(now.0.saturating_sub(RESULT_AGE_MS));
        while let Some((oldest, _)) = self.results.get_min() {
            if self.results.len() <= MAX_RESULTS && oldest.at > too_old {
                break;
            }
            let oldest = *oldest;
            let key = self.results.remove(&oldest).and_then(|remembered| remembered.key);
            if let Some(key) = key {
                self.keyed.remove(&key);
            }
            self.results_horizon = self.results_horizon.max(oldest.at);
        }
    }

    fn drop_old_tombstones(&mut self) {
        while self.tombstones.len() > MAX_TOMBSTONES {
            let Some((version, key)) = self.removed.remove_min() else { return };
            self.tombstones.remove(&key);
            self.horizon = self.horizon.max(version);
        }
    }
}

impl std::fmt::Debug for Snapshot {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Snapshot")
            .field("version", &self.version)
            .field("resources", &self.resources.len())
            .finish_non_exhaustive()
    }
}
