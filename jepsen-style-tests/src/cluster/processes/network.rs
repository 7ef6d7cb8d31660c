//! The run's network: a namespace per node, and a bridge between them in one more, so that neither
//! the machine's own rules nor Docker's see the run's packets. All names carry the run's id.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use anyhow::Context as _;

use crate::cluster::Node;
use crate::cluster::command::{feed, run};
use crate::cluster::namespace::Namespace;

/// What the names of all namespaces of all runs begin with.
pub(crate) const PREFIX: &str = "hgc";
/// The namespace of the bridge.
const SWITCH: &str = "switch";
/// Where `ip netns` keeps them.
pub(crate) const FOLDER: &str = "/run/netns";

/// What all namespaces of a run begin with.
pub(crate) fn prefix(id: &str) -> String {
    format!("{PREFIX}{id}-")
}

fn path(id: &str, node: &str) -> PathBuf {
    Path::new(FOLDER).join(format!("{}{node}", prefix(id)))
}

/// Makes the network. Half-made, it is removed by [`remove`].
pub(super) fn make(id: &str, nodes: &[&Node]) -> anyhow::Result<Vec<Namespace>> {
    let name = |node: &str| format!("{}{node}", prefix(id));
    let switch = name(SWITCH);
    run(&["ip", "netns", "add", &switch])?;
    let mut plugs = String::from("link add br0 type bridge\nlink set br0 up\n");
    for (number, node) in nodes.iter().enumerate() {
        let namespace = name(&node.name);
        run(&["ip", "netns", "add", &namespace])?;
        let port = format!("p{number}");
        writeln!(plugs, "link add {port} type veth peer name eth0 netns {namespace}")?;
        writeln!(plugs, "link set {port} master br0 up")?;
    }
    feed(&["ip", "-n", &switch, "-batch", "-"], &plugs)?;
    let mut made = Vec::new();
    for node in nodes {
        let address =
            format!("link set lo up\naddr add {}/16 dev eth0\nlink set eth0 up\n", node.address);
        feed(&["ip", "-n", &name(&node.name), "-batch", "-"], &address)?;
        let path = path(id, &node.name);
        let namespace = Namespace::open(&path);
        made.push(namespace.with_context(|| format!("cannot open {}", path.display()))?);
    }
    Ok(made)
}

/// Removes all namespaces of a run, and with them links, bridge and rules; says which. Whatever
/// still runs in one keeps it alive without its name, so processes are ended before.
pub(crate) fn remove(id: &str) -> anyhow::Result<Vec<String>> {
    let prefix = prefix(id);
    let Ok(entries) = std::fs::read_dir(FOLDER) else { return Ok(Vec::new()) };
    let names = entries.flatten().filter_map(|entry| entry.file_name().into_string().ok());
    let mut removed: Vec<_> = names.filter(|name| name.starts_with(&prefix)).collect();
    removed.sort();
    for name in &removed {
        run(&["ip", "netns", "delete", name])?;
    }
    Ok(removed)
}

/// The runs that have a namespace.
pub(crate) fn ids() -> Vec<String> {
    let Ok(entries) = std::fs::read_dir(FOLDER) else { return Vec::new() };
    let names = entries.flatten().filter_map(|entry| entry.file_name().into_string().ok());
    let id = |name: String| Some(name.strip_prefix(PREFIX)?.split_once('-')?.0.to_owned());
    let mut ids: Vec<_> = names.filter_map(id).collect();
    ids.sort();
    ids.dedup();
    ids
}
