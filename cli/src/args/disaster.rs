//! Before and after a cluster is lost: backup, restore, a new cluster of what is left.

use std::path::PathBuf;

use clap::Args;
use higuma_global::MemberFlag;

use super::Connection;
use crate::output::Format;

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  higuma backup higuma-2026-01-31.backup
  higuma backup /backups/latest --force
  higuma backup - | age -r age1… > higuma.backup.age
  higuma backup survivor.backup --stale --server 10.0.0.3     without a majority

A backup is the state of a global at one version: resources of all kinds, CAs and other secrets \
included, and all that zones need to go on from there. IT HOLDS PRIVATE KEYS IN PLAIN TEXT: the file \
is for its owner only (mode 0600); keep it as you keep the keys. It does not hold the history.

The file gets its name once it is there whole, synced and checked. Look at it later with `higuma \
restore FILE --verify`.")]
pub(crate) struct BackupArgs {
    /// The file to write, or - for standard output
    #[arg(value_name = "FILE|-")]
    pub(crate) file: PathBuf,
    /// Replace a file that is there
    #[arg(long)]
    pub(crate) force: bool,
    /// What the first server has; it may be old, and needs no leader
    #[arg(long)]
    pub(crate) stale: bool,
    #[command(flatten)]
    pub(crate) connection: Connection,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  higuma restore higuma.backup --verify
  higuma restore higuma.backup --data-dir /var/lib/higuma \\
    --members 1=10.0.0.1:5684,2=10.0.0.2:5684,3=10.0.0.3:5684

This makes a new cluster, with an id of its own, that begins with what the backup holds. Run it on \
the host of the node with the lowest number, while it does not run; --members are those of `global \
run`. Start that node, and the others with empty data folders: they get the state from it. All of \
them must be up once.

Zones that have seen nothing newer than the backup follow by themselves. A zone that has seen more \
keeps what it has, and says so, until `higuma zone adopt`.")]
pub(crate) struct RestoreArgs {
    /// What `higuma backup` wrote
    #[arg(value_name = "FILE")]
    pub(crate) file: PathBuf,
    /// Only check the file and show what it holds
    #[arg(long, conflicts_with_all = ["data_dir", "node_id", "members"])]
    pub(crate) verify: bool,
    /// The data folder of the first node: empty, or not there
    #[arg(long, visible_alias = "data", value_name = "DIR", required_unless_present = "verify")]
    pub(crate) data_dir: Option<PathBuf>,
    /// Its number; the lowest of --members [default: that one]
    #[arg(long, value_name = "N")]
    pub(crate) node_id: Option<u64>,
    /// All nodes of the new cluster with their Raft addresses
    #[arg(
        long,
        value_name = "1=HOST:PORT,2=HOST:PORT,…",
        value_delimiter = ',',
        required_unless_present = "verify"
    )]
    pub(crate) members: Vec<MemberFlag>,
    #[arg(short, long, value_enum, default_value_t = Format::Table)]
    pub(crate) output: Format,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  higuma cluster force-new --data-dir /var/lib/higuma
  higuma cluster force-new --data-dir /var/lib/higuma --yes \\
    --members 3=10.0.0.3:5684,4=10.0.0.4:5684,5=10.0.0.5:5684

For when two of three nodes are lost for good, data folders and all. If they can come back, start \
them instead: nothing is lost then. Run this on the host of the one that is left, while it does not \
run, AND ON ONE NODE ONLY. It says what that node has and what may be missing, asks, and makes its \
folder the beginning of a new cluster with an id of its own. What was in the folder is kept aside \
in it.

Without --members the new cluster is that node alone. With them, others with empty data folders \
take part from the start; their numbers are higher than its own.")]
pub(crate) struct ForceNewArgs {
    /// The data folder of the node that is left
    #[arg(long, visible_alias = "data", value_name = "DIR")]
    pub(crate) data_dir: PathBuf,
    /// All nodes of the new cluster with their Raft addresses [default: that node alone]
    #[arg(long, value_name = "3=HOST:PORT,4=HOST:PORT,…", value_delimiter = ',')]
    pub(crate) members: Vec<MemberFlag>,
    /// Do it without asking
    #[arg(short, long)]
    pub(crate) yes: bool,
}
