//! Zone: `kuma.system.v1alpha1.Zone`.

use serde::{Deserialize, Serialize};

use crate::{Kind, KindSpec};

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Zone {
    /// Absent: enabled.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub enabled: Option<bool>,
}

impl KindSpec for Zone {
    const KIND: Kind = Kind::Zone;
}
