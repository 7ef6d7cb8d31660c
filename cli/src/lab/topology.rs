//! Who is in the lab: a table of processes, and nothing that is done with it.
//!
//! ```text
//! 127.N.0.1 to .3   the globals
//! 127.N.1.x         zone east: .1 its control plane, .2 its ingress, from .10 its workloads
//! 127.N.2.x         zone west, likewise
//! ```

mod zones;

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;

use higuma_model::ClusterName;
use higuma_serve::pki::Subject;

use crate::certificates;

pub(super) const DEFAULT_BASE: &str = "127.77";

const REST: u16 = 5681;
const DIAGNOSTICS: u16 = 5680;
const RAFT: u16 = 5684;
/// Where zones connect to.
const KDS: u16 = 5685;
const GLOBALS: u8 = 3;
/// In the certificates of the lab's globals and zones.
const CLUSTER_NAME: &str = "lab";

/// The first two numbers of the lab's addresses; the first is 127, so that all are loopback.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Base(pub(super) u8);

/// Reads `127.N`.
pub(super) fn base(text: &str) -> Result<Base, String> {
    let number = text.strip_prefix("127.").and_then(|rest| rest.parse().ok());
    // 127.0.0.1 is what other programs of this machine listen on.
    let number = number.filter(|number| *number > 0);
    number.map(Base).ok_or_else(|| "use 127.1 to 127.255: all addresses are loopback".to_owned())
}

impl Base {
    /// `127.N.zone.host`; zone 0 is the global.
    pub(super) fn address(self, zone: u8, host: u8) -> Ipv4Addr {
        Ipv4Addr::new(127, self.0, zone, host)
    }
}

/// Where a lab is, and how much of it there is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Layout {
    /// Absolute.
    pub(super) folder: PathBuf,
    pub(super) base: Base,
    /// No zones.
    pub(super) globals_only: bool,
}

/// What a process does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    Global,
    Remote,
    Ingress,
    App,
    Proxy,
}

impl Role {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Global => "global",
            Self::Remote => "remote",
            Self::Ingress => "ingress",
            Self::App => "app",
            Self::Proxy => "proxy",
        }
    }

    /// Who is called over TLS; the others need only the CA.
    pub(super) fn has_certificate(self) -> bool {
        matches!(self, Self::Global | Self::Remote)
    }

    /// An Envoy is ready only when it has a mesh, which nobody has applied when the lab comes up.
    pub(super) fn waits_for_mesh(self) -> bool {
        matches!(self, Self::Ingress | Self::Proxy)
    }
}

/// A process as it will be started.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Plan {
    pub(super) name: String,
    /// Names the processes of one workload together.
    pub(super) workload: Option<&'static str>,
    /// None: the global.
    pub(super) zone: Option<&'static str>,
    pub(super) role: Role,
    pub(super) address: IpAddr,
    /// Of this binary.
    pub(super) argv: Vec<String>,
    /// What the process reads: path and contents.
    pub(super) file: Option<(PathBuf, String)>,
    /// Must be free before the start; the first one that is not is named.
    pub(super) ports: Vec<u16>,
    /// Answers 200 once the process does its work or, if it waits for a mesh, lives.
    pub(super) probe: String,
    /// Those of one stage start together and are waited for before the next.
    pub(super) stage: u8,
    /// `lab up` does not start it, `lab start` does.
    pub(super) spare: bool,
}

impl Plan {
    /// Whether `name` means this process, by itself or with the rest of its workload.
    pub(super) fn is_named(&self, name: &str) -> bool {
        self.name == name || self.workload == Some(name)
    }
}

impl Layout {
    pub(super) fn logs(&self) -> PathBuf {
        self.folder.join("logs")
    }

    pub(super) fn log(&self, name: &str) -> PathBuf {
        self.logs().join(format!("{name}.log"))
    }

    pub(super) fn pki(&self) -> PathBuf {
        self.folder.join("pki")
    }

    pub(super) fn data(&self) -> PathBuf {
        self.folder.join("data")
    }

    /// What proxies are told of themselves, and their Envoys' files.
    pub(super) fn proxies(&self) -> PathBuf {
        self.folder.join("proxies")
    }

    /// All that the lab makes in its folder, besides its record.
    pub(super) fn folders(&self) -> [PathBuf; 4] {
        [self.logs(), self.pki(), self.data(), self.proxies()]
    }

    pub(super) fn ca(&self) -> PathBuf {
        certificates::ca(&self.pki())
    }

    /// Certificate and key of a process.
    pub(super) fn certificate(&self, name: &str) -> (PathBuf, PathBuf) {
        certificates::of(&self.pki(), name)
    }

    /// What operators talk to.
    pub(super) fn servers(&self) -> Vec<String> {
        (1..=GLOBALS).map(|n| format!("{}:{REST}", self.base.address(0, n))).collect()
    }

    fn tls(&self, name: &str) -> Vec<String> {
        let (certificate, key) = self.certificate(name);
        [("--tls-ca", self.ca()), ("--tls-cert", certificate), ("--tls-key", key)]
            .into_iter()
            .flat_map(|(flag, path)| [flag.to_owned(), path.display().to_string()])
            .collect()
    }
}

