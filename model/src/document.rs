//! A resource as users write and read it: Kuma's JSON envelope.
//!
//! Parsing sorts the envelope from the spec and types the former; what the spec says is read
//! against its kind's table at admission. YAML becomes JSON before it comes here.

#[cfg(test)]
mod tests;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use time::macros::format_description;

use crate::kind::Scope;
use crate::resource::{Labels, Timestamp};
use crate::violation::{Violation, Violations, path, quoted};
use crate::{Key, Kind, Resource, Spec};

/// The mesh of a document that names none (Kuma's default for mesh-scoped kinds).
pub const DEFAULT_MESH: &str = "default";

/// A parsed envelope and a spec that nobody has looked at yet.
#[derive(Debug, Clone, PartialEq)]
pub struct Document {
    pub kind: Kind,
    /// Empty for kinds of global scope.
    pub mesh: String,
    pub name: String,
    pub labels: Labels,
    pub spec: Map<String, Value>,
}

/// What the URL says about a document.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Expected<'a> {
    pub kind: Kind,
    /// Empty for kinds of global scope.
    pub mesh: &'a str,
    pub name: &'a str,
}

impl Document {
    /// Reads an envelope. All findings at once; only an unknown type hides the others.
    pub fn parse(value: Value) -> Result<Self, Vec<Violation>> {
        Self::read(value, None)
    }

    /// Reads an envelope that came to a URL, which it must agree with.
    pub fn parse_at(value: Value, expected: Expected<'_>) -> Result<Self, Vec<Violation>> {
        Self::read(value, Some(expected))
    }

    pub fn key(&self) -> Key {
        Key::new(self.kind, &self.mesh, &self.name)
    }

    fn read(value: Value, expected: Option<Expected<'_>>) -> Result<Self, Vec<Violation>> {
        let Value::Object(mut fields) = value else {
            return Err(vec![Violation::new("", "a resource is a JSON object")]);
        };
        let mut violations = Violations::default();
        let kind = kind(&mut fields).map_err(|violation| vec![violation])?;
        let name = text(&mut fields, "name", &mut violations);
        let mesh = text(&mut fields, "mesh", &mut violations);
        let labels = labels(&mut fields, &mut violations);
        for written_by_us in ["creationTime", "modificationTime", "kri"] {
            fields.remove(written_by_us);
        }
        if fields.contains_key("spec") {
            let reason = format!("the fields of a {kind} stand at the top level, not under spec");
            violations.add("spec", reason);
        }
        let mesh = match (kind.scope(), mesh.is_empty(), expected) {
            (Scope::Mesh, true, Some(expected)) => expected.mesh.to_owned(),
            (Scope::Mesh, true, None) => DEFAULT_MESH.to_owned(),
            (Scope::Global, false, _) => {
                violations.add("mesh", format!("a {kind} is in no mesh"));
                String::new()
            }
            _ => mesh,
        };
        let document = Self { kind, mesh, name, labels, spec: fields };
        if let Some(expected) = expected {
            document.compare(expected, &mut violations);
        }
        violations.into_result()?;
        Ok(document)
    }

    fn compare(&self, expected: Expected<'_>, violations: &mut Violations) {
        for (field, found, wanted) in [
            ("type", self.kind.name(), expected.kind.name()),
            ("mesh", &*self.mesh, expected.mesh),
            ("name", &*self.name, expected.name),
        ] {
            if found != wanted && !(field == "mesh" && self.kind != expected.kind) {
                let reason = format!("{field} from the URL has to be the same as in body");
                violations.add(field, reason);
            }
        }
    }
}

fn kind(fields: &mut Map<String, Value>) -> Result<Kind, Violation> {
    match fields.remove("type") {
        Some(Value::String(name)) => name
            .parse()
            .map_err(|unknown: crate::UnknownKind| Violation::new("type", unknown.to_string())),
        Some(_) => Err(Violation::new("type", "must be a string")),
        None if fields.contains_key("apiVersion") => {
            let reason = "is missing: this looks like a Kubernetes manifest; a resource here has \
                          type, mesh and name at the top level";
            Err(Violation::new("type", reason))
        }
        None => Err(Violation::new("type", "is missing; it names the kind of resource")),
    }
}

fn text(fields: &mut Map<String, Value>, name: &str, violations: &mut Violations) -> String {
    match fields.remove(name) {
        Some(Value::String(text)) => text,
        Some(Value::Null) | None => String::new(),
        Some(_) => {
            violations.add(name, "must be a string");
            String::new()
        }
    }
}

fn labels(fields: &mut Map<String, Value>, violations: &mut Violations) -> Labels {
    let entries = match fields.remove("labels") {
        Some(Value::Object(entries)) => entries,
        Some(Value::Null) | None => return Labels::new(),
        Some(_) => {
            violations.add("labels", "must be an object");
            return Labels::new();
        }
    };
    let mut labels = Labels::new();
    for (key, value) in entries {
        match value {
            Value::String(value) => {
                labels.insert(key, value);
            }
            other => {
                let reason =
                    format!("must be a string; put {} in quotes", quoted(&other.to_string()));
                violations.add(path::key("labels", &key), reason);
            }
        }
    }
    labels
}

/// Kuma's JSON of a resource: envelope, then the fields of the spec. A secret's bytes are left
/// out; see [`render_secret`].
pub fn render(resource: &Resource) -> Value {
    let mut fields = Map::new();
    fields.insert("type".to_owned(), resource.key.kind().name().into());
    if resource.key.kind().scope() == Scope::Mesh {
        fields.insert("mesh".to_owned(), resource.key.mesh().into());
    }
    fields.insert("name".to_owned(), resource.key.name().into());
    fields.insert("creationTime".to_owned(), rfc3339(resource.created).into());
    fields.insert("modificationTime".to_owned(), rfc3339(resource.modified).into());
    if !resource.labels.is_empty() {
        let labels =
            resource.labels.iter().map(|(key, value)| (key.clone(), value.as_str().into()));
        fields.insert("labels".to_owned(), Value::Object(labels.collect()));
    }
    if let Spec::Json(json) = &resource.spec {
        // Admission lets nothing else in; an unreadable spec shows as an empty one.
        let spec: Map<String, Value> = serde_json::from_str(json).unwrap_or_default();
        fields.extend(spec);
    }
    Value::Object(fields)
}

/// As [`render`], with the bytes of a secret in `data`, base64. For callers that may see them.
pub fn render_secret(resource: &Resource) -> Value {
    let mut value = render(resource);
    if let (Spec::Secret(secret), Value::Object(fields)) = (&resource.spec, &mut value) {
        fields.insert("data".to_owned(), STANDARD.encode(&secret.bytes).into());
    }
    value
}

/// RFC 3339 in UTC with milliseconds; a time outside the years 1 to 9999 shows as Kuma's zero.
pub fn rfc3339(at: Timestamp) -> String {
    let format =
        format_description!("[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:3]Z");
    let nanos = i128::from(at.0) * 1_000_000;
    OffsetDateTime::from_unix_timestamp_nanos(nanos)
        .ok()
        .filter(|time| time.year() >= 1)
        .and_then(|time| time.format(format).ok())
        .unwrap_or_else(|| "0001-01-01T00:00:00Z".to_owned())
}

/// Reads a time of RFC 3339, to milliseconds.
pub fn parse_rfc3339(text: &str) -> Option<Timestamp> {
    let time = OffsetDateTime::parse(text, &Rfc3339).ok()?;
    i64::try_from(time.unix_timestamp_nanos().div_euclid(1_000_000)).ok().map(Timestamp)
}
