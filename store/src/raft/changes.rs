//! How a leader changes who the members are: a new node is a learner first, and votes once it has
//! caught up; one that goes must leave a majority that answers.
//!
//! A change of voters is two entries of the log: both sets together, then the new one. A leader
//! that dies between them leaves the first; the next one finishes it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use openraft::ChangeMembers;
use openraft::async_runtime::watch::WatchReceiver as _;
use openraft::errors::{ClientWriteError, RaftError};

use super::network::Links;
use super::orders::{LAG_MAX, Obeyed, not_a_member};
use super::running::{Raft, Running, Unread};
use super::types::{LogId, Membership, NodeId, Peer};
use crate::codec::cluster_bytes;
use crate::proto;
use crate::proto::administer_request::{Learner, Promotion};

/// Members of a cluster, learners included: every one of them gets every entry from the leader, and
/// more than seven voters only make writes slower.
const MEMBERS_MAX: usize = 9;

/// How long the leader has to confirm that it leads.
const CONFIRM_LIMIT: Duration = Duration::from_secs(1);

/// How long a change may take until it is committed: two entries on a majority.
const CHANGE_LIMIT: Duration = Duration::from_secs(3);

/// How long a node that is to be added has to answer; it syncs one small file at most.
const CALL_LIMIT: Duration = Duration::from_secs(1);

/// A DNS name has at most 253 bytes; beside it a port.
const ADDRESS_BYTES_MAX: usize = 260;

type Change = ChangeMembers<NodeId, Peer>;

impl Running {
    /// Takes a node in that waits for it: it gets the log and does not vote yet.
    pub(super) async fn add_learner(&self, order: Learner) -> Obeyed {
        self.add(order).await.unwrap_or_else(|halt| halt)
    }

    async fn add(&self, order: Learner) -> Result<Obeyed, Obeyed> {
        let Learner { id, ref address, replaces } = order;
        if id == 0 || !is_address(address) {
            return Err(Obeyed::Refused(format!(
                "node {id} at {address:?}: a node has a number from 1 and an address HOST:PORT"
            )));
        }
        let membership = self.settled().await?;
        match membership.get_node(&id) {
            Some(peer) if peer.address == *address => return Ok(Obeyed::Done(id)),
            Some(peer) => {
                return Err(Obeyed::Refused(format!("node {id} is a member, at {}", peer.address)));
            }
            None => {}
        }
        let highest = self.applied.borrow().roll.highest();
        if id <= highest {
            return Err(Obeyed::Refused(format!(
                "node {id} can't be added: numbers are never used twice, and {highest} was used. \
                 Take {} or higher, in the new node's --node-id too",
                highest + 1
            )));
        }
        let members = self.roster.members();
        let holds = |at: &&NodeId| members[*at].address == *address && **at != replaces;
        if let Some(holder) = members.keys().find(holds) {
            return Err(Obeyed::Refused(format!("{address} is the address of node {holder}")));
        }
        if members.len() >= MEMBERS_MAX {
            return Err(Obeyed::Refused(format!(
                "a cluster has at most {MEMBERS_MAX} nodes: remove one first"
            )));
        }
        self.greet(id, address).await.map_err(Obeyed::Refused)?;
        let peer = Peer { address: address.clone() };
        self.change(Change::AddNodes(BTreeMap::from([(id, peer)])), true).await?;
        tracing::info!(id, address, "added a learner");
        Ok(Obeyed::Done(id))
    }

