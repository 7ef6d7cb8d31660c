//! Rotation and purge, cut short or failing at each of their steps.

use super::super::disk::lossy::Fault;
use super::*;

/// Power comes back to a different disk each time.
const CYCLES: u64 = 8;

fn segments(disk: &LossyDisk) -> Vec<u64> {
    disk.list().unwrap().iter().filter_map(|name| segment::seq(name)).collect()
}

/// A log whose next entry of 300 bytes rotates; and how many operations that takes.
fn about_to_rotate(seed: u64) -> (LossyDisk, Log<LossyDisk>, u64) {
    let disk = LossyDisk::new(seed);
    let (mut log, _) = open(&disk, SMALL, false).unwrap();
    log.commit(&batch(&[Record::Vote(b"vote"), Record::Committed(b"committed")])).unwrap();
    let mut index = 0;
    loop {
        let next = entry(index, 300);
        if log.plan(&next).unwrap().iter().any(|planned| planned.rotate) {
            return (disk, log, index);
        }
        log.commit(&next).unwrap();
        index += 1;
    }
}

fn rotation_operations() -> u64 {
    let (disk, mut log, index) = about_to_rotate(0);
    let before = disk.operations();
    log.commit(&entry(index, 300)).unwrap();
    disk.operations() - before
}

#[test]
fn rotation_survives_a_fault_at_each_step() {
    let steps = rotation_operations();
    assert!(
        steps >= 9,
        "create, zeros, sync, header, sync, rename, names, seal, sync, frame, sync"
    );
    for (step, cycle) in (0..steps).flat_map(|step| (0..CYCLES).map(move |c| (step, c))) {
        for fault in [Fault::PowerCut, Fault::Error] {
            let context = format!("{fault:?} at step {step}, cycle {cycle}");
            let (disk, mut log, index) = about_to_rotate(cycle);
            disk.fail_after(step, fault);
            let error = log.commit(&entry(index, 300)).unwrap_err();
            assert!(matches!(error, CommitError::Io { .. }), "{context}: {error}");
            drop(log);
            // Once more without a power cut: half of the states are in memory only.
            let disk = if cycle % 2 == 0 { disk.power_cycle() } else { disk.process_killed() };
            let (mut log, contents) = reopen(&disk);
            let last = contents.last().unwrap();
            assert!(last == index - 1 || last == index, "{context}: {last}");
            assert_eq!(contents.vote.as_deref(), Some(&b"vote"[..]), "{context}");
            for next in last + 1..last + 12 {
                log.commit(&entry(next, 300)).unwrap();
            }
            drop(log);
            let (_, contents) = reopen(&disk.power_cycle());
            assert_eq!(contents.last(), Some(last + 11), "{context}");
            assert_eq!(contents.entries.len() as u64, last + 12, "{context}");
            assert_eq!(contents.committed.as_deref(), Some(&b"committed"[..]), "{context}");
        }
    }
}

#[test]
fn a_start_survives_a_fault_at_each_step() {
    let torn = || {
        let (disk, mut log, index) = about_to_rotate(5);
        // The successor is there, the seal is not.
        disk.fail_after(7, Fault::PowerCut);
        log.commit(&entry(index, 300)).unwrap_err();
        drop(log);
        (disk.process_killed(), index - 1)
    };
    let (disk, last) = torn();
    assert_eq!(segments(&disk), [1, 2]);
    assert_eq!(reopen(&disk).1.last(), Some(last));
    let steps = disk.operations();
    assert!(steps >= 4, "remove, rewrite, sync, names");
    for step in 0..steps {
        let (disk, last) = torn();
        disk.fail_after(step, Fault::PowerCut);
        assert!(matches!(refusal(&disk), OpenError::Io { .. }), "step {step}");
        assert_eq!(reopen(&disk.power_cycle()).1.last(), Some(last), "step {step}");
    }
}

#[test]
fn an_unsealed_segment_with_data_behind_it_is_refused() {
    let (disk, log) = log_of(12, 300);
    drop(log);
    let (seal, frame) = frames(&disk, &segment::name(1)).pop().unwrap();
    disk.tamper(&segment::name(1), |bytes| bytes[seal..frame.end].fill(0));
    let error = refusal(&disk).to_string();
    assert!(error.contains("and later segments hold data"), "{error}");
}

