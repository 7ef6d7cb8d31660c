//! Overviews of zones, proxies and ingresses as tables: what each runs, and whether that is the
//! newest that concerns it. Pure.

use serde_json::Value;
use time::OffsetDateTime;

use crate::args::Inspected;
use crate::output;
use crate::verbs::get::{display_name, zone};

/// The lines of a list, with a column of reasons if there are any.
pub(super) fn table(what: Inspected, items: &[Value], now: OffsetDateTime) -> String {
    let row = match what {
        Inspected::Zones => zone_row,
        Inspected::Zoneingresses => ingress_row,
        Inspected::Dataplanes | Inspected::Cluster => dataplane_row,
    };
    let mut heading = heading(what).to_vec();
    let reasons: Vec<_> = items.iter().map(reason).collect();
    let shown = reasons.iter().any(|reason| reason.is_some());
    if shown {
        heading.push("REASON");
    }
    let rows = items.iter().zip(reasons).map(|(item, reason)| {
        let mut row = row(item, now);
        row.extend(shown.then(|| reason.unwrap_or_default().to_owned()));
        row
    });
    output::table(&heading, &rows.collect::<Vec<_>>())
}

/// Whether the server that answered does not know what this one runs, and another may.
pub(super) fn lacks_version(item: &Value) -> bool {
    let higuma = |name: &str| item.get("higuma").and_then(|higuma| higuma.get(name));
    higuma("version").is_some_and(Value::is_null)
        && higuma("status").is_some_and(|status| status == "Online")
}

/// Takes over what another server knows.
pub(super) fn complete(items: &mut [Value], others: &[Value]) {
    let same = |a: &Value, b: &Value| ["mesh", "name"].iter().all(|n| a.get(n) == b.get(n));
    for item in items.iter_mut().filter(|item| lacks_version(item)) {
        let other = others.iter().find(|other| same(item, other));
        let known = other.and_then(|other| other.get("higuma"));
        let known = known.filter(|h| h["version"].is_u64() || h["status"] == "Fenced");
        if let Some(known) = known {
            item["higuma"] = known.clone();
        }
    }
}

fn heading(what: Inspected) -> &'static [&'static str] {
    match what {
        Inspected::Zones => {
            &["NAME", "STATUS", "ENABLED", "VERSION", "CURRENT", "CONNECTED", "HIGUMA", "AGE"]
        }
        Inspected::Dataplanes | Inspected::Cluster => &[
            "MESH",
            "NAME",
            "ZONE",
            "SERVICES",
            "TYPE",
            "STATUS",
            "VERSION",
            "CURRENT",
            "CONNECTED",
            "AGE",
        ],
        Inspected::Zoneingresses => {
            &["NAME", "ZONE", "ADVERTISED", "STATUS", "VERSION", "CURRENT", "CONNECTED", "AGE"]
        }
    }
}

/// The version that it runs, if the server knows.
fn version(item: &Value) -> String {
    let version = item.pointer("/higuma/version").and_then(Value::as_u64);
    version.map_or_else(|| "-".to_owned(), |version| version.to_string())
}

/// Whether it runs all that concerns it.
fn current(item: &Value) -> String {
    let current = item.pointer("/higuma/upToDate").and_then(Value::as_bool);
    current.map_or("-", |current| if current { "yes" } else { "no" }).to_owned()
}

fn reason(item: &Value) -> Option<&str> {
    item.pointer("/higuma/reason")?.as_str()
}

fn zone_row(item: &Value, now: OffsetDateTime) -> Vec<String> {
    let enabled = item.pointer("/zone/enabled").and_then(Value::as_bool).unwrap_or(true);
    let insight = Insight::of(item, "zoneInsight");
    vec![
        display_name(item),
        insight.status(item),
        enabled.to_string(),
        version(item),
        current(item),
        insight.connected(now),
        insight.last_text("/version/kumaCp/version"),
        age(item, now),
    ]
}

