//! What the operator of a zone decides.

use clap::{Args, Subcommand};

use super::Connection;
use crate::output::Format;

#[derive(Debug, Subcommand)]
pub(crate) enum ZoneCommand {
    /// Let a zone follow the global that it refuses
    Adopt(AdoptArgs),
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  higuma zone adopt east --server 127.0.0.1:5681
  higuma zone adopt east --server 127.0.0.1:5681 --dry-run -o json
  higuma zone adopt east --server 127.0.0.1:5681 --yes      in scripts

A zone fences, and keeps what it has, when its global is of another cluster, was rolled back, has \
another history, or would remove most of what the zone has. This asks the zone's control plane to \
compare itself with that global, prints what would change, and then lets the zone follow it from \
exactly what was printed; a global that is another one by then is refused. What other zones own is \
kept until they say otherwise themselves: adopt in each of them.

It is the zone that decides, so --server is its own REST, which listens on loopback in this \
version: run this on the zone's host.")]
pub(crate) struct AdoptArgs {
    /// The zone's name
    pub(crate) name: String,
    /// Adopt without asking
    #[arg(short, long, conflicts_with = "dry_run")]
    pub(crate) yes: bool,
    /// Only print what would change
    #[arg(long)]
    pub(crate) dry_run: bool,
    #[arg(short, long, value_enum, default_value_t = Format::Table)]
    pub(crate) output: Format,
    #[command(flatten)]
    pub(crate) connection: Connection,
}