/// The seal and the frame before it are gone, and the successor is empty: its number tells.
#[test]
fn an_unsealed_segment_that_lost_a_frame_is_refused() {
    let (disk, log) = log_of(12, 300);
    drop(log);
    disk.remove(&segment::name(3)).unwrap();
    disk.tamper(&segment::name(2), |bytes| bytes[segment::FIRST_FRAME_AT..].fill(0));
    let mut last = frames(&disk, &segment::name(1));
    let seal = last.pop().unwrap().1.end;
    let (start, _) = last.pop().unwrap();
    disk.tamper(&segment::name(1), |bytes| bytes[start..seal].fill(0));
    assert!(matches!(refusal(&disk), OpenError::Damaged { .. }));
}

/// After a failed sync its pages are clean: seen until the machine stops, and not on the disk.
#[test]
fn what_a_start_reports_is_durable_even_after_a_failed_sync() {
    for cycle in 0..CYCLES {
        let disk = LossyDisk::new(cycle);
        let (mut log, _) = open(&disk, SMALL, false).unwrap();
        log.commit(&entry(0, 100)).unwrap();
        disk.fail_after(1, Fault::Error);
        let error = log.commit(&entry(1, 100)).unwrap_err().to_string();
        let why = "cannot sync /lossy/0000000000000001.wal: input/output error. What this node";
        assert!(error.starts_with(why), "{error}");
        drop(log);
        let disk = disk.process_killed();
        let (log, contents) = reopen(&disk);
        assert_eq!(contents.last(), Some(1));
        drop(log);
        assert_eq!(reopen(&disk.power_cycle()).1.last(), Some(1), "cycle {cycle}");
    }
}

#[test]
fn a_purge_removes_whole_segments_and_nothing_else() {
    let (disk, mut log) = log_of(20, 300);
    log.commit(&batch(&[Record::Vote(b"v")])).unwrap();
    let before = segments(&disk);
    log.commit(&batch(&[Record::Purge { index: 10, id: b"ten" }])).unwrap();
    let after = segments(&disk);
    assert!(after[0] > 1 && after.len() < before.len(), "{before:?} {after:?}");
    drop(log);
    let (_, contents) = reopen(&disk.power_cycle());
    assert_eq!(contents.purged, Some(10));
    assert_eq!(contents.entries.keys().copied().collect::<Vec<_>>(), (11..20).collect::<Vec<_>>());
    assert_eq!(contents.vote.as_deref(), Some(&b"v"[..]));
}

#[test]
fn segments_go_only_once_the_purge_is_durable() {
    let (disk, mut log) = log_of(20, 300);
    let before = segments(&disk);
    // The write passes, its sync does not.
    disk.fail_after(1, Fault::Error);
    log.commit(&batch(&[Record::Purge { index: 10, id: b"ten" }])).unwrap_err();
    assert_eq!(segments(&disk), before);
    drop(log);
    assert_eq!(reopen(&disk.power_cycle()).1.entries.len(), 20);
}

#[test]
fn a_purge_survives_a_power_cut_at_each_step() {
    for (step, cycle) in (0..8).flat_map(|step| (0..CYCLES).map(move |cycle| (step, cycle))) {
        let disk = LossyDisk::new(cycle);
        let (mut log, _) = open(&disk, SMALL, false).unwrap();
        (0..20).for_each(|index| drop(log.commit(&entry(index, 300)).unwrap()));
        disk.fail_after(step, Fault::PowerCut);
        let purged = log.commit(&batch(&[Record::Purge { index: 15, id: b"id" }]));
        drop(log);
        let (_, contents) = reopen(&disk.power_cycle());
        assert_eq!(contents.last(), Some(19), "step {step}, cycle {cycle}");
        let first = contents.entries.keys().next().copied();
        assert!(first == Some(16) || (first == Some(0) && purged.is_err()), "{first:?}");
    }
}

/// Without the purge record that allowed it, a missing first segment is damage.
#[test]
fn old_segments_removed_by_hand_are_missed() {
    let (disk, mut log) = log_of(20, 300);
    log.commit(&batch(&[Record::Purge { index: 6, id: b"six" }])).unwrap();
    drop(log);
    let oldest = segments(&disk)[0];
    disk.remove(&segment::name(oldest)).unwrap();
    assert!(matches!(refusal(&disk), OpenError::Missing { .. }));
}
