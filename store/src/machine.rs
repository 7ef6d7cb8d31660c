//! The state machine: what each entry of the log does to the state. Pure: no IO, no clock, no
//! random number; the same log gives the same bytes on every node.

use std::sync::Arc;

use higuma_model::{
    Adopted, Check, ClusterId, Draft, Epoch, Key, Kind, Operation, Outcome, Owner, Received,
    Refusal, Resource, Scope, Snapshot, Transaction,
};

/// The applied state: the snapshot that everybody reads, and how log indexes become versions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Machine {
    snapshot: Snapshot,
    /// `version = base + index`; jumps when a backup is restored, never else.
    base: u64,
    /// The term of the last epoch: only the first blank entry of a newer one begins another.
    epoch_term: u64,
    /// The history up to this version is given up.
    compacted: u64,
}

impl Machine {
    pub(crate) fn new(cluster: ClusterId) -> Self {
        Self { snapshot: Snapshot::new(cluster), base: 0, epoch_term: 0, compacted: 0 }
    }

    /// A machine as it was when its state was written down.
    pub(crate) fn restored(snapshot: Snapshot, base: u64, epoch_term: u64) -> Self {
        Self { snapshot, base, epoch_term, compacted: 0 }
    }

    /// The same, with the history given up to a version.
    pub(crate) fn compacted_to(self, compacted: u64) -> Self {
        Self { compacted, ..self }
    }

    pub(crate) fn snapshot(&self) -> &Snapshot {
        &self.snapshot
    }

    pub(crate) fn base(&self) -> u64 {
        self.base
    }

    pub(crate) fn epoch_term(&self) -> u64 {
        self.epoch_term
    }

    pub(crate) fn compacted(&self) -> u64 {
        self.compacted
    }

    /// Gives up the history up to a version that there is.
    pub(crate) fn compact(&mut self, version: u64) {
        self.compacted = self.compacted.max(version.min(self.snapshot.version()));
    }

    /// A leader's blank entry.
    pub(crate) fn begin_term(&mut self, term: u64, index: u64, nonce: u64) {
        if term > self.epoch_term {
            self.epoch_term = term;
            self.snapshot.begin_epoch(Epoch { nonce, since: self.base + index });
        }
    }

    /// Applies a transaction whole or not at all; one that was applied before answers what it
    /// answered then.
    pub(crate) fn apply(&mut self, index: u64, transaction: &Transaction) -> Outcome {
        if let Some(outcome) = self.snapshot.result(&transaction.id) {
            return outcome.clone();
        }
        if self.snapshot.is_expired(&transaction.id) {
            return Outcome::Refused(Refusal::Expired);
        }
        let named = transaction.terms.idempotency.as_ref();
        if let Some((named, first)) = named.and_then(|n| Some((n, self.snapshot.keyed(n.key)?))) {
            let outcome = match first.request == named.request {
                true => Outcome::Done { version: first.version },
                false => Outcome::Refused(Refusal::KeyReused),
            };
            self.snapshot.remember(transaction.id, outcome.clone(), None, transaction.at);
            return outcome;
        }
        let version = self.base + index;
        let outcome = match applied(&self.snapshot, version, transaction) {
            Ok(next) => {
                self.snapshot = next;
                Outcome::Done { version: self.snapshot.version() }
            }
            Err(refusal) => Outcome::Refused(refusal),
        };
        self.snapshot.remember(transaction.id, outcome.clone(), named, transaction.at);
        outcome
    }
}

