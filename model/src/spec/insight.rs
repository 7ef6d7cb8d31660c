//! DataplaneInsight (`kuma.mesh.v1alpha1`) and ZoneInsight (`kuma.system.v1alpha1`): who is
//! connected, and what of the configuration they have taken.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{Kind, KindSpec};

/// A time as RFC 3339, as [`rfc3339`](crate::rfc3339) writes it.
pub type Time = String;

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct DataplaneInsight {
    /// One per ADS stream, the newest last.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub subscriptions: Vec<DiscoverySubscription>,
    #[serde(rename = "mTLS", skip_serializing_if = "Option::is_none")]
    pub mtls: Option<IssuedCertificate>,
}

impl KindSpec for DataplaneInsight {
    const KIND: Kind = Kind::DataplaneInsight;
}

impl DataplaneInsight {
    /// Whether a stream of the proxy is open.
    pub fn is_online(&self) -> bool {
        self.subscriptions.iter().any(DiscoverySubscription::is_open)
    }
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct DiscoverySubscription {
    pub id: String,
    /// Which replica of the zone's control plane holds the stream.
    pub control_plane_instance_id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub connect_time: Option<Time>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub disconnect_time: Option<Time>,
    pub status: DiscoveryStatus,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<ProxyVersion>,
}

impl DiscoverySubscription {
    pub fn is_open(&self) -> bool {
        self.connect_time.is_some() && self.disconnect_time.is_none()
    }
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct DiscoveryStatus {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_update_time: Option<Time>,
    pub total: ResponseCounts,
    pub cds: ResponseCounts,
    pub eds: ResponseCounts,
    pub lds: ResponseCounts,
    pub rds: ResponseCounts,
}

/// `DiscoveryServiceStats` and `KDSServiceStats`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ResponseCounts {
    #[serde(with = "digits")]
    pub responses_sent: u64,
    #[serde(with = "digits")]
    pub responses_acknowledged: u64,
    #[serde(with = "digits")]
    pub responses_rejected: u64,
}

/// What the proxy says that it runs.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ProxyVersion {
    pub kuma_dp: DpVersion,
    pub envoy: EnvoyVersion,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct DpVersion {
    pub version: String,
    pub kuma_cp_compatible: bool,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct EnvoyVersion {
    pub version: String,
    pub build: String,
    pub kuma_dp_compatible: bool,
}

/// The workload certificate that the proxy was given last.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct IssuedCertificate {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub certificate_expiration_time: Option<Time>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_certificate_regeneration: Option<Time>,
    pub certificate_regenerations: u32,
    pub issued_backend: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub supported_backends: Vec<String>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ZoneInsight {
    /// One per KDS stream, the newest last.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub subscriptions: Vec<KdsSubscription>,
}

impl KindSpec for ZoneInsight {
    const KIND: Kind = Kind::ZoneInsight;
}

impl ZoneInsight {
    /// Whether a stream of the zone is open.
    pub fn is_online(&self) -> bool {
        self.subscriptions.iter().any(KdsSubscription::is_open)
    }
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct KdsSubscription {
    pub id: String,
    /// Which node of the global holds the stream.
    pub global_instance_id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub connect_time: Option<Time>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub disconnect_time: Option<Time>,
    pub status: KdsStatus,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<ZoneVersion>,
    pub auth_token_provided: bool,
    /// Which replica of the zone's control plane opened it.
    pub zone_instance_id: String,
}

impl KdsSubscription {
    pub fn is_open(&self) -> bool {
        self.connect_time.is_some() && self.disconnect_time.is_none()
    }
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct KdsStatus {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_update_time: Option<Time>,
    pub total: ResponseCounts,
    /// By kind.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub stat: BTreeMap<String, ResponseCounts>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ZoneVersion {
    pub kuma_cp: CpVersion,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct CpVersion {
    pub version: String,
    pub kuma_cp_global_compatible: bool,
}

/// 64-bit numbers, which proto3 JSON writes as strings.
mod digits {
    use serde::{Deserialize, Deserializer, Serializer, de};

    #[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's `with` passes a reference")]
    pub(super) fn serialize<S: Serializer>(number: &u64, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(number)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<u64, D::Error> {
        String::deserialize(from)?.parse().map_err(de::Error::custom)
    }
}
