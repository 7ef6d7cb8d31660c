//! Fakes and waits for tests. Only ever a dev-dependency; `tests/tidy/` checks the repository
//! itself.
//!
//! A test waits for a condition, never for time to pass, and its failure shows the last state
//! that was seen.

mod address;
mod envoy;
mod wait;

pub use address::{free_addr, loopback};
pub use envoy::{FakeEnvoy, Resources};
pub use wait::{poll_until, wait_for};
