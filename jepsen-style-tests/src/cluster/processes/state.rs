//! Which faults hold, and what follows from them for each node. Faults overlap: a node is down as
//! long as any fault holds it down, and what it should be is worked out anew whenever a fault comes
//! or goes ([`Place::settle`]).

use std::collections::HashMap;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};

use super::disk::{self, Disk};
use super::folders::Folders;
use super::place::{Place, Wanted};
use super::process::{Clocks, Launch, Process};
use super::topology::{Host, hosts};
use super::{Plan, network, pki, requirements};
use crate::clean;
use crate::cluster::command::run;
use crate::cluster::namespace::Namespace;
use crate::cluster::{Alive, Node, Role};
use crate::nemesis::{Damage, Fault, Refusal};
use crate::registry::Entry;

/// From the start of a program to its readiness.
const READY: Duration = Duration::from_secs(30);
const LOOK: Duration = Duration::from_millis(30);
/// Control planes; what needs only them; what registers with them.
const STAGES: u8 = 3;

#[derive(Debug)]
pub(super) struct State {
    launch: Launch,
    folders: Folders,
    /// None: it has been taken down.
    entry: Option<Entry>,
    places: Vec<Place>,
    addresses: HashMap<String, Vec<IpAddr>>,
    /// Those that hold, in the order in which they came.
    faults: Vec<Fault>,
    /// [`State::keep_copy`] has kept one.
    copied: bool,
}

impl Drop for State {
    fn drop(&mut self) {
        if let Err(error) = self.down() {
            tracing::error!("something of run {} is left: {error:#}", self.launch.id);
        }
    }
}

impl State {
    /// Makes everything and starts it.
    pub(super) fn raise(plan: &Plan, abandoned: &AtomicBool) -> anyhow::Result<Self> {
        let folders = Folders { run: std::path::absolute(&plan.folder)? };
        let hosts = hosts(&folders, plan.shape);
        let disks = hosts.iter().filter(|host| host.has_disk()).count();
        let found = requirements::check(plan, disks)?;
        let launch = Launch {
            id: plan.id.clone(),
            binary: std::path::absolute(&plan.binary)?,
            envoy: found.envoy,
            mutant: plan.mutant.clone(),
            clocks: found.faketime.map(|library| Clocks { library, folder: folders.clocks() }),
            traces: folders.traces(),
        };
        let entry = Some(Entry::create(&plan.id, &folders.run)?);
        let addresses =
            hosts.iter().map(|host| (host.node.name.clone(), vec![host.node.address])).collect();
        let (places, faults) = (Vec::new(), Vec::new());
        let mut state = Self { launch, folders, entry, places, addresses, faults, copied: false };
        // From here on, dropping the state removes what was made.
        state.make(hosts)?;
        state.start(abandoned)?;
        Ok(state)
    }

    fn make(&mut self, hosts: Vec<Host>) -> anyhow::Result<()> {
        let folders = &self.folders;
        for folder in folders.passing().iter().chain([&folders.logs()]) {
            std::fs::create_dir_all(folder)
                .with_context(|| format!("cannot make {}", folder.display()))?;
        }
        let called: Vec<_> =
            hosts.iter().filter(|host| host.has_disk()).map(|host| &host.node).collect();
        pki::certify(folders, &called)?;
        let nodes: Vec<_> = hosts.iter().map(|host| &host.node).collect();
        let namespaces = network::make(&self.launch.id, &nodes)?;
        for (host, namespace) in hosts.into_iter().zip(namespaces) {
            self.places.push(place(folders, host, namespace)?);
        }
        Ok(())
    }

    /// Stage by stage, each when the one before is ready.
    fn start(&mut self, abandoned: &AtomicBool) -> anyhow::Result<()> {
        for stage in 0..STAGES {
            let end = Instant::now() + READY;
            let mut started = Vec::new();
            for place in self.places.iter_mut().filter(|place| !place.out) {
                let Place { node, namespace, processes, .. } = place;
                for process in processes.iter_mut().filter(|p| p.program.stage == stage) {
                    process.start(&self.launch, &node.name, namespace)?;
                    started.push((&node.name, &*namespace, process));
                }
            }
            for (node, namespace, process) in started {
                until_ready(process, namespace, end, abandoned)
                    .with_context(|| format!("{node} did not start"))?;
            }
        }
        Ok(())
    }

