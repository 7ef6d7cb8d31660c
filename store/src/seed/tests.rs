//! Folders that are made: what is refused, and what a crash leaves.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use higuma_model::{Contents, Timestamp};

use super::*;
use crate::snapshot::testing::state;
use crate::snapshot::{Backup, Stamp};

fn backup() -> Backup {
    let stamp = Stamp { made: Timestamp(7), node: 2, program: "1.2.3".to_owned() };
    Backup { stamp, bytes: 0, state: state().machine.snapshot().clone() }
}

fn members(ids: &[u64]) -> BTreeMap<u64, String> {
    ids.iter().map(|id| (*id, format!("10.0.0.{id}:5684"))).collect()
}

fn names(folder: &Path) -> Vec<String> {
    let names = fs::read_dir(folder).unwrap();
    let mut names: Vec<_> =
        names.map(|name| name.unwrap().file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

#[tokio::test]
async fn a_restored_folder_holds_the_state_of_the_backup_and_nothing_else() {
    let temp = tempfile::tempdir().unwrap();
    let path = temp.path().join("data");
    let cluster = restore(&backup(), &path, 1, &members(&[1, 2, 3])).unwrap();
    assert_eq!(names(&path), ["identity", "lock", "log", "snapshots"]);
    let folder = DataFolder::lock(&path).unwrap();
    let identity = folder.identity(1).unwrap().unwrap();
    assert_eq!(identity, Identity { cluster, node: 1 });
    assert!(folder.hands_out().unwrap() && folder.had_log().unwrap());
    let found = crate::open::durable(&folder, identity, true).await.unwrap();
    let State { place, machine } = found.state.unwrap();
    let expected = backup().state.succeeded_by(cluster);
    assert_eq!(*machine.snapshot(), expected);
    assert_eq!(machine.compacted(), expected.version());
    // The next entry's version: above all that the old cluster may have given out.
    assert_eq!(machine.base() + place.last.index + 1, expected.version() + VERSIONS_LEFT_OUT + 2);
    assert_eq!(place.membership.configs[0].id, [1, 2, 3]);
    assert_eq!(place.membership.members[2].address, "10.0.0.3:5684");

    let mut same = Contents::of(machine.snapshot());
    same.cluster = backup().cluster();
    same.predecessors.clear();
    assert_eq!(Snapshot::from(same).content(), backup().state.content());
    folder.handed_out().unwrap();
    assert!(!folder.hands_out().unwrap());
    assert_eq!(folder.identity(1).unwrap(), Some(identity));
}

#[test]
fn what_cannot_be_restored_is_refused_and_leaves_nothing() {
    let temp = tempfile::tempdir().unwrap();
    let path = |name: &str| temp.path().join(name);
    fs::create_dir(path("used")).unwrap();
    fs::write(path("used").join("notes.txt"), "mine").unwrap();
    fs::create_dir_all(path("mounted").join("lost+found")).unwrap();
    fs::write(path("file"), "").unwrap();
    let said = |name: &str, node: u64, ids: &[u64]| {
        restore(&backup(), &path(name), node, &members(ids)).unwrap_err().to_string()
    };
    for (name, node, ids, expected) in [
        ("used", 1, &[1][..], "is not empty: `notes.txt` is in it"),
        ("new", 4, &[1, 2, 3], "must name node 4, which has its state: [1, 2, 3]"),
        (
            "new",
            2,
            &[1, 2, 3],
            "must be given to the node with the lowest number, 1, not to node 2",
        ),
        ("file", 1, &[1], "cannot list"),
        ("file/below", 1, &[1], "cannot "),
    ] {
        let said = said(name, node, ids);
        assert!(said.contains(expected), "{name}: {said}");
    }
    assert_eq!(names(&path("used")), ["notes.txt"]);
    assert_eq!(names(&path("new")), ["lock"]);
    restore(&backup(), &path("new"), 1, &members(&[1])).unwrap();
    restore(&backup(), &path("mounted"), 1, &members(&[1])).unwrap();
    assert!(said("new", 1, &[1]).contains("is not empty: `"));
    let _running = DataFolder::lock(&path("new")).unwrap();
    assert!(said("new", 1, &[1]).contains("is not empty"));
}

/// Old contents, and new ones that are complete.
fn between(temp: &Path) -> (DataFolder, Identity) {
    let folder = DataFolder::lock(temp).unwrap();
    let old = Identity { cluster: ClusterId(1), node: 1 };
    folder.claim(&old).unwrap();
    for name in ["log", "snapshots", "history"] {
        fs::create_dir(temp.join(name)).unwrap();
        fs::write(temp.join(name).join("old"), "").unwrap();
    }
    let new = Identity { cluster: ClusterId(2), node: 1 };
    let incoming = folder.incoming().unwrap();
    for path in [incoming.log_path().unwrap(), incoming.snapshots_path().unwrap()] {
        fs::write(path.join("new"), "").unwrap();
    }
    assert!(!folder.take_in().unwrap(), "not complete");
    incoming.complete(new, false, "before").unwrap();
    (folder, new)
}

#[test]
fn contents_are_taken_in_whole_wherever_it_was_cut_short() {
    // What a run did before it was cut short.
    let moves = [
        ("history", "before/history"),
        ("log", "before/log"),
        ("incoming/log", "log"),
        ("snapshots", "before/snapshots"),
        ("incoming/snapshots", "snapshots"),
        ("identity", "before/identity"),
        ("incoming/identity", "identity"),
    ];
    for done in 0..=moves.len() {
        let temp = tempfile::tempdir().unwrap();
        let path = temp.path();
        let (folder, new) = between(path);
        fs::create_dir(path.join("before")).unwrap();
        for (from, to) in &moves[..done] {
            fs::rename(path.join(from), path.join(to)).unwrap();
        }
        let refused = folder.identity(1).unwrap_err().to_string();
        assert!(refused.contains("was cut short in the data folder"), "{done}: {refused}");
        assert!(folder.take_in().unwrap());
        assert!(!folder.take_in().unwrap());
        assert_eq!(folder.identity(1).unwrap(), Some(new), "{done}");
        assert_eq!(names(path), ["before", "identity", "lock", "log", "snapshots"], "{done}");
        assert_eq!(names(&path.join("before")), ["history", "identity", "log", "snapshots"]);
        assert_eq!(names(&path.join("log")), ["new"]);
        assert_eq!(names(&path.join("before/snapshots")), ["old"]);
    }
}

#[test]
fn what_is_not_complete_is_never_taken_in() {
    let temp = tempfile::tempdir().unwrap();
    let (folder, _) = between(temp.path());
    fs::remove_file(temp.path().join("incoming/complete")).unwrap();
    assert!(!folder.take_in().unwrap());
    assert!(folder.identity(1).is_err(), "somebody must decide");
    folder.abandon().unwrap();
    assert_eq!(folder.identity(1).unwrap(), Some(Identity { cluster: ClusterId(1), node: 1 }));
    assert_eq!(names(&temp.path().join("log")), ["old"]);
}
