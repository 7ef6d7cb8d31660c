//! Calls to the other members: openraft's network over tonic, and the calls of this store.

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use higuma_model::{ClusterId, ClusterName};
use openraft::alias::{SnapshotOf, VoteOf};
use openraft::errors::{
    NetworkError, RPCError, ReplicationClosed, StreamingError, Timeout, Unreachable,
};
use openraft::network::{Backoff, RPCOption, RPCTypes, RaftNetworkFactory, RaftNetworkV2};
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, TransferLeaderRequest,
    TransferLeaderResponse, VoteRequest, VoteResponse,
};
use tonic::metadata::MetadataValue;
use tonic::service::Interceptor;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::{Channel, Endpoint, Uri};
use tonic::{Request, Status};

use super::state_machine::SnapshotData;
use super::tls::Dial;
use super::types::{NodeId, Peer, Types};
use crate::proto;
use crate::proto::raft_client::RaftClient;

/// Bytes of one message between members. An append is cut where it is read from the log, at some
/// 2 MiB or one entry; this leaves ample room and still bounds memory.
pub(crate) const MAX_MESSAGE_BYTES: usize = 72 << 20;

/// A connection attempt that takes longer than this counts as unreachable: well under the
/// election time, so that a dead member never delays the living ones.
const CONNECT_TIMEOUT: Duration = Duration::from_millis(250);

/// A connection whose peer does not answer a ping is given up and made anew. After a partition the
/// kernel alone would wait up to two minutes before it sends on the old one again.
const PING_INTERVAL: Duration = Duration::from_secs(1);
/// Above what a busy member takes to answer a ping: its connections' tasks wait for no disk.
const PING_TIMEOUT: Duration = Duration::from_secs(2);

/// Between attempts at a member that can't be reached; short, so that it catches up at once.
const BACKOFF: Duration = Duration::from_millis(100);

pub(crate) const CLUSTER_KEY: &str = "higuma-cluster";
pub(crate) const FROM_KEY: &str = "higuma-from";
pub(crate) const TO_KEY: &str = "higuma-to";
/// In a refusal: the caller is no member any more.
pub(crate) const REMOVED_KEY: &str = "higuma-removed";

pub(crate) type Client = RaftClient<InterceptedService<Channel, Stamp>>;

/// Writes who calls whom, in which cluster, on every call.
#[derive(Debug, Clone)]
pub(crate) struct Stamp {
    cluster: Option<ClusterId>,
    from: NodeId,
    to: NodeId,
}

impl Interceptor for Stamp {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        let metadata = request.metadata_mut();
        metadata.insert(FROM_KEY, MetadataValue::from(self.from));
        metadata.insert(TO_KEY, MetadataValue::from(self.to));
        if let Some(cluster) = self.cluster {
            let text = cluster.to_string();
            let value = text.parse().map_err(|_| Status::internal("cluster id is not ASCII"))?;
            metadata.insert(CLUSTER_KEY, value);
        }
        Ok(request)
    }
}

/// How to reach the members.
#[derive(Debug, Clone)]
pub(crate) struct Links {
    pub(crate) node: NodeId,
    pub(crate) members: BTreeMap<NodeId, String>,
    pub(crate) tls: Option<LinksTls>,
}

/// TLS to the members.
#[derive(Debug, Clone)]
pub(crate) struct LinksTls {
    pub(crate) config: Arc<rustls::ClientConfig>,
    pub(crate) cluster_name: Option<ClusterName>,
}

impl Links {
    /// A client of one member; connects when it is first used, and again after each failure.
    pub(crate) fn client(
        &self,
        to: NodeId,
        address: &str,
        cluster: Option<ClusterId>,
    ) -> Result<Client, tonic::transport::Error> {
        // tonic refuses `https` where somebody else encrypts, so it is only the origin.
        let endpoint = Endpoint::from_shared(format!("http://{address}"))?
            .connect_timeout(CONNECT_TIMEOUT)
            .http2_keep_alive_interval(PING_INTERVAL)
            .keep_alive_timeout(PING_TIMEOUT)
            .keep_alive_while_idle(true)
            .tcp_nodelay(true);
        let channel = match self.tls.clone() {
            None => endpoint.connect_lazy(),
            Some(LinksTls { config, cluster_name }) => {
                let dial = Dial { config, to, cluster_name };
                let connect = tower::service_fn(move |uri| dial.clone().connect(uri));
                let origin: Result<Uri, _> = format!("https://{address}").parse();
                // An address that `from_shared` took is one here too.
                let endpoint = match origin {
                    Ok(origin) => endpoint.origin(origin),
                    Err(_) => endpoint,
                };
                endpoint.connect_with_connector_lazy(connect)
            }
        };
        let stamp = Stamp { cluster, from: self.node, to };
        let channel = InterceptedService::new(channel, stamp);
        Ok(RaftClient::new(channel)
            .max_decoding_message_size(MAX_MESSAGE_BYTES)
            .max_encoding_message_size(MAX_MESSAGE_BYTES))
    }
}

/// Makes the connections of a formed cluster.
pub(crate) struct Network {
    pub(crate) links: Links,
    pub(crate) cluster: ClusterId,
}

impl RaftNetworkFactory<Types> for Network {
    type Network = Link;

    async fn new_client(&mut self, target: NodeId, peer: &Peer) -> Link {
        // The member list's address: the log keeps the one that the cluster formed with, and a
        // member may have moved since.
        let address = self.links.members.get(&target).unwrap_or(&peer.address);
        let client = self.links.client(target, address, Some(self.cluster));
        let client = client.map_err(|error| format!("{address}: {error}"));
        Link { from: self.links.node, to: target, client }
    }
}

