//! The command line.

mod cluster;
mod disaster;
mod past;
mod token;
mod zone;

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use higuma_model::Kind;

use crate::output::Format;
use crate::{demo_app, generate, kind_argument, lab};
pub(crate) use cluster::{
    AddArgs, ClusterCommand, RemoveArgs, ReplaceArgs, StatusArgs, TransferArgs,
};
pub(crate) use disaster::{BackupArgs, ForceNewArgs, RestoreArgs};
pub(crate) use past::{DiffArgs, HistoryArgs, Reason, RollbackArgs, WatchArgs};
pub(crate) use token::{TokenArgs, TokenCommand, UserTokenArgs};
pub(crate) use zone::{AdoptArgs, ZoneCommand};

/// Higuma: a service mesh control plane for many zones that needs no database.
#[derive(Debug, Parser)]
#[command(name = "higuma", version, arg_required_else_help = true, after_help = TOP_EXAMPLES)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    pub(crate) command: Command,
}

const TOP_EXAMPLES: &str = "\
Examples:
  higuma lab up                                     globals and two zones on this machine
  export HIGUMA_SERVER=127.77.0.1,127.77.0.2,127.77.0.3
  higuma apply -f mesh.yaml
  higuma get traffic-permissions
  higuma inspect cluster

Exit codes: 0 done, 1 refused, invalid or not found, 2 wrong command line, 3 no server could do \
it, 4 it is not known whether a write was done.";

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Create or change resources
    Apply(ApplyArgs),
    /// Show resources
    Get(GetArgs),
    /// Delete a resource
    Delete(DeleteArgs),
    /// Show who changed what, when and why
    History(HistoryArgs),
    /// Show what differs between two versions
    Diff(DiffArgs),
    /// Write again what was there at a version
    Rollback(RollbackArgs),
    /// Show changes as they happen
    Watch(WatchArgs),
    /// Show how the system is doing
    Inspect(InspectArgs),
    /// Write the state of a running global into a file
    Backup(BackupArgs),
    /// Make a new global of a backup, or check one
    Restore(RestoreArgs),
    /// The nodes of the global control plane, and who leads
    Cluster {
        #[command(subcommand)]
        command: ClusterCommand,
    },
    /// What the operator of a zone decides
    Zone {
        #[command(subcommand)]
        command: ZoneCommand,
    },
    /// Show the versions of this program and of the servers
    Version(VersionArgs),
    /// Name sets of servers, to choose from with --context
    Config(ConfigArgs),
    /// The global control plane
    Global {
        #[command(subcommand)]
        command: GlobalCommand,
    },
    /// The control plane of a zone
    Remote {
        #[command(subcommand)]
        command: RemoteCommand,
    },
    /// The Envoy beside a workload
    Dp {
        #[command(subcommand)]
        command: DpCommand,
    },
    /// The Envoy through which other zones come in
    Ingress {
        #[command(subcommand)]
        command: IngressCommand,
    },
    /// Make what a system is given: certificates, user tokens
    Generate(generate::GenerateArgs),
    /// End user tokens, and change the keys that they are signed with
    Token(TokenArgs),
    /// A whole system on this machine, to try things with
    Lab(lab::LabArgs),
    /// Write a script that completes commands in a shell
    Completion(CompletionArgs),
    /// A small HTTP service that calls others, for the lab
    DemoApp(demo_app::DemoAppArgs),
}

#[derive(Debug, Subcommand)]
pub(crate) enum GlobalCommand {
    /// Run one node of the global control plane
    Run(Box<higuma_global::RunArgs>),
}

#[derive(Debug, Subcommand)]
pub(crate) enum RemoteCommand {
    /// Run the control plane of one zone
    Run(Box<higuma_remote::RunArgs>),
}

#[derive(Debug, Subcommand)]
pub(crate) enum DpCommand {
    /// Run one Envoy beside a workload
    Run(Box<higuma_dp::RunArgs>),
    /// What `run` starts Envoy through, so that it ends with its parent
    #[command(hide = true)]
    ExecEnvoy(higuma_dp::ExecEnvoyArgs),
}

#[derive(Debug, Subcommand)]
pub(crate) enum IngressCommand {
    /// Run the ingress of a zone
    Run(Box<higuma_ingress::RunArgs>),
}

