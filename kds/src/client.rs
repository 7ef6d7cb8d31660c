//! The zone's end over tonic: one connection to one of the global's nodes, both streams on it.
//!
//! The upward stream opens only when the global's history is accepted: a fenced zone sends
//! nothing up. Whatever ends one stream ends the connection; the next address is tried after a
//! bounded, jittered pause, and both streams resume.

mod adopt;
mod dial;
mod down;
mod report;
mod up;

use std::sync::Arc;
use std::time::Duration;

use higuma_model::{ClusterId, Snapshot};
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;
use tonic::codec::CompressionEncoding;
use tonic::transport::Channel;

use crate::inbox::{Inbox, ZoneReport};
use crate::proto::kuma::mesh::v1alpha1::kds_sync_service_client::KdsSyncServiceClient;
use crate::server::MAX_MESSAGE_BYTES;
use crate::{Fence, Mutant};
pub use adopt::{AdoptError, Adoption, LookError};
use adopt::{Looker, Order};
pub use dial::BadAddress;
use dial::{Backoff, Dialer};

/// How long a fenced zone stays with a node before it asks another: what fenced it needs an
/// operator, and the node shows it meanwhile.
const FENCED_PAUSE: Duration = Duration::from_secs(30);

/// A node that has not brought this zone up to date in this time lags, or has lost its cluster:
/// another one is tried. A batch of 2 MiB takes far less.
const SYNC_PATIENCE: Duration = Duration::from_secs(5);

/// What a zone's end needs.
pub struct Client {
    pub zone: Arc<str>,
    /// All nodes of the global: `host:port`, or with scheme `grpcs`, `https`, `grpc` or `http`.
    pub globals: Vec<String>,
    /// TLS to them, with HTTP/2 by ALPN; required by, and only allowed with, the encrypted schemes.
    /// Asked anew at each connection, so it may change what it shows and trusts.
    pub tls: Option<Arc<rustls::ClientConfig>>,
    /// The only cluster to follow; absent, a zone without position trusts the first.
    pub pinned: Option<ClusterId>,
    /// This zone's own state: what goes up, and where it stands.
    pub snapshots: watch::Receiver<Arc<Snapshot>>,
    pub inbox: Arc<dyn Inbox>,
    /// What to report about progress; sent on change and at the interval that the global asks.
    pub reports: watch::Receiver<ZoneReport>,
    /// None, but in a process that is broken on purpose.
    pub mutant: Option<Mutant>,
    pub stop: CancellationToken,
}

/// How the zone stands to its global, for readiness and display.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ClientState {
    /// No stream; the zone goes on with what it has.
    Connecting { last_error: Option<String> },
    /// The global's history is accepted; what was missed is on its way.
    Syncing,
    /// Everything that the global had when it sent this version is applied.
    Synced { version: u64 },
    /// The global is of another history: nothing is taken from it and nothing sent.
    Fenced { reason: String },
}

/// Why a connection ended.
#[derive(Debug, thiserror::Error)]
enum Ended {
    #[error("{0}")]
    Broken(String),
    #[error("{0}")]
    Fenced(Fence),
    /// The global follows another history of this zone.
    #[error("{0}")]
    Refused(String),
}

impl From<tonic::Status> for Ended {
    fn from(status: tonic::Status) -> Self {
        Self::Broken(format!("{}: {}", status.code(), status.message()))
    }
}

/// Starts nothing by itself: the caller polls the future until it ends, which is after `stop`.
pub fn client(
    config: Client,
) -> Result<(Adoption, impl Future<Output = ()> + Send + use<>), BadAddress> {
    let dialer = Dialer::new(&config.globals, config.tls)?;
    let (state, states) = watch::channel(ClientState::Connecting { last_error: None });
    let looker = Looker {
        zone: config.zone.clone(),
        pinned: config.pinned,
        snapshots: config.snapshots.clone(),
    };
    let (adoption, orders) = Adoption::new(looker.clone(), states, dialer.clone());
    let session = Session {
        looker,
        inbox: config.inbox,
        reports: config.reports,
        mutant: config.mutant,
        state,
        position: None,
        order: None,
    };
    let stop = config.stop;
    let running = async move {
        stop.run_until_cancelled(session.run(dialer, orders)).await;
    };
    Ok((adoption, running))
}

/// What lives longer than one connection.
struct Session {
    looker: Looker,
    inbox: Arc<dyn Inbox>,
    reports: watch::Receiver<ZoneReport>,
    mutant: Option<Mutant>,
    state: watch::Sender<ClientState>,
    /// The last batch or mark.
    position: Option<down::Marked>,
    /// What an operator wants to be followed.
    order: Option<Order>,
}

