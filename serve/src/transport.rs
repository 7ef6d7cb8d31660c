//! One TLS configuration for every listener and every client of a process: a CA bundle that peers
//! must chain to, and the process's own certificate and key, all PEM.
//!
//! It does not reload files, and it knows nothing of the mesh's own certificates.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::crypto::CryptoProvider;
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use tonic::transport::{Certificate, ClientTlsConfig, Identity, ServerTlsConfig};

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
    #[error(
        "{0} is not a loopback address, and plaintext is for loopback only: give a CA, a \
         certificate and a key, or listen on 127.0.0.1"
    )]
    Plaintext(SocketAddr),
}

/// Validated TLS material. Its `Debug` shows no key.
#[derive(Clone)]
pub struct Transport {
    ca_pem: String,
    cert_pem: String,
    key_pem: String,
    roots: Arc<RootCertStore>,
    chain: Vec<CertificateDer<'static>>,
    key: Arc<PrivateKeyDer<'static>>,
}

impl std::fmt::Debug for Transport {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Transport").field("certificates", &self.chain.len()).finish_non_exhaustive()
    }
}

impl Transport {
    /// Reads and validates the three files.
    ///
    /// # Errors
    /// A file that cannot be read, holds something else, or a key that is not the certificate's.
    pub fn load(paths: &TransportPaths) -> Result<Self, TransportError> {
        let ca = read("CA", &paths.ca)?;
        let cert = read("certificate", &paths.cert)?;
        let key = read("key", &paths.key)?;
        let name = |path: &Path| path.display().to_string();
        Self::parse([&ca, &cert, &key], [name(&paths.ca), name(&paths.cert), name(&paths.key)])
    }

    /// The same from PEM text in memory.
    ///
    /// # Errors
    /// As [`Transport::load`].
    pub fn from_pem(ca: &str, cert: &str, key: &str) -> Result<Self, TransportError> {
        Self::parse([ca, cert, key], ["(ca)", "(cert)", "(key)"].map(str::to_owned))
    }

    /// `pem` and `origin` are those of CA, certificate and key.
    fn parse(pem: [&str; 3], origin: [String; 3]) -> Result<Self, TransportError> {
        let [ca_pem, cert_pem, key_pem] = pem.map(str::to_owned);
        let [ca_origin, cert_origin, key_origin] = origin;
        let roots = roots(&ca_pem, &ca_origin)?;
        let chain = certificates("certificate", &cert_pem, &cert_origin)?;
        let key = PrivateKeyDer::from_pem_slice(key_pem.as_bytes()).map_err(|_| {
            TransportError::Empty { role: "key", origin: key_origin.clone(), want: "PRIVATE KEY" }
        })?;
        let transport =
            Self { ca_pem, cert_pem, key_pem, roots: Arc::new(roots), chain, key: Arc::new(key) };
        // Building a client's configuration checks that the key belongs to the certificate.
        transport.client_config().map_err(|error| TransportError::Mismatch {
            cert: cert_origin,
            key: key_origin,
            reason: error.to_string(),
        })?;
        Ok(transport)
    }

    /// For a tonic server.
    pub fn tonic_server(&self, auth: ClientAuth) -> ServerTlsConfig {
        let config = ServerTlsConfig::new().identity(self.identity());
        match auth {
            ClientAuth::Required => config.client_ca_root(Certificate::from_pem(&self.ca_pem)),
            ClientAuth::Optional => config
                .client_ca_root(Certificate::from_pem(&self.ca_pem))
                .client_auth_optional(true),
            ClientAuth::None => config,
        }
    }

    /// For a tonic client. `server_name` is the name that the server's certificate must carry,
    /// where it is not the host of the address.
    pub fn tonic_client(&self, server_name: Option<&str>) -> ClientTlsConfig {
        let config = ClientTlsConfig::new()
            .ca_certificate(Certificate::from_pem(&self.ca_pem))
            .identity(self.identity());
        match server_name {
            Some(name) => config.domain_name(name),
            None => config,
        }
    }

    /// For [`crate::HttpServer`]: HTTP/1.1 and HTTP/2 by ALPN.
    pub fn rustls_server(&self, auth: ClientAuth) -> Arc<ServerConfig> {
        let builder = ServerConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .expect("invariant: ring supports the default TLS versions");
        let builder = match self.verifier(auth) {
            Some(verifier) => builder.with_client_cert_verifier(verifier),
            None => builder.with_no_client_auth(),
        };
        let mut config = builder
            .with_single_cert(self.chain.clone(), self.key.clone_key())
            .expect("invariant: parse checked that the key is the certificate's");
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Arc::new(config)
    }

    /// For an HTTP client: shows our certificate, accepts servers of our CA. No ALPN is set.
    pub fn rustls_client(&self) -> Arc<ClientConfig> {
        let config = self
            .client_config()
            .expect("invariant: parse checked that the key is the certificate's");
        Arc::new(config)
    }

    /// The CA bundle, for those who hand it on (a proxy's bootstrap).
    pub fn ca_pem(&self) -> &str {
        &self.ca_pem
    }

    fn identity(&self) -> Identity {
        Identity::from_pem(&self.cert_pem, &self.key_pem)
    }

    fn verifier(&self, auth: ClientAuth) -> Option<Arc<dyn ClientCertVerifier>> {
        let builder = WebPkiClientVerifier::builder_with_provider(self.roots.clone(), provider());
        let builder = match auth {
            ClientAuth::Required => builder,
            ClientAuth::Optional => builder.allow_unauthenticated(),
            ClientAuth::None => return None,
        };
        Some(builder.build().expect("invariant: parse checked that there are roots"))
    }

    fn client_config(&self) -> Result<ClientConfig, rustls::Error> {
        ClientConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()?
            .with_root_certificates(self.roots.clone())
            .with_client_auth_cert(self.chain.clone(), self.key.clone_key())
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

fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

fn read(role: &'static str, path: &Path) -> Result<String, TransportError> {
    std::fs::read_to_string(path).map_err(|source| TransportError::Read {
        role,
        path: path.to_owned(),
        source,
    })
}

fn certificates(
    role: &'static str,
    pem: &str,
    origin: &str,
) -> Result<Vec<CertificateDer<'static>>, TransportError> {
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem.as_bytes()).collect();
    match found {
        Ok(found) if !found.is_empty() => Ok(found),
        _ => Err(TransportError::Empty { role, origin: origin.to_owned(), want: "CERTIFICATE" }),
    }
}

fn roots(pem: &str, origin: &str) -> Result<RootCertStore, TransportError> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates("CA", pem, origin)? {
        roots.add(certificate).map_err(|error| TransportError::Authority {
            origin: origin.to_owned(),
            reason: error.to_string(),
        })?;
    }
    Ok(roots)
}

#[cfg(test)]
mod tests;