/// Which servers, and how long to wait for them.
#[derive(Debug, Args)]
#[command(next_help_heading = "Servers")]
pub(crate) struct Connection {
    /// Servers of the control plane, tried in order: host:port, or https://host:port
    /// [env: HIGUMA_SERVER] [default: 127.0.0.1:5681]
    #[arg(long, value_name = "ADDR,ADDR", value_delimiter = ',')]
    pub(crate) server: Vec<String>,
    /// A context of the configuration file [env: HIGUMA_CONTEXT]
    #[arg(long, value_name = "NAME")]
    pub(crate) context: Option<String>,
    /// The configuration file [env: HIGUMA_CONFIG] [default: ~/.config/higuma/config.yaml]
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// PEM file of the CA that the certificates of https servers are of [default: the context's, or
    /// whom the system trusts]
    #[arg(long, value_name = "FILE", env = "HIGUMA_CA_FILE")]
    pub(crate) ca_file: Option<PathBuf>,
    /// A file that holds a user token to be sent; HIGUMA_TOKEN may hold the token itself [default: the
    /// context's]
    #[arg(long, value_name = "FILE", env = "HIGUMA_TOKEN_FILE")]
    pub(crate) token_file: Option<PathBuf>,
    /// How long one request may take, over all servers (500ms, 10s, 1m)
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = duration)]
    pub(crate) api_timeout: Duration,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  higuma apply -f mesh.yaml
  higuma apply -f policies/ -f https://example.com/more.yaml
  higuma apply -f policies/ --dry-run -o yaml
  generate-policies | higuma apply -f - --batch

All documents are read and checked before anything is sent; what is wrong is shown with its line. \
They are then one transaction: all of them are applied at one version, or none. What would change \
is shown first; at a terminal you are asked, and what you saw is what is applied. A transaction \
takes 128 documents and 1.5 MiB. Meshes go before what is in them.

