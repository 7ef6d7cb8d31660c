//! What a snapshot file holds is what was written, or it is refused; and no crash leaves less than
//! what was there before.

use std::collections::BTreeSet;
use std::sync::Arc;

use bytes::Bytes;
use higuma_model::{
    Audience, Draft, Effect, Idempotency, Key, Kind, Labels, Operation, Owner, RequestId, Spec,
    Terms, Timestamp, Transaction,
};

use super::error::Broken;
use super::frame::{BLOCK_BYTES_MAX, Digest, Writer};
use super::testing::{CLUSTER, file, state};
use super::*;
use crate::identity::Identity;
use crate::log::disk::Disk;
use crate::log::disk::lossy::{Fault, LossyDisk};
use crate::log::tests::Random;
use crate::log::{Batch, Log, Options, Record};
use crate::machine::Machine;
use crate::proto;

type Files = Snapshots<LossyDisk>;

fn bytes_of(state: &State) -> (Vec<u8>, Digest) {
    let mut bytes = Vec::new();
    let digest = state
        .encode(&mut |more| {
            bytes.extend_from_slice(more);
            Ok(())
        })
        .unwrap();
    (bytes, digest)
}

fn decode(bytes: &[u8]) -> Result<State, Broken> {
    State::decode(Bytes::copy_from_slice(bytes), CLUSTER).map(|(state, _)| state)
}

fn put(index: u64, name: usize, length: usize) -> Transaction {
    let spec = format!("{{\"v\":\"{}\"}}", "x".repeat(length));
    let draft = Draft {
        key: Key::new(Kind::TrafficPermission, "default", &format!("p{name}")),
        audience: Audience::AllZones,
        labels: Labels::new(),
        spec: Spec::Json(spec.into()),
        status: None,
    };
    Transaction {
        id: RequestId { at: Timestamp(1_000), random: index },
        at: Timestamp(1_000),
        writer: Owner::Global,
        demands: vec![],
        checks: vec![],
        operations: vec![Operation::Put(draft)],
        terms: Terms::default(),
    }
}

/// The transaction of entry `index` in the history that `seed` stands for.
fn entry(seed: u64, index: u64) -> Transaction {
    let mut random = Random(seed.wrapping_mul(1_000_003) ^ index);
    let mut transaction = put(index, random.below(8), random.below(200));
    if random.chance(30) {
        let (key, request) = (random.below(9) as u128, random.below(2) as u128);
        let effects = [Effect::Created].into();
        transaction.terms.idempotency = Some(Idempotency { key, request, effects });
    }
    if random.chance(30) {
        let key = Key::new(Kind::TrafficPermission, "default", &format!("p{}", random.below(8)));
        transaction.operations = vec![Operation::Delete(key)];
    }
    transaction
}

fn apply(machine: &mut Machine, seed: u64, range: std::ops::RangeInclusive<u64>) {
    for index in range {
        if index.is_multiple_of(10) {
            machine.begin_term(index / 10 + 1, index, index);
        } else {
            machine.apply(index, &entry(seed, index));
        }
    }
}

fn at(machine: &Machine, index: u64) -> State {
    let place = Place { last: proto::LogId { term: index / 10 + 1, index }, ..state().place };
    State { place, machine: machine.clone() }
}

/// The state after entry `index`.
fn reached(index: u64) -> State {
    let mut machine = Machine::new(CLUSTER);
    apply(&mut machine, 1, 1..=index);
    at(&machine, index)
}

fn open(disk: &LossyDisk, purged: Option<u64>) -> Result<(Files, Option<State>), SnapshotError> {
    Found::read(disk.clone(), CLUSTER)?.serve(purged)
}

#[test]
fn a_state_comes_back_as_it_was_and_has_one_form() {
    let first = state();
    let (bytes, _) = bytes_of(&first);
    assert_eq!(decode(&bytes).unwrap(), first);
    assert_eq!(bytes_of(&decode(&bytes).unwrap()).0, bytes, "same state, same bytes");
    assert_eq!(file().unwrap(), bytes);
}

