//! A resource and what the system knows about it besides its spec.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use serde::de::DeserializeOwned;

use crate::{Key, Kind};

/// Labels by key, as Kuma's `labels`.
pub type Labels = BTreeMap<String, String>;

/// Milliseconds since the Unix epoch. Time is an input of `model`, never read here.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(pub i64);

/// The single writer of a resource.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Owner {
    Global,
    Zone(Arc<str>),
}

impl Owner {
    pub fn zone(name: &str) -> Self {
        Self::Zone(name.into())
    }
}

impl fmt::Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Global => f.write_str("the global control plane"),
            Self::Zone(name) => write!(f, "zone {name}"),
        }
    }
}

/// Which zones get a copy. Computed at admission and stored, so that what a zone sees never
/// depends on code that changed since.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Audience {
    AllZones,
    /// Every zone but the one that owns the resource.
    AllBut(Owner),
    None,
}

impl Audience {
    pub fn includes(&self, zone: &str) -> bool {
        match self {
            Self::AllZones => true,
            Self::AllBut(Owner::Zone(owner)) => **owner != *zone,
            Self::AllBut(Owner::Global) => true,
            Self::None => false,
        }
    }
}

/// Bytes that are never printed. `scheme` and `key_id` say how they are encrypted where they are
/// stored; in a [`Snapshot`](crate::Snapshot) they are plain.
#[derive(Clone, PartialEq, Eq)]
pub struct SecretBytes {
    pub scheme: SecretScheme,
    pub key_id: String,
    pub bytes: Arc<[u8]>,
}

/// How the bytes of a secret are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SecretScheme {
    Plain,
}

impl SecretBytes {
    pub fn plain(bytes: &[u8]) -> Self {
        Self { scheme: SecretScheme::Plain, key_id: String::new(), bytes: bytes.into() }
    }
}

impl fmt::Debug for SecretBytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SecretBytes({} bytes)", self.bytes.len())
    }
}

/// What a resource says: canonical JSON, or bytes that are secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Spec {
    /// Canonical: proto3 JSON with defaults dropped and map keys sorted, so that equal specs have
    /// equal bytes.
    Json(Arc<str>),
    Secret(SecretBytes),
}

/// A stored spec that its type does not read. Admission lets none in, so this is a defect or a
/// file of a newer version.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{key}: unreadable spec: {why}")]
pub struct UnreadableSpec {
    pub key: Key,
    pub why: String,
}

/// The typed spec of a kind.
pub trait KindSpec: DeserializeOwned {
    const KIND: Kind;
}

/// A resource as it is stored and sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resource {
    pub key: Key,
    pub owner: Owner,
    /// The version at its owner of the last change; copied unchanged by every zone.
    pub version: u64,
    /// The version here of the last change; what `ETag` shows and compare-and-set compares.
    pub modified_at: u64,
    pub created: Timestamp,
    pub modified: Timestamp,
    pub audience: Audience,
    pub labels: Labels,
    pub spec: Spec,
    /// JSON of the status, for kinds that have one.
    pub status: Option<Arc<str>>,
}

impl Resource {
    /// The spec as its type.
    pub fn decode<T: KindSpec>(&self) -> Result<T, UnreadableSpec> {
        let unreadable = |why: String| UnreadableSpec { key: self.key.clone(), why };
        if self.key.kind() != T::KIND {
            return Err(unreadable(format!("asked for as a {}", T::KIND)));
        }
        let Spec::Json(json) = &self.spec else {
            return Err(unreadable("it is secret".to_owned()));
        };
        serde_json::from_str(json).map_err(|error| unreadable(error.to_string()))
    }

    /// The name its owner gave it: a synced copy carries the owner's name as a label.
    pub fn display_name(&self) -> &str {
        self.labels.get(labels::DISPLAY_NAME).map_or_else(|| self.key.name(), String::as_str)
    }

    /// What it costs to keep and to send, in bytes: key, labels, spec and status.
    pub fn size(&self) -> usize {
        let labels: usize = self.labels.iter().map(|(key, value)| key.len() + value.len()).sum();
        let spec = match &self.spec {
            Spec::Json(json) => json.len(),
            Spec::Secret(secret) => secret.bytes.len(),
        };
        let status = self.status.as_ref().map_or(0, |status| status.len());
        self.key.mesh().len() + self.key.name().len() + labels + spec + status
    }
}

/// Kuma's well-known label keys.
pub mod labels {
    pub const DISPLAY_NAME: &str = "kuma.io/display-name";
    pub const ENV: &str = "kuma.io/env";
    pub const MESH: &str = "kuma.io/mesh";
    pub const ORIGIN: &str = "kuma.io/origin";
    pub const PROXY_TYPE: &str = "kuma.io/proxy-type";
    pub const ZONE: &str = "kuma.io/zone";
}
