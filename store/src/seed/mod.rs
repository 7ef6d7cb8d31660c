//! Data folders that a new cluster begins with: made from a backup, or from what the survivor of a
//! lost majority has. Offline, and under the folder's lock.
//!
//! A folder gets one snapshot, at the last entry of a log that is purged up to there, under a new
//! cluster id. Whoever followed the old cluster finds in the state that this one goes on from it
//! ([`Snapshot::predecessors`](higuma_model::Snapshot::predecessors)).

mod restore;
mod survivor;

use std::collections::BTreeMap;

use higuma_model::{ClusterId, Snapshot};
use prost::Message as _;

use crate::identity::{DataFolder, FolderError, Identity};
use crate::log::disk::Folder;
use crate::log::{self, Batch, Log, Record};
use crate::machine::Machine;
use crate::options::NodeId;
use crate::proto;
use crate::snapshot::{Found, Place, SnapshotError, State};

pub use restore::{RestoreError, restore};
pub use survivor::{Remains, Survivor, SurvivorError};

/// Versions that a new cluster leaves out. What the old one acknowledged after the state that this one
/// begins with had higher versions; none of them, kept as an `ETag` by some caller, shall be taken
/// for one of this cluster. (A thousand writes a second for eleven days.)
pub(crate) const VERSIONS_LEFT_OUT: u64 = 1_000_000_000;

/// Why a folder was not made a new cluster's. What was begun is removed.
#[derive(Debug, thiserror::Error)]
pub enum SeedError {
    #[error(transparent)]
    Folder(#[from] FolderError),
    #[error(transparent)]
    Snapshot(#[from] SnapshotError),
    #[error(transparent)]
    Log(#[from] log::OpenError),
    #[error("the new log can't be written: {0}")]
    Commit(String),
    #[error("the members of the new cluster must name node {node}, which has its state: {named:?}")]
    NotAMember { node: NodeId, named: Vec<NodeId> },
    #[error(
        "the state must be given to the node with the lowest number, {first}, not to node {node}: \
         that is the one which tells the others of their cluster. Number the others higher"
    )]
    NotFirst { node: NodeId, first: NodeId },
}

/// A new cluster: who has its state, and who else takes part.
struct Seat<'a> {
    folder: &'a DataFolder,
    node: NodeId,
    members: &'a BTreeMap<NodeId, String>,
}

/// The log that a new cluster goes on from.
struct End {
    last: proto::LogId,
    /// No vote of an earlier life is forgotten.
    term: u64,
    /// Added to an index it is a version.
    base: u64,
    epoch_term: u64,
}

impl Seat<'_> {
    fn check(&self) -> Result<(), SeedError> {
        let node = self.node;
        if !self.members.contains_key(&node) {
            let named = self.members.keys().copied().collect();
            return Err(SeedError::NotAMember { node, named });
        }
        match self.members.keys().next() {
            Some(&first) if first != node => Err(SeedError::NotFirst { node, first }),
            _ => Ok(()),
        }
    }

    /// Makes the folder the beginning of a cluster that succeeds the one of `state`. What is in it goes to
    /// the folder `aside` within it.
    fn take(&self, state: &Snapshot, end: &End, aside: &str) -> Result<ClusterId, SeedError> {
        self.check()?;
        let cluster = crate::forming::draw();
        let snapshot = state.succeeded_by(cluster);
        let compacted = snapshot.version();
        let machine = Machine::restored(snapshot, end.base + VERSIONS_LEFT_OUT, end.epoch_term);
        let machine = machine.compacted_to(compacted);
        let state = State { place: self.place(end), machine };
        match self.lay_out(&state, end.term, aside) {
            Ok(()) => Ok(cluster),
            Err(error) => {
                if let Err(error) = self.folder.abandon() {
                    tracing::error!(%error, "what was begun can't be removed");
                }
                Err(error)
            }
        }
    }

    fn place(&self, end: &End) -> Place {
        let member = |(id, address): (&NodeId, &String)| proto::membership::Member {
            id: *id,
            address: address.clone(),
        };
        let voters = proto::membership::Voters { id: self.members.keys().copied().collect() };
        Place {
            last: end.last,
            membership_at: Some(end.last),
            membership: proto::Membership {
                highest: 0,
                configs: vec![voters],
                members: self.members.iter().map(member).collect(),
            },
        }
    }

    fn lay_out(&self, state: &State, term: u64, aside: &str) -> Result<(), SeedError> {
        let identity = Identity { cluster: state.machine.snapshot().cluster(), node: self.node };
        let incoming = self.folder.incoming()?;
        let snapshots = Folder::new(incoming.snapshots_path()?, true);
        let (snapshots, _) = Found::read(snapshots, identity.cluster)?.serve(None)?;
        snapshots.write(state)?;
        let options = log::Options { prepare_ahead: false, ..log::Options::default() };
        let disk = Folder::new(incoming.log_path()?, true);
        let mut log = Log::open(disk, identity, options, false, &mut |_| Ok(()))?;
        let vote = proto::Vote { term, candidate: self.node, committed: false }.encode_to_vec();
        let last = state.place.last;
        let id = last.encode_to_vec();
        let mut batch = Batch::default();
        batch.push(Record::Vote(&vote));
        batch.push(Record::Purge { index: last.index, id: &id });
        log.commit(&batch).map_err(|error| SeedError::Commit(error.to_string()))?;
        drop(log);
        incoming.complete(identity, self.members.len() > 1, aside)?;
        drop(incoming);
        self.folder.take_in()?;
        Ok(())
    }
}

#[cfg(test)]
mod tests;
