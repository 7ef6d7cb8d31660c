//! Syncs that fail or take long: `strace` holds the process and answers its `fdatasync` calls. That is
//! what the log is synced by; nothing of the file system or of the machine's disks is touched.

use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use rustix::process::{Pid, Signal, kill_process};

use super::marks::Found;
use super::process::MARK;

/// Until each thread of a process is held, or let go.
const HELD: Duration = Duration::from_secs(10);
const LOOK: Duration = Duration::from_millis(20);

/// What becomes of syncs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Syncs {
    Fail,
    /// Each takes so many milliseconds longer.
    Late(u32),
}

#[derive(Debug)]
pub(super) struct Trace {
    strace: Child,
    syncs: Syncs,
    calls: PathBuf,
}

impl Trace {
    /// Holds a process. `calls` is where its syncs are written down.
    pub(super) fn attach(
        run: &str,
        process: Found,
        syncs: Syncs,
        calls: PathBuf,
    ) -> anyhow::Result<Self> {
        let inject = match syncs {
            Syncs::Fail => "inject=fdatasync:error=EIO".to_owned(),
            Syncs::Late(millis) => format!("inject=fdatasync:delay_exit={}", millis * 1000),
        };
        let _ = std::fs::remove_file(&calls);
        let mut command = Command::new("strace");
        command.args(["-f", "-qq", "-e", "trace=fdatasync", "-e", &inject]);
        command.arg("-o").arg(&calls).args(["-p", &process.pid.to_string()]);
        // Found by the run's mark; not by the node's, whose processes are ended and stopped.
        command.env(MARK, run).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let strace = command.spawn().context("cannot start strace")?;
        let mut trace = Self { strace, syncs, calls };
        let end = Instant::now() + HELD;
        while !is_held(process.pid) {
            if let Some(status) = trace.strace.try_wait()? {
                bail!("strace cannot hold process {}: it ended with {status}", process.pid);
            }
            if Instant::now() > end {
                bail!("strace does not hold process {} after {HELD:?}", process.pid);
            }
            std::thread::sleep(LOOK);
        }
        Ok(trace)
    }

    pub(super) fn syncs(&self) -> Syncs {
        self.syncs
    }

    /// Whether a sync was answered by it.
    pub(super) fn answered(&self) -> bool {
        std::fs::read_to_string(&self.calls).is_ok_and(|calls| calls.contains("INJECTED"))
    }

    /// Lets the process go on by itself.
    pub(super) fn detach(mut self) -> anyhow::Result<()> {
        if self.strace.try_wait()?.is_none()
            && let Some(pid) = i32::try_from(self.strace.id()).ok().and_then(Pid::from_raw)
        {
            kill_process(pid, Signal::TERM).context("cannot end strace")?;
        }
        let end = Instant::now() + HELD;
        while self.strace.try_wait()?.is_none() {
            if Instant::now() > end {
                bail!("strace has not ended after {HELD:?}");
            }
            std::thread::sleep(LOOK);
        }
        Ok(())
    }
}

impl Drop for Trace {
    fn drop(&mut self) {
        // Without it the process goes on by itself.
        let _ = self.strace.kill();
        let _ = self.strace.wait();
    }
}

/// Whether somebody holds each thread of a process.
fn is_held(pid: i32) -> bool {
    let Ok(threads) = std::fs::read_dir(format!("/proc/{pid}/task")) else { return false };
    threads.flatten().all(|thread| {
        let status = std::fs::read_to_string(thread.path().join("status")).unwrap_or_default();
        status
            .lines()
            .any(|line| line.strip_prefix("TracerPid:").is_some_and(|tracer| tracer.trim() != "0"))
    })
}
