//! What the log takes, and what it refuses before it writes.

use super::super::disk::lossy::Fault;
use super::*;

#[test]
fn a_record_too_large_is_refused_before_anything_is_written() {
    let (disk, mut log) = log_of(1, 10);
    let before = disk.operations();
    let mut large = entry(1, 10);
    large.absorb(entry(2, 4000));
    let error = log.commit(&large).unwrap_err().to_string();
    assert_eq!(error, "a record of 4013 bytes is larger than the 1680 that the log takes");
    let vote = log.commit(&batch(&[Record::Vote(&[1; 65])])).unwrap_err();
    assert!(matches!(vote, CommitError::TooLarge { bytes: 65, limit: 64 }), "{vote}");
    assert_eq!(disk.operations(), before);
    log.commit(&entry(1, 1680 - 13)).unwrap();
    drop(log);
    assert_eq!(reopen(&disk.power_cycle()).1.last(), Some(1));
}

#[test]
fn a_long_batch_becomes_several_frames_each_synced() {
    let (disk, mut log) = log_of(0, 0);
    let mut long = batch(&[Record::Vote(&[1; 64])]);
    (0..20).for_each(|index| long.absorb(entry(index, 500)));
    let written = log.commit(&long).unwrap();
    assert!(written.syncs.len() >= 7, "{written:?}");
    drop(log);
    let (_, contents) = reopen(&disk.power_cycle());
    assert_eq!((contents.entries.len(), contents.last()), (20, Some(19)));
}

#[test]
fn a_batch_with_a_hole_is_refused() {
    let (disk, mut log) = log_of(3, 10);
    let before = disk.operations();
    let error = log.commit(&entry(5, 10)).unwrap_err().to_string();
    assert_eq!(error, "the log must stay dense: entry 5 where 3 must follow");
    assert_eq!(disk.operations(), before);
    log.commit(&entry(3, 10)).unwrap();
}

#[test]
fn any_error_poisons() {
    for step in 0..2 {
        let (disk, mut log) = log_of(3, 10);
        disk.fail_after(step, Fault::Error);
        let first = log.commit(&entry(3, 10)).unwrap_err();
        assert!(matches!(first, CommitError::Io { .. }), "{first}");
        let before = disk.operations();
        let second = log.commit(&entry(3, 10)).unwrap_err();
        assert_eq!(second.to_string(), format!("the log failed earlier: {first}"));
        assert_eq!(disk.operations(), before, "nothing more is written");
    }
}

#[test]
fn the_segment_size_may_change_between_starts() {
    let (disk, log) = log_of(9, 300);
    drop(log);
    let options = Options { segment_bytes: 4096, ..SMALL };
    let (mut log, _) = open(&disk, options, true).unwrap();
    (9..40).for_each(|index| drop(log.commit(&entry(index, 300)).unwrap()));
    drop(log);
    let (_, contents) = open(&disk.power_cycle(), SMALL, true).unwrap();
    assert_eq!(contents.entries.len(), 40);
}
