//! The replicated, versioned snapshot: log, state machine and Raft.

mod identity;
mod log;
mod raft;

#[cfg(feature = "testing")]
pub mod testing;

mod proto {
    tonic::include_proto!("higuma.store.v1");
}
