//! Reads a JSON object against a table.

use serde_json::{Map, Value};

use super::scalar::{self, found};
use super::{Field, MAX_DEPTH, MAX_ELEMENTS, MAX_TEXT_BYTES, Shape, Source, Support};
use crate::violation::{MAX_VIOLATIONS, Violations, path, quoted};

pub(super) struct Walk {
    source: Source,
    /// Inside a field that is not here yet: it is the finding, its parts are not.
    within_not_yet: bool,
    pub(super) violations: Violations,
    pub(super) unknown: Vec<String>,
    pub(super) ignored: Vec<String>,
}

impl Walk {
    pub(super) fn new(source: Source) -> Self {
        Self {
            source,
            within_not_yet: false,
            violations: Violations::default(),
            unknown: Vec::new(),
            ignored: Vec::new(),
        }
    }

    /// The canonical form of a message's fields.
    pub(super) fn message(
        &mut self,
        fields: &'static [Field],
        object: &Map<String, Value>,
        at: &str,
    ) -> Map<String, Value> {
        for name in object.keys() {
            let known = |field: &Field| field.name == name || field.json_name() == *name;
            if !fields.iter().any(known) && self.unknown.len() < MAX_VIOLATIONS {
                self.unknown.push(path::field(at, name));
            }
        }
        debug_assert!(fields.is_sorted_by_key(|field| field.number), "table of {at:?}");
        let mut canonical = Map::new();
        for field in fields {
            let json_name = field.json_name();
            let at = path::field(at, &json_name);
            let given = self.given(field, &json_name, object, &at);
            let Some(value) = given.and_then(|value| self.field(field, value, &at)) else {
                if let (None, Some(reason)) = (given, field.required) {
                    self.violations.add(&at, reason);
                }
                continue;
            };
            if !field.shape.is_default(&value) {
                canonical.insert(json_name.into_owned(), value);
            } else if let Some(reason) = field.required {
                self.violations.add(&at, reason);
            }
        }
        canonical
    }

    /// The value under either of the field's names; `null` is as good as absent (proto3 JSON).
    fn given<'v>(
        &mut self,
        field: &Field,
        json_name: &str,
        object: &'v Map<String, Value>,
        at: &str,
    ) -> Option<&'v Value> {
        let camel = object.get(json_name);
        let original = if json_name == field.name { None } else { object.get(field.name) };
        if camel.is_some() && original.is_some() {
            self.violations.add(at, format!("is given twice, also as {}", field.name));
        }
        camel.or(original).filter(|value| !value.is_null())
    }

    fn field(&mut self, field: &'static Field, value: &Value, at: &str) -> Option<Value> {
        let operator = self.source == Source::Operator && !self.within_not_yet;
        match field.support {
            Support::Computed if operator => {
                self.ignored.push(at.to_owned());
                None
            }
            Support::NotYet if self.source != Source::Peer && !self.within_not_yet => {
                self.within_not_yet = true;
                let value = self.value(&field.shape, value, at);
                self.within_not_yet = false;
                if value.is_some_and(|value| !field.shape.is_blank(&value)) {
                    self.violations.add(at, "this version of Higuma does not have this field yet");
                }
                None
            }
            _ => self.value(&field.shape, value, at),
        }
    }

    /// The canonical form of a value, defaults included; none where it is of the wrong type.
    fn value(&mut self, shape: &'static Shape, value: &Value, at: &str) -> Option<Value> {
        match shape {
            Shape::Optional(shape) => self.value(shape, value, at),
            Shape::Message(fields) => {
                let object = self.object(value, at)?;
                Some(Value::Object(self.message(fields, object, at)))
            }
            Shape::List(element) => self.list(element, value, at),
            Shape::Map(element) => self.map(element, value, at),
            Shape::Struct => {
                let object = self.object(value, at)?;
                self.free(&Value::Object(object.clone()), at, MAX_DEPTH)
            }
            Shape::Enum { names, not_yet } => {
                let name = self.scalar(scalar::enumeration(names, value), at)?;
                self.available(name, not_yet, at)
            }
            Shape::Plugin { here, not_yet } => {
                let name = self.scalar(scalar::text(value), at)?;
                let known = name.as_str().is_some_and(|name| {
                    name.is_empty() || here.contains(&name) || not_yet.contains(&name)
                });
                if !known {
                    self.violations.add(at, "could not find installed plugin for this type");
                    return None;
                }
                self.available(name, not_yet, at)
            }
            Shape::Text => {
                let text = self.scalar(scalar::text(value), at)?;
                self.bounded(text.as_str().map_or(0, str::len), MAX_TEXT_BYTES, "bytes", at)?;
                Some(text)
            }
            Shape::Bool => self.scalar(scalar::boolean(value), at),
            Shape::Uint32 => self.scalar(scalar::uint32(value), at),
            Shape::Port => self.scalar(scalar::port(value), at),
            Shape::Uint64 => self.scalar(scalar::uint64(value), at),
            Shape::Double => self.scalar(scalar::double(value), at),
            Shape::Duration => self.scalar(scalar::duration(value), at),
            Shape::Timestamp => self.scalar(scalar::timestamp(value), at),
        }
    }

    fn scalar(&mut self, read: Result<Value, String>, at: &str) -> Option<Value> {
        match read {
            Ok(value) => Some(value),
            Err(reason) => {
                self.violations.add(at, reason);
                None
            }
        }
    }

    fn available(&mut self, name: Value, not_yet: &[&str], at: &str) -> Option<Value> {
        let refused = self.source != Source::Peer && !self.within_not_yet;
        let refused = name.as_str().filter(|name| refused && not_yet.contains(name));
        if let Some(name) = refused {
            self.violations.add(at, format!("this version of Higuma does not have {name} yet"));
            return None;
        }
        Some(name)
    }

    fn object<'v>(&mut self, value: &'v Value, at: &str) -> Option<&'v Map<String, Value>> {
        let Value::Object(object) = value else {
            self.violations.add(at, format!("must be an object, not {}", found(value)));
            return None;
        };
        self.bounded(object.len(), MAX_ELEMENTS, "entries", at)?;
        Some(object)
    }

    fn list(&mut self, element: &'static Shape, value: &Value, at: &str) -> Option<Value> {
        let Value::Array(elements) = value else {
            self.violations.add(at, format!("must be a list, not {}", found(value)));
            return None;
        };
        self.bounded(elements.len(), MAX_ELEMENTS, "elements", at)?;
        let read = elements.iter().enumerate();
        // A wrong element keeps its place, so that what is found later has the right index.
        let read = read.map(|(index, value)| {
            let at = path::index(at, index);
            self.value(element, value, &at).unwrap_or_else(|| element.default_value())
        });
        Some(Value::Array(read.collect()))
    }

    fn map(&mut self, element: &'static Shape, value: &Value, at: &str) -> Option<Value> {
        let object = self.object(value, at)?;
        let mut entries = Map::new();
        for (key, value) in sorted(object) {
            let at = path::key(at, key);
            if key.len() > MAX_TEXT_BYTES {
                self.violations.add(at, "the key is too long");
            } else if let Some(value) = self.value(element, value, &at) {
                entries.insert(key.clone(), value);
            }
        }
        Some(Value::Object(entries))
    }

    /// A free-form value with sorted keys; its numbers are doubles, so `1.0` is `1`.
    fn free(&mut self, value: &Value, at: &str, depth: usize) -> Option<Value> {
        if depth == 0 {
            self.violations.add(at, format!("is nested deeper than {MAX_DEPTH} levels"));
            return None;
        }
        match value {
            Value::Object(object) => {
                let entries = sorted(object);
                let entries = entries.into_iter().map(|(key, value)| {
                    Some((key.clone(), self.free(value, &path::field(at, key), depth - 1)?))
                });
                entries.collect::<Option<Map<_, _>>>().map(Value::Object)
            }
            Value::Array(elements) => {
                self.bounded(elements.len(), MAX_ELEMENTS, "elements", at)?;
                let elements = elements.iter().enumerate();
                let elements =
                    elements.map(|(i, value)| self.free(value, &path::index(at, i), depth - 1));
                elements.collect::<Option<Vec<_>>>().map(Value::Array)
            }
            Value::Number(_) => self.scalar(scalar::double(value), at),
            other => Some(other.clone()),
        }
    }

    fn bounded(&mut self, found: usize, limit: usize, unit: &str, at: &str) -> Option<()> {
        if found > limit {
            self.violations.add(at, format!("has {found} {unit}; at most {limit} are taken"));
            return None;
        }
        Some(())
    }
}

