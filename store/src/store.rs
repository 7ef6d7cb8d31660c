//! The replicated state as the rest of a control plane uses it: write, read, watch.

mod error;
mod leader;
mod orders;

use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock};
use std::time::Duration;

use higuma_model::{ClusterId, Origin, Outcome, Refusal, Snapshot, Transaction};
use openraft::async_runtime::watch::WatchReceiver as _;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::cluster::{Cluster, Member, MemberState};
use crate::codec;
use crate::history::{History, HistoryWriter};
use crate::options::NodeId;
use crate::raft::log_counters::{LogCounters, LogCounts};
use crate::raft::log_writer::LogWriter;
use crate::raft::running::{Proposed, Running};
use crate::snapshot::Counts as SnapshotCounts;

pub use error::{OrderError, ReadError, Stopped, WriteError};

/// How long a write is tried before its fate is called unknown. Longer than an election with the
/// default timers (at most 1.2 s), twice over.
pub const WRITE_LIMIT: Duration = Duration::from_secs(5);

/// How long a write or a linearizable read waits for a leader to be known.
const LEADER_LIMIT: Duration = Duration::from_millis(1500);

/// How long the other members have to let go of their connections when this node stops: a paused
/// one never does.
const ENDPOINT_LIMIT: Duration = Duration::from_secs(1);

/// What the way to another member and back may take, on top of what it works.
const STATUS_LIMIT: Duration = Duration::from_millis(500);

/// How fresh a read is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Consistency {
    /// Everything acknowledged anywhere before the read began.
    Linearizable,
    /// At least this version.
    AtLeast(u64),
    /// What this node has.
    Stale,
}

/// One node's end of the replicated state. Cheap to clone.
#[derive(Clone)]
pub struct Store {
    pub(crate) inner: Arc<Inner>,
}

pub(crate) struct Inner {
    pub(crate) node: NodeId,
    pub(crate) running: Arc<OnceLock<Running>>,
    pub(crate) snapshots: watch::Receiver<Arc<Snapshot>>,
    pub(crate) failure: watch::Receiver<Option<Arc<str>>>,
    pub(crate) counters: Arc<LogCounters>,
    pub(crate) stop: CancellationToken,
    /// Ended with the store: the endpoint of the members.
    pub(crate) tasks: Mutex<JoinSet<()>>,
    /// A deliberate defect: no read asks the leader.
    pub(crate) reads_stale: bool,
    /// Writes the log until openraft drops it.
    pub(crate) writer: Mutex<Option<LogWriter>>,
    pub(crate) history: History,
    pub(crate) history_writer: Mutex<Option<HistoryWriter>>,
}

impl Inner {
    /// A task that ends with the store.
    pub(crate) fn begin_task(&self, task: impl Future<Output = ()> + Send + 'static) {
        owned(&self.tasks).spawn(task);
    }
}

impl Store {
    pub fn node(&self) -> NodeId {
        self.inner.node
    }

    pub fn cluster_id(&self) -> ClusterId {
        self.running().cluster
    }

    /// The state as it changes; a slow reader skips versions and misses no net change.
    pub fn watch(&self) -> watch::Receiver<Arc<Snapshot>> {
        self.inner.snapshots.clone()
    }

    /// What this node has now.
    pub fn snapshot(&self) -> Arc<Snapshot> {
        self.inner.snapshots.borrow().clone()
    }

    /// Who leads, as far as this node knows.
    pub fn leader(&self) -> Option<NodeId> {
        self.running().leader()
    }

    /// Resolves with who leads once that is no longer `known`. The answer is what was seen then:
    /// asked again, it may be `known` once more.
    ///
    /// # Errors
    /// Raft has stopped: nobody will be known to lead.
    pub async fn leader_is_not(&self, known: Option<NodeId>) -> Result<Option<NodeId>, Stopped> {
        // The same channel is looked at and waited on: another one may tell the change earlier.
        let mut metrics = self.running().raft.server_metrics();
        loop {
            let leader = metrics.borrow_watched().current_leader;
            if leader != known {
                return Ok(leader);
            }
            metrics.changed().await.map_err(|_| Stopped)?;
        }
    }

