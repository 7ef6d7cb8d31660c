//! The lab's containers, which faults hold, and what follows for each node. As with processes,
//! faults overlap, and what a node should be is worked out anew whenever one comes or goes.

use std::collections::HashMap;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, bail};

use super::docker::{self, Container, docker};
use super::rules;
use crate::clean;
use crate::cluster::command::{feed, run};
use crate::cluster::namespace::Namespace;
use crate::cluster::processes::Plan;
use crate::cluster::{Alive, Node, Role};
use crate::nemesis::Fault;
use crate::registry::Entry;

/// The image that runs take: that of a lab which a user has up stays what it is.
const TAG: &str = "chaos";
/// First two numbers of a run's networks; the first that nothing on this machine uses.
const NETS: [&str; 6] = ["172.28", "172.27", "172.26", "172.25", "172.24", "172.23"];
/// Lines of a dead container's log.
const LAST_WORDS: &str = "5";

#[derive(Debug)]
pub(super) struct State {
    id: String,
    logs: PathBuf,
    /// The folder of `docker-compose.yml`.
    root: PathBuf,
    net: &'static str,
    /// None: it has been taken down.
    entry: Option<Entry>,
    pub(super) places: Vec<Place>,
    /// Those that hold, in the order in which they came.
    faults: Vec<Fault>,
}

/// A node and its containers.
#[derive(Debug)]
pub(super) struct Place {
    pub(super) node: Node,
    addresses: Vec<Ipv4Addr>,
    /// Services and ids; the one that has the network first.
    containers: Vec<(String, String)>,
    down: bool,
    paused: bool,
    /// A workload that has not joined, or has left.
    out: bool,
}

impl Drop for State {
    fn drop(&mut self) {
        if let Err(error) = self.down() {
            tracing::error!("something of run {} is left: {error:#}", self.id);
        }
    }
}

impl State {
    pub(super) fn raise(plan: &Plan) -> anyhow::Result<Self> {
        if !rustix::process::geteuid().is_root() {
            bail!("the compose database needs root: it enters the containers' networks");
        }
        let mut state = Self {
            id: plan.id.clone(),
            logs: std::path::absolute(&plan.folder)?.join("logs"),
            root: root()?,
            net: free_net()?,
            entry: Some(Entry::create(&plan.id, &plan.folder)?),
            places: Vec::new(),
            faults: Vec::new(),
        };
        // From here on, dropping the state removes what was made.
        let mut up = state.command("scripts/lab");
        up.arg("up").env("HIGUMA", std::path::absolute(&plan.binary)?);
        if let Some(envoy) = &plan.envoy {
            up.env("HIGUMA_ENVOY", std::path::absolute(envoy)?);
        }
        if let Some(mutant) = &plan.mutant {
            up.env("HIGUMA_MUTANT", mutant);
        }
        finish(&mut up)?;
        state.find()?;
        // What ends stays so: it is the harness that starts it again, and says so.
        let all = state.places.iter().flat_map(Place::ids).collect::<Vec<_>>();
        docker(&["update", "--restart=no"], &all)?;
        // The lab lets everybody call everybody; who may call whom is the test's to say.
        let global = format!("{}-global-1-1", docker::project(&state.id));
        let words = ["exec", &global, "higuma", "delete", "traffic-permission", "who-may-call"];
        docker(&words, &[])?;
        Ok(state)
    }

