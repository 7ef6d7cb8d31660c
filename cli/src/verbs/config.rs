//! `higuma config`: contexts.

use std::path::{Path, PathBuf};

use crate::args::{ConfigArgs, ConfigCommand};
use crate::client::address;
use crate::client::context::{Config, Context, config_path};
use crate::client::trust::{Token, certificates};
use crate::failure::Failure;
use crate::output::{note, print};

pub(crate) fn config(args: &ConfigArgs) -> Result<(), Failure> {
    let path = match &args.config {
        Some(path) => path.clone(),
        None => config_path(|name| std::env::var(name).ok()).map_err(Failure::usage)?,
    };
    let mut config = Config::load(&path).map_err(Failure::refused)?;
    let done = match &args.command {
        ConfigCommand::View => {
            note(format!("# {}", path.display()));
            for context in &mut config.contexts {
                context.token = context.token.as_ref().map(|_| Token::hidden());
            }
            let text = serde_saphyr::to_string(&config);
            return print(text.map_err(|error| Failure::refused(error.to_string()))?);
        }
        ConfigCommand::SetContext { name, server, ca_file, token_file, mesh } => {
            let ca_file = ca_file.as_deref().map(trusted).transpose()?;
            let token = token_file.as_deref().map(Token::read).transpose();
            let token = token.map_err(Failure::usage)?;
            let servers = address::parse_all(server).map_err(Failure::usage)?;
            let servers = servers.iter().map(address::shown).collect();
            config.set(Context { name: name.clone(), servers, ca_file, token, mesh: mesh.clone() });
            format!("context {name} is set")
        }
        ConfigCommand::UseContext { name } => {
            config.context(name).map_err(Failure::refused)?;
            config.current_context = Some(name.clone());
            format!("context {name} is the current one")
        }
        ConfigCommand::DeleteContext { name } => {
            config.context(name).map_err(Failure::refused)?;
            config.contexts.retain(|context| context.name != *name);
            config.current_context.take_if(|current| *current == *name);
            format!("context {name} is deleted")
        }
    };
    config.save(&path).map_err(Failure::refused)?;
    print(done)
}

/// A CA file by its whole path, seen to be one: a mistake should not wait for the next command.
fn trusted(file: &Path) -> Result<PathBuf, Failure> {
    certificates(file).map_err(Failure::usage)?;
    std::path::absolute(file)
        .map_err(|error| Failure::usage(format!("{}: {error}", file.display())))
}
