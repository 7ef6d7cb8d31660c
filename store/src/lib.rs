//! The replicated, versioned snapshot: openraft over a durable log, and the state machine that
//! turns its entries into versions. The only user of openraft.
//!
//! ```text
//! Store::write(Transaction) ──(leader)──► log, fdatasync on a majority ──► machine ──► Snapshot
//! Store::watch() ◄──────────────────────────────────────────── watch::Receiver<Arc<Snapshot>>
//! ```

mod cluster;
mod codec;
mod forming;
mod identity;
mod log;
mod machine;
mod metrics;
mod open;
mod options;
mod raft;
mod store;

pub use cluster::{Cluster, Divergence, Member, MemberState};
pub use codec::TooLarge;
pub use forming::FormError;
pub use identity::FolderError;
pub use machine::preview;
pub use metrics::StoreCollector;
pub use open::OpenError;
pub use options::{Mutant, NodeId, Options, Timers, Tls};
pub use raft::log_counters::LogCounts;
pub use raft::log_storage::OpenLogError;
pub use store::{Consistency, ReadError, Stopped, Store, WRITE_LIMIT, WriteError};

#[cfg(feature = "testing")]
pub mod testing;

#[expect(unreachable_pub, unused_qualifications, clippy::too_many_lines, reason = "generated")]
mod proto {
    tonic::include_proto!("higuma.store.v1");
}
