//! `higuma cluster`: who the nodes are, and who leads.

use serde_json::{Value, json};

use super::{Session, force_new, members};
use crate::args::{ClusterCommand, StatusArgs, TransferArgs};
use crate::client::{Client, Request};
use crate::failure::Failure;
use crate::output::{self, Format, note, print, table};

pub(crate) async fn cluster(command: &ClusterCommand) -> Result<(), Failure> {
    match command {
        ClusterCommand::Status(StatusArgs { output, connection }) => {
            show(&Session::open(connection)?.client, *output).await
        }
        ClusterCommand::TransferLeader(args) => transfer_leader(args).await,
        ClusterCommand::Add(args) => members::add(args).await,
        ClusterCommand::Replace(args) => members::replace(args).await,
        ClusterCommand::Remove(args) => members::remove(args).await,
        ClusterCommand::ForceNew(args) => force_new(args).await,
    }
}

/// Shows every node as it says it is.
pub(super) async fn show(client: &Client, format: Format) -> Result<(), Failure> {
    let cluster = client.send(&Request::get(&["_cluster"])).await?.body;
    match format {
        Format::Table => print(status(&cluster)),
        format => print(output::value(&cluster, format)?),
    }
}

async fn transfer_leader(args: &TransferArgs) -> Result<(), Failure> {
    let client = Session::open(&args.connection)?.client;
    let before = client.send(&Request::get(&["_cluster"])).await?.body["leader"].clone();
    let body = args.to.map_or_else(|| json!({}), |to| json!({"to": to}));
    let after = client.send(&Request::post(&["_cluster", "leader"], body)).await?.body;
    match after["leader"] == before {
        true => print(format!("node {before} led already")),
        false => {
            print(format!("node {} leads; before it, node {before} did", after["leader"]))?;
            note("next: `higuma cluster status` shows how far each node is");
            Ok(())
        }
    }
}

/// Who leads, and a line for each node.
fn status(cluster: &Value) -> String {
    let members = cluster.get("members").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    let rows: Vec<_> = members.iter().map(row).collect();
    let mut heading = vec![
        "NODE",
        "ADDRESS",
        "ROLE",
        "TERM",
        "VERSION",
        "LAG",
        "RESOURCES",
        "HASH",
        "SNAPSHOT",
        "DISK",
    ];
    if rows.iter().any(|row| row.len() > heading.len()) {
        heading.push("ERROR");
    }
    let leader = match cluster.get("leader") {
        Some(Value::Number(id)) => format!("node {id}"),
        _ => "none: no write can be done until a majority of the nodes is back".to_owned(),
    };
    let diverged = cluster.get("diverged").and_then(Value::as_array).into_iter().flatten();
    let alarms: String = diverged
        .map(|at| {
            let (version, members) = (shown(at, "version"), shown(at, "members"));
            format!(
                "\n\nALARM: nodes {members} are all at version {version} and do not hold the same. \
                 Stop the one whose hash\nis another than that of the majority, keep its folder, \
                 and report it."
            )
        })
        .collect();
    format!(
        "Cluster: {}   Leader: {leader}   Term: {}   Version: {}   Epoch: {}\n\n{}{alarms}",
        shown(cluster, "clusterId"),
        shown(cluster, "term"),
        shown(cluster, "version"),
        shown(cluster, "epoch"),
        table(&heading, &rows)
    )
}

fn row(member: &Value) -> Vec<String> {
    let mut row: Vec<String> = ["id", "address", "role", "term", "version", "lag", "resources"]
        .map(|name| shown(member, name))
        .to_vec();
    // Enough to be told from another at a glance; `-o json` has all of it.
    row.push(shown(member, "hash").chars().take(12).collect());
    row.push(match member.pointer("/snapshot/bytes").and_then(Value::as_u64) {
        Some(bytes) => format!("{} ({})", shown(&member["snapshot"], "version"), size(bytes)),
        None => "-".to_owned(),
    });
    let low = member.pointer("/disk/low").and_then(Value::as_bool).unwrap_or_default();
    row.push(match member.pointer("/disk/free").and_then(Value::as_u64) {
        Some(free) if low => format!("{} LOW", size(free)),
        Some(free) => size(free),
        None => "-".to_owned(),
    });
    if let Some(why) = member.get("error").and_then(Value::as_str) {
        row.push(why.to_owned());
    }
    row
}

fn shown(value: &Value, name: &str) -> String {
    match value.get(name) {
        None | Some(Value::Null) => "-".to_owned(),
        Some(Value::String(text)) => text.clone(),
        Some(other) => other.to_string(),
    }
}

/// In the largest unit of which there are ten: `812 B`, `29 MiB`.
fn size(bytes: u64) -> String {
    let units = ["B", "KiB", "MiB", "GiB", "TiB"];
    let (mut size, mut unit) = (bytes, 0);
    while size >= 10 << 10 && unit + 1 < units.len() {
        (size, unit) = (size >> 10, unit + 1);
    }
    format!("{size} {}", units[unit])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cluster_is_shown_with_who_leads_and_who_is_gone() {
        let cluster = json!({
            "clusterId": "ab", "node": 1, "leader": 2, "term": 5, "version": 12, "epoch": "cd",
            "members": [
                {"id": 1, "address": "a:1", "role": "unreachable", "error": "connection refused"},
                {"id": 2, "address": "b:1", "role": "leader", "term": 5, "version": 12, "lag": 0,
                 "resources": 3, "hash": "0123456789abcdef", "snapshot": {"version": 9, "bytes": 812},
                 "disk": {"free": 31_u64 << 30, "low": false}, "error": null},
            ],
            "diverged": [],
        });
        assert_eq!(
            status(&cluster),
            "Cluster: ab   Leader: node 2   Term: 5   Version: 12   Epoch: cd\n\n\
             NODE   ADDRESS   ROLE          TERM   VERSION   LAG   RESOURCES   HASH           \
             SNAPSHOT    DISK     ERROR\n\
             1      a:1       unreachable   -      -         -     -           -              \
             -           -        connection refused\n\
             2      b:1       leader        5      12        0     3           0123456789ab   \
             9 (812 B)   31 GiB"
        );
        let text = status(&json!({"leader": null}));
        assert!(text.contains("Leader: none: no write can be done"), "{text}");
        let text = status(&json!({"diverged": [{"version": 7, "members": [1, 3]}]}));
        assert!(text.contains("ALARM: nodes [1,3] are all at version 7"), "{text}");
    }

    #[test]
    fn sizes_are_in_the_largest_unit_that_says_enough() {
        for (bytes, expected) in
            [(0, "0 B"), (10_239, "10239 B"), (10_240, "10 KiB"), (29 << 20, "29 MiB")]
        {
            assert_eq!(size(bytes), expected);
        }
    }
}
