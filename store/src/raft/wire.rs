//! The prost forms of what openraft keeps and sends.

use std::collections::{BTreeMap, BTreeSet};

use openraft::alias::{SnapshotMetaOf, StoredMembershipOf};
use openraft::entry::RaftEntry;
use openraft::impls::leader_id_std::LeaderId;
use openraft::vote::RaftLeaderId;

use super::types::{Command, Entry, LogId, Membership, NodeId, Payload, Peer, Types, Vote};
use crate::proto;
use crate::snapshot::Place;

/// A message that does not say what its type must say.
#[derive(Debug, thiserror::Error)]
#[error("malformed {0}")]
pub struct Malformed(pub(crate) &'static str);

pub(crate) fn log_id(term: u64, index: u64) -> LogId {
    // A committed leader id is the term alone: the node given here is not kept.
    LogId::new(LeaderId::<u64, NodeId>::new(term, 0).to_committed(), index)
}

impl From<LogId> for proto::LogId {
    fn from(id: LogId) -> Self {
        Self { term: id.leader_id.term, index: id.index }
    }
}

impl From<proto::LogId> for LogId {
    fn from(id: proto::LogId) -> Self {
        log_id(id.term, id.index)
    }
}

impl From<Vote> for proto::Vote {
    fn from(vote: Vote) -> Self {
        let LeaderId { term, voted_for } = vote.leader_id;
        Self { term, candidate: voted_for, committed: vote.committed }
    }
}

impl From<proto::Vote> for Vote {
    fn from(vote: proto::Vote) -> Self {
        if vote.committed {
            Self::new_committed(vote.term, vote.candidate)
        } else {
            Self::new(vote.term, vote.candidate)
        }
    }
}

impl From<&Membership> for proto::Membership {
    fn from(membership: &Membership) -> Self {
        let configs = membership.get_joint_config().iter();
        let configs =
            configs.map(|ids| proto::membership::Voters { id: ids.iter().copied().collect() });
        let members = membership.nodes();
        let members = members
            .map(|(id, peer)| proto::membership::Member { id: *id, address: peer.address.clone() });
        Self { configs: configs.collect(), members: members.collect(), highest: 0 }
    }
}

impl TryFrom<proto::Membership> for Membership {
    type Error = Malformed;

    fn try_from(membership: proto::Membership) -> Result<Self, Malformed> {
        let configs: Vec<BTreeSet<NodeId>> =
            membership.configs.into_iter().map(|voters| voters.id.into_iter().collect()).collect();
        let members: BTreeMap<NodeId, Peer> =
            membership.members.into_iter().map(|m| (m.id, Peer { address: m.address })).collect();
        Self::new(configs, members).map_err(|_| Malformed("membership"))
    }
}

impl From<&Entry> for proto::Entry {
    fn from(entry: &Entry) -> Self {
        use proto::entry::Payload as Wire;
        let payload = match &entry.payload {
            Payload::Blank { nonce } => Wire::Blank(proto::Blank { nonce: *nonce }),
            Payload::Command(command) => Wire::Command(command.0.clone()),
            Payload::Membership(membership) => Wire::Membership(membership.into()),
        };
        Self { id: Some(entry.log_id.into()), payload: Some(payload) }
    }
}

/// An entry as it came from disk or a peer. (A function: openraft's entry is generic, and a
/// `TryFrom` for it would overlap with the standard library's.)
pub(crate) fn entry(entry: proto::Entry) -> Result<Entry, Malformed> {
    use proto::entry::Payload as Wire;
    let payload = match entry.payload.ok_or(Malformed("entry without payload"))? {
        Wire::Blank(blank) => Payload::Blank { nonce: blank.nonce },
        Wire::Command(bytes) => Payload::Command(Command(bytes)),
        Wire::Membership(membership) => Payload::Membership(membership.try_into()?),
    };
    Ok(Entry::new(entry.id.ok_or(Malformed("entry without id"))?.into(), payload))
}

/// Where a snapshot stands, as its file says it.
pub(crate) fn place(last: LogId, membership: &StoredMembershipOf<Types>, highest: NodeId) -> Place {
    let membership_at = (*membership.log_id()).map(Into::into);
    let membership = proto::Membership { highest, ..membership.membership().into() };
    Place { last: last.into(), membership_at, membership }
}

pub(crate) fn meta(place: Place) -> Result<SnapshotMetaOf<Types>, Malformed> {
    let Place { last, membership_at, membership } = place;
    let membership = membership.try_into()?;
    let at = membership_at.map(LogId::from);
    Ok(SnapshotMetaOf::<Types> {
        last_log_id: Some(last.into()),
        last_membership: StoredMembershipOf::<Types>::new(at, membership),
    })
}
