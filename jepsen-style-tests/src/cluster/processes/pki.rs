//! A CA for one run, and a certificate for each control plane. The CA's key is never written.

use std::fs::OpenOptions;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use anyhow::Context as _;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyPair, KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, SanType,
};
use time::{Duration, OffsetDateTime};

use super::folders::Folders;
use crate::cluster::Node;

/// Before and after now: a run's clocks may jump.
const VALIDITY: Duration = Duration::days(30);

/// Writes the CA's certificate, and certificate and key of each of `nodes`.
pub(super) fn certify(folders: &Folders, nodes: &[&Node]) -> anyhow::Result<()> {
    let key = new_key()?;
    let mut ca = parameters("higuma chaos");
    ca.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    ca.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    write(&folders.ca(), &ca.self_signed(&key).context("cannot make a CA")?.pem())?;
    let issuer = Issuer::new(ca, key);
    for node in nodes {
        let mut of_node = parameters(&node.name);
        of_node.subject_alt_names = vec![SanType::IpAddress(node.address)];
        of_node.is_ca = IsCa::ExplicitNoCa;
        of_node.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        of_node.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        of_node.use_authority_key_identifier_extension = true;
        let key = new_key()?;
        let signed = of_node.signed_by(&key, &issuer);
        let signed = signed.with_context(|| format!("cannot certify {}", node.name))?;
        let (certificate_path, key_path) = folders.certificate(&node.name);
        write(&certificate_path, &signed.pem())?;
        write(&key_path, &key.serialize_pem())?;
    }
    Ok(())
}

fn new_key() -> anyhow::Result<KeyPair> {
    KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).context("cannot make a key")
}

fn parameters(name: &str) -> CertificateParams {
    let now = OffsetDateTime::now_utc();
    let mut parameters = CertificateParams::default();
    (parameters.not_before, parameters.not_after) = (now - VALIDITY, now + VALIDITY);
    parameters.distinguished_name = DistinguishedName::new();
    parameters.distinguished_name.push(DnType::CommonName, name);
    parameters
}

fn write(path: &Path, pem: &str) -> anyhow::Result<()> {
    let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
    let written = file.and_then(|mut file| file.write_all(pem.as_bytes()));
    written.with_context(|| format!("cannot write {}", path.display()))
}
