//! rustls configurations that show and trust what the files hold now, and the task that looks at
//! the files.
//!
//! A configuration is made once. What it shows and whom it trusts is asked for at each handshake,
//! so listeners and clients need not know that anything changed.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{ResolvesClientCert, Resumption};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{ClientHello, NoServerSessionStorage, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{
    ClientConfig, DigitallySignedStruct, DistinguishedName, Error, ServerConfig, SignatureScheme,
};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use tokio::sync::watch;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use super::expiry::Reminders;
use super::material::{Material, Pem, provider};
use super::{ClientAuth, Transport, TransportError, TransportPaths};

/// Between two looks at the files: three small reads. A renewed certificate need not be used
/// sooner, and who tries out a rotation should not have to wait.
const LOOK: Duration = Duration::from_secs(2);

/// Files that cannot be used are named in the log at the second look that finds them so, since
/// the three are never replaced at one instant, and then again after this many.
const LOOKS_PER_LINE: u32 = 300;

/// What is shown and trusted now.
pub(super) struct Current {
    pub(super) paths: TransportPaths,
    /// The files are what these come from; else they came from memory and stay.
    pub(super) from_files: bool,
    /// A URI that the own certificate must carry.
    pub(super) holder: Option<String>,
    pub(super) material: watch::Sender<Arc<Material>>,
    /// Whether what the files hold now is not what is used.
    pub(super) refused: AtomicBool,
}

impl fmt::Debug for Current {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Current").field("paths", &self.paths).finish_non_exhaustive()
    }
}

impl Current {
    pub(super) fn now(&self) -> Arc<Material> {
        self.material.borrow().clone()
    }

    /// Takes what the files hold, if it is new and can be used; says whether it is new.
    fn take(&self) -> Result<bool, TransportError> {
        let pem = Pem::read(&self.paths)?;
        if pem == self.now().pem {
            return Ok(false);
        }
        let material = Material::parse(pem, &self.paths)?;
        material.trusts_itself(&self.paths, UnixTime::now())?;
        if let Some(uri) = &self.holder {
            material.is_held_by(uri, &self.paths.cert)?;
        }
        self.material.send_replace(Arc::new(material));
        Ok(true)
    }
}

/// Looks at the files, and remembers what was said.
pub(super) struct Watcher {
    current: Arc<Current>,
    /// Why the files cannot be used, and how many looks found that.
    trouble: Option<(String, u32)>,
    reminders: Reminders,
}

/// What a look found.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Found {
    Same,
    New,
    /// They may be about to be replaced.
    Doubtful,
    Refused(String),
}

impl Watcher {
    pub(super) fn new(current: Arc<Current>) -> Self {
        Self { current, trouble: None, reminders: Reminders::default() }
    }

    pub(super) fn look(&mut self) -> Found {
        let found = match self.current.take() {
            Ok(false) => self.settled(Found::Same),
            Ok(true) => self.settled(Found::New),
            Err(error) => self.doubted(error.to_string()),
        };
        self.reminders.remind(&self.current.paths, &self.current.now());
        found
    }

    fn settled(&mut self, found: Found) -> Found {
        self.trouble = None;
        let was_refused = self.current.refused.swap(false, Ordering::Relaxed);
        let files = &self.current.paths;
        if found == Found::New {
            tracing::info!(?files, "TLS files changed: new connections use them");
        } else if was_refused {
            tracing::info!(?files, "TLS files are again what is used");
        }
        found
    }

    fn doubted(&mut self, why: String) -> Found {
        let looks = match &self.trouble {
            Some((same, looks)) if *same == why => looks.saturating_add(1),
            _ => 1,
        };
        self.trouble = Some((why.clone(), looks));
        if looks == 1 {
            return Found::Doubtful;
        }
        self.current.refused.store(true, Ordering::Relaxed);
        if looks == 2 || looks.is_multiple_of(LOOKS_PER_LINE) {
            tracing::warn!(
                why,
                "TLS files changed and cannot be used: the ones before stay in use, until a restart"
            );
        }
        Found::Refused(why)
    }
}

