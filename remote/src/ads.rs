//! The ADS endpoint: delta streams, one per Envoy.

use std::sync::Arc;

use envoy_types::pb::envoy::service::discovery::v3::aggregated_discovery_service_server::AggregatedDiscoveryService;
use envoy_types::pb::envoy::service::discovery::v3::{
    DeltaDiscoveryRequest, DeltaDiscoveryResponse, DiscoveryRequest, DiscoveryResponse,
};
use futures::stream::{self, BoxStream, StreamExt};
use tonic::{Request, Response, Status, Streaming};

use crate::stream::ProxyStream;
use crate::zone::Zone;

pub(crate) struct Ads(pub(crate) Arc<Zone>);

#[tonic::async_trait]
impl AggregatedDiscoveryService for Ads {
    type StreamAggregatedResourcesStream = BoxStream<'static, Result<DiscoveryResponse, Status>>;
    type DeltaAggregatedResourcesStream =
        BoxStream<'static, Result<DeltaDiscoveryResponse, Status>>;

    async fn stream_aggregated_resources(
        &self,
        _: Request<Streaming<DiscoveryRequest>>,
    ) -> Result<Response<Self::StreamAggregatedResourcesStream>, Status> {
        Err(Status::unimplemented("only the delta form of ADS is served"))
    }

    async fn delta_aggregated_resources(
        &self,
        request: Request<Streaming<DeltaDiscoveryRequest>>,
    ) -> Result<Response<Self::DeltaAggregatedResourcesStream>, Status> {
        let (zone, inbound) = (self.0.clone(), request.into_inner());
        // The first request may come only after the response headers: it is read in the stream.
        let opening = stream::once(ProxyStream::open(zone, inbound));
        let responses = opening.flat_map(|opened| match opened {
            Ok(proxy) => stream::unfold(proxy, |mut proxy| async move {
                let response = proxy.next().await?;
                Some((response, proxy))
            })
            .boxed(),
            Err(status) => {
                tracing::warn!(why = status.message(), "proxy refused");
                stream::once(async { Err(status) }).boxed()
            }
        });
        Ok(Response::new(responses.boxed()))
    }
}
