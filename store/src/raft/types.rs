//! openraft's types as this store uses them.
#![expect(unreachable_pub, reason = "openraft's traits and From are public and name these types")]

use std::fmt;

use bytes::Bytes;
use openraft::alias::{EntryOf, LogIdOf, VoteOf};
use openraft::entry::RaftPayload;
use openraft::impls::leader_id_std::LeaderId;
use openraft::vote::RaftLeaderId;

pub type NodeId = u64;
pub type LogId = LogIdOf<Types>;
pub type Vote = VoteOf<Types>;
pub type Entry = EntryOf<Types>;
pub type Membership = openraft::Membership<NodeId, Peer>;

openraft::declare_raft_types!(
    /// The type configuration of this store: one leader a term, commands as framed bytes.
    pub Types:
        D = Command,
        R = Reply,
        NodeId = u64,
        Node = Peer,
        Term = u64,
        LeaderId = LeaderId<u64, u64>,
        Payload = Payload,
        Entry = openraft::impls::Entry<<LeaderId<u64, u64> as RaftLeaderId>::Committed, Payload>,
);

/// Where a member's Raft endpoint listens, `host:port`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Peer {
    pub address: String,
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.address)
    }
}

/// A framed command: encoded once by the proposer, decoded where it is applied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Command(pub Bytes);

impl fmt::Display for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "command of {} bytes", self.0.len())
    }
}

/// What applying an entry answers to whoever proposed it; blank and membership entries answer
/// nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply(pub Option<higuma_model::Outcome>);

/// What an entry holds. A blank one carries a nonce: the first blank of a term starts an epoch,
/// so that two histories with equal numbers are told apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Payload {
    Blank { nonce: u64 },
    Command(Command),
    Membership(Membership),
}

impl fmt::Display for Payload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Blank { nonce } => write!(f, "blank {nonce:016x}"),
            Self::Command(command) => write!(f, "{command}"),
            Self::Membership(membership) => write!(f, "membership {membership}"),
        }
    }
}

impl RaftPayload for Payload {
    type D = Command;
    type NodeId = NodeId;
    type Node = Peer;

    fn blank() -> Self {
        let nonce = getrandom::u64().expect("invariant: the kernel's random source answers");
        Self::Blank { nonce }
    }

    fn with_normal(self, data: Command) -> Self {
        Self::Command(data)
    }

    fn with_membership(self, membership: Membership) -> Self {
        Self::Membership(membership)
    }

    fn get_membership(&self) -> Option<Membership> {
        match self {
            Self::Membership(membership) => Some(membership.clone()),
            _ => None,
        }
    }

    fn normal(data: Command) -> Self {
        Self::Command(data)
    }

    fn membership(membership: Membership) -> Self {
        Self::Membership(membership)
    }
}
