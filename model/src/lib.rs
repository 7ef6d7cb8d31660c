//! What the control plane is about: resources, their rules, and the state that holds them.
//!
//! Pure: no IO, no clock, no random number, no async. Time, identities and keys are inputs.
//!
//! ```text
//! document ──parse, validate──► admission(&Snapshot) ──► Transaction ──(store)──► Snapshot
//!                                                                       since ──► Delta
//! ```

mod admission;
mod cluster_name;
mod content;
mod delta;
mod document;
mod key;
mod kind;
mod names;
mod origin;
pub mod resource;
mod schema;
mod snapshot;
pub mod spec;
#[cfg(feature = "testing")]
pub mod testing;
mod transaction;
mod validate;
mod violation;
pub mod vip;

pub use admission::{
    Admission, Admitted, MAX_RESOURCE_BYTES, Need, Place, Precondition, Rejection, Together,
    ca_certificate_key, ca_private_key_key,
};
pub use cluster_name::{BadClusterName, ClusterName};
pub use delta::Delta;
pub use document::{
    DEFAULT_MESH, Document, Expected, parse_rfc3339, render, render_secret, rfc3339,
};
pub use key::Key;
pub use kind::{Author, Kind, KindInfo, Scope, UnknownKind};
pub use names::hashed_name;
pub use origin::{BadReason, MAX_REASON_BYTES, Origin};
pub use resource::{
    Audience, KindSpec, Labels, Owner, Resource, SecretBytes, SecretScheme, Spec, Timestamp,
    UnreadableSpec,
};
pub use schema::{Canonical, Source, canonical_spec, canonicalise};
pub use snapshot::{
    BelowHorizon, Changes, ClusterId, Contents, Epoch, Keyed, MAX_PREDECESSORS, MAX_RESULTS,
    MAX_TOMBSTONES, RESULT_AGE_MS, Snapshot, Tombstone, Upstream,
};
pub use transaction::{
    Adopted, Check, DEFAULT_QUOTA_BYTES, Draft, Effect, Idempotency, MAX_ENTRY_BYTES,
    MAX_OPERATIONS, MAX_TRANSACTION_BYTES, Operation, Outcome, Received, Refusal, RequestId, Terms,
    Transaction,
};
pub use validate::{Checked, check};
pub use violation::{MAX_VIOLATIONS, Violation};
