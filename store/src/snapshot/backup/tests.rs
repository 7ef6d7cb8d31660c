use higuma_model::{Contents, Key, Labels, Owner, Resource, Spec};
use proptest::prelude::*;

use super::*;
use crate::snapshot::Passing;
use crate::snapshot::testing::state;

fn stamp() -> Stamp {
    Stamp { made: Timestamp(1_700_000_000_123), node: 2, program: "1.2.3".to_owned() }
}

fn bytes_of(state: &Snapshot, stamp: &Stamp) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut sink = |more: &[u8]| {
        bytes.extend_from_slice(more);
        Ok(())
    };
    write_backup(state, stamp, &mut sink).unwrap();
    bytes
}

fn decode(bytes: &[u8]) -> Result<Backup, BackupError> {
    Backup::decode(Bytes::copy_from_slice(bytes), Path::new("b"))
}

/// With one of everything.
fn full() -> Snapshot {
    state().machine.snapshot().succeeded_by(ClusterId(8))
}

/// Written by the first version that had backups. Never to be written anew: what was backed up then
/// must be read today.
#[test]
fn a_backup_of_format_1_is_read() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/backup-1.backup");
    let golden = fs::read(path).unwrap_or_default();
    let now = bytes_of(&full(), &stamp());
    if now != golden {
        let written = std::env::temp_dir().join("backup-1.backup");
        fs::write(&written, now).unwrap();
        panic!("now it is {}: give it a new format, or mend this", written.display());
    }
    let backup = decode(&golden).unwrap();
    assert_eq!((backup.state, backup.stamp), (full(), stamp()));
}

#[test]
fn a_backup_comes_back_as_it_was() {
    let bytes = bytes_of(&full(), &stamp());
    let backup = decode(&bytes).unwrap();
    assert_eq!(backup.state, full());
    assert_eq!((backup.stamp, backup.bytes), (stamp(), bytes.len() as u64));
    assert_eq!(bytes_of(&backup.state, &stamp()), bytes, "same state, same bytes");
}

#[test]
fn whatever_is_wrong_with_a_file_is_noticed_and_said() {
    let bytes = bytes_of(&full(), &stamp());
    for at in 0..bytes.len() {
        for bit in [0x01, 0x80] {
            let mut flipped = bytes.clone();
            flipped[at] ^= bit;
            assert!(decode(&flipped).is_err(), "byte {at}");
        }
        assert!(decode(&bytes[..at]).is_err(), "cut at {at}");
    }
    let said = |bytes: &[u8]| decode(bytes).map(drop).unwrap_err().to_string();
    let snapshot = crate::snapshot::testing::file().unwrap();
    let mut newer = bytes.clone();
    newer[8] = 2;
    let end = 16 + u32::from_le_bytes(newer[12..16].try_into().unwrap()) as usize;
    let crc = crc32fast::hash(&newer[..end]);
    newer[end..end + 4].copy_from_slice(&crc.to_le_bytes());
    let header = SnapshotBackup {
        cluster: cluster_bytes(full().cluster()),
        sections: vec![crate::proto::SnapshotSection { kind: 99, records: 0 }],
        ..SnapshotBackup::default()
    };
    let mut section = Vec::new();
    let mut sink = |more: &[u8]| {
        section.extend_from_slice(more);
        Ok(())
    };
    Writer::begin(&mut sink, &header).unwrap().end().unwrap();
    for (what, bytes, expected) in [
        ("empty", &b""[..], "is no backup of Higuma"),
        ("text", b"type: Mesh\nname: default\n", "is no backup of Higuma"),
        ("a snapshot", &snapshot, "is no backup of Higuma"),
        ("cut", &bytes[..bytes.len() - 1], "it ends here, in the middle"),
        ("longer", &[&bytes[..], b"x"].concat(), "bytes follow its end"),
        ("newer", &newer, "has format 2, this program knows format 1"),
        ("a newer section", &section, "intact but not understood (section 99)"),
    ] {
        let said = said(bytes);
        assert!(said.contains(expected), "{what}: {said}");
    }
    let mut flipped = bytes.clone();
    let at = flipped.len() - 100;
    flipped[at] ^= 1;
    let said = said(&flipped);
    assert!(said.contains("damaged at byte") && said.contains("take another one"), "{said}");
}

#[test]
fn what_was_understood_is_what_was_written() {
    let mut other = Contents::of(&full());
    other.resources.pop();
    // The header of one state before the sections of another, all checksums right.
    let reader = Reader::<SnapshotBackup>::open(bytes_of(&full(), &stamp()).into()).unwrap();
    let other = Snapshot::from(other);
    let header = SnapshotBackup { sections: state::sections(&other), ..reader.header };
    let mut bytes = Vec::new();
    let mut sink = |more: &[u8]| {
        bytes.extend_from_slice(more);
        Ok(())
    };
    let mut out = Writer::begin(&mut sink, &header).unwrap();
    state::write(&other, &mut out).unwrap();
    out.end().unwrap();
    let said = decode(&bytes).unwrap_err().to_string();
    assert!(said.contains("have not the hash that was written with them"), "{said}");
}

#[test]
fn who_passes_a_backup_on_knows_whether_it_was_whole() {
    let bytes = bytes_of(&full(), &stamp());
    let whole = |bytes: &[u8], step: usize| {
        let mut passing = Passing::default();
        bytes.chunks(step).for_each(|part| passing.take(part));
        passing.is_whole()
    };
    for step in [1, 7, 52, 100_000] {
        assert!(whole(&bytes, step));
        assert!(!whole(&bytes[..bytes.len() - 1], step));
        assert!(!whole(&bytes[..bytes.len() / 2], step));
    }
    assert!(!whole(b"", 1));
    let mut flipped = bytes.clone();
    flipped[100] ^= 1;
    assert!(!whole(&flipped, 10));
}

proptest! {
    // Each case writes, reads and checks several files.
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// What is restored and backed up again is the same file, but for who wrote it, when, for which
    /// cluster, and where that came from.
    #[test]
    fn backup_restore_backup_is_the_same(
        names in proptest::collection::btree_set("[a-z]{1,6}", 0..40),
        length in 0_usize..20_000,
        version in 40_u64..1000,
    ) {
        let mut contents = Contents::of(&full());
        contents.version = version;
        for (at, name) in names.iter().enumerate() {
            let spec = format!("{{\"v\":\"{}\"}}", "x".repeat(length * at % 30_000));
            let resource = contents.resources[0].as_ref().clone();
            let key = Key::new(Kind::TrafficPermission, "shop", name);
            let (owner, labels) = (Owner::Global, Labels::new());
            let spec = Spec::Json(spec.into());
            let resource = Resource { key, owner, labels, spec, modified_at: 41, ..resource };
            contents.resources.push(resource.into());
        }
        let first = Snapshot::from(contents);
        let backup = decode(&bytes_of(&first, &stamp())).unwrap();
        let restored = backup.state.succeeded_by(ClusterId(9));
        let again = decode(&bytes_of(&restored, &stamp())).unwrap();
        prop_assert_eq!(again.cluster(), ClusterId(9));
        let mut back = Contents::of(&again.state);
        back.cluster = first.cluster();
        prop_assert!(back.predecessors.pop().is_some());
        prop_assert_eq!(bytes_of(&Snapshot::from(back), &stamp()), bytes_of(&first, &stamp()));
    }
}
