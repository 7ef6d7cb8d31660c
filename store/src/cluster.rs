//! What the members of a cluster say of themselves.

use std::collections::BTreeMap;

use higuma_model::ClusterId;

use crate::options::NodeId;
use crate::proto;

/// A cluster as one of its members sees it.
#[derive(Debug, Clone)]
pub struct Cluster {
    pub id: ClusterId,
    /// Who says this.
    pub node: NodeId,
    pub leader: Option<NodeId>,
    pub term: u64,
    pub members: Vec<Member>,
}

/// One member; its state is what it answered, or why it did not.
#[derive(Debug, Clone)]
pub struct Member {
    pub id: NodeId,
    /// Its Raft address.
    pub address: String,
    /// A learner gets the log and has no vote.
    pub votes: bool,
    pub state: Result<MemberState, String>,
}

/// How far a member is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MemberState {
    pub term: u64,
    pub last_index: u64,
    pub applied_index: u64,
    pub version: u64,
    pub epoch: u64,
    pub resources: u64,
    /// The hash of what its resources say at `version`; none from a node that knows of none.
    pub content: Option<u128>,
    /// The last entry in the newest snapshot; 0: there is none.
    pub snapshot_index: u64,
    /// The last entry that is no longer in the log; 0: the log is whole.
    pub purged_index: u64,
    /// Bytes that it may still write to its disk.
    pub disk_free: u64,
    /// Its disk is nearly full.
    pub disk_low: bool,
    /// The newest snapshot holds all versions up to this one; 0: there is none.
    pub snapshot_version: u64,
    /// Its size.
    pub snapshot_bytes: u64,
    /// The newest kind of command that it applies, by its number in the log's format.
    pub commands: u32,
}

/// Members that are at one version and not of one content: a defect, or memory that fails.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Divergence {
    pub version: u64,
    pub members: Vec<NodeId>,
}

impl From<&proto::StatusReply> for MemberState {
    fn from(status: &proto::StatusReply) -> Self {
        Self {
            term: status.term,
            last_index: status.last_index,
            applied_index: status.applied_index,
            version: status.version,
            epoch: status.epoch,
            resources: status.resources,
            content: status.content.as_ref().try_into().ok().map(u128::from_be_bytes),
            snapshot_index: status.snapshot_index,
            purged_index: status.purged_index,
            disk_free: status.disk_free,
            disk_low: status.disk_low,
            snapshot_version: status.snapshot_version,
            snapshot_bytes: status.snapshot_bytes,
            commands: status.commands.max(1),
        }
    }
}

impl Cluster {
    /// The versions at which members have different contents, and who is at them.
    pub fn divergences(&self) -> Vec<Divergence> {
        let mut at: BTreeMap<u64, Vec<(NodeId, u128)>> = BTreeMap::new();
        for member in &self.members {
            if let Ok(MemberState { version, content: Some(content), .. }) = member.state {
                at.entry(version).or_default().push((member.id, content));
            }
        }
        let differ =
            |here: &[(NodeId, u128)]| here.iter().any(|(_, content)| *content != here[0].1);
        at.into_iter()
            .filter(|(_, here)| differ(here))
            .map(|(version, here)| Divergence {
                version,
                members: here.into_iter().map(|(id, _)| id).collect(),
            })
            .collect()
    }

    /// Entries that the member furthest ahead has in its log.
    pub fn last_index(&self) -> u64 {
        let states = self.members.iter().filter_map(|member| member.state.as_ref().ok());
        states.map(|state| state.last_index).max().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_differ_only_where_they_are_at_one_version() {
        let member = |id, version, content| Member {
            id,
            address: String::new(),
            votes: true,
            state: Ok(MemberState {
                term: 1,
                last_index: 9,
                applied_index: 9,
                version,
                epoch: 1,
                resources: 1,
                content,
                ..MemberState::from(&proto::StatusReply::default())
            }),
        };
        let (address, state) = (String::new(), Err("gone".to_owned()));
        let gone = Member { id: 4, address, votes: true, state };
        for (members, expected) in [
            (vec![member(1, 7, Some(5)), member(2, 7, Some(5)), gone.clone()], vec![]),
            (vec![member(1, 7, Some(5)), member(2, 8, Some(6))], vec![]),
            (vec![member(1, 7, Some(5)), member(2, 7, None)], vec![]),
            (
                vec![member(1, 7, Some(5)), member(2, 7, Some(5)), member(3, 7, Some(6)), gone],
                vec![Divergence { version: 7, members: vec![1, 2, 3] }],
            ),
        ] {
            let cluster = Cluster { id: ClusterId(1), node: 1, leader: None, term: 1, members };
            assert_eq!(cluster.divergences(), expected, "{cluster:?}");
        }
    }
}
