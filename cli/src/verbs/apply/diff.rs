//! How two states of a resource differ, field by field.

use serde_json::{Map, Value};

/// Characters of a value that are shown.
const MAX_SHOWN: usize = 80;

/// Fields that the control plane writes.
const STAMPS: [&str; 2] = ["creationTime", "modificationTime"];

/// One line for each field that differs: `~ path: old → new`, `+ path: new`, `- path: old`.
pub(super) fn between(before: &Value, after: &Value) -> Vec<String> {
    let without = |value: &Value| {
        let mut value = value.clone();
        if let Value::Object(fields) = &mut value {
            STAMPS.iter().for_each(|stamp| drop(fields.shift_remove(*stamp)));
        }
        value
    };
    let mut lines = Vec::new();
    compare("", Some(&without(before)), Some(&without(after)), &mut lines);
    lines
}

fn compare(path: &str, before: Option<&Value>, after: Option<&Value>, lines: &mut Vec<String>) {
    match (before, after) {
        (Some(Value::Object(old)), Some(Value::Object(new))) => objects(path, old, new, lines),
        (Some(Value::Array(old)), Some(Value::Array(new))) => {
            for at in 0..old.len().max(new.len()) {
                compare(&format!("{path}[{at}]"), old.get(at), new.get(at), lines);
            }
        }
        (Some(old), Some(new)) if old != new => {
            lines.push(format!("~ {path}: {} → {}", shown(old), shown(new)));
        }
        (None, Some(new)) => lines.push(format!("+ {path}: {}", shown(new))),
        (Some(old), None) => lines.push(format!("- {path}: {}", shown(old))),
        _ => {}
    }
}

fn objects(
    path: &str,
    old: &Map<String, Value>,
    new: &Map<String, Value>,
    lines: &mut Vec<String>,
) {
    let added = new.keys().filter(|key| !old.contains_key(*key));
    for key in old.keys().chain(added) {
        let plain = key.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-');
        let inner = match (plain, path) {
            (true, "") => key.clone(),
            (true, path) => format!("{path}.{key}"),
            (false, path) => format!("{path}[\"{key}\"]"),
        };
        compare(&inner, old.get(key), new.get(key), lines);
    }
}

fn shown(value: &Value) -> String {
    let text = value.to_string();
    if text.chars().count() <= MAX_SHOWN {
        return text;
    }
    text.chars().take(MAX_SHOWN).chain(['…']).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn each_field_that_differs_is_one_line() {
        let before = json!({
            "type": "Mesh", "modificationTime": "1", "gone": {"a": 1},
            "sources": [{"match": {"kuma.io/service": "web"}}, {"match": {}}],
            "weight": 10, "same": [1, 2],
        });
        let after = json!({
            "type": "Mesh", "modificationTime": "2", "weight": 90, "same": [1, 2],
            "sources": [{"match": {"kuma.io/service": "x".repeat(100)}}], "new": [true],
        });
        let long = format!("\"{}…", "x".repeat(79));
        assert_eq!(
            between(&before, &after),
            [
                "- gone: {\"a\":1}".to_owned(),
                format!("~ sources[0].match[\"kuma.io/service\"]: \"web\" → {long}"),
                "- sources[1]: {\"match\":{}}".to_owned(),
                "~ weight: 10 → 90".to_owned(),
                "+ new: [true]".to_owned(),
            ]
        );
        assert!(between(&before, &before).is_empty());
    }
}
