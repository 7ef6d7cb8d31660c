//! What goes which way, under which name.

use std::sync::Arc;

use higuma_model::resource::labels;
use higuma_model::{Audience, Key, Kind, Labels, Owner, Resource, Scope, hashed_name};

/// Kuma's bound on a name: that of a DNS name.
pub const MAX_NAME_BYTES: usize = 253;

/// Turns syncing of one resource off (`disabled`); Kuma's.
const KDS_SYNC: &str = "kuma.io/kds-sync";

/// Which way resources go, and the zone at the zone's end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Direction {
    ToZone(Arc<str>),
    ToGlobal(Arc<str>),
}

impl Direction {
    /// The kinds that travel this way. A kind that is in neither list never travels.
    pub fn kinds(&self) -> &'static [Kind] {
        match self {
            Self::ToZone(_) => &[
                Kind::Mesh,
                Kind::Secret,
                Kind::ZoneIngress,
                Kind::TrafficPermission,
                Kind::TrafficRoute,
            ],
            Self::ToGlobal(_) => &[Kind::ZoneIngress, Kind::Dataplane, Kind::DataplaneInsight],
        }
    }

    pub fn zone(&self) -> &Arc<str> {
        match self {
            Self::ToZone(zone) | Self::ToGlobal(zone) => zone,
        }
    }

    /// Whether the sender's end tells about what `owner` owns. Nothing returns to its owner.
    pub fn concerns(&self, kind: Kind, owner: &Owner) -> bool {
        self.kinds().contains(&kind) && self.may_write(owner)
    }

    /// Whether the receiver gets this resource.
    pub fn sends(&self, resource: &Resource) -> bool {
        let synced = resource.labels.get(KDS_SYNC).is_none_or(|value| value != "disabled");
        let audience = match self {
            Self::ToZone(zone) => resource.audience.includes(zone),
            Self::ToGlobal(_) => true,
        };
        synced && audience && self.concerns(resource.key.kind(), &resource.owner)
    }

    /// Whether what this owner owns may come from the sender's end.
    pub fn may_write(&self, owner: &Owner) -> bool {
        match (self, owner) {
            (Self::ToZone(zone), Owner::Zone(owner)) => zone != owner,
            (Self::ToZone(_), Owner::Global) => true,
            (Self::ToGlobal(zone), owner) => *owner == Owner::Zone(zone.clone()),
        }
    }

    /// Who else gets a copy of what was received.
    pub(super) fn audience(&self, kind: Kind, owner: &Owner) -> Audience {
        match self {
            Self::ToGlobal(_) if kind == Kind::ZoneIngress => Audience::AllBut(owner.clone()),
            Self::ToGlobal(_) | Self::ToZone(_) => Audience::None,
        }
    }

    /// The name of a resource at the receiver's end. It depends on key and owner alone, so that a
    /// removal names what the put named.
    pub(super) fn wire_name(&self, key: &Key, owner: &Owner) -> String {
        let mut labels = Labels::new();
        match (self, owner) {
            (Self::ToZone(_), Owner::Zone(_)) => return key.name().to_owned(),
            (Self::ToZone(_), Owner::Global) if !key.kind().info().hashed => {
                return key.name().to_owned();
            }
            (Self::ToZone(_), Owner::Global) => {}
            (Self::ToGlobal(zone), _) => {
                labels.insert(labels::ZONE.to_owned(), zone.to_string());
            }
        }
        hashed_name(key.mesh(), key.name(), &labels)
    }
}

/// How a discovery response names an entry: name, dot, mesh.
pub fn entry_name(direction: &Direction, key: &Key, owner: &Owner) -> String {
    format!("{}.{}", direction.wire_name(key, owner), key.mesh())
}

/// The receiver's key that an entry's name stands for. `Err` says why it is none.
pub fn split_entry_name(kind: Kind, name: &str) -> Result<Key, String> {
    let (name, mesh) = name
        .rsplit_once('.')
        .ok_or_else(|| format!("entry {:?} is not of the form <name>.<mesh>", abridged(name)))?;
    checked_key(kind, mesh, name)
}

pub(super) fn checked_key(kind: Kind, mesh: &str, name: &str) -> Result<Key, String> {
    check_name("name", name)?;
    match (kind.scope(), mesh) {
        (Scope::Global, "") => {}
        (Scope::Global, _) => return Err(format!("a {kind} is of no mesh, but names one")),
        (Scope::Mesh, mesh) => check_name("mesh", mesh)?,
    }
    Ok(Key::new(kind, mesh, name))
}

fn check_name(what: &str, name: &str) -> Result<(), String> {
    let letter = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit() || b"-._".contains(&c);
    if name.is_empty() || name.len() > MAX_NAME_BYTES || !name.bytes().all(letter) {
        return Err(format!(
            "{what} {:?} is not 1 to {MAX_NAME_BYTES} of a-z, 0-9, '-', '_' and '.'",
            abridged(name)
        ));
    }
    Ok(())
}

/// Enough of a peer's text to find it by, not enough to fill a log.
pub(super) fn abridged(text: &str) -> String {
    text.chars().take(80).collect()
}
