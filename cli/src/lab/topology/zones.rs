//! The two zones: for each a control plane, an ingress, and workloads, which are an application
//! beside a proxy.

use std::fmt::Write as _;

use super::{DIAGNOSTICS, GLOBALS, KDS, Layout, Plan, REST, Role, words};

/// Bootstrap and ADS of a zone's control plane.
const ADS: u16 = 5678;
const DNS: u16 = 5653;
/// Envoy's.
const ADMIN: u16 = 9901;
/// Where other zones come in.
const INGRESS: u16 = 10001;
/// An application's own port; the mesh reaches it through its proxy's.
const APP: u16 = 8080;
const INBOUND: u16 = 8000;
/// A workload's first outbound; the next ones follow.
const OUTBOUND: u16 = 10001;
/// The lab's connections are short.
const DRAIN: &str = "2s";

struct Zone {
    name: &'static str,
    /// The third number of its addresses.
    number: u8,
    workloads: &'static [Workload],
}

struct Workload {
    name: &'static str,
    service: &'static str,
    version: &'static str,
    /// The last number of its address.
    host: u8,
    /// Services that it calls, by outbounds on its own address.
    calls: &'static [&'static str],
    spare: bool,
}

const ZONES: [Zone; 2] = [
    Zone {
        name: "east",
        number: 1,
        workloads: &[
            workload("web", "web", "v1", 10, &["backend", "billing"]),
            workload("backend-v1", "backend", "v1", 11, &[]),
        ],
    },
    Zone {
        name: "west",
        number: 2,
        workloads: &[
            workload("backend-v2", "backend", "v2", 11, &[]),
            workload("billing", "billing", "v1", 12, &["backend"]),
            Workload { spare: true, ..workload("billing-2", "billing", "v1", 13, &["backend"]) },
        ],
    },
];

const fn workload(
    name: &'static str,
    service: &'static str,
    version: &'static str,
    host: u8,
    calls: &'static [&'static str],
) -> Workload {
    Workload { name, service, version, host, calls, spare: false }
}

/// Control planes and applications first, then what registers with them.
pub(super) fn plans(layout: &Layout) -> Vec<Plan> {
    let mut plans: Vec<_> = ZONES.iter().map(|zone| remote(layout, zone)).collect();
    plans.extend(ZONES.iter().map(|zone| ingress(layout, zone)));
    for zone in &ZONES {
        for workload in zone.workloads {
            plans.push(app(layout, zone, workload));
            plans.push(proxy(layout, zone, workload));
        }
    }
    plans
}

fn remote(layout: &Layout, zone: &Zone) -> Plan {
    let name = format!("remote-{}", zone.name);
    let address = layout.base.address(zone.number, 1);
    let globals: Vec<_> =
        (1..=GLOBALS).map(|n| format!("{}:{KDS}", layout.base.address(0, n))).collect();
    let data = layout.data().join(&name).display().to_string();
    let mut argv = words(&["remote", "run", "--zone", zone.name, "--data-dir", &data]);
    argv.extend(words(&["--global", &globals.join(","), "--bind", &address.to_string()]));
    argv.extend(layout.tls(&name));
    Plan {
        name,
        workload: None,
        zone: Some(zone.name),
        role: Role::Remote,
        address: address.into(),
        argv,
        file: None,
        ports: vec![DIAGNOSTICS, REST, ADS, DNS],
        probe: format!("http://{address}:{DIAGNOSTICS}/ready"),
        stage: 1,
        spare: false,
    }
}

fn ingress(layout: &Layout, zone: &Zone) -> Plan {
    let name = format!("ingress-{}", zone.name);
    let address = layout.base.address(zone.number, 2);
    let manifest = format!(
        "type: ZoneIngress\nname: {name}\nnetworking:\n  address: {address}\n  port: {INGRESS}\n  \
         advertisedAddress: {address}\n  advertisedPort: {INGRESS}\n"
    );
    let plan = Plan {
        name,
        workload: None,
        zone: Some(zone.name),
        role: Role::Ingress,
        address: address.into(),
        argv: words(&["ingress", "run", "--ingress-file"]),
        file: None,
        ports: vec![INGRESS],
        probe: String::new(),
        stage: 2,
        spare: false,
    };
    with_envoy(layout, zone, plan, manifest)
}

