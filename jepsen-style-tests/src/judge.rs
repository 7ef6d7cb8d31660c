//! All that is judged of a run: what its workload promises, and what every run does.

use crate::nemesis;
use crate::run::Folder;
use crate::verdict::{Finding, Verdict};
use crate::workload::{Workload, recovery};

/// The verdicts on a run's folder. A checker that cannot read what it needs has not decided.
pub(crate) fn judge(workload: &dyn Workload, folder: &Folder) -> anyhow::Result<Vec<Verdict>> {
    let mut verdicts = match workload.check(folder.path()) {
        Ok(verdicts) => verdicts,
        Err(why) => vec![Verdict {
            checker: workload.name().to_owned(),
            finding: Finding::Undecided { why: format!("{why:#}") },
            figures: Vec::new(),
        }],
    };
    verdicts.push(recovery::verdict(folder.path())?);
    verdicts.push(recovery::alive(folder.path())?);
    verdicts.extend(nemesis::refusals(&folder.faults()?));
    Ok(verdicts)
}
