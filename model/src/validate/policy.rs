//! The rules of TrafficPermission and TrafficRoute.

use serde_json::Value;

use super::Findings;
use super::tags::{self, Use};
use crate::spec::{Conf, SERVICE_TAG, TrafficPermission, TrafficRoute};
use crate::violation::path;

pub(super) fn permission(permission: &TrafficPermission, findings: &mut Findings) {
    tags::selectors(&permission.sources, "sources", findings);
    tags::selectors(&permission.destinations, "destinations", findings);
}

pub(super) fn route(route: &TrafficRoute, spec: &Value, findings: &mut Findings) {
    for (at, selectors) in [("sources", &route.sources), ("destinations", &route.destinations)] {
        tags::selectors(selectors, at, findings);
        for (index, selector) in selectors.iter().enumerate() {
            let field = path::field(&path::index(at, index), "match");
            if !selector.tags.is_empty() && !selector.tags.contains_key(SERVICE_TAG) {
                findings.refuse(path::key(&field, SERVICE_TAG), "tag has to exist");
            }
        }
    }
    for (index, selector) in route.destinations.iter().enumerate() {
        let field = path::field(&path::index("destinations", index), "match");
        for tag in selector.tags.keys().filter(|tag| *tag != SERVICE_TAG) {
            let reason = format!("a route's destination is named by {SERVICE_TAG} alone");
            findings.refuse(path::key(&field, tag), reason);
        }
    }
    match spec.get("conf") {
        Some(spec) => conf(&route.conf, spec, findings),
        None => findings.refuse("conf", "cannot be empty"),
    }
}

fn conf(conf: &Conf, spec: &Value, findings: &mut Findings) {
    match (conf.split.is_empty(), conf.destination.is_empty()) {
        (true, true) => findings.refuse("conf", "requires either \"destination\" or \"split\""),
        (false, false) => {
            findings.refuse("conf", "\"destination\" and \"split\" exclude each other");
        }
        _ => {}
    }
    if !conf.destination.is_empty() {
        tags::with_service(&conf.destination, Use::Selector, "conf.destination", findings);
    }
    let mut total = 0_u64;
    for (index, entry) in conf.split.iter().enumerate() {
        let at = path::index("conf.split", index);
        if spec["split"][index].get("weight").is_none() {
            findings.refuse(path::field(&at, "weight"), "has to be set");
        }
        total += u64::from(entry.weight);
        let destination = path::field(&at, "destination");
        tags::with_service(&entry.destination, Use::Selector, &destination, findings);
    }
    if !conf.split.is_empty() && total == 0 {
        findings.refuse("conf.split", "the weights have to add up to more than 0");
    } else if total > u64::from(u32::MAX) {
        let reason = format!("the weights add up to {total}; Envoy takes at most {}", u32::MAX);
        findings.refuse("conf.split", reason);
    }
}
