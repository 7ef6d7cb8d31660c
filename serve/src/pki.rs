//! A small certificate authority: ECDSA P-256 keys, for the lab, for tests and for a first
//! cluster. Certificates serve both sides of mutual TLS.
//!
//! It is not a mesh's CA: that one lives in the control plane's state.

use std::fs::OpenOptions;
use std::io::Write as _;
use std::net::IpAddr;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, SanType,
};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;
use time::OffsetDateTime;
use x509_parser::extensions::GeneralName;

/// How far `notBefore` lies in the past, so that a reader whose clock is behind by less accepts a
/// fresh certificate.
pub const CLOCK_SLACK: Duration = Duration::from_hours(1);

/// A certificate authority that can sign.
pub struct Authority {
    certificate_pem: String,
    issuer: Issuer<'static, KeyPair>,
}

/// A certificate and its private key, both PEM (the key is PKCS #8).
#[derive(Clone)]
pub struct Issued {
    pub certificate_pem: String,
    /// Secret.
    pub key_pem: String,
}

/// What a certificate says about its holder. Without any name it cannot be a server's.
#[derive(Clone, Debug, Default)]
pub struct Subject {
    /// Appears in tools that list certificates; nothing is decided by it.
    pub common_name: String,
    pub dns: Vec<String>,
    pub ips: Vec<IpAddr>,
    /// For example `spiffe://default/web`.
    pub uris: Vec<String>,
}

/// Why a certificate could not be made or written.
#[derive(Debug, thiserror::Error)]
pub enum PkiError {
    #[error("name `{0}` cannot stand in a certificate: it must be ASCII")]
    Name(String),
    #[error("the CA's certificate or key cannot be used: {0}")]
    Authority(rcgen::Error),
    #[error("cannot make a certificate: {0}")]
    Sign(rcgen::Error),
    #[error("cannot write {}: {source}", path.display())]
    Write { path: PathBuf, source: std::io::Error },
}

impl Authority {
    /// A new CA with a key of its own, valid from now (less [`CLOCK_SLACK`]) for `validity`.
    ///
    /// # Errors
    /// The system's random source or the encoder failed.
    pub fn generate(common_name: &str, validity: Duration) -> Result<Self, PkiError> {
        let key = new_key()?;
        let mut params = params(common_name, validity);
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let certificate_pem = params.self_signed(&key).map_err(PkiError::Sign)?.pem();
        Ok(Self { certificate_pem, issuer: Issuer::new(params, key) })
    }

    /// A CA from its certificate and key, as [`Authority::generate`] made them.
    ///
    /// # Errors
    /// Not PEM, or not a key that can sign.
    pub fn from_pem(certificate_pem: &str, key_pem: &str) -> Result<Self, PkiError> {
        let key = KeyPair::from_pem(key_pem).map_err(PkiError::Authority)?;
        let issuer = Issuer::from_ca_cert_pem(certificate_pem, key).map_err(PkiError::Authority)?;
        Ok(Self { certificate_pem: certificate_pem.to_owned(), issuer })
    }

    /// The CA's certificate.
    pub fn certificate_pem(&self) -> &str {
        &self.certificate_pem
    }

    /// The CA's private key. Secret.
    pub fn key_pem(&self) -> String {
        self.issuer.key().serialize_pem()
    }

    /// Issues a certificate with a new key, for both server and client authentication.
    ///
    /// # Errors
    /// A name that is not ASCII.
    pub fn issue(&self, subject: &Subject, validity: Duration) -> Result<Issued, PkiError> {
        let key = new_key()?;
        let mut params = params(&subject.common_name, validity);
        params.subject_alt_names = names(subject)?;
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        params.use_authority_key_identifier_extension = true;
        let certificate = params.signed_by(&key, &self.issuer).map_err(PkiError::Sign)?;
        Ok(Issued { certificate_pem: certificate.pem(), key_pem: key.serialize_pem() })
    }
}

/// What a certificate says, for those who decide by it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Described {
    /// Of its holder.
    pub uris: Vec<String>,
    /// Unix seconds.
    pub ends: i64,
}

impl Described {
    /// Of a certificate as it is in TLS.
    ///
    /// # Errors
    /// It is no X.509 certificate, or its names cannot be read.
    pub fn of(certificate: &CertificateDer<'_>) -> Result<Self, String> {
        let (_, parsed) = x509_parser::parse_x509_certificate(certificate)
            .map_err(|error| format!("it holds no X.509 certificate: {error}"))?;
        let names = parsed.subject_alternative_name().map_err(|error| error.to_string())?;
        let names = names.iter().flat_map(|names| &names.value.general_names);
        let uris = names.filter_map(|name| match name {
            GeneralName::URI(uri) => Some((*uri).to_owned()),
            _ => None,
        });
        Ok(Self { uris: uris.collect(), ends: parsed.validity().not_after.timestamp() })
    }

    /// Of the first certificate in PEM text.
    ///
    /// # Errors
    /// There is none.
    pub fn of_pem(pem: &str) -> Result<Self, String> {
        let first = CertificateDer::from_pem_slice(pem.as_bytes());
        Self::of(&first.map_err(|error| format!("it holds no certificate in PEM: {error}"))?)
    }
}

