//! What a batch holds: entries and removals by kind.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use envoy_types::pb::envoy::service::discovery::v3::Resource as Entry;
use higuma_model::{Changes, Kind, Owner, Resource, Snapshot};

use crate::wire::{self, Direction, entry_name};

/// Bytes that an entry costs in a log beside its text: field tags, versions, times, owner.
const ENTRY_BYTES: usize = 128;

/// Entries and names of removed ones, by kind.
#[derive(Debug, Default)]
pub(super) struct Contents {
    pub(super) by_kind: BTreeMap<Kind, (Vec<Entry>, Vec<String>)>,
    /// What the batch costs in the receiver's log. Its specs are JSON there, which is longer than
    /// what is sent.
    pub(super) bytes: usize,
}

/// Versions by entry name of what the receiver has, by kind. One message a kind: a later one
/// replaces it, so that nothing grows with the number of messages.
#[derive(Debug, Default)]
pub(super) struct Inventory(BTreeMap<Kind, BTreeMap<String, String>>);

/// Whose view: what goes this way, of the kinds that are subscribed.
#[derive(Debug, Clone, Copy)]
pub(super) struct Scope<'a> {
    pub(super) direction: &'a Direction,
    pub(super) kinds: &'a BTreeSet<Kind>,
}

impl Inventory {
    pub(super) fn add(&mut self, kind: Kind, versions: &HashMap<String, String>) {
        if !versions.is_empty() {
            let of_kind = versions.iter().map(|(name, version)| (name.clone(), version.clone()));
            self.0.insert(kind, of_kind.collect());
        }
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.0.values().map(BTreeMap::len).sum()
    }

    /// Whether the receiver has this already. A zone's store may have been replaced, and then equal
    /// versions of it say nothing: what zones own is sent again.
    fn take(&mut self, kind: Kind, name: &str, resource: &Resource) -> bool {
        let version = self.0.get_mut(&kind).and_then(|names| names.remove(name));
        let same = version.is_some_and(|version| version == resource.version.to_string());
        same && resource.owner == Owner::Global
    }
}

impl Contents {
    pub(super) fn entries(&self) -> u32 {
        let count: usize = self.by_kind.values().map(|(put, gone)| put.len() + gone.len()).sum();
        u32::try_from(count).expect("invariant: a snapshot holds fewer than 2^32 resources")
    }

    fn put(&mut self, direction: &Direction, resource: &Resource) {
        match wire::encode(direction, resource) {
            Ok(entry) => {
                self.bytes += resource.size() + ENTRY_BYTES;
                self.by_kind.entry(resource.key.kind()).or_default().0.push(entry);
            }
            // Costs this resource only; admission lets none such in.
            Err(error) => tracing::error!(key = %resource.key, %error, "resource cannot be sent"),
        }
    }

    fn remove(&mut self, kind: Kind, name: String) {
        self.bytes += name.len() + ENTRY_BYTES;
        self.by_kind.entry(kind).or_default().1.push(name);
    }
}

impl Scope<'_> {
    /// What turns the receiver's view before `changes` into the one after. `before` is the state
    /// that it has, where this end knows it: what it never got needs no removal.
    pub(super) fn changed(self, changes: &Changes, before: Option<&Snapshot>) -> Contents {
        let Self { direction, kinds } = self;
        let mut contents = Contents::default();
        let had =
            |key| before.is_none_or(|state| state.get(key).is_some_and(|had| direction.sends(had)));
        for resource in &changes.upserts {
            let (key, owner) = (&resource.key, &resource.owner);
            if !kinds.contains(&key.kind()) || !direction.concerns(key.kind(), owner) {
                continue;
            }
            if direction.sends(resource) {
                contents.put(direction, resource);
            } else if had(key) {
                contents.remove(key.kind(), entry_name(direction, key, owner));
            }
        }
        for (key, tombstone) in &changes.removed {
            let concerns = direction.concerns(key.kind(), &tombstone.owner);
            if kinds.contains(&key.kind()) && concerns && had(key) {
                contents.remove(key.kind(), entry_name(direction, key, &tombstone.owner));
            }
        }
        contents
    }

    /// The view, less what the inventory has; and what the inventory has and the view has not.
    pub(super) fn lacking(self, snapshot: &Snapshot, mut inventory: Inventory) -> Contents {
        let mut contents = Contents::default();
        for kind in self.kinds {
            for resource in snapshot.of_kind(*kind).filter(|r| self.direction.sends(r)) {
                let name = entry_name(self.direction, &resource.key, &resource.owner);
                if !inventory.take(*kind, &name, resource) {
                    contents.put(self.direction, resource);
                }
            }
        }
        for (kind, names) in inventory.0 {
            names.into_keys().for_each(|name| contents.remove(kind, name));
        }
        contents
    }
}
