//! Who there is: hosts, and what runs on each. A table, and nothing that is done with it.
//!
//! ```text
//! 10.77.0.1 to .3   the globals
//! 10.77.1.x         zone east: .1 its control plane, .2 and .3 its ingresses, from .10 workloads
//! 10.77.2.x         zone west, likewise
//! ```
//!
//! Every run has these addresses: its bridge is in a namespace of its own, so runs do not meet.
//!
//! | node | zone | service | calls, by its outbounds on loopback |
//! |---|---|---|---|
//! | `web` | east | web | backend 127.0.0.1:10001, billing 127.0.0.1:10002 |
//! | `backend-v1` | east | backend | |
//! | `web-2`, `backend-v1-2` | east | spares of the two | |
//! | `backend-v2` | west | backend | |
//! | `billing` | west | billing | backend 127.0.0.1:10001 |
//! | `backend-v2-2`, `billing-2` | west | spares of the two | |
//!
//! Every application is on its host's 127.0.0.1:8080, where only its own proxy reaches it; the
//! proxy's inbound is port 8000 of the host's address.

use std::fmt::Write as _;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

use super::Shape;
use super::folders::Folders;
use crate::cluster::{Node, Role};

pub(super) const DIAGNOSTICS: u16 = 5680;
const RAFT: u16 = 5684;
const KDS: u16 = 5685;
/// Bootstrap and ADS of a zone's control plane.
const ADS: u16 = 5678;
const INGRESS: u16 = 10001;
const APP: u16 = 8080;
const INBOUND: u16 = 8000;
/// A workload's first outbound; the next ones follow.
const OUTBOUND: u16 = 10001;
const GLOBALS: u8 = 3;

/// A host and what runs on it.
#[derive(Debug, Clone)]
pub(super) struct Host {
    pub(super) node: Node,
    /// In the order of their start.
    pub(super) programs: Vec<Program>,
    /// Does not run until it joins.
    pub(super) spare: bool,
}

/// A program as it will be started.
#[derive(Debug, Clone)]
pub(super) struct Program {
    pub(super) name: &'static str,
    /// Of the `higuma` binary.
    pub(super) argv: Vec<String>,
    /// What the program reads: path and contents.
    pub(super) file: Option<(PathBuf, String)>,
    /// Answers 200 once the program does its work or, if it waits for a mesh, lives.
    pub(super) probe: (SocketAddr, &'static str),
    /// Those of one stage start together and are waited for before the next.
    pub(super) stage: u8,
}

impl Program {
    pub(super) fn is_control_plane(&self) -> bool {
        matches!(self.name, "global" | "remote")
    }

    /// Whether it has this defect, and starts with it: those of KDS are a zone's, those of REST the
    /// global's, those of the store every control plane's.
    pub(super) fn has(&self, mutant: &str) -> bool {
        match mutant {
            "obey-rollback" | "empty-list-deletes" => self.name == "remote",
            "split-transaction" | "forget-keys" | "skip-versions" => self.name == "global",
            _ => self.is_control_plane(),
        }
    }
}

impl Host {
    /// Whether it has a file system of its own.
    pub(super) fn has_disk(&self) -> bool {
        matches!(self.node.role, Role::Global | Role::Remote)
    }
}

/// A zone: its name, the third number of its addresses, and its workloads.
struct Zone {
    name: &'static str,
    number: u8,
    workloads: &'static [Workload],
}

struct Workload {
    name: &'static str,
    service: &'static str,
    version: &'static str,
    calls: &'static [&'static str],
    spare: bool,
}

const ZONES: [Zone; 2] = [
    Zone {
        name: "east",
        number: 1,
        workloads: &[
            workload("web", "web", "v1", &["backend", "billing"]),
            workload("backend-v1", "backend", "v1", &[]),
            spare("web-2", "web", "v1", &["backend", "billing"]),
            spare("backend-v1-2", "backend", "v1", &[]),
        ],
    },
    Zone {
        name: "west",
        number: 2,
        workloads: &[
            workload("backend-v2", "backend", "v2", &[]),
            workload("billing", "billing", "v1", &["backend"]),
            spare("backend-v2-2", "backend", "v2", &[]),
            spare("billing-2", "billing", "v1", &["backend"]),
        ],
    },
];

const fn workload(
    name: &'static str,
    service: &'static str,
    version: &'static str,
    calls: &'static [&'static str],
) -> Workload {
    Workload { name, service, version, calls, spare: false }
}

const fn spare(
    name: &'static str,
    service: &'static str,
    version: &'static str,
    calls: &'static [&'static str],
) -> Workload {
    Workload { spare: true, ..workload(name, service, version, calls) }
}

/// All hosts, control planes first.
pub(super) fn hosts(folders: &Folders, shape: Shape) -> Vec<Host> {
    let mut hosts: Vec<_> = (1..=GLOBALS).map(|number| global(folders, number)).collect();
    let Shape::Whole { west_ingresses } = shape else { return hosts };
    hosts.extend(ZONES.iter().map(|zone| remote(folders, zone)));
    for zone in &ZONES {
        let ingresses = if zone.name == "west" { west_ingresses } else { 1 };
        hosts.extend((1..=ingresses.clamp(1, 2)).map(|n| ingress(folders, zone, n)));
        let numbers = 10u8..;
        let workloads = zone.workloads.iter().zip(numbers);
        hosts.extend(workloads.map(|(workload, n)| application(folders, zone, workload, n)));
    }
    hosts
}

fn address(zone: u8, host: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, 77, zone, host)
}

