//! Where a change is made: which kinds are written there, and what the place adds to them.

use std::sync::Arc;

use serde::Serialize;

use super::Rejection;
use crate::kind::{Author, Scope};
use crate::resource::{Audience, Labels, Owner, labels};
use crate::schema::canonical_spec;
use crate::spec::{Dataplane, SERVICE_TAG, Tags, ZONE_TAG, ZoneIngress};
use crate::violation::{Violation, Violations, path};
use crate::{Draft, Key, Kind, KindSpec, Spec};

/// A control plane's part in the system.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    Global,
    /// A zone that follows a global.
    Zone(Arc<str>),
    /// A zone by itself: operators write here what a global would hold.
    Standalone(Arc<str>),
}

/// Kuma refuses a name whose synced copy `<zone>.<name>` would be longer.
const MAX_SYNCED_NAME_BYTES: usize = 253;

impl Place {
    pub fn zone(&self) -> Option<&Arc<str>> {
        match self {
            Self::Global => None,
            Self::Zone(zone) | Self::Standalone(zone) => Some(zone),
        }
    }

    /// The owner of what is written here.
    pub fn owner(&self) -> Owner {
        self.zone().map_or(Owner::Global, |zone| Owner::Zone(zone.clone()))
    }

    /// A resource that the control plane itself writes here: an insight, a Zone, the services of
    /// an ingress. It computes what admission computes of a document.
    pub fn draft<T: KindSpec + Serialize>(
        &self,
        mesh: &str,
        name: &str,
        spec: &T,
    ) -> Result<Draft, Vec<Violation>> {
        let key = Key::new(T::KIND, mesh, name);
        Ok(self.draft_with(key, &Labels::new(), canonical_spec(spec)?))
    }

    pub(crate) fn draft_with(&self, key: Key, given: &Labels, spec: Spec) -> Draft {
        let audience = self.audience(key.kind());
        let labels = self.labels(&key, given, &spec);
        Draft { key, audience, labels, spec, status: None }
    }

    /// Refuses a kind that is not written here.
    pub(super) fn takes(&self, kind: Kind) -> Result<(), Rejection> {
        let refused = |detail: String| Err(Rejection::NotHere { detail });
        match (self, kind.info().author) {
            (_, Author::ControlPlane) => refused(format!(
                "{kind} is written by the control plane itself, on no one's request"
            )),
            (Self::Global, Author::Zone) => refused(belongs_to_a_zone(kind)),
            (Self::Zone(zone), Author::Operator) => refused(format!(
                "{kind} is written at the global control plane: apply it there, and zone {zone} \
                 gets it from there"
            )),
            (Self::Standalone(_), Author::Operator) if kind == Kind::Zone => {
                refused("a zone without a global control plane has no Zone resources".to_owned())
            }
            _ => Ok(()),
        }
    }

    fn audience(&self, kind: Kind) -> Audience {
        match kind {
            Kind::Mesh | Kind::Secret | Kind::TrafficPermission | Kind::TrafficRoute => {
                Audience::AllZones
            }
            Kind::ZoneIngress => Audience::AllBut(self.owner()),
            Kind::Zone
            | Kind::ZoneInsight
            | Kind::Dataplane
            | Kind::DataplaneInsight
            | Kind::Vip
            | Kind::GlobalSecret => Audience::None,
        }
    }

    /// The labels given and the computed ones (Kuma's meta rules, "computed on write").
    fn labels(&self, key: &Key, given: &Labels, spec: &Spec) -> Labels {
        let mut all = given.clone();
        let mut set = |label: &str, value: &str| all.insert(label.to_owned(), value.to_owned());
        if key.kind().scope() == Scope::Mesh {
            set(labels::MESH, key.mesh());
        }
        if let Some(zone) = self.zone()
            && is_from_zones(key.kind())
        {
            set(labels::ORIGIN, "zone");
            set(labels::ZONE, zone);
            set(labels::ENV, "universal");
        }
        if let Some(proxy_type) = proxy_type(key.kind(), spec) {
            set(labels::PROXY_TYPE, proxy_type);
        }
        all
    }

