//! What a document may say: names, labels, and the rules of each kind, with Kuma's field paths.
//!
//! Everything here looks at one document alone. What depends on the state or on where a document
//! is written is `admission`'s.

mod address;
mod dataplane;
mod ingress;
mod mesh;
mod meta;
mod policy;
mod tags;
#[cfg(test)]
mod tests;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::document::Document;
use crate::schema::{self, Source};
use crate::spec::{Dataplane, Mesh, TrafficPermission, TrafficRoute, ZoneIngress};
use crate::violation::{Violation, Violations};
use crate::{Kind, SecretBytes, Spec};

/// A document that breaks no rule of its kind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checked {
    pub spec: Spec,
    /// For the user: what was left out, and what this version treats in its own way.
    pub warnings: Vec<String>,
}

/// Checks a document by itself, all findings at once. `strict` makes unknown fields findings;
/// otherwise they are left out with a warning.
pub fn check(document: &Document, strict: bool) -> Result<Checked, Vec<Violation>> {
    let examined = examine(document, strict);
    examined.violations.into_result()?;
    Ok(Checked { spec: examined.spec, warnings: examined.warnings })
}

/// A document with all that was found; the spec means something only without violations.
pub(crate) struct Examined {
    pub(crate) violations: Violations,
    pub(crate) warnings: Vec<String>,
    pub(crate) spec: Spec,
}

pub(crate) fn examine(document: &Document, strict: bool) -> Examined {
    let mut findings = Findings::default();
    meta::check(document, &mut findings.violations);
    let spec = match document.kind {
        Kind::Secret | Kind::GlobalSecret => secret(document, &mut findings.violations),
        _ => json(document, strict, &mut findings),
    };
    Examined { violations: findings.violations, warnings: findings.warnings, spec }
}

/// What the rules of a kind have to say.
#[derive(Default)]
struct Findings {
    violations: Violations,
    warnings: Vec<String>,
}

impl Findings {
    fn refuse(&mut self, field: impl Into<String>, reason: impl Into<String>) {
        self.violations.add(field, reason);
    }

    fn warn(&mut self, field: &str, text: &str) {
        self.warnings.push(format!("{field}: {text}"));
    }
}

fn json(document: &Document, strict: bool, findings: &mut Findings) -> Spec {
    let (canonical, shape) = schema::read(document.kind, &document.spec, Source::Operator);
    for field in &canonical.unknown {
        // `document` has told about this one already.
        if strict && field != "spec" {
            findings.refuse(field, format!("is no field of {}", document.kind));
        } else {
            findings.warn(field, &format!("is no field of {}; it was left out", document.kind));
        }
    }
    for field in &canonical.ignored {
        findings.warn(field, "is computed by the control plane; what was sent is left out");
    }
    let mut rules = Findings::default();
    let decoded = rules_of(document.kind, &canonical.spec, &mut rules);
    if let Err(why) = decoded
        && shape.is_empty()
    {
        findings.refuse("", format!("unreadable {}: {why}", document.kind));
    }
    findings.violations.add_all(shape);
    findings.violations.add_independent(rules.violations);
    findings.warnings.extend(rules.warnings);
    Spec::Json(canonical.spec.to_string().into())
}

fn rules_of(kind: Kind, spec: &Value, findings: &mut Findings) -> Result<(), serde_json::Error> {
    fn typed<T: DeserializeOwned>(spec: &Value) -> Result<T, serde_json::Error> {
        T::deserialize(spec)
    }
    match kind {
        Kind::Mesh => mesh::check(&typed::<Mesh>(spec)?, findings),
        Kind::Dataplane => dataplane::check(&typed::<Dataplane>(spec)?, spec, findings),
        Kind::ZoneIngress => ingress::check(&typed::<ZoneIngress>(spec)?, findings),
        Kind::TrafficPermission => policy::permission(&typed::<TrafficPermission>(spec)?, findings),
        Kind::TrafficRoute => policy::route(&typed::<TrafficRoute>(spec)?, spec, findings),
        // Nothing to say beyond their tables; insights and VIPs are the control plane's own.
        Kind::Zone
        | Kind::ZoneInsight
        | Kind::DataplaneInsight
        | Kind::Secret
        | Kind::GlobalSecret
        | Kind::Vip => {}
    }
    Ok(())
}

fn secret(document: &Document, violations: &mut Violations) -> Spec {
    let bytes = match document.spec.get("data") {
        Some(Value::String(data)) => STANDARD.decode(data).map_err(|_| "must be base64"),
        Some(_) => Err("must be a string of base64"),
        None => Err("cannot be empty"),
    };
    let bytes = bytes.unwrap_or_else(|reason| {
        violations.add("data", reason);
        Vec::new()
    });
    for field in document.spec.keys().filter(|field| *field != "data") {
        violations.add(field, "is no field of Secret");
    }
    Spec::Secret(SecretBytes::plain(&bytes))
}
