//! KDS: how resources travel between the global control plane and its zones.
//!
//! Kuma's wire (delta discovery messages around `KumaResource`, one wildcard subscription a type),
//! and on it what Higuma adds: batches that become visible at once, resume from a version, fencing.
//! The cores ([`Sender`], [`Receiver`] and their plain forms for Kuma's own control planes) do no
//! IO; [`server`] and [`client`] drive them over tonic. Nothing here writes a store: batches go to
//! an [`Inbox`](inbox::Inbox).
//!
//! ```text
//! Snapshot ──Sender──► responses ══ gRPC ══► Receiver ──Batch──► Inbox (one transaction)
//!                  ◄── ACK, NACK ══════════◄
//! ```

mod adoption;
pub mod batch;
mod client;
mod hello;
pub mod inbox;
mod messages;
mod mutant;
pub mod plain;
mod receiver;
mod sender;
mod server;
pub mod spec;
pub mod wire;

#[cfg(test)]
mod convergence;
#[cfg(test)]
mod loopback;
#[cfg(test)]
mod testing;

pub use adoption::{Named, Offer};
pub use client::{AdoptError, Adoption, BadAddress, Client, ClientState, LookError, client};
pub use hello::Hello;
pub use mutant::Mutant;
pub use receiver::{Action, Fence, ReceiveError, Receiver};
pub use sender::{SendError, Sender, Standing};
pub use server::{KEEPALIVE, KEEPALIVE_TIMEOUT, MAX_MESSAGE_BYTES, server, tuned};

/// The messages of `proto/`: Kuma's packages and Higuma's.
#[expect(
    unused_qualifications,
    clippy::too_many_lines,
    reason = "generated from proto/ by build.rs"
)]
pub mod proto {
    include!(concat!(env!("OUT_DIR"), "/proto.rs"));
}
