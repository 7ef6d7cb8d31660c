//! Real processes, namespaces and file systems: needs root and the built `higuma` beside.

use std::net::Ipv4Addr;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::time::timeout;

use super::topology::{DIAGNOSTICS, REST};
use super::*;

const LIMIT: Duration = Duration::from_secs(30);

/// A plan, and the folder that goes with it.
fn plan(id: &str, shape: Shape) -> (Plan, tempfile::TempDir) {
    // The images are on the disk that has room for the build.
    let target = std::env::current_exe().unwrap().ancestors().nth(2).unwrap().to_owned();
    let folder = tempfile::Builder::new().prefix("chaos-").tempdir_in(&target).unwrap();
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let envoy = std::env::var_os("HIGUMA_ENVOY").map(PathBuf::from);
    let plan = Plan {
        // Tests of other worktrees run beside this one.
        id: format!("{id}{}", std::process::id()),
        folder: folder.path().to_owned(),
        binary: target.join("higuma"),
        envoy: Some(envoy.unwrap_or_else(|| root.join(".tools/envoy-1.40.0/envoy"))),
        mutant: None,
        shape,
    };
    (plan, folder)
}

fn local(port: u16) -> SocketAddr {
    (Ipv4Addr::LOCALHOST, port).into()
}

/// The status of a GET from the node's own network.
async fn get(cluster: &Processes, node: &str, port: u16, path: &str) -> std::io::Result<u16> {
    let mut stream = cluster.connect(node, local(port)).await?;
    let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    let status = answer.split(' ').nth(1).and_then(|status| status.parse().ok());
    status.ok_or_else(|| std::io::Error::other(answer))
}

/// Waits until a node's diagnostics say that it is ready.
async fn ready(cluster: &Processes, node: &str) {
    let ready = async {
        while !matches!(get(cluster, node, DIAGNOSTICS, "/ready").await, Ok(200)) {
            tokio::time::sleep(LOOK).await;
        }
    };
    timeout(LIMIT, ready).await.unwrap_or_else(|_| panic!("{node} is not ready"));
}

fn nothing_left(plan: &Plan) {
    assert!(marks::find(&plan.id, None).is_empty());
    assert!(!network::ids().contains(&plan.id));
    assert!(disk::mounted_below(&plan.folder).is_empty());
    let left: Vec<_> = std::fs::read_dir(&plan.folder).unwrap().flatten().collect();
    assert_eq!(left.len(), 1, "only logs: {left:?}");
}

fn named(nodes: &[&str]) -> Vec<String> {
    nodes.iter().map(|node| (*node).to_owned()).collect()
}

async fn dead(cluster: &Processes) -> Vec<(String, Vec<(String, String)>)> {
    let alive = cluster.alive().await.unwrap();
    alive.into_iter().filter(|one| !one.dead.is_empty()).map(|one| (one.node, one.dead)).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_whole_cluster_comes_up_and_goes_without_a_trace() {
    let (plan, _folder) = plan("w", Shape::Whole { west_ingresses: 2 });
    let cluster = Processes::up(plan.clone()).await.unwrap();
    let names: Vec<_> = cluster.nodes().iter().map(|node| &*node.name).collect();
    assert_eq!(names.len(), 3 + 2 + 3 + 8, "{names:?}");
    assert_eq!(get(&cluster, "west", REST, "/zones").await.unwrap(), 200);
    assert_eq!(get(&cluster, "web", 8080, "/").await.unwrap(), 200);
    assert!(get(&cluster, "web-2", 8080, "/").await.is_err(), "a spare runs before it joins");
    // REST is on loopback only: from another node there is nothing.
    let global = cluster.nodes()[0].address;
    assert!(cluster.connect("web", (global, REST).into()).await.is_err());
    let kds = cluster.connect("east", (global, 5685).into()).await;
    assert!(kds.is_ok(), "{kds:?}");
    assert!(cluster.udp("web", (global, 53).into()).await.is_ok());

    cluster.join("web-2").await.unwrap();
    assert_eq!(get(&cluster, "web-2", 8080, "/").await.unwrap(), 200);
    let kill = Fault::Kill { nodes: named(&["billing"]) };
    cluster.install(&kill).await.unwrap();
    let envoys = marks::find(&plan.id, Some("billing"));
    assert!(envoys.is_empty(), "{envoys:?}");
    cluster.heal(&kill).await.unwrap();
    cluster.leave("web-2").await.unwrap();
    assert!(marks::find(&plan.id, Some("web-2")).is_empty());
    assert_eq!(dead(&cluster).await, []);

    cluster.down().await.unwrap();
    nothing_left(&plan);
}

#[tokio::test(flavor = "multi_thread")]
async fn faults_of_one_node_overlap_and_the_last_to_heal_restores_it() {
    let (plan, _folder) = plan("o", Shape::Globals);
    let cluster = Processes::up(plan.clone()).await.unwrap();
    let one = || named(&["global-1"]);
    let (kill, pause) = (Fault::Kill { nodes: one() }, Fault::Pause { nodes: one() });
    let cut = Fault::PowerCut { nodes: one() };
    let full = Fault::DiskFull { node: "global-1".to_owned() };
    for fault in [&pause, &kill, &cut, &full] {
        cluster.install(fault).await.unwrap();
    }
    assert!(marks::find(&plan.id, Some("global-1")).is_empty());
    assert_eq!(dead(&cluster).await, [], "what a fault holds down is not dead");
    cluster.heal(&kill).await.unwrap();
    assert!(marks::find(&plan.id, Some("global-1")).is_empty(), "its power is still cut");
    cluster.heal(&cut).await.unwrap();
    assert_eq!(marks::find(&plan.id, Some("global-1")).len(), 1);
    // Paused still: it takes the connection, which its kernel does, or is not yet there.
    let answer = timeout(Duration::from_millis(300), get(&cluster, "global-1", DIAGNOSTICS, "/"));
    assert!(!matches!(answer.await, Ok(Ok(_))), "it answers while it is paused");
    cluster.heal(&pause).await.unwrap();
    cluster.heal(&full).await.unwrap();
    cluster.heal(&full).await.unwrap();
    ready(&cluster, "global-1").await;
    assert_eq!(dead(&cluster).await, []);

    let stranger = Fault::Kill { nodes: named(&["global-4"]) };
    let error = cluster.install(&stranger).await.unwrap_err().to_string();
    assert_eq!(error, "there is no node global-4");
    drop(cluster);
    nothing_left(&plan);
}
