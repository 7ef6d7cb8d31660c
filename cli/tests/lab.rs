//! A lab of real processes: up, writes, a killed leader, a node that comes back, down.

#[path = "lab/adopt.rs"]
mod adopt;
#[path = "lab/disaster.rs"]
mod disaster;
#[path = "lab/restart.rs"]
mod restart;

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

/// From the leader's death to the next acknowledged write: about one second by the timers; the
/// client itself waits for three, so one call is nearly always enough on a machine that is busy.
const FAILOVER: Duration = Duration::from_secs(20);
/// A node that missed a few writes reads them in milliseconds.
const CATCH_UP: Duration = Duration::from_secs(30);

struct Lab {
    folder: PathBuf,
    /// The second number of its addresses.
    base: u32,
    _parent: tempfile::TempDir,
}

impl Lab {
    fn new() -> Self {
        let parent = tempfile::tempdir().expect("tempdir");
        // Other tests, and people, have labs on this machine too.
        let base = 128 + std::process::id() % 120;
        Self { folder: parent.path().join("lab"), base, _parent: parent }
    }

    fn run(&self, words: &[&str]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_higuma"));
        let servers: Vec<_> = (1..=3).map(|n| format!("127.{}.0.{n}", self.base)).collect();
        command.env("HIGUMA_SERVER", servers.join(",")).stdin(Stdio::null());
        command.args(words).output().expect("the binary runs")
    }

    /// The result of a command that must succeed.
    fn ok(&self, words: &[&str]) -> String {
        let output = self.run(words);
        let (out, err) = (text(&output.stdout), text(&output.stderr));
        assert!(output.status.success(), "higuma {}: {out}{err}", words.join(" "));
        out
    }

    fn lab(&self, words: &[&str]) -> Output {
        let folder = self.folder.to_str().expect("text");
        self.run(&[&["lab", "--dir", folder], words].concat())
    }

    fn lab_ok(&self, words: &[&str]) -> String {
        let output = self.lab(words);
        let (out, err) = (text(&output.stdout), text(&output.stderr));
        assert!(output.status.success(), "higuma lab {}: {out}{err}", words.join(" "));
        out
    }

    fn apply(&self, path: &Path, manifest: &str) -> String {
        std::fs::write(path, manifest).expect("write");
        self.ok(&["apply", "-f", path.to_str().expect("text")])
    }

    fn cluster(&self) -> Value {
        let text = self.ok(&["inspect", "cluster", "-o", "json"]);
        serde_json::from_str(&text).expect("JSON")
    }
}

