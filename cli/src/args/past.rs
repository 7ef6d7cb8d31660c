//! The command lines of what looks back: history, diff, rollback, watch.

use clap::Args;
use higuma_model::{Kind, Origin};

use super::Connection;
use crate::kind_argument;
use crate::output::Format;

/// Why something is changed; kept with it.
#[derive(Debug, Args)]
pub(crate) struct Reason {
    /// Why, in one line: `higuma history` shows it
    #[arg(long, value_name = "TEXT", value_parser = reason)]
    pub(crate) reason: Option<String>,
}

fn reason(text: &str) -> Result<String, String> {
    match Origin::reason(text) {
        Ok(Some(reason)) => Ok(reason.to_string()),
        Ok(None) => Err("is empty".to_owned()),
        Err(bad) => Err(bad.to_string()),
    }
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  higuma history traffic-permission allow-all -m default
  higuma history --mesh default             the Mesh and all that is in it
  higuma history zones                      all of a type
  higuma history mesh default --limit 5 -o yaml

Kept are Meshes, Zones, TrafficPermissions and TrafficRoutes: for 30 days, and within 256 MiB.")]
pub(crate) struct HistoryArgs {
    /// A type: meshes, mesh, Mesh, traffic-permissions …
    #[arg(value_name = "TYPE", value_parser = kind_argument::parse)]
    pub(crate) kind: Option<Kind>,
    pub(crate) name: Option<String>,
    /// The mesh [default: the context's, or default]
    #[arg(short, long)]
    pub(crate) mesh: Option<String>,
    /// Show the newest so many changes
    #[arg(long, value_name = "N", default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub(crate) limit: u32,
    #[arg(short, long, value_enum, default_value_t = Format::Table)]
    pub(crate) output: Format,
    #[command(flatten)]
    pub(crate) connection: Connection,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  higuma diff 120 135                       everything that operators write
  higuma diff 120 135 -m default
  higuma diff 120 135 traffic-permission allow-all -m default
  higuma diff 2026-01-31T14:00:00Z 135 -o json

Where the two are given in reverse, the difference is what would lead back.")]
pub(crate) struct DiffArgs {
    /// A version, or a time such as 2026-01-31T14:00:00Z
    #[arg(value_name = "VERSION|TIME")]
    pub(crate) from: String,
    /// A version, or a time
    #[arg(value_name = "VERSION|TIME")]
    pub(crate) to: String,
    /// A type: meshes, mesh, Mesh, traffic-permissions …
    #[arg(value_name = "TYPE", value_parser = kind_argument::parse)]
    pub(crate) kind: Option<Kind>,
    pub(crate) name: Option<String>,
    /// Only what is in this mesh, and the Mesh itself
    #[arg(short, long)]
    pub(crate) mesh: Option<String>,
    #[arg(short, long, value_enum, default_value_t = Format::Table)]
    pub(crate) output: Format,
    #[command(flatten)]
    pub(crate) connection: Connection,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  higuma rollback traffic-permission allow-all -m default --to 120
  higuma rollback --mesh default --to 120 --dry-run
  higuma rollback --mesh default --to 120 --yes --reason 'ticket 7'      in scripts

A rollback writes what was there at that version as a new version: nothing is lost, and it can be \
rolled back itself. It is checked as any other change, and refused if somebody changed the same \
resources since they were shown. With --mesh it is one transaction: the Mesh and its policies, not \
its proxies and not its CA's keys.")]
pub(crate) struct RollbackArgs {
    /// A type: meshes, mesh, Mesh, traffic-permissions …; none with --mesh rolls back a whole mesh
    #[arg(value_name = "TYPE", value_parser = kind_argument::parse, requires = "name")]
    pub(crate) kind: Option<Kind>,
    pub(crate) name: Option<String>,
    /// The mesh [default for a TYPE: the context's, or default]
    #[arg(short, long, required_unless_present = "kind")]
    pub(crate) mesh: Option<String>,
    /// The version to go back to, or a time such as 2026-01-31T14:00:00Z
    #[arg(long, value_name = "VERSION|TIME")]
    pub(crate) to: String,
    /// Write it without asking
    #[arg(short, long, conflicts_with = "dry_run")]
    pub(crate) yes: bool,
    /// Only print what would change
    #[arg(long)]
    pub(crate) dry_run: bool,
    #[command(flatten)]
    pub(crate) why: Reason,
    #[arg(short, long, value_enum, default_value_t = Format::Table)]
    pub(crate) output: Format,
    #[command(flatten)]
    pub(crate) connection: Connection,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  higuma watch
  higuma watch traffic-permissions -m default
  higuma watch --from 120 -o json           one line for each version, from 121 on

Ends with Ctrl-C. A connection that breaks is resumed at the next server from the last version that was \
shown, so no change is missed and none is shown twice. Watched are the types whose history is kept.")]
pub(crate) struct WatchArgs {
    /// A type: meshes, mesh, Mesh, traffic-permissions …
    #[arg(value_name = "TYPE", value_parser = kind_argument::parse)]
    pub(crate) kind: Option<Kind>,
    pub(crate) name: Option<String>,
    /// Only what is in this mesh, and the Mesh itself
    #[arg(short, long)]
    pub(crate) mesh: Option<String>,
    /// Show what changed after this version [default: what changes from now on]
    #[arg(long, value_name = "VERSION")]
    pub(crate) from: Option<u64>,
    #[arg(short, long, value_enum, default_value_t = Format::Table)]
    pub(crate) output: Format,
    #[command(flatten)]
    pub(crate) connection: Connection,
}