impl Shape {
    /// Whether proto3 JSON leaves the value out.
    fn is_default(&self, value: &Value) -> bool {
        match self {
            Self::Text | Self::Plugin { .. } => value == "",
            Self::Bool => value == false,
            Self::Uint32 | Self::Port => value.as_u64() == Some(0),
            Self::Uint64 => value == "0",
            Self::Double => value.as_f64() == Some(0.0),
            Self::Enum { names, .. } => value.as_str() == names.first().copied(),
            Self::List(_) => value.as_array().is_some_and(Vec::is_empty),
            Self::Map(_) => value.as_object().is_some_and(Map::is_empty),
            Self::Duration
            | Self::Timestamp
            | Self::Struct
            | Self::Optional(_)
            | Self::Message(_) => false,
        }
    }

    /// Whether a value asks for nothing: a default, or a message of nothing but such.
    fn is_blank(&self, value: &Value) -> bool {
        match (self, value) {
            (Self::Struct, Value::Object(entries)) => entries.is_empty(),
            (Self::Message(fields), Value::Object(entries)) => {
                entries.iter().all(|(name, value)| {
                    let field = fields.iter().find(|field| field.json_name() == *name);
                    field.is_some_and(|field| field.shape.is_blank(value))
                })
            }
            _ => self.is_default(value),
        }
    }

    /// What stands in for an unreadable element of a list.
    fn default_value(&self) -> Value {
        match self {
            Self::Message(_) | Self::Map(_) | Self::Struct => Value::Object(Map::new()),
            Self::List(_) => Value::Array(Vec::new()),
            Self::Bool => Value::Bool(false),
            Self::Uint32 | Self::Port | Self::Double => Value::from(0),
            Self::Optional(shape) => shape.default_value(),
            _ => Value::from(""),
        }
    }
}

fn sorted(object: &Map<String, Value>) -> Vec<(&String, &Value)> {
    let mut entries: Vec<_> = object.iter().collect();
    entries.sort_unstable_by_key(|(key, _)| *key);
    entries
}

/// What a message shows of an unexpected value.
pub(super) fn shown(value: &Value) -> String {
    quoted(value.as_str().map_or_else(|| value.to_string(), str::to_owned).as_str())
}