#[test]
fn a_snapshot_and_the_log_after_it_are_the_whole_log() {
    for seed in 0..40 {
        let cut = 1 + Random(seed).below(120) as u64;
        let (mut whole, mut until) = (Machine::new(CLUSTER), Machine::new(CLUSTER));
        apply(&mut whole, seed, 1..=150);
        apply(&mut until, seed, 1..=cut);
        let mut after = decode(&bytes_of(&at(&until, cut)).0).unwrap().machine;
        assert_eq!(after, until);
        apply(&mut after, seed, cut + 1..=150);
        assert_eq!(after, whole, "seed {seed}, cut at {cut}");
        assert_eq!(bytes_of(&at(&after, 150)).0, bytes_of(&at(&whole, 150)).0);
    }
}

#[test]
fn any_flipped_byte_is_noticed() {
    let (bytes, _) = bytes_of(&state());
    for at in 0..bytes.len() {
        for bit in [0x01, 0x80] {
            let mut flipped = bytes.clone();
            flipped[at] ^= bit;
            assert!(decode(&flipped).is_err(), "byte {at}");
        }
    }
    for length in 0..bytes.len() {
        assert!(decode(&bytes[..length]).is_err(), "cut at {length}");
    }
    let longer = [&bytes[..], &[0]].concat();
    assert!(matches!(decode(&longer), Err(Broken::Damaged { .. })));
}

#[test]
fn records_larger_than_a_block_and_many_blocks_come_back() {
    let mut machine = Machine::new(CLUSTER);
    for index in 1..=6 {
        machine
            .apply(index, &put(index, index as usize, BLOCK_BYTES_MAX - 40 + 17 * index as usize));
    }
    machine.apply(7, &put(7, 7, 900_000));
    let large = at(&machine, 7);
    let (bytes, _) = bytes_of(&large);
    assert!(bytes.len() > 9 * BLOCK_BYTES_MAX);
    assert_eq!(decode(&bytes).unwrap(), large);
}

#[test]
fn what_another_version_or_cluster_wrote_is_refused_by_name() {
    let (bytes, _) = bytes_of(&state());
    let other = State::decode(Bytes::from(bytes), higuma_model::ClusterId(8)).map(drop);
    assert!(matches!(other, Err(Broken::Foreign { .. })), "{other:?}");

    let mut out = Vec::new();
    let mut sink = |more: &[u8]| {
        out.extend_from_slice(more);
        Ok(())
    };
    let header = proto::SnapshotHeader {
        cluster: crate::codec::cluster_bytes(CLUSTER),
        last: Some(state().place.last),
        sections: vec![proto::SnapshotSection { kind: 99, records: 1 }],
        ..Default::default()
    };
    let mut writer = Writer::begin(&mut sink, &header).unwrap();
    writer.record(99, &proto::SnapshotEpoch { nonce: 1, since: 1 }).unwrap();
    writer.end().unwrap();
    assert_eq!(decode(&out).map(drop), Err(Broken::Section(99)));
    let disk = LossyDisk::new(1);
    disk.create("x.snap").unwrap();
    let error = Broken::Section(99).at(disk.path("x.snap")).to_string();
    assert_eq!(
        error,
        "/lossy/x.snap holds section 99, which this program does not know: a newer version wrote \
         it. Start that version again"
    );
}

#[test]
fn the_two_newest_are_kept_and_the_newest_is_where_a_node_starts() {
    let disk = LossyDisk::new(1);
    let (files, none) = open(&disk, None).unwrap();
    assert_eq!(none, None);
    for index in [10, 20, 30] {
        files.write(&reached(index)).unwrap();
    }
    assert_eq!(files.older_index(), Some(20));
    let names = disk.list().unwrap();
    assert_eq!(
        names,
        ["0000000000000014-0000000000000003.snap", "000000000000001e-0000000000000004.snap"]
    );
    let disk = disk.power_cycle();
    let (files, found) = open(&disk, Some(20)).unwrap();
    assert_eq!(found, Some(reached(30)));
    assert_eq!(files.older_index(), Some(20));
}

