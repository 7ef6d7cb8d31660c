//! The lab's containers, which faults hold, and what follows for each node. As with processes,
//! faults overlap, and what a node should be is worked out anew whenever one comes or goes.

use std::collections::HashMap;
use std::net::IpAddr;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Context as _, bail};

use super::docker::{self, docker};
use super::place::Place;
use crate::clean;
use crate::cluster::command::run;
use crate::cluster::namespace::Namespace;
use crate::cluster::processes::Plan;
use crate::cluster::processes::marks;
use crate::cluster::{Alive, Node, Role};
use crate::nemesis::Fault;
use crate::registry::Entry;

/// The image that runs take: that of a lab which a user has up stays what it is.
const TAG: &str = "chaos";
/// First two numbers of a run's networks; the first that nothing on this machine uses.
const NETS: [&str; 6] = ["172.28", "172.27", "172.26", "172.25", "172.24", "172.23"];

#[derive(Debug)]
pub(super) struct State {
    id: String,
    project: String,
    logs: PathBuf,
    /// The folder of `docker-compose.yml`.
    root: PathBuf,
    net: &'static str,
    /// None: it has been taken down.
    entry: Option<Entry>,
    places: Vec<Place>,
    addresses: HashMap<String, Vec<IpAddr>>,
    /// Those that hold, in the order in which they came.
    faults: Vec<Fault>,
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
        // Started from here it would carry the run's mark, and end with the run.
        docker(&["version"], &[])
            .context("Docker does not answer; scripts/setup-docker starts it")?;
        let mut state = Self {
            id: plan.id.clone(),
            project: docker::project(&plan.id),
            logs: std::path::absolute(&plan.folder)?.join("logs"),
            root: root()?,
            net: free_net()?,
            entry: Some(Entry::create(&plan.id, &plan.folder)?),
            places: Vec::new(),
            addresses: HashMap::new(),
            faults: Vec::new(),
        };
        // From here on, dropping the state removes what was made.
        let mut up = state.command("scripts/lab");
        up.arg("up").env("HIGUMA", std::path::absolute(&plan.binary)?);
        if let Some(envoy) = &plan.envoy {
            up.env("HIGUMA_ENVOY", std::path::absolute(envoy)?);
        }
        finish(&mut up)?;
        state.find()?;
        // What ends stays so: it is the harness that starts it again, and says so.
        let all = state.places.iter().flat_map(Place::ids).collect::<Vec<_>>();
        docker(&["update", "--restart=no"], &all)?;
        state.forbid_all()?;
        Ok(state)
    }

    /// A command about this run's lab.
    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command
            .current_dir(&self.root)
            .env("COMPOSE_PROJECT_NAME", &self.project)
            .env("HIGUMA_NET", self.net)
            .env("HIGUMA_TAG", TAG)
            .env(marks::MARK, &self.id)
            .env_remove("COMPOSE_PROFILES")
            .env_remove("HIGUMA_MUTANT")
            .stdin(Stdio::null());
        command
    }

    /// Reads who there is: those that run, and the spares that may join.
    fn find(&mut self) -> anyhow::Result<()> {
        // Made, not started, so that they are known with their addresses.
        let mut spares = self.command("docker");
        spares.args(["compose", "--profile", "spare", "create", "--no-recreate"]);
        finish(&mut spares)?;
        let containers = docker::containers(&self.project)?;
        let of = |container| Place::of(container, &self.project);
        let mut places: Vec<_> = containers.iter().filter_map(of).collect();
        for place in &mut places {
            let proxy = format!("{}-dp", place.containers[0].0);
            let proxy = containers.iter().find(|one| one.service() == proxy);
            place.containers.extend(proxy.map(|one| (one.service().to_owned(), one.id.clone())));
            if !place.out {
                place.enter(&[])?;
            }
        }
        places.sort_by(|a, b| (a.node.role, &a.node.name).cmp(&(b.node.role, &b.node.name)));
        let addresses = places.iter().map(|one| (one.node.name.clone(), one.addresses.clone()));
        self.addresses = addresses.collect();
        self.places = places;
        Ok(())
    }

    /// The lab lets everybody call everybody; who may call whom is the test's to say.
    fn forbid_all(&self) -> anyhow::Result<()> {
        let global = self.places.iter().find(|place| place.node.role == Role::Global);
        let global = global.context("the lab has no global")?.containers[0].1.clone();
        let words = ["higuma", "delete", "traffic-permission", "who-may-call"];
        let things = [vec![global], words.map(str::to_owned).to_vec()].concat();
        docker(&["exec"], &things).map(|_| ())
    }

    pub(super) fn nodes(&self) -> Vec<Node> {
        self.places.iter().map(|place| place.node.clone()).collect()
    }

    /// The network of each node that runs. A container that is started again has another.
    pub(super) fn namespaces(&self) -> HashMap<String, Namespace> {
        let named = |place: &Place| Some((place.node.name.clone(), place.namespace()?.clone()));
        self.places.iter().filter_map(named).collect()
    }

    pub(super) fn install(&mut self, fault: &Fault) -> anyhow::Result<()> {
        let known = |name: &&str| self.addresses.contains_key(*name);
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
        let Self { places, faults, addresses, .. } = self;
        let named = fault.nodes();
        for place in places.iter_mut().filter(|place| named.contains(&&*place.node.name)) {
            let settled = place.settle(faults, addresses);
            settled.with_context(|| format!("cannot do it to {}", place.node.name))?;
        }
        Ok(())
    }

    /// Starts a workload; says whether a fault keeps it from living.
    pub(super) fn join(&mut self, workload: &str) -> anyhow::Result<bool> {
        let mut first = self.command("docker");
        first.args(["compose", "--profile", "spare", "up", "--detach", "--no-deps"]);
        first.args(["--no-recreate", "--no-build"]);
        let Self { places, faults, addresses, .. } = self;
        let place = named(places, workload)?;
        if place.out {
            (place.out, place.down, place.paused) = (false, true, false);
            if place.new {
                // It is compose that puts a container's files into it, when it starts it.
                finish(first.args(place.services()))?;
                (place.new, place.down) = (false, false);
                place.enter(faults)?;
            }
            place.settle(faults, addresses)?;
        }
        Ok(place.down || place.paused)
    }

    /// Stops a workload in order; says whether that was possible, which it is not while it is
    /// paused.
    pub(super) fn leave(&mut self, workload: &str) -> anyhow::Result<bool> {
        let place = named(&mut self.places, workload)?;
        if place.paused {
            return Ok(false);
        }
        place.leave()?;
        Ok(true)
    }

    pub(super) fn alive(&self) -> anyhow::Result<Vec<Alive>> {
        self.places.iter().map(Place::alive).collect()
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

fn named<'a>(places: &'a mut [Place], workload: &str) -> anyhow::Result<&'a mut Place> {
    let mut workloads = places.iter_mut().filter(|place| place.node.role == Role::Workload);
    let found = workloads.find(|place| place.node.name == workload);
    found.with_context(|| format!("there is no workload {workload}"))
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
