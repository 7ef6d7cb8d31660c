//! The replicated, versioned snapshot: log, state machine and Raft.

mod identity;
mod log;
mod raft;

mod proto {
    tonic::include_proto!("higuma.store.v1");
}
