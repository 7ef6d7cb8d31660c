//! The deliberate defects that a node of the global has: its store's, and those of its REST.

use higuma_rest::Mutant as Rest;
use higuma_store::Mutant as Store;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mutant {
    Store(Store),
    Rest(Rest),
}

impl Mutant {
    /// As people name them.
    pub(crate) fn names() -> Vec<(&'static str, Self)> {
        let store = Store::NAMES.iter().map(|(name, mutant)| (*name, Self::Store(*mutant)));
        let rest = Rest::NAMES.iter().map(|(name, mutant)| (*name, Self::Rest(*mutant)));
        store.chain(rest).collect()
    }

    pub(crate) fn of_store(self) -> Option<Store> {
        match self {
            Self::Store(mutant) => Some(mutant),
            Self::Rest(_) => None,
        }
    }

    pub(crate) fn of_rest(self) -> Option<Rest> {
        match self {
            Self::Rest(mutant) => Some(mutant),
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
        let expected =
            ["ack-before-sync", "stale-read", "split-transaction", "forget-keys", "skip-versions"];
        assert_eq!(names.iter().map(|(name, _)| *name).collect::<Vec<_>>(), expected);
        for (name, mutant) in names {
            assert_ne!(mutant.of_store().is_some(), mutant.of_rest().is_some(), "{name}");
        }
    }
}
