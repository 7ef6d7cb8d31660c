//! A node of the lab with its containers, and how it is brought to what is wanted of it.

use std::collections::HashMap;
use std::net::IpAddr;
use std::path::Path;

use anyhow::{Context as _, bail};

use super::docker::{self, Container, docker};
use crate::cluster::links::Links;
use crate::cluster::namespace::Namespace;
use crate::cluster::{Alive, Node, Role};
use crate::nemesis::Fault;

/// Lines of a dead container's log.
const LAST_WORDS: &str = "5";

/// Tries to pause or unpause a container: the freezer of cgroup v1 gives up on a busy one now and
/// then ("unable to freeze").
const FREEZES: usize = 10;

/// Services that ended, each with the end of its log.
type Ended = Vec<(String, String)>;

/// A node and its containers.
#[derive(Debug)]
pub(super) struct Place {
    pub(super) node: Node,
    /// In all networks that it is in.
    pub(super) addresses: Vec<IpAddr>,
    /// Services and ids; the one that has the network first.
    pub(super) containers: Vec<(String, String)>,
    /// Of its network; none while it does not run. One that is started again has another.
    links: Option<Links>,
    /// What ended by itself, with the end of its log: known even after it was started again.
    dead: Ended,
    pub(super) down: bool,
    pub(super) paused: bool,
    /// A workload that has not joined, or has left.
    pub(super) out: bool,
    /// Its containers were made and never started.
    pub(super) new: bool,
}

impl Place {
    /// A node of the test, if a container is one. Names are those that processes have.
    pub(super) fn of(container: &Container, project: &str) -> Option<Self> {
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
        let address = |(name, endpoint): (&String, &docker::Endpoint)| {
            let network = name.strip_prefix(project)?.strip_prefix('_')?.to_owned();
            Some((network, IpAddr::V4(endpoint.fixed.as_ref()?.address?)))
        };
        let addresses: Vec<_> =
            container.network_settings.networks.iter().filter_map(address).collect();
        let (_, address) = *addresses.iter().find(|(name, _)| *name == network)?;
        let zone = (!zone.is_empty()).then(|| zone.to_owned());
        Some(Self {
            node: Node { name, role, zone, address },
            addresses: addresses.iter().map(|(_, address)| *address).collect(),
            containers: vec![(service.to_owned(), container.id.clone())],
            links: None,
            dead: Vec::new(),
            down: false,
            paused: false,
            out: !container.state.running,
            new: !container.state.running,
        })
    }

    pub(super) fn services(&self) -> impl Iterator<Item = &str> {
        self.containers.iter().map(|(service, _)| &**service)
    }

    pub(super) fn ids(&self) -> Vec<String> {
        self.containers.iter().map(|(_, id)| id.clone()).collect()
    }

    /// None: it does not run.
    pub(super) fn namespace(&self) -> Option<&Namespace> {
        self.links.as_ref().map(Links::namespace)
    }

    /// Brings it to what all faults together want, whatever it was before.
    pub(super) fn settle(
        &mut self,
        faults: &[Fault],
        addresses: &HashMap<String, Vec<IpAddr>>,
    ) -> anyhow::Result<()> {
        if self.out {
            return Ok(());
        }
        let held = |is: fn(&Fault) -> bool| {
            faults.iter().any(|fault| is(fault) && fault.nodes().contains(&&*self.node.name))
        };
        let paused = held(|fault| matches!(fault, Fault::Pause { .. }));
        if held(|fault| matches!(fault, Fault::Kill { .. })) {
            return self.kill();
        }
        if self.down {
            // In their order: the second has the first one's network.
            for id in self.ids() {
                docker(&["start"], &[id])?;
            }
            self.down = false;
            self.enter(faults)?;
        }
        if let Some(links) = &mut self.links {
            links.settle(faults, addresses)?;
        }
        if paused != self.paused {
            self.ids().iter().try_for_each(|id| freeze(id, paused))?;
            self.paused = paused;
        }
        Ok(())
    }

