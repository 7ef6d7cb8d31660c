//! One Envoy as a child process: started from a bootstrap, watched, drained, stopped. It knows
//! nothing of control planes and documents.

mod binary;
mod exec;
mod log;

use std::fmt;
use std::fs::Permissions;
use std::io::Write as _;
use std::net::SocketAddr;
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;
use tokio::process::{Child, Command};
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::Admin;
pub use binary::{Binary, BinaryError, Version};
pub use exec::{ExecEnvoyArgs, Launcher, exec_envoy};
use log::Tail;

/// Between SIGTERM and SIGKILL. Envoy ends in some 100 ms; longer means that it is stuck.
pub const STOP_TIMEOUT: Duration = Duration::from_secs(5);
/// After Envoy's end, for its last lines; something that inherited its stderr may hold it open.
const LAST_LINES_TIMEOUT: Duration = Duration::from_secs(1);
/// `[level][component] message`, one line each: `log` reads it.
const LOG_FORMAT: &str = "[%l][%n] %v";

/// How to start an Envoy.
#[derive(Clone, Copy, Debug)]
pub struct Start<'a> {
    pub binary: &'a Binary,
    pub launcher: &'a Launcher,
    /// Envoy's bootstrap; its admin address is `admin`.
    pub bootstrap: &'a Value,
    pub admin: SocketAddr,
    pub concurrency: u32,
    pub drain_time: Duration,
    /// Envoy's name of the least level it logs.
    pub log_level: &'a str,
    /// Where the private folder is made; else the system's folder for temporary files.
    pub work_dir: Option<&'a Path>,
}

/// Why an Envoy could not be started.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error("cannot make a folder in {}: {source}; choose another with --work-dir", path.display())]
    Folder { path: PathBuf, source: std::io::Error },
    #[error("cannot write {}: {source}", path.display())]
    Write { path: PathBuf, source: std::io::Error },
    #[error("cannot start {}: {source}", path.display())]
    Spawn { path: PathBuf, source: std::io::Error },
    #[error("cannot reach Envoy's admin interface: {0}")]
    Admin(String),
}

/// How an Envoy ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exit {
    pub status: ExitStatus,
    /// The last lines of its log, oldest first.
    pub last_lines: Vec<String>,
}

impl fmt::Display for Exit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Envoy ended ({})", self.status)?;
        if self.last_lines.is_empty() {
            return f.write_str("; it logged nothing");
        }
        f.write_str("; its last lines:")?;
        self.last_lines.iter().try_for_each(|line| write!(f, "\n  {line}"))
    }
}

/// A running Envoy. Dropping it kills it and removes its files.
#[derive(Debug)]
pub struct Envoy {
    child: Child,
    pid: Pid,
    admin: Admin,
    /// Whether its listeners come from a control plane.
    dynamic: bool,
    tail: Tail,
    log: JoinSet<()>,
    /// Holds the bootstrap; removed with this value.
    _folder: TempDir,
}

impl Envoy {
    /// Starts Envoy in a process group of its own, so that a terminal's Ctrl-C reaches only us
    /// and it can drain. The kernel ends it when the calling *thread* ends: call this on a thread
    /// that lives as long as the process, such as a worker of the runtime.
    ///
    /// # Errors
    /// Nothing was left behind.
    pub fn start(start: &Start<'_>) -> Result<Self, StartError> {
        let (folder, config) = write_bootstrap(start)?;
        let admin = Admin::new(start.admin).map_err(StartError::Admin)?;
        let mut command = Command::from(start.launcher.command(&start.binary.path));
        command
            .arg("--config-path")
            .arg(&config)
            // No shared memory and no socket: Envoys of one host do not meet.
            .arg("--disable-hot-restart")
            .args(["--concurrency", &start.concurrency.to_string()])
            .args(["--drain-time-s", &start.drain_time.as_secs().to_string()])
            .args(["--drain-strategy", "immediate"])
            .args(["--log-level", start.log_level])
            .args(["--log-format", LOG_FORMAT, "--log-format-escaped"])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .process_group(0)
            .kill_on_drop(true);
        let path = || start.binary.path.clone();
        let failed = |source| StartError::Spawn { path: path(), source };
        let mut child = command.spawn().map_err(failed)?;
        let stderr = child.stderr.take().expect("invariant: stderr is piped");
        let pid = child.id().and_then(|id| Pid::from_raw(id.cast_signed()));
        let pid = pid.expect("invariant: a child that nobody waited for has its id");
        let tail = Tail::default();
        let mut log = JoinSet::new();
        log.spawn(log::forward(stderr, tail.clone()));
        let dynamic = start.bootstrap.pointer("/dynamic_resources").is_some()
            || start.bootstrap.pointer("/dynamicResources").is_some();
        Ok(Self { child, pid, admin, dynamic, tail, log, _folder: folder })
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.pid.as_raw_nonzero().get().cast_unsigned()
    }

