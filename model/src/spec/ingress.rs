//! ZoneIngress: `kuma.mesh.v1alpha1.ZoneIngress`.

use serde::{Deserialize, Serialize};

use super::policy::Tags;
use crate::{Kind, KindSpec};

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ZoneIngress {
    /// The zone it leads into.
    pub zone: String,
    pub networking: IngressNetworking,
    /// What other zones reach through it; computed by the control plane of its zone.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub available_services: Vec<AvailableService>,
}

impl KindSpec for ZoneIngress {
    const KIND: Kind = Kind::ZoneIngress;
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct IngressNetworking {
    pub address: String,
    pub port: u16,
    /// Where other zones reach it; without one it is not used by them.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub advertised_address: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub advertised_port: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub admin: Option<super::Admin>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct AvailableService {
    /// The full tag set of the instances, `kuma.io/service` among them.
    pub tags: Tags,
    pub instances: u32,
    pub mesh: String,
}