fn applied(
    before: &Snapshot,
    version: u64,
    transaction: &Transaction,
) -> Result<Snapshot, Refusal> {
    for demand in &transaction.demands {
        check(before, demand).map_err(|(key, have, _)| Refusal::Demand { key, have })?;
    }
    for relied_on in &transaction.checks {
        check(before, relied_on).map_err(|(_, _, what)| Refusal::Stale { what })?;
    }
    let mut next = before.clone();
    for operation in &transaction.operations {
        match operation {
            Operation::Put(draft) => put(&mut next, version, transaction, draft)?,
            Operation::Delete(key) => delete(&mut next, version, &transaction.writer, key)?,
            Operation::DeleteMesh(mesh) => {
                delete_mesh(&mut next, version, &transaction.writer, mesh)?;
            }
            Operation::Receive(received) => {
                receive(&mut next, version, &transaction.writer, received)?;
            }
            Operation::Adopt(adopted) => adopt(&mut next, version, &transaction.writer, adopted)?,
        }
    }
    let (bytes, quota) = (next.bytes(), transaction.terms.quota.unwrap_or(u64::MAX));
    if bytes > quota && bytes > before.bytes() {
        return Err(Refusal::Full { bytes, quota });
    }
    Ok(next)
}

/// What a transaction would make of a snapshot if it came next.
///
/// # Errors
/// Why it would be refused.
pub fn preview(before: &Snapshot, transaction: &Transaction) -> Result<Snapshot, Refusal> {
    applied(before, before.version() + 1, transaction)
}

/// Whether a check holds; else its key, the `modified_at` found, and what is wrong in words.
fn check(snapshot: &Snapshot, check: &Check) -> Result<(), (Key, Option<u64>, String)> {
    let have = |key: &Key| snapshot.get(key).map(|resource| resource.modified_at);
    let (key, have, what) = match check {
        Check::Unchanged { key, modified_at } => match have(key) {
            Some(version) if version == *modified_at => return Ok(()),
            Some(version) => (key, Some(version), format!("{key} is at version {version}")),
            None => (key, None, format!("{key} does not exist")),
        },
        Check::Absent(key) => match have(key) {
            None => return Ok(()),
            version => (key, version, format!("{key} exists")),
        },
        Check::Exists(key) => match have(key) {
            Some(_) => return Ok(()),
            None => (key, None, format!("{key} does not exist")),
        },
        Check::Empty { kind, mesh } => match snapshot.in_mesh(*kind, mesh).next() {
            None => return Ok(()),
            Some(first) => (&first.key, Some(first.modified_at), format!("{} exists", first.key)),
        },
    };
    Err((key.clone(), have, what))
}

fn put(
    next: &mut Snapshot,
    version: u64,
    transaction: &Transaction,
    draft: &Draft,
) -> Result<(), Refusal> {
    let before = next.get(&draft.key);
    if let Some(before) = before {
        only_owner(before, &transaction.writer)?;
        let same = before.audience == draft.audience
            && before.labels == draft.labels
            && before.spec == draft.spec
            && before.status == draft.status;
        if same {
            return Ok(());
        }
    }
    let resource = Resource {
        key: draft.key.clone(),
        owner: transaction.writer.clone(),
        version,
        modified_at: version,
        created: before.map_or(transaction.at, |before| before.created),
        modified: transaction.at,
        audience: draft.audience.clone(),
        labels: draft.labels.clone(),
        spec: draft.spec.clone(),
        status: draft.status.clone(),
    };
    next.put(Arc::new(resource));
    Ok(())
}

fn delete(next: &mut Snapshot, version: u64, writer: &Owner, key: &Key) -> Result<(), Refusal> {
    if let Some(resource) = next.get(key) {
        only_owner(resource, writer)?;
        next.remove(key, version);
    }
    Ok(())
}

fn delete_mesh(
    next: &mut Snapshot,
    version: u64,
    writer: &Owner,
    mesh: &str,
) -> Result<(), Refusal> {
    let scoped = Kind::ALL.into_iter().filter(|kind| kind.scope() == Scope::Mesh);
    let owned: Vec<Key> = scoped
        .flat_map(|kind| next.in_mesh(kind, mesh))
        .filter(|resource| resource.owner == *writer)
        .map(|resource| resource.key.clone())
        .collect();
    for key in &owned {
        next.remove(key, version);
    }
    delete(next, version, writer, &Key::mesh_resource(mesh))
}

