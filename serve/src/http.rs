//! One HTTP server for REST, diagnostics, bootstrap and gRPC routes: HTTP/1.1 and HTTP/2, plain
//! or TLS, bounded, with an orderly stop. It adds a [`Peer`] to each request and nothing else.

use std::convert::Infallible;
use std::io::Cursor;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use axum::Router;
use axum::body::Body;
use hyper::Request;
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use rustls::ServerConfig;
use rustls_pki_types::CertificateDer;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt as _;

/// Connections of one listener. Each proxy of a zone holds one to its remote, so this is twice
/// the proxies that one remote is sized for (4,000) plus callers of REST; each costs two file
/// descriptors' worth of memory (some 50 KiB with TLS and HTTP/2 windows unused).
pub const MAX_CONNECTIONS: usize = 8_192;
/// A TLS handshake and the first bytes of a request: what a healthy client on a slow link needs,
/// and as long as an idle stranger may hold a connection.
pub const FIRST_BYTES_TIMEOUT: Duration = Duration::from_secs(10);
/// The head of an HTTP/1.1 request. It also bounds how long a keep-alive connection may idle.
pub const HEADER_TIMEOUT: Duration = Duration::from_secs(30);
/// HTTP/2 pings find a peer that vanished without a FIN in interval plus timeout; Envoy's streams
/// are silent for hours otherwise.
pub const PING_INTERVAL: Duration = Duration::from_secs(20);
const PING_TIMEOUT: Duration = Duration::from_secs(10);
/// Streams within one HTTP/2 connection: an Envoy needs one or two, a remote a few more.
const MAX_STREAMS: u32 = 256;
/// After the stop, requests in flight get this long; streams that never end are then cut.
pub const CONNECTION_DRAIN: Duration = Duration::from_secs(3);
/// Pause after a failed accept (out of file descriptors), so that the loop does not spin.
pub(crate) const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Who sent a request; an extension of every request.
#[derive(Clone, Debug)]
pub struct Peer {
    pub addr: SocketAddr,
    /// Whether the connection is TLS.
    pub tls: bool,
    /// The verified certificate (DER), if the connection is TLS and the client showed one.
    pub certificate: Option<CertificateDer<'static>>,
}

/// A router on a listener.
pub struct HttpServer {
    listener: TcpListener,
    router: Router,
    tls: Option<TlsAcceptor>,
    max_connections: usize,
    /// [`CONNECTION_DRAIN`]; tests are less patient.
    drain: Duration,
}

impl HttpServer {
    /// Plaintext; [`crate::transport::plaintext_allowed`] says where that may be.
    pub fn new(listener: TcpListener, router: Router) -> Self {
        Self {
            listener,
            router,
            tls: None,
            max_connections: MAX_CONNECTIONS,
            drain: CONNECTION_DRAIN,
        }
    }

    /// TLS, with a configuration of [`crate::Transport::rustls_server`].
    #[must_use]
    pub fn tls(mut self, config: Arc<ServerConfig>) -> Self {
        self.tls = Some(TlsAcceptor::from(config));
        self
    }

    /// Another bound than [`MAX_CONNECTIONS`]. Callers above it wait in the kernel's backlog.
    #[must_use]
    pub fn max_connections(mut self, max: usize) -> Self {
        self.max_connections = max;
        self
    }

    /// Serves until `stop` is cancelled, then lets requests in flight end.
    ///
    /// # Errors
    /// None after start-up: a bad connection is that connection's problem.
    pub async fn run(self, stop: CancellationToken) -> anyhow::Result<()> {
        let permits = Arc::new(Semaphore::new(self.max_connections));
        let mut connections = JoinSet::new();
        while let Some((stream, addr, permit)) = self.accept(&permits, &stop).await? {
            let connection = Connection {
                router: self.router.clone(),
                tls: self.tls.clone(),
                addr,
                stop: stop.clone(),
                first_bytes: FIRST_BYTES_TIMEOUT,
            };
            connections.spawn(async move {
                if let Err(error) = connection.serve(stream).await {
                    tracing::debug!(peer = %addr, error = format!("{error:#}"), "connection ended");
                }
                drop(permit);
            });
            while let Some(ended) = connections.try_join_next() {
                log_panic(ended);
            }
        }
        let drained = timeout(self.drain, async {
            while let Some(ended) = connections.join_next().await {
                log_panic(ended);
            }
        });
        if drained.await.is_err() {
            tracing::debug!(open = connections.len(), "cutting connections that did not end");
            connections.shutdown().await;
        }
        Ok(())
    }

