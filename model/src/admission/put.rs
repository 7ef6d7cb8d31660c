//! Creating and changing resources.

use std::sync::Arc;

use serde::Serialize;

use super::{Admission, Admitted, MAX_RESOURCE_BYTES, Precondition, Rejection};
use crate::document::Document;
use crate::kind::Scope;
use crate::resource::{Labels, labels};
use crate::schema::canonical_spec;
use crate::spec::{Dataplane, Mesh, ZoneIngress};
use crate::transaction::{Check, Draft, Operation};
use crate::violation::{Violations, path};
use crate::{Key, Kind, KindSpec, Resource, Spec, validate};

/// Labels that never change once a resource exists.
const FIXED_LABELS: [&str; 3] = [labels::ORIGIN, labels::ZONE, labels::DISPLAY_NAME];

impl Admission<'_> {
    /// Whether a document may be written here, and the transaction that writes it.
    pub fn put(
        &self,
        document: Document,
        precondition: Option<Precondition>,
    ) -> Result<Admitted, Rejection> {
        self.place.takes(document.kind)?;
        let key = document.key();
        let mut checks = self.mesh_exists(&key)?;
        let stored = self.snapshot.get(&key);
        let examined = validate::examine(&document, self.strict);
        let mut violations = examined.violations;
        self.place.check(&key, &document.labels, &mut violations);
        violations.into_result().map_err(Rejection::Invalid)?;
        self.own(&key)?;

        let (spec, rests_on_stored) = self.stamp(&key, examined.spec, stored)?;
        let draft = self.place.draft_with(key.clone(), &document.labels, spec);
        check_size(&draft)?;
        let fixed = check_fixed_labels(&draft.labels, stored)?;
        if rests_on_stored || fixed {
            checks.push(self.as_seen(&key));
        }
        self.meets(&key, precondition)?;

        let mut needs = Vec::new();
        if key.kind() == Kind::Mesh {
            let mesh: Mesh = decode(&key, &draft.spec)?;
            let certification = self.certify(key.name(), &mesh, stored.map(Arc::as_ref))?;
            checks.extend(certification.checks);
            needs = certification.needs;
        }
        let created = stored.is_none();
        let identical = stored.is_some_and(|stored| is_identical(&draft, stored));
        let decided = !matches!(
            precondition,
            Some(Precondition::Version(wanted)) if wanted > self.snapshot.version()
        );
        let warnings = examined.warnings;
        if identical && decided && needs.is_empty() {
            return Ok(Admitted { transaction: None, created, warnings, needs });
        }
        let mut transaction = self.transaction(precondition.map(|p| (&key, p)));
        dedup(&mut checks);
        transaction.checks = checks;
        transaction.operations.push(Operation::Put(draft));
        Ok(Admitted { transaction: Some(transaction), created, warnings, needs })
    }

    /// As [`put`](Self::put), for a proxy that comes with its stream: the zone's control plane
    /// itself writes its Dataplane or ZoneIngress.
    pub fn register(&self, document: Document) -> Result<Admitted, Rejection> {
        if !matches!(document.kind, Kind::Dataplane | Kind::ZoneIngress) {
            let detail =
                format!("a proxy comes with a Dataplane or ZoneIngress, not a {}", document.kind);
            return Err(Rejection::NotHere { detail });
        }
        self.put(document, None)
    }

    fn mesh_exists(&self, key: &Key) -> Result<Vec<Check>, Rejection> {
        if key.kind().scope() == Scope::Global {
            return Ok(Vec::new());
        }
        let mesh = Key::mesh_resource(key.mesh());
        match self.snapshot.get(&mesh) {
            Some(_) => Ok(vec![Check::Exists(mesh)]),
            None => Err(Rejection::MeshNotFound(key.mesh().to_owned())),
        }
    }

    /// The spec with what this place writes into it, and whether that rests on what is stored.
    fn stamp(
        &self,
        key: &Key,
        spec: Spec,
        stored: Option<&Arc<Resource>>,
    ) -> Result<(Spec, bool), Rejection> {
        match key.kind() {
            Kind::Dataplane => {
                let mut dataplane: Dataplane = decode(key, &spec)?;
                self.place.stamp(&mut dataplane);
                Ok((encode(&dataplane)?, false))
            }
            Kind::ZoneIngress => {
                let mut ingress: ZoneIngress = decode(key, &spec)?;
                let stored = stored.and_then(|stored| stored.decode().ok());
                self.place.stamp_ingress(&mut ingress, stored);
                Ok((encode(&ingress)?, true))
            }
            _ => Ok((spec, false)),
        }
    }
}

fn decode<T: KindSpec>(key: &Key, spec: &Spec) -> Result<T, Rejection> {
    let unreadable = |why: String| Rejection::invalid("", format!("unreadable {key}: {why}"));
    match spec {
        Spec::Json(json) => serde_json::from_str(json).map_err(|e| unreadable(e.to_string())),
        Spec::Secret(_) => Err(unreadable("it is secret".to_owned())),
    }
}

fn encode<T: KindSpec + Serialize>(spec: &T) -> Result<Spec, Rejection> {
    canonical_spec(spec).map_err(Rejection::Invalid)
}

fn check_size(draft: &Draft) -> Result<(), Rejection> {
    let labels: usize = draft.labels.iter().map(|(key, value)| key.len() + value.len()).sum();
    let spec = match &draft.spec {
        Spec::Json(json) => json.len(),
        Spec::Secret(secret) => secret.bytes.len(),
    };
    let size = draft.key.mesh().len() + draft.key.name().len() + labels + spec;
    if size > MAX_RESOURCE_BYTES {
        let reason =
            format!("the resource has {size} bytes; at most {MAX_RESOURCE_BYTES} are taken");
        return Err(Rejection::invalid("", reason));
    }
    Ok(())
}

/// Refuses a change of what names a resource elsewhere; whether the decision rests on what is
/// stored.
fn check_fixed_labels(
    computed: &Labels,
    stored: Option<&Arc<Resource>>,
) -> Result<bool, Rejection> {
    let mut violations = Violations::default();
    for label in FIXED_LABELS {
        let before = stored.map(|stored| stored.labels.get(label));
        if before.is_some_and(|before| before != computed.get(label)) {
            violations.add(path::key("labels", label), "cannot be changed");
        }
    }
    violations.into_result().map_err(Rejection::Invalid)?;
    let named = |labels: &Labels| labels.contains_key(labels::DISPLAY_NAME);
    Ok(named(computed) || stored.is_some_and(|stored| named(&stored.labels)))
}

fn is_identical(draft: &Draft, stored: &Resource) -> bool {
    draft.spec == stored.spec
        && draft.labels == stored.labels
        && draft.audience == stored.audience
        && draft.status == stored.status
}

pub(super) fn dedup(checks: &mut Vec<Check>) {
    let mut seen: Vec<Check> = Vec::with_capacity(checks.len());
    for check in checks.drain(..) {
        if !seen.contains(&check) {
            seen.push(check);
        }
    }
    *checks = seen;
}
