//! A program of a node: started in the node's namespace and in a session of its own, and watched.

use std::fs::OpenOptions;
use std::io::{Read as _, Write as _};
use std::net::SocketAddr;
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use anyhow::Context as _;
use rustix::process::{Pid, Signal, kill_process};

use super::marks::Found;
use super::topology::Program;
use crate::cluster::namespace::Namespace;

/// Names the run in the environment of each of its processes, and so of their children.
pub(crate) const MARK: &str = "HIGUMA_CHAOS";
/// Names the node.
pub(crate) const MARK_NODE: &str = "HIGUMA_CHAOS_NODE";
/// How the line of a log begins from which on it is that of a new start.
pub(super) const STARTS: &str = "--- the harness starts";
/// Lines of a log that are shown when its program has ended.
const TAIL: usize = 20;
/// One answer of a probe.
const PROBE: Duration = Duration::from_secs(1);

/// What all programs of a run have in common.
#[derive(Debug, Clone)]
pub(super) struct Launch {
    pub(super) id: String,
    pub(super) binary: PathBuf,
    pub(super) envoy: Option<PathBuf>,
    pub(super) mutant: Option<String>,
    /// How clocks of control planes are set; None: they are the machine's.
    pub(super) clocks: Option<Clocks>,
    /// Where it is written down what became of syncs.
    pub(super) traces: PathBuf,
}

impl Launch {
    pub(super) fn calls(&self, node: &str) -> PathBuf {
        self.traces.join(node)
    }
}

/// Clocks that can jump: libfaketime reads each process's from a file.
#[derive(Debug, Clone)]
pub(super) struct Clocks {
    pub(super) library: PathBuf,
    pub(super) folder: PathBuf,
}

impl Clocks {
    /// The wall clock of the node's processes is so many seconds ahead from now on.
    pub(super) fn set(&self, node: &str, ahead: i64) -> anyhow::Result<()> {
        let (path, new) = (self.folder.join(node), self.folder.join(format!("{node}.new")));
        // Renamed, so that nobody reads half of it.
        let written = std::fs::write(&new, format!("{ahead:+}\n"));
        written
            .and_then(|()| std::fs::rename(&new, &path))
            .with_context(|| format!("cannot set the clock of {node}"))
    }

    /// What makes a process of the node read it.
    fn environment(&self, node: &str) -> [(&'static str, PathBuf); 4] {
        [
            ("LD_PRELOAD", self.library.clone()),
            ("FAKETIME_TIMESTAMP_FILE", self.folder.join(node)),
            // Looked at with every call.
            ("FAKETIME_NO_CACHE", "1".into()),
            // Intervals and timeouts are not a wall clock's business.
            ("FAKETIME_DONT_FAKE_MONOTONIC", "1".into()),
        ]
    }
}

/// A program of a node, running or not.
#[derive(Debug)]
pub(super) struct Process {
    pub(super) program: Program,
    pub(super) log: PathBuf,
    child: Option<Child>,
    /// How it ended, if it ended by itself.
    ended: Option<ExitStatus>,
    /// It was sent SIGTERM.
    asked: bool,
}

impl Process {
    pub(super) fn new(program: Program, log: PathBuf) -> Self {
        Self { program, log, child: None, ended: None, asked: false }
    }

    /// Starts it; does nothing if it runs. Its output is appended to its log.
    pub(super) fn start(
        &mut self,
        launch: &Launch,
        node: &str,
        namespace: &Namespace,
    ) -> anyhow::Result<()> {
        if self.runs()? {
            return Ok(());
        }
        let log = OpenOptions::new().append(true).create(true).open(&self.log);
        let mut log = log.with_context(|| format!("cannot write {}", self.log.display()))?;
        writeln!(log, "{STARTS} {}", self.program.name)?;
        // It forks only for the leader of a process group, so the id stays the program's.
        let mut command = Command::new("setsid");
        command.arg(&launch.binary).args(&self.program.argv);
        clean(&mut command);
        command.env(MARK, &launch.id).env(MARK_NODE, node);
        command.envs(launch.envoy.iter().map(|path| ("HIGUMA_ENVOY", path)));
        let mutant = launch.mutant.iter().filter(|mutant| self.program.has(mutant));
        command.envs(mutant.map(|name| ("HIGUMA_MUTANT", name)));
        if let (Some(clocks), true) = (&launch.clocks, self.program.is_control_plane()) {
            if !clocks.folder.join(node).exists() {
                clocks.set(node, 0)?;
            }
            command.envs(clocks.environment(node));
        }
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        let child = namespace.run(|| command.spawn()).and_then(|spawned| spawned);
        let named = || format!("cannot start {} of {node}", self.program.name);
        self.child = Some(child.with_context(named)?);
        (self.ended, self.asked) = (None, false);
        Ok(())
    }

