//! Mesh: `kuma.mesh.v1alpha1.Mesh`.

use serde::{Deserialize, Serialize};

use crate::{Kind, KindSpec};

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Mesh {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mtls: Option<Mtls>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub routing: Option<Routing>,
}

impl KindSpec for Mesh {
    const KIND: Kind = Kind::Mesh;
}

impl Mesh {
    /// The CA backend that is in force, if mTLS is on.
    pub fn enabled_backend(&self) -> Option<&CaBackend> {
        let mtls = self.mtls.as_ref()?;
        mtls.backends.iter().find(|backend| backend.name == mtls.enabled_backend)
    }

    pub fn prefers_local_zone(&self) -> bool {
        self.routing.as_ref().is_some_and(|routing| routing.locality_aware_load_balancing)
    }
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Mtls {
    /// Empty: mTLS is off.
    pub enabled_backend: String,
    pub backends: Vec<CaBackend>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CaBackend {
    pub name: String,
    #[serde(rename = "type")]
    pub ca_type: CaType,
    #[serde(default)]
    pub mode: MtlsMode,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dp_cert: Option<DpCert>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CaType {
    Builtin,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum MtlsMode {
    #[default]
    Strict,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct DpCert {
    pub rotation: Option<Rotation>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Rotation {
    /// How long a workload's certificate lives, one number and unit: `24h`.
    pub expiration: String,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Routing {
    pub locality_aware_load_balancing: bool,
}
