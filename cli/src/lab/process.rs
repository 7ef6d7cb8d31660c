//! Processes of the lab: started in sessions of their own, and never mistaken for a stranger that
//! got the same id later.

use std::fs::OpenOptions;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, pidfd_open, pidfd_send_signal};
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

pub(super) use rustix::process::Signal;

use super::topology::{Layout, Plan};
use crate::failure::Failure;

/// Names the lab in the environment of each of its processes, and so of their children.
const MARK: &str = "HIGUMA_LAB";
/// Between two looks at a process that is about to end.
const LOOK: Duration = Duration::from_millis(20);

/// A process that was started: an id, and the time that tells it from the id's next holder.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Started {
    pub(super) pid: i32,
    /// In clock ticks since the boot, as `/proc/PID/stat` has it.
    pub(super) start_time: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Health {
    Running,
    /// By SIGSTOP.
    Stopped,
    Gone,
}

/// What `/proc/PID/stat` says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stat {
    state: char,
    start_time: u64,
}

impl Started {
    /// The process that has this id now.
    pub(super) fn now(pid: i32) -> Option<Self> {
        Some(Self { pid, start_time: stat(pid)?.start_time })
    }

    pub(super) fn health(&self) -> Health {
        match stat(self.pid) {
            Some(stat) if stat.start_time == self.start_time => match stat.state {
                // A zombie does nothing any more; its parent has only not looked yet. While other
                // threads are still ending, its sockets are not closed.
                'Z' | 'X' if threads(self.pid) <= 1 => Health::Gone,
                'T' | 't' => Health::Stopped,
                _ => Health::Running,
            },
            _ => Health::Gone,
        }
    }

    /// Sends a signal to this process or, if it is gone, to nobody; says which.
    pub(super) fn signal(&self, signal: Signal) -> Result<bool, Failure> {
        let failed = |errno: Errno| {
            Failure::refused(format!("cannot send a signal to process {}: {errno}", self.pid))
        };
        let Some(pid) = Pid::from_raw(self.pid) else { return Ok(false) };
        // From here the descriptor means one process, whatever becomes of the id.
        let fd = match pidfd_open(pid, PidfdFlags::empty()) {
            Ok(fd) => fd,
            Err(Errno::SRCH) => return Ok(false),
            Err(errno) => return Err(failed(errno)),
        };
        if self.health() == Health::Gone {
            return Ok(false);
        }
        match pidfd_send_signal(&fd, signal) {
            Ok(()) => Ok(true),
            Err(Errno::SRCH) => Ok(false),
            Err(errno) => Err(failed(errno)),
        }
    }
}

/// Starts a process, detached from this one's terminal. Its output is appended to its log.
pub(super) fn start(layout: &Layout, id: &str, plan: &Plan) -> Result<(Started, Child), Failure> {
    let failed = |what: &str, error: std::io::Error| {
        Failure::refused(format!("cannot start {}: {what}: {error}", plan.name))
    };
    let binary = binary().map_err(|error| failed("finding this program", error))?;
    let path = layout.log(&plan.name);
    let log = OpenOptions::new().append(true).create(true).open(&path);
    let log = log.map_err(|error| failed("opening its log", error))?;
    let log_too = log.try_clone().map_err(|error| failed("opening its log", error))?;
    let mut command = Command::new(&binary);
    command.args(["lab", "session", "--"]).arg(&binary).args(&plan.argv);
    // The caller's settings are not the lab's; flags say all that a process needs.
    for (name, _) in std::env::vars_os() {
        let name = name.to_string_lossy().into_owned();
        if name.starts_with("HIGUMA_") && !matches!(&*name, "HIGUMA_LOG" | "HIGUMA_ENVOY") {
            command.env_remove(name);
        }
    }
    let child = command
        .env(MARK, id)
        .stdin(Stdio::null())
        .stdout(log)
        .stderr(log_too)
        .spawn()
        .map_err(|error| failed("running it", error))?;
    let pid = i32::try_from(child.id()).expect("invariant: process ids are positive i32");
    // Not yet waited for, so the id is still its own even if it has ended.
    let started = Started::now(pid);
    Ok((started.ok_or_else(|| Failure::refused("/proc is not readable"))?, child))
}