Exit code 4 says that it is not known whether it was done: the same command again does no harm.")]
pub(crate) struct ApplyArgs {
    /// A file, a folder (its .yaml, .yml and .json files and those of the folders in it, by name), an
    /// http or https URL, or - for standard input; repeatable
    #[arg(short, long = "file", value_name = "FILE|DIR|URL|-", required = true)]
    pub(crate) file: Vec<String>,
    /// One document after the other, each by itself: one that is refused stops none of the others
    #[arg(long)]
    pub(crate) each: bool,
    /// As many transactions as it takes, in order: each is whole, the set is not
    #[arg(long, conflicts_with = "each")]
    pub(crate) batch: bool,
    /// Only show what would change
    #[arg(long, conflicts_with_all = ["each", "batch"])]
    pub(crate) dry_run: bool,
    /// Apply without asking at a terminal
    #[arg(short, long)]
    pub(crate) yes: bool,
    #[arg(short, long, value_enum, default_value_t = Format::Table)]
    pub(crate) output: Format,
    /// The mesh of documents that name none
    #[arg(short, long)]
    pub(crate) mesh: Option<String>,
    /// Unknown fields are left out with a warning instead of being refused
    #[arg(long)]
    pub(crate) lenient: bool,
    #[command(flatten)]
    pub(crate) why: Reason,
    #[command(flatten)]
    pub(crate) connection: Connection,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  higuma get meshes
  higuma get traffic-permission allow-all -m default -o yaml
  higuma get TrafficRoute --all-meshes -o json
  higuma get meshes --stale        what one node has, even without a leader
  higuma get mesh default --at 120 -o yaml
  higuma get mesh default --at 2026-01-31T14:00:00Z")]
pub(crate) struct GetArgs {
    /// A type: meshes, mesh, Mesh, traffic-permissions …
    #[arg(value_name = "TYPE", value_parser = kind_argument::parse)]
    pub(crate) kind: Kind,
    pub(crate) name: Option<String>,
    #[command(flatten)]
    pub(crate) scope: MeshScope,
    #[arg(short, long, value_enum, default_value_t = Format::Table)]
    pub(crate) output: Format,
    /// Take what the first server has; it may be old, and needs no leader
    #[arg(long)]
    pub(crate) stale: bool,
    /// As it was at a version or at a time; of the types whose history is kept
    #[arg(long, value_name = "VERSION|TIME", requires = "name", conflicts_with = "stale")]
    pub(crate) at: Option<String>,
    #[command(flatten)]
    pub(crate) connection: Connection,
}

#[derive(Debug, Args)]
pub(crate) struct MeshScope {
    /// The mesh, for types that are in one [default: the context's, or default]
    #[arg(short, long)]
    pub(crate) mesh: Option<String>,
    /// All meshes
    #[arg(short = 'A', long, conflicts_with_all = ["mesh", "name"])]
    pub(crate) all_meshes: bool,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  higuma delete traffic-permission allow-all -m default
  higuma delete mesh default --reason 'moved to another cluster'")]
pub(crate) struct DeleteArgs {
    /// A type: meshes, mesh, Mesh, traffic-permissions …
    #[arg(value_name = "TYPE", value_parser = kind_argument::parse)]
    pub(crate) kind: Kind,
    pub(crate) name: String,
    /// The mesh, for types that are in one [default: the context's, or default]
    #[arg(short, long)]
    pub(crate) mesh: Option<String>,
    #[command(flatten)]
    pub(crate) why: Reason,
    #[command(flatten)]
    pub(crate) connection: Connection,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  higuma inspect cluster            who leads, and how far each node is
  higuma inspect zones -o json
  higuma inspect dataplanes -m default")]
pub(crate) struct InspectArgs {
    #[arg(value_enum)]
    pub(crate) what: Inspected,
    #[command(flatten)]
    pub(crate) scope: InspectScope,
    #[arg(short, long, value_enum, default_value_t = Format::Table)]
    pub(crate) output: Format,
    #[command(flatten)]
    pub(crate) connection: Connection,
}

#[derive(Debug, Args)]
pub(crate) struct InspectScope {
    /// Only the dataplanes of this mesh [default: all]
    #[arg(short, long)]
    pub(crate) mesh: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Inspected {
    Cluster,
    Zones,
    Dataplanes,
    Zoneingresses,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  higuma version
  higuma version --client")]
pub(crate) struct VersionArgs {
    /// Only this program's
    #[arg(long)]
    pub(crate) client: bool,
    #[command(flatten)]
    pub(crate) connection: Connection,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  higuma config set-context lab --server 127.77.0.1,127.77.0.2,127.77.0.3
  higuma config use-context lab
  higuma config view")]
pub(crate) struct ConfigArgs {
    /// The configuration file [env: HIGUMA_CONFIG] [default: ~/.config/higuma/config.yaml]
    #[arg(long, value_name = "FILE", global = true)]
    pub(crate) config: Option<PathBuf>,
    #[command(subcommand)]
    pub(crate) command: ConfigCommand,
}

#[derive(Debug, Subcommand)]
pub(crate) enum ConfigCommand {
    /// Make a context, or replace it
    #[command(
        after_help = "Examples:\n  higuma config set-context lab --server 127.77.0.1,127.77.0.2\n  \
        higuma config set-context prod --server https://10.0.0.1,https://10.0.0.2 --ca-file ca.pem \
        --token-file token"
    )]
    SetContext {
        name: String,
        /// Servers of the control plane, tried in order
        #[arg(long, value_name = "ADDR,ADDR", value_delimiter = ',', required = true)]
        server: Vec<String>,
        /// PEM file of the CA that their certificates are of
        #[arg(long, value_name = "FILE")]
        ca_file: Option<PathBuf>,
        /// A file that holds the user token to send to them; it is copied into the configuration file
        #[arg(long, value_name = "FILE")]
        token_file: Option<PathBuf>,
        /// The mesh of commands that name none
        #[arg(short, long)]
        mesh: Option<String>,
    },
    /// Choose the context of commands that name none
    #[command(after_help = "Example:\n  higuma config use-context lab")]
    UseContext { name: String },
    /// Remove a context
    #[command(after_help = "Example:\n  higuma config delete-context lab")]
    DeleteContext { name: String },
    /// Show the file and where it is
    #[command(after_help = "Example:\n  higuma config view")]
    View,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  bash:  higuma completion bash > ~/.local/share/bash-completion/completions/higuma
  zsh:   higuma completion zsh > \"${fpath[1]}/_higuma\"      then start a new shell
  fish:  higuma completion fish > ~/.config/fish/completions/higuma.fish
  once:  source <(higuma completion bash)")]
pub(crate) struct CompletionArgs {
    #[arg(value_enum)]
    pub(crate) shell: clap_complete::Shell,
}

/// `250ms`, `10s`, `2m`.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    let wrong = || "use a time such as 500ms, 10s or 1m".to_owned();
    let end = text.find(|c: char| !c.is_ascii_digit()).ok_or_else(wrong)?;
    let number: u64 = text[..end].parse().map_err(|_| wrong())?;
    let unit = match &text[end..] {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        _ => return Err(wrong()),
    };
    match number.checked_mul(unit) {
        Some(1..=3_600_000) => Ok(Duration::from_millis(number * unit)),
        _ => Err("must be more than zero and at most 60m".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_command_line_is_consistent_and_every_verb_has_examples() {
        let command = Arguments::command();
        command.clone().debug_assert();
        for verb in command.get_subcommands() {
            let group = matches!(
                verb.get_name(),
                "global" | "remote" | "dp" | "ingress" | "cluster" | "zone" | "generate"
            );
            let examples = verb.get_after_help().is_some_and(|t| t.to_string().contains("Example"));
            assert!(group || examples, "`higuma {} --help` has no examples", verb.get_name());
        }
    }

    #[test]
    fn times_have_a_unit_and_a_bound() {
        for (text, expected) in [("500ms", 500), ("10s", 10_000), ("1m", 60_000)] {
            assert_eq!(duration(text), Ok(Duration::from_millis(expected)));
        }
        for text in ["10", "s", "0s", "1h", "-1s", "61m", "99999999999999999999s", "1.5s"] {
            assert!(duration(text).is_err(), "{text}");
        }
    }
}
