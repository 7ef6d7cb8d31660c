//! The compose lab, as far as `lab status` goes: its containers, found by their labels.
//!
//! Compose itself starts and ends it (`make lab-up`, `make lab-down`).

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::process::Stdio;
use std::time::Duration;

use tokio::process::Command;

use crate::failure::Failure;
use crate::output::{note, print, table};

/// A daemon that is there answers in milliseconds.
const ANSWER: Duration = Duration::from_secs(5);
/// On each container of `docker-compose.yml`.
const ROLE: &str = "higuma.role";

/// What docker prints of a container: a line of columns with tabs between them.
const COLUMNS: &str = concat!(
    "{{.Label \"com.docker.compose.project\"}}\t{{.Label \"com.docker.compose.service\"}}\t",
    "{{.Label \"higuma.zone\"}}\t{{.Label \"higuma.role\"}}\t{{.ID}}\t{{.Status}}"
);

/// A project's containers: rows for a table.
type Projects = BTreeMap<String, Vec<Vec<String>>>;

/// Shows all compose labs of this machine; says whether there is one.
///
/// # Errors
/// Nobody reads what is printed.
pub(super) async fn status() -> Result<bool, Failure> {
    let mut docker = Command::new("docker");
    docker.args(["ps", "--all", "--filter", &format!("label={ROLE}"), "--format", COLUMNS]);
    docker.stdin(Stdio::null()).kill_on_drop(true);
    let output = match tokio::time::timeout(ANSWER, docker.output()).await {
        Ok(Ok(output)) => output,
        // Without Docker there is no such lab.
        Ok(Err(error)) if error.kind() == ErrorKind::NotFound => return Ok(false),
        Ok(Err(error)) => {
            note(format!("whether a compose lab is up is not known: docker: {error}"));
            return Ok(false);
        }
        Err(_) => {
            note(format!("whether a compose lab is up is not known: no answer in {ANSWER:?}"));
            return Ok(false);
        }
    };
    if !output.status.success() {
        let why = String::from_utf8_lossy(&output.stderr);
        let why = why.lines().next().unwrap_or("docker failed");
        // A daemon that does not run has no containers.
        if !why.contains("Is the docker daemon running") {
            note(format!("whether a compose lab is up is not known: {why}"));
        }
        return Ok(false);
    }
    let projects = projects(&String::from_utf8_lossy(&output.stdout));
    for (project, rows) in &projects {
        print(format!("compose lab {project}:"))?;
        print(table(&["NAME", "ZONE", "ROLE", "CONTAINER", "STATE"], rows))?;
    }
    Ok(!projects.is_empty())
}

fn projects(text: &str) -> Projects {
    let mut projects = Projects::new();
    for line in text.lines() {
        let columns: Vec<_> = line.split('\t').collect();
        let [project, service, zone, role, id, status] = columns[..] else { continue };
        let zone = if zone.is_empty() { "-" } else { zone };
        let row = [service, zone, role, id, status].map(str::to_owned).to_vec();
        projects.entry(project.to_owned()).or_default().push(row);
    }
    for rows in projects.values_mut() {
        // The globals first, then zone by zone.
        rows.sort_by(|a, b| (&a[1], &a[0]).cmp(&(&b[1], &b[0])));
    }
    projects
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn containers_are_shown_by_lab_and_zone() {
        let text = "higuma\tweb\teast\tapp\tc3\tUp 3 seconds (healthy)\n\
                    other\tglobal-1\t\tglobal\tc4\tExited (137) 2 minutes ago\n\
                    higuma\tglobal-2\t\tglobal\tc2\tUp 3 seconds (Paused)\n\
                    higuma\tglobal-1\t\tglobal\tc1\tUp 3 seconds\n";
        let projects = projects(text);
        let shown: Vec<_> =
            projects.iter().map(|(name, rows)| (name.as_str(), rows.len())).collect();
        assert_eq!(shown, [("higuma", 3), ("other", 1)]);
        assert_eq!(projects["higuma"][0], ["global-1", "-", "global", "c1", "Up 3 seconds"]);
        assert_eq!(projects["higuma"][2], ["web", "east", "app", "c3", "Up 3 seconds (healthy)"]);
    }
}
