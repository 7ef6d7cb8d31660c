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
mod history;
mod identity;
mod log;
mod machine;
mod metrics;
mod open;
mod options;
mod raft;
mod room;
mod seed;
mod snapshot;
mod store;

pub use cluster::{Cluster, Divergence, Member, MemberState};
pub use codec::TooLarge;
pub use forming::FormError;
pub use history::{Change, Edit, Filter, History, HistoryError, Page, Seen, Watcher, keeps};
pub use identity::FolderError;
pub use machine::preview;
pub use metrics::StoreCollector;
pub use open::OpenError;
pub use options::{Incoming, Mutant, NodeId, Options, Timers, Tls};
pub use raft::log_counters::LogCounts;
pub use raft::log_storage::OpenLogError;
pub use raft::retention::Retention;
pub use seed::{Remains, RestoreError, SeedError, Survivor, SurvivorError, restore};
pub use snapshot::{
    Backup, BackupError, Counts as SnapshotCounts, Passing, SnapshotError, Stamp, write_backup,
};
pub use store::{Consistency, OrderError, ReadError, Stopped, Store, WRITE_LIMIT, WriteError};

#[cfg(feature = "testing")]
pub mod testing;

#[expect(
    unreachable_pub,
    unused_qualifications,
    clippy::too_many_lines,
    clippy::large_enum_variant,
    reason = "generated"
)]
mod proto {
    tonic::include_proto!("higuma.store.v1");
}
