//! Which node to connect to, how, and how long to wait between tries.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tonic::transport::{Channel, Endpoint, Uri};

use super::Ended;
use crate::server::{KEEPALIVE, KEEPALIVE_TIMEOUT};

/// A node that does not take a connection in this time is passed over.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);

/// Where an address names no port.
const HTTPS: u16 = 443;

/// Pauses between tries: the first is short, since another node most likely serves; the last
/// bounds how late a zone notices that its global is back.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LAST_PAUSE: Duration = Duration::from_secs(5);

/// An address of the global that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadAddress {
    #[error("no address of the global is given: name at least one, host:port")]
    None,
    #[error("global address {address:?}: {why}")]
    Unusable { address: String, why: String },
}

#[derive(Clone)]
pub(super) struct Dialer {
    endpoints: Vec<Endpoint>,
    tls: Option<Arc<ClientConfig>>,
    at: usize,
}

impl Dialer {
    pub(super) fn new(
        addresses: &[String],
        tls: Option<Arc<ClientConfig>>,
    ) -> Result<Self, BadAddress> {
        let endpoints: Result<Vec<Endpoint>, BadAddress> = addresses
            .iter()
            .map(|address| {
                endpoint(address, tls.is_some())
                    .map_err(|why| BadAddress::Unusable { address: address.clone(), why })
            })
            .collect();
        let endpoints = endpoints?;
        if endpoints.is_empty() {
            return Err(BadAddress::None);
        }
        // Zones start at different nodes, so that one node does not serve them all.
        let at = random() as usize % endpoints.len();
        Ok(Self { endpoints, tls, at })
    }

    pub(super) fn len(&self) -> usize {
        self.endpoints.len()
    }

    /// Moves on to the next node, and names it.
    pub(super) fn next(&mut self) -> String {
        self.at = (self.at + 1) % self.endpoints.len();
        let uri = self.endpoints[self.at].uri().to_string();
        if self.tls.is_some() { uri.replacen("http:", "https:", 1) } else { uri }
    }

    pub(super) async fn connect(&self) -> Result<Channel, Ended> {
        let endpoint = &self.endpoints[self.at];
        let connected = match self.tls.clone() {
            None => endpoint.connect().await,
            Some(config) => {
                let encrypt = tower::service_fn(move |uri| encrypted(config.clone(), uri));
                endpoint.connect_with_connector(encrypt).await
            }
        };
        connected.map_err(|error| {
            let mut why = error.to_string();
            let mut source = std::error::Error::source(&error);
            while let Some(cause) = source {
                why = format!("{why}: {cause}");
                source = cause.source();
            }
            Ended::Broken(why)
        })
    }
}

/// A connection whose other end is verified by what `config` trusts at this moment.
async fn encrypted(
    config: Arc<ClientConfig>,
    uri: Uri,
) -> io::Result<TokioIo<TlsStream<TcpStream>>> {
    let invalid = |why: String| io::Error::new(io::ErrorKind::InvalidInput, why);
    let host = uri.host().unwrap_or_default().trim_matches(['[', ']']).to_owned();
    let name = ServerName::try_from(host.clone()).map_err(|error| invalid(error.to_string()))?;
    let port = uri.port_u16().unwrap_or(HTTPS);
    let stream = TcpStream::connect((host.as_str(), port)).await?;
    stream.set_nodelay(true)?;
    Ok(TokioIo::new(TlsConnector::from(config).connect(name, stream).await?))
}

fn endpoint(address: &str, tls: bool) -> Result<Endpoint, String> {
    let (encrypted, rest) = match address.split_once("://") {
        Some(("grpcs" | "https", rest)) => (true, rest),
        Some(("grpc" | "http", rest)) => (false, rest),
        Some((scheme, _)) => {
            return Err(format!("scheme {scheme} is none of grpcs, https, grpc and http"));
        }
        None => (tls, address),
    };
    match (encrypted, tls) {
        (true, false) => {
            return Err("it is encrypted, but no CA to verify it with is given".to_owned());
        }
        (false, true) => return Err("it is plain, but TLS is configured".to_owned()),
        (true, true) | (false, false) => {}
    }
    // tonic refuses `https` where somebody else encrypts, so it is only the origin.
    let endpoint = Endpoint::from_shared(format!("http://{rest}"));
    let endpoint = endpoint.map_err(|error| error.to_string())?;
    let endpoint = if encrypted {
        let origin: Result<Uri, _> = format!("https://{rest}").parse();
        endpoint.origin(origin.map_err(|error| error.to_string())?)
    } else {
        endpoint
    };
    Ok(endpoint
        .connect_timeout(CONNECT_TIMEOUT)
        .http2_keep_alive_interval(KEEPALIVE)
        .keep_alive_timeout(KEEPALIVE_TIMEOUT)
        .keep_alive_while_idle(true))
}

/// Doubling pauses with jitter.
#[derive(Debug, Default)]
pub(super) struct Backoff {
    tries: u32,
}

impl Backoff {
    pub(super) fn next(&mut self) -> Duration {
        let pause = pause(self.tries, random());
        self.tries = self.tries.saturating_add(1);
        pause
    }
}

/// Between half and all of the doubled pause, so that zones do not come back in step.
fn pause(tries: u32, random: u32) -> Duration {
    let whole = FIRST_PAUSE.saturating_mul(1 << tries.min(16)).min(LAST_PAUSE);
    whole.mul_f64(0.5 + 0.5 * f64::from(random) / f64::from(u32::MAX))
}

/// Without randomness all zones would move in step, which only costs speed.
fn random() -> u32 {
    getrandom::u32().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_within_bounds() {
        assert_eq!(pause(0, 0), FIRST_PAUSE / 2);
        assert_eq!(pause(0, u32::MAX), FIRST_PAUSE);
        assert_eq!(pause(2, u32::MAX), FIRST_PAUSE * 4);
        assert_eq!(pause(u32::MAX, u32::MAX), LAST_PAUSE);
    }

    #[test]
    fn addresses_say_whether_they_are_encrypted() {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let tls = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(rustls::RootCertStore::empty())
            .with_no_client_auth();
        let tls = Arc::new(tls);
        for (address, tls, expected) in [
            ("global-1:5685", None, Ok("http://global-1:5685/")),
            ("global-1:5685", Some(tls.clone()), Ok("https://global-1:5685/")),
            ("grpc://global-1:5685", None, Ok("http://global-1:5685/")),
            ("grpcs://global-1:5685", Some(tls.clone()), Ok("https://global-1:5685/")),
            ("grpcs://global-1:5685", None, Err("no CA to verify it")),
            ("http://global-1:5685", Some(tls.clone()), Err("plain, but TLS")),
            ("ftp://global-1:5685", None, Err("scheme ftp is none of")),
            ("a b", None, Err("a b")),
        ] {
            match (Dialer::new(&[address.to_owned()], tls), expected) {
                (Ok(mut dialer), Ok(uri)) => assert_eq!(dialer.next(), uri),
                (Err(error), Err(text)) => {
                    assert!(error.to_string().contains(text), "{address}: {error}");
                }
                (found, expected) => {
                    panic!("{address}: {:?}, expected {expected:?}", found.map(|mut d| d.next()))
                }
            }
        }
        assert_eq!(Dialer::new(&[], None).err(), Some(BadAddress::None));
    }
}