/// All processes, in the order of their start.
pub(super) fn plans(layout: &Layout) -> Vec<Plan> {
    let globals = (1..=GLOBALS).map(|node| global(layout, node));
    let zones = if layout.globals_only { Vec::new() } else { zones::plans(layout) };
    globals.chain(zones).collect()
}

/// What the certificates of the processes say that have one.
pub(super) fn subjects(layout: &Layout) -> Vec<Subject> {
    let cluster: ClusterName = CLUSTER_NAME.parse().expect("invariant: the lab's name is valid");
    let nodes = (1..=GLOBALS).map(|node| (format!("global-{node}"), cluster.node_uri(node.into())));
    let nodes: BTreeMap<_, _> = nodes.collect();
    let called = plans(layout).into_iter().filter(|plan| plan.role.has_certificate());
    let subject = |plan: Plan| {
        let of_zone = plan.zone.map(|zone| cluster.zone_uri(zone));
        let uris = nodes.get(&plan.name).cloned().or(of_zone).into_iter().collect();
        Subject { common_name: plan.name, ips: vec![plan.address], uris, ..Subject::default() }
    };
    called.map(subject).collect()
}

fn global(layout: &Layout, node: u8) -> Plan {
    let name = format!("global-{node}");
    let address = layout.base.address(0, node);
    let members: Vec<_> =
        (1..=GLOBALS).map(|n| format!("{n}={}:{RAFT}", layout.base.address(0, n))).collect();
    let mut argv = words(&["global", "run", "--node-id"]);
    argv.push(node.to_string());
    argv.extend(words(&["--data-dir", &layout.data().join(&name).display().to_string()]));
    argv.extend(words(&["--members", &members.join(","), "--bind", &address.to_string()]));
    argv.extend(layout.tls(&name));
    argv.extend(words(&["--cluster-name", CLUSTER_NAME]));
    Plan {
        name,
        workload: None,
        zone: None,
        role: Role::Global,
        address: address.into(),
        argv,
        file: None,
        ports: vec![DIAGNOSTICS, REST, RAFT, KDS],
        probe: format!("http://{address}:{DIAGNOSTICS}/ready"),
        stage: 0,
        spare: false,
    }
}

fn words(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use clap::Parser as _;

    use super::*;

    #[test]
    fn every_process_has_an_address_and_a_command_line_of_its_own() {
        let layout =
            Layout { folder: "/l".into(), base: base("127.77").unwrap(), globals_only: false };
        let plans = plans(&layout);
        let names: HashSet<_> = plans.iter().map(|plan| &plan.name).collect();
        let ports = plans.iter().flat_map(|plan| plan.ports.iter().map(|p| (plan.address, *p)));
        let all: Vec<_> = ports.collect();
        let listeners: HashSet<_> = all.iter().collect();
        assert_eq!((names.len(), listeners.len()), (plans.len(), all.len()));
        assert_eq!((plans.len(), plans.iter().filter(|plan| plan.spare).count()), (17, 2));
        for plan in &plans {
            let argv = std::iter::once("higuma".to_owned()).chain(plan.argv.clone());
            if let Err(error) = crate::args::Arguments::try_parse_from(argv) {
                panic!("{}: {error}", plan.name);
            }
        }
        assert_eq!(layout.servers()[2], "127.77.0.3:5681");
        assert!(plans[1].argv.join(" ").contains("--tls-key /l/pki/global-2-key.pem"));
    }

    #[test]
    fn bases_are_loopback_and_not_everyones() {
        assert_eq!(base("127.200"), Ok(Base(200)));
        for wrong in ["127.0", "10.1", "127", "127.256", "127.1.2", ""] {
            assert!(base(wrong).unwrap_err().contains("127.1 to 127.255"), "{wrong}");
        }
    }

    #[test]
    fn proxies_are_told_what_is_valid() {
        let folder = tempfile::tempdir().unwrap();
        let base = base("127.77").unwrap();
        let layout = Layout { folder: folder.path().to_owned(), base, globals_only: false };
        let plans = plans(&layout);
        let proxies: Vec<_> = plans.iter().filter(|plan| plan.role.waits_for_mesh()).collect();
        assert_eq!(proxies.len(), 2 + 5);
        for plan in proxies {
            let (path, text) = plan.file.as_ref().unwrap();
            assert!(path.starts_with(layout.proxies()), "{}", path.display());
            let kind = match plan.role {
                Role::Ingress => higuma_model::Kind::ZoneIngress,
                _ => higuma_model::Kind::Dataplane,
            };
            let value: serde_json::Value = serde_saphyr::from_str(text).unwrap();
            let document = higuma_model::Document::parse(value).unwrap();
            assert_eq!(document.kind, kind, "{}", plan.name);
            if let Err(violations) = higuma_model::check(&document, true) {
                panic!("{}: {violations:?}", plan.name);
            }
        }
        assert_eq!(plans.iter().filter(|plan| plan.is_named("web")).count(), 2);
        assert_eq!(plans.iter().filter(|plan| plan.is_named("web-dp")).count(), 1);
    }
}