    /// As it is now, if it was started and is not known to have ended.
    pub(super) fn now(&self) -> Option<Found> {
        Found::now(i32::try_from(self.child.as_ref()?.id()).ok()?)
    }

    /// Whether it runs, be it stopped by SIGSTOP.
    pub(super) fn runs(&mut self) -> anyhow::Result<bool> {
        let Some(child) = &mut self.child else { return Ok(false) };
        match child.try_wait().with_context(|| format!("cannot watch {}", self.program.name))? {
            None => Ok(true),
            Some(status) => {
                self.child = None;
                self.ended = Some(status);
                Ok(false)
            }
        }
    }

    /// Ends it at once. When this returns, its last thread is gone, and what it held is free.
    pub(super) fn kill(&mut self) -> anyhow::Result<()> {
        if let Some(mut child) = self.child.take() {
            let killed = child.kill().and_then(|()| child.wait());
            killed.with_context(|| format!("cannot kill {}", self.program.name))?;
        }
        self.ended = None;
        Ok(())
    }

    /// Sends SIGTERM, once.
    pub(super) fn ask_to_end(&mut self) -> anyhow::Result<()> {
        if self.asked || !self.runs()? {
            return Ok(());
        }
        // Nobody has waited for it yet, so the id is still its own.
        let id = self.child.as_ref().and_then(|child| i32::try_from(child.id()).ok());
        if let Some(pid) = id.and_then(Pid::from_raw) {
            kill_process(pid, Signal::TERM)
                .with_context(|| format!("cannot end {}", self.program.name))?;
        }
        self.asked = true;
        Ok(())
    }

    /// How it ended and what its log ends with.
    pub(super) fn last_words(&self) -> String {
        let how = match self.ended {
            None if self.child.is_some() => "it runs".to_owned(),
            None => "it does not run".to_owned(),
            Some(status) => match status.signal() {
                Some(signal) => format!("it ended by signal {signal}"),
                None => format!("it ended with {status}"),
            },
        };
        format!("{how}; the end of {}:\n{}", self.log.display(), tail(&self.log))
    }

    /// What its probe says: None is well.
    pub(super) fn probe(&self, namespace: &Namespace) -> Option<String> {
        let (at, path) = self.program.probe;
        let answer = namespace.run(|| get(at, path)).and_then(|answer| answer);
        match answer {
            Ok(text) if text.starts_with("HTTP/1.1 2") => None,
            Ok(text) => Some(text.lines().last().unwrap_or("nothing").to_owned()),
            Err(error) => Some(error.to_string()),
        }
    }
}

/// The caller's settings are not the run's; flags say all that a program needs.
fn clean(command: &mut Command) {
    for (name, _) in std::env::vars_os() {
        let name = name.to_string_lossy().into_owned();
        if name.starts_with("HIGUMA_") && !matches!(&*name, "HIGUMA_LOG" | "HIGUMA_ENVOY") {
            command.env_remove(name);
        }
    }
}

/// The whole answer to a GET.
fn get(at: SocketAddr, path: &str) -> std::io::Result<String> {
    let mut stream = std::net::TcpStream::connect_timeout(&at, PROBE)?;
    stream.set_read_timeout(Some(PROBE))?;
    write!(stream, "GET {path} HTTP/1.1\r\nHost: {at}\r\nConnection: close\r\n\r\n")?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

/// The last lines of a log, indented.
pub(super) fn tail(path: &Path) -> String {
    let text = std::fs::read(path).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let lines: Vec<_> = text.lines().collect();
    let from = lines.len().saturating_sub(TAIL);
    lines[from..].iter().map(|line| format!("  {line}\n")).collect()
}
