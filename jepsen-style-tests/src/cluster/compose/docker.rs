//! Docker, by its command: containers of a project, and what is done to them.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::Context as _;
use serde::Deserialize;

use crate::cluster::command::run;

/// On everything that compose makes.
const PROJECT: &str = "com.docker.compose.project";
/// What the names of all projects of all runs begin with.
const PREFIX: &str = "higuma-chaos-";

/// The project of a run.
pub(crate) fn project(id: &str) -> String {
    format!("{PREFIX}{id}")
}

/// A container, as `docker inspect` shows it.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Container {
    pub(super) id: String,
    pub(super) state: ContainerState,
    pub(super) config: Config,
    pub(super) network_settings: Networks,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct ContainerState {
    pub(super) running: bool,
    pub(super) paused: bool,
    pub(super) pid: i32,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Config {
    pub(super) labels: BTreeMap<String, String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Networks {
    /// By name, with the project's before it.
    pub(super) networks: BTreeMap<String, Endpoint>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Endpoint {
    /// Empty while the container does not run.
    #[serde(rename = "IPAMConfig")]
    pub(super) fixed: Option<Fixed>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Fixed {
    #[serde(rename = "IPv4Address")]
    pub(super) address: Option<std::net::Ipv4Addr>,
}

impl Container {
    pub(super) fn label(&self, name: &str) -> &str {
        self.config.labels.get(name).map_or("", String::as_str)
    }

    /// The name that the compose file gives it.
    pub(super) fn service(&self) -> &str {
        self.label("com.docker.compose.service")
    }
}

/// All containers of a project, running or not.
pub(super) fn containers(project: &str) -> anyhow::Result<Vec<Container>> {
    let ids = ids(&["ps", "--all"], project)?;
    if ids.is_empty() {
        return Ok(Vec::new());
    }
    inspect(&ids)
}

pub(super) fn inspect(ids: &[String]) -> anyhow::Result<Vec<Container>> {
    let text = docker(&["container", "inspect"], ids)?;
    serde_json::from_str(&text).context("docker describes containers in another way")
}

/// `docker WORDS THINGS`.
pub(super) fn docker(words: &[&str], things: &[String]) -> anyhow::Result<String> {
    let things = things.iter().map(String::as_str);
    run(&std::iter::once("docker").chain(words.iter().copied()).chain(things).collect::<Vec<_>>())
}

/// The last lines of what a container wrote, both streams.
pub(super) fn last_words(id: &str, lines: &str) -> anyhow::Result<String> {
    let mut command = std::process::Command::new("docker");
    let output = command.args(["logs", "--tail", lines, id]).stdin(std::process::Stdio::null());
    let output = output.output().context("cannot run `docker logs`")?;
    let both = [output.stdout, output.stderr].concat();
    Ok(String::from_utf8_lossy(&both).trim().to_owned())
}

/// All that a container wrote, both streams.
pub(super) fn logs(id: &str, to: &Path) -> anyhow::Result<()> {
    let file =
        std::fs::File::create(to).with_context(|| format!("cannot write {}", to.display()))?;
    let both = file.try_clone().context("cannot write a log")?;
    let mut command = std::process::Command::new("docker");
    command.args(["logs", id]).stdin(std::process::Stdio::null()).stdout(file).stderr(both);
    let status = command.status().context("cannot run `docker logs`")?;
    anyhow::ensure!(status.success(), "`docker logs {id}` failed ({status})");
    Ok(())
}

fn ids(words: &[&str], project: &str) -> anyhow::Result<Vec<String>> {
    let filter = format!("label={PROJECT}={project}");
    let text = docker(&[words, &["--quiet", "--filter", &filter]].concat(), &[])?;
    Ok(text.split_whitespace().map(str::to_owned).collect())
}

/// Removes all containers, networks and volumes of a run; says what. Without a Docker that answers
/// there are none.
pub(crate) fn remove(id: &str) -> anyhow::Result<Vec<String>> {
    let project = project(id);
    let mut removed = Vec::new();
    if docker(&["version"], &[]).is_err() {
        return Ok(removed);
    }
    for (list, remove, what) in [
        (&["ps", "--all"][..], &["rm", "--force", "--volumes"][..], "containers"),
        (&["network", "ls"], &["network", "rm"], "networks"),
        (&["volume", "ls"], &["volume", "rm"], "volumes"),
    ] {
        let ids = ids(list, &project)?;
        if !ids.is_empty() {
            docker(remove, &ids)?;
            removed.push(format!("run {id}: {} {what}", ids.len()));
        }
    }
    Ok(removed)
}

/// The runs that have a container, a network or a volume.
pub(crate) fn runs() -> Vec<String> {
    let mut runs = Vec::new();
    let format = format!("{{{{.Label \"{PROJECT}\"}}}}");
    for list in [&["ps", "--all"][..], &["network", "ls"], &["volume", "ls"]] {
        let filter = format!("label={PROJECT}");
        let words = [list, &["--filter", &filter, "--format", &format]].concat();
        // Without Docker there is none.
        let text = docker(&words, &[]).unwrap_or_default();
        runs.extend(text.lines().filter_map(|line| line.strip_prefix(PREFIX)).map(str::to_owned));
    }
    runs.sort();
    runs.dedup();
    runs
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_docker_shows_of_a_container_is_read() {
        let text = r#"[{"Id": "c1", "Name": "/x", "State": {"Running": true, "Paused": false, "Pid": 7, "Status": "running"}, "Config": {"Labels": {"higuma.zone": "east",
            "com.docker.compose.service": "web"}}, "NetworkSettings": {"Networks": {
            "p_zone-east": {"IPAMConfig": {"IPv4Address": "172.30.11.21"}, "IPAddress": ""},
            "p_other": {"IPAMConfig": null}}}}]"#;
        let containers: Vec<Container> = serde_json::from_str(text).unwrap();
        let web = &containers[0];
        assert_eq!((web.service(), web.label("higuma.zone"), web.label("x")), ("web", "east", ""));
        let networks = &web.network_settings.networks;
        let fixed = networks["p_zone-east"].fixed.as_ref().unwrap();
        assert_eq!(fixed.address.unwrap().to_string(), "172.30.11.21");
        assert!(networks["p_other"].fixed.is_none());
    }
}
