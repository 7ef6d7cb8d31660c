//! What changes the state: checks and operations, applied whole or not at all.

use std::sync::Arc;

use crate::resource::{Audience, Labels, Owner, Resource, Spec, Timestamp};
use crate::snapshot::{ClusterId, Upstream};
use crate::{Key, Kind};

/// Operations in one transaction of a REST caller. Large enough for a mesh with its policies,
/// small enough that applying one never holds up the log.
pub const MAX_OPERATIONS: usize = 128;

/// Bytes of one transaction as a REST caller sends it (etcd's bound of a request).
pub const MAX_TRANSACTION_BYTES: usize = 3 << 19;

/// Bytes of one encoded transaction: an entry of the log, and one message between the nodes. What
/// is above a caller's transaction holds CAs' secrets, checks and framing.
pub const MAX_ENTRY_BYTES: usize = 2 << 20;

/// Bytes that a control plane's resources may take before what operators write is refused, unless
/// it is told another number: they are all in memory, some three times as large.
pub const DEFAULT_QUOTA_BYTES: u64 = 512 << 20;

/// Names one attempt to write, so that a retry is applied once. `at` orders ids by age: one older
/// than what is remembered is refused, never applied again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RequestId {
    pub at: Timestamp,
    pub random: u64,
}

/// One log entry's worth of change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Transaction {
    pub id: RequestId,
    /// The proposer's time; the state machine reads no clock.
    pub at: Timestamp,
    /// On whose behalf: an operation on a resource of another owner refuses the transaction.
    pub writer: Owner,
    /// What the caller demanded (`If-Match`); one that fails is the caller's to mend.
    pub demands: Vec<Check>,
    /// What admission relied on; one that fails runs admission again.
    pub checks: Vec<Check>,
    pub operations: Vec<Operation>,
    pub terms: Terms,
}

/// What else holds for a transaction; what the control planes write themselves has none of it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Terms {
    /// Under which name of the caller's the request is remembered.
    pub idempotency: Option<Idempotency>,
    /// The proposer's bound of the state in bytes ([`Resource::size`]): what grows it beyond that
    /// is refused. Written down here, so that every node decides alike whatever it is told.
    pub quota: Option<u64>,
}

/// A request that its caller named (`Idempotency-Key`), so that a retry of it is applied once,
/// whichever node gets it: the first that is applied is remembered with what was answered.
///
/// Each retry has a [`RequestId`] of its own; the name only leads to the first one's, and is
/// forgotten together with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Idempotency {
    /// A digest of the caller's key.
    pub key: u128,
    /// A digest of what is asked: another request under the same key is refused.
    pub request: u128,
    /// What is answered, for each thing that was asked.
    pub effects: Arc<[Effect]>,
}

/// What a request does to one resource that it is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    Created,
    Updated,
    /// It has been so since this version.
    Unchanged {
        modified_at: u64,
    },
    Deleted,
}

/// A condition on the state that a transaction meets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Check {
    /// The resource's `modified_at` is this version.
    Unchanged {
        key: Key,
        modified_at: u64,
    },
    Absent(Key),
    Exists(Key),
    /// The mesh has no resource of the kind.
    Empty {
        kind: Kind,
        mesh: Arc<str>,
    },
}

/// A change of one resource, or of all that a condition names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Operation {
    Put(Draft),
    /// Deleting what is absent changes nothing.
    Delete(Key),
    /// Deletes every resource of the mesh that the writer owns, the Mesh itself included.
    DeleteMesh(Arc<str>),
    /// A batch of another store's resources, with how far it leads.
    Receive(Received),
    /// In a zone: a batch of a history that was not followed so far, adopted by an operator.
    Adopt(Adopted),
}

/// What one end of KDS received: last values by their owners, written with the position that they
/// lead to, so that a replay changes nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Received {
    /// The zone that sent it, at the global; none in a zone, whose sender is the global.
    pub zone: Option<Arc<str>>,
    /// Where the receiver stands in the sender's history once this is written.
    pub position: Upstream,
    /// The sender's version that this builds on; a receiver below it must not write it.
    pub builds_on: Option<u64>,
    /// `owner`, `version` and times are the owner's; `modified_at` is set where it is applied.
    pub upserts: Vec<Resource>,
    pub removed: Vec<Key>,
}

/// What turns a zone from the history that it followed to another one, or to a lost part of the
/// same one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Adopted {
    /// The position that is given up; where the zone stands elsewhere, nothing is adopted.
    pub replaces: Upstream,
    /// What differs between what is here and the other history at its position.
    pub received: Received,
}

/// A resource to be: what admission decides; versions and times are stamped where it is applied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Draft {
    pub key: Key,
    pub audience: Audience,
    pub labels: Labels,
    pub spec: Spec,
    pub status: Option<Arc<str>>,
}

/// What applying a transaction did, the same on every node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// Applied at this version. Where nothing differed it is the version of the state.
    Done {
        version: u64,
    },
    Refused(Refusal),
}

/// Why a transaction changed nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// A demand of the caller does not hold; `have` is the resource's `modified_at`, if it exists.
    #[error("{} of {key}", have.map_or("absence".to_owned(), |v| format!("version {v}")))]
    Demand { key: Key, have: Option<u64> },
    /// Something that admission relied on has changed since.
    #[error("the state changed since this was checked: {what}")]
    Stale { what: String },
    /// A received batch comes from another history than what is written here.
    #[error("the batch is of store {sent}, what is written here of store {bound}")]
    OtherStore { sent: ClusterId, bound: ClusterId },
    #[error("{key} belongs to {owner}; change it there")]
    Foreign { key: Key, owner: Owner },
    #[error(
        "this Idempotency-Key was used for another request; a new request needs a new key, a retry \
         the same method, path, conditions and body"
    )]
    KeyReused,
    /// With the change the resources would take `bytes`.
    #[error(
        "the resources here would take {bytes} bytes, more than the quota of {quota}: delete what \
         is not needed (deletions are taken), or start the control planes with a larger \
         --state-quota"
    )]
    Full { bytes: u64, quota: u64 },
    #[error("this request is too old to be told from a repeated one; look and send it anew")]
    Expired,
}
