//! openraft's view of the state machine: feeds it entries and publishes each new snapshot.

use std::io;
use std::sync::Arc;

use futures::{Stream, StreamExt};
use higuma_model::{ClusterId, Snapshot};
use openraft::alias::{SnapshotMetaOf, SnapshotOf, StoredMembershipOf};
use openraft::storage::{EntryResponder, RaftStateMachine};
use openraft::{OptionalSend, RaftSnapshotBuilder};
use tokio::sync::watch;

use super::log_writer::Raise;
use super::roll::Roll;
use super::types::{Entry, LogId, Payload, Reply, Types};
use super::wire::{self, Malformed};
use crate::history::{Change, History, Mark, apply_command};
use crate::log::disk::Folder;
use crate::machine::Machine;
use crate::snapshot::{Kept, Received, SnapshotError, Snapshots, State};

/// Entries applied before their snapshot is published and their writers are answered. Bounds how
/// long the first of a batch waits for the last: some 100 µs.
const PUBLISH_EVERY: usize = 64;

/// What readers wait on: the state, and the log index up to which it is applied.
#[derive(Debug, Clone)]
pub(crate) struct Applied {
    pub(crate) index: u64,
    /// What makes versions of indexes.
    pub(crate) base: u64,
    pub(crate) roll: Arc<Roll>,
    pub(crate) snapshot: Arc<Snapshot>,
}

impl Applied {
    pub(crate) fn nothing(empty: Arc<Snapshot>) -> Self {
        Self { index: 0, base: 0, roll: Arc::default(), snapshot: empty }
    }
}

/// The snapshot files of this node.
pub(crate) type Files = Snapshots<Folder>;

/// A snapshot as openraft passes it on.
#[derive(Debug)]
pub(crate) enum SnapshotData {
    /// A file of this node, to be sent.
    Kept(Arc<Kept<<Folder as crate::log::disk::Disk>::File>>),
    /// One that arrived whole.
    Received(Box<Received<Folder>>),
}

pub(crate) struct StateMachine {
    machine: Machine,
    last: Option<LogId>,
    membership: StoredMembershipOf<Types>,
    roll: Arc<Roll>,
    applied: watch::Sender<Applied>,
    snapshots: watch::Sender<Arc<Snapshot>>,
    files: Arc<Files>,
    raise: Raise,
    history: History,
    /// What the history gets with the next publication.
    changes: Vec<(LogId, Change)>,
}

impl StateMachine {
    /// The machine at `state`, or before the first entry.
    pub(crate) fn new(
        (cluster, state): (ClusterId, Option<State>),
        (applied, snapshots): (watch::Sender<Applied>, watch::Sender<Arc<Snapshot>>),
        files: Arc<Files>,
        raise: Raise,
        history: History,
    ) -> Result<Self, Malformed> {
        let (machine, last, membership, highest) = match state {
            Some(State { place, machine }) => {
                let highest = place.membership.highest;
                let meta = wire::meta(place)?;
                (machine, meta.last_log_id, meta.last_membership, highest)
            }
            None => (Machine::new(cluster), None, StoredMembershipOf::<Types>::default(), 0),
        };
        let mut this = Self {
            machine,
            last,
            roll: Arc::new(Roll::new(highest, membership.membership())),
            membership,
            applied,
            snapshots,
            files,
            raise,
            history,
            changes: Vec::new(),
        };
        this.begin();
        Ok(this)
    }

    /// Publishes a state that no entries led to.
    fn begin(&mut self) {
        self.changes.clear();
        if let Some(last) = self.last {
            let at = Mark { last, version: self.machine.snapshot().version() };
            self.history.begins(at, self.machine.compacted());
        }
        self.publish();
    }

    fn apply_entry(&mut self, entry: Entry) -> io::Result<Reply> {
        let id = entry.log_id;
        let reply = match entry.payload {
            Payload::Blank { nonce } => {
                self.machine.begin_term(id.leader_id.term, id.index, nonce);
                Reply(None)
            }
            Payload::Membership(membership) => {
                Arc::make_mut(&mut self.roll).take(&membership);
                self.membership = StoredMembershipOf::<Types>::new(Some(id), membership);
                Reply(None)
            }
            Payload::Command(command) => {
                let applied = apply_command(&mut self.machine, id.index, &command.0);
                let (outcome, change) = applied.map_err(|error| {
                    let why = format!("entry {} can't be applied: {error}", id.index);
                    io::Error::new(io::ErrorKind::InvalidData, why)
                })?;
                self.changes.extend(change.map(|change| (id, change)));
                Reply(Some(outcome))
            }
        };
        self.last = Some(id);
        Ok(reply)
    }

    /// Publishes before the writers are answered, so that they read their own writes here.
    fn publish(&mut self) {
        let snapshot = Arc::new(self.machine.snapshot().clone());
        let index = self.last.map_or(0, |id| id.index);
        let changed = self.snapshots.borrow().version() != snapshot.version();
        if changed {
            self.snapshots.send_replace(snapshot.clone());
        }
        if let Some(last) = self.last {
            // After the snapshot: whoever is told of a change finds it in the state.
            let head = Mark { last, version: snapshot.version() };
            self.history.applied(self.changes.drain(..), head, self.machine.compacted());
        }
        // Last: whoever waits for this index then looks at the snapshots.
        let base = self.machine.base();
        let roll = self.roll.clone();
        self.applied.send_replace(Applied { index, base, roll, snapshot });
    }

