//! Which servers a command talks to: flags, environment, and contexts in the configuration file.

use std::fs::OpenOptions;
use std::io::{ErrorKind, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use reqwest::Url;
use serde::{Deserialize, Serialize};

use super::address;
use super::trust::{Token, Trust};

/// Where a command looks when nothing is configured: a control plane on this machine.
pub(crate) const DEFAULT_SERVER: &str = "127.0.0.1:5681";
/// The mesh of a command that names none (Kuma's default).
pub(crate) const DEFAULT_MESH: &str = "default";
/// A configuration file; contexts are a few lines each.
const MAX_FILE_BYTES: u64 = 1 << 20;

/// The configuration file.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Config {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) current_context: Option<String>,
    #[serde(default)]
    pub(crate) contexts: Vec<Context>,
}

/// A named set of servers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Context {
    pub(crate) name: String,
    pub(crate) servers: Vec<String>,
    /// PEM file of the CA that the servers' certificates are of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) ca_file: Option<PathBuf>,
    /// What is shown to them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) token: Option<Token>,
    /// The mesh of commands that name none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) mesh: Option<String>,
}

/// What flags and environment say; a flag wins over any variable.
#[derive(Debug, Clone, Default)]
pub(crate) struct Wishes {
    pub(crate) server_flag: Vec<String>,
    pub(crate) context_flag: Option<String>,
    /// `HIGUMA_SERVER`
    pub(crate) server_variable: Option<String>,
    /// `HIGUMA_CONTEXT`
    pub(crate) context_variable: Option<String>,
    /// By `--ca-file` or `HIGUMA_CA_FILE`, and `--token-file`, `HIGUMA_TOKEN_FILE` or
    /// `HIGUMA_TOKEN`.
    pub(crate) trust: Trust,
}

/// Where a command goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Target {
    pub(crate) servers: Vec<Url>,
    pub(crate) mesh: String,
    pub(crate) trust: Trust,
}

impl Wishes {
    /// Whether the configuration file decides anything; a broken one does not matter otherwise.
    pub(crate) fn needs_file(&self) -> bool {
        let set = |text: &Option<String>| text.as_ref().is_some_and(|t| !t.trim().is_empty());
        self.server_flag.is_empty() && (self.context_flag.is_some() || !set(&self.server_variable))
    }
}

impl Config {
    /// The file's content; no file is an empty configuration.
    pub(crate) fn load(path: &Path) -> Result<Self, String> {
        let shown = path.display();
        match std::fs::metadata(path) {
            Ok(about) if about.len() > MAX_FILE_BYTES => {
                return Err(format!("{shown} is larger than {MAX_FILE_BYTES} bytes"));
            }
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Self::default()),
            _ => {}
        }
        let text = std::fs::read_to_string(path)
            .map_err(|error| format!("cannot read {shown}: {error}"))?;
        if text.trim().is_empty() {
            return Ok(Self::default());
        }
        serde_saphyr::from_str(&text)
            .map_err(|error| format!("{shown} is not a configuration of higuma: {error}"))
    }

    /// Replaces the file at once; it is readable by its owner only: it may hold tokens.
    pub(crate) fn save(&self, path: &Path) -> Result<(), String> {
        let failed = |error: std::io::Error| format!("cannot write {}: {error}", path.display());
        let folder = path.parent().unwrap_or_else(|| Path::new("."));
        std::fs::create_dir_all(folder).map_err(failed)?;
        let text = serde_saphyr::to_string(self).map_err(|error| error.to_string())?;
        let aside = path.with_extension(format!("yaml.{}", std::process::id()));
        let written = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&aside)
            .and_then(|mut file| file.write_all(text.as_bytes()))
            .and_then(|()| std::fs::rename(&aside, path));
        written.map_err(|error| {
            let _ = std::fs::remove_file(&aside);
            failed(error)
        })
    }

    pub(crate) fn context(&self, name: &str) -> Result<&Context, String> {
        let found = self.contexts.iter().find(|context| context.name == name);
        found.ok_or_else(|| {
            let known: Vec<_> = self.contexts.iter().map(|c| c.name.as_str()).collect();
            let known =
                if known.is_empty() { "there are none".to_owned() } else { known.join(", ") };
            format!(
                "no context {name:?} (known: {known}); \
                 make it with `higuma config set-context {name} --server ADDR,ADDR`"
            )
        })
    }

    /// Adds a context, or replaces the one of this name.
    pub(crate) fn set(&mut self, context: Context) {
        match self.contexts.iter_mut().find(|known| known.name == context.name) {
            Some(known) => *known = context,
            None => self.contexts.push(context),
        }
    }

    /// Decides where to go: `--server`, `--context`, `HIGUMA_SERVER`, `HIGUMA_CONTEXT`, the current
    /// context, this machine.
    pub(crate) fn target(&self, wishes: &Wishes) -> Result<Target, String> {
        let target = self.servers(wishes)?;
        let (asked, own) = (wishes.trust.clone(), target.trust);
        let ca_file = asked.ca_file.or(own.ca_file);
        let token = asked.token.or(own.token);
        Ok(Target { trust: Trust { ca_file, token }, ..target })
    }

    fn servers(&self, wishes: &Wishes) -> Result<Target, String> {
        let given = |servers: &[String]| {
            let servers = address::parse_all(servers)?;
            Ok(Target { servers, mesh: DEFAULT_MESH.to_owned(), trust: Trust::default() })
        };
        let named = |name: &str| {
            let context = self.context(name)?;
            let servers = address::parse_all(&context.servers)
                .map_err(|error| format!("context {name}: {error}"))?;
            let mesh = context.mesh.as_deref().unwrap_or(DEFAULT_MESH).to_owned();
            let (ca_file, token) = (context.ca_file.clone(), context.token.clone());
            Ok(Target { servers, mesh, trust: Trust { ca_file, token } })
        };
        let set = |variable: &Option<String>| variable.clone().filter(|v| !v.trim().is_empty());
        if !wishes.server_flag.is_empty() {
            given(&wishes.server_flag)
        } else if let Some(name) = &wishes.context_flag {
            named(name)
        } else if let Some(servers) = set(&wishes.server_variable) {
            given(&[servers]).map_err(|error| format!("HIGUMA_SERVER: {error}"))
        } else if let Some(name) = set(&wishes.context_variable) {
            named(&name).map_err(|error| format!("HIGUMA_CONTEXT: {error}"))
        } else if let Some(name) = &self.current_context {
            named(name)
        } else {
            given(&[DEFAULT_SERVER.to_owned()])
        }
    }
}

/// `HIGUMA_CONFIG`, or `higuma/config.yaml` in the user's folder for configuration.
pub(crate) fn config_path(variable: impl Fn(&str) -> Option<String>) -> Result<PathBuf, String> {
    let set = |name: &str| variable(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    if let Some(path) = set("HIGUMA_CONFIG") {
        return Ok(path);
    }
    let folder = set("XDG_CONFIG_HOME").or_else(|| set("HOME").map(|home| home.join(".config")));
    let folder = folder.ok_or("neither HIGUMA_CONFIG nor HOME is set: give --config FILE")?;
    Ok(folder.join("higuma").join("config.yaml"))
}

#[cfg(test)]
mod tests;
