//! What every Higuma process needs to run: owned tasks and signals, logging, TLS material, the
//! diagnostics port, listeners, and one HTTP server.
//!
//! It knows nothing of meshes, stores or protocols, and decides nothing: it is the edge that the
//! binaries are wired with. REST and gRPC share nothing else.

pub mod diagnostics;
pub mod flags;
pub mod http;
mod incoming;
pub mod listen;
pub mod logging;
pub mod mutant;
pub mod pki;
mod rest;
pub mod tasks;
pub mod transport;

pub use axum;

pub use diagnostics::{Metrics, Readiness};
pub use http::{HttpServer, Peer};
pub use incoming::incoming;
pub use rest::{Https, RestListeners};
pub use tasks::Tasks;
pub use transport::{ClientAuth, Transport, TransportPaths, install_crypto_provider};
