//! From a data folder and a member list to a store that takes part in its cluster.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, OnceLock};

use futures::TryStreamExt as _;
use higuma_model::{ClusterId, Snapshot};
use openraft::SnapshotPolicy;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::server::TcpIncoming;

use crate::forming::{self, FormError, Founding};
use crate::history::{Compactor, History, HistoryWriter};
use crate::identity::{DataFolder, FolderError, Identity};
use crate::log;
use crate::log::disk::Folder;
use crate::options::{Mutant, NodeId, Options, Timers, Tls};
use crate::proto::raft_server::RaftServer;
use crate::raft::history_source::HistorySource;
use crate::raft::log_storage::{LogStorage, OpenLogError};
use crate::raft::log_writer::LogWriter;
use crate::raft::network::{Links, LinksTls, MAX_MESSAGE_BYTES, Network};
use crate::raft::retention::{Keeper, Retention, Watermarks};
use crate::raft::roster::RosterWriter;
use crate::raft::running::{Raft, Running};
use crate::raft::service::Service;
use crate::raft::state_machine::{Applied, Files, StateMachine};
use crate::raft::tls::{Gate, Known};
use crate::raft::types::{LogId, Peer};
use crate::raft::warden::{Sight, Warden};
use crate::room::{Disk, Room, refusal};
use crate::snapshot::{Found, SnapshotError, State};
use crate::store::{Inner, Store};

/// Entries of one append; their bytes are bounded where they are read (`Memory::read_some`).
const MAX_PAYLOAD_ENTRIES: u64 = 64;

/// How long a member may take to check and install a snapshot once it has it, at most; the time of
/// the transfer comes on top. One of 100,000 resources takes a second on a busy machine.
const INSTALL_SNAPSHOT_MS: u64 = 30_000;

