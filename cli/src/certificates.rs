//! A folder of certificates: `ca.pem`, and `NAME.pem` with `NAME-key.pem` for each holder.

use std::path::{Path, PathBuf};
use std::time::Duration;

use higuma_serve::Transport;
use higuma_serve::pki::{Authority, Issued, Subject, write_certificate, write_key};

use crate::failure::Failure;

/// The CA's certificate in a folder.
pub(crate) fn ca(folder: &Path) -> PathBuf {
    folder.join("ca.pem")
}

/// Certificate and key of a holder, in a folder.
pub(crate) fn of(folder: &Path, name: &str) -> (PathBuf, PathBuf) {
    (folder.join(format!("{name}.pem")), folder.join(format!("{name}-key.pem")))
}

/// Adds an address, IP or DNS name, that others reach a holder by.
pub(crate) fn add_address(subject: &mut Subject, address: &str) {
    match address.parse() {
        Ok(ip) => subject.ips.push(ip),
        Err(_) => subject.dns.push(address.to_owned()),
    }
}

/// Whether a word may be an address in a certificate.
pub(crate) fn is_address(word: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | ':');
    !word.is_empty() && word.len() <= 253 && word.chars().all(plain)
}

/// A certificate for each subject, each seen to be one that the CA's certificate vouches for.
pub(crate) fn issue(
    authority: &Authority,
    subjects: &[Subject],
    validity: Duration,
) -> Result<Vec<Issued>, Failure> {
    let ca = authority.certificate_pem();
    let issue = |subject: &Subject| {
        let failed = |why: String| {
            Failure::refused(format!(
                "cannot make a certificate for {}: {why}",
                subject.common_name
            ))
        };
        let issued = authority.issue(subject, validity).map_err(|why| failed(why.to_string()))?;
        // A CA's key that is not its certificate's would show only when a process starts.
        Transport::from_pem(ca, &issued.certificate_pem, &issued.key_pem)
            .and_then(|transport| transport.check_own())
            .map_err(|why| failed(why.to_string()))?;
        Ok(issued)
    };
    subjects.iter().map(issue).collect()
}

/// Writes them under their subjects' common names. The certificate first: whoever reads the two
/// in between has a key that does not fit, and waits.
pub(crate) fn write(folder: &Path, subjects: &[Subject], issued: &[Issued]) -> Result<(), Failure> {
    let failed = |error| Failure::refused(format!("{error}"));
    for (subject, issued) in subjects.iter().zip(issued) {
        let (certificate, key) = of(folder, &subject.common_name);
        write_certificate(&certificate, &issued.certificate_pem).map_err(failed)?;
        write_key(&key, &issued.key_pem).map_err(failed)?;
    }
    Ok(())
}
