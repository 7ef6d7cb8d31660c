//! The Raft endpoint: answers the other members.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, TransferLeaderRequest, VoteRequest,
};
use prost::bytes::Bytes;
use tonic::metadata::MetadataValue;
use tonic::{Request, Response, Status, Streaming};

use super::network::{CLUSTER_KEY, FROM_KEY, REMOVED_KEY, TO_KEY};
use super::receiving;
use super::running::{Proposed, Running, Unread};
use super::types::NodeId;
use super::wire;
use crate::codec::{cluster_bytes, cluster_id};
use crate::forming::Founding;
use crate::proto;
use crate::proto::raft_server;

/// How long a leader works on what a follower forwarded; the follower waits a little longer.
pub(crate) const FORWARD_LIMIT: Duration = Duration::from_secs(4);

/// Answers for one member; before it belongs to a cluster, only the calls of forming.
pub(crate) struct Service {
    pub(crate) node: NodeId,
    pub(crate) founding: Arc<Founding>,
    /// Belongs to no cluster yet, and waits for one that adds it.
    pub(crate) joins: bool,
    pub(crate) running: Arc<OnceLock<Running>>,
}

impl Service {
    /// The running member, if the call is meant for it: same cluster, this node.
    fn member<T>(&self, request: &Request<T>) -> Result<&Running, Status> {
        let metadata = request.metadata();
        let text = |key| metadata.get(key).and_then(|value| value.to_str().ok()).unwrap_or("");
        let from = text(FROM_KEY).parse::<NodeId>().unwrap_or_default();
        let running = self.running.get().ok_or_else(|| {
            self.founding.is_called(from, text(CLUSTER_KEY));
            Status::unavailable(format!("node {} belongs to no cluster yet", self.node))
        })?;
        let cluster = running.cluster.to_string();
        if text(CLUSTER_KEY) != cluster {
            return Err(Status::failed_precondition(format!(
                "node {} belongs to cluster {cluster}, the caller (node {from}) to {}: check the \
                 members' addresses",
                self.node,
                text(CLUSTER_KEY),
            )));
        }
        if text(TO_KEY) != self.node.to_string() {
            return Err(Status::failed_precondition(format!(
                "this is node {}, not node {}: check the members' addresses",
                self.node,
                text(TO_KEY)
            )));
        }
        if running.applied.borrow().roll.has_removed(from) {
            return Err(removed(from, &cluster));
        }
        Ok(running)
    }
}

/// What a node is told that was a member once.
fn removed(node: NodeId, cluster: &str) -> Status {
    let mut status = Status::failed_precondition(format!(
        "node {node} was removed from cluster {cluster}. What its data folder holds is of no more \
         use to it: delete it. This host can be a node again, under a new number: `higuma global run \
         --join`, then `higuma cluster add`"
    ));
    status.metadata_mut().insert(REMOVED_KEY, MetadataValue::from_static("true"));
    status
}

fn malformed(what: &str) -> Status {
    Status::invalid_argument(format!("malformed {what}"))
}

#[tonic::async_trait]
impl raft_server::Raft for Service {
    async fn hello(
        &self,
        _: Request<proto::HelloRequest>,
    ) -> Result<Response<proto::HelloReply>, Status> {
        let cluster = self.founding.cluster().await;
        let formed = match self.running.get() {
            Some(running) => running.is_formed().await,
            None => Ok(false),
        };
        let formed = formed.map_err(|error| Status::internal(error.to_string()))?;
        Ok(Response::new(proto::HelloReply {
            node: self.node,
            cluster: cluster.map_or_else(Bytes::new, cluster_bytes),
            formed,
            joins: self.joins && cluster.is_none(),
        }))
    }

    async fn form(
        &self,
        request: Request<proto::FormRequest>,
    ) -> Result<Response<proto::FormReply>, Status> {
        let request = request.into_inner();
        let cluster = cluster_id(&request.cluster).map_err(|_| malformed("cluster id"))?;
        self.founding
            .adopt(cluster)
            .await
            .map_err(|error| Status::failed_precondition(format!("node {}: {error}", self.node)))?;
        Ok(Response::new(proto::FormReply {}))
    }

    async fn append(
        &self,
        request: Request<proto::AppendRequest>,
    ) -> Result<Response<proto::AppendReply>, Status> {
        use proto::append_reply::{Partial, Result as Wire};
        let running = self.member(&request)?;
        let request = request.into_inner();
        let entries: Result<_, _> = request.entries.into_iter().map(wire::entry).collect();
        let rpc = AppendEntriesRequest {
            vote: request.vote.ok_or_else(|| malformed("vote"))?.into(),
            prev_log_id: request.previous.map(Into::into),
            entries: entries.map_err(|error| Status::invalid_argument(error.to_string()))?,
            leader_commit: request.committed.map(Into::into),
        };
        let reply = running.raft.append_entries(rpc).await;
        let result = match reply.map_err(|error| Status::internal(error.to_string()))? {
            AppendEntriesResponse::Success => Wire::Success(true),
            AppendEntriesResponse::PartialSuccess(last) => {
                Wire::Partial(Partial { last: last.map(Into::into) })
            }
            AppendEntriesResponse::Conflict => Wire::Conflict(true),
            AppendEntriesResponse::HigherVote(vote) => Wire::HigherVote(vote.into()),
        };
        Ok(Response::new(proto::AppendReply { result: Some(result) }))
    }

