//! All globals are lost: a backup brings them back. Two of three are lost: the third goes on.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use serde_json::Value;

use super::adopt::{GLOBALS, MESH, PATIENCE, ZONES, permission};
use super::{Lab, text, until};

impl Lab {
    fn members(&self) -> String {
        let member = |n: u8| format!("{n}=127.{}.0.{n}:5684", self.base);
        (1..=3).map(member).collect::<Vec<_>>().join(",")
    }

    fn data(&self, global: &str) -> String {
        self.folder.join("data").join(global).to_str().expect("text").to_owned()
    }

    /// Loses all folders of the globals, and restores a backup.
    fn restore(&self, backup: &str) {
        self.globals_down_and(|folder| {
            std::fs::remove_dir_all(folder).expect("remove");
            if folder.ends_with(GLOBALS[0]) {
                let data = folder.to_str().expect("text");
                let members = self.members();
                let out = self.ok(&["restore", backup, "--data-dir", data, "--members", &members]);
                assert!(out.contains("as the new cluster"), "{out}");
            }
        });
        let probe = || self.run(&["get", "meshes"]);
        until("the restored globals", PATIENCE, probe, |output| output.status.success());
    }

    fn fails(&self, words: &[&str], code: i32, expected: &str) {
        let output = self.run(words);
        let err = text(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "higuma {}: {err}", words.join(" "));
        assert!(err.contains(expected), "higuma {}: {err}", words.join(" "));
    }

    /// Backs up while policies are written, and checks what comes of it.
    fn back_up_under_load(&self, file: &str) {
        let stop = AtomicBool::new(false);
        let manifest = self.folder.with_extension("load.yaml");
        thread::scope(|scope| {
            scope.spawn(|| {
                for round in 0.. {
                    if stop.load(Ordering::Relaxed) {
                        break;
                    }
                    self.apply(&manifest, &permission(&format!("load-{}", round % 7)));
                }
            });
            for _ in 0..3 {
                let out = self.ok(&["backup", file, "--force"]);
                assert!(out.starts_with("backed up cluster "), "{out}");
                self.ok(&["restore", file, "--verify"]);
            }
            stop.store(true, Ordering::Relaxed);
        });
        for number in 0..7 {
            self.run(&["delete", "traffic-permission", &format!("load-{number}")]);
        }
    }
}

fn bad_uses(lab: &Lab, file: &str) {
    let path = Path::new(file);
    let mode = std::fs::metadata(path).expect("metadata").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    lab.fails(&["backup", file], 1, "is there already; --force replaces it");
    let folder = path.parent().expect("a folder").to_str().expect("text");
    lab.fails(&["backup", folder, "--force"], 1, "is a folder");
    lab.fails(&["backup", "/no/such/folder/b"], 1, "cannot create /no/such/folder");
    let nobody = format!("127.{}.9.9:5681", lab.base);
    let other = format!("{file}.other");
    lab.fails(&["backup", &other, "--server", &nobody], 3, "no server could do it");
    lab.fails(&["backup", &other, "--server", &lab.rest(1)], 1, "back up the global");

    let bytes = std::fs::read(path).expect("read");
    let mut flipped = bytes.clone();
    flipped[bytes.len() / 2] ^= 4;
    for (bytes, expected) in [
        (&bytes[..bytes.len() / 2], "is damaged at byte"),
        (&flipped[..], "is damaged at byte"),
        (&b"type: Mesh\n"[..], "is no backup of Higuma"),
    ] {
        std::fs::write(&other, bytes).expect("write");
        lab.fails(&["restore", &other, "--verify"], 1, expected);
        let data = lab.folder.with_extension("refused");
        let data = data.to_str().expect("text");
        lab.fails(&["restore", &other, "--data-dir", data, "--members", "1=a:1"], 1, expected);
        assert!(!Path::new(data).exists());
    }
    std::fs::remove_file(&other).expect("remove");
    let (data, members) = (lab.data(GLOBALS[0]), lab.members());
    let restore = ["restore", file, "--data-dir", &data, "--members", &members];
    lab.fails(&restore, 1, "is not empty");
    let force = ["cluster", "force-new", "--data-dir", &data, "--yes"];
    lab.fails(&force, 1, "another process holds its lock");
    let left: Vec<_> = std::fs::read_dir(folder)
        .expect("list")
        .map(|name| name.expect("name").file_name().to_string_lossy().into_owned())
        .filter(|name| name.ends_with(".part"))
        .collect();
    assert_eq!(left, Vec::<String>::new());

    let piped = lab.run(&["backup", "-"]);
    assert!(piped.status.success() && piped.stdout.starts_with(b"HIGUMABK"));
}

#[test]
fn a_lost_cluster_comes_back_from_its_backup_and_a_lost_majority_from_its_survivor() {
    let lab = Lab::new();
    let manifest = lab.folder.with_extension("yaml");
    let file = lab.folder.with_extension("backup");
    let file = file.to_str().expect("text");
    lab.lab_ok(&["up", "--base", &format!("127.{}", lab.base)]);
    lab.apply(&manifest, &format!("{MESH}{}", permission("first")));
    lab.back_up_under_load(file);
    bad_uses(&lab, file);

    // What the zones have is in the backup: they go on by themselves.
    lab.zones_have(&["first"]);
    lab.ok(&["backup", file, "--force"]);
    let shown = lab.ok(&["restore", file, "--verify", "-o", "json"]);
    let shown: Value = serde_json::from_str(&shown).expect("JSON");
    let before = lab.cluster();
    assert_eq!(shown["cluster"], before["clusterId"], "{shown}");
    let kinds = ["Mesh", "Zone"].map(|kind| shown["kinds"][kind].as_u64());
    assert_eq!(kinds, [Some(1), Some(2)], "{shown}");
    lab.restore(file);
    let after = lab.cluster();
    assert_ne!(after["clusterId"], before["clusterId"]);
    lab.apply(&manifest, &permission("second"));
    lab.zones_have(&["first", "second"]);
    lab.zones_are("Online");

    // What they have seen is newer than the backup: they keep it until they are told.
    lab.restore(file);
    lab.zones_are("Fenced");
    lab.zones_have(&["first", "second"]);
    for zone in ZONES {
        let adopted = lab.adopt(zone, &["--yes"]);
        assert!(adopted.status.success(), "{adopted:?}");
    }
    lab.zones_have(&["first"]);

    // Two of three are lost.
    lab.apply(&manifest, &permission("third"));
    lab.zones_have(&["first", "third"]);
    let level = |seen: &Value| seen.pointer("/members/0/lag").and_then(Value::as_u64) == Some(0);
    until("the survivor to be level", PATIENCE, || lab.cluster(), level);
    lab.globals_down_and(|folder| match folder.ends_with(GLOBALS[0]) {
        false => std::fs::remove_dir_all(folder).expect("remove"),
        true => {
            let (data, members) = (folder.to_str().expect("text"), lab.members());
            let force = ["cluster", "force-new", "--data-dir", data, "--members", &members];
            lab.fails(&force, 1, "there is no terminal to ask");
            let out = lab.ok(&[&force[..], &["--yes"]].concat());
            assert!(out.contains("is lost: this node does not know of it"), "{out}");
        }
    });
    let apply = || lab.run(&["apply", "-f", manifest.to_str().expect("text")]);
    until("a write", PATIENCE, apply, |output| output.status.success());
    lab.apply(&manifest, &permission("fourth"));
    lab.zones_have(&["first", "fourth", "third"]);
    lab.zones_are("Online");
    lab.lab_ok(&["down"]);
}
