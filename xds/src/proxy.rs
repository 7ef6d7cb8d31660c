//! Who asks for a configuration, and what is wrong with what it asked for.

use std::fmt;
use std::sync::Arc;

use higuma_model::Key;

/// A proxy: the key of its Dataplane or ZoneIngress, and the zone that serves it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proxy {
    pub key: Key,
    pub kind: ProxyKind,
    pub zone: Arc<str>,
    /// Its host routes the addresses of `.mesh` names to itself, so Envoy is to listen on them.
    pub bind_outbounds: bool,
}

/// What a proxy is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProxyKind {
    /// Beside a workload.
    Sidecar,
    /// Where a zone's traffic from other zones comes in.
    Ingress,
}

/// The certificate of a proxy, its key, and the roots that it trusts, each PEM. Empty
/// ([`Identity::default`]) where the mesh has no mTLS, and for ingresses, which terminate no TLS.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Identity {
    pub cert_chain_pem: Arc<[u8]>,
    pub key_pem: Arc<[u8]>,
    pub ca_pem: Arc<[u8]>,
}

impl Identity {
    pub fn is_empty(&self) -> bool {
        self.cert_chain_pem.is_empty() || self.key_pem.is_empty() || self.ca_pem.is_empty()
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Identity(..)")
    }
}

/// Something that the configuration leaves out, and why. Shown by `inspect`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Problem {
    /// The resource that is at fault.
    pub key: Key,
    pub message: String,
}

impl Problem {
    pub(crate) fn new(key: &Key, message: impl Into<String>) -> Self {
        Self { key: key.clone(), message: message.into() }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.key, self.message)
    }
}
