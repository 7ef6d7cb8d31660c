//! One resource, encoded and decoded.

use std::collections::HashMap;

use envoy_types::pb::envoy::config::core::v3::Metadata;
use envoy_types::pb::envoy::service::discovery::v3 as discovery;
use envoy_types::pb::google::protobuf::value::Kind as Field;
use envoy_types::pb::google::protobuf::{self, Any, Struct};
use higuma_model::resource::labels;
use higuma_model::spec::{Dataplane, Mesh, TrafficPermission, TrafficRoute, ZONE_TAG, ZoneIngress};
use higuma_model::{Author, Kind, Owner, Resource, Spec, Timestamp, UnreadableSpec};
use prost::Message;
use serde_json::Value;

use super::rules::{Direction, abridged, checked_key, entry_name};
use crate::proto::kuma::mesh::v1alpha1::{KumaResource, kuma_resource::Meta};
use crate::spec::{self, SpecError};

/// The `Any` that holds a resource.
const KUMA_RESOURCE: &str = "type.googleapis.com/kuma.mesh.v1alpha1.KumaResource";

/// The key in an entry's metadata under which Higuma's fields stand.
const METADATA: &str = "higuma";

/// A resource as the receiver gets it.
pub fn encode(
    direction: &Direction,
    resource: &Resource,
) -> Result<discovery::Resource, SpecError> {
    let key = &resource.key;
    let name = direction.wire_name(key, &resource.owner);
    let mut labels = resource.labels.clone();
    let mut stamp = |label: &str, value: &str| labels.insert(label.to_owned(), value.to_owned());
    if name != key.name() {
        stamp(labels::DISPLAY_NAME, key.name());
    }
    match direction {
        Direction::ToZone(_) => stamp(labels::ORIGIN, "global"),
        Direction::ToGlobal(_) => stamp(labels::ORIGIN, "zone"),
    };
    if let Owner::Zone(zone) = &resource.owner {
        stamp(labels::ZONE, zone);
    }
    let status = match (direction, &resource.status) {
        (Direction::ToGlobal(_), Some(status)) => {
            Some(prost_types::Any { type_url: String::new(), value: status.as_bytes().to_vec() })
        }
        _ => None,
    };
    let kuma = KumaResource {
        meta: Some(Meta { name, mesh: key.mesh().to_owned(), version: String::new(), labels }),
        spec: Some(spec::to_any(key.kind(), &resource.spec)?),
        status,
    };
    Ok(discovery::Resource {
        name: entry_name(direction, key, &resource.owner),
        version: resource.version.to_string(),
        resource: Some(Any { type_url: KUMA_RESOURCE.to_owned(), value: kuma.encode_to_vec() }),
        metadata: Some(metadata(resource)),
        ..Default::default()
    })
}

/// A received entry as a resource of this end. `modified_at` is 0 until it is written here, and
/// `version` is 0 where the sender (Kuma's) has none. `Err` says why it is refused.
pub fn decode(
    direction: &Direction,
    kind: Kind,
    entry: &discovery::Resource,
) -> Result<Resource, String> {
    let any = entry.resource.as_ref().ok_or("the entry is empty")?;
    if any.type_url != KUMA_RESOURCE {
        return Err(format!("the entry holds a {}", abridged(&any.type_url)));
    }
    let kuma = KumaResource::decode(&*any.value).map_err(|error| error.to_string())?;
    let meta = kuma.meta.ok_or("the entry has no name")?;
    let key = checked_key(kind, &meta.mesh, &meta.name)?;
    let mut labels = meta.labels;
    let owner = owner(direction, kind, entry, &labels)?;
    if let Direction::ToGlobal(zone) = direction {
        labels.insert(labels::ZONE.to_owned(), zone.to_string());
        labels.insert(labels::ORIGIN.to_owned(), "zone".to_owned());
    }
    let bytes = kuma.spec.map(|spec| spec.value).unwrap_or_default();
    let mut spec = spec::from_bytes(kind, &bytes).map_err(|error| error.to_string())?;
    if let (Direction::ToGlobal(zone), Spec::Json(json)) = (direction, &spec) {
        spec = in_zone(kind, json, zone)?;
    }
    let status = match (direction, kuma.status) {
        (Direction::ToGlobal(_), Some(status)) => {
            let text = String::from_utf8(status.value).map_err(|_| "the status is no text")?;
            Some(text.into())
        }
        _ => None,
    };
    let time = |field| Timestamp(number(entry, field).unwrap_or_default());
    let resource = Resource {
        audience: direction.audience(kind, &owner),
        version: entry.version.parse().unwrap_or_default(),
        modified_at: 0,
        created: time("created"),
        modified: time("modified"),
        key,
        owner,
        labels,
        spec,
        status,
    };
    check_typed(&resource).map_err(|error| error.why)?;
    Ok(resource)
}