/// Writes a batch and the position it leads to. One that leads nowhere new is a replay.
fn receive(
    next: &mut Snapshot,
    version: u64,
    receiver: &Owner,
    received: &Received,
) -> Result<(), Refusal> {
    let position = received.position;
    let stands = match &received.zone {
        Some(zone) => next.cursor(zone),
        None => next.upstream(),
    };
    if let Some(stands) = stands {
        if stands.cluster != position.cluster {
            let (sent, bound) = (position.cluster, stands.cluster);
            return Err(Refusal::OtherStore { sent, bound });
        }
        if position.version <= stands.version {
            return Ok(());
        }
    }
    let have = stands.map_or(0, |stands| stands.version);
    if let Some(base) = received.builds_on.filter(|base| *base > have) {
        let what = format!("the batch builds on version {base}, written is {have}");
        return Err(Refusal::Stale { what });
    }
    follow(next, version, receiver, received)
}

/// Writes what an operator adopted: a position of another history, or one that is lower, in place
/// of the one that it names.
fn adopt(
    next: &mut Snapshot,
    version: u64,
    receiver: &Owner,
    adopted: &Adopted,
) -> Result<(), Refusal> {
    if next.upstream() != Some(adopted.replaces) {
        let what = "the zone no longer stands where it stood when this was decided".to_owned();
        return Err(Refusal::Stale { what });
    }
    if let Some(zone) = &adopted.received.zone {
        let what = format!("what zone {zone} owns can't be adopted here");
        return Err(Refusal::Stale { what });
    }
    follow(next, version, receiver, &adopted.received)
}

/// Writes a batch that is known to lead on from here, and the position that it leads to.
fn follow(
    next: &mut Snapshot,
    version: u64,
    receiver: &Owner,
    received: &Received,
) -> Result<(), Refusal> {
    for key in &received.removed {
        if let Some(resource) = next.get(key) {
            only_others(resource, &resource.owner, receiver)?;
            only_senders(resource, received)?;
            next.remove(key, version);
        }
    }
    for resource in &received.upserts {
        let before = next.get(&resource.key);
        only_others(resource, before.map_or(&resource.owner, |before| &before.owner), receiver)?;
        only_senders(resource, received)?;
        let copy = Resource { modified_at: version, ..resource.clone() };
        let same = before.is_some_and(|before| {
            **before == Resource { modified_at: before.modified_at, ..copy.clone() }
        });
        if !same {
            next.put(Arc::new(copy));
        }
    }
    match &received.zone {
        Some(zone) => next.set_cursor(zone.clone(), received.position, version),
        None => next.set_upstream(received.position, version),
    }
    Ok(())
}

/// A received resource has one owner, and it is not the receiver: only the owner writes it.
fn only_others(resource: &Resource, before: &Owner, receiver: &Owner) -> Result<(), Refusal> {
    let foreign =
        |owner: &Owner| Refusal::Foreign { key: resource.key.clone(), owner: owner.clone() };
    if *before != resource.owner {
        return Err(foreign(before));
    }
    if resource.owner == *receiver { Err(foreign(receiver)) } else { Ok(()) }
}

/// A zone sends what is its own; the global also passes on what other zones own.
fn only_senders(resource: &Resource, received: &Received) -> Result<(), Refusal> {
    match &received.zone {
        Some(zone) if resource.owner != Owner::Zone(zone.clone()) => {
            Err(Refusal::Foreign { key: resource.key.clone(), owner: resource.owner.clone() })
        }
        _ => Ok(()),
    }
}

fn only_owner(resource: &Resource, writer: &Owner) -> Result<(), Refusal> {
    if resource.owner == *writer {
        return Ok(());
    }
    Err(Refusal::Foreign { key: resource.key.clone(), owner: resource.owner.clone() })
}

#[cfg(test)]
mod tests;
