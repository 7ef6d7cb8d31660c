//! A host of the run with its file system and its processes, and how it is brought to what is
//! wanted of it.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use rustix::process::Signal;

use super::disk::Disk;
use super::harm::{self, Harm};
use super::marks;
use super::process::{self, Launch, Process};
use super::trace::{Syncs, Trace};
use crate::cluster::command::run;
use crate::cluster::links::Links;
use crate::cluster::namespace::Namespace;
use crate::cluster::{Alive, Node};
use crate::nemesis::{Damage, Fault, Refusal};

/// How long a node may take to end by itself that has to.
const ENDS: Duration = Duration::from_secs(20);
const LOOK: Duration = Duration::from_millis(20);

#[derive(Debug)]
pub(super) struct Place {
    pub(super) node: Node,
    pub(super) namespace: Namespace,
    pub(super) links: Links,
    pub(super) disk: Option<Disk>,
    pub(super) processes: Vec<Process>,
    /// It is a spare that has not joined, or it has left.
    pub(super) out: bool,
    /// The harness ended its processes and has to start them again.
    ended: bool,
    /// The harness stopped its processes by SIGSTOP.
    paused: bool,
    /// What was done to its files and has to be undone.
    harm: Option<Harm>,
    /// Holds its program where its syncs are not what they should be.
    trace: Option<Trace>,
}

/// What faults want of a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Wanted {
    pub(super) down: bool,
    paused: bool,
    cut: bool,
    full: bool,
    /// Seconds that its clock is ahead.
    ahead: i64,
    /// Milliseconds that its syncs take longer.
    late: u32,
}

impl Wanted {
    /// What all faults together want.
    pub(super) fn of(faults: &[Fault], node: &str) -> Self {
        let any = |holds: fn(&Fault) -> bool| {
            faults.iter().any(|fault| holds(fault) && fault.nodes().contains(&node))
        };
        let ahead = faults.iter().filter_map(|fault| match fault {
            Fault::ClockJump { node: jumped, seconds } if jumped == node => Some(seconds),
            _ => None,
        });
        let late = faults.iter().filter_map(|fault| match fault {
            Fault::SlowSync { node: slow, delay_ms } if slow == node => Some(delay_ms),
            _ => None,
        });
        Self {
            ahead: ahead.sum(),
            down: any(Fault::ends_processes),
            paused: any(|fault| matches!(fault, Fault::Pause { .. })),
            cut: any(|fault| {
                matches!(
                    fault,
                    Fault::PowerCut { .. } | Fault::Damage { how: Damage::Torn { .. }, .. }
                )
            }),
            full: any(|fault| matches!(fault, Fault::DiskFull { .. })),
            late: late.sum(),
        }
    }
}

impl Place {
    pub(super) fn new(
        node: Node,
        namespace: Namespace,
        disk: Option<Disk>,
        processes: Vec<Process>,
        spare: bool,
    ) -> Self {
        let links = Links::new(&node.name, namespace.clone());
        let (ended, paused, out) = (false, false, spare);
        let (harm, trace) = (None, None);
        Self { node, namespace, links, disk, processes, out, ended, paused, harm, trace }
    }

    /// Brings it to what is wanted, whatever it was before.
    pub(super) fn settle(&mut self, launch: &Launch, wanted: Wanted) -> anyhow::Result<()> {
        let had_no_room = self.disk.as_ref().is_some_and(Disk::is_full);
        if wanted.cut {
            // Before its processes end: what they do in between is lost too.
            self.disk_or_error()?.cut()?;
        }
        if wanted.down {
            self.end(launch)?;
        }
        if let Some(disk) = &mut self.disk {
            if disk.is_cut() && !wanted.cut {
                disk.restore()?;
            }
            match (disk.is_full(), wanted.full) {
                (false, true) if !disk.is_cut() => disk.fill()?,
                (true, false) if !disk.is_cut() => disk.empty()?,
                _ => {}
            }
        }
        let has_room = self.disk.as_ref().is_none_or(|disk| !disk.is_full());
        if !wanted.down && !self.out && (self.ended || (had_no_room && has_room)) {
            self.start(launch)?;
        }
        if let (Some(clocks), true) = (&launch.clocks, self.disk.is_some()) {
            clocks.set(&self.node.name, wanted.ahead)?;
        }
        self.delay_syncs(launch, wanted)?;
        self.pause(launch, wanted.paused)
    }

