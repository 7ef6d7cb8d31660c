//! The global's end over tonic: KDS's services and the Report, as routes for a gRPC server.
//!
//! Each stream is driven by whoever polls its responses, so the server that the caller owns owns
//! the streams too: nothing here spawns a task.

mod complaints;
mod down;
mod services;
mod up;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures::stream::BoxStream;
use higuma_model::Snapshot;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tonic::codec::CompressionEncoding;
use tonic::service::Routes;
use tonic::{Response, Status, Streaming};

use crate::hello::{self, Hello};
use crate::inbox::{Flow, InboxError, ZoneEvent, ZoneStream, Zones};
use crate::messages;
use crate::proto::higuma::kds::v1::report_server::ReportServer;
use crate::proto::kuma::mesh::v1alpha1::global_kds_service_server::GlobalKdsServiceServer;
use crate::proto::kuma::mesh::v1alpha1::kds_sync_service_server::{
    KdsSyncService, KdsSyncServiceServer,
};
use complaints::Complaints;

/// Bytes of one message, either way; Kuma's bound.
pub const MAX_MESSAGE_BYTES: usize = 10 << 20;

/// How often either end asks whether the other lives, and how long it waits for the answer: a
/// dead node is noticed in at most their sum.
pub const KEEPALIVE: Duration = Duration::from_secs(2);
pub const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(3);

/// The global's end.
#[derive(Clone)]
struct Global {
    snapshots: watch::Receiver<Arc<Snapshot>>,
    zones: Arc<dyn Zones>,
    stop: CancellationToken,
    streams: Arc<AtomicU64>,
    complaints: Complaints,
}

/// KDS of a global as gRPC routes. `stop` ends all streams, with a status that tells zones to
/// move on.
pub fn server(
    snapshots: watch::Receiver<Arc<Snapshot>>,
    zones: Arc<dyn Zones>,
    stop: CancellationToken,
) -> Routes {
    let reports = services::Reports { zones: zones.clone() };
    let (streams, complaints) = (Arc::default(), Complaints::default());
    let global = Global { snapshots, zones, stop, streams, complaints };
    let sync = KdsSyncServiceServer::new(global)
        .accept_compressed(CompressionEncoding::Gzip)
        .send_compressed(CompressionEncoding::Gzip)
        .max_decoding_message_size(MAX_MESSAGE_BYTES)
        .max_encoding_message_size(MAX_MESSAGE_BYTES);
    let kds = GlobalKdsServiceServer::new(services::ZoneServices)
        .accept_compressed(CompressionEncoding::Gzip);
    let report = ReportServer::new(reports).accept_compressed(CompressionEncoding::Gzip);
    Routes::new(sync).add_service(kds).add_service(report)
}

/// Sets what KDS needs of the connection on a gRPC server.
pub fn tuned(server: tonic::transport::Server) -> tonic::transport::Server {
    server
        .http2_keepalive_interval(Some(KEEPALIVE))
        .http2_keepalive_timeout(Some(KEEPALIVE_TIMEOUT))
}

#[tonic::async_trait]
impl KdsSyncService for Global {
    type GlobalToZoneSyncStream = BoxStream<'static, Result<messages::Response, Status>>;
    type ZoneToGlobalSyncStream = BoxStream<'static, Result<messages::Request, Status>>;

    async fn global_to_zone_sync(
        &self,
        request: tonic::Request<Streaming<messages::Request>>,
    ) -> Result<Response<Self::GlobalToZoneSyncStream>, Status> {
        let hello = self.admitted(Flow::ToZone, &request).await?;
        let own = crate::batch::position_of(&self.snapshots.borrow());
        let commits = hello.commits;
        let presence = self.presence(hello.clone(), Flow::ToZone);
        let stream = down::stream(self.clone(), hello, presence, request.into_inner());
        Ok(answer(stream, commits, Some(own)))
    }

    async fn zone_to_global_sync(
        &self,
        request: tonic::Request<Streaming<messages::Response>>,
    ) -> Result<Response<Self::ZoneToGlobalSyncStream>, Status> {
        let hello = self.admitted(Flow::ToGlobal, &request).await?;
        let cursor = self.snapshots.borrow().cursor(&hello.zone);
        let commits = hello.commits;
        let presence = self.presence(hello.clone(), Flow::ToGlobal);
        let stream = up::stream(self.clone(), hello, cursor, presence, request.into_inner());
        Ok(answer(stream, commits, cursor))
    }
}

impl Global {
    async fn admitted<T>(&self, flow: Flow, request: &tonic::Request<T>) -> Result<Hello, Status> {
        let hello = Hello::read(request.metadata())?;
        let admission = self.zones.admit(flow, &hello).await;
        admission.map_err(|denied| Status::permission_denied(denied.to_string()))?;
        Ok(hello)
    }

    fn presence(&self, hello: Hello, flow: Flow) -> Presence {
        let stream = self.streams.fetch_add(1, Ordering::Relaxed);
        let presence =
            Presence { zones: self.zones.clone(), zone: hello.zone.clone(), flow, stream };
        presence.tell(ZoneStream::Opened(hello));
        presence
    }
}

/// Tells of a stream's life, its end included however it ends.
struct Presence {
    zones: Arc<dyn Zones>,
    zone: Arc<str>,
    flow: Flow,
    stream: u64,
}

impl Presence {
    fn tell(&self, what: ZoneStream) {
        let zone = self.zone.clone();
        self.zones.observe(ZoneEvent { zone, flow: self.flow, stream: self.stream, what });
    }
}

impl Drop for Presence {
    fn drop(&mut self) {
        self.tell(ZoneStream::Closed);
    }
}

/// Response headers go out at once: a Higuma zone waits for them before it says anything.
fn answer<S>(stream: S, commits: bool, own: Option<crate::batch::Position>) -> Response<S> {
    let mut response = Response::new(stream);
    if commits {
        hello::agree(own, response.metadata_mut());
    }
    response
}

fn unwritten(error: &InboxError) -> Status {
    match error {
        InboxError::Unavailable(_) => Status::unavailable(error.to_string()),
        InboxError::Refused(_) => Status::aborted(error.to_string()),
    }
}

fn stopping() -> Status {
    Status::unavailable("this node is stopping: go on with another")
}
