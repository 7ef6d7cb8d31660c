//! What the Envoys of a zone run, and the protocol that brings it to them.
//!
//! ```text
//! Snapshot ──Index──► config(proxy, identity) ──► Config ──Session──► delta ADS responses
//!                                 └─► problems (shown, never fatal)
//! ```
//!
//! Pure: no IO, no clock, no random number, no async. Equal inputs give equal bytes, on every control plane of a zone.
//! Not here: streams, certificates, and when to generate (`remote`).

mod bootstrap;
mod cluster;
mod config;
mod envoy;
mod http;
mod index;
mod ingress;
mod listener;
mod names;
mod proxy;
mod rbac;
mod session;
mod sidecar;
mod tls;

pub use bootstrap::{BootstrapRequest, bootstrap};
pub use config::{Config, Encoded, ResourceType, Resources};
pub use index::{Index, Versions, available_services};
pub use proxy::{Identity, Problem, Proxy, ProxyKind};
pub use session::{MAX_NAMES, MAX_RESPONSE_BYTES, Nack, RequestError, Session};

/// What a proxy runs, and what was left out of it. Never fails: a bad policy costs that policy.
pub fn config(index: &Index, proxy: &Proxy, identity: &Identity) -> (Config, Vec<Problem>) {
    match proxy.kind {
        ProxyKind::Sidecar => sidecar::config(index, proxy, identity),
        ProxyKind::Ingress => ingress::config(index, proxy),
    }
}
