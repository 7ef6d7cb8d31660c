//! What only the leader can do, asked of it by whichever member is called.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use higuma_model::{Outcome, Snapshot};
use tokio::time::Instant;

use super::{LEADER_LIMIT, ReadError, STATUS_LIMIT, Store};
use crate::options::NodeId;
use crate::proto;
use crate::raft::running::{Proposed, Unread};
use crate::raft::service::FORWARD_LIMIT;

impl Store {
    pub(super) async fn propose(&self, command: Bytes, limit: Duration) -> Proposed {
        match self.running().propose(command.clone(), limit).await {
            Proposed::NotLeader(Some(leader)) => self.forward(leader, command, limit).await,
            proposed => proposed,
        }
    }

    /// Sends a proposal to the leader, once.
    async fn forward(&self, leader: NodeId, command: Bytes, limit: Duration) -> Proposed {
        use proto::propose_reply::Result as Wire;
        let Some(mut client) = self.running().roster.client(leader) else {
            return Proposed::NotLeader(None);
        };
        let limit = limit.min(FORWARD_LIMIT + STATUS_LIMIT);
        let proposed = client.propose(proto::ProposeRequest { command });
        let reply = match self.while_leading(leader, limit, proposed).await {
            Ok(Ok(reply)) => reply.into_inner().result,
            // Refused before it was read: another cluster, or no member yet.
            Ok(Err(status)) if status.code() == tonic::Code::FailedPrecondition => {
                return Proposed::Busy(status.message().to_owned());
            }
            // Never sent: the leader that is still named is gone.
            Ok(Err(status)) if is_unconnected(&status) => return Proposed::NotLeader(None),
            Ok(Err(status)) => return Proposed::Unknown(status.message().to_owned()),
            Err(why) => return Proposed::Unknown(why),
        };
        match reply {
            Some(Wire::Applied(applied)) => match applied.outcome.map(Outcome::try_from) {
                Some(Ok(outcome)) => Proposed::Applied { index: applied.index, outcome },
                _ => Proposed::Unknown(format!("node {leader} answered in an unknown form")),
            },
            Some(Wire::Leader(leader)) => Proposed::NotLeader(Some(leader).filter(|id| *id != 0)),
            Some(Wire::Busy(why)) => Proposed::Busy(why),
            Some(Wire::Unknown(why)) => Proposed::Unknown(why),
            None => Proposed::Unknown(format!("node {leader} answered in an unknown form")),
        }
    }

    pub(super) async fn linearizable(&self) -> Result<Arc<Snapshot>, ReadError> {
        let started = Instant::now();
        loop {
            let left = LEADER_LIMIT.saturating_sub(started.elapsed());
            let why = match self.read_index(left).await {
                Ok(index) => {
                    if self.running().wait_applied(index, left).await {
                        return Ok(self.running().applied.borrow().snapshot.clone());
                    }
                    format!("entry {index} is not applied here yet")
                }
                Err(Unread::NotLeader(None)) => "no leader is known".to_owned(),
                Err(Unread::NotLeader(Some(leader))) => format!("node {leader} leads only now"),
                Err(Unread::Unavailable(why)) => why,
            };
            if started.elapsed() >= LEADER_LIMIT {
                let missing = self.missing().await;
                return Err(ReadError::Unavailable(format!("{why}; {missing}")));
            }
            self.leader_changes(LEADER_LIMIT.saturating_sub(started.elapsed())).await;
        }
    }

    async fn read_index(&self, limit: Duration) -> Result<u64, Unread> {
        use proto::read_index_reply::Result as Wire;
        let leader = match self.running().leader() {
            Some(leader) if leader == self.inner.node => {
                return self.running().read_index(limit).await;
            }
            Some(leader) => leader,
            None => return Err(Unread::NotLeader(None)),
        };
        let Some(mut client) = self.running().roster.client(leader) else {
            return Err(Unread::NotLeader(None));
        };
        let asked = client.read_index(proto::ReadIndexRequest {});
        match self.while_leading(leader, limit, asked).await {
            Ok(Ok(reply)) => match reply.into_inner().result {
                Some(Wire::Index(index)) => Ok(index),
                Some(Wire::Leader(leader)) => {
                    Err(Unread::NotLeader(Some(leader).filter(|id| *id != 0)))
                }
                Some(Wire::Unavailable(why)) => Err(Unread::Unavailable(why)),
                None => Err(Unread::Unavailable("unknown answer".to_owned())),
            },
            Ok(Err(status)) => Err(Unread::Unavailable(status.message().to_owned())),
            Err(why) => Err(Unread::Unavailable(why)),
        }
    }

    /// What `leader` answers, or why nobody need wait for it any longer: one that is paused or cut
    /// off says nothing, and the others elect another long before `limit`.
    async fn while_leading<T>(
        &self,
        leader: NodeId,
        limit: Duration,
        answer: impl Future<Output = T>,
    ) -> Result<T, String> {
        tokio::select! {
            answer = tokio::time::timeout(limit, answer) => {
                answer.map_err(|_| format!("node {leader} did not answer"))
            }
            _ = self.leader_is_not(Some(leader)) => {
                Err(format!("node {leader} stopped leading before it answered"))
            }
        }
    }

    /// Waits until another leader is known, or for a moment: a leader may also come back.
    pub(super) async fn leader_changes(&self, limit: Duration) {
        let moment = limit.min(Duration::from_millis(50));
        // Running out is no error here: the caller tries again and counts the time.
        let _ = tokio::time::timeout(moment, self.leader_is_not(self.leader())).await;
    }
}

/// Whether a call failed before a connection was made, so that nothing was sent.
pub(super) fn is_unconnected(status: &tonic::Status) -> bool {
    let first = std::error::Error::source(status);
    std::iter::successors(first, |error| error.source())
        .any(|error| error.is::<tonic::ConnectError>())
}
