//! One TLS configuration for every listener and every client of a process: a CA bundle that peers
//! must chain to, and the process's own certificate and key, all PEM.
//!
//! Files that change are read again, so that certificates are renewed and CAs rotated without a
//! restart ([`Transport::follow`]). It knows nothing of the mesh's own certificates.

mod expiry;
mod material;
mod reload;

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use rustls::crypto::CryptoProvider;
use rustls::{ClientConfig, ServerConfig};
use rustls_pki_types::UnixTime;
use tokio::sync::watch;

use crate::{Metrics, Tasks};
use material::{Material, Pem};
use reload::Current;

/// The PEM files of a [`Transport`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TransportPaths {
    /// Certificates that peers must chain to.
    pub ca: PathBuf,
    /// This process's certificate, then its intermediates if any.
    pub cert: PathBuf,
    /// The private key of `cert`.
    pub key: PathBuf,
}

impl TransportPaths {
    /// Made by [`Transport::load_server`].
    pub(crate) fn is_server_only(&self) -> bool {
        self.ca == self.cert
    }
}

/// Whether a listener asks its clients for a certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientAuth {
    /// A client without a certificate of our CA is refused.
    Required,
    /// A client may come without; one that it shows must be of our CA.
    Optional,
    /// None is asked for.
    None,
}

/// What is wrong with TLS material, or with having none.
#[derive(Debug, thiserror::Error)]
pub enum TransportError {
    #[error("cannot read the {role} file {}: {source}; give the path of a PEM file that this user may read", path.display())]
    Read { role: &'static str, path: PathBuf, source: std::io::Error },
    #[error(
        "the {role} file {origin} holds no {want}: it must be PEM, with a `-----BEGIN {want}-----` block"
    )]
    Empty { role: &'static str, origin: String, want: &'static str },
    #[error(
        "the certificate {cert} and the key {key} cannot be used together: {reason}; the key must be the one the certificate was issued for"
    )]
    Mismatch { cert: String, key: String, reason: String },
    #[error("the CA file {origin} cannot be used: {reason}")]
    Authority { origin: String, reason: String },
    #[error("the file {origin} cannot be used: {reason}")]
    Unreadable { origin: String, reason: String },
    #[error(
        "the certificate {cert} is not accepted by this process's own CA file {ca}: {reason}; \
         peers that trust the same CA would refuse it"
    )]
    Untrusted { cert: String, ca: String, reason: String },
    #[error("the certificate {cert} cannot be used: {reason}; put a new one in its place")]
    Ended { cert: String, reason: String },
    #[error(
        "the certificate {cert} must name its holder by the URI {uri}, and has {has}: make one \
         with `higuma generate cluster-tls`, for this cluster's name and this node's number"
    )]
    Holder { cert: String, uri: String, has: String },
    #[error(
        "REST over HTTPS wants to listen on {0}, and there is no certificate: give --https-cert and \
         --https-key, or --tls-ca, --tls-cert and --tls-key"
    )]
    NoCertificate(SocketAddr),
    #[error(
        "{0} is not a loopback address, and plaintext is for loopback only: give a CA, a \
         certificate and a key, or listen on 127.0.0.1"
    )]
    Plaintext(SocketAddr),
}

/// Validated TLS material, which follows its files while [`Transport::follow`] runs. All clones,
/// and all configurations made from them, change together. Its `Debug` shows no key.
#[derive(Clone)]
pub struct Transport {
    current: Arc<Current>,
}

impl fmt::Debug for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let certificates = self.current.now().certified.cert.len();
        f.debug_struct("Transport").field("certificates", &certificates).finish_non_exhaustive()
    }
}

impl Transport {
    /// Reads and validates the three files.
    ///
    /// # Errors
    /// A file that cannot be read, holds something else, or a key that is not the certificate's.
    pub fn load(paths: &TransportPaths) -> Result<Self, TransportError> {
        let material = Material::parse(Pem::read(paths)?, paths)?;
        Ok(Self::of(material, paths.clone(), true))
    }

    /// Of a server that nobody shows a certificate to: its own certificate and key, from
    /// whichever CA its clients trust. It is its own CA file: a client made of it trusts nobody
    /// else.
    ///
    /// # Errors
    /// As [`Transport::load`].
    pub fn load_server(cert: PathBuf, key: PathBuf) -> Result<Self, TransportError> {
        Self::load(&TransportPaths { ca: cert.clone(), cert, key })
    }

