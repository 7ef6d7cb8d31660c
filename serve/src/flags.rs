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

/// Who is served by REST, beside the plain port.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "REST over HTTPS, and who may call it")]
pub struct RestFlags {
    /// REST over HTTPS. It is served where there is a certificate: --https-cert or --tls-cert.
    #[arg(long, env = "HIGUMA_HTTPS_PORT", value_name = "PORT", default_value_t = 5682)]
    pub https_port: u16,
    /// The address to listen on for HTTPS [default: that of --bind].
    #[arg(long, env = "HIGUMA_HTTPS_BIND", value_name = "IP")]
    pub https_bind: Option<IpAddr>,
    /// PEM file of the certificate, and its intermediates, that HTTPS shows, where operators trust
    /// another CA than control planes do [default: --tls-cert].
    #[arg(long, env = "HIGUMA_HTTPS_CERT", value_name = "FILE", requires = "https_key")]
    pub https_cert: Option<PathBuf>,
    /// PEM file of that certificate's private key [default: --tls-key].
    #[arg(long, env = "HIGUMA_HTTPS_KEY", value_name = "FILE", requires = "https_cert")]
    pub https_key: Option<PathBuf>,
    /// Whether callers on the loopback of this host are administrators without a token. Make an
    /// administrator's token before this is switched off.
    #[arg(
        long,
        env = "HIGUMA_LOCALHOST_IS_ADMIN",
        value_name = "BOOL",
        default_value_t = true,
        action = clap::ArgAction::Set
    )]
    pub localhost_is_admin: bool,
    /// YAML file that binds users and groups to meshes and types, to read or to write; changes are
    /// followed. It is the same on all nodes. Without it only administrators get anything.
    #[arg(long, env = "HIGUMA_ROLES", value_name = "FILE")]
    pub roles: Option<PathBuf>,
}

/// Where plain REST and diagnostics listen: the address itself if it is loopback, else 127.0.0.1.
pub fn plaintext_ip(bind: IpAddr) -> IpAddr {
    if bind.is_loopback() { bind } else { IpAddr::from([127, 0, 0, 1]) }
}

/// A size such as `512MiB`, `1GiB` or a number of bytes, for clap.
///
/// # Errors
/// In words, when it is none.
pub fn byte_size(text: &str) -> Result<u64, String> {
    let wrong = || "use a size such as 512MiB, 1GiB or a number of bytes".to_owned();
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let number: u64 = text[..end].parse().map_err(|_| wrong())?;
    let unit: u64 = match &text[end..] {
        "" => 1,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        _ => return Err(wrong()),
    };
    match number.checked_mul(unit) {
        Some(bytes) if bytes > 0 => Ok(bytes),
        _ => Err("must be more than zero, and less than 16 million GiB".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_a_unit_or_are_bytes() {
        for (text, bytes) in [("1", 1), ("4KiB", 4096), ("512MiB", 512 << 20), ("2GiB", 2 << 30)] {
            assert_eq!(byte_size(text), Ok(bytes), "{text}");
        }
        for text in ["", "0", "MiB", "1MB", "1 MiB", "-1", "1.5GiB", "99999999999GiB"] {
            assert!(byte_size(text).is_err(), "{text}");
        }
    }
}
