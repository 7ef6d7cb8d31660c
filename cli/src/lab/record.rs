//! What was started, in `state.json` of the lab's folder.

use std::fs;
use std::io::ErrorKind;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::process::{self, Health, Started};
use super::topology::{Layout, base};
use crate::failure::Failure;

const FILE: &str = "state.json";
const FORMAT: u32 = 1;

/// A lab that was brought up.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Record {
    format: u32,
    /// Random; the mark of its processes.
    pub(super) id: String,
    boot: String,
    base: String,
    #[serde(default)]
    globals_only: bool,
    processes: Vec<Entry>,
    #[serde(skip)]
    folder: std::path::PathBuf,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Entry {
    name: String,
    #[serde(flatten)]
    started: Started,
}

impl Record {
    /// A lab without processes.
    pub(super) fn new(layout: &Layout) -> Result<Self, Failure> {
        let mut random = [0; 8];
        getrandom::fill(&mut random)
            .map_err(|error| Failure::refused(format!("no random numbers: {error}")))?;
        Ok(Self {
            format: FORMAT,
            id: hex::encode(random),
            boot: process::boot_id(),
            base: format!("127.{}", layout.base.0),
            globals_only: layout.globals_only,
            processes: Vec::new(),
            folder: layout.folder.clone(),
        })
    }

    /// Reads a folder's lab.
    pub(super) fn load(folder: &Path) -> Result<Self, Failure> {
        Self::find(folder)?.ok_or_else(|| {
            let folder = folder.display();
            Failure::refused(format!(
                "there is no lab in {folder}; start one with `higuma lab up`, or give its --dir"
            ))
        })
    }

    /// As [`load`](Self::load); none if there is none.
    pub(super) fn find(folder: &Path) -> Result<Option<Self>, Failure> {
        let path = folder.join(FILE);
        let wrong = |why: String| Failure::refused(format!("{}: {why}", path.display()));
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(wrong(error.to_string())),
        };
        let mut record: Self = serde_json::from_str(&text)
            .map_err(|error| wrong(format!("is not a lab's state: {error}")))?;
        if record.format != FORMAT {
            let format = record.format;
            return Err(wrong(format!("has format {format}; this version knows {FORMAT}")));
        }
        folder.clone_into(&mut record.folder);
        if record.boot != process::boot_id() {
            // Whatever has these ids now was started after the machine was.
            record.processes.clear();
            record.boot = process::boot_id();
        }
        Ok(Some(record))
    }

    pub(super) fn layout(&self) -> Result<Layout, Failure> {
        let base = base(&self.base).map_err(Failure::refused)?;
        Ok(Layout { folder: self.folder.clone(), base, globals_only: self.globals_only })
    }

    /// Goes on as a lab of another extent in the same place.
    pub(super) fn resized(self, layout: &Layout) -> Self {
        Self { globals_only: layout.globals_only, ..self }
    }

    pub(super) fn started(&self, name: &str) -> Option<&Started> {
        self.processes.iter().find(|entry| entry.name == name).map(|entry| &entry.started)
    }

    /// Recorded processes that are still there, and their names.
    pub(super) fn alive(&self) -> Vec<(&str, Started)> {
        let alive = self.processes.iter().filter(|e| e.started.health() != Health::Gone);
        alive.map(|entry| (&*entry.name, entry.started)).collect()
    }

    /// Remembers a start, on disk, before anything else is done with it.
    pub(super) fn add(&mut self, name: &str, started: Started) -> Result<(), Failure> {
        self.processes.retain(|entry| entry.name != name);
        self.processes.push(Entry { name: name.to_owned(), started });
        self.save()
    }

    /// Forgets all processes.
    pub(super) fn clear(&mut self) -> Result<(), Failure> {
        self.processes.clear();
        self.save()
    }

    pub(super) fn save(&self) -> Result<(), Failure> {
        let (path, aside) = (self.folder.join(FILE), self.folder.join("state.json.new"));
        let text =
            serde_json::to_string_pretty(self).map_err(|e| Failure::refused(e.to_string()))?;
        fs::write(&aside, text)
            .and_then(|()| fs::rename(&aside, &path))
            .map_err(|error| Failure::refused(format!("cannot write {}: {error}", path.display())))
    }

    /// Removes what the lab made, and the folder if nothing else is in it.
    pub(super) fn remove(&self) -> Result<(), Failure> {
        let layout = self.layout()?;
        let failed = |path: &Path, error: std::io::Error| {
            Failure::refused(format!("cannot remove {}: {error}", path.display()))
        };
        for folder in layout.folders() {
            match fs::remove_dir_all(&folder) {
                Err(error) if error.kind() != ErrorKind::NotFound => {
                    return Err(failed(&folder, error));
                }
                _ => {}
            }
        }
        let path = self.folder.join(FILE);
        fs::remove_file(&path).map_err(|error| failed(&path, error))?;
        match fs::remove_dir(&self.folder) {
            Err(error) if error.kind() != ErrorKind::DirectoryNotEmpty => {
                Err(failed(&self.folder, error))
            }
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(folder: &Path) -> Record {
        let layout = Layout {
            folder: folder.to_owned(),
            base: base("127.99").unwrap(),
            globals_only: false,
        };
        Record::new(&layout).unwrap()
    }

    #[test]
    fn what_was_started_is_remembered_until_the_next_boot() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(Record::find(folder.path()).unwrap(), None);
        let error = Record::load(folder.path()).unwrap_err().to_string();
        assert!(error.contains("start one with `higuma lab up`"), "{error}");

        let mut record = record(folder.path());
        let me = Started::now(i32::try_from(std::process::id()).unwrap()).unwrap();
        record.add("global-1", Started { start_time: 1, ..me }).unwrap();
        record.add("global-1", me).unwrap();
        record.add("global-2", Started { start_time: me.start_time + 1, ..me }).unwrap();
        let again = Record::load(folder.path()).unwrap();
        assert_eq!(again, record);
        // The id of the second is used by another process now.
        assert_eq!(again.alive(), [("global-1", me)]);

        let path = folder.path().join(FILE);
        let text = fs::read_to_string(&path).unwrap().replace(&record.boot, "another");
        fs::write(&path, text).unwrap();
        assert!(Record::load(folder.path()).unwrap().alive().is_empty());

        fs::write(&path, "{}").unwrap();
        let error = Record::load(folder.path()).unwrap_err().to_string();
        assert!(error.contains("is not a lab's state"), "{error}");
    }

    #[test]
    fn removing_spares_what_the_lab_did_not_make() {
        let folder = tempfile::tempdir().unwrap();
        let lab = folder.path().join("lab");
        fs::create_dir_all(lab.join("data/global-1")).unwrap();
        fs::create_dir_all(lab.join("pki")).unwrap();
        fs::write(lab.join("mine.txt"), "x").unwrap();
        let record = record(&lab);
        record.save().unwrap();
        record.remove().unwrap();
        let left: Vec<_> = fs::read_dir(&lab).unwrap().map(|e| e.unwrap().file_name()).collect();
        assert_eq!(left, ["mine.txt"]);

        fs::remove_file(lab.join("mine.txt")).unwrap();
        record.save().unwrap();
        record.remove().unwrap();
        assert!(!lab.exists());
    }
}
