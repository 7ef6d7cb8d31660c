//! The command line of user tokens.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::Connection;

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  On a control plane's own host, where no token is needed:
    higuma generate user-token --name ann --group team-shop --valid-for 24h > token

  An administrator's:
    higuma generate user-token --name root --group mesh-system:admin --valid-for 720h > token

  Then, from anywhere:
    higuma get meshes --server https://10.0.0.1 --ca-file ca.pem --token-file token

The token is the only thing that is written to standard output. What its user may do is decided by \
the control plane; the group mesh-system:admin may do everything.")]
pub(crate) struct UserTokenArgs {
    /// The user's name, as the history shows it
    #[arg(long)]
    pub(crate) name: String,
    /// A group that the user is in; repeatable
    #[arg(long, value_name = "GROUP")]
    pub(crate) group: Vec<String>,
    /// How long the token is good: 24h, 30m, 720h
    #[arg(long, value_name = "TIME")]
    pub(crate) valid_for: String,
    #[command(flatten)]
    pub(crate) connection: Connection,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  higuma token revoke 0b7f6c1e-3d52-4c5e-9a51-0f3c6f0f7a11
  higuma token revoke --file leaked-token
  higuma token rotate-key              new tokens are signed with a new key, old ones stay good
  higuma token keys
  higuma token delete-key 1            and all tokens that it signed are worth nothing")]
pub(crate) struct TokenArgs {
    #[command(subcommand)]
    pub(crate) command: TokenCommand,
}

#[derive(Debug, Subcommand)]
pub(crate) enum TokenCommand {
    /// Make tokens worth nothing, for good
    Revoke {
        /// Ids, as `generate user-token` says them
        #[arg(required_unless_present = "file")]
        id: Vec<String>,
        /// A file that holds the token
        #[arg(long, value_name = "FILE")]
        file: Option<PathBuf>,
        #[command(flatten)]
        connection: Connection,
    },
    /// Show the keys that tokens are signed with
    Keys {
        #[command(flatten)]
        connection: Connection,
    },
    /// Make a new key, which signs from now on
    RotateKey {
        #[command(flatten)]
        connection: Connection,
    },
    /// Delete an old key: the tokens that it signed are worth nothing any more
    DeleteKey {
        /// The key's number
        key: String,
        #[command(flatten)]
        connection: Connection,
    },
}