#[test]
fn a_damaged_newest_falls_back_where_the_log_reaches_and_else_says_what_is_wrong() {
    let newest = "000000000000001e-0000000000000004.snap";
    let disk = LossyDisk::new(1);
    let (files, _) = open(&disk, None).unwrap();
    files.write(&reached(20)).unwrap();
    files.write(&reached(30)).unwrap();
    disk.tamper(newest, |bytes| bytes[200] ^= 1);

    let Err(error) = open(&disk.fork(), Some(25)) else { panic!("opened with a hole") };
    let error = error.to_string();
    for text in [newest, "is damaged at byte", "To rejoin: first replace this node"] {
        assert!(error.contains(text), "{text:?} is not in {error}");
    }
    assert!(disk.list().unwrap().contains(&newest.to_owned()), "the evidence stays as it is");

    let (files, found) = open(&disk, Some(20)).unwrap();
    assert_eq!(found, Some(reached(20)));
    assert_eq!(files.older_index(), None, "the damaged one is not counted");
    assert!(disk.list().unwrap().contains(&newest.replace(".snap", ".damaged")));

    let (_, found) = open(&LossyDisk::new(2), None).unwrap();
    assert_eq!(found, None);
    let Err(error) = open(&LossyDisk::new(2), Some(9)) else { panic!("opened with nothing") };
    assert!(error.to_string().contains("the log begins after entry 9"), "{error}");
    let Err(error) = open(&disk, Some(21)) else { panic!("opened with a hole") };
    assert!(error.to_string().contains("a newer snapshot is missing"), "{error}");
}

/// Cuts the power at each operation of writing a third snapshot.
#[test]
fn a_power_cut_while_writing_leaves_the_old_ones_or_the_new_one() {
    for seed in 0..20 {
        for step in 0.. {
            let disk = LossyDisk::new(seed);
            let (files, _) = open(&disk, None).unwrap();
            files.write(&reached(10)).unwrap();
            files.write(&reached(20)).unwrap();
            disk.fail_after(step, Fault::PowerCut);
            let written = files.write(&reached(30));
            let disk = disk.power_cycle();
            let (again, found) = open(&disk, Some(10)).unwrap();
            let found = found.unwrap();
            let new = found == reached(30);
            assert!(new || (found == reached(20) && written.is_err()), "seed {seed}, step {step}");
            again.write(&reached(40)).unwrap();
            if written.is_ok() {
                break;
            }
        }
    }
}

#[tokio::test]
async fn a_transfer_cut_anywhere_goes_on_and_is_checked_as_a_whole() {
    let (bytes, digest) = bytes_of(&reached(30));
    let length = bytes.len() as u64;
    let part = |files: &Files| {
        let receiving = files.receiving.clone().try_lock_owned().unwrap();
        files.part(receiving, digest, length)
    };
    for seed in 0..10 {
        for step in 0.. {
            let mut disk = LossyDisk::new(seed);
            let (files, _) = open(&disk, None).unwrap();
            files.write(&reached(10)).unwrap();
            disk.fail_after(step, Fault::PowerCut);
            let adopted = part(&files).and_then(|mut part| {
                let io = |source| SnapshotError::Io { doing: "x", path: disk.path(""), source };
                while part.length() < length {
                    let at = part.length() as usize;
                    part.append(&bytes[at..(at + 100).min(bytes.len())]).map_err(io)?;
                }
                files.adopt(files.check(part)?)
            });
            let done = adopted.is_ok();
            drop(adopted);
            disk = disk.power_cycle();
            let (files, found) = open(&disk, None).unwrap();
            let found = found.unwrap();
            assert!(found == reached(30) || (found == reached(10) && !done), "step {step}");
            if found == reached(10) {
                // What is there may be torn: then it is sent once more from its beginning.
                let mut part = part(&files).unwrap();
                let from = part.length() as usize;
                part.append(&bytes[from..]).unwrap();
                match files.check(part) {
                    Ok(received) => drop(files.adopt(received).unwrap()),
                    Err(error) => {
                        assert!(matches!(error, SnapshotError::Damaged { .. }), "{error}")
                    }
                }
            }
            if done {
                break;
            }
        }
    }
}

