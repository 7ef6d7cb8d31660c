//! The two listeners of REST: plain HTTP for this host, and HTTPS for everyone.

use std::net::{IpAddr, SocketAddr};

use axum::Router;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::flags::RestFlags;
use crate::listen::{self, ListenError};
use crate::transport::TransportError;
use crate::{ClientAuth, HttpServer, Transport};

const HTTPS_FLAGS: &str = "--https-port or --https-bind";

/// Where HTTPS is served, and what it shows.
pub struct Https {
    pub address: SocketAddr,
    pub transport: Transport,
}

impl RestFlags {
    /// Where HTTPS is served: on `bind` unless the flags name another address, with the
    /// certificate that they name or the process's own. None: there is no certificate.
    ///
    /// # Errors
    /// Files that can't be used, or an address and no certificate.
    pub fn https(
        &self,
        bind: IpAddr,
        own: Option<&Transport>,
    ) -> Result<Option<Https>, TransportError> {
        let address = SocketAddr::new(self.https_bind.unwrap_or(bind), self.https_port);
        let transport = match (&self.https_cert, &self.https_key) {
            (Some(cert), Some(key)) => Some(Transport::load_server(cert.clone(), key.clone())?),
            _ => own.cloned(),
        };
        match transport {
            None if self.https_bind.is_some() => Err(TransportError::NoCertificate(address)),
            transport => Ok(transport.map(|transport| Https { address, transport })),
        }
    }
}

/// Listeners that nobody is served on yet.
pub struct RestListeners {
    plain: TcpListener,
    https: Option<(TcpListener, Transport)>,
}

impl RestListeners {
    /// Binds `plain`, which has to be loopback, and HTTPS if there is any.
    ///
    /// # Errors
    /// An address that can't be had.
    pub async fn bind(plain: SocketAddr, https: Option<Https>) -> Result<Self, ListenError> {
        let plain = listen::bind(plain, "REST", "--rest-port").await?;
        let https = match https {
            None => {
                tracing::info!("no certificate: REST is served on loopback only");
                None
            }
            Some(Https { address, transport }) => {
                Some((listen::bind(address, "REST over HTTPS", HTTPS_FLAGS).await?, transport))
            }
        };
        Ok(Self { plain, https })
    }

    /// Serves `router` on both until `stop` is cancelled, then lets requests in flight end.
    ///
    /// # Errors
    /// As [`HttpServer::run`].
    pub async fn run(self, router: Router, stop: CancellationToken) -> anyhow::Result<()> {
        let plain = HttpServer::new(self.plain, router.clone()).run(stop.clone());
        let Some((listener, transport)) = self.https else { return plain.await };
        let https = HttpServer::new(listener, router);
        let https = https.tls(transport.rustls_server(ClientAuth::None)).run(stop);
        tokio::try_join!(plain, https).map(drop)
    }
}
