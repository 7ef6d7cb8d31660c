mod suite;
mod writing;

use bytes::Bytes;
use openraft::storage::{IOFlushed, RaftLogReader, RaftLogStorage};
use openraft::type_config::TypeConfigExt;

use super::*;
use crate::log::disk::lossy::LossyDisk;
use crate::raft::log_writer::LogWriter;
use crate::raft::types::{Command, Payload};
use crate::raft::wire::log_id;
use higuma_model::ClusterId;

const OWNER: Identity = Identity { cluster: ClusterId(7), node: 1 };
const SMALL: Options = Options { segment_bytes: 8192, prepare_ahead: false, syncs: true };

fn start(disk: &LossyDisk, existing: bool) -> (LogStorage, LogWriter) {
    LogStorage::start(disk.clone(), OWNER, SMALL, existing, ()).unwrap()
}

fn command(index: u64, length: usize) -> Entry {
    let bytes = Bytes::from(vec![index as u8; length]);
    Entry { log_id: log_id(1, index), payload: Payload::Command(Command(bytes)) }
}

type Synced = tokio::sync::oneshot::Receiver<io::Result<()>>;

/// Appends, and returns what will be told once it is durable.
async fn append(storage: &mut LogStorage, entries: Vec<Entry>) -> (io::Result<()>, Synced) {
    let (sender, synced) = Types::oneshot();
    (storage.append(entries, IOFlushed::signal(sender)).await, synced)
}

async fn append_durably(storage: &mut LogStorage, entries: Vec<Entry>) -> io::Result<()> {
    let (queued, synced) = append(storage, entries).await;
    queued?;
    synced.await.map_err(io::Error::other)?
}

async fn entries(storage: &mut LogStorage) -> Vec<Entry> {
    storage.get_log_reader().await.try_get_log_entries(..).await.unwrap()
}
