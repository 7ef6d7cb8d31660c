//! Which node to connect to, how, and how long to wait between tries.

use std::time::Duration;

use tonic::transport::{Channel, ClientTlsConfig, Endpoint};

use super::Ended;
use crate::server::{KEEPALIVE, KEEPALIVE_TIMEOUT};

/// A node that does not take a connection in this time is passed over.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);

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
    at: usize,
}

impl Dialer {
    pub(super) fn new(
        addresses: &[String],
        tls: Option<&ClientTlsConfig>,
    ) -> Result<Self, BadAddress> {
        let endpoints: Result<Vec<Endpoint>, BadAddress> = addresses
            .iter()
            .map(|address| {
                endpoint(address, tls)
                    .map_err(|why| BadAddress::Unusable { address: address.clone(), why })
            })
            .collect();
        let endpoints = endpoints?;
        if endpoints.is_empty() {
            return Err(BadAddress::None);
        }
        // Zones start at different nodes, so that one node does not serve them all.
        let at = random() as usize % endpoints.len();
        Ok(Self { endpoints, at })
    }

    pub(super) fn len(&self) -> usize {
        self.endpoints.len()
    }

    /// Moves on to the next node, and names it.
    pub(super) fn next(&mut self) -> String {
        self.at = (self.at + 1) % self.endpoints.len();
        self.endpoints[self.at].uri().to_string()
    }

    pub(super) async fn connect(&self) -> Result<Channel, Ended> {
        let connected = self.endpoints[self.at].connect().await;
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

fn endpoint(address: &str, tls: Option<&ClientTlsConfig>) -> Result<Endpoint, String> {
    let (encrypted, rest) = match address.split_once("://") {
        Some(("grpcs" | "https", rest)) => (true, rest),
        Some(("grpc" | "http", rest)) => (false, rest),
        Some((scheme, _)) => {
            return Err(format!("scheme {scheme} is none of grpcs, https, grpc and http"));
        }
        None => (tls.is_some(), address),
    };
    let scheme = if encrypted { "https" } else { "http" };
    let endpoint = Endpoint::from_shared(format!("{scheme}://{rest}"))
        .map_err(|error| error.to_string())?
        .connect_timeout(CONNECT_TIMEOUT)
        .http2_keep_alive_interval(KEEPALIVE)
        .keep_alive_timeout(KEEPALIVE_TIMEOUT)
        .keep_alive_while_idle(true);
    match (encrypted, tls) {
        (true, Some(tls)) => endpoint.tls_config(tls.clone()).map_err(|error| error.to_string()),
        (false, None) => Ok(endpoint),
        (true, None) => Err("it is encrypted, but no CA to verify it with is given".to_owned()),
        (false, Some(_)) => Err("it is plain, but TLS is configured".to_owned()),
    }
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
        let tls = ClientTlsConfig::new();
        for (address, tls, expected) in [
            ("global-1:5685", None, Ok("http://global-1:5685/")),
            ("global-1:5685", Some(&tls), Ok("https://global-1:5685/")),
            ("grpc://global-1:5685", None, Ok("http://global-1:5685/")),
            ("grpcs://global-1:5685", Some(&tls), Ok("https://global-1:5685/")),
            ("grpcs://global-1:5685", None, Err("no CA to verify it")),
            ("http://global-1:5685", Some(&tls), Err("plain, but TLS")),
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
