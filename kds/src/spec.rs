//! Specs on the wire: canonical JSON here, protobuf messages there.
//!
//! The JSON is `model`'s canonical form, so that equal specs have equal text at both ends. Fields
//! that no message of `proto/` has are dropped, never a reason to refuse. The bytes are Kuma's
//! deterministic encoding: fields by number, maps by key.

use std::sync::OnceLock;

use higuma_model::{Kind, SecretBytes, Source, Spec, canonicalise};
use prost::Message;
use prost_reflect::{DescriptorPool, DeserializeOptions, DynamicMessage, MessageDescriptor};
use prost_types::Any;
use serde_json::Value;

use crate::proto::kuma::mesh::v1alpha1 as mesh;
use crate::proto::kuma::system::v1alpha1 as system;

/// Why a spec is not turned into the other form.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SpecError {
    #[error("the spec is no {message}: {why}")]
    Unreadable { message: &'static str, why: String },
    #[error("a {0} holds {1}")]
    WrongForm(Kind, &'static str),
}

/// The full name of the message that a kind's spec is.
pub fn message_name(kind: Kind) -> &'static str {
    match kind {
        Kind::Mesh => "kuma.mesh.v1alpha1.Mesh",
        Kind::Secret => "kuma.system.v1alpha1.Secret",
        Kind::Zone => "kuma.system.v1alpha1.Zone",
        Kind::ZoneInsight => "kuma.system.v1alpha1.ZoneInsight",
        Kind::ZoneIngress => "kuma.mesh.v1alpha1.ZoneIngress",
        Kind::Dataplane => "kuma.mesh.v1alpha1.Dataplane",
        Kind::DataplaneInsight => "kuma.mesh.v1alpha1.DataplaneInsight",
        Kind::TrafficPermission => "kuma.mesh.v1alpha1.TrafficPermission",
        Kind::TrafficRoute => "kuma.mesh.v1alpha1.TrafficRoute",
        // No message: `travels` lets none through.
        Kind::Vip => "higuma.Vip",
        Kind::GlobalSecret => "kuma.system.v1alpha1.Secret",
    }
}

/// Refuses the kinds that are a control plane's alone, whichever way a peer asks for them.
fn travels(kind: Kind) -> Result<(), SpecError> {
    match kind {
        Kind::Vip | Kind::GlobalSecret => {
            Err(SpecError::WrongForm(kind, "what never leaves its control plane"))
        }
        _ => Ok(()),
    }
}

/// A spec as `KumaResource.spec`.
pub fn to_any(kind: Kind, spec: &Spec) -> Result<Any, SpecError> {
    travels(kind)?;
    let value = match (kind, spec) {
        (Kind::Secret, Spec::Secret(secret)) => {
            system::Secret { data: Some(secret.bytes.to_vec()) }.encode_to_vec()
        }
        (Kind::Secret, Spec::Json(_)) => {
            return Err(SpecError::WrongForm(kind, "JSON, but only secret bytes travel"));
        }
        (_, Spec::Secret(_)) => return Err(SpecError::WrongForm(kind, "secret bytes")),
        (_, Spec::Json(json)) => sorted_bytes(kind, &message_of_json(kind, json)?)?,
    };
    Ok(Any { type_url: format!("type.googleapis.com/{}", message_name(kind)), value })
}

/// A spec from the bytes of `KumaResource.spec`.
pub fn from_bytes(kind: Kind, bytes: &[u8]) -> Result<Spec, SpecError> {
    travels(kind)?;
    let unreadable = |why: String| SpecError::Unreadable { message: message_name(kind), why };
    if kind == Kind::Secret {
        let secret =
            system::Secret::decode(bytes).map_err(|error| unreadable(error.to_string()))?;
        return Ok(Spec::Secret(SecretBytes::plain(&secret.data.unwrap_or_default())));
    }
    let message = DynamicMessage::decode(descriptor(kind), bytes)
        .map_err(|error| unreadable(error.to_string()))?;
    let json = serde_json::to_value(&message).map_err(|error| unreadable(error.to_string()))?;
    canonical(kind, json)
}

/// A spec that came from a peer, in the form that is stored: a peer's fields that this version has
/// no use for are kept, what is of a wrong form is refused.
pub(crate) fn canonical(kind: Kind, spec: Value) -> Result<Spec, SpecError> {
    let unreadable = |why: String| SpecError::Unreadable { message: message_name(kind), why };
    let Value::Object(fields) = spec else {
        return Err(unreadable("it is no object".to_owned()));
    };
    let read = canonicalise(kind, &fields, Source::Peer).map_err(|violations| {
        let named = violations.iter().map(|v| format!("{} {}", v.field, v.reason));
        unreadable(named.collect::<Vec<_>>().join("; "))
    })?;
    Ok(Spec::Json(read.spec.to_string().into()))
}

fn message_of_json(kind: Kind, json: &str) -> Result<DynamicMessage, SpecError> {
    let unreadable = |why: String| SpecError::Unreadable { message: message_name(kind), why };
    let options = DeserializeOptions::new().deny_unknown_fields(false);
    let mut reader = serde_json::Deserializer::from_str(json);
    let message = DynamicMessage::deserialize_with_options(descriptor(kind), &mut reader, &options)
        .map_err(|error| unreadable(error.to_string()))?;
    reader.end().map_err(|error| unreadable(error.to_string()))?;
    Ok(message)
}

/// A dynamic message has no order of map entries; the generated types have.
fn sorted_bytes(kind: Kind, message: &DynamicMessage) -> Result<Vec<u8>, SpecError> {
    fn typed<T: Message + Default>(message: &DynamicMessage) -> Result<Vec<u8>, String> {
        let typed: T = message.transcode_to().map_err(|error| error.to_string())?;
        Ok(typed.encode_to_vec())
    }
    let bytes = match kind {
        Kind::Mesh => typed::<mesh::Mesh>(message),
        Kind::Secret => typed::<system::Secret>(message),
        Kind::Zone => typed::<system::Zone>(message),
        Kind::ZoneInsight => typed::<system::ZoneInsight>(message),
        Kind::ZoneIngress => typed::<mesh::ZoneIngress>(message),
        Kind::Dataplane => typed::<mesh::Dataplane>(message),
        Kind::DataplaneInsight => typed::<mesh::DataplaneInsight>(message),
        Kind::TrafficPermission => typed::<mesh::TrafficPermission>(message),
        Kind::TrafficRoute => typed::<mesh::TrafficRoute>(message),
        Kind::Vip | Kind::GlobalSecret => Err("it never leaves its control plane".to_owned()),
    };
    bytes.map_err(|why| SpecError::Unreadable { message: message_name(kind), why })
}

fn descriptor(kind: Kind) -> MessageDescriptor {
    static POOL: OnceLock<DescriptorPool> = OnceLock::new();
    let pool = POOL.get_or_init(|| {
        let files: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/kds.fds"));
        DescriptorPool::decode(files).expect("invariant: build.rs wrote a complete descriptor set")
    });
    pool.get_message_by_name(message_name(kind)).expect("invariant: every kind's message is ours")
}