    fn start(&mut self, launch: &Launch) -> anyhow::Result<()> {
        for process in &mut self.processes {
            process.start(launch, &self.node.name, &self.namespace)?;
        }
        self.ended = false;
        Ok(())
    }

    /// SIGKILL for all that runs there, children of processes too.
    fn end(&mut self, launch: &Launch) -> anyhow::Result<()> {
        for process in &mut self.processes {
            process.kill()?;
        }
        marks::kill(&launch.id, Some(&self.node.name))?;
        self.ended = true;
        Ok(())
    }

    fn pause(&mut self, launch: &Launch, wanted: bool) -> anyhow::Result<()> {
        if wanted || self.paused {
            let signal = if wanted { Signal::STOP } else { Signal::CONT };
            self.signal(launch, signal)?;
            self.paused = wanted;
        }
        Ok(())
    }

    /// Whether faults want its file system, which workloads and ingresses do not have.
    fn disk_or_error(&mut self) -> anyhow::Result<&mut Disk> {
        let name = &self.node.name;
        let Some(disk) = &mut self.disk else { bail!("{name} has no file system of its own") };
        Ok(disk)
    }

    /// Its data folder becomes a copy of `from` or, without one, is emptied. It must be down.
    pub(super) fn replace_data(&mut self, data: &Path, from: Option<&Path>) -> anyhow::Result<()> {
        let disk = self.disk_or_error()?;
        if disk.is_cut() {
            disk.remount()?;
        }
        if data.exists() {
            std::fs::remove_dir_all(data)
                .with_context(|| format!("cannot remove {}", data.display()))?;
        }
        if let Some(from) = from {
            run(&["cp", "-a", &from.display().to_string(), &data.display().to_string()])?;
        }
        // Nobody's power cut undoes it.
        self.disk_or_error()?.sync()
    }

    /// Does it to the files of a node that is down, and says what came of that where it has to
    /// refuse.
    pub(super) fn harm(
        &mut self,
        launch: &Launch,
        data: &Path,
        how: &Damage,
    ) -> anyhow::Result<Option<Refusal>> {
        let disk = self.disk_or_error()?;
        if disk.is_cut() {
            disk.remount()?;
        }
        let harm = match how {
            Damage::Torn { bytes } => {
                harm::tear(data, *bytes)?;
                self.disk_or_error()?.sync()?;
                return Ok(None);
            }
            Damage::SyncFails => return Ok(None),
            Damage::Flipped { percent } => harm::flip(data, *percent)?,
            Damage::Wiped => harm::set_aside(data)?,
        };
        let must_say = harm.must_say();
        self.harm = Some(harm);
        self.start(launch)?;
        self.refusal(launch, must_say).map(Some)
    }

    /// Undoes what [`Place::harm`] did.
    pub(super) fn mend(&mut self) -> anyhow::Result<()> {
        if let Some(harm) = self.harm.take() {
            harm.undo()?;
            self.disk_or_error()?.sync()?;
        }
        Ok(())
    }

    /// Its syncs fail until it has ended: what it said then, if it came to sync anything.
    pub(super) fn fail_syncs(&mut self, launch: &Launch) -> anyhow::Result<Option<Refusal>> {
        let running = self.processes.first().and_then(Process::now);
        let Some(running) = running else { return Ok(None) };
        let calls = launch.calls(&self.node.name);
        let trace = Trace::attach(&launch.id, running, Syncs::Fail, calls)?;
        // Whether it was starting or had begun to serve: what the disk said.
        let refusal = self.refusal(launch, "Input/output error".to_owned())?;
        // Without a sync there was nothing to refuse.
        let answered = trace.answered();
        trace.detach()?;
        Ok((refusal.ended || answered).then_some(refusal))
    }