    /// Its admin interface.
    pub fn admin(&self) -> &Admin {
        &self.admin
    }

    /// Whether its listeners come from a control plane, for [`Admin::ready`].
    pub fn is_dynamic(&self) -> bool {
        self.dynamic
    }

    /// Waits until it has ended. May be called again, and may be dropped half-way.
    ///
    /// # Errors
    /// The operating system does not say.
    pub async fn exited(&mut self) -> std::io::Result<Exit> {
        let status = self.child.wait().await?;
        // Late lines are lost to the report, not to the log.
        let closed = timeout(LAST_LINES_TIMEOUT, self.log.join_next());
        drop(closed.await);
        Ok(Exit { status, last_lines: self.tail.lines() })
    }

    /// Takes no new work: fails health checks, tells connections to end, and waits for the drain
    /// time that it was started with. Returns early only when Envoy ends.
    pub async fn drain(&mut self, drain_time: Duration) {
        let admin = self.admin.clone();
        let asked = async {
            let failed = admin.fail_healthchecks().await;
            failed.and(admin.drain_listeners().await)
        };
        tokio::select! {
            ended = self.child.wait() => {
                tracing::warn!(?ended, "Envoy ended while it was asked to drain");
                return;
            }
            asked = asked => if let Err(error) = asked {
                tracing::warn!(error, "Envoy could not be asked to drain; it is stopped after the drain time");
            }
        }
        if timeout(drain_time, self.child.wait()).await.is_ok() {
            tracing::warn!("Envoy ended before its drain time was over");
        }
    }

    /// Ends it: SIGTERM, and SIGKILL after [`STOP_TIMEOUT`]. Its files are removed.
    ///
    /// # Errors
    /// The operating system does not let us end it, or does not say that it ended.
    pub async fn stop(mut self) -> std::io::Result<ExitStatus> {
        if let Some(status) = self.child.try_wait()? {
            return Ok(status);
        }
        kill_process(self.pid, Signal::TERM)?;
        if let Ok(ended) = timeout(STOP_TIMEOUT, self.child.wait()).await {
            return ended;
        }
        tracing::warn!("Envoy did not end within {STOP_TIMEOUT:?} of SIGTERM: killing it");
        self.child.kill().await?;
        self.child.wait().await
    }
}

/// A private folder (0700) with the bootstrap (0600): later it may hold tokens.
fn write_bootstrap(start: &Start<'_>) -> Result<(TempDir, PathBuf), StartError> {
    let parent = start.work_dir.map_or_else(std::env::temp_dir, Path::to_owned);
    let made = std::fs::create_dir_all(&parent).and_then(|()| {
        tempfile::Builder::new()
            .prefix("higuma-envoy-")
            .permissions(Permissions::from_mode(0o700))
            .tempdir_in(&parent)
    });
    let folder = made.map_err(|source| StartError::Folder { path: parent, source })?;
    let path = folder.path().join("bootstrap.json");
    let file = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path);
    match file.and_then(|mut file| file.write_all(start.bootstrap.to_string().as_bytes())) {
        Ok(()) => Ok((folder, path)),
        Err(source) => Err(StartError::Write { path, source }),
    }
}
