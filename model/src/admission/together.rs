//! Several changes that become one transaction.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::put::dedup;
use super::{Admission, Admitted, Rejection, as_seen};
use crate::transaction::{Check, Transaction};
use crate::{Key, Snapshot};

/// Changes that were admitted one after the other, each on the state that those before it lead to,
/// on their way into one transaction.
///
/// What they do is decided by the state that the first one was admitted on: the transaction checks
/// that every resource that they are about is still as it was there.
#[derive(Debug)]
pub struct Together<'a> {
    before: &'a Snapshot,
    transaction: Transaction,
    about: BTreeSet<Key>,
}

impl<'a> Together<'a> {
    /// Begins with the state that the first change is admitted on.
    pub fn new(admission: &Admission<'a>) -> Self {
        let transaction = admission.transaction(None);
        Self { before: admission.snapshot, transaction, about: BTreeSet::new() }
    }

    /// Adds a change of `key` that was admitted on `state`.
    ///
    /// # Errors
    /// A resource that an earlier change is about already; a mesh that is deleted after what it
    /// held: the transaction could not check that nothing came into it meanwhile.
    pub fn add(
        &mut self,
        state: &Snapshot,
        key: &Key,
        admitted: Admitted,
    ) -> Result<(), Rejection> {
        if !self.about.insert(key.clone()) {
            let reason = format!("{key} is changed twice; a transaction changes a resource once");
            return Err(Rejection::invalid("", reason));
        }
        self.transaction.checks.push(as_seen(self.before, key));
        let Some(added) = admitted.transaction else { return Ok(()) };
        for check in added.checks {
            let check = self.before(state, check)?;
            self.transaction.checks.push(check);
        }
        self.transaction.demands.extend(added.demands);
        self.transaction.operations.extend(added.operations);
        Ok(())
    }

    /// All of them; it has no operations if nothing differs.
    pub fn transaction(mut self) -> Transaction {
        dedup(&mut self.transaction.checks);
        self.transaction
    }

    /// A check that holds before the transaction where `check` is to hold in the midst of it.
    fn before(&self, state: &Snapshot, check: Check) -> Result<Check, Rejection> {
        let key = match &check {
            Check::Empty { kind, mesh } => {
                if let Some(first) = self.before.in_mesh(*kind, mesh).next() {
                    let reason = format!(
                        "mesh {mesh} holds {} before this transaction; delete it in one of its own \
                         first",
                        first.key
                    );
                    return Err(Rejection::invalid("", reason));
                }
                return Ok(check);
            }
            Check::Unchanged { key, .. } | Check::Absent(key) | Check::Exists(key) => key,
        };
        let same = match (self.before.get(key), state.get(key)) {
            (Some(before), Some(now)) => Arc::ptr_eq(before, now),
            (None, None) => true,
            _ => false,
        };
        // What the transaction itself made of it follows from what it was.
        Ok(if same { check } else { as_seen(self.before, key) })
    }
}