    /// The state as it is now; what comes after does not change it.
    fn state(&self) -> io::Result<State> {
        let last = self.last.ok_or_else(|| io::Error::other("nothing is applied yet"))?;
        let place = wire::place(last, &self.membership, self.roll.highest());
        Ok(State { place, machine: self.machine.clone() })
    }

    /// Has the process stop, with the reason.
    fn fail(&self, error: impl ToString) -> io::Error {
        failed(&self.raise, error)
    }
}

fn failed(raise: &Raise, error: impl ToString) -> io::Error {
    let reason = error.to_string();
    tracing::error!(error = %reason, "this node can't go on and must stop");
    raise.raise(&reason);
    io::Error::other(reason)
}

impl RaftStateMachine<Types> for StateMachine {
    type SnapshotData = SnapshotData;
    type SnapshotBuilder = Builder;

    async fn applied_state(
        &mut self,
    ) -> Result<(Option<LogId>, StoredMembershipOf<Types>), io::Error> {
        Ok((self.last, self.membership.clone()))
    }

    async fn apply<S>(&mut self, mut entries: S) -> Result<(), io::Error>
    where
        S: Stream<Item = Result<EntryResponder<Types>, io::Error>> + Unpin + OptionalSend,
    {
        let mut answers = Vec::with_capacity(PUBLISH_EVERY);
        loop {
            let next = entries.next().await;
            let ended = next.is_none();
            if let Some(next) = next {
                let (entry, responder) = next?;
                let reply = self.apply_entry(entry).map_err(|error| self.fail(error))?;
                answers.push((responder, reply));
            }
            if ended || answers.len() == PUBLISH_EVERY {
                self.publish();
                for (responder, reply) in answers.drain(..) {
                    if let Some(responder) = responder {
                        responder.send(reply);
                    }
                }
            }
            if ended {
                return Ok(());
            }
        }
    }

    async fn get_snapshot_builder(&mut self) -> Builder {
        Builder { state: self.state().ok(), files: self.files.clone(), raise: self.raise.clone() }
    }

    async fn install_snapshot(
        &mut self,
        meta: &SnapshotMetaOf<Types>,
        snapshot: SnapshotData,
    ) -> Result<(), io::Error> {
        let files = self.files.clone();
        let installed = tokio::task::spawn_blocking(move || match snapshot {
            SnapshotData::Received(received) => files.adopt(*received),
            SnapshotData::Kept(kept) => files.state(&kept),
        });
        let State { machine, place } = blocking(installed).await.map_err(|e| self.fail(e))?;
        self.machine = machine;
        let members = meta.last_membership.membership();
        self.roll = Arc::new(Roll::new(place.membership.highest, members));
        self.last = meta.last_log_id;
        self.membership = meta.last_membership.clone();
        self.begin();
        tracing::info!(index = ?self.last.map(|id| id.index), "installed a snapshot");
        Ok(())
    }

    async fn get_current_snapshot(
        &mut self,
    ) -> Result<Option<SnapshotOf<Types, SnapshotData>>, io::Error> {
        let Some(kept) = self.files.newest() else { return Ok(None) };
        let meta = wire::meta(kept.place.clone()).map_err(io::Error::other)?;
        Ok(Some(SnapshotOf::<Types, SnapshotData> { meta, snapshot: SnapshotData::Kept(kept) }))
    }
}

/// Writes a snapshot from a state that no longer changes.
pub(crate) struct Builder {
    /// None before the first entry: nothing to write down.
    state: Option<State>,
    files: Arc<Files>,
    raise: Raise,
}

impl RaftSnapshotBuilder<Types> for Builder {
    type SnapshotData = SnapshotData;

    async fn build_snapshot(&mut self) -> Result<SnapshotOf<Types, SnapshotData>, io::Error> {
        let Some(state) = self.state.take() else {
            return Err(failed(&self.raise, "a snapshot was asked for before the first entry"));
        };
        let files = self.files.clone();
        let built = tokio::task::spawn_blocking(move || files.write(&state));
        let kept = match blocking(built).await {
            Ok(kept) => kept,
            // Stopping: nothing is lost that the log does not have.
            Err(closed @ SnapshotError::Closed) => return Err(io::Error::other(closed)),
            Err(error) => return Err(failed(&self.raise, error)),
        };
        tracing::info!(index = kept.place.last.index, bytes = kept.bytes, "built a snapshot");
        let meta = wire::meta(kept.place.clone()).map_err(io::Error::other)?;
        Ok(SnapshotOf::<Types, SnapshotData> { meta, snapshot: SnapshotData::Kept(kept) })
    }
}

/// What a task on a thread of its own answered.
pub(crate) async fn blocking<T>(
    task: tokio::task::JoinHandle<Result<T, SnapshotError>>,
) -> Result<T, SnapshotError> {
    task.await.unwrap_or_else(|error| Err(SnapshotError::Thread(error.to_string())))
}
