//! What is kept of a request beside what it changes: who asked, and under which name.

use std::sync::Arc;

use bytes::Bytes;
use higuma_model::{Effect, Idempotency, Origin};

use super::{Undecodable, all};
use crate::proto;

impl From<&Origin> for proto::Origin {
    fn from(origin: &Origin) -> Self {
        let text = |text: &Option<Arc<str>>| text.as_deref().unwrap_or_default().to_owned();
        Self {
            who: text(&origin.who),
            from: text(&origin.from),
            node: origin.node,
            reason: text(&origin.reason),
        }
    }
}

impl From<proto::Origin> for Origin {
    fn from(wire: proto::Origin) -> Self {
        let text = |text: String| Some(text).filter(|text| !text.is_empty()).map(Into::into);
        Self {
            who: text(wire.who),
            from: text(wire.from),
            node: wire.node,
            reason: text(wire.reason),
        }
    }
}

impl From<&Idempotency> for proto::Idempotency {
    fn from(named: &Idempotency) -> Self {
        Self {
            key: digest_bytes(named.key),
            request: digest_bytes(named.request),
            effects: named.effects.iter().map(Into::into).collect(),
        }
    }
}

impl TryFrom<proto::Idempotency> for Idempotency {
    type Error = Undecodable;

    fn try_from(wire: proto::Idempotency) -> Result<Self, Undecodable> {
        Ok(Self {
            key: digest(&wire.key)?,
            request: digest(&wire.request)?,
            effects: all(wire.effects)?.into(),
        })
    }
}

impl From<&Effect> for proto::Effect {
    fn from(effect: &Effect) -> Self {
        use proto::effect::Kind;
        let (kind, modified_at) = match effect {
            Effect::Created => (Kind::Created, 0),
            Effect::Updated => (Kind::Updated, 0),
            Effect::Unchanged { modified_at } => (Kind::Unchanged, *modified_at),
            Effect::Deleted => (Kind::Deleted, 0),
        };
        Self { kind: kind.into(), modified_at }
    }
}

impl TryFrom<proto::Effect> for Effect {
    type Error = Undecodable;

    fn try_from(wire: proto::Effect) -> Result<Self, Undecodable> {
        use proto::effect::Kind;
        match Kind::try_from(wire.kind) {
            Ok(Kind::Created) => Ok(Self::Created),
            Ok(Kind::Updated) => Ok(Self::Updated),
            Ok(Kind::Unchanged) => Ok(Self::Unchanged { modified_at: wire.modified_at }),
            Ok(Kind::Deleted) => Ok(Self::Deleted),
            Ok(Kind::Unspecified) | Err(_) => Err(Undecodable::Unknown("effect")),
        }
    }
}

/// A digest as it is kept: 16 bytes, big endian.
pub(crate) fn digest_bytes(digest: u128) -> Bytes {
    Bytes::copy_from_slice(&digest.to_be_bytes())
}

pub(crate) fn digest(bytes: &Bytes) -> Result<u128, Undecodable> {
    let bytes = bytes.as_ref().try_into().map_err(|_| Undecodable::Unknown("digest"))?;
    Ok(u128::from_be_bytes(bytes))
}