impl Drop for Lab {
    /// A failed assertion must leave no process behind either.
    fn drop(&mut self) {
        if self.folder.join("state.json").exists() {
            self.lab(&["down"]);
        }
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn until<T: std::fmt::Debug>(
    what: &str,
    limit: Duration,
    probe: impl Fn() -> T,
    wanted: impl Fn(&T) -> bool,
) -> T {
    let end = Instant::now() + limit;
    loop {
        let seen = probe();
        if wanted(&seen) {
            return seen;
        }
        assert!(Instant::now() < end, "{what}: not within {limit:?}; last seen: {seen:?}");
    }
}

#[test]
fn a_lab_outlives_its_leader_and_leaves_nothing() {
    let lab = Lab::new();
    let manifest = lab.folder.with_extension("yaml");
    let up = lab.lab_ok(&["up", "--globals-only", "--base", &format!("127.{}", lab.base)]);
    assert!(up.contains("global-3") && up.contains("the lab is up"), "{up}");
    let again = lab.lab(&["up", "--globals-only", "--base", &format!("127.{}", lab.base)]);
    assert_eq!(again.status.code(), Some(1));
    assert!(text(&again.stderr).contains("is up already"), "{}", text(&again.stderr));

    let out = lab.apply(&manifest, "type: Mesh\nname: default\n");
    assert!(out.starts_with("created Mesh default (version "), "{out}");
    let out = lab.apply(&manifest, "type: Mesh\nname: default\n");
    assert!(out.starts_with("unchanged Mesh default"), "{out}");

    documents_are_one_transaction(&lab, &manifest);
    let leader = lab.cluster()["leader"].as_u64().expect("a leader");
    let victim = format!("global-{leader}");
    lab.lab_ok(&["kill", &victim]);
    assert!(lab.lab_ok(&["status"]).contains("dead"));
    assert_eq!(lab.lab(&["kill", &victim]).status.code(), Some(1));
    std::fs::write(&manifest, "type: Mesh\nname: after\n").expect("write");
    let path = manifest.to_str().expect("text").to_owned();
    until(
        "a write without the leader",
        FAILOVER,
        || lab.run(&["apply", "-f", &path]),
        |output| output.status.success(),
    );
    let cluster = lab.cluster();
    assert_ne!(cluster["leader"].as_u64(), Some(leader), "{cluster}");
    assert!(lab.ok(&["get", "meshes"]).contains("after"));

    lab.lab_ok(&["start", &victim]);
    let lag = format!("/members/{}/lag", leader - 1);
    until(
        "the node caught up",
        CATCH_UP,
        || lab.cluster(),
        |seen| seen.pointer(&lag).and_then(Value::as_u64) == Some(0),
    );

    lab.lab_ok(&["down", "--keep-data"]);
    assert_eq!(lab.run(&["get", "meshes"]).status.code(), Some(3));
    lab.lab_ok(&["up", "--globals-only", "--base", &format!("127.{}", lab.base)]);
    assert!(lab.ok(&["get", "meshes"]).contains("after"), "kept over a restart of all");
    lab.lab_ok(&["down"]);
    assert!(!lab.folder.exists());
}

fn permission(name: &str, service: &str) -> String {
    format!(
        "type: TrafficPermission\nname: {name}\nmesh: shop\nsources:\n\
         - match: {{kuma.io/service: {service}}}\ndestinations:\n\
         - match: {{kuma.io/service: '*'}}\n"
    )
}

fn documents_are_one_transaction(lab: &Lab, manifest: &Path) {
    let path = manifest.to_str().expect("text");
    // The mesh of the first document stands after it.
    let both = format!("{}---\ntype: Mesh\nname: shop\n", permission("a", "web"));
    std::fs::write(manifest, &both).expect("write");
    let out = lab.ok(&["apply", "-f", path, "--dry-run"]);
    assert!(out.contains("created Mesh shop (dry run)"), "{out}");
    assert!(!lab.ok(&["get", "meshes"]).contains("shop"), "a dry run wrote");
    let out = lab.apply(manifest, &both);
    let versions: Vec<_> = out.lines().filter_map(|line| line.split("(version ").nth(1)).collect();
    assert!(versions.len() == 2 && versions[0] == versions[1], "one version: {out}");

    let out = lab.apply(manifest, &permission("a", "other"));
    let change = "~ sources[0].match[\"kuma.io/service\"]: \"web\" → \"other\"";
    assert!(out.starts_with("updated ") && out.contains(change), "{out}");
    let json = lab.ok(&["apply", "-f", path, "-o", "json"]);
    let json: Value = serde_json::from_str(&json).expect("JSON");
    assert_eq!(json["operations"][0]["result"], "unchanged", "{json}");

    // One that the server refuses, and one that it would take.
    let stray = permission("c", "web").replace("shop", "none");
    std::fs::write(manifest, format!("{}---\n{stray}", permission("b", "web"))).expect("write");
    let refused = lab.run(&["apply", "-f", path]);
    let seen = text(&refused.stderr);
    assert_eq!(refused.status.code(), Some(1), "{seen}");
    assert!(seen.contains(":9:1: ") && seen.contains("Nothing was applied"), "{seen}");
    let get = ["get", "traffic-permissions", "-m", "shop"];
    assert!(!lab.ok(&get).contains("b "), "half of it was applied");
    let each = lab.run(&["apply", "-f", path, "--each"]);
    assert_eq!(each.status.code(), Some(1), "{}", text(&each.stderr));
    assert!(text(&each.stdout).starts_with("created TrafficPermission b"));

    let many: Vec<_> = (0..200).map(|n| permission(&format!("p{n}"), "web")).collect();
    std::fs::write(manifest, many.join("---\n")).expect("write");
    let refused = lab.run(&["apply", "-f", path]);
    assert_eq!(refused.status.code(), Some(1));
    assert!(text(&refused.stderr).contains("--batch"), "{}", text(&refused.stderr));
    let out = lab.ok(&["apply", "-f", path, "--batch"]);
    assert_eq!(out.lines().filter(|line| line.starts_with("created ")).count(), 200);
}

#[test]
fn a_failed_start_shows_why_and_takes_all_down() {
    let mut lab = Lab::new();
    lab.base = 8 + std::process::id() % 60;
    let base = format!("127.{}", lab.base);
    let data = lab.folder.join("data");
    // A lab that was up, and whose second node then loses what its data folder is.
    lab.lab_ok(&["up", "--globals-only", "--base", &base]);
    lab.lab_ok(&["down", "--keep-data"]);
    std::fs::remove_dir_all(data.join("global-2")).expect("remove");
    std::fs::write(data.join("global-2"), "no folder").expect("write");
    let output = lab.lab(&["up", "--globals-only", "--base", &base]);
    let seen = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{seen}");
    assert!(seen.contains("global-2 did not start: it ended"), "{seen}");
    assert!(seen.contains("the end of ") && seen.contains("global-2.log"), "{seen}");
    let status = lab.lab_ok(&["status"]);
    assert!(!status.contains("running"), "{status}");
    let other = lab.lab(&["up", "--globals-only", "--base", "127.127"]);
    assert!(text(&other.stderr).contains("other addresses"), "{}", text(&other.stderr));
}
