//! Lists from a control plane's REST, all pages of one state.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::{MESH, Sort};
use crate::client::{self, Client};
use crate::history::Outcome;

/// What the API gives at most on a page.
const PAGE: usize = 1000;

/// All items of a list, and the version of the state that it is of. A mesh that is not there has
/// no items.
pub(super) async fn all(
    client: &mut Client,
    path: &str,
) -> Result<(Option<u64>, Vec<Value>), String> {
    let mut items: Vec<Value> = Vec::new();
    let mut version = None;
    loop {
        let page = format!("{path}?size={PAGE}&offset={}", items.len());
        let answer = match client::of_read(client.call(client::Call::get(page)).await) {
            Outcome::Done { answer } => answer,
            Outcome::Refused { why } | Outcome::Unknown { why } => return Err(why),
        };
        if answer.status == 404 {
            return Ok((answer.version, Vec::new()));
        }
        if !items.is_empty() && version != answer.version {
            return Err("the state changed between the pages of its list".to_owned());
        }
        version = answer.version;
        let Some(more) = answer.body["items"].as_array().filter(|more| !more.is_empty()) else {
            return match answer.body["total"].as_u64() {
                Some(total) if total == items.len() as u64 => Ok((version, items)),
                _ => Err(format!("no list at {path}: {}", answer.body)),
            };
        };
        items.extend(more.iter().cloned());
        if answer.body["next"].is_null() {
            return Ok((version, items));
        }
    }
}

/// This workload's policies of a sort, with their values.
pub(super) async fn policies(
    client: &mut Client,
    sort: Sort,
) -> Result<(Option<u64>, BTreeMap<String, u64>), String> {
    let (version, items) = all(client, &format!("/meshes/{MESH}/{}", sort.path())).await?;
    let policies = items.iter().filter_map(|item| Some((display_name(item)?.to_owned(), value(item)?)));
    Ok((version, policies.collect()))
}

/// The value of a policy is the service of its source. Policies of others have none.
fn value(item: &Value) -> Option<u64> {
    let service = item["sources"][0]["match"]["kuma.io/service"].as_str()?;
    service.strip_prefix("v-")?.parse().ok()
}

pub(super) fn service(value: u64) -> String {
    format!("v-{value}")
}

/// The name that its owner gave it: a copy has a name of its own.
fn display_name(item: &Value) -> Option<&str> {
    item["labels"]["kuma.io/display-name"].as_str().or_else(|| item["name"].as_str())
}

/// The zone that owns it; none: the global does.
fn owner(item: &Value) -> Option<&str> {
    let labels = &item["labels"];
    labels["kuma.io/zone"].as_str().filter(|_| labels["kuma.io/origin"] != "global")
}

/// The lists of which a zone and the global have the same: those that the global owns, and what
/// zones tell each other.
const DOWN: [&str; 4] = ["meshes", "traffic-permissions", "traffic-routes", "zone-ingresses"];
/// Those that a zone owns and the global has a copy of.
const UP: [&str; 2] = ["dataplanes", "zone-ingresses"];

/// What a node has that others should have too, by kind, mesh, owner and name. At a zone this is
/// all of it; at the global, `dataplanes` are those of all zones.
pub(super) async fn resources(client: &mut Client, zone: Option<&str>) -> Result<BTreeMap<String, Value>, String> {
    let mut resources = BTreeMap::new();
    let mut kinds: Vec<&str> = DOWN.iter().chain(&UP).copied().collect();
    kinds.dedup();
    for kind in kinds {
        for item in all(client, &format!("/{kind}")).await?.1 {
            let owned_by = match (owner(&item), kind, zone) {
                (Some(owner), ..) => owner.to_owned(),
                (None, "dataplanes" | "zone-ingresses", Some(zone)) => zone.to_owned(),
                (None, ..) => "global".to_owned(),
            };
            let name = display_name(&item).unwrap_or_default();
            let mesh = item["mesh"].as_str().unwrap_or("-");
            let key = format!("{kind} {mesh} {owned_by} {name}");
            if resources.insert(key.clone(), stripped(item)).is_some() {
                return Err(format!("{key} is listed twice"));
            }
        }
    }
    Ok(resources)
}

