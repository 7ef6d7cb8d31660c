//! openraft's view of the state machine: feeds it entries and publishes each new snapshot.

use std::io;
use std::sync::Arc;

use futures::{Stream, StreamExt};
use higuma_model::Snapshot;
use openraft::alias::{SnapshotMetaOf, SnapshotOf, StoredMembershipOf};
use openraft::storage::{EntryResponder, RaftStateMachine};
use openraft::{OptionalSend, RaftSnapshotBuilder};
use tokio::sync::watch;

use super::types::{Entry, LogId, Payload, Reply, Types};
use crate::history::{Change, History, Mark, apply_command};
use crate::machine::Machine;

/// Entries applied before their snapshot is published and their writers are answered. Bounds how
/// long the first of a batch waits for the last: some 100 µs.
const PUBLISH_EVERY: usize = 64;

/// What readers wait on: the state, and the log index up to which it is applied.
#[derive(Debug, Clone)]
pub(crate) struct Applied {
    pub(crate) index: u64,
    pub(crate) snapshot: Arc<Snapshot>,
}

pub(crate) struct StateMachine {
    machine: Machine,
    last: Option<LogId>,
    membership: StoredMembershipOf<Types>,
    applied: watch::Sender<Applied>,
    snapshots: watch::Sender<Arc<Snapshot>>,
    history: History,
    /// What the history gets with the next publication.
    changes: Vec<(LogId, Change)>,
}

impl StateMachine {
    pub(crate) fn new(
        machine: Machine,
        applied: watch::Sender<Applied>,
        snapshots: watch::Sender<Arc<Snapshot>>,
        history: History,
    ) -> Self {
        Self {
            machine,
            last: None,
            membership: Default::default(),
            applied,
            snapshots,
            history,
            changes: Vec::new(),
        }
    }

    fn apply_entry(&mut self, entry: Entry) -> io::Result<Reply> {
        let id = entry.log_id;
        let reply = match entry.payload {
            Payload::Blank { nonce } => {
                self.machine.begin_term(id.leader_id.term, id.index, nonce);
                Reply(None)
            }
            Payload::Membership(membership) => {
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
        self.applied.send_replace(Applied { index, snapshot });
    }
}

impl RaftStateMachine<Types> for StateMachine {
    type SnapshotData = ();
    type SnapshotBuilder = NoSnapshots;

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
                answers.push((responder, self.apply_entry(entry)?));
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

    async fn get_snapshot_builder(&mut self) -> NoSnapshots {
        NoSnapshots
    }

    async fn install_snapshot(
        &mut self,
        _: &SnapshotMetaOf<Types>,
        _snapshot: (),
    ) -> Result<(), io::Error> {
        Err(no_snapshots())
    }

    async fn get_current_snapshot(&mut self) -> Result<Option<SnapshotOf<Types, ()>>, io::Error> {
        Ok(None)
    }
}

/// The whole log is kept, so nothing ever needs a snapshot: every node replays the log.
pub(crate) struct NoSnapshots;

impl RaftSnapshotBuilder<Types> for NoSnapshots {
    type SnapshotData = ();

    async fn build_snapshot(&mut self) -> Result<SnapshotOf<Types, ()>, io::Error> {
        Err(no_snapshots())
    }
}

pub(crate) fn no_snapshots() -> io::Error {
    io::Error::new(
        io::ErrorKind::Unsupported,
        "this version keeps the whole log and neither builds nor installs snapshots",
    )
}
