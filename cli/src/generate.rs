//! `higuma generate`: certificates, made on this machine, and user tokens, made by a server.

mod cluster_tls;

use clap::{Args, Subcommand};

use crate::args::UserTokenArgs;
use crate::failure::Failure;
use crate::verbs;

#[derive(Debug, Args)]
pub(crate) struct GenerateArgs {
    #[command(subcommand)]
    command: GenerateCommand,
}

#[derive(Debug, Subcommand)]
enum GenerateCommand {
    /// Make a CA and certificates for a cluster's nodes and zones, or renew them
    ClusterTls(cluster_tls::ClusterTlsArgs),
    /// Make a token by which a user is known to REST
    UserToken(UserTokenArgs),
}

pub(crate) async fn generate(args: &GenerateArgs) -> Result<(), Failure> {
    match &args.command {
        GenerateCommand::ClusterTls(args) => cluster_tls::cluster_tls(args),
        GenerateCommand::UserToken(args) => verbs::generate_user_token(args).await,
    }
}
