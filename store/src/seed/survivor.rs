//! What is left of a cluster that lost its majority for good becomes a new cluster.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use higuma_model::{ClusterId, Timestamp};

use super::{End, Seat, SeedError};
use crate::history::apply_command;
use crate::identity::{DataFolder, FolderError, Identity};
use crate::machine::Machine;
use crate::open::{Durable, OpenError, durable};
use crate::options::NodeId;
use crate::proto;
use crate::raft::types::{LogId, Payload};

/// Why a node's data can't become a new cluster's. Nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum SurvivorError {
    #[error("{} holds no data of a node: give the data folder of the one that is left", path.display())]
    NoData { path: PathBuf },
    #[error(
        "{} is the data of a zone, which follows a global: only a global's nodes are a cluster that \
         can lose its majority. Start the zone as it is",
        path.display()
    )]
    Zone { path: PathBuf },
    #[error(
        "node {node} is the only member of cluster {cluster}: there is no majority to lose. Start it \
         as it is"
    )]
    Alone { node: NodeId, cluster: ClusterId },
    #[error(
        "an earlier `force-new` was cut short here and is done now: node {node} begins cluster \
         {cluster}. Start it"
    )]
    Ended { node: NodeId, cluster: ClusterId },
    #[error("node {0} holds no entry and no snapshot: it never took part in its cluster")]
    Empty(NodeId),
    #[error(transparent)]
    Open(#[from] OpenError),
    #[error("entry {index} can't be applied: {why}")]
    Entry { index: u64, why: String },
    #[error("reading the log: {0}")]
    Read(#[from] std::io::Error),
    #[error(transparent)]
    Seed(#[from] SeedError),
}

impl From<FolderError> for SurvivorError {
    fn from(error: FolderError) -> Self {
        Self::Open(error.into())
    }
}

/// What a survivor has, for whoever decides whether that is enough.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Remains {
    pub cluster: ClusterId,
    pub node: NodeId,
    /// Of the old cluster, by number.
    pub members: BTreeMap<NodeId, String>,
    /// Whether its vote counted.
    pub is_voter: bool,
    /// The last entry of its log.
    pub last_index: u64,
    pub last_term: u64,
    /// The last entry that it knew to be committed: acknowledged, or about to be.
    pub committed_index: u64,
    /// The state with all of its entries.
    pub version: u64,
    pub resources: usize,
    /// When the last request was taken, by the clock of the node that took it; none in a day.
    pub newest: Option<Timestamp>,
}

/// A survivor's folder, locked, and all that is in it.
#[derive(Debug)]
pub struct Survivor {
    folder: DataFolder,
    machine: Machine,
    last: proto::LogId,
    term: u64,
    remains: Remains,
}

impl Survivor {
    /// Reads the folder of a node that does not run: its snapshot and its whole log, what was not
    /// known to be committed included.
    ///
    /// # Errors
    /// The node runs, the folder is another's or damaged, or nothing in it needs this.
    pub async fn open(path: &Path) -> Result<Self, SurvivorError> {
        let no_data = || SurvivorError::NoData { path: path.to_owned() };
        if !path.join("identity").exists() && !path.join("incoming").exists() {
            return Err(no_data());
        }
        let folder = DataFolder::lock(path)?;
        let ended = folder.take_in()?;
        folder.abandon()?;
        let identity = folder.owner()?.ok_or_else(no_data)?;
        if ended {
            let Identity { cluster, node } = identity;
            return Err(SurvivorError::Ended { node, cluster });
        }
        let survivor = Self::read(folder, identity).await?;
        if survivor.machine.snapshot().upstream().is_some() {
            return Err(SurvivorError::Zone { path: path.to_owned() });
        }
        let Remains { cluster, node, members, .. } = &survivor.remains;
        if members.len() == 1 && members.contains_key(node) {
            return Err(SurvivorError::Alone { node: *node, cluster: *cluster });
        }
        Ok(survivor)
    }

    async fn read(folder: DataFolder, identity: Identity) -> Result<Self, SurvivorError> {
        let Identity { cluster, node } = identity;
        let Durable { mut log, writer, state, .. } = durable(&folder, identity, true).await?;
        let (mut machine, mut last, mut membership) = match state {
            Some(state) => {
                (state.machine, Some(LogId::from(state.place.last)), state.place.membership)
            }
            None => (Machine::new(cluster), None, proto::Membership::default()),
        };
        let mut committed = last;
        let reader = log.reader();
        loop {
            let entries = reader.some(last.map_or(0, |id| id.index + 1), u64::MAX);
            if entries.is_empty() {
                break;
            }
            for entry in entries {
                let index = entry.log_id.index;
                last = Some(entry.log_id);
                match entry.payload {
                    Payload::Blank { nonce } => {
                        machine.begin_term(entry.log_id.leader_id.term, index, nonce);
                    }
                    Payload::Membership(next) => membership = (&next).into(),
                    Payload::Command(command) => {
                        let applied = apply_command(&mut machine, index, &command.0);
                        let why = |e: crate::codec::Undecodable| e.to_string();
                        applied.map_err(|e| SurvivorError::Entry { index, why: why(e) })?;
                    }
                }
            }
        }
        let (known, vote) = log.known().await?;
        committed = committed.max(known);
        drop((log, reader));
        let ended = tokio::task::spawn_blocking(move || writer.join()).await;
        ended.map_err(std::io::Error::other)?;
        let last = proto::LogId::from(last.ok_or(SurvivorError::Empty(node))?);
        let voters = membership.configs.iter().any(|voters| voters.id.contains(&node));
        let members = membership.members.into_iter().map(|m| (m.id, m.address)).collect();
        let snapshot = machine.snapshot();
        let remains = Remains {
            cluster,
            node,
            members,
            is_voter: voters,
            last_index: last.index,
            last_term: last.term,
            committed_index: committed.map_or(0, |id| id.index),
            version: snapshot.version(),
            resources: snapshot.len(),
            newest: snapshot.results().map(|(id, _)| id.at).max(),
        };
        Ok(Self { folder, machine, last, term: vote.max(last.term), remains })
    }

    pub fn remains(&self) -> &Remains {
        &self.remains
    }

    /// Where the old contents of the folder are kept once it is another cluster's.
    pub fn aside(&self) -> String {
        format!("before-{}", self.remains.cluster)
    }

    /// Makes the folder the beginning of a new cluster of `members`, this node first.
    ///
    /// # Errors
    /// It can't be written. The folder is as it was then, unless a rename failed midway: then the node does
    /// not start, and the same command goes on.
    pub fn force_new(&self, members: &BTreeMap<NodeId, String>) -> Result<ClusterId, SeedError> {
        let end = End {
            last: self.last,
            term: self.term,
            base: self.machine.base(),
            epoch_term: self.machine.epoch_term(),
        };
        let seat = Seat { folder: &self.folder, node: self.remains.node, members };
        seat.take(self.machine.snapshot(), &end, &self.aside())
    }
}