    /// The rules of labels and names that depend on the place.
    pub(super) fn check(&self, key: &Key, given: &Labels, violations: &mut Violations) {
        let field = |label: &str| path::key("labels", label);
        let from_here = self.zone().filter(|_| is_from_zones(key.kind()));
        if let Some(origin) = given.get(labels::ORIGIN) {
            let legal: &[&str] = match self {
                Self::Global => &["global"],
                _ if from_here.is_some() => &["zone"],
                _ => &["global", "zone"],
            };
            if !legal.contains(&origin.as_str()) {
                let reason = format!("the origin label must be set to '{}'", legal.join("' or '"));
                violations.add(field(labels::ORIGIN), reason);
            }
        }
        match (given.get(labels::ZONE), self.zone()) {
            (Some(zone), Some(own)) if **zone != **own => {
                violations.add(field(labels::ZONE), format!("must be {own}, the zone it is in"));
            }
            (Some(_), None) => {
                violations
                    .add(field(labels::ZONE), "is set by the zone that a resource comes from");
            }
            _ => {}
        }
        let mesh = given.get(labels::MESH);
        if key.kind().scope() == Scope::Mesh && mesh.is_some_and(|mesh| mesh != key.mesh()) {
            violations.add(field(labels::MESH), format!("must be {}, its mesh", key.mesh()));
        }
        if let Some(zone) = from_here
            && zone.len() + 1 + key.name().len() >= MAX_SYNCED_NAME_BYTES
        {
            violations.add("name", "the length of the name must be shorter");
        }
    }

    /// Writes the zone's name where the zone's control plane is the one to say it.
    pub(super) fn stamp(&self, dataplane: &mut Dataplane) {
        let Some(zone) = self.zone() else { return };
        let networking = &mut dataplane.networking;
        let inbound = networking.inbound.iter_mut().map(|inbound| &mut inbound.tags);
        let gateway = networking.gateway.iter_mut().map(|gateway| &mut gateway.tags);
        let stamp = |tags: &mut Tags| tags.insert(ZONE_TAG.to_owned(), zone.to_string());
        for tags in inbound.chain(gateway).filter(|tags| tags.contains_key(SERVICE_TAG)) {
            stamp(tags);
        }
    }

    /// As [`stamp`](Self::stamp), and keeps what the control plane computed about an ingress.
    pub(super) fn stamp_ingress(&self, ingress: &mut ZoneIngress, stored: Option<ZoneIngress>) {
        if let Some(zone) = self.zone() {
            ingress.zone = zone.to_string();
        }
        ingress.available_services = stored.map(|s| s.available_services).unwrap_or_default();
    }
}

fn belongs_to_a_zone(kind: Kind) -> String {
    let how = match kind {
        Kind::Dataplane => "a Dataplane comes with its proxy (`higuma dp run --dataplane-file …`)",
        _ => "it comes with its proxy (`higuma ingress run`)",
    };
    format!("{kind} belongs to a zone: {how} at the zone's control plane")
}

/// Whether resources of a kind come from zones: what a zone's author writes and what it sees.
fn is_from_zones(kind: Kind) -> bool {
    matches!(kind, Kind::Dataplane | Kind::DataplaneInsight | Kind::ZoneIngress)
}

fn proxy_type(kind: Kind, spec: &Spec) -> Option<&'static str> {
    let Spec::Json(json) = spec else { return None };
    match kind {
        Kind::ZoneIngress => Some("zoneingress"),
        Kind::Dataplane => {
            let gateway = |spec: Dataplane| spec.networking.gateway.is_some();
            let gateway = serde_json::from_str(json).is_ok_and(gateway);
            Some(if gateway { "gateway" } else { "sidecar" })
        }
        _ => None,
    }
}
