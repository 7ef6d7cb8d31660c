//! What a killed harness leaves, `higuma-chaos clean` removes: looked for with the host's own means.
//! Needs root and the built `higuma`.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

const LIMIT: Duration = Duration::from_secs(60);

/// Kills the harness, whatever the test comes to.
struct Harness(Child);

impl Drop for Harness {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn chaos() -> Command {
    Command::new(env!("CARGO_BIN_EXE_higuma-chaos"))
}

fn until<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + LIMIT;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < end, "not after {LIMIT:?}: {what}");
        std::thread::yield_now();
    }
}

/// Lines of the machine's state that name the run or its folder.
fn traces(id: &str, folder: &Path) -> Vec<String> {
    let needles = [format!("hgc{id}-"), folder.display().to_string()];
    let told = |argv: &[&str]| {
        let output = Command::new(argv[0]).args(&argv[1..]).output().expect("run it");
        String::from_utf8(output.stdout).expect("UTF-8")
    };
    let mut text = told(&["ip", "netns", "list"]);
    text += &told(&["losetup", "--all"]);
    text += &told(&["ip", "-o", "link"]);
    text += &std::fs::read_to_string("/proc/mounts").expect("mounts");
    let mut traces: Vec<_> = text
        .lines()
        .filter(|line| needles.iter().any(|needle| line.contains(needle)))
        .map(str::to_owned)
        .collect();
    for entry in std::fs::read_dir("/proc").expect("processes").flatten() {
        let environment = std::fs::read(entry.path().join("environ")).unwrap_or_default();
        let mark = format!("HIGUMA_CHAOS={id}");
        if environment.split(|byte| *byte == 0).any(|one| one == mark.as_bytes()) {
            traces.push(format!("process {}", entry.file_name().display()));
        }
    }
    traces
}

#[test]
fn nothing_is_left_of_a_run_whose_harness_was_killed() {
    let target = PathBuf::from(env!("CARGO_TARGET_TMPDIR"));
    let out = tempfile::Builder::new().prefix("clean-").tempdir_in(target).unwrap();
    let run = ["run", "--test", "register", "--nemesis", "slow", "--time", "60s", "--seed", "1"];
    let mut command = chaos();
    command.args(run).arg("--out").arg(out.path()).stdout(Stdio::null()).stderr(Stdio::null());
    let mut harness = Harness(command.spawn().unwrap());
    let folder = until("the run has a folder", || {
        let mut folders = std::fs::read_dir(out.path()).ok()?.flatten();
        Some(folders.next()?.path())
    });
    let id = folder.file_name().unwrap().to_str().unwrap().to_owned();
    until("a fault holds", || {
        assert!(harness.0.try_wait().unwrap().is_none(), "the harness has ended by itself");
        let faults = std::fs::read_to_string(folder.join("faults.jsonl")).ok()?;
        faults.contains("\"installed\":").then_some(())
    });
    // A living run is not cleaned away, neither by its name nor with all others.
    let output = chaos().args(["clean", &id]).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success() && said.contains("is not over"), "{said}");
    assert!(traces(&id, &folder).len() >= 3 + 4 + 3 + 3, "{:?}", traces(&id, &folder));

    harness.0.kill().unwrap();
    harness.0.wait().unwrap();
    assert!(!traces(&id, &folder).is_empty(), "a SIGKILL leaves everything");
    let output = chaos().args(["clean", &id]).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
    for what in ["processes", "mount", "namespace", "images"] {
        assert!(said.contains(what), "{what}: {said}");
    }
    assert_eq!(traces(&id, &folder), [""; 0]);
    assert!(!folder.join("images").exists() && folder.join("logs").exists());
    let again = chaos().args(["clean", &id]).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&again.stdout), "nothing is left of any run\n");
}