    /// The next connection within the bound; none once `stop` is cancelled.
    async fn accept(
        &self,
        permits: &Arc<Semaphore>,
        stop: &CancellationToken,
    ) -> anyhow::Result<Option<(TcpStream, SocketAddr, tokio::sync::OwnedSemaphorePermit)>> {
        let next = async {
            let permit = permits.clone().acquire_owned().await.context("the bound was closed")?;
            loop {
                match self.listener.accept().await {
                    Ok((stream, addr)) => return Ok((stream, addr, permit)),
                    Err(error) => {
                        tracing::warn!(%error, "cannot accept a connection");
                        tokio::time::sleep(ACCEPT_PAUSE).await;
                    }
                }
            }
        };
        tokio::select! {
            () = stop.cancelled() => Ok(None),
            accepted = next => accepted.map(Some),
        }
    }
}

/// A panic in a request's code costs its connection, not the process: it is the caller's request
/// that broke it, and the next one must be served.
fn log_panic(ended: Result<(), tokio::task::JoinError>) {
    if let Err(error) = ended {
        tracing::error!(%error, "a connection's task panicked");
    }
}

struct Connection {
    router: Router,
    tls: Option<TlsAcceptor>,
    addr: SocketAddr,
    stop: CancellationToken,
    /// [`FIRST_BYTES_TIMEOUT`]; tests are less patient.
    first_bytes: Duration,
}

impl Connection {
    async fn serve(self, stream: TcpStream) -> anyhow::Result<()> {
        stream.set_nodelay(true).context("nodelay")?;
        match &self.tls {
            None => {
                let peer = Peer { addr: self.addr, tls: false, certificate: None };
                self.http(stream, peer).await
            }
            Some(acceptor) => {
                let accepted = timeout(self.first_bytes, acceptor.accept(stream));
                let stream = accepted.await.context("TLS handshake")?.context("TLS handshake")?;
                let shown = stream.get_ref().1.peer_certificates();
                let certificate =
                    shown.and_then(|chain| chain.first()).map(|c| c.clone().into_owned());
                let peer = Peer { addr: self.addr, tls: true, certificate };
                self.http(stream, peer).await
            }
        }
    }

    async fn http<S>(self, mut stream: S, peer: Peer) -> anyhow::Result<()>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        // HTTP/2 begins with "PRI"; no method of HTTP/1.1 does. Read here, because hyper-util's own
        // detection waits without a bound.
        let mut start = [0; 3];
        timeout(self.first_bytes, stream.read_exact(&mut start))
            .await
            .context("nothing was sent")?
            .context("closed before a request")?;
        let (reader, writer) = tokio::io::split(stream);
        let stream = tokio::io::join(Cursor::new(start).chain(reader), writer);

        let router = self.router;
        let service = hyper::service::service_fn(move |request: Request<Incoming>| {
            let (router, peer) = (router.clone(), peer.clone());
            async move {
                let mut request = request.map(Body::new);
                request.extensions_mut().insert(peer);
                router.oneshot(request).await.map_err(|never: Infallible| match never {})
            }
        });
        let builder = protocol(&start);
        let connection = builder.serve_connection(TokioIo::new(stream), service);
        tokio::pin!(connection);
        let served = tokio::select! {
            served = connection.as_mut() => served,
            () = self.stop.cancelled() => {
                connection.as_mut().graceful_shutdown();
                connection.await
            }
        };
        served.map_err(|error| anyhow::anyhow!(error))
    }
}

fn protocol(start: &[u8; 3]) -> Builder<TokioExecutor> {
    let builder = Builder::new(TokioExecutor::new());
    let mut builder = if start == b"PRI" { builder.http2_only() } else { builder.http1_only() };
    builder.http1().timer(TokioTimer::new()).header_read_timeout(HEADER_TIMEOUT);
    builder
        .http2()
        .timer(TokioTimer::new())
        .keep_alive_interval(PING_INTERVAL)
        .keep_alive_timeout(PING_TIMEOUT)
        .max_concurrent_streams(MAX_STREAMS);
    builder
}

#[cfg(test)]
mod tests;