    /// A command about this run's lab.
    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command
            .current_dir(&self.root)
            .env("COMPOSE_PROJECT_NAME", docker::project(&self.id))
            .env("HIGUMA_NET", self.net)
            .env("HIGUMA_TAG", TAG)
            .env_remove("COMPOSE_PROFILES")
            .stdin(Stdio::null());
        command
    }

    /// Reads who there is: those that run, and the spares that may join.
    fn find(&mut self) -> anyhow::Result<()> {
        // Made, not started, so that they are known with their addresses.
        let mut spares = self.command("docker");
        spares.args(["compose", "--profile", "spare", "create", "--no-recreate"]);
        finish(&mut spares)?;
        let containers = docker::containers(&docker::project(&self.id))?;
        let mut places: Vec<_> = containers.iter().filter_map(|one| place(one, &self.id)).collect();
        for place in &mut places {
            let proxy = format!("{}-dp", place.containers[0].0);
            let proxy = containers.iter().find(|one| one.service() == proxy);
            place.containers.extend(proxy.map(|one| (one.service().to_owned(), one.id.clone())));
        }
        places.sort_by(|a, b| (a.node.role, &a.node.name).cmp(&(b.node.role, &b.node.name)));
        self.places = places;
        Ok(())
    }

    pub(super) fn nodes(&self) -> Vec<Node> {
        self.places.iter().map(|place| place.node.clone()).collect()
    }

    /// The network of each node that runs. A container that is started again has another.
    pub(super) fn namespaces(&self) -> anyhow::Result<HashMap<String, Namespace>> {
        let running: Vec<_> = self.places.iter().filter(|p| !p.down && !p.out).collect();
        let firsts: Vec<_> = running.iter().map(|place| place.containers[0].1.clone()).collect();
        let mut namespaces = HashMap::new();
        for (place, container) in running.iter().zip(docker::inspect(&firsts)?) {
            // One that ended by itself is for `alive` to tell.
            if container.state.pid > 0 {
                let path = namespace(container.state.pid);
                let opened = Namespace::open(&path);
                let opened = opened.with_context(|| format!("cannot open {}", path.display()))?;
                namespaces.insert(place.node.name.clone(), opened);
            }
        }
        Ok(namespaces)
    }

    /// What is wrong with a fault that this database has no means for.
    pub(super) fn supports(fault: &Fault) -> Result<(), String> {
        match fault {
            Fault::Kill { .. }
            | Fault::Pause { .. }
            | Fault::Partition { .. }
            | Fault::OneWay { .. }
            | Fault::Lossy { percent: 1..=99, .. } => Ok(()),
            _ => Err(format!("{fault:?}")),
        }
    }

    pub(super) fn install(&mut self, fault: &Fault) -> anyhow::Result<()> {
        let known = |name: &&str| self.places.iter().any(|place| place.node.name == *name);
        if let Some(name) = fault.nodes().into_iter().find(|name| !known(name)) {
            bail!("there is no node {name}");
        }
        self.faults.push(fault.clone());
        let installed = self.settle(fault);
        if installed.is_err() {
            self.faults.pop();
            // The first error is the one to tell; the nodes may be in any state.
            let _ = self.settle(fault);
        }
        installed
    }

    /// Does nothing if the fault does not hold.
    pub(super) fn heal(&mut self, fault: &Fault) -> anyhow::Result<()> {
        let Some(at) = self.faults.iter().position(|one| one == fault) else { return Ok(()) };
        self.faults.remove(at);
        self.settle(fault)
    }

    /// Brings each node of the fault to what all faults together want.
    fn settle(&mut self, fault: &Fault) -> anyhow::Result<()> {
        for name in fault.nodes() {
            self.settle_one(name).with_context(|| format!("cannot do it to {name}"))?;
        }
        Ok(())
    }

    fn settle_one(&mut self, name: &str) -> anyhow::Result<()> {
        let held = |is: fn(&Fault) -> bool| {
            self.faults.iter().any(|fault| is(fault) && fault.nodes().contains(&name))
        };
        let down = held(|fault| matches!(fault, Fault::Kill { .. }));
        let paused = held(|fault| matches!(fault, Fault::Pause { .. }));
        let of = |peer: &str| {
            let place = self.places.iter().find(|place| place.node.name == peer);
            place.map_or(&[][..], |place| &place.addresses)
        };
        let filter = rules::filter(&self.faults, name, of);
        let place = self.places.iter_mut().find(|place| place.node.name == name);
        let place = place.with_context(|| format!("there is no node {name}"))?;
        place.settle(down, paused, &filter)
    }

    /// Starts a workload; says whether a fault keeps it from living.
    pub(super) fn join(&mut self, workload: &str) -> anyhow::Result<bool> {
        let place = self.workload(workload)?;
        if place.out {
            (place.out, place.down, place.paused) = (false, true, false);
            self.settle_one(workload)?;
        }
        let place = self.workload(workload)?;
        Ok(place.down || place.paused)
    }

    /// Stops a workload in order; says whether that was possible, which it is not while it is
    /// paused.
    pub(super) fn leave(&mut self, workload: &str) -> anyhow::Result<bool> {
        let place = self.workload(workload)?;
        if place.paused {
            return Ok(false);
        }
        place.out = true;
        // The proxy first; each has a grace that is longer than it takes to drain.
        for id in place.ids().into_iter().rev() {
            docker(&["stop", "--time", "15"], &[id])?;
        }
        Ok(true)
    }

    fn workload(&mut self, name: &str) -> anyhow::Result<&mut Place> {
        let mut workloads = self.places.iter_mut().filter(|p| p.node.role == Role::Workload);
        let workload = workloads.find(|place| place.node.name == name);
        workload.with_context(|| format!("there is no workload {name}"))
    }

    pub(super) fn alive(&self) -> anyhow::Result<Vec<Alive>> {
        let mut alive = Vec::new();
        for place in self.places.iter().filter(|place| !place.down && !place.out) {
            let mut dead = Vec::new();
            for (container, (service, id)) in
                docker::inspect(&place.ids())?.iter().zip(&place.containers)
            {
                if !container.state.running {
                    let words = docker(&["logs", "--tail", LAST_WORDS], &[id.clone()])?;
                    dead.push((service.clone(), words));
                }
            }
            alive.push(Alive { node: place.node.name.clone(), dead });
        }
        Ok(alive)
    }

    /// Keeps all logs and removes everything; a second time does nothing.
    pub(super) fn down(&mut self) -> anyhow::Result<()> {
        let Some(entry) = self.entry.take() else { return Ok(()) };
        let kept = self.keep_logs();
        self.places.clear();
        clean::remove(&entry)?;
        kept
    }

    fn keep_logs(&self) -> anyhow::Result<()> {
        std::fs::create_dir_all(&self.logs)
            .with_context(|| format!("cannot make {}", self.logs.display()))?;
        for (service, id) in self.places.iter().flat_map(|place| &place.containers) {
            docker::logs(id, &self.logs.join(format!("{service}.log")))?;
        }
        Ok(())
    }
}

