//! What each command does.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, bail};
use tokio_util::sync::CancellationToken;

use crate::args::{Database, FolderArgs, RunArgs, Tested};
use crate::conduct::{self, Run};
use crate::output;
use crate::run::Folder;
use crate::verdict::{Ended, Verdict};
use crate::workload::{self, Workload};
use crate::{judge, nemesis, report};

/// A wrong command line.
pub(crate) const USAGE: u8 = 2;

/// Why a command ends without a verdict.
#[derive(Debug)]
pub(crate) enum Failure {
    Usage(String),
    Harness(anyhow::Error),
}

impl From<anyhow::Error> for Failure {
    fn from(error: anyhow::Error) -> Self {
        Self::Harness(error)
    }
}

impl Failure {
    /// Says it, and returns the exit code.
    pub(crate) fn tell(&self) -> ExitCode {
        match self {
            Self::Usage(why) => {
                output::note(format!("error: {why}"));
                ExitCode::from(USAGE)
            }
            Self::Harness(error) => {
                output::note(format!("error: {error:#}"));
                Ended::HarnessFailed.exit_code()
            }
        }
    }
}

/// The workload of this name, or all names.
fn workload(name: &str) -> Result<Box<dyn Workload>, Failure> {
    let all = workload::all();
    let names: Vec<&str> = all.iter().map(|workload| workload.name()).collect();
    let unknown = format!("there is no test {name:?}; there are {}", names.join(", "));
    let found = all.into_iter().find(|workload| workload.name() == name);
    found.ok_or(Failure::Usage(unknown))
}

fn known_nemesis(name: &str) -> Result<(), Failure> {
    if nemesis::names().contains(&name) {
        return Ok(());
    }
    let names = nemesis::names().join(", ");
    Err(Failure::Usage(format!("there is no nemesis {name:?}; there are {names}")))
}

/// Refuses what the lab's containers give no means for.
fn within_reach_of_compose(args: &RunArgs) -> Result<(), Failure> {
    if nemesis::needs_disks_or_clocks(&args.nemesis) {
        let mut names = nemesis::names();
        names.retain(|name| !nemesis::needs_disks_or_clocks(name));
        return Err(Failure::Usage(format!(
            "the database `compose` has no means for nemesis {}, which needs disks or clocks of the \
             nodes; it has {}",
            args.nemesis,
            names.join(", ")
        )));
    }
    match &args.mutant {
        Some(mutant) => Err(Failure::Usage(format!(
            "mutant {mutant} is for the database `processes`; compose runs without"
        ))),
        None => Ok(()),
    }
}

/// Runs one test.
pub(crate) async fn run(args: RunArgs, stop: CancellationToken) -> Result<Ended, Failure> {
    let run = planned(args)?;
    let (folder, ended) = conduct::conduct(&run, stop).await?;
    told(&folder, ended)?;
    Ok(ended)
}

/// What the arguments ask for.
///
/// # Errors
/// A name that is not known, before anything is made.
pub(crate) fn planned(args: RunArgs) -> Result<Run, Failure> {
    let workload = workload(&args.test)?;
    known_nemesis(&args.nemesis)?;
    if nemesis::loses_history(&args.nemesis) && !workload.needs_zones() {
        return Err(Failure::Usage(format!(
            "{} loses acknowledged writes by design, so that test {} says nothing under it; what it \
             must not do is seen in zones",
            args.nemesis, args.test
        )));
    }
    if args.database == Database::Compose {
        within_reach_of_compose(&args)?;
    }
    let seed = match args.seed {
        Some(seed) => seed,
        None => random()? % 1_000_000,
    };
    let out = args.out.clone().unwrap_or_else(default_out);
    let binary = binary(&args.tested)?;
    Ok(Run {
        workload: workload.into(),
        replay: replay(&args, seed),
        nemesis: args.nemesis,
        time: args.time,
        seed,
        database: args.database,
        mutant: args.mutant,
        out,
        keep: args.keep,
        binary,
        envoy: args.tested.envoy,
    })
}

