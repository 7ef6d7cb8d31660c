//! Dataplane: `kuma.mesh.v1alpha1.Dataplane`.

use serde::{Deserialize, Serialize};

use super::policy::Tags;
use super::{PROTOCOL_TAG, SERVICE_TAG};
use crate::{Kind, KindSpec};

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Dataplane {
    pub networking: Networking,
}

impl KindSpec for Dataplane {
    const KIND: Kind = Kind::Dataplane;
}

impl Dataplane {
    /// Every service this proxy stands for: its inbounds' or its gateway's.
    pub fn services(&self) -> impl Iterator<Item = &str> {
        let inbound = self.networking.inbound.iter().map(|inbound| &inbound.tags);
        let gateway = self.networking.gateway.iter().map(|gateway| &gateway.tags);
        inbound.chain(gateway).filter_map(|tags| tags.get(SERVICE_TAG)).map(String::as_str)
    }
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Networking {
    /// Where other proxies of the zone reach this one.
    pub address: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub inbound: Vec<Inbound>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub outbound: Vec<Outbound>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gateway: Option<Gateway>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub admin: Option<Admin>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Inbound {
    /// Where Envoy listens.
    pub port: u16,
    /// Listener address; empty: `networking.address`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub address: String,
    /// The application's port; 0: `port`.
    #[serde(skip_serializing_if = "is_zero")]
    pub service_port: u16,
    /// The application's address; empty: the listener's.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub service_address: String,
    pub tags: Tags,
}

impl Inbound {
    pub fn service(&self) -> &str {
        self.tags.get(SERVICE_TAG).map_or("", String::as_str)
    }

    pub fn protocol(&self) -> Protocol {
        self.tags.get(PROTOCOL_TAG).map_or(Protocol::Tcp, |tag| Protocol::from_tag(tag))
    }
}

/// How traffic of a service is treated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Protocol {
    Tcp,
    Http,
}

impl Protocol {
    /// The protocol that a tag's value names; what has no support of its own is carried as TCP.
    pub fn from_tag(value: &str) -> Self {
        match value {
            "http" => Self::Http,
            _ => Self::Tcp,
        }
    }
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Outbound {
    pub port: u16,
    /// Empty: 127.0.0.1.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub address: String,
    pub tags: Tags,
}

impl Outbound {
    pub fn service(&self) -> &str {
        self.tags.get(SERVICE_TAG).map_or("", String::as_str)
    }

    pub fn bind_address(&self) -> &str {
        if self.address.is_empty() { "127.0.0.1" } else { &self.address }
    }
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Gateway {
    #[serde(rename = "type")]
    pub gateway_type: GatewayType,
    pub tags: Tags,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum GatewayType {
    #[default]
    Delegated,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Admin {
    pub port: u16,
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde's skip_serializing_if passes a reference"
)]
fn is_zero(port: &u16) -> bool {
    *port == 0
}