impl Session {
    async fn run(mut self, mut dialer: Dialer, mut orders: mpsc::Receiver<Order>) {
        let mut backoff = Backoff::default();
        loop {
            let address = dialer.next();
            let ended = tokio::select! {
                Some(order) = orders.recv() => {
                    self.order = Some(order);
                    continue;
                }
                Err(ended) = self.follow(&dialer) => ended,
            };
            if matches!(*self.state.borrow(), ClientState::Synced { .. }) {
                backoff = Backoff::default();
            }
            let Some(ended) = self.ordered(ended, dialer.len()) else { continue };
            if self.obeys(&ended, &mut dialer).await {
                continue;
            }
            let pause = self.ended(&address, &ended, &mut backoff);
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                Some(order) = orders.recv() => self.order = Some(order),
            }
        }
    }

    /// Says what ended a connection; how long to wait before the next.
    fn ended(&self, address: &str, ended: &Ended, backoff: &mut Backoff) -> Duration {
        match ended {
            Ended::Fenced(reason) => {
                tracing::error!(%address, %reason, "this zone does not follow that global");
                backoff.next()
            }
            Ended::Refused(reason) => {
                tracing::error!(%address, %reason, "this zone does not follow that global");
                self.state.send_replace(ClientState::Fenced { reason: reason.clone() });
                FENCED_PAUSE
            }
            Ended::Broken(why) => {
                tracing::warn!(%address, %why, "connection to the global ended");
                let last_error = Some(format!("{address}: {why}"));
                self.state.send_if_modified(|state| {
                    // Fenced until a global is accepted: that none is reached heals nothing.
                    let fenced = matches!(state, ClientState::Fenced { .. });
                    if !fenced {
                        *state = ClientState::Connecting { last_error };
                    }
                    !fenced
                });
                backoff.next()
            }
        }
    }

    /// What a connection's end means to an operator's order: it is tried at every node, and given
    /// up where the global does not have it in its history. None: try the next at once.
    fn ordered(&mut self, ended: Ended, nodes: usize) -> Option<Ended> {
        let Some(mut order) = self.order.take() else { return Some(ended) };
        order.tries += 1;
        match &ended {
            Ended::Fenced(fence) => order.refuse(AdoptError::Another(fence.to_string())),
            Ended::Refused(why) | Ended::Broken(why) if order.tries >= nodes => {
                order.refuse(AdoptError::Unreachable(why.clone()));
            }
            Ended::Refused(_) | Ended::Broken(_) => {
                self.order = Some(order);
                return None;
            }
        }
        Some(ended)
    }

    /// The defect of a mutant: it leaves a fence without an operator.
    async fn obeys(&mut self, ended: &Ended, dialer: &mut Dialer) -> bool {
        let Ended::Fenced(fence) = ended else { return false };
        if !self.mutant.is_some_and(|mutant| mutant.leaves(fence)) {
            return false;
        }
        match self.looker.look(dialer, false).await {
            Ok(offer) => self.order = Some(Order::new(Arc::new(offer)).0),
            Err(why) => tracing::warn!(%why, "the global does not say what it has"),
        }
        self.order.is_some()
    }

    /// Both streams and the reports, until the first of them ends.
    async fn follow(&mut self, dialer: &Dialer) -> Result<std::convert::Infallible, Ended> {
        let channel: Channel = dialer.connect().await?;
        let settled = CancellationToken::new();
        let (accepted, mut acceptance) = watch::channel(false);
        let Looker { zone, pinned, snapshots } = &self.looker;
        let down = down::run(
            down::Zone {
                zone,
                pinned: *pinned,
                snapshots: snapshots.clone(),
                inbox: &*self.inbox,
                state: &self.state,
                accepted,
                settled: &settled,
                mutant: self.mutant,
            },
            &mut self.position,
            &mut self.order,
            channel.clone(),
        );
        let up = async {
            let waited = acceptance.wait_for(|accepted| *accepted).await.is_ok();
            if !waited {
                return Err(Ended::Broken("the stream from the global is gone".to_owned()));
            }
            up::run(zone, snapshots.clone(), &*self.inbox, channel.clone()).await
        };
        let reports = report::run(zone, self.reports.clone(), channel.clone());
        tokio::select! {
            ended = down => ended,
            ended = up => ended,
            ended = stalled(&settled) => Err(ended),
            never = reports => Ok(never),
        }
    }
}

/// Ends where this connection does not bring the zone up to date in time.
async fn stalled(settled: &CancellationToken) -> Ended {
    if tokio::time::timeout(SYNC_PATIENCE, settled.cancelled()).await.is_ok() {
        return futures::future::pending().await;
    }
    let seconds = SYNC_PATIENCE.as_secs();
    Ended::Broken(format!("it did not bring this zone up to date within {seconds} s"))
}

fn sync_service(channel: Channel) -> KdsSyncServiceClient<Channel> {
    KdsSyncServiceClient::new(channel)
        .accept_compressed(CompressionEncoding::Gzip)
        .send_compressed(CompressionEncoding::Gzip)
        .max_decoding_message_size(MAX_MESSAGE_BYTES)
        .max_encoding_message_size(MAX_MESSAGE_BYTES)
}