impl Transport {
    /// Follows the files until `stop`: what they hold is used by new connections within some
    /// seconds, and what cannot be used is said in the log and left aside. Certificates that end
    /// soon are said too.
    ///
    /// # Errors
    /// None: what is used goes on being used.
    pub async fn follow(self, stop: CancellationToken) -> anyhow::Result<()> {
        if !self.current.from_files {
            stop.cancelled().await;
            return Ok(());
        }
        if let Err(error) = self.check_own() {
            tracing::warn!(%error, "others will refuse this process");
        }
        let mut watcher = Watcher::new(self.current);
        let mut looks = tokio::time::interval(LOOK);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = stop.cancelled() => return Ok(()),
                _ = looks.tick() => {}
            }
            // Files may be on a disk that hangs.
            let looked = tokio::task::spawn_blocking(move || {
                watcher.look();
                watcher
            });
            tokio::select! {
                () = stop.cancelled() => return Ok(()),
                looked = looked => watcher = looked?,
            }
        }
    }

    /// For a server: shows our certificate, and trusts clients of our CA. Which protocols it
    /// offers by ALPN is set by the callers.
    pub(super) fn server(&self, auth: ClientAuth, alpn: &[&[u8]]) -> Arc<ServerConfig> {
        let builder = ServerConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .expect("invariant: ring supports the default TLS versions");
        let clients = Clients { current: self.current.clone(), mandatory: true };
        let builder = match auth {
            ClientAuth::Required => builder.with_client_cert_verifier(Arc::new(clients)),
            ClientAuth::Optional => {
                builder.with_client_cert_verifier(Arc::new(Clients { mandatory: false, ..clients }))
            }
            ClientAuth::None => builder.with_no_client_auth(),
        };
        let mut config = builder.with_cert_resolver(Arc::new(Shown(self.current.clone())));
        config.alpn_protocols = alpn.iter().map(|name| name.to_vec()).collect();
        // A resumed session would bring back a peer whose CA is not trusted any more.
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
        Arc::new(config)
    }

    /// For a client: shows our certificate, and trusts servers of our CA.
    pub(super) fn client(&self, alpn: &[&[u8]]) -> Arc<ClientConfig> {
        let mut config = ClientConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .expect("invariant: ring supports the default TLS versions")
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(Servers(self.current.clone())))
            .with_client_cert_resolver(Arc::new(Shown(self.current.clone())));
        config.alpn_protocols = alpn.iter().map(|name| name.to_vec()).collect();
        config.resumption = Resumption::disabled();
        Arc::new(config)
    }
}

/// Our certificate.
#[derive(Debug)]
struct Shown(Arc<Current>);

impl ResolvesServerCert for Shown {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.0.now().certified.clone())
    }
}

impl ResolvesClientCert for Shown {
    fn resolve(&self, _: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        Some(self.0.now().certified.clone())
    }

    fn has_certs(&self) -> bool {
        true
    }
}

/// Who may call.
#[derive(Debug)]
struct Clients {
    current: Arc<Current>,
    mandatory: bool,
}

impl ClientCertVerifier for Clients {
    fn client_auth_mandatory(&self) -> bool {
        self.mandatory
    }

    /// None: they would have to outlive a change of the file, and our clients have one certificate.
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        self.current.now().clients.verify_client_cert(leaf, intermediates, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.current.now().clients.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.current.now().clients.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.current.now().clients.supported_verify_schemes()
    }
}

/// Who may be called.
#[derive(Debug)]
struct Servers(Arc<Current>);

impl ServerCertVerifier for Servers {
    fn verify_server_cert(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        self.0.now().servers.verify_server_cert(leaf, intermediates, name, ocsp, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.0.now().servers.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.0.now().servers.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.now().servers.supported_verify_schemes()
    }
}
