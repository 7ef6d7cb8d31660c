//! Whether a change may be made, and the transaction that makes it.
//!
//! Decides on one Snapshot for one place; draws nothing and reads no clock. What a decision rests
//! on becomes the transaction's checks, so that it holds where the transaction is applied or is
//! made again; what the caller demanded becomes its demands.

mod ca;
mod delete;
mod place;
mod put;
#[cfg(test)]
mod tests;
mod together;

use crate::resource::{Owner, Timestamp};
use crate::transaction::{Check, RequestId, Terms, Transaction};
use crate::violation::Violation;
use crate::{Key, Operation, Snapshot};

pub use ca::{Need, ca_certificate_key, ca_private_key_key};
pub use place::Place;
pub use together::Together;

/// Bytes of one resource: name, labels and canonical spec. Under what a transaction and a batch
/// between control planes take, so that what is accepted also travels.
pub const MAX_RESOURCE_BYTES: usize = 1 << 20;

/// What a decision is made with.
#[derive(Debug, Clone, Copy)]
pub struct Admission<'a> {
    pub snapshot: &'a Snapshot,
    pub place: &'a Place,
    pub id: RequestId,
    pub now: Timestamp,
    /// Unknown fields are findings instead of warnings.
    pub strict: bool,
}

/// What the caller demands of the resource as it is (RFC 9110, conditional requests).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Precondition {
    /// `If-Match: "<version>"`: its `modified_at`.
    Version(u64),
    /// `If-Match: *`
    Exists,
    /// `If-None-Match: *`
    Absent,
}

/// A change that may be made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Admitted {
    /// None: what is stored is identical already.
    pub transaction: Option<Transaction>,
    /// Whether the resource is new, as far as this Snapshot knows.
    pub created: bool,
    pub warnings: Vec<String>,
    /// What the caller adds to the transaction before it writes it.
    pub needs: Vec<Need>,
}

/// Why a change may not be made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Rejection {
    #[error("Resource is not valid: {}", list(.0))]
    Invalid(Vec<Violation>),
    /// The kind is written elsewhere, or by the control plane alone.
    #[error("{detail}")]
    NotHere { detail: String },
    #[error("mesh {0} does not exist; create it first")]
    MeshNotFound(String),
    #[error("{0} does not exist")]
    NotFound(Key),
    /// `have` is the resource's `modified_at`, if it exists.
    #[error("{key} {}", have.map_or("does not exist".to_owned(), |v| format!("is at version {v}")))]
    Precondition { key: Key, have: Option<u64> },
    #[error("{key} belongs to {owner}; change it there")]
    Foreign { key: Key, owner: Owner },
}

fn as_seen(snapshot: &Snapshot, key: &Key) -> Check {
    match snapshot.get(key) {
        Some(resource) => Check::Unchanged { key: key.clone(), modified_at: resource.modified_at },
        None => Check::Absent(key.clone()),
    }
}

fn list(violations: &[Violation]) -> String {
    violations.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}

impl Rejection {
    fn invalid(field: &str, reason: impl Into<String>) -> Self {
        Self::Invalid(vec![Violation::new(field, reason)])
    }
}

impl Admission<'_> {
    fn transaction(&self, precondition: Option<(&Key, Precondition)>) -> Transaction {
        let demands = precondition.map(|(key, precondition)| precondition.demand(key));
        Transaction {
            id: self.id,
            at: self.now,
            writer: self.place.owner(),
            demands: demands.into_iter().collect(),
            checks: Vec::new(),
            operations: Vec::new(),
            terms: Terms::default(),
        }
    }

    /// Says of a resource that it is as it is, and changes nothing: for a request that is to be
    /// remembered all the same.
    pub fn note(&self, key: &Key) -> Transaction {
        let mut transaction = self.transaction(None);
        transaction.checks.push(as_seen(self.snapshot, key));
        transaction
    }

    /// Fails what can be told to fail already. A version that this Snapshot has not reached yet
    /// is left to where the transaction is applied.
    fn meets(&self, key: &Key, precondition: Option<Precondition>) -> Result<(), Rejection> {
        let have = self.snapshot.get(key).map(|resource| resource.modified_at);
        let met = match precondition {
            None => true,
            Some(Precondition::Version(wanted)) => {
                have == Some(wanted) || wanted > self.snapshot.version()
            }
            Some(Precondition::Exists) => have.is_some(),
            Some(Precondition::Absent) => have.is_none(),
        };
        if met { Ok(()) } else { Err(Rejection::Precondition { key: key.clone(), have }) }
    }

    /// That a resource is as this Snapshot has it.
    fn as_seen(&self, key: &Key) -> Check {
        as_seen(self.snapshot, key)
    }

    fn own(&self, key: &Key) -> Result<(), Rejection> {
        match self.snapshot.get(key) {
            Some(resource) if resource.owner != self.place.owner() => {
                Err(Rejection::Foreign { key: key.clone(), owner: resource.owner.clone() })
            }
            _ => Ok(()),
        }
    }
}

impl Precondition {
    fn demand(self, key: &Key) -> Check {
        let key = key.clone();
        match self {
            Self::Version(modified_at) => Check::Unchanged { key, modified_at },
            Self::Exists => Check::Exists(key),
            Self::Absent => Check::Absent(key),
        }
    }
}

impl Admitted {
    /// Adds the certificate and key of a builtin CA that was [needed](Self::needs), as PEM. One
    /// that is not needed changes nothing.
    pub fn provide_ca(&mut self, mesh: &str, backend: &str, cert_pem: &[u8], key_pem: &[u8]) {
        let need = Need::BuiltinCa { mesh: mesh.to_owned(), backend: backend.to_owned() };
        let Some(at) = self.needs.iter().position(|known| *known == need) else { return };
        let Some(transaction) = &mut self.transaction else { return };
        self.needs.remove(at);
        let secrets = ca::secrets(mesh, backend, cert_pem, key_pem);
        transaction.operations.extend(secrets.map(Operation::Put));
    }
}