    /// Makes sure that the node is there and waits to be added, and hands it the cluster's id: on
    /// its disk before it becomes a member.
    async fn greet(&self, id: NodeId, address: &str) -> Result<(), String> {
        let start = format!(
            "start it there, with an empty folder: `higuma global run --node-id {id} --join …`"
        );
        let links: &Links = &self.links;
        let client = links.client(id, address, None);
        let mut client = client.map_err(|error| format!("{address} can't be called: {error}"))?;
        let hello = client.hello(proto::HelloRequest { from: self.node() });
        let hello = match tokio::time::timeout(CALL_LIMIT, hello).await {
            Ok(Ok(hello)) => hello.into_inner(),
            Ok(Err(status)) => {
                let why = status.message();
                return Err(format!("node {id} does not answer at {address} ({why}): {start}"));
            }
            Err(_) => return Err(format!("node {id} does not answer at {address}: {start}")),
        };
        if hello.node != id {
            return Err(format!("at {address} is node {}, not node {id}", hello.node));
        }
        let own = cluster_bytes(self.cluster);
        if !hello.cluster.is_empty() && hello.cluster != own {
            let other = hex::encode(&hello.cluster);
            return Err(format!("node {id} at {address} belongs to cluster {other}: {start}"));
        }
        if hello.formed || (hello.cluster.is_empty() && !hello.joins) {
            return Err(format!("node {id} at {address} does not wait to be added: {start}"));
        }
        let form = client.form(proto::FormRequest { from: self.node(), cluster: own });
        match tokio::time::timeout(CALL_LIMIT, form).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(status)) => Err(format!("node {id} refused: {}", status.message())),
            Err(_) => Err(format!("node {id} did not take the cluster's id in time: try again")),
        }
    }

    /// Gives a learner that has caught up its vote; in the place of another node if asked to.
    pub(super) async fn promote(&self, order: Promotion) -> Obeyed {
        self.give_vote(order).await.unwrap_or_else(|halt| halt)
    }

    async fn give_vote(&self, Promotion { id, replaces }: Promotion) -> Result<Obeyed, Obeyed> {
        let membership = self.settled().await?;
        let voters: BTreeSet<NodeId> = membership.voter_ids().collect();
        let leaves = membership.get_node(&replaces).map(|_| replaces);
        if membership.get_node(&id).is_none() {
            let known = membership.nodes().map(|(id, _)| id);
            return Err(Obeyed::Refused(not_a_member(id, known)));
        }
        if voters.contains(&id) && leaves.is_none() {
            return Ok(Obeyed::Done(id));
        }
        if leaves == Some(self.node()) {
            return Err(self.transfer(None).await.into_halt());
        }
        let silent = self.silent().await;
        if let Some(why) = silent.get(&id) {
            return Err(Obeyed::Refused(format!("node {id} does not answer ({why})")));
        }
        let behind = self.behind(id);
        if behind > LAG_MAX {
            return Err(Obeyed::Refused(format!(
                "node {id} is {behind} entries behind: it votes once it has caught up"
            )));
        }
        let mut after = voters.clone();
        after.insert(id);
        if let Some(leaves) = leaves {
            after.remove(&leaves);
        }
        if let Some(why) = undecided(&after, &silent) {
            return Err(Obeyed::Refused(why));
        }
        let mut changes = vec![Change::AddVoterIds(BTreeSet::from([id]))];
        changes.extend(leaves.map(|leaves| gone(leaves, &voters)));
        self.change(Change::Batch(changes), false).await?;
        tracing::info!(id, replaces, "a learner votes");
        Ok(Obeyed::Done(id))
    }

    /// Lets a node go.
    pub(super) async fn remove(&self, id: NodeId) -> Obeyed {
        self.let_go(id).await.unwrap_or_else(|halt| halt)
    }

    async fn let_go(&self, id: NodeId) -> Result<Obeyed, Obeyed> {
        let membership = self.settled().await?;
        if membership.get_node(&id).is_none() {
            let known = membership.nodes().map(|(id, _)| id);
            return Err(Obeyed::Refused(not_a_member(id, known)));
        }
        let voters: BTreeSet<NodeId> = membership.voter_ids().collect();
        let mut after = voters.clone();
        if after.remove(&id) {
            if after.is_empty() {
                return Err(Obeyed::Refused(format!(
                    "node {id} is the last that votes: without it there is no cluster"
                )));
            }
            if let Some(why) = undecided(&after, &self.silent().await) {
                return Err(Obeyed::Refused(why));
            }
        }
        if id == self.node() {
            return Err(self.transfer(None).await.into_halt());
        }
        self.change(gone(id, &voters), false).await?;
        tracing::info!(id, "removed a member");
        Ok(Obeyed::Done(id))
    }

    /// Who the members are, confirmed by a majority and applied here; no change is under way.
    async fn settled(&self) -> Result<Membership, Obeyed> {
        let index = self.read_index(CONFIRM_LIMIT).await.map_err(|unread| match unread {
            Unread::NotLeader(leader) => Obeyed::NotLeader(leader),
            Unread::Unavailable(why) => Obeyed::Refused(format!("no majority answers: {why}")),
        })?;
        if !self.wait_applied(index, CONFIRM_LIMIT).await {
            return Err(Obeyed::Refused(format!("entry {index} is not applied yet: try again")));
        }
        let metrics = self.raft.server_metrics();
        let metrics = metrics.borrow_watched();
        let (effective, committed) =
            (&metrics.membership_config, &metrics.committed_membership_config);
        if effective != committed || committed.membership().get_joint_config().len() > 1 {
            return Err(Obeyed::Refused(
                "another change of members is under way: try again".into(),
            ));
        }
        Ok(committed.membership().clone())
    }

    /// The members that do not answer, and why.
    async fn silent(&self) -> BTreeMap<NodeId, String> {
        let asked = self.roster.ask().await.into_iter();
        asked.filter_map(|(id, status)| Some((id, status.err()?.message().to_owned()))).collect()
    }

    /// Entries that a member is known to lack.
    fn behind(&self, id: NodeId) -> u64 {
        let metrics = self.raft.metrics();
        let metrics = metrics.borrow_watched();
        let last = metrics.last_log_index.unwrap_or_default();
        let has = metrics.replication.as_ref().and_then(|all| all.get(&id)?.as_ref());
        has.map_or(last, |has: &LogId| last.saturating_sub(has.index))
    }

    async fn change(&self, change: Change, retain: bool) -> Result<(), Obeyed> {
        let changed = self.raft.change_membership(change, retain);
        match tokio::time::timeout(CHANGE_LIMIT, changed).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(RaftError::APIError(ClientWriteError::ForwardToLeader(forward)))) => {
                Err(Obeyed::NotLeader(forward.leader_id))
            }
            Ok(Err(RaftError::APIError(error))) => Err(Obeyed::Refused(error.to_string())),
            Ok(Err(error)) => Err(Obeyed::Unknown(error.to_string())),
            Err(_) => {
                Err(Obeyed::Unknown(format!("not committed within {} s", CHANGE_LIMIT.as_secs())))
            }
        }
    }
}

