//! Envoy's messages as JSON, by the descriptors that come with `envoy-types`.

use std::path::PathBuf;
use std::sync::OnceLock;

use prost_reflect::{DescriptorPool, DynamicMessage, ReflectMessage, Value};
use serde_json::Value as Json;

/// The descriptors of the very version that is linked: its source folder is what cargo says it is.
fn pool() -> &'static DescriptorPool {
    static POOL: OnceLock<DescriptorPool> = OnceLock::new();
    POOL.get_or_init(|| {
        let mut command = cargo_metadata::MetadataCommand::new();
        command.other_options(["--locked".to_owned(), "--offline".to_owned()]);
        let metadata = command.exec().expect("cargo metadata");
        let package = metadata.packages.iter().find(|package| *package.name == *"envoy-types");
        let manifest = &package.expect("a dependency of this crate").manifest_path;
        let types = manifest.parent().unwrap().join("src/generated/types.bin");
        let bytes = std::fs::read(PathBuf::from(&types)).expect("the descriptors of envoy-types");
        DescriptorPool::decode(&*bytes).expect("a descriptor set")
    })
}

pub(crate) fn message(type_url: &str, bytes: &[u8]) -> DynamicMessage {
    let name = type_url.rsplit('/').next().unwrap();
    let descriptor = pool().get_message_by_name(name).unwrap_or_else(|| panic!("no type {name}"));
    DynamicMessage::decode(descriptor, bytes).expect("a message of its type")
}

/// Canonical JSON with keys in order.
pub(crate) fn json(type_url: &str, bytes: &[u8]) -> Json {
    let message = message(type_url, bytes);
    sorted(serde_json::to_value(&message).expect("all nested types are known"))
}

pub(crate) fn sorted(json: Json) -> Json {
    match json {
        Json::Object(map) => {
            let mut entries: Vec<_> = map.into_iter().collect();
            entries.sort_by(|a, b| a.0.cmp(&b.0));
            Json::Object(entries.into_iter().map(|(key, value)| (key, sorted(value))).collect())
        }
        Json::Array(items) => Json::Array(items.into_iter().map(sorted).collect()),
        other => other,
    }
}

/// The most entries of any map in a message, `Any`s inside included.
pub(crate) fn widest_map(message: &DynamicMessage) -> usize {
    if message.descriptor().full_name() == "google.protobuf.Any" {
        let url = message.get_field_by_name("type_url").unwrap();
        let bytes = message.get_field_by_name("value").unwrap();
        let inner = self::message(url.as_str().unwrap(), bytes.as_bytes().unwrap());
        return widest_map(&inner);
    }
    message.fields().map(|(_, value)| widest_in(value)).max().unwrap_or(0)
}

fn widest_in(value: &Value) -> usize {
    match value {
        Value::Message(message) => widest_map(message),
        Value::List(items) => items.iter().map(widest_in).max().unwrap_or(0),
        Value::Map(map) => {
            let inside = map.values().map(widest_in).max().unwrap_or(0);
            inside.max(map.len())
        }
        _ => 0,
    }
}