    pub(super) fn nodes(&self) -> Vec<Node> {
        self.places.iter().map(|place| place.node.clone()).collect()
    }

    pub(super) fn namespaces(&self) -> HashMap<String, Namespace> {
        let named = |place: &Place| (place.node.name.clone(), place.namespace.clone());
        self.places.iter().map(named).collect()
    }

    pub(super) fn install(&mut self, fault: &Fault) -> anyhow::Result<Option<Refusal>> {
        self.check_names(fault)?;
        let ended = self.fail_syncs(fault)?;
        self.faults.push(fault.clone());
        let settled = self.settle(fault).and_then(|()| self.replace_data(fault));
        let installed = settled.and_then(|()| self.harm(fault));
        if installed.is_err() {
            self.faults.pop();
            // The first error is the one to tell; the nodes may be in any state.
            let _ = self.mend(fault).and_then(|()| self.settle(fault));
        }
        installed.map(|refusal| ended.or(refusal))
    }

    /// Does nothing if the fault does not hold.
    pub(super) fn heal(&mut self, fault: &Fault) -> anyhow::Result<()> {
        let Some(at) = self.faults.iter().position(|one| one == fault) else { return Ok(()) };
        self.faults.remove(at);
        self.mend(fault)?;
        self.settle(fault)
    }

    /// What [`Damage::SyncFails`] does, while the node still runs.
    fn fail_syncs(&mut self, fault: &Fault) -> anyhow::Result<Option<Refusal>> {
        let Fault::Damage { node, how: Damage::SyncFails } = fault else { return Ok(None) };
        let Self { places, launch, .. } = self;
        let mut places = places.iter_mut().filter(|place| place.node.name == *node);
        places.next().map_or(Ok(None), |place| place.fail_syncs(launch))
    }

    /// What [`Fault::Damage`] does once its node is down.
    fn harm(&mut self, fault: &Fault) -> anyhow::Result<Option<Refusal>> {
        let Fault::Damage { node, how } = fault else { return Ok(None) };
        let Self { places, launch, folders, .. } = self;
        let mut places = places.iter_mut().filter(|place| place.node.name == *node);
        places.next().map_or(Ok(None), |place| place.harm(launch, &folders.data(node), how))
    }

    /// Undoes that.
    fn mend(&mut self, fault: &Fault) -> anyhow::Result<()> {
        let Fault::Damage { node, .. } = fault else { return Ok(()) };
        let mut places = self.places.iter_mut().filter(|place| place.node.name == *node);
        places.next().map_or(Ok(()), Place::mend)
    }

    /// Brings each node of the fault to what all faults together want.
    fn settle(&mut self, fault: &Fault) -> anyhow::Result<()> {
        let Self { launch, places, faults, addresses, .. } = self;
        let named = fault.nodes();
        for place in places.iter_mut().filter(|place| named.contains(&&*place.node.name)) {
            let settled = if fault.is_of_links() {
                place.links.settle(faults, addresses)
            } else {
                place.settle(launch, Wanted::of(faults, &place.node.name))
            };
            settled.with_context(|| format!("cannot do it to {}", place.node.name))?;
        }
        Ok(())
    }

    fn check_names(&self, fault: &Fault) -> anyhow::Result<()> {
        let known = |name: &&str| self.places.iter().any(|place| place.node.name == *name);
        match fault.nodes().into_iter().find(|name| !known(name)) {
            Some(name) => bail!("there is no node {name}"),
            None => Ok(()),
        }
    }

    /// What [`Fault::Rollback`] and [`Fault::Empty`] do once all their nodes are down.
    fn replace_data(&mut self, fault: &Fault) -> anyhow::Result<()> {
        let back = match fault {
            Fault::Rollback { .. } if !self.copied => bail!("no copy was kept to go back to"),
            Fault::Rollback { .. } => true,
            Fault::Empty { .. } => false,
            _ => return Ok(()),
        };
        let Self { places, folders, .. } = self;
        for name in fault.nodes() {
            let copy = copy_of(folders, name);
            let from = back.then_some(&*copy);
            for place in places.iter_mut().filter(|place| place.node.name == name) {
                place.replace_data(&folders.data(name), from)?;
            }
        }
        Ok(())
    }

