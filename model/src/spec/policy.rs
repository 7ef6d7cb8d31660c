//! TrafficPermission and TrafficRoute: `kuma.mesh.v1alpha1`.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{Kind, KindSpec};

/// Tags of an inbound, or the tags that a selector asks for.
pub type Tags = BTreeMap<String, String>;

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct TrafficPermission {
    pub sources: Vec<Selector>,
    pub destinations: Vec<Selector>,
}

impl KindSpec for TrafficPermission {
    const KIND: Kind = Kind::TrafficPermission;
}

/// What proxies a policy is about: all tags match, `*` matches any value that is there.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Selector {
    #[serde(rename = "match")]
    pub tags: Tags,
}

impl Selector {
    pub fn matches(&self, tags: &Tags) -> bool {
        self.tags.iter().all(|(key, wanted)| match tags.get(key) {
            Some(value) => wanted == "*" || wanted == value,
            None => false,
        })
    }
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct TrafficRoute {
    pub sources: Vec<Selector>,
    pub destinations: Vec<DestinationSelector>,
    pub conf: Conf,
}

impl KindSpec for TrafficRoute {
    const KIND: Kind = Kind::TrafficRoute;
}

/// The services whose traffic a route is about: exactly a `kuma.io/service`, or `*`.
pub type DestinationSelector = Selector;

/// Where the traffic goes: one destination, or several by weight. Exactly one of the two is set.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Conf {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub split: Vec<SplitEntry>,
    #[serde(skip_serializing_if = "Tags::is_empty")]
    pub destination: Tags,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct SplitEntry {
    pub weight: u32,
    pub destination: Tags,
}