fn dataplane_row(item: &Value, now: OffsetDateTime) -> Vec<String> {
    let insight = Insight::of(item, "dataplaneInsight");
    let mesh = item.get("mesh").and_then(Value::as_str).unwrap_or("-").to_owned();
    let inbound = item.pointer("/dataplane/networking/inbound").and_then(Value::as_array);
    let gateway = item.pointer("/dataplane/networking/gateway");
    let mut services: Vec<&str> = inbound
        .into_iter()
        .flatten()
        .chain(gateway)
        .filter_map(|place| place.pointer("/tags/kuma.io~1service")?.as_str())
        .collect();
    services.dedup();
    vec![
        mesh,
        display_name(item),
        zone(item),
        services.join(","),
        gateway.map_or("sidecar", |_| "gateway").to_owned(),
        insight.status(item),
        version(item),
        current(item),
        insight.connected(now),
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
        insight.status(item),
        version(item),
        current(item),
        insight.connected(now),
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

    /// As the server judges it; of Kuma's, by its streams.
    fn status(&self, item: &Value) -> String {
        if let Some(status) = item.pointer("/higuma/status").and_then(Value::as_str) {
            return status.to_owned();
        }
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
    use serde_json::json;
    use time::macros::datetime;

    use super::*;

    const NOW: OffsetDateTime = datetime!(2026-01-03 00:00:00 UTC);

    fn row(what: Inspected, item: &Value) -> Vec<String> {
        let table = table(what, std::slice::from_ref(item), NOW);
        let line = table.lines().nth(1).unwrap();
        line.split("   ")
            .map(str::trim)
            .filter(|cell| !cell.is_empty())
            .map(str::to_owned)
            .collect()
    }

    #[test]
    fn zones_are_shown_as_the_server_judges_them_and_kumas_by_their_streams() {
        let open = json!({"connectTime": "2026-01-02T23:59:00Z",
            "version": {"kumaCp": {"version": "0.1.0"}}});
        let closed = json!({"connectTime": "2026-01-02T23:00:00Z",
            "disconnectTime": "2026-01-02T23:59:00Z"});
        let zone = |subscriptions: &[&Value], higuma: Value| {
            json!({"name": "east", "creationTime": "2026-01-02T00:00:00Z", "zone": {},
                "zoneInsight": {"subscriptions": subscriptions}, "higuma": higuma})
        };
        let runs = json!({"version": 12, "upToDate": true, "status": "Online", "reason": null});
        let gone =
            json!({"version": null, "upToDate": null, "status": "Offline", "reason": "it left"});
        let kuma = Value::Null;
        let shown = |subscriptions: &[&Value], higuma: &Value| {
            row(Inspected::Zones, &zone(subscriptions, higuma.clone())).join("|")
        };
        assert_eq!(shown(&[&open], &runs), "east|Online|true|12|yes|60s ago|0.1.0|24h");
        assert_eq!(shown(&[&closed], &gone), "east|Offline|true|-|-|60m ago|-|24h|it left");
        assert_eq!(shown(&[&closed, &open], &kuma), "east|Online|true|-|-|60s ago|0.1.0|24h");
        assert_eq!(shown(&[&closed], &kuma), "east|Offline|true|-|-|60m ago|-|24h");
        assert_eq!(shown(&[], &kuma), "east|Unknown|true|-|-|-|-|24h");
    }

    #[test]
    fn proxies_are_shown_by_the_names_that_their_zones_gave_them() {
        let open = json!({"connectTime": "2026-01-02T23:59:00Z"});
        let dataplane = json!({
            "mesh": "default", "name": "web-1-x7", "creationTime": "2026-01-02T23:59:50Z",
            "labels": {"kuma.io/display-name": "web-1", "kuma.io/zone": "east"},
            "dataplane": {"networking": {"inbound": [{"tags": {"kuma.io/service": "web"}}]}},
            "dataplaneInsight": {"subscriptions": [open]},
            "higuma": {"version": 9, "upToDate": false, "status": "Online", "reason": "slow"},
        });
        assert_eq!(
            row(Inspected::Dataplanes, &dataplane),
            [
                "default", "web-1", "east", "web", "sidecar", "Online", "9", "no", "60s ago",
                "10s", "slow"
            ]
        );
        let gateway = json!({"mesh": "default", "name": "edge", "dataplane": {"networking":
            {"gateway": {"type": "DELEGATED", "tags": {"kuma.io/service": "edge"}}}}});
        let expected = ["default", "edge", "-", "edge", "gateway", "Unknown", "-", "-", "-", "-"];
        assert_eq!(row(Inspected::Dataplanes, &gateway), expected);
        let ingress = json!({"name": "in", "zoneIngress": {"networking":
            {"advertisedAddress": "127.77.1.2", "advertisedPort": 10001}}});
        assert_eq!(
            row(Inspected::Zoneingresses, &ingress),
            ["in", "-", "127.77.1.2:10001", "Unknown", "-", "-", "-", "-"]
        );
    }

    #[test]
    fn what_one_server_does_not_know_is_taken_from_another() {
        let item = |name: &str, higuma: Value| json!({"name": name, "higuma": higuma});
        let unknown = json!({"version": null, "status": "Online", "reason": "ask node 2"});
        let known = json!({"version": 5, "status": "Online", "reason": null});
        let offline = json!({"version": null, "status": "Offline", "reason": "it left"});
        let mut items = [
            item("east", unknown.clone()),
            item("west", known.clone()),
            item("gone", offline.clone()),
            item("lost", unknown.clone()),
        ];
        assert_eq!(items.each_ref().map(lacks_version), [true, false, false, true]);
        let newer = json!({"version": 6, "status": "Online", "reason": null});
        complete(&mut items, &["east", "west", "gone"].map(|name| item(name, newer.clone())));
        let expected = [newer, known, offline, unknown];
        assert_eq!(items.map(|item| item["higuma"].clone()), expected);
    }
}