    /// Waits until it has ended by itself, at most [`ENDS`], and ends it if it has not.
    fn refusal(&mut self, launch: &Launch, must_say: String) -> anyhow::Result<Refusal> {
        let name = &self.node.name;
        let end = Instant::now() + ENDS;
        let process = self.processes.first_mut().with_context(|| format!("{name} runs nothing"))?;
        while process.runs()? && Instant::now() < end {
            std::thread::sleep(LOOK);
        }
        let ended = !process.runs()?;
        let words = process.last_words();
        let since = words.rfind(process::STARTS).unwrap_or_default();
        let words = words[since..].to_owned();
        self.end(launch)?;
        Ok(Refusal { ended, must_say, words })
    }

    /// Brings its syncs to what is wanted of them.
    fn delay_syncs(&mut self, launch: &Launch, wanted: Wanted) -> anyhow::Result<()> {
        let syncs = (wanted.late > 0 && !wanted.down).then_some(Syncs::Late(wanted.late));
        if self.trace.as_ref().map(Trace::syncs) == syncs {
            return Ok(());
        }
        if let Some(trace) = self.trace.take() {
            trace.detach()?;
        }
        let running = self.processes.first().and_then(Process::now);
        if let (Some(syncs), Some(running)) = (syncs, running) {
            let calls = launch.calls(&self.node.name);
            self.trace = Some(Trace::attach(&launch.id, running, syncs, calls)?);
        }
        Ok(())
    }

    /// Stops its processes, be it paused or not, without being seen as paused.
    pub(super) fn hold(&self, launch: &Launch) -> anyhow::Result<()> {
        self.signal(launch, Signal::STOP)
    }

    /// Undoes [`Place::hold`].
    pub(super) fn let_go(&self, launch: &Launch) -> anyhow::Result<()> {
        if self.paused {
            return Ok(());
        }
        self.signal(launch, Signal::CONT)
    }

    /// To all that runs there. One that was started a moment ago has no environment to be found by
    /// while its program is loaded, so those that are known get it by their ids.
    fn signal(&self, launch: &Launch, signal: Signal) -> anyhow::Result<()> {
        let known = self.processes.iter().filter_map(Process::now);
        let found = marks::find(&launch.id, Some(&self.node.name));
        known.chain(found).try_for_each(|process| process.signal(signal))
    }

    /// A step of joining: what it waits for, or None after the last.
    pub(super) fn go_on_joining(
        &mut self,
        launch: &Launch,
        wanted: Wanted,
    ) -> anyhow::Result<Option<String>> {
        self.out = false;
        if wanted.down {
            self.ended = true;
            return Ok(None);
        }
        for process in &mut self.processes {
            process.start(launch, &self.node.name, &self.namespace)?;
            if let Some(why) = process.probe(&self.namespace) {
                self.pause(launch, wanted.paused)?;
                return Ok(Some(why));
            }
        }
        self.ended = false;
        Ok(None)
    }

    /// A step of leaving: what it waits for, or None after the last.
    pub(super) fn go_on_leaving(&mut self) -> anyhow::Result<Option<String>> {
        self.out = true;
        let name = self.node.name.clone();
        for process in self.processes.iter_mut().rev() {
            if process.runs()? {
                process.ask_to_end()?;
                return Ok(Some(format!("{} of {name} has not ended", process.program.name)));
            }
        }
        Ok(None)
    }

    /// Processes that should run and do not.
    pub(super) fn alive(&mut self, wanted: Wanted) -> anyhow::Result<Alive> {
        let mut dead = Vec::new();
        // A control plane that cannot write ends: that is what it should do.
        let excused = self.out || wanted.down || wanted.full;
        for process in &mut self.processes {
            if !excused && !process.runs()? {
                dead.push((process.program.name.to_owned(), process.last_words()));
            }
        }
        Ok(Alive { node: self.node.name.clone(), dead })
    }
}
