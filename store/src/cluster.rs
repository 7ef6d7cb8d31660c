//! What the members of a cluster say of themselves.

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
    /// The last entry in the newest snapshot; 0: there is none.
    pub snapshot_index: u64,
    /// The last entry that is no longer in the log; 0: the log is whole.
    pub purged_index: u64,
    /// Bytes that it may still write to its disk.
    pub disk_free: u64,
    /// Its disk is nearly full.
    pub disk_low: bool,
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
            snapshot_index: status.snapshot_index,
            purged_index: status.purged_index,
            disk_free: status.disk_free,
            disk_low: status.disk_low,
        }
    }
}

impl Cluster {
    /// Entries that the member furthest ahead has in its log.
    pub fn last_index(&self) -> u64 {
        let states = self.members.iter().filter_map(|member| member.state.as_ref().ok());
        states.map(|state| state.last_index).max().unwrap_or_default()
    }
}
