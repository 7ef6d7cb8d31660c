//! Real processes, namespaces and file systems: needs root and the built `higuma` beside.

use std::net::Ipv4Addr;
use std::time::Duration;

use time::OffsetDateTime;
use time::format_description::well_known::Rfc2822;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::time::timeout;

use higuma_testkit::poll_until;

use super::topology::DIAGNOSTICS;
use super::*;

const REST: u16 = 5681;
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
        binary: std::env::var_os("HIGUMA_BINARY")
            .map_or_else(|| target.join("higuma"), PathBuf::from),
        envoy: Some(envoy.unwrap_or_else(|| root.join(".tools/envoy-1.40.0/envoy"))),
        mutant: None,
        shape,
        clocks: false,
        traces: false,
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
    let asked = || get(cluster, node, DIAGNOSTICS, "/ready");
    let ready = poll_until("/ready is 200", LIMIT, asked, |status| matches!(status, Ok(200)));
    let last = ready.await.unwrap_or_else(|why| panic!("{node} is not ready: {why}"));
    assert_eq!(last.expect("is what was waited for"), 200);
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

const RAFT: u16 = 5684;

/// How long it takes to connect from one node to the other's Raft port; None: too long.
async fn link(cluster: &Processes, from: &str, to: &str) -> Option<Duration> {
    let address = cluster.nodes().iter().find(|node| node.name == to).unwrap().address;
    let begin = Instant::now();
    let connected =
        timeout(Duration::from_millis(900), cluster.connect(from, (address, RAFT).into()));
    connected.await.ok().map(|stream| stream.map(|_| begin.elapsed()).unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn links_break_in_each_way_and_heal_one_by_one() {
    let (plan, _folder) = plan("l", Shape::Globals);
    let cluster = Processes::up(plan.clone()).await.unwrap();
    let (left, right) = (named(&["global-1"]), named(&["global-2"]));
    let (one, two, three) = ("global-1", "global-2", "global-3");

    // The connection is open before the fault, and its other end is about to close it.
    let address = cluster.nodes()[1].address;
    let mut open = cluster.connect(one, (address, RAFT).into()).await.unwrap();
    let half = Fault::HalfOpen { left: left.clone(), right: right.clone() };
    cluster.install(&half).await.unwrap();
    open.write_all(b"this is no TLS at all\n").await.unwrap();
    let mut byte = [0];
    let silent = timeout(Duration::from_millis(500), open.read(&mut byte)).await;
    assert!(silent.is_err(), "the dead connection says something: {silent:?}");
    let mut fresh = cluster.connect(one, (address, RAFT).into()).await.unwrap();
    fresh.write_all(b"this is no TLS at all\n").await.unwrap();
    let answer = timeout(LIMIT, fresh.read(&mut byte)).await;
    assert!(answer.is_ok(), "a new connection is as dead");
    cluster.heal(&half).await.unwrap();

    let apart = Fault::Partition { left: left.clone(), right: right.clone() };
    let (delay_ms, jitter_ms) = (100, 0);
    let slow = Fault::Slow { left: left.clone(), right: named(&[two, three]), delay_ms, jitter_ms };
    let lossy = Fault::Lossy { left: left.clone(), right: right.clone(), percent: 100 };
    cluster.install(&apart).await.unwrap();
    cluster.install(&slow).await.unwrap();
    cluster.install(&lossy).await.unwrap();
    assert_eq!(link(&cluster, one, two).await, None);
    assert_eq!(link(&cluster, two, one).await, None);
    assert!(link(&cluster, two, three).await.unwrap() < Duration::from_millis(200));
    assert!(link(&cluster, three, one).await.unwrap() >= Duration::from_millis(200));
    cluster.heal(&apart).await.unwrap();
    assert_eq!(link(&cluster, two, one).await, None, "everything is lost still");
    cluster.heal(&lossy).await.unwrap();
    assert!(link(&cluster, two, one).await.unwrap() >= Duration::from_millis(200));
    // A process that starts meanwhile must not hold anything of it.
    let kill = Fault::Kill { nodes: named(&[one]) };
    cluster.install(&kill).await.unwrap();
    cluster.heal(&kill).await.unwrap();
    cluster.heal(&slow).await.unwrap();
    assert!(link(&cluster, one, two).await.unwrap() < Duration::from_millis(200));
    cluster.install(&slow).await.unwrap();
    assert!(link(&cluster, two, one).await.unwrap() >= Duration::from_millis(200));
    cluster.heal(&slow).await.unwrap();

    // Which of the two ways it is: only what goes to the second node is dropped there.
    let one_way = Fault::OneWay { from: left, to: right };
    cluster.install(&one_way).await.unwrap();
    assert_eq!(link(&cluster, one, two).await, None);
    assert_eq!(dropped(&cluster, one), 0);
    assert!(dropped(&cluster, two) > 0);
    cluster.heal(&one_way).await.unwrap();
    assert!(link(&cluster, one, two).await.is_some());
    cluster.down().await.unwrap();
    nothing_left(&plan);
}

/// Packets that the node's rules have dropped since the last fault came or went.
fn dropped(cluster: &Processes, node: &str) -> u64 {
    let argv = ["iptables", "-w", "-t", "filter", "-nvxL", "chaos"];
    let listed = cluster.namespaces[node].run(|| super::super::command::run(&argv));
    let Ok(listed) = listed.unwrap() else { return 0 };
    let rules = listed.lines().skip(2).filter_map(|line| line.split_whitespace().next());
    rules.map(|packets| packets.parse::<u64>().unwrap()).sum()
}

#[tokio::test(flavor = "multi_thread")]
async fn all_globals_go_back_to_a_copy_or_to_nothing() {
    let (plan, _folder) = plan("r", Shape::Globals);
    let cluster = Processes::up(plan.clone()).await.unwrap();
    let all = || named(&["global-1", "global-2", "global-3"]);
    let back = Fault::Rollback { nodes: all() };
    let error = cluster.install(&back).await.unwrap_err().to_string();
    assert_eq!(error, "no copy was kept to go back to");
    put(&cluster, "before").await;
    cluster.keep_copy().await.unwrap();
    put(&cluster, "after").await;
    // The power is cut when the data is replaced.
    let cut = Fault::PowerCut { nodes: named(&["global-2"]) };
    cluster.install(&cut).await.unwrap();
    cluster.install(&back).await.unwrap();
    cluster.heal(&back).await.unwrap();
    cluster.heal(&cut).await.unwrap();
    assert_eq!(meshes(&cluster).await, ["before"]);
    let empty = Fault::Empty { nodes: all() };
    cluster.install(&empty).await.unwrap();
    cluster.heal(&empty).await.unwrap();
    assert_eq!(meshes(&cluster).await, [""; 0]);
    assert_eq!(dead(&cluster).await, []);
    cluster.down().await.unwrap();
    nothing_left(&plan);
}

/// The body of an answer with status 2xx; an error for everything else.
async fn call(cluster: &Processes, node: &str, request: String) -> std::io::Result<String> {
    let mut stream = cluster.connect(node, local(REST)).await?;
    stream.write_all(request.as_bytes()).await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
    if head.starts_with("HTTP/1.1 2") {
        return Ok(body.to_owned());
    }
    Err(std::io::Error::other(answer))
}

async fn until_done(cluster: &Processes, node: &str, request: String) -> String {
    let asked = || call(cluster, node, request.clone());
    let done = poll_until("done", LIMIT, asked, Result::is_ok).await;
    done.expect("in time").expect("is what was waited for")
}

async fn put(cluster: &Processes, mesh: &str) {
    put_at(cluster, "global-1", mesh).await;
}

async fn put_at(cluster: &Processes, node: &str, mesh: &str) {
    let body = format!("{{\"type\": \"Mesh\", \"name\": \"{mesh}\"}}");
    let request = format!(
        "PUT /meshes/{mesh} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Type: \
         application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    until_done(cluster, node, request).await;
}

async fn meshes(cluster: &Processes) -> Vec<String> {
    let request = "GET /meshes HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    let body = until_done(cluster, "global-1", request.to_owned()).await;
    let body: serde_json::Value = serde_json::from_str(&body).unwrap();
    let items = body["items"].as_array().unwrap().clone();
    items.iter().map(|item| item["name"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clock_jumps_and_comes_back() {
    let (mut plan, _folder) = plan("c", Shape::Globals);
    let jump = Fault::ClockJump { node: "global-1".to_owned(), seconds: 3600 };
    plan.clocks = true;
    let cluster = Processes::up(plan.clone()).await.unwrap();
    assert!(cluster.supports(&jump));
    cluster.install(&jump).await.unwrap();
    assert!((3590..=3610).contains(&ahead(&cluster).await), "{}", ahead(&cluster).await);
    // A restart does not mend it. (The server's `Date` never goes back without one.)
    let kill = Fault::Kill { nodes: named(&["global-1"]) };
    for is_ahead in [true, false] {
        cluster.install(&kill).await.unwrap();
        cluster.heal(&kill).await.unwrap();
        ready(&cluster, "global-1").await;
        assert_eq!(ahead(&cluster).await > 3000, is_ahead);
        cluster.heal(&jump).await.unwrap();
    }
    assert_eq!(dead(&cluster).await, []);
    cluster.down().await.unwrap();
    nothing_left(&plan);
}

/// By how many seconds the first global's clock is ahead, as its answers say.
async fn ahead(cluster: &Processes) -> i64 {
    let mut stream = cluster.connect("global-1", local(DIAGNOSTICS)).await.unwrap();
    let request = "GET /ready HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    let date = answer.lines().find_map(|line| line.strip_prefix("date: ")).unwrap();
    let date = date.replace("GMT", "+0000");
    let date = OffsetDateTime::parse(&date, &Rfc2822).unwrap();
    (date - OffsetDateTime::now_utc()).whole_seconds()
}

#[tokio::test(flavor = "multi_thread")]
async fn damage_is_refused_and_undone() {
    let (mut plan, _folder) = plan("d", Shape::Globals);
    plan.traces = true;
    let cluster = Processes::up(plan.clone()).await.unwrap();
    put(&cluster, "before").await;
    let node = || "global-1".to_owned();
    let mut written = 0;
    for how in [
        Damage::Flipped { percent: 40 },
        Damage::Wiped,
        Damage::SyncFails,
        Damage::Torn { bytes: 777 },
    ] {
        let torn = matches!(how, Damage::Torn { .. });
        let damage = Fault::Damage { node: node(), how };
        // So that there is something to sync while it is held.
        let mut installing = std::pin::pin!(cluster.install(&damage));
        let refusal = loop {
            written += 1;
            let mesh = format!("m{written}");
            tokio::select! {
                refusal = &mut installing => break refusal.unwrap(),
                () = put_at(&cluster, "global-2", &mesh) => {}
            }
        };
        assert_eq!(refusal.is_none(), torn, "{damage}: {refusal:?}");
        if let Some(refusal) = refusal {
            assert!(refusal.ended && refusal.words.contains(&refusal.must_say), "{refusal:?}");
        }
        assert!(get(&cluster, "global-1", REST, "/").await.is_err());
        cluster.heal(&damage).await.unwrap();
        ready(&cluster, "global-1").await;
    }
    let slow = Fault::SlowSync { node: node(), delay_ms: 5 };
    cluster.install(&slow).await.unwrap();
    put(&cluster, "slowly").await;
    cluster.heal(&slow).await.unwrap();
    assert!(meshes(&cluster).await.contains(&"before".to_owned()));
    assert_eq!(dead(&cluster).await, []);
    cluster.down().await.unwrap();
    nothing_left(&plan);
}
