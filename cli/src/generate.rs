//! `higuma generate`: makes files for a system, on this machine and without a server.

mod cluster_tls;

use clap::{Args, Subcommand};

use crate::failure::Failure;

#[derive(Debug, Args)]
pub(crate) struct GenerateArgs {
    #[command(subcommand)]
    command: GenerateCommand,
}

#[derive(Debug, Subcommand)]
enum GenerateCommand {
    /// Make a CA and certificates for a cluster's nodes and zones, or renew them
    ClusterTls(cluster_tls::ClusterTlsArgs),
}

pub(crate) fn generate(args: &GenerateArgs) -> Result<(), Failure> {
    match &args.command {
        GenerateCommand::ClusterTls(args) => cluster_tls::cluster_tls(args),
    }
}
