//! What the control plane is about: resources, their rules, and the state that holds them.
//!
//! Pure: no IO, no clock, no random number, no async. Time, identities and keys are inputs.
//!
//! ```text
//! document ──parse, validate──► admission(&Snapshot) ──► Transaction ──(store)──► Snapshot
//!                                                                       since ──► Delta
//! ```

mod delta;
mod key;
mod kind;
mod names;
pub mod resource;
mod snapshot;
pub mod spec;
mod transaction;

pub use delta::Delta;
pub use key::Key;
pub use kind::{Author, Kind, KindInfo, Scope, UnknownKind};
pub use names::hashed_name;
pub use resource::{
    Audience, KindSpec, Labels, Owner, Resource, SecretBytes, SecretScheme, Spec, Timestamp,
    UnreadableSpec,
};
pub use snapshot::{
    BelowHorizon, Changes, ClusterId, Epoch, MAX_RESULTS, MAX_TOMBSTONES, RESULT_AGE_MS, Snapshot,
    Tombstone, Upstream,
};
pub use transaction::{
    Check, Draft, MAX_OPERATIONS, MAX_TRANSACTION_BYTES, Operation, Outcome, Refusal, RequestId,
    Transaction,
};
