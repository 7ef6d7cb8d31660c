//! A member that takes part in its cluster: what it proposes, reads and says of itself.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use higuma_model::{ClusterId, Outcome};
use openraft::async_runtime::watch::WatchReceiver;
use openraft::errors::{ClientWriteError, Fatal, LinearizableReadError, RaftError};
use openraft::raft::linearizable_read::LinearizerOption;
use openraft::{Instant as _, ReadPolicy};
use tokio::sync::watch;

use super::intake::Intake;
use super::network::Links;
use super::roster::Roster;
use super::state_machine::{Applied, Files, StateMachine};
use super::types::{Command, NodeId, Types};
use super::warden::Sight;
use crate::{codec, proto};

pub(crate) type Raft = openraft::Raft<Types, StateMachine>;

/// What became of a proposal.
#[derive(Debug)]
pub(crate) enum Proposed {
    Applied {
        index: u64,
        outcome: Outcome,
    },
    /// This node does not lead: nothing was proposed.
    NotLeader(Option<NodeId>),
    /// Nothing was proposed.
    Busy(String),
    /// Proposed, and its fate is not known.
    Unknown(String),
}

/// Why a read index could not be had.
#[derive(Debug)]
pub(crate) enum Unread {
    NotLeader(Option<NodeId>),
    Unavailable(String),
}

pub(crate) struct Running {
    pub(crate) raft: Raft,
    pub(crate) cluster: ClusterId,
    pub(crate) applied: watch::Receiver<Applied>,
    /// How long a leader goes without an answer of a majority before it refuses proposals.
    pub(crate) quorum_patience: Duration,
    pub(crate) files: Arc<Files>,
    pub(crate) roster: Roster,
    /// How to call a node that is no member yet.
    pub(super) links: Links,
    /// Room on the disks, as last seen.
    room: watch::Receiver<Sight>,
    intake: Intake,
}

impl Running {
    pub(crate) fn new(
        raft: Raft,
        cluster: ClusterId,
        quorum_patience: Duration,
        (applied, room): (watch::Receiver<Applied>, watch::Receiver<Sight>),
        (files, roster, links): (Arc<Files>, Roster, Links),
    ) -> Self {
        let intake = Intake::new();
        Self { raft, cluster, applied, quorum_patience, files, roster, links, room, intake }
    }

    pub(crate) fn node(&self) -> NodeId {
        *self.raft.node_id()
    }

    pub(crate) fn leader(&self) -> Option<NodeId> {
        self.raft.server_metrics().borrow_watched().current_leader
    }

    /// Whether its log has begun.
    pub(crate) async fn is_formed(&self) -> Result<bool, Fatal<Types>> {
        self.raft.is_initialized().await
    }

    /// Whether a leader has not heard from a majority for longer than it should.
    fn has_lost_quorum(&self) -> bool {
        let metrics = self.raft.metrics();
        let metrics = metrics.borrow_watched();
        let voters = metrics.membership_config.membership().voter_ids().count();
        let acked = metrics.last_quorum_acked.as_ref();
        voters > 1 && acked.is_some_and(|at| at.elapsed() > self.quorum_patience)
    }

    /// Proposes a command if this node leads, and waits up to `limit` until it is applied here.
    pub(crate) async fn propose(&self, command: Bytes, limit: Duration) -> Proposed {
        let leader = self.leader();
        if leader != Some(self.node()) {
            return Proposed::NotLeader(leader);
        }
        if self.has_lost_quorum() {
            return Proposed::Busy("the leader hears from no majority".to_owned());
        }
        if let Some(why) =
            self.room.borrow().refusal.clone().filter(|_| !codec::only_frees(&command))
        {
            return Proposed::Busy(why.to_string());
        }
        let _admitted = match self.intake.enter(command.len()) {
            Ok(admitted) => admitted,
            Err(full) => return Proposed::Busy(full),
        };
        let written = tokio::time::timeout(limit, self.raft.client_write(Command(command))).await;
        match written {
            Ok(Ok(response)) => match response.data.0 {
                Some(outcome) => Proposed::Applied { index: response.log_id.index, outcome },
                None => Proposed::Unknown("the entry holds no command".to_owned()),
            },
            Ok(Err(RaftError::APIError(ClientWriteError::ForwardToLeader(forward)))) => {
                Proposed::NotLeader(forward.leader_id)
            }
            Ok(Err(error)) => Proposed::Unknown(error.to_string()),
            Err(_) => Proposed::Unknown(format!("not committed within {} ms", limit.as_millis())),
        }
    }

    /// The index that a linearizable read waits for, confirmed by a majority within `limit`.
    pub(crate) async fn read_index(&self, limit: Duration) -> Result<u64, Unread> {
        let option = LinearizerOption::from(ReadPolicy::ReadIndex).with_wait_timeout(limit);
        match self.raft.get_read_linearizer(option).await {
            Ok(linearizer) => Ok(linearizer.read_log_id().index()),
            Err(RaftError::APIError(LinearizableReadError::ForwardToLeader(forward))) => {
                Err(Unread::NotLeader(forward.leader_id))
            }
            Err(error) => Err(Unread::Unavailable(error.to_string())),
        }
    }

    /// Waits until this node has applied up to `index`; false: not within `limit`.
    pub(crate) async fn wait_applied(&self, index: u64, limit: Duration) -> bool {
        let mut applied = self.applied.clone();
        let reached = applied.wait_for(|applied| applied.index >= index);
        matches!(tokio::time::timeout(limit, reached).await, Ok(Ok(_)))
    }

    pub(crate) fn status(&self) -> proto::StatusReply {
        let metrics = self.raft.metrics();
        let metrics = metrics.borrow_watched();
        let applied = self.applied.borrow();
        let snapshot = &applied.snapshot;
        let room = self.room.borrow().own;
        let kept = self.files.newest();
        proto::StatusReply {
            node: self.node(),
            term: metrics.current_term,
            leader: metrics.current_leader.unwrap_or_default(),
            last_index: metrics.last_log_index.unwrap_or_default(),
            applied_index: applied.index,
            version: snapshot.version(),
            epoch: snapshot.epochs().next_back().map_or(0, |epoch| epoch.nonce),
            resources: snapshot.len() as u64,
            content: Bytes::copy_from_slice(&snapshot.content().to_be_bytes()),
            snapshot_index: metrics.snapshot.map_or(0, |id| id.index),
            purged_index: metrics.purged.map_or(0, |id| id.index),
            disk_free: room.free,
            disk_low: room.is_low,
            commands: codec::COMMANDS,
            snapshot_version: kept.as_ref().map_or(0, |kept| applied.base + kept.place.last.index),
            snapshot_bytes: kept.map_or(0, |kept| kept.bytes),
        }
    }
}