/// Whether this version reads the spec that came: what it does not, it refuses by name.
fn check_typed(resource: &Resource) -> Result<(), UnreadableSpec> {
    match resource.key.kind() {
        Kind::Mesh => resource.decode::<Mesh>().map(drop),
        Kind::ZoneIngress => resource.decode::<ZoneIngress>().map(drop),
        Kind::Dataplane => resource.decode::<Dataplane>().map(drop),
        Kind::TrafficPermission => resource.decode::<TrafficPermission>().map(drop),
        Kind::TrafficRoute => resource.decode::<TrafficRoute>().map(drop),
        Kind::Secret
        | Kind::Zone
        | Kind::ZoneInsight
        | Kind::DataplaneInsight
        // `spec` has refused it.
        | Kind::Vip
        | Kind::GlobalSecret => Ok(()),
    }
}

/// Kuma has no owner on the wire: there the zone's label of a zone's kind names it.
fn owner(
    direction: &Direction,
    kind: Kind,
    entry: &discovery::Resource,
    labels: &higuma_model::Labels,
) -> Result<Owner, String> {
    let owner = match direction {
        Direction::ToGlobal(zone) => return Ok(Owner::Zone(zone.clone())),
        Direction::ToZone(_) => match text(entry, "owner") {
            Some(zone) => Owner::zone(zone),
            None => match labels.get(labels::ZONE) {
                Some(zone) if kind.info().author == Author::Zone => Owner::zone(zone),
                _ => Owner::Global,
            },
        },
    };
    if !direction.may_write(&owner) {
        return Err(format!("it belongs to {owner}, which is this one"));
    }
    Ok(owner)
}

/// What a zone sends is of that zone, whatever it says (Kuma's mapping at the global).
fn in_zone(kind: Kind, json: &str, zone: &str) -> Result<Spec, String> {
    let mut fields: Value = serde_json::from_str(json).map_err(|error| error.to_string())?;
    match kind {
        Kind::ZoneIngress => {
            fields["zone"] = zone.into();
            restamp_each(fields.pointer_mut("/availableServices"), zone);
        }
        Kind::Dataplane => {
            restamp_each(fields.pointer_mut("/networking/inbound"), zone);
            restamp(fields.pointer_mut("/networking/gateway"), zone);
        }
        _ => {}
    }
    spec::canonical(kind, fields).map_err(|error| error.to_string())
}

fn restamp_each(list: Option<&mut Value>, zone: &str) {
    for item in list.and_then(Value::as_array_mut).into_iter().flatten() {
        restamp(Some(item), zone);
    }
}

/// Sets the zone's tag where there is one.
fn restamp(tagged: Option<&mut Value>, zone: &str) {
    let tag = tagged.and_then(|tagged| tagged.get_mut("tags")?.get_mut(ZONE_TAG));
    if let Some(value) = tag {
        *value = zone.into();
    }
}

fn metadata(resource: &Resource) -> Metadata {
    let value = |kind| protobuf::Value { kind: Some(kind) };
    #[expect(
        clippy::cast_precision_loss,
        reason = "milliseconds stay below 2^53 for 285,000 years"
    )]
    let time = |time: Timestamp| value(Field::NumberValue(time.0 as f64));
    let mut fields = HashMap::from([
        ("created".to_owned(), time(resource.created)),
        ("modified".to_owned(), time(resource.modified)),
    ]);
    if let Owner::Zone(zone) = &resource.owner {
        fields.insert("owner".to_owned(), value(Field::StringValue(zone.to_string())));
    }
    let filter_metadata = HashMap::from([(METADATA.to_owned(), Struct { fields })]);
    Metadata { filter_metadata, ..Default::default() }
}

fn field<'a>(entry: &'a discovery::Resource, name: &str) -> Option<&'a Field> {
    let fields = &entry.metadata.as_ref()?.filter_metadata.get(METADATA)?.fields;
    fields.get(name)?.kind.as_ref()
}

fn text<'a>(entry: &'a discovery::Resource, name: &str) -> Option<&'a str> {
    match field(entry, name)? {
        Field::StringValue(text) => Some(text),
        _ => None,
    }
}

fn number(entry: &discovery::Resource, name: &str) -> Option<i64> {
    match field(entry, name)? {
        #[expect(clippy::cast_possible_truncation, reason = "milliseconds; a float saturates")]
        Field::NumberValue(number) => Some(*number as i64),
        _ => None,
    }
}