/// Without its names and labels, which differ between a resource and its copies.
fn stripped(item: Value) -> Value {
    let Value::Object(fields) = item else { return item };
    let same = |name: &str| !["type", "mesh", "name", "labels"].contains(&name);
    let kept: Map<String, Value> = fields.into_iter().filter(|(name, _)| same(name)).collect();
    Value::Object(kept)
}

/// What differs between what the global has and what a zone has, of all that both should have.
pub(super) fn differences(
    zone: &str,
    global: &BTreeMap<String, Value>,
    here: &BTreeMap<String, Value>,
) -> Vec<String> {
    let concerns = |key: &str| {
        let mut parts = key.split(' ');
        let (kind, owner) = (parts.next().unwrap_or_default(), parts.nth(1).unwrap_or_default());
        if owner == zone { UP.contains(&kind) } else { DOWN.contains(&kind) }
    };
    let keys = global.keys().chain(here.keys().filter(|key| !global.contains_key(*key)));
    let compared = keys.filter(|key| concerns(key)).filter_map(|key| {
        match (global.get(key), here.get(key)) {
            (Some(there), Some(here)) if there == here => None,
            (Some(there), Some(here)) => {
                Some(format!("{key}: {here} in {zone}, {there} at the global"))
            }
            (Some(_), None) => Some(format!("{key}: not in {zone}, but at the global")),
            (None, Some(_)) => Some(format!("{key}: in {zone}, but not at the global")),
            (None, None) => None,
        }
    });
    compared.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn listed(resources: &[(&str, u64)]) -> BTreeMap<String, Value> {
        resources.iter().map(|(key, value)| ((*key).to_owned(), json!(value))).collect()
    }

    #[test]
    fn a_zone_is_equal_in_what_it_gets_and_in_what_it_gives() {
        let global = listed(&[
            ("meshes - global zones", 1),
            ("traffic-routes zones global r", 1),
            ("dataplanes default east web", 1),
            ("dataplanes default west billing", 1),
            ("zone-ingresses - west i", 1),
        ]);
        let mut east = global.clone();
        east.remove("dataplanes default west billing");
        assert_eq!(differences("east", &global, &east), [""; 0], "no zone gets others' Dataplanes");
        for (key, value, expected) in [
            ("meshes - global zones", None, "meshes - global zones: not in east, but at the global"),
            ("dataplanes default east web", None, "dataplanes default east web: not in east, but at the global"),
            ("dataplanes default east web-2", Some(1), "dataplanes default east web-2: in east, but not at the global"),
            ("traffic-routes zones global r", Some(2), "traffic-routes zones global r: 2 in east, 1 at the global"),
            ("zone-ingresses - west i", Some(2), "zone-ingresses - west i: 2 in east, 1 at the global"),
        ] {
            let mut here = east.clone();
            match value {
                Some(value) => here.insert(key.to_owned(), json!(value)),
                None => here.remove(key),
            };
            assert_eq!(differences("east", &global, &here), [expected]);
        }
    }

    #[test]
    fn values_names_and_owners_are_read_from_resources_and_copies() {
        let own = json!({"name": "p-1", "sources": [{"match": {"kuma.io/service": "v-17"}}]});
        let copy = json!({"name": "p-1-xyz", "labels": {
            "kuma.io/display-name": "p-1", "kuma.io/zone": "east", "kuma.io/origin": "zone"}});
        assert_eq!((display_name(&own), value(&own), owner(&own)), (Some("p-1"), Some(17), None));
        assert_eq!((display_name(&copy), value(&copy), owner(&copy)), (Some("p-1"), None, Some("east")));
        assert_eq!(value(&json!({"sources": [{"match": {"kuma.io/service": "web"}}]})), None);
    }
}