    /// The same from PEM text in memory, which never changes.
    ///
    /// # Errors
    /// As [`Transport::load`].
    pub fn from_pem(ca: &str, cert: &str, key: &str) -> Result<Self, TransportError> {
        let [ca_name, cert_name, key_name] = ["(ca)", "(cert)", "(key)"].map(PathBuf::from);
        let paths = TransportPaths { ca: ca_name, cert: cert_name, key: key_name };
        let [ca, cert, key] = [ca, cert, key].map(str::to_owned);
        let material = Material::parse(Pem { ca, cert, key }, &paths)?;
        Ok(Self::of(material, paths, false))
    }

    fn of(material: Material, paths: TransportPaths, from_files: bool) -> Self {
        let (material, _) = watch::channel(Arc::new(material));
        let refused = AtomicBool::new(false);
        let current = Current { paths, from_files, holder: None, material, refused };
        Self { current: Arc::new(current) }
    }

    /// Demands that the own certificate names its holder by `uri`, now and whenever it changes.
    ///
    /// # Errors
    /// It does not; the error says what it has.
    pub fn held_by(self, uri: &str) -> Result<Self, TransportError> {
        let (paths, from_files) = (self.current.paths.clone(), self.current.from_files);
        let material = self.current.now();
        material.is_held_by(uri, &paths.cert)?;
        let (material, _) = watch::channel(material);
        let (holder, refused) = (Some(uri.to_owned()), AtomicBool::new(false));
        let current = Current { paths, from_files, holder, material, refused };
        Ok(Self { current: Arc::new(current) })
    }

    /// Whether those who trust the same CA file would let this certificate in now.
    ///
    /// # Errors
    /// It is of another CA, has ended or has not begun.
    pub fn check_own(&self) -> Result<(), TransportError> {
        self.current.now().trusts_itself(&self.current.paths, UnixTime::now())
    }

    /// For a gRPC server whose connections come from [`crate::incoming`]: HTTP/2 by ALPN.
    pub fn grpc_server(&self, auth: ClientAuth) -> Arc<ServerConfig> {
        self.server(auth, &[b"h2"])
    }

    /// For a gRPC client: HTTP/2 by ALPN. Shows our certificate, accepts servers of our CA.
    pub fn grpc_client(&self) -> Arc<ClientConfig> {
        self.client(&[b"h2"])
    }

    /// For [`crate::HttpServer`]: HTTP/1.1 and HTTP/2 by ALPN.
    pub fn rustls_server(&self, auth: ClientAuth) -> Arc<ServerConfig> {
        self.server(auth, &[b"h2", b"http/1.1"])
    }

    /// For an HTTP client: shows our certificate, accepts servers of our CA. No ALPN is set.
    pub fn rustls_client(&self) -> Arc<ClientConfig> {
        self.client(&[])
    }

    /// The CA bundle as it is now, for those who hand it on (a proxy's bootstrap).
    pub fn ca_pem(&self) -> String {
        self.current.now().pem.ca.clone()
    }
}

/// Follows the files of all transports, and exports when what they hold ends. Transports of the
/// same files are one.
pub fn follow(
    transports: impl IntoIterator<Item = Transport>,
    metrics: &Metrics,
    tasks: &mut Tasks,
) {
    let mut distinct: Vec<Transport> = Vec::new();
    for transport in transports {
        if !distinct.iter().any(|known| known.current.paths == transport.current.paths) {
            distinct.push(transport);
        }
    }
    metrics.register(|registry| registry.register_collector(expiry::collector(&distinct)));
    for transport in distinct {
        tasks.spawn("TLS files", transport.follow(tasks.token()));
    }
}

/// Plaintext is refused unless every bind is loopback.
///
/// # Errors
/// Names the first address that is not.
pub fn plaintext_allowed(binds: &[SocketAddr]) -> Result<(), TransportError> {
    match binds.iter().find(|bind| !bind.ip().to_canonical().is_loopback()) {
        Some(bind) => Err(TransportError::Plaintext(*bind)),
        None => Ok(()),
    }
}

/// Makes ring the process's TLS provider. Call it first thing in every `main` and in tests that
/// use tonic's or reqwest's TLS: they panic without. Calling it again changes nothing.
pub fn install_crypto_provider() {
    if CryptoProvider::get_default().is_none() {
        // Another thread may have been first; it installed the same one.
        drop(rustls::crypto::ring::default_provider().install_default());
    }
}

#[cfg(test)]
mod tests;
