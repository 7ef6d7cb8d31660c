//! Three processes on loopback that form a cluster, and end with it.

use std::fs::File;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};

pub(crate) const NODES: u16 = 3;

/// How long a cluster may take until it serves.
pub(crate) const START_LIMIT: Duration = Duration::from_secs(60);

/// One system's processes.
pub(crate) struct Cluster {
    name: &'static str,
    commands: Vec<Command>,
    processes: Vec<Option<Child>>,
}

impl Cluster {
    /// Starts a process for each command; their output goes to files in `folder`.
    pub(crate) fn start(
        name: &'static str,
        folder: &Path,
        commands: Vec<Command>,
    ) -> anyhow::Result<Self> {
        let mut cluster = Self { name, commands, processes: Vec::new() };
        for (number, command) in (1..).zip(&mut cluster.commands) {
            let path = folder.join(format!("{name}-{number}.log"));
            let log =
                File::create(&path).with_context(|| format!("cannot write {}", path.display()))?;
            command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
            cluster.processes.push(Some(spawn(name, command)?));
        }
        Ok(cluster)
    }

    /// SIGKILL. Nodes count from 1.
    pub(crate) fn kill(&mut self, node: u16) -> anyhow::Result<()> {
        if let Some(mut process) = self.processes[usize::from(node) - 1].take() {
            process.kill().with_context(|| format!("cannot kill {} {node}", self.name))?;
            process.wait()?;
        }
        Ok(())
    }

    pub(crate) fn restart(&mut self, node: u16) -> anyhow::Result<()> {
        let at = usize::from(node) - 1;
        if self.processes[at].is_none() {
            self.processes[at] = Some(spawn(self.name, &mut self.commands[at])?);
        }
        Ok(())
    }

    /// The time that all processes together had a processor, since their start.
    pub(crate) fn processor_time(&self) -> anyhow::Result<Duration> {
        let mut ticks = 0;
        for process in self.processes.iter().flatten() {
            let text = std::fs::read_to_string(format!("/proc/{}/stat", process.id()))
                .with_context(|| format!("a process of {} ended", self.name))?;
            // The name of the program stands in parentheses and may contain anything.
            let after = text.rsplit_once(')').context("/proc/PID/stat has another form")?.1;
            let numbers: Vec<&str> = after.split_whitespace().collect();
            let [.., user, system] = numbers.get(..13).context("/proc/PID/stat is short")? else {
                bail!("/proc/PID/stat is short");
            };
            ticks += user.parse::<u64>()? + system.parse::<u64>()?;
        }
        let per_second = rustix::param::clock_ticks_per_second();
        Ok(Duration::from_millis(ticks * 1000 / per_second))
    }
}

fn spawn(name: &str, command: &mut Command) -> anyhow::Result<Child> {
    command
        .spawn()
        .with_context(|| format!("cannot start {name}: {}", command.get_program().display()))
}

impl Drop for Cluster {
    fn drop(&mut self) {
        for process in self.processes.iter_mut().flatten() {
            // Nothing is kept of what they wrote.
            let _ = process.kill();
            let _ = process.wait();
        }
    }
}

/// Asks again until the answer is good.
///
/// # Errors
/// The last answer, after [`START_LIMIT`].
pub(crate) async fn until<T, F>(what: &str, mut ask: impl FnMut() -> F) -> anyhow::Result<T>
where
    F: Future<Output = anyhow::Result<T>>,
{
    let began = Instant::now();
    loop {
        match ask().await {
            Ok(answer) => return Ok(answer),
            Err(why) if began.elapsed() > START_LIMIT => {
                return Err(why.context(format!("{what}: not within {} s", START_LIMIT.as_secs())));
            }
            Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
        }
    }
}
