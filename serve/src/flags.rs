//! Flags that several `run` commands share.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use clap::Args;

use crate::transport::{Transport, TransportError, TransportPaths, plaintext_allowed};

/// The TLS material of a process: all three files, or none for loopback only.
#[derive(Debug, Clone, Args)]
pub struct TlsFlags {
    /// PEM file of the CA that peers' certificates come from.
    #[arg(long, env = "HIGUMA_TLS_CA", value_name = "FILE", requires_all = ["tls_cert", "tls_key"])]
    pub tls_ca: Option<PathBuf>,
    /// PEM file of this process's certificate.
    #[arg(long, env = "HIGUMA_TLS_CERT", value_name = "FILE", requires = "tls_ca")]
    pub tls_cert: Option<PathBuf>,
    /// PEM file of the certificate's private key.
    #[arg(long, env = "HIGUMA_TLS_KEY", value_name = "FILE", requires = "tls_ca")]
    pub tls_key: Option<PathBuf>,
}

impl TlsFlags {
    /// The transport of these files; none where no file is given and every bind is loopback.
    ///
    /// # Errors
    /// A file that can't be used, or plaintext off loopback.
    pub fn transport(&self, binds: &[SocketAddr]) -> Result<Option<Transport>, TransportError> {
        match (&self.tls_ca, &self.tls_cert, &self.tls_key) {
            (Some(ca), Some(cert), Some(key)) => {
                let paths = TransportPaths { ca: ca.clone(), cert: cert.clone(), key: key.clone() };
                Transport::load(&paths).map(Some)
            }
            _ => plaintext_allowed(binds).map(|()| None),
        }
    }
}

/// Where REST and diagnostics listen: they are plaintext, so the address itself if it is
/// loopback, else 127.0.0.1.
pub fn plaintext_ip(bind: IpAddr) -> IpAddr {
    if bind.is_loopback() { bind } else { IpAddr::from([127, 0, 0, 1]) }
}
