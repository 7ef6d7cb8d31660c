//! The writer thread: groups, order, failure, restart.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::time::timeout;

use super::*;
use crate::log::disk::lossy::Fault;
use crate::raft::types::Peer;

#[tokio::test]
async fn everything_is_read_back_after_a_power_cut() {
    let disk = LossyDisk::new(1);
    let (mut storage, writer) = start(&disk, false);
    let vote = Vote::new_committed(4, 2);
    storage.save_vote(&vote).await.unwrap();
    let peers = [1, 2].map(|id| (id, Peer { address: format!("h{id}:1") }));
    let membership = openraft::Membership::new(vec![[1, 2].into()], BTreeMap::from(peers));
    let members = Entry { log_id: log_id(1, 0), payload: Payload::Membership(membership.unwrap()) };
    let blank = Entry { log_id: log_id(2, 6), payload: Payload::Blank { nonce: 77 } };
    append_durably(&mut storage, vec![members.clone()]).await.unwrap();
    append_durably(&mut storage, (1..10).map(|i| command(i, 900)).collect()).await.unwrap();
    storage.truncate_after(Some(log_id(1, 5))).await.unwrap();
    storage.save_committed(Some(log_id(1, 5))).await.unwrap();
    append_durably(&mut storage, vec![blank.clone()]).await.unwrap();
    let written = entries(&mut storage).await;
    assert_eq!((&written[0], &written[6], written.len()), (&members, &blank, 7));
    let disk = disk.power_cycle();
    drop(storage);
    writer.join();

    let (mut storage, writer) = start(&disk, true);
    assert_eq!(entries(&mut storage).await, written);
    assert_eq!(storage.get_log_reader().await.read_vote().await.unwrap(), Some(vote));
    assert_eq!(storage.read_committed().await.unwrap(), Some(log_id(1, 5)));
    storage.purge(log_id(1, 3)).await.unwrap();
    drop(storage);
    writer.join();

    let (mut storage, writer) = start(&disk.power_cycle(), true);
    assert_eq!(entries(&mut storage).await, written[4..]);
    let state = storage.get_log_state().await.unwrap();
    assert_eq!(state.last_purged_log_id, Some(log_id(1, 3)));
    assert_eq!(state.last_log_id, Some(log_id(2, 6)));
    drop(storage);
    writer.join();
}

#[tokio::test]
async fn what_waits_shares_one_sync() {
    let disk = LossyDisk::new(1);
    let (mut storage, writer) = start(&disk, false);
    let mut waiting = Vec::new();
    {
        let _held = disk.hold();
        for index in 0..50 {
            let (queued, synced) = append(&mut storage, vec![command(index, 10)]).await;
            queued.unwrap();
            waiting.push(synced);
        }
    }
    for synced in waiting {
        synced.await.unwrap().unwrap();
    }
    let counts = storage.counters().counts();
    assert_eq!(counts.entries, 50);
    assert!(counts.syncs <= 2, "{counts:?}");
    assert_eq!(counts.sync_buckets.iter().sum::<u64>(), counts.syncs);
    assert!(counts.bytes > 500, "{counts:?}");
    drop(storage);
    writer.join();
}

#[tokio::test]
async fn what_is_committed_takes_no_sync_and_is_there_after_a_clean_stop() {
    let disk = LossyDisk::new(1);
    let (mut storage, writer) = start(&disk, false);
    append_durably(&mut storage, vec![command(0, 10), command(1, 10)]).await.unwrap();
    let before = storage.counters().counts().syncs;
    storage.save_committed(Some(log_id(1, 1))).await.unwrap();
    assert_eq!(storage.counters().counts().syncs, before);
    drop(storage);
    writer.join();
    let (mut storage, _) = start(&disk.power_cycle(), true);
    assert_eq!(storage.read_committed().await.unwrap(), Some(log_id(1, 1)));
}

#[tokio::test]
async fn what_is_committed_is_never_on_disk_before_its_entries() {
    let disk = LossyDisk::new(1);
    let (mut storage, writer) = start(&disk, false);
    append_durably(&mut storage, vec![command(0, 10)]).await.unwrap();
    // A leader may say so before its entries have come.
    storage.save_committed(Some(log_id(1, 9))).await.unwrap();
    append_durably(&mut storage, vec![command(1, 10)]).await.unwrap();
    drop(storage);
    writer.join();
    let (mut storage, _) = start(&disk.power_cycle(), true);
    assert_eq!(storage.read_committed().await.unwrap(), None);
}

async fn raised(failure: &mut Failure) -> Arc<str> {
    let raised = timeout(Duration::from_secs(20), failure.wait_for(Option::is_some)).await;
    raised.expect("the failure is not raised").unwrap().clone().unwrap()
}

