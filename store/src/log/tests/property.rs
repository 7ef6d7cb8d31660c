//! Nothing acknowledged is ever lost, and what a crash leaves always opens.

use super::super::disk::lossy::Fault;
use super::*;

/// Disks, each with a history of its own.
const SEEDS: u64 = 1500;
/// Starts of the process in one history.
const LIVES: usize = 12;

fn any_batch(random: &mut Random, contents: &Contents) -> Batch {
    let mut batch = Batch::default();
    let mut last = contents.last();
    for _ in 0..=random.below(6) {
        let body = random.bytes(8);
        match random.below(12) {
            0 => batch.push(Record::Vote(&body)),
            1 => batch.push(Record::Committed(&body)),
            2 => {
                let Some(index) = last.filter(|i| Some(*i) > contents.purged) else { continue };
                let floor = contents.purged.map_or(0, |i| i + 1);
                let keep = floor + random.below((index - floor) as usize + 1) as u64;
                last = keep.checked_sub(1).max(contents.purged);
                batch.push(Record::TruncateAfter { index: last });
            }
            3 if random.chance(30) => {
                let Some(index) = last else { continue };
                // Now and then past the end, as after a snapshot from the leader.
                let index = if random.chance(20) { index + 5 } else { index.saturating_sub(3) };
                if Some(index) <= contents.purged {
                    continue;
                }
                batch.push(Record::Purge { index, id: &body });
                return batch;
            }
            _ => {
                let length = if random.chance(10) { 1500 } else { 200 };
                let index = last.map_or(0, |i| i + 1);
                let entry = random.below(length);
                batch.push(Record::Append { index, entry: &random.bytes(entry) });
                last = Some(index);
            }
        }
    }
    batch
}

/// The batch that was being written may have got through up to any of its records.
fn is_possible(found: &Contents, known: &Contents, in_flight: &Batch) -> bool {
    let mut possible = known.clone();
    if *found == possible {
        return true;
    }
    in_flight.records().any(|record| {
        possible.apply(&record);
        *found == possible
    })
}

fn live_and_die(seed: u64, options: Options) {
    let mut random = Random(seed);
    let mut disk = LossyDisk::new(seed ^ 0xdead);
    let (mut known, mut in_flight) = (Contents::default(), Batch::default());
    let mut existing = false;
    for life in 0..LIVES {
        let fault = if random.chance(70) { Fault::PowerCut } else { Fault::Error };
        let faulty_start = random.chance(30);
        if faulty_start {
            disk.fail_after(random.below(10) as u64, fault);
        }
        match open(&disk, options, existing) {
            Ok((mut log, found)) => {
                assert!(
                    is_possible(&found, &known, &in_flight),
                    "seed {seed}, life {life}: last {:?}, known {:?}, in flight {} records",
                    found.last(),
                    known.last(),
                    in_flight.len(),
                );
                (known, in_flight, existing) = (found, Batch::default(), true);
                if !faulty_start {
                    disk.fail_after(random.below(60) as u64, fault);
                }
                for _ in 0..random.below(25) {
                    let next = any_batch(&mut random, &known);
                    if log.commit(&next).is_err() {
                        in_flight = next;
                        let error = log.commit(&entry(0, 1)).map(drop);
                        assert!(matches!(error, Err(CommitError::Failed(_))), "seed {seed}");
                        break;
                    }
                    known.apply_all(&next);
                }
            }
            Err(OpenError::Io { .. }) if faulty_start => {}
            Err(error) => panic!("seed {seed}, life {life}: does not open: {error}"),
        }
        disk = if random.chance(75) { disk.power_cycle() } else { disk.process_killed() };
    }
}

#[test]
fn loses_nothing_acknowledged_and_always_opens() {
    for seed in 0..SEEDS {
        live_and_die(seed, SMALL);
    }
}

#[test]
fn loses_nothing_acknowledged_with_segments_prepared_ahead() {
    for seed in 0..SEEDS / 4 {
        live_and_die(seed, Options { prepare_ahead: true, ..SMALL });
    }
}

/// The disk must be able to lose what is not synced, or the tests above say nothing.
#[test]
fn the_disk_bites() {
    let lost = (0..20).filter(|seed| {
        let disk = LossyDisk::new(*seed);
        let file = disk.create("a").unwrap();
        disk.sync_names().unwrap();
        file.write_at(&[1; 4096], 0).unwrap();
        disk.power_cycle().read("a").unwrap() != [1; 4096]
    });
    assert!(lost.count() > 10);
}

#[test]
fn damage_in_the_acknowledged_middle_is_refused() {
    for seed in 0..100 {
        let mut random = Random(seed);
        let (disk, log) = log_of(4 + random.below(20) as u64, 1 + random.below(900));
        drop(log);
        // Any byte of any frame but the very last one.
        let names = disk.list().unwrap();
        let mut spans: Vec<_> = names
            .iter()
            .filter(|name| segment::seq(name).is_some())
            .flat_map(|name| frames(&disk, name).into_iter().map(move |f| (name, f)))
            .collect();
        spans.pop();
        let (name, (start, frame)) = &spans[random.below(spans.len())];
        let at = start + random.below(frame.end - start);
        let zeroed = random.chance(30);
        disk.tamper(name, |bytes| {
            if zeroed {
                bytes[*start..frame.end].fill(0);
            } else {
                bytes[at] ^= 1 << random.below(8);
            }
        });
        let error = open(&disk, SMALL, true).map(|(_, contents)| contents.last());
        assert!(
            matches!(error, Err(OpenError::Damaged { .. })),
            "seed {seed}: {name} at {at}: {error:?}"
        );
    }
}
