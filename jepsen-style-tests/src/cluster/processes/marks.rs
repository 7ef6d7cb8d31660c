//! Processes of a run, found by the mark in their environment: those that the harness started and
//! what they started, whether it remembers them or not.

use std::time::{Duration, Instant};

use anyhow::bail;
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

pub(crate) use super::process::MARK;
use super::process::MARK_NODE;

const LOOK: Duration = Duration::from_millis(20);
/// Until a process is gone that was killed. A core dump or a slow disk can take a while.
const GONE: Duration = Duration::from_secs(20);

/// A process: an id, and the time that tells it from the id's next holder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Found {
    pub(crate) pid: i32,
    /// In clock ticks since the boot, as `/proc/PID/stat` has it.
    pub(crate) start_time: u64,
}

impl Found {
    /// The process that has this id now.
    pub(crate) fn now(pid: i32) -> Option<Self> {
        let (_, start_time) = stat(pid)?;
        Some(Self { pid, start_time })
    }

    /// Whether it does anything still: a zombie without other threads does not.
    pub(crate) fn lives(&self) -> bool {
        stat(self.pid).is_some_and(|(state, start_time)| {
            let threads =
                || std::fs::read_dir(format!("/proc/{}/task", self.pid)).map_or(0, Iterator::count);
            start_time == self.start_time && (!matches!(state, 'Z' | 'X') || threads() > 1)
        })
    }

    /// Sends a signal to this process or, if it is gone, to nobody.
    pub(crate) fn signal(&self, signal: Signal) -> anyhow::Result<()> {
        let Some(pid) = Pid::from_raw(self.pid) else { return Ok(()) };
        // From here the descriptor means one process, whatever becomes of the id.
        let sent = match pidfd_open(pid, PidfdFlags::empty()) {
            Ok(fd) if self.lives() => pidfd_send_signal(&fd, signal),
            Ok(_) => Ok(()),
            Err(errno) => Err(errno),
        };
        match sent {
            Ok(()) | Err(Errno::SRCH) => Ok(()),
            Err(errno) => bail!("cannot send a signal to process {}: {errno}", self.pid),
        }
    }
}

/// Processes of a run, or of one of its nodes.
pub(crate) fn find(id: &str, node: Option<&str>) -> Vec<Found> {
    let marks: Vec<_> = std::iter::once(format!("{MARK}={id}"))
        .chain(node.map(|node| format!("{MARK_NODE}={node}")))
        .collect();
    let Ok(entries) = std::fs::read_dir("/proc") else { return Vec::new() };
    let ids = entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    ids.filter_map(|pid: i32| {
        let found = Found::now(pid)?;
        let environment = std::fs::read(format!("/proc/{pid}/environ")).ok()?;
        let carries =
            |mark: &String| environment.split(|byte| *byte == 0).any(|one| one == mark.as_bytes());
        (marks.iter().all(carries) && found.lives()).then_some(found)
    })
    .collect()
}

/// Ends all of them, and those that they start meanwhile. Returns how many there were.
pub(crate) fn kill(id: &str, node: Option<&str>) -> anyhow::Result<usize> {
    let end = Instant::now() + GONE;
    let mut killed: Vec<Found> = Vec::new();
    loop {
        let found = find(id, node);
        if found.is_empty() {
            return Ok(killed.len());
        }
        if Instant::now() > end {
            bail!("processes {found:?} are still there {GONE:?} after SIGKILL");
        }
        for process in &found {
            process.signal(Signal::KILL)?;
            if !killed.contains(process) {
                killed.push(*process);
            }
        }
        std::thread::sleep(LOOK);
    }
}

/// State and start time.
fn stat(pid: i32) -> Option<(char, u64)> {
    read_stat(&std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
}

/// proc(5): the program's name, in parentheses, may hold anything, parentheses too.
fn read_stat(text: &str) -> Option<(char, u64)> {
    let mut fields = text.rsplit_once(')')?.1.split_whitespace();
    let state = fields.next()?.chars().next()?;
    // The state is field 3, the start time field 22.
    Some((state, fields.nth(18)?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stat_is_read_past_any_name() {
        let text = "42 (a) R (b) S 1 42 42 0 -1 4194560 1 0 0 0 1 2 0 0 20 0 5 0 987654 1 2 3";
        assert_eq!(read_stat(text), Some(('S', 987_654)));
        assert_eq!(read_stat("42 (x) S 1 2"), None);
        assert_eq!(read_stat(""), None);
    }

    #[test]
    fn marked_processes_are_found_with_their_children_and_nobody_else_is() {
        let id = format!("test{}", std::process::id());
        let mut child = std::process::Command::new("sh")
            .args(["-c", "sleep 60 & wait"])
            .env(MARK, &id)
            .env(MARK_NODE, "web")
            .spawn()
            .unwrap();
        let end = Instant::now() + Duration::from_secs(10);
        while find(&id, Some("web")).len() < 2 && Instant::now() < end {
            std::thread::yield_now();
        }
        assert_eq!(find(&id, None).len(), 2);
        assert!(find(&id, Some("billing")).is_empty());
        assert!(find("another", None).is_empty());

        let real = Found::now(i32::try_from(child.id()).unwrap()).unwrap();
        let stranger = Found { start_time: real.start_time - 1, ..real };
        stranger.signal(Signal::KILL).unwrap();
        assert!(real.lives() && !stranger.lives());

        assert_eq!(kill(&id, Some("web")).unwrap(), 2);
        // Nobody has waited for it: it is a zombie, and gone.
        assert!(!real.lives());
        child.wait().unwrap();
    }
}