#[tokio::test]
async fn a_part_goes_on_where_it_was_and_one_of_another_file_goes() {
    let disk = LossyDisk::new(1);
    let files = open(&disk, None).unwrap().0;
    let (bytes, digest) = bytes_of(&reached(30));
    let part = |digest| {
        let receiving = files.receiving.clone().try_lock_owned().unwrap();
        files.part(receiving, digest, bytes.len() as u64).unwrap()
    };
    let mut first = part(digest);
    first.append(&bytes[..300]).unwrap();
    assert!(files.receiving.try_lock().is_err(), "one at a time");
    drop(first);
    let mut again = part(digest);
    assert_eq!(again.length(), 300);
    again.append(&bytes[300..]).unwrap();
    let received = files.check(again).unwrap();
    assert_eq!(received.state, reached(30));
    drop(received);
    assert_eq!(part([9; 32]).length(), 0);
    assert_eq!(part(digest).length(), 0, "only the last one asked for stays");

    let mut wrong = part([9; 32]);
    wrong.append(&bytes).unwrap();
    let error = files.check(wrong).unwrap_err().to_string();
    assert!(error.contains("it is not the file that was announced"), "{error}");
    assert_eq!(part([9; 32]).length(), 0, "it begins again");
    drop(Arc::new(files));
}

const SMALL: Options = Options { segment_bytes: 4096, prepare_ahead: false, syncs: true };

/// A node on one disk: its log, its snapshots, and the state after the last entry.
struct Node {
    log: Log<LossyDisk>,
    files: Files,
    machine: Machine,
    last: u64,
}

impl Node {
    /// As a store starts: the newest snapshot that serves, and the log after it.
    fn start(disk: &LossyDisk, existing: bool) -> Result<Self, String> {
        let found = Found::read(disk.clone(), CLUSTER).map_err(|e| e.to_string())?;
        let (mut held, mut purged) = (BTreeSet::new(), None);
        let owner = Identity { cluster: CLUSTER, node: 1 };
        let log = Log::open(disk.clone(), owner, SMALL, existing, &mut |record| {
            match *record {
                Record::Append { index, .. } => drop(held.insert(index)),
                Record::Purge { index, .. } => purged = purged.max(Some(index)),
                _ => {}
            }
            Ok(())
        });
        let log = log.map_err(|e| e.to_string())?;
        let (files, state) = found.serve(purged).map_err(|e| e.to_string())?;
        let (mut last, mut machine) = match state {
            Some(State { place, machine }) => (place.last.index, machine),
            None => (0, Machine::new(CLUSTER)),
        };
        while held.contains(&(last + 1)) {
            last += 1;
            apply(&mut machine, 1, last..=last);
        }
        Ok(Self { log, files, machine, last })
    }

    /// Writes, builds and purges until something fails; counts in `acked` what did not.
    fn live(&mut self, random: &mut Random, acked: &mut u64) -> Result<(), String> {
        loop {
            let mut batch = Batch::default();
            let index = self.last + 1;
            batch.push(Record::Append { index, entry: &random.bytes(100) });
            self.log.commit(&batch).map_err(|e| e.to_string())?;
            (self.last, *acked) = (index, index);
            apply(&mut self.machine, 1, index..=index);
            if !random.chance(15) {
                continue;
            }
            self.files.write(&at(&self.machine, index)).map_err(|e| e.to_string())?;
            if let Some(index) = self.files.older_index() {
                let mut batch = Batch::default();
                batch.push(Record::Purge { index, id: &[1] });
                self.log.commit(&batch).map_err(|e| e.to_string())?;
            }
        }
    }
}

#[test]
fn with_snapshots_and_purges_nothing_acknowledged_is_lost_and_a_node_always_starts() {
    let mut purges = 0;
    for seed in 0..60 {
        let mut random = Random(seed);
        let mut disk = LossyDisk::new(seed);
        let (mut acked, mut existing) = (0, false);
        for _ in 0..6 {
            let node = Node::start(&disk, existing);
            let mut node = node.unwrap_or_else(|why| panic!("seed {seed}: {why}"));
            existing = true;
            assert!(node.last >= acked, "seed {seed}: {} of {acked}", node.last);
            assert_eq!(node.machine, reached(node.last).machine, "seed {seed}");
            acked = node.last;
            disk.fail_after(random.below(150) as u64, Fault::PowerCut);
            node.live(&mut random, &mut acked).unwrap_err();
            purges += usize::from(node.files.older_index().is_some());
            disk = disk.power_cycle();
        }
    }
    assert!(purges > 60, "the cuts crossed {purges} lives with purges only");
}
