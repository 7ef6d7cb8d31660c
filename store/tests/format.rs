//! A data folder that a newer version wrote: refused with the file and the format, and not touched.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use higuma_model::{
    Audience, Draft, Key, Labels, Operation, Owner, RequestId, Spec, Terms, Timestamp, Transaction,
};
use higuma_store::{OpenError, Options, Retention, Store, Timers, testing};
use higuma_testkit::poll_until;

const PATIENCE: Duration = Duration::from_secs(30);
/// Where `store/src/log/frame.rs` puts them.
const FORMAT_AT: usize = 8;
const SEQ: std::ops::Range<usize> = 16..24;
const SALT: std::ops::Range<usize> = 56..60;
const CRC_AT: usize = 60;
const FIRST_FRAME_AT: usize = 64;
/// A spec that is found in the file again.
const SPEC: &str = r#"{"routing":{"localityAwareLoadBalancing":true}}"#;

/// So little that one write makes a snapshot.
const LITTLE: Retention = Retention { entries: 1, bytes: 1, keep: 0, room: 0 };

async fn open(folder: &Path) -> Result<Store, OpenError> {
    open_keeping(folder, Retention::default()).await
}

async fn open_keeping(folder: &Path, retention: Retention) -> Result<Store, OpenError> {
    let options = Options {
        folder: folder.to_owned(),
        node: 1,
        members: BTreeMap::from([(1, "127.0.0.1:1".to_owned())]),
        listener: None,
        tls: None,
        timers: Timers::default(),
        mutant: None,
    };
    Store::open_with(options, retention).await
}

/// A folder with one write in it: in its log, and in a snapshot where `retention` says so.
async fn folder(retention: Retention) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let store = open_keeping(folder.path(), retention).await.unwrap();
    let draft = Draft {
        key: Key::mesh_resource("default"),
        audience: Audience::AllZones,
        labels: Labels::new(),
        spec: Spec::Json(SPEC.into()),
        status: None,
    };
    let transaction = Transaction {
        id: RequestId { at: Timestamp(1), random: 1 },
        at: Timestamp(1),
        writer: Owner::Global,
        demands: vec![],
        checks: vec![],
        operations: vec![Operation::Put(draft)],
        terms: Terms::default(),
    };
    let written = async || store.write(&transaction).await;
    poll_until("a write", PATIENCE, written, Result::is_ok).await.unwrap().unwrap();
    let counts = async || store.snapshot_counts();
    let holds = store.own_state().applied_index;
    let built = |index| index >= holds || retention.entries > holds;
    poll_until("a snapshot", PATIENCE, counts, |c| built(c.last_index)).await.unwrap();
    store.shutdown().await;
    folder
}

/// Every file and its bytes.
fn contents(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(contents(&path));
        } else {
            found.insert(path.clone(), fs::read(&path).unwrap());
        }
    }
    found
}

fn change(path: &Path, change: impl Fn(&mut Vec<u8>)) {
    let mut bytes = fs::read(path).unwrap();
    change(&mut bytes);
    fs::write(path, bytes).unwrap();
}

fn newer_segment(bytes: &mut [u8]) {
    bytes[FORMAT_AT] = 2;
    let crc = crc32fast::hash(&bytes[..CRC_AT]);
    bytes[CRC_AT..CRC_AT + 4].copy_from_slice(&crc.to_le_bytes());
}

fn newest_snapshot(folder: &Path) -> PathBuf {
    let mut names = contents(&folder.join("snapshots")).into_keys();
    names.rfind(|path| path.extension().is_some_and(|e| e == "snap")).unwrap()
}

/// See `store/src/snapshot/frame.rs`.
fn newer_snapshot(bytes: &mut [u8]) {
    bytes[FORMAT_AT] = 2;
    let end = 16 + u32::from_le_bytes(bytes[12..16].try_into().unwrap()) as usize;
    let crc = crc32fast::hash(&bytes[..end]);
    bytes[end..end + 4].copy_from_slice(&crc.to_le_bytes());
}

/// Makes the command that holds [`SPEC`] one of format 2, in a frame that is whole.
fn newer_command(bytes: &mut [u8]) {
    let spec = bytes.windows(SPEC.len()).position(|part| part == SPEC.as_bytes()).unwrap();
    let mut at = FIRST_FRAME_AT;
    loop {
        let length = u32::from_le_bytes(bytes[at + 4..at + 8].try_into().unwrap()) as usize;
        let end = at + 24 + length;
        if spec < end {
            // The body begins where its CRC-32 stands after the format byte.
            let framed = (at + 24..spec).rev().find(|from| {
                bytes[*from] == 1
                    && (spec + SPEC.len()..=end).any(|to| {
                        let crc = crc32fast::hash(&bytes[from + 5..to]);
                        bytes[from + 1..from + 5] == crc.to_le_bytes()
                    })
            });
            bytes[framed.unwrap()] = 2;
            let mut crc = crc32fast::Hasher::new();
            for part in [SEQ, SALT, at + 4..at + 16, at + 20..end] {
                crc.update(&bytes[part]);
            }
            let crc = crc.finalize();
            bytes[at + 16..at + 20].copy_from_slice(&crc.to_le_bytes());
            return;
        }
        at = end.next_multiple_of(8);
    }
}

#[tokio::test]
async fn a_folder_of_a_newer_version_is_refused_and_left_as_it_is() {
    let newer_identity = |bytes: &mut Vec<u8>| {
        let text = String::from_utf8(bytes.clone()).unwrap();
        *bytes = text.replace("\"format\":1", "\"format\":2,\"new\":[]").into_bytes();
    };
    let segment = "log/0000000000000001.wal";
    for (file, make_newer) in [
        ("identity", &newer_identity as &dyn Fn(&mut Vec<u8>)),
        (segment, &|bytes: &mut Vec<u8>| newer_segment(bytes)),
        ("snapshots", &|bytes: &mut Vec<u8>| newer_snapshot(bytes)),
    ] {
        let folder = folder(LITTLE).await;
        let path = match file {
            "snapshots" => newest_snapshot(folder.path()),
            _ => folder.path().join(file),
        };
        change(&path, make_newer);
        let before = contents(folder.path());
        let Err(error) = open(folder.path()).await else { panic!("{file}: opened") };
        let error = error.to_string();
        for text in [
            path.to_str().unwrap(),
            "has format 2, this program knows format 1",
            "Start that version again",
        ] {
            assert!(error.contains(text), "{file}: {text:?} is not in {error}");
        }
        assert!(contents(folder.path()) == before, "{file}: something was written");
    }
}

#[tokio::test]
async fn a_command_of_a_newer_version_stops_the_store() {
    let folder = folder(Retention::default()).await;
    change(&folder.path().join("log/0000000000000001.wal"), |bytes| newer_command(bytes));
    let why = match open(folder.path()).await {
        Ok(store) => tokio::time::timeout(PATIENCE, store.failed()).await.unwrap().to_string(),
        Err(error) => error.to_string(),
    };
    assert!(why.contains("format 2 is not known to this version; upgrade this node"), "{why}");
}

/// Written by the first version that had snapshots. Never to be written anew: a node of today must
/// read what that version left on its disk.
#[test]
fn a_snapshot_of_format_1_is_read() {
    let golden = include_bytes!("golden/snapshot-1.snap");
    assert_eq!(testing::reads_snapshot_file(golden), Ok(true));
    let now = testing::snapshot_file().unwrap();
    assert!(now == golden, "written differently now: give it a new format, or mend this");
}
