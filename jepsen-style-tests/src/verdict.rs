//! What a checker says, and what a run says to its caller. Three things that are never mixed: the
//! outcome of an operation (`history`), a failure of the harness itself, and a verdict.

use std::process::ExitCode;

use serde::{Deserialize, Serialize};

/// What one checker found in a history.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Verdict {
    /// `linearizable`, `nothing lost`, `zones equal` …
    pub(crate) checker: String,
    pub(crate) finding: Finding,
    /// Figures for the reader: name and value with its unit.
    pub(crate) figures: Vec<(String, String)>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", tag = "is")]
pub(crate) enum Finding {
    Held,
    Violated {
        /// What was seen and what should have been, in a sentence or a few.
        why: String,
        /// The ids of the fewest operations that show it.
        operations: Vec<u64>,
    },
    /// It could not be decided: too little was done, or the check did not end within its bound.
    Undecided {
        why: String,
    },
}

/// How a run ended, as its caller sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ended {
    /// Every checker held.
    Held,
    /// A property of Higuma was violated.
    Violated,
    /// A fault could not be installed or healed, the cluster did not come up, a file was not
    /// written: nothing is said about Higuma.
    HarnessFailed,
    /// A checker could not decide, and none found a violation.
    Undecided,
}

impl Ended {
    pub(crate) fn of(verdicts: &[Verdict], harness_failures: usize) -> Self {
        let any = |wanted: fn(&Finding) -> bool| verdicts.iter().any(|v| wanted(&v.finding));
        if any(|finding| matches!(finding, Finding::Violated { .. })) {
            Self::Violated
        } else if harness_failures > 0 {
            Self::HarnessFailed
        } else if verdicts.is_empty() || any(|f| matches!(f, Finding::Undecided { .. })) {
            Self::Undecided
        } else {
            Self::Held
        }
    }

    /// 0 held, 1 violated, 3 the harness failed, 4 undecided; 2 is a wrong command line.
    pub(crate) fn exit_code(self) -> ExitCode {
        ExitCode::from(match self {
            Self::Held => 0,
            Self::Violated => 1,
            Self::HarnessFailed => 3,
            Self::Undecided => 4,
        })
    }
}
