//! When a receiver refuses to follow its sender at all.

use std::collections::BTreeMap;

use higuma_model::{ClusterId, Key, Kind, Snapshot};

use crate::batch::Position;
use crate::proto::higuma::commit::Course;
use crate::wire::Direction;

/// An inventory's answer that removes more of a kind than both of these is taken for a sender that
/// lost its state: an operator's real clean-up of that size while the stream was away is rare, and
/// costs one command.
const MANY: usize = 50;
const MANY_PERCENT: usize = 20;

/// Why this end follows nothing from that sender, and what mends it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Fence {
    #[error(
        "the sender is cluster {got}, but what is here came from cluster {have}: correct the \
         address, or let the zone follow the other cluster with `higuma zone adopt`"
    )]
    AnotherCluster { have: ClusterId, got: ClusterId },
    #[error("the sender is cluster {got}, but this end is pinned to {pinned}: correct either")]
    NotPinned { pinned: ClusterId, got: ClusterId },
    #[error(
        "the sender's history up to version {} is not the one that was followed here: it was \
         restored or formed anew. The zone keeps what it has until `higuma zone adopt`", have.version
    )]
    AnotherHistory { have: Position },
    #[error(
        "the sender's cluster is at version {got}, behind version {} that was followed here: it \
         was rolled back. The zone keeps what it has until `higuma zone adopt`", have.version
    )]
    RolledBack { have: Position, got: u64 },
    #[error(
        "the sender would remove {removed} of {of} {kind} resources after a long absence. The \
         zone keeps them until `higuma zone adopt`"
    )]
    MassRemoval { kind: Kind, removed: usize, of: usize },
}

/// What a sender says of itself when a stream opens.
#[derive(Debug, Clone, Copy)]
pub(super) struct Opening {
    pub(super) at: Position,
    pub(super) course: Course,
    /// The cluster that its own goes on from, and up to which version of that one.
    pub(super) predecessor: Option<(ClusterId, u64)>,
}

/// Whether an opening is of another history than the one at `own`.
pub(super) fn judge(
    own: Option<Position>,
    pinned: Option<ClusterId>,
    opening: Opening,
) -> Option<Fence> {
    let Opening { at, course, predecessor } = opening;
    if let Some(pinned) = pinned.filter(|pinned| *pinned != at.cluster) {
        return Some(Fence::NotPinned { pinned, got: at.cluster });
    }
    let have = own?;
    let goes_on =
        |(cluster, last): (ClusterId, u64)| have.cluster == cluster && have.version <= last;
    if have.cluster != at.cluster && !predecessor.is_some_and(goes_on) {
        return Some(Fence::AnotherCluster { have: have.cluster, got: at.cluster });
    }
    match course {
        Course::RolledBack => Some(Fence::RolledBack { have, got: at.version }),
        // A list means that the sender does not know the position that it was told.
        Course::Foreign | Course::List => Some(Fence::AnotherHistory { have }),
        Course::None | Course::Resume | Course::Inventory => None,
    }
}

pub(super) fn mass_removal(
    direction: &Direction,
    removed: &[Key],
    local: &Snapshot,
) -> Option<Fence> {
    let mut by_kind = BTreeMap::<Kind, usize>::new();
    for key in removed {
        *by_kind.entry(key.kind()).or_default() += 1;
    }
    by_kind.into_iter().filter(|(_, removed)| *removed > MANY).find_map(|(kind, removed)| {
        let synced = local.of_kind(kind).filter(|r| direction.may_write(&r.owner));
        let of = synced.count();
        let many = removed * 100 > of * MANY_PERCENT;
        many.then_some(Fence::MassRemoval { kind, removed, of })
    })
}
