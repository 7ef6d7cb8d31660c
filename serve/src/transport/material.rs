//! What the three PEM files hold, checked, in the forms that rustls wants.

use std::path::Path;
use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::crypto::CryptoProvider;
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;
use rustls::sign::CertifiedKey;
use rustls::{CertificateError, Error, RootCertStore};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, UnixTime};

use super::{TransportError, TransportPaths};
use crate::pki::Described;

/// Bytes of one PEM file: some hundred certificates, and what a look at three files every few
/// seconds may cost.
const MAX_FILE_BYTES: u64 = 1 << 20;

/// The text of the three files. It holds a key: no `Debug`.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Pem {
    pub(super) ca: String,
    pub(super) cert: String,
    pub(super) key: String,
}

/// Validated material. It holds a key: no `Debug`.
pub(super) struct Material {
    pub(super) pem: Pem,
    pub(super) certified: Arc<CertifiedKey>,
    pub(super) clients: Arc<dyn ClientCertVerifier>,
    pub(super) servers: Arc<WebPkiServerVerifier>,
    /// Of the own certificate.
    pub(super) uris: Vec<String>,
    /// Unix seconds: the first of the CA file's certificates to end, and of the own chain.
    pub(super) ca_ends: i64,
    pub(super) cert_ends: i64,
}

impl Pem {
    pub(super) fn read(paths: &TransportPaths) -> Result<Self, TransportError> {
        Ok(Self {
            ca: read("CA", &paths.ca)?,
            cert: read("certificate", &paths.cert)?,
            key: read("key", &paths.key)?,
        })
    }
}

impl Material {
    /// `origin` names the files in errors.
    pub(super) fn parse(pem: Pem, origin: &TransportPaths) -> Result<Self, TransportError> {
        let ca = certificates("CA", &pem.ca, &origin.ca)?;
        let mut roots = RootCertStore::empty();
        for certificate in &ca {
            roots
                .add(certificate.clone())
                .map_err(|error| authority(&origin.ca, error.to_string()))?;
        }
        let roots = Arc::new(roots);
        let chain = certificates("certificate", &pem.cert, &origin.cert)?;
        let key = PrivateKeyDer::from_pem_slice(pem.key.as_bytes()).map_err(|_| {
            let origin = name(&origin.key);
            TransportError::Empty { role: "key", origin, want: "PRIVATE KEY" }
        })?;
        let ca_ends = first_end(&described(&ca, &origin.ca)?);
        let mut own = described(&chain, &origin.cert)?;
        let (cert_ends, uris) = (first_end(&own), std::mem::take(&mut own[0].uris));
        let certified = CertifiedKey::from_der(chain, key, &provider()).map_err(|error| {
            let (cert, key) = (name(&origin.cert), name(&origin.key));
            TransportError::Mismatch { cert, key, reason: error.to_string() }
        })?;
        let clients = WebPkiClientVerifier::builder_with_provider(roots.clone(), provider())
            .build()
            .map_err(|error| authority(&origin.ca, error.to_string()))?;
        let servers = WebPkiServerVerifier::builder_with_provider(roots, provider())
            .build()
            .map_err(|error| authority(&origin.ca, error.to_string()))?;
        let certified = Arc::new(certified);
        Ok(Self { pem, certified, clients, servers, uris, ca_ends, cert_ends })
    }

    /// Whether those who trust this CA file would let this certificate in at `now`. A purpose that
    /// the certificate is not for is left to them to refuse. Of a server's own certificate it is
    /// not known whom its clients trust: only that it has not ended is looked at.
    pub(super) fn trusts_itself(
        &self,
        origin: &TransportPaths,
        now: UnixTime,
    ) -> Result<(), TransportError> {
        if origin.is_server_only() {
            let ended = self.cert_ends <= i64::try_from(now.as_secs()).unwrap_or(i64::MAX);
            let (cert, reason) = (name(&origin.cert), CertificateError::Expired.to_string());
            return if ended { Err(TransportError::Ended { cert, reason }) } else { Ok(()) };
        }
        let (leaf, rest) = self.certified.cert.split_first().expect("invariant: parse saw one");
        match self.clients.verify_client_cert(leaf, rest, now) {
            Err(Error::InvalidCertificate(
                reason @ (CertificateError::UnknownIssuer
                | CertificateError::BadSignature
                | CertificateError::Expired
                | CertificateError::ExpiredContext { .. }
                | CertificateError::NotValidYet
                | CertificateError::NotValidYetContext { .. }),
            )) => Err(TransportError::Untrusted {
                cert: name(&origin.cert),
                ca: name(&origin.ca),
                reason: reason.to_string(),
            }),
            _ => Ok(()),
        }
    }

    /// Whether the own certificate carries `uri`.
    pub(super) fn is_held_by(&self, uri: &str, origin: &Path) -> Result<(), TransportError> {
        if self.uris.iter().any(|has| has == uri) {
            return Ok(());
        }
        let has = match &*self.uris {
            [] => "no URI at all".to_owned(),
            uris => uris.join(", "),
        };
        Err(TransportError::Holder { cert: name(origin), uri: uri.to_owned(), has })
    }
}

pub(super) fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

fn name(path: &Path) -> String {
    path.display().to_string()
}

fn authority(origin: &Path, reason: String) -> TransportError {
    TransportError::Authority { origin: name(origin), reason }
}

fn unreadable(origin: &Path, reason: String) -> TransportError {
    TransportError::Unreadable { origin: name(origin), reason }
}

fn read(role: &'static str, path: &Path) -> Result<String, TransportError> {
    let failed = |source| TransportError::Read { role, path: path.to_owned(), source };
    let size = std::fs::metadata(path).map_err(failed)?.len();
    if size > MAX_FILE_BYTES {
        let reason = format!("it has {size} bytes, more than the {MAX_FILE_BYTES} of a PEM file");
        return Err(unreadable(path, reason));
    }
    std::fs::read_to_string(path).map_err(failed)
}

fn certificates(
    role: &'static str,
    pem: &str,
    origin: &Path,
) -> Result<Vec<CertificateDer<'static>>, TransportError> {
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem.as_bytes()).collect();
    match found {
        Ok(found) if !found.is_empty() => Ok(found),
        _ => Err(TransportError::Empty { role, origin: name(origin), want: "CERTIFICATE" }),
    }
}

/// What each certificate of a file says.
fn described(
    certificates: &[CertificateDer<'_>],
    origin: &Path,
) -> Result<Vec<Described>, TransportError> {
    let described: Result<_, _> = certificates.iter().map(Described::of).collect();
    described.map_err(|reason| unreadable(origin, reason))
}

fn first_end(described: &[Described]) -> i64 {
    described.iter().map(|certificate| certificate.ends).min().unwrap_or(i64::MAX)
}