#[tokio::test]
async fn a_failure_is_told_to_all_and_raised() {
    for fault in [Fault::Error, Fault::PowerCut] {
        for step in 0..2 {
            let disk = LossyDisk::new(1);
            let (mut storage, writer) = start(&disk, false);
            let mut failure = storage.failure();
            append_durably(&mut storage, vec![command(0, 10)]).await.unwrap();
            assert_eq!(*failure.borrow_and_update(), None);
            disk.fail_after(step, fault);
            let mut waiting = Vec::new();
            for index in 1..20 {
                waiting.push(append(&mut storage, vec![command(index, 10)]).await.1);
            }
            for synced in waiting {
                let error = synced.await.expect("told").unwrap_err();
                assert!(error.to_string().contains("input/output error"), "{error}");
            }
            let raised = raised(&mut failure).await;
            let doing = ["write to", "sync"][step as usize];
            let reason = format!("cannot {doing} /lossy/0000000000000001.wal: input/output error");
            assert!(raised.starts_with(&reason), "{raised}");
            let vote = storage.save_vote(&Vote::new(9, 1)).await.unwrap_err();
            assert_eq!(vote.to_string(), *raised);
            assert_eq!(storage.get_log_reader().await.read_vote().await.unwrap(), None);
            let (queued, synced) = append(&mut storage, vec![command(20, 10)]).await;
            queued.unwrap_err();
            synced.await.expect("told").unwrap_err();
            drop(storage);
            writer.join();
            let (mut storage, _) = start(&disk.power_cycle(), true);
            assert_eq!(entries(&mut storage).await[0], command(0, 10));
        }
    }
}

#[tokio::test]
async fn a_panic_of_the_writer_is_told_and_raised() {
    let disk = LossyDisk::new(1);
    let (mut storage, writer) = start(&disk, false);
    let mut failure = storage.failure();
    disk.fail_after(0, Fault::Panic);
    let (_, synced) = append(&mut storage, vec![command(0, 10)]).await;
    synced.await.expect("told").unwrap_err();
    assert_eq!(&*raised(&mut failure).await, "the log's writer panicked");
    assert!(append_durably(&mut storage, vec![command(1, 10)]).await.is_err());
    drop(storage);
    writer.join();
}

#[tokio::test]
async fn entries_that_do_not_follow_are_refused() {
    let disk = LossyDisk::new(1);
    let (mut storage, writer) = start(&disk, false);
    append_durably(&mut storage, vec![command(0, 10)]).await.unwrap();
    for gap in [vec![command(2, 10)], vec![command(0, 10)], vec![command(1, 10), command(3, 10)]] {
        let (queued, synced) = append(&mut storage, gap).await;
        assert_eq!(queued.unwrap_err().kind(), io::ErrorKind::InvalidInput);
        synced.await.expect("told").unwrap_err();
    }
    let large = append_durably(&mut storage, vec![command(1, ENTRY_BYTES_MAX)]).await.unwrap_err();
    assert!(large.to_string().starts_with("entry 1 of 21"), "{large}");
    append_durably(&mut storage, vec![command(1, 10)]).await.unwrap();
    assert_eq!(entries(&mut storage).await.len(), 2);
    drop(storage);
    writer.join();
}

#[tokio::test]
async fn a_read_for_replication_stays_below_a_message() {
    let mut memory = Memory::default();
    memory.append((5..25).map(|index| command(index, 300 << 10)).collect());
    let some = memory.read_some(5, 25);
    assert_eq!((some.len(), some[0].log_id.index), (6, 5));
    assert_eq!(memory.read_some(24, 25).len(), 1);
    assert_eq!(memory.read_some(3, 5), []);
    assert_eq!(memory.read(..).len(), 20);
    memory.append(vec![command(25, 3 << 20)]);
    assert_eq!(memory.read_some(25, 26).len(), 1, "one at least");
}

#[test]
fn a_folder_is_free_once_the_writer_has_ended() {
    let temp = tempfile::tempdir().unwrap();
    let open = || LogStorage::open(&DataFolder::lock(temp.path())?, OWNER, SMALL);
    for _ in 0..3 {
        let (storage, writer) = open().map_err(|e: OpenLogError| e.to_string()).unwrap();
        assert!(matches!(open(), Err(OpenLogError::Folder(FolderError::Locked { .. }))));
        drop(storage);
        writer.join();
    }
    std::fs::remove_dir_all(temp.path().join("log")).unwrap();
    let Err(error) = open() else { panic!("opened without its log") };
    assert!(error.to_string().starts_with("the log is incomplete: "), "{error}");
}

/// A crash between the two steps of installing a snapshot: its file is there, the log not cut yet.
#[tokio::test]
async fn a_log_that_a_snapshot_ran_ahead_of_is_cut_at_the_start() {
    for (last, left) in [
        (log_id(2, 5), 0..0), // in the place of another entry: what follows is of no history
        (log_id(1, 5), 0..10), // in the log: nothing is to be done
        (log_id(2, 20), 0..0), // behind its end
    ] {
        let disk = LossyDisk::new(1);
        let (mut storage, writer) = start(&disk, false);
        append_durably(&mut storage, (0..10).map(|i| command(i, 300)).collect()).await.unwrap();
        storage.follow_snapshot(last).await.unwrap();
        drop(storage);
        writer.join();
        let (mut storage, writer) = start(&disk.power_cycle(), true);
        let found: Vec<u64> = entries(&mut storage).await.iter().map(|e| e.log_id.index).collect();
        assert_eq!(found, left.clone().collect::<Vec<u64>>(), "{last}");
        let state = storage.get_log_state().await.unwrap();
        let ends = if left.is_empty() { last } else { log_id(1, 9) };
        assert_eq!(state.last_log_id, Some(ends));
        let next = Entry { log_id: log_id(3, ends.index + 1), ..command(0, 10) };
        append_durably(&mut storage, vec![next]).await.unwrap();
        drop(storage);
        writer.join();
    }
}
