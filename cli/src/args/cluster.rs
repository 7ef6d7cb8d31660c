//! What the operator of a cluster orders.

use std::time::Duration;

use clap::{Args, Subcommand};

use super::{Connection, ForceNewArgs, duration};
use crate::output::Format;

#[derive(Debug, Subcommand)]
pub(crate) enum ClusterCommand {
    /// Show who leads, and how far each node is
    Status(StatusArgs),
    /// Have another node lead
    TransferLeader(TransferArgs),
    /// Take in a node that runs with --join
    Add(AddArgs),
    /// Take in a node that runs with --join in the place of another
    Replace(ReplaceArgs),
    /// Let a node go
    Remove(RemoveArgs),
    /// Make a new cluster of the node that is left when a majority is lost for good
    ForceNew(ForceNewArgs),
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  higuma cluster status
  higuma cluster status -o json

LAG is in entries of the log. SNAPSHOT is the version that the newest one holds, and its size; DISK is what \
the node may still write.")]
pub(crate) struct StatusArgs {
    #[arg(short, long, value_enum, default_value_t = Format::Table)]
    pub(crate) output: Format,
    #[command(flatten)]
    pub(crate) connection: Connection,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  higuma cluster transfer-leader
  higuma cluster transfer-leader --to 2

A node that is stopped by SIGTERM hands leadership over by itself; this is for a host that is slow, or about \
to be taken away. No write fails over it.")]
pub(crate) struct TransferArgs {
    /// The node that is to lead [default: whichever is furthest]
    #[arg(long, value_name = "N", value_parser = number())]
    pub(crate) to: Option<u64>,
    #[command(flatten)]
    pub(crate) connection: Connection,
}

/// A node's number.
fn number() -> clap::builder::RangedU64ValueParser {
    clap::value_parser!(u64).range(1..)
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  higuma global run --node-id 4 --join --data-dir … --bind 10.0.0.4     first, on the new node's host
  higuma cluster add 4 --address 10.0.0.4:5684

The number is one that no node of the cluster ever had. The node gets the log, or a snapshot and the log \
after it, while the cluster goes on; once it has caught up it votes. Interrupted, the same command goes on.")]
pub(crate) struct AddArgs {
    /// The new node's number, its --node-id
    #[arg(value_name = "N", value_parser = number())]
    pub(crate) id: u64,
    /// Where the other nodes reach its Raft endpoint
    #[arg(long, value_name = "HOST:PORT")]
    pub(crate) address: String,
    /// How long it may take to catch up (500ms, 10s, 1m)
    #[arg(long, value_name = "TIME", default_value = "10m", value_parser = duration)]
    pub(crate) timeout: Duration,
    #[command(flatten)]
    pub(crate) connection: Connection,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  higuma global run --node-id 4 --join --data-dir … --bind 10.0.0.3     first, with an empty folder
  higuma cluster replace 3 --with 4 --address 10.0.0.3:5684

For a node whose disk is lost, or whose host goes. The new one may be on the old one's host, under a new number: \
a wiped node must not come back under its old one. It gets the log first; then one change gives it its vote \
and takes the old one out.")]
pub(crate) struct ReplaceArgs {
    /// The node that goes
    #[arg(value_name = "OLD", value_parser = number())]
    pub(crate) old: u64,
    /// The new node's number, its --node-id; one that no node of the cluster ever had
    #[arg(long, value_name = "NEW", value_parser = number())]
    pub(crate) with: u64,
    /// Where the other nodes reach its Raft endpoint
    #[arg(long, value_name = "HOST:PORT")]
    pub(crate) address: String,
    /// How long it may take to catch up (500ms, 10s, 1m)
    #[arg(long, value_name = "TIME", default_value = "10m", value_parser = duration)]
    pub(crate) timeout: Duration,
    #[command(flatten)]
    pub(crate) connection: Connection,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  higuma cluster remove 4

A leader hands over first. Refused where the nodes that would be left could do no write: too few of them answer.")]
pub(crate) struct RemoveArgs {
    /// The node that goes
    #[arg(value_name = "N", value_parser = number())]
    pub(crate) id: u64,
    #[command(flatten)]
    pub(crate) connection: Connection,
}