fn node(name: &str, role: Role, zone: Option<&Zone>, host: u8) -> Node {
    Node {
        name: name.to_owned(),
        role,
        zone: zone.map(|zone| zone.name.to_owned()),
        address: address(zone.map_or(0, |zone| zone.number), host).into(),
    }
}

fn global(folders: &Folders, number: u8) -> Host {
    let name = format!("global-{number}");
    let node = node(&name, Role::Global, None, number);
    let members: Vec<_> = (1..=GLOBALS).map(|n| format!("{n}={}:{RAFT}", address(0, n))).collect();
    let mut argv = words(&["global", "run", "--node-id", &number.to_string()]);
    argv.extend(words(&["--data-dir", &shown(&folders.data(&name))]));
    argv.extend(words(&["--members", &members.join(","), "--bind", &node.address.to_string()]));
    argv.extend(folders.tls(&name));
    Host { node, programs: vec![program("global", argv, "/ready", 0)], spare: false }
}

fn remote(folders: &Folders, zone: &Zone) -> Host {
    let node = node(zone.name, Role::Remote, Some(zone), 1);
    let globals: Vec<_> = (1..=GLOBALS).map(|n| format!("{}:{KDS}", address(0, n))).collect();
    let data = shown(&folders.data(zone.name));
    let mut argv = words(&["remote", "run", "--zone", zone.name, "--data-dir", &data]);
    argv.extend(words(&["--global", &globals.join(","), "--bind", &node.address.to_string()]));
    argv.extend(folders.tls(zone.name));
    Host { node, programs: vec![program("remote", argv, "/ready", 1)], spare: false }
}

fn ingress(folders: &Folders, zone: &Zone, number: u8) -> Host {
    let tail = if number == 1 { String::new() } else { format!("-{number}") };
    let name = format!("{}-ingress{tail}", zone.name);
    let node = node(&name, Role::Ingress, Some(zone), 1 + number);
    let address = node.address;
    let manifest = format!(
        "type: ZoneIngress\nname: {name}\nnetworking:\n  address: {address}\n  port: {INGRESS}\n  \
         advertisedAddress: {address}\n  advertisedPort: {INGRESS}\n"
    );
    let argv = words(&["ingress", "run", "--ingress-file"]);
    let program = with_envoy(folders, zone, program("ingress", argv, "/healthy", 2), &name);
    Host { node, programs: vec![with_file(program, manifest)], spare: false }
}

fn application(folders: &Folders, zone: &Zone, workload: &Workload, number: u8) -> Host {
    let Workload { name, service, version, calls, spare } = *workload;
    let node = node(name, Role::Workload, Some(zone), number);
    let mut argv = words(&["demo-app", "--bind", &format!("127.0.0.1:{APP}")]);
    argv.extend(words(&["--service", service, "--version", version]));
    argv.extend(words(&["--zone", zone.name, "--instance", name]));
    for (service, port) in calls.iter().zip(OUTBOUND..) {
        argv.extend(words(&["--upstream", &format!("{service}=http://127.0.0.1:{port}")]));
    }
    let app =
        Program { probe: ((Ipv4Addr::LOCALHOST, APP).into(), "/"), ..program("app", argv, "/", 1) };
    let proxy = program("dp", words(&["dp", "run", "--dataplane-file"]), "/healthy", 2);
    let proxy = with_envoy(folders, zone, proxy, name);
    let manifest = dataplane(workload, &node);
    Host { node, programs: vec![app, with_file(proxy, manifest)], spare }
}

fn dataplane(workload: &Workload, node: &Node) -> String {
    let Workload { name, service, version, .. } = workload;
    let mut text = format!(
        "type: Dataplane\nmesh: default\nname: {name}\nnetworking:\n  address: {}\n  \
         inbound:\n  - port: {INBOUND}\n    servicePort: {APP}\n    serviceAddress: 127.0.0.1\n    \
         tags: {{kuma.io/service: {service}, version: {version}, kuma.io/protocol: http}}\n",
        node.address
    );
    if !workload.calls.is_empty() {
        text.push_str("  outbound:\n");
    }
    for (service, port) in workload.calls.iter().zip(OUTBOUND..) {
        let outbound = writeln!(
            text,
            "  - port: {port}\n    address: 127.0.0.1\n    tags: {{kuma.io/service: {service}}}"
        );
        outbound.expect("invariant: a String takes all that is written to it");
    }
    text
}

/// The rest of a program that runs an Envoy, which is the same for all.
fn with_envoy(folders: &Folders, zone: &Zone, mut program: Program, node: &str) -> Program {
    let path = folders.proxies().join(format!("{node}.yaml"));
    let cp = format!("{}:{ADS}", address(zone.number, 1));
    let (ca, work) = (shown(&folders.ca()), shown(&folders.proxies()));
    program.argv.extend(words(&[&shown(&path), "--cp", &cp, "--tls-ca", &ca]));
    program.argv.extend(words(&["--work-dir", &work, "--concurrency", "1"]));
    program.argv.extend(words(&["--drain-time", "2s"]));
    program.file = Some((path, String::new()));
    program
}

fn with_file(mut program: Program, text: String) -> Program {
    program.file = program.file.map(|(path, _)| (path, text));
    program
}

fn program(name: &'static str, argv: Vec<String>, path: &'static str, stage: u8) -> Program {
    let probe = ((Ipv4Addr::LOCALHOST, DIAGNOSTICS).into(), path);
    Program { name, argv, file: None, probe, stage }
}

fn words(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}

pub(super) fn shown(path: &Path) -> String {
    path.display().to_string()
}
