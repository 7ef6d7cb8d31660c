//! A run's record on disk: what everything after the run (checking, the report) reads.
//!
//! ```text
//! run.json        RunRecord: what was run, how it ended
//! history.jsonl   operations (`history`)
//! faults.jsonl    what the nemesis did (`FaultEvent`)
//! verdicts.json   [Verdict]
//! logs/NODE.log   the log of each process
//! report.html     made from all of these
//! ```

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::history::Micros;
use crate::nemesis::{Fault, Refusal};
use crate::verdict::Verdict;

/// The folder of one run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Folder(PathBuf);

impl Folder {
    /// A new one, with a folder for logs.
    ///
    /// # Errors
    /// It is there already, or cannot be made.
    pub(crate) fn create(path: &Path) -> anyhow::Result<Self> {
        let cannot = || format!("cannot make the run's folder {}", path.display());
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent).with_context(cannot)?;
        }
        fs::create_dir(path).with_context(cannot)?;
        let folder = Self(path.to_owned());
        fs::create_dir(folder.logs()).with_context(cannot)?;
        Ok(folder)
    }

    /// One that is there.
    pub(crate) fn open(path: &Path) -> Self {
        Self(path.to_owned())
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    pub(crate) fn history(&self) -> PathBuf {
        self.0.join("history.jsonl")
    }

    /// One file for each process, `NODE.log` or `NODE-PROCESS.log`.
    pub(crate) fn logs(&self) -> PathBuf {
        self.0.join("logs")
    }

    pub(crate) fn report(&self) -> PathBuf {
        self.0.join("report.html")
    }

    pub(crate) fn record(&self) -> anyhow::Result<RunRecord> {
        read_json(&self.0.join("run.json"))
    }

    pub(crate) fn write_record(&self, record: &RunRecord) -> anyhow::Result<()> {
        write(&self.0.join("run.json"), &serde_json::to_vec_pretty(record)?)
    }

    pub(crate) fn verdicts(&self) -> anyhow::Result<Vec<Verdict>> {
        read_json(&self.0.join("verdicts.json"))
    }

    pub(crate) fn write_verdicts(&self, verdicts: &[Verdict]) -> anyhow::Result<()> {
        write(&self.0.join("verdicts.json"), &serde_json::to_vec_pretty(verdicts)?)
    }

    /// In the order in which they were installed.
    pub(crate) fn faults(&self) -> anyhow::Result<Vec<FaultEvent>> {
        let path = self.0.join("faults.jsonl");
        let text =
            fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
        let each = text.lines().enumerate().map(|(number, line)| {
            serde_json::from_str(line)
                .with_context(|| format!("{}:{}: not a fault", path.display(), number + 1))
        });
        each.collect()
    }

    pub(crate) fn write_faults(&self, faults: &[FaultEvent]) -> anyhow::Result<()> {
        let mut lines = Vec::new();
        for fault in faults {
            serde_json::to_writer(&mut lines, fault)?;
            lines.push(b'\n');
        }
        write(&self.0.join("faults.jsonl"), &lines)
    }
}

fn read_json<T: DeserializeOwned>(path: &Path) -> anyhow::Result<T> {
    let bytes = fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
    serde_json::from_slice(&bytes)
        .with_context(|| format!("cannot make sense of {}", path.display()))
}

fn write(path: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    fs::write(path, bytes).with_context(|| format!("cannot write {}", path.display()))
}

/// What was run.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct RunRecord {
    /// Tells runs apart; part of the names of namespaces, mounts and containers.
    pub(crate) id: String,
    pub(crate) test: String,
    pub(crate) nemesis: String,
    pub(crate) database: String,
    pub(crate) seed: u64,
    pub(crate) seconds: u64,
    /// The `HIGUMA_MUTANT` of the processes, if there is one.
    pub(crate) mutant: Option<String>,
    /// The version of the binary that was tested, as it says it.
    pub(crate) version: String,
    /// RFC 3339.
    pub(crate) started_at: String,
    /// The command that runs the same again.
    pub(crate) replay: String,
    /// From the run's begin to its last operation.
    pub(crate) ended: Option<Micros>,
    /// When all faults were healed; what is after it is the time to recover.
    pub(crate) healed: Option<Micros>,
    /// What the harness could not do.
    pub(crate) harness_failures: Vec<String>,
}

/// When the globals began to have another history: from then on zones refuse them, and neither take
/// nor send anything until they are made to follow, once all faults are healed.
pub(crate) fn another_history(faults: &[FaultEvent]) -> Micros {
    let to_another = faults.iter().filter(|event| event.fault.loses_history());
    to_another.map(|event| event.installing).min().unwrap_or(Micros::MAX)
}

/// A fault, from its installation to its healing.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct FaultEvent {
    pub(crate) fault: Fault,
    pub(crate) installing: Micros,
    /// None: it could not be installed, which is a failure of the harness.
    pub(crate) installed: Option<Micros>,
    pub(crate) healing: Option<Micros>,
    pub(crate) healed: Option<Micros>,
    /// Why it could not be installed or healed.
    pub(crate) failure: Option<String>,
    /// What the node did, where it had to refuse.
    #[serde(default)]
    pub(crate) refusal: Option<Refusal>,
}
