//! The policies that the operator puts in force, and what each of them lets through.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::draw::Draw;
use crate::workload::requests::MESH;

/// The two policies that are changed, each a single resource.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) enum Kind {
    Permission,
    Route,
}

impl Kind {
    pub(super) const ALL: [Self; 2] = [Self::Permission, Self::Route];

    /// The class of its changes.
    pub(super) fn class(self) -> &'static str {
        match self {
            Self::Permission => "permission",
            Self::Route => "route",
        }
    }

    pub(super) fn path(self) -> String {
        match self {
            Self::Permission => format!("/meshes/{MESH}/traffic-permissions/who-may-call"),
            Self::Route => format!("/meshes/{MESH}/traffic-routes/backend"),
        }
    }
}

/// What the resource says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", tag = "is")]
pub(super) enum Policy {
    /// Everybody may call everything.
    AllowAll,
    /// Everybody may call this service, and nothing else.
    AllowOnly { service: String },
    /// To all instances of backend alike.
    Anywhere,
    /// Of 100 requests to backend, so many go to v1 and the others to v2.
    ByVersion { v1: u8 },
    /// All requests to backend go to one zone.
    ToZone { zone: String },
}

const ZONES: [&str; 2] = ["east", "west"];
const SERVICES: [&str; 2] = ["backend", "billing"];

impl Policy {
    pub(super) fn kind(&self) -> Kind {
        match self {
            Self::AllowAll | Self::AllowOnly { .. } => Kind::Permission,
            Self::Anywhere | Self::ByVersion { .. } | Self::ToZone { .. } => Kind::Route,
        }
    }

    /// What is in force before the first change and after the last.
    pub(super) fn open(kind: Kind) -> Self {
        match kind {
            Kind::Permission => Self::AllowAll,
            Kind::Route => Self::Anywhere,
        }
    }

    pub(super) fn draw(kind: Kind, draw: &mut Draw) -> Self {
        let one = |draw: &mut Draw, all: &[&str]| {
            draw.one(all).map_or_else(String::new, |&name| name.to_owned())
        };
        match kind {
            Kind::Permission if draw.percent(40) => Self::AllowAll,
            Kind::Permission => Self::AllowOnly { service: one(draw, &SERVICES) },
            Kind::Route => match draw.below(4) {
                0 => Self::Anywhere,
                1 => Self::ToZone { zone: one(draw, &ZONES) },
                _ => Self::ByVersion { v1: *draw.one(&[0, 30, 100]).unwrap_or(&0) },
            },
        }
    }

    /// Whether a call of this service is let through.
    pub(super) fn allows(&self, called: &str) -> bool {
        match self {
            Self::AllowOnly { service } => service == called,
            _ => true,
        }
    }

    /// Whether a request to backend may be answered by an instance of this version, in this zone.
    pub(super) fn leads_to(&self, version: &str, in_zone: &str) -> bool {
        match self {
            Self::ByVersion { v1: 0 } => version != "v1",
            Self::ByVersion { v1: 100 } => version != "v2",
            Self::ToZone { zone } => zone == in_zone,
            _ => true,
        }
    }

    /// The resource. The number makes each change one, and is a source that nobody is.
    pub(super) fn resource(&self, number: u64) -> Value {
        let any = |service: &str| json!({"match": {"kuma.io/service": service}});
        let sources = json!([any("*"), any(&format!("{NUMBER}{number}"))]);
        let permission = |service: &str| {
            json!({
                "type": "TrafficPermission", "mesh": MESH, "name": "who-may-call",
                "sources": sources, "destinations": [any(service)],
            })
        };
        let route = |split: Value| {
            json!({
                "type": "TrafficRoute", "mesh": MESH, "name": "backend", "sources": sources,
                "destinations": [any("backend")], "conf": {"split": split},
            })
        };
        match self {
            Self::AllowAll => permission("*"),
            Self::AllowOnly { service } => permission(service),
            Self::Anywhere => {
                route(json!([{"weight": 100, "destination": {"kuma.io/service": "backend"}}]))
            }
            Self::ByVersion { v1 } => route(json!([
                {"weight": v1, "destination": {"kuma.io/service": "backend", "version": "v1"}},
                {"weight": 100 - v1, "destination": {"kuma.io/service": "backend", "version": "v2"}},
            ])),
            Self::ToZone { zone } => route(json!([
                {"weight": 100, "destination": {"kuma.io/service": "backend", "kuma.io/zone": zone}},
            ])),
        }
    }
}

const NUMBER: &str = "number-";

/// The number of a resource that [`Policy::resource`] made.
pub(super) fn number(resource: &Value) -> Option<u64> {
    let sources = resource["sources"].as_array()?.iter();
    let services = sources.filter_map(|source| source["match"]["kuma.io/service"].as_str());
    services.filter_map(|service| service.strip_prefix(NUMBER)).find_map(|text| text.parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_policy_lets_through_what_it_says() {
        let only = Policy::AllowOnly { service: "backend".to_owned() };
        assert!(only.allows("backend") && !only.allows("billing"));
        assert!(Policy::AllowAll.allows("billing"));
        let all_v2 = Policy::ByVersion { v1: 0 };
        assert!(all_v2.leads_to("v2", "west") && !all_v2.leads_to("v1", "east"));
        assert!(Policy::ByVersion { v1: 30 }.leads_to("v1", "east"));
        let west = Policy::ToZone { zone: "west".to_owned() };
        assert!(west.leads_to("v2", "west") && !west.leads_to("v1", "east"));
    }

    #[test]
    fn a_resource_tells_its_number_and_every_policy_that_is_drawn_is_of_its_kind() {
        let mut draw = Draw::new(3, "policies");
        for kind in Kind::ALL {
            for n in 0..50 {
                let policy = Policy::draw(kind, &mut draw);
                assert_eq!(policy.kind(), kind);
                assert_eq!(number(&policy.resource(n)), Some(n));
            }
        }
        assert_eq!(number(&json!({"type": "TrafficRoute"})), None);
    }
}
