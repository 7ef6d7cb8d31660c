//! Who the members are now, and how this node calls the others.
//!
//! The log says who they are, once there is one; before that the static list does. Where both name
//! a node, the list's address counts: a member may have moved since.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use higuma_model::ClusterId;
use openraft::async_runtime::watch::WatchReceiver as _;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tonic::Status;

use super::network::{Client, Links};
use super::running::Raft;
use super::types::{Membership, NodeId};
use crate::forming::FormError;
use crate::proto;

/// How long a member has to say how it is.
const STATUS_LIMIT: Duration = Duration::from_millis(500);

/// One member as this node knows it.
#[derive(Clone)]
pub(crate) struct Known {
    pub(crate) address: String,
    /// A learner gets the log and has no vote.
    pub(crate) votes: bool,
    /// None: this node itself, or an address that can't be used.
    client: Option<Client>,
}

pub(crate) type Members = BTreeMap<NodeId, Known>;

/// The members as they are now. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Roster {
    node: NodeId,
    members: watch::Receiver<Arc<Members>>,
}

impl Roster {
    pub(crate) fn members(&self) -> Arc<Members> {
        self.members.borrow().clone()
    }

    pub(crate) fn client(&self, id: NodeId) -> Option<Client> {
        self.members.borrow().get(&id)?.client.clone()
    }

    /// What one member says of itself, or why it does not.
    pub(crate) async fn ask_one(&self, id: NodeId) -> Result<proto::StatusReply, Status> {
        match self.members().get(&id).cloned() {
            Some(known) => ask(known).await,
            None => Err(Status::not_found("it is no member")),
        }
    }

    /// What every other member says of itself, or why it does not.
    pub(crate) async fn ask(&self) -> BTreeMap<NodeId, Result<proto::StatusReply, Status>> {
        let mut asked = JoinSet::new();
        for (id, known) in self.members().iter().filter(|(id, _)| **id != self.node) {
            let (id, known) = (*id, known.clone());
            asked.spawn(async move { (id, ask(known).await) });
        }
        asked.join_all().await.into_iter().collect()
    }
}

async fn ask(known: Known) -> Result<proto::StatusReply, Status> {
    let Some(mut client) = known.client else {
        return Err(Status::unavailable(format!("{} is no address to call", known.address)));
    };
    match tokio::time::timeout(STATUS_LIMIT, client.status(proto::StatusRequest {})).await {
        Ok(status) => Ok(status?.into_inner()),
        Err(_) => {
            let why = format!("no answer in {} ms", STATUS_LIMIT.as_millis());
            Err(Status::deadline_exceeded(why))
        }
    }
}

/// Keeps a roster true to the log.
pub(crate) struct RosterWriter {
    links: Links,
    cluster: ClusterId,
    members: watch::Sender<Arc<Members>>,
}

impl RosterWriter {
    /// A roster of the static list, until there is a log.
    pub(crate) fn new(links: Links, cluster: ClusterId) -> Result<(Self, Roster), FormError> {
        let mut listed = Members::new();
        for (id, address) in &links.members {
            let client = match *id == links.node {
                true => None,
                false => Some(links.client(*id, address, Some(cluster)).map_err(|error| {
                    let (peer, address, why) = (*id, address.clone(), error.to_string());
                    FormError::Address { peer, address, why }
                })?),
            };
            listed.insert(*id, Known { address: address.clone(), votes: true, client });
        }
        let node = links.node;
        let (out, members) = watch::channel(Arc::new(listed));
        Ok((Self { links, cluster, members: out }, Roster { node, members }))
    }

    /// Ends with the store, or with Raft.
    pub(crate) async fn run(self, raft: Raft, stop: CancellationToken) {
        let mut metrics = raft.server_metrics();
        loop {
            let stored = metrics.borrow_watched().membership_config.clone();
            self.follow(stored.membership());
            tokio::select! {
                () = stop.cancelled() => return,
                changed = metrics.changed() => if changed.is_err() { return },
            }
        }
    }

    fn follow(&self, membership: &Membership) {
        let voters: BTreeSet<NodeId> = membership.voter_ids().collect();
        if voters.is_empty() {
            return;
        }
        let before = self.members.borrow().clone();
        let members: Members = membership
            .nodes()
            .map(|(id, peer)| {
                let address = self.links.members.get(id).unwrap_or(&peer.address);
                (*id, self.known(*id, address, voters.contains(id), before.get(id)))
            })
            .collect();
        let same = |(a, b): ((&NodeId, &Known), (&NodeId, &Known))| {
            a.0 == b.0 && a.1.address == b.1.address && a.1.votes == b.1.votes
        };
        if before.len() != members.len() || !before.iter().zip(&members).all(same) {
            tracing::info!(%membership, "the members changed");
            self.members.send_replace(Arc::new(members));
        }
    }

    /// A member with the connection that there is to it, or a new one.
    fn known(&self, id: NodeId, address: &str, votes: bool, before: Option<&Known>) -> Known {
        let kept = before.filter(|before| before.address == address);
        let client = match kept {
            Some(kept) => kept.client.clone(),
            None if id == self.links.node => None,
            None => match self.links.client(id, address, Some(self.cluster)) {
                Ok(client) => Some(client),
                Err(error) => {
                    tracing::error!(id, address, %error, "a member's address can't be used");
                    None
                }
            },
        };
        Known { address: address.to_owned(), votes, client }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::raft::types::Peer;

    fn membership(voters: &[u64], members: &[(u64, &str)]) -> Membership {
        let members: BTreeMap<u64, Peer> = members
            .iter()
            .map(|(id, address)| (*id, Peer { address: (*address).to_owned() }))
            .collect();
        Membership::new(vec![voters.iter().copied().collect()], members).unwrap()
    }

    #[tokio::test]
    async fn the_log_says_who_the_members_are_and_the_list_where_they_moved() {
        let listed = [(1, "127.0.0.1:1"), (2, "127.0.0.1:22")];
        let members = listed.map(|(id, address)| (id, address.to_owned())).into();
        let links = Links { node: 1, members, tls: None };
        let (writer, roster) = RosterWriter::new(links, ClusterId(7)).unwrap();
        writer.follow(&Membership::default());
        assert!(roster.client(2).is_some() && roster.client(1).is_none(), "the list until then");

        let more = [(1, "127.0.0.1:1"), (2, "127.0.0.1:2"), (4, "127.0.0.1:4")];
        writer.follow(&membership(&[1, 2], &more));
        let seen = roster.members();
        let shown: Vec<_> = seen.iter().map(|(id, k)| (*id, &*k.address, k.votes)).collect();
        let moved = [(1, "127.0.0.1:1", true), (2, "127.0.0.1:22", true)];
        assert_eq!(shown, [&moved[..], &[(4, "127.0.0.1:4", false)]].concat());
        assert!(roster.client(4).is_some());

        writer.follow(&membership(&[1, 4], &[(1, "127.0.0.1:1"), (4, "127.0.0.1:4")]));
        assert!(roster.members()[&4].votes);
        assert!(roster.client(2).is_none(), "listed, and no member any more");
    }
}
