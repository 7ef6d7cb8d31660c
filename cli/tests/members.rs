//! Nodes that come and go, as real processes, with the commands of docs/operating.md.

use std::fs::File;
use std::net::IpAddr;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use higuma_testkit::{loopback, poll_until};
use serde_json::Value;

/// Starts and elections on a machine that is busy.
const PATIENCE: Duration = Duration::from_secs(60);

struct Nodes {
    folder: tempfile::TempDir,
    ip: IpAddr,
    running: Vec<(u16, Child)>,
}

impl Nodes {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("tempdir");
        let nodes = Self { folder, ip: loopback(), running: Vec::new() };
        let named: Vec<_> = (1..=6).map(|n| format!("{n}={}", nodes.ip)).collect();
        let made = ["generate", "cluster-tls", "--cluster-name=prod", "--out=pki", "--nodes"];
        nodes.ok(&[&made[..], &[&named.join(",")]].concat());
        nodes
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Of the node's Raft; its other ports are beside it.
    fn raft(&self, node: u16) -> String {
        format!("{}:{}", self.ip, port(node))
    }

    fn higuma(&self, words: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_higuma"));
        let servers: Vec<_> = (1..=6).map(|n| format!("{}:{}", self.ip, port(n) + 1)).collect();
        command.env("HIGUMA_SERVER", servers.join(",")).args(words);
        command.current_dir(self.folder.path()).stdin(Stdio::null());
        command
    }

    fn ok(&self, words: &[&str]) -> String {
        let output = self.higuma(words).output().expect("the binary runs");
        let (out, err) = (text(&output.stdout), text(&output.stderr));
        assert!(output.status.success(), "higuma {}: {out}{err}", words.join(" "));
        format!("{out}{err}")
    }

    fn refused(&self, words: &[&str]) -> String {
        let output = self.higuma(words).output().expect("the binary runs");
        assert_eq!(output.status.code(), Some(1), "higuma {}", words.join(" "));
        text(&output.stderr)
    }

    /// Starts a node, of the list or to be added.
    fn start(&mut self, node: u16, joins: bool) {
        let list: Vec<_> = (1..=3).map(|n| format!("{n}={}", self.raft(n))).collect();
        let who = if joins { "--join".to_owned() } else { format!("--members={}", list.join(",")) };
        let ports = ["raft", "rest", "kds", "diagnostics", "https"].into_iter().zip(port(node)..);
        let ports = ports.map(|(name, port)| format!("--{name}-port={port}"));
        let log = File::create(self.path(&format!("{node}.log"))).expect("a log");
        let mut command = self.higuma(&["global", "run", &who, "--cluster-name=prod"]);
        command.args([format!("--node-id={node}"), format!("--data-dir=data-{node}")]);
        command.args([format!("--bind={}", self.ip), "--tls-ca=pki/ca.pem".to_owned()]);
        command.arg(format!("--tls-cert=pki/node-{node}.pem"));
        command.arg(format!("--tls-key=pki/node-{node}-key.pem"));
        command.args(ports).stdout(log.try_clone().expect("a log")).stderr(log);
        self.running.push((node, command.spawn().expect("the binary runs")));
    }

    fn log(&self, node: u16) -> String {
        std::fs::read_to_string(self.path(&format!("{node}.log"))).expect("a log")
    }

    async fn until_waiting(&self, node: u16) {
        let waits = |log: &String| log.contains("waiting to be added");
        poll_until("it waits to be added", PATIENCE, async || self.log(node), waits)
            .await
            .expect("it waits");
    }

    fn child(&mut self, node: u16) -> Child {
        let at = self.running.iter().position(|(n, _)| *n == node).expect("it runs");
        self.running.remove(at).1
    }

    /// Waits until a node has ended by itself.
    async fn ended(&mut self, node: u16) -> ExitStatus {
        let child = std::cell::RefCell::new(self.child(node));
        let looked = async || child.borrow_mut().try_wait().expect("a child");
        match poll_until("the node ends", PATIENCE, looked, Option::is_some).await {
            Ok(status) => status.expect("it ended"),
            Err(error) => {
                let _ = child.borrow_mut().kill();
                panic!("node {node}: {error}: {}", self.log(node));
            }
        }
    }

