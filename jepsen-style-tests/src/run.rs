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

use serde::{Deserialize, Serialize};

use crate::history::Micros;
use crate::nemesis::Fault;

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
}
