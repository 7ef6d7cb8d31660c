//! Calls to the zone's control plane: its addresses, how they are trusted, and one bounded POST.
//! What is said is `bootstrap`'s and `lifecycle`'s.

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use http::StatusCode;
use reqwest::{Certificate, Client};
use serde::Serialize;

use crate::call::{self, reason};

/// Replicas of one zone: three, and room for a change of them.
const MAX_ADDRESSES: usize = 16;
/// The whole of a call: the control plane writes to its store before it answers.
const CALL_TIMEOUT: Duration = Duration::from_secs(10);
/// A bootstrap is some 10 KiB; the largest part of it is the document, of 1 MiB at most.
const MAX_ANSWER_BYTES: usize = 4 << 20;

/// The zone's control plane: one or more replicas, any of which serves any proxy.
#[derive(Clone, Debug)]
pub struct ControlPlane {
    addresses: Vec<String>,
    scheme: &'static str,
    client: Client,
}

/// What is wrong with the addresses or with how they are trusted.
#[derive(Debug, thiserror::Error)]
pub enum ControlPlaneError {
    #[error("--cp: `{0}` is no address: give HOST:PORT, for example 127.0.0.1:5678 or [::1]:5678")]
    Address(String),
    #[error("--cp: {0} addresses are more than the {MAX_ADDRESSES} replicas a zone may have")]
    TooMany(usize),
    #[error(
        "the control plane is reached with TLS: give its CA with --tls-ca FILE (or HIGUMA_TLS_CA), or --plaintext where it is on this host"
    )]
    NoCa,
    #[error("--tls-ca and --plaintext exclude each other: leave one out")]
    Both,
    #[error(
        "--plaintext is for loopback only, and `{0}` may be another host: give the control plane's CA with --tls-ca FILE"
    )]
    Plaintext(String),
    #[error("--tls-ca: cannot read {}: {source}", path.display())]
    ReadCa { path: PathBuf, source: std::io::Error },
    #[error(
        "--tls-ca: {} holds no certificate that can be used{reason}: it must be PEM, with a `-----BEGIN CERTIFICATE-----` block",
        path.display()
    )]
    Ca { path: PathBuf, reason: String },
    #[error("cannot make an HTTP client: {0}")]
    Client(String),
}

/// An answer, whatever its status.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    /// Without parameters; empty where there is none.
    pub(crate) media_type: String,
    pub(crate) body: Vec<u8>,
}

impl ControlPlane {
    /// `addresses` are HOST:PORT. TLS with the CA in `ca`; without TLS only where `plaintext` is
    /// asked for and every address is loopback.
    ///
    /// # Errors
    /// Names the flag that is wrong.
    pub fn new(
        addresses: &[String],
        ca: Option<&PathBuf>,
        plaintext: bool,
    ) -> Result<Self, ControlPlaneError> {
        if addresses.len() > MAX_ADDRESSES {
            return Err(ControlPlaneError::TooMany(addresses.len()));
        }
        let addresses: Vec<_> = addresses.iter().map(|a| a.trim().to_owned()).collect();
        for address in &addresses {
            if host(address).is_none() {
                return Err(ControlPlaneError::Address(address.clone()));
            }
        }
        let (roots, scheme) = match (ca, plaintext) {
            (Some(_), true) => return Err(ControlPlaneError::Both),
            (None, false) => return Err(ControlPlaneError::NoCa),
            (Some(path), false) => (certificates(path)?, "https"),
            (None, true) => match addresses.iter().find(|address| !is_loopback(address)) {
                Some(address) => return Err(ControlPlaneError::Plaintext(address.clone())),
                None => (Vec::new(), "http"),
            },
        };
        let client = call::client(roots, CALL_TIMEOUT).map_err(ControlPlaneError::Client)?;
        Ok(Self { addresses, scheme, client })
    }

    /// The replicas, in the order of the flag.
    pub fn addresses(&self) -> &[String] {
        &self.addresses
    }

