//! `higuma inspect`: how the cluster, its zones and their proxies are doing.

use higuma_model::Kind;
use serde_json::{Value, json};
use time::OffsetDateTime;

use super::Session;
use super::get::{display_name, documents, list, zone};
use crate::args::{InspectArgs, Inspected};
use crate::client::Request;
use crate::failure::Failure;
use crate::output::{self, Format, print, table};

/// A line of a table, at a time.
type Row = fn(&Value, OffsetDateTime) -> Vec<String>;

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
    let (kind, row): (Kind, Row) = match args.what {
        Inspected::Zones => (Kind::Zone, zone_row),
        Inspected::Zoneingresses => (Kind::ZoneIngress, ingress_row),
        Inspected::Dataplanes | Inspected::Cluster => (Kind::Dataplane, dataplane_row),
    };
    let request = Request::all(kind, args.scope.mesh.as_deref()).below("_overview");
    let items = list(&session.client, &request).await?;
    match args.output {
        Format::Table if items.is_empty() => {
            output::note(format!("there are no {}", kind.path()));
            Ok(())
        }
        Format::Table => {
            let now = OffsetDateTime::now_utc();
            let rows: Vec<_> = items.iter().map(|item| row(item, now)).collect();
            print(table(heading(args.what), &rows))
        }
        Format::Json => {
            print(output::value(&json!({"total": items.len(), "items": items}), Format::Json)?)
        }
        Format::Yaml => print(documents(&items)?),
    }
}

fn heading(what: Inspected) -> &'static [&'static str] {
    match what {
        Inspected::Cluster => &["NODE", "ADDRESS", "ROLE", "TERM", "VERSION", "LAG", "RESOURCES"],
        Inspected::Zones => &["NAME", "STATUS", "ENABLED", "CONNECTED", "HIGUMA", "AGE"],
        Inspected::Dataplanes => {
            &["MESH", "NAME", "ZONE", "SERVICES", "STATUS", "CONNECTED", "ENVOY", "AGE"]
        }
        Inspected::Zoneingresses => {
            &["NAME", "ZONE", "ADVERTISED", "STATUS", "CONNECTED", "ENVOY", "AGE"]
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
        if let Some(why) = member.get("error").and_then(Value::as_str) {
            row.push(why.to_owned());
        }
        row
    };
    let rows: Vec<_> = members.iter().map(row).collect();
    let mut heading = heading(Inspected::Cluster).to_vec();
    if rows.iter().any(|row| row.len() > heading.len()) {
        heading.push("ERROR");
    }
    let leader = match cluster.get("leader") {
        Some(Value::Number(id)) => format!("node {id}"),
        _ => "none: no write can be done until a majority of the nodes is back".to_owned(),
    };
    format!(
        "Cluster: {}   Leader: {leader}   Term: {}   Version: {}   Epoch: {}\n\n{}",
        shown(cluster, "clusterId"),
        shown(cluster, "term"),
        shown(cluster, "version"),
        shown(cluster, "epoch"),
        table(&heading, &rows)
    )
}

fn zone_row(item: &Value, now: OffsetDateTime) -> Vec<String> {
    let enabled = item.pointer("/zone/enabled").and_then(Value::as_bool).unwrap_or(true);
    let insight = Insight::of(item, "zoneInsight");
    let higuma = insight.last_text("/version/kumaCp/version");
    let enabled = enabled.to_string();
    vec![
        display_name(item),
        insight.status(),
        enabled,
        insight.connected(now),
        higuma,
        age(item, now),
    ]
}

fn dataplane_row(item: &Value, now: OffsetDateTime) -> Vec<String> {
    let insight = Insight::of(item, "dataplaneInsight");
    let mesh = item.get("mesh").and_then(Value::as_str).unwrap_or("-").to_owned();
    let inbound = item.pointer("/dataplane/networking/inbound").and_then(Value::as_array);
    let mut services: Vec<&str> = inbound
        .into_iter()
        .flatten()
        .filter_map(|inbound| inbound.pointer("/tags/kuma.io~1service")?.as_str())
        .collect();
    services.dedup();
    vec![
        mesh,
        display_name(item),
        zone(item),
        services.join(","),
        insight.status(),
        insight.connected(now),
        insight.last_text("/version/envoy/version"),
        age(item, now),
    ]
}

fn ingress_row(item: &Value, now: OffsetDateTime) -> Vec<String> {
    let insight = Insight::of(item, "zoneIngressInsight");
    let networking = |name: &str| item.pointer(&format!("/zoneIngress/networking/{name}"));
    let advertised = match (networking("advertisedAddress"), networking("advertisedPort")) {
        (Some(Value::String(address)), Some(port)) => format!("{address}:{port}"),
        _ => "-".to_owned(),
    };
    vec![
        display_name(item),
        zone(item),
        advertised,
        insight.status(),
        insight.connected(now),
        insight.last_text("/version/envoy/version"),
        age(item, now),
    ]
}

fn age(item: &Value, now: OffsetDateTime) -> String {
    item.get("creationTime")
        .and_then(Value::as_str)
        .map_or_else(|| "-".to_owned(), |at| output::age(at, now))
}

/// The streams of a zone or proxy, the newest last.
struct Insight<'a>(&'a [Value]);

