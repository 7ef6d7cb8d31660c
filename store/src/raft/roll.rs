//! Which numbers of nodes are taken, by what is applied: a number is never used twice.

use std::collections::BTreeSet;

use super::types::{Membership, NodeId};

/// The members, and the highest number that one ever had. The same at every node that applied the
/// same entries. Only higher numbers are given out, so whoever has a lower one and is no member
/// was one.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Roll {
    highest: NodeId,
    members: BTreeSet<NodeId>,
}

impl Roll {
    /// As a snapshot says it.
    pub(crate) fn new(highest: NodeId, membership: &Membership) -> Self {
        let mut this = Self { highest, members: BTreeSet::new() };
        this.take(membership);
        this
    }

    /// Another set of members, learners included.
    pub(crate) fn take(&mut self, membership: &Membership) {
        self.members = membership.nodes().map(|(id, _)| *id).collect();
        self.highest = self.highest.max(self.members.last().copied().unwrap_or_default());
    }

    pub(crate) fn highest(&self) -> NodeId {
        self.highest
    }

    pub(crate) fn has_removed(&self, id: NodeId) -> bool {
        id <= self.highest && !self.members.contains(&id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::raft::types::Peer;

    #[test]
    fn a_lower_number_without_a_member_is_that_of_one_that_was_removed() {
        let membership = |ids: &[NodeId]| {
            let ids: BTreeSet<NodeId> = ids.iter().copied().collect();
            let peers = ids.iter().map(|id| (*id, Peer::default())).collect::<Vec<_>>();
            let peers: std::collections::BTreeMap<_, _> = peers.into_iter().collect();
            Membership::new(vec![ids], peers).unwrap()
        };
        let mut roll = Roll::default();
        assert!(!roll.has_removed(1), "nothing is applied yet");
        roll.take(&membership(&[1, 2, 3]));
        assert!(!roll.has_removed(3) && !roll.has_removed(4), "4 may be added by what comes next");
        roll.take(&membership(&[1, 2, 3, 4]));
        roll.take(&membership(&[1, 2]));
        assert!(roll.has_removed(4) && roll.has_removed(3) && !roll.has_removed(5));
        assert_eq!(roll.highest(), 4);
        assert_eq!(Roll::new(4, &membership(&[1, 2])), roll);
    }
}
