//! What one version changed: made where entries are applied, by the node itself or from its log.

use std::sync::Arc;

use bytes::Bytes;
use higuma_model::{
    Author, Key, Kind, Operation, Origin, Outcome, Owner, Resource, Snapshot, Timestamp,
    Transaction,
};

use crate::codec::{self, Command, Undecodable};
use crate::machine::Machine;

/// What an edit counts beside its values, in bytes: keys, pointers and their allocations.
const EDIT_BYTES: usize = 256;

/// One version: what it changed, who asked for it, when and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    pub version: u64,
    /// The clock of the node that took the request.
    pub at: Timestamp,
    /// On whose behalf it was written.
    pub writer: Owner,
    pub origin: Origin,
    /// Of kept kinds, by kind, mesh and name; never empty.
    pub edits: Vec<Edit>,
}

/// One resource before and after; one of the two is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Edit {
    pub key: Key,
    pub before: Option<Arc<Resource>>,
    pub after: Option<Arc<Resource>>,
}

/// Whether the history keeps versions of a kind: those that operators write. Nothing secret is
/// among them.
pub const fn keeps(kind: Kind) -> bool {
    matches!(kind.info().author, Author::Operator)
}

impl Change {
    /// What it costs to keep in memory.
    pub(super) fn size(&self) -> usize {
        let value = |value: &Option<Arc<Resource>>| value.as_ref().map_or(0, |v| v.size());
        let edit = |edit: &Edit| EDIT_BYTES + value(&edit.before) + value(&edit.after);
        EDIT_BYTES + self.edits.iter().map(edit).sum::<usize>()
    }
}

/// Applies a transaction and says what it changed of what is kept.
pub(super) fn applied(
    machine: &mut Machine,
    index: u64,
    transaction: &Transaction,
    origin: Origin,
) -> (Outcome, Option<Change>) {
    if !concerns(transaction) {
        return (machine.apply(index, transaction), None);
    }
    let before = machine.snapshot().clone();
    let outcome = machine.apply(index, transaction);
    let after = machine.snapshot();
    let edits = edits(&before, after, transaction);
    let change = (!edits.is_empty()).then(|| Change {
        version: after.version(),
        at: transaction.at,
        writer: transaction.writer.clone(),
        origin,
        edits,
    });
    (outcome, change)
}

/// Whether a transaction may change what is kept; most are about proxies and don't.
fn concerns(transaction: &Transaction) -> bool {
    let key = |key: &Key| keeps(key.kind());
    let received = |received: &higuma_model::Received| {
        received.upserts.iter().any(|r| key(&r.key)) || received.removed.iter().any(key)
    };
    transaction.operations.iter().any(|operation| match operation {
        Operation::Put(draft) => key(&draft.key),
        Operation::Delete(deleted) => key(deleted),
        Operation::DeleteMesh(_) => true,
        Operation::Receive(batch) => received(batch),
        Operation::Adopt(adopted) => received(&adopted.received),
    })
}

fn edits(before: &Snapshot, after: &Snapshot, transaction: &Transaction) -> Vec<Edit> {
    let mut keys =
        named(transaction).unwrap_or_else(|| after.since(before).keys().cloned().collect());
    keys.sort_unstable();
    keys.dedup();
    let edit = |key: Key| {
        let (old, new) = (before.get(&key).cloned(), after.get(&key).cloned());
        let same = match (&old, &new) {
            (Some(old), Some(new)) => Arc::ptr_eq(old, new),
            (old, new) => old.is_none() && new.is_none(),
        };
        (!same).then_some(Edit { key, before: old, after: new })
    };
    keys.into_iter().filter(|key| keeps(key.kind())).filter_map(edit).collect()
}

/// What a transaction may change, if it says so itself: most do, and then the states need not be
/// compared.
fn named(transaction: &Transaction) -> Option<Vec<Key>> {
    let each = transaction.operations.iter().map(|operation| match operation {
        Operation::Put(draft) => Some(draft.key.clone()),
        Operation::Delete(key) => Some(key.clone()),
        Operation::DeleteMesh(_) | Operation::Receive(_) | Operation::Adopt(_) => None,
    });
    each.collect()
}

/// Applies a framed command.
pub(crate) fn apply_command(
    machine: &mut Machine,
    index: u64,
    framed: &Bytes,
) -> Result<(Outcome, Option<Change>), Undecodable> {
    match codec::decode_command(framed)? {
        Command::Transaction(transaction, origin) => {
            Ok(applied(machine, index, &transaction, origin))
        }
        Command::Compact(version) => {
            machine.compact(version);
            Ok((Outcome::Done { version: machine.snapshot().version() }, None))
        }
    }
}
