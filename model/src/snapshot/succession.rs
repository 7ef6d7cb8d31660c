//! A cluster that goes on from another one's state: restored from its backup, or made of its survivor.

use super::{ClusterId, Contents, Snapshot, Upstream};

/// Predecessors that are remembered. Whoever followed an older one, and slept through this many
/// restores, is told that this is another history.
pub const MAX_PREDECESSORS: usize = 16;

impl Snapshot {
    /// The clusters that this one goes on from, oldest first: the version of each is the last one
    /// that came from there, with its epoch.
    pub fn predecessors(&self) -> impl DoubleEndedIterator<Item = &Upstream> + ExactSizeIterator {
        self.predecessors.iter()
    }

    /// The same state as another cluster's first. Versions and epochs stay, so that whoever
    /// followed this one no further than here goes on from where it stands.
    #[must_use]
    pub fn succeeded_by(&self, cluster: ClusterId) -> Self {
        let epoch = self.epoch_at(self.version).map_or(0, |epoch| epoch.nonce);
        let mut contents = Contents::of(self);
        contents.cluster = cluster;
        contents.predecessors.push(Upstream {
            cluster: self.cluster,
            epoch,
            version: self.version,
        });
        let forgotten = contents.predecessors.len().saturating_sub(MAX_PREDECESSORS);
        contents.predecessors.drain(..forgotten);
        Self::from(contents)
    }

    /// The predecessor in whose history `position` lies, if it is part of this one: not ahead of what came
    /// from there, and of the same epoch.
    pub fn predecessor_at(&self, position: Upstream) -> Option<Upstream> {
        let epoch = self.epoch_at(position.version).map_or(0, |epoch| epoch.nonce);
        let mut known = self.predecessors.iter();
        let known = known.find(|known| known.cluster == position.cluster)?;
        (position.version <= known.version && position.epoch == epoch).then_some(*known)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::snapshot::Epoch;

    const A: ClusterId = ClusterId(1);
    const B: ClusterId = ClusterId(2);
    const C: ClusterId = ClusterId(3);

    fn at(cluster: ClusterId, epoch: u64, version: u64) -> Upstream {
        Upstream { cluster, epoch, version }
    }

    /// Cluster A at version 9, whose epoch 11 ended with version 4.
    fn first() -> Snapshot {
        let mut contents = Contents::new(A);
        contents.version = 9;
        contents.epochs = vec![Epoch { nonce: 11, since: 1 }, Epoch { nonce: 12, since: 5 }];
        Snapshot::from(contents)
    }

    #[test]
    fn only_what_came_from_a_predecessor_is_part_of_this_history() {
        let mut contents = Contents::of(&first().succeeded_by(B));
        contents.version = 40;
        contents.epochs.push(Epoch { nonce: 21, since: 30 });
        let last = Snapshot::from(contents).succeeded_by(C);
        let (from_a, from_b) = (at(A, 12, 9), at(B, 21, 40));
        assert!(last.predecessors().eq([&from_a, &from_b]));
        for (position, expected) in [
            (at(A, 11, 4), Some(from_a)),
            (at(A, 12, 5), Some(from_a)),
            (at(A, 12, 9), Some(from_a)),
            (at(A, 12, 10), None),
            (at(A, 11, 5), None),
            (at(A, 13, 9), None),
            (at(B, 12, 9), Some(from_b)),
            (at(B, 21, 40), Some(from_b)),
            (at(B, 21, 41), None),
            (at(C, 21, 40), None),
        ] {
            assert_eq!(last.predecessor_at(position), expected, "{position:?}");
        }
    }

    #[test]
    fn all_but_the_identity_stays_and_old_predecessors_are_forgotten() {
        let mut snapshot = first();
        for cluster in 100..100 + MAX_PREDECESSORS as u128 + 1 {
            let next = snapshot.succeeded_by(ClusterId(cluster));
            let mut back = Contents::of(&next);
            back.cluster = snapshot.cluster();
            back.predecessors = snapshot.predecessors().copied().collect();
            assert_eq!(Snapshot::from(back), snapshot);
            snapshot = next;
        }
        assert_eq!(snapshot.predecessors().len(), MAX_PREDECESSORS);
        assert_eq!(snapshot.predecessors().next().map(|p| p.cluster), Some(ClusterId(100)));
    }
}
