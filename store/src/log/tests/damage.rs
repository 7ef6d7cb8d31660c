//! What recovery tells apart, rule by rule.

use super::*;

fn name(seq: u64) -> String {
    segment::name(seq)
}

fn assert_damaged(disk: &LossyDisk, at: usize, context: &str) {
    match open(disk, SMALL, true) {
        Err(OpenError::Damaged { .. }) => {}
        Err(error) => panic!("{context}, byte {at}: refused as {error}"),
        Ok((_, contents)) => panic!("{context}, byte {at}: opened up to {:?}", contents.last()),
    }
}

/// What a power cut leaves of a frame.
type Tear<'a> = &'a dyn Fn(&mut Vec<u8>);

#[test]
fn a_torn_tail_is_wiped_wherever_it_was_cut() {
    let (disk, log) = log_of(3, 100);
    drop(log);
    let (start, frame) = frames(&disk, &name(1)).pop().unwrap();
    for cut in start..frame.end {
        let tears: [(&str, Tear<'_>); 3] = [
            ("the end is missing", &|bytes| bytes[cut..frame.end].fill(0)),
            ("the start is missing", &|bytes| bytes[start..=cut].fill(0)),
            ("garbage follows", &|bytes| bytes[cut..frame.end + 99].fill(0x5a)),
        ];
        for (what, tear) in tears {
            let torn = disk.fork();
            let before = torn.read(&name(1)).unwrap();
            torn.tamper(&name(1), |bytes| tear(bytes));
            let intact = torn.read(&name(1)).unwrap()[start..frame.end] == before[start..frame.end];
            let (mut log, contents) = reopen(&torn);
            let last = if intact { 2 } else { 1 };
            assert_eq!(contents.last(), Some(last), "{what} at byte {cut}");
            let end = if intact { frame.end } else { start };
            let rest = torn.read(&name(1)).unwrap();
            assert!(rest[end..].iter().all(|byte| *byte == 0), "{what} at byte {cut}: not wiped");
            log.commit(&entry(last + 1, 300)).unwrap();
            drop(log);
            let last = last + 1;
            assert_eq!(reopen(&torn.power_cycle()).1.last(), Some(last), "{what} at byte {cut}");
        }
    }
}

#[test]
fn a_flipped_bit_before_the_last_frame_is_refused() {
    let (disk, log) = log_of(12, 300);
    drop(log);
    let newest = *recovery_list(&disk).last().unwrap();
    assert!(newest >= 3, "sealed segments are needed");
    for seq in 1..=newest {
        let mut spans = vec![(0, segment::FIRST_FRAME_AT)];
        spans.extend(frames(&disk, &name(seq)).into_iter().map(|(at, frame)| (at, frame.end)));
        if seq == newest {
            spans.pop();
        }
        for at in spans.into_iter().flat_map(|(start, end)| start..end) {
            let flipped = disk.fork();
            flipped.tamper(&name(seq), |bytes| bytes[at] ^= 1 << (at % 8));
            assert_damaged(&flipped, at, &format!("segment {seq}"));
        }
    }
}

/// A write cut short and an acknowledged last frame that rotted look the same.
#[test]
fn a_flipped_bit_in_the_very_last_frame_drops_it() {
    let (disk, log) = log_of(3, 100);
    drop(log);
    let (start, frame) = frames(&disk, &name(1)).pop().unwrap();
    for at in start..frame.end {
        let flipped = disk.fork();
        flipped.tamper(&name(1), |bytes| bytes[at] ^= 1 << (at % 8));
        assert_eq!(reopen(&flipped).1.last(), Some(1), "byte {at}");
    }
}

fn recovery_list(disk: &LossyDisk) -> Vec<u64> {
    disk.list().unwrap().iter().filter_map(|name| segment::seq(name)).collect()
}

#[test]
fn a_missing_segment_is_refused() {
    let (disk, log) = log_of(20, 300);
    drop(log);
    let newest = *recovery_list(&disk).last().unwrap();
    for seq in [1, 2, newest] {
        let missing = disk.fork();
        missing.remove(&name(seq)).unwrap();
        let error = refusal(&missing);
        let OpenError::Missing { path } = &error else { panic!("segment {seq}: {error}") };
        assert_eq!(*path, missing.path(&name(seq)));
    }
}

#[test]
fn a_log_that_existed_and_is_gone_is_refused() {
    let disk = LossyDisk::new(1);
    let error = refusal(&disk).to_string();
    assert!(error.starts_with("the log is incomplete: /lossy/0000000000000001.wal"), "{error}");
}

#[test]
fn the_refusal_says_what_is_damaged_and_how_to_rejoin() {
    let (disk, log) = log_of(3, 100);
    drop(log);
    disk.tamper(&name(1), |bytes| bytes[100] ^= 1);
    assert_eq!(
        refusal(&disk).to_string(),
        "the log is damaged: /lossy/0000000000000001.wal at byte 64: the frame here is broken, and \
         a valid one follows at byte 208. This is not a write that a crash cut short: entries that \
         this node had acknowledged are lost or altered. To rejoin: first replace this node in its \
         cluster (add a node with a new id, wait until it has caught up, remove this one), and \
         only after that remove this node's data folder"
    );
}

#[test]
fn a_shortened_segment_is_refused() {
    let (disk, log) = log_of(20, 300);
    drop(log);
    let newest = *recovery_list(&disk).last().unwrap();
    for seq in [1, newest] {
        let short = disk.fork();
        short.tamper(&name(seq), |bytes| bytes.truncate(bytes.len() - 1));
        let error = refusal(&short).to_string();
        assert!(error.contains("it is 2047 bytes long, not 2048"), "{error}");
    }
}

/// Rewrites the header of segment 1, with a right checksum.
fn rewrite_header(disk: &LossyDisk, change: impl FnOnce(&mut [u8])) {
    disk.tamper(&name(1), |bytes| {
        change(&mut bytes[..60]);
        let crc = crc32fast::hash(&bytes[..60]);
        bytes[60..64].copy_from_slice(&crc.to_le_bytes());
    });
}

#[test]
fn a_segment_of_another_node_or_cluster_is_refused() {
    let (disk, log) = log_of(1, 10);
    drop(log);
    let node = disk.fork();
    rewrite_header(&node, |header| header[48] = 9);
    assert_eq!(
        refusal(&node).to_string(),
        "/lossy/0000000000000001.wal belongs to node 9 of cluster \
         00000000000000000000000000c0ffee, but this is node 3 of cluster \
         00000000000000000000000000c0ffee. Start this process with its own data folder, or put \
         back the file that was there"
    );
    rewrite_header(&disk, |header| header[32] = 0);
    assert!(matches!(refusal(&disk), OpenError::Foreign { .. }));
}

#[test]
fn another_format_is_refused() {
    let (disk, log) = log_of(1, 10);
    drop(log);
    rewrite_header(&disk, |header| header[8] = 2);
    assert_eq!(
        refusal(&disk).to_string(),
        "/lossy/0000000000000001.wal has format 2, this program knows format 1: another version \
         wrote it. Start that version again"
    );
}

#[test]
fn a_record_that_is_not_understood_is_refused() {
    let (disk, log) = log_of(2, 10);
    drop(log);
    let opened = Log::open(disk.clone(), OWNER, SMALL, true, &mut |_| Err("odd".into()));
    let Err(error) = opened else { panic!("opened") };
    assert!(error.to_string().contains("at byte 64 is intact but not understood (odd)"), "{error}");
    // An unknown kind in a frame with a right checksum.
    let bytes = disk.read(&name(1)).unwrap();
    let header = SegmentHeader::decode(&bytes).unwrap();
    let mut frame = Vec::new();
    frame::encode(&mut frame, &header, 2, 1, (&[], &[77; 13]));
    let end = frames(&disk, &name(1)).pop().unwrap().1.end;
    disk.tamper(&name(1), |bytes| bytes[end..end + frame.len()].copy_from_slice(&frame));
    assert!(matches!(refusal(&disk), OpenError::NotUnderstood { .. }));
}

/// Entries may hold anything, a copy of a log too.
#[test]
fn a_torn_entry_that_holds_frames_is_not_taken_for_damage() {
    let (other, log) = log_of(5, 20);
    drop(log);
    let image = other.read(&name(1)).unwrap()[..500].to_vec();
    let disk = LossyDisk::new(2);
    let (mut log, _) = open(&disk, SMALL, false).unwrap();
    log.commit(&batch(&[Record::Append { index: 0, entry: &image }])).unwrap();
    drop(log);
    disk.tamper(&name(1), |bytes| bytes[segment::FIRST_FRAME_AT] ^= 1);
    assert_eq!(reopen(&disk).1.last(), None);
}