/// A connection to one member. openraft asks for another one to send snapshots, so that heartbeats
/// never wait behind a file.
pub(crate) struct Link {
    pub(super) from: NodeId,
    pub(super) to: NodeId,
    pub(super) client: Result<Client, String>,
}

impl Link {
    /// One call, bounded by the time that openraft gives it.
    pub(super) async fn call<T, F>(
        &self,
        action: RPCTypes,
        option: &RPCOption,
        call: impl FnOnce(Client) -> F,
    ) -> Result<T, RPCError<Types>>
    where
        F: Future<Output = Result<tonic::Response<T>, Status>>,
    {
        let client = self.client.clone().map_err(Unreachable::from_string)?;
        let limit = option.soft_ttl();
        match tokio::time::timeout(limit, call(client)).await {
            Ok(Ok(reply)) => Ok(reply.into_inner()),
            Ok(Err(status)) => Err(failed(&status)),
            Err(_) => {
                Err(Timeout { action, id: self.from, target: self.to, timeout: limit }.into())
            }
        }
    }

    async fn ask_vote(
        &self,
        rpc: VoteRequest<Types>,
        pre_vote: bool,
        option: &RPCOption,
    ) -> Result<VoteResponse<Types>, RPCError<Types>> {
        let request = proto::VoteRequest {
            vote: Some(rpc.vote.into()),
            last: rpc.last_log_id.map(Into::into),
            leadership_transfer: rpc.leadership_transfer,
            pre_vote,
        };
        let reply = self
            .call(RPCTypes::Vote, option, |mut client| async move { client.vote(request).await })
            .await?;
        let vote = reply.vote.ok_or_else(|| malformed("vote reply"))?;
        Ok(VoteResponse {
            vote: vote.into(),
            vote_granted: reply.granted,
            last_log_id: reply.last.map(Into::into),
        })
    }
}

pub(super) fn failed(status: &Status) -> RPCError<Types> {
    match status.code() {
        tonic::Code::Unavailable => Unreachable::from_string(status.message()).into(),
        _ => NetworkError::from_string(status.message()).into(),
    }
}

pub(super) fn malformed(what: &str) -> RPCError<Types> {
    NetworkError::from_string(format!("malformed {what}")).into()
}

impl RaftNetworkV2<Types> for Link {
    type SnapshotData = SnapshotData;

    async fn append_entries(
        &mut self,
        rpc: AppendEntriesRequest<Types>,
        option: RPCOption,
    ) -> Result<AppendEntriesResponse<Types>, RPCError<Types>> {
        use proto::append_reply::Result as Wire;
        let request = proto::AppendRequest {
            vote: Some(rpc.vote.into()),
            previous: rpc.prev_log_id.map(Into::into),
            entries: rpc.entries.iter().map(Into::into).collect(),
            committed: rpc.leader_commit.map(Into::into),
        };
        let reply = self
            .call(RPCTypes::AppendEntries, &option, |mut client| async move {
                client.append(request).await
            })
            .await?;
        Ok(match reply.result.ok_or_else(|| malformed("append reply"))? {
            Wire::Success(_) => AppendEntriesResponse::Success,
            Wire::Partial(partial) => {
                AppendEntriesResponse::PartialSuccess(partial.last.map(Into::into))
            }
            Wire::Conflict(_) => AppendEntriesResponse::Conflict,
            Wire::HigherVote(vote) => AppendEntriesResponse::HigherVote(vote.into()),
        })
    }

    async fn vote(
        &mut self,
        rpc: VoteRequest<Types>,
        option: RPCOption,
    ) -> Result<VoteResponse<Types>, RPCError<Types>> {
        self.ask_vote(rpc, false, &option).await
    }

    async fn pre_vote(
        &mut self,
        rpc: VoteRequest<Types>,
        option: RPCOption,
    ) -> Result<VoteResponse<Types>, RPCError<Types>> {
        self.ask_vote(rpc, true, &option).await
    }

    async fn full_snapshot(
        &mut self,
        vote: VoteOf<Types>,
        snapshot: SnapshotOf<Types, SnapshotData>,
        cancel: impl Future<Output = ReplicationClosed> + Send + 'static,
        option: RPCOption,
    ) -> Result<SnapshotResponse<Types>, StreamingError<Types>> {
        tokio::select! {
            closed = cancel => Err(StreamingError::Closed(closed)),
            sent = self.send_snapshot(vote, snapshot.snapshot, &option) => Ok(sent?),
        }
    }

    async fn transfer_leader(
        &mut self,
        request: TransferLeaderRequest<Types>,
        option: RPCOption,
    ) -> Result<TransferLeaderResponse<Types>, RPCError<Types>> {
        let wire = proto::TransferLeaderRequest {
            from: Some((*request.from_leader()).into()),
            to: *request.to_node_id(),
            last: request.last_log_id().copied().map(Into::into),
        };
        let reply = self
            .call(RPCTypes::TransferLeader, &option, |mut client| async move {
                client.transfer_leader(wire).await
            })
            .await?;
        if reply.accepted {
            return Ok(Ok(()));
        }
        Err(NetworkError::from_string(reply.why_not).into())
    }

    fn backoff(&self) -> Option<Backoff> {
        Some(Backoff::new(std::iter::repeat(BACKOFF)))
    }
}

#[cfg(test)]
mod tests;
