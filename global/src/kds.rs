//! The endpoint that zones connect to.

use std::time::Duration;

use higuma_kds::tuned;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tonic::service::Routes;
use tonic::transport::server::TcpIncoming;
use tonic::transport::{Server, ServerTlsConfig};

/// Streams of one connection at a time: a zone has two, its calls beside them one each.
const MAX_STREAMS: u32 = 64;

/// After the stop, the streams end by themselves at once; a peer that does not close its
/// connection then is not waited for longer.
const CONNECTION_DRAIN: Duration = Duration::from_secs(3);

/// Serves until `stop`; the streams' own stop is in `routes`.
///
/// # Errors
/// TLS material that can't be used, or a listener that fails.
pub(crate) async fn serve(
    listener: TcpListener,
    routes: Routes,
    tls: Option<ServerTlsConfig>,
    stop: CancellationToken,
) -> anyhow::Result<()> {
    let server = tuned(Server::builder()).max_concurrent_streams(Some(MAX_STREAMS));
    let mut server = match tls {
        Some(tls) => server.tls_config(tls)?,
        None => server,
    };
    let incoming = TcpIncoming::from(listener).with_nodelay(Some(true));
    let stopped = stop.clone().cancelled_owned();
    let serving = server.add_routes(routes).serve_with_incoming_shutdown(incoming, stopped);
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
