//! The endpoint that zones connect to.

use std::time::Duration;

use higuma_kds::tuned;
use higuma_serve::{ClientAuth, Transport, incoming};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tonic::service::Routes;
use tonic::transport::Server;
use tonic::transport::server::TcpIncoming;

/// Streams of one connection at a time: a zone has two, its calls beside them one each.
const MAX_STREAMS: u32 = 64;

/// After the stop, the streams end by themselves at once; a peer that does not close its
/// connection then is not waited for longer.
const CONNECTION_DRAIN: Duration = Duration::from_secs(3);

/// Serves until `stop`; the streams' own stop is in `routes`.
///
/// # Errors
/// A listener that fails.
pub(crate) async fn serve(
    listener: TcpListener,
    routes: Routes,
    tls: Option<Transport>,
    stop: CancellationToken,
) -> anyhow::Result<()> {
    let mut server = tuned(Server::builder()).max_concurrent_streams(Some(MAX_STREAMS));
    let router = server.add_routes(routes);
    let stopped = stop.clone().cancelled_owned();
    let serving = async {
        match tls {
            None => {
                let plain = TcpIncoming::from(listener).with_nodelay(Some(true));
                router.serve_with_incoming_shutdown(plain, stopped).await
            }
            Some(tls) => {
                let encrypted = incoming(listener, tls.grpc_server(ClientAuth::Required));
                router.serve_with_incoming_shutdown(encrypted, stopped).await
            }
        }
    };
    let drained = async {
        stop.cancelled().await;
        tokio::time::sleep(CONNECTION_DRAIN).await;
    };
    tokio::select! {
        served = serving => served?,
        () = drained => tracing::debug!("connections of zones were cut"),
    }
    Ok(())
}