    /// One call to one replica.
    ///
    /// # Errors
    /// Why there is no answer, for a log line.
    pub(crate) async fn post(
        &self,
        address: &str,
        path: &str,
        body: &impl Serialize,
    ) -> Result<Answer, String> {
        let url = format!("{}://{address}{path}", self.scheme);
        let request = self.client.post(url).header(http::header::ACCEPT, "application/json");
        let answer = request.json(body).send().await.map_err(|error| reason(&error))?;
        let media_type = answer.headers().get(http::header::CONTENT_TYPE);
        let media_type = media_type.and_then(|value| value.to_str().ok()).unwrap_or_default();
        let media_type = media_type.split(';').next().unwrap_or_default().trim().to_owned();
        let status = answer.status();
        let body = call::body(answer, MAX_ANSWER_BYTES).await?;
        Ok(Answer { status, media_type, body })
    }
}

fn certificates(path: &PathBuf) -> Result<Vec<Certificate>, ControlPlaneError> {
    let pem = std::fs::read(path)
        .map_err(|source| ControlPlaneError::ReadCa { path: path.clone(), source })?;
    let unusable = |reason: String| ControlPlaneError::Ca { path: path.clone(), reason };
    let found = Certificate::from_pem_bundle(&pem).map_err(|e| unusable(format!(" ({e})")))?;
    if found.is_empty() { Err(unusable(String::new())) } else { Ok(found) }
}

/// The host of `HOST:PORT`, without an IPv6 address's brackets.
fn host(address: &str) -> Option<&str> {
    let (host, port) = address.rsplit_once(':')?;
    port.parse::<u16>().ok().filter(|port| *port != 0)?;
    if let Some(inner) = host.strip_prefix('[') {
        let inner = inner.strip_suffix(']')?;
        return inner.parse::<std::net::Ipv6Addr>().ok().map(|_| inner);
    }
    let plain = host.chars().all(|c| c.is_ascii_alphanumeric() || "._-".contains(c));
    (plain && !host.is_empty()).then_some(host)
}

fn is_loopback(address: &str) -> bool {
    let Some(host) = host(address) else { return false };
    host == "localhost"
        || host.parse::<IpAddr>().is_ok_and(|address| address.to_canonical().is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(addresses: &[&str], ca: Option<&str>, plaintext: bool) -> String {
        let addresses: Vec<_> = addresses.iter().map(|&a| a.to_owned()).collect();
        let ca = ca.map(PathBuf::from);
        ControlPlane::new(&addresses, ca.as_ref(), plaintext).expect_err("refused").to_string()
    }

    #[test]
    fn loopback_may_be_plaintext() {
        let addresses = ["127.0.0.2:5678", "[::1]:5678", "localhost:1", "[::ffff:127.0.0.1]:1"];
        let addresses = addresses.map(str::to_owned);
        let control_plane = ControlPlane::new(&addresses, None, true).expect("loopback");
        assert_eq!(control_plane.addresses(), addresses);
    }

    #[test]
    fn what_is_wrong_is_said_with_its_flag() {
        struct Case {
            addresses: &'static [&'static str],
            ca: Option<&'static str>,
            plaintext: bool,
            says: &'static str,
        }
        let case = |addresses, ca, plaintext, says| Case { addresses, ca, plaintext, says };
        let here = concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml");
        let no_port = "--cp: `east` is no address: give HOST:PORT";
        for case in [
            case(&["east"], None, true, no_port),
            case(&["https://east:5678"], None, true, "--cp: `https://east:5678` is no address"),
            case(&["east:0"], None, true, "--cp: `east:0` is no address"),
            case(&["::1:5678"], None, true, "--cp: `::1:5678` is no address"),
            case(&[""], None, true, "--cp: `` is no address"),
            case(&["a:1"; 17], None, true, "--cp: 17 addresses are more than the 16"),
            case(&["127.0.0.1:1"], None, false, "give its CA with --tls-ca FILE"),
            case(&["127.0.0.1:1"], Some(here), true, "--tls-ca and --plaintext exclude"),
            case(&["127.0.0.1:1", "east:1"], None, true, "loopback only, and `east:1` may be"),
            case(&["10.0.0.1:1"], None, true, "loopback only, and `10.0.0.1:1` may be"),
            case(
                &["east:1"],
                Some("/nowhere/ca.pem"),
                false,
                "--tls-ca: cannot read /nowhere/ca.pem",
            ),
            case(
                &["east:1"],
                Some(here),
                false,
                "Cargo.toml holds no certificate that can be used",
            ),
        ] {
            let error = refused(case.addresses, case.ca, case.plaintext);
            assert!(error.contains(case.says), "{error}");
        }
    }
}