fn app(layout: &Layout, zone: &Zone, workload: &Workload) -> Plan {
    let address = layout.base.address(zone.number, workload.host);
    let mut argv = words(&["demo-app", "--bind", &format!("{address}:{APP}")]);
    argv.extend(words(&["--service", workload.service, "--version", workload.version]));
    argv.extend(words(&["--zone", zone.name, "--instance", workload.name]));
    for (service, port) in workload.calls.iter().zip(OUTBOUND..) {
        argv.extend(words(&["--upstream", &format!("{service}=http://{address}:{port}")]));
    }
    Plan {
        name: format!("{}-app", workload.name),
        workload: Some(workload.name),
        zone: Some(zone.name),
        role: Role::App,
        address: address.into(),
        argv,
        file: None,
        ports: vec![APP],
        probe: format!("http://{address}:{APP}/"),
        stage: 1,
        spare: workload.spare,
    }
}

fn proxy(layout: &Layout, zone: &Zone, workload: &Workload) -> Plan {
    let address = layout.base.address(zone.number, workload.host);
    let outbounds = OUTBOUND..OUTBOUND + u16::try_from(workload.calls.len()).unwrap_or(0);
    let plan = Plan {
        name: format!("{}-dp", workload.name),
        workload: Some(workload.name),
        zone: Some(zone.name),
        role: Role::Proxy,
        address: address.into(),
        argv: words(&["dp", "run", "--dataplane-file"]),
        file: None,
        ports: std::iter::once(INBOUND).chain(outbounds).collect(),
        probe: String::new(),
        stage: 2,
        spare: workload.spare,
    };
    with_envoy(layout, zone, plan, dataplane(workload, &address.to_string()))
}

fn dataplane(workload: &Workload, address: &str) -> String {
    let Workload { name, service, version, .. } = workload;
    let mut text = format!(
        "type: Dataplane\nmesh: default\nname: {name}\nnetworking:\n  address: {address}\n  \
         inbound:\n  - port: {INBOUND}\n    servicePort: {APP}\n    serviceAddress: {address}\n    \
         tags: {{kuma.io/service: {service}, version: {version}, kuma.io/protocol: http}}\n"
    );
    if !workload.calls.is_empty() {
        text.push_str("  outbound:\n");
    }
    for (service, port) in workload.calls.iter().zip(OUTBOUND..) {
        let outbound = writeln!(
            text,
            "  - port: {port}\n    address: {address}\n    tags: {{kuma.io/service: {service}}}"
        );
        outbound.expect("invariant: a String takes all that is written to it");
    }
    text
}

/// The rest of a process that runs an Envoy, which is the same for all.
fn with_envoy(layout: &Layout, zone: &Zone, mut plan: Plan, manifest: String) -> Plan {
    let folder = layout.proxies();
    let file = folder.join(format!("{}.yaml", plan.name));
    let (path, work) = (file.display().to_string(), folder.display().to_string());
    let cp = format!("{}:{ADS}", layout.base.address(zone.number, 1));
    let (address, ca) = (plan.address, layout.ca().display().to_string());
    plan.argv.extend(words(&[&path, "--cp", &cp, "--tls-ca", &ca, "--work-dir", &work]));
    plan.argv.extend(words(&["--admin", &format!("{address}:{ADMIN}")]));
    plan.argv.extend(words(&["--diagnostics", &format!("{address}:{DIAGNOSTICS}")]));
    plan.argv.extend(words(&["--concurrency", "1", "--drain-time", DRAIN]));
    plan.ports.extend([ADMIN, DIAGNOSTICS]);
    plan.probe = format!("http://{address}:{DIAGNOSTICS}/healthy");
    plan.file = Some((file, manifest));
    plan
}
