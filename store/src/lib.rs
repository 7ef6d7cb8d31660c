//! The replicated, versioned snapshot: log, state machine and Raft.

mod raft;

#[expect(unreachable_pub, reason = "generated")]
mod proto {
    tonic::include_proto!("higuma.store.v1");
}
