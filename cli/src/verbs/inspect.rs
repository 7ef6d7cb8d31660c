//! `higuma inspect`: how the cluster, its zones and their proxies are doing.

mod overview;

use higuma_model::Kind;
use serde_json::{Value, json};
use time::OffsetDateTime;

use super::Session;
use super::get::{documents, list, list_at};
use crate::args::{InspectArgs, Inspected};
use crate::client::{Client, Request};
use crate::failure::Failure;
use crate::output::{self, Format, print, table};

pub(crate) async fn inspect(args: &InspectArgs) -> Result<(), Failure> {
    let session = Session::open(&args.connection)?;
    if args.scope.mesh.is_some() && args.what != Inspected::Dataplanes {
        return Err(Failure::usage("--mesh is for `inspect dataplanes` only"));
    }
    if args.what == Inspected::Cluster {
        let cluster = session.client.send(&Request::get(&["_cluster"])).await?.body;
        return match args.output {
            Format::Table => print(cluster_table(&cluster)),
            format => print(output::value(&cluster, format)?),
        };
    }
    let kind = match args.what {
        Inspected::Zones => Kind::Zone,
        Inspected::Zoneingresses => Kind::ZoneIngress,
        Inspected::Dataplanes | Inspected::Cluster => Kind::Dataplane,
    };
    let request = Request::all(kind, args.scope.mesh.as_deref()).below("_overview");
    let mut items = list(&session.client, &request).await?;
    ask_holders(&session.client, &request, &mut items).await;
    match args.output {
        Format::Table if items.is_empty() => {
            output::note(format!("there are no {}", kind.path()));
            Ok(())
        }
        Format::Table => print(overview::table(args.what, &items, OffsetDateTime::now_utc())),
        Format::Json => {
            print(output::value(&json!({"total": items.len(), "items": items}), Format::Json)?)
        }
        Format::Yaml => print(documents(&items)?),
    }
}

/// What a proxy runs is known only to the node that holds its zone's stream: where the answer
/// lacks it, the other servers are asked. One that can't be asked leaves the answer as it is.
async fn ask_holders(client: &Client, request: &Request, items: &mut [Value]) {
    let request = request.clone().query("consistency", "stale");
    for server in client.servers() {
        if !items.iter().any(overview::lacks_version) {
            return;
        }
        if let Ok(others) = list_at(client, server, &request).await {
            overview::complete(items, &others);
        }
    }
}

/// Who leads, and a line for each node.
fn cluster_table(cluster: &Value) -> String {
    let shown = |value: &Value, name: &str| match value.get(name) {
        None | Some(Value::Null) => "-".to_owned(),
        Some(Value::String(text)) => text.clone(),
        Some(other) => other.to_string(),
    };
    let members = cluster.get("members").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    let row = |member: &Value| {
        let mut row: Vec<String> = ["id", "address", "role", "term", "version", "lag", "resources"]
            .map(|name| shown(member, name))
            .to_vec();
        // Enough to be told from another at a glance; `-o json` has all of it.
        row.push(shown(member, "hash").chars().take(12).collect());
        if let Some(why) = member.get("error").and_then(Value::as_str) {
            row.push(why.to_owned());
        }
        row
    };
    let rows: Vec<_> = members.iter().map(row).collect();
    let mut heading =
        vec!["NODE", "ADDRESS", "ROLE", "TERM", "VERSION", "LAG", "RESOURCES", "HASH"];
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
                 "resources": 3, "hash": "0123456789abcdef", "error": null},
            ],
            "diverged": [],
        });
        assert_eq!(
            cluster_table(&cluster),
            "Cluster: ab   Leader: node 2   Term: 5   Version: 12   Epoch: cd\n\n\
             NODE   ADDRESS   ROLE          TERM   VERSION   LAG   RESOURCES   HASH           ERROR\n\
             1      a:1       unreachable   -      -         -     -           -              \
             connection refused\n\
             2      b:1       leader        5      12        0     3           0123456789ab"
        );
        let text = cluster_table(&json!({"leader": null}));
        assert!(text.contains("Leader: none: no write can be done"), "{text}");
        let text = cluster_table(&json!({"diverged": [{"version": 7, "members": [1, 3]}]}));
        assert!(text.contains("ALARM: nodes [1,3] are all at version 7"), "{text}");
    }
}