    /// How far this node is.
    pub fn own_state(&self) -> MemberState {
        MemberState::from(&self.running().status())
    }

    /// What the log wrote and how long its syncs took.
    pub fn log_counts(&self) -> LogCounts {
        self.inner.counters.counts()
    }

    /// What became of this node's snapshots.
    pub fn snapshot_counts(&self) -> SnapshotCounts {
        self.running().files.counts()
    }

    /// Resolves when the store can't go on, with the reason: the process must end.
    pub async fn failed(&self) -> Arc<str> {
        let mut failure = self.inner.failure.clone();
        match failure.wait_for(Option::is_some).await {
            Ok(reason) => reason.clone().unwrap_or_else(|| "unknown".into()),
            Err(_) => "its log's writer ended".into(),
        }
    }

    /// Applies a transaction: returns its version once it is durable on a majority and visible
    /// in this node's [`watch`](Self::watch).
    pub async fn write(&self, transaction: &Transaction) -> Result<u64, WriteError> {
        let who = Some(transaction.writer.to_string().into());
        let origin = Origin { who, node: self.inner.node, ..Origin::default() };
        self.write_from(transaction, &origin).await
    }

    /// As [`write`](Self::write), for somebody else: who asked for it, and why, is kept with it.
    pub async fn write_from(
        &self,
        transaction: &Transaction,
        origin: &Origin,
    ) -> Result<u64, WriteError> {
        let command = codec::encode_from(transaction, origin)?;
        let started = Instant::now();
        let mut unknown = None;
        loop {
            let left = WRITE_LIMIT.saturating_sub(started.elapsed());
            match self.propose(command.clone(), left).await {
                Proposed::Applied { index, outcome } => {
                    self.running().wait_applied(index, left).await;
                    return written(outcome, unknown);
                }
                // The same id again: if it was applied after all, that result is answered.
                Proposed::Unknown(why) => unknown = Some(why),
                Proposed::Busy(why) if unknown.is_none() => return Err(WriteError::Busy(why)),
                Proposed::Busy(_) | Proposed::NotLeader(_) => {}
            }
            let limit = if unknown.is_some() { WRITE_LIMIT } else { LEADER_LIMIT };
            if started.elapsed() >= limit {
                return Err(match unknown {
                    Some(why) => WriteError::Unknown(why),
                    None => WriteError::NoLeader(self.missing().await),
                });
            }
            self.leader_changes(limit.saturating_sub(started.elapsed())).await;
        }
    }

    /// Every version of what operators wrote, as far as it is kept.
    pub fn history(&self) -> &History {
        &self.inner.history
    }

    /// Gives up the history up to a version, on every node.
    pub(crate) async fn compact(&self, version: u64) -> Result<(), String> {
        let command = codec::encode_compact(version).map_err(|error| error.to_string())?;
        match self.propose(command, WRITE_LIMIT).await {
            Proposed::Applied { .. } => Ok(()),
            Proposed::NotLeader(_) => Err("this node no longer leads".to_owned()),
            Proposed::Busy(why) | Proposed::Unknown(why) => Err(why),
        }
    }

    /// The state, at least as fresh as asked.
    pub async fn read(&self, consistency: Consistency) -> Result<Arc<Snapshot>, ReadError> {
        match consistency {
            Consistency::Stale => Ok(self.snapshot()),
            Consistency::AtLeast(version) => self.at_least(version).await,
            Consistency::Linearizable if self.inner.reads_stale => Ok(self.snapshot()),
            Consistency::Linearizable => self.linearizable().await,
        }
    }

