//! DNS for `.mesh`: what a zone answers for the host names of its services.
//!
//! ```text
//! Snapshot ──► NameTable ──┐
//! query ──────────────────►├─ answer ──► address | empty | no such name
//!                          └─ any other domain ──► Forwarder ──► the system's name servers
//! ```
//!
//! [`NameTable`] and [`answer`] are pure; [`serve`] brings them to a UDP and a TCP socket, with the
//! same answers. One that does not fit a datagram is cut there, marked as truncated, and whole over
//! TCP. Not here: who allocates addresses (`model::vip`, written by the zone's registrar).

mod answer;
mod forward;
mod metrics;
mod names;
mod reply;
mod server;
mod tcp;

pub use answer::{Answer, Query, QueryType, answer};
pub use forward::{Forwarder, MAX_FORWARDS, NoResolver};
pub use metrics::QueryCounts;
pub use names::NameTable;
pub use server::{ServeError, Sockets, serve};
pub use tcp::{IDLE_TIMEOUT, MAX_CONNECTIONS};
