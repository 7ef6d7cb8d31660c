//! The deliberate defects that a zone's control plane has: its store's, and those of its end of KDS.

use higuma_kds::Mutant as Kds;
use higuma_store::Mutant as Store;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mutant {
    Store(Store),
    Kds(Kds),
}

impl Mutant {
    /// As people name them.
    pub(crate) fn names() -> Vec<(&'static str, Self)> {
        let store = Store::NAMES.iter().map(|(name, mutant)| (*name, Self::Store(*mutant)));
        let kds = Kds::NAMES.iter().map(|(name, mutant)| (*name, Self::Kds(*mutant)));
        store.chain(kds).collect()
    }

    pub(crate) fn of_store(self) -> Option<Store> {
        match self {
            Self::Store(mutant) => Some(mutant),
            Self::Kds(_) => None,
        }
    }

    pub(crate) fn of_kds(self) -> Option<Kds> {
        match self {
            Self::Kds(mutant) => Some(mutant),
            Self::Store(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_defect_has_one_name_and_one_place() {
        let names = Mutant::names();
        let expected = ["ack-before-sync", "stale-read", "obey-rollback", "empty-list-deletes"];
        assert_eq!(names.iter().map(|(name, _)| *name).collect::<Vec<_>>(), expected);
        for (name, mutant) in names {
            assert_ne!(mutant.of_store().is_some(), mutant.of_kds().is_some(), "{name}");
        }
    }
}
