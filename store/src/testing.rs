//! A store that keeps little, and the durable log by itself, for programs that kill it or cut its
//! power and then look at what is left. Every entry's bytes follow from its index, so that nothing else need be remembered.

use std::io;
use std::path::Path;

use bytes::Bytes;
use openraft::storage::{IOFlushed, RaftLogReader, RaftLogStorage};
use openraft::type_config::TypeConfigExt;

use higuma_model::ClusterId;

use crate::identity::{DataFolder, Identity};
use crate::log::Options;
use crate::open::OpenError;
use crate::raft::log_storage::LogStorage;
use crate::raft::log_writer::LogWriter;
use crate::raft::types::{Command, Entry, Payload, Types};
use crate::raft::wire::log_id;
use crate::{Retention, Store};

impl Store {
    /// As [`Store::open`], with other sizes of what is kept of the log.
    pub async fn open_with(
        options: crate::Options,
        retention: Retention,
    ) -> Result<Self, OpenError> {
        Self::open_keeping(options, retention).await
    }
}

const OWNER: Identity = Identity { cluster: ClusterId(0x7e57), node: 1 };

/// A log whose entries are known beforehand.
pub struct KnownLog {
    storage: LogStorage,
    writer: LogWriter,
    length: u64,
}

impl KnownLog {
    /// Opens the log in `folder`, or creates it, and checks every entry in it. What it then holds
    /// is durable. `segment_bytes` must be a multiple of 8, 1 KiB at
    /// least.
    pub async fn open(folder: &Path, segment_bytes: u32) -> io::Result<Self> {
        let folder = DataFolder::lock(folder).map_err(io::Error::other)?;
        let options = Options { segment_bytes, ..Options::default() };
        let opened = LogStorage::open(&folder, OWNER, options);
        let (mut storage, writer) = opened.map_err(io::Error::other)?;
        let entries = storage.get_log_reader().await.try_get_log_entries(..).await?;
        for (index, entry) in (0..).zip(&entries) {
            if *entry != known(index) {
                return Err(io::Error::other(format!("entry {index} is not what was written")));
            }
        }
        Ok(Self { storage, writer, length: entries.len() as u64 })
    }

    /// How many entries the log holds.
    pub fn length(&self) -> u64 {
        self.length
    }

    /// Appends `count` entries, each on its own, and returns once all of them are durable.
    pub async fn append(&mut self, count: u64) -> io::Result<()> {
        let mut waiting = Vec::new();
        for index in self.length..self.length + count {
            let (sender, synced) = Types::oneshot();
            self.storage.append([known(index)], IOFlushed::signal(sender)).await?;
            waiting.push(synced);
        }
        for synced in waiting {
            synced.await.map_err(io::Error::other)??;
        }
        self.length += count;
        Ok(())
    }

    /// Closes the log; blocks until all is written. Fails if the log did.
    pub fn close(self) -> io::Result<()> {
        let failure = self.storage.failure();
        drop(self.storage);
        self.writer.join();
        match &*failure.borrow() {
            Some(reason) => Err(io::Error::other(reason.to_string())),
            None => Ok(()),
        }
    }
}

/// Entries of 1 to 3000 bytes, every 16th of 20 to 23 thousand: more than a page tears.
fn known(index: u64) -> Entry {
    let mixed = index.wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(29);
    let long = if index.is_multiple_of(16) { 20_000 } else { 1 };
    let bytes: Vec<u8> =
        (0..long + mixed % 3000).map(|at| (mixed >> (at % 57)) as u8 ^ at as u8).collect();
    Entry { log_id: log_id(1, index), payload: Payload::Command(Command(Bytes::from(bytes))) }
}

/// The bytes of a snapshot file whose state has one of everything: what a later version must read.
pub fn snapshot_file() -> io::Result<Vec<u8>> {
    crate::snapshot::testing::file().map_err(io::Error::other)
}

/// Whether a file is understood, and holds the state of [`snapshot_file`].
pub fn reads_snapshot_file(bytes: &[u8]) -> Result<bool, String> {
    crate::snapshot::testing::reads(bytes)
}
