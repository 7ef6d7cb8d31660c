//! openraft's own suite for log storages, on real files, beside a state machine in memory.

use std::io;
use std::sync::{Arc, Mutex};

use futures::{Stream, TryStreamExt};
use openraft::alias::{SnapshotMetaOf, SnapshotOf, StoredMembershipOf};
use openraft::entry::RaftPayload;
use openraft::storage::{EntryResponder, RaftSnapshotBuilder, RaftStateMachine};
use openraft::testing::log::{StoreBuilder, Suite};
use openraft::{OptionalSend, StorageError};
use tempfile::TempDir;

use super::super::LogStorage;
use crate::identity::{DataFolder, Identity};
use crate::log::Options;
use crate::raft::types::{LogId, Types};
use higuma_model::ClusterId;

/// Only what the suite looks at: ids and memberships.
#[derive(Clone, Default)]
struct Machine {
    applied: Arc<Mutex<(Option<LogId>, StoredMembershipOf<Types>)>>,
    snapshot: Arc<Mutex<Option<SnapshotMetaOf<Types>>>>,
}

impl RaftSnapshotBuilder<Types> for Machine {
    type SnapshotData = ();

    async fn build_snapshot(&mut self) -> io::Result<SnapshotOf<Types, ()>> {
        let (last_log_id, last_membership) = self.applied.lock().unwrap().clone();
        let meta = SnapshotMetaOf::<Types> { last_log_id, last_membership };
        *self.snapshot.lock().unwrap() = Some(meta.clone());
        Ok(SnapshotOf::<Types, ()> { meta, snapshot: () })
    }
}

impl RaftStateMachine<Types> for Machine {
    type SnapshotData = ();
    type SnapshotBuilder = Self;

    async fn applied_state(&mut self) -> io::Result<(Option<LogId>, StoredMembershipOf<Types>)> {
        Ok(self.applied.lock().unwrap().clone())
    }

    async fn apply<S>(&mut self, mut entries: S) -> io::Result<()>
    where
        S: Stream<Item = io::Result<EntryResponder<Types>>> + Unpin + OptionalSend,
    {
        while let Some((entry, _)) = entries.try_next().await? {
            let mut applied = self.applied.lock().unwrap();
            applied.0 = Some(entry.log_id);
            if let Some(membership) = entry.payload.get_membership() {
                applied.1 = StoredMembershipOf::<Types>::new(Some(entry.log_id), membership);
            }
        }
        Ok(())
    }

    async fn get_snapshot_builder(&mut self) -> Self {
        self.clone()
    }

    async fn install_snapshot(&mut self, meta: &SnapshotMetaOf<Types>, (): ()) -> io::Result<()> {
        *self.applied.lock().unwrap() = (meta.last_log_id, meta.last_membership.clone());
        *self.snapshot.lock().unwrap() = Some(meta.clone());
        Ok(())
    }

    async fn get_current_snapshot(&mut self) -> io::Result<Option<SnapshotOf<Types, ()>>> {
        let meta = self.snapshot.lock().unwrap().clone();
        Ok(meta.map(|meta| SnapshotOf::<Types, ()> { meta, snapshot: () }))
    }
}

struct Builder;

impl StoreBuilder<Types, LogStorage, Machine, TempDir> for Builder {
    async fn build(&self) -> Result<(TempDir, LogStorage, Machine), StorageError<Types>> {
        let temp = tempfile::tempdir().unwrap();
        let folder = DataFolder::lock(temp.path()).unwrap();
        let identity = Identity { cluster: ClusterId(7), node: 1 };
        let options = Options { segment_bytes: 4096, prepare_ahead: false, ..Options::default() };
        let (storage, _) = LogStorage::open(&folder, identity, options).unwrap();
        Ok((temp, storage, Machine::default()))
    }
}

#[tokio::test]
async fn passes_the_suite_of_openraft() {
    Suite::test_all(Builder).await.unwrap();
}
