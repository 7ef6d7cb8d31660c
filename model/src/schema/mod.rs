//! The fields of Kuma's proto messages, and the canonical JSON of a spec.
//!
//! One table per message lists *all* of Kuma's fields, and says which of them this version has.
//! Reading a spec against its table refuses wrong types and fields that are not here yet, sets
//! unknown fields apart, and writes canonical proto3 JSON: fields by their proto number, maps by
//! key, defaults dropped. What a field means is none of its business (see `validate`).

mod policies;
mod proxies;
mod scalar;
mod system;
#[cfg(test)]
mod tests;
mod walk;

use std::borrow::Cow;

use serde::Serialize;
use serde_json::{Map, Value};

use crate::violation::{Violation, Violations};
use crate::{Kind, KindSpec, Spec};

/// Elements of one list or map. A spec of 1 MiB holds no more that mean something; the bound
/// keeps a hostile document from making many more objects than bytes.
pub(crate) const MAX_ELEMENTS: usize = 16_384;

/// Bytes of one text value: names, tags and addresses are far below; PEM never comes this way.
pub(crate) const MAX_TEXT_BYTES: usize = 65_536;

/// Levels of a free-form object (`google.protobuf.Struct`). The tables themselves are finite.
pub(crate) const MAX_DEPTH: usize = 16;

/// Who a spec comes from, and so what it may contain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// A user: fields that are not here yet, or that only the control plane writes, are findings.
    Operator,
    /// This control plane.
    ControlPlane,
    /// Another control plane, perhaps a Kuma: its fields that are not here yet are kept, since
    /// they are no reason to refuse a resource that its owner admitted.
    Peer,
}

/// One field of a proto message.
pub(crate) struct Field {
    /// The field's number in the message; canonical JSON is in this order.
    pub(crate) number: u32,
    /// The name in the `.proto` file; JSON takes it and its camelCase form, and writes the latter.
    pub(crate) name: &'static str,
    pub(crate) shape: Shape,
    pub(crate) support: Support,
    /// What to say where the field is missing; without it the field may be absent.
    pub(crate) required: Option<&'static str>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Support {
    Here,
    /// Refused from operators unless it has its default value.
    NotYet,
    /// Written by the control plane; dropped, with a warning, when an operator sends it.
    Computed,
}

/// The type of a field.
pub(crate) enum Shape {
    Text,
    Bool,
    Uint32,
    /// uint32 of which only 1 to 65535 mean something.
    Port,
    /// In JSON a string of digits.
    Uint64,
    Double,
    Duration,
    Timestamp,
    /// `google.protobuf.Struct`.
    Struct,
    /// Names by number, and those that are not here yet.
    Enum {
        names: &'static [&'static str],
        not_yet: &'static [&'static str],
    },
    /// A string that names a plugin in Kuma.
    Plugin {
        here: &'static [&'static str],
        not_yet: &'static [&'static str],
    },
    /// A wrapper: its default is a value of its own.
    Optional(&'static Self),
    Message(&'static [Field]),
    List(&'static Self),
    /// A map with string keys.
    Map(&'static Self),
}

/// A spec that was read against its table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Canonical {
    /// Canonical proto3 JSON, as an object.
    pub spec: Value,
    /// Paths of fields that Kuma's message does not have; they were left out.
    pub unknown: Vec<String>,
    /// Paths of computed fields that an operator sent; they were left out.
    pub ignored: Vec<String>,
}

/// Reads a spec of a kind against its table. All findings at once.
pub fn canonicalise(
    kind: Kind,
    spec: &Map<String, Value>,
    source: Source,
) -> Result<Canonical, Vec<Violation>> {
    let (canonical, violations) = read(kind, spec, source);
    violations.into_result()?;
    Ok(canonical)
}

/// As [`canonicalise`], with what could be read next to the findings.
pub(crate) fn read(
    kind: Kind,
    spec: &Map<String, Value>,
    source: Source,
) -> (Canonical, Violations) {
    let mut walk = walk::Walk::new(source);
    let object = walk.message(table(kind), spec, "");
    let spec = Value::Object(object);
    (Canonical { spec, unknown: walk.unknown, ignored: walk.ignored }, walk.violations)
}

/// The stored form of a typed spec that the control plane itself writes.
pub fn canonical_spec<T: KindSpec + Serialize>(spec: &T) -> Result<Spec, Vec<Violation>> {
    let unreadable = |why: String| vec![Violation::new("", why)];
    let value = serde_json::to_value(spec).map_err(|error| unreadable(error.to_string()))?;
    let Value::Object(fields) = value else {
        return Err(unreadable(format!("a {} is not an object", T::KIND)));
    };
    let canonical = canonicalise(T::KIND, &fields, Source::ControlPlane)?;
    match canonical.unknown.first() {
        Some(field) => Err(vec![Violation::new(field, "is no field of Kuma's message")]),
        None => Ok(Spec::Json(canonical.spec.to_string().into())),
    }
}

impl Field {
    /// The name in JSON: underscores dropped, the letter after each in upper case.
    pub(crate) fn json_name(&self) -> Cow<'static, str> {
        if !self.name.contains('_') {
            return Cow::Borrowed(self.name);
        }
        let mut camel = String::with_capacity(self.name.len());
        let mut upper = false;
        for c in self.name.chars() {
            match c {
                '_' => upper = true,
                c if upper => {
                    camel.push(c.to_ascii_uppercase());
                    upper = false;
                }
                c => camel.push(c),
            }
        }
        Cow::Owned(camel)
    }

    const fn required(mut self, reason: &'static str) -> Self {
        self.required = Some(reason);
        self
    }
}

const fn here(number: u32, name: &'static str, shape: Shape) -> Field {
    Field { number, name, shape, support: Support::Here, required: None }
}

const fn not_yet(number: u32, name: &'static str, shape: Shape) -> Field {
    Field { number, name, shape, support: Support::NotYet, required: None }
}

const fn computed(number: u32, name: &'static str, shape: Shape) -> Field {
    Field { number, name, shape, support: Support::Computed, required: None }
}

/// `map<string, string>`.
const TAGS: Shape = Shape::Map(&Shape::Text);

fn table(kind: Kind) -> &'static [Field] {
    match kind {
        Kind::Mesh => system::MESH,
        Kind::Zone => system::ZONE,
        Kind::ZoneInsight => system::ZONE_INSIGHT,
        // Its bytes never become JSON; `document` reads `data` by itself.
        Kind::Secret | Kind::GlobalSecret => &[],
        Kind::Dataplane => proxies::DATAPLANE,
        Kind::DataplaneInsight => proxies::DATAPLANE_INSIGHT,
        Kind::ZoneIngress => proxies::ZONE_INGRESS,
        Kind::TrafficPermission => policies::TRAFFIC_PERMISSION,
        Kind::TrafficRoute => policies::TRAFFIC_ROUTE,
        Kind::Vip => system::VIP,
    }
}