/// Why a store did not open.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error("the member list does not name this node, {0}; it names {1:?}")]
    NotAMember(NodeId, Vec<NodeId>),
    #[error("a cluster of several members needs an address to listen on for them")]
    NoListener,
    #[error(transparent)]
    Folder(#[from] FolderError),
    #[error(transparent)]
    Form(#[from] FormError),
    #[error(transparent)]
    Log(#[from] OpenLogError),
    #[error(transparent)]
    Snapshot(#[from] SnapshotError),
    #[error("cannot start the history's thread: {0}")]
    History(std::io::Error),
    #[error("Raft did not start: {0}")]
    Raft(String),
}

impl Store {
    /// Opens the store of one member and returns when it belongs to a formed cluster. While the
    /// cluster forms for the first time that takes until every member is up.
    pub async fn open(options: Options) -> Result<Self, OpenError> {
        Self::open_keeping(options, Retention::default()).await
    }

    /// As [`open`](Self::open), with other sizes of what is kept.
    pub(crate) async fn open_keeping(
        mut options: Options,
        retention: Retention,
    ) -> Result<Self, OpenError> {
        let node = options.node;
        let joins = options.members.is_empty();
        if !joins && !options.members.contains_key(&node) {
            let named = options.members.keys().copied().collect();
            return Err(OpenError::NotAMember(node, named));
        }
        let folder = DataFolder::lock(&options.folder)?;
        let known = folder.identity(node)?.map(|identity| identity.cluster);
        let links = Links {
            node,
            members: options.members.clone(),
            tls: options.tls.as_ref().map(|tls| LinksTls {
                config: tls.client.clone(),
                cluster_name: tls.cluster_name.clone(),
            }),
        };
        let founding = Arc::new(Founding::new(folder.clone(), node, known));
        let running = Arc::new(OnceLock::new());
        let service = Service { node, founding: founding.clone(), joins, running: running.clone() };
        let (stop, mut tasks) = (CancellationToken::new(), JoinSet::new());
        match options.listener.take() {
            Some(listener) => {
                serve(&mut tasks, listener, options.tls.take(), service, stop.clone());
            }
            None if options.members.len() == 1 => {}
            None => return Err(OpenError::NoListener),
        }
        let cluster = match known {
            Some(cluster) => {
                if folder.hands_out()? {
                    forming::hand_out(cluster, &links, &stop).await?;
                    folder.handed_out()?;
                    tracing::info!(%cluster, "the members know the cluster that was restored");
                }
                cluster
            }
            None if joins => forming::be_added(&founding, &stop).await?,
            None => forming::join(&founding, &links, &stop).await?,
        };
        let (timers, mutant) = (options.timers, options.mutant);
        let member = Starting { folder, cluster, links, timers, mutant, retention };
        member.start(running, stop, tasks).await
    }
}

impl Store {
    fn begun(inner: Inner) -> Self {
        let inner = Arc::new(inner);
        let compactor = Compactor { store: Arc::downgrade(&inner), stop: inner.stop.clone() };
        inner.begin_task(compactor.run());
        Self { inner }
    }
}

/// A member that knows its cluster and is about to run.
struct Starting {
    folder: DataFolder,
    cluster: ClusterId,
    links: Links,
    timers: Timers,
    mutant: Option<Mutant>,
    retention: Retention,
}

/// What a member finds on its disk.
pub(crate) struct Durable {
    pub(crate) log: LogStorage,
    pub(crate) writer: LogWriter,
    pub(crate) files: Arc<Files>,
    pub(crate) state: Option<State>,
}

/// Opens what is on the disk: the newest snapshot that serves, and the log after it.
pub(crate) async fn durable(
    folder: &DataFolder,
    identity: Identity,
    syncs: bool,
) -> Result<Durable, OpenError> {
    let options = log::Options { syncs, ..log::Options::default() };
    // Before the log, which makes itself ready to be written: what another version left is not
    // touched.
    let found = Found::read(Folder::new(folder.snapshots_path()?, syncs), identity.cluster)?;
    let (mut log, writer) = LogStorage::open(folder, identity, options)?;
    let (files, state) = found.serve(log.purged().map(|id| id.index))?;
    if let Some(state) = &state {
        let followed = log.follow_snapshot(LogId::from(state.place.last)).await;
        followed.map_err(|error| OpenError::Raft(error.to_string()))?;
    }
    Ok(Durable { log, writer, files: Arc::new(files), state })
}

impl Starting {
    async fn start(
        self,
        running: Arc<OnceLock<Running>>,
        stop: CancellationToken,
        mut tasks: JoinSet<()>,
    ) -> Result<Store, OpenError> {
        let node = self.links.node;
        let (disk, room) = self.room();
        let identity = Identity { cluster: self.cluster, node };
        let syncs = self.mutant != Some(Mutant::AckBeforeSync);
        let Durable { log, writer, files, state } = durable(&self.folder, identity, syncs).await?;
        let (failure, counters, raise) = (log.failure(), log.counters(), log.raise());
        let watermarks = Watermarks::default();
        let source = HistorySource::new(log.reader(), files.clone(), watermarks.clone());
        let (history, history_writer) = self.history(source)?;
        let (outputs, applied, snapshots) = outputs(self.cluster);
        let start = (self.cluster, state);
        let machine =
            StateMachine::new(start, outputs, files.clone(), raise.clone(), history.clone())
                .map_err(|error| OpenError::Raft(error.to_string()))?;
        let newest = files.newest().map_or(0, |kept| kept.place.last.index);
        let payload = log.payload_up_to(newest);
        let config = Arc::new(config(&self.timers)?);
        let network = Network { links: self.links.clone(), cluster: self.cluster };
        let raft = Raft::new(node, config, network, log, machine);
        let raft = raft.await.map_err(|error| OpenError::Raft(error.to_string()))?;
        let keeper = Keeper {
            raft: raft.clone(),
            files: files.clone(),
            counters: counters.clone(),
            retention: self.retention,
            watermarks,
            payload,
        };
        tasks.spawn(keeper.run(stop.clone()));
        let (writer_of_roster, roster) = RosterWriter::new(self.links.clone(), self.cluster)?;
        tasks.spawn(writer_of_roster.run(raft.clone(), stop.clone()));
        let (sight, seen) = watch::channel(room);
        let warden = Warden {
            node,
            raft: raft.clone(),
            files: files.clone(),
            disk,
            roster: roster.clone(),
            raise,
            changing: None,
            asked: 0,
            least: self.retention.room,
            sight,
        };
        tasks.spawn(warden.run(stop.clone()));
        let patience = self.timers.election_max * 2;
        let found = (files, roster, self.links.clone());
        let member = Running::new(raft, self.cluster, patience, (applied, seen), found);
        self.begin(&member, &stop).await?;
        // Set once: `open` made this cell.
        let _ = running.set(member);
        Ok(Store::begun(Inner {
            node,
            running,
            snapshots,
            failure,
            counters,
            stop,
            tasks: Mutex::new(tasks),
            reads_stale: self.mutant == Some(Mutant::StaleRead),
            writer: Mutex::new(Some(writer)),
            history,
            history_writer: Mutex::new(Some(history_writer)),
        }))
    }

    /// Looks at the disk before anything is written: a full one gives its reserve free, so that a
    /// start has room.
    fn room(&self) -> (Disk, Sight) {
        let mut disk = Disk::new(self.folder.path());
        let own = disk.look(self.retention.room).unwrap_or_else(|error| {
            tracing::warn!(%error, "can't tell how much room is on the disk");
            Room::default()
        });
        // Of a single member nobody else need be asked.
        let alone = self.links.members.len() == 1;
        let refusal = refusal(&[(self.links.node, Some(own))]).filter(|_| alone);
        (disk, Sight { own, refusal: refusal.map(Into::into) })
    }

    /// Begins to write the history behind what will be applied.
    fn history(&self, source: HistorySource) -> Result<(History, HistoryWriter), OpenError> {
        let history = History::new(self.folder.history_path(), self.cluster);
        let writer = HistoryWriter::start(&history, Box::new(source));
        Ok((history, writer.map_err(OpenError::History)?))
    }

    /// The founder begins the log, once every member has the cluster's id on its disk.
    async fn begin(&self, member: &Running, stop: &CancellationToken) -> Result<(), OpenError> {
        let founder = self.links.members.keys().next() == Some(&self.links.node);
        let formed = member.is_formed().await;
        if !founder || formed.map_err(|error| OpenError::Raft(error.to_string()))? {
            return Ok(());
        }
        forming::hand_out(self.cluster, &self.links, stop).await?;
        let members: BTreeMap<NodeId, Peer> = self
            .links
            .members
            .iter()
            .map(|(id, address)| (*id, Peer { address: address.clone() }))
            .collect();
        let begun = member.raft.initialize(members).await;
        begun.map_err(|error| OpenError::Raft(error.to_string()))?;
        tracing::info!(cluster = %self.cluster, "cluster formed");
        Ok(())
    }
}

type Outputs = (watch::Sender<Applied>, watch::Sender<Arc<Snapshot>>);

/// Where the state machine publishes, and where that is seen.
fn outputs(
    cluster: ClusterId,
) -> (Outputs, watch::Receiver<Applied>, watch::Receiver<Arc<Snapshot>>) {
    let empty = Arc::new(Snapshot::new(cluster));
    let (applied_out, applied) = watch::channel(Applied::nothing(empty.clone()));
    let (snapshots_out, snapshots) = watch::channel(empty);
    ((applied_out, snapshots_out), applied, snapshots)
}

fn config(timers: &Timers) -> Result<openraft::Config, OpenError> {
    let millis = |time: std::time::Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
    let config = openraft::Config {
        cluster_name: "higuma".to_owned(),
        heartbeat_interval: millis(timers.heartbeat),
        election_timeout_min: millis(timers.election_min),
        election_timeout_max: millis(timers.election_max),
        max_payload_entries: MAX_PAYLOAD_ENTRIES,
        // Both are the keeper's, which knows of more than openraft does.
        snapshot_policy: SnapshotPolicy::Never,
        max_in_snapshot_log_to_keep: u64::MAX,
        install_snapshot_timeout: INSTALL_SNAPSHOT_MS,
        enable_pre_vote: Some(true),
        // A restored leader would confirm reads with the committed index that its disk has, which
        // lags behind what it acknowledged. An election appends an entry that reads wait for.
        enable_leader_restore: Some(false),
        ..openraft::Config::default()
    };
    config.validate().map_err(|error| OpenError::Raft(error.to_string()))
}

fn serve(
    tasks: &mut JoinSet<()>,
    listener: tokio::net::TcpListener,
    tls: Option<Tls>,
    service: Service,
    stop: CancellationToken,
) {
    let cluster_name = tls.as_ref().and_then(|tls| tls.cluster_name.clone());
    let gate = Gate { node: service.node, cluster_name };
    let service = RaftServer::new(service)
        .max_decoding_message_size(MAX_MESSAGE_BYTES)
        .max_encoding_message_size(MAX_MESSAGE_BYTES);
    let router =
        tonic::transport::Server::builder().add_service(InterceptedService::new(service, gate));
    tasks.spawn(async move {
        let stopped = stop.cancelled();
        let served = match tls {
            None => {
                let incoming = TcpIncoming::from(listener).with_nodelay(Some(true));
                router.serve_with_incoming_shutdown(incoming, stopped).await
            }
            Some(tls) => {
                let incoming = (tls.accept)(listener).map_ok(Known::from);
                router.serve_with_incoming_shutdown(incoming, stopped).await
            }
        };
        if let Err(error) = served {
            tracing::error!(%error, "the Raft endpoint ended");
        }
    });
}
