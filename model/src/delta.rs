//! The difference between two snapshots.

use std::sync::Arc;

use imbl::OrdMap;
use imbl::ordmap::DiffItem;

use crate::Key;
use crate::resource::Resource;

/// What turns one snapshot into another, in the order of keys.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Delta {
    pub upserts: Vec<Arc<Resource>>,
    pub removed: Vec<Arc<Resource>>,
}

impl Delta {
    pub fn is_empty(&self) -> bool {
        self.upserts.is_empty() && self.removed.is_empty()
    }

    /// Every key that the delta names.
    pub fn keys(&self) -> impl Iterator<Item = &Key> {
        self.upserts.iter().chain(&self.removed).map(|resource| &resource.key)
    }

    pub(crate) fn between(
        old: &OrdMap<Key, Arc<Resource>>,
        new: &OrdMap<Key, Arc<Resource>>,
    ) -> Self {
        let mut delta = Self::default();
        for item in old.diff(new) {
            match item {
                DiffItem::Add(_, resource) => delta.upserts.push(resource.clone()),
                DiffItem::Update { new: (_, resource), .. } => {
                    delta.upserts.push(resource.clone());
                }
                DiffItem::Remove(_, resource) => delta.removed.push(resource.clone()),
            }
        }
        delta
    }
}
