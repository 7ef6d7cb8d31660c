//! The command line.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};

#[derive(Debug, Parser)]
#[command(
    name = "higuma-chaos",
    version,
    about = "Breaks a Higuma in every way that this host allows, and judges what its clients saw",
    after_help = "Exit codes: 0 all checks held; 1 a property of Higuma was violated; 2 wrong command \
                  line;\n3 the harness failed, which says nothing about Higuma; 4 undecided.\n\n\
                  How it works, and what each test and nemesis does: jepsen-style-tests/README.md"
)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run one test under faults, judge it and write its report
    Run(RunArgs),
    /// Show that the tests find each deliberate defect of a debug build
    Mutants(MutantArgs),
    /// Judge the folder of a run again
    Check(FolderArgs),
    /// Write the report of a run's folder again
    Report(FolderArgs),
    /// List the tests, a line each
    Tests,
    /// List the nemeses, a line each
    Nemeses,
    /// Remove what runs left behind whose harness was killed
    Clean(CleanArgs),
}

#[derive(Debug, Clone, Args)]
#[command(after_help = "Examples:\n  \
    higuma-chaos run --test register --nemesis mixed --time 30s --seed 7\n  \
    higuma-chaos run --test set --nemesis power --time 2m\n  \
    higuma-chaos run --test append --nemesis flip --time 1m --seed 3\n  \
    higuma-chaos run --test register --nemesis pause --mutant stale-read --seed 1")]
pub(crate) struct RunArgs {
    /// What clients do; `higuma-chaos tests` lists all
    #[arg(long, value_name = "NAME")]
    pub(crate) test: String,
    /// What goes wrong meanwhile; `higuma-chaos nemeses` lists all
    #[arg(long, value_name = "NAME", default_value = "mixed")]
    pub(crate) nemesis: String,
    /// How long clients work: 30s, 5m, 1h
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = time)]
    pub(crate) time: Duration,
    /// Decides what clients and the nemesis do; drawn and printed if it is not given
    #[arg(long, value_name = "N")]
    pub(crate) seed: Option<u64>,
    /// What runs the system
    #[arg(long, value_enum, default_value_t = Database::Processes)]
    pub(crate) database: Database,
    /// A deliberate defect of the processes (HIGUMA_MUTANT), for debug builds
    #[arg(long, value_name = "NAME")]
    pub(crate) mutant: Option<String>,
    /// Where folders of runs are made [default: target/chaos]
    #[arg(long, value_name = "DIR")]
    pub(crate) out: Option<PathBuf>,
    /// Leave the cluster up until Ctrl-C, to look at it by hand
    #[arg(long)]
    pub(crate) keep: bool,
    #[command(flatten)]
    pub(crate) tested: Tested,
}

/// What is tested.
#[derive(Debug, Clone, Args)]
pub(crate) struct Tested {
    /// The `higuma` binary [default: the one beside this program]
    #[arg(long, value_name = "FILE", env = "HIGUMA_BINARY")]
    pub(crate) binary: Option<PathBuf>,
    /// Envoy, for tests with proxies [default: as `higuma dp run` finds it]
    #[arg(long, value_name = "FILE", env = "HIGUMA_ENVOY")]
    pub(crate) envoy: Option<PathBuf>,
}

#[derive(Debug, Clone, Args)]
pub(crate) struct MutantArgs {
    /// Only this one
    #[arg(long, value_name = "NAME")]
    pub(crate) mutant: Option<String>,
    /// Where folders of runs are made [default: target/chaos]
    #[arg(long, value_name = "DIR")]
    pub(crate) out: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) tested: Tested,
}

#[derive(Debug, Clone, Args)]
pub(crate) struct FolderArgs {
    /// A run's folder, `target/chaos/ID`
    pub(crate) folder: PathBuf,
}

#[derive(Debug, Clone, Args)]
pub(crate) struct CleanArgs {
    /// Only what this run left; without it, all runs whose harness is gone
    pub(crate) id: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Database {
    /// Each node in a network namespace with a file system of its own
    Processes,
    /// The containers of docker-compose.yml
    Compose,
}

impl Database {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Processes => "processes",
            Self::Compose => "compose",
        }
    }
}

/// Shorter runs end before the first fault is healed.
const SHORTEST: Duration = Duration::from_secs(5);
/// A log grows to 1 GiB in about a day of writes.
const LONGEST: Duration = Duration::from_secs(24 * 3600);

fn time(text: &str) -> Result<Duration, String> {
    let unit_at = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(unit_at);
    let seconds = match unit {
        "s" | "" => 1,
        "m" => 60,
        "h" => 3600,
        _ => return Err("must be like 30s, 5m or 1h".to_owned()),
    };
    let number: u64 = number.parse().map_err(|_| "must be like 30s, 5m or 1h".to_owned())?;
    let time = Duration::from_secs(number.saturating_mul(seconds));
    if !(SHORTEST..=LONGEST).contains(&time) {
        return Err("must be from 5s to 24h".to_owned());
    }
    Ok(time)
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_command_line_is_well_made() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn a_time_has_a_unit_and_bounds() {
        assert_eq!(time("30s"), Ok(Duration::from_secs(30)));
        assert_eq!(time("90"), Ok(Duration::from_secs(90)));
        assert_eq!(time("2m"), Ok(Duration::from_secs(120)));
        assert_eq!(time("1h"), Ok(Duration::from_secs(3600)));
        for wrong in ["", "s", "1d", "-3s", "4s", "25h", "99999999999999999999s", "1.5m"] {
            assert!(time(wrong).is_err(), "{wrong}");
        }
    }
}
