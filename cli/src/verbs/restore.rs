//! `higuma restore`: what a backup holds; and a new cluster that begins with it. Offline.

use std::fmt::Write as _;

use higuma_global::member_list;
use higuma_global::offline::{self, Backup};
use higuma_model::rfc3339;
use serde_json::{Value, json};

use crate::args::RestoreArgs;
use crate::failure::Failure;
use crate::output::{self, Format, print};

pub(crate) fn restore(args: &RestoreArgs) -> Result<(), Failure> {
    let backup = Backup::read(&args.file).map_err(|error| Failure::refused(error.to_string()))?;
    let mut result = described(&backup);
    let Some(folder) = &args.data_dir else {
        return match args.output {
            Format::Table => print(shown(&args.file.display().to_string(), &result)),
            format => print(output::value(&result, format)?),
        };
    };
    let members = member_list(&args.members)?;
    let lowest = || members.keys().next().copied().unwrap_or_default();
    let node = args.node_id.unwrap_or_else(lowest);
    let cluster = offline::restore(&backup, folder, node, &members)
        .map_err(|error| Failure::refused(error.to_string()))?;
    result["newCluster"] = cluster.to_string().into();
    if args.output != Format::Table {
        return print(output::value(&result, args.output)?);
    }
    let mut text = format!(
        "restored cluster {} at version {} as the new cluster {cluster}: {} resources, in {}\n\n",
        backup.cluster(),
        backup.state.version(),
        backup.state.len(),
        folder.display(),
    );
    text.push_str(&started(node, members.keys().copied().filter(|id| *id != node).collect()));
    let version = backup.state.version();
    let _ = write!(
        text,
        "Zones that have seen nothing after version {version} of the old cluster follow by \
         themselves; others say that\nthey do not, and wait for `higuma zone adopt`."
    );
    print(text)
}

/// What to do next with a folder that a new cluster begins with.
pub(super) fn started(node: u64, others: Vec<u64>) -> String {
    if others.is_empty() {
        return format!("Start node {node} with a --members that names it alone.\n");
    }
    let others: Vec<String> = others.iter().map(u64::to_string).collect();
    let others = others.join(", ");
    format!(
        "Start node {node} with this folder, and nodes {others} with empty ones, all with these \
         --members. They get the state from\nnode {node} once all of them are up.\n"
    )
}

fn described(backup: &Backup) -> Value {
    let kinds: serde_json::Map<String, Value> =
        backup.kinds().into_iter().map(|(kind, n)| (kind.name().to_owned(), n.into())).collect();
    json!({
        "cluster": backup.cluster().to_string(),
        "version": backup.state.version(),
        "hash": format!("{:032x}", backup.state.content()),
        "made": rfc3339(backup.stamp.made),
        "node": backup.stamp.node,
        "program": backup.stamp.program,
        "bytes": backup.bytes,
        "resources": backup.state.len(),
        "kinds": kinds,
    })
}

fn shown(file: &str, described: &Value) -> String {
    let text = |name: &str| match &described[name] {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    let mut lines = vec![
        format!("{file} is whole"),
        String::new(),
        format!("Cluster     {}", text("cluster")),
        format!("Version     {}", text("version")),
        format!(
            "Made        {} by node {}, Higuma {}",
            text("made"),
            text("node"),
            text("program")
        ),
        format!("Hash        {}", text("hash")),
        format!("Bytes       {}", text("bytes")),
        format!("Resources   {}", text("resources")),
    ];
    let kinds = described["kinds"].as_object().into_iter().flatten();
    lines.extend(kinds.map(|(kind, number)| format!("  {kind:<24} {number}")));
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_backup_holds_is_shown_by_kind() {
        let described = json!({
            "cluster": "ab", "version": 7, "hash": "cd", "made": "2026-01-31T00:00:00.000Z",
            "node": 2, "program": "0.1.0", "bytes": 1234, "resources": 3,
            "kinds": {"Mesh": 1, "Secret": 2},
        });
        let text = shown("b", &described);
        for expected in [
            "b is whole",
            "Cluster     ab",
            "2026-01-31T00:00:00.000Z by node 2, Higuma 0.1.0",
            "Resources   3",
            "  Mesh                     1",
            "  Secret                   2",
        ] {
            assert!(text.lines().any(|line| line.ends_with(expected)), "{expected}: {text}");
        }
        assert!(started(3, vec![]).contains("names it alone"));
        assert!(started(1, vec![2, 3]).contains("nodes 2, 3 with empty ones"));
    }
}
