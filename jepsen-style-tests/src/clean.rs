//! Removes what runs left behind whose harness was killed: processes, mounts, loop devices,
//! namespaces with their links and rules, containers with their networks and volumes, and files.
//! What the user wants to keep of a run, its record and its logs, stays.

use std::path::Path;

use anyhow::{Context as _, bail};

use crate::cluster::compose::docker;
use crate::cluster::processes::{disk, folders::Folders, marks, network};
use crate::registry::{self, Entry};

/// Removes what is left of the run `id` or, without one, of all whose harness is gone. Returns
/// what was removed, a line each.
pub(crate) fn clean(id: Option<&str>) -> anyhow::Result<Vec<String>> {
    let entries = registry::entries()?;
    let mut removed = Vec::new();
    match id {
        Some(id) => match entries.iter().find(|entry| entry.id == id) {
            Some(entry) if entry.lives() => bail!(
                "run {id} is not over: process {} conducts it; end that with Ctrl-C",
                entry.pid()
            ),
            Some(entry) => removed.extend(remove(entry)?),
            None => removed.extend(remove_from_kernel(id)?),
        },
        None => {
            for entry in entries.iter().filter(|entry| !entry.lives()) {
                removed.extend(remove(entry)?);
            }
            let living = |id: &String| entries.iter().any(|entry| entry.id == *id);
            let ids = [network::ids(), docker::runs()].concat();
            for id in ids.iter().filter(|id| !living(id)) {
                removed.extend(remove_from_kernel(id)?);
            }
        }
    }
    Ok(removed)
}

/// Removes everything of one run but its record and logs, and strikes it out.
pub(crate) fn remove(entry: &Entry) -> anyhow::Result<Vec<String>> {
    let id = &entry.id;
    let mut removed = Vec::new();
    let killed = marks::kill(id, None)?;
    if killed > 0 {
        removed.push(format!("run {id}: {killed} processes"));
    }
    let folders = Folders { run: entry.folder.clone() };
    for mount in disk::mounted_below(&folders.mounts()) {
        disk::unmount(&mount)?;
        removed.push(format!("run {id}: mount {} and its loop device", mount.display()));
    }
    removed.extend(remove_from_kernel(id)?);
    for folder in folders.passing() {
        if folder.exists() {
            remove_folder(&folder)?;
            removed.push(format!("run {id}: {}", folder.display()));
        }
    }
    entry.remove()?;
    Ok(removed)
}

/// Removes what carries the run's id, wherever its folder is.
fn remove_from_kernel(id: &str) -> anyhow::Result<Vec<String>> {
    let mut removed = Vec::new();
    let killed = marks::kill(id, None)?;
    if killed > 0 {
        removed.push(format!("run {id}: {killed} processes"));
    }
    let namespaces = network::remove(id)?;
    removed.extend(namespaces.iter().map(|name| format!("run {id}: namespace {name}")));
    removed.extend(docker::remove(id)?);
    Ok(removed)
}

fn remove_folder(folder: &Path) -> anyhow::Result<()> {
    std::fs::remove_dir_all(folder).with_context(|| format!("cannot remove {}", folder.display()))
}