/// Threads that are left of a process.
fn threads(pid: i32) -> usize {
    std::fs::read_dir(format!("/proc/{pid}/task")).map_or(0, Iterator::count)
}

/// This program, also after a rebuild has replaced it.
fn binary() -> std::io::Result<PathBuf> {
    let path = std::env::current_exe()?;
    match path.to_str().and_then(|path| path.strip_suffix(" (deleted)")) {
        Some(path) => Ok(path.into()),
        None => Ok(path),
    }
}

/// Processes that carry the lab's mark: those that were started and what they started, whether
/// they were recorded or not.
pub(super) fn marked(id: &str) -> Vec<Started> {
    let mark = format!("{MARK}={id}");
    let Ok(entries) = std::fs::read_dir("/proc") else { return Vec::new() };
    let ids = entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    ids.filter_map(|pid: i32| {
        let started = Started::now(pid)?;
        let environment = std::fs::read(format!("/proc/{pid}/environ")).ok()?;
        let carries = environment.split(|byte| *byte == 0).any(|one| one == mark.as_bytes());
        (carries && started.health() != Health::Gone).then_some(started)
    })
    .collect()
}

/// Waits until all are gone; false if some are not after `limit`.
pub(super) async fn wait_gone(processes: &[Started], limit: Duration) -> bool {
    let end = Instant::now() + limit;
    loop {
        if processes.iter().all(|process| process.health() == Health::Gone) {
            return true;
        }
        if Instant::now() >= end {
            return false;
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// Tells one boot from the next: ids and start times begin anew.
pub(super) fn boot_id() -> String {
    let text = std::fs::read_to_string(Path::new("/proc/sys/kernel/random/boot_id"));
    text.unwrap_or_default().trim().to_owned()
}

fn stat(pid: i32) -> Option<Stat> {
    read_stat(&std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
}

/// proc(5): the program's name, in parentheses, may hold anything, parentheses too.
fn read_stat(text: &str) -> Option<Stat> {
    let mut fields = text.rsplit_once(')')?.1.split_whitespace();
    let state = fields.next()?.chars().next()?;
    // The state is field 3, the start time field 22.
    Some(Stat { state, start_time: fields.nth(18)?.parse().ok()? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stat_is_read_past_any_name() {
        let text = "42 (a) R (b) S 1 42 42 0 -1 4194560 1 0 0 0 1 2 0 0 20 0 5 0 987654 1 2 3";
        assert_eq!(read_stat(text), Some(Stat { state: 'S', start_time: 987_654 }));
        assert_eq!(read_stat("42 (x) S 1 2"), None);
        assert_eq!(read_stat(""), None);
    }

    #[tokio::test]
    async fn a_stranger_with_the_same_id_is_left_alone() {
        let mut child = Command::new("sleep").arg("60").spawn().unwrap();
        let real = Started::now(i32::try_from(child.id()).unwrap()).unwrap();
        let stranger = Started { start_time: real.start_time - 1, ..real };
        assert_eq!(stranger.health(), Health::Gone);
        assert!(!stranger.signal(Signal::KILL).unwrap());
        assert!(wait_gone(&[stranger], Duration::ZERO).await);
        assert_eq!(real.health(), Health::Running);
        assert!(!wait_gone(&[real], Duration::from_millis(50)).await);

        assert!(real.signal(Signal::KILL).unwrap());
        // Nobody has waited for it: it is a zombie, and gone.
        assert!(wait_gone(&[real], Duration::from_secs(10)).await);
        child.wait().unwrap();
        assert!(!real.signal(Signal::KILL).unwrap());
    }

    #[test]
    fn marked_processes_are_found_with_their_children() {
        let id = format!("test-{}", std::process::id());
        let mut child = Command::new("sh")
            .args(["-c", "sleep 60 & wait"])
            .env(MARK, &id)
            .process_group(0)
            .spawn()
            .unwrap();
        let mut found = marked(&id);
        let end = std::time::Instant::now() + Duration::from_secs(10);
        while found.len() < 2 && std::time::Instant::now() < end {
            std::thread::yield_now();
            found = marked(&id);
        }
        assert_eq!(found.len(), 2);
        for process in &found {
            assert!(process.signal(Signal::KILL).unwrap());
        }
        child.wait().unwrap();
        assert!(marked("another").is_empty());
    }

    use std::os::unix::process::CommandExt as _;
}