impl Place {
    fn ids(&self) -> Vec<String> {
        self.containers.iter().map(|(_, id)| id.clone()).collect()
    }

    fn settle(&mut self, down: bool, paused: bool, filter: &str) -> anyhow::Result<()> {
        if self.out {
            return Ok(());
        }
        if down {
            if !self.down {
                docker(&["kill"], &self.ids())?;
            }
            (self.down, self.paused) = (true, false);
            return Ok(());
        }
        if self.down {
            // In their order: the second has the first one's network.
            for id in self.ids() {
                docker(&["start"], &[id])?;
            }
            self.down = false;
        }
        let first = docker::inspect(&self.ids()[..1])?;
        let pid = first.first().map_or(0, |container| container.state.pid);
        if pid <= 0 {
            bail!("it does not run");
        }
        let network = format!("--net={}", namespace(pid).display());
        feed(&["nsenter", &network, "iptables-restore"], filter)?;
        if paused != self.paused {
            docker(&[if paused { "pause" } else { "unpause" }], &self.ids())?;
            self.paused = paused;
        }
        Ok(())
    }
}

fn namespace(pid: i32) -> PathBuf {
    Path::new("/proc").join(pid.to_string()).join("ns/net")
}

/// A node of the test, if a container is one. Names are those that processes have.
fn place(container: &Container, id: &str) -> Option<Place> {
    let (service, zone) = (container.service(), container.label("higuma.zone"));
    if !matches!(container.label("higuma.mesh"), "" | "default") {
        return None;
    }
    let (role, network, name) = match container.label("higuma.role") {
        "global" => (Role::Global, "raft".to_owned(), service.to_owned()),
        "remote" => (Role::Remote, format!("zone-{zone}"), zone.to_owned()),
        "ingress" => (Role::Ingress, format!("into-{zone}"), ingress(service)?),
        "app" => (Role::Workload, format!("zone-{zone}"), service.to_owned()),
        // One-shots; proxies, which are with their applications; what is not the test's.
        _ => return None,
    };
    let project = docker::project(id);
    let address = |(name, endpoint): (&String, &docker::Endpoint)| {
        let network = name.strip_prefix(&project)?.strip_prefix('_')?.to_owned();
        Some((network, endpoint.fixed.as_ref()?.address?))
    };
    let addresses: Vec<_> =
        container.network_settings.networks.iter().filter_map(address).collect();
    let (_, first) = addresses.iter().find(|(name, _)| *name == network)?;
    Some(Place {
        node: Node {
            name,
            role,
            zone: (!zone.is_empty()).then(|| zone.to_owned()),
            address: (*first).into(),
        },
        addresses: addresses.iter().map(|(_, address)| *address).collect(),
        containers: vec![(service.to_owned(), container.id.clone())],
        down: false,
        paused: container.state.paused,
        out: !container.state.running,
    })
}

/// `ingress-west-1` is `west-ingress`, `ingress-west-2` is `west-ingress-2`.
fn ingress(service: &str) -> Option<String> {
    let zone = service.strip_prefix("ingress-")?;
    Some(match zone.rsplit_once('-') {
        None => format!("{zone}-ingress"),
        Some((zone, "1")) => format!("{zone}-ingress"),
        Some((zone, number)) => format!("{zone}-ingress-{number}"),
    })
}

/// Where `docker-compose.yml` and its scripts are: here or above.
fn root() -> anyhow::Result<PathBuf> {
    let here = std::env::current_dir()?;
    let root = here.ancestors().find(|folder| folder.join("docker-compose.yml").is_file());
    let root = root.with_context(|| {
        format!(
            "there is no docker-compose.yml in {} or above it: run it in the repository",
            here.display()
        )
    })?;
    Ok(root.to_owned())
}

fn free_net() -> anyhow::Result<&'static str> {
    for net in NETS {
        let range = format!("{net}.0.0/16");
        if run(&["ip", "-4", "route", "show", "root", &range])?.trim().is_empty() {
            return Ok(net);
        }
    }
    bail!("this machine uses addresses of all of {} already", NETS.join(", "))
}

/// Runs a command that tells people what it does, and keeps that for when it fails.
fn finish(command: &mut Command) -> anyhow::Result<()> {
    let output = command.output().with_context(|| format!("cannot run {command:?}"))?;
    if !output.status.success() {
        let said = [output.stdout, output.stderr].concat();
        bail!("{}", String::from_utf8_lossy(&said).trim());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ingresses_have_the_names_that_processes_have() {
        for (service, name) in [
            ("ingress-east", "east-ingress"),
            ("ingress-west-1", "west-ingress"),
            ("ingress-west-2", "west-ingress-2"),
        ] {
            assert_eq!(ingress(service).as_deref(), Some(name));
        }
    }
}