    /// Opens the network that it has from its start on.
    pub(super) fn enter(&mut self, faults: &[Fault]) -> anyhow::Result<()> {
        let container = docker::inspect(&self.ids()[..1])?;
        let pid = container.first().map_or(0, |container| container.state.pid);
        if pid <= 0 {
            bail!("{} does not run", self.node.name);
        }
        let path = Path::new("/proc").join(pid.to_string()).join("ns/net");
        let namespace = Namespace::open(&path)
            .with_context(|| format!("cannot open the network of {}", self.node.name))?;
        self.links = Some(Links::made_under(faults, &self.node.name, namespace));
        Ok(())
    }

    fn kill(&mut self) -> anyhow::Result<()> {
        if !self.down {
            let (running, ended) = self.states()?;
            // What ended by itself cannot be killed, and is not forgotten.
            self.dead.extend(ended);
            if !running.is_empty() {
                docker(&["kill"], &running)?;
            }
        }
        (self.down, self.paused, self.links) = (true, false, None);
        Ok(())
    }

    /// Stops a workload in order, the proxy first. Each has a grace that is longer than it takes to
    /// drain.
    pub(super) fn leave(&mut self) -> anyhow::Result<()> {
        self.out = true;
        if !self.down {
            for id in self.ids().into_iter().rev() {
                docker(&["stop", "--time", "15"], &[id])?;
            }
        }
        self.links = None;
        Ok(())
    }

    /// The ids of those that run, and what is known of those that should and do not.
    fn states(&self) -> anyhow::Result<(Vec<String>, Ended)> {
        let (mut running, mut ended) = (Vec::new(), Vec::new());
        for (container, (service, id)) in docker::inspect(&self.ids())?.iter().zip(&self.containers)
        {
            if container.state.running {
                running.push(id.clone());
            } else {
                let words = docker::last_words(id, LAST_WORDS)?;
                ended.push((service.clone(), words));
            }
        }
        Ok((running, ended))
    }

    /// What should run and does not, or did not at some time.
    pub(super) fn alive(&self) -> anyhow::Result<Alive> {
        let mut dead = self.dead.clone();
        if !self.down && !self.out {
            dead.extend(self.states()?.1);
        }
        Ok(Alive { node: self.node.name.clone(), dead })
    }
}

/// Brings a container to being paused or not.
fn freeze(id: &str, paused: bool) -> anyhow::Result<()> {
    let id = [id.to_owned()];
    let mut last = Ok(());
    for _ in 0..FREEZES {
        let Err(why) = docker(&[if paused { "pause" } else { "unpause" }], &id) else {
            return Ok(());
        };
        if docker::inspect(&id)?.iter().all(|container| container.state.paused == paused) {
            return Ok(());
        }
        last = Err(why);
    }
    last
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

    #[test]
    fn a_container_is_a_node_where_the_test_has_one() {
        let container = |role: &str, mesh: &str| -> Container {
            let text = format!(
                r#"{{"Id": "c1", "State": {{"Running": true, "Paused": false, "Pid": 7}}, "Config": {{"Labels": {{
                "com.docker.compose.service": "web", "higuma.role": "{role}",
                "higuma.zone": "east", "higuma.mesh": "{mesh}"}}}}, "NetworkSettings":
                {{"Networks": {{"p_into-west": {{"IPAMConfig": {{"IPv4Address": "10.0.22.1"}}}},
                "p_zone-east": {{"IPAMConfig": {{"IPv4Address": "10.0.11.1"}}}}}}}}}}"#
            );
            serde_json::from_str(&text).unwrap()
        };
        let web = Place::of(&container("app", "default"), "p").unwrap();
        assert_eq!((&*web.node.name, web.node.role), ("web", Role::Workload));
        assert_eq!(web.node.address, IpAddr::from([10, 0, 11, 1]));
        assert_eq!((web.addresses.len(), web.out), (2, false));
        for (role, mesh) in [("proxy", "default"), ("app", "partner"), ("setup", "")] {
            assert!(Place::of(&container(role, mesh), "p").is_none(), "{role} of {mesh:?}");
        }
    }
}
