//! Snapshot files: the state of a node at one entry of the log, so that the log before it can go.
//!
//! ```text
//! 00000000000186a0-0000000000000003.snap   entry 100,000 of term 3; the two newest are kept
//! building.tmp                             being written; means nothing
//! 6f1c..e2.part                            being received, named by its digest; goes on after a cut
//! 0000000000014c08-0000000000000003.damaged  put aside when it did not check out
//! ```
//! Written aside, synced, renamed, the folder synced, and read back: only then is a file counted,
//! and only what is counted lets the log be purged.

mod backup;
mod error;
mod files;
mod frame;
mod part;
mod state;

pub use self::backup::{Backup, BackupError, Stamp, write_backup};
pub use self::error::SnapshotError;
pub use self::files::Counts;
pub(crate) use self::files::{Found, Kept, Snapshots};
pub(crate) use self::frame::Digest;
pub use self::frame::Passing;
pub(crate) use self::part::{CHUNK_BYTES_MAX, Part, Received, SNAPSHOT_BYTES_MAX};
pub(crate) use self::state::{Place, State};

#[cfg(feature = "testing")]
pub(crate) mod testing;
#[cfg(test)]
mod tests;
