//! What an operator orders: carried to the leader from whichever member is asked.

use std::time::Duration;

use tokio::time::Instant;

use super::{LEADER_LIMIT, OrderError, Store};
use crate::options::NodeId;
use crate::proto;
use crate::proto::administer_request::{Learner, Order, Promotion};
use crate::raft::orders::Obeyed;

/// How long a leader works on an order: a change of members is two entries, a handover an election.
const ORDER_LIMIT: Duration = Duration::from_secs(5);

impl Store {
    /// Hands leadership to a node, or to whichever is furthest; returns who leads.
    ///
    /// # Errors
    /// The node can't lead, or whether it does is not known.
    pub async fn transfer_leader(&self, to: Option<NodeId>) -> Result<NodeId, OrderError> {
        self.order(Order::TransferLeader(to.unwrap_or_default())).await
    }

    /// Takes in a node that waits for it at `address`: it gets the log, and has no vote yet. It may
    /// have the address of the member that it is to replace.
    ///
    /// # Errors
    /// The id or the address is taken, or nobody there waits to be added.
    pub async fn add_learner(
        &self,
        id: NodeId,
        address: &str,
        replaces: Option<NodeId>,
    ) -> Result<(), OrderError> {
        let (address, replaces) = (address.to_owned(), replaces.unwrap_or_default());
        self.order(Order::AddLearner(Learner { id, address, replaces })).await.map(drop)
    }

    /// Gives a learner that has caught up its vote; a member that it replaces goes in the same
    /// change.
    ///
    /// # Errors
    /// It has not caught up, or no majority would answer afterwards.
    pub async fn promote(&self, id: NodeId, replaces: Option<NodeId>) -> Result<(), OrderError> {
        let replaces = replaces.unwrap_or_default();
        self.order(Order::Promote(Promotion { id, replaces })).await.map(drop)
    }

    /// Lets a member go, for good: its id is not used again. A leader hands over first.
    ///
    /// # Errors
    /// It is no member, or no majority would answer afterwards.
    pub async fn remove(&self, id: NodeId) -> Result<(), OrderError> {
        self.order(Order::Remove(id)).await.map(drop)
    }

    /// Hands leadership over if this node has it: what comes before it stops. This node goes on to
    /// take writes and passes them on.
    pub async fn hand_over(&self) {
        match self.running().transfer(None).await {
            Obeyed::Done(leader) => tracing::info!(leader, "handed leadership over"),
            Obeyed::NotLeader(_) => {}
            Obeyed::Refused(why) | Obeyed::Unknown(why) => {
                tracing::warn!(why, "leadership was not handed over");
            }
        }
    }

    async fn order(&self, order: Order) -> Result<NodeId, OrderError> {
        let started = Instant::now();
        loop {
            match self.order_once(order.clone()).await {
                Obeyed::Done(node) => return Ok(node),
                Obeyed::Refused(why) => return Err(OrderError::Refused(why)),
                Obeyed::Unknown(why) => return Err(OrderError::Unknown(why)),
                Obeyed::NotLeader(leader) => {
                    let limit = leader.map_or(LEADER_LIMIT, |_| ORDER_LIMIT);
                    if started.elapsed() >= limit {
                        return Err(OrderError::NoLeader(self.missing().await));
                    }
                    self.leader_changes(limit.saturating_sub(started.elapsed())).await;
                }
            }
        }
    }

    async fn order_once(&self, order: Order) -> Obeyed {
        use proto::administer_reply::Result as Wire;
        let leader = match self.running().leader() {
            None => return Obeyed::NotLeader(None),
            Some(leader) if leader == self.node() => return self.running().obey(order).await,
            Some(leader) => leader,
        };
        let Some(mut client) = self.running().roster.client(leader) else {
            return Obeyed::NotLeader(None);
        };
        let asked = client.administer(proto::AdministerRequest { order: Some(order) });
        let reply = match tokio::time::timeout(ORDER_LIMIT, asked).await {
            Ok(Ok(reply)) => reply.into_inner().result,
            Ok(Err(status)) if status.code() == tonic::Code::Unimplemented => {
                let why = "leads and is of a version that can't do this: upgrade it first";
                return Obeyed::Refused(format!("node {leader} {why}"));
            }
            Ok(Err(status)) if super::leader::is_unconnected(&status) => {
                return Obeyed::NotLeader(None);
            }
            Ok(Err(status)) => return Obeyed::Unknown(status.message().to_owned()),
            Err(_) => return Obeyed::Unknown(format!("node {leader} did not answer")),
        };
        match reply {
            Some(Wire::Done(node)) => Obeyed::Done(node),
            Some(Wire::Leader(leader)) => {
                Obeyed::NotLeader(Some(leader).filter(|leader| *leader != 0))
            }
            Some(Wire::Refused(why)) => Obeyed::Refused(why),
            Some(Wire::Unknown(why)) => Obeyed::Unknown(why),
            None => Obeyed::Unknown(format!("node {leader} answered in an unknown form")),
        }
    }
}