/// Writes a certificate, readable by everyone. An existing file is replaced at once: nobody reads
/// half of it.
///
/// # Errors
/// The file cannot be written.
pub fn write_certificate(path: &Path, pem: &str) -> Result<(), PkiError> {
    write(path, pem, 0o644)
}

/// Writes a private key with mode 0600. An existing file is replaced at once, and its older, wider
/// mode with it.
///
/// # Errors
/// The file cannot be written.
pub fn write_key(path: &Path, pem: &str) -> Result<(), PkiError> {
    write(path, pem, 0o600)
}

fn write(path: &Path, pem: &str, mode: u32) -> Result<(), PkiError> {
    let failed = |source| PkiError::Write { path: path.to_owned(), source };
    let mut new = path.as_os_str().to_owned();
    new.push(".new");
    let new = Path::new(&new);
    // Left over from a process that was killed here; its mode may be another.
    match std::fs::remove_file(new) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(failed(error)),
        _ => {}
    }
    let file = OpenOptions::new().write(true).create_new(true).mode(mode).open(new);
    let written = file.and_then(|mut file| {
        file.write_all(pem.as_bytes())?;
        file.sync_all()
    });
    written.and_then(|()| std::fs::rename(new, path)).map_err(failed)
}

fn new_key() -> Result<KeyPair, PkiError> {
    KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(PkiError::Sign)
}

fn params(common_name: &str, validity: Duration) -> CertificateParams {
    let now = OffsetDateTime::now_utc();
    let mut params = CertificateParams::default();
    params.not_before = now - CLOCK_SLACK;
    params.not_after = now + validity;
    params.distinguished_name = rcgen::DistinguishedName::new();
    // Envoy refuses a certificate whose common name is there and empty.
    if !common_name.is_empty() {
        params.distinguished_name.push(DnType::CommonName, common_name);
    }
    params
}

fn names(subject: &Subject) -> Result<Vec<SanType>, PkiError> {
    let ascii = |name: &String| {
        name.as_str().try_into().map_err(|_: rcgen::Error| PkiError::Name(name.clone()))
    };
    let mut names = Vec::new();
    for dns in &subject.dns {
        names.push(SanType::DnsName(ascii(dns)?));
    }
    names.extend(subject.ips.iter().copied().map(SanType::IpAddress));
    for uri in &subject.uris {
        names.push(SanType::URI(ascii(uri)?));
    }
    Ok(names)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    const DAY: Duration = Duration::from_hours(24);

    #[test]
    fn an_authority_survives_its_files() {
        let first = Authority::generate("lab", DAY).expect("generate");
        let again =
            Authority::from_pem(first.certificate_pem(), &first.key_pem()).expect("from_pem");
        assert_eq!(first.certificate_pem(), again.certificate_pem());
        assert!(again.issue(&Subject::default(), DAY).is_ok());
        assert!(matches!(Authority::from_pem("no", "no"), Err(PkiError::Authority(_))));
    }

    #[test]
    fn a_certificate_says_what_was_asked_for() {
        let ca = Authority::generate("lab", DAY).expect("generate");
        let uris = vec!["higuma://cluster/a/node/1".to_owned(), "spiffe://a/b".to_owned()];
        let subject = Subject { uris: uris.clone(), ..Subject::default() };
        let issued = ca.issue(&subject, DAY).expect("issue");
        let described = Described::of_pem(&issued.certificate_pem).expect("a certificate");
        assert_eq!(described.uris, uris);
        let left = described.ends - OffsetDateTime::now_utc().unix_timestamp();
        assert!((86_300..=86_400).contains(&left), "{left}");
        let of_ca = Described::of_pem(ca.certificate_pem()).expect("a certificate");
        assert!(of_ca.uris.is_empty());
        for wrong in ["", &*issued.key_pem, &issued.certificate_pem[..99]] {
            assert!(Described::of_pem(wrong).is_err());
        }
    }

    #[test]
    fn names_must_be_ascii() {
        let ca = Authority::generate("lab", DAY).expect("generate");
        let subject = Subject { dns: vec!["ヒグマ.mesh".into()], ..Subject::default() };
        let error = ca.issue(&subject, DAY).err().expect("not ASCII").to_string();
        assert_eq!(error, "name `ヒグマ.mesh` cannot stand in a certificate: it must be ASCII");
    }

    #[test]
    fn keys_are_written_for_their_owner_only() {
        let folder = tempfile::tempdir().expect("tempdir");
        let path = folder.path().join("key.pem");
        std::fs::write(&path, "old, readable by everyone").expect("write");
        write_key(&path, "new").expect("write_key");
        let mode = std::fs::metadata(&path).expect("metadata").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert_eq!(std::fs::read_to_string(&path).expect("read"), "new");

        let error = write_key(&folder.path().join("none/key.pem"), "x").expect_err("no folder");
        assert!(error.to_string().contains("none/key.pem"), "{error}");
    }
}
