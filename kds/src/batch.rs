//! What a receiver hands on: everything that becomes visible at once, already judged.

use std::sync::Arc;

use higuma_model::{ClusterId, Key, Received, Resource, Snapshot};

use crate::proto::higuma;
pub use crate::proto::higuma::Verdict;
use crate::wire::Direction;

/// A version and the history it counts in: of the global for a zone, of a zone's store for the
/// global.
pub use higuma_model::Upstream as Position;

/// Bytes of one batch on the wire. It becomes one entry of the receiver's log; an eighth of that
/// is left for what the entry says around each resource.
pub const MAX_BATCH_BYTES: usize = higuma_model::MAX_ENTRY_BYTES / 8 * 7;

const _: () = assert!(
    MAX_BATCH_BYTES >= higuma_model::MAX_TRANSACTION_BYTES + (128 << 10),
    "what a transaction holds travels in one batch, with what the wire says around each resource"
);

/// Characters of one reason, so that a verdict names the fault and not the whole resource.
pub const MAX_REASON_CHARS: usize = 400;

/// Verdicts that one NACK names. A batch holds at most some ten thousand resources; an operator
/// mends the first ones first, and the rest are named when those are.
pub const MAX_VERDICTS: usize = 256;

/// A batch to be written in one transaction, together with where it leads.
#[derive(Debug, Clone, PartialEq)]
pub struct Batch {
    pub direction: Direction,
    /// Where the receiver stands once this is written; absent from a Kuma peer, which has no
    /// versions.
    pub position: Option<Position>,
    /// The version that was written here when the batch came; absent where nothing was. The
    /// stream's own position may be above it by marks. A store that stands above writes the batch
    /// all the same (it holds last values), one below has lost something and must not.
    pub from: Option<u64>,
    /// The position that is given up for this, by an operator or to a cluster that goes on from the
    /// one followed so far: the batch is written in its place, whatever history it is of, and only
    /// there.
    pub replaces: Option<Position>,
    /// `modified_at` is 0 until it is written here; a Kuma peer's have no `version` either.
    pub upserts: Vec<Resource>,
    /// Explicit: absence from a list is already turned into removals, and never for a kind of
    /// which the list is empty.
    pub removed: Vec<Key>,
    /// What was refused and stays as it was; kept by the receiver until a newer version comes.
    pub refused: Vec<Verdict>,
}

impl Batch {
    /// The operation that writes it, and what was refused; none from a Kuma peer.
    pub fn into_received(self) -> Option<(Received, Vec<Verdict>)> {
        let zone = match self.direction {
            Direction::ToZone(_) => None,
            Direction::ToGlobal(zone) => Some(zone),
        };
        let (position, builds_on) = (self.position?, self.from);
        let (upserts, removed) = (self.upserts, self.removed);
        Some((Received { zone, position, builds_on, upserts, removed }, self.refused))
    }

    /// The zone at the other end, or at this one.
    pub fn zone(&self) -> &Arc<str> {
        self.direction.zone()
    }
}

/// Where a snapshot stands in its own history.
pub fn position_of(snapshot: &Snapshot) -> Position {
    let version = snapshot.version();
    Position { cluster: snapshot.cluster(), epoch: epoch_at(snapshot, version), version }
}

/// The nonce of a version's epoch; 0 before the first.
pub(crate) fn epoch_at(snapshot: &Snapshot, version: u64) -> u64 {
    snapshot.epoch_at(version).map_or(0, |epoch| epoch.nonce)
}

/// A cluster id as it is written everywhere: 32 hexadecimal digits.
pub(crate) fn parse_cluster(text: &str) -> Option<ClusterId> {
    let plain = text.len() == 32 && text.bytes().all(|c| c.is_ascii_hexdigit());
    plain.then(|| u128::from_str_radix(text, 16).ok().map(ClusterId)).flatten()
}

impl higuma::Commit {
    /// The type under which commits travel in discovery messages.
    pub const TYPE: &'static str = "higuma.Commit";

    pub(crate) fn at(position: Position, step: higuma::commit::Step) -> Self {
        Self {
            cluster_id: position.cluster.to_string(),
            epoch: position.epoch,
            version: position.version,
            step: step.into(),
            ..Default::default()
        }
    }

    /// The cluster that the sender's goes on from, and up to which of its versions.
    pub(crate) fn predecessor(&self) -> Option<(ClusterId, u64)> {
        Some((parse_cluster(&self.predecessor)?, self.predecessor_version))
    }

    pub(crate) fn position(&self) -> Option<Position> {
        let cluster = parse_cluster(&self.cluster_id)?;
        Some(Position { cluster, epoch: self.epoch, version: self.version })
    }
}
