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
use crate::identity::{DataFolder, FolderError, Identity};
use crate::log;
use crate::machine::Machine;
use crate::options::{Mutant, NodeId, Options, Timers, Tls};
use crate::proto::raft_server::RaftServer;
use crate::raft::log_storage::{LogStorage, OpenLogError};
use crate::raft::network::{Links, LinksTls, MAX_MESSAGE_BYTES, Network};
use crate::raft::running::{Raft, Running};
use crate::raft::service::Service;
use crate::raft::state_machine::{Applied, StateMachine};
use crate::raft::tls::{Gate, Known};
use crate::raft::types::Peer;
use crate::store::{Inner, Store};

/// Entries of one append; their bytes are bounded where they are read (`Memory::read_some`).
const MAX_PAYLOAD_ENTRIES: u64 = 64;

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
    #[error("Raft did not start: {0}")]
    Raft(String),
}

impl Store {
    /// Opens the store of one member and returns when it belongs to a formed cluster. While the
    /// cluster forms for the first time that takes until every member is up.
    pub async fn open(mut options: Options) -> Result<Self, OpenError> {
        let node = options.node;
        if !options.members.contains_key(&node) {
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
        let service = Service { node, founding: founding.clone(), running: running.clone() };
        let (stop, mut tasks) = (CancellationToken::new(), JoinSet::new());
        match options.listener.take() {
            Some(listener) => {
                serve(&mut tasks, listener, options.tls.take(), service, stop.clone());
            }
            None if options.members.len() == 1 => {}
            None => return Err(OpenError::NoListener),
        }
        let cluster = match known {
            Some(cluster) => cluster,
            None => forming::join(&founding, &links, &stop).await?,
        };
        let (timers, mutant) = (options.timers, options.mutant);
        let member = Starting { folder, cluster, links, timers, mutant };
        member.start(running, stop, tasks).await
    }
}

/// A member that knows its cluster and is about to run.
struct Starting {
    folder: DataFolder,
    cluster: ClusterId,
    links: Links,
    timers: Timers,
    mutant: Option<Mutant>,
}

impl Starting {
    async fn start(
        self,
        running: Arc<OnceLock<Running>>,
        stop: CancellationToken,
        tasks: JoinSet<()>,
    ) -> Result<Store, OpenError> {
        let node = self.links.node;
        let identity = Identity { cluster: self.cluster, node };
        let syncs = self.mutant != Some(Mutant::AckBeforeSync);
        let options = log::Options { syncs, ..log::Options::default() };
        let (log, writer) = LogStorage::open(&self.folder, identity, options)?;
        let (failure, counters) = (log.failure(), log.counters());
        let machine = Machine::new(self.cluster);
        let empty = Arc::new(Snapshot::new(self.cluster));
        let (applied_out, applied) = watch::channel(Applied { index: 0, snapshot: empty.clone() });
        let (snapshots_out, snapshots) = watch::channel(empty);
        let raft = Raft::new(
            node,
            Arc::new(config(&self.timers)?),
            Network { links: self.links.clone(), cluster: self.cluster },
            log,
            StateMachine::new(machine, applied_out, snapshots_out),
        )
        .await
        .map_err(|error| OpenError::Raft(error.to_string()))?;
        let patience = self.timers.election_max * 2;
        let member = Running::new(raft, self.cluster, applied, patience);
        self.begin(&member, &stop).await?;
        let clients = clients(&self.links, self.cluster)?;
        // Set once: `open` made this cell.
        let _ = running.set(member);
        let tasks = Mutex::new(tasks);
        let links = self.links;
        let inner = Inner {
            node,
            links,
            running,
            clients,
            snapshots,
            failure,
            counters,
            stop,
            tasks,
            reads_stale: self.mutant == Some(Mutant::StaleRead),
            writer: Mutex::new(Some(writer)),
        };
        Ok(Store { inner: Arc::new(inner) })
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

fn clients(
    links: &Links,
    cluster: ClusterId,
) -> Result<BTreeMap<NodeId, crate::raft::network::Client>, OpenError> {
    let others = links.members.iter().filter(|(id, _)| **id != links.node);
    others
        .map(|(id, address)| match links.client(*id, address, Some(cluster)) {
            Ok(client) => Ok((*id, client)),
            Err(error) => {
                let (peer, address, why) = (*id, address.clone(), error.to_string());
                Err(FormError::Address { peer, address, why }.into())
            }
        })
        .collect()
}

fn config(timers: &Timers) -> Result<openraft::Config, OpenError> {
    let millis = |time: std::time::Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
    let config = openraft::Config {
        cluster_name: "higuma".to_owned(),
        heartbeat_interval: millis(timers.heartbeat),
        election_timeout_min: millis(timers.election_min),
        election_timeout_max: millis(timers.election_max),
        max_payload_entries: MAX_PAYLOAD_ENTRIES,
        snapshot_policy: SnapshotPolicy::Never,
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
