//! Resources and what is received of them, as prost.

use std::sync::Arc;

use bytes::Bytes;
use higuma_model::{
    Adopted, Audience, Draft, Received, Resource, SecretBytes, SecretScheme, Spec, Timestamp,
    Upstream,
};

use super::{Undecodable, all, cluster_bytes, cluster_id, some_key};
use crate::proto;

impl From<&Received> for proto::Received {
    fn from(received: &Received) -> Self {
        Self {
            zone: received.zone.as_ref().map_or_else(String::new, |zone| zone.to_string()),
            position: Some(received.position.into()),
            builds_on: received.builds_on,
            upserts: received.upserts.iter().map(Into::into).collect(),
            removed: received.removed.iter().map(Into::into).collect(),
        }
    }
}

impl TryFrom<proto::Received> for Received {
    type Error = Undecodable;

    fn try_from(wire: proto::Received) -> Result<Self, Undecodable> {
        Ok(Self {
            zone: Some(wire.zone).filter(|zone| !zone.is_empty()).map(Into::into),
            position: some_position(wire.position)?,
            builds_on: wire.builds_on,
            upserts: all(wire.upserts)?,
            removed: all(wire.removed)?,
        })
    }
}

impl From<&Adopted> for proto::Adopted {
    fn from(adopted: &Adopted) -> Self {
        Self { replaces: Some(adopted.replaces.into()), received: Some((&adopted.received).into()) }
    }
}

impl TryFrom<proto::Adopted> for Adopted {
    type Error = Undecodable;

    fn try_from(wire: proto::Adopted) -> Result<Self, Undecodable> {
        let received = wire.received.ok_or(Undecodable::Unknown("received"))?;
        Ok(Self { replaces: some_position(wire.replaces)?, received: received.try_into()? })
    }
}

impl From<Upstream> for proto::Position {
    fn from(position: Upstream) -> Self {
        let Upstream { cluster, epoch, version } = position;
        Self { cluster: cluster_bytes(cluster), epoch, version }
    }
}

pub(crate) fn some_position(wire: Option<proto::Position>) -> Result<Upstream, Undecodable> {
    let position = wire.ok_or(Undecodable::Unknown("position"))?;
    Ok(Upstream {
        cluster: cluster_id(&position.cluster)?,
        epoch: position.epoch,
        version: position.version,
    })
}

impl From<&Resource> for proto::Resource {
    fn from(resource: &Resource) -> Self {
        let draft = Draft {
            key: resource.key.clone(),
            audience: resource.audience.clone(),
            labels: resource.labels.clone(),
            spec: resource.spec.clone(),
            status: resource.status.clone(),
        };
        Self {
            content: Some((&draft).into()),
            owner: Some((&resource.owner).into()),
            version: resource.version,
            modified_at: resource.modified_at,
            created_ms: resource.created.0,
            modified_ms: resource.modified.0,
        }
    }
}

impl TryFrom<proto::Resource> for Resource {
    type Error = Undecodable;

    fn try_from(wire: proto::Resource) -> Result<Self, Undecodable> {
        let content = wire.content.ok_or(Undecodable::Unknown("resource"))?;
        let Draft { key, audience, labels, spec, status } = content.try_into()?;
        Ok(Self {
            key,
            owner: wire.owner.ok_or(Undecodable::Unknown("owner"))?.into(),
            version: wire.version,
            modified_at: wire.modified_at,
            created: Timestamp(wire.created_ms),
            modified: Timestamp(wire.modified_ms),
            audience,
            labels,
            spec,
            status,
        })
    }
}

impl From<&Draft> for proto::Draft {
    fn from(draft: &Draft) -> Self {
        use proto::draft::Spec as Wire;
        let spec = match &draft.spec {
            Spec::Json(json) => Wire::Json(Bytes::copy_from_slice(json.as_bytes())),
            Spec::Secret(secret) => Wire::Secret(secret.into()),
        };
        let status = draft.status.as_ref().map(|json| Bytes::copy_from_slice(json.as_bytes()));
        Self {
            key: Some((&draft.key).into()),
            audience: Some((&draft.audience).into()),
            labels: draft.labels.clone(),
            spec: Some(spec),
            status,
        }
    }
}

impl TryFrom<proto::Draft> for Draft {
    type Error = Undecodable;

    fn try_from(wire: proto::Draft) -> Result<Self, Undecodable> {
        use proto::draft::Spec as Wire;
        let spec = match wire.spec.ok_or(Undecodable::Unknown("spec"))? {
            Wire::Json(json) => Spec::Json(text(&json)?),
            Wire::Secret(secret) => Spec::Secret(secret.try_into()?),
        };
        Ok(Self {
            key: some_key(wire.key)?,
            audience: wire.audience.ok_or(Undecodable::Unknown("audience"))?.try_into()?,
            labels: wire.labels,
            spec,
            status: wire.status.map(|json| text(&json)).transpose()?,
        })
    }
}

fn text(bytes: &Bytes) -> Result<Arc<str>, Undecodable> {
    std::str::from_utf8(bytes).map(Into::into).map_err(|_| Undecodable::Unknown("JSON"))
}

impl From<&Audience> for proto::Audience {
    fn from(audience: &Audience) -> Self {
        use proto::audience::Kind as Wire;
        let (kind, but) = match audience {
            Audience::AllZones => (Wire::AllZones, None),
            Audience::AllBut(owner) => (Wire::AllBut, Some(owner.into())),
            Audience::None => (Wire::None, None),
        };
        Self { kind: kind.into(), but }
    }
}

impl TryFrom<proto::Audience> for Audience {
    type Error = Undecodable;

    fn try_from(wire: proto::Audience) -> Result<Self, Undecodable> {
        use proto::audience::Kind as Wire;
        match (wire.kind(), wire.but) {
            (Wire::AllZones, None) => Ok(Self::AllZones),
            (Wire::AllBut, Some(owner)) => Ok(Self::AllBut(owner.into())),
            (Wire::None, None) => Ok(Self::None),
            _ => Err(Undecodable::Unknown("audience")),
        }
    }
}

impl From<&SecretBytes> for proto::SecretBytes {
    fn from(secret: &SecretBytes) -> Self {
        let scheme = match secret.scheme {
            SecretScheme::Plain => proto::secret_bytes::Scheme::Plain,
        };
        Self {
            scheme: scheme.into(),
            key_id: secret.key_id.clone(),
            bytes: Bytes::copy_from_slice(&secret.bytes),
        }
    }
}

impl TryFrom<proto::SecretBytes> for SecretBytes {
    type Error = Undecodable;

    fn try_from(wire: proto::SecretBytes) -> Result<Self, Undecodable> {
        let scheme = match wire.scheme() {
            proto::secret_bytes::Scheme::Plain => SecretScheme::Plain,
            proto::secret_bytes::Scheme::Unspecified => {
                return Err(Undecodable::Unknown("secret scheme"));
            }
        };
        Ok(Self { scheme, key_id: wire.key_id, bytes: wire.bytes.as_ref().into() })
    }
}
