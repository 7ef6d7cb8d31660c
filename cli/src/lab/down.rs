//! Taking the lab down: first politely, in the reverse order of the start, then not.

use std::path::Path;
use std::time::Duration;

use super::process::{Signal, Started, marked, wait_gone};
use super::record::Record;
use super::topology::plans;
use crate::failure::Failure;
use crate::output::{note, print};

/// A process that stops in order needs no longer: it drains for 8 s at most.
const POLITE: Duration = Duration::from_secs(10);
/// After SIGKILL only the kernel has work to do.
pub(super) const KILLED: Duration = Duration::from_secs(5);

/// Ends all processes and removes the folder.
pub(super) async fn down(folder: &Path, keep_data: bool) -> Result<(), Failure> {
    let mut record = Record::load(folder)?;
    stop(&record).await?;
    if keep_data {
        record.clear()?;
        return print(format!("the lab is down; its data stays in {}", folder.display()));
    }
    record.remove()?;
    print("the lab is down, and its data is removed")
}

/// Ends all processes of a lab, also those that were never recorded.
pub(super) async fn stop(record: &Record) -> Result<(), Failure> {
    let plans = plans(&record.layout()?);
    let last = plans.iter().map(|plan| plan.stage).max().unwrap_or(0);
    for stage in (0..=last).rev() {
        let of_stage = plans.iter().filter(|plan| plan.stage == stage);
        let processes: Vec<Started> =
            of_stage.filter_map(|plan| record.started(&plan.name).copied()).collect();
        end(&processes).await?;
    }
    end(&marked(&record.id)).await?;
    // What a process started while it was being ended.
    let left = marked(&record.id);
    for process in &left {
        process.signal(Signal::KILL)?;
    }
    if wait_gone(&left, KILLED).await {
        return Ok(());
    }
    let ids: Vec<_> = left.iter().map(|process| process.pid.to_string()).collect();
    Err(Failure::refused(format!("still there after SIGKILL: {}", ids.join(", "))))
}

async fn end(processes: &[Started]) -> Result<(), Failure> {
    for process in processes {
        process.signal(Signal::TERM)?;
        // One that was stopped by SIGSTOP would not notice.
        process.signal(Signal::CONT)?;
    }
    if wait_gone(processes, POLITE).await {
        return Ok(());
    }
    for process in processes {
        if process.signal(Signal::KILL)? {
            note(format!("process {} did not end in {POLITE:?} and was killed", process.pid));
        }
    }
    if wait_gone(processes, KILLED).await {
        return Ok(());
    }
    Err(Failure::refused("some processes are still there after SIGKILL; see `higuma lab status`"))
}
