//! What a leader does when an operator asks for it. Handing leadership over is here; who the members
//! are is changed in `changes`.

use std::time::Duration;

use openraft::async_runtime::watch::WatchReceiver as _;

use super::running::Running;
use super::types::NodeId;
use crate::proto;
use crate::proto::administer_request::Order;

/// How long the heir has to win its election: one round of synced votes. After it the cluster
/// elects as if the leader had died.
const TRANSFER_LIMIT: Duration = Duration::from_millis(1500);

/// Entries that a node may lack and still take part: openraft gives an heir the shortest election
/// timeout to read them.
pub(crate) const LAG_MAX: u64 = 1000;

/// What became of an order.
#[derive(Debug)]
pub(crate) enum Obeyed {
    /// By whom: the node that leads, or the one that the order is about.
    Done(NodeId),
    /// This node does not lead: nothing was done.
    NotLeader(Option<NodeId>),
    /// Nothing was done.
    Refused(String),
    Unknown(String),
}

impl Running {
    pub(crate) async fn obey(&self, order: Order) -> Obeyed {
        match order {
            Order::TransferLeader(to) => self.transfer(Some(to).filter(|to| *to != 0)).await,
            Order::AddLearner(order) => self.add_learner(order).await,
            Order::Promote(order) => self.promote(order).await,
            Order::Remove(id) => self.remove(id).await,
        }
    }

    /// Hands leadership to `to`, or to whoever is furthest, and waits until another node leads.
    pub(crate) async fn transfer(&self, to: Option<NodeId>) -> Obeyed {
        let own = self.node();
        let leader = self.leader();
        if leader != Some(own) {
            return Obeyed::NotLeader(leader);
        }
        if to == Some(own) {
            return Obeyed::Done(own);
        }
        let heir = match self.heir(to).await {
            Ok(heir) => heir,
            Err(why) => return Obeyed::Refused(why),
        };
        tracing::info!(heir, "handing leadership over");
        if let Err(error) = self.raft.trigger().transfer_leader(heir).await {
            return Obeyed::Unknown(error.to_string());
        }
        match tokio::time::timeout(TRANSFER_LIMIT, self.another_leads()).await {
            Ok(Some(leader)) if to.is_none_or(|to| to == leader) => Obeyed::Done(leader),
            Ok(Some(leader)) => Obeyed::Refused(format!(
                "node {leader} was elected in place of node {heir}; ask again to have node {heir}"
            )),
            Ok(None) => Obeyed::Unknown("this node is stopping".to_owned()),
            Err(_) => Obeyed::Unknown(format!(
                "node {heir} did not take over within {} ms",
                TRANSFER_LIMIT.as_millis()
            )),
        }
    }

    /// Who leads next: whoever was asked for, if it can; else the voter that is furthest, one with
    /// room on its disk first.
    async fn heir(&self, to: Option<NodeId>) -> Result<NodeId, String> {
        let members = self.roster.members();
        if let Some(to) = to {
            match members.get(&to) {
                None => return Err(not_a_member(to, members.keys())),
                Some(known) if !known.votes => return Err(format!("node {to} does not vote yet")),
                Some(_) => {}
            }
        }
        let last = self.raft.metrics().borrow_watched().last_log_index.unwrap_or_default();
        let (mut best, mut unfit) = (None, Vec::new());
        for (id, status) in self.roster.ask().await {
            if !members.get(&id).is_some_and(|known| known.votes) {
                continue;
            }
            match status {
                Err(status) => {
                    unfit.push((id, format!("node {id} does not answer ({})", status.message())));
                }
                Ok(status) => {
                    best = best.max(Some((!status.disk_low, status.last_index, id)));
                    unfit.extend(unready(&status, last).map(|why| (id, why)));
                }
            }
        }
        match (to, best) {
            (Some(to), _) => match unfit.into_iter().find(|(id, _)| *id == to) {
                None => Ok(to),
                Some((_, why)) => Err(why),
            },
            (None, Some((_, _, heir))) => Ok(heir),
            (None, None) if unfit.is_empty() => Err("no other node votes".to_owned()),
            (None, None) => {
                Err(unfit.into_iter().map(|(_, why)| why).collect::<Vec<_>>().join("; "))
            }
        }
    }

    /// The next leader that is not this node; none: Raft has stopped.
    async fn another_leads(&self) -> Option<NodeId> {
        let mut metrics = self.raft.server_metrics();
        loop {
            let leader = metrics.borrow_watched().current_leader;
            if let Some(leader) = leader.filter(|leader| *leader != self.node()) {
                return Some(leader);
            }
            metrics.changed().await.ok()?;
        }
    }
}

/// Why a node that answers should not lead, if it should not.
fn unready(status: &proto::StatusReply, last: u64) -> Option<String> {
    let (id, behind) = (status.node, last.saturating_sub(status.last_index));
    if status.disk_low {
        return Some(format!("the disk of node {id} is nearly full: free space there first"));
    }
    (behind > LAG_MAX).then(|| format!("node {id} is {behind} entries behind: wait for it"))
}

pub(super) fn not_a_member<'a>(id: NodeId, members: impl Iterator<Item = &'a NodeId>) -> String {
    let members: Vec<String> = members.map(ToString::to_string).collect();
    format!("node {id} is no member; members are {}", members.join(", "))
}

impl From<Obeyed> for proto::AdministerReply {
    fn from(obeyed: Obeyed) -> Self {
        use proto::administer_reply::Result as Wire;
        let result = match obeyed {
            Obeyed::Done(node) => Wire::Done(node),
            Obeyed::NotLeader(leader) => Wire::Leader(leader.unwrap_or_default()),
            Obeyed::Refused(why) => Wire::Refused(why),
            Obeyed::Unknown(why) => Wire::Unknown(why),
        };
        Self { result: Some(result) }
    }
}