    async fn stop(&mut self, node: u16, signal: &str) {
        let id = self.child_id(node).to_string();
        let sent = Command::new("kill").args([signal, &id]).status().expect("kill");
        assert!(sent.success());
        self.ended(node).await;
    }

    fn child_id(&self, node: u16) -> u32 {
        self.running.iter().find(|(n, _)| *n == node).expect("it runs").1.id()
    }

    /// Waits until the members are these, all answer, and one leads.
    async fn until_members(&self, members: &[u64]) {
        let look = async || {
            let output = self.higuma(&["cluster", "status", "-o", "json"]).output();
            serde_json::from_slice(&output.expect("it runs").stdout).unwrap_or_default()
        };
        let are_these = |seen: &Value| {
            let up = seen["members"].as_array().into_iter().flatten();
            let up = up.filter(|member| member["error"].is_null() && member["votes"] == true);
            let ids: Vec<_> = up.filter_map(|member| member["id"].as_u64()).collect();
            seen["leader"].is_u64() && ids == members
        };
        poll_until("the members", PATIENCE, look, are_these).await.expect("these members");
    }
}

impl Drop for Nodes {
    fn drop(&mut self) {
        for (_, child) in &mut self.running {
            // One that has ended by itself is what a test waits for.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

fn port(node: u16) -> u16 {
    6_000 + 10 * node
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[tokio::test]
async fn a_wiped_node_is_replaced_and_others_come_and_go() {
    let mut nodes = Nodes::new();
    (1..=3).for_each(|node| nodes.start(node, false));
    nodes.until_members(&[1, 2, 3]).await;
    let manifest = nodes.path("mesh.yaml");
    std::fs::write(&manifest, "type: Mesh\nname: default\n").expect("write");
    nodes.ok(&["apply", "-f", "mesh.yaml"]);

    // Node 3 loses its disk. Under its old number it does not come back, listed or not.
    nodes.stop(3, "-KILL").await;
    std::fs::rename(nodes.path("data-3"), nodes.path("aside")).expect("wiped");
    for joins in [false, true] {
        nodes.start(3, joins);
        assert!(!nodes.ended(3).await.success());
        let log = nodes.log(3);
        assert!(log.contains("must not come back under its old id"), "{log}");
        assert!(log.contains("higuma cluster replace"), "{log}");
    }
    let four = nodes.raft(4);
    let replace = ["cluster", "replace", "3", "--with", "4", "--address", &four];
    let said = nodes.refused(&replace);
    assert!(said.contains("node 4 does not answer") && said.contains("--join"), "{said}");
    nodes.start(4, true);
    nodes.until_waiting(4).await;
    let said = nodes.ok(&replace);
    assert!(said.contains("node 4 votes, and node 3 is out: 3 voters"), "{said}");
    nodes.until_members(&[1, 2, 4]).await;
    let again = nodes.ok(&replace);
    assert!(again.starts_with("node 4 votes, and node 3 is out: 3 voters"), "no harm: {again}");

    // The old disk turns up again.
    std::fs::remove_dir_all(nodes.path("data-3")).expect("the empty one");
    std::fs::rename(nodes.path("aside"), nodes.path("data-3")).expect("found");
    nodes.start(3, false);
    assert!(!nodes.ended(3).await.success());
    let log = nodes.log(3);
    assert!(log.contains("node 3 was removed from cluster"), "{log}");

    // A fifth comes, is restarted, and goes while it runs.
    nodes.start(5, true);
    nodes.until_waiting(5).await;
    let five = nodes.raft(5);
    let said = nodes.ok(&["cluster", "add", "5", "--address", &five]);
    assert!(said.contains("node 5 votes: 4 voters, and writes go on while 3"), "{said}");
    nodes.stop(5, "-TERM").await;
    nodes.start(5, true);
    nodes.until_members(&[1, 2, 4, 5]).await;
    let said = nodes.ok(&["cluster", "remove", "5"]);
    assert!(said.starts_with("node 5 is out: 3 voters, and writes go on while 2"), "{said}");
    assert!(!nodes.ended(5).await.success());
    assert!(nodes.log(5).contains("node 5 was removed from cluster"), "{}", nodes.log(5));
    let said = nodes.refused(&["cluster", "add", "5", "--address", &five]);
    assert!(said.contains("numbers are never used twice") && said.contains("Take 6"), "{said}");
    assert!(nodes.ok(&["get", "meshes"]).contains("default"));
}
