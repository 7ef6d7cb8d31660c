//! What a zone would become if it followed a global anew, without IO: shown to an operator, then
//! written as it was shown.
//!
//! What the global owns is replaced by what it lists, removals included: the operator has seen
//! them. What *other zones* own is not the global's to forget. A zone that is fenced keeps it, and
//! takes of it only what is newer by its owner's count; those zones send it again when they follow
//! that global themselves.

use std::sync::Arc;

use higuma_model::{Key, Owner, Resource, Snapshot};

use crate::batch::{Batch, Position, Verdict};
use crate::wire::Direction;

/// A resource as an operator knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Named {
    pub key: Key,
    /// The name that its owner gave it; the key has a hashed one, where it is synced.
    pub display_name: String,
    pub owner: Owner,
}

impl Named {
    fn of(resource: &Resource) -> Self {
        Self {
            key: resource.key.clone(),
            display_name: resource.display_name().to_owned(),
            owner: resource.owner.clone(),
        }
    }
}

/// A global's view of a zone at one position, as the difference to what the zone has.
#[derive(Debug, Clone, PartialEq)]
pub struct Offer {
    /// Where the global stood: what names this offer.
    pub position: Position,
    /// Where the zone stands, and what it would give up.
    pub replaces: Position,
    /// What the zone lacks, and what differs in its content.
    pub added: Vec<Named>,
    pub changed: Vec<Named>,
    pub removed: Vec<Named>,
    /// Of other zones: the global lacks them or has older ones, and they stay.
    pub kept: Vec<Named>,
    /// What the global sends and the zone can't use; it stays as it is.
    pub refused: Vec<Verdict>,
    /// What is written: of `added` and `changed`, and what differs in its version only.
    upserts: Vec<Resource>,
}

impl Offer {
    /// From the batch of a receiver that was `looking`; none for a zone that has followed nothing,
    /// which takes the first global without being asked. `keeps`: see the module.
    pub(crate) fn new(batch: Batch, local: &Snapshot, keeps: bool) -> Option<Self> {
        let (position, replaces) = (batch.position?, local.upstream()?);
        let mut offer = Self {
            position,
            replaces,
            added: Vec::new(),
            changed: Vec::new(),
            removed: Vec::new(),
            kept: Vec::new(),
            refused: batch.refused,
            upserts: Vec::new(),
        };
        batch.upserts.into_iter().for_each(|resource| offer.take(resource, local, keeps));
        for here in batch.removed.iter().filter_map(|key| local.get(key)) {
            let keeps = keeps && here.owner != Owner::Global;
            let list = if keeps { &mut offer.kept } else { &mut offer.removed };
            list.push(Named::of(here));
        }
        Some(offer)
    }

    fn take(&mut self, resource: Resource, local: &Snapshot, keeps: bool) {
        let Some(here) = local.get(&resource.key) else {
            self.added.push(Named::of(&resource));
            self.upserts.push(resource);
            return;
        };
        let others = resource.owner != Owner::Global && resource.owner == here.owner;
        if keeps && others && here.version > resource.version {
            self.kept.push(Named::of(here));
            return;
        }
        if **here == (Resource { modified_at: here.modified_at, ..resource.clone() }) {
            return;
        }
        if here.spec != resource.spec || here.labels != resource.labels {
            self.changed.push(Named::of(&resource));
        }
        self.upserts.push(resource);
    }

    /// Whether nothing that proxies see would change.
    pub fn is_empty(&self) -> bool {
        self.added.is_empty() && self.changed.is_empty() && self.removed.is_empty()
    }

    /// What is to be written, in one transaction.
    pub(crate) fn batch(&self, zone: Arc<str>) -> Batch {
        Batch {
            direction: Direction::ToZone(zone),
            position: Some(self.position),
            from: None,
            replaces: Some(self.replaces),
            upserts: self.upserts.clone(),
            removed: self.removed.iter().map(|named| named.key.clone()).collect(),
            refused: self.refused.clone(),
        }
    }
}
