//! Mesh: `kuma.mesh.v1alpha1.Mesh`.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::{Kind, KindSpec};

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Mesh {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mtls: Option<Mtls>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub routing: Option<Routing>,
    /// Policies that Kuma is asked not to create with the mesh; Higuma creates none.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub skip_creating_initial_policies: Vec<String>,
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

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct CaBackend {
    pub name: String,
    #[serde(rename = "type")]
    pub ca_type: CaType,
    pub mode: MtlsMode,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dp_cert: Option<DpCert>,
}

/// The shortest life of a workload's certificate: what rotation keeps up with in this version.
pub const MIN_CERTIFICATE_HOURS: u64 = 24;

/// The longest: ten years, the life of the CA that signs it.
pub const MAX_CERTIFICATE_HOURS: u64 = 10 * 365 * 24;

impl CaBackend {
    /// How long a workload's certificate lives; none where the text is not of Kuma's form.
    pub fn certificate_lifetime(&self) -> Option<Duration> {
        let rotation = self.dp_cert.as_ref().and_then(|cert| cert.rotation.as_ref());
        let text = rotation.map_or("", |rotation| rotation.expiration.as_str());
        if text.is_empty() || text == "0" {
            return Some(Duration::from_secs(MIN_CERTIFICATE_HOURS * 3600));
        }
        let digits = text.bytes().take_while(u8::is_ascii_digit).count();
        let (number, unit) = text.split_at(digits);
        let unit_ms: u64 = match unit {
            "y" => 365 * 24 * 3_600_000,
            "w" => 7 * 24 * 3_600_000,
            "d" => 24 * 3_600_000,
            "h" => 3_600_000,
            "m" => 60_000,
            "s" => 1000,
            "ms" => 1,
            _ => return None,
        };
        let number: u64 = number.parse().ok()?;
        Some(Duration::from_millis(number.saturating_mul(unit_ms)))
    }
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CaType {
    #[default]
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