    /// Every member as it says it is, with what this node knows of the leader.
    pub async fn cluster(&self) -> Cluster {
        let own = self.running().status();
        let (leader, term) = (Some(own.leader).filter(|leader| *leader != 0), own.term);
        let mut states = self.running().roster.ask().await;
        states.insert(self.inner.node, Ok(own));
        let members = self.running().roster.members();
        let members = members.iter().map(|(id, known)| Member {
            id: *id,
            address: known.address.clone(),
            votes: known.votes,
            state: match states.remove(id) {
                Some(Ok(status)) => Ok(MemberState::from(&status)),
                Some(Err(status)) => Err(status.message().to_owned()),
                None => Err("it became a member just now".to_owned()),
            },
        });
        Cluster {
            id: self.cluster_id(),
            node: self.inner.node,
            leader,
            term,
            members: members.collect(),
        }
    }

    /// Hands leadership over if this node has it, then stops taking part.
    pub async fn shutdown(&self) {
        self.hand_over().await;
        if let Err(error) = self.running().raft.shutdown().await {
            tracing::warn!(%error, "Raft did not stop cleanly");
        }
        self.inner.stop.cancel();
        let mut tasks = std::mem::take(&mut *owned(&self.inner.tasks));
        let ended = async { while tasks.join_next().await.is_some() {} };
        if tokio::time::timeout(ENDPOINT_LIMIT, ended).await.is_err() {
            tracing::warn!("a member keeps its connection open; cutting it");
            tasks.shutdown().await;
        }
        let files = self.running().files.clone();
        if let Err(error) = tokio::task::spawn_blocking(move || files.close()).await {
            tracing::error!(%error, "the snapshots did not end cleanly");
        }
        let history = owned(&self.inner.history_writer).take();
        if let Some(history) = history
            && let Err(error) = tokio::task::spawn_blocking(move || history.join()).await
        {
            tracing::error!(%error, "the history's thread did not end cleanly");
        }
        let writer = owned(&self.inner.writer).take();
        if let Some(writer) = writer {
            // Its queue closed with Raft, so it ends once what it has is synced.
            let ended = tokio::task::spawn_blocking(move || writer.join()).await;
            if let Err(error) = ended {
                tracing::error!(%error, "the log's writer did not end cleanly");
            }
        }
    }

    fn running(&self) -> &Running {
        self.inner.running.get().expect("invariant: a store is handed out once it runs")
    }

    async fn at_least(&self, version: u64) -> Result<Arc<Snapshot>, ReadError> {
        let mut snapshots = self.watch();
        let reached = snapshots.wait_for(|snapshot| snapshot.version() >= version);
        if let Ok(Ok(snapshot)) = tokio::time::timeout(WRITE_LIMIT, reached).await {
            return Ok(snapshot.clone());
        }
        Err(ReadError::Behind { have: self.snapshot().version(), want: version })
    }

    /// The members that don't answer, in words.
    async fn missing(&self) -> String {
        let cluster = self.cluster().await;
        let missing: Vec<String> = cluster
            .members
            .iter()
            .filter_map(|m| {
                m.state.as_ref().err().map(|_| format!("node {} ({})", m.id, m.address))
            })
            .collect();
        if missing.is_empty() {
            return "the members are about to elect one".to_owned();
        }
        format!("not reached: {}", missing.join(", "))
    }
}

/// What a write's outcome is to its caller. `unknown`: an earlier attempt may have been applied.
fn written(outcome: Outcome, unknown: Option<String>) -> Result<u64, WriteError> {
    match (outcome, unknown) {
        (Outcome::Done { version }, _) => Ok(version),
        // Only this attempt was refused: what the earlier one did was kept, and dropped since.
        (Outcome::Refused(Refusal::Expired), Some(why)) => Err(WriteError::Unknown(why)),
        (Outcome::Refused(refusal), _) => Err(WriteError::Refused(refusal)),
    }
}

fn owned<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().expect("invariant: nothing panics while it holds this lock")
}

#[cfg(test)]
mod tests;
