//! Whether the tests bite: each deliberate defect of a debug build has to be found.

use std::process::ExitCode;
use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;

use crate::args::{Database, MutantArgs, RunArgs};
use crate::command::{self, Failure};
use crate::conduct;
use crate::output;
use crate::report;
use crate::verdict::{Ended, Finding};

/// A defect, and the run that has to find it.
struct Mutant {
    name: &'static str,
    /// What it does, for the table.
    defect: &'static str,
    test: &'static str,
    nemesis: &'static str,
    seconds: u64,
    /// Tried in turn until one finds it: what a seed draws is fixed, how processes race is not.
    seeds: &'static [u64],
}

const MUTANTS: &[Mutant] = &[
    Mutant {
        name: "ack-before-sync",
        defect: "acknowledges before the log is synced",
        test: "set",
        nemesis: "power-all",
        seconds: 15,
        seeds: &[1, 2, 3],
    },
    Mutant {
        name: "stale-read",
        defect: "answers linearizable reads without the leader",
        test: "register",
        nemesis: "partition",
        seconds: 15,
        seeds: &[1, 2, 3],
    },
    Mutant {
        name: "obey-rollback",
        defect: "a zone obeys globals that were rolled back",
        test: "zones",
        nemesis: "rollback",
        seconds: 15,
        seeds: &[1, 2, 3],
    },
    Mutant {
        name: "empty-list-deletes",
        defect: "what an empty first list lacks is deleted",
        test: "zones",
        nemesis: "empty",
        seconds: 15,
        seeds: &[1, 2, 3],
    },
    Mutant {
        name: "split-transaction",
        defect: "a transaction is written as two entries",
        test: "append",
        nemesis: "none",
        seconds: 6,
        seeds: &[1, 2, 3],
    },
    Mutant {
        name: "forget-keys",
        defect: "an Idempotency-Key that comes again is a new one",
        test: "transaction",
        nemesis: "none",
        seconds: 6,
        seeds: &[1, 2, 3],
    },
    Mutant {
        name: "skip-versions",
        defect: "a watch leaves versions out",
        test: "watch",
        nemesis: "none",
        seconds: 6,
        seeds: &[1, 2, 3],
    },
];

/// Runs each until it is found: 0 if all are, 1 if one is not, 3 if the harness failed.
pub(crate) async fn mutants(
    args: MutantArgs,
    stop: CancellationToken,
) -> Result<ExitCode, Failure> {
    let chosen: Vec<&Mutant> = match &args.mutant {
        None => MUTANTS.iter().collect(),
        Some(name) => MUTANTS.iter().filter(|mutant| mutant.name == name).collect(),
    };
    if chosen.is_empty() {
        let names: Vec<&str> = MUTANTS.iter().map(|mutant| mutant.name).collect();
        return Err(Failure::Usage(format!(
            "there is no such mutant; there are {}",
            names.join(", ")
        )));
    }
    let mut lines = Vec::new();
    let mut worst = ExitCode::SUCCESS;
    for mutant in chosen {
        let began = Instant::now();
        let found = find(mutant, &args, &stop).await?;
        let took = command::seconds(began.elapsed());
        let (by, code) = match found {
            Found::By(checker) => (format!("found by `{checker}` in {took}"), None),
            Found::Not => (format!("NOT FOUND in {took}"), Some(Ended::Violated.exit_code())),
            Found::Failed => {
                (format!("harness failed, {took}"), Some(Ended::HarnessFailed.exit_code()))
            }
        };
        worst = code.unwrap_or(worst);
        lines.push(format!("{:<20} {:<48} {by}", mutant.name, mutant.defect));
        if stop.is_cancelled() {
            break;
        }
    }
    output::print("");
    for line in lines {
        output::print(line);
    }
    Ok(worst)
}

enum Found {
    By(String),
    Not,
    Failed,
}

async fn find(
    mutant: &Mutant,
    args: &MutantArgs,
    stop: &CancellationToken,
) -> Result<Found, Failure> {
    let mut failed = false;
    for seed in mutant.seeds {
        let run = command::planned(RunArgs {
            test: mutant.test.to_owned(),
            nemesis: mutant.nemesis.to_owned(),
            time: Duration::from_secs(mutant.seconds),
            seed: Some(*seed),
            database: Database::Processes,
            mutant: Some(mutant.name.to_owned()),
            out: args.out.clone(),
            keep: false,
            tested: args.tested.clone(),
        })?;
        let (folder, ended) = conduct::conduct(&run, stop.clone()).await?;
        report::render(folder.path())?;
        match ended {
            Ended::Violated => {
                let verdicts = folder.verdicts()?;
                let by = verdicts.iter().filter(|v| matches!(v.finding, Finding::Violated { .. }));
                let by: Vec<&str> = by.map(|verdict| verdict.checker.as_str()).collect();
                return Ok(Found::By(by.join("`, `")));
            }
            Ended::HarnessFailed => {
                let record = folder.record()?;
                output::note(format!("{}: {}", mutant.name, record.harness_failures.join("; ")));
                failed = true;
            }
            Ended::Held | Ended::Undecided => {}
        }
        if stop.is_cancelled() {
            break;
        }
    }
    Ok(if failed { Found::Failed } else { Found::Not })
}
