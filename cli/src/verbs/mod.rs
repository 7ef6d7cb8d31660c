//! What an operator does: each verb is a few calls of the REST API.

mod adopt;
mod apply;
mod backup;
mod changes;
mod cluster;
mod completion;
mod config;
mod delete;
mod force_new;
mod get;
mod history;
mod inspect;
mod members;
mod restore;
mod rollback;
mod token;
mod version;
mod watch;

use crate::args::Connection;
use crate::client::Client;
use crate::client::context::{Config, Wishes, config_path};
use crate::client::trust::{Token, Trust};
use crate::failure::Failure;

pub(crate) use adopt::adopt;
pub(crate) use apply::apply;
pub(crate) use backup::backup;
pub(crate) use cluster::cluster;
pub(crate) use completion::completion;
pub(crate) use config::config;
pub(crate) use delete::delete;
pub(crate) use force_new::force_new;
pub(crate) use get::get;
pub(crate) use history::{diff, history};
pub(crate) use inspect::inspect;
pub(crate) use restore::restore;
pub(crate) use rollback::rollback;
pub(crate) use token::{generate_user_token, token as user_tokens};
pub(crate) use version::version;
pub(crate) use watch::watch;

/// A cluster, and the mesh of commands that name none.
struct Session {
    client: Client,
    mesh: String,
}

impl Session {
    fn open(connection: &Connection) -> Result<Self, Failure> {
        let variable = |name: &str| std::env::var(name).ok();
        let wishes = Wishes {
            server_flag: connection.server.clone(),
            context_flag: connection.context.clone(),
            server_variable: variable("HIGUMA_SERVER"),
            context_variable: variable("HIGUMA_CONTEXT"),
            trust: Trust { ca_file: connection.ca_file.clone(), token: token(connection)? },
        };
        let config = if wishes.needs_file() {
            let path = match &connection.config {
                Some(path) => path.clone(),
                None => config_path(variable).map_err(Failure::usage)?,
            };
            Config::load(&path).map_err(Failure::usage)?
        } else {
            Config::default()
        };
        let target = config.target(&wishes).map_err(Failure::usage)?;
        let client = Client::new(target.servers, connection.api_timeout, &target.trust);
        let client = client.map_err(Failure::usage)?;
        Ok(Self { client, mesh: target.mesh })
    }
}

/// The token that flags or environment name.
fn token(connection: &Connection) -> Result<Option<Token>, Failure> {
    if let Some(file) = &connection.token_file {
        return Token::read(file).map(Some).map_err(Failure::usage);
    }
    let text = std::env::var("HIGUMA_TOKEN").ok().filter(|text| !text.trim().is_empty());
    let token = text.map(Token::try_from).transpose();
    token.map_err(|why| Failure::usage(format!("HIGUMA_TOKEN: {why}")))
}

/// `, version 12`, as far as the server said it.
fn at_version(version: Option<u64>) -> String {
    version.map_or_else(String::new, |version| format!(" (version {version})"))
}

/// `Mesh default`, `TrafficPermission allow-all in mesh default`.
fn shown(key: &higuma_model::Key) -> String {
    match key.mesh() {
        "" => format!("{} {}", key.kind(), key.name()),
        mesh => format!("{} {} in mesh {mesh}", key.kind(), key.name()),
    }
}