impl<'a> Insight<'a> {
    fn of(item: &'a Value, name: &str) -> Self {
        let subscriptions = item.get(name).and_then(|insight| insight.get("subscriptions"));
        Self(subscriptions.and_then(Value::as_array).map_or(&[], Vec::as_slice))
    }

    fn status(&self) -> String {
        let open = |s: &Value| s.get("connectTime").is_some() && s.get("disconnectTime").is_none();
        let status = if self.0.is_empty() {
            "Unknown"
        } else if self.0.iter().any(open) {
            "Online"
        } else {
            "Offline"
        };
        status.to_owned()
    }

    fn connected(&self, now: OffsetDateTime) -> String {
        let at = self.last("/connectTime");
        at.map_or_else(|| "-".to_owned(), |at| format!("{} ago", output::age(at, now)))
    }

    fn last(&self, pointer: &str) -> Option<&'a str> {
        self.0.last()?.pointer(pointer)?.as_str()
    }

    fn last_text(&self, pointer: &str) -> String {
        self.last(pointer).filter(|text| !text.is_empty()).unwrap_or("-").to_owned()
    }
}

#[cfg(test)]
mod tests {
    use time::macros::datetime;

    use super::*;

    const NOW: OffsetDateTime = datetime!(2026-01-03 00:00:00 UTC);

    #[test]
    fn a_cluster_is_shown_with_who_leads_and_who_is_gone() {
        let cluster = json!({
            "clusterId": "ab", "node": 1, "leader": 2, "term": 5, "version": 12, "epoch": "cd",
            "members": [
                {"id": 1, "address": "a:1", "role": "unreachable", "error": "connection refused"},
                {"id": 2, "address": "b:1", "role": "leader", "term": 5, "version": 12, "lag": 0,
                 "resources": 3, "error": null},
            ],
        });
        assert_eq!(
            cluster_table(&cluster),
            "Cluster: ab   Leader: node 2   Term: 5   Version: 12   Epoch: cd\n\n\
             NODE   ADDRESS   ROLE          TERM   VERSION   LAG   RESOURCES   ERROR\n\
             1      a:1       unreachable   -      -         -     -           connection refused\n\
             2      b:1       leader        5      12        0     3"
        );
        let text = cluster_table(&json!({"leader": null}));
        assert!(text.contains("Leader: none: no write can be done"), "{text}");
    }

    #[test]
    fn zones_and_proxies_are_online_while_a_stream_is_open() {
        let open = json!({"connectTime": "2026-01-02T23:59:00Z",
            "version": {"envoy": {"version": "1.40.0"}, "kumaCp": {"version": "0.1.0"}}});
        let closed = json!({"connectTime": "2026-01-02T23:00:00Z",
            "disconnectTime": "2026-01-02T23:59:00Z"});
        let zone = |subscriptions: &[&Value]| {
            json!({"name": "east", "creationTime": "2026-01-02T00:00:00Z",
                "zone": {}, "zoneInsight": {"subscriptions": subscriptions}})
        };
        for (subscriptions, expected) in [
            (vec![&closed, &open], ["east", "Online", "true", "60s ago", "0.1.0", "24h"]),
            (vec![&closed], ["east", "Offline", "true", "60m ago", "-", "24h"]),
            (vec![], ["east", "Unknown", "true", "-", "-", "24h"]),
        ] {
            assert_eq!(zone_row(&zone(&subscriptions), NOW), expected);
        }
        let dataplane = json!({
            "mesh": "default", "name": "web-1-x7", "creationTime": "2026-01-02T23:59:50Z",
            "labels": {"kuma.io/display-name": "web-1", "kuma.io/zone": "east"},
            "dataplane": {"networking": {"inbound": [{"tags": {"kuma.io/service": "web"}}]}},
            "dataplaneInsight": {"subscriptions": [open]},
        });
        assert_eq!(
            dataplane_row(&dataplane, NOW),
            ["default", "web-1", "east", "web", "Online", "60s ago", "1.40.0", "10s"]
        );
        let ingress = json!({"name": "in", "zoneIngress": {"networking":
            {"advertisedAddress": "127.77.1.2", "advertisedPort": 10001}}});
        assert_eq!(
            ingress_row(&ingress, NOW),
            ["in", "-", "127.77.1.2:10001", "Unknown", "-", "-", "-"]
        );
    }
}