    /// Stops all globals, copies, and lets them go on. While one is stopped it neither sends nor
    /// receives, so the copies are of one state of the cluster, as power cuts would leave it.
    pub(super) fn keep_copy(&mut self) -> anyhow::Result<()> {
        let Self { launch, folders, places, .. } = self;
        let globals: Vec<_> = places.iter().filter(|p| p.node.role == Role::Global).collect();
        let copied = globals.iter().try_for_each(|place| place.hold(launch)).and_then(|()| {
            globals.iter().try_for_each(|place| {
                let (name, copy) = (&place.node.name, copy_of(folders, &place.node.name));
                if copy.exists() {
                    std::fs::remove_dir_all(&copy)?;
                }
                let data = folders.data(name).display().to_string();
                run(&["cp", "-a", &data, &copy.display().to_string()]).map(|_| ())
            })
        });
        for place in &globals {
            place.let_go(launch)?;
        }
        copied.context("cannot copy the globals' data folders")?;
        self.copied = true;
        Ok(())
    }

    pub(super) fn go_on_joining(&mut self, node: &str) -> anyhow::Result<Option<String>> {
        let Self { launch, faults, places, .. } = self;
        workload(places, node)?.go_on_joining(launch, Wanted::of(faults, node))
    }

    pub(super) fn go_on_leaving(&mut self, node: &str) -> anyhow::Result<Option<String>> {
        workload(&mut self.places, node)?.go_on_leaving()
    }

    pub(super) fn alive(&mut self) -> anyhow::Result<Vec<Alive>> {
        let faults = &self.faults;
        let alive = |place: &mut Place| place.alive(Wanted::of(faults, &place.node.name));
        self.places.iter_mut().map(alive).collect()
    }

    /// Ends everything; a second time does nothing.
    pub(super) fn down(&mut self) -> anyhow::Result<()> {
        let Some(entry) = self.entry.take() else { return Ok(()) };
        for process in self.places.iter_mut().flat_map(|place| &mut place.processes) {
            process.kill()?;
        }
        self.places.clear();
        clean::remove(&entry).map(|_| ())
    }
}

fn place(folders: &Folders, host: Host, namespace: Namespace) -> anyhow::Result<Place> {
    let name = &host.node.name;
    let disk = if host.has_disk() {
        let image = folders.images().join(format!("{name}.img"));
        Some(Disk::make(image, folders.mounts().join(name), disk::BYTES)?)
    } else {
        None
    };
    for (path, text) in host.programs.iter().filter_map(|program| program.file.as_ref()) {
        std::fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))?;
    }
    let alone = host.programs.len() == 1;
    let log = |program: &str| {
        let name = if alone { name.clone() } else { format!("{name}-{program}") };
        folders.logs().join(format!("{name}.log"))
    };
    let processes = host.programs.iter().map(|one| Process::new(one.clone(), log(one.name)));
    let processes = processes.collect();
    Ok(Place::new(host.node, namespace, disk, processes, host.spare))
}

fn copy_of(folders: &Folders, node: &str) -> PathBuf {
    folders.copies().join(node)
}

fn workload<'a>(places: &'a mut [Place], node: &str) -> anyhow::Result<&'a mut Place> {
    let workload = places.iter_mut().find(|p| p.node.name == node && p.node.role == Role::Workload);
    workload.with_context(|| format!("there is no workload {node}"))
}

fn until_ready(
    process: &mut Process,
    namespace: &Namespace,
    end: Instant,
    abandoned: &AtomicBool,
) -> anyhow::Result<()> {
    loop {
        let Some(why) = process.probe(namespace) else { return Ok(()) };
        if abandoned.load(Ordering::Relaxed) {
            bail!("interrupted");
        }
        if !process.runs()? {
            bail!("{}: {}", process.program.name, process.last_words());
        }
        if Instant::now() > end {
            let (name, words) = (process.program.name, process.last_words());
            bail!("{name} is not ready after {READY:?}: {why}; {words}");
        }
        std::thread::sleep(LOOK);
    }
}
