//! Which runs there are on this machine. Every run is entered before it makes anything, and struck
//! out after its last thing is removed; so what a killed harness leaves is known.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use serde::{Deserialize, Serialize};

use crate::cluster::processes::marks::Found;

/// A folder that is empty after a boot, as the kernel's namespaces and mounts are.
const FOLDER: &str = "/run/higuma-chaos";
/// Ids are part of names of namespaces and containers.
const LONGEST_ID: usize = 12;

/// A run that was begun.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Entry {
    pub(crate) id: String,
    /// The run's folder, absolute.
    pub(crate) folder: PathBuf,
    /// The harness's process.
    pid: i32,
    start_time: u64,
}

impl Entry {
    /// Enters a run of this process.
    pub(crate) fn create(id: &str, folder: &Path) -> anyhow::Result<Self> {
        let fits = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
        if id.is_empty() || id.len() > LONGEST_ID || !id.bytes().all(fits) {
            bail!("{id:?} is no id of a run: 1 to {LONGEST_ID} of a-z and 0-9");
        }
        let pid = i32::try_from(std::process::id()).context("this process has a strange id")?;
        let Some(me) = Found::now(pid) else { bail!("/proc is not readable") };
        let entry = Self {
            id: id.to_owned(),
            folder: std::path::absolute(folder)
                .with_context(|| format!("{} cannot be a run's folder", folder.display()))?,
            pid: me.pid,
            start_time: me.start_time,
        };
        let path = entry.path();
        let written = std::fs::create_dir_all(FOLDER)
            .and_then(|()| std::fs::write(&path, serde_json::to_vec(&entry)?));
        written.with_context(|| format!("cannot write {}", path.display()))?;
        Ok(entry)
    }

    /// Whether its harness lives.
    pub(crate) fn lives(&self) -> bool {
        Found { pid: self.pid, start_time: self.start_time }.lives()
    }

    pub(crate) fn pid(&self) -> i32 {
        self.pid
    }

    /// Strikes it out.
    pub(crate) fn remove(&self) -> anyhow::Result<()> {
        let path = self.path();
        match std::fs::remove_file(&path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(error).with_context(|| format!("cannot remove {}", path.display()))
            }
            _ => Ok(()),
        }
    }

    fn path(&self) -> PathBuf {
        Path::new(FOLDER).join(format!("{}.json", self.id))
    }
}

/// All runs that were begun and not struck out, by their ids.
pub(crate) fn entries() -> anyhow::Result<Vec<Entry>> {
    let Ok(files) = std::fs::read_dir(FOLDER) else { return Ok(Vec::new()) };
    let mut entries = Vec::new();
    for file in files.flatten() {
        let path = file.path();
        let text = std::fs::read(&path);
        let text = text.with_context(|| format!("cannot read {}", path.display()))?;
        let entry: Entry = serde_json::from_slice(&text)
            .with_context(|| format!("{} is no record of a run; remove it", path.display()))?;
        entries.push(entry);
    }
    entries.sort_by(|a: &Entry, b| a.id.cmp(&b.id));
    Ok(entries)
}
