//! The global's services beside the two streams.

use std::sync::Arc;

use futures::stream::BoxStream;
use tonic::{Request, Response, Status, Streaming};

use crate::hello::Hello;
use crate::inbox::{ZoneReport, Zones};
use crate::proto::higuma::kds::v1::ReportReceived;
use crate::proto::higuma::kds::v1::report_server::Report;
use crate::proto::kuma::mesh::v1alpha1::global_kds_service_server::GlobalKdsService;
use crate::proto::kuma::mesh::v1alpha1::{
    ClustersRequest, ClustersResponse, StatsRequest, StatsResponse, XdsConfigRequest,
    XdsConfigResponse, ZoneHealthCheckRequest, ZoneHealthCheckResponse,
};

/// When the next report or health check is due at the latest.
const INTERVAL_SECONDS: u32 = 10;

/// Laggards that one report names: enough to see a pattern, bounded for whoever keeps them.
pub(crate) const MAX_LAGGARDS: usize = 16;

/// Kuma's admin tunnels are not offered (its zones tolerate that); health checks are answered.
pub(super) struct ZoneServices;

/// Takes reports of progress.
pub(super) struct Reports {
    pub(super) zones: Arc<dyn Zones>,
}

fn no_tunnel<T>() -> Result<Response<T>, Status> {
    Err(Status::unimplemented("this global asks zones for no Envoy admin output"))
}

#[tonic::async_trait]
impl GlobalKdsService for ZoneServices {
    type StreamXDSConfigsStream = BoxStream<'static, Result<XdsConfigRequest, Status>>;
    type StreamStatsStream = BoxStream<'static, Result<StatsRequest, Status>>;
    type StreamClustersStream = BoxStream<'static, Result<ClustersRequest, Status>>;

    async fn stream_xds_configs(
        &self,
        _: Request<Streaming<XdsConfigResponse>>,
    ) -> Result<Response<Self::StreamXDSConfigsStream>, Status> {
        no_tunnel()
    }

    async fn stream_stats(
        &self,
        _: Request<Streaming<StatsResponse>>,
    ) -> Result<Response<Self::StreamStatsStream>, Status> {
        no_tunnel()
    }

    async fn stream_clusters(
        &self,
        _: Request<Streaming<ClustersResponse>>,
    ) -> Result<Response<Self::StreamClustersStream>, Status> {
        no_tunnel()
    }

    async fn health_check(
        &self,
        request: Request<ZoneHealthCheckRequest>,
    ) -> Result<Response<ZoneHealthCheckResponse>, Status> {
        Hello::read(request.metadata())?;
        let interval = prost_types::Duration { seconds: i64::from(INTERVAL_SECONDS), nanos: 0 };
        Ok(Response::new(ZoneHealthCheckResponse { interval: Some(interval) }))
    }
}

#[tonic::async_trait]
impl Report for Reports {
    async fn send(&self, request: Request<ZoneReport>) -> Result<Response<ReportReceived>, Status> {
        let hello = Hello::read(request.metadata())?;
        let mut report = request.into_inner();
        if report.zone != *hello.zone {
            return Err(Status::invalid_argument(format!(
                "zone {} reports about zone {:?}; a zone reports about itself",
                hello.zone, report.zone
            )));
        }
        report.laggards.truncate(MAX_LAGGARDS);
        self.zones.report(report);
        Ok(Response::new(ReportReceived { interval_ms: INTERVAL_SECONDS * 1000 }))
    }
}
