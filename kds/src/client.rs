//! The zone's end over tonic: one connection to one of the global's nodes, both streams on it.
//!
//! The upward stream opens only when the global's history is accepted: a fenced zone sends
//! nothing up. Whatever ends one stream ends the connection; the next address is tried after a
//! bounded, jittered pause, and both streams resume.

mod dial;
mod down;
mod report;
mod up;

use std::sync::Arc;
use std::time::Duration;

use higuma_model::{ClusterId, Snapshot};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tonic::codec::CompressionEncoding;
use tonic::transport::{Channel, ClientTlsConfig};

use crate::batch::Position;
use crate::inbox::{Inbox, ZoneReport};
use crate::proto::kuma::mesh::v1alpha1::kds_sync_service_client::KdsSyncServiceClient;
use crate::server::MAX_MESSAGE_BYTES;
pub use dial::BadAddress;
use dial::{Backoff, Dialer};

/// How long a fenced zone waits before it asks again: what fenced it needs an operator.
const FENCED_PAUSE: Duration = Duration::from_secs(30);

/// A node that has not brought this zone up to date in this time lags, or has lost its cluster:
/// another one is tried. A batch of 1 MiB takes far less.
const SYNC_PATIENCE: Duration = Duration::from_secs(5);

/// What a zone's end needs.
pub struct Client {
    pub zone: Arc<str>,
    /// All nodes of the global: `host:port`, or with scheme `grpcs`, `https`, `grpc` or `http`.
    pub globals: Vec<String>,
    /// TLS to them; required by, and only allowed with, the encrypted schemes.
    pub tls: Option<ClientTlsConfig>,
    /// The only cluster to follow; absent, a zone without position trusts the first.
    pub pinned: Option<ClusterId>,
    /// This zone's own state: what goes up, and where it stands.
    pub snapshots: watch::Receiver<Arc<Snapshot>>,
    pub inbox: Arc<dyn Inbox>,
    /// What to report about progress; sent on change and at the interval that the global asks.
    pub reports: watch::Receiver<ZoneReport>,
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
    Fenced(String),
}

impl From<tonic::Status> for Ended {
    fn from(status: tonic::Status) -> Self {
        Self::Broken(format!("{}: {}", status.code(), status.message()))
    }
}

/// Starts nothing by itself: the caller polls the future until it ends, which is after `stop`.
pub fn client(
    config: Client,
) -> Result<(watch::Receiver<ClientState>, impl Future<Output = ()> + Send + use<>), BadAddress> {
    let dialer = Dialer::new(&config.globals, config.tls.as_ref())?;
    let (state, states) = watch::channel(ClientState::Connecting { last_error: None });
    let session = Session {
        zone: config.zone,
        pinned: config.pinned,
        snapshots: config.snapshots,
        inbox: config.inbox,
        reports: config.reports,
        state,
        position: None,
    };
    let stop = config.stop;
    let running = async move {
        stop.run_until_cancelled(session.run(dialer)).await;
    };
    Ok((states, running))
}

/// What lives longer than one connection.
struct Session {
    zone: Arc<str>,
    pinned: Option<ClusterId>,
    snapshots: watch::Receiver<Arc<Snapshot>>,
    inbox: Arc<dyn Inbox>,
    reports: watch::Receiver<ZoneReport>,
    state: watch::Sender<ClientState>,
    /// The last batch or mark; at least what the store says.
    position: Option<Position>,
}

impl Session {
    async fn run(mut self, mut dialer: Dialer) {
        let mut backoff = Backoff::default();
        loop {
            let address = dialer.next();
            let Err(ended) = self.follow(&dialer).await;
            if matches!(*self.state.borrow(), ClientState::Synced { .. }) {
                backoff = Backoff::default();
            }
            let pause = match &ended {
                Ended::Fenced(reason) => {
                    tracing::error!(%address, %reason, "this zone does not follow that global");
                    self.state.send_replace(ClientState::Fenced { reason: reason.clone() });
                    FENCED_PAUSE
                }
                Ended::Broken(why) => {
                    tracing::warn!(%address, %why, "connection to the global ended");
                    let last_error = Some(format!("{address}: {why}"));
                    self.state.send_replace(ClientState::Connecting { last_error });
                    backoff.next()
                }
            };
            tokio::time::sleep(pause).await;
        }
    }

    /// Both streams and the reports, until the first of them ends.
    async fn follow(&mut self, dialer: &Dialer) -> Result<std::convert::Infallible, Ended> {
        let channel: Channel = dialer.connect().await?;
        let stalled = stalled(self.state.subscribe());
        let (accepted, mut acceptance) = watch::channel(false);
        let down = down::run(
            down::Zone {
                zone: &self.zone,
                pinned: self.pinned,
                snapshots: self.snapshots.clone(),
                inbox: &*self.inbox,
                state: &self.state,
                accepted,
            },
            &mut self.position,
            channel.clone(),
        );
        let up = async {
            let waited = acceptance.wait_for(|accepted| *accepted).await.is_ok();
            if !waited {
                return Err(Ended::Broken("the stream from the global is gone".to_owned()));
            }
            up::run(&self.zone, self.snapshots.clone(), &*self.inbox, channel.clone()).await
        };
        let reports = report::run(&self.zone, self.reports.clone(), channel.clone());
        tokio::select! {
            ended = down => ended,
            ended = up => ended,
            ended = stalled => Err(ended),
            never = reports => Ok(never),
        }
    }
}

/// Ends where this connection does not bring the zone up to date in time.
async fn stalled(mut states: watch::Receiver<ClientState>) -> Ended {
    let synced = states.wait_for(|state| matches!(state, ClientState::Synced { .. }));
    if tokio::time::timeout(SYNC_PATIENCE, synced).await.is_ok() {
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