    async fn vote(
        &self,
        request: Request<proto::VoteRequest>,
    ) -> Result<Response<proto::VoteReply>, Status> {
        let running = self.member(&request)?;
        let request = request.into_inner();
        let vote = request.vote.ok_or_else(|| malformed("vote"))?.into();
        let mut rpc = VoteRequest::new(vote, request.last.map(Into::into));
        rpc.leadership_transfer = request.leadership_transfer;
        let reply = if request.pre_vote {
            running.raft.pre_vote(rpc).await
        } else {
            running.raft.vote(rpc).await
        };
        let reply = reply.map_err(|error| Status::internal(error.to_string()))?;
        Ok(Response::new(proto::VoteReply {
            vote: Some(reply.vote.into()),
            granted: reply.vote_granted,
            last: reply.last_log_id.map(Into::into),
        }))
    }

    async fn transfer_leader(
        &self,
        request: Request<proto::TransferLeaderRequest>,
    ) -> Result<Response<proto::TransferLeaderReply>, Status> {
        let running = self.member(&request)?;
        let request = request.into_inner();
        let from = request.from.ok_or_else(|| malformed("vote"))?.into();
        let rpc = TransferLeaderRequest::new(from, request.to, request.last.map(Into::into));
        let reply = running.raft.handle_transfer_leader(rpc).await;
        let reply = reply.map_err(|error| Status::internal(error.to_string()))?;
        Ok(Response::new(match reply {
            Ok(()) => proto::TransferLeaderReply { accepted: true, why_not: String::new() },
            Err(why) => proto::TransferLeaderReply { accepted: false, why_not: why.to_string() },
        }))
    }

    async fn offer_snapshot(
        &self,
        request: Request<proto::SnapshotOffer>,
    ) -> Result<Response<proto::SnapshotWanted>, Status> {
        let running = self.member(&request)?;
        receiving::wanted(running, request.into_inner()).await.map(Response::new)
    }

    async fn send_snapshot(
        &self,
        request: Request<Streaming<proto::SnapshotChunk>>,
    ) -> Result<Response<proto::SnapshotReply>, Status> {
        let running = self.member(&request)?;
        receiving::receive(running, request.into_inner()).await.map(Response::new)
    }

    async fn propose(
        &self,
        request: Request<proto::ProposeRequest>,
    ) -> Result<Response<proto::ProposeReply>, Status> {
        use proto::propose_reply::{Applied, Result as Wire};
        let running = self.member(&request)?;
        let command = request.into_inner().command;
        let result = match running.propose(command, FORWARD_LIMIT).await {
            Proposed::Applied { index, outcome } => {
                Wire::Applied(Applied { outcome: Some((&outcome).into()), index })
            }
            Proposed::NotLeader(leader) => Wire::Leader(leader.unwrap_or_default()),
            Proposed::Busy(why) => Wire::Busy(why),
            Proposed::Unknown(why) => Wire::Unknown(why),
        };
        Ok(Response::new(proto::ProposeReply { result: Some(result) }))
    }

    async fn read_index(
        &self,
        request: Request<proto::ReadIndexRequest>,
    ) -> Result<Response<proto::ReadIndexReply>, Status> {
        use proto::read_index_reply::Result as Wire;
        let running = self.member(&request)?;
        let result = match running.read_index(FORWARD_LIMIT).await {
            Ok(index) => Wire::Index(index),
            Err(Unread::NotLeader(leader)) => Wire::Leader(leader.unwrap_or_default()),
            Err(Unread::Unavailable(why)) => Wire::Unavailable(why),
        };
        Ok(Response::new(proto::ReadIndexReply { result: Some(result) }))
    }

    async fn administer(
        &self,
        request: Request<proto::AdministerRequest>,
    ) -> Result<Response<proto::AdministerReply>, Status> {
        let running = self.member(&request)?;
        let order = request.into_inner().order.ok_or_else(|| malformed("order"))?;
        Ok(Response::new(running.obey(order).await.into()))
    }

    async fn status(
        &self,
        request: Request<proto::StatusRequest>,
    ) -> Result<Response<proto::StatusReply>, Status> {
        Ok(Response::new(self.member(&request)?.status()))
    }
}
