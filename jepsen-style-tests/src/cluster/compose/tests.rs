//! A real lab: needs root, Docker, an Envoy and the built `higuma` beside.

use std::path::{Path, PathBuf};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::time::timeout;

use super::*;
use crate::cluster::Role;
use crate::cluster::processes::Shape;

const REST: u16 = 5681;
const LIMIT: Duration = Duration::from_secs(30);

fn plan() -> (Plan, tempfile::TempDir) {
    let target = std::env::current_exe().unwrap().ancestors().nth(2).unwrap().to_owned();
    let folder = tempfile::Builder::new().prefix("chaos-").tempdir_in(&target).unwrap();
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let envoy = std::env::var_os("HIGUMA_ENVOY").map(PathBuf::from);
    let plan = Plan {
        id: format!("c{}", std::process::id()),
        folder: folder.path().to_owned(),
        binary: target.join("higuma"),
        envoy: Some(envoy.unwrap_or_else(|| root.join(".tools/envoy-1.40.0/envoy"))),
        mutant: None,
        shape: Shape::Whole { west_ingresses: 2 },
        clocks: false,
    };
    (plan, folder)
}

/// The status of a GET from the node's own network.
async fn get(cluster: &Compose, node: &str, port: u16, path: &str) -> std::io::Result<u16> {
    let mut stream = cluster.connect(node, (Ipv4Addr::LOCALHOST, port).into()).await?;
    let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    let status = answer.split(' ').nth(1).and_then(|status| status.parse().ok());
    status.ok_or_else(|| std::io::Error::other(answer))
}

async fn until(what: &str, cluster: &Compose, node: &str, port: u16, path: &str) {
    let answered = async {
        while !matches!(get(cluster, node, port, path).await, Ok(200)) {
            tokio::time::sleep(LOOK).await;
        }
    };
    timeout(LIMIT, answered).await.unwrap_or_else(|_| panic!("{what}"));
}

fn nodes(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

/// Everything in one: a lab takes half a minute to come up.
#[tokio::test(flavor = "multi_thread")]
async fn a_lab_is_broken_and_mended_and_leaves_nothing() {
    let (plan, _folder) = plan();
    let cluster = Compose::up(plan.clone()).await.unwrap();
    let of = |role| cluster.nodes().iter().filter(|node| node.role == role).count();
    let roles = [Role::Global, Role::Remote, Role::Ingress, Role::Workload];
    assert_eq!(roles.map(of), [3, 2, 3, 8], "{:?}", cluster.nodes());
    let address = |name: &str| cluster.nodes().iter().find(|n| n.name == name).unwrap().address;
    assert_eq!(get(&cluster, "west", REST, "/zones").await.unwrap(), 200);
    let dns = cluster.connect("web", (address("east"), DNS).into());
    assert!(dns.await.is_ok(), "the zone's DNS, by the port that processes have");

    let kill = Fault::Kill { nodes: nodes(&["global-1", "billing"]) };
    let pause = Fault::Pause { nodes: nodes(&["global-1"]) };
    for fault in [&pause, &kill] {
        cluster.install(fault).await.unwrap();
    }
    assert!(get(&cluster, "global-1", REST, "/zones").await.is_err());
    let alive = cluster.alive().await.unwrap();
    assert!(alive.iter().all(|one| one.dead.is_empty() && one.node != "billing"), "{alive:?}");
    cluster.heal(&kill).await.unwrap();
    let paused = timeout(Duration::from_millis(500), get(&cluster, "global-1", REST, "/zones"));
    assert!(paused.await.is_err(), "it is paused still");
    cluster.heal(&pause).await.unwrap();
    until("global-1 is back", &cluster, "global-1", REST, "/zones").await;
    until("billing is back", &cluster, "billing", APP, "/").await;

    let kds = (address("global-2"), 5684).into();
    let all = nodes(&["global-2", "global-3"]);
    let apart = Fault::Partition { left: nodes(&["global-1"]), right: all };
    assert!(cluster.connect("global-1", kds).await.is_ok());
    cluster.install(&apart).await.unwrap();
    let reached = timeout(Duration::from_secs(2), cluster.connect("global-1", kds)).await;
    assert!(reached.is_err(), "a partition lets through: {reached:?}");
    cluster.heal(&apart).await.unwrap();
    assert!(timeout(LIMIT, cluster.connect("global-1", kds)).await.unwrap().is_ok());
    let cut = Fault::PowerCut { nodes: nodes(&["global-1"]) };
    assert!(matches!(cluster.install(&cut).await, Err(FaultError::Unsupported(_))));

    assert!(get(&cluster, "web-2", APP, "/").await.is_err(), "a spare runs before it joins");
    cluster.join("web-2").await.unwrap();
    assert_eq!(get(&cluster, "web-2", APP, "/").await.unwrap(), 200);
    cluster.leave("web-2").await.unwrap();
    assert!(get(&cluster, "web-2", APP, "/").await.is_err(), "it has left");

    cluster.down().await.unwrap();
    assert_eq!(docker::remove(&plan.id).unwrap(), [""; 0], "something was left");
    assert!(plan.folder.join("logs/global-1.log").is_file());
}