impl Obeyed {
    /// A leader that is about to go handed over: whoever leads now does the rest.
    fn into_halt(self) -> Self {
        match self {
            Self::Done(leader) => Self::NotLeader(Some(leader)),
            Self::Refused(why) => Self::Refused(format!("the leader can't hand over first: {why}")),
            other => other,
        }
    }
}

fn is_address(text: &str) -> bool {
    let Some((host, port)) = text.rsplit_once(':') else { return false };
    !host.is_empty() && text.len() <= ADDRESS_BYTES_MAX && port.parse::<u16>().is_ok()
}

/// Takes a node out, whether it votes or not.
fn gone(id: NodeId, voters: &BTreeSet<NodeId>) -> Change {
    match voters.contains(&id) {
        true => Change::RemoveVoters(BTreeSet::from([id])),
        false => Change::RemoveNodes(BTreeSet::from([id])),
    }
}

/// Why a set of voters could decide nothing, if it could not: no majority of it answers.
fn undecided(voters: &BTreeSet<NodeId>, silent: &BTreeMap<NodeId, String>) -> Option<String> {
    let missing: Vec<String> = silent
        .iter()
        .filter(|(id, _)| voters.contains(id))
        .map(|(id, why)| format!("node {id} ({why})"))
        .collect();
    let live = voters.len() - missing.len();
    (live <= voters.len() / 2).then(|| {
        format!(
            "no write could be done afterwards: of {} voters {live} would answer, and {} are needed. \
             Bring back, or replace, {}",
            voters.len(),
            voters.len() / 2 + 1,
            missing.join(", ")
        )
    })
}

/// Ends a change of voters that a leader before this one began. `seen`: the one that was under way
/// at the last look, which whoever began it has had the time to end.
pub(super) async fn finish(raft: &Raft, seen: Option<LogId>) -> Option<LogId> {
    let under_way = {
        let metrics = raft.server_metrics();
        let metrics = metrics.borrow_watched();
        let committed = &metrics.committed_membership_config;
        let is_joint = committed.membership().get_joint_config().len() > 1;
        let settled = metrics.membership_config == *committed;
        (*committed.log_id()).filter(|_| is_joint && settled)
    };
    if under_way.is_some() && under_way == seen {
        tracing::warn!("finishing a change of members that was left half done");
        let nothing_more: Change = ChangeMembers::AddVoterIds(BTreeSet::new());
        if let Err(error) = raft.change_membership(nothing_more, false).await {
            tracing::warn!(%error, "the change of members is not finished yet");
        }
    }
    under_way
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_majority_of_those_that_would_be_left_has_to_answer() {
        let voters = |ids: &[NodeId]| ids.iter().copied().collect::<BTreeSet<_>>();
        let silent = |ids: &[NodeId]| {
            ids.iter().map(|id| (*id, "gone".to_owned())).collect::<BTreeMap<_, _>>()
        };
        assert_eq!(undecided(&voters(&[1, 2, 3]), &silent(&[3, 4])), None);
        assert_eq!(undecided(&voters(&[1]), &silent(&[3])), None);
        let why = undecided(&voters(&[1, 3]), &silent(&[3])).unwrap();
        assert!(why.contains("of 2 voters 1 would answer, and 2 are needed"), "{why}");
        assert!(why.ends_with("node 3 (gone)"), "{why}");
        assert!(undecided(&voters(&[1, 2, 3, 4]), &silent(&[3, 4])).is_some());
    }
}