/// Writes a run's report, and says what it found and where that is.
fn told(folder: &Folder, ended: Ended) -> anyhow::Result<()> {
    report::render(folder.path())?;
    let record = folder.record()?;
    output::verdicts(&folder.verdicts()?, &record.harness_failures, ended);
    output::print(format!("report: {}", folder.report().display()));
    output::print(format!("again:  {}", record.replay));
    Ok(())
}

/// Judges a folder again, as a run does at its end.
pub(crate) fn check(args: &FolderArgs) -> Result<Ended, Failure> {
    let folder = existing(&args.folder)?;
    let record = folder.record()?;
    let workload = workload(&record.test)?;
    let verdicts: Vec<Verdict> = judge::judge(&*workload, &folder)?;
    folder.write_verdicts(&verdicts)?;
    let ended = Ended::of(&verdicts, record.harness_failures.len());
    told(&folder, ended)?;
    Ok(ended)
}

/// Writes the report of a folder again, from the verdicts that are in it.
pub(crate) fn report(args: &FolderArgs) -> Result<(), Failure> {
    let folder = existing(&args.folder)?;
    report::render(folder.path())?;
    output::print(folder.report().display().to_string());
    Ok(())
}

fn existing(path: &Path) -> Result<Folder, Failure> {
    if path.join("run.json").is_file() {
        return Ok(Folder::open(path));
    }
    Err(Failure::Usage(format!("{} is no folder of a run: no run.json in it", path.display())))
}

pub(crate) fn default_out() -> PathBuf {
    let target =
        std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| "target".into(), PathBuf::from);
    target.join("chaos")
}

/// The binary that is tested.
fn binary(tested: &Tested) -> anyhow::Result<PathBuf> {
    let path = match &tested.binary {
        Some(path) => path.clone(),
        None => std::env::current_exe()?.with_file_name("higuma"),
    };
    if !path.is_file() {
        bail!("there is no {}: `make build`, or --binary FILE", path.display());
    }
    path.canonicalize().with_context(|| format!("cannot read {}", path.display()))
}

/// The command that does the same again.
fn replay(args: &RunArgs, seed: u64) -> String {
    let mut command = format!(
        "higuma-chaos run --test {} --nemesis {} --time {}s --seed {seed} --database {}",
        args.test,
        args.nemesis,
        args.time.as_secs(),
        args.database.name()
    );
    if let Some(mutant) = &args.mutant {
        command.push_str(" --mutant ");
        command.push_str(mutant);
    }
    command
}

pub(crate) fn random() -> anyhow::Result<u64> {
    getrandom::u64().context("the system gives no random number")
}

/// A time in words, as the command line takes it.
pub(crate) fn seconds(time: Duration) -> String {
    format!("{}.{} s", time.as_secs(), time.subsec_millis() / 100)
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;
    use crate::args::{Arguments, Command};

    fn refused(words: &str) -> Option<String> {
        let words = format!("higuma-chaos run --test register {words}");
        let arguments = Arguments::try_parse_from(words.split(' ')).unwrap();
        let Command::Run(args) = arguments.command else { unreachable!() };
        match within_reach_of_compose(&args) {
            Err(Failure::Usage(why)) => Some(why),
            _ => None,
        }
    }

    #[test]
    fn compose_refuses_what_it_has_no_means_for() {
        for nemesis in ["none", "kill", "pause", "partition", "slow", "restart-all"] {
            assert_eq!(refused(&format!("--nemesis {nemesis}")), None);
        }
        for nemesis in ["mixed", "everything", "power", "disk", "rollback", "clock"] {
            let why = refused(&format!("--nemesis {nemesis}")).unwrap();
            assert!(why.contains("partition") && !why.contains("power-all"), "{why}");
        }
        assert!(refused("--nemesis kill --mutant stale-read").unwrap().contains("processes"));
    }
}
