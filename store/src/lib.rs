//! The replicated, versioned snapshot: log, state machine and Raft.

mod raft;

mod proto {
    tonic::include_proto!("higuma.store.v1");
}
